"""What must be true of a standardization, a family, a Fisher operator and a verdict: each is one function that asserts.

The tests run them on everything the package has, and on objects that are wrong on purpose.
"""

from __future__ import annotations

import decimal
import warnings
from typing import Any

import numpy as np
import oracles
import pytest
import sympy
from cases import Case, Setup, told_apart

import fishergeo as fg
from fishergeo.invariance.proof import prove

EXACT = 1e-12


def close(a: Any, b: Any, tolerance: float = EXACT) -> None:
    """Equal shapes, and equal numbers relative to the largest of them."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape, f"shapes {a.shape} and {b.shape}"
    size = np.abs(b).max(initial=0.0)
    error = np.abs(a - b).max(initial=0.0)
    assert error <= tolerance * size, f"relative error {error / size if size else np.inf:.2e} > {tolerance:.0e}"


def is_refused(act: Any, culprit: str, remedy: str) -> None:
    """An `InputError` of one line that names the culprit and the remedy, with no warning before it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(fg.InputError) as caught:
            act()
    assert type(caught.value) is fg.InputError
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    assert culprit in message, message
    assert remedy in message, message


# --- the primitive -------------------------------------------------------------------------------------------------


def value_is_the_formula(stage: Any, formula: Any, t: Any, layout: Any) -> None:
    """t̂ is what the plain formula says."""
    close(stage(t, layout).value, formula(t))


def tangent_is_the_derivative(stage: Any, formula: Any, t: Any, layout: Any, rng: np.random.Generator) -> None:
    """dt̂ is the complex-step derivative of the plain formula."""
    dt = rng.normal(size=t.shape)
    close(stage(t, layout).tangent(dt), np.imag(formula(t + 1j * oracles.STEP * dt)) / oracles.STEP)


def tangent_is_self_adjoint(stage: Any, t: Any, layout: Any, rng: np.random.Generator) -> None:
    """⟨u, T v⟩ = ⟨T u, v⟩, and the adjoint is T itself."""
    done = stage(t, layout)
    u, v = rng.normal(size=(2, *t.shape))
    size = np.linalg.norm(u) * np.linalg.norm(done.tangent(v))
    assert abs((u * done.tangent(v)).sum() - (done.tangent(u) * v).sum()) <= EXACT * size
    np.testing.assert_array_equal(done.adjoint(u), done.tangent(u))


def adjoint_is_the_transpose(stage: Any, formula: Any, t: Any, layout: Any, rng: np.random.Generator) -> None:
    """The adjoint is the transposed complex-step Jacobian of the plain formula."""
    g = rng.normal(size=t.shape)
    J = oracles.derivatives(lambda v: formula(v.reshape(t.shape)), t.ravel())
    close(stage(t, layout).adjoint(g).ravel(), np.tensordot(J, g, axes=g.ndim))


def second_derivative_is_the_difference(stage: Any, formula: Any, t: Any, layout: Any, rng: np.random.Generator) -> None:
    """∇²(Σ g t̂) along a batch of directions is the central difference of the formula's complex-step derivatives."""
    g, dt = rng.normal(size=(2, *t.shape))
    du, h = rng.normal(size=(4, *t.shape)), 1e-5
    found = (stage(t, layout).adjoint_tangent(g, du) * dt).reshape(4, -1).sum(axis=1)

    def slope(u: Any) -> Any:
        return (g * np.imag(formula(u + 1j * oracles.STEP * dt)) / oracles.STEP).sum()

    close(found, [(slope(t + h * v) - slope(t - h * v)) / (2 * h) for v in du], 1e-6)


def bracket_is_a_projector(stage: Any, t: Any, layout: Any, rng: np.random.Generator) -> None:
    """σ T applied twice is σ T applied once: true when ε = 0."""
    done = stage(t, layout)
    sigma = 1 if done.sigma is None else done.sigma
    once = sigma * done.tangent(rng.normal(size=t.shape))
    close(sigma * done.tangent(once), once)


# --- families ------------------------------------------------------------------------------------------------------


def derivatives_of_the_cumulant(family: Any, theta: Any, eta1: Any, eta2: Any, tolerance: float = EXACT) -> None:
    """E[y] = η'(θ) and η''(θ), entry by entry: relative errors, so that tiny tails count too.

    Where outputs share a total, an entry of η'' is a difference of numbers of size η', and is compared with that.
    """
    theta = np.asarray(theta, float)
    tiny = np.finfo(float).tiny / tolerance  # a smaller number may lose its last digits, or be 0
    for got, expected in ((family.mean(theta), eta1), (family.hessian(theta).dense(), eta2)):
        got, expected = np.asarray(got), np.asarray(expected, float)
        assert got.shape == expected.shape
        size = np.abs(np.asarray(eta1)[..., None] if expected.ndim > theta.ndim and family.coupled else expected)
        error = np.abs(got - expected) / np.maximum(size, tiny)
        assert error.max() <= tolerance, error.max()


def root_squares_to_the_hessian(family: Any, theta: Any) -> None:
    """BᵀB = η''(θ), and `apply` is the product with it; one case at a time, since their sizes may differ by 1e600."""
    if theta.ndim > 1:
        for row in theta:
            root_squares_to_the_hessian(family, row)
        return
    hessian = family.hessian(theta)
    eye, size = np.eye(len(theta)), max(hessian.d.max(), np.finfo(float).tiny)
    with np.errstate(under="ignore"):
        B = hessian.root(eye).T / np.sqrt(size)
        dense = hessian.dense() / size
        assert np.abs(B.T @ B - dense).max() <= EXACT
        assert np.abs(hessian.apply(eye).T / size - dense).max() <= EXACT


def density_is_normalized(family: Any, theta: Any, phi: float) -> None:
    """Σ_y p(y) = 1 (an integral where y is continuous)."""
    y, weight = support(family.name, theta, phi)
    with np.errstate(under="ignore"):
        p = np.exp([family.log_density(row, theta, phi) for row in y])
    close(np.tensordot(weight, p, axes=1), np.ones(len(theta)), 1e-11)


def support(name: str, theta: Any, phi: float) -> tuple[Any, Any]:
    """Outcomes (Q, cases, H) of a family with one output, or of a coupled one, and the weight of each in the sum."""
    if name == "gaussian":
        nodes, weights = np.polynomial.legendre.leggauss(120)
        half = 12 * np.sqrt(phi)
        return theta + half * nodes[:, None, None], half * weights
    if name == "categorical":
        units = theta.shape[-1]
        return np.broadcast_to(np.eye(units)[:, None], (units, *theta.shape)), np.ones(units)
    end = 2 if name == "bernoulli" else oracles.poisson_end(float(np.exp(theta.max())))
    return np.broadcast_to(np.arange(end, dtype=float)[:, None, None], (end, *theta.shape)), np.ones(end)


def draws_have_the_moments(setup: Setup, rng: np.random.Generator, draws: int = 4000) -> None:
    """Mean and covariance of many samples agree with η' and φ η'' within five standard errors."""
    at = setup.model.linearize(setup.p, setup.X)
    y = np.stack([setup.model.sample(setup.p, setup.X, rng) for _ in range(draws)])
    c = y - at.mean
    within_errors(c, np.zeros_like(at.mean))
    within_errors(c[..., :, None] * c[..., None, :], setup.model.dispersion * at.hessian.dense())


def within_errors(samples: Any, expected: Any, errors: float = 5.0) -> None:
    """The mean of the samples (along the first axis) is within some standard errors of what is expected."""
    standard = samples.std(axis=0) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(axis=0) - expected) <= errors * standard + 1e-12).all()


# --- the Fisher matrix ---------------------------------------------------------------------------------------------


def fisher_is_the_oracle(metric: Any, F: Any, tolerance: float = EXACT) -> None:
    """diagonal, trace, norm, products and their adjoints, to_dense and block are those of the matrix F.

    All but the last two come before there is a dense matrix, from which they would be taken.
    """
    close(metric.diagonal(), np.diag(F), tolerance)
    close(metric.trace(), np.trace(F), tolerance)
    _products_are_the_oracle(metric, F, tolerance)
    close(metric.norm(), np.linalg.norm(F), tolerance)
    close(metric.to_dense(), F, tolerance)
    close(metric.diagonal(), np.diag(F), tolerance)
    _products_are_the_oracle(metric, F, tolerance)
    size = metric.block_size
    for i in range(metric.params.units):
        for j in range(metric.params.units):
            block = F[i * size : (i + 1) * size, j * size : (j + 1) * size]
            assert np.abs(metric.block(i, j) - block).max() <= tolerance * np.abs(F).max()


def _products_are_the_oracle(metric: Any, F: Any, tolerance: float) -> None:
    v = np.linspace(-1, 2, len(F))
    V = np.stack([v, v**2, np.cos(v)], axis=1)
    for product, expected in (
        (metric @ v, F @ v),
        (metric.matvec(v[:, None]), F @ v[:, None]),
        (metric @ V, F @ V),
        (metric.T @ v, F.T @ v),
        (metric.H @ V, F.T @ V),
        (metric.rmatvec(v), F.T @ v),
    ):
        close(product, expected, 10 * tolerance)


def spectrum_is_the_oracle(metric: Any, R: Any) -> None:
    """Eigenvalues, rank, null space and condition number are those of RRᵀ."""
    P, s = len(R), np.linalg.svd(R, compute_uv=False)
    s = np.pad(s, (0, max(0, P - len(s))))[:P]
    rank = int((s > 1e-10 * s[0]).sum())
    assert rank == P or s[rank] < 1e-13 * s[0], "the oracle itself must be clear about its rank"
    assert metric.rank() == rank
    null = metric.null_space()
    assert null.shape == (P, P - rank)
    assert np.abs(null.T @ null - np.eye(P - rank)).max(initial=0) < EXACT
    assert np.abs(R.T @ null).max(initial=0) < EXACT * s[0]
    close(metric.singular_values()[:rank], s[:rank])
    close(metric.condition(), (s[0] / s[rank - 1]) ** 2, 1e-12 * s[0] / s[rank - 1])
    values, vectors = metric.eigsh(k=min(5, P))
    close(values, s[: len(values)] ** 2)
    close((R @ (R.T @ vectors)), vectors * values)


def solves_are_solutions(metric: Any, F: Any, rng: np.random.Generator) -> None:
    """(F + λI)⁻¹v solves its equation; without damping F⁺v is the least-norm solution; residuals as backward errors."""
    P = len(F)
    size = np.linalg.norm(F, 2)
    v, V = rng.normal(size=P), rng.normal(size=(P, 3))
    for b in (v, V):
        for damping in (1e-3, 0.7):
            x = metric.solve(b, damping=damping)
            residual = F @ x + damping * x - b
            assert x.shape == b.shape
            assert np.linalg.norm(residual) <= EXACT * ((size + damping) * np.linalg.norm(x) + np.linalg.norm(b))
    x = metric.solve(v)
    null = metric.null_space()
    inside = v - null @ (null.T @ v)  # the part of v that F can reach
    assert np.linalg.norm(null.T @ x) <= EXACT * np.linalg.norm(x)
    assert np.linalg.norm(F @ x - inside) <= EXACT * (size * np.linalg.norm(x) + np.linalg.norm(v))
    close(metric.solve(V)[:, 0], metric.solve(V[:, 0]))


def jacobian_is_the_derivative(setup: Setup, rng: np.random.Generator) -> None:
    """jvp is the complex-step derivative of Z, and vjp its adjoint."""
    v = rng.normal(size=setup.v.shape)
    dZ = setup.model.jvp(setup.p, setup.X, v)
    close(dZ, np.imag(setup.natural(setup.v + 1j * oracles.STEP * v)) / oracles.STEP)
    u = rng.normal(size=dZ.shape)
    back = setup.model.vjp(setup.p, setup.X, u).ravel()
    close(back, np.tensordot(oracles.derivatives(setup.natural, setup.v), u, axes=u.ndim))


# --- invariance ----------------------------------------------------------------------------------------------------


def verdict_is_the_oracle(case: Case, transformation: Any, rng: np.random.Generator, sizes: Any = (7, 5, 4)) -> Any:
    """`prove` says what the plain formulas show at random points, under the oracle's definition of the transformation."""
    verdict = prove(case.normalizer, transformation)
    shown = oracles.invariant(case.forward, transformation.name, rng, told_apart(case.normalizer, sizes))
    assert verdict.invariant == shown, f"{verdict!r}, but at random points the output {'stays' if shown else 'changes'}"
    return verdict


def witness_is_real(case: Case, transformation: Any, witness: Any) -> None:
    """The plain formulas, in 60 digits on the witness's rationals, give its two values, and they differ."""
    with decimal.localcontext() as context:
        context.prec = 60
        X, W = oracles.decimals(witness.X), oracles.decimals(witness.W)
        permutes = oracles.MOVES[transformation.name][0] == "π"
        values = [v if permutes else oracles.decimals(v) for v in witness.values]
        pair = oracles.before_and_after(case.forward, transformation.name, X, W, values)
        before, after = (array[witness.entry] for array in pair)
        assert abs(before - after) > decimal.Decimal("1e-20") * max(abs(before), abs(after))
        for got, said in ((before, witness.before), (after, witness.after)):
            said = decimal.Decimal(str(sympy.N(said, 60)))
            assert abs(got - said) <= decimal.Decimal("1e-45") * max(1, abs(said)), f"{got} is not {said}"

"""Conjugate gradients with their preconditioner, natural gradients, eigenvalues and densities of large matrices."""

from __future__ import annotations

import contracts
import numpy as np
import pytest
from cases import PLAIN, Setup
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import fishergeo as fg
from fishergeo.information import kronecker, operator, spectrum
from fishergeo.information.solve import conjugate_gradients

NORMALIZERS = {
    "plain": fg.identity,
    "batch": fg.batch_norm,
    "ghost": fg.ghost_batch_norm(2),
    "weight": fg.weight_norm,
    "weight, centered": fg.centered_weight_norm,
    "spectral": fg.spectral_norm,
    "layer": fg.layer_norm,
    "root mean square": fg.rms_norm,
    "batch, layer": fg.compose(fg.batch_norm, fg.layer_norm),
}


def softmax(normalizer, rng, cases=60, inputs=7, units=5):
    """A model of dependent outputs on inputs of very different scales, its parameters and its inputs."""
    X = rng.normal(size=(cases, inputs)) * np.geomspace(1, 30, inputs) + 0.5
    model = fg.GLM(fg.categorical, normalizer)
    p = model.init(inputs=inputs, units=units, rng=rng)
    return model, fg.Params(p.weight / np.geomspace(1, 30, inputs), p.bias, p.gain), X


def by_iteration(monkeypatch):
    """Every matrix counts as too large to be formed."""
    monkeypatch.setattr(operator, "_DENSE", 0)


def iterations(F, v, damping, M, most=1000):
    """The iterations that conjugate gradients take with an approximate inverse M, or ``most``."""
    found = conjugate_gradients(
        lambda rows: F._rows(rows) + damping * rows,
        v[None],
        (lambda rows: rows) if M is None else (lambda rows: M.matmat(rows.T).T),
        1e-10,
        most,
    )
    assert found.residual <= 1e-10 or found.iterations == most
    return int(found.iterations[0])


# --- conjugate gradients ---------------------------------------------------------------------------------------------


def test_many_systems_at_once(rng):
    R = rng.normal(size=(9, 9))
    A, V = R @ R.T + np.eye(9), rng.normal(size=(4, 9))
    V[2] = 0
    found = conjugate_gradients(lambda rows: rows @ A, V, lambda rows: rows, 1e-12, 100)
    contracts.close(found.x, np.linalg.solve(A, V.T).T, 1e-10)
    assert found.iterations[2] == 0 and (np.delete(found.iterations, 2) > 3).all()
    alone = [conjugate_gradients(lambda rows: rows @ A, v[None], lambda rows: rows, 1e-12, 100) for v in V]
    assert [int(one.iterations[0]) for one in alone] == found.iterations.tolist()


def test_an_exact_preconditioner_takes_one_iteration(rng):
    R = rng.normal(size=(9, 9))
    A = R @ R.T + np.eye(9)
    inverse = np.linalg.inv(A)
    found = conjugate_gradients(lambda rows: rows @ A, rng.normal(size=(3, 9)), lambda rows: rows @ inverse, 1e-10, 9)
    assert (found.iterations == 1).all()


@pytest.mark.parametrize("wrong", ["the matrix", "the preconditioner"])
def test_what_is_not_positive_definite_is_named(wrong, rng):
    A = np.diag([1.0, 2, -3])
    first = wrong == "the matrix"
    maps = [(lambda rows: rows @ A) if bad else (lambda rows: rows) for bad in (first, not first)]
    with pytest.raises(ArithmeticError, match=f"{wrong} is not positive definite"):
        conjugate_gradients(maps[0], np.eye(3), maps[1], 1e-10, 9)


@pytest.mark.parametrize("name", NORMALIZERS)
def test_solves_of_large_matrices(name, rng, monkeypatch):
    """Against the dense matrix, with the preconditioner and without."""
    by_iteration(monkeypatch)
    model, p, X = softmax(NORMALIZERS[name], rng)
    F = fg.fisher(model, p, X)
    dense, V = F.reference.to_dense(), rng.normal(size=(p.size, 3))
    for damping in (1e-1, 1e-3):
        expected = np.linalg.solve(dense + damping * np.eye(p.size), V)
        contracts.close(F.solve(V, damping), expected, 1e-8)
        contracts.close(F.solve(V[:, 0], damping), expected[:, 0], 1e-8)
        none = aslinearoperator(np.eye(p.size))
        contracts.close(F.solve(V, damping, preconditioner=none), expected, 1e-8)
    assert "_dense" not in F.__dict__


@pytest.mark.parametrize("name", NORMALIZERS)
def test_the_preconditioner_saves_iterations_and_that_of_another_model_does_not(name, rng):
    model, p, X = softmax(NORMALIZERS[name], rng, cases=300, inputs=16)
    F, v = fg.fisher(model, p, X), rng.normal(size=p.size)
    damping = 1e-5 * F.trace() / p.size
    own, none = (iterations(F, v, damping, M) for M in (F.preconditioner(damping), None))
    assert own < 0.6 * none
    _, q, other = softmax(NORMALIZERS[name], rng, cases=300, inputs=16)
    other = other[:, ::-1].copy()  # the scales of the inputs in another order
    wrong = fg.fisher(model, fg.Params(q.weight[:, ::-1].copy(), q.bias, q.gain), other).preconditioner(damping)
    assert iterations(F, v, damping, wrong) > 1.5 * own


def test_the_preconditioner_is_positive_definite_and_symmetric(rng):
    for normalizer in NORMALIZERS.values():
        model, p, X = softmax(normalizer, rng)
        F = fg.fisher(model, p, X)
        for damping in (1e-8, 1.0):
            M = F.preconditioner(damping) @ np.eye(p.size)
            contracts.close(M, M.T, 1e-9)
            assert np.linalg.eigvalsh((M + M.T) / 2)[0] > 0


def test_the_preconditioner_is_the_inverse_where_the_expectation_factors(rng):
    """Constant curvature, centered inputs, no normalizer: F is a Kronecker product, and T is 1."""
    S = np.cov(rng.normal(size=(4, 9)))
    X = rng.normal(size=(40, 3))
    X -= X.mean(axis=0)
    model = fg.GLM(fg.multivariate_gaussian(S))
    F = fg.fisher(model, model.init(inputs=3, units=4, rng=rng), X)
    M = F.preconditioner(0.2) @ np.eye(16)
    contracts.close(M, np.linalg.inv(F.to_dense() + 0.2 * np.eye(16)))


def test_the_preconditioner_leaves_what_weights_do_not_change_to_the_damping(rng):
    """Along the null directions of T the inverse is 1/damping: the length of a batch-normalized weight vector."""
    model, p, X = softmax(fg.batch_norm, rng)
    along = fg.Params(p.weight, 0 * p.bias, 0 * p.gain).ravel()
    contracts.close(fg.fisher(model, p, X).preconditioner(1e-3) @ along, 1e3 * along, 1e-8)


def test_where_no_preconditioner_is_formed(rng, monkeypatch):
    model, p, X = softmax(fg.layer_norm, rng)
    F = fg.fisher(model, p, X)
    assert F.preconditioner(0) is None
    assert F.reference.preconditioner(1e-3) is None
    monkeypatch.setattr(kronecker, "_LARGEST", 10)
    assert F.preconditioner(1e-3) is None


def test_solves_that_do_not_converge(rng, monkeypatch):
    by_iteration(monkeypatch)
    model, p, X = softmax(fg.batch_norm, rng)
    F, v = fg.fisher(model, p, X), rng.normal(size=p.size)
    with pytest.raises(
        ArithmeticError, match=r"relative residual of .*, not 1e-10, in 2 iterations: use a larger damping"
    ):
        F.solve(v, damping=1e-3, maxiter=2)
    assert F.solve(v, damping=1e-3, rtol=0.5, maxiter=50).shape == v.shape
    for bad, culprit, remedy in (
        ({"rtol": 0}, "rtol=0", "between 0 and 1"),
        ({"maxiter": 0.5}, "maxiter=0.5", "integer >= 1"),
        ({"preconditioner": np.eye(3)}, "preconditioner=", f"({p.size}, {p.size})"),
    ):
        contracts.is_refused(lambda bad=bad: F.solve(v, damping=1e-3, **bad), culprit, remedy)


def test_an_indefinite_preconditioner_is_refused(rng):
    model, p, X = softmax(fg.batch_norm, rng)
    F = fg.fisher(model, p, X)
    minus = LinearOperator(F.shape, matvec=lambda v: -v, matmat=lambda V: -V, dtype=float)
    with pytest.raises(ArithmeticError, match="the preconditioner is not positive definite"):
        F.solve(rng.normal(size=p.size), damping=1e-3, preconditioner=minus)


# --- natural gradients -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damping", [0.0, 1e-2])
def test_natural_gradient(damping, rng):
    model, p, X = softmax(fg.batch_norm, rng)
    Y = model.sample(p, X, rng)
    F = fg.fisher(model, p, X).reference.to_dense()
    F = F + damping * np.eye(p.size)
    expected = np.linalg.pinv(F, rcond=1e-11, hermitian=True) @ model.gradient(p, X, Y)
    contracts.close(fg.natural_gradient(model, p, X, Y, damping), expected, 1e-7)


def test_natural_gradient_of_a_linear_model_is_one_newton_step(rng):
    """To least squares, from anywhere."""
    X, Y = rng.normal(size=(30, 4)), rng.normal(size=(30, 2))
    model = fg.GLM(fg.gaussian, dispersion=0.4)
    p = model.init(inputs=4, units=2, rng=rng)
    step = model.unravel(p.ravel() + fg.natural_gradient(model, p, X, Y), units=2)
    best, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(30)]), Y)
    contracts.close(np.vstack([step.weight.T, step.bias]), best, 1e-10)


# --- eigenvalues and densities ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["batch", "layer"])
def test_largest_eigenvalues_without_the_matrix(name, rng, monkeypatch):
    by_iteration(monkeypatch)
    model, p, X = softmax(NORMALIZERS[name], rng, inputs=20)
    F = fg.fisher(model, p, X)
    values, vectors = F.eigsh(k=4)
    dense = F.reference.to_dense()
    contracts.close(values, np.linalg.eigvalsh(dense)[:-5:-1], 1e-10)
    contracts.close(dense @ vectors, vectors * values, 1e-7)
    assert "_blocks" not in F.__dict__


def test_norm_and_blocks_without_the_matrix(rng, monkeypatch):
    by_iteration(monkeypatch)
    monkeypatch.setattr(operator, "_CHUNK", 20)
    model, p, X = softmax(fg.layer_norm, rng)
    F = fg.fisher(model, p, X)
    dense = F.reference.to_dense()
    contracts.close(F.norm(), np.linalg.norm(dense))
    size = F.block_size
    contracts.close(F.block(1, 3), dense[size : 2 * size, 3 * size : 4 * size], 1e-11)
    assert "_blocks" not in F.__dict__


def test_iterations_that_do_not_find_eigenvalues(rng, monkeypatch):
    by_iteration(monkeypatch)
    model, p, X = softmax(fg.batch_norm, rng, inputs=20)

    def stuck(*_, **__):
        raise spectrum.ArpackNoConvergence("no convergence", np.ones(1), np.ones((p.size, 1)))

    monkeypatch.setattr(spectrum, "eigsh", stuck)
    with pytest.raises(ArithmeticError, match="1 of 3 eigenvalues converged; ask for fewer"):
        fg.fisher(model, p, X).eigsh(k=3)


@pytest.mark.parametrize("name", ["plain", "batch", "layer"])
def test_a_full_lanczos_run_has_the_moments_of_the_matrix(name, rng):
    """With as many steps as parameters the rule of a probe v is exact: Σ w f(λ) = vᵀf(F)v for every f."""
    model, p, X = softmax(NORMALIZERS[name], rng)
    F = fg.fisher(model, p, X)
    density = F.spectral_density(rng=3, probes=4, steps=1000)
    assert density.nodes.shape == density.weights.shape == (4, p.size)
    contracts.close(density.weights.sum(axis=1), np.ones(4))
    V = np.random.default_rng(3).normal(size=(4, p.size))
    V /= np.linalg.norm(V, axis=1, keepdims=True)
    dense = F.to_dense()
    for k in (1, 2, 3):
        power = np.linalg.matrix_power(dense, k)
        contracts.close((density.weights * density.nodes**k).sum(axis=1), np.einsum("kp,pq,kq->k", V, power, V), 1e-10)


def test_the_density_estimates_traces_within_their_errors(rng):
    model, p, X = softmax(fg.batch_norm, rng)
    F = fg.fisher(model, p, X)
    values = np.linalg.eigvalsh(F.to_dense())
    density = F.spectral_density(rng=1, probes=60, steps=30)
    for f in (lambda x: x, lambda x: x**2, lambda x: np.log(1 + np.abs(x))):
        estimate = density.trace(f)
        assert abs(estimate.value - f(values).sum()) < 4 * estimate.error < 2 * abs(f(values).sum())
    half = np.median(values)
    assert abs(density.cumulative(half) - 0.5) < 0.15
    assert density.cumulative(values[-1] * 1.01) == pytest.approx(1)
    assert F.spectral_density(rng=1, probes=1, steps=5).trace(lambda x: x).error == np.inf
    assert "40 eigenvalues: 60 probes of 30" in repr(density).replace(str(p.size), "40")


def test_the_density_of_another_matrix_is_not_this_one(rng):
    model, p, X = softmax(fg.batch_norm, rng)
    F = fg.fisher(model, p, X)
    wrong = fg.fisher(model, p, 2 * X + 1).spectral_density(rng=1, probes=60, steps=30)
    frozen = fg.GLM(fg.categorical, fg.frozen_batch_norm(0.0, 0.1))
    other = fg.fisher(frozen, p, X).spectral_density(rng=1, probes=60, steps=30)
    assert abs(wrong.trace(lambda x: x).value - F.trace()) < 5 * wrong.trace(lambda x: x).error  # batch norm: the same F
    assert abs(other.trace(lambda x: x).value - F.trace()) > 5 * other.trace(lambda x: x).error


def test_the_density_is_reproducible_and_plotted(rng):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    model, p, X = softmax(fg.layer_norm, rng)
    F = fg.fisher(model, p, X)
    first, second = (F.spectral_density(rng=5) for _ in range(2))
    np.testing.assert_array_equal(first.nodes, second.nodes)
    _, ax = plt.subplots()
    assert first.plot(ax) is ax
    (line,) = ax.get_lines()
    heights = line.get_ydata()
    assert ax.get_xscale() == "log"
    assert (np.diff(heights) >= -1e-12).all() and heights[-1] == pytest.approx(1)
    plt.close("all")


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [({"probes": 0}, "probes=0"), ({"steps": 1.5}, "steps=1.5"), ({"rng": "x"}, "rng='x'")],
    ids=["no probes", "half a step", "no generator"],
)
def test_densities_that_are_refused(arguments, culprit, rng):
    model, p, X = softmax(fg.layer_norm, rng)
    contracts.is_refused(lambda: fg.fisher(model, p, X).spectral_density(**arguments), culprit, "give")


def test_determinants_that_are_refused(rng):
    setup = Setup.of(PLAIN[1], fg.bernoulli, rng.normal(size=(9, 3)), 4, rng)
    F = fg.fisher(setup.model, setup.p, setup.X)
    contracts.is_refused(lambda: F.logdet(-1), "logdet got damping=-1", ">= 0")
    Y = np.full((9, 4), 1.0)
    observed = fg.observed_fisher(
        setup.model, fg.Params(5 * setup.p.weight, setup.p.bias + 9, -setup.p.gain), setup.X, 1 - Y
    )
    assert observed.negative() > 0
    with pytest.raises(ArithmeticError, match="eigenvalues are negative"):
        observed.logdet()
    with pytest.raises(ArithmeticError, match="has an eigenvalue"):
        observed.logdet(1e-9)

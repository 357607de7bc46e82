"""Contracts: what must be true of every normalizer, family and transformation, the user's own included.

Each contract takes a value and a random generator, and returns the evidence in words or raises `Broken`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError
from .families import Family, Floats, bernoulli, gaussian
from .information.matrices import fisher
from .invariance.numbers import example, random_value, shape_of
from .invariance.proof import prove
from .invariance.scaling import fisher_scaling
from .invariance.symmetries import symmetries
from .model import GLM, Params
from .normalizers import ZOO, Normalizer
from .transformations import TRANSFORMATIONS, Parameter, State, Transformation

_STEP = 1e-30  # complex step


class Broken(AssertionError):
    """A contract that does not hold, with the size of the defect."""


@dataclass(frozen=True)
class Result:
    """One contract run on one value."""

    contract: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Check:
    """All contracts run on one value; true when all of them hold."""

    subject: Any
    results: tuple[Result, ...]

    def __bool__(self) -> bool:
        return all(result.passed for result in self.results)

    def __repr__(self) -> str:
        width = max(len(result.contract) for result in self.results)
        lines = [f"{'holds ' if r.passed else 'BROKEN'}  {r.contract:<{width}}  {r.detail}" for r in self.results]
        return "\n".join([repr(self.subject), *lines])


def check(value: Any, rng: np.random.Generator | int | None = 0) -> Check:
    """Run every contract on a normalizer, a family or a transformation; raises `InputError` for anything else."""
    contracts = next((found for kind, found in CONTRACTS.items() if isinstance(value, kind)), None)
    if contracts is None:
        raise InputError(f"check got a {type(value).__name__}: give a Normalizer, a Family or a Transformation")
    generator = np.random.default_rng(rng)
    results = []
    for contract in contracts:
        try:
            passed, detail = True, contract(value, generator)
        except (Broken, ArithmeticError, InputError) as broken:
            passed, detail = False, str(broken)
        results.append(Result(inspect.cleandoc(contract.__doc__ or contract.__name__), passed, detail))
    return Check(value, tuple(results))


def _small(defect: Any, scale: Any, tolerance: float, what: str) -> str:
    """The evidence text when |defect| <= tolerance·scale; raises `Broken` otherwise, nan included."""
    relative = defect / scale if scale > 0 else defect
    if not relative <= tolerance:
        raise Broken(f"{what}: relative defect {relative:.2g} > {tolerance:g}")
    return f"{what}: relative defect {relative:.1g}"


def _example(normalizer: Normalizer, rng: np.random.Generator) -> tuple[Floats, Params]:
    """Generic inputs and parameters."""
    X, W = example(normalizer, rng)
    gain = rng.uniform(0.5, 1.5, len(W)) if normalizer.has_gain else None
    return X, Params(W, 0.3 * rng.normal(size=len(W)), gain)


def tangent_is_the_derivative(normalizer: Normalizer, rng: np.random.Generator) -> str:
    """the tangent is the derivative of the value"""
    X, p = _example(normalizer, rng)
    dW = rng.normal(size=p.weight.shape)
    truth = normalizer(X.astype(complex), p.weight + 1j * _STEP * dW).value.imag / _STEP
    defect = np.abs(normalizer(X, p.weight).jvp(dW) - truth).max()
    return _small(defect, np.abs(truth).max(), 1e-11, "against the complex step")


def adjoints_match(normalizer: Normalizer, rng: np.random.Generator) -> str:
    """jvp and vjp are adjoint"""
    X, p = _example(normalizer, rng)
    at = normalizer(X, p.weight)
    dW, dA = rng.normal(size=p.weight.shape), rng.normal(size=at.value.shape)
    forward, backward = (at.jvp(dW) * dA).sum(), (dW * at.vjp(dA)).sum()
    size = np.linalg.norm(at.jvp(dW)) * np.linalg.norm(dA)
    return _small(abs(forward - backward), size, 1e-12, "⟨Ju, v⟩ - ⟨u, Jᵀv⟩")


def fisher_is_the_expected_square(normalizer: Normalizer, rng: np.random.Generator) -> str:
    """F is the mean of Jᵀ Cov J, and positive semidefinite"""
    X, p = _example(normalizer, rng)
    model = GLM(bernoulli, normalizer)
    basis = model.unravel(np.eye(p.size), p.units)

    def natural(k: int) -> Any:
        moved = normalizer(X.astype(complex), p.weight + 1j * _STEP * basis.weight[k]).value
        gain = 1 if p.gain is None or basis.gain is None else p.gain + 1j * _STEP * basis.gain[k]
        return gain * moved + p.bias + 1j * _STEP * basis.bias[k]

    J = np.stack([natural(k).imag / _STEP for k in range(p.size)])
    probability = 1 / (1 + np.exp(-natural(0).real))
    truth = np.einsum("pnh,nh,qnh->pq", J, probability * (1 - probability), J) / len(X)
    F = fisher(model, p, X).to_dense()
    if np.linalg.eigvalsh(F).min() < -1e-12 * np.abs(F).max():
        raise Broken("F has a negative eigenvalue")
    return _small(np.abs(F - truth).max(), np.abs(truth).max(), 1e-11, "against complex-step Jacobians")


def table_row_is_true(normalizer: Normalizer, rng: np.random.Generator) -> str:
    """every cell of its row of the invariance table is decided, and confirmed in numbers"""
    X, p = _example(normalizer, rng)
    worst, proofs = 0.0, 0
    for transformation in TRANSFORMATIONS:
        verdict = prove(normalizer, transformation)
        if verdict:
            defect, size = invariance_defect(normalizer, transformation, X, p.weight, rng)
            worst, proofs = max(worst, defect / size), proofs + 1
        elif verdict.witness is None or bool(verdict.witness.before == verdict.witness.after):
            raise Broken(f"{transformation.name}: refuted without a witness")
    return _small(worst, 1.0, 1e-9, f"{proofs} proofs, {len(TRANSFORMATIONS) - proofs} witnesses")


def blocks_scale_as_stated(normalizer: Normalizer, rng: np.random.Generator) -> str:
    """the Fisher blocks scale as fisher_scaling says"""
    X, p = _example(normalizer, rng)
    worst, laws = 0.0, 0
    for transformation in TRANSFORMATIONS:
        law = fisher_scaling(normalizer, transformation)
        if law.congruent or any(p.site.value == "a" for p in transformation.parameters):
            continue
        values = [_constant(parameter, X, p.weight) for parameter in transformation.parameters]
        moved = transformation.act(State(X, p.weight), values)
        model = GLM(gaussian, normalizer)  # its Cov[y|x] does not depend on z, so that every stated law must show
        before = fisher(model, p, X).to_dense()
        after = fisher(model, Params(moved.W, p.bias, p.gain), moved.X).to_dense()
        for name, factor in law.at(2).items():
            if factor is None:
                continue
            rows, columns = (_places(p, letter) for letter in name)
            expected = float(factor) * before[np.ix_(rows, columns)]
            worst = max(worst, float(np.abs(after[np.ix_(rows, columns)] - expected).max() / np.abs(before).max()))
            laws += 1
    return _small(worst, 1.0, 1e-9, f"{laws} laws")


def null_space_is_explained(normalizer: Normalizer, rng: np.random.Generator) -> str:
    """the null space of F is explained by generators"""
    X, p = _example(normalizer, rng)
    found = symmetries(GLM(bernoulli, normalizer), p, X)
    if found.unexplained:
        raise Broken(f"{found.unexplained} of {found.nullity} null directions have no generator")
    return f"nullity {found.nullity}"


def mean_is_the_derivative(family: Family, rng: np.random.Generator) -> str:
    """mean and covariance are the derivatives of the cumulant"""
    theta, step = rng.normal(size=(5, 4)), 1e-5
    mean, hessian = family.mean(theta), family.hessian(theta).dense()
    worst = 0.0
    for k, e in enumerate(np.eye(4)):
        slope = (family.cumulant_value(theta + step * e) - family.cumulant_value(theta - step * e)) / (2 * step)
        worst = max(worst, float(np.abs((slope if family.coupled else slope[:, k]) - mean[:, k]).max()))
        curve = (family.mean(theta + step * e) - family.mean(theta - step * e)) / (2 * step)
        worst = max(worst, float(np.abs(curve - hessian[:, :, k]).max()))
    return _small(worst, float(np.abs(hessian).max()), 1e-8, "against central differences")


def samples_have_the_moments(family: Family, rng: np.random.Generator) -> str:
    """samples lie in the support and have mean η' and covariance φ η''"""
    draws, theta = 20_000, 0.5 * rng.normal(size=(1, 3))
    mean, covariance = family.mean(theta)[0], family.hessian(theta).dense()[0]
    y = family.encode(family.draw(np.repeat(mean[None], draws, axis=0), 1.0, rng), (draws, 3))
    error = np.abs(y.mean(axis=0) - mean) / np.sqrt(np.diag(covariance) / draws)
    spread = np.abs(np.cov(y.T) - covariance).max() / np.abs(covariance).max()
    if error.max() > 5 or spread > 0.1:
        raise Broken(f"mean off by {error.max():.1f} standard errors, covariance by {spread:.1%}")
    return f"mean within {error.max():.1f} standard errors, covariance within {spread:.1%}"


def root_squares_to_the_hessian(family: Family, rng: np.random.Generator) -> str:
    """the root B of η'' satisfies BᵀB = η''"""
    hessian = family.hessian(rng.normal(size=(5, 4)))
    B = np.stack([hessian.root(np.broadcast_to(e, (5, 4))) for e in np.eye(4)], axis=-1)
    truth = hessian.dense()
    return _small(np.abs(np.swapaxes(B, 1, 2) @ B - truth).max(), np.abs(truth).max(), 1e-13, "BᵀB - η''")


def identity_changes_nothing(transformation: Transformation, rng: np.random.Generator) -> str:
    """at the identity parameter nothing changes"""
    X, W = rng.normal(size=(6, 4)), rng.normal(size=(3, 4))
    if not transformation.parameters:
        return "it has no parameter"
    values = [_constant(parameter, X, W, identity=True) for parameter in transformation.parameters]
    moved = transformation.act(State(X, W), values)
    shift = 0.0 if moved.shift is None else np.abs(moved.shift).max()
    defect = max(np.abs(moved.X - X).max(), np.abs(moved.W - W).max(), shift)
    return _small(float(defect), 1.0, 0.0, "X, W and A")


def column_is_true(transformation: Transformation, rng: np.random.Generator) -> str:
    """every cell of its column of the invariance table is decided, and confirmed in numbers"""
    worst, proofs = 0.0, 0
    for normalizer in ZOO:
        if prove(normalizer, transformation):
            X, p = _example(normalizer, rng)
            defect, size = invariance_defect(normalizer, transformation, X, p.weight, rng)
            worst, proofs = max(worst, defect / size), proofs + 1
    return _small(worst, 1.0, 1e-9, f"{proofs} proofs, {len(ZOO) - proofs} witnesses")


CONTRACTS: dict[type, tuple[Callable[[Any, np.random.Generator], str], ...]] = {
    Normalizer: (
        tangent_is_the_derivative,
        adjoints_match,
        fisher_is_the_expected_square,
        table_row_is_true,
        blocks_scale_as_stated,
        null_space_is_explained,
    ),
    Family: (mean_is_the_derivative, samples_have_the_moments, root_squares_to_the_hessian),
    Transformation: (identity_changes_nothing, column_is_true),
}


def invariance_defect(
    normalizer: Normalizer, transformation: Transformation, X: Floats, W: Floats, rng: np.random.Generator
) -> tuple[float, float]:
    """How much Â changes under the transformation with random parameters, and the size of Â."""
    values = [random_value(parameter, X, W, rng) for parameter in transformation.parameters]
    moved = transformation.act(State(X, W), values)
    before = normalizer(X, W).value
    expected = before if moved.order is None else before[:, moved.order]
    after = normalizer(moved.X, moved.W, moved.shift).value
    return float(np.abs(after - expected).max()), float(np.abs(before).max())


def _constant(parameter: Parameter, X: Floats, W: Floats, identity: bool = False) -> Any:
    """δ = 2 and γ = 1 everywhere, or the parameters that leave everything as it is."""
    if parameter.symbol == "pi":
        return np.arange(len(W))
    if parameter.symbol == "Q":
        return np.eye(X.shape[1])
    level = float(parameter.positive) if identity else 1.0 + parameter.positive
    return np.full(shape_of(parameter, X, W), level)


def _places(p: Params, letter: str) -> Any:
    size = p.size // p.units
    place = np.arange(p.size) % size
    return np.flatnonzero({"w": place < p.inputs, "b": place == p.inputs, "g": place == p.inputs + 1}[letter])

"""What must be true of every normalizer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..families import ZOO as FAMILIES
from ..families import Family, Floats, bernoulli, gaussian
from ..information.matrices import fisher
from ..invariance.numbers import random_value
from ..invariance.proof import prove
from ..invariance.scaling import fisher_scaling
from ..invariance.symmetries import symmetries
from ..model import GLM, Params
from ..normalizers import Normalizer
from ..transformations import TRANSFORMATIONS, State
from .evidence import Broken, invariance_defect, random_model, small
from .families import typical

_STEP = 1e-30  # complex step


def _slope(normalizer: Normalizer, X: Floats, W: Floats, dW: Floats) -> Floats:
    """dÂ from values alone: by the complex step, or by differences where a function may not take complex arrays."""
    if not normalizer.opaque:
        return normalizer(X.astype(complex), W + 1j * _STEP * dW).value.imag / _STEP

    def difference(h: float) -> Floats:
        near, far = (normalizer(X, W + k * h * dW).value - normalizer(X, W - k * h * dW).value for k in (1, 2))
        return np.asarray((8 * near - far) / (12 * h))

    tries = [difference(h) for h in (1e-3, 1e-4, 1e-5, 1e-6)]
    gaps = [np.abs(a - b).max() for a, b in itertools.pairwise(tries)]  # large where a kink lies between
    return tries[int(np.argmin(gaps))]


def _tolerances(normalizer: Normalizer) -> tuple[float, float, str]:
    """For derivatives against values, for adjoints, and what the derivatives are compared with."""
    return (1e-6, 1e-7, "differences") if normalizer.opaque else (1e-11, 1e-12, "the complex step")


def tangent_is_the_derivative(normalizer: Normalizer, rng: np.random.Generator) -> str:
    """the tangent is the derivative of the value"""
    X, p = random_model(normalizer, rng)
    dW = rng.normal(size=p.weight.shape)
    truth, (tolerance, _, how) = _slope(normalizer, X, p.weight, dW), _tolerances(normalizer)
    defect = np.abs(normalizer(X, p.weight).jvp(dW) - truth).max()
    return small(defect, np.abs(truth).max(), tolerance, f"against {how}")


def adjoints_match(normalizer: Normalizer, rng: np.random.Generator) -> str:
    """jvp and vjp are adjoint"""
    X, p = random_model(normalizer, rng)
    at = normalizer(X, p.weight)
    dW, dA = rng.normal(size=p.weight.shape), rng.normal(size=at.value.shape)
    forward, backward = (at.jvp(dW) * dA).sum(), (dW * at.vjp(dA)).sum()
    size = np.linalg.norm(at.jvp(dW)) * np.linalg.norm(dA)
    return small(abs(forward - backward), size, _tolerances(normalizer)[1], "⟨Ju, v⟩ - ⟨u, Jᵀv⟩")


def fisher_is_the_expected_square(normalizer: Normalizer, rng: np.random.Generator) -> str:
    """F is the mean of Jᵀ Cov J, and positive semidefinite"""
    X, p = random_model(normalizer, rng)
    model = GLM(bernoulli, normalizer)
    basis, value = model.unravel(np.eye(p.size), p.units), normalizer(X, p.weight).value
    gain = np.ones(p.units) if p.gain is None else p.gain

    def column(k: int) -> Any:
        change = gain * _slope(normalizer, X, p.weight, basis.weight[k]) + basis.bias[k]
        return (change if basis.gain is None else change + basis.gain[k] * value).reshape(-1, p.units)

    J = np.stack([column(k) for k in range(p.size)])
    probability = bernoulli.mean((gain * value + p.bias).reshape(-1, p.units))
    truth = np.einsum("pnh,nh,qnh->pq", J, probability * (1 - probability), J) / len(probability)
    F = fisher(model, p, X).to_dense()
    if np.linalg.eigvalsh(F).min() < -1e-12 * np.abs(F).max():
        raise Broken("F has a negative eigenvalue")
    tolerance, _, how = _tolerances(normalizer)
    return small(np.abs(F - truth).max(), np.abs(truth).max(), tolerance, f"against Jacobians by {how}")


def table_row_is_true(normalizer: Normalizer, rng: np.random.Generator) -> str:
    """every cell of its row of the invariance table is decided, and confirmed in numbers"""
    X, p = random_model(normalizer, rng)
    worst, proofs = 0.0, 0
    for transformation in TRANSFORMATIONS:
        verdict = prove(normalizer, transformation)
        if verdict:
            defect, size = invariance_defect(normalizer, transformation, X, p.weight, rng)
            worst, proofs = max(worst, defect / size), proofs + 1
        elif verdict.witness is None or bool(verdict.witness.before == verdict.witness.after):
            raise Broken(f"{transformation.name}: refuted without a witness")
    known = "seen in numbers" if normalizer.opaque else "proofs"
    return small(worst, 1.0, 1e-9, f"{proofs} {known}, {len(TRANSFORMATIONS) - proofs} witnesses")


def blocks_scale_as_stated(normalizer: Normalizer, rng: np.random.Generator) -> str:
    """the Fisher blocks scale as fisher_scaling says, for each pair of units"""
    X, p = random_model(normalizer, rng)
    model = GLM(gaussian, normalizer)
    root = rng.normal(size=(p.units, p.units))
    C = root @ root.T  # couples all units: where outputs are independent, most pairs of units have an empty block
    before = _metric(model, p, X, C)
    worst, laws = 0.0, 0
    for transformation in TRANSFORMATIONS:
        law = fisher_scaling(normalizer, transformation)
        if law.congruent or any(parameter.site.value == "a" for parameter in transformation.parameters):
            continue
        values = [random_value(parameter, X, p.weight, rng) for parameter in transformation.parameters]
        moved = transformation.act(State(X, p.weight), values)
        after = _metric(model, Params(moved.W, p.bias, p.gain), moved.X, C)
        laws += sum(factor is not None for factor in law.blocks.values())
        for i, j in np.ndindex(p.units, p.units):
            for name, factor in law.between(i, j, values).items():
                if factor is not None:
                    block = np.ix_(_places(p, i, name[0]), _places(p, j, name[1]))
                    worst = max(worst, float(np.abs(after[block] - float(factor) * before[block]).max()))
    return small(worst, np.abs(before).max(), max(1e-9, _tolerances(normalizer)[1]), f"{laws} laws")


def _metric(model: GLM, p: Params, X: Floats, C: Floats) -> Floats:
    """The mean of JᵀCJ."""
    J = model.linearize(p, X).columns().reshape(p.size, -1, p.units)
    return np.einsum("pnh,qnh->pq", J @ C, J) / J.shape[1]


def _places(p: Params, unit: int, letter: str) -> list[int]:
    """Where the weights, the bias or the gain of a unit are among the parameters."""
    start = unit * (p.size // p.units)
    return {"w": [*range(start, start + p.inputs)], "b": [start + p.inputs], "g": [start + p.inputs + 1]}[letter]


def null_space_is_explained(normalizer: Normalizer, rng: np.random.Generator) -> str:
    """the null space of F is explained by generators, for every family, on generic and on degenerate data"""
    if normalizer.opaque:
        return "not asked of a function, whose cells are not known"
    X, p = random_model(normalizer, rng)
    found = []
    for kind, data in _data_sets(X, rng):
        reach = float(np.abs(normalizer(data, p.weight).value).max())
        for family in (f for f in FAMILIES if f.units in (None, p.units)):
            result = symmetries(GLM(family, normalizer), _inside(family, p, reach, rng), data)
            if result.unexplained:
                raise Broken(
                    f"{result.unexplained} of {result.nullity} null directions have no generator ({family.name}, {kind})"
                )
            if result.lost:
                raise Broken(f"{result.lost} null directions are proved, but lost in rounding ({family.name}, {kind})")
            found.append(result.nullity)
    return f"nullity {min(found)}" + (f" to {max(found)}" if max(found) > min(found) else "")


def _data_sets(X: Floats, rng: np.random.Generator) -> Iterator[tuple[str, Floats]]:
    """Generic inputs, and inputs whose rows repeat or depend on each other."""
    yield "generic data", X
    yield "data with repeated rows", np.concatenate([X, X[:3], X[:3]])
    yield "dependent inputs", np.concatenate([X[..., :-1], X[..., :1] - 2 * X[..., 1:2]], axis=-1)
    mixed = X.copy()
    mixed[..., 0] = 0  # the cases 0 to 2 alone have a part along the first direction, and no other part
    mixed[:3] = 0
    mixed[:3, ..., 0] = np.resize([1, 1, 2], mixed[:3, ..., 0].shape)
    yield "data with rows along one direction of their own", mixed @ rng.normal(size=(X.shape[-1], X.shape[-1]))


def _inside(family: Family, p: Params, reach: float, rng: np.random.Generator) -> Params:
    """Parameters whose Z stay near admissible natural parameters of the family; ``reach`` is max |Â|."""
    bias, scale = typical(family, rng, 1, p.units)[0], 0.02 * min(1, 10 / reach)
    if p.gain is None:
        return Params(scale * p.weight, bias)
    return Params(p.weight, bias, scale * p.gain)


CONTRACTS = (
    tangent_is_the_derivative,
    adjoints_match,
    fisher_is_the_expected_square,
    table_row_is_true,
    blocks_scale_as_stated,
    null_space_is_explained,
)

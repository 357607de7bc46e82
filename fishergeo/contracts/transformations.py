"""What must be true of every transformation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..families import Floats
from ..invariance.numbers import shape_of
from ..invariance.proof import prove
from ..normalizers import ZOO
from ..transformations import Parameter, State, Transformation
from .evidence import invariance_defect, random_model, small


def identity_changes_nothing(transformation: Transformation, rng: np.random.Generator) -> str:
    """at the identity parameter nothing changes"""
    X, W = rng.normal(size=(6, 4)), rng.normal(size=(3, 4))
    if not transformation.parameters:
        return "it has no parameter"
    values = [_identity(parameter, X, W) for parameter in transformation.parameters]
    moved = transformation.act(State(X, W), values)
    shift = 0.0 if moved.shift is None else np.abs(moved.shift).max()
    defect = max(np.abs(moved.X - X).max(), np.abs(moved.W - W).max(), shift)
    return small(float(defect), 1.0, 0.0, "X, W and A")


def column_is_true(transformation: Transformation, rng: np.random.Generator) -> str:
    """every cell of its column of the invariance table is decided, and confirmed in numbers"""
    worst, proofs = 0.0, 0
    for normalizer in ZOO:
        if prove(normalizer, transformation):
            X, p = random_model(normalizer, rng)
            defect, size = invariance_defect(normalizer, transformation, X, p.weight, rng)
            worst, proofs = max(worst, defect / size), proofs + 1
    return small(worst, 1.0, 1e-9, f"{proofs} proofs, {len(ZOO) - proofs} witnesses")


CONTRACTS = (identity_changes_nothing, column_is_true)


def _identity(parameter: Parameter, X: Floats, W: Floats) -> Any:
    """The parameter that leaves everything as it is: δ = 1, γ = 0, no permutation, no rotation."""
    if parameter.symbol == "pi":
        return np.arange(len(W))
    if parameter.symbol == "Q":
        return np.eye(X.shape[-1])
    return np.full(shape_of(parameter, X, W), float(parameter.positive))

"""What contracts share: how a defect is judged, random models, and how much Â changes under a transformation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..families import Floats
from ..invariance.numbers import example, random_value
from ..model import Params
from ..normalizers import Normalizer
from ..transformations import State, Transformation


class Broken(AssertionError):
    """A contract that does not hold, with the size of the defect."""


def small(defect: Any, scale: Any, tolerance: float, what: str) -> str:
    """The evidence text when |defect| <= tolerance·scale; raises `Broken` otherwise, nan included."""
    relative = defect / scale if scale > 0 else defect
    if not relative <= tolerance:
        raise Broken(f"{what}: relative defect {relative:.2g} > {tolerance:g}")
    return f"{what}: relative defect {relative:.1g}"


def random_model(normalizer: Normalizer, rng: np.random.Generator) -> tuple[Floats, Params]:
    """Generic inputs and parameters."""
    X, W = example(normalizer, rng)
    gain = rng.uniform(0.5, 1.5, len(W)) if normalizer.has_gain else None
    return X, Params(W, 0.3 * rng.normal(size=len(W)), gain)


def invariance_defect(
    normalizer: Normalizer, transformation: Transformation, X: Floats, W: Floats, rng: np.random.Generator
) -> tuple[float, float]:
    """How much Â changes under the transformation with random parameters, and the size of Â."""
    values = [random_value(parameter, X, W, rng) for parameter in transformation.parameters]
    moved = transformation.act(State(X, W), values)
    before = normalizer(X, W).value
    expected = before if moved.order is None else before[..., moved.order]
    after = normalizer(moved.X, moved.W, moved.shift).value
    return float(np.abs(after - expected).max()), float(np.abs(before).max())

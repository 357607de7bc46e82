"""Random models and parameters on which a symbolic result is tried in floating point."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..axes import Axis
from ..families import Floats
from ..normalizers import Normalizer
from ..transformations import Parameter


def example(normalizer: Normalizer, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Generic inputs X and weights W, all sizes different and above the normalizer's minimum."""
    least = normalizer.minimum()
    units = next((u for s in normalizer.summed if (u := getattr(s, "units", None)) is not None), None)
    H = units or max(3, least[Axis.UNIT])
    D = max(4, least[Axis.INPUT], H + 1)
    N = max(6 * D, least[Axis.SAMPLE])
    X = rng.normal(size=(N, D)) + 0.3
    return X, rng.normal(size=(H, D))


def shape_of(parameter: Parameter, X: Floats, W: Floats) -> tuple[int, ...]:
    """The shape in which a parameter broadcasts against its site."""
    sizes = {Axis.SAMPLE: len(X), Axis.UNIT: len(W), Axis.INPUT: X.shape[1]}
    return tuple(sizes[axis] if axis in parameter.axes else 1 for axis in parameter.site.layout(2))


def random_value(parameter: Parameter, X: Floats, W: Floats, rng: np.random.Generator) -> Any:
    """A random permutation, rotation, factor > 0 or shift."""
    if parameter.symbol == "pi":
        return rng.permutation(len(W))
    if parameter.symbol == "Q":
        return np.linalg.qr(rng.normal(size=(X.shape[1], X.shape[1])))[0]
    shape = shape_of(parameter, X, W)
    return rng.uniform(0.5, 2.0, shape) if parameter.positive else rng.normal(size=shape)

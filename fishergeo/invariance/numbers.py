"""Random models and parameters on which a symbolic result is tried in floating point."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..axes import Axis, Site
from ..errors import InputError
from ..families import Floats
from ..normalizers import Normalizer
from ..transformations import Parameter, Transformation


def example(normalizer: Normalizer, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Generic inputs X and weights W, all sizes different and above the normalizer's minimum.

    Sizes grow where one stage leaves nothing to another, as a first unit less its own mean leaves no weights to divide.
    """
    for times in (1,) if normalizer.opaque else (1, 2, 3):
        X, W = _generic(normalizer, rng, times)
        try:
            normalizer(X, W)
        except InputError:
            continue
        break
    return X, W


def _generic(normalizer: Normalizer, rng: np.random.Generator, times: int) -> tuple[Floats, Floats]:
    least, multiple = normalizer.minimum(), normalizer.multiples()

    def size(axis: Axis, wanted: int) -> int:
        return -(-max(wanted, least[axis]) // multiple[axis]) * multiple[axis]

    H = normalizer.units or size(Axis.UNIT, 3 * times)
    D = size(Axis.INPUT, max(4 * times, H + 1))
    N = size(Axis.SAMPLE, 6 * D)
    positions = (size(Axis.POSITION, min(5, normalizer.positions or 5)),) if normalizer.tells_positions_apart else ()
    X = rng.normal(size=(N, *positions, D)) + 0.3
    return X, rng.normal(size=(H, D))


def with_positions(normalizer: Normalizer, transformation: Transformation) -> bool:
    """Whether a cell or a parameter distinguishes positions from cases; otherwise positions are more cases."""
    return normalizer.tells_positions_apart or any(Axis.POSITION in p.axes for p in transformation.parameters)


def shape_of(parameter: Parameter, X: Floats, W: Floats) -> tuple[int, ...]:
    """The shape in which a parameter broadcasts against its site."""
    layout = parameter.site.layout(X.ndim)
    sizes = {Axis.UNIT: len(W), **dict(zip(Site.INPUTS.layout(X.ndim), X.shape, strict=True))}
    return tuple(sizes[axis] if axis in parameter.axes else 1 for axis in layout)


def random_value(parameter: Parameter, X: Floats, W: Floats, rng: np.random.Generator) -> Any:
    """A random permutation (not the identity, where there is another), rotation, factor > 0 or shift."""
    if parameter.symbol == "pi":
        order = rng.permutation(len(W))
        return np.roll(order, 1) if (order == np.arange(len(W))).all() else order
    if parameter.symbol == "Q":
        return np.linalg.qr(rng.normal(size=(X.shape[-1], X.shape[-1])))[0]
    shape = shape_of(parameter, X, W)
    return rng.uniform(0.5, 2.0, shape) if parameter.positive else rng.normal(size=shape)

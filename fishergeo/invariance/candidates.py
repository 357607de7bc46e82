"""Small models and simple parameters, in the order in which a counterexample is looked for among them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from ..axes import Axis, Site
from ..errors import InputError
from ..normalizers import Normalizer
from ..transformations import Parameter, Transformation
from .numbers import with_positions

_HEIGHTS = ((0, 1), (0, 1, -1), (0, 1, 2, -1), (0, 1, 2, 3, -1, -2))
_PER_SIZE = 128  # candidates tried at one size and height before the next
_TURNS = (((0, -1), (1, 0)), ((Fraction(3, 5), Fraction(-4, 5)), (Fraction(4, 5), Fraction(3, 5))))  # rational rotations


def sizes_of(normalizer: Normalizer, transformation: Transformation) -> Iterator[dict[Axis, int]]:
    least, multiple = normalizer.minimum(), normalizer.multiples()
    units = normalizer.units
    if units is not None and (units < least[Axis.UNIT] or units % multiple[Axis.UNIT]):
        raise InputError(
            f"{normalizer.name} has statistics of {units} units but its cells need H >= {least[Axis.UNIT]}, a multiple "
            f"of {multiple[Axis.UNIT]}: no model has both; give statistics of as many units"
        )
    for parameter in transformation.parameters:
        if parameter.symbol in ("pi", "Q"):
            (axis,) = parameter.axes
            least[axis] = max(least[axis], 2)
    axes = [Axis.SAMPLE, Axis.INPUT, Axis.UNIT]
    if with_positions(normalizer, transformation):
        axes.insert(1, Axis.POSITION)
    start = {axis: least[axis] for axis in axes}
    if units is not None:  # frozen statistics fix the number of units
        start[Axis.UNIT] = units
        axes.remove(Axis.UNIT)
    grown = itertools.product(range(3), repeat=len(axes))
    sizes = (
        start | {axis: start[axis] + k * multiple[axis] for axis, k in zip(axes, more, strict=True)}
        for more in sorted(grown, key=lambda more: (sum(more), more))
    )
    most = normalizer.positions  # frozen statistics may be of some positions only
    yield from (size for size in sizes if most is None or size[Axis.POSITION] <= most)


def shapes_of(size: dict[Axis, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of X and W at given sizes; X has positions where the sizes have."""
    layout = Site.INPUTS.layout(2 + (Axis.POSITION in size))
    return tuple(size[axis] for axis in layout), tuple(size[axis] for axis in Site.WEIGHT.layout(2))


def simple_values(parameters: tuple[Parameter, ...], size: dict[Axis, int], signed: bool) -> Iterator[tuple[Any, ...]]:
    """Simple parameters: δ = 2 (in one place, 1 elsewhere), γ = 1 (in one place, 0 elsewhere), a swap, a rotation."""
    choices: list[list[Any]] = []
    for parameter in parameters:
        if parameter.symbol == "pi":
            units = size[Axis.UNIT]
            orders = [np.arange(units) for _ in range(1, min(units, 3))]
            for order, other in zip(orders, (1, units - 1), strict=False):  # neighbours, and the first with the last
                order[[0, other]] = other, 0
            choices.append(orders)
            continue
        if parameter.symbol == "Q":
            D = size[Axis.INPUT]
            planes = [[0, 1], [0, D - 1]][: D - 1]  # the first axis and the last are of two groups, where there are
            turns = [np.eye(D, dtype=int).astype(object) for _ in planes for _ in _TURNS]
            for turn, (plane, corner) in zip(turns, itertools.product(planes, _TURNS), strict=True):
                turn[np.ix_(plane, plane)] = corner
            choices.append(turns)
            continue
        layout = parameter.site.layout(2 + (Axis.POSITION in size))
        shape = tuple(size[axis] if axis in parameter.axes else 1 for axis in layout)
        special, elsewhere = ((-1 if signed else 2), 1) if parameter.positive else (1, 0)
        value = np.full(shape, elsewhere, dtype=object)
        value.flat[0] = special
        options = [value] if value.size == 1 else [value, np.full(shape, special, dtype=object)]
        if signed:  # two factors -1 can cancel: each also stays what it is
            options.append(np.full(shape, elsewhere, dtype=object))
        choices.append(options)
    return itertools.product(*choices)


def count_models(ours: tuple[int, ...], theirs: tuple[int, ...]) -> Iterator[tuple[Any, Any]]:
    inputs, weights = math.prod(ours), math.prod(theirs)
    for heights in _HEIGHTS:
        for entries in itertools.islice(itertools.product(heights, repeat=inputs + weights), _PER_SIZE):
            # the first entries vary slowest: reversed, so that X and W both vary early
            flat = np.array(entries[::-1], dtype=object)
            yield flat[:inputs].reshape(ours), flat[inputs:].reshape(theirs)


def draw_model(size: dict[Axis, int], rng: np.random.Generator, parts: int = 1) -> tuple[Any, Any]:
    """Whole numbers from -2 to 2, or as many parts of a whole: a function may not tell whole numbers apart."""
    X, W = (rng.integers(-2, 3, shape).astype(object) for shape in shapes_of(size))
    return (X, W) if parts == 1 else (X * Fraction(1, parts), W * Fraction(1, parts))

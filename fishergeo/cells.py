"""The cells of an array: the sets of entries that are standardized together, and sums over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .errors import InputError

Array = Any  # whatever supports arithmetic, .sum(axis=, keepdims=) and .shape: NumPy, exact, symbolic, index notation


@dataclass(frozen=True)
class First:
    """The first ⌈pK⌉ of K entries, 0 < p <= 1 (``rounding=math.floor``: the first ⌊pK⌋), as in partial RMS norm.

    Raises `InputError` for a fraction outside (0, 1] and any other rounding.  Source: Zhang, Sennrich 2019, section 3.2.
    """

    fraction: Fraction
    rounding: Callable[[Any], int] = math.ceil

    def __post_init__(self) -> None:
        try:
            exact = not isinstance(self.fraction, float)
            fraction = Fraction(self.fraction if exact else str(self.fraction)) * (not isinstance(self.fraction, bool))
        except (TypeError, ValueError, OverflowError):
            fraction = Fraction(0)
        if not 0 < fraction <= 1:
            raise InputError(f"First got fraction={self.fraction!r}: give a number p with 0 < p <= 1, e.g. 1/16")
        if self.rounding not in (math.ceil, math.floor):
            raise InputError(f"First got rounding={self.rounding!r}: use math.ceil or math.floor")
        object.__setattr__(self, "fraction", fraction)

    def __repr__(self) -> str:
        return f"First({self.fraction}{'' if self.rounding is math.ceil else ', rounding=math.floor'})"

    def of(self, size: Any) -> Any:
        """How many of ``size`` entries: a number, or an expression when the size is a symbol."""
        if isinstance(size, int):
            return self.rounding(self.fraction * size)
        import sympy

        rounding = sympy.ceiling if self.rounding is math.ceil else sympy.floor
        return rounding(size * sympy.Rational(self.fraction.numerator, self.fraction.denominator))

    def least(self, count: int) -> int:
        """The smallest size of which ``count`` entries or more enter."""
        if self.rounding is math.ceil:
            return math.floor((count - 1) / self.fraction) + 1
        return math.ceil(count / self.fraction)


@dataclass(frozen=True)
class Cells:
    """Cells along ``axes`` (counted from the last), each of ``count`` entries that enter the moments.

    ``groups`` splits an axis into that many runs of equal length, each with cells of its own; ``share`` is 1 for the
    entries that enter the moments and 0 for the others (None: all enter).
    """

    axes: tuple[int, ...]
    count: Any
    groups: tuple[tuple[int, int], ...] = ()
    share: Array | None = None

    @classmethod
    def of(cls, t: Array, axes: tuple[int, ...], groups: Mapping[int, int], first: First | None) -> Cells:
        """The cells of ``t``; ``first`` keeps to the first entries of the one axis there is."""
        if first is not None:
            (axis,) = axes
            count = first.of(t.shape[axis])
            return cls(axes, count, share=_leading(t, axis, first, count))
        size = math.prod(t.shape[k] for k in axes)
        parts = math.prod(groups.values())
        return cls(axes, size // parts if isinstance(size, int) else size / parts, tuple(groups.items()))

    def total(self, x: Array) -> Array:
        """Σ over all entries of each cell, in a shape that broadcasts against ``x``."""
        if not self.groups:
            return x.sum(axis=self.axes, keepdims=True)
        if hasattr(x, "group_sum"):
            return x.group_sum(self.axes, self.groups)
        return _group_sum(x, self.axes, dict(self.groups))

    def sum(self, x: Array) -> Array:
        """Σ over the entries of each cell that enter the moments."""
        return self.total(x if self.share is None else x * self.share)

    def inner(self, x: Array, y: Array) -> Array:
        """Σ xy over the entries of each cell that enter the moments."""
        if self.axes != (-1,) or self.groups or self.share is not None:
            return self.sum(x * y)
        return inner(x, y)


def inner(x: Array, y: Array) -> Array:
    """Σ xy along the last axis, which is kept; of NumPy arrays in one pass, whichever axis is contiguous."""
    if type(x) is np.ndarray and type(y) is np.ndarray and x.dtype == y.dtype == float:
        return np.einsum("...k,...k->...", x, y)[..., None]
    return (x * y).sum(axis=(-1,), keepdims=True)


def _group_sum(x: Any, axes: tuple[int, ...], groups: Mapping[int, int]) -> Any:
    """Group sums of a NumPy array, repeated for each entry of the group."""
    split: list[int] = []
    summed: list[int] = []
    wide: list[int] = []
    for k, size in enumerate(x.shape):
        axis = k - x.ndim
        if axis in groups:
            split.append(groups[axis])
            wide.append(groups[axis])
            size //= groups[axis]
        split.append(size)
        if axis in axes:
            summed.append(len(split) - 1)
        wide.append(size if axis in groups or axis not in axes else 1)
    sums = x.reshape(split).sum(axis=tuple(summed), keepdims=True)
    return np.broadcast_to(sums, wide).reshape(
        [1 if k - x.ndim in axes and k - x.ndim not in groups else size for k, size in enumerate(x.shape)]
    )


def _leading(t: Array, axis: int, first: First, count: Any) -> Array:
    """1 for the first ``count`` entries along ``axis``, 0 for the others."""
    if hasattr(t, "leading"):
        return t.leading(axis, first)
    exact = t.dtype == object
    marks = np.array([int(k < count) for k in range(t.shape[axis])], dtype=object if exact else float)
    return marks.reshape([-1] + [1] * (-axis - 1))

"""Standardization with given statistics, as batch norm uses at inference."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .axes import Axis
from .cells import Array, Cells
from .errors import InputError
from .standardize import Scale, Standardized, root, usable


@dataclass(frozen=True)
class Frozen:
    """Standardize with given statistics: t̂ = (t - mean)/sqrt(var + eps), an affine map along UNIT.

    ``mean`` and ``var`` are numbers, or sequences with one number for each unit (batch norm at inference).  Raises
    `InputError` for a negative or non-finite variance, and for means and variances of different numbers of units.
    """

    mean: Any
    var: Any
    eps: Any = 0
    center = True
    scale = Scale.STD
    over: frozenset[Axis] = frozenset()
    minimum = 1

    def __post_init__(self) -> None:
        for name in ("mean", "var"):
            value = getattr(self, name)
            array = _statistic(value)
            if array is None:
                raise InputError(f"frozen statistics got {name}={value!r}: give finite numbers, one for each unit")
            if array.ndim:
                object.__setattr__(self, name, tuple(array.tolist()))
        if np.ndim(self.mean) and np.ndim(self.var) and len(self.mean) != len(self.var):
            raise InputError(f"frozen statistics got {len(self.mean)} means and {len(self.var)} variances: give as many")
        if not usable(self.eps) or np.any(np.asarray(self.var) < 0) or np.any(np.asarray(self.var) + self.eps == 0):
            raise InputError(f"frozen statistics got var={self.var}, eps={self.eps}: var + eps must be positive")

    @property
    def has_eps(self) -> bool:
        return self.eps != 0

    @property
    def units(self) -> int | None:
        """The number of units the statistics are for; None when they are shared by all units."""
        return next((len(value) for value in (self.mean, self.var) if np.ndim(value)), None)

    def __call__(self, t: Array, layout: tuple[Axis, ...], who: str = "Frozen") -> Standardized:
        if isinstance(t.shape[-1], int) and self.units not in (None, t.shape[-1]):
            raise InputError(f"{who} got H={t.shape[-1]} units but statistics of {self.units}: give one for each unit")
        mean, var, eps = (self._as(t, symbol) for symbol in ("mean", "var", "eps"))
        sigma = root(var + eps)
        return Standardized((t - mean) / sigma, mean, sigma, Cells((), 1), frozen=True)

    def _as(self, t: Array, field: str) -> Array:
        """A statistic in the number system of ``t``: floats, exact rationals, or a symbol for each unit."""
        value = getattr(self, field)
        if isinstance(t, np.ndarray) and t.dtype.kind in "fc":
            return np.asarray(value, dtype=float)
        if np.ndim(value) and hasattr(t, "given"):
            return t.given(field, value)
        return np.vectorize(Fraction, otypes=[object])(value)


def _statistic(value: Any) -> Any:
    """A number or a sequence of numbers, in its own number system, as an array; None if it is anything else."""
    if isinstance(value, np.ma.MaskedArray):
        return None
    try:
        array = np.asarray(value)
        numbers = np.array([float(entry) for entry in array.ravel()] if array.dtype.kind in "iufO" else [np.nan])
    except (TypeError, ValueError, OverflowError):  # a ragged list, a complex number, None
        return None
    return array if array.ndim <= 1 and array.size and np.isfinite(numbers).all() else None

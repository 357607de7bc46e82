"""Standardization with given statistics, as batch norm uses at inference."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from .axes import Axis
from .cells import Array, Cells
from .errors import InputError, real_array
from .foreign import Foreign
from .standardize import Scale, Standardized, root, usable


@dataclass(frozen=True)
class Frozen:
    """Standardize with given statistics: t̂ = (t - mean)/sqrt(var + eps), an affine map along UNIT (and POSITION).

    ``mean`` and ``var`` are numbers, sequences with one number for each unit (H,) (batch norm at inference), or with one
    for each position and unit (S, H) (stepwise batch norm at inference; inputs of fewer positions use the first).  Raises
    `InputError` for a negative or non-finite variance, for means and variances of different sizes, and for inputs with
    more positions than there are statistics.
    """

    mean: Any
    var: Any
    eps: Any = 0
    center = True
    scale = Scale.STD
    over: ClassVar[frozenset[Axis]] = frozenset()
    minimum = 1

    def __post_init__(self) -> None:
        for name in ("mean", "var"):
            array = _statistic(name, getattr(self, name))
            if array.ndim:
                object.__setattr__(self, name, _tuples(array.tolist()))
        means, variances = (np.shape(value) for value in (self.mean, self.var))
        if any(a != b for a, b in zip(means[::-1], variances[::-1], strict=False)):
            given = (" x ".join(map(str, shape)) for shape in (means, variances))
            raise InputError("frozen statistics got {} means and {} variances: give as many".format(*given))
        if not usable(self.eps) or np.any(np.asarray(self.var) < 0) or np.any(np.asarray(self.var) + self.eps == 0):
            raise InputError(f"frozen statistics got var={self.var}, eps={self.eps}: var + eps must be positive")

    @property
    def has_eps(self) -> bool:
        return self.eps != 0

    @property
    def units(self) -> int | None:
        """The number of units the statistics are for; None when they are shared by all units."""
        return next((shape[-1] for value in (self.mean, self.var) if (shape := np.shape(value))), None)

    @property
    def positions(self) -> int | None:
        """The number of positions the statistics are for; None when they are shared by all positions."""
        return next((len(value) for value in (self.mean, self.var) if np.ndim(value) == 2), None)

    def __call__(self, t: Array, layout: tuple[Axis, ...], who: str = "Frozen") -> Standardized:
        sizes = dict(zip(layout, t.shape, strict=True))
        if isinstance(t.shape[-1], int) and self.units not in (None, t.shape[-1]):
            raise InputError(f"{who} got H={t.shape[-1]} units but statistics of {self.units}: give one for each unit")
        if self.positions is not None:
            self._check_positions(sizes.get(Axis.POSITION), who)
        mean, var, eps = (self._as(t, symbol) for symbol in ("mean", "var", "eps"))
        sigma = root(var + eps)
        return Standardized((t - mean) / sigma, mean, sigma, Cells((), 1), frozen=True)

    def _check_positions(self, got: Any, who: str) -> None:
        assert self.positions is not None
        if got is None:
            raise InputError(
                f"{who} has statistics for each of {self.positions} positions but X is (N, D); give X as (N, S, D)"
            )
        if isinstance(got, int) and got > self.positions:
            raise InputError(
                f"{who} got S={got} steps but statistics of {self.positions}: batch norm has no statistics past the "
                "longest sequence seen; cut the sequences, or use what needs none (layer_norm) or shares them among the "
                "steps (batch_norm)"
            )

    def _as(self, t: Array, field: str) -> Array:
        """A statistic in the number system of ``t``: floats, exact rationals, or a symbol for each entry."""
        value = getattr(self, field)
        if (np.ndim(value) or isinstance(t, Foreign)) and hasattr(t, "given"):
            return t.given(field, value)
        if np.ndim(value) == 2:
            value = value[: t.shape[-2]]
        if isinstance(t, np.ndarray) and t.dtype.kind in "fc":
            return np.asarray(value, dtype=float)
        return np.vectorize(Fraction, otypes=[object])(value)


def _tuples(values: list[Any]) -> tuple[Any, ...]:
    return tuple(tuple(value) if isinstance(value, list) else value for value in values)


def _statistic(name: str, value: Any) -> Any:
    """A number, or one or two axes of numbers, in its own number system, as an array."""
    who = f"frozen statistics got {name}={value!r:.60}"
    what = "finite numbers, one for each unit, or (S, H) of them, one for each position and unit"
    array = real_array(value, who, what, exact=True)
    try:
        finite = bool(np.isfinite(array.astype(float)).all())
    except OverflowError:
        finite = False
    if array.ndim > 2 or not array.size or not finite:
        raise InputError(f"{who}: give {what}")
    return array

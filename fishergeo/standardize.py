r"""The primitive: standardize an array along some of its axes, with its moments and its tangent.

A cell is the set of K entries t that share every index that is not in ``over``.  With c = t - mean(t) (or c = t when
not centered) and σ² = Σc²/K (std) or Σc² (norm),

    t̂ = c/σ,        dt̂ = (1/σ) (I - 11ᵀ/K - t̂ t̂ᵀ/K) dt

(11ᵀ/K is dropped when not centered, K is 1 in the last term for a norm).  The bracket is symmetric, so ``tangent`` is at
once the Jacobian-vector and the vector-Jacobian product.  The code asks of an array only arithmetic, ``sum``, ``shape``
and a square root: it runs on NumPy arrays, on object arrays of exact numbers or symbols, and on index-notation arrays.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np

from .axes import Axis
from .errors import InputError

Array = Any  # whatever supports arithmetic, .sum(axis=, keepdims=) and .shape; see the module docstring


class Scale(enum.Enum):
    """What a (centered) cell is divided by: nothing, its root mean square, or its Euclidean norm."""

    NONE = "nothing"
    STD = "root mean square"
    NORM = "Euclidean norm"


def _usable(eps: Any) -> bool:
    """Whether ε is a finite number >= 0, or a symbol that stands for one."""
    if not isinstance(eps, Real):
        return getattr(eps, "is_nonnegative", False) is True
    try:
        return not isinstance(eps, bool) and 0 <= float(eps) < math.inf
    except OverflowError:
        return False


def check_eps(eps: Any, who: str) -> None:
    """Refuse an ε that cannot be added to a variance, with `InputError`."""
    if not _usable(eps):
        raise InputError(f"{who} got eps={eps!r}: σ² + ε needs a finite ε >= 0; use e.g. eps=1e-5")


@dataclass(frozen=True)
class Standardize:
    """Standardize along the axes ``over``: t̂ = c/σ with c = t - mean(t), σ = std(t) by default.

    ``eps`` >= 0 is added to σ² inside the root (``eps_inside=True``, as in PyTorch) or to σ outside it.  Raises
    `InputError` for an empty ``over``, a negative ``eps``, and options of another type.
    """

    over: frozenset[Axis]
    center: bool = True
    scale: Scale = Scale.STD
    eps: Any = 0
    eps_inside: bool = True

    def __init__(
        self,
        over: Axis | Iterable[Axis],
        *,
        center: bool = True,
        scale: Scale = Scale.STD,
        eps: Any = 0,
        eps_inside: bool = True,
    ) -> None:
        listed = [over] if isinstance(over, Axis) else list(over) if isinstance(over, Iterable) else []
        if not listed or not all(isinstance(axis, Axis) for axis in listed):
            raise InputError(f"Standardize got over={over!r}: name at least one axis, e.g. fg.Axis.UNIT")
        axes = frozenset(listed)
        if not isinstance(scale, Scale):
            raise InputError(f"Standardize got scale={scale!r}: use fg.Scale.STD, fg.Scale.NORM or fg.Scale.NONE")
        for option, choice in (("center", center), ("eps_inside", eps_inside)):
            if not isinstance(choice, bool | np.bool_):
                raise InputError(f"Standardize got {option}={choice!r}: it is a yes or a no; give True or False")
        check_eps(eps, "Standardize")
        if not center and scale is Scale.NONE:
            raise InputError("Standardize got center=False and scale=NONE: nothing to do; leave this stage out")
        values = (axes, bool(center), scale, eps, bool(eps_inside))
        for field, value in zip(("over", "center", "scale", "eps", "eps_inside"), values, strict=True):
            object.__setattr__(self, field, value)

    def __repr__(self) -> str:
        extra = ", ".join(self._options())
        names = ", ".join(f"Axis.{axis.name}" for axis in sorted(self.over, key=lambda axis: axis.name))
        return f"Standardize({names if len(self.over) == 1 else f'({names})'}{', ' + extra if extra else ''})"

    def _options(self) -> Iterable[str]:
        if not self.center:
            yield "center=False"
        if self.scale is not Scale.STD:
            yield f"scale=Scale.{self.scale.name}"
        if self.has_eps:
            yield f"eps={self.eps}" + ("" if self.eps_inside else ", eps_inside=False")

    def with_eps(self, eps: Any, inside: bool = True) -> Standardize:
        """The same stage with ε = ``eps``; one that divides by nothing is left as it is."""
        if self.scale is Scale.NONE:
            return self
        return Standardize(self.over, center=self.center, scale=self.scale, eps=eps, eps_inside=inside)

    @property
    def has_eps(self) -> bool:
        return bool(self.eps != 0)

    @property
    def minimum(self) -> int:
        """The smallest cell that keeps a degree of freedom: centering and scaling each use one up."""
        return 1 if self.has_eps else 1 + self.center + (self.scale is not Scale.NONE)

    def __call__(self, t: Array, layout: tuple[Axis, ...], who: str = "Standardize") -> Standardized:
        """Standardize ``t``, whose axes are ``layout``; raises `InputError` where σ = 0, naming the cell."""
        axes = tuple(k - len(layout) for k, axis in enumerate(layout) if axis in self.over)
        count = math.prod(t.shape[k] for k in axes)
        mean = t.sum(axis=axes, keepdims=True) / count if self.center else None
        c = t if mean is None else t - mean
        if self.scale is Scale.NONE:
            return Standardized(c, mean, None, axes, count, 1, 1)
        weight = count if self.scale is Scale.STD else 1
        square = (c * c).sum(axis=axes, keepdims=True) / weight
        if self.has_eps and self.eps_inside:
            sigma, ratio = root(square + self.eps), 1
        else:
            spread = root(square)
            sigma = spread + self.eps if self.has_eps else spread
            _refuse_constant(spread, t, c, axes, layout, who, exact=not self.has_eps)
            ratio = sigma / spread if self.has_eps else 1
        return Standardized(c / sigma, mean, sigma, axes, count, weight, ratio)


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
        if not _usable(self.eps) or np.any(np.asarray(self.var) < 0) or np.any(np.asarray(self.var) + self.eps == 0):
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
        return Standardized((t - mean) / sigma, mean, sigma, (), 1, 1, 1, frozen=True)

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


Stage = Standardize | Frozen


@dataclass(frozen=True)
class Standardized:
    """A standardized array t̂ = ``value`` with its ``mean`` (None if not centered) and ``sigma`` (None if not scaled)."""

    value: Array
    mean: Array | None
    sigma: Array | None
    axes: tuple[int, ...]
    count: Any
    weight: Any
    ratio: Any  # σ over the spread √(σ² of the cell): 1 unless ε is added outside the root
    frozen: bool = False

    def tangent(self, dt: Array) -> Array:
        """dt̂ for a change dt of the input; its own adjoint.  ``dt`` may carry leading batch dimensions."""
        if self.frozen:
            return dt / self.sigma
        if self.mean is not None:
            dt = dt - dt.sum(axis=self.axes, keepdims=True) / self.count
        if self.sigma is None:
            return dt
        along = (self.value * dt).sum(axis=self.axes, keepdims=True) / self.weight
        return (dt - self.value * (along * self.ratio)) / self.sigma


def root(x: Array) -> Array:
    """Square root of a NumPy array, of an object array of exact numbers, or of an array with its own ``sqrt``."""
    if hasattr(x, "sqrt"):
        return x.sqrt()
    if np.asarray(x).dtype.kind == "O":
        import sympy

        return np.asarray(np.frompyfunc(sympy.sqrt, 1, 1)(x), object)
    return np.sqrt(x)


def _refuse_constant(
    spread: Array, t: Array, c: Array, axes: tuple[int, ...], layout: tuple[Axis, ...], who: str, exact: bool
) -> None:
    """Raise if a cell is constant up to rounding, where 1/σ is meaningless, or so small that its σ² underflows."""
    if not isinstance(spread, np.ndarray):
        return

    def place(cells: Array) -> str:
        cell = np.argwhere(cells)[0]
        names = (f"{axis.name.lower()} {cell[k]}" for k, axis in enumerate(layout) if k - len(layout) not in axes)
        return ", ".join(names) or "the whole array"

    if spread.dtype == object:
        flat = np.array([value == 0 for value in spread.ravel()]).reshape(spread.shape)
    else:
        limits = np.finfo(spread.dtype)
        level = np.sqrt((np.abs(t) ** 2).sum(axis=axes, keepdims=True) / math.prod(t.shape[k] for k in axes))
        flat = np.abs(spread) <= 64 * limits.eps * level
        tiny = np.abs(spread) < limits.tiny**0.5
        if tiny.any():
            deviation, size = (np.abs(array).max(axis=axes, keepdims=True) for array in (c, t))
            tiny &= deviation > 64 * limits.eps * size
            if tiny.any():
                raise InputError(
                    f"{who}: the entries at {place(tiny)} vary by at most {deviation[tiny].max():.3g}, so their squares "
                    f"underflow and σ is lost ({int(tiny.sum())} such); rescale the inputs or the weights to about 1"
                )
    if flat.any():
        along = " and ".join(axis.name.lower() for k, axis in enumerate(layout) if k - len(layout) in axes)
        remedy = "drop it or give eps > 0" if exact else "put eps inside the root"
        raise InputError(
            f"{who}: the {'entries' if exact else 'spread'} at {place(flat)} "
            f"{'are' if exact else 'is'} constant along {along} ({int(flat.sum())} such), so σ = 0 "
            f"and nothing can be divided by it; {remedy}"
        )

r"""The primitive: standardize an array along some of its axes, with its moments and its tangent.

A cell is the set of K entries t that share every index that is not in ``over``.  With c = t - mean(t) (or c = t when
not centered) and σ² = Σc²/K (std) or Σc² (norm),

    t̂ = c/σ,        dt̂ = (1/σ) (I - 11ᵀ/K - t̂ t̂ᵀ/K) dt

(11ᵀ/K is dropped when not centered, K is 1 in the last term for a norm).  The bracket is symmetric, so ``tangent`` is at
once the Jacobian-vector and the vector-Jacobian product; only where the moments are those of some of the entries, marked
s = 1 instead of 0, 1ᵀ and t̂ᵀ become sᵀ and (s t̂)ᵀ, and the two differ.  The code asks of an array only arithmetic,
``sum``, ``shape`` and a square root: it runs on NumPy arrays, on object arrays of exact numbers or symbols, and on
index-notation arrays.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from .axes import Axis
from .cells import Array, Cells, First
from .errors import InputError, is_count
from .foreign import Foreign, host


class Scale(enum.Enum):
    """What a (centered) cell is divided by: nothing, its root mean square, or its Euclidean norm."""

    NONE = "nothing"
    STD = "root mean square"
    NORM = "Euclidean norm"


def usable(eps: Any) -> bool:
    """Whether ε is a finite number >= 0, or a symbol that stands for one."""
    if not isinstance(eps, Real):
        return getattr(eps, "is_nonnegative", False) is True
    try:
        return not isinstance(eps, bool) and 0 <= float(eps) < math.inf
    except OverflowError:
        return False


def check_eps(eps: Any, who: str) -> None:
    """Refuse an ε that cannot be added to a variance, with `InputError`."""
    if not usable(eps):
        raise InputError(f"{who} got eps={eps!r}: σ² + ε needs a finite ε >= 0; use e.g. eps=1e-5")


def _check_choice(option: str, choice: Any) -> None:
    if not isinstance(choice, bool | np.bool_):
        raise InputError(f"Standardize got {option}={choice!r}: it is a yes or a no; give True or False")


@dataclass(frozen=True)
class Standardize:
    """Standardize along the axes ``over``: t̂ = c/σ with c = t - mean(t), σ = std(t) by default.

    ``eps`` >= 0 is added to σ² inside the root (``eps_inside=True``, as in PyTorch) or to σ outside it.
    ``groups={axis: G}`` splits an axis of ``over`` into G runs of equal length that are standardized apart; ``first``
    takes the moments from the first entries alone.  Raises `InputError` for an empty ``over``, a negative ``eps``, groups
    of an axis that is not in ``over``, ``first`` along more than one axis, and options of another type.
    """

    over: frozenset[Axis]
    center: bool = True
    scale: Scale = Scale.STD
    eps: Any = 0
    eps_inside: bool = True
    groups: tuple[tuple[Axis, int], ...] = ()
    first: First | None = None

    def __init__(
        self,
        over: Axis | Iterable[Axis],
        *,
        center: bool = True,
        scale: Scale = Scale.STD,
        eps: Any = 0,
        eps_inside: bool = True,
        groups: Mapping[Axis, int] | Iterable[tuple[Axis, int]] = (),
        first: First | None = None,
    ) -> None:
        listed = [over] if isinstance(over, Axis) else list(over) if isinstance(over, Iterable) else []
        if not listed or not all(isinstance(axis, Axis) for axis in listed):
            raise InputError(f"Standardize got over={over!r}: name at least one axis, e.g. fg.Axis.UNIT")
        axes = frozenset(listed)
        if not isinstance(scale, Scale):
            raise InputError(f"Standardize got scale={scale!r}: use fg.Scale.STD, fg.Scale.NORM or fg.Scale.NONE")
        _check_choice("center", center)
        _check_choice("eps_inside", eps_inside)
        check_eps(eps, "Standardize")
        if not center and scale is Scale.NONE:
            raise InputError("Standardize got center=False and scale=NONE: nothing to do; leave this stage out")
        if not (first is None or (isinstance(first, First) and len(axes) == 1 and not groups)):
            raise InputError(f"Standardize got first={first!r}: give fg.First(p), for one axis without groups")
        values = (axes, bool(center), scale, eps, bool(eps_inside), _groups(groups, axes), first)
        names = ("over", "center", "scale", "eps", "eps_inside", "groups", "first")
        for field, value in zip(names, values, strict=True):
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
        if self.groups:
            yield "groups={" + ", ".join(f"Axis.{axis.name}: {count}" for axis, count in self.groups) + "}"
        if self.first is not None:
            yield f"first={self.first}"

    def with_eps(self, eps: Any, inside: bool = True) -> Standardize:
        """The same stage with ε = ``eps``; one that divides by nothing is left as it is."""
        if self.scale is Scale.NONE:
            return self
        check_eps(eps, "Standardize")
        _check_choice("eps_inside", inside)
        changed = copy(self)
        for field, value in (("eps", eps), ("eps_inside", bool(inside))):
            object.__setattr__(changed, field, value)
        return changed

    @property
    def has_eps(self) -> bool:
        return bool(self.eps != 0)

    @property
    def minimum(self) -> int:
        """The smallest cell that keeps a degree of freedom: centering and scaling each use one up.

        Entries beside those that enter the moments keep their own, where σ is not 0.
        """
        scaled, inside = self.scale is not Scale.NONE, self.has_eps and self.eps_inside
        whole = 1 if inside else 1 + self.center + (scaled and not self.has_eps)  # ε outside the root needs σ > 0 in it
        if self.first is None:
            return whole
        size = self.first.least(1 if inside else 1 + (self.center and scaled))
        while size < whole and self.first.of(size) == size:
            size += 1
        return size

    def __call__(self, t: Array, layout: tuple[Axis, ...], who: str = "Standardize") -> Standardized:
        """Standardize ``t``, whose axes are ``layout``; raises `InputError` where σ = 0, naming the cell."""
        place = {axis: k - len(layout) for k, axis in enumerate(layout)}
        axes = tuple(k for axis, k in place.items() if axis in self.over)
        cells = Cells.of(t, axes, {place[axis]: parts for axis, parts in self.groups if axis in place}, self.first)
        mean = cells.sum(t) / cells.count if self.center else None
        c = t if mean is None else t - mean
        if self.scale is Scale.NONE:
            return Standardized(c, mean, None, cells)
        weight = cells.count if self.scale is Scale.STD else 1
        square = cells.sum(c * c) / weight
        if self.has_eps and self.eps_inside:
            sigma, ratio = root(square + self.eps), 1
        else:
            spread = root(square)
            sigma = spread + self.eps if self.has_eps else spread
            _refuse_constant(spread, t, c, cells, layout, who, exact=not self.has_eps)
            ratio = sigma / spread if self.has_eps else 1
        return Standardized(c / sigma, mean, sigma, cells, weight, ratio)


def _groups(groups: Any, axes: frozenset[Axis]) -> tuple[tuple[Axis, int], ...]:
    """Groups in the order of the axes; a single group is none."""
    try:
        found = dict(groups)
    except (TypeError, ValueError):
        found = {None: None}
    if not all(axis in axes and is_count(parts) for axis, parts in found.items()):
        raise InputError(f"Standardize got groups={groups!r}: give {{axis: G}} with G >= 1 for an axis in over")
    return tuple((axis, int(found[axis])) for axis in Axis if found.get(axis, 1) > 1)


@dataclass(frozen=True)
class Standardized:
    """A standardized array t̂ = ``value`` with its ``mean`` (None if not centered) and ``sigma`` (None if not scaled)."""

    value: Array
    mean: Array | None
    sigma: Array | None
    cells: Cells
    weight: Any = 1
    ratio: Any = 1  # σ over the spread √(σ² of the cell): 1 unless ε is added outside the root
    frozen: bool = False

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes along which the statistics are taken, counted from the last."""
        return self.cells.axes

    @property
    def count(self) -> Any:
        """K, the number of entries of a cell that enter the statistics."""
        return self.cells.count

    def tangent(self, dt: Array) -> Array:
        """dt̂ for a change dt of the input.  ``dt`` may carry leading batch dimensions."""
        if self.frozen:
            return dt / self.sigma
        dc = self.centered(dt)
        if self.sigma is None:
            return dc
        along = self.cells.inner(self.value, dc) / self.weight
        return (dc - self.value * (along * self.ratio)) / self.sigma

    def adjoint(self, g: Array) -> Array:
        """The gradient with respect to the input for a gradient ``g`` with respect to t̂: `tangent` where all count."""
        if self.cells.share is None:
            return self.tangent(g)
        if self.sigma is not None:
            g = (g - self.value * self.cells.share * self._pull(g)) / self.sigma
        return self.recentered(g)

    def adjoint_tangent(self, g: Array, dt: Array) -> Array:
        r"""∇²(Σ g t̂) dt, the change of ``adjoint(g)`` along dt with g held.  ``dt`` may carry leading batch dimensions.

        With e = t̂ for entries that enter the moments and 0 for others, κ = ρ/w and q = κ Σ g t̂, before recentering

            (κ (2 + ρ) q e ⟨e, dc⟩ - κ (e ⟨g, dc⟩ + g ⟨e, dc⟩) - q dc)/σ²        (dc, too, for entries of the moments)
        """
        if self.frozen or self.sigma is None:
            return 0 * dt
        dc = self.centered(dt)
        kappa, entering = self.ratio / self.weight, self.value
        along, pulled, q = self.cells.sum(self.value * dc), self.cells.total(g * dc), self._pull(g)
        if self.cells.share is not None:
            dc, entering = dc * self.cells.share, entering * self.cells.share
        bent = entering * (((2 + self.ratio) * q * along - pulled) * kappa) - g * (along * kappa) - dc * q
        return self.recentered(bent / self.sigma**2)

    def centered(self, dt: Array) -> Array:
        """The change of t - mean."""
        return dt if self.mean is None else dt - self.cells.sum(dt) / self.cells.count

    def _pull(self, g: Array) -> Array:
        """κ Σ g t̂ over all entries of each cell."""
        return self.cells.total(self.value * g) / self.weight * self.ratio

    def recentered(self, g: Array) -> Array:
        """The adjoint of centering."""
        if self.mean is None:
            return g
        total = self.cells.total(g) / self.cells.count
        return g - (total if self.cells.share is None else self.cells.share * total)


def root(x: Array) -> Array:
    """Square root of a NumPy array, of an object array of exact numbers, or of an array with its own ``sqrt``."""
    if hasattr(x, "sqrt"):
        return x.sqrt()
    if np.asarray(x).dtype.kind == "O":
        import sympy

        exact = np.frompyfunc(lambda value: value.sqrt() if hasattr(value, "sqrt") else sympy.sqrt(value), 1, 1)
        return np.asarray(exact(x), object)
    return np.sqrt(x)


def _refuse_constant(
    spread: Any, t: Array, c: Array, cells: Cells, layout: tuple[Axis, ...], who: str, exact: bool
) -> None:
    """Raise if a cell is constant up to rounding, where 1/σ is meaningless, or so small that its σ² underflows."""
    if not isinstance(spread, np.ndarray | Foreign):
        return
    spread = host(spread)
    single = set(cells.axes) - {axis for axis, _ in cells.groups}  # along which the spread has length 1
    repeats = math.prod(t.shape[axis] // parts for axis, parts in cells.groups)

    def place(where: Array) -> str:
        cell = np.argwhere(where)[0]
        names = (f"{axis.name.lower()} {cell[k]}" for k, axis in enumerate(layout) if k - len(layout) not in single)
        return ", ".join(names) or "the whole array"

    if spread.dtype == object:
        flat = np.array([value == 0 for value in spread.ravel()]).reshape(spread.shape)
    else:
        level = host(root(cells.sum(abs(t) ** 2) / cells.count))
        limits = np.finfo(spread.dtype)
        flat = np.abs(spread) <= 64 * limits.eps * level
        tiny = np.abs(spread) < limits.tiny**0.5
        if tiny.any():
            deviation, size = (host(cells.sum(abs(array)) / cells.count) for array in (c, t))
            tiny &= deviation > 64 * limits.eps * size
            if tiny.any():
                raise InputError(
                    f"{who}: the entries at {place(tiny)} vary by about {deviation[tiny].max():.3g}, so their squares "
                    f"underflow and σ is lost ({int(tiny.sum()) // repeats} such); "
                    "rescale the inputs or the weights to about 1"
                )
    if flat.any():
        along = " and ".join(axis.name.lower() for k, axis in enumerate(layout) if k - len(layout) in cells.axes)
        remedy = "drop it or give eps > 0" if exact else "put eps inside the root"
        raise InputError(
            f"{who}: the {'entries' if exact else 'spread'} at {place(flat)} "
            f"{'are' if exact else 'is'} constant along {along} ({int(flat.sum()) // repeats} such), so σ = 0 "
            f"and nothing can be divided by it; {remedy}"
        )

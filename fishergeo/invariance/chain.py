"""A normalizer followed through a transformation, array by array, in index notation.

The definitions are run on generic arrays before and after the transformation.  Where the later array is α times the
earlier one plus β, with β constant along some axis, both may be replaced by generic arrays, αa + β with any a and β: what
is then proved holds for these.  It is S(αA + β) = S(A), for the array at hand.  So may every σ: by a positive number ρ
for each cell before and |α|ρ after, or by any ϱ where the transformation changes σ in some other way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import sympy

from ..axes import Axis, Site
from ..cells import Cells
from ..frozen import Frozen
from ..normalizers import Normalized, Normalizer, Stage
from ..standardize import Scale, Standardize
from ..symbolic.groups import GROUP
from ..symbolic.indexed import IndexArray, generic, generic_state, generic_value
from ..symbolic.known import Known, Mean
from ..symbolic.sums import INDEX, canonical, is_index, is_zero, terms
from ..transformations import State, Transformation
from .numbers import with_positions
from .relation import as_seen, constant, relation

_LETTERS = ("rho", "theta", "phi", "kappa")  # each has a variant form, for the σ after the transformation


def parameter_values(transformation: Transformation, signed: bool = False, positions: bool = False) -> list[Any]:
    """The parameters as symbols: δ, γ, … and, where an action repeats, δ', γ', …"""
    parameters = transformation.parameters
    earlier = [[p.symbol for p in parameters[:k]].count(q.symbol) for k, q in enumerate(parameters)]
    return [generic_value(p, "prime" * n, signed, positions) for p, n in zip(parameters, earlier, strict=True)]


def in_order(array: IndexArray, order: Any) -> IndexArray:
    """``array`` with its units in the order that a transformation leaves them in."""
    unit = INDEX[Axis.UNIT]
    return array if order is None or unit not in array.indices else array.take(order, array.indices.index(unit))


@dataclass(frozen=True)
class Link:
    """One named quantity ``before`` and ``after`` the transformation, and ``expected`` where only the units move.

    ``shift`` is the name β under which the steps that follow know what was added.
    """

    name: str
    before: IndexArray
    expected: IndexArray
    after: IndexArray
    shift: Any = None


@dataclass(frozen=True)
class Run:
    """A normalizer evaluated on generic arrays, before and after a transformation."""

    start: State
    moved: State
    before: Normalized
    after: Normalized

    @classmethod
    def of(cls, normalizer: Normalizer, transformation: Transformation, signed: bool = False) -> Run:
        """``signed`` leaves out δ > 0."""
        positions = with_positions(normalizer, transformation)
        start = generic_state(positions)
        moved = transformation.act(start, parameter_values(transformation, signed, positions))
        after = normalizer(moved.X, moved.W, moved.shift)
        return cls(start, moved, normalizer(start.X, start.W), after)

    def expected(self, array: IndexArray) -> IndexArray:
        """``array`` with its units in the order that the transformation leaves them in."""
        return in_order(array, self.moved.order)


@dataclass(frozen=True)
class Scaled:
    """A stage that divides, at its ``place`` among all: its c become ``ratio`` c + ``rest``; σ before and after."""

    place: int
    stage: Stage
    site: Site
    ratio: Any
    rest: Any
    sigma: IndexArray
    moved: IndexArray


class Chain:
    """All quantities of a run, in order; an array that changes affinely gives way to a generic one, every σ to a symbol.

    ``signed`` leaves out δ > 0.
    """

    def __init__(self, normalizer: Normalizer, transformation: Transformation, *, signed: bool = False) -> None:
        self.positions = with_positions(normalizer, transformation)
        self.links: list[Link] = []
        self.scaled: list[Scaled] = []
        self.done = 0
        start, values = generic_state(self.positions), parameter_values(transformation, signed, self.positions)
        moved = transformation.act(start, values)
        self.order = moved.order
        parameters = zip(transformation.parameters, values, strict=True)
        self.factors = [value.expr for parameter, value in parameters if parameter.positive]
        x, x_moved = self._site(Site.INPUTS, normalizer.inputs, start.X, moved.X)
        w, w_moved = self._site(Site.WEIGHT, normalizer.weight, start.W, moved.W)
        a, a_moved = (X @ W.swapaxes(-1, -2) for X, W in ((x, w), (x_moved, w_moved)))
        if moved.shift is not None:
            a_moved = a_moved + moved.shift
        self.before, self.after = self._site(Site.SUMMED, normalizer.summed, a, a_moved)

    def _site(
        self, site: Site, stages: tuple[Stage, ...], before: IndexArray, after: IndexArray
    ) -> tuple[IndexArray, IndexArray]:
        layout = site.layout(2 + self.positions)
        letter, indices = site.value, " ".join(axis.value for axis in layout)
        self._link(rf"{letter}_{{{indices}}}", before, after)
        cells = [Standardize(axis, scale=Scale.NONE) for axis in layout]
        last: Stage | None = None
        for stage in stages:
            before, after = self._generic(site, cells, last, before, after)
            before, after = self._stage(site, stage, before, after)
            self._link(rf"\hat{{{letter}}}_{{{indices}}}", before, after)
            last = stage
            if isinstance(stage, Standardize):
                cells.append(stage)
        return self._generic(site, cells, last, before, after) if site is not Site.SUMMED else (before, after)

    def _link(self, name: str, before: IndexArray, after: IndexArray) -> None:
        self.links.append(Link(name, before, in_order(before, self.order), after))

    def _stage(self, site: Site, stage: Stage, before: IndexArray, after: IndexArray) -> tuple[IndexArray, IndexArray]:
        """One stage, on both arrays."""
        layout = site.layout(2 + self.positions)
        self.done += 1
        if isinstance(stage, Frozen):
            given: Any = stage(before, layout)
            if isinstance(given.sigma, IndexArray):  # one for each unit, which may be told from that of another
                self.factors.append(given.sigma.expr)
            return given.value, stage(after, layout).value
        if stage.center:
            only = Standardize(stage.over, scale=Scale.NONE, groups=stage.groups, first=stage.first)
            done, moved = only(before, layout), only(after, layout)
            assert done.mean is not None and moved.mean is not None
            self._link(rf"\mu({site.value})", done.mean, moved.mean)
            c, c_moved = done.value, moved.value
        else:
            c, c_moved = before, after
        if stage.scale is Scale.NONE:
            return c, c_moved
        ratio, rest = self.relation(in_order(c, self.order), c_moved)
        sigma, sigma_moved = self._sigma(site, stage, before, after, ratio if rest == 0 else None)
        self.scaled.append(Scaled(self.done - 1, stage, site, ratio, rest, sigma, sigma_moved))
        self._link(rf"\sigma({site.value})", sigma, sigma_moved)
        return c / sigma, c_moved / sigma_moved

    def _sigma(
        self, site: Site, stage: Any, before: IndexArray, after: IndexArray, ratio: Any
    ) -> tuple[IndexArray, IndexArray]:
        """A positive symbol with one value for each cell, and what it becomes where c becomes ``ratio`` c."""
        layout = site.layout(2 + self.positions)
        letter, cell = _LETTERS[len(self.scaled) % len(_LETTERS)] + "prime" * (len(self.scaled) // len(_LETTERS)), []
        grouped = dict(stage.groups)
        indices = tuple(
            index if axis not in stage.over or axis in grouped else None
            for axis, index in zip(layout, before.indices, strict=True)
        )
        for axis, index in zip(layout, indices, strict=True):
            if index is not None:
                cell.append(GROUP(index, grouped[axis]) if axis in grouped else index)

        def symbol(name: str) -> IndexArray:
            base = sympy.IndexedBase(name, positive=True)[cell] if cell else sympy.Symbol(name, positive=True)
            return IndexArray(base, indices)

        mixes = self.order is not None and Axis.UNIT in (grouped if stage.first is None else stage.over)
        if ratio is not None and not mixes and constant(ratio, cell) and (not stage.has_eps or ratio**2 == 1):
            sigma = symbol(letter)
            return sigma, in_order(sigma, self.order) * IndexArray(sympy.Abs(ratio), (None,) * len(layout))
        explicit: Any = (stage(array, layout).sigma for array in (before, after))
        done, moved = explicit
        if not done.expr.has(sympy.Indexed) and not moved.expr.has(sympy.Indexed):
            return done, moved
        factor, rest = self.relation(in_order(done, self.order), moved)
        sigma = symbol(letter)
        if rest == 0:
            return sigma, in_order(sigma, self.order) * IndexArray(factor, (None,) * len(layout))
        changed = symbol("var" + letter)
        self.factors.append(sigma.expr / changed.expr)
        return sigma, changed

    def _generic(
        self, site: Site, cells: Iterable[Standardize], last: Stage | None, before: IndexArray, after: IndexArray
    ) -> tuple[IndexArray, IndexArray]:
        """Generic arrays that are related in the same way, where the relation is affine."""
        if isinstance(before.expr, sympy.Indexed):
            return before, after
        ratio, rest = self.relation(in_order(before, self.order), after)
        plain = generic(site.value, site, positions=self.positions)
        free = [index for index in plain.indices if index in rest.free_symbols]
        if len(free) == len(plain.indices) or any(is_index(s) and s not in free for s in rest.free_symbols):
            return before, after
        name = f"{site.value}hat" if last else site.value  # after a stage it is what the stage made
        label = Known(name, self._means(site, cells, last, before), real=True)
        array = IndexArray(sympy.IndexedBase(label)[plain.indices], plain.indices)
        changed = in_order(array, self.order) * IndexArray(ratio, (None,) * len(array.indices))
        if rest != 0:
            base = "beta" + "prime" * sum(link.shift is not None for link in self.links)
            places = tuple(as_seen(index, rest) for index in free)
            shift = sympy.IndexedBase(base, real=True)[places] if free else sympy.Symbol(base, real=True)
            self.links[-1] = replace(self.links[-1], shift=shift)
            changed = changed + IndexArray(shift, tuple(index if index in free else None for index in array.indices))
        return array, changed

    def _means(self, site: Site, cells: Iterable[Standardize], last: Stage | None, array: IndexArray) -> Iterator[Mean]:
        """The means over ``cells`` that are numbers: Σt̂ = 0, and Σt̂² = K of the ``last`` stage or kept since."""
        layout = site.layout(2 + self.positions)
        place = {axis: k - len(layout) for k, axis in enumerate(layout)}
        few = len(terms(array.expr)) <= 4
        for stage in dict.fromkeys(cells):
            axes = tuple(place[axis] for axis in layout if axis in stage.over)
            groups = {place[axis]: parts for axis, parts in stage.groups if axis in place}
            cell = Cells.of(array, axes, groups, stage.first)
            leading = None if stage.first is None else cell.count
            scaled = stage.scale is not Scale.NONE and not stage.has_eps
            for power in (1, 2) if scaled else (1,):
                if power == 2 and stage is last:
                    value = 1 if stage.scale is Scale.STD else 1 / cell.count
                elif power == 1 or few:
                    value = (cell.sum(array if power == 1 else array * array) / cell.count).expr
                else:
                    continue
                if not (isinstance(value, sympy.Expr) and value.has(sympy.Indexed, sympy.Sum)):
                    parts = tuple(groups.get(axis, 1) for axis in axes)
                    yield Mean(power, axes, parts, sympy.sympify(value), leading)

    def relation(self, expected: IndexArray, after: IndexArray) -> tuple[Any, Any]:
        """α and β of after = α expected + β, α a product of powers of the factors, so that β is simple."""
        return relation(expected.expr, after.expr, self.factors)

    @property
    def invariant(self) -> bool:
        """Whether Â is the same, up to the order of the units."""
        after, expected = self.after.expr, in_order(self.before, self.order).expr
        if is_zero(after - expected):
            return True
        # renaming h to π(h) can change which name order is canonical: both sides are named anew
        return self.order is not None and is_zero(canonical(after) - canonical(expected))

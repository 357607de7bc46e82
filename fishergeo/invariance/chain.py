"""A normalizer followed through a transformation, array by array, in index notation.

The definitions are run on generic arrays before and after the transformation.  Where the later array is α times the
earlier one plus β, with β constant along some axis, both may be replaced by generic arrays, αa + β with any a and β: what
is then proved holds for these.  It is S(αA + β) = S(A), for the array at hand.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import sympy

from ..axes import Axis, Site
from ..normalizers import Normalized, Normalizer, Stage
from ..symbolic.indexed import IndexArray, generic, generic_state, generic_value
from ..symbolic.sums import INDEX, canonical, is_index, is_zero, normal
from ..transformations import State, Transformation
from .any_sigma import AnySigma, with_any_sigma
from .numbers import with_positions


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


class Chain:
    """All quantities of a run, in order.

    ``signed`` leaves out δ > 0; the stages ``any_sigma`` divide by any ρ > 0 before and any ϱ > 0 after; with
    ``abstract`` an array that changes affinely gives way to a generic one.
    """

    def __init__(
        self,
        normalizer: Normalizer,
        transformation: Transformation,
        *,
        abstract: bool,
        signed: bool = False,
        any_sigma: tuple[int, ...] = (),
    ) -> None:
        self.positions, self.abstract = with_positions(normalizer, transformation), abstract
        self.links: list[Link] = []
        start, values = generic_state(self.positions), parameter_values(transformation, signed, self.positions)
        moved = transformation.act(start, values)
        self.order = moved.order
        parameters = zip(transformation.parameters, values, strict=True)
        self.factors = [value.expr for parameter, value in parameters if parameter.positive]
        ours, theirs = (with_any_sigma(normalizer, any_sigma, variant) for variant in ("", "var"))
        x, x_moved = self._site(Site.INPUTS, ours.inputs, theirs.inputs, start.X, moved.X)
        w, w_moved = self._site(Site.WEIGHT, ours.weight, theirs.weight, start.W, moved.W)
        a, a_moved = (X @ W.swapaxes(-1, -2) for X, W in ((x, w), (x_moved, w_moved)))
        if moved.shift is not None:
            a_moved = a_moved + moved.shift
        self.before, self.after = self._site(Site.SUMMED, ours.summed, theirs.summed, a, a_moved)

    def _site(
        self, site: Site, ours: tuple[Stage, ...], theirs: tuple[Stage, ...], before: IndexArray, after: IndexArray
    ) -> tuple[IndexArray, IndexArray]:
        layout = site.layout(2 + self.positions)
        letter, indices = site.value, " ".join(axis.value for axis in layout)
        self._link(rf"{letter}_{{{indices}}}", before, after)
        for stage, other in zip(ours, theirs, strict=True):
            before, after = self._generic(site, before, after)
            done: Any = stage(before, layout)
            moved: Any = other(after, layout)
            if done.mean is not None and not done.frozen:
                self._link(rf"\mu({letter})", done.mean, moved.mean)
            if done.sigma is not None and not done.frozen:
                self._link(rf"\sigma({letter})", done.sigma, moved.sigma)
            if isinstance(stage, AnySigma):
                self.factors.append(done.sigma.expr / moved.sigma.expr)
            before, after = done.value, moved.value
            self._link(rf"\hat{{{letter}}}_{{{indices}}}", before, after)
        return self._generic(site, before, after) if site is not Site.SUMMED else (before, after)

    def _link(self, name: str, before: IndexArray, after: IndexArray) -> None:
        self.links.append(Link(name, before, in_order(before, self.order), after))

    def _generic(self, site: Site, before: IndexArray, after: IndexArray) -> tuple[IndexArray, IndexArray]:
        """Generic arrays that are related in the same way, where the relation is affine."""
        if not self.abstract or isinstance(before.expr, sympy.Indexed):
            return before, after
        expected = in_order(before, self.order)
        ratio, rest = self.relation(expected, after)
        array = generic(site.value, site, positions=self.positions)
        free = [index for index in array.indices if index in rest.free_symbols]
        if len(free) == len(array.indices) or any(is_index(s) and s not in free for s in rest.free_symbols):
            return before, after
        changed = in_order(array, self.order) * IndexArray(ratio, (None,) * len(array.indices))
        if rest != 0:
            base = "beta" + "prime" * sum(link.shift is not None for link in self.links)
            shift = sympy.IndexedBase(base, real=True)[tuple(free)] if free else sympy.Symbol(base, real=True)
            self.links[-1] = replace(self.links[-1], shift=shift)
            changed = changed + IndexArray(shift, tuple(index if index in free else None for index in array.indices))
        return array, changed

    def relation(self, expected: IndexArray, after: IndexArray) -> tuple[Any, Any]:
        """α and β of after = α expected + β, α a product of powers of the factors, so that β is simple."""
        powers = itertools.product(*([factor, 1 / factor, 1] for factor in self.factors))
        ratios = [sympy.Integer(1), *(sympy.Mul(*choice) for choice in powers if any(part != 1 for part in choice))]
        found = []
        for ratio in ratios:
            rest = normal(after.expr - ratio * expected.expr)
            if rest == 0:
                return ratio, rest
            found.append((ratio, rest))
        return min(found, key=lambda pair: sympy.count_ops(pair[1]))

    @property
    def invariant(self) -> bool:
        """Whether Â is the same, up to the order of the units."""
        after, expected = self.after.expr, in_order(self.before, self.order).expr
        if is_zero(after - expected):
            return True
        # renaming h to π(h) can change which name order is canonical: both sides are named anew
        return self.order is not None and is_zero(canonical(after) - canonical(expected))

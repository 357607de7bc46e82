"""Generic arrays of which some sums are known: what a standardization leaves of its cells, Σt̂ = 0 and Σt̂² = K."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Expr, Indexed, Mul, Symbol

from .groups import GROUP, Leading


@dataclass(frozen=True)
class Mean:
    """The mean of t**``power`` over a cell is ``value``: that over the indices at ``places``, each split into groups.

    ``parts`` holds the number of groups for each place, 1 where there are none; with ``leading`` only that many first
    entries of the one index enter the sum, which is then ``value`` times their number.
    """

    power: int
    places: tuple[int, ...]
    parts: tuple[int, ...]
    value: Any
    leading: Any = None


class Known(Symbol):
    """The name of a generic array with known means; arrays with other means are other arrays of the same name."""

    means: tuple[Mean, ...]

    def __new__(cls, name: str, means: Iterable[Mean] = (), **assumptions: bool) -> Known:
        out: Known = Symbol.__xnew__(cls, name, **assumptions)
        out.means = tuple(means)
        return out

    def _hashable_content(self) -> tuple[Any, ...]:
        return (*super()._hashable_content(), self.means)

    def __getnewargs_ex__(self) -> Any:
        return (self.name, self.means), self._assumptions_orig


def averaged(factors: list[Expr], bound: set[Symbol]) -> list[Expr] | None:
    """The factors of a sum over ``bound`` with a power of a known array replaced by its mean; None if there is none.

    It may be replaced where all other factors are the same for every entry of its cell.
    """
    if not any(_known(factor.as_base_exp()[0]) for factor in factors):
        return None
    factors = list(Mul.make_args(Mul(*factors)))  # a·a is a²
    for factor in factors:
        entry, power = factor.as_base_exp()
        for mean in entry.base.label.means if _known(entry) else ():
            if mean.power == power and (rest := _others(factor, entry, mean, factors, bound)) is not None:
                return [*rest, mean.value]
    return None


def _known(entry: Expr) -> bool:
    return isinstance(entry, Indexed) and isinstance(entry.base.label, Known)


def _others(factor: Expr, entry: Indexed, mean: Mean, factors: list[Expr], bound: set[Symbol]) -> list[Expr] | None:
    """The factors but ``factor``, where they do not tell the entries of its cell apart."""
    cell = [entry.indices[place] for place in mean.places]
    rest = [other for other in factors if other is not factor]
    if not set(cell) <= bound or len(set(entry.indices)) < len(entry.indices):
        return None
    if mean.leading is not None:
        mark = Leading(cell[0], mean.leading)
        if mark not in rest:
            return None
        kept = [other for other in rest if other != mark]
        return None if any(cell[0] in other.free_symbols for other in kept) else rest
    for other in rest:
        for index, parts in zip(cell, mean.parts, strict=True):
            if index not in other.free_symbols:
                continue
            coarse = {g: sympy.S.Zero for g in other.atoms(GROUP) if g.args[0] == index and parts % g.args[1] == 0}
            if not coarse or index in other.xreplace(coarse).free_symbols:
                return None
    return rest

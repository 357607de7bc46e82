"""How one expression in index notation is made from another: as a multiple of it, and something more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sympy

from ..symbolic.groups import GROUP
from ..symbolic.sums import is_index, normal, terms


def relation(expected: Any, after: Any, factors: Iterable[Any]) -> tuple[Any, Any]:
    """α and β of after = α expected + β, with α made of what ``factors`` are made of, so that β is simple."""
    old, new = normal(expected), normal(after)
    if old in (new, 0):
        return sympy.Integer(1), new - old
    known = set().union(*map(_atoms, factors))
    entry = min((sympy.Mul(*term) for term in terms(old)), key=lambda t: (t.has(sympy.Sum), sympy.count_ops(t), str(t)))
    quotients = [sympy.Mul(*term) / entry for term in terms(new)]
    found = []
    for ratio in dict.fromkeys([sympy.Integer(1), *(q for q in quotients if _atoms(q) <= known)]):
        rest = normal(new - ratio * old)
        if rest == 0:
            return ratio, rest
        found.append((ratio, rest))
    return min(found, key=lambda pair: sympy.count_ops(pair[1]))


def constant(ratio: Any, cell: Iterable[Any]) -> bool:
    """Whether the factor depends on the indices of a cell alone, and so is the same for all of its entries."""
    return not any(map(is_index, ratio.xreplace(dict.fromkeys(cell, sympy.S.Zero)).free_symbols))


def as_seen(index: Any, expr: Any) -> Any:
    """The index, or its group where the expression depends on it through that alone."""
    groups = [part for part in expr.atoms(GROUP) if part.args[0] == index]
    plain = len(groups) != 1 or index in expr.xreplace({groups[0]: sympy.S.Zero}).free_symbols
    return index if plain else groups[0]


def _atoms(expr: Any) -> set[Any]:
    """What an expression is made of: names of arrays, and symbols; a sum over an index stands for itself."""
    if isinstance(expr, sympy.Add | sympy.Mul | sympy.Pow | sympy.Abs):
        return set().union(*map(_atoms, expr.args))
    return set() if expr.is_Number else {expr.base if isinstance(expr, sympy.Indexed) else expr}

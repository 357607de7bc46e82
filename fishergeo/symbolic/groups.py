"""Index notation for cells that are parts of an axis: δ of two groups, leading entries, and the largest singular value.

``GROUP(h, G)`` is the group, of G, that index h is in: a sum over the group of h is Σ_k δ(group h, group k).  Whatever
depends on an index through its group alone may be written with any other index of that group; the first is chosen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import sympy
from sympy import Expr, KroneckerDelta, Mul, Symbol

GROUP = sympy.Function("group", integer=True)


class Leading(sympy.Function):
    """1 where the index is among the first K, else 0: leading(h, K)."""

    nargs = 2
    is_real = True
    is_nonnegative = True

    def _eval_power(self, exponent: Any) -> Any:
        return self if exponent.is_Integer and exponent > 0 else None


class LargestEigenvalue(Expr):
    """The largest eigenvalue of the matrix with the given generic entry; its row and column index are bound."""

    is_positive = True
    is_real = True
    is_commutative = True

    @property
    def free_symbols(self) -> set[Any]:
        entry, *bound = self.args
        return set(entry.free_symbols) - set(bound)


def is_group_delta(factor: Expr) -> bool:
    return isinstance(factor, KroneckerDelta) and isinstance(factor.args[0], GROUP)


def merged(factors: Iterable[Expr], bound: Iterable[Symbol] = ()) -> list[Expr]:
    """The factors with each group named by the first of its indices, free ones first, then those that also occur alone.

    The deltas that remain are those with a free index, where there is one: the sums over the others then separate.  Where
    all are summed over, all pairs remain, for no index is to be preferred.
    """
    factors = [part for factor in factors for part in Mul.make_args(factor)]
    deltas = [factor for factor in factors if is_group_delta(factor)]
    if not deltas:
        return factors
    rest = [factor for factor in factors if not is_group_delta(factor)]
    bound, closed = set(bound), []
    for members, parts in _classes(deltas):
        only = {e for e in members if not any(_holds(f, e, GROUP(e, parts)) for f in rest)}
        first, *others = sorted(members, key=lambda e: (bool(e.free_symbols & bound), e in only, str(e)))
        names = {GROUP(other, parts): GROUP(first, parts) for other in others}
        rest = [factor.xreplace(names) for factor in rest]
        pairs = [(first, other) for other in others]
        if first.free_symbols & bound:
            pairs = list(itertools.combinations(sorted(members, key=str), 2))
        closed += [KroneckerDelta(GROUP(a, parts), GROUP(b, parts)) for a, b in pairs]
    return [part for factor in rest for part in Mul.make_args(factor)] + closed


@lru_cache(maxsize=1 << 14)
def _holds(factor: Expr, index: Expr, group: Expr) -> bool:
    """Whether a factor depends on an index otherwise than through its group."""
    return factor.has(index) and factor.xreplace({group: sympy.S.Zero}).has(index)


def _classes(deltas: Iterable[Expr]) -> list[tuple[set[Expr], Any]]:
    """The sets of indices that deltas put into one group."""
    classes: list[tuple[set[Expr], Any]] = []
    for delta in deltas:
        members, parts = {group.args[0] for group in delta.args}, delta.args[0].args[1]
        hit = [found for found in classes if found[1] == parts and found[0] & members]
        classes = [found for found in classes if found not in hit]
        classes.append((members.union(*(found[0] for found in hit)), parts))
    return classes


def absorbed(factors: list[Expr], index: Symbol) -> Any:
    """G where ``index`` occurs only in deltas of G groups, so that Σ_index is (size/G) times the other factors."""
    holders = [factor for factor in factors if index in factor.free_symbols]
    kinds = {factor.args[0].args[1] if is_group_delta(factor) else None for factor in holders}
    plain = all(any(group.args[0] == index for group in f.args) for f in holders if is_group_delta(f))
    (parts,) = kinds if len(kinds) == 1 and plain else (None,)
    return parts

"""Canonical sums in index notation, so that two expressions that are equal for all sizes become the same expression.

A term is a product of factors; a sum over indices is split into its connected components (factors that share a summed
index), each component is one `sympy.Sum` with its indices named canonically, and what does not depend on an index leaves
the sum.  Kronecker deltas are contracted, ΣQQ of a rotation gives a delta, and a permuted index that is summed over
loses its permutation.  Roots are opaque factors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import sympy
from sympy import Expr, Indexed, KroneckerDelta, Mul, Pow, Sum, Symbol

from ..axes import Axis
from .groups import GROUP, LargestEigenvalue, Leading, absorbed, is_group_delta, merged
from .known import averaged

SIZE = {axis: Symbol(axis.value.upper(), positive=True, integer=True) for axis in Axis}
INDEX = {axis: Symbol(axis.value, integer=True) for axis in Axis}  # the free index along each axis
I, J = sympy.symbols("i j", integer=True)  # units of a Fisher block
ROTATION = sympy.IndexedBase("Q", real=True)
PERMUTATION = sympy.Function("pi", integer=True)

_POOL = {Axis.SAMPLE: "m", Axis.POSITION: "t", Axis.UNIT: "k", Axis.INPUT: "e"}  # names of summed indices
_AXIS = {
    **{letter: axis for axis, letter in _POOL.items()},
    **{axis.value: axis for axis in Axis},
    "i": Axis.UNIT,
    "j": Axis.UNIT,
    "f": Axis.INPUT,
}
_counter = itertools.count()


class Deferred(Expr):
    """An operation that is written but not carried out: a derivative, an expectation."""


def is_index(symbol: Expr) -> bool:
    """Whether a symbol is an index (sizes are positive, indices are only integer)."""
    return isinstance(symbol, Symbol) and bool(symbol.is_integer) and symbol.name[0] in _AXIS and not symbol.is_positive


def axis_of(index: Symbol) -> Axis:
    """The axis along which an index (or the group of one) runs, told by its first letter."""
    return _AXIS[index.name[0]] if isinstance(index, Symbol) else axis_of(index.args[0])


def terms(expr: Expr) -> list[tuple[Expr, ...]]:
    """The expression distributed into terms, each a tuple of factors; powers of sums are repeated factors."""
    if expr.is_Add:
        return [term for part in expr.args for term in terms(part)]
    if expr.is_Mul:
        parts = [terms(factor) for factor in expr.args]
        return [tuple(itertools.chain(*choice)) for choice in itertools.product(*parts)]
    if expr.is_Pow and expr.exp.is_Integer and expr.exp > 0 and (expr.base.is_Add or isinstance(expr.base, Sum)):
        return [tuple(itertools.chain(*choice)) for choice in itertools.product(terms(expr.base), repeat=int(expr.exp))]
    return [(expr,)]


def normal(expr: Expr) -> Expr:
    """The canonical form of an expression whose sums are canonical: distributed, equal terms collected."""
    return sympy.Add(*(_apply_deltas(Mul(*term)) for term in terms(sympy.sympify(expr))))


def _apply_deltas(term: Expr) -> Expr:
    """δ_ab f(b) = δ_ab f(a) for free indices, the smaller name kept."""
    deltas = [f for f in Mul.make_args(term) if isinstance(f, KroneckerDelta)]
    if any(map(is_group_delta, deltas)):
        term = Mul(*merged(Mul.make_args(term)))
        deltas = [f for f in Mul.make_args(term) if isinstance(f, KroneckerDelta) and not is_group_delta(f)]
    for delta in sorted(deltas, key=str):
        keep, drop = sorted(delta.args, key=str)
        rest = term / delta
        if drop in rest.free_symbols:
            return delta * _apply_deltas(rename(rest, {drop: keep}))
    return term


def rename(expr: Expr, names: Mapping[Expr, Expr]) -> Expr:
    """The expression with free indices renamed; bound indices step aside."""
    if not expr.has(Sum):
        return expr.xreplace(names)
    if not isinstance(expr, Sum):
        return expr.func(*(rename(part, names) for part in expr.args))
    bound = {limit[0]: fresh(limit[0]) for limit in expr.limits}
    return resum(rename(expr.function.xreplace(bound), names), bound.values())


def over(expr: Expr, *indices: Symbol) -> Expr:
    """Σ over ``indices`` as it is written, not brought to canonical form."""
    return Sum(expr, *((index, 1, SIZE[axis_of(index)]) for index in indices))


def resum(expr: Expr, indices: Iterable[Symbol]) -> Expr:
    """The canonical sum over all of ``indices``."""
    for index in indices:
        expr = total(expr, index)
    return expr


@lru_cache(maxsize=16384)
def canonical(expr: Expr) -> Expr:
    """The canonical form of any expression in index notation: every sum in it is summed anew, from the inside out."""
    if isinstance(expr, Sum):
        return normal(resum(canonical(expr.function), [limit[0] for limit in expr.limits]))
    if not expr.args or isinstance(expr, Indexed | KroneckerDelta | Deferred | sympy.Derivative | sympy.Subs):
        return expr
    rebuilt = expr.func(*(canonical(part) for part in expr.args))
    if rebuilt.is_Pow and rebuilt.base.is_Add and not rebuilt.exp.is_Integer:
        return root_of(rebuilt.base) ** (2 * rebuilt.exp)
    return normal(rebuilt)


def root_of(expr: Expr) -> Expr:
    """The square root, with the common factor of all terms and positive denominators taken out of it."""
    expr = normal(expr)
    shared = common_factor(expr).as_powers_dict()
    factor = Mul(*(base**power for base, power in shared.items() if base.is_nonnegative or power.is_even))
    for term in terms(expr):
        for base, power in (Mul(*term) / factor).as_powers_dict().items():
            if power.is_number and power < 0 and base.is_positive and not base.is_number:
                factor *= base**power
    rest = sympy.Add(*(Mul(*term) / factor for term in terms(expr)))
    return sympy.sqrt(factor) * sympy.sqrt(rest)


def is_zero(expr: Expr) -> bool:
    """Whether the expression vanishes identically, for all sizes; False means only that it was not shown to."""
    return normal(expr) == 0


@lru_cache(maxsize=16384)
def total(expr: Expr, index: Symbol) -> Expr:
    """Σ_index expr, canonical; ``index`` is free in ``expr``."""
    return sympy.Add(*(_sum_term(term, index) for term in terms(expr)))


def fresh(index: Symbol) -> Symbol:
    """A new index along the same axis."""
    return Symbol(f"{index.name[0]}_{next(_counter)}", integer=True)


def _depends(expr: Expr, index: Symbol) -> bool:
    return index in _free(expr)


@lru_cache(maxsize=1 << 16)
def _free(expr: Expr) -> frozenset[Expr]:
    """The free symbols, remembered for every part: SymPy finds them anew each time."""
    if not expr.args:
        return frozenset([expr]) if isinstance(expr, Symbol) else frozenset()
    found = frozenset().union(*map(_free, expr.args))
    if isinstance(expr, Sum):
        return found - {limit[0] for limit in expr.limits}
    return found.difference(expr.args[1:]) if isinstance(expr, LargestEigenvalue) else found


def _sum_term(term: Sequence[Expr], index: Symbol) -> Expr:
    outside = [factor for factor in term if not _depends(factor, index)]
    inside: list[Expr] = []
    name = fresh(index)
    bound = {name}
    for factor in (factor for factor in term if _depends(factor, index)):
        factor = factor.xreplace({index: name})
        if isinstance(factor, Sum):
            rename = {limit[0]: fresh(limit[0]) for limit in factor.limits}
            bound |= set(rename.values())
            factor = factor.function.xreplace(rename)
        inside += Mul.make_args(factor)
    inside = _contract(inside, bound)
    result = Mul(*outside)
    for indices, factors in _components(inside, bound):
        result *= _named(indices, factors)
    return result


def _contract(factors: list[Expr], bound: set[Symbol]) -> list[Expr]:
    """Apply Kronecker deltas and QQᵀ = I to summed indices, which leave ``bound``; drop permutations of the rest."""
    changed = True
    while changed:
        changed = False
        if any(map(is_group_delta, factors)):
            factors = merged(factors, bound)
            for index in sorted(bound, key=str):
                if (parts := absorbed(factors, index)) is not None:
                    bound.discard(index)
                    factors = [f for f in factors if not _depends(f, index)] + [SIZE[axis_of(index)] / parts]
                    changed = True
                    break
            if changed:
                continue
        for factor in factors:
            if isinstance(factor, KroneckerDelta) and (names := [a for a in factor.args if a in bound]):
                other = factor.args[1] if factor.args[0] is names[0] else factor.args[0]
                bound.discard(names[0])
                factors = [f.xreplace({names[0]: other}) for f in factors if f is not factor]
                factors = [g for f in factors for g in Mul.make_args(f)]
                changed = True
                break
        for index in sorted(bound, key=str):
            holders = [f for f in factors if _depends(f, index)]
            if delta := _orthogonal(holders, index):
                bound.discard(index)
                factors = [f for f in factors if f not in holders] + [delta]
                changed = True
                break
            if any(f.has(PERMUTATION(index)) for f in holders):
                plain = fresh(index)
                renamed = [f.xreplace({PERMUTATION(index): plain}) for f in factors]
                if not any(_depends(f, index) for f in renamed):
                    bound.discard(index)
                    bound.add(plain)
                    factors, changed = renamed, True
                    break
        if not changed and (means := averaged(factors, bound)) is not None:
            factors, changed = [part for factor in means for part in Mul.make_args(factor)], True
    return factors


def _orthogonal(holders: list[Expr], index: Symbol) -> Expr | None:
    """δ_ab for Σ_index Q_a,index Q_b,index (or with the summed index first)."""
    if len(holders) == 1 and isinstance(holders[0], Pow) and holders[0].exp == 2:
        holders = [holders[0].base] * 2
    if len(holders) != 2 or not all(isinstance(f, Indexed) and f.base == ROTATION for f in holders):
        return None
    for place in (0, 1):
        if all(f.indices[place] == index and f.indices[1 - place] != index for f in holders):
            return KroneckerDelta(*(f.indices[1 - place] for f in holders))
    return None


def _components(factors: list[Expr], bound: set[Symbol]) -> Iterable[tuple[list[Symbol], list[Expr]]]:
    """Groups of factors connected by summed indices; indices without factors and factors without indices stand alone."""
    groups: list[tuple[set[Symbol], list[Expr]]] = [({index}, []) for index in bound]
    for factor in factors:
        used = {index for index in bound if _depends(factor, index)}
        hit = [group for group in groups if group[0] & used]
        groups = [group for group in groups if not group[0] & used]
        groups.append((set().union(*(g[0] for g in hit)), [factor, *itertools.chain(*(g[1] for g in hit))]))
    return ((sorted(indices, key=str), parts) for indices, parts in groups)


def _named(indices: list[Symbol], factors: list[Expr]) -> Expr:
    """One component as a Sum with canonical index names."""
    if not factors:
        return Mul(*(SIZE[axis_of(index)] for index in indices))
    product = Mul(*factors)
    if not indices:
        return product
    if isinstance(product, Leading) and product.args[0] in indices:
        return product.args[1] * _named([index for index in indices if index != product.args[0]], [])
    taken = {symbol.name for symbol in product.atoms(Symbol)}
    by_axis: dict[Axis, list[Symbol]] = {}
    for index in indices:
        by_axis.setdefault(axis_of(index), []).append(index)
    choices = []
    for axis, members in by_axis.items():
        pool = (f"{_POOL[axis]}" + "'" * k for k in itertools.count())
        names = list(itertools.islice((name for name in pool if name not in taken), len(members)))
        symbols = [Symbol(name, integer=True) for name in names]
        choices.append([dict(zip(order, symbols, strict=True)) for order in itertools.permutations(members)])
    candidates = [
        product.xreplace({key: value for part in choice for key, value in part.items()})
        for choice in itertools.product(*choices)
    ]
    if product.has(GROUP):
        named = [symbol for part in (c[0] for c in choices) for symbol in part.values()]
        candidates = [Mul(*merged(Mul.make_args(candidate), named)) for candidate in candidates]
    best = candidates[0] if len(candidates) == 1 else min(candidates, key=sympy.default_sort_key)
    names = sorted((symbol for part in (c[0] for c in choices) for symbol in part.values()), key=str)
    return Sum(best, *((name, 1, SIZE[axis_of(name)]) for name in names))


def common_factor(expr: Expr) -> Expr:
    """The largest product of powers (sums and roots aside) that divides every term."""
    shared: dict[Expr, Expr] | None = None
    for term in terms(expr):
        powers = {
            base: power
            for base, power in Mul(*term).as_powers_dict().items()
            if power.is_Integer and not base.has(Sum) and not base.is_Number
        }
        if shared is None:
            shared = powers
        else:
            shared = {b: min(p, powers[b]) for b, p in shared.items() if b in powers and p * powers[b] > 0}
    return Mul(*(base**power for base, power in (shared or {}).items()))

"""Rewriting with known equations: what makes an identity in index notation hold given earlier ones."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import sympy
from sympy import Expr, Indexed, Mul, Sum, Symbol
from sympy.core.function import AppliedUndef

from .. import special
from .sums import INDEX, Deferred, axis_of, canonical, fresh, is_index, normal, rename, resum, terms

_ROUNDS = 25


class Partial(Deferred):
    """∂f/∂v, or its value at v = the third argument; f is expanded by its definitions before it is differentiated."""

    def carry_out(self, definitions: Sequence[Rule]) -> Expr:
        f, v, *at = self.args
        expanded = expand(f, definitions)
        # SymPy does not notice that an index of v is also the name of a summed index: give v indices of its own
        own = {index: fresh(index) for index in v.free_symbols if is_index(index)}
        slope = rename(expanded, own).diff(v.xreplace(own))
        if at:
            slope = slope.subs(v, at[0]).replace(sympy.Subs, lambda *args: sympy.Subs(*args).doit())
        return canonical(rename(slope, {new: old for old, new in own.items()}))


@dataclass(frozen=True)
class Rule:
    """A known equation, used from left to right for all values of the free indices of ``left``.

    ``left`` is a symbol (indexed or not), a power of one, a sum of a product, or a derivative; raises `TypeError` for
    anything else.
    """

    left: Expr
    right: Expr

    def __post_init__(self) -> None:
        if not isinstance(self.left, Symbol | Indexed | Sum | sympy.Pow | sympy.Function | Deferred):
            raise TypeError(f"a rule rewrites a symbol, a power, a sum or a derivative, not {self.left}")

    @property
    def indices(self) -> tuple[Symbol, ...]:
        """The free indices of the left side."""
        return tuple(sorted((s for s in self.left.free_symbols if is_index(s)), key=str))

    def __call__(self, expr: Expr) -> Expr:
        """Rewrite everywhere; sums that change are summed anew."""
        if (right := self._match(expr)) is not None:
            return right
        if isinstance(expr, Sum):
            function = self(expr.function)
            return expr if function == expr.function else canonical(Sum(function, *expr.limits))
        if not expr.args or isinstance(expr, Indexed | sympy.KroneckerDelta):
            return expr
        return expr.func(*(self(part) for part in expr.args))

    def _match(self, expr: Expr) -> Expr | None:
        if isinstance(self.left, sympy.Pow) and isinstance(expr, sympy.Pow):
            times, rest = divmod(expr.exp, self.left.exp) if expr.exp.is_Integer else (0, 0)
            if times > 0 and (found := self._assignment(self.left.base, expr.base)) is not None:
                return rename(self.right, found) ** times * expr.base**rest
            return None
        if isinstance(expr, Indexed) and isinstance(self.left, Indexed) and expr.base != self.left.base:
            return None
        if expr.func != self.left.func:
            return None
        if isinstance(expr, Sum) and len(expr.limits) > len(self.left.limits):
            return self._part(expr)
        found = self._assignment(self.left, expr)
        return None if found is None else rename(self.right, found)

    def _part(self, expr: Sum) -> Expr | None:
        """A double sum of which an inner sum is the pattern."""
        for inner in itertools.combinations([limit[0] for limit in expr.limits], len(self.left.limits)):
            factors = Mul.make_args(expr.function)
            within = [f for f in factors if any(index in f.free_symbols for index in inner)]
            if _alike(Mul(*within)) != _alike(self.left.function):
                continue
            found = self._assignment(self.left, resum(Mul(*within), inner))
            if found is not None:
                rest = Mul(rename(self.right, found), *(f for f in factors if f not in within))
                return resum(rest, [limit[0] for limit in expr.limits if limit[0] not in inner])
        return None

    def _assignment(self, pattern: Expr, expr: Expr) -> Mapping[Expr, Expr] | None:
        """The indices of ``expr`` that ``pattern``'s free indices stand for."""
        if _alike(pattern) != _alike(expr):
            return None
        free = [s for s in expr.free_symbols if is_index(s)]
        choices = [[s for s in free if axis_of(s) is axis_of(index)] for index in self.indices]
        for choice in itertools.product(*choices):
            names = dict(zip(self.indices, choice, strict=True))
            if rename(pattern, names) == expr:
                return names
        return None


@lru_cache(maxsize=1 << 14)
def _alike(expr: Expr) -> Expr:
    """The expression with one index for each axis: expressions that differ in the names of indices have the same one."""
    body = expr.function if isinstance(expr, Sum) else expr
    return body.xreplace({symbol: INDEX[axis_of(symbol)] for symbol in body.atoms(Symbol) if is_index(symbol)})


class At(Deferred):
    """f at v = value, f expanded by its definitions."""

    def carry_out(self, definitions: Sequence[Rule]) -> Expr:
        f, v, value = self.args
        return canonical(expand(f, definitions).subs(v, value))


def rewrite(expr: Expr, rules: Sequence[Rule]) -> Expr:
    """The canonical form after the rules, used until nothing changes; raises `RecursionError` if they go in circles."""
    expr = canonical(expr)
    for _ in range(_ROUNDS):
        before = expr
        for rule in rules:
            if (after := rule(expr)) != expr:
                expr = canonical(after)
        if expr == before:
            return expr
    raise RecursionError(f"the rules {[str(rule.left) for rule in rules]} rewrite in circles")


def label_of(atom: Expr) -> Expr:
    """What a quantity is called, without its indices."""
    return atom.base.label if isinstance(atom, Indexed) else atom


@lru_cache(maxsize=4096)
def labels(expr: Expr) -> frozenset[Expr]:
    """The names of all quantities in an expression."""
    return frozenset(map(label_of, expr.atoms(Symbol, Indexed, AppliedUndef)))


def relevant(expr: Expr, definitions: Sequence[Rule]) -> tuple[Rule, ...]:
    """The definitions that an expression rests on, in order."""
    defined = {label_of(rule.left): rule for rule in definitions}
    reached, new = set[Expr](), labels(expr) & defined.keys()
    while new:
        reached |= new
        new = frozenset().union(*(labels(defined[label].right) for label in new)) & defined.keys() - reached
    return tuple(rule for rule in definitions if label_of(rule.left) in reached)


@lru_cache(maxsize=4096)
def _carried_out(expr: Deferred, definitions: tuple[Rule, ...]) -> Expr:
    return expr.carry_out(definitions)


def carry_out(expr: Expr, definitions: Sequence[Rule] = ()) -> Expr:
    """Carry out every `Deferred` operation in the expression."""
    if isinstance(expr, Deferred):
        return _carried_out(expr, relevant(expr, definitions))
    return expr.func(*(carry_out(part, definitions) for part in expr.args)) if expr.has(Deferred) else expr


def expand(expr: Expr, definitions: Sequence[Rule]) -> Expr:
    """The expression in undefined quantities alone: definitions inserted, and everything deferred carried out."""
    while True:
        expr = rewrite(expr, definitions)
        if not expr.has(Deferred):
            return expr
        expr = carry_out(expr, definitions)


def vanishes(expr: Expr, rules: Sequence[Rule] = (), definitions: Sequence[Rule] = ()) -> bool:
    """Whether the expression is 0 for all sizes, given the rules; derivatives are taken of the expanded definitions."""
    expr = rewrite(expr, rules)
    if expr.has(Deferred):
        expr = expand(expr, definitions)
    for _ in range(3):
        if expr == 0:
            return True
        cleared = rewrite(_clear(expr), rules)
        if cleared == expr:
            break
        expr = cleared
    return not expr.has(Sum, Indexed) and sympy.simplify(elementary(expr)) == 0


def elementary(expr: Expr) -> Expr:
    """The expression with the functions of `fishergeo.special` written out in exp and log."""
    expr = expr.replace(special.expit, lambda x: 1 / (1 + sympy.exp(-x)))
    return expr.replace(special.softplus, lambda x: sympy.log(1 + sympy.exp(x)))


def _clear(expr: Expr) -> Expr:
    """The expression times the common denominator of its terms."""
    powers: dict[Expr, Expr] = {}
    parts = [Mul(*term).as_powers_dict() for term in terms(expr)]
    for part in parts:
        for base, power in part.items():
            if power.is_number and power < 0 and not base.is_Number:
                powers[base] = min(power, powers.get(base, power))
    return normal(sympy.Add(*(Mul(*term, *(b ** (-p) for b, p in powers.items())) for term in terms(expr))))

"""The derivatives of z_nh in index notation, split into what mixes units and what is a unit's own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import sympy
from sympy import Expr, KroneckerDelta, Mul, Sum, Symbol

from ..axes import Axis, Site
from ..errors import InputError
from ..normalizers import Normalizer
from .atoms import INPUT, atoms
from .indexed import generic
from .sums import INDEX, I, common_factor, normal, rename, terms

h = INDEX[Axis.UNIT]
GAIN = generic("g", Site.SUMMED, [Axis.UNIT])


@dataclass(frozen=True)
class Derivative:
    """∂z_nh/∂parameter_i = M_n,hi ξ_nid: ``mixing`` is M (δ_hi for a unit normalized by itself), ``own`` is ξ."""

    mixing: Expr
    own: Expr

    @property
    def expr(self) -> Expr:
        return normal(self.mixing * self.own)

    @property
    def separate(self) -> bool:
        """Whether z_h depends on the parameters of unit h alone."""
        return self.mixing == KroneckerDelta(h, I)

    def at(self, unit: Symbol, inner: Symbol, column: Symbol) -> tuple[Expr, Expr]:
        """M and ξ for another unit and input."""
        names = {h: inner, I: unit, INPUT: column}
        return rename(self.mixing, names), rename(self.own, names)


def factor(expr: Expr) -> Derivative:
    """Split ∂z_nh/∂w_id' into M and ξ; M is the whole and ξ = 1 where it does not factor."""
    parts: dict[Expr, Expr] = {}
    for term in terms(expr):
        outside = Mul(*(f for f in term if h not in f.free_symbols))
        inside = Mul(*(f for f in term if h in f.free_symbols))
        delta = KroneckerDelta(h, I)
        if delta in Mul.make_args(inside):
            inside, outside = delta, outside * rename(inside / delta, {h: I})
        parts[inside] = parts.get(inside, sympy.Integer(0)) + outside
    if set(parts) == {KroneckerDelta(h, I)}:
        return Derivative(KroneckerDelta(h, I), _factored(*parts.values()))
    split = {key: primitive(normal(value)) for key, value in parts.items()}
    (_, common), *rest = split.values()
    own = common_factor(sympy.Add(*(monomial for monomial, _ in split.values())))
    own = Mul(*(f for f in Mul.make_args(own) if {I, INPUT} & f.free_symbols))
    mixing = normal(sympy.Add(*(key * monomial / own for key, (monomial, _) in split.items())))
    if any(other != common for _, other in rest) or INPUT in mixing.free_symbols:
        return Derivative(expr, sympy.Integer(1))
    return Derivative(mixing, own * common)


def primitive(expr: Expr) -> tuple[Expr, Expr]:
    """expr = monomial · rest, where the first term of the rest has coefficient 1."""
    monomial = common_factor(expr)
    rest = [Mul(*term) / monomial for term in terms(expr)]
    lead = min(
        rest,
        key=lambda term: (
            term.has(Sum),
            not term.has(KroneckerDelta),
            len(Mul.make_args(term.as_coeff_Mul()[1])),
            str(term),
        ),
    )
    coefficient = lead.as_coeff_Mul()[0]
    return monomial * coefficient, sympy.Add(*(term / coefficient for term in rest))


def _factored(expr: Expr) -> Expr:
    monomial, rest = primitive(normal(expr))
    return monomial * rest


@lru_cache(maxsize=256)
def derivative(normalizer: Normalizer, part: str) -> Derivative:
    """∂z_nh/∂(weight w_id', bias b_i or gain g_i) of Z = gÂ + b."""
    named = atoms(normalizer)
    delta = KroneckerDelta(h, I)
    if part == "weight":
        return factor(normal((GAIN.expr if normalizer.has_gain else 1) * named.jvp()))
    if part == "bias":
        return Derivative(delta, sympy.Integer(1))
    if not normalizer.has_gain:
        raise InputError(f"{normalizer.name} has no gain: its weights already scale freely; use 'weight' or 'bias'")
    return Derivative(delta, rename(named.value, {h: I}))

"""A normalizer whose statistics are those of a population of inputs: its names, and what they stand for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sympy
from sympy import Expr, IndexedBase, KroneckerDelta, Mul

from ..axes import Axis, Site
from ..errors import InputError
from ..frozen import Frozen
from ..normalizers import Normalizer
from ..spectral import Spectral
from ..standardize import Standardize
from ..symbolic.atoms import Atoms, atoms
from ..symbolic.curvature import Symmetric
from ..symbolic.jacobian import GAIN, h
from ..symbolic.rules import Rule, rewrite
from ..symbolic.sums import I, J, common_factor, normal, over, rename, resum, terms
from . import averages as of
from .inputs import Inputs

n, d, e, d2 = of.n, of.d, of.e, of.d2
BIAS, LOCATION, SLOPE, CENTER = (IndexedBase(name, real=True) for name in ("b", "nu", "t", "abar"))
CASES = {Axis.SAMPLE, Axis.POSITION}


def check(normalizer: Normalizer) -> None:
    """Raise `InputError` unless every predictor is an affine function of its inputs once the statistics are given."""
    for site, stage in normalizer.stages:
        why = None
        if isinstance(stage, Spectral):
            why = "a singular value ties all units together; weight norm has a closed form"
        elif isinstance(stage, Frozen):
            why = "statistics differ between positions" if stage.positions is not None else None
        elif not isinstance(stage, Standardize):
            why = "a function of which no formula is known"
        elif Axis.UNIT in stage.over or (Axis.INPUT in stage.over and site is Site.INPUTS):
            why = (
                "its σ changes from case to case, so that 1/σ² stands inside the mean over cases and no moments of the "
                "inputs suffice; fg.fisher takes the mean over given inputs"
            )
        elif Axis.SAMPLE not in stage.over and Axis.INPUT not in stage.over:
            why = "statistics over the positions of one case are not those of a population"
        elif stage.groups or stage.first is not None:
            why = "statistics of groups are not those of a population; with one group they would be"
        elif stage.has_eps:
            why = "ε > 0; use with_eps(0)"
        if why:
            raise InputError(f"{normalizer.name} has no closed form: {why}")
    if len(normalizer.inputs) > 1 or len(normalizer.summed) > 1:
        raise InputError(f"{normalizer.name} has no closed form: give one stage for inputs and one for summed inputs")


@dataclass(frozen=True)
class Population:
    """A normalizer on a population: ``inputs`` is x, or x̂ where a stage standardizes the inputs."""

    normalizer: Normalizer
    inputs: Inputs

    @cached_property
    def run(self) -> Atoms:
        check(self.normalizer)
        return atoms(self.normalizer)

    @property
    def x(self) -> IndexedBase:
        return IndexedBase("xhat" if self.normalizer.inputs else "x", real=True)

    @property
    def weights(self) -> IndexedBase:
        """v in a_i = Σ_e v_ie x_e."""
        return IndexedBase("what" if self.normalizer.weight else "w", real=True)

    @property
    def centered(self) -> bool:
        return self.inputs.white or bool(self.normalizer.inputs)

    @cached_property
    def names(self) -> list[Rule]:
        """a by its mean ā, its deviation τ and ǎ; σ of the summed inputs is τ."""
        found = []
        for rule in self.run.definitions:
            label = str(getattr(rule.left, "base", rule.left))
            if label == "a" or (label == "ahat" and not self.normalizer.summed):
                found.append(Rule(rule.left, CENTER[h] + of.DEVIATION[h] * of.STANDARD[n, h]))
            elif label == "ahat":
                scaled: Any = self.run.normalized.summed[0].sigma
                if getattr(scaled, "indices", None):  # given numbers are no names
                    found.append(Rule(scaled.expr, of.DEVIATION[h]))
                found.append(Rule(rule.left, rewrite(rule.right, found)))
        return found

    @cached_property
    def direct(self) -> list[Rule]:
        """What the inputs being centered and white says of the names."""
        v, zero = self.weights, sympy.Integer(0)
        found = []
        if self.centered:
            found += [Rule(of.MEAN[d], zero), Rule(CENTER[I], zero)]
        if self.inputs.white:
            found.append(Rule(of.covariance(d, d2), KroneckerDelta(d, d2)))
            if self.length != of.DEVIATION[I]:
                found.append(Rule(of.SPREAD[I, d], v[I, d] / self.length))
                found.append(Rule(of.DEVIATION[I], self.length))
        return found

    @property
    def length(self) -> Expr:
        """τ_i for white inputs: the length of v_i where that is a number, else its name."""
        if not self.normalizer.weight:
            return of.DEVIATION[I]
        square = rewrite(over(self.weights[I, e] ** 2, e), self.run.known)
        return of.DEVIATION[I] if square.has(IndexedBase) else sympy.sqrt(square)

    @cached_property
    def facts(self) -> list[Rule]:
        """Sums over inputs in which names appear."""
        v, tau, s = self.weights, of.DEVIATION[I], of.SPREAD
        return [
            Rule(over(v[I, e] * of.MEAN[e], e), CENTER[I]),
            Rule(over(v[I, e] * s[I, e], e), tau),
            Rule(over(v[I, e] * of.covariance(d, e), e), tau * s[I, d]),
            *self.direct,
        ]

    def named(self, expr: Expr) -> Expr:
        """An expression of one case in terms of x, ǎ and moments of the population."""
        return rewrite(expr, [*self.names, *of.of_moments(self.x)])

    def average(self, inside: Expr, independent: bool) -> Expr:
        """The mean over cases of products of x, ǎ and η''; ``independent`` where they are all of unit i."""
        if independent:
            inside = rewrite(inside, [of.split(self.x)])
        rules = of.of_gaussian() if independent else of.of_moments(self.x)
        mean = rewrite(resum(normal(inside), (n,)) / of.N, [*rules, *self.run.known])
        return normal(rewrite(mean, [*self.facts, *self.run.known]))

    @property
    def predictor(self) -> tuple[Expr, Expr]:
        """ν_i and t_i in z_i = ν_i + t_iǎ_i."""
        gain = GAIN.expr if self.normalizer.has_gain else sympy.Integer(1)
        z = rewrite(gain * self.run.value + BIAS[h], self.names)
        z = normal(rewrite(z.xreplace({h: I}), self.direct))
        slope = z.coeff(of.STANDARD[n, I])
        return normal(z - slope * of.STANDARD[n, I]), slope

    @cached_property
    def definitions(self) -> tuple[Rule, ...]:
        """What the names stand for, each in terms of w, b, g, x̄, S and the names before it."""
        v, tau, s, unit = self.weights, of.DEVIATION, of.SPREAD, {h: I}
        own = [rule for rule in self.run.definitions if n not in rule.left.free_symbols and not rule.right.has(of.N)]
        own = [Rule(rename(rule.left, unit), rename(rule.right, unit)) for rule in own]
        quadratic = over(v[I, e] ** 2, e) if self.inputs.white else over(v[I, d] * of.covariance(d, d2) * v[I, d2], d, d2)
        named = [Rule(tau[I], sympy.sqrt(quadratic))]
        if not self.centered:
            named.append(Rule(CENTER[I], over(v[I, e] * of.MEAN[e], e)))
        spread = v[I, d] if self.inputs.white else over(of.covariance(d, e) * v[I, e], e)
        named.append(Rule(s[I, d], spread / tau[I]))
        named.append(Rule(Symmetric(of.CORRELATION, I, J), over(v[I, e] * s[J, e], e) / tau[I]))
        location, slope = self.predictor
        return (*own, *named, Rule(LOCATION[I], location), Rule(SLOPE[I], slope))


def used(definitions: Iterable[Rule], expressions: Iterable[Expr]) -> list[Rule]:
    """The definitions that the expressions need, directly or through others, in order."""
    kept: list[Rule] = []
    needed = {_base(atom) for expr in expressions for atom in expr.free_symbols}
    for rule in reversed(list(definitions)):
        if _base(rule.left) in needed:
            kept.append(rule)
            needed |= {_base(atom) for atom in rule.right.free_symbols}
    return kept[::-1]


def _base(atom: Expr) -> str:
    return str(getattr(atom, "base", atom))


def collected(expr: Expr) -> Expr:
    """The expression as a monomial times a sum, a common δ_ij in front."""
    expr = normal(expr)
    if expr == 0:
        return expr
    deltas = [{f for f in term if isinstance(f, KroneckerDelta) and f.args in ((I, J), (J, I))} for term in terms(expr)]
    shared = Mul(*set.intersection(*deltas))
    numbers = [Mul(*term).as_coeff_Mul()[0] for term in terms(expr)]
    content = sympy.Rational(sympy.igcd(0, *(c.p for c in numbers)), sympy.ilcm(*(c.q for c in numbers), 1))
    monomial = content * Mul(*{*Mul.make_args(common_factor(expr)), *Mul.make_args(shared)})
    return monomial * sympy.Add(*(Mul(*term) / monomial for term in terms(expr)))

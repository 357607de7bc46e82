"""Exact expectations under a family with independent outputs: sums and integrals over its support, by SymPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy
from sympy import Expr

from ..families import Family
from .curvature import PHI
from .rules import Rule, elementary
from .sums import Deferred

Y = sympy.Symbol("y", real=True)


def log_density(family: Family) -> Expr:
    """(yθ - η(θ))/φ + c(y, φ), with φ = 1 where the family fixes it."""
    theta, _, whole = family.symbols
    phi = PHI if family.free_dispersion else sympy.Integer(1)
    return (Y * theta - family.cumulant(whole)) / phi + sympy.sympify(family.base(Y, phi))


def support(family: Family) -> Any:
    """The values that y can take, as a SymPy set, told from what the family's own test of observations accepts."""

    def contains(value: float) -> bool:
        return bool(np.all(family.support.contains(np.array([value]))))

    if contains(0.5):
        return sympy.S.Reals if contains(-1) else sympy.Interval.open(0, sympy.oo)
    return sympy.S.Naturals0 if contains(2) else sympy.FiniteSet(0, 1)


class Expectation(Deferred):
    """E[f(y)] = Σ_y or ∫ dy of f(y) exp(log density) over a support."""

    def carry_out(self, definitions: Sequence[Rule]) -> Expr:
        integrand, logarithm, where = self.args
        density = elementary(
            sympy.exp(sympy.expand(logarithm.replace(sympy.loggamma, lambda x: sympy.log(sympy.gamma(x)))))
        )
        if isinstance(where, sympy.FiniteSet):
            return sympy.Add(*((integrand * density).subs(Y, value) for value in sorted(where)))
        if where == sympy.S.Naturals0:
            k = sympy.Symbol("k", integer=True, nonnegative=True)
            term = (integrand * density).subs(Y, k).rewrite(sympy.factorial)
            rate = sympy.Symbol("lambda", positive=True)
            (theta,) = logarithm.free_symbols - {Y}
            moved = sympy.expand(term).subs(sympy.exp(k * theta), rate**k).subs(theta, sympy.log(rate))
            parts = [sympy.summation(part, (k, 0, sympy.oo)) for part in sympy.Add.make_args(sympy.expand(moved))]
            return sympy.simplify(sympy.Add(*parts)).subs(rate, sympy.exp(theta))
        return sympy.integrate(integrand * density, (Y, where.inf, where.sup), conds="none")


def expectation(family: Family, integrand: Expr) -> Expectation:
    """E[f(y)] under the family, to be carried out exactly when it is checked."""
    return Expectation(integrand, log_density(family), support(family))

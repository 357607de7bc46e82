"""The curvature φE[-∂²log p/∂z∂z'] in index notation: η'' of a family, or (dμ/dz)²/V(μ) under a link z = g(μ)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sympy
from sympy import Expr, Indexed, IndexedBase, KroneckerDelta, Mul, Symbol

from ..axes import Axis
from ..families import Family
from ..families.core import _inverse, trials_symbols
from ..links import Link
from .rules import elementary
from .sums import INDEX

n, h = INDEX[Axis.SAMPLE], INDEX[Axis.UNIT]
k = Symbol("k'", integer=True)
PHI = Symbol("phi", positive=True)
ETA = IndexedBase("eta", real=True)  # η''
MEAN = IndexedBase("mu", real=True)  # μ = E[y]
PREDICTOR = IndexedBase("z", real=True)
TRIALS = IndexedBase("T", positive=True)  # of each case, where the cases differ
POSITIVE_PREDICTOR = IndexedBase("z", positive=True)  # where a link has no other
OUTPUTS = (ETA, MEAN, PREDICTOR, POSITIVE_PREDICTOR)  # what an output of a case has


class Symmetric(Indexed):
    """An indexed symbol whose last two indices may be exchanged."""

    def __new__(cls, base: Any, *indices: Any, **options: Any) -> Symmetric:
        *first, a, b = indices
        return super().__new__(cls, base, *first, *sorted((a, b), key=str), **options)


def variance_function(family: Family) -> Expr:
    """η'' as a function of μ = η'(θ) (coupled: η''_hk from μ_h, μ_k), by eliminating θ; McCullagh, Nelder 1989, 2.2."""
    theta_i, theta_j, _ = family.symbols
    mean, hessian = family.mean_expression, family.hessian_expression
    if family.coupled:
        (share,) = mean.atoms(sympy.exp)  # exp(θ_i - log Σ exp θ), times the number of trials
        a, b = theta_i.indices[0], theta_j.indices[0]
        shares = {share.xreplace({theta_i: at}): MEAN[n, at.indices[0]] * share / mean for at in (theta_i, theta_j)}
        found = sympy.expand(hessian.xreplace(shares))
        found = found.xreplace({a: h, b: k})
    else:
        mu = _mean_symbol(family)
        solutions = sympy.solve(sympy.Eq(elementary(mean), mu), theta_i)
        found = sympy.factor(sympy.simplify(elementary(hessian).subs(theta_i, solutions[0])))
        found = _positive(found, mu).subs(mu, MEAN[n, h])
    if found.has(*family.symbols):
        raise ArithmeticError(f"{family.name}: η'' could not be written as a function of the mean: {found}")
    return _of_cases(family, found)


def _mean_symbol(family: Family) -> Symbol:
    return Symbol("mu", positive=True) if family.means.lower >= 0 else Symbol("mu", real=True)


def _of_cases(family: Family, expr: Expr) -> Expr:
    """The expression with the symbol m, where cases differ in their trials, as the trials of case n."""
    return expr.xreplace(dict.fromkeys(trials_symbols(family.trials), TRIALS[n]))


def mean_function(family: Family, link: Link) -> Expr:
    """μ_nh as a function of z_nh under a link."""
    mean, z, _ = _mean(family, link)
    return _of_cases(family, mean.xreplace({z: _predictor(link)}))


def _mean(family: Family, link: Link) -> tuple[Expr, Symbol, Expr]:
    """μ as an expression of the symbol z, z, and the number of trials."""
    assert link.inverse is not None
    z = Symbol("z", positive=True) if link.positive else Symbol("z", real=True)
    trials, *_ = trials_symbols(family.trials) or (sympy.Rational(family.trials),)
    return trials * link.inverse(z), z, trials


def _predictor(link: Link) -> Indexed:
    return (POSITIVE_PREDICTOR if link.positive else PREDICTOR)[n, h]


@lru_cache(maxsize=256)
def fisher_weight(family: Family, link: Link) -> Expr:
    """(dμ/dz)²/V(μ) of independent outputs under a link, in μ_nh or in z_nh, whichever is shorter.

    A link whose slope is no function of μ in closed form has it in z beside V(μ), or all of it in z where the means have
    an upper end: 1 - μ loses its digits there.  Source: McCullagh, Nelder 1989, section 2.5.
    """
    mean, z, trials = _mean(family, link)
    mu = Symbol("mu", positive=True) if link.positive else _mean_symbol(family)
    slope = mean.diff(z)
    variance = variance_function(family).xreplace({MEAN[n, h]: mu, TRIALS[n]: trials})
    alone = slope * family.natural_expression(mean).diff(z)
    try:
        steepness = sympy.simplify(slope.subs(z, _inverse(mean, z, mu)))
    except NotImplementedError:
        choices = [alone if family.means.upper < sympy.oo else slope**2 / variance]
    else:
        of_z = sympy.factor(sympy.simplify(slope**2 / variance.xreplace({mu: mean})))
        of_mean = sympy.factor(sympy.simplify(steepness**2 / variance))
        whole = all(power.exp.is_Integer for power in of_mean.atoms(sympy.Pow))
        choices = [of_mean] * whole + [of_z, alone]
    found = _positive(min((sympy.factor_terms(sympy.powsimp(c)) for c in choices), key=sympy.count_ops), mu)
    return _of_cases(family, found.xreplace({mu: MEAN[n, h], z: _predictor(link)}))


def _positive(expr: Expr, mu: Expr) -> Expr:
    """The product with every factor μ - 1, which means below 1 make negative, written as 1 - μ."""
    sign, factors = sympy.Integer(1), []
    for factor in Mul.make_args(expr):
        base, power = factor.as_base_exp()
        falls = base.is_Add and base.coeff(mu).is_positive and base.subs(mu, 0).is_negative
        sign, base = ((-1) ** power * sign, sympy.expand(-base)) if falls else (sign, base)
        factors.append(base**power)
    return Mul(sign * Mul(*(f for f in factors if f.is_number)), *(f for f in factors if not f.is_number))


def weight_function(family: Family, link: Link | None) -> Expr:
    """φE[-∂²log p/∂z²] of independent outputs as a function of μ_nh and z_nh."""
    return variance_function(family) if link is None else fisher_weight(family, link)


def curvature(family: Family | None) -> Expr:
    """η''_n,hk: any symmetric matrix (no family, mixed outputs), diagonal (independent ones), or a coupled family's."""
    if family is None or family.mixing is not None:
        return Symmetric(ETA, n, h, k)
    return variance_function(family) if family.coupled else KroneckerDelta(h, k) * ETA[n, h]


def insert(body: Expr, weight: Expr) -> Expr:
    """The expression with η''_nh written as a function of μ_nh and z_nh, inside sums as it stands."""
    found = {atom for atom in body.atoms(Indexed) if atom.base == ETA}
    return body.xreplace({atom: weight.xreplace({h: atom.indices[1]}) for atom in found if len(atom.indices) == 2})


def at_positions(body: Expr, cases: tuple[Symbol, ...]) -> Expr:
    """The expression with the indices ``cases`` of a case and a position in place of that of a case."""
    found = {atom for atom in body.atoms(Indexed) if atom.base in OUTPUTS}
    return body.xreplace({atom: atom.func(atom.base, *cases, *atom.indices[1:]) for atom in found})


def dispersion(family: Family | None) -> Expr:
    return PHI if family is None or family.free_dispersion else sympy.Integer(1)

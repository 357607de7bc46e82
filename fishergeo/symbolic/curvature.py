"""η'' of a family in index notation: Cov[y]/φ as a matrix over the units, written with the mean μ = η'(θ)."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Expr, Indexed, IndexedBase, KroneckerDelta, Mul, Symbol

from ..axes import Axis
from ..families import Family
from .rules import elementary
from .sums import INDEX

n, h = INDEX[Axis.SAMPLE], INDEX[Axis.UNIT]
k = Symbol("k'", integer=True)
PHI = Symbol("phi", positive=True)
ETA = IndexedBase("eta", real=True)  # η''
MEAN = IndexedBase("mu", real=True)  # μ = E[y]


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
        mu = Symbol("mu", positive=True) if family.means.lower >= 0 else Symbol("mu", real=True)
        solutions = sympy.solve(sympy.Eq(elementary(mean), mu), theta_i)
        found = sympy.factor(sympy.simplify(elementary(hessian).subs(theta_i, solutions[0])))
        found = _positive(found).subs(mu, MEAN[n, h])
    if found.has(*family.symbols):
        raise ArithmeticError(f"{family.name}: η'' could not be written as a function of the mean: {found}")
    return found


def _positive(expr: Expr) -> Expr:
    """-(x - 1)y as (1 - x)y."""
    sums = sorted((f for f in Mul.make_args(expr) if f.is_Add), key=lambda f: f.as_coeff_Add()[0])
    if not sums or not expr.as_coeff_Mul()[0] < 0:
        return expr
    return Mul(-expr / sums[0], sympy.expand(-sums[0]))


def curvature(family: Family | None) -> Expr:
    """η''_n,hk: any symmetric matrix (no family, mixed outputs), diagonal (independent ones), or a coupled family's."""
    if family is None or family.mixing is not None:
        return Symmetric(ETA, n, h, k)
    return variance_function(family) if family.coupled else KroneckerDelta(h, k) * ETA[n, h]


def insert(body: Expr, variance: Expr) -> Expr:
    """The expression with η''_nh written as a function of μ_nh, inside sums as it stands."""
    found = {atom for atom in body.atoms(Indexed) if atom.base == ETA}
    return body.xreplace({atom: variance.xreplace({h: atom.indices[1]}) for atom in found if len(atom.indices) == 2})


def dispersion(family: Family | None) -> Expr:
    return PHI if family is None or family.free_dispersion else sympy.Integer(1)

r"""The Fisher weight of a family under a link, v(z) = (dμ/dz)²/V, and its moments under Gaussian predictors.

    κ_k = E[v(ν + tξ) ξᵏ],  ξ ~ N(0, 1),  k = 0, 1, 2.

They are elementary where v is a sum of powers times exponentials; otherwise they stay integrals in one dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import sympy
from sympy import Expr, Mul, Symbol

from .. import special
from ..errors import InputError
from ..families import Family, Floats
from ..families.core import REALS
from ..links import Link
from ..symbolic.rules import elementary

PREDICTOR, XI = Symbol("z", real=True), Symbol("xi", real=True)
_WIDEST, _FINEST, _FAR = 38.0, 14, 300.0  # nodes up to ±38, halvings of their distance, predictors where v overflows


@lru_cache(maxsize=256)
def fisher_weight(family: Family, link: Link | None = None) -> Expr:
    """v(z) = (dμ/dz)²/V(μ), which is η''(z) under the canonical link; for mixed outputs that of one independent output.

    Raises `InputError` for coupled outputs, and for trials that differ between the cases.
    """
    if family.coupled:
        raise InputError(
            f"{family.name}: the outputs of a case are coupled, so a mean over inputs is an integral over all units; "
            "closed forms are for independent outputs, e.g. fg.bernoulli or fg.poisson"
        )
    if isinstance(family.trials, tuple):
        raise InputError(f"{family.name}: the cases have different trials; give one number, e.g. fg.binomial(5)")
    theta, _, whole = family.symbols
    if link is None or link.inverse is None:
        return family.cumulant(whole).diff(theta, 2).xreplace({theta: PREDICTOR})
    z = Symbol("z", positive=True) if link.positive else PREDICTOR
    mean = sympy.Rational(family.trials) * link.inverse(z)
    slope = family.natural_expression(mean).diff(z)
    weight = sympy.powsimp(mean.diff(z) * slope).replace(special.gumbel, lambda x: sympy.exp(-sympy.exp(-x)))
    return sympy.simplify(sympy.powsimp(weight)).xreplace({z: PREDICTOR})


def constant_weight(family: Family, link: Link | None = None) -> Expr | None:
    """v where it does not depend on z: a Gaussian, or a link that stabilizes the variance; else None."""
    weight = fisher_weight(family, link)
    return None if weight.has(PREDICTOR) else weight


def check_unbounded(family: Family, link: Link | None) -> None:
    """Raise `InputError` where a family does not take every real predictor, which Gaussian inputs reach."""
    if link is None or link.inverse is None:
        fits, needs = family.domain == REALS, f"a natural parameter in {family.domain}"
    else:
        z = np.linspace(-3.0, 3.0, 25)
        mean = special.numeric(sympy.sympify(link.inverse(PREDICTOR)), [PREDICTOR])
        with np.errstate(all="ignore"):
            values = mean(z)
        inside = (family.means.lower <= values) & (values <= family.means.upper) & np.isfinite(values)
        fits, needs = inside.all() and not link.positive, f"fewer predictors under the {link.name} link"
    if not fits:
        cure = {0: "log", 1: "logit"}.get(int(family.means.upper == 1)) if family.means.lower == 0 else "identity"
        raise InputError(
            f"{family.name} takes {needs}, but Gaussian inputs give every real predictor: use link=fg.links.{cure}"
        )


def gaussian_mean(integrand: Expr, xi: Symbol = XI) -> Expr | None:
    """E[f(ξ)], ξ ~ N(0, 1), for sums of powers times exponentials of polynomials of degree 2, else None.

    E[ξⁿ exp(cξ² + αξ)] = r exp(r²α²/2) E[(rξ + r²α)ⁿ] with r = 1/√(1 - 2c), where 1 - 2c > 0.
    """
    total = sympy.Integer(0)
    for term in sympy.Add.make_args(sympy.expand(elementary(integrand))):
        outside, inside = sympy.powsimp(term).as_independent(xi, as_Add=False)
        power, exponent = 0, sympy.Integer(0)
        for factor in Mul.make_args(inside):
            base, times = factor.as_base_exp()
            if base == xi and times.is_Integer and times > 0:
                power += int(times)
            elif isinstance(factor, sympy.exp) and factor.exp.is_polynomial(xi):
                exponent += factor.exp
            elif factor != 1:
                return None
        bend, rate, rest = (sympy.Poly(exponent, xi).coeff_monomial(xi**k) for k in (2, 1, 0))
        if sympy.degree(exponent, xi) > 2 or not (1 - 2 * bend).is_positive:
            return None
        spread = 1 / (1 - 2 * bend)
        moments = (
            sympy.binomial(power, j) * (spread * rate) ** (power - j) * spread ** (j // 2) * sympy.factorial2(j - 1)
            for j in range(0, power + 1, 2)
        )
        total += outside * sympy.sqrt(spread) * sympy.exp(rest + spread * rate**2 / 2) * sympy.Add(*moments)
    return total


def elementary_moments(weight: Expr, location: Expr, scale: Expr) -> tuple[Expr, ...] | None:
    """κ₀, κ₁, κ₂ of v(ν + tξ) where they are elementary, else None."""
    at = weight.xreplace({PREDICTOR: location + scale * XI})
    found = [gaussian_mean(at * XI**k) for k in range(3)]
    if None in found:
        return None
    return tuple(_tidy(f) for f in found if f is not None)


def _tidy(expr: Expr) -> Expr:
    """Factored, with one exponential whose exponent is a fraction."""
    return sympy.powsimp(sympy.factor(expr)).replace(sympy.exp, lambda x: sympy.exp(_shortest(x)))


def _shortest(expr: Expr) -> Expr:
    return min((expr, sympy.factor(expr)), key=sympy.count_ops)


def numeric_moments(weight: Expr, location: Floats, scale: Floats) -> tuple[Floats, ...]:
    """κ₀, κ₁, κ₂ for arrays ν and t, by the trapezoidal rule, which converges geometrically for analytic v.

    Raises `InputError` where halving the distance of the nodes does not settle the digits.
    """
    location, scale = np.broadcast_arrays(np.asarray(location, float), np.asarray(scale, float))
    v = special.numeric(weight, [PREDICTOR])

    def at(xi: Floats) -> Floats:
        """Sums over the nodes, their scale, and how much of it is of a smaller predictor because v overflowed."""
        with np.errstate(all="ignore"):
            z = location[..., None] + scale[..., None] * xi
            values = v(z)
            far = ~np.isfinite(values)
            values = np.where(far, v(np.clip(z, -_FAR, _FAR)), values) * np.exp(-(xi**2) / 2) / np.sqrt(2 * np.pi)
            size = np.abs(values) * (1 + xi**2)
            return np.stack([f.sum(axis=-1) for f in (values, values * xi, values * xi**2, size, far * size)])

    distance = 0.5
    total = at(np.arange(-_WIDEST, _WIDEST + distance / 2, distance))
    value, before = total * distance, np.full_like(total, np.inf)
    for _ in range(_FINEST):
        if not np.isfinite(value).all():
            break
        if np.all(np.abs(value - before)[:3] <= 1e-14 * value[3]) and np.all(value[4] <= 1e-14 * value[3]):
            return tuple(value[:3])
        total = total + at(np.arange(-_WIDEST + distance / 2, _WIDEST, distance))
        distance, before = distance / 2, value
        value = total * distance
    raise InputError(
        f"the moments of {weight} did not settle at means {_range(location)} and deviations {_range(scale)} of the "
        "predictor: the weight overflows or is too narrow; use smaller weights"
    )


def _range(values: Floats) -> str:
    return f"{values.min():.3g} to {values.max():.3g}"


def sampled(weight: Expr, location: Floats, scale: Floats, xi: Any) -> Sequence[Any]:
    """κ₀, κ₁, κ₂ as means over given numbers ξ."""
    xi = np.asarray(xi, float)
    values = special.numeric(weight, [PREDICTOR])(location[..., None] + scale[..., None] * xi)
    return [(values * xi**k).mean(axis=-1) for k in range(3)]


def moments_at(weight: Expr, location: Floats, scale: Floats) -> Sequence[Any]:
    """κ₀, κ₁, κ₂ for arrays ν and t: elementary where possible, else integrated."""
    symbols = sympy.symbols("nu t", real=True)
    found = elementary_moments(weight, *symbols)
    if found is None:
        return numeric_moments(weight, location, scale)
    return [special.numeric(sympy.sympify(k), symbols)(location, scale) for k in found]

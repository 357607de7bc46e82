"""A family under a link, as expressions of the predictor."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import sympy

import fishergeo as fg
from fishergeo import special
from fishergeo.families import Family, Interval
from fishergeo.links import Link, curve
from fishergeo.symbolic.curvature import MEAN, k, variance_function
from fishergeo.symbolic.sums import INDEX

from . import links

MU = links.MU


class Curve(NamedTuple):
    """θ(z), the Fisher weight (dμ/dz)²/V(μ), and in words the predictors whose mean is one of the family."""

    natural: Any
    weight: Any
    predictors: str


def variance(family: Family) -> Any:
    """V(μ), in the means of one or two units."""
    found = variance_function(family)
    n, h = INDEX[fg.Axis.SAMPLE], INDEX[fg.Axis.UNIT]
    atoms = found.atoms(type(MEAN[n, h]))
    plain = {atom: MEAN[atom.indices[1:]] if family.coupled else MU for atom in atoms}
    return found.xreplace(plain).xreplace({k: sympy.Symbol("k", integer=True)})


@cache
def of(family: Family, link: Link) -> Curve | None:
    """None for dependent outputs, and where no mean of the link is one of the family."""
    if family.joint:
        return None
    z = link.predictor
    if link.inverse is None:
        weight = family.hessian_expression.xreplace({family.symbols[0]: z})
        return Curve(z, weight, _ends("z", family.domain))
    low, high = links.mean_range(link)
    if not max(low, family.means.lower) < min(high, family.means.upper):
        return None
    trials = sympy.sympify(family.trials)
    mean = trials * link.mean_expression()
    natural = family.natural_expression(mean)
    forms = (mean.diff(z) ** 2 / variance(family).subs(MU, mean), mean.diff(z) * natural.diff(z))
    weight = min(map(sympy.powsimp, forms), key=lambda form: len(links.shown(form)))
    _confirm(family, link, weight)
    if family.means.lower <= low and high <= family.means.upper:
        return Curve(natural, weight, "z > 0" if link.positive else "all z")
    return Curve(natural, weight, ("z > 0, " if link.positive else "") + _ends("μ", family.means))


def _ends(what: str, ends: Interval) -> str:
    return f"all {what}" if ends == Interval() else f"{what} in {ends}"


def _confirm(family: Family, link: Link, weight: Any) -> None:
    """The weight against the compiled dμ/dz dθ/dz of the package, at predictors whose means are of the family."""
    compiled = curve(family, link)
    assert compiled is not None
    at = np.array([0.3, 0.45, 0.8, 1.7, 2.3])
    at = at if link.positive else np.concatenate([-at, at])
    at = at[family.means.contains(compiled.mean(at) / family.trials)]
    assert len(at) > 1, (family, link)
    expected, found = compiled.weight(at), special.numeric(weight, [link.predictor])(at)
    if np.abs(found - expected).max() > 1e-12 * np.abs(expected).max():
        raise ArithmeticError(f"{family.name} with the {link.name} link: {weight} is {found}, not {expected}")


def reaches(family: Family, link: Link) -> bool:
    """Whether every mean of the family is one of the link."""
    if link.inverse is None:
        return True
    low, high = links.mean_range(link)
    return bool(low <= family.means.lower and family.means.upper <= high)

r"""Links between the predictor z and the mean of a family: μ = g⁻¹(z), θ = (η')⁻¹(μ).

A link is its inverse as a SymPy expression.  What a model needs, dμ/dz, dθ/dz, d²θ/dz² and the Fisher weight
(dμ/dz)²/V(μ) = dμ/dz · dθ/dz, are derivatives, compiled by `special.numeric`.  For `binomial` μ is the mean of one trial.
Source: McCullagh, Nelder 1989, sections 2.2 and 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import special
from .errors import InputError, check_positive
from .families import Family, Floats
from .families.checks import check_callable, check_text, expression
from .families.core import Interval, trials_symbols


@dataclass(frozen=True)
class Link:
    """A link, by its inverse z -> μ as a SymPy expression; ``positive`` where only z > 0 is on the branch of g.

    ``inverse=None`` is the canonical link of whatever family it is used with: z = θ.  Raises `InputError` for parts of
    another type, and, when it is used, where ``inverse`` makes no expression of z that varies with z.
    """

    name: str
    inverse: Callable[[Any], Any] | None
    positive: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        check_text("Link", name=self.name, source=self.source)
        if self.inverse is not None:
            check_callable(self.name, inverse=(self.inverse, "lambda z: sympy.exp(z)"))
        if not isinstance(self.positive, bool):
            raise InputError(f"{self.name} got positive={self.positive!r}: give True where g needs z > 0, else False")

    @property
    def predictor(self) -> Any:
        """The symbol z that ``inverse`` is called with."""
        return _sympy().Symbol("z", positive=True) if self.positive else _sympy().Symbol("z", real=True)

    def mean_expression(self) -> Any:
        """g⁻¹(z), of a link that has one."""
        assert self.inverse is not None
        found = expression(self.inverse, f"the {self.name} link: its inverse", self.predictor)
        if not found.has(self.predictor):
            raise InputError(f"the {self.name} link: its inverse is {found}, which does not vary with z; give g⁻¹(z)")
        return found

    def __repr__(self) -> str:
        return f"Link({self.name!r})"


def _sympy() -> Any:
    import sympy

    return sympy


_BOOK = "McCullagh, Nelder 1989"
_BINARY, _COMMON = f"{_BOOK}, section 4.3", f"{_BOOK}, section 2.2.3"
canonical = Link("canonical", None, source=f"{_BOOK}, section 2.2.4")
logit = Link("logit", lambda z: special.expit(z), source=_BINARY)
probit = Link("probit", lambda z: special.ndtr(z), source=_BINARY)
cauchit = Link(
    "cauchit", lambda z: special.cauchy(z), source="Koenker, Yoon 2009, Parametric links for binary choice models"
)
cloglog = Link("cloglog", lambda z: special.gumbel_tail(z), source=_BINARY)  # log(-log(1 - μ))
loglog = Link("loglog", lambda z: special.gumbel(z), source=_BINARY)  # -log(-log μ)
log = Link("log", lambda z: _sympy().exp(z), source=_COMMON)
logc = Link(
    "logc", lambda z: special.one_minus_exp(z), source="Wacholder 1986, Binomial regression in GLIM"
)  # log(1 - μ)
identity = Link("identity", lambda z: z, source=_COMMON)
inverse = Link("inverse", lambda z: 1 / z, source=_COMMON)
inverse_squared = Link("inverse_squared", lambda z: 1 / _sympy().sqrt(z), positive=True, source=_COMMON)
sqrt = Link("sqrt", lambda z: z**2, positive=True, source=_COMMON)


def power(p: float) -> Link:
    """The link g(μ) = μᵖ; raises `InputError` for p = 0, whose limit is `log`."""
    if isinstance(p, bool) or not isinstance(p, int | float | Fraction | np.integer | np.floating):
        raise InputError(f"power got p={p!r}: give a number, e.g. power(1/3)")
    if not math.isfinite(p) or p == 0:
        raise InputError(f"power got p={p}: μ^p must vary with μ and be finite; the limit p -> 0 is fg.links.log")
    known = {1: identity, -1: inverse, -2: inverse_squared, 0.5: sqrt}
    near = Fraction(p).limit_denominator(1000)
    return known.get(p) or _power(near if float(near) == float(p) else Fraction(p))


@lru_cache(maxsize=64)
def _power(p: Fraction) -> Link:
    return Link(
        f"power({p})", lambda z: z ** _sympy().Rational(p.denominator, p.numerator), positive=True, source=_COMMON
    )


def nbinom(alpha: float) -> Link:
    """The link g(μ) = log(μ/(μ + 1/α)), canonical for `negative_binomial` of shape 1/α; `InputError` unless α > 0."""
    check_positive("nbinom", alpha=alpha)
    return _nbinom(float(alpha))


@lru_cache(maxsize=64)
def _nbinom(alpha: float) -> Link:
    name, source = f"nbinom({alpha:g})", f"{_BOOK}, section 11.2"
    return Link(name, lambda z: special.bose(-z) / _sympy().Rational(repr(alpha)), source=source)


LINKS: tuple[Link, ...] = (
    canonical,
    logit,
    probit,
    cauchit,
    cloglog,
    loglog,
    log,
    logc,
    identity,
    inverse,
    inverse_squared,
    sqrt,
)


@dataclass(frozen=True)
class Curve:
    """What a family with independent outputs makes of the predictor z: its natural parameter, mean and derivatives.

    Each function maps (z, trials of the cases if they differ) to an array of the shape of z.  ``trivial`` says that z is
    the natural parameter.
    """

    trivial: bool
    natural: Callable[..., Floats]
    mean: Callable[..., Floats]
    slope: Callable[..., Floats]  # dθ/dz
    bend: Callable[..., Floats]  # d²θ/dz²
    weight: Callable[..., Floats]  # dμ/dz dθ/dz = (dμ/dz)²/V


@lru_cache(maxsize=256)
def curve(family: Family, link: Link) -> Curve | None:
    """The curve θ(z) of a family under a link, None for the canonical one.

    Raises `InputError` for dependent outputs, and where η' has no inverse in closed form.
    """
    import sympy

    if link.inverse is None:
        return None
    if family.joint:
        raise InputError(
            f"{family.name} got the {link.name} link: the outputs of a case are dependent, which only the canonical link "
            "supports; leave link=None"
        )
    z = link.predictor
    given = trials_symbols(family.trials)
    trials = given[0] if given else sympy.Rational(family.trials)
    mean = trials * link.mean_expression()
    natural = family.natural_expression(mean)
    slope = natural.diff(z)
    expressions = (natural, mean, slope, slope.diff(z), sympy.powsimp(mean.diff(z) * slope))
    return Curve(natural == z, *(special.numeric(expression, [z, *given]) for expression in expressions))


def allowed(family: Family, link: Link, z: Floats, natural: Floats, mean: Floats, trials: Any) -> NDArray[np.bool_]:
    """Which predictors z are of this family under this link: their mean is, and they are on the branch of g."""
    with np.errstate(invalid="ignore"):
        inside = (mean >= family.means.lower * trials) & (mean <= family.means.upper * trials)
        good = np.isfinite(natural) & np.isfinite(mean) & inside & family.domain.contains(natural)
        return good & ((z > 0) if link.positive else np.isfinite(z))


def refusal(family: Family, link: Link, z: Floats, natural: Floats, mean: Floats) -> str | None:
    """Why the predictor z is not one of this family under this link: one line naming the first case; None if it is."""
    trials, *_ = family.counts(z.shape) or (1.0 if isinstance(family.trials, tuple) else family.trials,)
    good = allowed(family, link, z, natural, mean, trials)
    if good.all():
        return None
    at = tuple(np.argwhere(~good)[0])
    cure = {Interval(0, 1): "link=fg.links.logit", Interval(0): "link=fg.links.log"}.get(family.means, "another link")
    needs = "a positive predictor" if link.positive and z[at] <= 0 else f"a mean in {family.means}"
    each = " of one trial" if family.trials != 1 and needs.startswith("a mean") else ""
    return (
        f"{family.name}: case {at[0]} has predictor {z[at]:.4g} and mean {mean[at]:.4g} under the {link.name} link, "
        f"which needs {needs}{each}; use {cure}, or shrink the weights"
    )

"""Fits of statsmodels as models: generalized linear models, discrete choice models and least squares."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import families, links
from ..errors import InputError
from ..families import Family, Floats
from ..model import GLM, Params
from .core import Bridge, jacobian, library, places

_SUPPORTED = "GLM, OLS, Logit, Probit, Poisson, MNLogit"
_LINKS = {
    "Logit": links.logit,
    "Probit": links.probit,
    "CLogLog": links.cloglog,
    "LogLog": links.loglog,
    "Cauchy": links.cauchit,
    "Log": links.log,
    "LogC": links.logc,
}
_DISTRIBUTIONS = {  # of scipy.stats, by the link that its distribution function makes
    "norm": links.probit,
    "cauchy": links.cauchit,
    "logistic": links.logit,
    "gumbel_r": links.loglog,
    "gumbel_l": links.cloglog,
}
_FAMILIES = {
    "Gaussian": families.gaussian,
    "Poisson": families.poisson,
    "Gamma": families.gamma,
    "InverseGaussian": families.inverse_gaussian,
}


def from_statsmodels(result: Any) -> Bridge:
    """A fit of statsmodels as a model with its parameters, inputs X and observations Y.

    A constant column of the design becomes the bias; without one the bias is held at 0.  ``b.fisher()`` is over
    statsmodels' coefficients in its order: ``b.fisher().cov()`` is ``cov_params()`` of a fit by scoring (GLM, OLS), and
    that of ``b.pull(fg.observed_fisher(b.model, b.params, b.X, b.Y))`` of a fit by Newton's method (Probit).  φ is
    ``result.scale``.  Raises `InputError` for other models, families and links, for offsets, exposures and weights, and
    for regularized or constrained fits.
    """
    glm = library("statsmodels.genmod.generalized_linear_model", "from_statsmodels", "statsmodels")
    ols = library("statsmodels.regression.linear_model", "from_statsmodels", "statsmodels")
    discrete = library("statsmodels.discrete.discrete_model", "from_statsmodels", "statsmodels")
    fit: Any = getattr(result, "model", None)
    kinds = {
        glm.GLM: _generalized,
        ols.OLS: lambda fit: (families.gaussian, None, fit.endog),
        discrete.Logit: lambda fit: (families.bernoulli, None, fit.endog),
        discrete.Probit: lambda fit: (families.bernoulli, links.probit, fit.endog),
        discrete.Poisson: lambda fit: (families.poisson, None, fit.endog),
        discrete.MNLogit: lambda fit: (families.categorical, None, fit.endog),
    }
    if type(fit) not in kinds:
        given = type(result).__name__ if fit is None else f"a fit of {type(fit).__name__}"
        raise InputError(f"from_statsmodels got {given}: give the result of a fit of {_SUPPORTED}")
    _refuse(result, fit)
    family, link, Y = kinds[type(fit)](fit)
    scale = float(result.scale)
    if not family.free_dispersion and scale != 1:
        raise InputError(
            f"from_statsmodels got a fit of {family.name} with scale {scale:.6g}: its φ is 1, another scale is no "
            "likelihood; fit without scale="
        )
    coefficients = np.asarray(result.params, dtype=float).reshape(fit.exog.shape[1], -1)
    names = [str(name) for name in fit.exog_names]
    if family is families.categorical:
        names = [f"{label}:{name}" for label in range(1, int(fit.J)) for name in names]
    layout = tuple((name, ()) for name in names)
    X, p, T = _parameters(np.asarray(fit.exog, dtype=float), coefficients, base=family.joint)
    if link is not None:
        bent = links.curve(family, link)
        link = None if bent is None or bent.trivial else link
    model = GLM(family, link=link, dispersion=scale if family.free_dispersion else 1.0)
    return Bridge(model, p, layout, T, X, np.asarray(Y, dtype=float))


def _parameters(exog: Floats, coefficients: Floats, base: bool) -> tuple[Floats, Params, Any]:
    """X, the parameters and T, for coefficients (k, H) of the design (N, k); ``base``: unit 0 is held at 0."""
    k, outputs = coefficients.shape
    constant = next((d for d in range(k) if k > 1 and exog[0, d] != 0 and (exog[:, d] == exog[0, d]).all()), None)
    kept = np.array([d for d in range(k) if d != constant])
    weight = np.zeros((outputs + base, len(kept)))
    bias = np.zeros(outputs + base)
    weight[base:] = coefficients[kept].T
    p = Params(weight, bias)
    at, column = places(p), np.arange(k * outputs).reshape(outputs, k)
    entries = [(at.weight[base:], column[:, kept], 1.0)]
    if constant is not None:
        value = exog[0, constant]
        bias[base:] = value * coefficients[constant]
        entries.append((at.bias[base:], column[:, constant], value))
    return exog[:, kept], p, jacobian(entries, (p.size, k * outputs))


def _refuse(result: Any, fit: Any) -> None:
    """Refuse what changes the likelihood in a way that the model cannot say."""
    for name, remedy in (
        ("offset", "fit without it"),
        ("exposure", "fit without it"),
        ("freq_weights", "repeat the rows that many times instead"),
    ):
        if _given(fit, name):
            raise InputError(f"from_statsmodels got a fit with {name}, which the model has no place for: {remedy}")
    if hasattr(result, "constraints"):
        raise InputError("from_statsmodels got a constrained fit, which has fewer parameters: give the result of fit()")
    if not hasattr(result, "scale") or type(getattr(result, "_results", result)).__name__.startswith("L1"):
        raise InputError("from_statsmodels got a regularized fit, no maximum of the likelihood: give the result of fit()")


def _given(fit: Any, name: str) -> bool:
    """Whether the model was built with this argument: GLM always has the attribute, in several disguises."""
    flag = getattr(fit, f"_has_{name}", None)
    value = getattr(fit, name, None)
    if flag is not None:
        return bool(flag)
    return value is not None and bool(np.any(np.asarray(value) != 0))


def _generalized(fit: Any) -> tuple[Family, Any, Floats]:
    """Family, link and observations of a GLM."""
    kind, Y = type(fit.family).__name__, np.asarray(fit.endog, dtype=float)
    weights = np.asarray(fit.var_weights, dtype=float)
    if kind == "Binomial":
        trials = weights * fit.n_trials
        if (trials != np.round(trials)).any() or (trials < 1).any():
            raise InputError(
                "from_statsmodels got var_weights that are no numbers of trials: a binomial needs whole numbers >= 1"
            )
        family, Y = _binomial(trials), Y * trials
        Y = np.where(np.abs(Y - np.round(Y)) < 1e-9 * trials, np.round(Y), Y)  # counts went through proportions
    elif (weights != 1).any():
        raise InputError(
            f"from_statsmodels got var_weights with {kind}: φ is the same for all cases here; fit without them"
        )
    elif kind == "NegativeBinomial":
        family = families.negative_binomial(1 / float(fit.family.alpha))
    elif kind in _FAMILIES:
        family = _FAMILIES[kind]
    else:
        known = ", ".join([*_FAMILIES, "Binomial", "NegativeBinomial"])
        raise InputError(f"from_statsmodels got the family {kind}: the families both have are {known}")
    return family, _link(fit.family), Y


def _binomial(trials: Floats) -> Family:
    if (trials == 1).all():
        return families.bernoulli
    return families.binomial(int(trials[0]) if (trials == trials[0]).all() else trials)


def _link(family: Any) -> links.Link | None:
    """The link by its class; a power by its exponent."""
    link = family.link
    own = type(link).__module__ == "statsmodels.genmod.families.links"
    for name in (kind.__name__ for kind in type(link).__mro__ if own):
        if name == "Power":
            return links.power(float(link.power))
        if name in _LINKS:
            return _LINKS[name]
        if name == "CDFLink":  # of any distribution; it derives from Logit
            known = _DISTRIBUTIONS.get(getattr(link.dbn, "name", ""))
            if known is not None:
                return known
            break
        if name == "NegativeBinomial":
            own_alpha = link.alpha == getattr(family, "alpha", None)  # then log(μ/(μ + 1/α)) is the natural parameter
            return None if own_alpha else links.nbinom(link.alpha)
    raise InputError(
        f"from_statsmodels got the link {type(link).__name__}: the links both have are {', '.join(_LINKS)}, Power and "
        f"its kinds, NegativeBinomial, and CDFLink of {', '.join(_DISTRIBUTIONS)}"
    )

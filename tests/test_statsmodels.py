"""Expected and observed information, standard errors and the dispersion against statsmodels, on its own data sets."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
import statsmodels.api as sm

import fishergeo as fg

SM, L = sm.families, sm.families.links
LINKS = {  # ours, statsmodels'
    "logit": (fg.links.logit, L.Logit),
    "probit": (fg.links.probit, L.Probit),
    "cauchit": (fg.links.cauchit, L.Cauchy),
    "cloglog": (fg.links.cloglog, L.CLogLog),
    "loglog": (fg.links.loglog, L.LogLog),
    "log": (fg.links.log, L.Log),
    "identity": (fg.links.identity, L.Identity),
    "inverse": (fg.links.inverse, L.InversePower),
    "inverse_squared": (fg.links.inverse_squared, L.InverseSquared),
    "sqrt": (fg.links.sqrt, L.Sqrt),
    "power(1/3)": (fg.links.power(1 / 3), lambda: L.Power(1 / 3)),
    "power(-3)": (fg.links.power(-3), lambda: L.Power(-3)),
    "logc": (fg.links.logc, L.LogC),
    "nbinom(0.3)": (fg.links.nbinom(0.3), lambda: L.NegativeBinomial(alpha=0.3)),
    "nbinom": (fg.links.canonical, lambda: L.NegativeBinomial(alpha=0.5)),
}
POWERS = ("log", "identity", "inverse", "inverse_squared", "sqrt", "power(1/3)", "power(-3)")
PROPORTIONS = ("logit", "probit", "cauchit", "cloglog", "loglog", "log", "logc", "identity")
FAMILIES = {  # ours, statsmodels', the links that both have, data sets
    "gaussian": (lambda trials: fg.gaussian, SM.Gaussian, POWERS, ("longley", "stackloss", "scotland")),
    "bernoulli": (lambda trials: fg.bernoulli, SM.Binomial, PROPORTIONS, ("spector", "fair")),
    "binomial": (fg.binomial, SM.Binomial, PROPORTIONS, ("star98",)),
    "poisson": (lambda trials: fg.poisson, SM.Poisson, POWERS, ("cpunish", "randhie")),
    "gamma": (lambda trials: fg.gamma, SM.Gamma, POWERS, ("scotland", "stackloss")),
    "inverse_gaussian": (lambda trials: fg.inverse_gaussian, SM.InverseGaussian, POWERS, ("stackloss", "scotland")),
    "negative_binomial": (
        lambda trials: fg.negative_binomial(2),
        lambda link, check_link: SM.NegativeBinomial(link=link, alpha=0.5, check_link=check_link),
        (*POWERS, "nbinom", "nbinom(0.3)"),
        ("cpunish", "randhie"),
    ),
}
CASES = [(family, link, data) for family, (_, _, links, sets) in FAMILIES.items() for link in links for data in sets] + [
    ("negative_binomial", "cloglog", "spector")
]
PHI = 0.7  # where it is free


@cache
def load(data):
    """Inputs, observations (or successes and trials), and the mean of one trial."""
    found = getattr(sm.datasets, data).load_pandas()
    X, y = np.asarray(found.exog, float), np.asarray(found.endog, float)
    if data == "fair":
        y = (y > 0).astype(float)
    if data == "star98":
        m = y.sum(axis=1)
        return X, y[:, 0], m, (y[:, 0] / m).mean()
    return X, y, None, y.mean()


def theirs(family, link, X, y, m):
    """statsmodels' model; a proportion is given as successes and failures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of links that leave the domain; a link class, not an instance
        return sm.GLM(
            y if m is None else np.column_stack([y, m - y]),
            sm.add_constant(X, prepend=False, has_constant="add"),
            family=FAMILIES[family][1](link=LINKS[link][1](), check_link=False),
        )


def parameters(model, X, center, proportion, seed=0):
    """Weights and bias whose means stay within 30 % of the observed one, in statsmodels' order [w, b]."""
    beta = np.random.default_rng(seed).normal(size=X.shape[1]) / X.std(axis=0)
    z = (X - X.mean(axis=0)) @ beta
    ends = np.array([0.7 * center, center + 0.3 * ((1 - center) if proportion else center)])
    low, high = np.sort(model.family.link(ends))
    scale = (high - low) / np.ptp(z)
    return np.append(beta * scale, low - scale * z.min() - X.mean(axis=0) @ beta * scale)


def pair(family, link, data):
    X, y, m, center = load(data)
    make, _, _, _ = FAMILIES[family]
    ours = make(m if m is None else tuple(m))
    phi = PHI if ours.free_dispersion else 1.0
    model = theirs(family, link, X, y, m)
    proportion = family in ("bernoulli", "binomial") or link == "cloglog"
    return X, y, fg.GLM(ours, link=LINKS[link][0], dispersion=phi), model, parameters(model, X, center, proportion), phi


def agrees(ours, theirs, size, tolerance=1e-9):
    """Equal relative to √(F_ii F_jj), the size that entry (i, j) has in any units of the parameters."""
    root = np.sqrt(np.diag(size))
    error = (np.abs(ours - theirs) / np.outer(root, root)).max()
    assert error <= tolerance, error


@pytest.mark.parametrize(("family", "link", "data"), CASES)
def test_information(family, link, data):
    X, y, model, other, v, phi = pair(family, link, data)
    p = model.unravel(v, units=1)
    N = len(X)
    with np.errstate(under="ignore"):
        expected = -other.hessian(v, scale=phi, observed=False)
        observed = -other.hessian(v, scale=phi, observed=True)
    agrees(N * fg.fisher(model, p, X).to_dense(), expected, expected)
    agrees(N * fg.observed_fisher(model, p, X, y).to_dense(), observed, expected)
    np.testing.assert_allclose(
        model.mean(p, X)[:, 0] / (load(data)[2] if load(data)[2] is not None else 1), other.predict(v)
    )


@pytest.mark.parametrize(("family", "link", "data"), CASES)
def test_likelihood_and_score(family, link, data):
    X, y, model, other, v, phi = pair(family, link, data)
    p = model.unravel(v, units=1)
    if family not in ("inverse_gaussian", "gaussian"):  # statsmodels' constants of these two depend on its version
        np.testing.assert_allclose(model.log_likelihood(p, X, y).sum(), other.loglike(v, scale=phi), rtol=1e-10)
    with np.errstate(under="ignore"):
        theirs = other.score(v, scale=phi)
    ours = len(X) * model.gradient(p, X, y)
    scale = np.sqrt(len(X) * np.diag(fg.fisher(model, p, X).to_dense()))
    assert (np.abs(ours - theirs) / scale).max() < 1e-9


FITS = [
    ("gaussian", "identity", "longley"),
    ("gaussian", "log", "scotland"),
    ("bernoulli", "logit", "spector"),
    ("bernoulli", "probit", "fair"),
    ("bernoulli", "cloglog", "fair"),
    ("binomial", "logit", "star98"),
    ("binomial", "probit", "star98"),
    ("poisson", "log", "randhie"),
    ("poisson", "log", "cpunish"),
    ("gamma", "log", "scotland"),
    ("gamma", "inverse", "scotland"),
    ("inverse_gaussian", "log", "stackloss"),
    ("negative_binomial", "log", "randhie"),
    ("negative_binomial", "log", "cpunish"),
]


@pytest.mark.parametrize(("family", "link", "data"), FITS)
def test_standard_errors_of_a_fit(family, link, data):
    """cov_params, bse and scale of a converged fit; the inputs standardized, so that both inverses are accurate."""
    X, y, m, _ = load(data)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    ours = FAMILIES[family][0](m if m is None else tuple(m))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        fit = theirs(family, link, X, y, m).fit(tol=1e-12, maxiter=200)
    assert fit.converged
    model = fg.GLM(ours, link=LINKS[link][0])
    p = model.unravel(fit.params, units=1)
    found = fg.pearson_dispersion(model, p, X, y)
    if ours.free_dispersion:
        np.testing.assert_allclose(found, fit.scale, rtol=1e-9)
        model = fg.GLM(ours, link=LINKS[link][0], dispersion=found)
    else:
        assert fit.scale == 1
        np.testing.assert_allclose(found, fit.pearson_chi2 / fit.df_resid, rtol=1e-9)
    metric = fg.fisher(model, p, X)
    # their covariance has the weights from before the last step: it differs as much as that step moved
    agrees(metric.cov(), fit.cov_params(), fit.cov_params(), 1e-7)
    np.testing.assert_allclose(metric.stderr(), fit.bse, rtol=1e-7)
    # there is the maximum, where the observed information is a covariance too
    observed = fg.observed_fisher(model, p, X, y)
    assert observed.negative() == 0
    with np.errstate(under="ignore"):
        theirs_observed = np.linalg.inv(-fit.model.hessian(fit.params, scale=fit.scale, observed=True))
    np.testing.assert_allclose(observed.stderr(), np.sqrt(np.diag(theirs_observed)), rtol=1e-8)
    if family == "gaussian" and link == "identity":  # nothing is expanded around the fit
        np.testing.assert_allclose(metric.stderr(), fit.bse, rtol=1e-9)


def test_singular_designs_have_the_pseudo_inverse():
    """A column twice: statsmodels' pinv, and ours."""
    X, y, _, _ = load("stackloss")
    X = np.column_stack([X, X[:, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of the rank
        fit = sm.GLM(y, sm.add_constant(X, prepend=False), family=SM.Gaussian()).fit()
    model = fg.GLM(fg.gaussian, dispersion=fit.scale)
    metric = fg.fisher(model, model.unravel(fit.params, units=1), X)
    assert metric.rank() == 4
    np.testing.assert_allclose(metric.cov(), fit.cov_params(), rtol=1e-6, atol=1e-12 * np.abs(fit.cov_params()).max())


def test_a_wrong_link_does_not_agree():
    X, _, _, other, v, phi = pair("bernoulli", "probit", "spector")
    wrong = fg.GLM(fg.bernoulli, link=fg.links.logit)
    expected = -other.hessian(v, scale=phi, observed=False)
    with pytest.raises(AssertionError):
        agrees(len(X) * fg.fisher(wrong, wrong.unravel(v, units=1), X).to_dense(), expected, expected, 1e-3)

"""Fits of statsmodels on its own data sets: the same standard errors, by scoring and by Newton's method."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.stats

import fishergeo as fg

with warnings.catch_warnings(), np.errstate(all="ignore"):
    warnings.simplefilter("ignore")  # what the peer warns about on import is not ours to judge
    import statsmodels.api as sm
    import statsmodels.formula.api as smf

LINKS = sm.families.links
POSITIVE = [LINKS.Log(), LINKS.Identity(), LINKS.InversePower(), LINKS.InverseSquared(), LINKS.Sqrt(), LINKS.Power(1 / 3)]
BINARY = [
    LINKS.Logit(),
    LINKS.Probit(),
    LINKS.CLogLog(),
    LINKS.LogLog(),
    LINKS.Cauchy(),
    LINKS.Log(),
    LINKS.LogC(),
    LINKS.Identity(),
]


def design(name: str, columns: Any = slice(None)) -> tuple[Any, Any]:
    """Outcomes and standardized inputs of a data set, with a constant in front."""
    data = getattr(sm.datasets, name).load_pandas()
    X = data.exog.iloc[:, columns]
    return data.endog, sm.add_constant((X - X.mean()) / X.std())


def fitted(model: Any, **options: Any) -> Any:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return model.fit(**options)


def glm(y: Any, X: Any, family: Any, **options: Any) -> Any:
    """A fit that is converged to rounding: by default the covariance is that of the last but one step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = sm.GLM(y, X, family=family, **options)
    return fitted(model, tol=1e-14, maxiter=300, tol_criterion="params")


def observed(b: Any) -> Any:
    return b.pull(fg.observed_fisher(b.model, b.params, b.X, b.Y))


def same(F: Any, result: Any) -> bool:
    """Whether covariance and standard errors agree to 1e-9."""
    cov, se = np.asarray(result.cov_params(), float), np.ravel(np.asarray(result.bse, float), order="F")
    scale = np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
    return bool((np.abs(F.cov() - cov) <= 1e-9 * scale).all() and (np.abs(F.stderr() - se) <= 1e-9 * se).all())


def each_fit() -> dict[str, Any]:
    """Every family under every link that both have."""
    families: dict[str, dict[str, Any]] = {
        "Gaussian": {}, "Poisson": {}, "Gamma": {}, "InverseGaussian": {}, "NegativeBinomial": {"alpha": 0.3}
    }  # fmt: skip
    y, X = design("scotland", slice(0, 4))
    found: dict[str, Any] = {}
    for name, options in families.items():
        for link in POSITIVE:
            family = getattr(sm.families, name)(link, check_link=False, **options)
            found[f"{name}-{type(link).__name__}"] = (np.round(y), X, family)
    nbinom = sm.families.NegativeBinomial(LINKS.NegativeBinomial(alpha=0.3), check_link=False, alpha=0.3)
    found["NegativeBinomial-NegativeBinomial"] = (*design("stackloss"), nbinom)
    other = sm.families.NegativeBinomial(LINKS.NegativeBinomial(alpha=0.5), check_link=False, alpha=0.3)
    found["NegativeBinomial-NegativeBinomial of another α"] = (*design("stackloss"), other)
    one, many = design("spector", [2]), design("star98", slice(0, 5))
    for link in BINARY:
        name, family = type(link).__name__, sm.families.Binomial(link, check_link=False)
        found[f"Binomial-{name}"] = (*one, family)
        if name not in ("Log", "LogC"):  # they put a mean at an end there
            found[f"Binomial-counts-{name}"] = (*many, family)
    return found


FITS = each_fit()
CANONICAL = {
    "Gaussian-Identity",
    "Poisson-Log",
    "Gamma-InversePower",
    "InverseGaussian-InverseSquared",
    "NegativeBinomial-NegativeBinomial",
    "Binomial-Logit",
    "Binomial-counts-Logit",
}


@pytest.mark.parametrize("name", FITS)
def test_every_family_and_link_has_the_standard_errors_of_both_ways_of_fitting(name):
    y, X, family = FITS[name]
    result = glm(y, X, family)
    b = fg.from_statsmodels(result)
    assert same(b.fisher(), result)
    # on our own parameters, where the constant is the bias and so comes last
    stderr = fg.fisher(b.model, b.params, b.X).stderr()
    np.testing.assert_allclose(np.roll(stderr, 1), result.bse, rtol=1e-9)
    assert b.model.dispersion == (result.scale if b.model.family.free_dispersion else 1)
    np.testing.assert_allclose(b.model.mean(b.params, b.X)[:, 0], result.mu * result.model.n_trials, rtol=1e-9)
    likelihood = b.model.log_likelihood(b.params, b.X, b.Y).sum()
    np.testing.assert_allclose(likelihood, result.model.loglike(result.params, scale=result.scale), rtol=1e-9)
    newton = fitted(result.model, method="newton", start_params=result.params, tol=1e-14, maxiter=50, disp=0)
    there = fg.from_statsmodels(newton)
    assert same(observed(there), newton)
    if len(np.unique(X, axis=0)) > X.shape[1]:  # else the fit is perfect, and both informations are the same
        assert same(there.fisher(), newton) is (name in CANONICAL)


DISCRETE = {
    "Logit": (sm.Logit, "spector", fg.bernoulli),
    "Probit": (sm.Probit, "spector", fg.bernoulli),
    "Poisson": (sm.Poisson, "cpunish", fg.poisson),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_models(name):
    model, data, family = DISCRETE[name]
    y, X = design(data)
    result = fitted(model(y, X), disp=0, method="newton", tol=1e-14, maxiter=200)
    b = fg.from_statsmodels(result)
    assert b.model.family is family
    assert same(observed(b), result)
    assert same(b.fisher(), result) is (name != "Probit")  # the same matrix under the canonical link
    assert b.fisher().unit(1) == (X.columns[1], ())
    np.testing.assert_allclose(b.model.log_likelihood(b.params, b.X, b.Y).sum(), result.llf, rtol=1e-10)


@pytest.mark.parametrize("constant", [True, False])
def test_multinomial_logit_holds_the_first_class_at_zero(constant):
    y, X = design("anes96", [0, 2, 3])
    X = X if constant else X.iloc[:, 1:]
    result = fitted(sm.MNLogit(y, X), disp=0, method="newton", tol=1e-14, maxiter=100)
    b = fg.from_statsmodels(result)
    assert b.model == fg.GLM(fg.categorical) and b.params.units == 7
    assert (b.params.weight[0] == 0).all() and b.params.bias[0] == 0
    assert same(b.fisher(), result) and same(observed(b), result)
    assert b.layout[0] == ("1:const" if constant else f"1:{X.columns[0]}", ())
    np.testing.assert_allclose(b.model.mean(b.params, b.X), result.predict(), rtol=1e-9)
    np.testing.assert_allclose(b.model.log_likelihood(b.params, b.X, b.Y).sum(), result.llf, rtol=1e-10)


@pytest.mark.parametrize("data", ["stackloss", "longley"])
def test_least_squares_on_raw_inputs(data):
    loaded = getattr(sm.datasets, data).load_pandas()
    result = sm.OLS(loaded.endog, sm.add_constant(loaded.exog)).fit()
    b = fg.from_statsmodels(result)
    assert b.model.family is fg.gaussian and b.model.dispersion == result.scale
    assert same(b.fisher(), result)
    if data == "stackloss":  # Longley's columns are so dependent that the Hessian, a square, has lost the digits
        assert same(observed(b), result)
    maximum = fg.GLM(fg.gaussian, dispersion=result.ssr / result.nobs)  # statsmodels reports it at the largest φ
    np.testing.assert_allclose(maximum.log_likelihood(b.params, b.X, b.Y).sum(), result.llf, rtol=1e-10)


@pytest.mark.parametrize(
    ("change", "inputs"),
    [
        (lambda X: X.to_numpy(), 3),
        (lambda X: X.iloc[:, [1, 0, 2, 3]], 3),  # the constant in another place
        (lambda X: X.assign(const=-2.0), 3),  # another constant
        (lambda X: X.iloc[:, 1:] + 2, 3),  # none: the bias is held at 0
        (lambda X: X.iloc[:, :1], 1),  # nothing else: it stays an input
        (lambda X: X.assign(sum=X.iloc[:, 1] + X.iloc[:, 2]), 4),  # dependent columns: the pseudo-inverse
        (lambda X: X.assign(second=1.0), 4),  # two constants
    ],
    ids=["array", "moved", "other-value", "none", "alone", "dependent", "two"],
)
def test_the_constant_column(change, inputs):
    y, X = design("stackloss")
    X = change(X)
    result = glm(y, X, sm.families.Gamma(LINKS.Log()))
    b = fg.from_statsmodels(result)
    assert b.X.shape == (len(X), inputs)
    assert same(b.fisher(), result)
    np.testing.assert_allclose(b.model.mean(b.params, b.X)[:, 0], result.mu, rtol=1e-10)
    assert [name for name, _ in b.layout] == [str(name) for name in result.model.exog_names]
    np.testing.assert_array_equal(b.fisher(b.X).to_dense(), b.fisher().to_dense())


def test_no_constant_is_not_the_same_as_a_free_bias():
    y, X = design("stackloss")
    result = sm.OLS(y, X.iloc[:, 1:] + 1).fit()
    b = fg.from_statsmodels(result)
    free = fg.fisher(b.model, b.params, b.X).stderr()[: len(result.bse)]
    assert same(b.fisher(), result) and not np.allclose(free, result.bse, rtol=1e-3)


def test_var_weights_of_a_binomial_are_trials():
    y, X = design("star98", slice(0, 5))
    trials = y.sum(axis=1)
    proportions = glm(y.iloc[:, 0] / trials, X, sm.families.Binomial(LINKS.Probit()), var_weights=trials)
    counts = fg.from_statsmodels(glm(y, X, sm.families.Binomial(LINKS.Probit())))
    b = fg.from_statsmodels(proportions)
    assert b.model == counts.model and b.model.family == fg.binomial(trials.to_numpy())
    np.testing.assert_array_equal(b.Y, y.iloc[:, 0])
    assert same(b.fisher(), proportions)


def test_a_formula_and_its_names():
    data = sm.datasets.stackloss.load_pandas().data
    b = fg.from_statsmodels(smf.ols("STACKLOSS ~ AIRFLOW + WATERTEMP", data).fit())
    assert [name for name, _ in b.layout] == ["Intercept", "AIRFLOW", "WATERTEMP"]
    assert b.fisher().block("AIRFLOW", "WATERTEMP").shape == (1, 1)
    for part in ("gaussian", "identity", "1 units of 2 inputs", "Intercept, AIRFLOW"):
        assert part in repr(b)
    assert "over the bridged parameters" in repr(b.fisher())


@pytest.mark.parametrize(
    ("distribution", "link"),
    [("norm", "probit"), ("cauchy", "cauchit"), ("logistic", "logit"), ("gumbel_r", "loglog"), ("gumbel_l", "cloglog")],
)
def test_links_given_by_a_distribution(distribution, link):
    y, X = design("spector", [2])
    family = sm.families.Binomial(LINKS.CDFLink(getattr(scipy.stats, distribution)), check_link=False)
    result = glm(y, X, family)
    b = fg.from_statsmodels(result)
    assert b.model == fg.GLM(fg.bernoulli, link=None if link == "logit" else getattr(fg.links, link))
    np.testing.assert_allclose(b.model.mean(b.params, b.X)[:, 0], result.mu, rtol=1e-9)
    assert same(b.fisher(), result)


def bad() -> dict[str, tuple[Any, str]]:
    y, X = design("stackloss")
    ones, poisson = np.ones(len(y)), sm.families.Poisson()
    y01, X01 = design("spector")
    gamma, binomial = sm.families.Gamma(LINKS.Log()), sm.families.Binomial()
    cdf = sm.families.Binomial(LINKS.CDFLink(scipy.stats.laplace), check_link=False)
    return {
        "no-fit": (lambda: "a result", "got str"),
        "not-fitted": (lambda: sm.OLS(y, X), "got OLS"),
        "offset": (lambda: glm(y, X, poisson, offset=ones), "with offset"),
        "offset-of-zeros": (lambda: glm(y, X, poisson, offset=0 * ones), "with offset"),
        "exposure": (lambda: glm(y, X, poisson, exposure=2 * ones), "with exposure"),
        "freq-weights": (lambda: glm(y, X, poisson, freq_weights=2 * ones), "with freq_weights.*repeat the rows"),
        "var-weights": (lambda: glm(y, X, gamma, var_weights=2 * ones), "var_weights with Gamma"),
        "trials": (lambda: glm(y01, X01, binomial, var_weights=0.5 + 0 * y01), "no numbers of trials"),
        "discrete-offset": (lambda: fitted(sm.Poisson(y, X, offset=ones), disp=0), "with offset"),
        "discrete-exposure": (lambda: fitted(sm.Poisson(y, X, exposure=2 * ones), disp=0), "with exposure"),
        "scale": (lambda: fitted(sm.GLM(y, X, family=poisson), scale="X2"), r"poisson with scale 0\.5"),
        "family": (lambda: glm(y, X, sm.families.Tweedie(var_power=1.5)), "family Tweedie"),
        "link": (lambda: glm(y01, X01, cdf), "link CDFLink"),
        "weighted": (lambda: sm.WLS(y, X, weights=ones).fit(), "a fit of WLS"),
        "other-discrete": (lambda: fitted(sm.NegativeBinomial(y, X), disp=0), "a fit of NegativeBinomial"),
        "regularized": (lambda: sm.OLS(y, X).fit_regularized(alpha=0.1), "regularized"),
        "regularized-glm": (lambda: sm.GLM(y, X, family=poisson).fit_regularized(alpha=0.1), "regularized"),
        "l1": (lambda: sm.Logit(y01, X01).fit_regularized(alpha=0.1, disp=0), "regularized"),
        "constrained": (lambda: sm.GLM(y, X, family=poisson).fit_constrained("AIRFLOW = 0"), "constrained"),
        "constrained-discrete": (lambda: sm.Poisson(y, X).fit_constrained("AIRFLOW = 0", disp=0), "constrained|offset"),
    }  # fmt: skip


BAD = bad()


@pytest.mark.parametrize("name", BAD)
def test_what_has_no_counterpart_is_one_clear_line(name):
    build, words = BAD[name]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        result = build()
    with pytest.raises(fg.InputError, match=words) as error:
        fg.from_statsmodels(result)
    assert "\n" not in str(error.value) and str(error.value).startswith("from_statsmodels")

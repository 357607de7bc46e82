"""Estimators of scikit-learn on its own data sets: predictions are means, and F is that of the plain formula."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import fishergeo as fg

with warnings.catch_warnings(), np.errstate(all="ignore"):
    warnings.simplefilter("ignore")  # what the peer warns about on import is not ours to judge
    import pandas as pd
    import scipy.sparse
    import statsmodels.api as sm
    from sklearn import datasets
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import (
        GammaRegressor,
        Lasso,
        LinearRegression,
        LogisticRegression,
        LogisticRegressionCV,
        PoissonRegressor,
        Ridge,
        SGDClassifier,
        TweedieRegressor,
    )
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

_standardize = StandardScaler().fit_transform
WINE = _standardize(datasets.load_wine().data[:, :5]), datasets.load_wine().target
CANCER = _standardize(datasets.load_breast_cancer().data[:, :4]), datasets.load_breast_cancer().target
DIABETES = datasets.load_diabetes().data[:, :4] * 10, datasets.load_diabetes().target
FEW = np.round(DIABETES[1] / 25)
TIGHT = {"tol": 1e-10, "max_iter": 10_000}


def fitted(estimator: Any, X: Any, y: Any) -> Any:
    with np.errstate(all="ignore"):
        return estimator.fit(X, y)


ESTIMATORS = {
    "linear": (LinearRegression(), *DIABETES, fg.gaussian, lambda mean: np.ones_like(mean)),
    "linear-without-intercept": (
        LinearRegression(fit_intercept=False), *DIABETES, fg.gaussian, lambda mean: 1 + 0 * mean
    ),
    "linear-two-outputs": (
        LinearRegression(), DIABETES[0], np.stack([DIABETES[1], FEW], axis=1), fg.gaussian, lambda mean: 1 + 0 * mean
    ),
    "linear-positive": (LinearRegression(positive=True), *DIABETES, fg.gaussian, lambda mean: 1 + 0 * mean),
    "ridge": (Ridge(alpha=0.5), *DIABETES, fg.gaussian, lambda mean: 1 + 0 * mean),
    "logistic": (LogisticRegression(**TIGHT), *CANCER, fg.bernoulli, lambda mean: mean * (1 - mean)),
    "logistic-liblinear": (
        LogisticRegression(solver="liblinear", fit_intercept=False), *CANCER, fg.bernoulli, lambda mean: mean * (1 - mean)
    ),
    "poisson": (PoissonRegressor(alpha=0, **TIGHT), DIABETES[0], FEW, fg.poisson, lambda mean: mean),
    "gamma": (GammaRegressor(alpha=0.1, **TIGHT), *DIABETES, fg.gamma, lambda mean: 1 + 0 * mean),
    "tweedie-0": (TweedieRegressor(power=0, alpha=0), *DIABETES, fg.gaussian, lambda mean: 1 + 0 * mean),
    "tweedie-0-log": (TweedieRegressor(power=0, alpha=0, link="log"), *DIABETES, fg.gaussian, lambda mean: mean**2),
    "tweedie-1": (TweedieRegressor(power=1, alpha=0, **TIGHT), DIABETES[0], FEW, fg.poisson, lambda mean: mean),
    "tweedie-2": (TweedieRegressor(power=2, **TIGHT), *DIABETES, fg.gamma, lambda mean: 1 + 0 * mean),
    "tweedie-3": (TweedieRegressor(power=3, **TIGHT), *DIABETES, fg.inverse_gaussian, lambda mean: 1 / mean),
}  # fmt: skip


def prediction(estimator: Any, X: Any) -> Any:
    with np.errstate(all="ignore"):
        if hasattr(estimator, "predict_proba"):
            return estimator.predict_proba(X)[:, 1:]
        mean = estimator.predict(X)
    return mean.reshape(len(X), -1)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_means_are_predictions_and_the_fisher_matrix_is_the_plain_formula(name):
    estimator, X, y, family, weight = ESTIMATORS[name]
    estimator = fitted(estimator, X, y)
    b = fg.from_sklearn(estimator, X, y)
    assert b.model.family is family
    mean = prediction(estimator, X)
    np.testing.assert_allclose(b.model.mean(b.params, b.X), mean, rtol=1e-10)
    design = np.column_stack([X, np.ones(len(X))]) if estimator.fit_intercept else X
    # weight is (dμ/dz)²/V(μ); one block for each output, in scikit-learn's order: all coef_, then all intercept_
    H, D = mean.shape[1], X.shape[1]
    expected = np.zeros((H, design.shape[1], H, design.shape[1]))
    for h in range(H):
        expected[h, :, h, :] = design.T @ (weight(mean)[:, [h]] * design) / len(X)
    flat = np.arange(H * design.shape[1]).reshape(H, -1)
    order = np.concatenate([flat[:, :D].ravel(), flat[:, D:].ravel()])
    expected = expected.reshape(len(order), -1)[np.ix_(order, order)]
    F = b.fisher()
    np.testing.assert_allclose(F.to_dense(), expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())
    assert F.shape[0] == estimator.coef_.size + H * estimator.fit_intercept
    np.testing.assert_array_equal(b.fisher(X).to_dense(), F.to_dense())
    assert np.isfinite(b.model.log_likelihood(b.params, b.X, b.Y)).all()
    penalized = any(word in name for word in ("ridge", "logistic", "gamma", "tweedie-2", "tweedie-3"))
    assert ("penalty" in b.note) is penalized and b.note in repr(b) and b.note in repr(F)
    assert ("positive" in b.note) is (name == "linear-positive")


def test_several_classes_are_categorical():
    X, y = WINE
    names = np.array(["barolo", "grignolino", "barbera"])[y]  # not in the order of the alphabet
    estimator = fitted(LogisticRegression(**TIGHT), X, names)
    b = fg.from_sklearn(estimator, X, names)
    assert b.model == fg.GLM(fg.categorical) and b.params.units == 3
    P = estimator.predict_proba(X)
    np.testing.assert_allclose(b.model.mean(b.params, b.X), P, rtol=1e-10)
    np.testing.assert_array_equal(estimator.classes_[b.Y.astype(int)], names)
    np.testing.assert_allclose(b.model.loss(b.params, b.X, b.Y), -np.log(P[np.arange(len(y)), b.Y.astype(int)]).mean())
    C = P[:, :, None] * (np.eye(3) - P[:, None, :])
    J = np.zeros((len(X), 3, 3 * 5 + 3))
    for k in range(3):
        J[:, k, 5 * k : 5 * k + 5], J[:, k, 15 + k] = X, 1
    expected = np.einsum("nip,nij,njq->pq", J, C, J) / len(X)
    np.testing.assert_allclose(b.fisher().to_dense(), expected, rtol=1e-9, atol=1e-14)
    assert b.layout == (("coef_", (3, 5)), ("intercept_", (3,)))
    assert b.fisher().rank() == 12  # adding one number to all logits changes nothing


def test_without_a_penalty_the_covariance_is_that_of_statsmodels():
    X, y = CANCER
    free = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    b = fg.from_sklearn(fitted(free, X, y), X)
    assert b.note == "" and b.Y is None
    with np.errstate(all="ignore"):
        result = sm.Logit(y, sm.add_constant(X)).fit(disp=0, tol=1e-14)
    np.testing.assert_allclose(np.roll(b.fisher().stderr(), 1), result.bse, rtol=1e-6)
    penalized = fg.from_sklearn(fitted(LogisticRegression(C=0.01), X, y), X)
    assert not np.allclose(np.roll(penalized.fisher().stderr(), 1), result.bse, rtol=1e-2)


def test_least_squares_with_its_dispersion():
    X, y = DIABETES
    estimator = fitted(LinearRegression(), X, y)
    b = fg.from_sklearn(estimator, X, y)
    phi = fg.pearson_dispersion(b.model, b.params, b.X, b.Y)
    stderr = fg.from_sklearn(estimator, X, y, dispersion=phi).fisher().stderr()
    np.testing.assert_allclose(np.roll(stderr, 1), sm.OLS(y, sm.add_constant(X)).fit().bse, rtol=1e-9)


@pytest.mark.parametrize("steps", [[StandardScaler()], [PolynomialFeatures(2, include_bias=False), StandardScaler()], []])
def test_a_pipeline_is_its_last_step_on_transformed_inputs(steps):
    data = datasets.load_wine()
    raw, two = data.data[data.target < 2, :3], data.target[data.target < 2]
    pipe = fitted(make_pipeline(*steps, LogisticRegression(**TIGHT)), raw, two)
    half = raw[:40]  # statistics stay those of the fit
    b = fg.from_sklearn(pipe, half, two[:40])
    X = pipe[:-1].transform(half) if steps else half
    np.testing.assert_array_equal(b.X, X)
    np.testing.assert_allclose(b.model.mean(b.params, b.X)[:, 0], pipe.predict_proba(half)[:, 1], rtol=1e-9)
    np.testing.assert_array_equal(b.fisher(half).to_dense(), fg.from_sklearn(pipe[-1], X).fisher().to_dense())
    if steps:
        with pytest.raises(fg.InputError, match="steps of the pipeline refuse X"):
            b.fisher(half[:, :2])


def test_frames_and_sparse_inputs():
    X, y = CANCER
    estimator = fitted(LogisticRegression(**TIGHT), pd.DataFrame(X, columns=list("abcd")), y)
    F = fg.from_sklearn(estimator, X).fisher().to_dense()
    for given in (pd.DataFrame(X, columns=list("abcd")), scipy.sparse.csr_array(X)):
        np.testing.assert_allclose(fg.from_sklearn(estimator, given).fisher().to_dense(), F, rtol=1e-12, atol=1e-15)


def logistic(**options: Any) -> Any:
    return fitted(LogisticRegression(**options), *CANCER)


BAD = {
    "no-estimator": (lambda: fg.from_sklearn("LogisticRegression()", CANCER[0]), "got str"),
    "forest": (lambda: fg.from_sklearn(RandomForestClassifier(), CANCER[0]), "got RandomForestClassifier"),
    "lasso": (lambda: fg.from_sklearn(Lasso(), DIABETES[0]), "got Lasso"),
    "gradient": (lambda: fg.from_sklearn(SGDClassifier(), CANCER[0]), "got SGDClassifier"),
    "cross-validated": (lambda: fg.from_sklearn(LogisticRegressionCV(), CANCER[0]), "got LogisticRegressionCV"),
    "tweedie": (lambda: fg.from_sklearn(TweedieRegressor(power=1.5), DIABETES[0]), "power=1.5"),
    "not-fitted": (lambda: fg.from_sklearn(LogisticRegression(), CANCER[0]), "before its fit"),
    "pipeline-not-fitted": (lambda: fg.from_sklearn(make_pipeline(StandardScaler(), Ridge()), DIABETES[0]), "before its"),
    "pipeline-of-a-scaler": (lambda: fg.from_sklearn(make_pipeline(StandardScaler()), DIABETES[0]), "got StandardScaler"),
    "passthrough": (lambda: fg.from_sklearn(Pipeline([("last", "passthrough")]), DIABETES[0]), "got str"),
    "columns": (lambda: fg.from_sklearn(logistic(), CANCER[0][:, :3]), r"X of shape \(569, 3\).*needs \(cases, 4\)"),
    "vector": (lambda: fg.from_sklearn(logistic(), CANCER[0][:, 0]), r"X of shape \(569,\)"),
    "words": (lambda: fg.from_sklearn(logistic(), [["a", "b", "c", "d"]]), "type"),
    "labels": (lambda: fg.from_sklearn(logistic(), CANCER[0], CANCER[1] + 1), "y with .*2.*classes are 0, 1"),
    "label-matrix": (lambda: fg.from_sklearn(logistic(), CANCER[0], np.eye(2)), r"y with shape \(2, 2\)"),
    "dispersion": (lambda: fg.from_sklearn(logistic(), CANCER[0], dispersion=2.0), "φ = 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_has_no_counterpart_is_one_clear_line(name):
    build, words = BAD[name]
    with pytest.raises(fg.InputError, match=words) as error:
        build()
    assert "\n" not in str(error.value)

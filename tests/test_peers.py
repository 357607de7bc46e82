"""Agreement with statsmodels on its own data sets, where both can do the work: one output, no normalization."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fishergeo as fg

with warnings.catch_warnings(), np.errstate(all="ignore"):
    warnings.simplefilter("ignore")  # what the peer warns about on import is not ours to judge
    import statsmodels.api as sm

CASES = [
    (fg.bernoulli, sm.families.Binomial(), "spector"),
    (fg.poisson, sm.families.Poisson(), "cpunish"),
    (fg.gaussian, sm.families.Gaussian(), "stackloss"),
]


@pytest.mark.parametrize(("family", "peer", "name"), CASES, ids=lambda case: getattr(case, "name", ""))
def test_fisher_matrix_score_and_likelihood_are_those_of_statsmodels(family: fg.Family, peer: object, name: str) -> None:
    data = getattr(sm.datasets, name).load_pandas()
    X = data.exog.to_numpy(float)
    X, y = X / X.std(axis=0), data.endog.to_numpy(float)
    with np.errstate(all="ignore"):
        model = sm.GLM(y, np.column_stack([X, np.ones(len(X))]), family=peer)
        fit = model.fit()
        phi = float(fit.scale)
        information = -np.asarray(model.hessian(fit.params, scale=phi, observed=False))
        away = fit.params + 0.1
        score = model.score(away, scale=phi)
        likelihood = model.loglike(away, scale=phi)
    ours = fg.GLM(family, dispersion=phi)
    F = fg.fisher(ours, ours.unravel(fit.params, units=1), X).to_dense() * len(X)
    np.testing.assert_allclose(F, information, rtol=1e-9)
    p = ours.unravel(away, units=1)
    np.testing.assert_allclose(ours.gradient(p, X, y) * len(X), score, rtol=1e-8)
    np.testing.assert_allclose(ours.log_likelihood(p, X, y).sum(), likelihood, rtol=1e-10)
    wrong = fg.fisher(ours, p, X).to_dense() * len(X)  # a constant η'' aside, F depends on p
    assert family is fg.gaussian or not np.allclose(wrong, information, rtol=1e-3)

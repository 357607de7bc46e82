"""Observed information, covariance, standard errors and dispersion, and what each matrix says it is."""

from __future__ import annotations

import contracts
import numpy as np
import oracle_families as oracle
import pytest
from cases import ALL, PLAIN, SIZES, SIZES_WITH_POSITIONS
from test_links import check, setup

import fishergeo as fg

H = SIZES[2]
assert SIZES_WITH_POSITIONS[-1] == H
MODELS = [
    (fg.bernoulli, fg.links.canonical),
    (fg.bernoulli, fg.links.probit),
    (fg.poisson, fg.links.sqrt),
    (fg.gamma, fg.links.log),
    (fg.multinomial(4), fg.links.canonical),
]


def is_minus_the_hessian(metric, twin, v, Y, rng, tolerance=1e-9):
    """dᵀFd along coordinates and random directions d, which together see every entry; relative to the largest one."""
    directions = np.concatenate([np.eye(len(v))[:: max(1, len(v) // 12)], 0.5 * rng.normal(size=(12, len(v)))])
    F = metric.to_dense()
    truth = twin.curvature(v, Y, directions)
    contracts.close(np.einsum("kp,pq,kq->k", directions, F, directions), truth, tolerance)


def is_symmetric_operator(metric, F, rng):
    v, V = rng.normal(size=len(F)), rng.normal(size=(len(F), 3))
    size = np.abs(F).max()
    for product, expected in ((metric @ v, F @ v), (metric @ V, F @ V), (metric.T @ v, F @ v)):
        assert np.abs(product - expected).max() <= 1e-11 * size * np.abs(expected).max()


@pytest.mark.parametrize("case", PLAIN, ids=str)
@pytest.mark.parametrize(("family", "link"), MODELS, ids=lambda value: value.name)
def test_observed_is_minus_the_hessian(case, family, link, rng, X):
    """Second derivatives of log p by Cauchy's integral: batch statistics and the curvature of the link included."""
    phi = oracle.FAMILIES[family.name].dispersions[-1]
    model, p, twin, v = setup(case, family, link, X, phi, rng)
    Y = model.sample(p, X, rng)
    metric = fg.observed_fisher(model, p, X, Y)
    is_minus_the_hessian(metric, twin, v, Y, rng)
    is_symmetric_operator(metric, metric.to_dense(), rng)


@pytest.mark.parametrize("family", [fg.inverse_gaussian, fg.negative_binomial(1.7), fg.binomial(5), fg.gaussian], ids=str)
@pytest.mark.parametrize("link", [fg.links.log, fg.links.cloglog, fg.links.identity, fg.links.inverse], ids=str)
def test_observed_under_other_links(family, link, rng, X):
    phi = oracle.FAMILIES[family.name].dispersions[-1]
    model, p, twin, v = setup(PLAIN[1], family, link, X, phi, rng)
    Y = model.sample(p, X, rng)
    is_minus_the_hessian(fg.observed_fisher(model, p, X, Y), twin, v, Y, rng)


def test_observed_with_positions(rng, X_positions):
    for case in ALL:
        model, p, twin, v = setup(case, fg.bernoulli, fg.links.cloglog, X_positions, 1.0, rng)
        Y = model.sample(p, X_positions, rng)
        is_minus_the_hessian(fg.observed_fisher(model, p, X_positions, Y), twin, v, Y, rng)


@pytest.mark.parametrize("family", [fg.bernoulli, fg.poisson, fg.gamma, fg.multinomial(4)], ids=str)
def test_observed_is_expected_without_normalizer_and_curved_link(family, rng, X):
    model, p, _, _ = setup(PLAIN[0], family, fg.links.canonical, X, 1.0, rng)
    Y = model.sample(p, X, rng)
    contracts.close(fg.observed_fisher(model, p, X, Y).to_dense(), fg.fisher(model, p, X).to_dense())


@pytest.mark.parametrize("case", PLAIN[:5], ids=str)
def test_expected_is_the_mean_of_observed(case, rng, X):
    """Averaged over outcomes with their exact probabilities, one case at a time."""
    model, p, twin, v = setup(case, fg.bernoulli, fg.links.probit, X, 1.0, rng)
    mean = twin.mean(v)
    # the observed information is affine in y, so that it may be averaged by evaluating it at y = 0 and at unit steps
    zero = fg.observed_fisher(model, p, X, np.zeros_like(mean)).to_dense()
    total = zero.copy()
    for place in np.ndindex(mean.shape):
        Y = np.zeros_like(mean)
        Y[place] = 1
        total += mean[place] * (fg.observed_fisher(model, p, X, Y).to_dense() - zero)
    contracts.close(total, twin.fisher(v), 1e-11)


def test_an_indefinite_matrix_says_so(rng, X):
    model, p, _, _ = setup(PLAIN[1], fg.bernoulli, fg.links.canonical, X, 1.0, rng)
    Y = 1.0 - (model.mean(p, X) > 0.5)  # the worst outcomes: far from a maximum
    metric = fg.observed_fisher(model, p, X, Y)
    values = np.linalg.eigvalsh(metric.to_dense())
    assert metric.negative() == (values < -1e-12 * np.abs(values).max()).sum() > 0
    assert metric.rank() == (np.abs(values) > 1e-13 * np.abs(values).max()).sum()
    v = rng.normal(size=p.size)
    x = metric.solve(v, damping=0.3)
    np.testing.assert_allclose(metric @ x + 0.3 * x, v, atol=1e-10)
    inside = v - metric.null_space() @ (metric.null_space().T @ v)
    np.testing.assert_allclose(metric @ metric.solve(v), inside, atol=1e-9)
    assert np.isfinite(metric.condition())
    with pytest.raises(ArithmeticError, match="no maximum here"):
        metric.stderr()
    contracts.is_refused(metric.singular_values, "no real root", "use eigsh")
    worst = values[0]
    with pytest.raises(ArithmeticError, match="singular to rounding"):
        metric.solve(v, damping=-worst)


# --- covariance ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["expected", "observed", "empirical", "monte_carlo", "per_unit", "kfac"])
def test_covariance_is_the_inverse_of_the_information(kind, rng):
    X = rng.normal(size=(40, 4)) * np.array([1, 1e-4, 1e3, 1])  # units of their own
    model = fg.GLM(fg.gaussian, link=fg.links.log, dispersion=0.6)
    p = fg.Params(0.1 * rng.normal(size=(2, 4)) / np.array([1, 1e-4, 1e3, 1]), rng.normal(size=2))
    Y = model.sample(p, X, rng)
    metric = {
        "expected": lambda: fg.fisher(model, p, X),
        "observed": lambda: fg.observed_fisher(model, p, X, Y),
        "empirical": lambda: fg.empirical_fisher(model, p, X, Y),
        "monte_carlo": lambda: fg.monte_carlo_fisher(model, p, X, rng=rng, draws=3),
        "per_unit": lambda: fg.per_unit_fisher(model, p, X),
        "kfac": lambda: fg.kfac(model, p, X),
    }[kind]()
    assert metric.cases == 40
    cov = metric.cov()
    product = 40 * metric.to_dense() @ cov
    scale = np.sqrt(np.abs(np.diag(cov)))
    assert np.abs(product * scale[:, None] / scale - np.eye(p.size)).max() < 1e-8
    if kind != "observed":
        contracts.close(metric.stderr(), np.sqrt(np.diag(cov)))


def test_covariance_of_least_squares(rng):
    """σ²(XᵀX)⁻¹."""
    X = rng.normal(size=(30, 4))
    design = np.column_stack([X, np.ones(30)])
    model = fg.GLM(fg.gaussian, dispersion=1.7)
    cov = fg.fisher(model, model.init(inputs=4, units=1, rng=rng), X).cov()
    contracts.close(cov, 1.7 * np.linalg.inv(design.T @ design), 1e-11)


@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_covariance_of_a_singular_matrix_is_the_pseudo_inverse(case, rng, X):
    model, p, _, _ = setup(case, fg.multinomial(4), fg.links.canonical, X, 1.0, rng)
    metric = fg.fisher(model, p, X)
    assert metric.rank() < p.size
    cov, null, F = metric.cov(), metric.null_space(), metric.to_dense()
    assert np.abs(cov @ null).max() < 1e-9 * np.abs(cov).max()
    inside = np.eye(p.size) - null @ null.T
    assert (
        np.abs(metric.cases * F @ cov - inside).max() < 1e-15 * np.abs(F).max() * metric.cases * np.abs(cov).max() + 1e-9
    )


def test_coverage_of_the_standard_errors(rng):
    """Estimates of many simulated data sets scatter as `cov` says: within 5 standard errors of a sample covariance."""
    X = rng.normal(size=(200, 3))
    model = fg.GLM(fg.poisson, link=fg.links.log)
    p = fg.Params(np.array([[0.3, -0.2, 0.1]]), np.array([0.5]))
    estimates = []
    for _ in range(300):
        Y, v = model.sample(p, X, rng), p.ravel()
        for _ in range(8):  # Fisher scoring
            at = model.unravel(v, 1)
            v = v + fg.fisher(model, at, X).solve(model.gradient(at, X, Y))
        estimates.append(v - p.ravel())
    estimates = np.array(estimates)
    contracts.within_errors(estimates[:, :, None] * estimates[:, None, :], fg.fisher(model, p, X).cov())


@pytest.mark.parametrize("phi", [0.3, 2.5])
@pytest.mark.parametrize("family", [fg.gaussian, fg.gamma, fg.inverse_gaussian], ids=str)
def test_dispersion_is_found_again(family, phi, rng):
    X = rng.normal(size=(20_000, 3))
    model = fg.GLM(family, link=fg.links.log, dispersion=phi)
    p = fg.Params(0.05 * rng.normal(size=(2, 3)), np.array([0.1, -0.1]))
    Y = model.sample(p, X, rng)
    assert abs(fg.pearson_dispersion(fg.GLM(family, link=fg.links.log), p, X, Y) / phi - 1) < 0.15


def test_dispersion_of_dependent_outputs(rng):
    """Pearson's statistic of counts is Σ (y - μ)²/μ; of correlated outputs the squared Mahalanobis distance."""
    X = rng.normal(size=(50, 3))
    model = fg.GLM(fg.multinomial(6))
    p = model.init(inputs=3, units=4, rng=rng)
    Y, mean = model.sample(p, X, rng), model.mean(p, X)
    expected = ((Y - mean) ** 2 / mean).sum() / (50 * 3 - 12)
    assert abs(fg.pearson_dispersion(model, p, X, Y) - expected) < 1e-12 * expected
    S = np.array([[2.0, 0.5], [0.5, 1.0]])
    model = fg.GLM(fg.multivariate_gaussian(S))
    p = model.init(inputs=3, units=2, rng=rng)
    Y, mean = model.sample(p, X, rng), model.mean(p, X)
    expected = np.einsum("ni,ij,nj->", Y - mean, np.linalg.inv(S), Y - mean) / (100 - 8)
    assert abs(fg.pearson_dispersion(model, p, X, Y) - expected) < 1e-12 * expected


# --- wrong objects ---------------------------------------------------------------------------------------------------


def test_a_wrong_link_is_found(rng, X):
    """A mean that is one percent off in its argument fails every comparison."""
    import sympy

    wrong = fg.links.Link("probit", lambda z: fg.special.ndtr(sympy.Rational(101, 100) * z))
    with pytest.raises(AssertionError):
        check(PLAIN[1], fg.bernoulli, wrong, X, 1.0, rng)


def test_expected_is_not_observed(rng, X):
    model, p, twin, v = setup(PLAIN[1], fg.gamma, fg.links.log, X, 1.0, rng)
    Y = model.sample(p, X, rng)
    with pytest.raises(AssertionError):
        is_minus_the_hessian(fg.fisher(model, p, X), twin, v, Y, rng, 1e-3)


# --- what they say ---------------------------------------------------------------------------------------------------


def test_every_matrix_says_what_it_is(rng, X):
    model, p, _, _ = setup(PLAIN[1], fg.gamma, fg.links.log, X, 0.4, rng)
    Y = model.sample(p, X, rng)
    for metric, kind in (
        (fg.fisher(model, p, X), "exact (expected)"),
        (fg.observed_fisher(model, p, X, Y), "observed (minus the Hessian"),
        (fg.empirical_fisher(model, p, X, Y), "empirical (squared scores at the observed y)"),
        (fg.monte_carlo_fisher(model, p, X, rng=rng), "Monte Carlo, 1 draws a case"),
    ):
        for part in (
            kind,
            "gamma with log link",
            "batch_norm",
            f"mean over {len(X)} cases",
            "φ=0.4",
            "statistics differentiated",
        ):
            assert part in repr(metric)
    frozen = fg.GLM(fg.poisson, fg.frozen_batch_norm(0, 1))
    assert "statistics frozen" in repr(fg.fisher(frozen, frozen.init(inputs=4, units=3, rng=1), X))


# --- bad input -------------------------------------------------------------------------------------------------------

W = np.random.default_rng(3).normal(size=(3, 4))
GOOD = np.random.default_rng(4).normal(size=(7, 4))
MODEL = fg.GLM(fg.bernoulli, fg.batch_norm)
P = MODEL.init(inputs=4, units=3, rng=1)
YES = np.ones((7, 3))


def metric():
    return fg.fisher(MODEL, P, GOOD)


def masked(array):
    mask = np.zeros(np.shape(array), bool)
    mask[2] = True
    return np.ma.masked_array(array, mask)


RAGGED = [[1.0, 2, 3, 4], [1, 2]]
REFUSED = {
    "ragged inputs": (lambda: MODEL.natural(P, RAGGED), "X is an array in rows of different lengths", "rectangular"),
    "ragged observations": (
        lambda: MODEL.loss(P, GOOD, [[1, 0], [1]]),
        "observations in rows of different lengths",
        "rectangular",
    ),
    "masked inputs": (lambda: MODEL.natural(P, masked(GOOD)), "X is an array with masked entries", "drop or impute"),
    "masked observations": (lambda: MODEL.loss(P, GOOD, masked(YES)), "masked entries", "drop or impute"),
    "no bias": (lambda: MODEL.natural(fg.Params(W, None, np.ones(3)), GOOD), "one of them is None", "use model.init"),
    "complex weights": (lambda: MODEL.natural(fg.Params(W + 0j, P.bias, P.gain), GOOD), "the weight is", "real numbers"),
    "a gain that is text": (lambda: MODEL.natural(fg.Params(W, P.bias, ["a"] * 3), GOOD), "the gain is", "real numbers"),
    "a normalizer for a model": (lambda: fg.fisher(fg.batch_norm, P, GOOD), "needs a model, not Normalizer", "fg.GLM("),
    "a family for a model": (lambda: fg.observed_fisher(fg.gamma, P, GOOD, YES), "not Family('gamma')", "fg.GLM("),
    "no model": (lambda: fg.kfac(None, P, GOOD), "not None", "fg.GLM("),
    "no model for a dispersion": (lambda: fg.pearson_dispersion(3, P, GOOD, YES), "not 3", "fg.GLM("),
    "a cotangent of fewer units": (
        lambda: MODEL.vjp(P, GOOD, np.ones((1, 3))),
        "vjp got an array of shape (1, 3)",
        "(7, 3)",
    ),
    "a cotangent of more units": (lambda: MODEL.vjp(P, GOOD, np.ones((7, 4))), "shape (7, 4)", "give (7, 3)"),
    "a cotangent that is text": (lambda: MODEL.vjp(P, GOOD, "up"), "vjp got an array of type", "real numbers"),
    "a tangent of another model": (
        lambda: MODEL.jvp(P, GOOD, MODEL.init(inputs=4, units=2, rng=1)),
        "jvp got a weight of shape (2, 4)",
        "the parameters have (3, 4)",
    ),
    "a tangent without gain": (
        lambda: MODEL.jvp(P, GOOD, fg.Params(W, P.bias)),
        "jvp got a gain of shape None",
        "the parameters have (3,)",
    ),
    "a flat tangent of another length": (lambda: MODEL.jvp(P, GOOD, np.ones(5)), "shape (5,)", "must be H(D + 2)"),
    "a dispersion that is text": (lambda: fg.GLM(fg.gaussian, dispersion="x"), "dispersion='x'", "a positive number"),
    "a dispersion for each case": (
        lambda: fg.GLM(fg.gaussian, dispersion=[1, 2]),
        "dispersion=[1, 2]",
        "a positive number",
    ),
    "half an input": (lambda: MODEL.init(4.0, 3), "inputs=4.0", "an integer >= 1"),
    "units that are text": (lambda: MODEL.init(4, "3"), "units='3'", "an integer >= 1"),
    "a seed that is text": (lambda: MODEL.init(4, 3, rng="a"), "init got rng='a'", "a numpy Generator"),
    "a negative seed": (lambda: MODEL.sample(P, GOOD, rng=-1), "sample got rng=-1", "a numpy Generator"),
    "units that are a float": (lambda: MODEL.unravel(np.ones(18), units=3.0), "units=3.0", "a whole number"),
    "a ragged vector": (lambda: MODEL.unravel([[1], [1, 2]], units=3), "unravel got a vector in rows", "rectangular"),
    "a block of a float": (lambda: metric().block(0.0, 1), "block got unit 0.0", "units 0 to 2"),
    "a block of a name": (lambda: metric().block("a", 1), "block got unit 'a'", "units 0 to 2"),
    "half an eigenvalue": (lambda: metric().eigsh(2.5), "eigsh got k=2.5", "a whole number"),
    "a solve of text": (lambda: metric().solve("v"), "solve got an array of type", "real numbers"),
    "a damping that is text": (lambda: metric().solve(np.ones(18), damping="1"), "damping='1'", "a number >= 0"),
    "a parameter that is not there": (lambda: metric().unit(18), "unit got k=18", "from 0 to 17"),
    "half a draw": (lambda: fg.monte_carlo_fisher(MODEL, P, GOOD, draws=1.5), "draws=1.5", "a whole number"),
    "a seed that is a list of words": (
        lambda: fg.monte_carlo_fisher(MODEL, P, GOOD, rng=["a"]),
        "monte_carlo_fisher got rng=['a']",
        "a numpy Generator",
    ),
    "no degrees of freedom": (
        lambda: fg.pearson_dispersion(fg.GLM(fg.gaussian), fg.GLM(fg.gaussian).init(4, 3, rng=1), GOOD[:5], YES[:5]),
        "15 outputs leave no degrees of freedom",
        "give more cases",
    ),
    "a root of what may be indefinite": (
        lambda: fg.observed_fisher(MODEL, P, GOOD, YES)._root(),
        "may be indefinite",
        "use fg.fisher",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    contracts.is_refused(*REFUSED[name])


def test_a_mask_that_hides_nothing_is_fine():
    np.testing.assert_array_equal(MODEL.natural(P, np.ma.masked_array(GOOD)), MODEL.natural(P, GOOD))


def test_lists_are_arrays():
    lists = fg.Params(P.weight.tolist(), P.bias.tolist(), P.gain.tolist())
    contracts.close(fg.fisher(MODEL, lists, GOOD.tolist()).to_dense(), metric().to_dense())


def test_a_matrix_of_zeros_has_no_condition_number(rng):
    zero = fg.GLM(fg.gaussian, link=fg.links.sqrt)
    found = fg.fisher(zero, fg.Params(np.zeros((1, 2)), np.array([1e-200])), np.zeros((5, 2)))
    assert found.rank() == 0
    with pytest.raises(ArithmeticError, match="no condition number"):
        found.condition()

"""Links: derivatives against arbitrary precision, models with a link against log p(y | μ), and what is refused."""

from __future__ import annotations

from functools import cache

import contracts
import mpmath
import numpy as np
import oracle_families as oracle
import pytest
import sympy
from cases import PLAIN, SIZES

import fishergeo as fg
from fishergeo.links import LINKS, Link, curve

H = SIZES[2]
ORDINARY = (-2.0, -0.7, -0.1, 0.3, 0.8, 1.7, 2.9)
FAMILIES = (
    fg.gaussian,
    fg.bernoulli,
    fg.poisson,
    fg.gamma,
    fg.inverse_gaussian,
    fg.binomial(5),
    fg.negative_binomial(1.7),
)
EVERY = (*LINKS[1:], fg.links.power(1 / 3), fg.links.power(-3), fg.links.nbinom(0.5))

# --- the curve of a family under a link, against arbitrary precision --------------------------------------------------

NATURAL = {  # (η')⁻¹
    "gaussian": lambda mu: mu,
    "bernoulli": lambda mu: mpmath.log(mu / (1 - mu)),
    "binomial(5)": lambda mu: mpmath.log(mu / (1 - mu)),
    "poisson": mpmath.log,
    "gamma": lambda mu: -1 / mu,
    "inverse_gaussian": lambda mu: -1 / (2 * mu**2),
    "negative_binomial(1.7)": lambda mu: mpmath.log(mu / (mu + mpmath.mpf("1.7"))),
}
INVERSES = {
    "logit": lambda z: 1 / (1 + mpmath.exp(-z)),
    "probit": lambda z: mpmath.erfc(-z / mpmath.sqrt(2)) / 2,
    "cauchit": lambda z: mpmath.mpf(1) / 2 + mpmath.atan(z) / mpmath.pi,
    "cloglog": lambda z: 1 - mpmath.exp(-mpmath.exp(z)),
    "loglog": lambda z: mpmath.exp(-mpmath.exp(-z)),
    "log": mpmath.exp,
    "logc": lambda z: 1 - mpmath.exp(z),
    "nbinom(0.5)": lambda z: 2 * mpmath.exp(z) / (1 - mpmath.exp(z)),
    "identity": lambda z: z,
    "inverse": lambda z: 1 / z,
    "inverse_squared": lambda z: 1 / mpmath.sqrt(z),
    "sqrt": lambda z: z**2,
    "power(1/3)": lambda z: z**3,
    "power(-3)": lambda z: z ** (-mpmath.mpf(1) / 3),
}


@cache
def exact(family, link, z):
    """θ, μ, dθ/dz, d²θ/dz² and dμ/dz dθ/dz in arbitrary precision."""
    tails = {"probit": lambda: z * z / 2, "cloglog": lambda: np.exp(z), "loglog": lambda: np.exp(-z)}
    tail = tails.get(link, lambda: 0.0)()
    digits = 40 + int(0.5 * (tail + min(abs(z), 1e3)))  # exp(-tail) has to be seen beside 1
    with mpmath.workdps(3 * digits):
        h, z = mpmath.mpf(10) ** -digits, mpmath.mpf(z)
        mean = INVERSES[link]
        low, mid, high = (NATURAL[family](mean(z + k * h)) for k in (-1, 0, 1))
        trials = 5 if family == "binomial(5)" else 1
        slope, bend = (high - low) / (2 * h), (high - 2 * mid + low) / h**2
        rise = trials * (mean(z + h) - mean(z - h)) / (2 * h)
        return tuple(map(float, (mid, trials * mean(z), slope, bend, rise * slope)))


def compare(family, link, points, tolerance=1e-10):
    found = curve(family, link)
    assert found is not None
    for z in points:
        with np.errstate(under="ignore", over="ignore"):
            got = [float(f(np.array([z]))[0]) for f in (found.natural, found.mean, found.slope, found.bend, found.weight)]
        for what, a, b in zip(
            ("θ", "μ", "dθ/dz", "d²θ/dz²", "weight"), got, exact(family.name, link.name, z), strict=True
        ):
            floor = 1e-12 if what == "d²θ/dz²" or (what == "θ" and abs(b) < 1e-3) else 0  # where it crosses 0
            assert abs(a - b) <= tolerance * abs(b) + floor, (family.name, link.name, z, what, a, b)


@pytest.mark.parametrize("link", EVERY, ids=lambda link: link.name)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_derivatives_of_every_link(family, link):
    lower, upper = oracle.safe(link.name)
    compare(family, link, np.linspace(lower, upper, 5).tolist())


@pytest.mark.parametrize(
    ("link", "points"),
    [
        (fg.links.probit, (-30.0, -12.0, -8.0, 8.0, 12.0, 30.0)),
        (fg.links.logit, (-700.0, -40.0, 40.0, 700.0)),
        (fg.links.cloglog, (-40.0, -20.0, -8.0, 3.0, 5.0)),
        (fg.links.loglog, (-5.0, -3.0, 8.0, 20.0, 40.0)),
        (fg.links.cauchit, (-1e8, -1e3, 1e3, 1e8)),
        (fg.links.log, (-40.0, -1e-8)),
        (fg.links.logc, (-40.0, -1e-8)),
        (fg.links.identity, (1e-12, 1e-3, 0.999)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize("family", [fg.bernoulli, fg.binomial(5)], ids=lambda family: family.name)
def test_tails_of_the_links_of_proportions(family, link, points):
    if link is fg.links.cauchit:
        points = tuple(p for p in points if abs(p) < 1e4)  # further out the oracle would need thousands of digits
    compare(family, link, points)


@pytest.mark.parametrize("family", [fg.poisson, fg.gamma, fg.inverse_gaussian, fg.negative_binomial(1.7)], ids=str)
def test_tails_of_the_log_link(family):
    compare(family, fg.links.log, (-40.0, -8.0, 8.0, 40.0))


def test_named_links_of_canonical_form_are_canonical():
    for family, link in ((fg.bernoulli, fg.links.logit), (fg.poisson, fg.links.log), (fg.gaussian, fg.links.identity)):
        assert fg.GLM(family, link=link).curve is None
    assert fg.GLM(fg.categorical, link=fg.links.canonical).curve is None
    assert fg.GLM(fg.gamma, link=fg.links.inverse).curve is not None  # θ = -1/μ


def test_powers():
    assert fg.links.power(1) is fg.links.identity
    assert fg.links.power(-1) is fg.links.inverse
    assert fg.links.power(-2) is fg.links.inverse_squared
    assert fg.links.power(0.5) is fg.links.sqrt
    assert fg.links.power(1 / 3) == fg.links.power(1 / 3)
    assert repr(fg.links.power(0.25)) == "Link('power(1/4)')"


def test_the_link_of_a_negative_binomial_is_canonical_for_its_shape():
    assert fg.links.nbinom(0.5) is fg.links.nbinom(0.5)
    assert repr(fg.links.nbinom(0.5)) == "Link('nbinom(0.5)')"
    assert fg.GLM(fg.negative_binomial(2), link=fg.links.nbinom(0.5)).curve is None
    assert fg.GLM(fg.negative_binomial(2), link=fg.links.nbinom(0.4)).curve is not None


# --- models with a link, against log p(y | μ) -------------------------------------------------------------------------


def pairs():
    """Every family with every link and dispersion; the canonical one too."""
    for family in (*FAMILIES, fg.multinomial(4)):
        names = oracle.FAMILIES[family.name]
        links = (fg.links.canonical,) if names.joint else (fg.links.canonical, *EVERY)
        for link in links:
            for phi in names.dispersions if link.name in ("canonical", "log") else names.dispersions[-1:]:
                yield pytest.param(family, link, phi, id=f"{family.name}-{link.name}-{phi:g}")


def setup(case, family, link, X, phi, rng, outputs=None, units=H):
    """A model of the package with parameters whose predictors suit the link, and the same model of the oracle."""
    model = fg.GLM(family, case.normalizer, link=None if link.name == "canonical" else link, dispersion=phi)
    names = outputs or oracle.FAMILIES[family.name]
    trials = family.trials if isinstance(family.trials, int) else 1
    twin = oracle.Model(case.forward, names, link.name, X, units, model.has_gain, phi, trials)
    size = units * (X.shape[-1] + 1 + model.has_gain)
    span = names.domain if link.name == "canonical" else oracle.safe(link.name)
    v = twin.placed(rng.normal(scale=0.5, size=size), *span)
    return model, model.unravel(v, units), twin, v


def check(case, family, link, X, phi, rng, **options):
    model, p, twin, v = setup(case, family, link, X, phi, rng, **options)
    contracts.close(model.predictor(p, X), twin.predictor(v))
    contracts.close(model.mean(p, X), twin.mean(v))
    Y = model.sample(p, X, rng)
    log_p = twin.log_p(v, Y).sum(axis=-1)
    got = model.log_likelihood(p, X, Y)
    assert np.abs(got - log_p).max() <= 1e-12 * max(1, np.abs(log_p).max())
    contracts.close(model.score(p, X, Y), twin.scores(v, Y), 1e-11)
    contracts.close(model.gradient(p, X, Y), twin.scores(v, Y).mean(axis=0), 1e-11)
    F = twin.fisher(v)
    metric = fg.fisher(model, p, X)
    contracts.close(metric.to_dense(), F)
    R = metric._root()
    contracts.close(R @ R.T, F)
    return model, p, twin, v, Y


@pytest.mark.parametrize(("family", "link", "phi"), list(pairs()))
def test_every_family_and_link(family, link, phi, rng, X):
    check(PLAIN[1], family, link, X, phi, rng)


@pytest.mark.parametrize("case", PLAIN, ids=str)
@pytest.mark.parametrize(
    ("family", "link"),
    [
        (fg.gamma, fg.links.log),
        (fg.inverse_gaussian, fg.links.canonical),
        (fg.negative_binomial(1.7), fg.links.log),
        (fg.bernoulli, fg.links.probit),
        (fg.binomial(5), fg.links.cloglog),
        (fg.multinomial(4), fg.links.canonical),
    ],
    ids=lambda value: value.name,
)
def test_every_normalizer(case, family, link, rng, X):
    check(case, family, link, X, oracle.FAMILIES[family.name].dispersions[-1], rng)


@pytest.mark.parametrize("case", PLAIN, ids=str)
@pytest.mark.parametrize("phi", [1.0, 2.5])
def test_given_covariance(case, phi, rng, X):
    half = np.random.default_rng(9).normal(size=(H, H))
    S = half @ half.T / H + 0.5 * np.eye(H)
    family = fg.multivariate_gaussian(S)
    check(case, family, fg.links.canonical, X, phi, rng, outputs=oracle.multivariate_gaussian(S))


@pytest.mark.parametrize("link", [fg.links.canonical, fg.links.probit, fg.links.loglog], ids=lambda link: link.name)
def test_trials_of_each_case(link, rng, X, X_positions):
    for inputs in (X, X_positions):
        m = rng.integers(2, 9, size=len(inputs))
        shaped = m.reshape(-1, *(1,) * (inputs.ndim - 1)).astype(float)
        model, p, twin, v = setup(PLAIN[1], fg.binomial(m), link, inputs, 1.0, rng, outputs=oracle.binomial(shaped))
        twin = oracle.Model(twin.forward, twin.family, link.name, inputs, H, True, 1.0, shaped)
        contracts.close(fg.fisher(model, p, inputs).to_dense(), twin.fisher(v))
        Y = model.sample(p, inputs, rng)
        assert (shaped >= Y).all()
        contracts.close(model.log_likelihood(p, inputs, Y), twin.log_p(v, Y).sum(axis=-1))


def test_multinomial_trials_of_each_case(rng, X):
    """A case of m trials is the sum of m categorical cases."""
    m = rng.integers(1, 8, size=len(X))
    model, single = fg.GLM(fg.multinomial(m)), fg.GLM(fg.categorical)
    p = model.init(inputs=X.shape[1], units=H, rng=3)
    repeated = fg.fisher(single, p, np.repeat(X, m, axis=0)).to_dense() * m.sum() / len(m)
    contracts.close(fg.fisher(model, p, X).to_dense(), repeated)
    Y = model.sample(p, X, rng)
    np.testing.assert_array_equal(Y.sum(axis=-1), m)


def test_one_binomial_trial_is_bernoulli(rng, X):
    one, other = fg.GLM(fg.binomial(1), fg.layer_norm), fg.GLM(fg.bernoulli, fg.layer_norm)
    p = one.init(inputs=X.shape[1], units=H, rng=3)
    contracts.close(fg.fisher(one, p, X).to_dense(), fg.fisher(other, p, X).to_dense())


def test_users_own_link(rng, X):
    """Aranda-Ordaz (1981), μ = 1 - (1 + λ exp z)^(-1/λ) with λ = 2: one declaration, everything follows."""
    link = Link("aranda-ordaz", lambda z: 1 - (1 + 2 * sympy.exp(z)) ** sympy.Rational(-1, 2))
    model = fg.GLM(fg.bernoulli, fg.weight_norm, link=link)
    p = model.init(inputs=X.shape[1], units=H, rng=2)
    z = model.predictor(p, X)
    mean = 1 - (1 + 2 * np.exp(z)) ** -0.5
    contracts.close(model.mean(p, X), mean)
    rise = np.exp(z) * (1 + 2 * np.exp(z)) ** -1.5
    contracts.close(model.linearize(p, X).hessian.d, rise**2 / (mean * (1 - mean)))


def test_training_under_a_link_records_the_loss(rng):
    X = rng.normal(size=(60, 4))
    model = fg.GLM(fg.gamma, fg.batch_norm, link=fg.links.log, dispersion=0.5)
    p = model.init(inputs=4, units=3, rng=rng)
    Y = model.sample(p, X, rng)
    start = model.init(inputs=4, units=3, rng=rng)
    run = fg.descend(model, start, X, Y, optimizer=fg.gradient_descent(rate=0.05), steps=20, rng=1)
    assert abs(run.loss[0] - model.loss(start, X, Y)) < 1e-12
    assert run.loss[-1] < run.loss[0]

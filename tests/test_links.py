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
from fishergeo import special
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
EVERY = (*LINKS[1:], fg.links.power(1 / 3), fg.links.power(-3))

# --- functions -------------------------------------------------------------------------------------------------------

POSITIVE = {"todd", "todd_slope", "log1mexp", "bose"}
POINTS = {
    "logit": (1e-300, 1e-9, 0.2, 0.5, 0.9),
    "log_expm1_exp": (-700.0, -40.0, -3.0, 0.0, 2.0, 6.0),
    "gumbel": (-6.0, -3.0, 0.0, 3.0, 40.0, 700.0),
    "gumbel_tail": (-700.0, -40.0, -3.0, 0.0, 3.0, 6.0),
    "ndtr": (-37.0, -30.0, -3.0, 0.0, 2.0, 30.0),
    "mills": (-1e5, -300.0, -30.0, -3.0, 0.0, 2.0, 30.0),
    "log_ndtr": (-1e5, -300.0, -30.0, -3.0, 0.0, 2.0, 30.0),
}


def in_many_digits(expression, symbol, value, digits=60):
    """The value of an expression of elementary functions, with the digits that its cancellations need."""
    function = sympy.lambdify(symbol, expression, modules="mpmath")
    with mpmath.workdps(digits + 12 * int(abs(value)) + int(min(value * value, 1e3))):
        return float(function(mpmath.mpf(value)))


@pytest.mark.parametrize("name", special.NAMES)
def test_functions_are_what_they_say(name):
    """The twin is the definition, and the declared slope its derivative."""
    x = sympy.Symbol("x", positive=True)
    function = getattr(special, name)
    near = (1e-290, 1e-12, 1e-5, 0.3, 2.0, 40.0, 700.0)
    points = POINTS.get(name, near if name in POSITIVE else (-700.0, -40.0, -3.0, 0.0, 2.0, 40.0, 700.0))
    twin = special.TWINS[name]
    with np.errstate(under="ignore", over="ignore"):
        for value in points:
            if name in ("mills", "log_ndtr") and value < -100:  # the asymptotic series
                a = -value
                exact = a + 1 / a - 2 / a**3 + 10 / a**5
                if name == "log_ndtr":
                    exact = -(a**2) / 2 - np.log(a * np.sqrt(2 * np.pi)) + np.log1p(-1 / a**2 + 3 / a**4)
            else:
                exact = in_many_digits(function.elementary(x), x, value, 700 if name in POSITIVE else 60)
            got = float(twin(np.float64(value)))
            assert abs(got - exact) <= 1e-13 * max(abs(value) / 10, 1) * abs(exact), (name, value, got, exact)
    point = 0.3
    slope = special.elementary(function(x).diff(x))
    assert abs(float(slope.subs(x, point)) - float(function.elementary(x).diff(x).subs(x, point))) < 1e-12


def test_simplifications_are_identities():
    z = sympy.Symbol("z", real=True)
    for inner in (special.expit, special.ndtr, special.cauchy, special.gumbel, special.gumbel_tail):
        found = special.logit(inner(z))
        assert not found.has(special.logit)
        plain = sympy.log(inner(z) / (1 - inner(z)))
        for point in (-1.1, 0.4):
            assert abs(complex(special.elementary(found - plain).subs(z, point))) < 1e-12
    assert special.expit(special.logit(z)) == z
    assert special.expit(-special.logit(z)) == 1 - z
    assert special.logit(special.expit(z)) == z
    assert sympy.exp(special.softplus(z)) - 1 != 0
    assert special.bose(special.softplus(-z)) == sympy.exp(z)


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


# --- what is refused -------------------------------------------------------------------------------------------------

W = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
FLAT = np.full((7, 4), 0.5)


def at(family, link, bias, case=3):
    """Predictors of 0.5, except in one case, where they are ``bias`` + 0.5."""
    X = FLAT.copy()
    X[case] += bias
    return lambda: fg.GLM(family, link=link).natural(fg.Params(W, np.zeros(3)), X)


REFUSED = {
    "identity beyond 1": (
        at(fg.bernoulli, fg.links.identity, 0.7),
        "case 3 has predictor 1.2 and mean 1.2",
        "fg.links.logit",
    ),
    "a proportion of several trials": (
        at(fg.binomial(5), fg.links.identity, 0.7),
        "(0, 1) of one trial",
        "fg.links.logit",
    ),
    "log of a proportion": (
        at(fg.bernoulli, fg.links.log, -0.6, 0),
        "bernoulli: case 1 has predictor 0.5",
        "fg.links.logit",
    ),
    "a negative rate": (
        at(fg.poisson, fg.links.identity, -1.0),
        "case 3 has predictor -0.5 and mean -0.5",
        "fg.links.log",
    ),
    "a negative mean": (at(fg.inverse_gaussian, fg.links.identity, -1.0), "mean -0.5", "fg.links.log"),
    "a mean of 0": (at(fg.gamma, fg.links.identity, -0.5), "case 3 has predictor 0", "fg.links.log"),
    "the other branch": (
        at(fg.poisson, fg.links.sqrt, -1.0),
        "sqrt link, which needs a positive predictor",
        "fg.links.log",
    ),
    "an inverse at 0": (
        at(fg.gaussian, fg.links.inverse, -0.5),
        "case 3 has predictor 0 and mean inf",
        "shrink the weights",
    ),
    "a mean that overflows": (
        at(fg.gamma, fg.links.log, 800.0),
        "case 3 has predictor 800.5 and mean inf",
        "shrink the weights",
    ),
    "a positive natural parameter": (
        at(fg.gamma, None, -1.0, 5),
        "gamma: case 0 has natural parameter 0.5, which must lie in (-∞, 0)",
        "use link=fg.links.log",
    ),
    "a natural parameter of 0": (at(fg.negative_binomial(2), None, -0.5, 0), "natural parameter 0,", "fg.links.log"),
    "outputs that are dependent": (
        lambda: fg.GLM(fg.categorical, link=fg.links.probit),
        "categorical got the probit link",
        "leave link=None",
    ),
    "correlated outputs": (
        lambda: fg.GLM(fg.multivariate_gaussian(np.eye(3)), link=fg.links.identity),
        "multivariate_gaussian(3) got the identity link",
        "leave link=None",
    ),
    "a covariance of another size": (
        at(fg.multivariate_gaussian(np.eye(2)), None, 0.0),
        "multivariate_gaussian(2) has 2 outputs",
        "3 units",
    ),
    "a power of 0": (lambda: fg.links.power(0), "power got p=0", "fg.links.log"),
    "a power that is text": (lambda: fg.links.power("2"), "power got p='2'", "give a number"),
    "a power without end": (lambda: fg.links.power(float("nan")), "power got p=nan", "fg.links.log"),
    "no trials": (lambda: fg.binomial(0), "trials=0", "a whole number >= 1"),
    "half a trial": (lambda: fg.multinomial(2.5), "trials=2.5", "a whole number >= 1"),
    "trials that are text": (lambda: fg.binomial("many"), "binomial got trials of type", "give real numbers"),
    "trials of other cases": (at(fg.binomial([3, 4]), None, 0.0), "the trials of 2 cases", "(7, 3)"),
    "a shape of 0": (lambda: fg.negative_binomial(0), "shape=0", "give a number r > 0"),
    "a shape that is missing": (lambda: fg.negative_binomial(None), "negative_binomial got a shape", "give real numbers"),
    "a covariance that is not square": (
        lambda: fg.multivariate_gaussian(np.ones((2, 3))),
        "covariance of shape (2, 3)",
        "give finite numbers (H, H)",
    ),
    "a covariance that is not symmetric": (
        lambda: fg.multivariate_gaussian([[1, 0.5], [0.4, 1]]),
        "entries (0, 1) and (1, 0) differ",
        "give (Σ + Σᵀ)/2",
    ),
    "a covariance that is singular": (
        lambda: fg.multivariate_gaussian(np.ones((3, 3))),
        "not positive definite",
        "drop outputs",
    ),
    "a mean with no inverse": (
        lambda: curve(fg.Family("odd", lambda t: t**2 + t**4, lambda y, phi: 0, fg.gaussian.support, None), fg.links.log),
        "odd: η'",
        "use the canonical link",
    ),
    "too many successes": (
        lambda: fg.binomial(5).encode(np.full((7, 3), 6), (7, 3)),
        "y = 6.0 at case 0",
        "the integers from 0 to 5",
    ),
    "a total that is wrong": (
        lambda: fg.multinomial(4).encode(np.ones((7, 3)), (7, 3)),
        "at case 0",
        "rows of whole numbers that sum to 4",
    ),
    "labels for counts": (lambda: fg.multinomial(4).encode(np.zeros(7), (7, 3)), "shape (7,)", "the model needs (7, 3)"),
    "a waiting time of 0": (lambda: fg.gamma.encode(np.zeros((7, 3)), (7, 3)), "y = 0.0 at case 0", "the positive real"),
    "a θ out of the domain": (
        lambda: fg.gamma.mean(np.array([-1.0, 0.5])),
        "gamma got natural parameter 0.5 at case 1",
        "(-∞, 0)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    contracts.is_refused(*REFUSED[name])


def test_training_under_a_link_records_the_loss(rng):
    X = rng.normal(size=(60, 4))
    model = fg.GLM(fg.gamma, fg.batch_norm, link=fg.links.log, dispersion=0.5)
    p = model.init(inputs=4, units=3, rng=rng)
    Y = model.sample(p, X, rng)
    start = model.init(inputs=4, units=3, rng=rng)
    run = fg.descend(model, start, X, Y, optimizer=fg.gradient_descent(rate=0.05), steps=20, rng=1)
    assert abs(run.loss[0] - model.loss(start, X, Y)) < 1e-12
    assert run.loss[-1] < run.loss[0]

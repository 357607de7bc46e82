"""Families: mean, covariance and density from the cumulant, at ordinary and at extreme natural parameters."""

from __future__ import annotations

import itertools
from functools import cache

import contracts
import mpmath
import numpy as np
import pytest
from cases import each_family

import fishergeo as fg
from fishergeo.families import FAMILIES, ZOO, Family, Hessian, Support

ORDINARY = [-3.0, -1.2, -0.1, 0.0, 0.4, 1.5, 4.0]
EXTREME = [-700.0, -40.0, 40.0, 700.0]
NEGATIVE = [-700.0, -40.0, -3.0, -1.0, -0.1, -1e-5, -1e-9]
COVARIANCE = [[2.0, 0.5, -0.3], [0.5, 1.0, 0.1], [-0.3, 0.1, 3.0]]

# η(θ) in any precision; a coupled family takes the whole row
CUMULANTS = {
    "gaussian": lambda row: [t * t / 2 for t in row],
    "bernoulli": lambda row: [mpmath.log1p(mpmath.exp(t)) for t in row],
    "poisson": lambda row: [mpmath.exp(t) for t in row],
    "categorical": lambda row: [mpmath.log(mpmath.fsum(mpmath.exp(t) for t in row))],
    "gamma": lambda row: [-mpmath.log(-t) for t in row],
    "inverse_gaussian": lambda row: [-mpmath.sqrt(-2 * t) for t in row],
    "binomial(5)": lambda row: [5 * mpmath.log1p(mpmath.exp(t)) for t in row],
    "negative_binomial(1.7)": lambda row: [-mpmath.mpf("1.7") * mpmath.log(1 - mpmath.exp(t)) for t in row],
    "multinomial(4)": lambda row: [4 * mpmath.log(mpmath.fsum(mpmath.exp(t) for t in row))],
    "multivariate_gaussian(3)": lambda row: [
        mpmath.fsum(COVARIANCE[i][j] * row[i] * row[j] for i in range(3) for j in range(3)) / 2
    ],
}


@cache
def exact(name, row):
    """η, ∂η/∂θ_i and ∂²η/∂θ_i∂θ_j of one case: central differences with steps far below any rounding."""
    digits = 20 + int(0.45 * max(map(abs, row)))  # exp(-|θ|) has to be seen beside 1
    with mpmath.workdps(5 * digits):
        h = mpmath.mpf(10) ** -digits

        def eta(*moves):
            moved = list(map(mpmath.mpf, row))
            for place, step in moves:
                moved[place] += step
            return mpmath.fsum(CUMULANTS[name](moved))

        places = range(len(row))
        first = [(eta((i, h)) - eta((i, -h))) / (2 * h) for i in places]
        coupled = len(CUMULANTS[name](row)) == 1
        second = [
            [
                (coupled or i == j)
                and (eta((i, h), (j, h)) - eta((i, h), (j, -h)) - eta((i, -h), (j, h)) + eta((i, -h), (j, -h)))
                / (4 * h * h)
                for j in places
            ]
            for i in places
        ]
        values = [float(v) for v in CUMULANTS[name](list(map(mpmath.mpf, row)))]
        return values, [float(v) for v in first], [[float(v) for v in line] for line in second]


def rows(values, name):
    """Cases of three outputs; a coupled family also meets every mixture of its values."""
    if name == "categorical":
        return list(itertools.product(values, repeat=3))[:: len(values) + 3]
    return [tuple(values[(k + s) % len(values)] for s in range(3)) for k in range(len(values))]


@pytest.mark.parametrize("values", [ORDINARY, EXTREME, [*EXTREME, 0.3]], ids=["ordinary", "extreme", "mixed"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_mean_and_hessian_are_derivatives_of_the_cumulant(family, values):
    theta = np.array(rows(values, family.name))
    eta, first, second = (np.array(part) for part in zip(*(exact(family.name, tuple(row)) for row in theta.tolist())))
    contracts.derivatives_of_the_cumulant(family, theta, first, second)
    got = family.cumulant_value(theta)
    expected = eta[..., 0] if family.coupled else eta
    assert got.shape == expected.shape
    assert (np.abs(got - expected) / np.maximum(np.abs(expected), 1e-290)).max() <= 1e-14


@pytest.mark.parametrize("values", [ORDINARY, EXTREME], ids=["ordinary", "extreme"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_root_and_product_of_the_hessian(family, values):
    contracts.root_squares_to_the_hessian(family, np.array(rows(values, family.name)))


@pytest.mark.parametrize("values", [ORDINARY, EXTREME], ids=["ordinary", "extreme"])
def test_rows_of_a_coupled_hessian_sum_to_zero(values):
    for family in FAMILIES:
        if family.coupled:
            dense = family.hessian(np.array(rows(values, family.name))).dense()
            assert np.abs(dense.sum(axis=-1)).max() < 1e-15
            assert np.abs(dense - np.swapaxes(dense, -1, -2)).max() < 1e-16


def test_hessian_takes_batches(rng):
    d = rng.dirichlet(np.ones(3), size=7)
    for hessian in (Hessian(d), Hessian(d, coupled=True)):
        V = rng.normal(size=(2, 5, 7, 3))
        contracts.close(hessian.apply(V), np.einsum("nij,...nj->...ni", hessian.dense(), V))


@each_family()
def test_density_is_normalized(family, phi, rng):
    width = 3 if family.coupled else 1
    contracts.density_is_normalized(family, rng.normal(size=(7, width)), phi)


@each_family()
def test_density_has_the_moments_of_the_cumulant(family, phi, rng):
    """Σ y p = η' and Σ (y - η')² p = φ η'', with the sums taken over the outcomes."""
    theta = rng.normal(size=(7, 3 if family.coupled else 1))
    y, weight = contracts.support(family.name, theta, phi)
    p = weight[:, None] * np.array([np.exp(np.maximum(family.log_density(row, theta, phi), -100)) for row in y])
    c = y - family.mean(theta)
    contracts.close(np.einsum("qn,qnh->nh", p, y), family.mean(theta), 1e-11)
    contracts.close(np.einsum("qn,qni,qnj->nij", p, c, c), phi * family.hessian(theta).dense(), 1e-11)


def test_the_same_number_for_every_shape_of_theta(rng):
    for family in FAMILIES:
        theta = rng.normal(size=(2, 5, 3))
        contracts.close(family.mean(theta)[1, 4], family.mean(theta[1, 4]))
        contracts.close(family.hessian(theta).dense()[1, 4], family.hessian(theta[1, 4]).dense())


def test_expressions_are_the_derivatives_of_the_printed_cumulant():
    import sympy

    for family in FAMILIES:
        if not family.coupled:
            theta, _, whole = family.symbols
            eta = family.cumulant(whole)
            assert sympy.simplify(eta.diff(theta) - family.mean_expression) == 0
            assert sympy.simplify(eta.diff(theta, 2) - family.hessian_expression) == 0


# --- the families of a restricted domain, of several trials and of mixed outputs ---------------------------------------


@pytest.mark.parametrize("family", ZOO[len(FAMILIES) :], ids=lambda f: f.name)
def test_derivatives_of_the_other_cumulants(family):
    values = NEGATIVE if family.domain.upper == 0 else [*ORDINARY, -40.0, 40.0]
    theta = np.array(rows(values, "categorical" if family.joint else family.name))
    eta, first, second = (np.array(part) for part in zip(*(exact(family.name, tuple(row)) for row in theta.tolist())))
    got = family.cumulant_value(theta)
    expected = eta[..., 0] if family.joint else eta
    assert (np.abs(got - expected) / np.maximum(np.abs(expected), 1e-290)).max() <= 1e-14
    if family.mixing:
        contracts.close(family.mean(theta), first)
        contracts.close(family.hessian(theta).dense(), second)
    else:
        contracts.derivatives_of_the_cumulant(family, theta, first, second)


@pytest.mark.parametrize("family", ZOO, ids=lambda f: f.name)
def test_contracts_hold(family):
    for seed in range(3):
        found = fg.check(family, rng=seed)
        assert found, found


@pytest.mark.parametrize("family", [f for f in ZOO if not f.joint], ids=lambda f: f.name)
def test_natural_parameter_of_a_mean(family, rng):
    """(η')⁻¹(η'(θ)) = θ, the variance as a function of the mean, and the interval of means."""
    import sympy

    mu = sympy.Symbol("mu", positive=True)
    theta = family.example(rng, (50,))
    back = fg.special.numeric(family.natural_expression(mu), [mu])(family.mean(theta))
    contracts.close(back, theta)
    variance = family.hessian_expression.subs(family.symbols[0], family.natural_expression(mu))
    contracts.close(fg.special.numeric(sympy.simplify(variance), [mu])(family.mean(theta)), family.hessian(theta).d)
    ends = {"gaussian": (-np.inf, np.inf), "bernoulli": (0, 1), "binomial(5)": (0, 1)}
    assert family.means == ends.get(family.name, (0, np.inf))


def test_products_and_roots_of_mixed_hessians(rng):
    for family in (fg.multivariate_gaussian(COVARIANCE), fg.multinomial(4)):
        hessian = family.hessian(rng.normal(size=(7, 3)))
        V = rng.normal(size=(2, 5, 7, 3))
        contracts.close(hessian.apply(V), np.einsum("nij,...nj->...ni", hessian.dense(), V))
        B = np.stack([hessian.root(np.broadcast_to(e, (7, 3))) for e in np.eye(3)], axis=-1)
        contracts.close(np.einsum("nki,nkj->nij", B, B), hessian.dense())


def test_a_sampler_that_ignores_the_mixing_is_found():
    from dataclasses import replace

    wrong = replace(fg.multivariate_gaussian(COVARIANCE), draw=fg.gaussian.draw)
    assert not fg.check(wrong)
    assert not fg.check(replace(fg.gamma, base=lambda y, phi: 0 * y))
    assert not fg.check(replace(fg.negative_binomial(2), draw=fg.poisson.draw))


@pytest.mark.parametrize("size", [21, 128, 5000, 10**6])
def test_density_of_many_trials(size):
    """log Γ of large numbers, whose factorial no float holds."""
    theta, y = np.array([[-0.4]]), np.array([[float(size // 3)]])
    with mpmath.workdps(40):
        t, k, m = map(mpmath.mpf, (-0.4, size // 3, size))
        binomial = mpmath.log(mpmath.binomial(m, k)) + k * t - m * mpmath.log1p(mpmath.exp(t))
        r = m + mpmath.mpf("0.5")
        shapes = mpmath.loggamma(k + r) - mpmath.loggamma(r) - mpmath.loggamma(k + 1)
        negative = shapes + k * t + r * mpmath.log(1 - mpmath.exp(t))
    for family, exact in ((fg.binomial(size), binomial), (fg.negative_binomial(size + 0.5), negative)):
        assert abs(family.log_density(y, theta, 1.0)[0] - float(exact)) < 1e-15 * size * np.log(size) + 1e-12
    three = np.array([[size // 3, size // 3, size - 2 * (size // 3)]], float)
    p = np.array([0.2, 0.3, 0.5])
    found = fg.multinomial(size).log_density(three, np.log(p)[None], 1.0)[0]
    with mpmath.workdps(40):
        exact = mpmath.loggamma(size + 1) + sum(
            k * mpmath.log(mpmath.mpf(q)) - mpmath.loggamma(k + 1) for k, q in zip(three[0].tolist(), p.tolist())
        )
    assert abs(found - float(exact)) < 1e-15 * size * np.log(size) + 1e-12


def test_the_same_parameters_give_the_same_family():
    assert fg.binomial(5) is fg.binomial(5.0)
    assert fg.binomial([2, 3]) is fg.binomial(np.array([2, 3]))
    assert fg.negative_binomial(2) is fg.negative_binomial(2.0)
    assert fg.multivariate_gaussian(COVARIANCE) is fg.multivariate_gaussian(np.array(COVARIANCE))
    assert fg.binomial(5) != fg.binomial(6)


def test_an_interval_of_two_ends():
    """A domain that ends on both sides is sampled inside."""
    bounded = Family("bounded", lambda t: t**2, lambda y, phi: 0, Support("all", np.isfinite), fg.gaussian.draw,
                     domain=fg.gaussian.domain._replace(lower=-1.0, upper=2.0))  # fmt: skip
    theta = bounded.example(np.random.default_rng(1), (1000,))
    assert theta.min() > -1 and theta.max() < 2

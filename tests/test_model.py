"""The model: parameters, log-likelihood, scores, Jacobian products and samples, against log p alone."""

from __future__ import annotations

import re

import contracts
import numpy as np
import oracles
import pytest
from cases import (
    ALL,
    CASES_WITH_POSITIONS,
    PLAIN,
    SIZES,
    SIZES_WITH_POSITIONS,
    Setup,
    each_case,
    each_case_and_family,
    each_family,
)

import fishergeo as fg

H = SIZES[2]


@pytest.mark.parametrize("has_gain", [True, False])
@pytest.mark.parametrize("batch", [(), (2,), (2, 5)])
def test_parameters_round_trip(has_gain, batch, rng):
    size = 3 * (4 + 1 + has_gain)
    v = rng.normal(size=(*batch, size))
    p = fg.Params.unravel(v, units=3, has_gain=has_gain)
    assert (p.weight.shape, p.bias.shape) == ((*batch, 3, 4), (*batch, 3))
    assert (p.gain is not None) == has_gain
    assert (p.units, p.inputs, p.size) == (3, 4, size)
    np.testing.assert_array_equal(p.ravel(), v)


def test_parameters_are_flattened_unit_by_unit():
    p = fg.Params(np.array([[1.0, 2, 3], [6, 7, 8]]), np.array([4.0, 9]), np.array([5.0, 10]))
    np.testing.assert_array_equal(p.ravel(), np.arange(1, 11))


@each_case(ALL)
def test_init_fits_the_model(case):
    model = fg.GLM(fg.gaussian, case.normalizer)
    p = model.init(inputs=4, units=H, rng=5)
    assert p.size == H * (4 + 1 + model.has_gain)
    np.testing.assert_array_equal(p.bias, 0)
    np.testing.assert_array_equal(model.unravel(p.ravel(), H).weight, p.weight)
    again = model.init(inputs=4, units=H, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(again.weight, p.weight)


@each_case_and_family(CASES_WITH_POSITIONS)
def test_likelihood_and_its_derivatives(case, family, phi, rng, inputs):
    check_likelihood(Setup.of(case, family, inputs(case), H, rng, phi), rng)


@each_case(CASES_WITH_POSITIONS)
def test_likelihood_and_its_derivatives_with_positions(case, rng, X_positions):
    check_likelihood(Setup.of(case, fg.categorical, X_positions, SIZES_WITH_POSITIONS[-1], rng), rng)


def check_likelihood(setup, rng):
    model, p, X = setup.model, setup.p, setup.X
    contracts.close(model.natural(p, X), setup.natural(setup.v))
    contracts.jacobian_is_the_derivative(setup, rng)
    Y = model.sample(p, X, rng)
    log_p = oracles.log_p(*setup.with_outputs(Y))
    contracts.close(model.log_likelihood(p, X, Y), log_p)
    contracts.close(model.loss(p, X, Y), -log_p.mean())
    scores = oracles.scores(*setup.with_outputs(Y)).reshape(-1, p.size)
    contracts.close(model.score(p, X, Y), scores)
    contracts.close(model.gradient(p, X, Y), scores.mean(axis=0))


@each_case(ALL)
def test_products_take_batches(case, rng, inputs):
    X = inputs(case)
    setup = Setup.of(case, fg.poisson, X, H, rng)
    V = rng.normal(size=(2, 5, setup.p.size))
    whole = setup.model.jvp(setup.p, X, V)
    for i, j in np.ndindex(2, 5):
        contracts.close(whole[i, j], setup.model.jvp(setup.p, X, V[i, j]))
        contracts.close(whole[i, j], setup.model.jvp(setup.p, X, setup.model.unravel(V[i, j], H)))
    U = rng.normal(size=whole.shape)
    back = setup.model.vjp(setup.p, X, U).ravel()
    for i, j in np.ndindex(2, 5):
        contracts.close(back[i, j], setup.model.vjp(setup.p, X, U[i, j]).ravel())


@each_family()
def test_mean_is_the_family_mean(family, phi, rng, X):
    setup = Setup.of(PLAIN[1], family, X, H, rng, phi)
    Z = setup.natural(setup.v)
    y, weight = oracles.outcomes(family.name, Z, phi)
    contracts.close(setup.model.mean(setup.p, X), (weight * y).sum(axis=0))


def test_labels_are_one_hot_rows(rng, X):
    setup = Setup.of(PLAIN[1], fg.categorical, X, H, rng)
    labels = rng.integers(H, size=len(X))
    np.testing.assert_array_equal(setup.model.score(setup.p, X, labels), setup.model.score(setup.p, X, np.eye(H)[labels]))


def test_one_unit_takes_a_flat_y(rng, X):
    setup = Setup.of(PLAIN[1], fg.bernoulli, X, 1, rng)
    y = rng.integers(2, size=len(X))
    np.testing.assert_array_equal(
        setup.model.log_likelihood(setup.p, X, y), setup.model.log_likelihood(setup.p, X, y[:, None])
    )


@each_family()
def test_samples_have_the_moments_of_the_model(family, phi, rng, X):
    contracts.draws_have_the_moments(Setup.of(PLAIN[1], family, X, H, rng, phi), rng)


@each_family()
def test_samples_are_reproducible_and_in_the_support(family, phi, rng, X):
    setup = Setup.of(PLAIN[1], family, X, H, rng, phi)
    first, second = (setup.model.sample(setup.p, X, 5) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(family.encode(first, first.shape), first)


def test_integer_and_boolean_inputs_are_numbers(rng):
    X = rng.integers(-3, 4, size=(7, 4))
    model = fg.GLM(fg.bernoulli)
    p = model.init(inputs=4, units=H, rng=rng)
    np.testing.assert_array_equal(model.natural(p, X), model.natural(p, X.astype(float)))
    np.testing.assert_array_equal(model.natural(p, X > 0), model.natural(p, (X > 0).astype(float)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("ignored", [False, True], ids=["", "input without weight"])
@each_case(CASES_WITH_POSITIONS)
def test_the_input_that_is_not_finite_is_named(case, ignored, bad, rng, inputs):
    setup = Setup.of(case, fg.bernoulli, inputs(case), H, rng)
    place = (3,) + (1,) * (setup.X.ndim - 1)
    setup.X[place] = bad
    if ignored:
        setup.p.weight[:, 1] = 0
    with pytest.raises(fg.InputError, match=re.escape(f"X has a nan or inf at index {place}: drop or impute")):
        setup.model.linearize(setup.p, setup.X)

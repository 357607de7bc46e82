"""Frozen statistics of each step: batch norm has none past the longest sequence seen, layer norm needs none."""

from __future__ import annotations

import math
from fractions import Fraction

import contracts
import numpy as np
import oracles
import pytest
from cases import Case, Setup

import fishergeo as fg

S, D, H = 5, 4, 3


@pytest.fixture
def W(rng):
    return rng.normal(size=(H, D))


def stepwise(rng, steps=S, eps=0):
    mean, var = rng.normal(size=(steps, H)), rng.uniform(0.5, 2, size=(steps, H))
    return mean, var, fg.frozen_batch_norm(mean, var, eps)


def test_statistics_of_each_step(rng, W):
    mean, var, normalizer = stepwise(rng, eps=0.25)
    X = rng.normal(size=(7, S, D))
    contracts.close(normalizer(X, W).value, (X @ W.T - mean) / np.sqrt(var + 0.25))
    shorter = normalizer(X[:, :4], W)
    contracts.close(shorter.value, normalizer(X, W).value[:, :4])  # the statistics of the first steps
    assert normalizer.units == H and normalizer.summed[0].positions == S
    assert normalizer == fg.frozen_batch_norm(mean.tolist(), var.tolist(), 0.25)
    assert hash(normalizer) == hash(fg.frozen_batch_norm(mean, var, 0.25))


def test_means_of_each_step_beside_shared_variances(rng, W):
    X, mean, var = rng.normal(size=(7, S, D)), rng.normal(size=(S, H)), rng.uniform(1, 2, size=H)
    for given in (var, 2.5):
        contracts.close(fg.frozen_batch_norm(mean, given)(X, W).value, (X @ W.T - mean) / np.sqrt(given))


def test_exact_statistics_of_each_step():
    mean, var = [[Fraction(1, 3), 2], [0, Fraction(-1, 7)]], [[4, Fraction(9, 4)], [1, 16]]
    X = np.vectorize(Fraction, otypes=[object])([[[1, 2, 3], [0, 1, 5]]])
    W = np.vectorize(Fraction, otypes=[object])([[1, 0, 2], [3, 1, 1]])
    found = fg.frozen_batch_norm(mean, var)(X, W).value
    sigma = [[2, Fraction(3, 2)], [1, 4]]
    assert (found == (X @ W.T - np.array(mean, object)) / np.array(sigma, object)).all()


def test_derivatives_with_statistics_of_each_step(rng):
    mean, var, normalizer = stepwise(rng)
    (stage,) = normalizer.summed
    t, layout = rng.normal(size=(7, S, H)), fg.Site.SUMMED.layout(3)

    def formula(t):
        return (t - mean) / np.sqrt(var)

    contracts.value_is_the_formula(stage, formula, t, layout)
    contracts.tangent_is_the_derivative(stage, formula, t, layout, rng)
    contracts.tangent_is_self_adjoint(stage, t, layout, rng)


@pytest.mark.parametrize("family", [fg.bernoulli, fg.categorical], ids=lambda f: f.name)
def test_fisher_with_statistics_of_each_step(family, rng):
    mean, var, normalizer = stepwise(rng)
    case = Case("frozen stepwise", normalizer, oracles.frozen(mean, var))
    setup = Setup.of(case, family, rng.normal(size=(6, S, D)), H, rng)
    contracts.fisher_is_the_oracle(fg.fisher(setup.model, setup.p, setup.X), oracles.fisher(*setup.arguments))
    wrong = Case("shared", normalizer, oracles.frozen(mean[0], var[0]))
    setup = Setup.of(wrong, family, setup.X, H, rng)
    with pytest.raises(AssertionError):
        contracts.fisher_is_the_oracle(fg.fisher(setup.model, setup.p, setup.X), oracles.fisher(*setup.arguments))


def test_more_steps_than_statistics_are_refused(rng, W):
    _, _, normalizer = stepwise(rng, steps=10)
    for steps in range(1, 14):
        X = rng.normal(size=(4, steps, D))
        if steps <= 10:
            assert normalizer(X, W).value.shape == (4, steps, H)
            continue
        got = f"got S={steps} steps but statistics of 10: batch norm has no statistics past the longest sequence seen"
        contracts.is_refused(lambda X=X: normalizer(X, W), got, "layer_norm")
        assert fg.layer_norm(X, W).value.shape == (4, steps, H)
    two = rng.normal(size=(4, D))
    contracts.is_refused(lambda: normalizer(two, W), "each of 10 positions but X is (N, D)", "give X as (N, S, D)")
    contracts.is_refused(lambda: normalizer(two[:, None], W[:2]), "got H=2 units but statistics of 3", "each unit")


@pytest.mark.parametrize(
    ("mean", "var", "culprit"),
    [
        (np.zeros((3, 4)), np.ones((2, 4)), "3 x 4 means and 2 x 4 variances"),
        (np.zeros((3, 4)), np.ones((3, 5)), "3 x 4 means and 3 x 5 variances"),
        (np.zeros((3, 4)), np.ones(3), "3 x 4 means and 3 variances"),
        (np.zeros((5, 1)), np.ones(4), "5 x 1 means and 4 variances"),
    ],
)
def test_sizes_that_do_not_match_are_refused(mean, var, culprit):
    contracts.is_refused(lambda: fg.Frozen(mean, var), culprit, "give as many")


def test_bad_statistics_of_steps_are_refused():
    contracts.is_refused(lambda: fg.Frozen(0, [[1, 2], [1, -3]]), "var=((1, 2), (1, -3))", "must be positive")
    contracts.is_refused(lambda: fg.Frozen(np.zeros((2, 3, 4)), 1), "mean=array", "(S, H) of them")
    contracts.is_refused(lambda: fg.Frozen([[0, math.nan]], 1), "mean=[[0, nan]]", "(S, H) of them")


@pytest.mark.parametrize(
    "derive",
    [
        lambda normalizer: fg.prove(normalizer, fg.weight_matrix_rescaling),
        lambda normalizer: fg.fisher_scaling(normalizer, fg.weight_matrix_rescaling),
        lambda normalizer: fg.fisher_block(normalizer, "weight", "weight"),
    ],
    ids=["prove", "fisher_scaling", "fisher_block"],
)
def test_what_is_derived_for_all_sizes_is_of_one_step(derive, rng):
    mean, var, normalizer = stepwise(rng)
    contracts.is_refused(lambda: derive(normalizer), "statistics for each of 5 positions", "mean[s], var[s])")
    assert derive(fg.frozen_batch_norm(mean[0], var[0])) is not None

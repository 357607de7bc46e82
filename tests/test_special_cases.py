"""What the literature says that normalizers have in common: equal outputs, Jacobians and Fisher matrices."""

from __future__ import annotations

import math

import contracts
import numpy as np
import oracles
import pytest
from cases import HALF, SIZES, SIZES_WITH_POSITIONS, Case, Setup

import fishergeo as fg
from fishergeo.normalizers import (
    ghost_batch_norm,
    group_norm,
    instance_norm,
    layer_norm_with_positions,
    prms_norm,
    spectral_norm,
    stepwise_batch_norm,
    weight_standardization_group_norm,
)

N, D, H = SIZES
FAMILIES = (fg.bernoulli, fg.categorical)


def point(normalizer, rng, inputs, units, family=fg.bernoulli):
    model = fg.GLM(family, normalizer)
    return model, model.unravel(rng.normal(size=units * (inputs + 2)), units)


def same(first, second, X, rng, units=H):
    """Equal natural parameters, products of the Jacobian and Fisher matrices at random parameters."""
    for family in FAMILIES if units > 1 else FAMILIES[:1]:
        model, p = point(first, rng, X.shape[-1], units, family)
        other = fg.GLM(family, second)
        v = rng.normal(size=p.size)
        contracts.close(other.natural(p, X), model.natural(p, X))
        contracts.close(other.jvp(p, X, v), model.jvp(p, X, v))
        contracts.close(fg.fisher(other, p, X).to_dense(), fg.fisher(model, p, X).to_dense())


def differ(first, second, X, rng, units=H):
    with pytest.raises(AssertionError):
        same(first, second, X, rng, units)


def test_group_norm_with_one_group_is_layer_norm(rng, X, X_positions):
    """Wu, He 2018, section 3.1."""
    same(group_norm(1), fg.layer_norm, X, rng)
    same(group_norm(1), layer_norm_with_positions, X_positions, rng)
    assert group_norm(1).stages == layer_norm_with_positions.stages
    differ(group_norm(1), fg.layer_norm, X_positions, rng)
    differ(group_norm(2), fg.layer_norm, X, rng)


def test_group_norm_with_groups_of_one_unit_is_instance_norm(rng, X_positions):
    """Wu, He 2018, section 3.1."""
    same(group_norm(H), instance_norm, X_positions, rng)
    differ(group_norm(2), instance_norm, X_positions, rng)


def test_instance_norm_of_one_case_is_batch_norm_of_its_positions(rng, X_positions):
    one = X_positions[:1]
    same(instance_norm, fg.batch_norm, one, rng)
    model, p = point(instance_norm, rng, one.shape[-1], H)
    flat = fg.GLM(fg.bernoulli, fg.batch_norm)
    contracts.close(fg.fisher(model, p, one).to_dense(), fg.fisher(flat, p, one[0]).to_dense())
    differ(instance_norm, fg.batch_norm, X_positions, rng)


def test_instance_norm_is_batch_norm_of_each_case(rng, X_positions):
    model, p = point(instance_norm, rng, X_positions.shape[-1], H)
    each = fg.GLM(fg.bernoulli, fg.batch_norm)
    contracts.close(model.natural(p, X_positions), np.stack([each.natural(p, x) for x in X_positions]))
    F = np.mean([fg.fisher(each, p, x).to_dense() for x in X_positions], axis=0)
    contracts.close(fg.fisher(model, p, X_positions).to_dense(), F)


def test_layer_norm_of_the_transposed_is_batch_norm(rng, X):
    """BN(A) = LN(Aᵀ)ᵀ, where Aᵀ = W Xᵀ has the weights as inputs: the Jacobian in W is that in the inputs."""
    W, dW = rng.normal(size=(2, H, D))
    contracts.close(fg.batch_norm(X, W).value, fg.layer_norm(W, X).value.T)
    moved = fg.layer_norm(W + 1j * oracles.STEP * dW, X + 0j).value.T.imag / oracles.STEP
    contracts.close(fg.batch_norm(X, W).jvp(dW), moved)


def test_batch_norm_of_whitened_inputs_is_weight_norm(rng):
    """Salimans, Kingma 2016, section 2: mean 0 and covariance I give each summed input variance ‖w‖²."""
    X = rng.normal(size=(30, D)) @ rng.normal(size=(D, D))
    c = X - X.mean(axis=0)
    white = c @ np.linalg.inv(np.linalg.cholesky(c.T @ c / len(c))).T
    same(fg.weight_norm, fg.batch_norm, white, rng)
    differ(fg.weight_norm, fg.batch_norm, c, rng)


@pytest.mark.parametrize("positions", [False, True])
@pytest.mark.parametrize("batches", [1, 2, 4])
def test_ghost_batch_norm_is_batch_norm_of_each_run_of_cases(batches, positions, rng):
    """Hoffer, Hubara, Soudry 2017, section 4; the Fisher matrix is the mean of theirs."""
    X = rng.normal(size=(16, 5, D) if positions else (16, D))
    model, p = point(ghost_batch_norm(batches), rng, D, H)
    each, runs = fg.GLM(fg.bernoulli, fg.batch_norm), np.split(X, batches)
    contracts.close(model.natural(p, X), np.concatenate([each.natural(p, run) for run in runs]))
    F = np.mean([fg.fisher(each, p, run).to_dense() for run in runs], axis=0)
    contracts.close(fg.fisher(model, p, X).to_dense(), F)
    if batches == 1:
        same(ghost_batch_norm(1), fg.batch_norm, X, rng)
    else:
        differ(ghost_batch_norm(batches), fg.batch_norm, X, rng)


def test_stepwise_batch_norm_is_batch_norm_of_each_step(rng, X_positions):
    """Cooijmans et al. 2017, section 3; on one step it is batch norm."""
    model, p = point(stepwise_batch_norm, rng, X_positions.shape[-1], H)
    steps = np.moveaxis(X_positions, 1, 0)
    each = fg.GLM(fg.bernoulli, fg.batch_norm)
    contracts.close(model.natural(p, X_positions), np.stack([each.natural(p, x) for x in steps], axis=1))
    F = np.mean([fg.fisher(each, p, x).to_dense() for x in steps], axis=0)
    contracts.close(fg.fisher(model, p, X_positions).to_dense(), F)
    same(stepwise_batch_norm, fg.batch_norm, X_positions[:, :1], rng)


@pytest.mark.parametrize("rounding", [math.ceil, math.floor])
def test_partial_rms_norm_of_all_units_is_rms_norm(rounding, rng, X):
    """Zhang, Sennrich 2019, section 3.2."""
    same(prms_norm(1, rounding), fg.rms_norm, X, rng)
    differ(prms_norm(HALF, rounding), fg.rms_norm, X, rng)


def test_the_two_roundings_agree_where_nothing_is_rounded(rng, X):
    same(prms_norm(HALF, math.ceil), prms_norm(HALF, math.floor), X, rng, units=6)
    differ(prms_norm(HALF, math.ceil), prms_norm(HALF, math.floor), X, rng, units=7)


def test_spectral_norm_of_one_unit_is_weight_norm(rng, X):
    """A row has one singular value, its length."""
    same(spectral_norm, fg.weight_norm, X, rng, units=1)
    differ(spectral_norm, fg.weight_norm, X, rng)


def test_weight_standardization_is_centered_weight_norm_times_a_root(rng, X):
    W, dW = rng.normal(size=(2, H, D))
    ours, theirs = fg.weight_standardization(X, W), fg.centered_weight_norm(X, W)
    contracts.close(ours.value, np.sqrt(D) * theirs.value)
    contracts.close(ours.jvp(dW), np.sqrt(D) * theirs.jvp(dW))


def test_weight_standardization_with_one_group_is_followed_by_layer_norm(rng, X):
    same(weight_standardization_group_norm(1), fg.compose(fg.weight_standardization, fg.layer_norm), X, rng)


@pytest.mark.parametrize("positions", [False, True])
def test_groups_of_two_and_then_of_three(positions, rng):
    """Group norm twice, with runs of 6 and then of 4 units, against the plain formulas."""
    both = fg.compose(group_norm(2), group_norm(3))

    def forward(X, W, shift=0):
        A = X @ W.T + shift
        for parts in (2, 3):
            A = oracles.in_groups(A, -1, parts, lambda t: oracles.standard(t, oracles.of_case(t), (0, True)))
        return A

    shape = SIZES_WITH_POSITIONS[:3] if positions else (N, D)
    setup = Setup.of(Case("twice", both, forward), fg.bernoulli, rng.normal(size=shape), 12, rng)
    contracts.close(setup.model.natural(setup.p, setup.X), setup.natural(setup.v))
    contracts.jacobian_is_the_derivative(setup, rng)
    F = oracles.fisher(*setup.arguments)
    contracts.fisher_is_the_oracle(fg.fisher(setup.model, setup.p, setup.X), F)
    other = fg.GLM(fg.bernoulli, fg.compose(group_norm(3), group_norm(2)))  # the order matters
    assert np.abs(fg.fisher(other, setup.p, setup.X).to_dense() - F).max() > 1e-3 * np.abs(F).max()

"""What cancels exactly is in the null space, also where what rounding leaves of it is more than the rounding of F."""

from __future__ import annotations

import numpy as np
import pytest

import fishergeo as fg
from fishergeo.information import cancelled, matrices, operator

NORMALIZERS = (fg.batch_norm, fg.instance_norm, fg.stepwise_batch_norm, fg.ghost_batch_norm(2))


@pytest.mark.parametrize("size", [1e-6, 0.01, 1.0, 1e6])
@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=lambda n: n.name)
def test_one_input_has_no_direction_to_turn_to(normalizer, size, rng):
    """Â does not change with any weight: what is left is b and g."""
    X = rng.normal(size=(12, 5, 1))
    p = fg.Params(size * rng.normal(size=(6, 1)), np.zeros(6), np.ones(6))
    F = fg.fisher(fg.GLM(fg.gaussian, normalizer), p, X)
    assert F.rank() == 12
    assert fg.fisher(fg.GLM(fg.gaussian, normalizer), p, fg.rows(X, block=6)).rank() == 12
    assert fg.symmetries(fg.GLM(fg.gaussian, normalizer), p, X, F).lost == 0


def test_without_the_size_of_what_cancels_rounding_counts(rng, monkeypatch):
    X, p = rng.normal(size=(12, 5, 1)), fg.Params(0.01 * rng.normal(size=(6, 1)), np.zeros(6), np.ones(6))
    monkeypatch.setattr(matrices.ExactFisher, "_cancelled", operator.Metric._cancelled)
    assert fg.fisher(fg.GLM(fg.gaussian, fg.instance_norm), p, X).rank() > 12


@pytest.mark.parametrize("family", [fg.bernoulli, fg.categorical, fg.gaussian], ids=lambda f: f.name)
@pytest.mark.parametrize("normalizer", [*NORMALIZERS, fg.weight_norm, fg.layer_norm, fg.identity], ids=lambda n: n.name)
def test_the_size_is_that_of_the_model_with_frozen_statistics(normalizer, family, rng):
    """It bounds the root of F from above; the two ways to it differ in the means that are subtracted from the inputs."""
    X = rng.normal(size=(12, 5, 4))
    X -= X.mean(axis=(0, 1))
    model = fg.GLM(family, normalizer)
    p = model.init(inputs=4, units=6, rng=rng)
    at, F = model.linearize(p, X), fg.fisher(model, p, X)
    whole = cancelled.of_model(at) / np.sqrt(at.cases)
    weights = np.sqrt(F.diagonal().reshape(6, -1)[:, :4].max())
    assert weights <= 6 * whole
    assert whole / 2 < F._cancelled < 2 * whole


def test_functions_have_the_digits_of_their_derivatives(rng):
    X = rng.normal(size=(9, 4))
    ours = fg.Normalizer("ours", summed=lambda a: (a - a.mean(0)) / a.std(0))
    model = fg.GLM(fg.categorical, ours)
    F = fg.fisher(model, model.init(4, 5, rng), X)
    assert F.shape[0] - F.rank() == 10  # as under batch norm: 5 lengths, 1 shift, 4 functions of the inputs
    assert "derivatives in numbers" in repr(F)
    assert "exact" not in repr(F)

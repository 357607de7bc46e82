"""A large offset of the inputs costs the Fisher matrix of batch norm no more digits than it costs the summed inputs."""

from __future__ import annotations

import numpy as np
import pytest

import fishergeo as fg


@pytest.mark.parametrize("offset", [1e4, 1e6, 1e8])
def test_batch_norm_sees_through_an_offset(X: np.ndarray, offset: float) -> None:
    model = fg.GLM(fg.bernoulli, fg.batch_norm)
    p = model.init(X.shape[1], 3, rng=1)
    F, moved = (fg.fisher(model, p, inputs).to_dense() for inputs in (X, X + offset))
    assert np.abs(moved - F).max() <= 100 * offset * np.finfo(float).eps * np.abs(F).max()


@pytest.mark.parametrize("offset", [0.0, 3.0, 1e4])
def test_products_see_through_an_offset_near_and_far(X: np.ndarray, rng: np.random.Generator, offset: float) -> None:
    model = fg.GLM(fg.bernoulli, fg.batch_norm)
    p = model.init(X.shape[1], 3, rng=1)
    F, v = fg.fisher(model, p, X).to_dense(), rng.normal(size=p.size)
    moved = fg.fisher(model, p, X + offset) @ v
    assert np.abs(moved - F @ v).max() <= 100 * (1 + offset) * np.finfo(float).eps * np.abs(F).sum(axis=1).max()

"""Initial parameters: every family, link and normalizer starts inside its domain."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from cases import told_apart

import fishergeo as fg
from fishergeo import initial, model
from fishergeo.families import ZOO as FAMILIES
from fishergeo.initial import center
from fishergeo.links import LINKS
from fishergeo.normalizers import ZOO

UNITS = 6
SIGMA = np.eye(UNITS) + 0.3
EVERY = [fg.multivariate_gaussian(SIGMA) if family.mixing else family for family in FAMILIES]
MORE = (*LINKS, fg.links.power(1 / 3), fg.links.power(-3), fg.links.nbinom(0.5))
PAIRS = [(family, link) for family in EVERY for link in MORE if not family.joint or link is fg.links.canonical]


def starts(family, link, normalizer, rng):
    """The model at its initial parameters on new N(0, 1) inputs has finite predictors, means and derivatives."""
    N, *S, D, H = told_apart(normalizer, (20, 4, UNITS))
    model = fg.GLM(family, normalizer, link=link)
    p = model.init(inputs=D, units=H, rng=rng)
    at = model.linearize(p, rng.normal(size=(N, *S, D)))
    assert at.Z.shape == (N, *S, H)
    assert (at.hessian.d > 0).all()


@pytest.mark.parametrize(("family", "link"), PAIRS, ids=lambda value: value.name)
def test_every_model_starts_inside_its_domain(family, link):
    for k, normalizer in enumerate(ZOO):
        starts(family, link, normalizer, np.random.default_rng(k))


@pytest.mark.parametrize("trials", [5, tuple(range(2, 22))])
def test_trials_of_each_case(trials, rng):
    for link in (fg.links.identity, fg.links.log, fg.links.logc):
        starts(fg.binomial(trials), link, fg.batch_norm, rng)
        assert center(fg.binomial(trials), link) == center(fg.bernoulli, link)


def test_centers():
    found = {
        (fg.gamma, fg.links.canonical): (-1.0, 1.0),
        (fg.gamma, fg.links.log): (0.0, math.inf),
        (fg.poisson, fg.links.sqrt): (1.0, 1.0),
        (fg.gaussian, fg.links.inverse): (1.0, 1.0),
        (fg.bernoulli, fg.links.identity): (0.5, 0.5),
        (fg.bernoulli, fg.links.inverse): (2.0, 1.0),
        (fg.bernoulli, fg.links.logit): (0.0, math.inf),
    }
    assert {pair: center(*pair) for pair in found} == found


@pytest.mark.parametrize("normalizer", [fg.identity, fg.batch_norm, fg.weight_standardization], ids=lambda n: n.name)
def test_what_is_unrestricted_starts_as_before_and_the_rest_near_its_center(normalizer):
    weight = np.random.default_rng(3).normal(scale=0.5, size=(UNITS, 4))
    free = fg.GLM(fg.poisson, normalizer).init(inputs=4, units=UNITS, rng=3)
    np.testing.assert_array_equal(free.weight, weight)
    assert not free.bias.any()
    assert free.gain is None or (free.gain == 1).all()
    model = fg.GLM(fg.gamma, normalizer)
    p = model.init(inputs=4, units=UNITS, rng=3)
    assert (p.bias == -1).all()
    if p.gain is not None:
        np.testing.assert_array_equal(p.weight, weight)
    z = model.predictor(p, np.random.default_rng(4).normal(size=(256, 4)))
    assert 0.1 < np.abs(z + 1).max() < 0.5  # a quarter of the room on other inputs of as many cases


def test_given_statistics_for_each_step(rng):
    mean, var = rng.normal(size=(2, 3, UNITS))
    model = fg.GLM(fg.gamma, fg.frozen_batch_norm(10 * mean, var**2))
    p = model.init(inputs=4, units=UNITS, rng=rng)
    assert np.isfinite(model.mean(p, rng.normal(size=(20, 3, 4)))).all()


def test_a_start_that_ignores_the_domain_is_found(monkeypatch, rng):
    monkeypatch.setattr(model, "center", lambda family, link: (0.0, math.inf))
    with pytest.raises(fg.InputError, match="must lie in"):
        starts(fg.gamma, fg.links.canonical, fg.batch_norm, rng)
    monkeypatch.setattr(model, "center", center)
    monkeypatch.setattr(model, "reach", lambda *arguments: np.full(UNITS, 0.05))
    with pytest.raises(fg.InputError, match="must lie in"):
        starts(fg.gamma, fg.links.canonical, fg.batch_norm, rng)


def test_a_domain_that_the_grid_does_not_meet(rng):
    """Far from 0 the start is none, and the error names the case."""
    far = replace(fg.gaussian, domain=fg.gaussian.domain._replace(lower=100.0))
    assert initial.center(far, fg.links.canonical) == (0.0, math.inf)
    with pytest.raises(fg.InputError, match="case 0 has natural parameter"):
        starts(far, fg.links.canonical, fg.batch_norm, rng)

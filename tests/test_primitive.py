"""The primitive: value, tangent, self-adjointness and the projector, for every kind of standardization."""

from __future__ import annotations

import itertools

import contracts
import numpy as np
import oracles
import pytest
from cases import each_case, stage

import fishergeo as fg

LAYOUTS = {"nd": fg.Site.INPUTS, "nsd": fg.Site.INPUTS, "hd": fg.Site.WEIGHT, "nh": fg.Site.SUMMED, "nsh": fg.Site.SUMMED}
SIZE = {"n": 7, "s": 5, "d": 4, "h": 3}
KINDS = [(True, "std"), (True, "norm"), (True, "nothing"), (False, "std"), (False, "norm")]  # centered, divided by
EPS = [(0, True), (0.125, True), (0.25, False)]


def variants():
    """Every layout, every set of its axes, every kind, every ε that the kind knows."""
    for layout, (center, divide) in itertools.product(LAYOUTS, KINDS):
        for length in range(1, len(layout) + 1):
            for over in map("".join, itertools.combinations(layout, length)):
                for eps in EPS if divide != "nothing" else EPS[:1]:
                    yield layout, over, center, divide, eps


def each_variant(keep=lambda eps: True):
    kept = [v for v in variants() if keep(v[-1])]
    return pytest.mark.parametrize("variant", kept, ids=["-".join(map(str, v)) for v in kept])


def built(variant, rng):
    layout, *arguments = variant
    t = rng.normal(size=[SIZE[letter] for letter in layout]) + 0.3
    return stage(*arguments), lambda t: oracles.standardize(t, layout, *arguments), t, LAYOUTS[layout].layout(len(layout))


@each_variant()
def test_value_and_tangent(variant, rng):
    standardize, formula, t, layout = built(variant, rng)
    contracts.value_is_the_formula(standardize, formula, t, layout)
    contracts.tangent_is_the_derivative(standardize, formula, t, layout, rng)
    contracts.tangent_is_self_adjoint(standardize, t, layout, rng)


@each_variant(lambda eps: not eps[0])
def test_bracket_is_a_projector_without_eps(variant, rng):
    standardize, _, t, layout = built(variant, rng)
    contracts.bracket_is_a_projector(standardize, t, layout, rng)


@each_variant(lambda eps: eps[0])
def test_bracket_is_no_projector_with_eps(variant, rng):
    standardize, _, t, layout = built(variant, rng)
    with pytest.raises(AssertionError):
        contracts.bracket_is_a_projector(standardize, t, layout, rng)


def test_tangent_of_frozen_statistics(rng):
    mean, var = rng.normal(size=3), rng.uniform(0.5, 2, size=3)
    frozen, t, layout = fg.Frozen(mean, var), rng.normal(size=(7, 3)), fg.Site.SUMMED.layout(2)

    def formula(t):
        return (t - mean) / np.sqrt(var)

    contracts.value_is_the_formula(frozen, formula, t, layout)
    contracts.tangent_is_the_derivative(frozen, formula, t, layout, rng)
    contracts.tangent_is_self_adjoint(frozen, t, layout, rng)


def test_tangent_takes_batches(rng):
    t, dt = rng.normal(size=(7, 5, 3)), rng.normal(size=(2, 6, 7, 5, 3))
    done = fg.Standardize([fg.Axis.SAMPLE, fg.Axis.POSITION])(t, fg.Site.SUMMED.layout(3))
    whole = done.tangent(dt)
    for i, j in np.ndindex(2, 6):
        contracts.close(whole[i, j], done.tangent(dt[i, j]))


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1.0, 1e8, 1e150])
def test_scale_of_the_input_does_not_matter(scale, rng):
    t, layout = rng.normal(size=(7, 3)), fg.Site.SUMMED.layout(2)
    standardize = fg.Standardize(fg.Axis.SAMPLE)
    contracts.close(standardize(scale * t, layout).value, standardize(t, layout).value)


@each_case()
def test_normalizer_is_the_formula_of_the_literature(case, rng, X):
    W = rng.normal(size=(3, 4))
    shift = rng.normal(size=(7, 1))
    contracts.close(case.normalizer(X, W).value, case.forward(X, W))
    contracts.close(case.normalizer(X, W, shift).value, case.forward(X, W, shift))


def test_moments_are_kept(rng, X):
    W = rng.normal(size=(3, 4))
    (done,) = fg.batch_norm(X, W).summed
    A = X @ W.T
    contracts.close(done.mean, A.mean(axis=0, keepdims=True))
    contracts.close(done.sigma, A.std(axis=0, keepdims=True))

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
from fishergeo.transformations import TRANSFORMATIONS, Rescale

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


def then(*stages, steps=S):
    """Frozen statistics of each of ``steps`` steps, before and after other stages, and the plain formula."""
    rng = np.random.default_rng(2)
    mean, var, frozen = stepwise(rng, steps)
    plain = {"frozen": lambda a: (a - mean[: a.shape[1]]) / np.sqrt(var[: a.shape[1]])}
    for name, axis in (("stepwise_batch_norm", 0), ("batch_norm", (0, 1)), ("instance_norm", 1), ("layer_norm", 2)):
        plain[name] = lambda a, axis=axis: oracles.standard(a, axis, (0, True))
    values = [frozen if stage == "frozen" else getattr(fg, stage) for stage in stages]

    def forward(X, W, shift=0):
        a = X @ W.T + shift
        for stage in stages:
            a = plain[stage](a)
        return a

    return fg.compose(*values), forward


CHAINS = [
    ("frozen",),
    ("frozen", "stepwise_batch_norm"),
    ("frozen", "batch_norm"),
    ("frozen", "instance_norm"),
    ("frozen", "layer_norm"),
    ("batch_norm", "frozen"),
    ("stepwise_batch_norm", "frozen"),
]


@pytest.mark.parametrize("stages", CHAINS, ids="+".join)
@pytest.mark.parametrize("transformation", TRANSFORMATIONS, ids=lambda t: t.name)
def test_proofs_with_statistics_of_each_step(stages, transformation, rng):
    """Decided for all sizes as the plain formula says; a witness has no more steps than there are statistics."""
    normalizer, forward = then(*stages)
    verdict = fg.prove(normalizer, transformation)
    assert verdict.invariant == oracles.invariant(forward, transformation.name, rng, (7, S, D, H))
    assert verdict.invariant or verdict.witness.sizes["S"] <= S


def test_a_step_has_its_own_scale(rng):
    """A factor for each step is seen by the frozen statistics, and hidden by a batch norm of each step after them."""
    each = fg.Transformation("step_rescaling", "x", Rescale(fg.Site.INPUTS, fg.Axis.POSITION))
    for stages, expected in ((CHAINS[0], False), (CHAINS[1], True), (CHAINS[2], False), (CHAINS[6], True)):
        assert fg.prove(then(*stages, steps=2)[0], each).invariant == expected


@pytest.mark.parametrize("column", ["weight", "gain"])
@pytest.mark.parametrize("stages", [("frozen",), ("stepwise_batch_norm", "frozen")], ids="+".join)
def test_blocks_with_statistics_of_each_step(stages, column, rng):
    normalizer, _ = then(*stages)
    model, X = fg.GLM(fg.bernoulli, normalizer), rng.normal(size=(6, S, D))
    p = model.init(D, H, rng=rng)
    found = fg.fisher_block(normalizer, "weight", column).lambdify()(model, p, X)
    F, place = fg.fisher(model, p, X), {"weight": slice(0, D), "gain": D + 1}
    for i in range(H):
        for j in range(H):
            contracts.close(found[i, j], F.block(i, j)[:D, place[column]])

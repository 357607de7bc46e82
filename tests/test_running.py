"""Batch norm at inference: statistics from batches against plain loops, the merged ones and torch; refusals."""

from __future__ import annotations

import itertools
from fractions import Fraction

import contracts
import numpy as np
import pytest

import fishergeo as fg

S, D, H = 5, 4, 3
SAMPLE, POSITION, UNIT = fg.Axis.SAMPLE, fg.Axis.POSITION, fg.Axis.UNIT


@pytest.fixture
def W(rng):
    return rng.normal(size=(H, D))


def statistics(normalizer):
    """The mean and the variance that are frozen in a normalizer."""
    (frozen,) = (stage for stage in normalizer.summed if isinstance(stage, fg.Frozen))
    return np.array(frozen.mean), np.array(frozen.var)


def average(values):
    values = list(values)
    return sum(values) / len(values)


# --- statistics from batches, against plain loops ------------------------------------------------------------------


def plain(groups, momentum, unbiased, corrected):
    """Running statistics of groups of entries (m, H), by the definition."""
    mean, var = (0.0, 1.0) if momentum is not None else (None, None)
    for t, entries in enumerate(groups, 1):
        m = len(entries)
        mu = entries.sum(axis=0) / m
        v = ((entries - mu) ** 2).sum(axis=0) / (m - unbiased)
        if momentum is None:
            mean, var = (mu, v) if t == 1 else ((mean * (t - 1) + mu) / t, (var * (t - 1) + v) / t)
        else:
            mean, var = (1 - momentum) * mean + momentum * mu, (1 - momentum) * var + momentum * v
    if corrected and momentum is not None:
        left = (1 - momentum) ** len(groups)
        mean, var = mean / (1 - left), (var - left) / (1 - left)
    return mean, var


HOW = [
    pytest.param({"momentum": k, "unbiased": u, "corrected": c}, id=f"{k}-{'m-1' if u else 'm'}{'-corrected' * c}")
    for k in (None, 0.1, 0.5, 1)
    for u in (True, False)
    for c in (True, False)
]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("positions", [False, True])
def test_running_statistics_by_the_definition(how, positions, rng, W):
    shapes = [(n, S, D) if positions else (n, D) for n in (6, 8, 4, 10)]
    batches = [rng.normal(size=shape) + k for k, shape in enumerate(shapes)]
    A = [X @ W.T for X in batches]
    flat = [a.reshape(-1, H) for a in A]
    halves = [part.reshape(-1, H) for a in A for part in np.split(a, 2)]
    expected = {
        fg.batch_norm: plain(flat, **how),
        fg.ghost_batch_norm(2): plain(halves, **how),
        fg.stepwise_batch_norm: plain(A, **how),
    }
    for normalizer, (mean, var) in expected.items():
        frozen = fg.running_statistics(normalizer.with_eps(0.125), W, batches, **how)
        found = statistics(frozen)
        contracts.close(found[0], mean)
        contracts.close(found[1], var)
        assert frozen.name == f"frozen_{normalizer.name}" and frozen.summed[0].eps == 0.125
        contracts.close(frozen(batches[1], W).value, (A[1] - mean) / np.sqrt(var + 0.125))
    mean_only = fg.running_statistics(fg.mean_only_batch_norm, W, batches, **how)
    contracts.close(mean_only(batches[1], W).value, A[1] - expected[fg.batch_norm][0])
    about_zero = fg.Normalizer("about 0", summed=fg.Standardize((SAMPLE, POSITION), center=False))
    mean, var = statistics(fg.running_statistics(about_zero, W, batches))
    contracts.close(var, average((a**2).mean(axis=0) for a in flat))  # m/(m - 1) has no place here
    assert (mean == 0).all()


def sequences(rng):
    """Batches of sequences of different lengths, up to 7 steps, which the later batches do not all reach."""
    lengths = ((5, 3, 4, 5), (7, 2, 7), (3, 3, 3), (6, 4, 6))
    return [[rng.normal(size=(length, D)) + k for length in each] for k, each in enumerate(lengths)]


@pytest.mark.parametrize("momentum", [None, 0.3])
@pytest.mark.parametrize("corrected", [False, True])
def test_statistics_of_a_step_are_of_the_sequences_that_reach_it(momentum, corrected, rng, W):
    batches = sequences(rng)
    how = {"momentum": momentum, "unbiased": False, "corrected": corrected}
    frozen = fg.running_statistics(fg.stepwise_batch_norm, W, batches, **how)
    mean, var = statistics(frozen)
    assert mean.shape == var.shape == (7, H)
    for s in range(7):
        reached = [np.array([x[s] @ W.T for x in batch if len(x) > s]) for batch in batches]
        expected = plain([entries for entries in reached if len(entries)], **how)
        contracts.close(mean[s], expected[0])
        contracts.close(var[s], expected[1])
    pooled = fg.running_statistics(fg.batch_norm, W, batches, **how)
    expected = plain([np.concatenate(batch) @ W.T for batch in batches], **how)
    for found, wanted in zip(statistics(pooled), expected, strict=True):
        contracts.close(found, wanted)
    contracts.is_refused(
        lambda: frozen(rng.normal(size=(4, 8, D)), W), "got S=8 steps but statistics of 7", "longest sequence seen"
    )


def test_stages_around_the_batch_statistics_stay(rng, W):
    batches = [rng.normal(size=(n, D)) for n in (6, 9)]
    frozen = fg.running_statistics(fg.weight_norm_mean_only_batch_norm, W, batches)
    assert frozen.weight == fg.weight_norm.weight and frozen.name == "frozen_weight_norm_mean_only_batch_norm"
    unit = W / np.linalg.norm(W, axis=1, keepdims=True)
    contracts.close(statistics(frozen)[0], average(X.mean(axis=0) @ unit.T for X in batches))
    both = fg.compose(fg.layer_norm, fg.batch_norm, fg.rms_norm)
    frozen = fg.running_statistics(both, W, batches)
    hidden = [fg.layer_norm(X, W).value for X in batches]
    contracts.close(statistics(frozen)[0], average(a.mean(axis=0) for a in hidden))
    assert frozen.summed[::2] == both.summed[::2] and "Ioffe" in frozen.source and "Zhang" in frozen.source
    model = fg.GLM(fg.bernoulli, frozen)
    assert model.natural(model.init(D, H, rng=rng), batches[0]).shape == (6, H)


def test_one_step_is_not_shared_by_all(rng, W):
    X = rng.normal(size=(6, 1, D))
    frozen = fg.running_statistics(fg.stepwise_batch_norm, W, [X])
    assert frozen.summed[0].positions == 1
    contracts.is_refused(lambda: frozen(rng.normal(size=(6, 2, D)), W), "got S=2 steps but statistics of 1", "cut")


# --- all batches merged --------------------------------------------------------------------------------------------


def population_is(found, entries, minus=0):
    """The statistics are those of all entries (M, H) together."""
    mean, var = statistics(found)
    contracts.close(mean, entries.mean(axis=0))
    contracts.close(var, ((entries - entries.mean(axis=0)) ** 2).sum(axis=0) / (len(entries) - minus))


@pytest.mark.parametrize("unbiased", [False, True])
def test_population_statistics_are_of_all_entries(unbiased, rng, W):
    batches = [rng.normal(size=(n, S, D)) + 3 * n for n in (4, 1, 6, 2)]
    everything = np.concatenate(batches)
    for normalizer in (fg.batch_norm, fg.ghost_batch_norm(1)):
        found = fg.population_statistics(normalizer, W, batches, unbiased=unbiased)
        population_is(found, (everything @ W.T).reshape(-1, H), int(unbiased))
    each_step = fg.population_statistics(fg.stepwise_batch_norm, W, batches, unbiased=unbiased)
    population_is(each_step, everything @ W.T, int(unbiased))
    in_one = fg.running_statistics(fg.stepwise_batch_norm, W, [everything], unbiased=unbiased)
    for a, b in zip(statistics(each_step), statistics(in_one), strict=True):
        contracts.close(a, b)
    # merged in any order, over sequences of different lengths
    ragged = sequences(rng)
    for order in itertools.permutations(ragged):
        mean, var = statistics(fg.population_statistics(fg.stepwise_batch_norm, W, order))
        for s in range(7):
            entries = np.array([x[s] @ W.T for batch in ragged for x in batch if len(x) > s])
            contracts.close(mean[s], entries.mean(axis=0))
            contracts.close(var[s], entries.var(axis=0))


def test_averages_are_not_the_population(rng, W):
    batches = [rng.normal(size=(n, D)) + n for n in (4, 7, 6)]
    entries = np.concatenate(batches) @ W.T
    population_is(fg.population_statistics(fg.batch_norm, W, batches), entries)
    for unbiased in (False, True):
        with pytest.raises(AssertionError):
            population_is(fg.running_statistics(fg.batch_norm, W, batches, unbiased=unbiased), entries)


def test_merging_is_stable_where_the_mean_is_large(rng, W):
    batches = [rng.normal(size=(n, H)) + 1e8 for n in (50, 70, 60)]
    entries = np.concatenate(batches)
    exact_mean = np.array([[Fraction(x) for x in row] for row in entries], object).sum(axis=0) / len(entries)
    var = (((entries.astype(object) - exact_mean) ** 2).sum(axis=0) / len(entries)).astype(float)
    found = statistics(fg.population_statistics(fg.batch_norm, np.eye(H), batches))[1]
    contracts.close(found, var, 1e-8)  # the entries themselves have 1e-8 of their spread
    with pytest.raises(AssertionError):
        contracts.close((entries**2).mean(axis=0) - entries.mean(axis=0) ** 2, var, 1e-2)


# --- another implementation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.1, 0.75, None])
@pytest.mark.parametrize("positions", [False, True])
def test_torch_has_the_same_running_statistics(momentum, positions, rng, W):
    torch = pytest.importorskip("torch")
    shape = (S, D) if positions else (D,)
    batches = [rng.normal(size=(size, *shape)) + 1 for size in (6, 4, 9)]

    def peer(X):  # (N, H) or (N, H, S)
        return torch.from_numpy(np.moveaxis(X @ W.T, -1, 1).copy())

    module = torch.nn.BatchNorm1d(H, eps=1e-3, momentum=momentum, affine=False, dtype=torch.float64)
    for X in batches:
        module(peer(X))
    frozen = fg.running_statistics(fg.batch_norm.with_eps(1e-3), W, batches, momentum=momentum)
    for found, theirs in zip(statistics(frozen), (module.running_mean, module.running_var), strict=True):
        contracts.close(found, theirs.numpy())
    value = module.eval()(peer(batches[0])).numpy()
    contracts.close(frozen(batches[0], W).value, np.moveaxis(value, 1, -1))
    other = fg.running_statistics(fg.batch_norm.with_eps(1e-3), W, batches, momentum=momentum, unbiased=False)
    with pytest.raises(AssertionError):
        contracts.close(statistics(other)[1], module.running_var.numpy())


# --- refusals ------------------------------------------------------------------------------------------------------


def refused(normalizer=fg.batch_norm, weight=None, batches=None, **how):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(H, D)) if weight is None else weight
    batches = [rng.normal(size=(6, D))] if batches is None else batches
    builds = [fg.running_statistics] if how else [fg.running_statistics, fg.population_statistics]
    for build in builds:
        build(normalizer, weight, batches, **how)


def summed(*stages, **options):
    return fg.Normalizer("mine", summed=fg.Standardize(*stages, **options))


BATCH = np.arange(24.0).reshape(6, 4) % 7
REFUSED = {
    "no batch statistics": (lambda: refused(fg.layer_norm), "layer_norm has no stage", "such as fg.batch_norm"),
    "frozen already": (lambda: refused(fg.frozen_batch_norm(1, 4)), "frozen_batch_norm has no stage", "fg.batch_norm"),
    "two stages": (lambda: refused(fg.compose(fg.batch_norm, fg.batch_norm)), "has 2 stages", "give one that has one"),
    "of the inputs": (lambda: refused(fg.input_standardization), "of the inputs", "standardize the data once"),
    "no normalizer": (lambda: refused("batch_norm"), "statistics of 'batch_norm'", "give a normalizer"),
    "over units": (lambda: refused(summed((SAMPLE, UNIT))), "mine cannot be frozen", "leave UNIT out"),
    "a norm": (lambda: refused(summed(SAMPLE, scale=fg.Scale.NORM)), "Euclidean norm", "use fg.Scale.STD"),
    "ε outside": (lambda: refused(fg.batch_norm.with_eps(1e-3, inside=False)), "outside the root", "with_eps(0.001)"),
    "first cases": (lambda: refused(summed(SAMPLE, first=fg.First(0.5))), "of some of the cases", "take them from all"),
    "groups of steps": (
        lambda: refused(summed((SAMPLE, POSITION), groups={POSITION: 2})),
        "of some of the cases or positions",
        "take them from all",
    ),
    "no batches": (lambda: refused(batches=[]), "batches=[]", "give one or more"),
    "no iterable": (lambda: refused(batches=3), "batches=3", "give one or more"),
    "one batch": (lambda: refused(batches=BATCH), "batch 0 is an array of shape (4,)", "give (cases, inputs)"),
    "an empty batch": (lambda: refused(batches=[BATCH, BATCH[:0]]), "batch 1 is an array of shape (0, 4)", "not empty"),
    "a nan": (lambda: refused(batches=[BATCH * np.nan]), "nan or inf at index (0, 0)", "drop or impute"),
    "text": (lambda: refused(batches=["a"]), "batch 0 is an array of type <U1", "give real numbers"),
    "None": (lambda: refused(batches=[[None]]), "batch 0 is an array of [None]", "give real numbers"),
    "one step as a sequence": (
        lambda: refused(batches=[[[1, 2], [3]]]),
        "batch 0: sequence 0 is an array of shape (2,)",
        "give (steps, inputs)",
    ),
    "inputs": (lambda: refused(batches=[BATCH[:, :3]]), "batch 0 has 3 inputs but the weights have 4", "give as many"),
    "a weight vector": (lambda: refused(weight=[1.0, 2.0]), "the weight is an array of shape (2,)", "(units, inputs)"),
    "ghost batches": (lambda: refused(fg.ghost_batch_norm(4)), "batch 0 has N=6", "N divisible by it"),
    "steps in some batches": (
        lambda: refused(fg.stepwise_batch_norm, batches=[BATCH, BATCH[:, None]]),
        "some batches are (n, D)",
        "need steps in all",
    ),
    "one case": (lambda: refused(batches=[BATCH[:1]], unbiased=True), "batch 0 has one entry", "unbiased=False"),
    "one sequence": (
        lambda: refused(fg.stepwise_batch_norm, batches=[[BATCH, BATCH[:3]]], unbiased=True),
        "batch 0 has one entry at step 3",
        "give unbiased=False",
    ),
    "a constant unit": (lambda: refused(batches=[BATCH * 0 + 0.1]), "unit 0 is constant in every batch", "eps > 0"),
    "a constant unit but for rounding": (
        lambda: refused(weight=np.random.default_rng(0).normal(size=(3, 4))[1:], batches=[np.full((8, 4), 0.1)]),
        "unit 0 is constant in every batch",
        "eps > 0",
    ),
    "a constant step": (
        lambda: refused(fg.stepwise_batch_norm, batches=[np.stack([BATCH, BATCH * 0], axis=1)]),
        "unit 0 at step 1 is constant",
        "give eps > 0",
    ),
    "momentum 0": (lambda: refused(momentum=0), "momentum=0", "give 0 < momentum <= 1, or None"),
    "momentum 2": (lambda: refused(momentum=2), "momentum=2", "give 0 < momentum <= 1, or None"),
    "momentum text": (lambda: refused(momentum="0.1"), "momentum='0.1'", "give 0 < momentum <= 1, or None"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused(name):
    contracts.is_refused(*REFUSED[name])


def test_the_arguments_of_the_refusals_are_fine_otherwise():
    refused()
    refused(momentum=0.1)
    refused(batches=[BATCH, BATCH[:3]])
    with pytest.raises(pytest.fail.Exception):
        contracts.is_refused(refused, "batch 0", "give")

"""Groups, leading entries, positions, singular values that cannot be: one line that names the culprit and the remedy."""

from __future__ import annotations

import math
from fractions import Fraction

import contracts
import numpy as np
import pytest

import fishergeo as fg
from fishergeo.normalizers import (
    ghost_batch_norm,
    group_norm,
    instance_norm,
    prms_norm,
    spectral_norm,
    stepwise_batch_norm,
)

UNIT, SAMPLE, POSITION, INPUT = fg.Axis.UNIT, fg.Axis.SAMPLE, fg.Axis.POSITION, fg.Axis.INPUT
RNG = np.random.default_rng(12)
X, XS = RNG.normal(size=(7, 4)), RNG.normal(size=(6, 5, 4))


def at(normalizer, inputs=X, units=5, weight=None):
    """The natural parameters of a model with that many units."""
    model = fg.GLM(fg.bernoulli, normalizer)
    p = model.init(inputs.shape[-1], units, rng=1)
    return model.natural(p if weight is None else fg.Params(weight, p.bias, p.gain), inputs)


def fisher(normalizer, weight):
    model = fg.GLM(fg.bernoulli, normalizer)
    return fg.fisher(model, fg.Params(weight, np.zeros(len(weight)), np.ones(len(weight))), X).to_dense()


def descend(batch):
    model = fg.GLM(fg.bernoulli, ghost_batch_norm(2))
    Y = np.arange(36).reshape(12, 3) % 2
    fg.descend(model, model.init(4, 3, rng=1), RNG.normal(size=(12, 4)), Y, optimizer=fg.sgd(0.1, batch=batch), steps=1)


CONSTANT = np.concatenate([np.ones((3, 4)), X[:3]])  # the first of two ghost batches repeats one case
FROM_ZERO = np.concatenate([np.zeros((3, 4)), X[:3]])  # the first of two groups of units has weights 0

# what is done, and what the message must name: the culprit, and the remedy
CASES = {
    # --- shapes
    "weights for other inputs": (
        lambda: fg.layer_norm(X, np.ones((5, 3))),
        "layer_norm got X of shape (7, 4) and W of shape (5, 3)",
        "with the same D",
    ),
    "one case alone": (lambda: fg.layer_norm(X[0], np.ones((5, 4))), "got X of shape (4,)", "(N, D) or (N, S, D)"),
    "four axes": (lambda: fg.instance_norm(XS[None], np.ones((5, 4))), "got X of shape (1, 6, 5, 4)", "(N, S, D)"),
    "lists": (lambda: fg.identity(X.tolist(), np.ones((5, 4))), "identity got X no array", "give arrays (N, D)"),
    # --- groups
    "units that do not split": (lambda: at(group_norm(2)), "group_norm_2 got H=5", "divisible by it"),
    "cases that do not split": (lambda: at(ghost_batch_norm(2)), "ghost_batch_norm_2 got N=7", "divisible by it"),
    "positions that do not split": (
        lambda: at(fg.Normalizer("mine", summed=fg.Standardize(POSITION, groups={POSITION: 2})), XS),
        "mine got S=5",
        "2 equal groups need S divisible by it",
    ),
    "inputs that do not split": (
        lambda: at(fg.Normalizer("mine", weight=fg.Standardize(INPUT, groups={INPUT: 3}))),
        "mine got D=4",
        "3 equal groups need D divisible by it",
    ),
    "a batch that does not split": (lambda: descend(7), "ghost_batch_norm_2 got N=7", "divisible by it"),
    "groups of two units": (lambda: at(group_norm(2), units=4), "group_norm_2 got H=4", "use H >= 6 or eps > 0"),
    "groups of two cases": (lambda: at(ghost_batch_norm(2), X[:4]), "ghost_batch_norm_2 got N=4", "use N >= 6"),
    "groups of one unit": (lambda: at(group_norm(5)), "group_norm_5 got H=5", "use H >= 15 or eps > 0"),
    "no groups": (lambda: group_norm(0), "group_norm got groups=0", "give a whole number >= 1"),
    "two and a half groups": (lambda: group_norm(2.5), "group_norm got groups=2.5", "give a whole number >= 1"),
    "groups that are yes": (lambda: group_norm(True), "group_norm got groups=True", "give a whole number >= 1"),
    "groups by name": (lambda: group_norm("2"), "group_norm got groups='2'", "give a whole number >= 1"),
    "no ghost batches": (lambda: ghost_batch_norm(0), "ghost_batch_norm got batches=0", "give a whole number >= 1"),
    "half a ghost batch": (lambda: ghost_batch_norm(0.5), "ghost_batch_norm got batches=0.5", "give a whole number"),
    "groups of an axis that is not in over": (
        lambda: fg.Standardize(UNIT, groups={SAMPLE: 2}),
        "Axis.SAMPLE",
        "for an axis in over",
    ),
    "groups of an axis by name": (lambda: fg.Standardize(UNIT, groups={"h": 2}), "{'h': 2}", "give {axis: G}"),
    "groups without an axis": (lambda: fg.Standardize(UNIT, groups=2), "groups=2", "give {axis: G}"),
    "no groups of an axis": (lambda: fg.Standardize(UNIT, groups={UNIT: 0}), ": 0}", "with G >= 1"),
    "a fraction of groups": (lambda: fg.Standardize(UNIT, groups={UNIT: 2.0}), ": 2.0}", "with G >= 1"),
    "a ghost batch of one case repeated": (
        lambda: at(ghost_batch_norm(2), CONSTANT),
        "ghost_batch_norm_2: the entries at sample 0, unit 0 are constant along sample (5 such)",
        "drop it or give eps > 0",
    ),
    "a group of units without weights": (
        lambda: at(group_norm(2), units=6, weight=FROM_ZERO),
        "group_norm_2: the entries at sample 0, unit 0 are constant along unit (7 such)",
        "drop it or give eps > 0",
    ),
    # --- leading entries
    "none of the units": (lambda: prms_norm(0), "fraction=0", "give a number p with 0 < p <= 1, e.g. 1/16"),
    "more than all units": (lambda: prms_norm(1.5), "fraction=1.5", "0 < p <= 1"),
    "a fraction below 0": (lambda: prms_norm(-0.5), "fraction=-0.5", "0 < p <= 1"),
    "a fraction that is nan": (lambda: prms_norm(math.nan), "fraction=nan", "0 < p <= 1"),
    "a fraction in words": (lambda: prms_norm("half"), "fraction='half'", "0 < p <= 1"),
    "a fraction that is yes": (lambda: prms_norm(True), "fraction=True", "0 < p <= 1"),
    "another rounding": (lambda: prms_norm(0.5, round), "rounding=<built-in function round>", "math.ceil or math.floor"),
    "no unit left": (
        lambda: at(prms_norm(Fraction(1, 16), math.floor), units=8),
        "got H=8, of which the first 0 enter the moments: an empty cell has no moments",
        "use H >= 16",
    ),
    "no unit left, with eps": (
        lambda: at(prms_norm(Fraction(1, 16), math.floor).with_eps(1e-5), units=8),
        "got H=8, of which the first 0 enter the moments",
        "use H >= 16",
    ),
    "one unit": (
        lambda: at(prms_norm(Fraction(1, 16)), units=1),
        "got H=1, of which the first 1 enter the moments: one number leaves nothing, or only its sign",
        "use H >= 2 or eps > 0",
    ),
    "the mean and deviation of one unit": (
        lambda: at(fg.Normalizer("first", summed=fg.Standardize(UNIT, first=fg.First(Fraction(1, 4)))), units=4),
        "first got H=4, of which the first 1 enter the moments: one number is its own mean",
        "use H >= 5 or eps > 0",
    ),
    "leading entries along two axes": (
        lambda: fg.Standardize([UNIT, POSITION], first=fg.First(0.5)),
        "first=First(1/2)",
        "for one axis without groups",
    ),
    "leading entries of groups": (
        lambda: fg.Standardize(UNIT, first=fg.First(0.5), groups={UNIT: 2}),
        "first=First(1/2)",
        "for one axis without groups",
    ),
    "a number for leading entries": (lambda: fg.Standardize(UNIT, first=0.5), "first=0.5", "give fg.First(p)"),
    "leading units without weights": (
        lambda: at(prms_norm(0.5), units=6, weight=FROM_ZERO),
        "prms_norm_1/2: the entries at sample 0 are constant along unit (7 such)",
        "give eps > 0",
    ),
    # --- positions
    "no positions": (
        lambda: at(instance_norm),
        "instance_norm standardizes along positions but X is (N, D)",
        "give X as (N, S, D)",
    ),
    "one position": (lambda: at(instance_norm, XS[:, :1]), "instance_norm got S=1", "use S >= 3 or eps > 0"),
    "two positions": (lambda: at(instance_norm, XS[:, :2]), "instance_norm got S=2", "use S >= 3 or eps > 0"),
    "one case for each step": (lambda: at(stepwise_batch_norm, XS[:1]), "stepwise_batch_norm got N=1", "use N >= 3"),
    "the same position again": (
        lambda: at(instance_norm, np.repeat(XS[:, :1], 5, axis=1)),
        "instance_norm: the entries at sample 0, unit 0 are constant along position (30 such)",
        "drop it or give eps > 0",
    ),
    # --- the largest singular value
    "a singular value of the inputs": (
        lambda: fg.Normalizer("mine", inputs=fg.Spectral()),
        "mine: a largest singular value is of the weights",
        "not of inputs",
    ),
    "a singular value of the summed inputs": (
        lambda: fg.Normalizer("mine", summed=fg.Spectral()),
        "mine: a largest singular value is of the weights",
        "not of summed",
    ),
    "no weights": (lambda: at(spectral_norm, weight=np.zeros((5, 4))), "all weights are 0", "use other weights"),
    "equal singular values": (
        lambda: fisher(spectral_norm, 2 * np.eye(4)),
        "the two largest singular values of the weights are both 2",
        "move the weights off this point",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_normalizer(name):
    contracts.is_refused(*CASES[name])


def test_what_is_next_to_the_refused():
    """The value where only the derivative is refused, the sizes that the messages ask for, and whole numbers of NumPy."""
    W = np.eye(4)
    np.testing.assert_allclose(at(spectral_norm, units=4, weight=W), X)
    for normalizer, units in ((group_norm(2), 6), (prms_norm(Fraction(1, 16)), 2), (prms_norm(0.0625, math.floor), 16)):
        assert np.isfinite(at(normalizer, units=units)).all()
    assert group_norm(np.int64(2)) == group_norm(2)
    assert ghost_batch_norm(np.int64(2)) == ghost_batch_norm(2)
    assert np.isfinite(at(instance_norm, XS[:, :3])).all()

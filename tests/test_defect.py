"""What ε > 0 leaves of an invariance: the exact factor against the plain numbers; and composed group actions."""

from __future__ import annotations

import dataclasses

import contracts
import numpy as np
import pytest
import sympy

import fishergeo as fg
from fishergeo.invariance.defect import EPSILON, SPREAD, eps_defect
from fishergeo.invariance.numbers import example, random_value
from fishergeo.invariance.proof import prove
from fishergeo.normalizers import ZOO
from fishergeo.transformations import TRANSFORMATIONS, State

PAIRS = [(n, t) for n in ZOO for t in TRANSFORMATIONS if "ε = 0" in prove(n, t).conditions]
_EPS = 0.37


def values_of(normalizer, X, W, letter):
    """t̂ and σ of the one stage at the site x, w or a."""
    run = normalizer(X, W)
    (stage,) = {"x": run.inputs, "w": run.weight, "a": run.summed}[letter]
    return stage.value, stage.sigma


def only_at(normalizer, letter, inside):
    """The normalizer with ε in the stages of one site."""
    field = {"x": "inputs", "w": "weight", "a": "summed"}[letter]
    stages = tuple(stage.with_eps(_EPS, inside) for stage in getattr(normalizer, field))
    return dataclasses.replace(normalizer, **{field: stages})


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(("normalizer", "transformation"), PAIRS, ids=lambda v: v.name)
def test_factor_is_what_the_numbers_do(normalizer, transformation, inside, rng):
    defect = eps_defect(normalizer, transformation, inside)
    letter = defect.quantity.removeprefix(r"\hat{")[0]
    X, W = example(normalizer, rng)
    values = [random_value(parameter, X, W, rng) for parameter in transformation.parameters]
    moved = transformation.act(State(X, W), values)
    widened = only_at(normalizer, letter, inside)
    before, _ = values_of(widened, X, W, letter)
    after, _ = values_of(widened, moved.X, moved.W, letter)
    _, spread = values_of(normalizer, X, W, letter)
    (delta,) = defect.factor.atoms(sympy.Indexed) or defect.factor.free_symbols - {EPSILON, SPREAD}
    given = values[0].T if values[0].shape == (len(W), 1) and letter == "a" else values[0]
    factor = sympy.lambdify([delta, SPREAD, EPSILON], defect.factor, "numpy")(given, spread, _EPS)
    contracts.close(after, factor * before)
    assert np.abs(after - before).max() > 1e-3 * np.abs(before).max()


@pytest.mark.parametrize(
    ("pair", "culprit"),
    [
        ((fg.layer_norm, fg.weight_matrix_recentering), "holds with any"),
        ((fg.layer_norm, fg.sign_flip), "not hold at all"),
    ],
)
def test_only_invariances_that_need_no_eps(pair, culprit):
    contracts.is_refused(lambda: eps_defect(*pair), culprit, "e.g. fg.batch_norm")


@pytest.mark.parametrize("inside", [True, False])
def test_factor_of_another_stage(inside, rng):
    """Weights divided by their largest singular value before and after: the factor holds both."""
    both, transformation = fg.compose(fg.spectral_norm, fg.layer_norm), fg.weight_matrix_recentering
    defect = eps_defect(both, transformation, inside)
    ((place, old, new),) = defect.given
    assert place == 0 and "Spectral()" in repr(defect)
    X, W = example(both, rng)
    moved = transformation.act(State(X, W), [random_value(p, X, W, rng) for p in transformation.parameters])
    widened = both.with_eps(_EPS, inside)
    before, after = widened(X, W), widened(moved.X, moved.W)
    known = {old: before.weight[0].sigma.item(), new: after.weight[0].sigma.item(), EPSILON: _EPS}
    factor = sympy.lambdify(SPREAD, defect.factor.xreplace(known), "numpy")(both(X, W).summed[0].sigma)
    contracts.close(after.value, factor * before.value)
    assert np.abs(factor - 1).max() > 1e-3


def test_a_spectral_norm_takes_no_eps():
    """The stage before it has the ε that breaks the invariance."""
    defect = eps_defect(fg.compose(fg.weight_norm, fg.spectral_norm, fg.rms_norm), fg.weight_matrix_rescaling)
    assert defect.quantity == r"\hat{w}_{h d}"
    assert defect.factor == eps_defect(fg.weight_norm, fg.weight_matrix_rescaling).factor


def test_no_factor_is_said():
    """What is added before the division by √(σ² + ε) is centred away after it: the entries change by no factor."""
    stages = (fg.Standardize(fg.Axis.INPUT, center=False, scale=fg.Scale.NORM), fg.Standardize(fg.Axis.INPUT))
    pair = fg.Normalizer("mine", weight=stages), fg.weight_constant_shift
    assert "ε = 0" in prove(*pair).conditions
    assert eps_defect(*pair).factor.free_symbols >= {EPSILON, SPREAD}  # the second stage: its own entries scale
    only_first = fg.Normalizer("mine", weight=(stages[0], fg.Standardize(fg.Axis.INPUT, scale=fg.Scale.NONE)))
    contracts.is_refused(lambda: eps_defect(only_first, fg.weight_constant_shift), "not hold at all", "give a pair")


ACTIONS = [
    (fg.layer_norm, (fg.weight_matrix_rescaling, fg.weight_matrix_recentering), True),
    (fg.layer_norm, (fg.weight_matrix_recentering, fg.case_rescaling, fg.weight_matrix_rescaling), True),
    (fg.layer_norm, (fg.weight_matrix_rescaling, fg.weight_vector_rescaling), False),
    (fg.batch_norm, (fg.weight_vector_rescaling, fg.dataset_recentering, fg.unit_permutation), True),
    (fg.batch_norm, (fg.input_rotation, fg.weight_vector_rescaling, fg.dataset_rescaling), True),
    (fg.instance_norm, (fg.case_recentering, fg.case_rescaling), True),
    (fg.group_norm(2), (fg.case_rescaling, fg.weight_matrix_rescaling), True),
    (fg.group_norm(2), (fg.case_rescaling, fg.unit_permutation), False),
    (fg.weight_norm, (fg.weight_vector_rescaling, fg.dataset_rescaling), False),
    (fg.rms_norm, (fg.sign_flip, fg.sign_flip), True),
]


@pytest.mark.parametrize(("normalizer", "parts", "invariant"), ACTIONS)
def test_composed_actions(normalizer, parts, invariant):
    first, *rest = parts
    for other in rest:
        first = first.then(other)
    assert prove(normalizer, first).invariant == invariant
    assert len(first.actions) == len(parts)


def test_then_takes_a_transformation():
    contracts.is_refused(lambda: fg.sign_flip.then(fg.layer_norm), "sign_flip.then got", "give a Transformation")

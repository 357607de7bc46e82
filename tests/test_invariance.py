"""Verdicts: proofs and counterexamples against plain formulas at random points and in exact arithmetic."""

from __future__ import annotations

import itertools
import math
import re
import time

import contracts
import numpy as np
import oracles
import pytest
import sympy
from cases import (
    ALL,
    CASES_WITH_POSITIONS,
    HALF,
    SPECTRAL,
    Case,
    admissible,
    composed,
    divides,
    each_case,
    each_transformation,
    frozen_per_unit,
    on_positions_alone,
    random_composition,
    told_apart,
)

import fishergeo as fg
from fishergeo.invariance.chain import Chain
from fishergeo.invariance.proof import prove
from fishergeo.symbolic.known import Mean
from fishergeo.transformations import PAPER, TRANSFORMATIONS

LEAST = 10  # what a person can check by hand: no more numbers than this in a witness's X, and in its W

# Ba, Kiros, Hinton 2016, table 1; Zhang, Sennrich 2019, table 1 (row RMSNorm): in the order of PAPER
TABLE_1 = {"batch_norm": "101110", "weight_norm": "101000", "layer_norm": "110101", "rms_norm": "100101"}


@pytest.mark.parametrize(("name", "row"), TABLE_1.items())
def test_table_of_the_papers(name, row):
    assert [t.name for t in PAPER] == [
        "weight_matrix_rescaling",
        "weight_matrix_recentering",
        "weight_vector_rescaling",
        "dataset_rescaling",
        "dataset_recentering",
        "case_rescaling",
    ]
    assert "".join(str(int(prove(getattr(fg, name), t).invariant)) for t in PAPER) == row


def test_every_transformation_has_its_own_oracle():
    assert set(oracles.MOVES) == {t.name for t in TRANSFORMATIONS}


def test_every_normalizer_has_its_own_oracle():
    assert set(oracles.FORMULAS) == {case.normalizer.name for case in ALL}


@each_transformation()
@each_case(CASES_WITH_POSITIONS)
def test_verdict_with_its_proof_or_witness(case, transformation, rng):
    """At random points of three sizes the output stays where a proof says so; else the witness is a real one."""
    for sizes in ((7, 4, 3), (4, 6, 5), (9, 3, 4)):
        verdict = contracts.verdict_is_the_oracle(case, transformation, rng, sizes)
    if verdict.invariant:
        assert verdict.witness is None
        assert verdict.steps
        if not on_positions_alone(case):  # what holds with positions holds without
            sizes = admissible(case.normalizer, (7, 4, 3))
            assert oracles.invariant(case.forward, transformation.name, rng, sizes)
    else:
        assert not verdict.conditions
        contracts.witness_is_real(case, transformation, verdict.witness)
        every = case.normalizer.multiples()
        assert verdict.witness.X.size <= LEAST * every[fg.Axis.SAMPLE]
        assert verdict.witness.W.size <= LEAST * every[fg.Axis.UNIT]


@each_transformation()
@each_case(CASES_WITH_POSITIONS)
def test_sign_condition(case, transformation, rng):
    """δ > 0 is a condition exactly where δ < 0 changes the output, and then it carries a counterexample."""
    verdict = prove(case.normalizer, transformation)
    if not verdict.invariant or not any(p.positive for p in transformation.parameters):
        assert verdict.sign is None
        assert not any("δ" in condition for condition in verdict.conditions)
        return
    kept = oracles.invariant(case.forward, transformation.name, rng, told_apart(case.normalizer, (7, 5, 4)), sign=-1)
    assert ("δ ≠ 0" if kept else "δ > 0") in verdict.conditions
    if not kept:
        contracts.witness_is_real(case, transformation, verdict.sign)


@each_transformation()
@each_case(ALL)
def test_eps_condition(case, transformation):
    """ε = 0 is a condition exactly where ε > 0 breaks the invariance: it breaks rescalings and leaves recenterings."""
    exact = prove(case.normalizer, transformation)
    for inside in (True, False):
        regularized = prove(case.normalizer.with_eps(0.125, inside), transformation)
        if not exact.invariant:
            assert not regularized.invariant
            continue
        assert ("ε = 0" in exact.conditions) == (not regularized.invariant)
        assert "ε = 0" not in regularized.conditions
        rescales = any(p.positive for p in transformation.parameters)
        takes_eps = case.normalizer != case.normalizer.with_eps(1.0)
        assert regularized.invariant == (not (rescales and takes_eps))


@each_case(ALL)
def test_sigma_condition(case):
    """σ > 0 is a condition exactly where a computed σ divides."""
    for transformation in TRANSFORMATIONS:
        verdict = prove(case.normalizer, transformation)
        if verdict.invariant:
            assert ("σ > 0" in verdict.conditions) == divides(case)


def test_proofs_hold_on_real_data(rng):
    """Handwritten digits: the pixels that vary in the first cases, or images whose rows are positions; random weights."""
    digits, _ = fg.datasets.load_digits()
    for cases, units in ((30, 6), (80, 8), (200, 10)):
        flat, images = digits[:cases, digits[:cases].std(axis=0) > 0], digits[:cases].reshape(-1, 8, 8)
        for case, transformation in itertools.product(ALL, TRANSFORMATIONS):
            X = images if case.normalizer.tells_positions_apart else flat
            W = rng.normal(size=(units, X.shape[-1]))
            if prove(case.normalizer, transformation).invariant:
                values = oracles.draw_move(transformation.name, X, W, rng)
                before, after = oracles.before_and_after(case.forward, transformation.name, X, W, values)
                contracts.close(after, before, 1e-10)


# --- compositions: what centring one array makes invisible in the next -----------------------------------------------

EXACT = (0, True)  # ε = 0
CENTRED_INPUTS = {"inputs": [("d", True, "nothing")]}
CENTRED_WEIGHTS = {"weight": [("d", True, "nothing")]}
WEIGHTS_CENTRED_OVER_UNITS = {"weight": [("h", True, "nothing")]}
STANDARDIZED_DATA = {"inputs": [("n", True, "std")]}

IN_THREE = ("nd", False, "std", EXACT, (("d", 3),))

COMPOSITIONS = [
    # weights centred along the inputs do not see a constant added to all features of a case, and the other way round
    (CENTRED_WEIGHTS, "case_constant_shift", True),
    (CENTRED_WEIGHTS, "weight_constant_shift", True),
    (CENTRED_WEIGHTS, "dataset_recentering", False),
    (CENTRED_WEIGHTS, "weight_matrix_recentering", False),
    (CENTRED_INPUTS, "weight_constant_shift", True),
    (CENTRED_INPUTS, "case_constant_shift", True),
    (CENTRED_INPUTS, "case_recentering", False),
    (CENTRED_INPUTS, "weight_matrix_recentering", False),
    # weights centred over the units do not see the same vector added to all of them
    (WEIGHTS_CENTRED_OVER_UNITS, "weight_matrix_recentering", True),
    (WEIGHTS_CENTRED_OVER_UNITS, "weight_constant_shift", False),
    (WEIGHTS_CENTRED_OVER_UNITS, "case_constant_shift", False),
    # data standardized over the cases
    (STANDARDIZED_DATA, "dataset_rescaling", True),
    (STANDARDIZED_DATA, "dataset_recentering", True),
    (STANDARDIZED_DATA, "feature_rescaling", True),
    (STANDARDIZED_DATA, "case_rescaling", False),
    (STANDARDIZED_DATA, "weight_matrix_rescaling", False),
    # a later stage cannot bring back what an earlier one made invisible, and adds its own
    ({**CENTRED_WEIGHTS, "summed": [("h", True, "std")]}, "case_constant_shift", True),
    ({**CENTRED_WEIGHTS, "summed": [("h", True, "std")]}, "weight_matrix_recentering", True),
    ({**CENTRED_INPUTS, "summed": [("h", False, "std")]}, "case_rescaling", True),
    ({**CENTRED_INPUTS, "summed": [("n", True, "std")]}, "case_rescaling", False),
    ({**CENTRED_INPUTS, "summed": [("n", True, "std")]}, "weight_vector_rescaling", True),
    ({**STANDARDIZED_DATA, "summed": [("h", True, "std")]}, "feature_rescaling", True),
    ({**STANDARDIZED_DATA, "summed": [("h", True, "std")]}, "case_rescaling", False),
    # an order that matters: rescaled rows survive a later mixing along the units or not
    ({"weight": [("d", False, "norm"), ("h", True, "nothing")]}, "weight_vector_rescaling", True),
    ({"weight": [("h", True, "nothing"), ("d", False, "norm")]}, "weight_vector_rescaling", False),
    ({"weight": [("h", True, "nothing"), ("d", False, "norm")]}, "weight_matrix_recentering", True),
    ({"weight": [("d", False, "norm"), ("h", True, "nothing")]}, "weight_matrix_recentering", False),
    # what is centred in every group is centred, whatever each group is divided by
    ({"inputs": [("d", True, "std", EXACT, (("d", 2),))]}, "weight_constant_shift", True),
    ({"inputs": [("d", True, "std", EXACT, (("d", 2),))]}, "case_constant_shift", True),
    ({"inputs": [("d", True, "std", EXACT, (("d", 2),))]}, "feature_rescaling", False),
    ({"inputs": [("d", False, "std", EXACT, (("d", 2),))]}, "weight_constant_shift", False),
    ({"weight": [("d", True, "norm", EXACT, (("d", 3),))]}, "case_constant_shift", True),
    ({"weight": [("h", True, "std", EXACT, (("h", 2),))]}, "weight_matrix_recentering", True),
    ({"weight": [("h", True, "std", EXACT, (("h", 2),))]}, "weight_vector_rescaling", False),
    # some entries are centred: a common shift goes, but the sum of all entries stays
    ({"inputs": [("d", True, "std", EXACT, (), (HALF, math.ceil))]}, "case_constant_shift", True),
    ({"inputs": [("d", True, "std", EXACT, (), (HALF, math.ceil))]}, "weight_constant_shift", False),
    # a singular value mixes the units, until each is divided by its own length
    ({"weight": [SPECTRAL]}, "weight_matrix_rescaling", True),
    ({"weight": [SPECTRAL]}, "weight_vector_rescaling", False),
    ({"weight": [SPECTRAL]}, "unit_permutation", True),
    ({"weight": [SPECTRAL]}, "input_rotation", True),
    ({"weight": [SPECTRAL, ("d", False, "norm")]}, "weight_vector_rescaling", True),
    ({"weight": [SPECTRAL], "summed": [("n", True, "std")]}, "weight_vector_rescaling", True),
    ({"weight": [SPECTRAL, ("d", True, "std")]}, "weight_constant_shift", True),
    ({"weight": [("d", True, "std"), SPECTRAL]}, "weight_constant_shift", True),
    ({"weight": [("d", True, "std"), SPECTRAL]}, "weight_vector_rescaling", True),
    ({"weight": [("h", True, "nothing"), SPECTRAL]}, "weight_matrix_recentering", True),
    ({"weight": [SPECTRAL, ("h", True, "nothing")]}, "weight_matrix_recentering", False),
    ({"weight": [SPECTRAL], "summed": [("h", True, "std")]}, "weight_matrix_recentering", True),
    (
        {"weight": [("h", False, "std", EXACT, (), (HALF, math.floor)), SPECTRAL, ("d", True, "std")]},
        "unit_permutation",
        False,
    ),
    # sums of squares that an earlier stage leaves: all units have the same length, so that every group has
    ({"summed": [("n", True, "std"), ("nh", False, "norm", EXACT, (("h", 2),))]}, "unit_permutation", True),
    ({"summed": [("n", True, "std"), ("nh", True, "norm", EXACT, (("h", 2),))]}, "unit_permutation", True),
    ({"summed": [("n", False, "norm"), ("nh", False, "std", EXACT, (("h", 3),))]}, "unit_permutation", True),
    ({"weight": [("d", False, "norm"), ("hd", False, "norm", EXACT, (("h", 2),))]}, "unit_permutation", True),
    ({"summed": [("n", True, "nothing"), ("nh", False, "norm", EXACT, (("h", 2),))]}, "unit_permutation", False),
    ({"summed": [("n", True, "std", (0.5, True)), ("nh", False, "norm", EXACT, (("h", 2),))]}, "unit_permutation", False),
    ({"summed": [("n", False, "std"), ("nh", True, "norm", EXACT, (("h", 2),))]}, "unit_permutation", False),
    ({"summed": [("n", True, "std"), ("h", False, "norm", EXACT, (("h", 2),))]}, "unit_permutation", False),
    # a shift that is the same for a group of inputs is centred away in that group, whatever it was divided by
    (
        {"inputs": [("nd", False, "std", EXACT, (("d", 3),)), ("d", True, "std", EXACT, (("d", 3),))]},
        "case_constant_shift",
        True,
    ),
    ({"inputs": [("nd", False, "std", EXACT, (("d", 3),)), ("d", True, "std")]}, "case_constant_shift", False),
]


@pytest.mark.parametrize(("sites", "name", "invariant"), COMPOSITIONS, ids=[f"{s}-{n}" for s, n, _ in COMPOSITIONS])
def test_what_centring_makes_invisible(sites, name, invariant, rng):
    case = composed("composition", **sites)
    transformation = next(t for t in TRANSFORMATIONS if t.name == name)
    verdict = contracts.verdict_is_the_oracle(case, transformation, rng)
    assert verdict.invariant == invariant
    if not invariant:
        contracts.witness_is_real(case, transformation, verdict.witness)


CLAIMS = [  # a first stage, and the power whose mean over the samples it leaves as it is for each unit
    (("n", False, "std"), 1, True),
    (("n", True, "nothing"), 2, False),
]


@pytest.mark.parametrize(("first", "power", "center"), CLAIMS)
def test_a_wrong_sum_of_an_earlier_stage_proves_what_is_false(first, power, center, monkeypatch):
    """Sums that an earlier stage leaves are used in proofs: with one that it does not leave a false one is found."""
    second = ("nh", center, "norm", EXACT, (("h", 2),))
    normalizer = composed("two", summed=[first, second]).normalizer
    assert not Chain(normalizer, fg.unit_permutation).invariant
    assert not prove(normalizer, fg.unit_permutation)
    means = Chain._means

    def claimed(self, *arguments):
        yield from means(self, *arguments)
        yield Mean(power, (-2,), (1,), sympy.Integer(power - 1))

    monkeypatch.setattr(Chain, "_means", claimed)
    assert Chain(normalizer, fg.unit_permutation).invariant


@pytest.mark.parametrize("seed", range(40))
def test_deep_compositions_take_no_time(seed):
    """Four stages at any sites: seconds where nested roots were written out, milliseconds where they are symbols."""
    rng = np.random.default_rng(7000 + seed)
    case = random_composition(rng, f"deep-{seed}", "nshd", eps=(0, 0, 0, 0.5), rich=True, stages=4)
    transformation = TRANSFORMATIONS[seed % len(TRANSFORMATIONS)]
    start = time.process_time()
    verdict = prove(case.normalizer, transformation)
    assert time.process_time() - start < 5
    assert verdict.invariant == oracles.invariant(
        case.forward, transformation.name, rng, told_apart(case.normalizer, (7, 5, 4))
    )
    if not verdict.invariant:
        contracts.witness_is_real(case, transformation, verdict.witness)
        assert len(repr(verdict)) < 3000


def test_statistics_of_units_that_fill_no_groups_are_refused():
    """Statistics of 6 units, and 3 groups that each need 3: there is no such model."""
    stages = (fg.Standardize(fg.Axis.UNIT, groups={fg.Axis.UNIT: 3}), fg.Frozen([0.0] * 6, [1.0] * 6))
    none = fg.Normalizer("none", summed=stages)
    contracts.is_refused(lambda: prove(none, fg.sign_flip), "statistics of 6 units", "a multiple of 3")


@each_transformation()
def test_compositions_of_the_zoo(transformation, rng):
    """`compose` runs all stages in turn: input standardization, weight norm, then batch or layer norm."""
    for parts in (
        (fg.input_standardization, fg.weight_norm, fg.batch_norm),
        (fg.input_layer_norm, fg.weight_standardization, fg.layer_norm),
    ):
        forms = [oracles.FORMULAS[part.name] for part in parts]

        def forward(X, W, shift=0, forms=forms):
            none = (0, True)
            for inputs, weight, _ in forms:
                X, W = inputs(X, none), weight(W, none)
            A = X @ W.T + shift
            for _, _, summed in forms:
                A = summed(A, none)
            return A

        case = Case("composed", fg.compose(*parts), forward)
        contracts.verdict_is_the_oracle(case, transformation, rng)


MEAN, VAR = [0.5, -1, 2], [1, 4, 2.25]
SAMPLE, UNIT = fg.Standardize(fg.Axis.SAMPLE), fg.Standardize(fg.Axis.UNIT)
WITH_FROZEN = {
    "shared, then layer norm": ((fg.Frozen(1, 4), UNIT), lambda a: layer(oracles.given(a, 1, 4))),
    "shared, then batch norm": ((fg.Frozen(1, 4), SAMPLE), lambda a: batch(oracles.given(a, 1, 4))),
    "per unit, then batch norm": ((fg.Frozen(MEAN, VAR), SAMPLE), lambda a: batch(oracles.given(a, MEAN, VAR))),
    "per unit, then layer norm": ((fg.Frozen(MEAN, VAR), UNIT), lambda a: layer(oracles.given(a, MEAN, VAR))),
    "batch norm, then per unit": ((SAMPLE, fg.Frozen(MEAN, VAR)), lambda a: oracles.given(batch(a), MEAN, VAR)),
}


def layer(a):
    return oracles.over_root(oracles.centered(a, -1), -1, (0, True))


def batch(a):
    return oracles.over_root(oracles.centered(a, 0), 0, (0, True))


@each_transformation()
@pytest.mark.parametrize("name", WITH_FROZEN)
def test_compositions_with_frozen_statistics(name, transformation, rng):
    stages, formula = WITH_FROZEN[name]
    case = Case(name, fg.Normalizer(name, summed=stages), lambda X, W, shift=0: formula(X @ W.T + shift))
    verdict = contracts.verdict_is_the_oracle(case, transformation, rng, sizes=(7, 5, 3))
    if not verdict.invariant:
        contracts.witness_is_real(case, transformation, verdict.witness)


@pytest.mark.parametrize("seed", range(300))
def test_random_compositions(seed):
    """Random normalizers, two random transformations each: never undecided, and decided as the numbers show.

    Every third has stages over samples, units and inputs alone; the others also positions, groups, leading entries and
    the largest singular value, at all sites.
    """
    rng = np.random.default_rng(1000 + seed)
    rich = seed % 3 > 0
    case = random_composition(rng, f"composition-{seed}", "nshd" if rich else "nhd", eps=(0, 0, 0, 0.5), rich=rich)
    for k in rng.permutation(len(TRANSFORMATIONS))[:2]:
        transformation = TRANSFORMATIONS[k]
        verdict = contracts.verdict_is_the_oracle(case, transformation, rng)
        if not verdict.invariant:
            contracts.witness_is_real(case, transformation, verdict.witness)


# --- what a verdict shows -------------------------------------------------------------------------------------------


def test_verdict_is_its_truth_value_and_says_its_conditions():
    yes, no = prove(fg.layer_norm, fg.case_rescaling), prove(fg.layer_norm, fg.dataset_recentering)
    assert yes
    assert not no
    assert yes.conditions == ("δ > 0", "ε = 0", "σ > 0")
    assert "invariant for all sizes if δ > 0, ε = 0, σ > 0" in repr(yes)
    assert "not invariant" in repr(no) and "becomes" in repr(no)
    assert yes.latex().startswith(r"\begin{aligned}")
    assert r"\to" in no.latex()


def test_steps_follow_the_quantities_of_the_forward_pass():
    steps = prove(fg.batch_norm, fg.dataset_recentering).steps
    assert [s.quantity for s in steps][:2] == [r"x_{n d}", r"w_{h d}"]
    assert steps[-1].reason == "unchanged"
    reasons = {s.quantity: s.reason for s in steps}
    assert reasons[r"x_{n d}"] == "shifted"
    assert reasons[r"w_{h d}"] == "unchanged"
    assert reasons[r"\sigma(a)"] == "unchanged"


def test_permuted_units_carry_their_statistics():
    """Frozen batch norm follows a permutation with statistics shared by all units, not with its own for each unit."""
    assert not prove(frozen_per_unit(3).normalizer, fg.unit_permutation)
    assert prove(fg.frozen_batch_norm(1, 4), fg.unit_permutation)


def test_cases_cover_eps_at_both_places():
    stages = [stage for case in CASES_WITH_POSITIONS for _, stage in case.normalizer.stages if stage.over]
    assert {(s.eps, s.eps_inside) for s in stages if s.has_eps} >= {(0.125, True), (0.25, False)}


def test_witness_is_minimal_for_the_plain_model():
    """One case, one input, one unit suffice wherever no statistic is computed."""
    for transformation, (symbol, *_) in itertools.product(TRANSFORMATIONS, [("δ",), ("γ",)]):
        if oracles.MOVES[transformation.name][0].startswith(symbol):
            assert prove(fg.identity, transformation).witness.sizes == {"N": 1, "D": 1, "H": 1}


STEPS = {
    (fg.layer_norm, fg.weight_matrix_recentering.then(fg.unit_permutation)): (
        r"w_{\varpi(h) d} + \gamma_{d}",
        r"a_{n \varpi(h)} + \beta_{n},\quad \beta_{n} = \sum_{e=1}^{D} \gamma_{e} x_{n e}",
        r"\mu(a) + \beta_{n}",
    ),
    (fg.batch_norm, fg.dataset_recentering.then(fg.unit_permutation)): (
        r"a_{n \varpi(h)} + \beta_{h},\quad \beta_{h} = \sum_{e=1}^{D} \gamma_{e} w_{\varpi(h) e}",
        r"\mu(a) + \beta_{h}",
    ),
    (fg.rms_norm, fg.weight_matrix_rescaling.then(fg.unit_permutation)): (r"\delta\,a_{n \varpi(h)}",),
}


@pytest.mark.parametrize(("normalizer", "transformation"), STEPS)
def test_steps_tell_what_moves_from_what_is_added(normalizer, transformation):
    """Units that change places are not a shift: β is what is added to the array in its new order."""
    found = [step.becomes for step in prove(normalizer, transformation).steps]
    assert set(STEPS[normalizer, transformation]) <= set(found)


def test_a_shift_of_the_summed_inputs_is_of_the_arrays_they_are_made_of():
    seen = set()
    for verdict in fg.invariance_table():
        for step in verdict.steps:
            for letter in re.findall(r"(\\hat\{[xw]\}|[xw])_", step.becomes.partition("quad")[2]):
                site = verdict.normalizer.weight if "w" in letter else verdict.normalizer.inputs
                assert letter.startswith(r"\hat") == bool(site), verdict
                seen.add(bool(site))
    assert seen == {True, False}


def test_counterexamples_of_the_zoo_are_written_with_roots():
    assert not [v for v in fg.invariance_table() if v.witness is not None and v.witness.cut]

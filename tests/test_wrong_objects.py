"""Every contract must fail on an object that is wrong on purpose: what cannot fail shows nothing."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import contracts
import numpy as np
import oracles
import pytest
from cases import PLAIN, SIZES, Case, Setup, stage
from wrong import (
    WRONG_GROUPS,
    WRONG_LEADING,
    WRONG_SPECTRAL,
    WRONG_TANGENTS,
    Broken,
    OneSided,
    SelfAdjoint,
    changed,
    changing,
    off,
)

import fishergeo as fg
from fishergeo.families import Hessian
from fishergeo.information.operator import Metric
from fishergeo.transformations import Rescale, Shift

H = SIZES[2]
LAYOUT = fg.Site.SUMMED.layout(2)
BATCH_NORM = next(case for case in PLAIN if case.name == "batch_norm")


def fails(contract, *arguments, **options):
    """The contract fails by its own assertion, not by an accident."""
    with pytest.raises(AssertionError):
        contract(*arguments, **options)


# --- the primitive -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRONG_TANGENTS)
def test_wrong_tangent(name, rng):
    t = rng.normal(size=(7, 3))
    wrong = Broken(WRONG_TANGENTS[name])

    def formula(t):
        return oracles.standardize(t, "nh", "n", True, "std")

    contracts.value_is_the_formula(wrong, formula, t, LAYOUT)  # only the tangent is wrong
    fails(contracts.tangent_is_the_derivative, wrong, formula, t, LAYOUT, rng)


def test_wrong_value(rng):
    wrong = Broken(lambda done: replace(done, value=1.01 * done.value))
    formula = lambda t: oracles.standardize(t, "nh", "n", True, "std")  # noqa: E731
    fails(contracts.value_is_the_formula, wrong, formula, rng.normal(size=(7, 3)), LAYOUT)


def test_tangent_that_is_not_self_adjoint(rng):
    fails(contracts.tangent_is_self_adjoint, Broken(OneSided), rng.normal(size=(7, 3)), LAYOUT, rng)


def test_bracket_that_is_no_projector(rng):
    wrong = Broken(lambda done: replace(done, value=1.01 * done.value))
    fails(contracts.bracket_is_a_projector, wrong, rng.normal(size=(7, 3)), LAYOUT, rng)


# --- groups, leading entries, the largest singular value -------------------------------------------------------------


GROUPED = fg.Standardize([fg.Axis.SAMPLE, fg.Axis.POSITION], groups={fg.Axis.SAMPLE: 2})
LEADING = fg.Standardize(fg.Axis.UNIT, first=fg.First(0.5))


def half(t):
    return oracles.standardize(t, "nh", "h", True, "std", first=lambda size: size // 2)


def halves(t):
    return oracles.standardize(t, "nh", "n", True, "std", parts=[("n", 2)])


@pytest.mark.parametrize("name", WRONG_GROUPS)
def test_groups_whose_tangent_is_that_of_other_cells(name, rng):
    t, wrong = rng.normal(size=(8, 3)), changing(GROUPED, WRONG_GROUPS[name])
    contracts.value_is_the_formula(wrong, halves, t, LAYOUT)
    fails(contracts.tangent_is_the_derivative, wrong, halves, t, LAYOUT, rng)
    fails(contracts.adjoint_is_the_transpose, wrong, halves, t, LAYOUT, rng)


@pytest.mark.parametrize("groups", [{}, {fg.Axis.SAMPLE: 4}], ids=["none", "four"])
def test_other_groups(groups, rng):
    wrong = fg.Standardize([fg.Axis.SAMPLE, fg.Axis.POSITION], groups=groups)
    fails(contracts.value_is_the_formula, wrong, halves, rng.normal(size=(12, 3)), LAYOUT)


@pytest.mark.parametrize("name", WRONG_LEADING)
def test_leading_entries_whose_tangent_is_that_of_all_entries(name, rng):
    t, wrong = rng.normal(size=(7, 6)), changing(LEADING, WRONG_LEADING[name])
    contracts.value_is_the_formula(wrong, half, t, LAYOUT)
    fails(contracts.tangent_is_the_derivative, wrong, half, t, LAYOUT, rng)
    contracts.second_derivative_is_the_difference(LEADING, half, t, LAYOUT, rng)
    fails(contracts.second_derivative_is_the_difference, wrong, half, t, LAYOUT, rng)


def test_other_leading_entries(rng):
    t = rng.normal(size=(7, 7))
    down, up = (fg.Standardize(fg.Axis.UNIT, first=fg.First(0.5, rounding)) for rounding in (math.floor, math.ceil))
    contracts.value_is_the_formula(down, half, t, LAYOUT)
    fails(contracts.value_is_the_formula, up, half, t, LAYOUT)


def test_leading_entries_whose_adjoint_is_the_tangent(rng):
    """As it is where all entries enter the moments."""
    t = rng.normal(size=(7, 6))
    contracts.adjoint_is_the_transpose(LEADING, half, t, LAYOUT, rng)
    fails(contracts.adjoint_is_the_transpose, changing(LEADING, SelfAdjoint), half, t, LAYOUT, rng)


@pytest.mark.parametrize("name", WRONG_SPECTRAL)
def test_spectral_with_another_derivative(name, rng):
    W, layout = rng.normal(size=(5, 4)), fg.Site.WEIGHT.layout(2)
    wrong = changing(fg.Spectral(), WRONG_SPECTRAL[name])
    contracts.value_is_the_formula(wrong, oracles.spectral, W, layout)
    fails(contracts.adjoint_is_the_transpose, wrong, oracles.spectral, W, layout, rng)
    fails(contracts.tangent_is_the_derivative, wrong, oracles.spectral, W, layout, rng)
    fails(contracts.second_derivative_is_the_difference, wrong, oracles.spectral, W, layout, rng)


def test_spectral_whose_adjoint_is_the_tangent(rng):
    W, layout = rng.normal(size=(5, 4)), fg.Site.WEIGHT.layout(2)
    fails(contracts.adjoint_is_the_transpose, changing(fg.Spectral(), SelfAdjoint), oracles.spectral, W, layout, rng)
    fails(contracts.tangent_is_self_adjoint, fg.Spectral(), W, layout, rng)


def test_spectral_whose_singular_vectors_stand_still(rng):
    """The first derivative is right, the second is not."""
    W, layout = rng.normal(size=(5, 4)), fg.Site.WEIGHT.layout(2)
    first = np.arange(5) == 0
    still = changing(
        fg.Spectral(),
        lambda done: replace(
            done, decomposed=(done.decomposed[0] * first, done.decomposed[1], done.decomposed[2] * first[:4, None])
        ),
    )
    contracts.tangent_is_the_derivative(fg.Spectral(), oracles.spectral, W, layout, rng)
    contracts.second_derivative_is_the_difference(fg.Spectral(), oracles.spectral, W, layout, rng)
    fails(contracts.second_derivative_is_the_difference, still, oracles.spectral, W, layout, rng)


def test_second_largest_singular_value(rng):
    W, layout = rng.normal(size=(5, 4)), fg.Site.WEIGHT.layout(2)
    s = np.linalg.svd(W, compute_uv=False)
    wrong = changing(fg.Spectral(), lambda done: replace(done, value=W / s[1]))
    fails(contracts.value_is_the_formula, wrong, oracles.spectral, W, layout)


@pytest.mark.parametrize("name", ["group_norm_2", "prms_norm_1/2", "spectral_norm", "ghost_batch_norm_2"])
def test_fisher_matrix_of_a_normalizer_with_a_wrong_tangent(name, rng, X):
    """What is wrong on purpose above is wrong in the Jacobian and in the Fisher matrix of the zoo's normalizer."""
    case = next(case for case in PLAIN if case.name == name)
    site = "weight" if case.normalizer.weight else "summed"
    (stage,) = getattr(case.normalizer, site)
    change = WRONG_SPECTRAL["sigma held"] if site == "weight" else lambda done: replace(done, weight=1e30)
    wrong = Case("wrong", replace(case.normalizer, **{site: changing(stage, change)}), case.forward)
    setup = Setup.of(wrong, fg.bernoulli, X, H, rng)
    contracts.close(setup.model.natural(setup.p, X), setup.natural(setup.v))  # the value is right
    fails(contracts.jacobian_is_the_derivative, setup, rng)
    fails(contracts.fisher_is_the_oracle, fg.fisher(setup.model, setup.p, X), oracles.fisher(*setup.arguments))


# --- families ------------------------------------------------------------------------------------------------------


def test_hessian_off_by_one_percent(rng):
    theta = rng.normal(size=(7, 3))
    right = fg.bernoulli.mean(theta), fg.bernoulli.hessian(theta).dense()
    contracts.derivatives_of_the_cumulant(fg.bernoulli, theta, *right)
    wrong = changed(fg.bernoulli, hessian=lambda self, theta: off(fg.bernoulli.hessian(theta)))
    fails(contracts.derivatives_of_the_cumulant, wrong, theta, *right)
    # a mean that is wrong only in the far tail, where its absolute error is invisible
    tail = np.full((7, 3), -40.0)
    right = fg.bernoulli.mean(tail), fg.bernoulli.hessian(tail).dense()
    wrong = changed(fg.bernoulli, mean=lambda self, theta: fg.bernoulli.mean(theta) + 1e-20)
    fails(contracts.derivatives_of_the_cumulant, wrong, tail, *right)


def test_root_that_is_no_root(rng):
    class Wrong(Hessian):
        def root(self, v):
            return self.d * v

    wrong = changed(fg.poisson, hessian=lambda self, theta: Wrong(fg.poisson.hessian(theta).d))
    fails(contracts.root_squares_to_the_hessian, wrong, rng.normal(size=(7, 3)))


def test_coupled_hessian_without_its_coupling(rng):
    theta = rng.normal(size=(7, 3))
    wrong = changed(fg.categorical, hessian=lambda self, theta: Hessian(fg.categorical.hessian(theta).d))
    right = fg.categorical.mean(theta), fg.categorical.hessian(theta).dense()
    fails(contracts.derivatives_of_the_cumulant, wrong, theta, *right)


@pytest.mark.parametrize("family", [fg.gaussian, fg.bernoulli, fg.poisson, fg.categorical], ids=lambda f: f.name)
def test_density_that_is_not_normalized(family, rng):
    def log_density(self, y, theta, phi):
        return family.log_density(y, theta, phi) + 1e-6

    fails(contracts.density_is_normalized, changed(family, log_density=log_density), rng.normal(size=(7, 3))[:, :1], 1.0)


@pytest.mark.parametrize(
    "draw",
    [
        lambda mean, phi, rng: (rng.random(mean.shape) < 0.8 * mean).astype(float),  # a wrong mean
        lambda mean, phi, rng: np.broadcast_to(rng.random((len(mean), 1)) < mean, mean.shape).astype(float),  # coupled
    ],
    ids=["biased", "dependent"],
)
def test_draws_that_are_wrong(draw, rng, X):
    family = replace(fg.bernoulli, draw=draw)
    fails(contracts.draws_have_the_moments, Setup.of(BATCH_NORM, family, X, H, rng), rng)


# --- the model and its Fisher matrix -------------------------------------------------------------------------------


def wrong_normalizer(change):
    return Case("wrong", replace(fg.batch_norm, summed=Broken(change)), BATCH_NORM.forward)


@pytest.mark.parametrize("name", WRONG_TANGENTS)
def test_fisher_matrix_of_a_wrong_tangent(name, rng, X):
    setup = Setup.of(wrong_normalizer(WRONG_TANGENTS[name]), fg.bernoulli, X, H, rng)
    fails(contracts.jacobian_is_the_derivative, setup, rng)
    fails(contracts.fisher_is_the_oracle, fg.fisher(setup.model, setup.p, X), oracles.fisher(*setup.arguments))


def test_fisher_matrix_of_another_family(rng, X):
    wrong = changed(fg.poisson, hessian=lambda self, *given: off(fg.poisson.hessian(*given)))
    setup = Setup.of(BATCH_NORM, wrong, X, H, rng)
    fails(contracts.fisher_is_the_oracle, fg.fisher(setup.model, setup.p, X), oracles.fisher(*setup.arguments))


def test_fisher_matrix_with_another_dispersion(rng, X):
    setup = Setup.of(BATCH_NORM, fg.gaussian, X, H, rng, 2.5)
    wrong = fg.fisher(fg.GLM(fg.gaussian, fg.batch_norm), setup.p, X)
    fails(contracts.fisher_is_the_oracle, wrong, oracles.fisher(*setup.arguments))


def test_fisher_matrix_of_eq_13_under_layer_norm(rng, X):
    setup = Setup.of(next(case for case in PLAIN if case.name == "layer_norm"), fg.bernoulli, X, H, rng)
    wrong = fg.per_unit_fisher(setup.model, setup.p, X)
    fails(contracts.fisher_is_the_oracle, wrong, oracles.fisher(*setup.arguments))


def metric(setup, product=None, root=None):
    """The right operator with its product or its root replaced."""
    right = fg.fisher(setup.model, setup.p, setup.X)
    return Metric(setup.p, product or right._product, root or right._root, "wrong", 1)


WRONG_PRODUCTS = {
    "off by 1e-6": lambda F: lambda V: (1 + 1e-6) * V @ F,
    "not symmetric": lambda F: lambda V: V @ np.triu(F),
    "a row left out": lambda F: lambda V: V @ F * (np.arange(len(F)) > 0),
}


@pytest.mark.parametrize("name", WRONG_PRODUCTS)
def test_operator_with_a_wrong_product(name, rng, X):
    setup = Setup.of(BATCH_NORM, fg.bernoulli, X, H, rng)
    F = oracles.fisher(*setup.arguments)
    contracts.fisher_is_the_oracle(metric(setup), F)
    fails(contracts.fisher_is_the_oracle, metric(setup, product=WRONG_PRODUCTS[name](F)), F)


def test_operator_with_a_wrong_adjoint(rng, X):
    setup = Setup.of(BATCH_NORM, fg.bernoulli, X, H, rng)
    F = oracles.fisher(*setup.arguments)

    class Wrong(Metric):
        def _adjoint(self):
            return 2 * self

    right = fg.fisher(setup.model, setup.p, X)
    fails(contracts.fisher_is_the_oracle, Wrong(setup.p, right._product, right._root, "wrong", 1), F)


def test_spectrum_of_a_wrong_root(rng, X):
    setup = Setup.of(BATCH_NORM, fg.bernoulli, X, H, rng)
    R = oracles.fisher_root(*setup.arguments)
    contracts.spectrum_is_the_oracle(metric(setup), R)
    full = R @ R.T + 1e-6 * np.eye(len(R))  # the null space filled in
    fails(contracts.spectrum_is_the_oracle, metric(setup, root=lambda: np.linalg.cholesky(full)), R)
    fails(contracts.spectrum_is_the_oracle, metric(setup, root=lambda: R[:, :-H]), R)


def test_solve_that_is_no_solution(rng, X):
    setup = Setup.of(BATCH_NORM, fg.bernoulli, X, H, rng)
    F = oracles.fisher(*setup.arguments)

    class Wrong(Metric):
        def solve(self, v, damping=0.0):
            return super().solve(v, damping=1.01 * damping)

    class WrongWithoutDamping(Metric):
        def solve(self, v, damping=0.0):
            return super().solve(v, damping=damping or 1e-8)

    right = fg.fisher(setup.model, setup.p, X)
    contracts.solves_are_solutions(right, F, rng)
    for kind in (Wrong, WrongWithoutDamping):
        fails(contracts.solves_are_solutions, kind(setup.p, right._product, right._root, "wrong", 1), F, rng)


# --- invariance ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("normalizer", "actions", "name"),
    [
        # W → W + 1γᵀ declared with a γ for each unit, and with a γ for each entry
        ("layer_norm", (Shift(fg.Site.WEIGHT, frozenset([fg.Axis.UNIT])),), "weight_matrix_recentering"),
        ("layer_norm", (Shift(fg.Site.WEIGHT, frozenset(fg.Site.WEIGHT.axes)),), "weight_matrix_recentering"),
        # a scaling of each case declared as one of each feature, and as one of the whole data set
        ("layer_norm", (Rescale(fg.Site.INPUTS, frozenset([fg.Axis.INPUT])),), "case_rescaling"),
        ("batch_norm", (Rescale(fg.Site.INPUTS),), "case_rescaling"),
        ("weight_norm", (Rescale(fg.Site.INPUTS),), "weight_vector_rescaling"),
    ],
    ids=["shift-by-unit", "shift-by-entry", "scale-by-feature", "scale-by-data-set", "scale-of-data"],
)
def test_transformation_along_wrong_axes(normalizer, actions, name, rng):
    case = next(case for case in PLAIN if case.name == normalizer)
    right = getattr(fg, name)
    contracts.verdict_is_the_oracle(case, right, rng)
    fails(contracts.verdict_is_the_oracle, case, replace(right, actions=actions), rng)


@pytest.mark.parametrize("over", ["h", "nh"])
def test_normalizer_along_wrong_axes(over, rng):
    wrong = Case("batch_norm", replace(fg.batch_norm, summed=stage(over, True, "std")), BATCH_NORM.forward)
    fails(contracts.verdict_is_the_oracle, wrong, fg.dataset_recentering, rng)


def test_witness_that_is_none():
    from fishergeo.invariance.proof import prove

    layer_norm = next(case for case in PLAIN if case.name == "layer_norm")
    witness = prove(fg.layer_norm, fg.dataset_recentering).witness
    contracts.witness_is_real(layer_norm, fg.dataset_recentering, witness)
    fails(contracts.witness_is_real, layer_norm, fg.dataset_recentering, replace(witness, after=witness.before))
    unmoved = tuple(0 * value for value in witness.values)
    fails(contracts.witness_is_real, layer_norm, fg.dataset_recentering, replace(witness, values=unmoved))
    wrong_number = replace(witness, after=witness.after + 1)
    fails(contracts.witness_is_real, layer_norm, fg.dataset_recentering, wrong_number)


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message", ["it is\nthe culprit: a remedy", "the culprit", "a remedy", "the culprit: a remedy" * 20]
)
def test_refusals_that_do_not_help(message):
    def act():
        error = fg.InputError("")
        error.args = (message,)  # past what keeps it in one line
        raise error

    fails(contracts.is_refused, act, "the culprit", "a remedy")


def test_a_refusal_of_another_kind():
    class Refusal(fg.InputError):
        pass

    def act():
        raise Refusal("the culprit: a remedy")

    fails(contracts.is_refused, act, "the culprit", "a remedy")


def test_what_is_not_refused():
    with pytest.raises(pytest.fail.Exception):
        contracts.is_refused(lambda: float("nan"), "", "")
    with pytest.raises(RuntimeWarning):
        contracts.is_refused(lambda: warnings.warn("overflow", RuntimeWarning, stacklevel=1), "", "")

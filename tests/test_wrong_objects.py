"""Every contract must fail on an object that is wrong on purpose: what cannot fail shows nothing."""

from __future__ import annotations

import warnings
from dataclasses import replace

import contracts
import numpy as np
import oracles
import pytest
from cases import PLAIN, SIZES, Case, Setup, stage
from wrong import WRONG_TANGENTS, Broken, OneSided, changed, off

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
    wrong = changed(fg.poisson, hessian=lambda self, theta: off(fg.poisson.hessian(theta)))
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

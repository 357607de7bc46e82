"""The exact Fisher matrix as an operator, against Σ_y p ∇log p ∇log pᵀ, for every normalizer and family."""

from __future__ import annotations

import contracts
import numpy as np
import oracles
import pytest
from cases import (
    ALL,
    CASES_WITH_POSITIONS,
    PLAIN,
    SIZES,
    SIZES_WITH_POSITIONS,
    Setup,
    admissible,
    each_case,
    each_case_and_family,
    random_composition,
)

import fishergeo as fg
from fishergeo.families import FAMILIES
from fishergeo.information import operator, spectrum

H = SIZES[2]


def check(setup, rng):
    metric = fg.fisher(setup.model, setup.p, setup.X)
    R = oracles.fisher_root(*setup.arguments)
    F = R @ R.T
    contracts.fisher_is_the_oracle(metric, F)
    contracts.spectrum_is_the_oracle(metric, R)
    contracts.solves_are_solutions(metric, F, rng)


@each_case_and_family(CASES_WITH_POSITIONS)
def test_exact_against_log_p(case, family, phi, rng, inputs):
    check(Setup.of(case, family, inputs(case), H, rng, phi), rng)


@each_case_and_family(CASES_WITH_POSITIONS)
def test_exact_with_positions(case, family, phi, rng, X_positions):
    setup = Setup.of(case, family, X_positions, SIZES_WITH_POSITIONS[-1], rng, phi)
    F = oracles.fisher(*setup.arguments)
    contracts.fisher_is_the_oracle(fg.fisher(setup.model, setup.p, setup.X), F)


@pytest.mark.parametrize("rich", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_exact_for_random_compositions(seed, rich):
    rng = np.random.default_rng(seed)
    case = random_composition(rng, f"composition {seed}", axes="nshd", eps=(0, 0.3), rich=rich)
    family = FAMILIES[seed % len(FAMILIES)]
    *shape, units = admissible(case.normalizer, SIZES_WITH_POSITIONS)
    setup = Setup.of(case, family, rng.normal(size=shape), units, rng)
    F = oracles.fisher(*setup.arguments)
    contracts.close(fg.fisher(setup.model, setup.p, setup.X).to_dense(), F)


def test_oracle_agrees_with_joint_enumeration(rng):
    """The oracle's one assumption, independent outputs, is not needed where all 2^H outcomes of a case are counted."""
    for case in PLAIN:
        *shape, units = admissible(case.normalizer, (7, 4, 3))
        setup = Setup.of(case, fg.bernoulli, rng.normal(size=shape), units, rng)
        joint = oracles.fisher_by_joint_enumeration(case.forward, setup.v, setup.X, *setup.shape)
        contracts.close(oracles.fisher(*setup.arguments), joint)


@each_case(PLAIN)
def test_more_units_than_inputs_and_other_sizes(case, rng):
    *shape, units = admissible(case.normalizer, (11, 3, 5))
    setup = Setup.of(case, fg.categorical, rng.normal(size=shape), units, rng)
    check(setup, rng)


def test_order_of_cases_does_not_matter(rng, X):
    setup = Setup.of(PLAIN[1], fg.bernoulli, X, H, rng)
    first, second = (fg.fisher(setup.model, setup.p, x).to_dense() for x in (X, X[::-1]))
    contracts.close(first, second)


APART = {"group_norm_2", "layer_norm_with_positions", "stepwise_batch_norm", "weight_standardization_group_norm_2"}


@each_case(PLAIN)
def test_positions_are_cases_where_no_statistic_separates_them(case, rng, X_positions):
    """Without statistics of one case or of one position, a position is one more case."""
    setup = Setup.of(case, fg.poisson, X_positions, SIZES_WITH_POSITIONS[-1], rng)
    flat = fg.fisher(setup.model, setup.p, X_positions.reshape(-1, X_positions.shape[-1])).to_dense()
    gap = np.abs(fg.fisher(setup.model, setup.p, X_positions).to_dense() - flat).max() / np.abs(flat).max()
    assert gap > 0.01 if case.name in APART else gap < contracts.EXACT
    assert case.normalizer.flattens == (case.name not in APART)


@each_case(ALL)
def test_dispersion_divides_the_matrix(case, rng, inputs):
    X = inputs(case)
    setup = Setup.of(case, fg.gaussian, X, H, rng)
    one = fg.fisher(setup.model, setup.p, X).to_dense()
    contracts.close(fg.fisher(fg.GLM(fg.gaussian, case.normalizer, dispersion=4.0), setup.p, X).to_dense(), one / 4)


def test_kl_divergence_is_half_the_quadratic_form(rng, X):
    """KL(θ ‖ θ + δ) = ½ δᵀFδ + cubic + quartic: odd and even remainders fall by 8 and 16 when δ is halved."""
    setup = Setup.of(PLAIN[1], fg.bernoulli, X, H, rng)
    F = fg.fisher(setup.model, setup.p, X).to_dense()
    direction = rng.normal(size=setup.p.size)
    remainders = []
    for step in (8e-3, 4e-3, 2e-3):
        d = step * direction
        forth, back = divergence(setup, setup.v + d), divergence(setup, setup.v - d)
        remainders.append((forth - back, forth + back - d @ F @ d))
    ratios = np.divide(remainders[:-1], remainders[1:])
    assert (np.abs(ratios - [8, 16]) < 0.5).all(), ratios


def divergence(setup, other):
    Z = setup.natural(setup.v)
    y, p = oracles.outcomes("bernoulli", Z, 1.0)
    gap = oracles.LOG_P["bernoulli"](y, Z, 1.0) - oracles.LOG_P["bernoulli"](y, setup.natural(other), 1.0)
    return (p * gap).sum() / len(Z)


# Generic nullity of the weight block: the dimension of the orbit of the symmetry (H scalings, one common scaling, …).
# Group norm has a shift of D numbers and a scaling for each group of K >= 3 units.  Weight standardization before it
# takes H shifts and H scalings, and leaves of each group's D + 1 those directions γ, β with γ + βŵ_h ⊥ 1 and ⊥ ŵ_h for
# its K units: Σγ = 0 and γ·ŵ_h = -βD, which are K + 1 equations.
G = 2
NULLITY = {
    "identity": lambda D, H: 0,
    "batch_norm": lambda D, H: H,
    "weight_norm": lambda D, H: H,
    "rms_norm": lambda D, H: 1,
    "layer_norm": lambda D, H: D + 1,
    "weight_standardization": lambda D, H: 2 * H,
    "centered_weight_norm": lambda D, H: 2 * H,
    "weight_norm_mean_only_batch_norm": lambda D, H: H,
    "input_layer_norm": lambda D, H: H,
    "mean_only_batch_norm": lambda D, H: 0,
    "input_standardization": lambda D, H: 0,
    "frozen_batch_norm": lambda D, H: 0,
    "ghost_batch_norm_2": lambda D, H: H,
    "group_norm_2": lambda D, H: G * (D + 1),
    "prms_norm_1/2": lambda D, H: 1,
    "prms_norm_rounded_down_1/2": lambda D, H: 1,
    "spectral_norm": lambda D, H: 1,
    "layer_norm_with_positions": lambda D, H: D + 1,
    "stepwise_batch_norm": lambda D, H: H,
    "weight_standardization_group_norm_2": lambda D, H: 2 * H + G * max(D - H // G, 0),
}
# a cell of more positions than inputs is shifted by no vector of weights
NULLITY_WITH_POSITIONS = NULLITY | {
    "instance_norm": lambda D, H: H,
    "group_norm_2": lambda D, H: G,
    "layer_norm_with_positions": lambda D, H: 1,
    "weight_standardization_group_norm_2": lambda D, H: 2 * H,
}


def has_nullity(case, X, units, null, rng):
    setup = Setup.of(case, fg.bernoulli, X, units, rng)
    F = fg.fisher(setup.model, setup.p, setup.X)
    weights = [k for k in range(setup.p.size) if F.unit(k)[1] == "weight"]
    assert len(weights) == units * X.shape[-1]
    values = np.linalg.eigvalsh(F.to_dense()[np.ix_(weights, weights)])
    assert (values[:null] < 1e-13 * values[-1]).all()
    assert values[null] > 1e-7 * values[-1]


@each_case(PLAIN)
@pytest.mark.parametrize(("D", "units"), [(4, 3), (5, 7), (3, 9)])
def test_nullity_of_the_weight_block(case, D, units, rng):
    N, D, units = admissible(case.normalizer, (60, D, units))
    has_nullity(case, rng.normal(size=(N, D)), units, NULLITY[case.name](D, units), rng)


@each_case(ALL)
@pytest.mark.parametrize(("D", "units"), [(4, 3), (5, 7)])
def test_nullity_of_the_weight_block_with_positions(case, D, units, rng):
    N, S, D, units = admissible(case.normalizer, (12, 7, D, units))
    has_nullity(case, rng.normal(size=(N, S, D)), units, NULLITY_WITH_POSITIONS[case.name](D, units), rng)


RESCALES_UNITS = {
    "batch_norm",
    "ghost_batch_norm_2",
    "stepwise_batch_norm",
    "instance_norm",
    "weight_standardization_group_norm_2",
    "weight_norm",
    "weight_standardization",
    "centered_weight_norm",
    "weight_norm_mean_only_batch_norm",
}


@each_case(ALL)
def test_curvature_along_a_weight_vector(case, rng, inputs):
    """Where each unit rescales freely, w_h lies in the null space: the curvature along it is 0, and nowhere else."""
    X = inputs(case)
    setup = Setup.of(case, fg.bernoulli, X, H, rng)
    F = fg.fisher(setup.model, setup.p, X)
    along = np.zeros(F.shape[0])
    along[: X.shape[-1]] = setup.p.weight[0] / np.linalg.norm(setup.p.weight[0])
    change = np.linalg.norm(F @ along) / np.linalg.norm(F.to_dense(), 2)
    assert change < 1e-14 if case.name in RESCALES_UNITS else change > 1e-3


# --- the branches that only larger matrices reach ------------------------------------------------------------------


def large(units, inputs, rng, family=fg.categorical):
    setup = Setup.of(PLAIN[1], family, rng.normal(size=(50, inputs)), units, rng)
    return fg.fisher(setup.model, setup.p, setup.X), fg.fisher(setup.model, setup.p, setup.X).to_dense()


@pytest.mark.parametrize("family", [fg.categorical, fg.bernoulli], ids=str)
def test_the_largest_eigenvalues(family, rng):
    """By Lanczos where outputs are dependent, unit by unit where not."""
    metric, F = large(17, 14, rng, family)
    assert len(F) > 256, "small enough to be diagonalized: this would not test the iteration"
    values, vectors = metric.eigsh(k=4)
    contracts.close(values, np.linalg.eigvalsh(F)[:-5:-1], 1e-10)
    contracts.close(F @ vectors, vectors * values, 1e-7)


def test_the_largest_eigenvalues_by_few_products_with_many_vectors(rng, monkeypatch):
    monkeypatch.setattr(operator, "_DENSE", 1)
    metric, F = large(17, 14, rng)
    sizes, product = [], metric._product
    monkeypatch.setattr(metric, "_product", lambda V: sizes.append(len(V)) or product(V))
    values, vectors = metric.eigsh(k=4, method="lobpcg")
    contracts.close(values, np.linalg.eigvalsh(F)[:-5:-1], 1e-10)
    contracts.close(vectors.T @ vectors, np.eye(4))
    assert np.linalg.norm(F @ vectors - vectors * values, axis=0).max() <= 1e-6 * values[0]
    passes = len(sizes)
    sizes.clear()
    metric.eigsh(k=4)
    assert passes < len(sizes)
    monkeypatch.setattr(spectrum, "_ITERATIONS", 1)
    with pytest.raises(ArithmeticError, match="of 4 eigenvalues converged by LOBPCG"):
        metric.eigsh(k=4, method="lobpcg")
    with pytest.raises(fg.InputError, match="give 'lanczos' or 'lobpcg'"):
        metric.eigsh(k=4, method="power")


def test_conjugate_gradients_reach_their_residual(rng, monkeypatch):
    monkeypatch.setattr(operator, "_DENSE", 1 << 20)
    metric, F = large(33, 31, rng)
    assert F.size > 1 << 20, "small enough to be factored: this would not test the iteration"
    v = rng.normal(size=(len(F), 2))
    x = metric.solve(v, damping=1e-2)
    assert np.linalg.norm(F @ x + 1e-2 * x - v) < 1e-9 * np.linalg.norm(v)


def test_chunks_do_not_matter(monkeypatch, rng, X):
    setup = Setup.of(PLAIN[1], fg.poisson, X, H, rng)
    whole = fg.fisher(setup.model, setup.p, X).reference.to_dense()
    monkeypatch.setattr(operator, "_CHUNK", 5 * X.shape[0] * H)
    contracts.close(fg.fisher(setup.model, setup.p, X).reference.to_dense(), whole)


def test_returned_arrays_are_copies(rng, X):
    setup = Setup.of(PLAIN[1], fg.poisson, X, H, rng)
    metric = fg.fisher(setup.model, setup.p, X)
    before = metric.to_dense()
    for name in ("to_dense", "diagonal", "null_space", "singular_values"):
        getattr(metric, name)()[...] = -1
    metric.block(0, 0)[...] = -1
    np.testing.assert_array_equal(metric.to_dense(), before)
    contracts.solves_are_solutions(metric, before, rng)


def test_repr_says_which_fisher_matrix_it_is(rng, X):
    setup = Setup.of(PLAIN[1], fg.gaussian, X, H, rng, 2.5)
    text = repr(fg.fisher(setup.model, setup.p, X))
    cases = f"mean over {len(X)} cases"
    for part in ("exact", "gaussian", "batch_norm", cases, "φ=2.5", "batch statistics differentiated"):
        assert part in text

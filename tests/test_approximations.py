"""Eq. (13) as printed, the Kronecker-factored, the empirical and the Monte Carlo matrices, and how they relate to F."""

from __future__ import annotations

import contracts
import numpy as np
import oracles
import pytest
from cases import ALL, CASES_WITH_POSITIONS, PLAIN, SIZES, Setup, each_case, each_case_and_family, each_family

import fishergeo as fg
from fishergeo.information import approximations, operator, own_units, roots

H = SIZES[2]
MIXES_UNITS = {  # ∂â_i/∂w_j ≠ 0 for j ≠ i, which eq. (13) leaves out
    "layer_norm",
    "rms_norm",
    "group_norm_2",
    "prms_norm_1/2",
    "prms_norm_rounded_down_1/2",
    "spectral_norm",
    "layer_norm_with_positions",
    "weight_standardization_group_norm_2",
}


def mixes(case):
    return any(fg.Axis.UNIT in stage.over for _, stage in case.normalizer.stages)


@each_case_and_family(CASES_WITH_POSITIONS)
def test_eq_13_is_exact_where_units_do_not_mix(case, family, phi, rng, inputs):
    setup = Setup.of(case, family, inputs(case), H, rng, phi)
    metric = fg.per_unit_fisher(setup.model, setup.p, setup.X)
    if mixes(case):
        assert metric.gap > 0.05
    else:
        assert metric.gap < 1e-14
        contracts.fisher_is_the_oracle(metric, oracles.fisher(*setup.arguments))


def test_the_normalizers_that_mix_units_are_those_of_the_literature():
    assert {case.name.split("-eps")[0] for case in CASES_WITH_POSITIONS if mixes(case)} == MIXES_UNITS


@each_case_and_family(CASES_WITH_POSITIONS)
def test_eq_13_as_printed(case, family, phi, rng, inputs):
    """F̄_ij = E[Cov_ij/φ² χ_i χ_jᵀ] with χ_i the own-unit derivatives, rebuilt from the oracle's Jacobian."""
    setup = Setup.of(case, family, inputs(case), H, rng, phi)
    metric = fg.per_unit_fisher(setup.model, setup.p, setup.X)
    own = own_rows(setup)
    R = np.einsum("nia,nik->iank", own, curvature_root(setup)).reshape(len(setup.v), -1) / np.sqrt(len(own))
    contracts.fisher_is_the_oracle(metric, R @ R.T)
    contracts.spectrum_is_the_oracle(metric, R)


def own_rows(setup):
    """∂z_ni/∂(w_i, b_i, g_i): (N, H, D+2), positions as cases."""
    units = setup.p.units
    J = oracles.derivatives(setup.natural, setup.v)
    return np.einsum("iani->nia", J.reshape(units, len(J) // units, -1, units))


def curvature_root(setup):
    """L (N, H, K) with LLᵀ = Cov[y|x]/φ² for every case, from its outcomes, positions as cases."""
    Z = setup.natural(setup.v).reshape(-1, setup.p.units)
    family, phi = setup.model.family.name, setup.model.dispersion
    y, p = oracles.outcomes(family, Z, phi)
    c = y - (p * y).sum(axis=0)
    if family == "categorical":
        return np.einsum("qnj,qni->niq", np.sqrt(p), c) / phi
    return np.einsum("ni,ij->nij", np.sqrt((p * c * c).sum(axis=0)), np.eye(Z.shape[-1])) / phi


def curvature(setup):
    """Cov[y|x]/φ²: (N, H, H)."""
    L = curvature_root(setup)
    return L @ L.swapaxes(1, 2)


# --- Kronecker-factored --------------------------------------------------------------------------------------------


@each_case_and_family(CASES_WITH_POSITIONS)
def test_kronecker_factors(case, family, phi, rng, inputs):
    """Block (i, j) is E[Cov_ij/φ²] E[u_i u_jᵀ]."""
    setup = Setup.of(case, family, inputs(case), H, rng, phi)
    metric = fg.kfac(setup.model, setup.p, setup.X)
    own = own_rows(setup)
    second = np.einsum("nia,njb->iajb", own, own) / len(own)
    F = (curvature(setup).mean(axis=0)[:, None, :, None] * second).reshape(metric.shape)
    contracts.close(metric.to_dense(), F)
    v = rng.normal(size=len(F))
    contracts.close(metric @ v, F @ v)
    R = metric._root()
    contracts.close(R @ R.T, F)


@pytest.mark.parametrize("phi", [1.0, 2.5])
@each_case(ALL)
def test_kronecker_factors_are_exact_for_constant_curvature(case, phi, rng, inputs):
    """A Gaussian's η'' is 1 everywhere, so that the expectation factors: exact as far as eq. (13) is."""
    setup = Setup.of(case, fg.gaussian, inputs(case), H, rng, phi)
    metric = fg.kfac(setup.model, setup.p, setup.X)
    contracts.close(metric.to_dense(), fg.per_unit_fisher(setup.model, setup.p, setup.X).to_dense())
    if not mixes(case):
        contracts.close(metric.to_dense(), oracles.fisher(*setup.arguments))


def test_kronecker_factors_are_inexact_for_varying_curvature(rng, X):
    setup = Setup.of(PLAIN[0], fg.bernoulli, X, H, rng)
    F = oracles.fisher(*setup.arguments)
    assert np.abs(fg.kfac(setup.model, setup.p, X).to_dense() - F).max() > 1e-3 * np.abs(F).max()


# --- from scores ---------------------------------------------------------------------------------------------------


@each_case_and_family(CASES_WITH_POSITIONS)
def test_empirical_is_the_second_moment_of_the_scores(case, family, phi, rng, inputs):
    setup = Setup.of(case, family, inputs(case), H, rng, phi)
    Y = setup.model.sample(setup.p, setup.X, rng)
    S = oracles.scores(*setup.with_outputs(Y)).reshape(-1, setup.p.size)
    metric = fg.empirical_fisher(setup.model, setup.p, setup.X, Y)
    contracts.close(metric.to_dense(), S.T @ S / len(S))
    v = rng.normal(size=setup.p.size)
    contracts.close(metric @ v, S.T @ (S @ v) / len(S))
    assert metric.rank() == np.linalg.matrix_rank(S)


@each_family()
def test_monte_carlo_converges_to_the_exact_matrix(family, phi, rng, X):
    """The mean squared error falls like 1/draws: a slope of -1 in a log-log plot over a factor of 64."""
    setup = Setup.of(PLAIN[1], family, X, H, rng, phi)
    F = oracles.fisher(*setup.arguments)
    draws, repeats = np.array([4, 32, 256]), (64, 16, 8)
    errors = [
        np.mean(
            [
                np.sum((fg.monte_carlo_fisher(setup.model, setup.p, X, rng=rng, draws=k).to_dense() - F) ** 2)
                for _ in range(m)
            ]
        )
        for k, m in zip(draws, repeats, strict=True)
    ]
    slope = np.polyfit(np.log(draws), np.log(errors), 1)[0]
    assert abs(slope + 1) < 0.2, (slope, errors)


def test_monte_carlo_is_unbiased(rng, X):
    setup = Setup.of(PLAIN[4], fg.categorical, X, H, rng)
    samples = [fg.monte_carlo_fisher(setup.model, setup.p, X, rng=rng).to_dense() for _ in range(2000)]
    contracts.within_errors(np.stack(samples), oracles.fisher(*setup.arguments))


def test_monte_carlo_is_reproducible(rng, X):
    setup = Setup.of(PLAIN[1], fg.poisson, X, H, rng)
    first, second = (fg.monte_carlo_fisher(setup.model, setup.p, X, rng=7, draws=3).to_dense() for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("build", ["per_unit", "kfac", "empirical", "monte_carlo"])
def test_every_matrix_takes_positions(build, rng, X_positions):
    setup = Setup.of(PLAIN[1], fg.gaussian, X_positions, 6, rng)
    model, p, X = setup.model, setup.p, X_positions
    Y = model.sample(p, X, rng)
    metric = {
        "per_unit": lambda: fg.per_unit_fisher(model, p, X),
        "kfac": lambda: fg.kfac(model, p, X),
        "empirical": lambda: fg.empirical_fisher(model, p, X, Y),
        "monte_carlo": lambda: fg.monte_carlo_fisher(model, p, X, rng=rng, draws=2),
    }[build]()
    if build in ("per_unit", "kfac"):
        contracts.close(metric.to_dense(), oracles.fisher(*setup.arguments))
    else:
        assert metric.shape == (p.size, p.size)
        F = metric.to_dense()
        assert np.linalg.eigvalsh(F)[0] > -1e-12 * np.trace(F)
        v = rng.normal(size=p.size)
        contracts.close(metric @ v, F @ v)


# --- what they know of their error -----------------------------------------------------------------------------------

BUILDS = {
    "eq. (13)": lambda model, p, X, Y: fg.per_unit_fisher(model, p, X),
    "K-FAC": lambda model, p, X, Y: fg.kfac(model, p, X),
    "diagonal": lambda model, p, X, Y: fg.diagonal_fisher(model, p, X),
    "empirical": lambda model, p, X, Y: fg.empirical_fisher(model, p, X, Y),
    "Monte Carlo, 2 draws": lambda model, p, X, Y: fg.monte_carlo_fisher(model, p, X, rng=5, draws=2),
}


@each_case_and_family(CASES_WITH_POSITIONS)
def test_the_diagonal(case, family, phi, rng, inputs):
    setup = Setup.of(case, family, inputs(case), H, rng, phi)
    F = np.diag(np.diag(oracles.fisher(*setup.arguments)))
    metric = fg.diagonal_fisher(setup.model, setup.p, setup.X)
    contracts.fisher_is_the_oracle(metric, F)
    contracts.spectrum_is_the_oracle(metric, np.sqrt(F))
    contracts.solves_are_solutions(metric, F, rng)


@pytest.mark.parametrize("build", BUILDS)
@each_case(CASES_WITH_POSITIONS[:20])
def test_errors_are_those_of_the_dense_matrices(case, build, rng, inputs, monkeypatch):
    setup = Setup.of(case, fg.categorical, inputs(case), H, rng)
    model, p, X = setup.model, setup.p, setup.X
    Y = model.sample(p, X, rng)
    F, v = oracles.fisher(*setup.arguments), rng.normal(size=p.size)
    metric = BUILDS[build](model, p, X, Y)
    A = metric.to_dense()
    gap = np.linalg.norm(A - F) / np.linalg.norm(F)
    assert abs(metric.gap - gap) < 1e-12 * (1 + gap)
    assert f"relative gap to the exact matrix {metric.gap:.3g}" in repr(metric)
    damped = [np.linalg.solve(matrix + 0.1 * np.eye(p.size), v) for matrix in (A, F)]
    step = np.linalg.norm(damped[0] - damped[1]) / np.linalg.norm(damped[1])
    assert abs(metric.solve_gap(v, damping=0.1) - step) < 1e-10 * (1 + step)
    monkeypatch.setattr(operator, "_DENSE", 0)  # as if the matrices were too large to be formed
    monkeypatch.setattr(operator, "_CHUNK", 20)
    assert abs(BUILDS[build](model, p, X, Y).gap - gap) < 1e-10 * (1 + gap)


@pytest.mark.parametrize("build", BUILDS)
@each_case(CASES_WITH_POSITIONS[:20])
def test_pieces_do_not_matter(case, build, rng, inputs, monkeypatch):
    setup = Setup.of(case, fg.categorical, inputs(case), H, rng)
    model, p, X = setup.model, setup.p, setup.X
    Y = model.sample(p, X, rng)
    whole = BUILDS[build](model, p, X, Y)
    matrix, root = whole.to_dense(), whole._root()
    for module in (roots, own_units):
        monkeypatch.setattr(module, "_BLOCK", 64)
    monkeypatch.setattr(roots, "_LEAST", (3, 1))
    monkeypatch.setattr(approximations, "_ROWS", (1, 2))
    pieces = BUILDS[build](model, p, X, Y)
    contracts.close(pieces.to_dense(), matrix)
    contracts.close(root @ root.T, matrix)
    root = pieces._root()
    contracts.close(root @ root.T, matrix)
    contracts.close(pieces.diagonal(), np.diag(matrix))


def test_scores_of_many_draws_are_their_mean(rng, X):
    """One matrix of 3 draws is the mean of three of one, drawn by the same generator in turn."""
    setup = Setup.of(PLAIN[1], fg.poisson, X, H, rng)
    one = np.random.default_rng(3)
    each = [fg.monte_carlo_fisher(setup.model, setup.p, X, rng=one).to_dense() for _ in range(3)]
    together = fg.monte_carlo_fisher(setup.model, setup.p, X, rng=3, draws=3)
    contracts.close(together.to_dense(), np.mean(each, axis=0))
    v = rng.normal(size=setup.p.size)
    contracts.close(fg.monte_carlo_fisher(setup.model, setup.p, X, rng=3, draws=3) @ v, np.mean(each, axis=0) @ v)


def test_mean_curvature_keeps_the_shift_of_all_logits(rng, X):
    """Of E[η''] under a softmax 1 is a null vector to the last digit, and so it is of the Kronecker-factored matrix."""
    setup = Setup.of(PLAIN[0], fg.categorical, X, H, rng)
    F = fg.kfac(setup.model, setup.p, X)
    assert F.rank() == (H - 1) * (X.shape[1] + 1)
    R = F._root()
    shift = np.tile(np.eye(X.shape[1] + 1), (H, 1))
    assert np.abs(shift.T @ R).max() < 1e-14 * np.abs(R).max()


def test_error_of_a_gradient_that_vanishes(rng, X):
    setup = Setup.of(PLAIN[1], fg.bernoulli, X, H, rng)
    with pytest.raises(ArithmeticError, match="give a v outside"):
        fg.kfac(setup.model, setup.p, X).solve_gap(np.zeros(setup.p.size))


def test_comparison(rng, X):
    """Each row is what the approximation says of itself; eq. (13) is exact for batch norm, the exact matrix always."""
    setup = Setup.of(PLAIN[1], fg.bernoulli, X, H, rng)
    model, p = setup.model, setup.p
    Y = model.sample(p, X, rng)
    table = fg.compare_approximations(model, p, X, Y, damping=0.01, rng=4, draws=2)
    assert [row.name for row in table.rows] == ["exact", *list(BUILDS)[:3], "Monte Carlo, 2 draws", "empirical"]
    gradient = model.gradient(p, X, Y)
    for name in list(BUILDS)[:4]:
        metric, row = BUILDS[name](model, p, X, Y), table[name]
        assert abs(row.gap - metric.gap) < 1e-12 * (1 + row.gap)
        assert abs(row.solve_gap - metric.solve_gap(gradient, 0.01)) < 1e-9 * (1 + row.solve_gap)
        assert row.seconds > 0 and row.bytes > p.size * 8
    assert max(table["exact"].gap, table["exact"].solve_gap, table["eq. (13)"].gap) < 1e-12 < table["K-FAC"].gap
    assert table["Monte Carlo, 2 draws"].gap > 0.01
    again = fg.compare_approximations(model, p, X, Y, damping=0.01, rng=4, draws=2)
    assert [row.gap for row in again.rows] == [row.gap for row in table.rows]
    lines = repr(table).splitlines()
    assert lines[0] == f"{table.what}, damping 0.01" and len(lines) == 2 + len(table.rows)
    assert table.to_markdown().splitlines()[1] == "| --- | --- | --- | --- | --- |"
    assert table._repr_html_().count("<tr>") == 1 + len(table.rows)


def test_comparison_where_the_gradient_vanishes_is_refused(rng):
    X = np.array([[1.0], [-1.0], [2.0]])
    model = fg.GLM(fg.gaussian)
    with pytest.raises(ArithmeticError, match="gradient"):
        fg.compare_approximations(model, fg.Params(np.zeros((1, 1)), np.zeros(1)), X, np.zeros((3, 1)))


def test_repr_says_which_matrix_it_is(rng, X):
    setup = Setup.of(PLAIN[1], fg.bernoulli, X, H, rng)
    model, p = setup.model, setup.p
    assert "eq. (13)" in repr(fg.per_unit_fisher(model, p, X))
    assert "Kronecker" in repr(fg.kfac(model, p, X))
    assert "empirical" in repr(fg.empirical_fisher(model, p, X, model.sample(p, X, rng)))
    assert "Monte Carlo, 2 draws" in repr(fg.monte_carlo_fisher(model, p, X, rng=rng, draws=2))

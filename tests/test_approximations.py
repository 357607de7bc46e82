"""Eq. (13) as printed, the Kronecker-factored, the empirical and the Monte Carlo matrices, and how they relate to F."""

from __future__ import annotations

import contracts
import numpy as np
import oracles
import pytest
from cases import CASES, PLAIN, SIZES, Setup, each_case, each_family

import fishergeo as fg

H = SIZES[2]
MIXES_UNITS = ("layer_norm", "rms_norm")  # ∂â_i/∂w_j ≠ 0 for j ≠ i, which eq. (13) leaves out


def mixes(case):
    return any(fg.Axis.UNIT in stage.over for _, stage in case.normalizer.stages)


@each_case()
@each_family()
def test_eq_13_is_exact_where_units_do_not_mix(case, family, phi, rng, X):
    setup = Setup.of(case, family, X, H, rng, phi)
    metric = fg.per_unit_fisher(setup.model, setup.p, X)
    if mixes(case):
        assert metric.gap > 0.05
    else:
        assert metric.gap < 1e-14
        contracts.fisher_is_the_oracle(metric, oracles.fisher(*setup.arguments))


def test_the_normalizers_that_mix_units_are_those_of_the_literature():
    assert {case.name.split("-eps")[0] for case in CASES if mixes(case)} == set(MIXES_UNITS)


@each_case()
@each_family()
def test_eq_13_as_printed(case, family, phi, rng, X):
    """F̄_ij = E[Cov_ij/φ² χ_i χ_jᵀ] with χ_i the own-unit derivatives, rebuilt from the oracle's Jacobian."""
    setup = Setup.of(case, family, X, H, rng, phi)
    metric = fg.per_unit_fisher(setup.model, setup.p, X)
    own = own_rows(setup)
    F = np.einsum("nij,nia,njb->iajb", curvature(setup) / len(X), own, own).reshape(metric.shape)
    contracts.fisher_is_the_oracle(metric, F)
    contracts.spectrum_is_the_oracle(metric, square_root(F))


def own_rows(setup):
    """∂z_ni/∂(w_i, b_i, g_i): (N, H, D+2)."""
    J = oracles.derivatives(setup.natural, setup.v).reshape(setup.p.units, -1, *setup.natural(setup.v).shape)
    return np.einsum("iani->nia", J)


def curvature(setup):
    """Cov[y|x]/φ² of every case from its outcomes: (N, H, H)."""
    Z, (family, phi) = setup.natural(setup.v), (setup.model.family.name, setup.model.dispersion)
    y, p = oracles.outcomes(family, Z, phi)
    c = y - (p * y).sum(axis=0)
    if family == "categorical":
        return np.einsum("qnj,qni,qnk->nik", p, c, c) / phi**2
    return np.einsum("qni,ij->nij", p * c * c, np.eye(Z.shape[-1])) / phi**2


def square_root(F):
    values, vectors = np.linalg.eigh(F)
    keep = values > 1e-13 * values[-1]
    return vectors[:, keep] * np.sqrt(values[keep])


# --- Kronecker-factored --------------------------------------------------------------------------------------------


@each_case()
@each_family()
def test_kronecker_factors(case, family, phi, rng, X):
    """Block (i, j) is E[Cov_ij/φ²] E[u_i u_jᵀ]."""
    setup = Setup.of(case, family, X, H, rng, phi)
    metric = fg.kfac(setup.model, setup.p, X)
    own = own_rows(setup)
    second = np.einsum("nia,njb->iajb", own, own) / len(X)
    F = (curvature(setup).mean(axis=0)[:, None, :, None] * second).reshape(metric.shape)
    contracts.close(metric.to_dense(), F)
    v = rng.normal(size=len(F))
    contracts.close(metric @ v, F @ v)
    R = metric._root()
    contracts.close(R @ R.T, F)


@pytest.mark.parametrize("phi", [1.0, 2.5])
@each_case()
def test_kronecker_factors_are_exact_for_constant_curvature(case, phi, rng, X):
    """A Gaussian's η'' is 1 everywhere, so that the expectation factors: exact as far as eq. (13) is."""
    setup = Setup.of(case, fg.gaussian, X, H, rng, phi)
    metric = fg.kfac(setup.model, setup.p, X)
    contracts.close(metric.to_dense(), fg.per_unit_fisher(setup.model, setup.p, X).to_dense())
    if not mixes(case):
        contracts.close(metric.to_dense(), oracles.fisher(*setup.arguments))


def test_kronecker_factors_are_inexact_for_varying_curvature(rng, X):
    setup = Setup.of(PLAIN[0], fg.bernoulli, X, H, rng)
    F = oracles.fisher(*setup.arguments)
    assert np.abs(fg.kfac(setup.model, setup.p, X).to_dense() - F).max() > 1e-3 * np.abs(F).max()


# --- from scores ---------------------------------------------------------------------------------------------------


@each_case()
@each_family()
def test_empirical_is_the_second_moment_of_the_scores(case, family, phi, rng, X):
    setup = Setup.of(case, family, X, H, rng, phi)
    Y = setup.model.sample(setup.p, X, rng)
    S = oracles.scores(*setup.with_outputs(Y))
    metric = fg.empirical_fisher(setup.model, setup.p, X, Y)
    contracts.close(metric.to_dense(), S.T @ S / len(X))
    v = rng.normal(size=setup.p.size)
    contracts.close(metric @ v, S.T @ (S @ v) / len(X))
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


def test_repr_says_which_matrix_it_is(rng, X):
    setup = Setup.of(PLAIN[1], fg.bernoulli, X, H, rng)
    model, p = setup.model, setup.p
    assert "eq. (13)" in repr(fg.per_unit_fisher(model, p, X))
    assert "Kronecker" in repr(fg.kfac(model, p, X))
    assert "empirical" in repr(fg.empirical_fisher(model, p, X, model.sample(p, X, rng)))
    assert "Monte Carlo, 2 draws" in repr(fg.monte_carlo_fisher(model, p, X, rng=rng, draws=2))

"""Roots, diagonals, determinants, null spaces and solves from factors, against dense linear algebra; memory."""

from __future__ import annotations

import tracemalloc

import contracts
import numpy as np
import oracles
import pytest
from cases import CASES_WITH_POSITIONS, PLAIN, SIZES, Setup, each_case, each_case_and_family
from threadpoolctl import threadpool_limits

import fishergeo as fg
from fishergeo.information import factored, matrices, own_units, parts, pieces, roots, structure, triangular
from fishergeo.information.triangular import Diagonalized, Quotient, Triangle, quotients

H = SIZES[2]
APART = [case for case in PLAIN if not any(fg.Axis.UNIT in s.over for _, s in case.normalizer.stages)]


@pytest.fixture(params=["whole", "pieces"])
def blocks(request, monkeypatch):
    """Cases in one piece, or a few at a time."""
    if request.param == "pieces":
        in_pieces(monkeypatch)
    return request.param


def in_pieces(monkeypatch):
    for module in (roots, own_units):
        monkeypatch.setattr(module, "_BLOCK", 64)
    monkeypatch.setattr(roots, "_LEAST", (3, 1))


# --- triangular factors ----------------------------------------------------------------------------------------------


def test_triangle_of_rows_in_blocks(rng):
    A = rng.normal(size=(50, 7))
    triangle = Triangle(7)
    for part in (A[:3], A[3:4], A[4:30], A[30:]):
        triangle.add(np.array(part.T, order="C"))
    assert (np.tril(triangle.R, -1) == 0).all()
    contracts.close(triangle.R.T @ triangle.R, A.T @ A)
    contracts.close(np.linalg.svd(triangle.R, compute_uv=False), np.linalg.svd(A, compute_uv=False))


def low_rank(rng, size, rank, smallest=1e-6):
    """A root (size, size + 2) with given singular values, ``rank`` of them not 0."""
    U, V = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (size, size + 2))
    s = np.zeros(size)
    s[:rank] = np.geomspace(1, smallest, rank)
    return U @ np.pad(np.diag(s), ((0, 0), (0, 2))) @ V, U, s


@pytest.mark.parametrize("rank", [0, 1, 5, 9])
def test_quotient_by_the_null_space(rank, rng):
    R, U, s = low_rank(rng, 9, rank)
    (part,) = quotients([R], 1e-12)
    assert part.rank == rank
    assert isinstance(part, Quotient if rank else Diagonalized)
    assert np.abs(part.null.T @ part.null - np.eye(9 - rank)).max(initial=0) < 1e-14
    assert np.abs(part.null.T @ U[:, :rank]).max(initial=0) < 1e-9
    v = rng.normal(size=(9, 2))
    pinv = (U[:, :rank] / s[:rank] ** 2) @ U[:, :rank].T
    contracts.close(part.solve(v), pinv @ v, 1e-8)
    contracts.close(part.solve(v[:, 0]), pinv @ v[:, 0], 1e-8)
    contracts.close(part.half() @ part.half().T, pinv, 1e-8)
    assert abs(part.logdet() - 2 * np.log(s[:rank]).sum()) < 1e-8


def test_rank_that_only_singular_values_decide(rng):
    """A singular value at the threshold cannot be told by bounds; the decomposition tells it."""
    R, _, s = low_rank(rng, 9, 9, smallest=1e-9)
    for tol, rank in ((s[4] * 0.9, 5), (s[4] * 1.1, 4)):
        (part,) = quotients([R], tol)
        assert isinstance(part, Diagonalized)
        assert part.rank == rank == (s > tol).sum()


def test_threshold_is_that_of_all_blocks(rng):
    """A block that is tiny beside another counts as 0."""
    R, tiny = rng.normal(size=(2, 4, 4))
    assert [part.rank for part in quotients([R, 1e-14 * tiny], 1e-12)] == [4, 0]
    assert [part.rank for part in quotients([1e-14 * R, 1e-14 * tiny], 1e-12)] == [4, 4]


@pytest.mark.parametrize("family", [fg.bernoulli, fg.categorical], ids=str)
def test_rank_where_squares_lose_it(family, rng):
    """Inputs of which one direction is 1e-9 of the others: λ_min is below rounding of F, its root's is not."""
    X = rng.normal(size=(60, 4))
    X[:, 3] = X[:, :3].sum(axis=1) + 1e-9 * X[:, 3]
    model = fg.GLM(family)
    p = model.init(inputs=4, units=3, rng=rng)
    F = fg.fisher(model, p, X)
    values = np.linalg.eigvalsh(F.to_dense())
    lost = (values < len(values) * np.finfo(float).eps * values[-1]).sum()
    shared = 5 if family.coupled else 0
    assert lost > shared, "the matrix itself must be too ill-conditioned: this would not test the root"
    assert F.rank() == p.size - shared
    assert fg.fisher(model, p, X).condition() > 1e16


# --- blocks that stay apart ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [fg.bernoulli, fg.poisson, fg.gaussian], ids=str)
@each_case(APART)
def test_independent_outputs_never_fill_the_matrix(case, family, rng, X, monkeypatch, blocks):
    """All that needs no (P, P) matrix is found without one."""
    setup = Setup.of(case, family, X, H, rng)
    R = oracles.fisher_root(*setup.arguments)
    F = R @ R.T
    metric, P, size = fg.fisher(setup.model, setup.p, X), len(F), len(F) // H

    def fill(*_):
        raise AssertionError("a (P, P) matrix was made")

    monkeypatch.setattr(factored, "block_diag", fill)
    monkeypatch.setattr(factored.Factored, "_full_root", fill)
    assert f"{H} diagonal blocks" in repr(metric)
    assert metric._blocks.shape == (H, size, size)
    contracts.close(metric.block(1, 1), F[size : 2 * size, size : 2 * size])
    assert (metric.block(0, 1) == 0).all()
    contracts.close(metric.norm(), np.linalg.norm(F))
    contracts.close(metric.diagonal(), np.diag(F))
    contracts.close(metric.trace(), np.trace(F))
    contracts.spectrum_is_the_oracle(metric, R)
    contracts.solves_are_solutions(metric, F, rng)
    s = metric.singular_values()[: metric.rank()]
    assert abs(metric.logdet().value - 2 * np.log(s).sum()) < 1e-9
    variance = np.diag(np.linalg.pinv(F, rcond=1e-10)) / len(X)
    contracts.close(metric.stderr(), np.sqrt(np.clip(variance, 0, None)), 1e-6)
    assert metric.spectral_density(rng=0, probes=2, steps=P).nodes.max() < 1.01 * s[0] ** 2


def test_equal_eigenvalues_of_units_are_all_found(rng, X):
    """One covariance serves all Gaussian units: every eigenvalue comes H times, which one Krylov space would not show."""
    setup = Setup.of(PLAIN[0], fg.gaussian, X, H, rng)
    values, vectors = fg.fisher(setup.model, setup.p, X).eigsh(k=H + 1)
    contracts.close(values[:H], np.full(H, values[0]))
    assert values[H] < 0.99 * values[0]
    contracts.close(vectors.T @ vectors, np.eye(H + 1))


@pytest.mark.parametrize("family", [fg.categorical, fg.multivariate_gaussian(np.eye(H) + 1)], ids=["coupled", "mixed"])
def test_dependent_outputs_are_no_blocks(family, rng, X):
    model = fg.GLM(family, fg.batch_norm)
    F = fg.fisher(model, model.init(X.shape[1], H, rng), X)
    assert "diagonal blocks" not in repr(F)
    assert np.abs(F.block(0, 1)).max() > 0.01 * np.abs(F.block(0, 0)).max()


# --- roots, diagonals, determinants of every matrix ------------------------------------------------------------------


@each_case_and_family(CASES_WITH_POSITIONS)
def test_roots_and_diagonals_by_pieces(case, family, phi, rng, inputs, monkeypatch):
    in_pieces(monkeypatch)
    setup = Setup.of(case, family, inputs(case), H, rng, phi)
    R = oracles.fisher_root(*setup.arguments)
    F = R @ R.T
    metric = fg.fisher(setup.model, setup.p, setup.X)
    root = metric._root()
    assert root.shape[0] == len(F) and root.shape[1] <= max(len(F) + 2 * H, R.shape[1])
    contracts.close(root @ root.T, F)
    contracts.close(metric.diagonal(), np.diag(F))
    s = np.linalg.svd(R, compute_uv=False)
    nonzero = np.log(s[s > 1e-10 * s[0]] ** 2)
    value, rank = metric.logdet()
    assert rank == len(nonzero)
    assert abs(value - nonzero.sum()) < 1e-8 * np.abs(nonzero).sum()
    damped = np.log(np.linalg.eigvalsh(F) + 0.3).sum()
    assert abs(metric.logdet(0.3).value - damped) < 1e-11 * np.abs(damped)


@pytest.mark.parametrize("family", [fg.bernoulli, fg.categorical], ids=str)
def test_a_root_without_the_batch_statistics_is_noticed(family, rng, X, monkeypatch):
    """Statistics as if they were frozen: the null space of the rescaled weights goes, the determinant changes."""
    setup = Setup.of(next(c for c in PLAIN if c.name == "batch_norm"), family, X, H, rng)
    R = oracles.fisher_root(*setup.arguments)
    contracts.spectrum_is_the_oracle(fg.fisher(setup.model, setup.p, X), R)
    right = parts.factors

    def frozen(at):
        found = right(at)
        units = tuple(structure.UnitStage(u.r, None, u.sigma, u.center) for u in found.chart.units)
        chart = structure.replace(found.chart, units=units)
        return pieces.Factors(chart, found.X, found.hessian, found.value, found.stages)

    monkeypatch.setattr(parts, "factors", frozen)
    wrong = fg.fisher(setup.model, setup.p, X)
    with pytest.raises(AssertionError):
        contracts.spectrum_is_the_oracle(wrong, R)
    root = wrong._root()
    with pytest.raises(AssertionError):
        contracts.close(root @ root.T, R @ R.T)


def test_cases_that_a_stage_joins_are_factored_a_few_at_a_time(rng, X_positions, monkeypatch):
    """Positions and units share statistics there: no factors, but cases are apart."""
    joined = next(case for case in CASES_WITH_POSITIONS if case.name == "layer_norm_with_positions")
    setup = Setup.of(joined, fg.poisson, X_positions, H, rng)
    F = fg.fisher(setup.model, setup.p, X_positions)
    assert not isinstance(F, matrices.ExactFisher)
    taken = []
    right = triangular.Triangle.add
    monkeypatch.setattr(triangular.Triangle, "add", lambda self, rows: (taken.append(rows.shape), right(self, rows))[1])
    monkeypatch.setattr(factored, "slices", lambda at, rows: parts.slices(at, 1))
    root = F._root()
    assert len(taken) == len(X_positions)
    contracts.close(root @ root.T, oracles.fisher(*setup.arguments))


def test_roots_that_do_not_fit_are_refused(rng, X, monkeypatch):
    model = fg.GLM(fg.bernoulli, fg.compose(fg.layer_norm, fg.batch_norm))  # stages out of order: no factors
    F = fg.fisher(model, model.init(X.shape[1], H, rng), X)
    monkeypatch.setattr(factored, "_ROOT_LIMIT", 100)
    contracts.is_refused(F.rank, "GiB", "use fewer cases")


# --- memory ----------------------------------------------------------------------------------------------------------

MATRICES = {
    "exact": lambda model, p, X, Y: fg.fisher(model, p, X),
    "eq. (13)": lambda model, p, X, Y: fg.per_unit_fisher(model, p, X),
    "K-FAC": lambda model, p, X, Y: fg.kfac(model, p, X),
    "diagonal": lambda model, p, X, Y: fg.diagonal_fisher(model, p, X),
    "empirical": lambda model, p, X, Y: fg.empirical_fisher(model, p, X, Y),
    "Monte Carlo": lambda model, p, X, Y: fg.monte_carlo_fisher(model, p, X, rng=0, draws=2),
}
WORK = {
    "diagonal": lambda F, v: F.diagonal(),
    "matrix": lambda F, v: F.to_dense(),
    "rank": lambda F, v: F.rank(),
    "determinant": lambda F, v: F.logdet(),
    "errors": lambda F, v: F.stderr(),
    "solve": lambda F, v: F.solve(v, damping=1e-3),
    "pseudo-inverse": lambda F, v: F.solve(v),
    "preconditioner": lambda F, v: F.preconditioner(1e-3),
    "density": lambda F, v: F.spectral_density(rng=0, probes=1, steps=5),
}


def peak(act) -> int:
    """The most bytes in arrays that ``act`` has at a time."""
    with threadpool_limits(1, "blas"):  # each thread has room of its own
        tracemalloc.start()
        try:
            act()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize(
    ("family", "normalizer"),
    [(fg.bernoulli, fg.batch_norm), (fg.categorical, fg.batch_norm), (fg.categorical, fg.layer_norm)],
    ids=["blocks", "coupled", "units"],
)
def test_nothing_has_a_number_for_each_case_and_parameter(family, normalizer, kind, rng):
    model, X = fg.GLM(family, normalizer), rng.normal(size=(12_000, 30))
    p = model.init(inputs=30, units=8, rng=rng)
    Y, v = model.sample(p, X, rng), rng.normal(size=p.size)
    whole = len(X) * p.size * 8
    for name, work in WORK.items():
        work(MATRICES[kind](model, p, X[:500], Y[:500]), v)  # what is imported and compiled does not count
        most = peak(lambda work=work: work(MATRICES[kind](model, p, X, Y), v))
        assert most < 0.6 * whole, f"{name}: {most / whole:.2f} of an array of all cases and parameters"


def test_an_array_of_all_cases_and_parameters_is_noticed(rng):
    model, X = fg.GLM(fg.bernoulli, fg.batch_norm), rng.normal(size=(12_000, 30))
    p = model.init(inputs=30, units=8, rng=rng)
    Y = model.sample(p, X, rng)
    assert peak(lambda: model.score(p, X, Y)) > len(X) * p.size * 8

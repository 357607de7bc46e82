"""The Fisher matrix of data that come in blocks is that of the same data in memory, whatever they come from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from dask import array as dask_array
from dask import dataframe as dask_frame

import fishergeo as fg
from fishergeo.families import ZOO as FAMILIES
from fishergeo.information import moments, plan, stream
from fishergeo.information.moments import Moments

S, A = fg.Standardize, fg.Axis
N, D = 96, 5
CHOSEN = [f for f in FAMILIES if f.name in ("gaussian", "bernoulli", "categorical", "gamma", "multivariate_gaussian(3)")]
STEPWISE_INPUTS = fg.Normalizer("stepwise_inputs", inputs=S(A.SAMPLE))
NORMALIZERS = (
    *fg.normalizers.ZOO,
    fg.compose(fg.weight_norm, fg.batch_norm),
    fg.compose(fg.batch_norm, fg.layer_norm),
    fg.compose(fg.input_layer_norm, fg.input_standardization, fg.batch_norm),
    fg.compose(fg.batch_norm.with_eps(0.1), fg.batch_norm.with_eps(0.1, False)),
    fg.compose(fg.frozen_batch_norm(1, 4), fg.batch_norm, fg.rms_norm),
    fg.compose(fg.spectral_norm, fg.batch_norm),
    fg.compose(STEPWISE_INPUTS, fg.frozen_batch_norm(1, 4), fg.stepwise_batch_norm, fg.layer_norm),
    fg.Normalizer("not centered", summed=(S(A.SAMPLE, center=False), S(A.UNIT, center=False))),
    fg.Normalizer("offset and scale", summed=(S(A.SAMPLE, scale=fg.Scale.NONE), S(A.SAMPLE, center=False, eps=0.2))),
)


def setup(normalizer, family, rng, inputs=D):
    regular = family.joint or family.domain == fg.families.core.REALS
    model = fg.GLM(
        family, normalizer, link=None if regular else fg.links.log, dispersion=0.7 if family.free_dispersion else 1
    )
    units = family.units or 6
    start = model.init(inputs, units, rng)
    return model, model.unravel(start.ravel() + 0.2 * rng.normal(size=start.size), units)


def gap(model, p, X, source, rng, **how):
    """The largest relative difference to the matrix in memory, of the matrix and of its products."""
    there, here = fg.fisher(model, p, source, **how), fg.fisher(model, p, X)
    F, V = here.to_dense(), rng.normal(size=(p.size, 3))
    assert (there.shape, there.cases) == (here.shape, here.cases)
    product = np.abs(there @ V - F @ V).max() / np.abs(F @ V).max()
    dense = there.to_dense()
    assert (dense == dense.T).all()
    assert np.abs(there @ V - F @ V).max() <= 1e-12 * np.abs(F @ V).max()  # from the matrix, now that it is there
    exact = 3e-13 if there.has_root else 1e-6  # of eigenvalues of F, squares of these, half the digits are left
    sizes = here.singular_values()
    assert np.abs(there.singular_values() - sizes).max() < exact * sizes[0]
    return max(product, np.abs(dense - F).max() / np.abs(F).max())


@pytest.mark.parametrize("positions", [False, True], ids=["cases", "positions"])
@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=lambda n: n.name)
def test_blocks_add_up_to_the_matrix_in_memory(normalizer, positions, rng):
    if not positions and any(stage.over == {A.POSITION} for _, stage in normalizer.stages):
        return  # it has no cells without positions
    shape = (24, 4, D) if positions else (N, D)
    for family in CHOSEN:
        model, p = setup(normalizer, family, rng)
        if p.units % normalizer.multiples()[A.UNIT]:
            continue
        X = rng.normal(size=shape) + 0.5
        source = fg.rows(X, block=7)  # the last block is shorter; those of ghost batches are made to fit
        assert gap(model, p, X, source, rng) < 1e-12, family.name


@pytest.mark.parametrize(
    "normalizer",
    [
        fg.compose(fg.layer_norm, fg.batch_norm),
        fg.compose(fg.ghost_batch_norm(2), fg.ghost_batch_norm(3)),
        fg.Normalizer("a function", summed=lambda t: t - t.mean(axis=0)),
        fg.Normalizer("norm of the inputs", inputs=S(A.SAMPLE, center=False, scale=fg.Scale.NORM)),
    ],
    ids=lambda n: n.name,
)
def test_cases_brought_together_otherwise_are_refused(normalizer, rng):
    model, p = setup(normalizer, fg.bernoulli, rng)
    with pytest.raises(fg.InputError, match="brings all cases together") as caught:
        fg.fisher(model, p, fg.rows(rng.normal(size=(N, D)), block=12))
    assert "\n" not in str(caught.value)


@pytest.fixture
def data(tmp_path, rng):
    """The same rows in everything that can hold them: pairs (source, whether it has blocks that can be chosen)."""
    X = rng.normal(size=(N + 1, D)) * (rng.uniform(size=(N + 1, D)) < 0.6)
    path = {name: str(tmp_path / name) for name in ("x.npy", "f.npy", "s.npz", "c.npz", "z.zarr", "g.zarr", "t.csv")}
    np.save(path["x.npy"], X)
    np.save(path["f.npy"], np.asfortranarray(X))
    np.savez(path["s.npz"], y=X[:, 0], X=X)
    np.savez_compressed(path["c.npz"], y=X[:, 0], X=X)
    zarr.save(path["z.zarr"], X)
    group = zarr.open_group(path["g.zarr"], mode="w")
    group.create_array("X", shape=X.shape, chunks=(10, 3), dtype=float)[:] = X
    frame = pd.DataFrame(X, columns=list("abcde"))
    frame.to_csv(path["t.csv"], index=False)
    np.savetxt(tmp_path / "bare.csv", X, delimiter=",")
    frame.assign(text="t").to_parquet(tmp_path / "t.parquet", row_group_size=13)
    part = str(tmp_path / "part.npy")
    np.save(part, X[:40])
    mapped = np.load(path["x.npy"], mmap_mode="r")
    columns = list("abcde")
    return X, {
        "array": lambda: fg.rows(X, block=7),
        "array of numbers": lambda: fg.rows(X.tolist(), block=7),
        ".npy": lambda: fg.rows(path["x.npy"], block=7),
        ".npy by columns": lambda: fg.rows(path["f.npy"], block=7),
        ".npz": lambda: fg.rows(path["s.npz"], block=9),
        ".npz, a member": lambda: fg.rows(path["s.npz"], block=9, member="X"),
        ".npz compressed": lambda: fg.rows(path["c.npz"], block=9),
        ".zarr": lambda: path["z.zarr"],
        ".zarr, a member": lambda: fg.rows(path["g.zarr"], member="X"),
        "zarr": lambda: group["X"],
        ".parquet": lambda: fg.rows(tmp_path / "t.parquet", columns=columns),
        ".parquet, in other blocks": lambda: fg.rows(tmp_path / "t.parquet", columns=columns, block=8),
        ".csv": lambda: fg.rows(path["t.csv"], block=10),
        ".csv, columns": lambda: fg.rows(path["t.csv"], columns=columns),
        ".csv without header": lambda: str(tmp_path / "bare.csv"),
        "frame": lambda: fg.rows(frame, block=11),
        "list": lambda: fg.rows([part, X[40:50], X[50:]], block=6),
        "list with an iterator": lambda: fg.rows([part, lambda: iter([X[40:]])], block=None),
        "memmap": lambda: mapped,
        "part of a memmap": lambda: fg.rows([X[:3], mapped[3:]]),
        "columns of a memmap": lambda: fg.rows(np.load(path["f.npy"], mmap_mode="c"), block=20),
        "csr": lambda: sp.csr_matrix(X),
        "csc in blocks": lambda: fg.rows(sp.csc_array(X), block=12),
        "function": lambda: lambda: (X[k : k + 9] for k in range(0, N + 1, 9)),
        "function, sparse": lambda: lambda: (sp.csr_array(X[k : k + 9]) for k in range(0, N + 1, 9)),
        "function, frames": lambda: lambda: (frame[k : k + 9] for k in range(0, N + 1, 9)),
        "dask array": lambda: dask_array.from_array(X, chunks=(11, 2)),
        "dask array in other blocks": lambda: fg.rows(dask_array.from_array(X, chunks=(11, 2)), block=20),
        "dask array of unknown size": lambda: _unknown(X),
        "dask frame": lambda: dask_frame.from_pandas(frame, npartitions=4),
    }


def _unknown(X):
    whole = dask_array.from_array(np.concatenate([X, X[:2] + 100]), chunks=(11, D))
    return whole[whole[:, 0] < 50]


@pytest.mark.parametrize(
    ("normalizer", "family"),
    [
        (fg.identity, fg.bernoulli),
        (fg.compose(fg.weight_norm, fg.batch_norm), fg.categorical),
        (fg.compose(fg.input_standardization, fg.layer_norm), fg.bernoulli),
    ],
    ids=["plain", "weight and batch norm", "input standardization and layer norm"],
)
def test_every_source_gives_the_same(data, normalizer, family, rng):
    X, sources = data
    model, p = setup(normalizer, family, rng)
    for name, source in sources.items():
        assert gap(model, p, X, source(), rng) < 1e-12, name


def test_what_can_be_had_once_is_enough_for_one_pass(rng):
    X = rng.normal(size=(N, D))
    model, p = setup(fg.layer_norm, fg.categorical, rng)
    assert gap(model, p, X, iter([X[:50], X[50:]]), rng) < 1e-12
    model, p = setup(fg.batch_norm, fg.categorical, rng)
    with pytest.raises(fg.InputError, match="give a function that returns a new iterator"):
        fg.fisher(model, p, iter([X[:50], X[50:]]))


def test_trials_of_each_case_go_with_their_blocks(rng):
    X = rng.normal(size=(N, D))
    family = fg.binomial(tuple(range(1, N + 1)))
    for normalizer, link in ((fg.batch_norm, None), (fg.ghost_batch_norm(4), None), (fg.identity, fg.links.probit)):
        model = fg.GLM(family, normalizer, link=link)
        assert gap(model, model.init(D, 6, rng), X, fg.rows(X, block=7), rng) < 1e-12


def test_single_precision_goes_through(rng):
    X = rng.normal(size=(N, D))
    model, p = setup(fg.batch_norm, fg.bernoulli, rng)
    F, single = fg.fisher(model, p, X).to_dense(), fg.fisher(model, p, fg.rows(X), dtype=np.float32).to_dense()
    assert 1e-9 < np.abs(F - single).max() / np.abs(F).max() < 1e-5


def test_sparse_inputs_are_never_filled_in(rng, monkeypatch):
    X = sp.random_array((300, 40), density=0.1, rng=rng, format="csr")
    models = [
        setup(normalizer, family, rng, 40)
        for normalizer in (fg.identity, fg.batch_norm, fg.compose(fg.input_standardization, fg.layer_norm))
        for family in (fg.bernoulli, fg.categorical)
    ]
    dense = [fg.fisher(model, p, X.toarray()).to_dense() for model, p in models]

    def refuse(*_, **__):
        raise AssertionError("filled in")

    for kind in (sp.csr_array, sp.csc_array):
        for name in ("toarray", "todense"):
            monkeypatch.setattr(kind, name, refuse)
    for (model, p), F in zip(models, dense):
        found = fg.fisher(model, p, fg.rows(X, block=170))
        assert np.abs(found @ np.ones(p.size) - F @ np.ones(p.size)).max() < 1e-12 * np.abs(F).max()
        assert np.abs(found.to_dense() - F).max() < 1e-12 * np.abs(F).max()


@pytest.mark.parametrize("normalizer", [fg.input_layer_norm, fg.ghost_batch_norm(2)], ids=lambda n: n.name)
def test_what_would_fill_in_zeros_is_refused(normalizer, rng):
    model, p = setup(normalizer, fg.bernoulli, rng)
    with pytest.raises(fg.InputError, match="give dense blocks"):
        fg.fisher(model, p, sp.csr_array(rng.normal(size=(N, D))))


@pytest.mark.parametrize("offset", [1e3, 1e6])
@pytest.mark.parametrize(
    "normalizer", [fg.batch_norm, fg.input_standardization, fg.mean_only_batch_norm], ids=lambda n: n.name
)
def test_offsets_cost_no_digits(normalizer, offset, rng):
    model, p = setup(normalizer, fg.bernoulli, rng)
    X = rng.integers(-50, 50, size=(2000, D)) / 16.0  # exact with every offset
    drift = np.linspace(-3, 3, 2000)[:, None].round(2)  # blocks differ in their means
    near, far = (fg.fisher(model, p, fg.rows(X + 16 * drift + by, block=300)).to_dense() for by in (0.0, offset))
    assert np.abs(far - near).max() < 1e-15 * offset * np.abs(near).max()


@pytest.mark.parametrize("W", [None, "weights"], ids=["features", "units"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_moments_merge(W, sparse, rng):
    W = None if W is None else rng.normal(size=(3, D))
    X = rng.normal(size=(70, D)) + np.arange(70)[:, None]
    blocks = [X[:0], *np.split(X, [9, 10, 40]), X[:0]]  # empty ones, and one of a single row
    source = fg.rows(lambda: map(sp.csr_array, blocks) if sparse else iter(blocks))
    kept = Moments(plan.Inputs(fg.identity), W)
    state, *others = map(kept.partial, source.blocks())
    for part in others:
        state = kept.combine(state, part)
    u = X - X.mean(axis=0)
    a = u if W is None else u @ W.T
    assert state[0].tolist() == [0, 9, 1, 30, 30, 0]
    for found, right in zip(
        state[1:], (X.mean(axis=0), (a * a).sum(axis=0), a.T @ u if W is not None else np.zeros((0, D)))
    ):
        assert np.abs(found - right).max(initial=0) < 1e-13 * np.abs(right).max(initial=1)


def averaged(self, total, part):
    """Means averaged as if blocks were alike, and deviations from the means of the blocks just added up."""
    return [np.concatenate([total[0], part[0]]), (total[1] + part[1]) / 2, total[2] + part[2], total[3] + part[3]]


def without_shift(self, total, part):
    """The right mean, but deviations from the means of the blocks just added up."""
    right = RIGHT(self, total, part)
    return [right[0], right[1], total[2] + part[2], total[3] + part[3]]


RIGHT = Moments.combine


@pytest.mark.parametrize("wrong", [averaged, without_shift])
def test_a_naive_merge_is_noticed(wrong, rng, monkeypatch):
    model, p = setup(fg.batch_norm, fg.bernoulli, rng)
    X = rng.normal(size=(N, D)) + np.linspace(-1, 1, N)[:, None]
    assert gap(model, p, X, fg.rows(X, block=7), rng) < 1e-12
    monkeypatch.setattr(Moments, "combine", wrong)
    here, there = fg.fisher(model, p, X).to_dense(), fg.fisher(model, p, fg.rows(X, block=7)).to_dense()
    assert np.abs(there - here).max() > 1e-3 * np.abs(here).max()


@pytest.mark.parametrize(
    ("module", "name", "wrong"),
    [
        (stream, "add", lambda total, part: part),
        (plan, "with_trials", lambda model, rows, block: model),
        (moments, "coefficients", lambda What, center: np.concatenate([What, 0 * What[:, :1] + 0.1], axis=1)),
    ],
    ids=["sums that do not add", "trials of other cases", "wrong coefficients"],
)
def test_a_wrong_part_is_noticed(module, name, wrong, rng, monkeypatch):
    X = rng.normal(size=(N, D))
    model = fg.GLM(fg.binomial(tuple(range(1, N + 1))), fg.frozen_batch_norm(0.3, 2.0))
    p = model.init(D, 6, rng)
    assert gap(model, p, X, fg.rows(X, block=7), rng) < 1e-12
    monkeypatch.setattr(module, name, wrong)
    try:
        there = fg.fisher(model, p, fg.rows(X, block=7)).to_dense()
    except fg.InputError:
        return  # noticed
    here = fg.fisher(model, p, X).to_dense()
    assert np.abs(there - here).max() > 1e-3 * np.abs(here).max()

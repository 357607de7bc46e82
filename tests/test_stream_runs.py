"""Who works on the blocks, what is kept of an interrupted run, and what is said of data that cannot be read."""

from __future__ import annotations

import gc
import os
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path

import cloudpickle
import dask
import numpy as np
import pandas as pd
import pytest
import zarr
from dask import array as dask_array
from dask import dataframe as dask_frame
from distributed import Client, LocalCluster
from threadpoolctl import threadpool_info, threadpool_limits

import fishergeo as fg
from fishergeo.information import cluster, sources
from fishergeo.threads import each, one_blas_thread

N, D, H = 197, 5, 6


@pytest.fixture
def X(rng):
    return rng.normal(size=(N, D))


@pytest.fixture
def model():
    return fg.GLM(fg.categorical, fg.batch_norm)


@pytest.fixture
def p(model, rng):
    return model.init(D, H, rng)


@pytest.fixture
def path(tmp_path, X):
    np.save(tmp_path / "x.npy", X)
    return str(tmp_path / "x.npy")


def message(function, *arguments, **named):
    """What is said of bad input, in one line."""
    with pytest.raises(fg.InputError) as caught:
        function(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- who works on the blocks --------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads_change_no_bit(workers, model, p, path):
    alone, source = fg.fisher(model, p, fg.rows(path, block=9), workers=1), fg.rows(path, block=9)
    v = np.ones(p.size)
    F = fg.fisher(model, p, source, workers=workers)
    assert (F @ v == alone @ v).all()
    assert (F.to_dense() == alone.to_dense()).all()


def test_dask_changes_no_bit(model, p, X, path):
    right, v = fg.fisher(model, p, fg.rows(path, block=9), workers=1), np.ones(p.size)
    product, dense = right @ v, right.to_dense()
    chunks = dask_array.from_array(X, chunks=(9, 2))
    with Client(processes=False, n_workers=2, threads_per_worker=2, dashboard_address=":0") as client:
        for source in (
            fg.rows(path, block=9),
            fg.rows(X, block=9),
            chunks,
            fg.rows(np.load(path, mmap_mode="r"), block=9),
        ):
            F = fg.fisher(model, p, source, client=client)
            assert (F @ v == product).all()
            assert (F.to_dense() == dense).all()
        there = client.persist(chunks)  # known to the cluster alone
        assert (fg.fisher(model, p, there).to_dense() == dense).all()
        address = client.scheduler.address
        assert (fg.fisher(model, p, fg.rows(path, block=9), client=address).to_dense() == dense).all()
        bad = X.copy()
        bad[100, 2] = np.nan
        assert "row 100 has a nan or inf" in message(fg.fisher, model, p, fg.rows(bad, block=9), client=client)
        # every worker compiles what family and link need: what has been compiled here does not travel
        bent = fg.GLM(fg.bernoulli, fg.ghost_batch_norm(1), link=fg.links.probit)
        q = bent.init(D, H, 0)
        here = fg.fisher(bent, q, fg.rows(path))
        assert (fg.fisher(bent, q, path, client=client).to_dense() == here.to_dense()).all()


def test_memory_of_another_process_is_sent_no_more_than_its_rows(X, path):
    mapped = np.load(path, mmap_mode="r")
    for data, most in ((X, 9 * D * 8 + 400), (mapped, 600), (mapped[3:], 600), (path, 600)):
        for block in fg.rows(data, block=9).blocks():
            assert len(cloudpickle.dumps(block)) < most
            assert (cloudpickle.loads(cloudpickle.dumps(block)).load() == block.load()).all()


def deadly(path, marker, array):
    """Rows that take the process down that reads them: once, or always where there is no marker."""
    if marker is None or not os.path.exists(marker):
        if marker is not None:
            Path(marker).touch()
        os._exit(1)
    return np.load(path)[array]


def test_a_worker_that_dies(model, p, path, tmp_path):
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    source = fg.rows(path, block=40)
    right = fg.fisher(model, p, source)
    others = source.parts[:-1]

    def with_part(marker):
        part = partial(deadly, path, marker, slice(160, N))
        return sources.Rows(source.name, source.row, (*others, part), source.sizes)

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1, "distributed.admin.log-format": ""}),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as local,
        Client(local) as client,
    ):
        once = fg.fisher(model, p, with_part(str(tmp_path / "marker")), client=client)
        assert (once.to_dense() == right.to_dense()).all()
        keep = str(tmp_path / "state.npz")
        local.scheduler.allowed_failures = 0
        with pytest.raises(RuntimeError, match=r"the workers that had block \d died or went away") as caught:
            fg.fisher(model, p, with_part(None), client=client, checkpoint=keep)
    with np.load(keep) as file:  # a block that waited for the same worker may be the one that is given up
        done = file["statistics of the summed inputs 0"].tolist()
    assert 1 <= len(done) <= 4
    assert done == [40] * len(done)
    assert any(f"{len(done)} blocks are done and kept in" in note for note in caught.value.__notes__)


def test_a_cluster_without_workers(model, p, path, monkeypatch):
    monkeypatch.setattr(cluster, "_PATIENCE", 0.05)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty,
        Client(empty) as client,
        pytest.raises(RuntimeError, match="died or went away"),
    ):
        fg.fisher(model, p, path, client=client)


def test_threads_of_blas_are_given_back():
    def counts():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    with threadpool_limits(2, "blas"):
        before = counts()
        with one_blas_thread() as there, one_blas_thread() as inside:
            assert set(counts()) == {1}
            assert there == inside == max(before)
        assert counts() == before


def test_a_task_that_fails_ends_the_others():
    done = []

    def fail():
        raise ZeroDivisionError

    def work():
        time.sleep(0.001)
        done.append(1)

    with threadpool_limits(2, "blas"), pytest.raises(ZeroDivisionError):
        each([fail, *[work] * 500], 1e9)
    assert len(done) < 250


def test_progress_is_told(model, p, X):
    seen = []
    F = fg.fisher(model, p, fg.rows(X, block=50), progress=lambda done, cases: seen.append((done, cases)))
    assert seen == [(50, N), (100, N), (150, N), (N, N)]
    F.to_dense()
    assert len(seen) == 8


def test_a_bar_is_drawn_on_request(model, p, X, capsys):
    fg.fisher(model, p, fg.rows(X, block=50), progress=True)
    assert "statistics of the summed inputs: 100%" in capsys.readouterr().err
    fg.fisher(model, p, fg.rows(X, block=50))  # no terminal
    assert not capsys.readouterr().err


# --- what is kept -------------------------------------------------------------------------------------------


class Interrupted:
    """Progress that is interrupted, as by Ctrl-C, after so many blocks."""

    def __init__(self, after):
        self.left = after

    def __call__(self, done, cases):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def counting(X, size, read):
    """A source of blocks that counts how often each is read."""

    def part(k):
        read.append(k)
        return X[k * size : (k + 1) * size]

    whole = fg.rows(X, block=size)
    return sources.Rows("counted rows", whole.row, tuple(partial(part, k) for k in range(len(whole.parts))), whole.sizes)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("after", [1, 7, 20, 25, 40, 44])
def test_an_interrupted_run_goes_on_where_it_was(after, workers, model, p, X, tmp_path):
    right, read = fg.fisher(model, p, fg.rows(X, block=9)).to_dense(), []
    keep = tmp_path / "state.npz"

    def run(progress=False):
        source = counting(X, 9, read)
        return fg.fisher(model, p, source, checkpoint=keep, every=4, progress=progress, workers=workers).to_dense()

    with pytest.raises(KeyboardInterrupt) as caught:
        run(Interrupted(after))
    (note,) = caught.value.__notes__
    assert f"{(after - 1) % 22 + 1} blocks are done and kept in {keep}" in note
    read.clear()
    assert (run() == right).all()
    left = [*range(after, 22), *range(22)] if after < 22 else [*range(after - 22, 22)]
    assert sorted(read) == sorted([0, *left])  # the first block is what the data are recognized by
    read.clear()
    assert (run() == right).all()
    assert read == [0]  # nothing was left to do
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]


def test_the_object_itself_goes_on_where_it_was(model, p, X):
    read, right = [], fg.fisher(model, p, fg.rows(X, block=9)).to_dense()
    stop = Interrupted(22 + 5)
    F = fg.fisher(model, p, counting(X, 9, read), progress=stop, workers=1)
    with pytest.raises(KeyboardInterrupt) as caught:
        F.to_dense()
    assert "5 blocks are done and kept by this object" in caught.value.__notes__[0]
    read.clear()
    assert (F.to_dense() == right).all()
    assert read == list(range(5, 22))


def test_blocks_that_come_in_turn_go_on_too(p, X, tmp_path, model):
    whole, keep = fg.fisher(model, p, fg.rows(X, block=9)).to_dense(), tmp_path / "state.npz"

    def blocks():
        return (X[k : k + 9] for k in range(0, N, 9))

    for after in (3, 22 + 3 - 3):  # within each of the passes
        with pytest.raises(KeyboardInterrupt):
            fg.fisher(model, p, blocks, checkpoint=keep, progress=Interrupted(after)).to_dense()
    assert (fg.fisher(model, p, blocks, checkpoint=keep).to_dense() == whole).all()


def test_a_failed_write_keeps_the_checkpoint_before(model, p, X, tmp_path, monkeypatch):
    keep, right = tmp_path / "state.npz", fg.fisher(model, p, fg.rows(X, block=9)).to_dense()
    with pytest.raises(KeyboardInterrupt):
        fg.fisher(model, p, fg.rows(X, block=9), checkpoint=keep, every=2, progress=Interrupted(7))
    written = keep.read_bytes()
    with monkeypatch.context() as patch:

        def full(file, **_):
            file.write(b"half")
            raise OSError("no space left on device")

        patch.setattr(np, "savez", full)
        with pytest.raises(OSError, match="no space"):
            fg.fisher(model, p, fg.rows(X, block=9), checkpoint=keep, every=2)
    assert keep.read_bytes() == written
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]
    assert (fg.fisher(model, p, fg.rows(X, block=9), checkpoint=keep).to_dense() == right).all()


def test_a_checkpoint_of_another_run_is_refused(model, p, X, tmp_path):
    keep = tmp_path / "state.npz"
    fg.fisher(model, p, fg.rows(X, block=9), checkpoint=keep)
    other = fg.Params(p.weight, p.bias + 1, p.gain)
    for what, arguments, named in (
        ("model", (fg.GLM(fg.categorical, fg.batch_norm.with_eps(0.1)), p, fg.rows(X, block=9)), {}),
        ("model", (fg.GLM(fg.bernoulli, fg.batch_norm), p, fg.rows(X, block=9)), {}),
        ("model", (model, p, fg.rows(X, block=9)), {"dtype": np.float32}),
        ("parameters", (model, other, fg.rows(X, block=9)), {}),
        ("blocks", (model, p, fg.rows(X[:-1], block=9)), {}),
        ("blocks and inputs", (model, p, fg.rows(X, block=10)), {}),
        ("inputs", (model, p, fg.rows(X + 1, block=9)), {}),
    ):
        said = message(fg.fisher, *arguments, **named, checkpoint=keep)
        assert said.startswith(f"{keep} is a checkpoint of another run, with other {what}: delete it")


def test_what_is_no_checkpoint_is_refused(model, p, X, tmp_path):
    keep = tmp_path / "state.npz"
    fg.fisher(model, p, fg.rows(X, block=9), checkpoint=keep)
    whole = keep.read_bytes()
    damaged = bytearray(whole)
    with np.load(keep) as file:
        damaged[whole.index(file["statistics of the summed inputs 1"].tobytes()) + 5] ^= 1
    for content in (whole[:-40], whole[: len(whole) // 2], bytes(damaged), b"", b"\x80\x04K\x01."):
        keep.write_bytes(content)
        assert "is no readable checkpoint" in message(fg.fisher, model, p, fg.rows(X, block=9), checkpoint=keep)
    np.savez(keep, something=np.arange(3))
    assert "is no readable checkpoint ('of is not a file" in message(
        fg.fisher, model, p, fg.rows(X, block=9), checkpoint=keep
    )
    assert "give the name of a .npz" in message(fg.fisher, model, p, X, checkpoint="state.pickle")
    assert "is missing: make it first" in message(fg.fisher, model, p, X, checkpoint=tmp_path / "no" / "state.npz")
    once = iter([X])
    assert "no sum can be taken up again" in message(fg.fisher, model, p, once, checkpoint=tmp_path / "new.npz")


# --- bad data -----------------------------------------------------------------------------------------------


def test_rows_that_are_not_finite_are_named(model, p, X):
    for value in (np.nan, np.inf):
        bad = X.copy()
        bad[123, 2] = value
        assert message(fg.fisher, model, p, fg.rows(bad, block=9)) == (
            "the array: row 123 has a nan or inf: drop or impute that row"
        )
        blocks = lambda bad=bad: iter(np.split(bad, 4 * [None] and [50, 100, 150]))  # noqa: E731
        assert "row 123 has" in message(fg.fisher, model, p, blocks)
    big = np.full((N, D), 1e308)  # whose sum is not finite
    big[:, 0] = np.linspace(0, 1, N)
    sources.Block("big", 0, 0, (D,), lambda: big).load()


def test_blocks_of_other_widths_are_named(model, p, X):
    blocks = [X[:50], X[50:100, :4], X[100:]]
    said = message(fg.fisher, model, p, lambda: iter(blocks))
    assert said == (
        "the function's blocks: block 1 has shape (50, 4), but the rows before it have shape (5,): "
        "give blocks of one width"
    )
    assert "source 1 of the list, the array, has rows of shape (4,)" in message(fg.rows, blocks)


def test_a_source_that_changes_is_noticed(model, p, X):
    lengths = count(100)

    def shorter():
        return iter([X[:50], X[50 : 200 - 2 * next(lengths) + 100]])

    assert "block 1 has" in message(lambda: fg.fisher(model, p, shorter).to_dense())
    times = count()
    assert "has 1 blocks but had 2 before" in message(
        lambda: fg.fisher(model, p, lambda: iter([X[:50], X[50:]][: 2 - next(times) // 2])).to_dense()
    )


def test_files_that_were_cut_off(model, p, X, path, tmp_path):
    path = Path(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    said = message(fg.fisher, model, p, path)
    assert said.startswith(
        f"{path} was cut off: its header promises (197, 5) of float64, 7880 bytes, but 6880 follow (172"
    )
    path.write_bytes(whole)
    F = fg.fisher(model, p, fg.rows(path, block=9))
    path.write_bytes(whole[:-1000])  # while it is in use
    assert message(F.to_dense) == f"{path} ends in row 172: it was cut off; write it again"
    for name, save in (("s.npz", np.savez), ("c.npz", np.savez_compressed)):
        save(tmp_path / name, X=X)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        assert "is not a readable .npz file" in message(fg.fisher, model, p, tmp_path / name)
    pd.DataFrame(X).rename(columns=str).to_parquet(tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(content[:-100])
    assert "is not a readable .parquet file" in message(fg.fisher, model, p, tmp_path / "t.parquet")


def test_sources_that_hold_no_rows(model, p, X, tmp_path):
    np.save(tmp_path / "empty.npy", X[:0])
    np.save(tmp_path / "flat.npy", X[0])
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    np.savez(tmp_path / "two.npz", A=X, B=X)
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n3,x\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "x.mat").write_text("")
    (tmp_path / "wrong.npy").write_text("no array")
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["u", "v"]})
    frame.to_parquet(tmp_path / "t.parquet")
    for data, named, said in (
        (tmp_path / "none.npy", {}, "is missing: check the path"),
        (tmp_path / "x.mat", {}, "has the suffix '.mat': give a .npy"),
        (tmp_path / "empty.npy", {}, "is empty: 0 rows of shape (5,)"),
        (tmp_path / "flat.npy", {}, "has shape (5,): give (cases, inputs)"),
        (tmp_path / "text.npy", {}, "holds an array of type <U1"),
        (tmp_path / "objects.npy", {}, "holds an array of type object"),
        (tmp_path / "wrong.npy", {}, "is not a readable .npy file"),
        (tmp_path / "two.npz", {}, "has no array 'X': name one of A, B in member="),
        (tmp_path / "two.npz", {"member": "C"}, "has no array 'C'"),
        (tmp_path / "two.npz", {"columns": ["A"]}, "these are for tables"),
        (tmp_path / "t.parquet", {}, "the columns b hold no numbers: name the others in columns="),
        (tmp_path / "t.parquet", {"columns": ["c"]}, "has no column 'c': it has a, b"),
        (tmp_path / "t.parquet", {"columns": []}, "no column is left"),
        (tmp_path / "t.parquet", {"member": "a"}, "it is for files of several arrays"),
        (tmp_path / "bad.csv", {}, "after line 1: could not convert string 'x' to float64"),
        (tmp_path / "empty.csv", {}, "yielded nothing"),
        (frame, {}, "the frame: the columns b hold no numbers"),
        (dask_frame.from_pandas(frame), {}, "the dask frame: the columns b hold no numbers"),
        (dask_array.zeros(5), {}, "the dask array has shape (5,)"),
        (iter([]), {}, "yielded nothing"),
        (lambda: 3, {}, "made no iterator"),
        (iter([X[0]]), {}, "yielded an array of shape (5,)"),
        (iter([X]), {"block": 3}, "whose blocks are what it yields"),
        (X, {"block": 0}, "rows got block=0"),
        (X, {"columns": [1]}, "rows got columns for a ndarray"),
        (X[0], {}, "the array has shape (5,)"),
        ("text", {}, "has the suffix ''"),
        (X[:, :0], {}, "is empty"),
        ([[1, 2], [3]], {}, "in rows of different lengths"),
        (fg.rows(X), {"block": 3}, "what has blocks already"),
    ):
        assert said in message(fg.rows, data, **named), data
    assert "is empty: give at least one row" in message(fg.fisher, model, p, lambda: iter([X[:0]]))
    assert "weights have shape (6, 5) but X has 4 inputs" in message(fg.fisher, model, p, fg.rows(X[:, :4]))
    assert "batch_norm got N=2: " in message(fg.fisher, model, p, fg.rows(X[:2]))
    ghosts = fg.GLM(fg.categorical, fg.ghost_batch_norm(3))
    assert "3 equal groups need N divisible by it" in message(fg.fisher, ghosts, p, fg.rows(X))
    parts = lambda: iter([X[:50], X[50:-2]])  # noqa: E731
    said = message(lambda: fg.fisher(ghosts, p, parts).to_dense())
    assert "rows 0 to 49 are 50 rows, but ghost_batch_norm_3 has batches of 65: give blocks of whole batches" in said
    constant = X.copy()
    constant[:, 2] = 7
    scaled = fg.GLM(fg.categorical, fg.input_standardization)
    assert "input_standardization: the entries at input 2 are constant" in message(
        fg.fisher, scaled, p, fg.rows(constant, block=9)
    )


def test_cases_outside_the_domain_are_named_by_their_rows(X):
    model = fg.GLM(fg.gamma)
    p = fg.Params(np.ones((3, D)), np.full(3, -30.0))
    X = X.clip(-1, 1)
    X[130] = 20
    said = message(lambda: fg.fisher(model, p, fg.rows(X, block=50)).to_dense())
    assert said.startswith("the array: rows 100 to 149, counted from 0: gamma: case 30 has natural parameter")


def test_options_that_are_none(model, p, X):
    for named, said in (
        ({"workers": 0}, "workers=0"),
        ({"workers": 2, "client": "tcp://x"}, "leave one out"),
        ({"every": 0}, "every=0"),
        ({"progress": 3}, "progress=3"),
        ({"client": 3}, "give a dask.distributed Client"),
    ):
        assert said in message(fg.fisher, model, p, fg.rows(X), **named)
    with pytest.raises(TypeError, match="unexpected keyword argument 'wrkers'"):
        fg.fisher(model, p, X, wrkers=2)
    assert "a Fisher matrix needs a model" in message(fg.fisher, 3, p, fg.rows(X))
    gc.collect()


def test_what_a_missing_package_is_needed_for(model, p, X, tmp_path, monkeypatch):
    pd.DataFrame(X).rename(columns=str).to_parquet(tmp_path / "t.parquet")
    zarr.save(str(tmp_path / "z.zarr"), X)
    for name in ("pyarrow", "pyarrow.parquet", "zarr", "distributed", "tqdm"):
        monkeypatch.setitem(sys.modules, name, None)
    assert 'pip install "fishergeo[files]"' in message(fg.rows, tmp_path / "t.parquet")
    assert 'pip install "fishergeo[files]"' in message(fg.rows, tmp_path / "z.zarr")
    assert 'pip install "fishergeo[dask]"' in message(fg.fisher, model, p, fg.rows(X), client="tcp://127.0.0.1:1")
    assert "pip install tqdm" in message(fg.fisher, model, p, fg.rows(X), progress=True)
    F = fg.fisher(model, p, fg.rows(X))
    assert (F.to_dense() == fg.fisher(model, p, fg.rows(X), progress=False).to_dense()).all()

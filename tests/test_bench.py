"""The benchmarks measure only what is right, report all that is not, and keep what is finished."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fishergeo as fg
from fishergeo.bench import goals, machine, measure, render, worker
from fishergeo.bench.command import run
from fishergeo.bench.measure import Local, Remote, Settings
from fishergeo.bench.problem import Case, Problem, Storage, Task, unit_by_unit
from fishergeo.bench.workloads import WORKLOADS, Workload, chosen, fitting, model_of, write
from fishergeo.cli import main

CASE = Case("A", Task.DENSE, "bernoulli", "batch_norm", 50, 4, 3)
SMALL = Workload("A", "tiny", (CASE, replace(CASE, family="softmax", normalizer="layer_norm", H=5)), ())
HERE = Settings(runs=3, start=Local)


def peers(*names: str) -> tuple[str, ...]:
    return tuple(f"bench_peers:{name}" for name in names)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(worker, "_PEAK_SIZE", 40)
    monkeypatch.setattr(measure, "_LONG_ENOUGH", 1e-4)
    monkeypatch.setattr(measure, "_PAUSE", 0.0)
    monkeypatch.setattr(measure, "_WARM", 0.0)


@pytest.fixture
def row(tmp_path):
    """A row of results with all kinds of candidates."""
    names = peers("RIGHT", "WRONG", "NAN", "SHAPELESS", "REFUSING", "FAILING", "MISSING", "NO_ADAPTER")
    return measure.measure(CASE, names, HERE, tmp_path, set())


def test_wrong_and_refusing_peers_are_reported_and_not_timed(row):
    found = {name.removeprefix("bench_peers:"): said for name, said in row["candidates"].items()}
    assert {name for name, said in found.items() if "median" in said} == {"fishergeo", "RIGHT"}
    assert {name: said["status"] for name, said in found.items()} == {
        "fishergeo": "ok",
        "RIGHT": "ok",
        "WRONG": "wrong",
        "NAN": "wrong",
        "SHAPELESS": "refused",
        "REFUSING": "refused",
        "FAILING": "refused",
        "MISSING": "not installed",
        "NO_ADAPTER": "refused",
    }
    assert found["WRONG"]["error"] == pytest.approx(0.5)
    assert found["RIGHT"]["error"] == 0
    assert 0 < found["fishergeo"]["error"] < 1e-13  # against the Jacobian, by another way
    assert found["REFUSING"]["message"] == "normalization"
    assert found["FAILING"]["message"] == "NotImplementedError: no such layer"
    assert "(15, 18)" not in found["SHAPELESS"]["message"] and "(17, 18)" in found["SHAPELESS"]["message"]
    own = found["fishergeo"]
    assert len(own["times"]) == 3 and own["min"] <= own["median"] <= own["max"]
    assert row["peak"] > 0 and row["P"] == 18 and row["flops"] == 3 * 50 * 5 * 6


def test_a_wrong_result_of_ours_stops_the_comparison(tmp_path, monkeypatch):
    from fishergeo.bench import ours

    fisher = ours.fisher

    class Wrong:
        def __init__(self, *arguments):
            self.right = fisher(*arguments)
            self.reference = self.right.reference

        def to_dense(self):
            return self.right.to_dense() * 1.001

    monkeypatch.setattr(ours, "fisher", Wrong)
    row = measure.measure(CASE, peers("RIGHT"), HERE, tmp_path, set())
    assert row["candidates"]["fishergeo"]["status"] == "wrong"
    assert list(row["candidates"]) == ["fishergeo"]
    assert goals.ratio(row) is None


def test_all_tasks_and_inputs(tmp_path):
    cases = [
        replace(CASE, task=Task.PRODUCT, vectors=3, normalizer="weight_norm"),
        replace(CASE, task=Task.EIGENVALUES, vectors=2, family="softmax"),
        replace(CASE, task=Task.BLOCKS, normalizer="identity"),
        replace(CASE, workload="E", family="poisson", normalizer="identity", H=1),
    ]
    for case in cases:
        row = measure.measure(case, peers("RIGHT", "WRONG"), HERE, tmp_path, set())
        said = {name: found["status"] for name, found in row["candidates"].items()}
        assert said == {"fishergeo": "ok", "bench_peers:RIGHT": "ok", "bench_peers:WRONG": "wrong"}, case
    for storage in (Storage.FILE, Storage.SPARSE):
        case = replace(CASE, storage=storage, N=80, filled=0.6 if storage is Storage.SPARSE else 1.0)
        (own,) = measure.measure(case, (), HERE, tmp_path, set())["candidates"].values()
        assert own["status"] == "ok", own


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["binomial", "poisson", "gamma"])
def test_statsmodels_does_the_same(tmp_path, family):
    case = replace(CASE, family=family, normalizer="identity", H=1)
    with np.errstate(all="ignore"):
        row = measure.measure(case, ("statsmodels",), HERE, tmp_path, set())
        other = measure.measure(replace(CASE, H=1), ("statsmodels",), HERE, tmp_path, set())
    assert row["candidates"]["statsmodels"]["status"] == "ok", row["candidates"]["statsmodels"]
    assert other["candidates"]["statsmodels"]["status"] == "refused"


def test_processes_that_die_or_take_too_long(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    problem = write(CASE, tmp_path)
    np.save(problem.folder / "result.npy", np.eye(18))
    settings = Settings(limit=20)
    for name, expected in (("DYING", "exit code 3"), ("RIGHT", None)):
        candidate = Remote(problem, name, f"bench_peers:{name}", settings)
        said = candidate.ask("first", against=str(problem.folder / "result.npy"))
        again = candidate.ask("time", count=2, warm=1e-6)
        candidate.close()
        if expected is None:
            assert said["error"] == 0 and said["memory"] > 1e6 and again["seconds"] > 0
        else:
            assert expected in said["failed"] and "ended" in again["failed"]
    start = time.perf_counter()
    slow = Remote(problem, "slow", "bench_peers:SLOW", Settings(limit=0.5))
    assert slow.ask("first") == {"late": 0.5}
    assert slow.process.returncode is not None and time.perf_counter() - start < 20
    slow.close()


def test_late_candidates_are_not_tried_again(tmp_path):
    row = measure.measure(CASE, peers("RIGHT"), HERE, tmp_path, set(peers("RIGHT")))
    (said,) = (found for name, found in row["candidates"].items() if name != "fishergeo")
    assert said["status"] == "late" and "not tried again" in said["message"]
    assert "over 120 s before" in render.markdown(results_of([row]))


def results_of(rows):
    return {
        "machine": machine.describe(2),
        "rows": rows,
        "runs": 3,
        "load": {"before": [1.0], "after": [2.0]},
        "most": None,
        "complete": True,
    }


def test_an_interruption_keeps_what_is_finished(tmp_path):
    target, said = tmp_path / "out", []
    with pytest.raises(KeyboardInterrupt):
        run((SMALL,), peers("INTERRUPTING"), HERE, target, "fishergeo bench", said.append)
    results = json.loads((target / "results.json").read_text())
    assert len(results["rows"]) == len(said) == 1 and not results["complete"]
    assert "Not complete" in (target / "bench.md").read_text()
    assert os.listdir(tmp_path) == ["out"]  # nothing half-written beside it
    complete = run((SMALL,), peers("WRONG"), HERE, target, "fishergeo bench", said.append)  # over its own results
    assert complete["complete"] and len(complete["rows"]) == 2
    text = (target / "bench.md").read_text()
    assert "**wrong**, 50 % off" in text and "Not complete" not in text
    assert {path.name for path in target.iterdir()} == set(complete["files"]) >= {"bench.md", "efficiency.svg"}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--workloads A,Z", "there is no workload 'Z'"),
        ("--peers tensorflow", "there is no peer 'tensorflow'"),
        ("--peers no_such_module:PEER", "there is no peer 'no_such_module:PEER'"),
        ("--runs 2", "give 3 or more"),
        ("--threads 0", "give 1 or more"),
        ("--cases 5", "give 10 or more"),
        ("--limit nan", "> 0"),
        ("--python jax=/no/such/python", "an existing file"),
        ("-o no/such/folder", "does not exist"),
        ("-o file", "is a file"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, line, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    assert main(["bench", *line.split()]) == 2
    out, err = capsys.readouterr()
    assert complaint in err and err.count("\n") == 1 and not out
    assert os.listdir(tmp_path) == ["file"]


def test_only_correct_peers_count(row):
    times = {name: found["median"] for name, found in row["candidates"].items() if "median" in found}
    assert goals.ratio(row) == times["bench_peers:RIGHT"] / times["fishergeo"]
    assert goals.efficiency(row) == row["flops"] / times["fishergeo"] / row["peak"]
    text = render.markdown(results_of([row]))
    assert "**wrong**, 50 % off" in text and "refusing" not in text
    assert all(f"[{k}]" in text and f"\n{k}. " in text for k in range(1, 6))  # a note for each that has no time
    assert "not installed [" in text and "No module named 'no_such_library'" in text


def growing(axis: str, size: int, exponent: float) -> dict:
    row = Case(f"growth {axis}", Task.DENSE, "softmax", "batch_norm", 7, 5, 3).to_json() | {axis: size}
    return row | {"candidates": {"fishergeo": {"median": 1e-6 * size**exponent}}, "P": 1, "flops": 1.0, "result": 8}


@pytest.mark.parametrize(("exponent", "met"), [(1.0, "yes"), (1.2, "**no**")])
def test_growth_exponents(exponent, met):
    rows = [growing("N", size, exponent) for size in (100, 200, 400, 800)] + [growing("D", s, 2) for s in (3, 5)]
    found = {row["axis"]: row["exponent"] for row in goals.exponents(rows)}
    assert found == pytest.approx({"N": exponent, "D": 2.0})
    assert goals.exponents(rows[:1]) == []  # one size is no line
    (line,) = (line for line in render.markdown(results_of(rows)).splitlines() if "growth exponent" in line)
    assert line.endswith(f"{met} |")


def test_goals_take_the_worst():
    goal = goals.Goal("memory", 256, goals.surplus, lambda row: True, least=False, unit=2**20)
    rows = [{"candidates": {"fishergeo": {"memory": m * 2**20}}, "result": 2**20} for m in (11, 301)]
    worst, best = goal.result(rows)
    assert (worst, best) == (300, 10) and not goal.met(worst) and goal.met(best)
    assert goal.result([]) is None
    streamed = [
        {"workload": "F", "N": N, "normalizer": "batch_norm", "family": "poisson", **rows[k]}
        for k, N in enumerate((7, 28))
    ]
    assert goals.memory_growth(streamed) == [301 / 11] and goals.memory_growth(streamed[:1]) == []
    times = {"one dask worker": {"median": 3.0}, "two dask workers": {"median": 2.0}}
    assert goals.second_worker({"candidates": times}) == 1.5


@pytest.mark.parametrize("case", [CASE, replace(CASE, normalizer="identity")], ids=["gain", "no gain"])
def test_arrays_and_orders(tmp_path, case):
    problem = write(case, tmp_path)
    assert Problem.read(problem.folder) == problem and Case.from_json(json.loads(json.dumps(case.to_json()))) == case
    p = fg.Params(problem.weight, problem.bias, problem.gain)
    assert np.array_equal(problem.flat, p.ravel())
    names = ("weight", "gain", "bias") if case.has_gain else ("weight", "bias")
    theirs = np.concatenate([getattr(p, name).ravel() for name in names])
    assert np.array_equal(theirs[unit_by_unit(case, names)], p.ravel())
    assert fg.fisher(model_of(case), p, problem.inputs).shape == (case.size, case.size)


def test_the_workloads():
    assert list(WORKLOADS) == ["A", "B", "C", "D", "E", "F", "G", "growth"]
    for workload in chosen(None, 100):
        assert all(case.N == 100 for case in workload.cases)
        assert len(set(workload.cases)) == len(workload.cases)
        assert set(workload.peers + workload.also) <= set(measure.REGISTRY)
    assert [w.name for w in chosen("B,A,B", None)] == ["B", "A"]
    sizes = {w.name: {(c.N, c.D, c.H) for c in w.cases} for w in chosen("A,B,C,D,E,G", None)}
    assert sizes == {
        "A": {(1000, 20, 10)},
        "B": {(10_000, 100, 10)},
        "C": {(20_000, 784, 10)},
        "D": {(50_000, 256, 64)},
        "E": {(100_000, 200, 1)},
        "G": {(200_000, 5000, 4)},
    }
    assert replace(CASE, family="softmax", H=10).flops == 45 * 50 * 5 * 6
    assert replace(CASE, task=Task.PRODUCT, vectors=2).flops == 4 * 50 * 4 * 3 * 2
    assert replace(CASE, task=Task.EIGENVALUES).flops is None


def test_a_small_disk_makes_a_smaller_file(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 8 * 4 * 2 * 5000}))
    case = replace(CASE, storage=Storage.FILE, N=10**7)
    assert fitting(case, tmp_path).N == 5000
    assert fitting(replace(case, storage=Storage.ARRAY), tmp_path).N == 10**7


def test_the_machine_is_named():
    facts = machine.describe(2)
    assert facts["processor"] and facts["cores"] == os.cpu_count() and facts["numpy"] == np.__version__
    assert machine.peak_memory() > 1e7
    others = machine.Others([])
    end = time.perf_counter() + 0.05
    while time.perf_counter() < end:
        pass
    share = others.share()
    assert share is None or 0 <= share <= 1
    assert [render.seconds(t) for t in (2.0, 0.0123, 4.56e-5, 1e-9)] == ["2 s", "12.3 ms", "45.6 µs", "1 ns"]
    assert math.isclose(machine.load()[0], os.getloadavg()[0], abs_tol=5)


def test_the_page_shows_what_was_measured():
    root = Path(__file__).resolve().parent.parent
    spec = importlib.util.spec_from_file_location("document", root / "benchmarks" / "document.py")
    document = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(document)
    results = json.loads(document.NUMBERS.read_text(encoding="utf-8"))
    page = document.PAGE.read_text(encoding="utf-8")
    text = document.generated(results, document.names(document.PICTURES))
    assert document.between(page) == text
    assert document.placed(page, text) == page
    with pytest.raises(SystemExit, match="different machines"):
        document.merged([results, results | {"machine": results["machine"] | {"cores": 1000}}])
    twice = document.merged([results | {"command": "a"}, results | {"command": "b", "most": 7}])
    assert twice["command"] == ["a", "b"] and twice["most"] == 7 and len(twice["rows"]) == 2 * len(results["rows"])


def test_what_our_processes_start_is_ours_too():
    others = machine.Others([])
    if others.start is None:
        pytest.skip("no /proc")
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    subprocess.run([sys.executable, "-c", nested], check=True)
    assert others._now()[2] - others.start[2] > 0.25 * os.sysconf("SC_CLK_TCK")

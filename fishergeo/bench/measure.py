"""One case, all candidates: checked first, then timed in turn, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .machine import Others
from .problem import Case, Problem
from .worker import Session, answer
from .workloads import fitting, write

OURS = "fishergeo"
PEERS = ("jax", "jax-kept", "kfac-jax", "curvlinops", "nngeometry", "statsmodels")
REGISTRY = {
    OURS: "fishergeo.bench.ours:FISHERGEO",
    "one dask worker": "fishergeo.bench.ours:ONE_WORKER",
    "two dask workers": "fishergeo.bench.ours:TWO_WORKERS",
    "jax": "fishergeo.bench.jax_peers:JAX",
    "jax-kept": "fishergeo.bench.jax_peers:JAX_KEPT",
    "kfac-jax": "fishergeo.bench.jax_peers:KFAC_JAX",
    "curvlinops": "fishergeo.bench.torch_peers:CURVLINOPS",
    "nngeometry": "fishergeo.bench.torch_peers:NNGEOMETRY",
    "statsmodels": "fishergeo.bench.statsmodels_peer:STATSMODELS",
}
TOLERANCE = 1e-8  # relative, Frobenius norm
_LONG_ENOUGH = 0.2  # seconds: shorter runs are repeated
_WARM = 0.15  # seconds of runs that are not counted: a thread that slept gets a processor of its own only by then
_SLOW = 10.0  # seconds: of longer runs, three are enough
_PAUSE = 0.3  # seconds for threads that wait for work to fall asleep: those of OpenBLAS try for 0.1


class Candidate(Protocol):
    """A process with a candidate."""

    pid: int | None

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Settings:
    """How to measure: runs, threads, seconds for the first run of a candidate, and who runs which candidate."""

    runs: int = 5
    threads: int = 2
    limit: float = 120.0
    most: int | None = None
    pythons: dict[str, str] = field(default_factory=dict)  # other interpreters, by candidate
    start: Callable[[Problem, str, str, Settings], Candidate] | None = None

    def candidate(self, problem: Problem, name: str) -> Candidate:
        return (self.start or Remote)(problem, name, REGISTRY.get(name, name), self)


class Local:
    """A candidate in this process, for tests."""

    pid = None

    def __init__(self, problem: Problem, name: str, locator: str, settings: Settings) -> None:
        self.session = Session(problem, locator)

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        return answer(self.session, {"do": do, **arguments})

    def close(self) -> None:
        pass


class Remote:
    """A candidate in a fresh process, which this one outlives; a process that ends or takes too long is an answer too."""

    def __init__(self, problem: Problem, name: str, locator: str, settings: Settings) -> None:
        threads = str(settings.threads)
        env = os.environ | dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        root = str(Path(__file__).resolve().parents[2])
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (root, env.get("PYTHONPATH"))))
        python = settings.pythons.get(name, sys.executable)
        self.limit, self.complaints = settings.limit, tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self.process = subprocess.Popen(
            [python, "-m", "fishergeo.bench.worker", str(problem.folder), locator, threads],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            env=env,
            text=True,
            encoding="utf-8",
        )
        self.pid: int | None = self.process.pid
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):  # closed meanwhile
            for line in self.process.stdout:
                self.lines.put(line)
        self.lines.put("")

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.lines.get(timeout=self.limit if do == "first" else 4 * self.limit)
        except queue.Empty:
            self.close()
            return {"late": self.limit}
        except OSError:
            line = ""
        return json.loads(line) if line else {"failed": self._last_words()}

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.complaints.seek(0)
        said = self.complaints.read()[-2000:].decode(errors="replace").strip().splitlines()
        code = self.process.returncode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return f"the process ended with {how}" + (f": {said[-1]}" if said else "")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.complaints):
            with contextlib.suppress(OSError, ValueError):
                if stream is not None:
                    stream.close()


def measure(case: Case, peers: Sequence[str], settings: Settings, folder: Path, late: set[str]) -> dict[str, Any]:
    """A row of results: what each candidate said, and its times.  ``late`` are those not to be tried (again)."""
    case = fitting(case, folder)
    problem = write(case, folder)
    row: dict[str, Any] = case.to_json() | {"P": case.size, "flops": case.flops, "result": case.result_bytes}
    with contextlib.ExitStack() as stack:
        held = settings.candidate(problem, OURS)
        stack.callback(held.close)
        baseline = held.ask("hold").get("memory")
        held.close()
        live: dict[str, Candidate] = {}
        found = row["candidates"] = {}
        for name in (OURS, *peers):
            if name in late:
                found[name] = {
                    "status": "late",
                    "message": f"over {settings.limit:g} s for a model before, not tried again",
                }
                continue
            candidate = settings.candidate(problem, name)
            stack.callback(candidate.close)
            found[name] = _first(candidate, name, problem, baseline)
            if found[name]["status"] == "ok":
                live[name] = candidate
            else:
                candidate.close()
            if found[name]["status"] == "late":
                late.add(name)
            if name == OURS and name not in live:
                break
        if OURS in live:
            others = Others([c.pid for c in live.values() if c.pid is not None])
            peaks = _times(live, found, settings)
            row["others"] = others.share()
            row["peak"] = statistics.median(peaks) if peaks else None
            row["blas"] = live[OURS].ask("libraries").get("blas") if OURS in live else None
    return row


def _first(candidate: Candidate, name: str, problem: Problem, baseline: int | None) -> dict[str, Any]:
    """The untimed run, and whether its result is right."""
    truth = str(problem.folder / "result.npy")
    said = candidate.ask("first", **{"save" if name == OURS else "against": truth})
    if name == OURS and "failed" not in said and "late" not in said:
        checked = candidate.ask("verify")
        said |= checked if "error" not in checked else {"error": checked["error"]}
    known: dict[str, Any] = {key: said[key] for key in ("error", "versions", "seconds") if key in said}
    if "memory" in said and baseline is not None:
        known["memory"] = max(0, said["memory"] - baseline)
    if "late" in said:
        return known | {"status": "late", "message": f"over {said['late']:g} s"}
    if "missing" in said and said["missing"].split(".")[0] not in ("", "fishergeo"):
        return known | {"status": "not installed", "message": said["failed"]}
    if "failed" in said:
        reason = said["failed"].removeprefix("Refused: ")
        return known | {"status": "not available" if reason.startswith("not available") else "refused", "message": reason}
    if not known["error"] <= TOLERANCE:
        return known | {"status": "wrong", "message": f"relative error {known['error']:.2g}"}
    return known | {"status": "ok"}


def _times(live: dict[str, Candidate], found: dict[str, Any], settings: Settings) -> list[float]:
    """Time the candidates in turn, so that a busy moment hits all alike; returns the DGEMM rates measured between."""
    peaks: list[float] = []
    counts: dict[str, int] = {}
    warm: dict[str, float] = {}
    for name in list(live):
        _drop_unless(live, found, name, said := live[name].ask("time", count=1, warm=0.0))
        if name in live:
            seconds = said["seconds"]
            counts[name] = min(500, max(1, math.ceil(_LONG_ENOUGH / max(seconds, 1e-6))))
            warm[name], slow = _WARM if seconds < _SLOW / 10 else 0.0, seconds > _SLOW
            found[name] |= {"times": [], "cpu": [], "runs": min(3, settings.runs) if slow else settings.runs}
            if slow:  # counts as the first of its runs
                found[name] |= {"times": [seconds], "cpu": [said["cpu"]]}
    for _ in range(settings.runs):
        for name in list(live):
            if len(found[name]["times"]) == found[name]["runs"]:
                continue
            if name == OURS:
                peaks += [rate for key, rate in live[name].ask("peak").items() if key == "flops"]
            time.sleep(_PAUSE)
            _drop_unless(live, found, name, said := live[name].ask("time", count=counts[name], warm=warm[name]))
            if name in live:
                found[name]["times"].append(said["seconds"])
                found[name]["cpu"].append(said["cpu"])
    for name in live:
        times = found[name]["times"]
        found[name] |= {"median": statistics.median(times), "min": min(times), "max": max(times)}
        found[name]["cpu"] = statistics.median(found[name]["cpu"])
    return peaks


def _drop_unless(live: dict[str, Candidate], found: dict[str, Any], name: str, said: dict[str, Any]) -> None:
    """Leave out a candidate that could not be timed."""
    if "seconds" not in said:
        message = said.get("failed", f"over {said.get('late')} s")
        found[name] |= {"status": "refused", "message": f"while it was timed: {message}"}
        live.pop(name).close()

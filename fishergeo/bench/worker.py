"""A process of its own for each candidate: python -m fishergeo.bench.worker FOLDER ADAPTER, commands as lines of JSON."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .machine import memory_free, peak_memory
from .problem import Adapter, Prepared, Problem

_PEAK_SIZE = 2000


class Session:
    """A candidate on a problem; each public method answers one command."""

    def __init__(self, problem: Problem, locator: str) -> None:
        self.problem, self.locator = problem, locator
        self.prepared: Prepared | None = None

    def hold(self) -> dict[str, Any]:
        """The memory of a process that only holds the data."""
        X = self.problem.inputs
        held = [X.sum() if hasattr(X, "sum") else 0.0, self.problem.flat, self.problem.vectors]
        return {"memory": peak_memory(), "arrays": len(held)}

    def first(self, save: str | None = None, against: str | None = None) -> dict[str, Any]:
        """Prepare and run once, untimed: memory, and the relative error in comparison with a saved result."""
        adapter = adapter_at(self.locator)
        start = time.perf_counter()
        self.prepared = adapter.prepare(self.problem)
        result = self.prepared.run()
        answer: dict[str, Any] = {"seconds": time.perf_counter() - start}
        if adapter.alone:
            answer["memory"] = peak_memory()
        found = np.asarray(self.prepared.convert(result))
        answer["versions"] = versions(adapter)
        if save is not None:
            np.save(save, found)
        if against is not None:
            expected = np.load(against, mmap_mode="r")
            if found.shape != expected.shape:
                raise ValueError(f"the result has shape {found.shape}, not {expected.shape}")
            error = np.linalg.norm((found - expected).ravel()) / np.linalg.norm(expected.ravel())
            answer["error"] = float(error)
        return answer

    def verify(self) -> dict[str, Any]:
        """The relative error against another way to the same result."""
        assert self.prepared is not None and self.prepared.verify is not None
        return {"error": self.prepared.verify()}

    def time(self, count: int, warm: float) -> dict[str, Any]:
        """Seconds of one run, by the clock and of processors, the mean of ``count``, after ``warm`` seconds of others."""
        assert self.prepared is not None
        run = self.prepared.run
        gc.collect()  # what the last run left in cycles
        start = time.perf_counter()
        while time.perf_counter() - start < warm:
            run()
        start, used = time.perf_counter(), time.process_time()
        for _ in range(count):
            run()
        return {"seconds": (time.perf_counter() - start) / count, "cpu": (time.process_time() - used) / count}

    def peak(self) -> dict[str, Any]:
        """Floating-point operations a second of a matrix product, the best of three."""
        A = np.random.default_rng(0).normal(size=(_PEAK_SIZE, _PEAK_SIZE))
        times = []
        for _ in range(4):
            start = time.perf_counter()
            A @ A
            times.append(time.perf_counter() - start)
        return {"flops": 2.0 * _PEAK_SIZE**3 / min(times[1:])}

    def libraries(self) -> dict[str, Any]:
        """The linear algebra that NumPy and SciPy use here."""
        try:
            from threadpoolctl import threadpool_info
        except ImportError:
            return {"blas": None}
        import scipy.linalg.blas  # noqa: F401  # so that its BLAS is there to be named

        keys = ("internal_api", "version", "architecture", "num_threads", "threading_layer")
        return {"blas": [{key: info.get(key) for key in keys} for info in threadpool_info()]}


def adapter_at(locator: str) -> Adapter:
    """The adapter at "module:attribute"."""
    module, _, name = locator.partition(":")
    found = getattr(importlib.import_module(module), name)
    if not isinstance(found, Adapter):
        raise TypeError(f"{locator} is no Adapter")
    return found


def versions(adapter: Adapter) -> dict[str, str]:
    found = {}
    for package in adapter.packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def answer(session: Session, command: dict[str, Any]) -> dict[str, Any]:
    """What a session says to a command; an exception is an answer too, in one line."""
    name = command.pop("do")
    try:
        return getattr(session, name)(**command)
    except ImportError as error:
        return {"failed": f"{type(error).__name__}: {error}", "missing": getattr(error, "name", None) or ""}
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return {"failed": f"{type(error).__name__}: {lines[0]}".removesuffix(": ")}


def main() -> None:
    folder, locator, threads = sys.argv[1:4]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started us ends us
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    _confine(int(threads))
    session = Session(Problem.read(Path(folder)), locator)
    for line in sys.stdin:
        print(json.dumps(answer(session, json.loads(line))), file=channel, flush=True)


def _confine(threads: int) -> None:
    """As many processors as threads, for libraries that ask for no more; two thirds of the free memory at most."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        free = memory_free()
        if free is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (free * 2 // 3,) * 2)


if __name__ == "__main__":
    main()

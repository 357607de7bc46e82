"""Figures that were aimed at: what a set of results says about each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

OURS = "fishergeo"
Row = dict[str, Any]


def correct(row: Row, what: str = "median") -> dict[str, float]:
    """Median seconds of the candidates whose result is right, by the clock or ("cpu") of processors."""
    return {name: found[what] for name, found in row["candidates"].items() if "median" in found and what in found}


def ratio(row: Row, what: str = "median") -> float | None:
    """The time of the fastest correct peer in units of ours; None without one."""
    times = correct(row, what)
    peers = [seconds for name, seconds in times.items() if name != OURS]
    return min(peers) / times[OURS] if times.get(OURS) and peers else None


def efficiency(row: Row) -> float | None:
    """The share of the measured DGEMM rate that the least possible number of operations makes."""
    seconds = correct(row).get(OURS)
    if seconds is None or row.get("flops") is None or not row.get("peak"):
        return None
    return row["flops"] / seconds / row["peak"]


def surplus(row: Row) -> float | None:
    """Bytes beyond the data and the result."""
    memory = row["candidates"].get(OURS, {}).get("memory")
    return None if memory is None else max(0.0, memory - row["result"])


def less_memory(row: Row) -> float | None:
    """The memory of the most frugal correct peer in units of ours."""
    memory = {
        name: found["memory"] for name, found in row["candidates"].items() if "median" in found and "memory" in found
    }
    own = memory.pop(OURS, None)
    return min(memory.values()) / own if memory and own else None


def second_worker(row: Row) -> float | None:
    """How many times faster two workers are than one."""
    times = correct(row)
    return (
        times["one dask worker"] / times["two dask workers"]
        if {"one dask worker", "two dask workers"} <= set(times)
        else None
    )


def memory_growth(rows: Iterable[Row]) -> list[float]:
    """For each model on files of several sizes: memory at the largest N in units of that at the smallest."""
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in rows:
        memory = row["candidates"].get(OURS, {}).get("memory")
        if row["workload"] == "F" and memory:
            found.setdefault((row["normalizer"], row["family"]), []).append((row["N"], memory))
    return [max(sizes)[1] / min(sizes)[1] for sizes in found.values() if len({N for N, _ in sizes}) > 1]


@dataclass(frozen=True)
class Goal:
    """At least (or at most) a bound, in every row that ``holds`` selects."""

    text: str
    bound: float
    value: Callable[[Row], float | None]
    holds: Callable[[Row], bool]
    least: bool = True
    unit: float = 1.0

    def result(self, rows: Iterable[Row]) -> tuple[float, float] | None:
        """The worst and the best value; None where nothing was measured."""
        values = [value for row in rows if self.holds(row) and (value := self.value(row)) is not None]
        if not values:
            return None
        worst, best = (min(values), max(values)) if self.least else (max(values), min(values))
        return worst / self.unit, best / self.unit

    def met(self, worst: float) -> bool:
        return worst >= self.bound if self.least else worst <= self.bound


def _of(workloads: str, task: str, family: str | None = None, layer: bool | None = None) -> Callable[[Row], bool]:
    def holds(row: Row) -> bool:
        return (
            row["workload"] in workloads
            and row["task"] == task
            and family in (None, row["family"])
            and layer in (None, row["normalizer"] == "layer_norm")
        )

    return holds


_MB = 2.0**20
GOALS = (
    Goal(
        "A, dense F, plain, BN, WN: times faster than the fastest correct peer",
        5,
        ratio,
        _of("A", "dense F", layer=False),
    ),
    Goal("A, dense F, LN: the same", 3, ratio, _of("A", "dense F", layer=True)),
    Goal("B, dense F, plain, BN, WN, Bernoulli: the same", 20, ratio, _of("B", "dense F", "bernoulli", False)),
    Goal("B, dense F, plain, BN, WN, softmax: the same", 8, ratio, _of("B", "dense F", "softmax", False)),
    Goal("B, dense F, LN: the same", 12, ratio, _of("B", "dense F", layer=True)),
    Goal("B and C, dense F: percent of the DGEMM rate", 70, efficiency, _of("BC", "dense F"), unit=0.01),
    Goal("C and D, products: times faster than the fastest correct peer", 2, ratio, _of("CD", "F V")),
    Goal("E, one output: times faster than statsmodels", 1.8, ratio, _of("E", "dense F")),
    Goal("E: memory of statsmodels in units of ours", 2, less_memory, _of("E", "dense F")),
    Goal("F, two workers of dask: times faster than one", 1.5, second_worker, _of("F", "dense F")),
    Goal("A-E: MB beyond data and result", 256, surplus, lambda row: row["workload"] in "ABCDE", least=False, unit=_MB),
)


def exponents(rows: Iterable[Row]) -> list[Row]:
    """The growth exponent of our time along N, D and H, by a straight line through the logarithms."""
    series: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for row in rows:
        seconds = correct(row).get(OURS)
        if row["workload"].startswith("growth ") and seconds:
            axis = row["workload"].removeprefix("growth ")
            key = (axis, row["task"], row["normalizer"], row["family"])
            series.setdefault(key, []).append((row[axis], seconds))
    found = []
    for (axis, task, normalizer, family), points in series.items():
        if len({size for size, _ in points}) > 1:
            sizes, times = zip(*sorted(points), strict=True)
            slope = _slope([math.log(s) for s in sizes], [math.log(t) for t in times])
            names = {"axis": axis, "task": task, "normalizer": normalizer, "family": family}
            found.append(names | {"sizes": list(sizes), "seconds": list(times), "exponent": slope})
    return found


def _slope(x: list[float], y: list[float]) -> float:
    mean = sum(x) / len(x)
    return sum((a - mean) * b for a, b in zip(x, y, strict=True)) / sum((a - mean) ** 2 for a in x)

"""The machine: its name, its load, and what the measured processes take of it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_PROC = Path("/proc")


def peak_memory() -> int:
    """The most bytes this process has held so far.

    Linux says so for the program itself (VmHWM); `getrusage` would also count what its parent held when it was started.
    """
    found = _kilobytes(_PROC / "self" / "status", "VmHWM")
    if found is not None:
        return found
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def memory_free() -> int | None:
    """Bytes that are free; None where the system does not say."""
    return _kilobytes(_PROC / "meminfo", "MemAvailable")


def _kilobytes(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)


def describe(threads: int) -> dict[str, Any]:
    """Processor, cores, memory, versions."""
    import numpy
    import scipy

    total = _kilobytes(_PROC / "meminfo", "MemTotal")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": total,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "threads": threads,
    }


def _processor() -> str:
    try:
        lines = (_PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    wide = [name for name in ("avx2", "avx512f") if name in facts.get("flags", "").split()]
    model = f"family {facts['cpu family']}, model {facts['model']}" if "cpu family" in facts and "model" in facts else ""
    return ", ".join(filter(None, (facts.get("model name", platform.machine()), model, *wide)))


def load() -> list[float] | None:
    """The load averages; None where the system has none."""
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else None


class Others:
    """What share of the processors went to other processes than ours, and those they started, while it was measured."""

    def __init__(self, pids: Iterable[int]) -> None:
        self.pids = {os.getpid(), *pids}
        self.start = self._now()

    def _now(self) -> tuple[float, float, float] | None:
        """Ticks so far: all, busy, ours."""
        try:
            ticks = [int(field) for field in (_PROC / "stat").read_text().split("\n")[0].split()[1:9]]
        except (OSError, ValueError):
            return None
        return sum(ticks), sum(ticks) - ticks[3] - ticks[4], self._ours()

    def _ours(self) -> int:
        parents, used = {}, {}
        for path in _PROC.glob("[0-9]*/stat"):
            try:
                fields = path.read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            pid = int(path.parent.name)
            parents[pid], used[pid] = int(fields[1]), sum(map(int, fields[11:15]))  # with children that have ended
        return sum(ticks for pid, ticks in used.items() if self._is_ours(pid, parents))

    def _is_ours(self, pid: int, parents: Mapping[int, int]) -> bool:
        while pid not in self.pids:
            if pid not in parents:
                return False
            pid = parents[pid]
        return True

    def share(self) -> float | None:
        """Between 0 and 1; time that a hypervisor took away counts too.  None where the system does not say."""
        end = self._now()
        if end is None or self.start is None or end[0] <= self.start[0]:
            return None
        total, busy, ours = (b - a for a, b in zip(self.start, end, strict=True))
        return min(1.0, max(0.0, (busy - ours) / total))

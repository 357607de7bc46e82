"""Measure the figures the project promises: import time, the invariance table, the report, the test suite.

    python benchmarks/figures.py [--runs 5] [-o benchmarks/out]

Every figure is timed as whole processes, medians are quoted, slow rows included; writes figures.json and figures.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TABLE = "import fishergeo as fg; fg.invariance_table()"


def wall(command: Sequence[str], runs: int) -> list[float]:
    """Wall seconds of ``command`` over ``runs`` processes, after one that is not counted."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return times[1:]


def paired(first: Sequence[str], second: Sequence[str], runs: int) -> list[float]:
    """Differences of wall seconds of two commands run in turn."""
    wall(first, 0), wall(second, 0)
    return [b - a for a, b in ((_one(first), _one(second)) for _ in range(runs))]


def _one(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure(runs: int) -> list[dict[str, Any]]:
    """One row for each figure: its name, the target in seconds, and all measured seconds."""
    python = sys.executable
    with tempfile.TemporaryDirectory() as folder:
        report = [python, "-m", "fishergeo", "report", "-o", os.path.join(folder, "report")]
        rows = [
            (
                "import fishergeo, over bare Python",
                0.030,
                paired([python, "-c", ""], [python, "-c", "import fishergeo"], 4 * runs),
            ),
            ("the full invariance table, whole process", 5.0, wall([python, "-c", TABLE], runs)),
            ("fishergeo report on digits, whole process", 60.0, wall(report, max(1, runs // 2))),
            ("test suite, whole process", 300.0, wall([python, "-m", "pytest", "-n", "auto"], 1)),
        ]
    return [
        {
            "figure": name,
            "target_s": target,
            "median_s": statistics.median(times),
            "min_s": min(times),
            "max_s": max(times),
        }
        for name, target, times in rows
    ]


def machine() -> str:
    """The machine and the versions in words."""
    import numpy
    import scipy
    import sympy

    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"NumPy {numpy.__version__}, SciPy {scipy.__version__}, SymPy {sympy.__version__}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "benchmarks" / "out")
    arguments = parser.parse_args()
    rows = measure(arguments.runs)
    lines = [
        f"Measured on {machine()}.",
        "",
        "| figure | target | median | min | max | met |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        numbers = " | ".join(f"{row[key]:.3g} s" for key in ("target_s", "median_s", "min_s", "max_s"))
        lines.append(f"| {row['figure']} | {numbers} | {'yes' if row['median_s'] <= row['target_s'] else 'NO'} |")
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "figures.json").write_text(json.dumps({"machine": machine(), "figures": rows}, indent=1) + "\n")
    (arguments.output / "figures.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

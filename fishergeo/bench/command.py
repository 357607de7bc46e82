"""The subcommand: choose, measure row by row, and keep what is finished."""

from __future__ import annotations

import argparse
import importlib.util
import json
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..report import output
from . import machine, plots, render
from .measure import PEERS, Settings, measure
from .problem import Task
from .workloads import Workload, chosen


def peers_of(names: str) -> tuple[str, ...]:
    """The peers of a comma-separated list; "all" and "none" are lists too, and "module:attribute" is an `Adapter`."""
    if names in ("all", "none"):
        return PEERS if names == "all" else ()
    wanted = tuple(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in wanted:
        if name not in PEERS and (":" not in name or not _found(name.partition(":")[0])):
            raise InputError(f"there is no peer {name!r}: give some of {','.join(PEERS)}, all, none, or module:attribute")
    return wanted


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _pythons(pairs: list[str] | None) -> dict[str, str]:
    found = {}
    for pair in pairs or []:
        name, _, path = pair.partition("=")
        if name not in PEERS or not Path(path).is_file():
            raise InputError(f"--python {pair!r}: give PEER=INTERPRETER, an existing file")
        found[name] = path
    return found


def bench(options: argparse.Namespace) -> None:
    """Run `fishergeo bench`."""
    for name, least in (("runs", 3), ("threads", 1), ("cases", 10)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise InputError(f"--{name} {value}: give {least} or more")
    if not options.limit > 0:
        raise InputError(f"--limit {options.limit:g}: give a number of seconds > 0")
    workloads, peers = chosen(options.workloads, options.cases), peers_of(options.peers)
    settings = Settings(options.runs, options.threads, options.limit, options.cases, _pythons(options.python))
    target = Path(options.output)
    output.check_folder(target)
    run(workloads, peers, settings, target, shlex.join(["fishergeo", *options.arguments]), _tell)
    print(target / "bench.md")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(
    workloads: tuple[Workload, ...],
    peers: tuple[str, ...],
    settings: Settings,
    target: Path,
    command_line: str,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Measure, writing all results so far after every row: what is finished stays when the rest is interrupted."""
    results: dict[str, Any] = {
        "generator": output.GENERATOR,
        "command": command_line,
        "machine": machine.describe(settings.threads),
        "runs": settings.runs,
        "most": settings.most,
        "load": {"before": machine.load(), "after": None},
        "complete": False,
        "rows": [],
        "files": [],
    }
    own = tuple(name for name in peers if name not in PEERS)  # the user's, tried on everything
    try:
        with tempfile.TemporaryDirectory(prefix="fishergeo-bench-") as scratch:
            for workload in workloads:
                late: dict[Task, set[str]] = {}
                for case in workload.cases:
                    asked = workload.asked(case, peers) + own
                    row = measure(case, asked, settings, Path(scratch), late.setdefault(case.task, set()))
                    results["rows"].append(row)
                    results["load"]["after"] = machine.load()
                    save(results, target)
                    tell(_progress(row))
                for path in Path(scratch).glob("X-*"):
                    path.unlink()
        results["complete"] = True
    finally:
        if results["rows"]:
            save(results, target, pictures=True)
    return results


def _progress(row: dict[str, Any]) -> str:
    def said(name: str, found: dict[str, Any]) -> str:
        return f"{name} {render.seconds(found['median']) if 'median' in found else found['status']}"

    model = f"{row['normalizer']} {row['family']} N={row['N']} D={row['D']} H={row['H']}"
    return f"{row['workload']} {row['task']} {model}: " + ", ".join(said(*pair) for pair in row["candidates"].items())


def save(results: dict[str, Any], target: Path, pictures: bool = False) -> None:
    """Write results.json, bench.md and the pictures, in one step."""
    with output.folder(target) as work:
        results["files"] = sorted([output.RESULTS, "bench.md", *(plots.draw(results, work) if pictures else ())])
        (work / "bench.md").write_text(render.markdown(results), encoding="utf-8")
        (work / output.RESULTS).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

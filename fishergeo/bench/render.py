"""Results as Markdown: a table for each workload and task, the goals, the growth exponents, the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from . import goals
from .goals import OURS
from .workloads import WORKLOADS

Row = dict[str, Any]


def markdown(results: dict[str, Any]) -> str:
    """All of the results."""
    notes: list[str] = []
    parts = [_machine(results)]
    for name, rows in _workloads(results["rows"]):
        parts.append(f"### {name}: {WORKLOADS[name].title}" if name in WORKLOADS else f"### {name}")
        parts += [_table(some, notes) for some in _tasks(rows)]
    growth = goals.exponents(results["rows"])
    if growth:
        parts += ["### Growth of our time", _growth(growth)]
    parts += ["### What was aimed at", _goals(results["rows"])]
    if notes:
        parts.append("\n".join(f"{k}. {note}" for k, note in enumerate(notes, start=1)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _machine(results: dict[str, Any]) -> str:
    m = results["machine"]
    memory = "" if m["memory"] is None else f", {m['memory'] / 2**30:.0f} GiB"
    kernels = next((row["blas"] for row in results["rows"] if row.get("blas")), None) or []
    blas = ", ".join(
        dict.fromkeys(
            f"{k['internal_api']} {k['version']} ({k['architecture']})"
            for k in kernels
            if k["internal_api"] == "openblas"
        )
    )
    versions: dict[str, str] = {}
    for row in results["rows"]:
        for found in row["candidates"].values():
            versions |= found.get("versions", {})
    versions.pop("numpy", None), versions.pop("scipy", None)
    others = [row["others"] for row in results["rows"] if row.get("others") is not None]
    peaks = sorted(row["peak"] for row in results["rows"] if row.get("peak"))
    before, after = results["load"]["before"], results["load"]["after"]
    lines = [
        f"Machine: {m['processor']}, {m['cores']} cores{memory}, {m['system']}.",
        f"Software: Python {m['python']}, NumPy {m['numpy']}, SciPy {m['scipy']}{', ' + blas if blas else ''}"
        + "".join(f", {name} {version}" for name, version in sorted(versions.items()))
        + ".",
        f"{m['threads']} threads, float64; medians of {results['runs']} runs (3 where one takes over 10 s), in turn.",
    ]
    if peaks:
        lines.append(f"DGEMM at 2000 x 2000, between the runs: {peaks[0] / 1e9:.0f} to {peaks[-1] / 1e9:.0f} GFLOP/s.")
    if before is not None and after is not None:
        lines.append(f"Load average {before[0]:.1f} before, {after[0]:.1f} after.")
    if others:
        worst, middle = max(others), sorted(others)[len(others) // 2]
        quiet = "quiet" if worst < 0.1 else "**not quiet**: trust the ratios more than the times, and neither too much"
        lines.append(
            f"Other processes took {100 * middle:.0f} % of the processors in the median row, {100 * worst:.0f} % at "
            f"most: {quiet}."
        )
    if results["most"] is not None:
        lines.append(f"At most {results['most']} rows: **smaller than the workloads are**.")
    if not results["complete"]:
        lines.append("**Not complete**: it was interrupted, or is still running.")
    return "\n".join(lines)


def _workloads(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    names = dict.fromkeys(row["workload"] for row in rows if not row["workload"].startswith("growth"))
    for name in names:
        yield name, [row for row in rows if row["workload"] == name]


def _tasks(rows: Sequence[Row]) -> Iterator[list[Row]]:
    def key(row: Row) -> tuple[Any, ...]:
        return (row["task"], row["N"], row["vectors"], row["D"], row["H"])

    for wanted in dict.fromkeys(key(row) for row in rows):
        yield [row for row in rows if key(row) == wanted]


def _table(rows: Sequence[Row], notes: list[str]) -> str:
    first = rows[0]
    peers = list(dict.fromkeys(name for row in rows for name in row["candidates"] if name != OURS))
    head = [
        "model",
        OURS,
        "range",
        "GFLOP/s",
        "of DGEMM",
        "memory",
        *(("fastest peer, processors",) if peers else ()),
        *peers,
    ]
    title = f"{_task(first)}, N={first['N']}, D={first['D']}, H={first['H']} (P={first['P']}), {first['storage']}"
    return f"{title}; peers relative to {OURS}.\n\n" + _grid(head, [_line(row, peers, notes) for row in rows])


def _task(row: Row) -> str:
    if row["task"] == "F V":
        return "F v" if row["vectors"] == 1 else f"F V, {row['vectors']} vectors at once"
    return row["task"]


def _line(row: Row, peers: Sequence[str], notes: list[str]) -> list[str]:
    own = row["candidates"].get(OURS, {"status": "refused", "message": "not run"})
    name = "plain" if row["normalizer"] == "identity" else row["normalizer"].replace("_", " ")
    cells = [f"{name}, {row['family']}"]
    if "median" in own:
        share = goals.efficiency(row)
        cells += [seconds(own["median"]), f"{seconds(own['min'])} - {seconds(own['max'])}"]
        cells += ["–" if row["flops"] is None else f"{row['flops'] / own['median'] / 1e9:.0f}"]
        cells += ["–" if share is None else f"{100 * share:.0f} %"]
        cells += [size(own["memory"]) if "memory" in own else "–"]
    else:
        cells += [_status(own, OURS, notes), *["–"] * 4]
    if peers:
        cells.append(
            ", ".join(f"x{r:.3g}" for what in ("median", "cpu") if (r := goals.ratio(row, what)) is not None) or "–"
        )
    for peer in peers:
        found = row["candidates"].get(peer)
        if found is None:
            cells.append("–")
        elif "median" in found and "median" in own:
            memory = f", {size(found['memory'])}" if "memory" in found else ""
            cells.append(f"x{found['median'] / own['median']:.3g} ({seconds(found['median'])}{memory})")
        else:
            cells.append(_status(found, peer, notes))
    return cells


def _status(found: dict[str, Any], name: str, notes: list[str]) -> str:
    """Why there is no time, with a note."""
    status, message = found["status"], found.get("message", "")
    if status == "wrong":
        return f"**wrong**, {100 * found['error']:.3g} % off"
    if status == "late":
        return message.partition(" for ")[0] + (" before" if " for " in message else "")
    note = f"{name}: {message}"
    if note not in notes:
        notes.append(note)
    return f"{status} [{notes.index(note) + 1}]"


def _growth(found: Sequence[Row]) -> str:
    lines = [
        [
            _task({"task": row["task"], "vectors": 1}),
            f"{row['normalizer'].replace('_', ' ')}, {row['family']}",
            row["axis"],
            " ".join(str(s) for s in row["sizes"]),
            ", ".join(seconds(t) for t in row["seconds"]),
            f"{row['exponent']:.2f}",
        ]
        for row in found
    ]
    return _grid(["task", "model", "in", "sizes", "times", "exponent"], lines)


def _goals(rows: Sequence[Row]) -> str:
    lines = []
    for goal in goals.GOALS:
        found = goal.result(rows)
        bound = f"{'>=' if goal.least else '<='} {goal.bound:g}"
        if found is None:
            lines.append([goal.text, bound, "not measured", ""])
        else:
            worst, best = found
            lines.append([goal.text, bound, f"{worst:.3g} to {best:.3g}", "yes" if goal.met(worst) else "**no**"])
    grown = goals.memory_growth(rows)
    if grown:
        met = "yes" if max(grown) <= 1.1 else "**no**"
        lines.append(["F: memory at the largest N over that at the smallest", "<= 1.1", f"{max(grown):.3g}", met])
    for row in goals.exponents(rows):
        if row["axis"] == "N":
            name = f"{_task({'task': row['task'], 'vectors': 1})}, {row['normalizer'].replace('_', ' ')}, {row['family']}"
            met = "yes" if row["exponent"] <= 1.05 else "**no**"
            lines.append([f"growth exponent in N, {name}", "<= 1.05", f"{row['exponent']:.2f}", met])
    return _grid(["figure", "goal", "measured, worst to best", "met"], lines)


def _grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def seconds(value: float) -> str:
    """A time in the unit that suits it."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def size(value: float) -> str:
    """A size in memory."""
    return f"{value / 2**20:.0f} MB" if value < 2**30 else f"{value / 2**30:.1f} GB"

"""Results as pictures (SVG): ratios to the peers, share of the DGEMM rate, growth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import goals
from .goals import OURS

_WIDTH, _HEIGHT = 8.0, 0.22  # inches; a bar


def draw(results: dict[str, Any], folder: Path) -> list[str]:
    """Write the pictures that the results allow; returns their file names, none without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return []
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    written = []
    with matplotlib.rc_context({"svg.hashsalt": "fishergeo", "svg.fonttype": "path"}):
        for name, picture in (("ratios.svg", _ratios), ("efficiency.svg", _efficiency), ("growth.svg", _growth)):
            figure = picture(results["rows"])
            if figure is not None:
                FigureCanvasSVG(figure).print_svg(folder / name, metadata={"Date": None})
                written.append(name)
    return written


def _label(row: dict[str, Any]) -> str:
    name = "plain" if row["normalizer"] == "identity" else row["normalizer"].replace("_", " ")
    task = f"{row['vectors']} products" if row["task"] == "F V" and row["vectors"] > 1 else row["task"]
    return f"{row['workload']}  {task}, {name}, {row['family']}"


def _figure(count: float) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, 1.2 + _HEIGHT * count), layout="constrained")
    return figure, figure.subplots()


def _ratios(rows: list[dict[str, Any]]) -> Any:
    rows = [row for row in rows if goals.ratio(row) is not None][::-1]
    if not rows:
        return None
    figure, ax = _figure(len(rows))
    peers = sorted({name for row in rows for name in goals.correct(row)} - {OURS})
    for k, peer in enumerate(peers):
        times = [goals.correct(row) for row in rows]
        points = [(t[peer] / t[OURS], y) for y, t in enumerate(times) if peer in t]
        ax.plot(*zip(*points, strict=True), "osD^vX*P"[k % 8], label=peer, ms=5)
    ax.axvline(1, color="0.3", lw=1)
    ax.set(xscale="log", xlabel=f"time in units of {OURS}'s", ylim=(-0.7, len(rows) - 0.3))
    ax.set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=8)
    ax.grid(axis="x", alpha=0.4)
    ax.legend(fontsize=8)
    return figure


def _efficiency(rows: list[dict[str, Any]]) -> Any:
    rows = [row for row in rows if goals.efficiency(row) is not None and not row["workload"].startswith("growth")][::-1]
    if not rows:
        return None
    figure, ax = _figure(len(rows))
    ax.barh(range(len(rows)), [100 * (goals.efficiency(row) or 0) for row in rows], color="0.5")
    ax.axvline(100, color="0.3", lw=1)
    ax.set(xlabel="least possible operations a second, percent of the DGEMM rate", ylim=(-0.7, len(rows) - 0.3))
    ax.set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=8)
    return figure


def _growth(rows: list[dict[str, Any]]) -> Any:
    found = goals.exponents(rows)
    if not found:
        return None
    from matplotlib.figure import Figure

    axes = list(dict.fromkeys(row["axis"] for row in found))
    figure = Figure(figsize=(_WIDTH, 4.8), layout="constrained")
    for ax, axis in zip(figure.subplots(1, len(axes), squeeze=False)[0], axes, strict=True):
        for row in (row for row in found if row["axis"] == axis):
            task = "F v" if row["task"] == "F V" else row["task"]
            label = f"{task}, {row['normalizer'].replace('_', ' ')}, {row['family']}: {row['exponent']:.2f}"
            ax.plot(row["sizes"], row["seconds"], "o-", label=label, ms=4)
        ax.set(xscale="log", yscale="log", xlabel=axis, ylabel="s")
        sizes = sorted({size for row in found if row["axis"] == axis for size in row["sizes"]})
        ax.set_xticks(sizes, [f"{size:,}".replace(",", " ") for size in sizes], rotation=90, fontsize=7)
        ax.set_xticks([], minor=True)
        ax.tick_params(axis="y", which="both", labelsize=7)
        ax.grid(alpha=0.4, which="both")
        ax.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.45, -0.27))  # below: the lines leave no room
    return figure

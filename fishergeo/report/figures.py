"""The figures of a report, drawn from its results; one style, colours that colour-blind readers tell apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ..families import Floats
from ..invariance.scaling import BLOCKS

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")  # Okabe, Ito 2008
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)), (0, (3, 3)))
MARKERS = "osD^vPX*"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.dpi": 100,
    "svg.hashsalt": "fishergeo",
    "svg.fonttype": "path",
}
_DECADES = 6
_PIXELS = 700  # the largest heat map that is drawn entry by entry


def draw(results: dict[str, Any], matrices: dict[str, Floats]) -> Iterator[tuple[str, Figure]]:
    """The name and the figure, one after the other."""
    with matplotlib.rc_context(STYLE):
        yield "fisher_matrices", heat_maps(results, matrices)
        yield "spectra", spectra(results)
        yield "scaling", scaling(results)
        yield "training", training(results)
        yield "effective_rate", effective_rate(results)


def _panels(count: int, width: float, height: float, columns: int = 2) -> tuple[Figure, list[Any]]:
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, list(axes[:count])


def heat_maps(results: dict[str, Any], matrices: dict[str, Floats]) -> Figure:
    """|F|/max|F| of each normalizer, logarithmic, with the blocks of the units marked."""
    studies = results["normalizers"]
    figure, axes = _panels(len(studies), 7.4, 3.35)
    image: Any = None
    for ax, study in zip(axes, studies, strict=True):
        spectrum = study["fisher"]
        F = np.abs(matrices[study["name"]]) / spectrum["largest_entry"]
        size, units = spectrum["size"], spectrum["units"]
        image = ax.imshow(
            np.log10(np.maximum(_coarse(F), 10.0**-_DECADES)),
            cmap="cividis",
            vmin=-_DECADES,
            vmax=0,
            extent=(0, units, units, 0),
            interpolation="auto",
        )
        for edge in range(1, units):
            ax.axhline(edge, color="white", linewidth=0.5, alpha=0.7)
            ax.axvline(edge, color="white", linewidth=0.5, alpha=0.7)
        ax.set_title(f"{study['title']}\n{size} x {size}, rank {spectrum['rank']}", fontsize=9)
        ticks = np.arange(units) if units <= 12 else np.arange(0, units, math.ceil(units / 8))
        ax.set_xticks(ticks + 0.5, ticks)
        ax.set_yticks(ticks + 0.5, ticks)
        ax.tick_params(length=0)
        ax.grid(visible=False)
        ax.set(xlabel="unit", ylabel="unit")
    rows = math.ceil(len(axes) / 2)
    bar = figure.colorbar(image, ax=axes, shrink=min(0.8, 1.3 / rows), aspect=25, ticks=range(-_DECADES, 1), extend="min")
    bar.ax.set_yticklabels([f"$10^{{{k}}}$" for k in range(-_DECADES, 1)])
    bar.set_label("entry of the Fisher matrix, relative to the largest")
    return figure


def _coarse(F: Floats) -> Floats:
    """The largest entry of each square of pixels, so that a large matrix fits on the page."""
    step = math.ceil(len(F) / _PIXELS)
    if step == 1:
        return F
    padded = np.pad(F, (0, -len(F) % step))
    return padded.reshape(len(padded) // step, step, -1, step).max(axis=(1, 3))


def _lines(studies: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for k, study in enumerate(studies):
        style = {
            "color": COLOURS[k % len(COLOURS)],
            "linestyle": DASHES[(k + k // len(COLOURS)) % len(DASHES)],
            "label": study["title"],
        }
        yield study, style


def _legend(figure: Figure, ax: Any) -> None:
    """The legend in the axes, or beside them where it would cover too much."""
    lines, names = ax.get_legend_handles_labels()
    if len(lines) > 5:
        figure.legend(lines, names, loc="outside lower center", ncols=3)
    else:
        ax.legend()


def spectra(results: dict[str, Any]) -> Figure:
    """The eigenvalues that are not zero, sorted; the marks at the ends are the ranks."""
    figure = Figure(figsize=(7.4, 3.6), layout="constrained")
    ax = figure.add_subplot()
    for study, style in _lines(results["normalizers"]):
        values = study["fisher"]["eigenvalues"]
        ax.plot(np.arange(1, len(values) + 1), values, **style)
        ax.plot(len(values), values[-1], marker="o", markersize=5, color=style["color"])
    ax.set(yscale="log", xlabel="index of the eigenvalue, largest first", ylabel="eigenvalue of $F$")
    ax.set_xlim(left=0)
    _legend(figure, ax)
    return figure


def scaling(results: dict[str, Any]) -> Figure:
    """The norms of the Fisher blocks against the factor of the weights, log-log, relative to their value at factor 1."""
    studies = results["normalizers"]
    figure, axes = _panels(len(studies), 7.4, 2.7)
    shown: dict[str, Any] = {}
    for ax, study in zip(axes, studies, strict=True):
        measured = study["scaling"]
        factors = np.array(measured["factors"])
        for k, name in enumerate(BLOCKS):
            if measured["slopes"].get(name) is None:
                continue
            norms = np.array(measured["norms"][name])
            relative = norms / norms[np.argmin(np.abs(factors - 1))]
            # lines that coincide stay visible: the later, the thinner
            style = {"color": COLOURS[k], "marker": MARKERS[k], "linewidth": 3.6 - 0.55 * k, "markersize": 7 - 0.8 * k}
            shown[f"block {name}"] = ax.plot(factors, relative, **style)[0]
        if measured["doubling"]["ww"] == "1/4":
            printed = ax.plot(factors, 1 / factors, color="black", linestyle=":", linewidth=1.6, zorder=5)
            shown["ww as printed in the paper (factor 1/2)"] = printed[0]
        ax.set_xscale("log", base=2)
        ax.set(yscale="log", title=study["title"], xlabel="factor $c$ of the weights", ylabel="norm, relative")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_locator(NullLocator())
        _readable(ax)
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4)
    return figure


def _readable(ax: Any) -> None:
    """A logarithmic axis whose ticks are few plain numbers."""
    low, high = ax.get_ylim()
    decades = math.log10(high / low)
    ax.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5) if decades < 2 else (1,)))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_locator(NullLocator())


def smoothing(results: dict[str, Any]) -> int:
    """The number of steps of a running mean: an epoch, or a fortieth of the run."""
    run = results["normalizers"][0]["training"]
    return max(1, results["data"]["cases_used"] // run["batch"], run["steps"] // 40)


def training(results: dict[str, Any]) -> Figure:
    """Loss on the batches and the angle by which the weights turn in a step, both running means."""
    figure, (loss, angle) = _panels(2, 7.4, 2.9)
    window = smoothing(results)
    for study, style in _lines(results["normalizers"]):
        run = study["training"]
        smooth = np.convolve(run["batch_loss"], np.full(window, 1 / window), mode="valid")
        loss.plot(np.arange(len(smooth)) + window // 2, smooth, **style)
        turned = np.degrees(run["angle"]["median"])
        smooth = np.convolve(turned, np.full(window, 1 / window), mode="valid")
        angle.plot(np.arange(len(smooth)) + window // 2, smooth, **style)
    loss.set(xlabel="step", ylabel="loss")
    if min(min(s["training"]["batch_loss"]) for s in results["normalizers"]) > 0:
        loss.set_yscale("log")
        _readable(loss)
    angle.set(yscale="log", xlabel="step", ylabel="turn of $w$ in a step (degrees)")
    _readable(angle)
    _legend(figure, loss)
    return figure


def effective_rate(results: dict[str, Any]) -> Figure:
    """Norms and effective learning rates relative to the start: median over the weight vectors, and their range."""
    figure, (norm, rate) = _panels(2, 7.4, 3.1)
    for study, style in _lines(results["normalizers"]):
        run = study["training"]
        for ax, name in ((norm, "norm"), (rate, "effective_rate")):
            if name == "effective_rate" and not run["scale_free"]:
                continue
            band = run[name]
            steps = np.arange(len(band["median"]))
            ax.plot(steps, band["median"], **style)
            ax.fill_between(steps, band["low"], band["high"], color=style["color"], alpha=0.15, linewidth=0)
    norm.set(xlabel="step", ylabel=r"$\|w_t\|\,/\,\|w_0\|$")
    rate.set(xlabel="step", ylabel=r"effective rate $\eta/\|w_t\|^2$, relative")
    if not rate.lines:
        rate.text(0.5, 0.5, "no normalizer here makes\nthe length irrelevant", ha="center", transform=rate.transAxes)
    rate.set_yscale("log")
    _readable(rate)
    _legend(figure, norm)
    return figure

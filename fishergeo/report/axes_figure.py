"""The cells of a normalizer as a picture: the array at each site, with the entries of one cell coloured.

After figure 2 of Wu, He 2018 (arXiv 1803.08494), with the axes of this package: cases n to the right, positions s
downwards, units h or inputs d into the page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..axes import Axis, Site
from ..cells import Cells
from ..frozen import Frozen
from ..normalizer import Normalizer, Stage
from ..opaque import Opaque
from ..spectral import Spectral
from ..standardize import Scale, Standardize
from .figures import COLOURS, STYLE

SIZES = {Axis.SAMPLE: 4, Axis.POSITION: 3, Axis.UNIT: 5, Axis.INPUT: 6}  # before they are raised to fit groups
NAMES = {Axis.SAMPLE: "cases", Axis.POSITION: "positions", Axis.UNIT: "units", Axis.INPUT: "inputs"}
ARRAYS = {Site.INPUTS: "inputs", Site.WEIGHT: "weights", Site.SUMMED: "summed inputs"}
_SLANT = np.array([0.42, 0.36])  # one step into the page
_PLAIN, _OUTSIDE, _INSIDE = "#ffffff", "#a9d3ee", COLOURS[0]
_SHADE = {"front": 1.0, "top": 0.94, "side": 0.86}


@dataclass(frozen=True)
class Cell:
    """One cell of a stage: entries of an array (n, s, h), (n, s, d) or (h, d), and which make its moments."""

    site: Site
    entries: NDArray[np.bool_]
    moments: NDArray[np.bool_]


def cell(site: Site, stage: Stage | None, sizes: dict[Axis, int]) -> Cell:
    """The cell of the last case, the first position and the first unit, found with the stage's own sums.

    It is empty for no stage, for given statistics, and for functions that treat each entry alone.
    """
    layout = site.layout(3)
    shape = tuple(sizes[axis] for axis in layout)
    marked = np.zeros(shape)
    if stage is None or isinstance(stage, Frozen) or not stage.over:
        return Cell(site, marked > 0, marked > 0)
    marked[tuple(-1 if axis is Axis.SAMPLE else 0 for axis in layout)] = 1
    place = {axis: k - len(layout) for k, axis in enumerate(layout)}
    axes = tuple(place[axis] for axis in layout if axis in stage.over)
    cells = Cells.of(marked, axes, {place[axis]: count for axis, count in stage.groups}, stage.first)
    entries = np.broadcast_to(cells.total(marked), shape) > 0
    return Cell(site, entries, entries if cells.share is None else entries & (cells.share > 0))


def cells(normalizer: Normalizer) -> list[Cell]:
    """A cell of each stage, in the order in which the stages act, at sizes that the normalizer admits."""
    least, every = normalizer.minimum(), normalizer.multiples()
    sizes = {axis: -(-max(size, least[axis]) // every[axis]) * every[axis] for axis, size in SIZES.items()}
    return [cell(site, stage, sizes) for site, stage in normalizer.stages]


def words(stage: Stage) -> str:
    """What a stage does to a cell: "centered and divided by their standard deviation"."""
    if isinstance(stage, Opaque):
        return "changed by a function of which only values are known"
    if isinstance(stage, Frozen):
        return "centered and divided by given statistics"
    if isinstance(stage, Spectral):
        return "divided by their largest singular value"
    spread = "standard deviation" if stage.center and stage.scale is Scale.STD else stage.scale.value
    parts = [*(["centered"] * stage.center), *([f"divided by their {spread}"] * (stage.scale is not Scale.NONE))]
    return " and ".join(parts)


def together(site: Site, stage: Stage) -> str:
    """Which entries make a cell: "all cases and positions, for each unit"."""
    split = dict(stage.groups) if isinstance(stage, Standardize) else {}
    inside, apart = [], []
    for axis in site.layout(3):
        if axis not in stage.over:
            apart.append(f"each {NAMES[axis][:-1]}")
        else:
            inside.append(f"the {NAMES[axis]} of one group" if axis in split else f"all {NAMES[axis]}")
            apart += [f"each of {split[axis]} groups of {NAMES[axis]}"] if axis in split else []
    if not inside:
        return "each entry"
    text = " and ".join(inside).replace(" and all", " and")
    first = stage.first if isinstance(stage, Standardize) else None
    if first is not None:
        way = "up" if first.rounding is math.ceil else "down"
        text += f", the first {first.fraction} of which (rounded {way}) make the moments"
    *most, last = apart or [""]
    return text + (f", for {', '.join(most)}{' and ' * bool(most)}{last}" if apart else "")


def draw(normalizer: Normalizer) -> Figure:
    """One panel for each stage; for a normalizer without stages, the summed inputs with nothing coloured."""
    shown = cells(normalizer) or [cell(Site.SUMMED, None, SIZES)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * len(shown), 2.5), layout="constrained")
        for ax, one in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            _panel(ax, one)
    return figure


def _panel(ax: Any, one: Cell) -> None:
    entries, moments = one.entries, one.moments
    if entries.ndim == 2:  # a matrix, seen from the front: rows downwards
        entries, moments = entries.T[:, :, None], moments.T[:, :, None]
    for face, corners, place in _faces(entries.shape, flat=one.entries.ndim == 2):
        base = _INSIDE if moments[place] else _OUTSIDE if entries[place] else _PLAIN
        shade = np.array(matplotlib.colors.to_rgb(base)) * _SHADE[face]
        ax.add_collection(PolyCollection([corners], facecolor=shade, edgecolor="#2b2f36", linewidth=0.6))
    _label(ax, entries.shape, one.site)
    ax.set_title(ARRAYS[one.site], fontsize=9)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.autoscale_view()


def _faces(shape: tuple[int, ...], flat: bool) -> Any:
    """The visible squares of a cuboid of ``shape`` (right, down, back), the far ones first."""
    right, down, back = shape

    def corner(x: float, y: float, z: float) -> Any:
        return np.array([x, -y]) + z * _SLANT

    for z in reversed(range(back)) if not flat else ():
        for x in range(right):
            square = [corner(x, 0, z), corner(x + 1, 0, z), corner(x + 1, 0, z + 1), corner(x, 0, z + 1)]
            yield "top", square, (x, 0, z)
        for y in range(down):
            square = [corner(right, y, z), corner(right, y + 1, z), corner(right, y + 1, z + 1), corner(right, y, z + 1)]
            yield "side", square, (right - 1, y, z)
    for x in range(right):
        for y in range(down):
            yield "front", [corner(x, y, 0), corner(x + 1, y, 0), corner(x + 1, y + 1, 0), corner(x, y + 1, 0)], (x, y, 0)


def _label(ax: Any, shape: tuple[int, ...], site: Site) -> None:
    """The names of the axes, beside the edges along which they run."""
    right, down, back = shape
    along = site.layout(3) if site is not Site.WEIGHT else site.layout(2)[::-1]
    names = [f"{NAMES[axis]} {axis.value}" for axis in along]
    ax.text(right / 2, -down - 0.25, names[0], ha="center", va="top", fontsize=8)
    ax.text(-0.25, -down / 2, names[1], ha="right", va="center", fontsize=8, rotation=90)
    for name in names[2:]:
        ax.text(*(np.array([right + 0.2, -down - 0.15]) + back / 2 * _SLANT), name, ha="left", va="top", fontsize=8)


def alt(normalizer: Normalizer) -> str:
    """The picture in words."""
    stages = [f"{ARRAYS[site]} {words(stage)}, {together(site, stage)}" for site, stage in normalizer.stages]
    return "; ".join(stages) or "nothing is standardized"

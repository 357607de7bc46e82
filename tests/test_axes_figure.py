"""The pictures of cells: which entries are coloured, against which entries influence each other in numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fishergeo as fg
from fishergeo.normalizers import ZOO, Normalizer
from fishergeo.report import axes_figure


def influence(stage: Any, site: fg.Site, shape: tuple[int, ...], rng: np.random.Generator) -> Callable[[Any], Any]:
    """Which standardized entries change when one entry of the array does."""
    t = rng.normal(size=shape)
    layout = site.layout(len(shape))
    before = stage(t, layout).value

    def changed(entry: tuple[int, ...]) -> Any:
        moved = t.copy()
        moved[entry] += 0.1
        return np.abs(stage(moved, layout).value - before) > 1e-9

    return changed


MORE = (
    fg.Normalizer("inputs", inputs=fg.Standardize((fg.Axis.INPUT, fg.Axis.POSITION), groups={fg.Axis.INPUT: 3})),
    fg.Normalizer("leading cases", summed=fg.Standardize(fg.Axis.SAMPLE, first=fg.First(0.75))),
    fg.Normalizer("both", weight=fg.Standardize((fg.Axis.UNIT, fg.Axis.INPUT), groups={fg.Axis.UNIT: 2})),
)


@pytest.mark.parametrize(
    "normalizer", [m for m in (*ZOO, *MORE) if any(s.over for _, s in m.stages)], ids=lambda m: m.name
)
def test_coloured_entries_are_those_that_share_moments(normalizer: Normalizer, rng: np.random.Generator) -> None:
    """A dark entry changes all coloured ones and nothing else; a light one changes itself alone."""
    for (site, stage), cell in zip(normalizer.stages, axes_figure.cells(normalizer), strict=True):
        changed = influence(stage, site, cell.entries.shape, rng)
        dark = np.argwhere(cell.moments)
        for entry in map(tuple, dark[:: max(1, len(dark) // 4)]):
            assert np.array_equal(changed(entry), cell.entries)
        for entry in map(tuple, np.argwhere(cell.entries & ~cell.moments)):
            assert changed(entry).sum() == 1
        outside = np.argwhere(~cell.entries)
        for entry in map(tuple, outside[:3]):
            assert not (changed(entry) & cell.entries).any()


def test_a_wrong_cell_is_noticed(rng: np.random.Generator) -> None:
    (cell,) = axes_figure.cells(fg.batch_norm)
    changed = influence(fg.layer_norm.summed[0], fg.Site.SUMMED, cell.entries.shape, rng)
    assert not np.array_equal(changed(tuple(np.argwhere(cell.moments)[0])), cell.entries)


def test_the_visible_entries_are_drawn_in_their_colours() -> None:
    """Three sides of the cuboid, one of a matrix; as many dark and light squares as entries there."""
    for normalizer in ZOO:
        shown = axes_figure.cells(normalizer)
        figure = axes_figure.draw(normalizer)
        assert len(figure.axes) == max(1, len(shown))
        for cell, ax in zip(shown, figure.axes):
            sides = [np.s_[:, :, 0], np.s_[:, 0, :], np.s_[-1, :, :]] if cell.entries.ndim == 3 else [np.s_[:, :]]
            colours = [c.get_facecolor()[0][:3] for c in ax.collections]
            assert len(colours) == sum(cell.entries[side].size for side in sides)
            blue = [c for c in colours if c[2] > c[0] + 0.05]
            dark = [c for c in blue if c[0] < 0.3]
            assert len(blue) == sum(cell.entries[side].sum() for side in sides)
            assert len(dark) == sum(cell.moments[side].sum() for side in sides)


def test_pictures_in_words() -> None:
    assert axes_figure.alt(fg.batch_norm) == (
        "summed inputs centered and divided by their standard deviation, all cases and positions, for each unit"
    )
    assert axes_figure.alt(fg.prms_norm(0.25)) == (
        "summed inputs divided by their root mean square, all units, the first 1/4 of which (rounded up) make the "
        "moments, for each case and each position"
    )
    assert axes_figure.alt(fg.Normalizer("mine", summed=np.tanh)) == (
        "summed inputs changed by a function of which only values are known, each entry"
    )

"""The vocabulary: the axes of the arrays of a generalized linear model, and the three sites that hold them."""

from __future__ import annotations

import enum


class Axis(enum.Enum):
    """An axis of the model, named by the index that runs along it."""

    SAMPLE = "n"
    POSITION = "s"
    UNIT = "h"
    INPUT = "d"


class Site(enum.Enum):
    """An array that can be standardized: inputs X (n, [s,] d), weights W (h, d) or summed inputs A (n, [s,] h)."""

    INPUTS = "x"
    WEIGHT = "w"
    SUMMED = "a"

    def layout(self, ndim: int) -> tuple[Axis, ...]:
        """The axes of this site's array, in order; a third dimension is POSITION."""
        last = Axis.UNIT if self is Site.SUMMED else Axis.INPUT
        if self is Site.WEIGHT:
            return (Axis.UNIT, last)
        return (Axis.SAMPLE, Axis.POSITION, last) if ndim == 3 else (Axis.SAMPLE, last)

    @property
    def axes(self) -> frozenset[Axis]:
        return frozenset(self.layout(3))

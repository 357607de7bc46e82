"""Levels of certainty: how a statement of this package is known, printed with every result."""

from __future__ import annotations

import enum


class Level(enum.IntEnum):
    """How something is known; a smaller number covers more.  EXACT is all that a counterexample, or a "not", takes."""

    PROVED = 1
    IDENTITY = 2
    MODULAR = 3
    EXACT = 4
    NUMERIC = 5

    def __str__(self) -> str:
        return _MEANING[self]


_MEANING = {
    Level.PROVED: "proved for all sizes",
    Level.IDENTITY: "identity for all values at a stated size",
    Level.MODULAR: "identity modulo a large prime at random points",
    Level.EXACT: "exact at rational points",
    Level.NUMERIC: "floating point, within a tolerance",
}

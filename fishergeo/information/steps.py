"""Models whose positions have statistics of their own over all cases: F is the mean over the positions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np

from ..axes import Axis
from ..families import Floats
from ..frozen import Frozen
from ..normalizer import Normalizer
from ..standardize import Standardize
from .moments import Moments
from .parts import at_position
from .plan import Arrays, Plan
from .sources import Block, same


def by_step(normalizer: Normalizer) -> bool:
    """Whether each position has statistics of its own over all cases, and none go over several positions."""
    stages = [*normalizer.inputs, *normalizer.summed]
    known = all(type(stage) in (Standardize, Frozen) and Axis.POSITION not in stage.over for stage in stages)
    return known and any(Axis.SAMPLE in stage.over for stage in stages)


def at_step(normalizer: Normalizer, position: int) -> Normalizer:
    """A normalizer at one position."""
    return normalizer.map_stages(lambda stage: at_position(stage, position))


def blocks(block: Block) -> Iterator[Block]:
    """A block (n, S, D) at each of its positions (n, D); it is loaded once."""
    X = block.load()
    for position in range(X.shape[1]):
        yield replace(block, row=block.row[1:], part=partial(same, X[:, position]))


@dataclass(frozen=True)
class StepMoments:
    """The moments of each position, one after the other."""

    each: Sequence[Moments]

    def partial(self, block: Block) -> Arrays:
        """The states of a block."""
        return [array for moments, at in zip(self.each, blocks(block)) for array in moments.partial(at)]

    def combine(self, total: Arrays, part: Arrays) -> Arrays:
        """The states of both together."""
        found = zip(self.each, *(in_parts(states, len(self.each)) for states in (total, part)), strict=True)
        return [array for moments, *both in found for array in moments.combine(*both)]


@dataclass(frozen=True)
class Steps:
    """The sums of `Plan` for each position, one after the other."""

    plans: Sequence[Plan]
    sparse: ClassVar[bool] = False

    @property
    def diagonal(self) -> bool:
        """Whether F is block-diagonal, with a block for each unit."""
        return self.plans[0].diagonal

    def dense(self, block: Block) -> Arrays:
        """The number of entries in a block, and the sums over them."""
        found = [plan.dense(at) for plan, at in zip(self.plans, blocks(block))]
        return [sum((part[0] for part in found), np.zeros(1)), *(array for part in found for array in part)]

    def finished(self, total: Arrays) -> Floats:
        """N φ F from the sums over all blocks, which are used up."""
        found = [plan.finished(part) for plan, part in zip(self.plans, in_parts(total[1:], len(self.plans)))]
        return sum(found[1:], found[0])

    def product(self, block: Block, V: Floats) -> Arrays:
        """N φ F v of a block for every row v of V."""
        found = [plan.product(at, V)[0] for plan, at in zip(self.plans, blocks(block))]
        return [sum(found[1:], found[0])]

    def triangles(self, block: Block) -> Arrays:
        """The triangular factors of each position."""
        return [array for plan, at in zip(self.plans, blocks(block)) for array in plan.triangles(at)]

    def rooted(self, total: Arrays) -> Floats:
        """Roots (K, P/K, m) of the blocks of N φ F from the triangular factors of all blocks."""
        found = [plan.rooted(part) for plan, part in zip(self.plans, in_parts(total, len(self.plans)))]
        return np.concatenate(found, axis=-1)


def in_parts(arrays: Arrays, count: int) -> list[Arrays]:
    """The arrays of each position."""
    size = len(arrays) // count
    return [arrays[start : start + size] for start in range(0, len(arrays), size)]

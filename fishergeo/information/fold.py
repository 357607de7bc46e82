"""Sums over the blocks of a source, in the order of the data, that can be interrupted and continued."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..families import Floats
from .checkpoint import Checkpoint
from .execution import Run
from .sources import Block, Rows

Arrays = list[Floats]
Combine = Callable[[Arrays, Arrays], Arrays]


def add(total: Arrays, part: Arrays) -> Arrays:
    """The sums over two sets of blocks."""
    return [own + other for own, other in zip(total, part, strict=True)] if total and part else total or part


def count(block: Block) -> Arrays:
    """The number of rows of a block."""
    return [np.array([float(block.load().shape[0])])]


def append(total: Arrays, part: Arrays) -> Arrays:
    """The numbers of rows of all blocks so far."""
    return [np.concatenate([total[0], part[0]])]


@dataclass
class Stream:
    """A source that is gone through, and where it is kept what is done."""

    rows: Rows
    run: Run
    kept: Checkpoint | None = None

    def fold(self, label: str, task: Callable[[Block], Arrays], combine: Combine) -> Arrays:
        """The sum over all blocks, which nobody can interrupt for good if it is kept in a file."""
        return Fold(label, task, combine).result(self)


class Fold:
    """A sum over the blocks of a source, in their order, that can be interrupted and taken up again."""

    def __init__(self, label: str, task: Callable[[Block], Arrays], combine: Combine, lasts: bool = False) -> None:
        self.label, self.task, self.combine, self.lasts = label, task, combine, lasts
        self.state: tuple[int, Arrays] = (0, [])  # the blocks done, and their sum: changed together
        self.complete = False

    def result(self, stream: Stream) -> Arrays:
        """The sum over all blocks; what was done before an error or an interruption is not done again."""
        rows, run, kept = stream.rows, stream.run, stream.kept
        if kept is not None and kept.sums.get(self.label, (0, []))[0] > self.state[0]:
            self.state = kept.sums[self.label]
        done, total = self.state
        if self.complete or (rows.sizes is not None and done == len(rows.sizes)):
            return total
        saved = done
        with run.shown(self.label, rows.cases) as show:
            try:
                for part in run.results(self.task, rows.blocks(done)):
                    total, done = (part if done == 0 else self.combine(total, part)), done + 1
                    self.state = (done, total)
                    counted = total[0].sum() if rows.sizes is None else sum(rows.sizes[:done])  # which is counted first
                    show(int(counted), rows.cases)
                    if kept is not None and done - saved >= run.every:
                        kept.save(self.label, *self.state)
                        saved = done
            except BaseException as error:
                if self.state[0] and (self.lasts or kept is not None):
                    error.add_note(self._note(kept))
                raise
            finally:
                if kept is not None and self.state[0] > saved:
                    kept.save(self.label, *self.state)
        self.complete = True
        return total

    def _note(self, kept: Checkpoint | None) -> str:
        where = "by this object: ask it again" if kept is None else f"in {kept.path}: make the same call again"
        return f"{self.label}: {self.state[0]} blocks are done and kept {where} to go on from there"

"""Rows of inputs a block at a time, from any source that can be read again: arrays, files, tables, iterators, dask."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from ..errors import InputError, all_finite, real_array

Part = Callable[[], Any]  # reads one block; what a dask worker is sent
NUMBERS = 1 << 22  # numbers in a block: 32 MiB


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a source; `load` reads and checks them: (n, D), (n, S, D), or a sparse (n, D)."""

    source: str
    index: int
    start: int | None  # of its first row; None where the blocks before it have not been counted
    row: tuple[int, ...]
    part: Part

    def load(self) -> Any:
        """The rows, as finite float64; raises `InputError` with the block or the row that is at fault."""
        try:
            found = self.part()
        except InputError:
            raise
        except Exception as error:  # readers of files raise errors of their own kinds
            raise InputError(
                f"{self.source}: block {self.index} cannot be read: {error or type(error).__name__}"
            ) from error
        return self._checked(found)

    def place(self, first: int, last: int | None = None) -> str:
        """How to find rows of this block: by their number in the whole data."""
        numbers = " to ".join(str(row + (self.start or 0)) for row in (first, last) if row is not None)
        where = f" of block {self.index}" if self.start is None else ""
        return f"{self.source}: row{'s' * (last is not None)} {numbers}{where}"

    def _checked(self, found: Any) -> Any:
        sparse = is_sparse(found)
        if sparse:
            found = found.tocsr()
        elif hasattr(found, "to_numpy"):
            found = found.to_numpy()
        if not sparse or found.dtype.kind not in "biuf":
            found = real_array(found, f"{self.source}: block {self.index} is an array")
        if found.shape[1:] != self.row:
            raise InputError(
                f"{self.source}: block {self.index} has shape {found.shape}, but the rows before it have shape "
                f"{self.row}: give blocks of one width"
            )
        found = found.astype(float, copy=False) if sparse else np.ascontiguousarray(found, dtype=float)
        numbers = found.data if sparse else found
        if all_finite(numbers):
            return found
        at = int(np.flatnonzero(~np.isfinite(numbers.ravel()))[0])
        row = int(np.searchsorted(found.indptr, at, side="right")) - 1 if sparse else at // int(np.prod(self.row))
        raise InputError(f"{self.place(row)} has a nan or inf: drop or impute that row")


@dataclass(frozen=True)
class Rows:
    """A source of rows (D,) or (S, D), in blocks whose order and sizes are always the same.

    ``parts`` read the blocks one by one, in any order; where there are none, ``again`` starts to go through them.
    ``sizes`` are their numbers of rows, None where they have not been counted.  ``once`` says that they can be had once.
    """

    name: str
    row: tuple[int, ...]
    parts: tuple[Part, ...] | None = field(repr=False)
    sizes: tuple[int, ...] | None = field(repr=False)
    again: Callable[[], Iterator[Any]] | None = field(default=None, repr=False)
    sparse: bool = False
    once: bool = False
    cut: Callable[[int], Rows] | None = field(default=None, repr=False)  # the same in blocks of another size

    @property
    def cases(self) -> int | None:
        """N, the number of rows."""
        return None if self.sizes is None else sum(self.sizes)

    def blocks(self, first: int = 0) -> Iterator[Block]:
        """The blocks from number ``first`` on."""
        if self.again is not None:
            yield from self._in_turn(first, self.again())
            return
        assert self.parts is not None
        start = None if self.sizes is None else sum(self.sizes[:first])
        for index, part in enumerate(self.parts[first:], first):
            yield Block(self.name, index, start, self.row, part)
            if self.sizes is not None and start is not None:
                start += self.sizes[index]

    def _in_turn(self, first: int, found: Iterator[Any]) -> Iterator[Block]:
        start = count = 0
        for index, array in enumerate(found):
            count, size = index + 1, np.shape(array)[0] if not hasattr(array, "shape") else array.shape[0]
            if self.sizes is not None and self.sizes[index : index + 1] != (size,):
                raise InputError(f"{self.name}: block {index} has {size} rows, another number than before: give the same")
            if index >= first:
                yield Block(self.name, index, start, self.row, partial(same, array))
            start += size
        if self.sizes is not None and count < len(self.sizes):
            raise InputError(f"{self.name} has {count} blocks but had {len(self.sizes)} before: give the same")

    def of_whole(self, batch: int) -> Rows:
        """The same source in blocks of whole batches, where their size is free; of about the same size."""
        if self.cut is None or not self.sizes or all(size % batch == 0 for size in self.sizes):
            return self
        return self.cut(max(1, self.sizes[0] // batch) * batch)

    def counted(self, sizes: Iterable[int]) -> Rows:
        """The same source, with the sizes of its blocks."""
        return replace(self, sizes=tuple(sizes))


def same(array: Any) -> Any:
    return array


def is_sparse(data: Any) -> bool:
    """Whether this is a matrix or an array of scipy.sparse."""
    module = sys.modules.get("scipy.sparse")
    return module is not None and bool(module.issparse(data))


def sliced(
    name: str,
    shape: tuple[int, ...],
    part: Callable[[int, int], Part],
    block: int | None,
    unit: int = 1,
    sparse: bool = False,
) -> Rows:
    """A source of which ``part(start, stop)`` reads rows; blocks are of whole ``unit``s where their size is free."""
    if len(shape) not in (2, 3):
        raise InputError(f"{name} has shape {shape}: give (cases, inputs) or (cases, positions, inputs)")
    size = block or max(1, NUMBERS // max(1, int(np.prod(shape[1:]))) // unit) * unit
    starts = range(0, shape[0], size)
    sizes = tuple(min(size, shape[0] - start) for start in starts)
    parts = tuple(part(start, start + count) for start, count in zip(starts, sizes))
    cut = partial(sliced, name, shape, part, unit=unit, sparse=sparse)
    return Rows(name, tuple(map(int, shape[1:])), parts, sizes, sparse=sparse, cut=cut)


@dataclass(frozen=True)
class Lazy:
    """Rows of an array that lies elsewhere: another process gets the array's own address."""

    array: Any = field(repr=False)
    start: int
    stop: int

    def __call__(self) -> Any:
        return self.array[self.start : self.stop]


class Slice(Lazy):
    """Rows of an array in memory: another process gets these rows alone."""

    def __reduce__(self) -> Any:
        return partial, (same, self())


class FrameSlice(Slice):
    """Rows of a frame."""

    def __call__(self) -> Any:
        return self.array.iloc[self.start : self.stop].to_numpy(dtype=float, na_value=np.nan)


def in_turn(name: str, iterator: Iterator[Any] | None = None, again: Callable[[], Iterable[Any]] | None = None) -> Rows:
    """A source whose blocks come one after the other, from a function or, once, from an iterator."""
    made: Any = iterator if again is None else again()
    found = iter(made) if hasattr(made, "__iter__") else None
    if found is None:
        raise InputError(f"{name} made no iterator: return an iterator of arrays (n, D)")
    first = next(found, None)
    if first is None:
        raise InputError(f"{name} yielded nothing: give at least one block of rows")
    shape = np.shape(first) if not hasattr(first, "shape") else first.shape
    if len(shape) not in (2, 3):
        raise InputError(f"{name} yielded an array of shape {shape}: give blocks (n, D) or (n, S, D)")
    start = (lambda: iter(again())) if again is not None else partial(chain, [first], found)
    return Rows(name, tuple(shape[1:]), None, None, start, is_sparse(first), again is None)


def check_columns(name: str, types: Iterable[tuple[Any, Any]]) -> None:
    """Refuse columns that hold no numbers."""
    wrong = [str(column) for column, dtype in types if getattr(dtype, "kind", "O") not in "biuf"]
    if wrong:
        raise InputError(f"{name}: the columns {', '.join(wrong[:5])} hold no numbers: name the others in columns=")

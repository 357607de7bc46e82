"""Rows of inputs from whatever holds them: arrays, files, tables, sparse matrices, iterators, collections of dask."""

from __future__ import annotations

import os
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from ..errors import InputError, is_count, real_array
from .sources import FrameSlice, Lazy, Rows, Slice, check_columns, in_turn, is_sparse, sliced

_STORED = 1 << 25  # stored numbers in a block of a sparse matrix, which is in memory already


def is_source(data: Any) -> bool:
    """Whether the data are to be read block by block, because they may not fit into memory or are sparse."""
    return (
        isinstance(data, Rows | str | os.PathLike | np.memmap)
        or is_sparse(data)
        or hasattr(data, "__dask_graph__")
        or hasattr(data, "__next__")
        or type(data).__module__.partition(".")[0] in ("zarr", "h5py")
        or (callable(data) and not hasattr(data, "__array__"))
    )


def rows(data: Any, *, block: int | None = None, columns: Any = None, member: str | None = None) -> Rows:
    """The rows of ``data`` as a source of blocks, of ``block`` rows where that can be chosen (default: about 32 MiB).

    ``data``: an array (N, D) or (N, S, D), a memmap, a matrix of scipy.sparse, a pandas frame; a path to a .npy, .npz,
    .zarr, .parquet or .csv; an array of zarr or h5py, an array or a frame of dask; a list of these, one after the other;
    a function that returns an iterator of blocks; an iterator of blocks, which can be had once.  ``columns`` are those of
    a table, ``member`` is the name of an array in a .npz or a group of zarr.  Raises `InputError` for what is none of
    these, for a missing, truncated or empty source, and for rows of different widths.
    """
    if block is not None and not is_count(block):
        raise InputError(f"rows got block={block!r}: give a number of rows >= 1")
    found = _source(data, block, columns, member)
    if found.row[-1] == 0 or 0 in found.row or found.cases == 0:
        raise InputError(f"{found.name} is empty: {found.cases or 0} rows of shape {found.row}; give at least one number")
    return found


def _source(data: Any, block: int | None, columns: Any, member: str | None) -> Rows:
    if isinstance(data, str | os.PathLike):
        from .files import open_file

        return open_file(os.fspath(data), block, columns, member)
    if hasattr(data, "iloc") and not hasattr(data, "__dask_graph__"):
        return _frame(data, block, columns)
    if columns is not None or member is not None:
        raise InputError(
            f"rows got {'columns' if columns is not None else 'member'} for a {type(data).__name__}: that is for tables "
            "and files of several arrays; leave it out"
        )
    if isinstance(data, Rows):
        if block is not None:
            raise InputError("rows got block for what has blocks already: leave it out")
        return data
    if isinstance(data, np.memmap) and (mapped := _mapped(data, block)):
        return mapped
    if is_sparse(data):
        return _sparse(data.tocsr(), block)
    if hasattr(data, "__dask_graph__"):
        from .cluster import collection

        return collection(data, block)
    if hasattr(data, "__next__") or (callable(data) and not hasattr(data, "__array__")):
        if block is not None:
            raise InputError("rows got block for an iterator, whose blocks are what it yields: leave it out")
        return (
            in_turn("the iterator", data) if hasattr(data, "__next__") else in_turn("the function's blocks", again=data)
        )
    if isinstance(data, list | tuple) and data and not isinstance(data[0], list | tuple | int | float | np.number):
        return _joined([rows(item, block=block) for item in data])
    if all(hasattr(data, name) for name in ("shape", "dtype", "__getitem__")) and not isinstance(data, np.ndarray):
        return sliced(f"the {type(data).__module__.partition('.')[0]} array", data.shape, partial(Lazy, data), block)
    array = real_array(data, "rows got an array")
    return sliced("the array", array.shape, partial(Slice, array), block)


def _mapped(data: np.memmap[Any, Any], block: int | None) -> Rows | None:
    """The file behind a memmap, read without mapping it; None where it is not what the memmap shows."""
    from .files import raw

    root = data
    while isinstance(root.base, np.memmap):
        root = root.base
    if data.mode == "c" or data.filename is None or not data.flags.c_contiguous or data.dtype.kind not in "biuf":
        return None
    if data.mode != "r":
        data.flush()
    offset = root.offset + data.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    return raw(os.fspath(data.filename), data.dtype, int(offset), data.shape, block)


def _sparse(data: Any, block: int | None) -> Rows:
    size = block or max(1, data.shape[0] // -(-max(1, data.nnz) // _STORED))
    return sliced("the sparse matrix", data.shape, partial(Slice, data), size, sparse=True)


def _frame(frame: Any, block: int | None, columns: Any) -> Rows:
    frame = frame if columns is None else frame[list(columns)]
    check_columns("the frame", frame.dtypes.items())
    return sliced("the frame", frame.shape, partial(FrameSlice, frame), block)


def _joined(sources: list[Rows]) -> Rows:
    """Several sources, one after the other."""
    first = sources[0]
    for k, source in enumerate(sources):
        if source.row != first.row or source.sparse != first.sparse:
            raise InputError(
                f"source {k} of the list, {source.name}, has rows of shape {source.row}{' (sparse)' * source.sparse}, "
                f"but the first has {first.row}{' (sparse)' * first.sparse}: give rows of one kind"
            )
    name = first.name if len(sources) == 1 else f"{len(sources)} sources from {first.name} on"
    known = all(source.sizes is not None for source in sources)
    sizes = tuple(size for source in sources for size in source.sizes or ()) if known else None
    if all(source.again is None for source in sources):
        return Rows(name, first.row, tuple(part for s in sources for part in s.parts or ()), sizes, None, first.sparse)
    return Rows(
        name,
        first.row,
        None,
        sizes,
        lambda: chain.from_iterable((block.load() for block in source.blocks()) for source in sources),
        first.sparse,
        any(source.once for source in sources),
    )

"""Files as sources of rows: .npy, .npz, .zarr, .parquet and .csv, opened inside the task that reads a block."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..datasets.data import number
from ..errors import InputError
from .sources import NUMBERS, Lazy, Rows, check_columns, in_turn, sliced

_STORED_HEADER = 30  # bytes of a local header of a zip archive, before the name


def open_file(path: str, block: int | None, columns: Any, member: str | None) -> Rows:
    """The source that a path names, by its suffix."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".npy", ".npz", ".zarr", ".parquet", ".csv"):
        raise InputError(f"{path} has the suffix {suffix!r}: give a .npy, .npz, .zarr, .parquet or .csv")
    if not os.path.exists(path):
        raise InputError(f"{path} is missing: check the path")
    if columns is not None and suffix not in (".parquet", ".csv"):
        raise InputError(f"rows got columns for {path}: these are for tables (.parquet, .csv); leave it out")
    if member is not None and suffix not in (".npz", ".zarr"):
        raise InputError(f"rows got member for {path}: it is for files of several arrays (.npz, .zarr); leave it out")
    try:
        if suffix == ".npy":
            with open(path, "rb") as file:
                return _array(path, path, file, 0, os.path.getsize(path), block)
        if suffix == ".npz":
            return _npz(path, block, member)
        if suffix == ".zarr":
            return _zarr(path, block, member)
        return _parquet(path, block, columns) if suffix == ".parquet" else _csv(path, block, columns)
    except ImportError as error:
        raise InputError(f'{path} needs {error.name}: pip install "fishergeo[files]"') from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, SyntaxError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a readable {suffix} file: {error}; write it again") from error


@dataclass(frozen=True)
class Raw:
    """Rows of an array in a file, read without mapping it: a file that shrinks is noticed, and memory stays as it is."""

    path: str
    dtype: np.dtype[Any]
    offset: int
    row: tuple[int, ...]
    start: int
    stop: int

    def __call__(self) -> Any:
        size = int(np.prod(self.row))
        count = (self.stop - self.start) * size
        at = self.offset + self.start * size * self.dtype.itemsize
        found = np.fromfile(self.path, self.dtype, count, offset=at)
        if found.size < count:
            raise InputError(f"{self.path} ends in row {self.start + found.size // size}: it was cut off; write it again")
        return found.reshape(-1, *self.row)


def raw(path: str, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...], block: int | None) -> Rows:
    """An array of numbers in row-major order that begins ``offset`` bytes into a file."""
    return sliced(path, shape, partial(Raw, path, dtype, offset, tuple(map(int, shape[1:]))), block)


def _array(path: str, name: str, file: BinaryIO, offset: int, end: int, block: int | None) -> Rows:
    """The array in the format of .npy at ``offset`` of a file, up to ``end``."""
    file.seek(offset)
    shape, fortran, dtype = _header(name, file)
    start, size = file.tell(), int(np.prod(shape)) * dtype.itemsize
    if end - start < size:
        row = int(np.prod(shape[1:])) * dtype.itemsize
        whole = (end - start) // row if row and not fortran else 0
        raise InputError(
            f"{name} was cut off: its header promises {shape} of {dtype}, {size} bytes, but {end - start} follow"
            + (f" ({whole} whole rows)" if whole else "")
            + "; write it again"
        )
    if fortran:
        return sliced(name, shape, partial(Mapped, path, dtype, start, shape), block)
    return raw(path, dtype, start, shape, block)


def _header(name: str, file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of the array that follows in a file; objects, which are pickles, are refused."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.kind not in "biuf":
        raise InputError(f"{name} holds an array of type {dtype}: save real numbers")
    return shape, fortran, dtype


@dataclass(frozen=True)
class Mapped:
    """Rows of an array that a file holds column by column."""

    path: str
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    start: int
    stop: int

    def __call__(self) -> Any:
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, "F")[self.start : self.stop]


def _npz(path: str, block: int | None, member: str | None) -> Rows:
    """An array of an archive: any block of it, or one after the other where it is compressed."""
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        member = _member(path, names, member)
        info = archive.getinfo(f"{member}.npy")
        if info.compress_type == zipfile.ZIP_STORED:
            file.seek(info.header_offset)
            head = file.read(_STORED_HEADER)
            offset = (
                info.header_offset + _STORED_HEADER + sum(int.from_bytes(head[k : k + 2], "little") for k in (26, 28))
            )
            return _array(path, f"{member} in {path}", file, offset, offset + info.file_size, block)
        with archive.open(info) as stream:
            shape, fortran, _ = _header(f"{member} in {path}", stream)
    if fortran or len(shape) < 2:
        raise InputError(f"{member} in {path} is compressed column by column: save it with numpy.savez, or by rows")
    size = block or max(1, NUMBERS // max(1, int(np.prod(shape[1:]))))
    return in_turn(f"{member} in {path}", again=partial(_inflated, path, member, size)).counted(
        min(size, shape[0] - start) for start in range(0, shape[0], size)
    )


def _inflated(path: str, member: str, size: int) -> Iterator[Any]:
    """The rows of a compressed array, ``size`` at a time, which is all that is in memory."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{member}.npy") as stream:
        shape, _, dtype = _header(f"{member} in {path}", stream)
        row = int(np.prod(shape[1:])) * dtype.itemsize
        for start in range(0, shape[0], size):
            count = min(size, shape[0] - start)
            yield np.frombuffer(stream.read(count * row), dtype).reshape(count, *shape[1:])


def _member(path: str, names: list[str], member: str | None) -> str:
    found = member or (names[0] if len(names) == 1 else "X")
    if found not in names:
        raise InputError(f"{path} has no array {found!r}: name one of {', '.join(names[:12]) or 'none'} in member=")
    return found


def _zarr(path: str, block: int | None, member: str | None) -> Rows:
    import zarr

    found: Any = zarr.open(path, mode="r")
    if isinstance(found, zarr.Group):
        member = _member(path, sorted(found.array_keys()), member)
        found = found[member]
    elif member is not None:
        raise InputError(f"{path} is a single array: leave out member={member!r}")
    unit = found.chunks[0] if found.chunks[0] * int(np.prod(found.shape[1:])) <= NUMBERS else 1
    return sliced(path if member is None else f"{member} in {path}", found.shape, partial(Lazy, found), block, unit)


def _parquet(path: str, block: int | None, columns: Any) -> Rows:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        schema, meta = file.schema_arrow, file.metadata
        names = _names(path, schema.names, columns)
        check_columns(path, ((name, np.dtype(schema.field(name).type.to_pandas_dtype())) for name in names))
        groups = [meta.row_group(k).num_rows for k in range(meta.num_row_groups)]
    size = block or max(1, NUMBERS // max(1, len(names)))
    if block is None and max(groups, default=0) <= 4 * size:
        parts = tuple(partial(_group, path, names, k) for k in range(len(groups)))
        return Rows(path, (len(names),), parts, tuple(groups))
    return in_turn(path, again=partial(_batches, path, names, size))


def _group(path: str, names: list[str], k: int) -> Any:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        return _table(file.read_row_group(k, columns=names), names)


def _batches(path: str, names: list[str], size: int) -> Iterator[Any]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(size, columns=names):
            yield _table(batch, names)


def _table(table: Any, names: list[str]) -> Any:
    """A table of Arrow as an array; what is missing becomes nan."""
    out = np.empty((table.num_rows, len(names)))
    for k, name in enumerate(names):
        out[:, k] = table.column(name).to_numpy(zero_copy_only=False)
    return out


def _names(path: str, header: list[str], columns: Any) -> list[str]:
    names = list(header if columns is None else columns)
    for name in names:
        if name not in header:
            raise InputError(f"{path} has no column {name!r}: it has {', '.join(header[:12])}")
    if not names:
        raise InputError(f"{path}: no column is left: name at least one in columns=")
    return names


def _csv(path: str, block: int | None, columns: Any) -> Rows:
    with open(path, encoding="utf-8-sig") as file:
        header = [name.strip().strip('"') for name in file.readline().split(",")]
    titled = any(number(name) is None for name in header)
    if columns is not None and not titled:
        raise InputError(f"{path} has no header: leave out columns, or give it one")
    names = _names(path, header, columns)
    use = [header.index(name) for name in names] if columns is not None else list(range(len(header)))
    return in_turn(path, again=partial(_lines, path, titled, use, block or max(1, NUMBERS // 4 // len(use))))


def _lines(path: str, titled: bool, use: list[int], size: int) -> Iterator[Any]:
    with open(path, encoding="utf-8-sig") as file:
        if titled:
            file.readline()
        done = int(titled)
        while lines := list(islice(file, size)):
            try:
                yield np.loadtxt(lines, delimiter=",", usecols=use, ndmin=2, comments=None)
            except ValueError as error:
                raise InputError(f"{path}: after line {done}: {error}; correct that line") from None
            done += len(lines)

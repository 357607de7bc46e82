"""Reading data files: comma-separated text and NumPy arrays, never pickles; every complaint names the culprit."""

from __future__ import annotations

import csv
import difflib
import math
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import Floats

_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}


@dataclass(frozen=True)
class Data:
    """Inputs X (N, D) with the names of their columns, and one array (N,) of numbers or text for each target."""

    name: str
    X: Floats
    inputs: tuple[str, ...]
    y: tuple[NDArray[Any], ...]
    targets: tuple[str, ...]


Columns = str | int | Sequence[str | int] | None


def load(path: str | Path, target: Columns = None, drop: Columns = None) -> Data:
    """Read a .csv with a header, a .npy matrix, or a .npz with X and y; ``target`` names the column(s) to predict.

    Columns are named as in the header or counted from 0 (from the end if negative); in a .npz ``target`` names the array
    (default ``y``).  The columns ``drop`` are left out.  Raises `InputError` for a missing or unreadable file, a column
    that is not there, and a cell that is not a finite number.
    """
    path = Path(path)
    readers = {".csv": _csv, ".npy": _npy, ".npz": _npz}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path} has the suffix {path.suffix!r}: give a .csv, .npy or .npz file")
    if not path.is_file():
        near = difflib.get_close_matches(path.name, _siblings(path), n=1)
        hint = f"; did you mean {path.with_name(near[0])}?" if near else "; check the path"
        raise InputError(f"{path} is {'a folder, not a file' if path.is_dir() else 'missing'}{hint}")
    try:
        return readers[path.suffix.lower()](path, _tuple(target), _tuple(drop))
    except PermissionError:
        raise InputError(f"{path} cannot be read: permission denied") from None


def _tuple(columns: Columns) -> tuple[str | int, ...]:
    return () if columns is None else (columns,) if isinstance(columns, str | int) else tuple(columns)


def _siblings(path: Path) -> list[str]:
    return [p.name for p in path.parent.iterdir() if p != path] if path.parent.is_dir() else []


def _listing(names: Iterable[str], limit: int = 12) -> str:
    names = list(names)
    return ", ".join(names[:limit]) + (f", … ({len(names)} in all)" if len(names) > limit else "")


def nearest(wanted: str, names: Iterable[str]) -> str:
    """What to say after an unknown name: the nearest match and what there is."""
    names = list(names)
    lowered = {name.lower(): name for name in names}
    near = difflib.get_close_matches(wanted.lower(), lowered, n=1)
    return (f"did you mean {lowered[near[0]]!r}? " if near else "") + f"there is {_listing(names)}"


def _split(
    path: Path, header: Sequence[str], targets: tuple[str | int, ...], drop: tuple[str | int, ...]
) -> tuple[list[int], list[int]]:
    """The indices of the input columns and of the target columns."""
    if not targets:
        raise InputError(f"{path}: name the column to predict (--target); there is {_listing(header)}")
    picked, dropped = (_indices(path, header, names) for names in (targets, drop))
    if both := set(picked) & set(dropped):
        raise InputError(f"{path}: the target {header[min(both)]!r} is also left out (--drop): name it once")
    free = [k for k in range(len(header)) if k not in (*picked, *dropped)]
    if not free:
        raise InputError(f"{path}: every column is a target or left out, so no input remains; name fewer")
    return free, picked


def _indices(path: Path, header: Sequence[str], names: tuple[str | int, ...]) -> list[int]:
    picked: list[int] = []
    for name in names:
        text = str(name)
        if (count := list(header).count(text)) > 1:
            raise InputError(f"{path} has {count} columns named {text!r}: rename them, or give the column's index")
        if count:
            index = list(header).index(text)
        elif text.lstrip("-").isdigit() and -len(header) <= int(text) < len(header):
            index = int(text) % len(header)
        else:
            raise InputError(f"{path} has no column {text!r}: {nearest(text, header)}")
        if index in picked:
            raise InputError(f"{path}: the column {text!r} is named twice")
        picked.append(index)
    return picked


def _csv(path: Path, targets: tuple[str | int, ...], drop: tuple[str | int, ...]) -> Data:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() or f"column {k}" for k, name in enumerate(next(reader, []))]
            rows = [(reader.line_num, row) for row in reader if row]
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text: save it as UTF-8 CSV") from None
    except csv.Error as error:
        raise InputError(f"{path} is not a readable CSV file: {error}") from None
    if not header or not rows:
        raise InputError(f"{path} is empty: give a header and at least one row")
    _check_header(path, header)
    free, picked = _split(path, header, targets, drop)
    for number, (line, row) in enumerate(rows, 1):
        if len(row) != len(header):
            raise InputError(f"{path}: row {number} (line {line}) has {len(row)} cells but the header has {len(header)}")
    columns = list(zip(*(row for _, row in rows), strict=True))
    lines = [line for line, _ in rows]
    X = np.column_stack([_numbers(path, header[k], columns[k], lines) for k in free])
    y = tuple(_labels(path, header[k], columns[k], lines) for k in picked)
    return Data(path.name, X, tuple(header[k] for k in free), y, tuple(header[k] for k in picked))


def _check_header(path: Path, header: list[str]) -> None:
    if len(header) == 1:
        other = next((mark for mark in (";", "\t") if mark in header[0]), None)
        why = f"the separator seems to be {other!r}; separate by commas" if other else "give inputs and a target"
        raise InputError(f"{path} has a single column: {why}")
    if all(is_number(name) for name in header) and header != [str(k) for k in range(len(header))]:
        raise InputError(f"{path}: the first row holds only numbers; the first row must be a header with column names")


def is_number(text: str) -> bool:
    """Whether a cell is a number, nan and inf included."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(path: Path, name: str, cells: Sequence[str], lines: list[int]) -> Floats:
    values = np.empty(len(cells))
    for k, (cell, line) in enumerate(zip(cells, lines, strict=True)):
        text = cell.strip()
        try:
            values[k] = float(text)
        except ValueError:
            values[k] = math.nan
        if not math.isfinite(values[k]):
            what = "is empty" if not text else f"holds {text!r}" if is_number(text) else f"holds {text!r}, not a number"
            remedy = (
                "drop or impute that row"
                if not text or is_number(text)
                else "encode it as a number, or leave that column out (--drop)"
            )
            raise InputError(f"{path}: row {k + 1} (line {line}), column {name!r} {what}; {remedy}")
    return values


def _labels(path: Path, name: str, cells: Sequence[str], lines: list[int]) -> NDArray[Any]:
    """A target column: numbers when every cell is one, else text."""
    texts = [cell.strip() for cell in cells]
    for k, text in enumerate(texts):
        if text.lower() in _MISSING:
            what = f"is {text!r}" if text else "is empty"
            raise InputError(f"{path}: row {k + 1} (line {lines[k]}), target {name!r} {what}; drop that row")
    return _numbers(path, name, cells, lines) if all(map(is_number, texts)) else np.array(texts)


def _read(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error) or "pickled" in str(error).lower():
            raise InputError(
                f"{path} holds Python objects, which are never unpickled: save plain number arrays"
            ) from None
        raise InputError(f"{path} is not a readable {path.suffix} file: {error}") from None


def _npy(path: Path, targets: tuple[str | int, ...], drop: tuple[str | int, ...]) -> Data:
    matrix = _read(path)
    if getattr(matrix, "ndim", 0) != 2 or matrix.shape[1] < 2:
        raise InputError(
            f"{path} has shape {getattr(matrix, 'shape', '?')}: give a matrix (N, D + 1) with a target column"
        )
    matrix = _finite(path, "the matrix", matrix)
    header = [str(k) for k in range(matrix.shape[1])]
    free, picked = _split(path, header, targets, drop)
    names = tuple(f"column {k}" for k in free)
    y = tuple(matrix[:, k] for k in picked)
    return Data(path.name, matrix[:, free], names, y, tuple(f"column {k}" for k in picked))


def _npz(path: Path, targets: tuple[str | int, ...], drop: tuple[str | int, ...]) -> Data:
    if drop:
        raise InputError(f"{path}: columns can be left out (--drop) of a .csv or .npy file; save X without them")
    with _read(path) as archive:
        names = list(archive.files)
        wanted = [str(target) for target in targets or ("y",)]
        for name in ("X", *wanted):
            if name not in names:
                raise InputError(
                    f"{path} has no array {name!r}: {nearest(name, names)}; it needs X (N, D) and the target"
                )
        try:
            X, arrays = archive["X"], [archive[name] for name in wanted]
        except ValueError:
            raise InputError(f"{path} holds Python objects, which are never unpickled: save plain arrays") from None
    if X.ndim != 2:
        raise InputError(f"{path}: X has shape {X.shape}: give a matrix (N, D)")
    X = _finite(path, "X", X)
    y: list[NDArray[Any]] = []
    labels: list[str] = []
    for name, array in zip(wanted, arrays, strict=True):
        if array.ndim not in (1, 2) or array.shape[0] != len(X):
            raise InputError(f"{path}: {name} has shape {array.shape} but X has {len(X)} rows: give (N,) or (N, C)")
        array = array if array.dtype.kind == "U" else _finite(path, name, array)
        y += list(array.reshape(len(X), -1).T)
        labels += [name] if array.ndim == 1 else [f"{name} {k}" for k in range(array.shape[1])]
    if not y:
        raise InputError(f"{path}: {wanted[0]} has no columns: give at least one target")
    return Data(path.name, X, tuple(f"column {k}" for k in range(X.shape[1])), tuple(y), tuple(labels))


def _finite(path: Path, name: str, array: NDArray[Any]) -> Floats:
    if array.dtype.kind not in "biuf":
        raise InputError(f"{path}: {name} has type {array.dtype}: save real numbers")
    if not array.size:
        raise InputError(f"{path}: {name} is empty, shape {array.shape}: give at least one row and one column")
    array = array.astype(float)
    if not np.isfinite(array).all():
        first = np.argwhere(~np.isfinite(array))[0]
        where = f"row {first[0]}" + (f", column {first[1]}" if len(first) > 1 else "")
        raise InputError(f"{path}: {name} holds {array[tuple(first)]} at {where}; drop or impute that row")
    return array

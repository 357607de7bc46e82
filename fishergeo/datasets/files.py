"""Reading data files: comma-separated text here, NumPy arrays in `arrays`; every complaint names the culprit."""

from __future__ import annotations

import csv
import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import Floats
from .arrays import read_npy, read_npz
from .data import Data, finite, number, split

Columns = str | int | Sequence[str | int] | None


def load(path: str | os.PathLike[str], target: Columns = None, drop: Columns = None) -> Data:
    """Read a .csv with a header, a .npy matrix, or a .npz with X and y; ``target`` names the column(s) to predict.

    Columns are named as in the header or counted from 0 (from the end if negative); in a .npz ``target`` names the array
    (default ``y``).  The columns ``drop`` are left out.  Raises `InputError` for a missing or unreadable file, a column
    that is not there, and a cell that is not a finite number.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise InputError(f"load got path={path!r}: give the name of a .csv, .npy or .npz file")
    path = Path(path)
    readers = {".csv": _csv, ".npy": read_npy, ".npz": read_npz}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path} has the suffix {path.suffix!r}: give a .csv, .npy or .npz file")
    try:
        if not path.is_file():
            raise InputError(f"{path} is {_absence(path)}")
        return readers[path.suffix.lower()](path, _tuple("target", target), _tuple("drop", drop))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}; check the file") from None


def _absence(path: Path) -> str:
    if path.is_dir():
        return "a folder: name a file in it"
    if path.exists():
        return "not a regular file: copy its contents to one"
    if path.is_symlink():
        return "a link to nothing: name the file itself"
    siblings = [p.name for p in path.parent.iterdir() if p != path] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return f"missing; did you mean {path.with_name(near[0])}?" if near else "missing; check the path"


def _tuple(what: str, columns: Any) -> tuple[str | int, ...]:
    if columns is None:
        return ()
    names = (columns,) if isinstance(columns, str | int | np.integer) else columns
    if not isinstance(names, Sequence | np.ndarray) or not all(isinstance(n, str | int | np.integer) for n in names):
        raise InputError(f"load got {what}={columns!r}: give the name or index of a column, or a list of them")
    return tuple(names)


def _csv(path: Path, targets: tuple[str | int, ...], drop: tuple[str | int, ...]) -> Data:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            (_, first), *rows = list(_rows(file)) or [(0, [])]
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text: save it as UTF-8 CSV") from None
    except csv.Error as error:
        raise InputError(f"{path} is not a readable CSV file: {error}; check its quotes") from None
    header = [name.strip() or f"column {k}" for k, name in enumerate(first)]
    if not rows:
        raise InputError(f"{path} is empty: give a header and at least one row")
    _check_header(path, header, rows[0][1])
    free, picked = split(str(path), header, targets, drop)
    for line, cells in rows:
        if len(cells) != len(header):
            hint = " (is a quote left open?)" if any("\n" in cell for cell in cells) else ""
            raise InputError(
                f"{path}: line {line} has {len(cells)} cells but the header has {len(header)}{hint}; correct that line"
            )
    lines = [line for line, _ in rows]
    columns = list(zip(*(cells for _, cells in rows), strict=True))
    X = np.column_stack([_numbers(path, header[k], columns[k], lines) for k in free])
    y = tuple(_target(path, header[k], columns[k], lines) for k in picked)
    return Data(path.name, X, tuple(header[k] for k in free), y, tuple(header[k] for k in picked), tuple(lines))


def _rows(file: Any) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, with the line on which each begins."""
    reader = csv.reader(file)
    line = 1
    for cells in reader:
        if cells:
            yield line, cells
        line = reader.line_num + 1


def _check_header(path: Path, header: list[str], below: list[str]) -> None:
    if len(header) == 1:
        other = next((mark for mark in (";", "\t", "|") if mark in header[0]), None)
        if other:
            raise InputError(f"{path} has a single column: the separator seems to be {other!r}; separate by commas")
        what = f"its first line has one cell but the next has {len(below)}: the first must be the header"
        raise InputError(f"{path} has a single column: {'give inputs and a target' if len(below) == 1 else what}")
    if all(number(name) is not None for name in header) and header != [str(k) for k in range(len(header))]:
        raise InputError(f"{path}: the first row holds only numbers; the first row must be a header with column names")


def _numbers(path: Path, name: str, cells: Sequence[str], lines: Sequence[int]) -> Floats:
    if not any(cell.strip() for cell in cells):
        raise InputError(f"{path}: the column {name!r} is empty in every row; leave it out (--drop)")
    for cell, line in zip(cells, lines, strict=True):
        text = cell.strip()
        if finite(text):
            continue
        if not text or number(text) is not None:
            what, remedy = (f"holds {text!r}" if text else "is empty"), "drop or impute that row"
        elif finite(text.replace(",", ".", 1)) or finite(text.replace(",", "").replace(" ", "").replace("_", "")):
            what, remedy = f"holds {text!r}, not a number", "use a decimal point, and nothing between thousands"
        else:
            what, remedy = f"holds {text!r}, not a number", "encode it as a number, or leave that column out (--drop)"
        raise InputError(f"{path}: line {line}, column {name!r} {what}; {remedy}")
    return np.array([float(cell) for cell in cells])


def _target(path: Path, name: str, cells: Sequence[str], lines: Sequence[int]) -> NDArray[Any]:
    """A target column: numbers when every cell is one, else text."""
    texts = [cell.strip() for cell in cells]
    return _numbers(path, name, cells, lines) if all(number(t) is not None for t in texts) else np.array(texts)

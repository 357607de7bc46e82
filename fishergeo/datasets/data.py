"""Data as a value, checked when it is made; every complaint names the culprit, by its line where there is a file."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, real_array
from . import Floats

_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}


@dataclass(frozen=True)
class Data:
    """Inputs X (N, D) with the names of their columns, and one array (N,) of numbers or text for each target.

    ``lines`` are those of the text file that the rows stand on; rows of arrays are counted from 0.  Raises `InputError`
    for shapes and names that do not fit, numbers that are not real and finite, masked entries and missing labels.
    """

    name: str
    X: Floats
    inputs: tuple[str, ...]
    y: tuple[NDArray[Any], ...]
    targets: tuple[str, ...]
    lines: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InputError(f"Data got name={self.name!r}: give a string that tells where the data come from")
        for field in ("inputs", "targets"):
            names = getattr(self, field)
            if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
                raise InputError(f"{self.name}: {field}={names!r} are no names of columns: give a tuple of strings")
        if not isinstance(self.y, tuple | list):
            raise InputError(f"{self.name}: y is a {type(self.y).__name__}: give a tuple with one array for each target")
        X = real(self.name, "X", self.X, self.lines)
        if X.ndim != 2 or X.shape[1] != len(self.inputs):
            raise InputError(
                f"{self.name}: X has shape {X.shape} and {len(self.inputs)} names of columns: give (N, D) and D names"
            )
        if not self.y or len(self.y) != len(self.targets):
            raise InputError(
                f"{self.name} has {len(self.y)} targets and {len(self.targets)} names for them: give as many of each"
            )
        targets = tuple(self._target(name, column, len(X)) for name, column in zip(self.targets, self.y))
        object.__setattr__(self, "X", X)
        object.__setattr__(self, "y", targets)

    def _target(self, name: str, column: Any, rows: int) -> NDArray[Any]:
        if np.shape(column) != (rows,):
            raise InputError(
                f"{self.name}: the target {name!r} has shape {np.shape(column)} but X has {rows} rows: give ({rows},)"
            )
        if np.asarray(column).dtype.kind != "U":
            return real(self.name, name, column, self.lines)
        for k, text in enumerate(column):
            if text.strip().lower() in _MISSING:
                what = f"is {str(text)!r}" if text.strip() else "is empty"
                raise InputError(f"{self.name}: the target {name!r} {what} in {self.row(k)}; drop that row")
        return np.asarray(column)

    def row(self, k: int) -> str:
        """Where row ``k`` is found."""
        return row(k, self.lines)


def row(k: int, lines: Sequence[int] | None) -> str:
    return f"row {k} (counting from 0)" if lines is None else f"line {lines[k]}"


def real(source: str, name: str, array: Any, lines: Sequence[int] | None = None) -> Floats:
    """The array as finite floats, not empty; raises `InputError` with the place of what is not."""
    array = real_array(array, f"{source}: {name} is an array")
    if not array.size:
        raise InputError(f"{source}: {name} is empty, shape {array.shape}: give at least one row and one column")
    with np.errstate(over="ignore"):  # of extended precision
        array = array.astype(float)
    if not np.isfinite(array).all():
        first = tuple(map(int, np.argwhere(~np.isfinite(array))[0]))
        where = row(first[0], lines) + (f", column {first[1]}" if len(first) > 1 else "") if first else "its only entry"
        raise InputError(f"{source}: {name} holds {array[first]} at {where}; drop or impute that row")
    return array


def number(text: str) -> float | None:
    """What a cell says if it is a number, nan and inf included, else None; 1_000 is Python, not a number."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def finite(text: str) -> bool:
    value = number(text)
    return value is not None and math.isfinite(value)


def _listing(names: Iterable[str], limit: int = 12) -> str:
    names = list(names)
    return ", ".join(names[:limit]) + (f", … ({len(names)} in all)" if len(names) > limit else "")


def nearest(wanted: str, names: Iterable[str]) -> str:
    """What to say after an unknown name: the nearest match and what there is."""
    names = list(names)
    lowered = {name.lower(): name for name in names}
    near = difflib.get_close_matches(wanted.lower(), lowered, n=1)
    return (f"did you mean {lowered[near[0]]!r}? " if near else "") + f"there is {_listing(names)}"


def split(
    source: str, header: Sequence[str], targets: tuple[str | int, ...], drop: tuple[str | int, ...]
) -> tuple[list[int], list[int]]:
    """The indices of the input columns and of the target columns."""
    if not targets:
        raise InputError(f"{source}: name the column to predict (--target); there is {_listing(header)}")
    picked, dropped = (_indices(source, header, names) for names in (targets, drop))
    if both := set(picked) & set(dropped):
        raise InputError(f"{source}: the target {header[min(both)]!r} is also left out (--drop): name it once")
    free = [k for k in range(len(header)) if k not in (*picked, *dropped)]
    if not free:
        raise InputError(f"{source}: every column is a target or left out, so no input remains; name fewer")
    return free, picked


def _indices(source: str, header: Sequence[str], names: tuple[str | int, ...]) -> list[int]:
    picked: list[int] = []
    for name in names:
        text = str(name)
        if (count := list(header).count(text)) > 1:
            raise InputError(f"{source} has {count} columns named {text!r}: rename them, or give the column's index")
        if count:
            index = list(header).index(text)
        elif re.fullmatch(r"-?\d{1,9}", text) and -len(header) <= int(text) < len(header):
            index = int(text) % len(header)
        else:
            raise InputError(f"{source} has no column {text!r}: {nearest(text, header)}")
        if index in picked:
            raise InputError(f"{source}: the column {text!r} is named twice")
        picked.append(index)
    return picked

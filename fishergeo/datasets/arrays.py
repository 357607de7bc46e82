"""Reading NumPy's files, never pickles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .data import Data, nearest, real, split

_MARKS = {".npy": b"\x93NUMPY", ".npz": b"PK"}
_PICKLE = b"\x80"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """What np.load returns, or a complaint that tells what the file is instead."""
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        start = file.read(8)
        file.seek(0)
        if not start:
            raise InputError(f"{path} is empty: write it again with numpy.{'save' if suffix == '.npy' else 'savez'}")
        if start.startswith(_MARKS[suffix]):
            yield _read(path, lambda: np.load(file, allow_pickle=False))
            return
    if start.startswith(_PICKLE):
        raise InputError(f"{path} holds Python objects, which are never unpickled: save plain number arrays")
    other = next((f"it is a {other} file" for other, mark in _MARKS.items() if start.startswith(mark)), None)
    raise InputError(
        f"{path} is not a readable {suffix} file: {other or 'it does not start like one'}; give it the suffix of what it "
        "is (.csv for text), or write it with NumPy"
    )


def _read(path: Path, act: Any) -> Any:
    """What ``act`` reads; a damaged file can break NumPy's parser, the archive and the decompression anywhere."""
    try:
        return act()
    except PermissionError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: {error}; its header is damaged, or it needs more memory: save fewer rows") from None
    except Exception as error:
        if "allow_pickle" in str(error):
            raise InputError(f"{path} holds Python objects, which are never unpickled: save plain arrays") from None
        raise InputError(f"{path} is not a readable {path.suffix} file: {error}; write it again") from None


def read_npy(path: Path, targets: tuple[str | int, ...], drop: tuple[str | int, ...]) -> Data:
    """A matrix (N, D + 1) whose columns are inputs and targets."""
    with _opened(path) as matrix:
        if matrix.ndim != 2 or matrix.shape[1] < 2:
            raise InputError(f"{path} has shape {matrix.shape}: give a matrix (N, D + 1) with a target column")
    matrix = real(str(path), "the matrix", matrix)
    free, picked = split(str(path), [str(k) for k in range(matrix.shape[1])], targets, drop)
    y = tuple(matrix[:, k] for k in picked)
    return Data(path.name, matrix[:, free], _columns(free), y, _columns(picked))


def read_npz(path: Path, targets: tuple[str | int, ...], drop: tuple[str | int, ...]) -> Data:
    """Inputs X (N, D) and targets (N,) or (N, C), by name."""
    if drop:
        raise InputError(f"{path}: columns can be left out (--drop) of a .csv or .npy file; save X without them")
    wanted = [str(target) for target in targets or ("y",)]
    if len(set(wanted)) < len(wanted) or "X" in wanted:
        raise InputError(f"{path}: the targets {', '.join(wanted)} repeat a name, or name the inputs X; give each once")
    with _opened(path) as archive:
        names = list(archive.files)
        for name in ("X", *wanted):
            if name not in names:
                raise InputError(
                    f"{path} has no array {name!r}: {nearest(name, names)}; it needs X (N, D) and the target"
                )
        X, *arrays = (_member(path, archive, name) for name in ("X", *wanted))
    if X.ndim != 2:
        raise InputError(f"{path}: X has shape {X.shape}: give a matrix (N, D)")
    X = real(str(path), "X", X)
    y: list[NDArray[Any]] = []
    labels: list[str] = []
    for name, array in zip(wanted, arrays, strict=True):
        if array.ndim not in (1, 2) or array.shape[0] != len(X):
            raise InputError(f"{path}: {name} has shape {array.shape} but X has {len(X)} rows: give (N,) or (N, C)")
        array = array if array.dtype.kind == "U" else real(str(path), name, array)
        y += list(array.reshape(len(X), -1).T)
        labels += [name] if array.ndim == 1 else [f"{name} {k}" for k in range(array.shape[1])]
    if not y:
        raise InputError(f"{path}: {wanted[0]} has no columns: give at least one target")
    return Data(path.name, X, _columns(range(X.shape[1])), tuple(y), tuple(labels))


def _member(path: Path, archive: Any, name: str) -> NDArray[Any]:
    array = _read(path, lambda: archive[name])
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: {name} is not an array; write the file with numpy.savez")
    return array


def _columns(indices: Any) -> tuple[str, ...]:
    return tuple(f"column {k}" for k in indices)

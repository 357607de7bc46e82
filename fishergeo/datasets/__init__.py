"""Data: the handwritten digits shipped with the package, label encoding, and files of one's own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, check_count, real_array

Floats = NDArray[np.float64]

_LAZY = {"load": "files", "Data": "data", "prepare": "problems", "digits": "problems", "Problem": "problems"}


def load_digits() -> tuple[Floats, NDArray[np.intp]]:
    """The UCI handwritten digits: X (1797, 64), ink counts 0 … 16 of 8 x 8 blocks, and y (1797,), the digit.

    Source: Alpaydin, Kaynak 1998, doi 10.24432/C50P49, CC BY 4.0.  Columns 0, 32 and 39 are constant.
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        return file["X"].astype(float), file["y"].astype(np.intp)


def one_hot(y: ArrayLike, units: int | None = None) -> Floats:
    """Labels 0 … H-1 as rows of the identity, (N,) -> (N, H); ``units`` is H, the largest label + 1 by default.

    Raises `InputError` for labels that are not integers from 0 to H-1.
    """
    if units is not None:
        check_count("one_hot", 1, units=units)
    labels = real_array(y, "one_hot got labels", "(N,) integers")
    if labels.ndim != 1 or not len(labels):
        raise InputError(f"one_hot got labels of shape {labels.shape}: give (N,) integers, N > 0")
    bad = ~(np.isfinite(labels) & (labels == np.round(labels)) & (labels >= 0))
    if units is not None:
        bad |= ~(labels < units)
    if bad.any():
        case = int(np.argmax(bad))
        last = "on" if units is None else f"to {units - 1}"
        raise InputError(f"one_hot got label {labels[case]} at case {case}: labels must be integers from 0 {last}")
    size = int(labels.max()) + 1 if units is None else int(units)
    try:
        rows = np.zeros((len(labels), size))
    except (MemoryError, ValueError):
        raise InputError(
            f"one_hot got {size} classes, too many for memory: number the classes 0, 1, 2, …, e.g. with numpy.unique"
        ) from None
    rows[np.arange(len(labels)), labels.astype(np.intp)] = 1
    return rows


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)

"""The one exception that bad input raises, and the checks of arguments that several modules share."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from .threads import over_ranges

if TYPE_CHECKING:
    import numpy as np


class InputError(ValueError):
    """Input that cannot work: the message names what was received, why, and the remedy, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))  # the repr of an array has several lines


def is_finite(value: Any) -> bool:
    """Whether ``value`` is one finite real number that fits into a float."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


MOST = 10**8  # numbers of one array: 800 MB


def is_count(value: Any, least: int = 1) -> bool:
    """Whether this is an integer >= ``least``."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def check_count(who: str, least: int, **counts: Any) -> None:
    """Refuse what is not an integer >= ``least``, or is more than fits into memory."""
    for name, value in counts.items():
        if not is_count(value, least):
            raise InputError(f"{who} got {name}={value!r}: give an integer >= {least}")
        if int(value) > MOST:
            raise InputError(f"{who} got {name}={value!r}: more than {MOST} do not fit into memory; take fewer")


def check_positive(who: str, **numbers: Any) -> None:
    """Refuse what is not a finite number > 0."""
    for name, value in numbers.items():
        if not (is_finite(value) and float(value) > 0):
            raise InputError(f"{who} got {name}={value!r}: give a finite number > 0")


def real_array(value: Any, who: str, what: str = "real numbers", exact: bool = False) -> np.ndarray[Any, Any]:
    """The value as an array of real numbers; `InputError` for ragged lists, masked entries and other types.

    ``exact`` admits numbers that are no floats, such as fractions, and leaves them as they are.
    """
    import numpy as np

    if np.ma.is_masked(value):
        raise InputError(f"{who} with masked entries: a mask is no number; drop or impute those cases")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        raise InputError(f"{who} in rows of different lengths: give {what} in a rectangular array") from None
    fractions = exact and array.dtype.kind == "O" and all(isinstance(entry, Real) for entry in array.ravel())
    if array.dtype.kind not in "biuf" and not fractions:
        raise InputError(f"{who} of type {array.dtype}: give {what}")
    return array


def all_finite(array: Any) -> bool:
    """Whether no number of an array is nan or inf."""
    import numpy as np

    if not isinstance(array, np.ndarray) or not array.ndim:
        return bool(np.isfinite(array).all())
    found = []

    def add(some: slice) -> None:
        with np.errstate(all="ignore"):  # a finite sum tells that all are finite, and is the faster test
            found.append(bool(np.isfinite(array[some].sum())) or bool(np.isfinite(array[some]).all()))

    over_ranges(add, len(array), float(array.size))
    return all(found)


def generator(who: str, rng: Any) -> np.random.Generator:
    """The random generator that ``rng`` is, or that it seeds; None stands for a fresh one."""
    import numpy as np

    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise InputError(f"{who} got rng={rng!r}: give a numpy Generator, or a seed, an integer >= 0, or None") from None

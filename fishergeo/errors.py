"""The one exception that bad input raises, and the checks of arguments that several modules share."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class InputError(ValueError):
    """Input that cannot work: the message names what was received, why, and the remedy, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))  # the repr of an array has several lines


def check_count(who: str, least: int, **counts: Any) -> None:
    """Refuse what is not an integer >= ``least``."""
    for name, value in counts.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise InputError(f"{who} got {name}={value!r}: give an integer >= {least}")


def check_positive(who: str, **numbers: Any) -> None:
    """Refuse what is not a finite number > 0."""
    for name, value in numbers.items():
        if not isinstance(value, Real) or isinstance(value, bool) or not (math.isfinite(value) and float(value) > 0):
            raise InputError(f"{who} got {name}={value!r}: give a finite number > 0")


def generator(who: str, rng: Any) -> np.random.Generator:
    """The random generator that ``rng`` is, or that it seeds; None stands for a fresh one."""
    import numpy as np

    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise InputError(f"{who} got rng={rng!r}: give a numpy.random.Generator, or a seed, an integer >= 0") from None

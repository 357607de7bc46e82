"""The parameters of a model: weights, bias and gain, flattened unit by unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError, real_array
from .families import Floats
from .foreign import Foreign, is_foreign


@dataclass(frozen=True)
class Params:
    """Weights W (H, D), bias b (H,) and, for a normalized model, gain g (H,); leading batch dimensions are allowed.

    Flattened unit by unit, [w_1, b_1, g_1, w_2, …]: P = H(D+2), or H(D+1) without a gain.
    """

    weight: Floats
    bias: Floats
    gain: Floats | None = None

    @property
    def units(self) -> int:
        return self.weight.shape[-2]

    @property
    def inputs(self) -> int:
        return self.weight.shape[-1]

    @property
    def size(self) -> int:
        """P, the number of parameters."""
        return self.units * (self.inputs + 1 + (self.gain is not None))

    def map(self, change: Callable[[Any], Any]) -> Params:
        """The parameters with ``change`` applied to weights, bias and gain."""
        return Params(change(self.weight), change(self.bias), None if self.gain is None else change(self.gain))

    def ravel(self) -> Floats:
        """All parameters as one vector (P,), unit by unit."""
        if is_foreign(self.weight):
            own = Foreign.of(self.weight, "the weight is an array")
            return self.map(lambda v: own.read(v, "a parameter is an array")).ravel().array  # type: ignore[attr-defined]
        columns = [self.weight, self.bias[..., None]] + ([] if self.gain is None else [self.gain[..., None]])
        return np.concatenate(columns, axis=-1).reshape(*self.weight.shape[:-2], self.size)

    @staticmethod
    def unravel(v: Any, units: int, has_gain: bool) -> Params:
        """The inverse of `ravel`, along the last axis of ``v``."""
        if is_foreign(v):
            return Params.unravel(Foreign.of(v, "unravel got a vector"), units, has_gain).map(lambda part: part.array)
        if not isinstance(v, Foreign):
            v = real_array(v, "unravel got a vector").astype(float, copy=False)
        if not isinstance(units, int | np.integer):
            raise InputError(f"unravel got units={units!r}: give a whole number")
        if v.ndim == 0 or units < 1 or v.shape[-1] % units or v.shape[-1] // units < 2 + has_gain:
            parts = "D + 2" if has_gain else "D + 1"
            raise InputError(f"unravel got a vector of shape {v.shape} for {units} units: its length must be H({parts})")
        rows = v.reshape(*v.shape[:-1], units, -1)
        if has_gain:
            return Params(rows[..., :-2], rows[..., -2], rows[..., -1])
        return Params(rows[..., :-1], rows[..., -1])

"""The Hessian η'' of a cumulant, in the few shapes it has: products and a square root without dense matrices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..cells import inner

Floats = NDArray[np.float64]
tiny_is_zero = np.errstate(under="ignore")  # a probability below 1e-308 is 0, also for callers who trap underflow


@dataclass(frozen=True)
class Hessian:
    """η''(θ) for each case: diag(d) for independent outputs, diag(d) - ddᵀ/Σd for outputs that share a total.

    Outputs y = L u that mix independent u have L diag(d) Lᵀ, ``mixing`` = L (H, H).
    """

    d: Floats
    coupled: bool = False
    mixing: Floats | None = None

    @cached_property
    def _total(self) -> Floats:
        return self.d.sum(axis=-1, keepdims=True)

    def _mean(self, v: Floats) -> Floats:
        """Σdv/Σd."""
        return inner(self.d, v) / self._total

    def _half(self, v: Floats) -> Floats:
        """Lᵀv, or v - Σdv/Σd, or v."""
        if self.mixing is not None:
            return v @ self.mixing
        return v - self._mean(v) if self.coupled else v

    @tiny_is_zero
    def apply(self, v: Floats) -> Floats:
        """η''(θ) v along the last axis; ``v`` may carry leading batch dimensions."""
        product = self._half(v) * self.d
        return product if self.mixing is None else product @ self.mixing.T

    def overwrite(self, v: Floats) -> Floats:
        """`apply`, in the place of ``v`` where it can be; underflow is left to the caller."""
        if self.mixing is not None:
            return self.apply(v)
        if self.coupled:
            v -= self._mean(v)
        v *= self.d
        return v

    @tiny_is_zero
    def root(self, v: Floats) -> Floats:
        """B v, where BᵀB = η''(θ)."""
        return np.sqrt(self.d) * self._half(v)

    @tiny_is_zero
    def dense(self) -> Floats:
        """The (..., H, H) matrices."""
        if self.mixing is not None:
            dense = (self.mixing * self.d[..., None, :]) @ self.mixing.T
            return (dense + np.swapaxes(dense, -1, -2)) / 2
        eye = np.eye(self.d.shape[-1])
        return self.d[..., None] * (eye - self.coupled * self.d[..., None, :] / self._total[..., None])

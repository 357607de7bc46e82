r"""Weighted Gram matrices Σ_n ω_tn φ_n φ_nᵀ of many weights ω_t at once: the arithmetic of every exact Fisher matrix.

Both kernels do the minimal T·N·m(m+1) operations of symmetric results.  Few features (or many weights) go through one
product of the weights with the m(m+1)/2 products φ_a φ_b; many features go through one symmetric rank-n update a weight,
of rows scaled by √|ω|, positive and negative weights apart.  Rows are taken in blocks that stay in the cache.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dsyrk

from ..families import Floats

_BLOCK = 1 << 17  # numbers in a block of products φ_a φ_b, or of scaled rows: 1 MiB


class Grams:
    """The sums Σ_n ω_tn φ_n φ_nᵀ, t = 1…T, of features φ (n, m) and weights (T, n) that are added block by block."""

    def __init__(self, features: int, count: int) -> None:
        self.features, self.count = features, count
        self.paired = self.prefers_pairs(features, count)
        size = features * (features + 1) // 2
        self.sums = [np.zeros((count, size))] if self.paired else [np.zeros((features,) * 2) for _ in range(count)]

    @staticmethod
    def prefers_pairs(features: int, count: int) -> bool:
        """Whether products of features, formed once, are cheaper than rows scaled for each weight."""
        return features <= 24 or (features <= 160 and count > 20)

    def add(self, phi: Floats, weights: Floats) -> None:
        """Add a block of cases: φ (n, m), ω (T, n)."""
        step = max(64, (_BLOCK // (self.sums[0].shape[1] if self.paired else self.features)) & ~63)
        for start in range(0, len(phi), step):
            rows = slice(start, start + step)
            (self._add_paired if self.paired else self._add_scaled)(phi[rows], weights[:, rows])

    def _add_paired(self, phi: Floats, weights: Floats) -> None:
        m, columns = self.features, np.ascontiguousarray(phi.T)
        products = np.empty((self.sums[0].shape[1], len(phi)))
        start = 0
        for a in range(m):
            np.multiply(columns[a:], columns[a], out=products[start : start + m - a])
            start += m - a
        self.sums[0] += weights @ products.T

    def _add_scaled(self, phi: Floats, weights: Floats) -> None:
        roots = np.sqrt(np.abs(weights))
        buffer = np.empty_like(phi)
        for total, weight, root in zip(self.sums, weights, roots, strict=True):
            negative = weight < 0
            if not negative.any():
                np.multiply(phi, root[:, None], out=buffer)
                _update(total, buffer, 1.0)
                continue
            for sign, where in ((1.0, ~negative), (-1.0, negative)):
                chosen = np.flatnonzero(where)
                part = np.take(phi, chosen, axis=0, out=buffer[: len(chosen)], mode="clip")
                part *= root[chosen, None]
                _update(total, part, sign)

    def matrices(self) -> list[Floats]:
        """The T symmetric matrices (m, m).  The sums are used up."""
        sums, self.sums = self.sums, []
        if self.paired:
            return list(np.take(sums[0], _square(self.features), axis=1))
        for total in sums:
            mirror(total)
        return sums


def _update(total: Floats, rows: Floats, sign: float) -> None:
    """total += sign·rowsᵀrows, in the lower triangle (the upper one in the column order of BLAS)."""
    if len(rows):
        dsyrk(sign, rows.T, beta=1.0, c=total.T, overwrite_c=1)


def mirror(total: Floats) -> None:
    """Copy the lower triangle of a square matrix to the upper one, in place."""
    step = 256
    for start in range(0, len(total), step):
        stop = start + step
        corner = total[start:stop, start:stop]
        corner[...] = np.tril(corner) + np.tril(corner, -1).T
        total[start:stop, stop:] = total[stop:, start:stop].T


@lru_cache(maxsize=32)
def _square(m: int) -> NDArray[np.intp]:
    """Where the entry (a, b) of a symmetric matrix lies among its m(m+1)/2 numbers."""
    place = np.zeros((m, m), dtype=np.intp)
    place[np.triu_indices(m)] = np.arange(m * (m + 1) // 2)
    return np.maximum(place, place.T)

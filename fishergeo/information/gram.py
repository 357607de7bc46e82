r"""Weighted Gram matrices Σ_n ω_tn φ_n φ_nᵀ of many weights ω_t at once: the arithmetic of every exact Fisher matrix.

All kernels do the minimal T·N·m(m+1) operations of symmetric results (stripes a few percent more), on rows in blocks
that stay in the cache.  What is formed is multiplied as a matrix: with few features, or as many weights as features, the
products φ_a φ_b; else the rows ω_t φ_a, a stripe of features at a time; with very many features √|ω_t| φ, positive and
negative weights apart (NumPy makes AᵀA by a symmetric update).  Each sum is made by one thread in one order, whatever
the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from ..families import Floats
from .threads import each

_ROWS = 512  # cases in a block
_FORMED = 1 << 17  # numbers in a block of what is formed: 1 MiB
_STRIPE = 12  # features in a stripe
_UPDATE = 1024  # cases in an update, so that adding it up costs little


class Grams:
    """The sums Σ_n ω_tn φ_n φ_nᵀ, t = 1…T, of features φ (n, m) and weights (T, n) that are added block by block."""

    def __init__(self, features: int, count: int) -> None:
        self.features, self.count, self.kernel = features, count, self.choose(features, count)
        self.spans = list(self._spans())
        self.sums = [np.zeros(self._shape(*span)) for span in self.spans]

    @staticmethod
    def choose(features: int, count: int) -> str:
        """The kernel for so many features and weights: "products", "stripes" or "updates"."""
        if features <= 24 or (features <= 160 and 3 * count > features):
            return "products"
        return "stripes" if features <= 400 and count > 2 else "updates"

    def _spans(self) -> Iterator[tuple[int, int]]:
        """Ranges of features, or of weights, whose sums are made together."""
        if self.kernel == "updates":
            yield from ((t, t + 1) for t in range(self.count))
            return
        start, m = 0, self.features
        while start < m:
            stop = min(m, start + _STRIPE)
            if self.kernel == "products":
                while stop < m and (stop - start) * (m - start) < _FORMED // _ROWS:
                    stop += 1
            yield start, stop
            start = stop

    def _shape(self, start: int, stop: int) -> tuple[int, int]:
        m = self.features
        if self.kernel == "updates":
            return m, m
        if self.kernel == "stripes":
            return self.count * (stop - start), m - start
        return self.count, _products(m, start) - _products(m, stop)

    def add(self, phi: Floats, weights: Floats) -> None:
        """Add a block of cases: φ (n, m), ω (T, n); the products are of the precision of φ, their sums of float64."""
        weights = weights.astype(phi.dtype, copy=False)
        make = {"products": self._products, "stripes": self._stripe, "updates": self._update}[self.kernel]
        columns = phi if self.kernel == "updates" else np.ascontiguousarray(phi.T)
        tasks = [partial(make, total, *span, columns, weights) for total, span in zip(self.sums, self.spans)]
        each(tasks, self.count * phi.size * self.features / 2)

    def _products(self, total: Floats, start: int, stop: int, columns: Floats, weights: Floats) -> None:
        n = columns.shape[1]
        formed = np.empty((total.shape[1], min(n, _ROWS)), columns.dtype)
        part = np.empty_like(total, columns.dtype)
        for first in range(0, n, _ROWS):
            block = columns[start:, first : first + _ROWS]
            products = formed[:, : block.shape[1]]
            place = 0
            for a in range(stop - start):
                following = block[a:]
                np.multiply(following, block[a], out=products[place : place + len(following)])
                place += len(following)
            total += np.matmul(weights[:, first : first + _ROWS], products.T, out=part)

    def _stripe(self, total: Floats, start: int, stop: int, columns: Floats, weights: Floats) -> None:
        n, count, width = columns.shape[1], self.count, stop - start
        formed, part = np.empty(count * width * min(n, _ROWS), columns.dtype), np.empty_like(total, columns.dtype)
        for first in range(0, n, _ROWS):
            block, weight = columns[start:, first : first + _ROWS], weights[:, first : first + _ROWS]
            scaled = formed[: count * width * block.shape[1]].reshape(count, width, -1)
            np.multiply(block[:width], weight[:, None], out=scaled)
            total += np.matmul(scaled.reshape(count * width, -1), block.T, out=part)

    def _update(self, total: Floats, start: int, stop: int, phi: Floats, weights: Floats) -> None:
        weight, step = weights[start], max(_UPDATE, _FORMED // self.features)
        root, negative = np.sqrt(np.abs(weight)), weight < 0
        buffer, part = np.empty_like(phi[:step]), np.empty_like(total, phi.dtype)
        for first in range(0, len(phi), step):
            rows = slice(first, first + step)
            block, below = phi[rows], negative[rows]
            if not below.any():
                scaled = np.multiply(block, root[rows, None], out=buffer[: len(block)])
                total += np.matmul(scaled.T, scaled, out=part)
                continue
            for add, where in ((np.add, ~below), (np.subtract, below)):
                chosen = np.flatnonzero(where)
                scaled = np.take(block, chosen, axis=0, out=buffer[: len(chosen)], mode="clip")
                scaled *= root[rows][chosen, None]
                add(total, np.matmul(scaled.T, scaled, out=part), out=total)

    def matrices(self) -> list[Floats]:
        """The T symmetric matrices (m, m).  The sums are used up."""
        sums, self.sums, m = self.sums, [], self.features
        if self.kernel == "updates":
            return sums
        if self.kernel == "products":
            return list(np.take(np.concatenate(sums, axis=1), _places(m), axis=1))
        out = np.empty((self.count, m, m))
        for total, (start, stop) in zip(sums, self.spans):
            out[:, start:, start:stop] = total.reshape(self.count, stop - start, m - start).transpose(0, 2, 1)
        for matrix in out:
            mirror(matrix)
        return list(out)


def mirror(total: Floats) -> None:
    """Copy the lower triangle of a square matrix to the upper one, in place."""
    step = 256
    for start in range(0, len(total), step):
        stop = start + step
        corner = total[start:stop, start:stop]
        corner[...] = np.tril(corner) + np.tril(corner, -1).T
        total[start:stop, stop:] = total[stop:, start:stop].T


def _products(m: int, start: int) -> int:
    """How many products φ_a φ_b there are with start <= a <= b < m."""
    return (m - start) * (m - start + 1) // 2


@lru_cache(maxsize=32)
def _places(m: int) -> NDArray[np.intp]:
    """Where the entry (a, b) of a symmetric matrix lies among its m(m+1)/2 numbers."""
    place = np.zeros((m, m), dtype=np.intp)
    place[np.triu_indices(m)] = np.arange(_products(m, 0))
    return np.maximum(place, place.T)

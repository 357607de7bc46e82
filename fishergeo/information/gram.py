r"""Weighted Gram matrices Σ_n ω_tn φ_n φ_nᵀ of many weights ω_t at once: the arithmetic of every exact Fisher matrix.

All kernels do the minimal T·N·m(m+1) operations of symmetric results (stripes some percent more), on rows in blocks
that stay in the cache.  What is formed is multiplied as a matrix: with few features the products φ_a φ_b; with more the
rows ω_t φ_a, a stripe of features a at a time; with very many features √|ω_t| φ, as NumPy makes AᵀA by a symmetric
update, or stripes for each t whose weights are of both signs.  Each sum is made by one thread in one order, whatever the
number of threads.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from ..families import Floats
from ..threads import each

_ROWS = 1008  # cases in a block: no power of two, which caches map to few places
_FORMED = 1 << 18  # numbers in a block of products: 2 MiB
_STRIPE = 160  # rows ω_t φ_a in a stripe, at least: less would leave too little to do between two calls
_WIDTH = 104  # features in a stripe of weights of both signs
_LINE = 8  # numbers in a cache line, and in the widest register: products of whole lines are faster


class Grams:
    """The sums Σ_n ω_tn φ_n φ_nᵀ, t = 1…T, of features φ (n, m) and weights (T, n) that are added block by block."""

    def __init__(self, features: int, count: int) -> None:
        self.features, self.count, self.kernel = features, count, self.choose(features, count)
        self.spans = list(self._spans())
        self.sums = [np.zeros(self._shape(*span)) for span in self.spans]

    @staticmethod
    def choose(features: int, count: int) -> str:
        """The kernel for so many features and weights: "products", "stripes" or "updates"."""
        if features <= 24:
            return "products"
        return "stripes" if features <= 160 and count >= 8 else "updates"

    @property
    def rows(self) -> int:
        """How many cases are best added at a time."""
        if self.kernel == "products":
            return max(1, _FORMED // _products(self.features, 0))
        return _ROWS

    @property
    def square(self) -> bool:
        """Whether there is one weight and an update with it: then √ω φ is as good as φ, and spares a copy."""
        return self.kernel == "updates" and self.count == 1

    def add_square(self, rooted: Floats) -> None:
        """Add some cases, √ω φ (n, m)."""
        self.sums[0] += _squared(rooted)

    def _spans(self) -> Iterator[tuple[int, int]]:
        """Ranges of features, or of weights, whose sums are made together."""
        if self.kernel == "updates":
            yield from ((t, t + 1) for t in range(self.count))
            return
        width = self.features if self.kernel == "products" else _whole(-(-_STRIPE // self.count))
        for start in range(0, self.features, width):
            yield start, min(start + width, self.features)

    def _shape(self, start: int, stop: int) -> tuple[int, int]:
        m = self.features
        if self.kernel == "updates":
            return m, m
        if self.kernel == "stripes":
            return (stop - start) * self.count, _whole(m) - start // _LINE * _LINE
        return self.count, _products(m, 0)

    def add(self, phi: Floats, weights: Floats) -> None:
        """Add some cases: φ (n, m), ω (T, n); the products are of the precision of φ, their sums of float64."""
        step = self.rows
        for start in range(0, len(phi), step):
            self._add(phi[start : start + step], weights[:, start : start + step])

    def _add(self, phi: Floats, weights: Floats) -> None:
        kernels: dict[str, Callable[..., None]] = {
            "products": self._multiplied,
            "stripes": self._stripe,
            "updates": self._update,
        }
        given = [phi, np.ascontiguousarray(weights, phi.dtype)]
        if self.kernel != "updates":
            given.append(scratch("columns", phi.shape[::-1], phi.dtype))
            np.copyto(given[-1], phi.T)
        if self.kernel == "stripes":
            given[0] = _padded(phi)
        tasks = [partial(kernels[self.kernel], *one, *given) for one in zip(self.sums, *zip(*self.spans))]
        each(tasks, self.count * phi.size * self.features / 2)

    def _multiplied(self, total: Floats, start: int, stop: int, phi: Floats, weights: Floats, columns: Floats) -> None:
        m, n = columns.shape
        products, place = scratch("scaled", (total.shape[1], n), phi.dtype), 0
        for a in range(m):
            np.multiply(columns[a:], columns[a], out=products[place : place + m - a])
            place += m - a
        total += np.matmul(weights, products.T, out=scratch("part", total.shape, phi.dtype))

    def _stripe(self, total: Floats, start: int, stop: int, phi: Floats, weights: Floats, columns: Floats) -> None:
        scaled = scratch("scaled", (stop - start, *weights.shape), phi.dtype)
        np.multiply(weights, columns[start:stop, None], out=scaled)
        right = phi[:, phi.shape[1] - total.shape[1] :]
        part = scratch("part", total.shape, phi.dtype)
        total += np.matmul(scaled.reshape(len(total), -1), right, out=part)

    def _update(self, total: Floats, start: int, stop: int, phi: Floats, weights: Floats) -> None:
        weight, m = weights[start], phi.shape[1]
        scaled = scratch("scaled", phi.shape, phi.dtype)
        if weight.min() >= 0 or weight.max() <= 0:
            np.multiply(phi, np.sqrt(np.abs(weight))[:, None], out=scaled)
            (np.subtract if weight.min() < 0 else np.add)(total, _squared(scaled), out=total)
            return
        np.multiply(phi, weight[:, None], out=scaled)
        for a in range(0, m, _WIDTH):
            b = min(a + _WIDTH, m)
            part = scratch("part", (b - a, m - a), phi.dtype)
            total[a:b, a:] += np.matmul(scaled[:, a:b].T, phi[:, a:], out=part)

    def matrices(self) -> Floats | list[Floats]:
        """The T symmetric matrices (m, m).  The sums are used up."""
        sums, self.sums, m = self.sums, [], self.features
        if self.kernel == "updates":
            each([partial(mirror, total.T) for total in sums], float(self.count * m * m))
            return sums
        if self.kernel == "products":
            return np.take(sums[0], _places(m), axis=1)
        out = np.empty((self.count, m, m))
        for total, (start, stop) in zip(sums, self.spans):
            width, left = stop - start, start % _LINE
            block = total.reshape(width, self.count, -1)[..., left : left + m - start].transpose(1, 0, 2)
            own = np.triu(block[..., :width])
            out[:, start:stop, start:stop] = own + np.triu(own, 1).transpose(0, 2, 1)
            out[:, start:stop, stop:] = block[..., width:]
            out[:, stop:, start:stop] = block[..., width:].transpose(0, 2, 1)
        return out


_kept = threading.local()


def scratch(name: str, shape: tuple[int, ...], dtype: np.dtype) -> Floats:
    """Room for an array, the same each time in a thread: fresh memory would cost as much as filling it."""
    size = math.prod(shape) * dtype.itemsize
    have = getattr(_kept, name, None)
    if have is None or len(have) < size:
        room = np.empty(size + 64, np.uint8)
        start = -room.ctypes.data % 64  # a cache line
        have = room[start : start + size]
        setattr(_kept, name, have)
    return have[:size].view(dtype).reshape(shape)


def _squared(rows: Floats) -> Floats:
    """rowsᵀ rows, which the next call overwrites."""
    return np.matmul(rows.T, rows, out=scratch("part", rows.shape[1:] * 2, rows.dtype))


def _whole(count: int) -> int:
    """The next multiple of a cache line."""
    return -(-count // _LINE) * _LINE


def _padded(phi: Floats) -> Floats:
    """φ with as many zeros as make its rows whole cache lines."""
    n, m = phi.shape
    out = scratch("phi", (n, _whole(m)), phi.dtype)
    out[:, :m], out[:, m:] = phi, 0
    return out


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

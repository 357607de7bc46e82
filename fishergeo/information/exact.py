r"""The exact dense Fisher matrix from weighted Gram matrices of the inputs, summed up piece by piece.

Independent outputs under stages of their own have a block-diagonal F, one Gram matrix a unit.  Where outputs or units are
dependent, the blocks of a row often sum to zero (softmax: η''·1 = 0; a centered case: M_n·1 = 0): then only those of
i < j are summed up, and a diagonal block is minus the sum of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from ..families import Floats, Hessian
from ..threads import each
from .gram import scratch
from .pieces import Piece
from .structure import Chart

_FEW = 256  # features
_BLOCK = 1 << 18  # numbers in the largest array over a piece, 2 MiB, and in a batch of blocks of F
Indices = NDArray[np.intp]


class Sums:
    """The sums over cases that F is made of; those of two sets of cases add.

    ``grams`` are weighted Gram matrices of φ, one for each unit (``by_unit``) or for each pair of units; where stages
    act on cases, ``bias`` and ``gain`` (H, H, m) hold the blocks of [unit of b or g, unit of w], ``rest`` (H, 2, H, 2)
    those of b and g.  ``constant`` says that η'' is the same number everywhere: one Gram matrix serves all units.
    """

    def __init__(self, chart: Chart, first: Piece, constant: bool = False) -> None:
        H, m = chart.params.units, chart.features
        self.chart, self.mixing, coupled = chart, first.hessian.mixing, first.hessian.coupled
        self.by_unit = not chart.cases and not coupled
        self.zero = _centered(first) if chart.cases else coupled
        self.i, self.j = _pairs_of(H, self.zero)
        self.grams = first.grams(m, len(self.i) if not self.by_unit else 1 if constant else H)
        self.bias, self.gain = np.zeros((2, H, H, m if chart.cases else 0))
        self.rest = np.zeros((H, 2, H, 2))
        self._room: Floats | None = None
        if not self.by_unit and self.grams.kernel == "updates":  # large matrices are summed up where F will be
            size = chart.params.size // H
            self._room = np.zeros((H, size, H, size))
            self.grams.sums = [self._room[i, :m, j, :m] for i, j in zip(self.i, self.j)]

    @property
    def arrays(self) -> list[Floats]:
        """What is summed up."""
        return [*self.grams.sums, self.bias, self.gain, self.rest]

    @property
    def rows(self) -> int:
        """How many cases a piece should have, so that all of its arrays stay in the cache."""
        units = self.chart.params.units
        if self.chart.cases:
            return max(64, min(self.grams.rows, 4 * _BLOCK // (self.chart.features + 2 * units**2)))
        return self.grams.rows

    def merge(self, other: Sums) -> None:
        """Add the sums over other cases."""
        for own, part in zip(self.arrays, other.arrays, strict=True):
            own += part

    def add(self, piece: Piece) -> None:
        """Add some of the cases."""
        if self.chart.cases:
            self._add_cases(piece)
            return
        d = np.ascontiguousarray(piece.hessian.d.T)
        weights = d[: self.grams.count] if self.by_unit else self._pairs(d)
        if self.grams.square and weights.min() >= 0:
            self.grams.add_square(piece.phi(kept=False, by=np.sqrt(weights[0])))
        else:
            self.grams.add(piece.phi(kept=False), weights)

    def _pairs(self, d: Floats) -> Floats:
        """η''_ij (T, n), i < j, for d (H, n) of outputs that share a total; the next call overwrites it."""
        first, second = (scratch(name, (len(self.i), d.shape[1]), d.dtype) for name in ("first", "second"))
        np.take(d, self.i, axis=0, out=first, mode="clip")
        np.take(d / -d.sum(axis=0), self.j, axis=0, out=second, mode="clip")
        return np.multiply(first, second, out=first)

    def _add_cases(self, piece: Piece) -> None:
        value = np.ascontiguousarray(piece.value.T)
        curvature = _unit_major(piece.hessian)
        half = self._pulled(piece, curvature)  # η''M as [z, w, n]
        S = self._pulled(piece, half.transpose(1, 0, 2))
        self.grams.add(piece.phi(kept=False), S[self.i, self.j])
        rows = (-1, self.chart.features)
        piece.backward(half.reshape(-1, len(piece)), self.bias.reshape(rows))
        half *= value[:, None]
        piece.backward(half.reshape(-1, len(piece)), self.gain.reshape(rows))
        self.rest[:, 0, :, 0] += curvature.sum(axis=-1)
        curvature *= value
        self.rest[:, 0, :, 1] += curvature.sum(axis=-1)
        self.rest[:, 1, :, 1] += (curvature * value[:, None]).sum(axis=-1)

    def _pulled(self, piece: Piece, rows: Floats) -> Floats:
        """M_nᵀ applied to the second index of an array (k, H, n)."""
        y, gain = rows.transpose(0, 2, 1), self.chart.params.gain
        if gain is not None:
            y = y * gain
        for stage in reversed(piece.stages):
            y = stage.adjoint(y)
        return y.transpose(0, 2, 1)

    @property
    def diagonal(self) -> bool:
        """Whether F is block-diagonal, with a block for each unit."""
        return self.by_unit and self.mixing is None and not self.chart.mixes

    def diagonal_blocks(self) -> Floats:
        """The blocks (H, D+2, D+2) of N φ F on the diagonal, where all others are 0."""
        H, size = self.chart.params.units, self.chart.params.size // self.chart.params.units
        grams, out = self.grams.matrices(), np.empty((H, size, size))
        for some in _batches(np.arange(H), self.chart.features):
            out[some] = self._congruent(np.stack([grams[min(k, len(grams) - 1)] for k in some]), some, some)
        return symmetric(out)

    def dense(self) -> Floats:
        """N φ F (P, P), exactly symmetric, where it is not block-diagonal."""
        chart, H, D = self.chart, self.chart.params.units, self.chart.inputs
        size = chart.params.size // H
        out = np.empty((H, size, H, size)) if self._room is None else self._room
        if self.by_unit:
            L = np.eye(H) if self.mixing is None else self.mixing
            own = np.asarray(self.grams.matrices())
            for i, j in zip(_batches(self.i, chart.features), _batches(self.j, chart.features)):
                share = L[i] * L[j]
                grams = np.tensordot(share if len(own) == H else share.sum(axis=1, keepdims=True), own, 1)
                self._place(out, i, j, grams)
        else:
            self._place_pairs(out)
        if chart.cases:
            self._place_ends(out)
        if chart.mixes:
            for _ in range(2):
                out[..., :D] = chart.mix(out[..., :D])
                out = out.transpose(2, 3, 0, 1).copy()
            symmetric(out.reshape(chart.params.size, -1))
        return out.reshape(chart.params.size, -1)

    def _place_pairs(self, out: Floats) -> None:
        """The blocks of pairs of units, and those on the diagonal from them."""
        m, units, (i, j) = self.chart.features, np.arange(self.chart.params.units), (self.i, self.j)
        matrices = self.grams.matrices()
        if self._room is None:
            out[i, :m, j, :m] = matrices
        work = float(len(i) * m * m)
        if self.zero:
            touching = -1.0 * ((units[:, None] == i) | (units[:, None] == j))

            def own(rows: slice) -> None:
                out[units, rows, units, :m] = np.tensordot(touching, out[i, rows, j, :m], 1)

            step = max(1, _BLOCK // (max(1, len(i)) * m))
            each([partial(own, slice(start, min(start + step, m))) for start in range(0, m, step)], work)
            i, j = np.append(i, units), np.append(j, units)
        batches = zip(_batches(i, m), _batches(j, m), strict=True)
        each([partial(self._place, out, *some) for some in batches], work)

    def _place_ends(self, out: Floats) -> None:
        """The blocks of b and g."""
        D, ends = self.chart.inputs, out.shape[1] - self.chart.inputs
        rest = self.rest.copy()
        rest[:, 1, :, 0] = rest[:, 0, :, 1].T
        symmetric(rest.reshape(2 * len(rest), -1))
        out[:, D:, :, D:] = rest[:, :ends, :, :ends]
        for k, part in enumerate((self.bias, self.gain)[:ends]):
            side = self.chart.pull(part)
            out[:, D + k, :, :D] = side
            out[:, :D, :, D + k] = side.transpose(1, 2, 0)

    def _place(self, out: Floats, i: Indices, j: Indices, grams: Floats | None = None) -> None:
        """The blocks of some pairs of units from their sums, which are in their places if they are not given."""
        m = self.chart.features
        blocks = self._congruent(out[i, :m, j, :m] if grams is None else grams, i, j)
        width, own = blocks.shape[-1], i == j
        if own.any():
            blocks[own] = symmetric(blocks[own])
        out[i, :width, j, :width] = blocks
        out[j, :width, i, :width] = blocks.transpose(0, 2, 1)

    def _congruent(self, grams: Floats, i: Indices, j: Indices) -> Floats:
        """T_iᵀ G T_j for matrices G (K, m, m) between the units i and j."""
        if self.chart.features <= _FEW and (self.chart.weight or self.chart.units):
            return self._sides[i].transpose(0, 2, 1) @ grams @ self._sides[j]
        right = self.chart.side(grams.transpose(1, 0, 2), j)
        return self.chart.side(right.transpose(2, 1, 0), i).transpose(1, 2, 0)

    @cached_property
    def _sides(self) -> Floats:
        """T as matrices (H, m, D+2): with few features products are faster than passes for corrections of rank one."""
        H, m = self.chart.params.units, self.chart.features
        return self.chart.side(np.broadcast_to(np.eye(m)[:, None], (m, H, m))).transpose(1, 0, 2).copy()


def _centered(piece: Piece) -> bool:
    """Whether M_n·1 = 0 in every case."""
    first = piece.stages[0]
    return first.mean is not None and not first.frozen and not first.cells.groups and first.cells.share is None


def symmetric(F: Floats) -> Floats:
    """(F + Fᵀ)/2 in place, without a second matrix."""
    step = max(1, _BLOCK // F.shape[-1])
    for start in range(0, F.shape[-1], step):
        stop = start + step
        lower = F[..., start:, start:stop]
        lower += np.swapaxes(F[..., start:stop, start:], -1, -2)
        lower /= 2
        F[..., start:stop, start:] = np.swapaxes(lower, -1, -2)
    return F


@lru_cache(maxsize=32)
def _pairs_of(units: int, apart: bool) -> tuple[Indices, Indices]:
    """The pairs i <= j of units, or i < j."""
    return np.triu_indices(units, int(apart))


def _batches(items: Indices, features: int) -> Iterator[Indices]:
    step = max(1, _BLOCK // features**2)
    for start in range(0, len(items), step):
        yield items[start : start + step]


def _unit_major(hessian: Hessian) -> Floats:
    """η'' as an array (H, H, n)."""
    d = np.ascontiguousarray(hessian.d.T)
    H, n = d.shape
    if hessian.mixing is not None:
        L = hessian.mixing
        return np.tensordot(L[:, None] * L[None], d, 1)
    out = np.zeros((H, H, n))
    if hessian.coupled:
        np.multiply(d[:, None], -d / d.sum(axis=0), out=out)
    out[np.arange(H), np.arange(H)] += d
    return out

r"""Sparse inputs, never filled in: what is subtracted from them stays a correction of rank one.

With φ = [x - c; 1], s = Σ_n ω_n x_n and w = Σ_n ω_n,

    Σ_n ω_n (x_n - c)(x_n - c)ᵀ = XᵀΩX - c sᵀ - s cᵀ + w c cᵀ

XᵀΩX is made feature by feature: the rows in which feature a is not 0, times their ω_n x_na, for all weights at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ..families import Floats
from ..threads import each
from .gram import Grams, mirror
from .pieces import Piece

_STRIPES = 6  # ranges of features whose sums are made together, of which only those that follow are needed


@dataclass(frozen=True)
class Shifted:
    """Inputs X - shift with a sparse X (n, D)."""

    X: Any
    shift: Floats

    @property
    def shape(self) -> tuple[int, int]:
        """(n, D)."""
        return self.X.shape

    def __getitem__(self, rows: slice) -> Shifted:
        return Shifted(self.X[rows], self.shift)

    def affine(self, mean: Any, sigma: Any) -> Shifted:
        """(x̂ - mean)/sigma for each feature."""
        X = self.X.copy()
        X.data /= np.broadcast_to(sigma, self.shape[1:])[X.indices]
        return Shifted(X, (self.shift + mean) / sigma)


class SparsePiece(Piece):
    """Some of the cases of sparse inputs: φ = [x - center; 1] with a sparse X (n, D)."""

    X: Any

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def phi(self, kept: bool = True, by: Floats | None = None) -> Any:
        """X; its center and the constant are seen to by `SparseGrams`."""
        return self.X

    def grams(self, features: int, count: int) -> Grams:
        return SparseGrams(self.X.shape[1], count, self.center, self.constant)

    def forward(self, slopes: Floats, constants: Floats | None) -> Floats:
        out: Floats = (self.X @ slopes.T).T
        if self.center is not None:
            out = out - (slopes @ self.center)[:, None]
        return out if constants is None else out + constants

    def backward(self, pull: Floats, total: Floats) -> None:
        constants, slopes = pull.sum(axis=1), (self.X.T @ pull.T).T
        if self.center is not None:
            slopes = slopes - constants[:, None] * self.center
        if self.constant:
            total[:, -1] += constants
            total = total[:, :-1]
        total += slopes


class SparseGrams(Grams):
    """The sums Σ_n ω_tn φ_n φ_nᵀ of sparse features: XᵀΩX, Xᵀω and Σω, put together at the end."""

    rows, square, kernel = 1024, False, "sparse"

    def __init__(self, inputs: int, count: int, center: Floats | None, constant: bool) -> None:
        self.features, self.count, self.center, self.constant = inputs + constant, count, center, constant
        self.sums: list[Any] = [
            np.zeros((count, self.features, self.features)),
            np.zeros((count, inputs)),
            np.zeros(count),
        ]

    def add(self, phi: Any, weights: Floats) -> None:
        """Add a block of cases: X (n, D), ω (T, n)."""
        total, along, whole = self.sums
        D = phi.shape[1]
        columns, omega = phi.tocsc(), np.ascontiguousarray(weights.T)
        ends = [round(D * k / _STRIPES) for k in range(_STRIPES + 1)]
        tasks = [partial(self._range, total, a, b, columns, phi, omega) for a, b in pairwise(ends) if a < b]
        each(tasks, self.count * phi.nnz**2 / max(1, phi.shape[0]))
        along += (phi.T @ omega).T
        whole += weights.sum(axis=1)

    def _range(self, total: Floats, start: int, stop: int, columns: Any, X: Any, omega: Floats) -> None:
        """The sums of features from start to stop with those that are not before start."""
        X = X[:, start:]
        for a in range(start, stop):
            where = slice(*columns.indptr[a : a + 2])
            rows = columns.indices[where]
            total[:, a, start : start + X.shape[1]] += (X[rows].T @ (columns.data[where, None] * omega[rows])).T

    def matrices(self) -> Floats:
        """The T symmetric matrices (m, m).  The sums are used up."""
        (total, along, whole), self.sums = self.sums, []
        D = along.shape[1]
        for matrix, s, w in zip(total, along, whole):
            G = matrix[:D, :D]
            mirror(G.T)
            if self.center is not None:
                for row, c, total_of in zip(G, self.center, s):  # without a second matrix
                    row -= c * s + (total_of - w * c) * self.center
                s = s - w * self.center
            if self.constant:
                matrix[D, :D] = matrix[:D, D] = s
                matrix[D, D] = w
        return total

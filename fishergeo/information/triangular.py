r"""Triangular factors of tall matrices that come in blocks of rows, and what follows of AᵀA without ever forming it.

AᵀA has the square of A's condition number; rank, null space, pseudo-inverse and determinant are therefore taken from the
triangular factor of A: with column pivoting AΠ = Q [R₁ R₂; 0 ε], where ε is at rounding level,

    null space = span Π [-R₁⁻¹R₂; 1],      F⁺ = C Π [R₁⁻¹R₁⁻ᵀ 0; 0 0] Πᵀ C,  C the projector onto its complement

The rank is certain where ‖ε‖ is below the threshold and 1/‖R₁⁻¹‖ above it; where neither can be shown, a singular value
decomposition decides.  Source: Golub, Van Loan 2013, Matrix Computations, sections 5.1.9, 5.4; Demmel et al. 2012 (TSQR).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import qr, solve_triangular, svdvals
from scipy.linalg.lapack import dtpqrt, dtrtri

from ..families import Floats


class Triangle:
    """The triangular factor R (m, m) of rows that are added block by block: RᵀR = Σ rowsᵀrows."""

    def __init__(self, size: int) -> None:
        self.R: Floats = np.zeros((size, size), order="F")
        self._panel = min(size, 16 if size < 400 else 32)

    def add(self, columns: Floats) -> None:
        """Add rows, given as their transpose (m, n), which is overwritten."""
        self.R, *_ = dtpqrt(0, self._panel, self.R, columns.T, overwrite_a=1, overwrite_b=1)


class LogDeterminant(NamedTuple):
    """The logarithm of the product of the eigenvalues that are not 0, and how many those are."""

    value: float
    rank: int


@dataclass(frozen=True)
class Quotient:
    """F = AᵀA on the quotient by its ``null`` space (s, k): R₁ and W = R₁⁻¹R₂ after the permutation ``order``."""

    R: Floats
    order: np.ndarray[tuple[int], np.dtype[np.intp]]
    null: Floats
    log_volume: float  # log det [1 W][1 W]ᵀ

    @property
    def rank(self) -> int:
        return len(self.R)

    def solve(self, v: Floats) -> Floats:
        """F⁺v, for v (s,) or (s, k)."""
        inside = self._inside(v)[self.order[: self.rank]]
        out = np.zeros_like(v)
        half = solve_triangular(self.R, inside, trans=1)
        out[self.order[: self.rank]] = solve_triangular(self.R, half)
        return self._inside(out)

    def half(self) -> Floats:
        """A matrix (s, rank) times its transpose is F⁺."""
        out = np.zeros((len(self.order), self.rank))
        out[self.order[: self.rank]] = solve_triangular(self.R, np.eye(self.rank))
        return self._inside(out)

    def logdet(self) -> float:
        return float(2 * np.log(np.abs(self.R.diagonal())).sum()) + self.log_volume

    def _inside(self, v: Floats) -> Floats:
        return v - self.null @ (self.null.T @ v)


@dataclass(frozen=True)
class Diagonalized:
    """F on the quotient by its ``null`` space (s, k): its other eigenvectors (s, r) and eigenvalues (r,)."""

    vectors: Floats
    values: Floats
    null: Floats

    @property
    def rank(self) -> int:
        return len(self.values)

    def solve(self, v: Floats) -> Floats:
        return self.vectors @ ((self.vectors.T @ v) / self.values.reshape(-1, *(1,) * (v.ndim - 1)))

    def half(self) -> Floats:
        self._check()
        return self.vectors / np.sqrt(self.values)

    def logdet(self) -> float:
        self._check()
        return float(np.log(self.values).sum())

    def _check(self) -> None:
        if (self.values < 0).any():
            raise ArithmeticError(
                f"{int((self.values < 0).sum())} eigenvalues are negative: no logarithm and no covariance; "
                "train to the maximum first, or use fg.fisher"
            )


@np.errstate(under="ignore")
def quotients(roots: Sequence[Floats] | Floats, tol: float, least: float = 0.0) -> list[Quotient] | list[Diagonalized]:
    """The quotients of F = RRᵀ for each block of a block-diagonal matrix, given by the roots R (s, m).

    Singular values of R up to ``tol`` times the largest of all blocks, or times ``least``, count as 0.
    """
    factored = [qr(root.T, mode="r", pivoting=True, check_finite=False) for root in roots]
    most = max(float(np.abs(R[0, 0])) if R.size else 0.0 for R, _ in factored)
    at_most = max(float(np.linalg.norm(R)) for R, _ in factored)
    if most == 0:
        return [Diagonalized(np.zeros((len(root), 0)), np.zeros(0), np.eye(len(root))) for root in roots]
    found = []
    for R, order in factored:
        one = _quotient(R, order, tol * max(most, least), tol * max(at_most, least))
        if one is None:
            return _by_singular_values(roots, tol, least)
        found.append(one)
    return found


def _quotient(R: Floats, order: np.ndarray, below: float, above: float) -> Quotient | None:
    """The quotient, where it is certain which singular values are below and which above the threshold."""
    left = np.sqrt(np.cumsum((np.triu(R) ** 2).sum(axis=1)[::-1]))[::-1]  # norms of R[k:, k:]
    rank = int((left > below).sum())
    first, size = R[:rank, :rank], len(order)
    if rank:
        inverse, info = dtrtri(first)
        if info or not np.isfinite(inverse).all() or above * np.linalg.norm(np.triu(inverse)) >= 1:
            return None
    if rank == size:
        return Quotient(first, order, np.zeros((size, 0)), 0.0)
    basis = np.zeros((size, size - rank))
    basis[order[rank:]] = np.eye(size - rank)
    if rank:
        basis[order[:rank]] = -solve_triangular(first, R[:rank, rank:])
    null, corner = np.linalg.qr(basis)
    return Quotient(first, order, null, float(2 * np.log(np.abs(corner.diagonal())).sum()))


def _by_singular_values(roots: Sequence[Floats] | Floats, tol: float, least: float) -> list[Diagonalized]:
    parts = []
    for root in roots:
        small = root if root.shape[1] <= len(root) else np.asarray(np.linalg.qr(root.T, mode="r")).T
        U, s, _ = np.linalg.svd(small, full_matrices=True)
        parts.append((U, np.concatenate([s, np.zeros(len(U) - len(s))])))
    largest = max(least, *(s[0] for _, s in parts))
    ranks = [int((s > tol * largest).sum()) for _, s in parts]
    return [Diagonalized(U[:, :r], s[:r] ** 2, U[:, r:]) for (U, s), r in zip(parts, ranks)]


def singular_values(root: Floats) -> Floats:
    """All singular values (s,) of a root (s, m), decreasing; zeros where m < s."""
    small = root if root.shape[1] <= len(root) else np.asarray(np.linalg.qr(root.T, mode="r"))
    s = svdvals(small, check_finite=False)
    return np.concatenate([s, np.zeros(len(root) - len(s))])


def inverse_root(root: Floats) -> Floats | None:
    """H (s, s) with HHᵀ = (RRᵀ)⁻¹; None where R is singular.

    Rows are first brought to one length: the scales of parameters alone make no matrix singular.
    """
    size = np.sqrt((root * root).sum(axis=1))
    if not (size > 0).all():
        return None
    (part,) = quotients([root / size[:, None]], len(root) * float(np.finfo(float).eps))
    return part.half() / size[:, None] if part.rank == len(root) else None

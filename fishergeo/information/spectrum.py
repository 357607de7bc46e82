r"""Eigenvalues of Fisher matrices: the largest ones, and the density of all of them by Lanczos quadrature."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh, lobpcg

from ..errors import InputError, check_count, generator
from ..families import Floats
from ..threads import one_blas_thread

if TYPE_CHECKING:
    from .operator import Metric

_DIRECT = 256  # size of a matrix that is diagonalized, rather than multiplied with vectors
_RESIDUAL = 1e-6  # ‖Fv - λv‖ in units of the largest eigenvalue, which errs by less than its square over the gap
_ITERATIONS = 200  # of LOBPCG
_LANCZOS = 1 << 25  # numbers of Lanczos vectors that are kept at a time: 256 MiB


def leading(operator: LinearOperator, k: int, dense: Floats | None = None) -> tuple[Floats, Floats]:
    """The ``k`` largest eigenvalues, decreasing, with eigenvectors (P, k): by Lanczos, or of the matrix if it is small.

    Source: Lehoucq, Sorensen, Yang 1998, ARPACK Users' Guide.
    """
    size = operator.shape[0]
    if dense is not None and (size <= _DIRECT or k > size // 8):
        values, vectors = eigh(dense, subset_by_index=(size - k, size - 1))
    else:
        start = np.ones(size) + np.arange(size) / size
        try:
            kept = min(size, max(20, 4 * k))  # twice as many as ARPACK's default: fewer products
            with nullcontext() if dense is None else one_blas_thread():  # products with a block are too small to share
                values, vectors = eigsh(operator if dense is None else dense, k=k, which="LA", v0=start, ncv=kept)
        except ArpackNoConvergence as error:
            raise ArithmeticError(
                f"eigsh: {len(error.eigenvalues)} of {k} eigenvalues converged; ask for fewer or diagonalize F.to_dense()"
            ) from error
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order]


def leading_together(operator: LinearOperator, k: int) -> tuple[Floats, Floats]:
    """The ``k`` largest eigenvalues, decreasing, with eigenvectors (P, k), by products with all vectors at once.

    Source: Knyazev 2001, SIAM Journal on Scientific Computing 23(2) (LOBPCG).
    """
    size = operator.shape[0]
    if 5 * k > size:  # which SciPy's does not iterate for
        return leading(operator, k, operator @ np.eye(size))
    start, _ = np.linalg.qr(operator @ np.random.default_rng(0).normal(size=(size, k)))
    largest = np.linalg.eigvalsh(start.T @ (operator @ start))[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what has not converged is told below
        values, vectors = lobpcg(operator, start, largest=True, tol=_RESIDUAL * largest, maxiter=_ITERATIONS)
    order = np.argsort(-values)
    values, vectors = values[order], vectors[:, order]
    left = np.linalg.norm(operator @ vectors - vectors * values, axis=0)
    if not (left <= _RESIDUAL * values[0]).all():
        good = int((left <= _RESIDUAL * values[0]).sum())
        raise ArithmeticError(f"eigsh: {good} of {k} eigenvalues converged by LOBPCG; ask for fewer, or method='lanczos'")
    return values, vectors


def leading_of_blocks(blocks: Floats, k: int) -> tuple[Floats, Floats]:
    """The ``k`` largest eigenvalues of the block-diagonal matrix of ``blocks`` (K, s, s), with eigenvectors (K s, k)."""
    count, size, _ = blocks.shape
    own = min(k, size)
    if size == 1:
        pairs = [(block[0], block * 0 + 1) for block in blocks]
    else:
        pairs = [leading(LinearOperator(block.shape, block.dot, dtype=float), own, block) for block in blocks]
    values = np.concatenate([values for values, _ in pairs])
    chosen = np.argsort(-values, kind="stable")[:k]
    vectors = np.zeros((count, size, k))
    for place, which in enumerate(chosen):
        unit, index = divmod(int(which), own)
        vectors[unit, :, place] = pairs[unit][1][:, index]
    return values[chosen], vectors.reshape(-1, k)


class Estimate(NamedTuple):
    """A random estimate and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class SpectralDensity:
    """A Gauss quadrature of the eigenvalue density of F (P, P) for each probe: nodes and weights (probes, steps).

    The weights of a probe sum to 1; Σ w f(λ) has the mean of f over the eigenvalues as its expectation, exactly so for
    polynomials f of degree below 2·steps.  Source: Golub, Meurant 2010, Matrices, Moments and Quadrature; Lin, Saad, Yang
    2016, arXiv 1308.5467.
    """

    nodes: Floats = field(repr=False)
    weights: Floats = field(repr=False)
    size: int

    def __repr__(self) -> str:
        probes, steps = self.nodes.shape
        return f"<spectral density of {self.size} eigenvalues: {probes} probes of {steps} Lanczos steps>"

    def trace(self, f: Callable[[Floats], Floats]) -> Estimate:
        """tr f(F), with its standard error over the probes."""
        each = self.size * (self.weights * f(self.nodes)).sum(axis=1)
        error = each.std(ddof=1) / np.sqrt(len(each)) if len(each) > 1 else float("inf")
        return Estimate(float(each.mean()), float(error))

    def cumulative(self, x: Any) -> Floats:
        """The fraction of eigenvalues up to ``x``, an array of any shape."""
        order = np.argsort(self.nodes, axis=None)
        total = np.concatenate([[0.0], np.cumsum(self.weights.ravel()[order])]) / len(self.nodes)
        return total[np.searchsorted(self.nodes.ravel()[order], x, side="right")]

    def plot(self, ax: Any = None) -> Any:
        """The cumulative density, logarithmic from P eps times the largest eigenvalue on; smaller ones count there."""
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots()
        largest = self.nodes.max()
        x = np.unique(np.clip(self.nodes, self.size * np.finfo(float).eps * largest, None))
        ax.step(x, self.cumulative(x), where="post")
        ax.set(xscale="log", xlabel="eigenvalue", ylabel="fraction of eigenvalues up to it", ylim=(0, 1.02))
        return ax


def spectral_density(metric: Metric, rng: np.random.Generator | int | None, probes: int, steps: int) -> SpectralDensity:
    """Lanczos quadrature with ``probes`` random vectors, orthogonalized fully: steps·P numbers for each are kept."""
    check_count("spectral_density", 1, probes=probes, steps=steps)
    size, source = metric.shape[0], generator("spectral_density", rng)
    steps = min(steps, size)
    together = max(1, _LANCZOS // (steps * size))
    parts = [_lanczos(metric, source, min(together, probes - k), steps) for k in range(0, probes, together)]
    nodes, weights = (np.concatenate(arrays) for arrays in zip(*parts))
    return SpectralDensity(nodes, weights, size)


@np.errstate(under="ignore")
def _lanczos(metric: Metric, rng: np.random.Generator, probes: int, steps: int) -> tuple[Floats, Floats]:
    size = metric.shape[0]
    Q, T = np.zeros((probes, steps, size)), np.zeros((probes, steps, steps))
    w = rng.normal(size=(probes, size))
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    scale = np.zeros(probes)
    for j in range(steps):
        Q[:, j] = w
        u = metric._rows(w)
        T[:, j, j] = np.einsum("kp,kp->k", w, u)
        for _ in range(2):  # twice is enough
            u -= np.einsum("kj,kjp->kp", np.einsum("kjp,kp->kj", Q[:, : j + 1], u), Q[:, : j + 1])
        beta = np.linalg.norm(u, axis=1)
        scale = np.maximum(scale, np.abs(T[:, j, j]) + beta)
        beta[beta <= size * np.finfo(float).eps * scale] = 0  # an invariant subspace: the other nodes get weight 0
        w = np.divide(u, beta[:, None], out=np.zeros_like(u), where=beta[:, None] > 0)
        if j + 1 < steps:
            T[:, j, j + 1] = T[:, j + 1, j] = beta
    nodes, vectors = np.linalg.eigh(T)
    return nodes, vectors[:, 0] ** 2


def check_leading(k: Any, size: int) -> None:
    if not isinstance(k, int | np.integer) or not 1 <= k <= size:
        raise InputError(f"eigsh got k={k!r}: give 1 <= k <= P = {size}, a whole number")

"""Fisher matrices as SciPy linear operators: products, blocks, spectra, null space and solves."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.linalg import LinearOperator, cg, eigsh

from ..errors import InputError, is_finite
from ..families import Floats
from ..families.core import real_array
from ..model import Params

_CHUNK = 1 << 19  # numbers in the largest temporary array of a dense build: 4 MiB, what a cache holds


def count_above(sizes: Floats, tol: float | None, what: str) -> int:
    """How many of the decreasing ``sizes`` exceed ``tol`` times the largest (default: P eps)."""
    if tol is not None and not (is_finite(tol) and tol >= 0):
        raise InputError(f"rank got tol={tol!r}: give a number >= 0, relative to the largest {what}")
    relative = len(sizes) * np.finfo(float).eps if tol is None else tol
    return int((sizes > relative * sizes[0]).sum()) if sizes[0] > 0 else 0


class Metric(LinearOperator):
    """A symmetric positive semidefinite matrix over the parameters of a model, given by its product with vectors.

    ``product`` maps a batch of rows (k, P) to the rows F v; ``root`` returns a matrix R (P, m) with F = RRᵀ, from which
    rank and null space are found without squaring the condition number.  F is a mean over ``cases``, so that cases·F is
    the information of the data.
    """

    def __init__(
        self,
        p: Params,
        product: Callable[[Floats], Floats],
        root: Callable[[], Floats],
        what: str,
        width: int,
        cases: int = 1,
    ) -> None:
        super().__init__(np.dtype(np.float64), (p.size, p.size))
        self.params, self.what, self.cases = p, what, cases
        self._product, self._root, self._width = product, root, width

    def __repr__(self) -> str:
        return f"<{self.shape[0]}x{self.shape[1]} Fisher matrix: {self.what}>"

    def _matvec(self, v: ArrayLike) -> Floats:
        return self._product(np.asarray(v, dtype=float).reshape(1, -1))[0]

    def _matmat(self, V: ArrayLike) -> Floats:
        return self._rows(np.asarray(V, dtype=float).T).T

    def _adjoint(self) -> Metric:
        return self

    _transpose = _adjoint

    def _rows(self, V: Floats) -> Floats:
        """F v for every row v of V, in chunks that bound the memory."""
        step = max(1, _CHUNK // max(1, self._width))
        out = np.empty_like(V)
        for start in range(0, len(V), step):
            out[start : start + step] = self._product(V[start : start + step])
        return out

    @property
    def block_size(self) -> int:
        """The number of parameters of one unit: D + 2, or D + 1 without a gain."""
        return self.shape[0] // self.params.units

    @cached_property
    def _dense(self) -> Floats:
        dense = self._rows(np.eye(self.shape[0]))
        dense = (dense + dense.T) / 2
        dense.flags.writeable = False
        return dense

    def to_dense(self) -> Floats:
        """The matrix (P, P), exactly symmetric."""
        return self._dense.copy()

    def block(self, i: int, j: int) -> Floats:
        """F̄_ij, the block of units i and j (D+2, D+2)."""
        units, size = self.params.units, self.block_size
        for unit in (i, j):
            if not isinstance(unit, int | np.integer) or not 0 <= unit < units:
                raise InputError(f"block got unit {unit!r}: the model has units 0 to {units - 1}")
        return self._dense[i * size : (i + 1) * size, j * size : (j + 1) * size].copy()

    def diagonal(self) -> Floats:
        """The diagonal (P,)."""
        return self._dense.diagonal().copy()

    def trace(self) -> float:
        """Σ F_kk."""
        return float(self._dense.trace())

    @cached_property
    def _svd(self) -> tuple[Floats, Floats]:
        """Left singular vectors (P, P) and singular values (P,) of the root."""
        U, s, _ = np.linalg.svd(self._small_root, full_matrices=True)
        return U, np.concatenate([s, np.zeros(len(U) - len(s))])

    @cached_property
    def _small_root(self) -> Floats:
        """A root with at most P columns."""
        R = self._root()
        return R if R.shape[1] <= R.shape[0] else np.asarray(np.linalg.qr(R.T, mode="r")).T

    def _range(self) -> tuple[Floats, Floats]:
        """Eigenvectors (P, rank) and eigenvalues (rank,) that are not 0."""
        U, s = self._svd
        rank = self.rank()
        return U[:, :rank], s[:rank] ** 2

    def singular_values(self) -> Floats:
        """Square roots of the eigenvalues of F, decreasing, found from a root of F: accurate to eps·√λ_max."""
        return self._svd[1].copy()

    def rank(self, tol: float | None = None) -> int:
        """The number of singular values of the root above ``tol`` times the largest (default: P eps)."""
        return count_above(self._svd[1], tol, "singular value")

    def null_space(self, tol: float | None = None) -> Floats:
        """An orthonormal basis (P, nullity) of the directions that change no distribution p(y|x) on the data."""
        return self._svd[0][:, self.rank(tol) :].copy()

    def condition(self) -> float:
        """λ_max over the smallest eigenvalue that is not zero; raises `ArithmeticError` where all of them are."""
        sizes = np.abs(self._range()[1])
        if not len(sizes):
            raise ArithmeticError("F is 0: no direction changes p(y|x), so there is no condition number; vary the inputs")
        return float(sizes[0] / sizes[-1])

    def cov(self) -> Floats:
        """The covariance (P, P) of the maximum-likelihood estimate, (cases·F)⁻¹; φ is the model's dispersion.

        Where F is singular it is the pseudo-inverse: directions of the null space, which the data say nothing about, are
        held fixed, and have variance 0.  Source: Rao 1973, section 5a; statsmodels' ``cov_params`` is this.
        """
        R = self._small_root
        size = np.sqrt((R * R).sum(axis=1))
        if (size > 0).all():  # parameters in units of their own: their scales alone make no matrix singular
            U, s, _ = np.linalg.svd(R / size[:, None])
            if s.size == len(U) and s[-1] > len(U) * np.finfo(float).eps * s[0]:
                half = U / s / size[:, None]
                return half @ half.T / self.cases
        return self._pseudo_inverse() / self.cases

    def _pseudo_inverse(self) -> Floats:
        U, values = self._range()
        return (U / values) @ U.T

    def stderr(self) -> Floats:
        """Standard errors (P,) of the estimate, the roots of the diagonal of `cov`."""
        variance = np.diag(self.cov())
        if (variance < 0).any():
            raise ArithmeticError(
                f"parameter {int(np.argmin(variance))} has a negative variance: the log-likelihood has no maximum here; "
                "train to the maximum first, or use fg.fisher"
            )
        return np.sqrt(variance)

    def eigsh(self, k: int = 6) -> tuple[Floats, Floats]:
        """The ``k`` largest eigenvalues, decreasing, and their eigenvectors (P, k)."""
        size = self.shape[0]
        if not isinstance(k, int | np.integer) or not 1 <= k <= size:
            raise InputError(f"eigsh got k={k!r}: give 1 <= k <= P = {size}, a whole number")
        if size <= 256 or k > size // 4 or "_dense" in self.__dict__:
            values, vectors = np.linalg.eigh(self._dense)
        else:
            values, vectors = eigsh(self, k=k, which="LA", v0=np.ones(size) + np.arange(size) / size)
        order = np.argsort(values)[::-1][:k]
        return values[order], vectors[:, order]

    def solve(self, v: ArrayLike, damping: float = 0.0) -> Floats:
        """(F + damping·I)⁻¹ v by conjugate gradients; with ``damping=0`` the pseudo-inverse F⁺v (the natural gradient).

        ``v`` is (P,) or (P, k).  Raises `InputError` for a negative damping and a wrong shape, `ArithmeticError` when the
        iteration does not reach a relative residual of 1e-10.
        """
        v = real_array(v, "solve got an array").astype(float, copy=False)
        if v.ndim not in (1, 2) or v.shape[0] != self.shape[0] or not np.isfinite(v).all():
            raise InputError(
                f"solve got an array of shape {v.shape}: give finite numbers (P,) or (P, k), P={self.shape[0]}"
            )
        if not isinstance(damping, int | float | np.number) or not (np.isfinite(damping) and damping >= 0):
            raise InputError(f"solve got damping={damping!r}: give a number >= 0")
        if damping == 0:
            U, values = self._range()
            return U @ ((U.T @ v) / values.reshape(-1, *(1,) * (v.ndim - 1)))
        if "_dense" in self.__dict__ or self.shape[0] <= 1024:
            try:
                return self._solve_dense(self._dense + damping * np.eye(self.shape[0]), v)
            except np.linalg.LinAlgError:
                raise ArithmeticError(
                    f"F + {damping:g} I is singular to rounding: use a larger damping, or 0 for F⁺v"
                ) from None
        damped = LinearOperator(self.shape, matvec=lambda u: self @ u + damping * u.ravel(), dtype=self.dtype)
        columns = v.reshape(self.shape[0], -1).T
        out = [cg(damped, column, rtol=1e-10, maxiter=10 * self.shape[0]) for column in columns]
        if any(info for _, info in out):
            raise ArithmeticError(f"conjugate gradients did not converge with damping={damping}: use a larger damping")
        return np.stack([x for x, _ in out], axis=-1).reshape(v.shape)

    def _solve_dense(self, damped: Floats, v: Floats) -> Floats:
        from scipy.linalg import cho_factor, cho_solve

        return cho_solve(cho_factor(damped), v)

    def unit(self, k: int) -> Any:
        """Which parameter index ``k`` is: (unit, "weight" | "bias" | "gain", input index or None)."""
        if not isinstance(k, int | np.integer) or not 0 <= k < self.shape[0]:
            raise InputError(f"unit got k={k!r}: the parameters are numbered from 0 to {self.shape[0] - 1}")
        unit, place = divmod(k, self.block_size)
        if place < self.params.inputs:
            return unit, "weight", place
        return unit, "bias" if place == self.params.inputs else "gain", None

"""Fisher matrices as SciPy linear operators: products, blocks, spectra, null space and solves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import block_diag, cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator

from ..errors import InputError, is_finite
from ..families import Floats
from ..families.core import real_array
from ..model import Params
from .solve import iterate
from .spectrum import SpectralDensity, check_leading, leading, leading_of_blocks, leading_together, spectral_density
from .triangular import Diagonalized, LogDeterminant, Quotient, inverse_root, quotients, singular_values

_CHUNK = 1 << 19  # numbers in the largest temporary array of a dense build: 4 MiB, what a cache holds
_DENSE = 1 << 25  # numbers of the largest matrix that a method forms for itself: 256 MiB
_KEPT = 1 << 24  # numbers of the largest dense matrix of which a copy is given away: 128 MiB


def count_above(sizes: Floats, tol: float | None, what: str) -> int:
    """How many of the decreasing ``sizes`` exceed ``tol`` times the largest (default: P eps)."""
    return int((sizes > relative(tol, len(sizes), what) * sizes[0]).sum()) if sizes[0] > 0 else 0


def relative(tol: float | None, size: int, what: str) -> float:
    """The threshold ``tol``, P eps where it is left out."""
    if tol is not None and not (is_finite(tol) and tol >= 0):
        raise InputError(f"rank got tol={tol!r}: give a number >= 0, relative to the largest {what}")
    return size * float(np.finfo(float).eps) if tol is None else tol


def spread(blocks: Floats) -> Floats:
    """The block-diagonal matrix of blocks (K, s, s)."""
    count, size, _ = blocks.shape
    out = np.zeros((count, size, count, size))
    out[np.arange(count), :, np.arange(count)] = blocks
    return out.reshape(count * size, count * size)


class Metric(LinearOperator):
    """A symmetric positive semidefinite matrix over the parameters of a model, given by its product with vectors.

    ``product`` maps a batch of rows (k, P) to the rows F v; ``root`` returns a matrix R (P, m) with F = RRᵀ, from which
    rank and null space are found without squaring the condition number.  F is a mean over ``cases``, so that cases·F is
    the information of the data.  A matrix of which blocks off the diagonal are known to be 0 is given by the others,
    ``_blocks`` and ``_roots``, and everything but `to_dense` and `cov` works block by block.
    """

    definite: ClassVar[bool] = True  # whether no eigenvalue is negative

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

    def _between_products(self) -> AbstractContextManager[Any]:
        """What an iteration is done in; `Factored` has threads of its own, which those of BLAS would be in the way of."""
        return nullcontext()

    @property
    def block_size(self) -> int:
        """The number of parameters of one unit: D + 2, or D + 1 without a gain."""
        return self.shape[0] // self.params.units

    # --- the matrix ------------------------------------------------------------------------------------------------

    _count = 1  # K, how many blocks on the diagonal hold all that is not 0

    @cached_property
    def _blocks(self) -> Floats:
        """The blocks (K, P/K, P/K) on the diagonal; all others are 0."""
        return self._dense[None]

    @cached_property
    def _dense(self) -> Floats:
        dense = self._rows(np.eye(self.shape[0]))
        dense = (dense + dense.T) / 2
        dense.flags.writeable = False
        return dense

    @property
    def _known(self) -> bool:
        """Whether the blocks are there, or are small enough to be formed."""
        return not {"_blocks", "_dense"}.isdisjoint(self.__dict__) or self.shape[0] ** 2 // self._count <= _DENSE

    def to_dense(self) -> Floats:
        """The matrix (P, P), exactly symmetric; one of more than 128 MiB is handed over and not kept."""
        if self._count > 1:
            return spread(self._blocks)
        kept = "_dense" in self.__dict__ or ("_blocks" in self.__dict__ and self._count == 1)
        dense = self._dense
        if kept or dense.size <= _KEPT:
            return dense.copy()
        for name in ("_dense", "_blocks"):
            if name in self.__dict__ and np.shares_memory(self.__dict__[name], dense):
                del self.__dict__[name]
        owner = dense if dense.base is None else dense.base
        owner.flags.writeable = True
        return owner.reshape(dense.shape)

    def block(self, i: int, j: int) -> Floats:
        """F̄_ij, the block of units i and j (D+2, D+2)."""
        units, size = self.params.units, self.block_size
        for unit in (i, j):
            if not isinstance(unit, int | np.integer) or not 0 <= unit < units:
                raise InputError(f"block got unit {unit!r}: the model has units 0 to {units - 1}")
        rows, columns = (slice(k * size, (k + 1) * size) for k in (i, j))
        if self._count > 1:
            own = self._count // units
            return block_diag(*self._blocks[i * own : (i + 1) * own]) if i == j else np.zeros((size, size))
        if self._known:
            return self._blocks[0, rows, columns].copy()
        return self._columns(columns)[rows]

    def _columns(self, columns: slice) -> Floats:
        """Some columns (P, k) of F, by products."""
        count = columns.stop - columns.start
        return self._rows(np.eye(count, self.shape[0], columns.start)).T

    def diagonal(self) -> Floats:
        """The diagonal (P,)."""
        return np.diagonal(self._blocks, axis1=1, axis2=2).ravel()

    def trace(self) -> float:
        """Σ F_kk."""
        return float(self.diagonal().sum())

    def norm(self) -> float:
        """The Frobenius norm ‖F‖ = √ΣF_kl²."""
        if self._known:
            return float(np.linalg.norm(self._blocks))
        return float(np.linalg.norm([np.linalg.norm(self._columns(some)) for some in self._spans()]))

    def _spans(self) -> list[slice]:
        """The columns, as many at a time as memory allows."""
        size = self.shape[0]
        step = max(1, _CHUNK * 8 // size)
        return [slice(start, min(start + step, size)) for start in range(0, size, step)]

    # --- the spectrum ----------------------------------------------------------------------------------------------

    @cached_property
    def _roots(self) -> Floats:
        """Roots (K, P/K, m) of the blocks."""
        return self._root()[None]

    @cached_property
    def _quotients(self) -> list[Quotient] | list[Diagonalized]:
        return quotients(self._roots, max(self._precision, relative(None, self.shape[0], "")), self._cancelled)

    @cached_property
    def _eigenvalues(self) -> Floats:
        """All eigenvalues, decreasing."""
        return self.singular_values() ** 2

    @cached_property
    def _singular_values(self) -> Floats:
        return -np.sort(-np.concatenate([singular_values(root) for root in self._roots]))

    def singular_values(self) -> Floats:
        """Square roots of the eigenvalues of F, decreasing, found from a root of F: accurate to eps·√λ_max."""
        return self._singular_values.copy()

    def rank(self, tol: float | None = None) -> int:
        """The number of singular values of the root above ``tol`` times the largest.

        By default those count that are more than P eps times the largest, and times the largest that there would be if
        statistics were held fixed.
        """
        return sum(part.rank for part in self._cut(tol))

    def null_space(self, tol: float | None = None) -> Floats:
        """An orthonormal basis (P, nullity) of the directions that change no distribution p(y|x) on the data."""
        return block_diag(*(part.null for part in self._cut(tol)))

    def _cut(self, tol: float | None) -> list[Quotient] | list[Diagonalized]:
        if tol is None:
            return self._quotients
        return quotients(self._roots, relative(tol, self.shape[0], "singular value"))

    _precision = 0.0  # relative, of the Jacobian, where that of the arithmetic is not what bounds it

    @property
    def _cancelled(self) -> float:
        """The largest column of a root before differences were taken: what is rounding of that is rounding."""
        return 0.0

    def condition(self) -> float:
        """λ_max over the smallest eigenvalue that is not zero; raises `ArithmeticError` where all of them are."""
        sizes = -np.sort(-np.abs(self._eigenvalues))[: self.rank()]
        if not len(sizes):
            raise ArithmeticError("F is 0: no direction changes p(y|x), so there is no condition number; vary the inputs")
        return float(sizes[0] / sizes[-1])

    def logdet(self, damping: float = 0.0) -> LogDeterminant:
        """log det(F + damping·I); with ``damping=0`` that of F on the quotient by its null space, whose rank it states.

        That is the logarithm of the product of all eigenvalues but those that count as 0, the pseudo-determinant.
        """
        self._check_damping("logdet", damping)
        if damping == 0:
            return LogDeterminant(sum(part.logdet() for part in self._cut(None)), self.rank())
        values = self._eigenvalues + damping
        if not values[-1] > 0:
            raise ArithmeticError(f"logdet: F + {damping:g} I has an eigenvalue {values[-1]:.3g}; use a larger damping")
        return LogDeterminant(float(np.log(values).sum()), len(values))

    def eigsh(self, k: int = 6, method: str = "lanczos") -> tuple[Floats, Floats]:
        """The ``k`` largest eigenvalues, decreasing, and their eigenvectors (P, k).

        A large matrix is not formed: "lanczos" (ARPACK) multiplies it with one vector at a time, to all digits; "lobpcg"
        with up to k at once, in fewer passes over the data, until ‖Fv - λv‖ <= 10⁻⁶ λ_max.  Raises `ArithmeticError`
        where the iteration does not converge, `InputError` for other methods.
        """
        check_leading(k, self.shape[0])
        if method not in ("lanczos", "lobpcg"):
            raise InputError(f"eigsh got method={method!r}: give 'lanczos' or 'lobpcg'")
        if self._known and (self._count > 1 or self.shape[0] <= 256 or k > self.shape[0] // 8):
            return leading_of_blocks(self._blocks, k)
        with self._between_products():
            return leading(self, k) if method == "lanczos" else leading_together(self, k)

    def spectral_density(
        self, rng: np.random.Generator | int | None = None, probes: int = 10, steps: int = 60
    ) -> SpectralDensity:
        """The density of all eigenvalues, by products with random vectors alone: Lanczos quadrature."""
        with self._between_products():
            return spectral_density(self, rng, probes, steps)

    # --- solves ----------------------------------------------------------------------------------------------------

    def solve(
        self,
        v: ArrayLike,
        damping: float = 0.0,
        *,
        preconditioner: LinearOperator | None = None,
        rtol: float = 1e-10,
        maxiter: int | None = None,
    ) -> Floats:
        """(F + damping·I)⁻¹ v; with ``damping=0`` the pseudo-inverse F⁺v (the natural gradient).

        ``v`` is (P,) or (P, k).  Without damping, by the triangular factor on the quotient by the null space; with it, by
        Cholesky factors block by block, and for matrices too large for that by conjugate gradients to a relative residual
        ``rtol`` in at most ``maxiter`` (10 P) iterations, with an approximate inverse of F + damping·I as
        ``preconditioner`` (default: `preconditioner`).  Raises `InputError` for a negative damping and a wrong shape,
        `ArithmeticError` where no solution of that accuracy is found.
        """
        v = real_array(v, "solve got an array").astype(float, copy=False)
        if v.ndim not in (1, 2) or v.shape[0] != self.shape[0] or not np.isfinite(v).all():
            raise InputError(
                f"solve got an array of shape {v.shape}: give finite numbers (P,) or (P, k), P={self.shape[0]}"
            )
        self._check_damping("solve", damping)
        if damping == 0:
            return self._by_blocks(v, [part.solve for part in self._cut(None)])
        if preconditioner is None and (self._known or not self.definite):
            try:
                return self._by_blocks(v, [self._inverse(block, damping) for block in self._blocks])
            except np.linalg.LinAlgError:
                raise ArithmeticError(
                    f"F + {damping:g} I is singular to rounding: use a larger damping, or 0 for F⁺v"
                ) from None
        M = self.preconditioner(damping) if preconditioner is None else preconditioner
        with self._between_products():
            return iterate(self._rows, v, damping, M, rtol, maxiter)

    def _inverse(self, block: Floats, damping: float) -> Callable[[Floats], Floats]:
        """v -> (block + damping·I)⁻¹ v; raises `LinAlgError` where that is singular."""
        factor = cho_factor(block + damping * np.eye(len(block)), overwrite_a=True, check_finite=False)
        return lambda v: cho_solve(factor, v, check_finite=False)

    @staticmethod
    def _by_blocks(v: Floats, maps: list[Callable[[Floats], Floats]]) -> Floats:
        parts = v.reshape(len(maps), -1, *v.shape[1:])
        return np.concatenate([apply(part) for apply, part in zip(maps, parts, strict=True)])

    def preconditioner(self, damping: float) -> LinearOperator | None:
        """An approximate inverse of F + damping·I for `solve`; None where none is known."""
        return None

    @staticmethod
    def _check_damping(who: str, damping: Any) -> None:
        if not is_finite(damping) or damping < 0:
            raise InputError(f"{who} got damping={damping!r}: give a number >= 0")

    # --- inference -------------------------------------------------------------------------------------------------

    def cov(self) -> Floats:
        """The covariance (P, P) of the maximum-likelihood estimate, (cases·F)⁻¹; φ is the model's dispersion.

        Where F is singular it is the pseudo-inverse: directions of the null space, which the data say nothing about, are
        held fixed, and have variance 0.  Source: Rao 1973, section 5a; statsmodels' ``cov_params`` is this.
        """
        return block_diag(*self._covariances())

    def _covariances(self) -> list[Floats]:
        """The blocks of `cov`."""
        out = []
        for k, root in enumerate(self._roots):
            half = inverse_root(root)
            if half is None:
                half = self._quotients[k].half()
            out.append(half @ half.T / self.cases)
        return out

    def stderr(self) -> Floats:
        """Standard errors (P,) of the estimate, the roots of the diagonal of `cov`."""
        variance = np.concatenate([np.diag(block) for block in self._covariances()])
        if (variance < 0).any():
            raise ArithmeticError(
                f"parameter {int(np.argmin(variance))} has a negative variance: the log-likelihood has no maximum here; "
                "train to the maximum first, or use fg.fisher"
            )
        return np.sqrt(variance)

    def unit(self, k: int) -> Any:
        """Which parameter index ``k`` is: (unit, "weight" | "bias" | "gain", input index or None)."""
        if not isinstance(k, int | np.integer) or not 0 <= k < self.shape[0]:
            raise InputError(f"unit got k={k!r}: the parameters are numbered from 0 to {self.shape[0] - 1}")
        unit, place = divmod(k, self.block_size)
        if place < self.params.inputs:
            return unit, "weight", place
        return unit, "bias" if place == self.params.inputs else "gain", None

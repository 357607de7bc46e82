r"""Approximations of the Fisher matrix: eq. (13) as printed, Kronecker-factored, diagonal, empirical and Monte Carlo.

All are means of J_nᵀ C_n J_n.  In eq. (13) and the Kronecker-factored matrix the own-unit Jacobian stands for J, and in
the latter the mean of η''/φ for C; the empirical and the Monte Carlo matrix have J itself, and for C the square r rᵀ of a
residual.  Each knows the `exact` matrix and its own error; none forms an array of cases by parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg.blas import dsyrk

from ..errors import InputError, generator
from ..families import Floats, Hessian
from ..families.hessian import tiny_is_zero
from ..model import GLM, Linearization, Params
from ..threads import one_blas_thread
from . import roots
from .factored import ByJacobian, Factored, OwnByJacobian
from .gram import mirror
from .matrices import exactly, linearized, what
from .operator import Metric
from .own_units import own_units
from .parts import parts
from .triangular import Triangle

_ROWS = (128, 1024)  # the least and the most scores in an update of a dense matrix
_SMALL = 256  # parameters up to which a repr computes the error


class Approximation(Metric):
    """An approximation of the Fisher matrix of ``model_at``, whose `exact` matrix it knows."""

    model_at: Linearization

    @classmethod
    def of(cls, model_at: Linearization, *arguments: Any) -> Self:
        made = cls(*arguments)
        made.model_at = model_at
        return made

    @cached_property
    def exact(self) -> Metric:
        """The Fisher matrix F itself."""
        return exactly(self.model_at)

    @cached_property
    def gap(self) -> float:
        """‖A - F‖/‖F‖ in the Frobenius norm, F the exact matrix."""
        gap, size = difference(self, self.exact), self.exact.norm()
        return gap / size if size > 0 else (0.0 if gap == 0 else float("inf"))

    def solve_gap(self, v: ArrayLike, damping: float = 0.0) -> float:
        """‖x - y‖/‖y‖ for x = (A + damping·I)⁻¹v and y the same with F: the error of a natural gradient."""
        y = self.exact.solve(v, damping)
        size = np.linalg.norm(y)
        if size == 0:
            raise ArithmeticError(
                "solve_gap: F⁺v is 0, to which no error can be relative; give a v outside the null space"
            )
        return float(np.linalg.norm(self.solve(v, damping) - y) / size)

    def __repr__(self) -> str:
        known = "gap" in self.__dict__ or self.shape[0] <= _SMALL
        gap = f", relative gap to the exact matrix {self.gap:.3g}" if known else ""
        return f"{super().__repr__()[:-1]}{gap}>"


def difference(A: Metric, F: Metric) -> float:
    """‖A - F‖ in the Frobenius norm: block by block, or some columns at a time where matrices are large."""
    if A._count == F._count and A._known and F._known:
        return float(np.linalg.norm(A._blocks - F._blocks))
    return float(np.linalg.norm([np.linalg.norm(A._columns(some) - F._columns(some)) for some in F._spans()]))


class FromFactors(Factored, Approximation):
    """An approximation from factors."""


class WithoutFactors(OwnByJacobian, Approximation):
    """An approximation by own units, where the Jacobian has no factors."""


# --- eq. (13), Kronecker factors, the diagonal -----------------------------------------------------------------------


def per_unit_fisher(model: GLM, p: Params, X: ArrayLike) -> Approximation:
    """Eq. (13)-(14) as printed: F̄_ij from χ_i alone, with ∂â_i/∂w_j (j ≠ i) dropped; exact for BN and WN, not for LN.

    Source: Ba, Kiros, Hinton 2016.
    """
    at = linearized(model, p, X)
    scale, text = at.cases * model.dispersion, f"eq. (13) as printed, {what(model, at)}"
    found = parts(at)
    if found is None:
        return WithoutFactors.of(at, at, scale, text)
    return FromFactors.of(at, at, tuple(own_units(f) for f in found), scale, text)


def kfac(model: GLM, p: Params, X: ArrayLike) -> Approximation:
    """The Kronecker-factored approximation E[η''/φ] ⊗ E[uuᵀ] with u = the own-unit Jacobian rows.

    For the plain model u = (x, 1) for every unit, as in Martens, Grosse 2015; under a normalizer each unit has its own u,
    and block (i, j) is E[η''_ij/φ] E[u_i u_jᵀ].
    """
    at = linearized(model, p, X)
    constant = replace(at, given=mean_curvature(at.hessian))
    scale, text = at.cases * model.dispersion, f"Kronecker-factored, {what(model, at)}"
    found = parts(constant)
    if found is None:
        return WithoutFactors.of(at, constant, scale, text)
    own = tuple(own_units(f) for f in found)
    kind = KroneckerFactored if len(own) == 1 and not own[0].chart.cases else FromFactors
    return kind.of(at, constant, own, scale, text)


def mean_curvature(hessian: Hessian) -> Hessian:
    """E[η''], the same in all cases."""
    flat = hessian.d.reshape(-1, hessian.d.shape[-1])
    if not hessian.coupled:
        return replace(hessian, d=np.broadcast_to(flat.mean(axis=0), hessian.d.shape))
    H = flat.shape[1]
    i, j = np.triu_indices(H, 1)
    weights = (flat.T @ (flat / flat.sum(axis=1, keepdims=True)))[i, j] / len(flat)
    edges = np.zeros((len(i), H))  # E[η''] is the Laplacian of a graph: its null vector stays one to the last digit
    edges[np.arange(len(i)), i] = np.sqrt(weights)
    edges[np.arange(len(i)), j] = -np.sqrt(weights)
    L = np.zeros((H, H))
    R: Floats = np.asarray(np.linalg.qr(edges, mode="r"))
    L[:, : len(R)] = R.T
    return Hessian(np.ones(hessian.d.shape), mixing=L)


class KroneckerFactored(FromFactors):
    """Tᵀ (A ⊗ B) T: products go by A = E[η''] and B = E[φφᵀ], kept as its triangular root, not by the data."""

    @cached_property
    def _second(self) -> Floats:
        """C with CᵀC = Σ φφᵀ."""
        (f,) = self.parts
        triangle = Triangle(f.chart.features)
        with one_blas_thread():
            for piece in f.pieces(max(512, f.chart.features)):
                triangle.add(np.array(piece.phi().T, dtype=float, order="C"))
        return triangle.R

    def _multiply(self, V: Floats) -> Floats:
        (f,) = self.parts
        y = f.chart.coefficients(Params.unravel(V, self.params.units, self.params.gain is not None))
        y = (y @ self._second.T) @ self._second
        curvature = replace(f.hessian, d=f.hessian.d[0])
        return f.chart.adjoint(curvature.apply(y.swapaxes(1, 2)).swapaxes(1, 2)) / self.scale


def diagonal_fisher(model: GLM, p: Params, X: ArrayLike) -> Approximation:
    """The diagonal of the Fisher matrix, exact: what natural gradients with a step size for each parameter use."""
    at = linearized(model, p, X)
    return Diagonal.of(at, at)


class Diagonal(Approximation):
    """The diagonal matrix of the exact diagonal: P blocks of one number."""

    def __init__(self, at: Linearization) -> None:
        text = f"diagonal, {what(at.model, at)}"
        super().__init__(
            at.params, lambda V: V * self._entries, lambda: np.diag(np.sqrt(self._entries)), text, 1, at.cases
        )
        self._count = at.params.size

    @cached_property
    def _entries(self) -> Floats:
        return self.exact.diagonal()

    @cached_property
    def _blocks(self) -> Floats:
        return self._entries[:, None, None]

    @cached_property
    def _dense(self) -> Floats:
        return np.diag(self._entries)

    @cached_property
    def _roots(self) -> Floats:
        return np.sqrt(self._blocks)


# --- from scores ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Squares:
    """r rᵀ in place of η'', summed over draws: residuals (N, [S,] draws·H), for what `Hessian` does."""

    d: Floats
    units: int
    coupled: bool = True
    mixing: None = None

    def _residuals(self) -> Floats:
        return self.d.reshape(*self.d.shape[:-1], -1, self.units)

    @tiny_is_zero
    def apply(self, v: Floats) -> Floats:
        return np.einsum("...dh,...d->...h", self._residuals(), self.root(v))

    overwrite = apply

    @tiny_is_zero
    def root(self, v: Floats) -> Floats:
        """The products r·v for each draw."""
        return np.einsum("...dh,...h->...d", self._residuals(), v)


class Scores(FromFactors):
    """The second moment of the scores J_nᵀr: the matrix by updates with some scores at a time."""

    def _summed(self) -> Floats:
        total = np.zeros(self.shape)
        least, most = _ROWS
        for f in self.parts:
            for scores in roots.rows(f, min(most, max(least, len(total)))):
                dsyrk(1.0, scores.T, beta=1.0, c=total.T, overwrite_c=1)
        mirror(total)
        return total[None]


class ScoresByJacobian(ByJacobian, Approximation):
    """The second moment of the scores, where the Jacobian has no factors."""


def _from_residuals(at: Linearization, residuals: list[Floats], text: str) -> Approximation:
    """The second moment of J_nᵀr over the cases and some residuals r (N, [S,] H) of each."""
    given: Any = Squares(np.concatenate(residuals, axis=-1), at.Z.shape[-1])
    squares, scale = replace(at, given=given), float(at.cases * len(residuals))
    found, text = parts(squares), f"{text}, {what(at.model, at)}"
    if found is None:
        return ScoresByJacobian.of(at, squares, scale, text)
    return Scores.of(at, squares, found, scale, text)


def empirical_fisher(model: GLM, p: Params, X: ArrayLike, Y: ArrayLike) -> Approximation:
    """The second moment of the scores at the observed Y; not the Fisher matrix unless Y is distributed as the model."""
    at = linearized(model, p, X)
    return _from_residuals(at, [at.residual(Y)], "empirical (squared scores at the observed y)")


def monte_carlo_fisher(
    model: GLM, p: Params, X: ArrayLike, rng: np.random.Generator | int | None = None, draws: int = 1
) -> Approximation:
    """The second moment of the scores at ``draws`` samples y ~ p(y|x) a case: an unbiased estimate of F."""
    if isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 1:
        raise InputError(f"monte_carlo_fisher got draws={draws!r}: draw at least once, a whole number of times")
    at = linearized(model, p, X)
    source = generator("monte_carlo_fisher", rng)
    samples = [at.residual(model.family.draw(at.mean, model.dispersion, source)) for _ in range(draws)]
    return _from_residuals(at, samples, f"Monte Carlo, {draws} draws a case")

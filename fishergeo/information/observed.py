r"""The observed information: minus the mean second derivative of the log-likelihood at the observed y.

    -(1/N) Σ_n ∇²log p(y_n|x_n) = (1/N) Σ_n [J_nᵀ w_n J_n - Σ_h (∂log p/∂z_nh) ∇²z_nh],  w = -∂²log p/∂z²

The second term, 0 where z is linear in the parameters, is the
derivative of the vector-Jacobian product along a direction, by the complex step (exact to rounding).
Source: Efron, Hinkley 1978, Biometrika 65(3).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from ..families import Floats
from ..model import GLM, Linearization, Params
from .matrices import linearized, what
from .operator import Metric, count_above

_STEP = 1e-30  # nothing is subtracted, so that any tiny step is exact


class ObservedInformation(Metric):
    """The observed information: symmetric, but not positive semidefinite away from a maximum of the likelihood.

    It has no root: rank and null space are found from its eigenvalues, those below P·eps times the largest size count as
    0.  `solve` with damping needs F + damping·I nonsingular, not positive.
    """

    @cached_property
    def _eigen(self) -> tuple[Floats, Floats]:
        """Eigenvectors (P, P) and eigenvalues (P,), decreasing in size."""
        values, vectors = np.linalg.eigh(self._dense)
        order = np.argsort(-np.abs(values), kind="stable")
        return vectors[:, order], values[order]

    def rank(self, tol: float | None = None) -> int:
        """The number of eigenvalues above ``tol`` times the largest, in size (default: P eps)."""
        return count_above(np.abs(self._eigen[1]), tol, "eigenvalue")

    def null_space(self, tol: float | None = None) -> Floats:
        """An orthonormal basis (P, nullity) of the directions along which the log-likelihood is flat to second order."""
        return self._eigen[0][:, self.rank(tol) :].copy()

    def negative(self) -> int:
        """The number of negative eigenvalues: 0 at a maximum of the likelihood."""
        return int((self._range()[1] < 0).sum())

    def singular_values(self) -> Floats:
        """Not defined: raises `InputError`, since an indefinite matrix has no real root."""
        raise InputError("the observed information has no real root, so no singular values of it: use eigsh")

    def cov(self) -> Floats:
        """(cases·F)⁻¹, the pseudo-inverse where F is singular: a covariance at a maximum of the likelihood only."""
        size = np.sqrt(np.abs(self._dense.diagonal()))
        if (size > 0).all():
            values, vectors = np.linalg.eigh(self._dense / np.outer(size, size))
            if np.abs(values).min() > len(size) * np.finfo(float).eps * np.abs(values).max():
                scaled = vectors / size[:, None]
                return (scaled / values) @ scaled.T / self.cases
        return self._pseudo_inverse() / self.cases

    def _range(self) -> tuple[Floats, Floats]:
        vectors, values = self._eigen
        rank = self.rank()
        return vectors[:, :rank], values[:rank]

    def _solve_dense(self, damped: Floats, v: Floats) -> Floats:
        values, vectors = np.linalg.eigh(damped)
        if np.abs(values).min() <= len(values) * np.finfo(float).eps * np.abs(values).max():
            raise np.linalg.LinAlgError
        return vectors @ ((vectors.T @ v) / values.reshape(-1, *(1,) * (v.ndim - 1)))


def observed_fisher(model: GLM, p: Params, X: ArrayLike, Y: ArrayLike) -> ObservedInformation:
    """Minus the Hessian (P, P) of the mean log-likelihood at the observed Y; `fisher` is its expectation.

    Equal to `fisher` for the plain model under its canonical link.  Raises what `GLM.log_likelihood` raises.
    """
    at = linearized(model, p, X)
    weight, pull = at.observed_hessian(Y), at.residual(Y)

    def product(V: Floats) -> Floats:
        direction = model.unravel(V, at.params.units)
        first = at.vjp(weight.apply(at.jvp(direction))).ravel() / (at.cases * model.dispersion)
        if not model.has_gain:  # z is linear in the parameters
            return first
        second = [_bend(at, X, pull, model.unravel(row, at.params.units)).ravel() for row in V]
        return first - np.stack(second) / at.cases

    def root() -> Floats:
        raise InputError("the observed information may be indefinite and has no real root: use fg.fisher")

    text = f"observed (minus the Hessian of the log-likelihood), {what(model, at)}"
    return ObservedInformation(at.params, product, root, text, at.Z.size, at.cases)


def _bend(at: Linearization, X: ArrayLike, pull: Floats, v: Params) -> Params:
    """The derivative along ``v`` of the vector-Jacobian product of a fixed cotangent ``pull``."""
    W, gain = at.params.weight, at.params.gain
    moved = at.model.normalizer(np.asarray(X, dtype=complex), W + 1j * _STEP * v.weight)
    assert gain is not None and v.gain is not None
    weight = moved.vjp((gain + 1j * _STEP * v.gain) * pull).imag / _STEP
    slope = (pull * moved.value).sum(axis=tuple(range(pull.ndim - 1))).imag / _STEP
    return Params(weight, np.zeros_like(slope), slope)

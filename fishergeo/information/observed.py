r"""The observed information: minus the mean second derivative of the log-likelihood at the observed y.

    -(1/N) Σ_n ∇²log p(y_n|x_n) = (1/N) Σ_n [J_nᵀ w_n J_n - Σ_h (∂log p/∂z_nh) ∇²z_nh],  w = -∂²log p/∂z²

The second term, 0 where z is linear in the parameters, comes from the second derivatives of the stages.  As a matrix it
takes few directions: those of units whose stages are their own are followed together, and where cases are apart, so are
those of the summed inputs of all cases.  Source: Efron, Hinkley 1978, Biometrika 65(3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from ..families import Floats
from ..model import GLM, Linearization, Params
from ..normalizers import Done
from ..opaque import OpaquelyDone
from .gram import Grams
from .matrices import ExactFisher, by_jacobian, linearized, what
from .operator import Metric, count_above
from .pieces import factors
from .triangular import Diagonalized, Quotient

_CHUNK = 1 << 19  # numbers in the largest temporary array: 4 MiB, what a cache holds


class ObservedInformation(Metric):
    """The observed information: symmetric, but not positive semidefinite away from a maximum of the likelihood.

    It has no root: rank and null space are found from its eigenvalues, those below P·eps times the largest size count as
    0.  `solve` with damping needs F + damping·I nonsingular, not positive.
    """

    definite = False

    @cached_property
    def _eigen(self) -> tuple[Floats, Floats]:
        """Eigenvectors (P, P) and eigenvalues (P,), decreasing in size."""
        values, vectors = np.linalg.eigh(self._dense)
        order = np.argsort(-np.abs(values), kind="stable")
        return vectors[:, order], values[order]

    @cached_property
    def _eigenvalues(self) -> Floats:
        return -np.sort(-self._eigen[1])

    def _cut(self, tol: float | None) -> list[Quotient] | list[Diagonalized]:
        vectors, values = self._eigen
        rank = count_above(np.abs(values), tol, "eigenvalue")
        return [Diagonalized(vectors[:, :rank], values[:rank], vectors[:, rank:])]

    def rank(self, tol: float | None = None) -> int:
        """The number of eigenvalues above ``tol`` times the largest, in size (default: P eps)."""
        return super().rank(tol)

    def null_space(self, tol: float | None = None) -> Floats:
        """An orthonormal basis (P, nullity) of the directions along which the log-likelihood is flat to second order."""
        return super().null_space(tol)

    def negative(self) -> int:
        """The number of negative eigenvalues: 0 at a maximum of the likelihood."""
        return int((self._eigen[1][: self.rank()] < 0).sum())

    def singular_values(self) -> Floats:
        """Not defined: raises `InputError`, since an indefinite matrix has no real root."""
        raise InputError("the observed information has no real root, so no singular values of it: use eigsh")

    def cov(self) -> Floats:
        """(cases·F)⁻¹, the pseudo-inverse where F is singular: a covariance at a maximum of the likelihood only."""
        return super().cov()

    def _covariances(self) -> list[Floats]:
        size = np.sqrt(np.abs(self._dense.diagonal()))
        if (size > 0).all():
            values, vectors = np.linalg.eigh(self._dense / np.outer(size, size))
            if np.abs(values).min() > len(size) * np.finfo(float).eps * np.abs(values).max():
                scaled = vectors / size[:, None]
                return [(scaled / values) @ scaled.T / self.cases]
        return [self._cut(None)[0].solve(np.eye(self.shape[0])) / self.cases]

    def _inverse(self, block: Floats, damping: float) -> Callable[[Floats], Floats]:
        values, vectors = np.linalg.eigh(block + damping * np.eye(len(block)))
        if np.abs(values).min() <= len(values) * np.finfo(float).eps * np.abs(values).max():
            raise np.linalg.LinAlgError
        return Diagonalized(vectors, values, vectors[:, :0]).solve


class ExactlyObserved(ObservedInformation):
    """The observed information of a model: the mean of J_nᵀ w_n J_n, ``first``, less that of the ``curvature`` of z."""

    def __init__(self, at: Linearization, first: Metric, curvature: Curvature | None, what: str) -> None:
        def product(V: Floats) -> Floats:
            product = first._product(V)
            if curvature is None:
                return product
            return product - curvature.product(at.model.unravel(V, at.params.units)).ravel() / at.cases

        def root() -> Floats:
            raise InputError("the observed information may be indefinite and has no real root: use fg.fisher")

        super().__init__(at.params, product, root, what, at.Z.size, at.cases)
        self._first, self._curvature = first, curvature

    @cached_property
    def _dense(self) -> Floats:
        dense = self._first.to_dense()
        if self._curvature is not None:
            second = self._curvature.dense()
            dense -= (second + second.T) / (2 * self.cases)
        dense.flags.writeable = False
        return dense


def observed_fisher(model: GLM, p: Params, X: ArrayLike, Y: ArrayLike) -> ObservedInformation:
    """Minus the Hessian (P, P) of the mean log-likelihood at the observed Y; `fisher` is its expectation.

    Equal to `fisher` for the plain model under its canonical link.  Raises what `GLM.log_likelihood` raises.
    """
    at = linearized(model, p, X)
    weighted = replace(at, given=at.observed_hessian(Y))
    factored = factors(weighted)
    first = by_jacobian(weighted) if factored is None else ExactFisher(weighted, (factored,))
    curvature = Curvature(at, at.residual(Y)) if model.has_gain else None  # else z is linear in the parameters
    text = f"observed (minus the Hessian of the log-likelihood), {what(model, at)}"
    return ExactlyObserved(at, first, curvature, text)


@dataclass(frozen=True)
class Curvature:
    """Σ_n Σ_h pull_nh ∇²z_nh over the parameters, for a fixed ``pull`` (N, [S,] H)."""

    at: Linearization
    pull: Floats

    @cached_property
    def cotangent(self) -> Floats:
        """The gradient with respect to Â of Σ pull·z."""
        assert self.at.params.gain is not None
        return self.pull * self.at.params.gain

    def product(self, v: Params) -> Params:
        """Its product with directions ``v``."""
        assert v.gain is not None
        normalized, lift = self.at.normalized, (None,) * (self.pull.ndim - 1)
        moved = self.pull * normalized.jvp(v.weight)
        weight = self.weights(v.weight) + normalized.vjp(self.pull * v.gain[(..., *lift, slice(None))])
        gain = moved.sum(axis=tuple(range(-self.pull.ndim, -1)))
        return Params(weight, np.zeros_like(gain), gain)

    def weights(self, dW: Floats) -> Floats:
        """Its block of the weights times changes dW (..., H, D)."""
        normalized = self.at.normalized
        if not normalized.summed and not normalized.weight:  # z is bilinear in weights and gain
            return np.zeros_like(dW)
        *changes, dWhat = _changes(normalized.weight, dW)
        moved = normalized.sums_adjoint(self._summed(normalized.sums(dWhat))) if normalized.summed else None
        return _bent(normalized.weight, self._pull_of_weights, changes, moved)

    def _summed(self, dA: Floats) -> Floats:
        """The second derivative of Σ pull·z with respect to the summed inputs, times changes dA; it has stages."""
        stages = self.at.normalized.summed
        return _bent(stages, self.cotangent, _changes(stages[:-1], dA))

    @cached_property
    def _pull_of_weights(self) -> Floats:
        """The gradient with respect to the normalized weights of Σ pull·z."""
        g = self.cotangent
        for stage in reversed(self.at.normalized.summed):
            g = stage.adjoint(g)
        return self.at.normalized.sums_adjoint(g)

    def dense(self) -> Floats:
        """The matrix (P, P)."""
        p = self.at.params
        H, D = p.weight.shape
        out = np.zeros((H, D + 2, H, D + 2))
        out[:, :D, :, :D] = self._weight_block()
        slope = np.zeros((H, H, D))  # of the gain's unit, the weights
        if self._own_units:
            slope[np.arange(H), np.arange(H)] = self.at.normalized.vjp(self.pull)
        else:
            slope[...] = self.at.normalized.vjp(self.pull * np.eye(H).reshape(H, *(1,) * (self.pull.ndim - 1), H))
        out[:, D + 1, :, :D] = slope
        out[:, :D, :, D + 1] = slope.transpose(1, 2, 0)
        return out.reshape(p.size, p.size)

    @property
    def _own_units(self) -> bool:
        """Whether no stage has cells with several units."""
        normalized = self.at.normalized
        return not (
            any(_mixes(stage, -1) for stage in normalized.summed) or any(_mixes(stage, -2) for stage in normalized.weight)
        )

    def _weight_block(self) -> Floats:
        """The block (H, D, H, D) of the weights, from as few directions as the cells of the stages allow."""
        sizes = (*self.at.params.weight.shape, self.pull.size)
        if self._own_units:
            return _of_own_units(self.weights, *sizes)
        if any(_mixes(stage, axis) for stage in self.at.normalized.summed for axis in range(-self.pull.ndim, -1)):
            return _of_all_weights(self.weights, *sizes)
        return self._of_cases()

    def _of_cases(self) -> Floats:
        """Where cases are apart: Σ_n K_n ⊗ x_n x_nᵀ, K_n the second derivative in the summed inputs of a case."""
        normalized = self.at.normalized
        H, D = self.at.params.weight.shape
        out = np.zeros((H, D, H, D))
        if normalized.summed:
            i, j = np.triu_indices(H)
            grams = Grams(D, len(i))
            units = np.eye(H).reshape(H, *(1,) * (self.pull.ndim - 1), H)
            K = self._summed(np.broadcast_to(units, (H, *self.pull.shape))).reshape(H, -1, H)
            grams.add(normalized.Xhat.reshape(-1, D), np.ascontiguousarray(K[i, :, j]))
            for a, b, gram in zip(i, j, grams.matrices(), strict=True):
                out[a, :, b] = out[b, :, a] = gram
        if not normalized.weight:
            return out
        for _ in range(2):
            for stage in reversed(normalized.weight):
                out = stage.adjoint(out)
            out = out.transpose(2, 3, 0, 1)

        stages, pull = normalized.weight, self._pull_of_weights
        return out + _of_all_weights(lambda dW: _bent(stages, pull, _changes(stages[:-1], dW)), H, D, H * D)


def _changes(stages: Sequence[Done], dt: Floats) -> list[Floats]:
    """The changes of the arguments of all stages, and of the last value, for changes dt of the first argument."""
    changes = [dt]
    for stage in stages:
        changes.append(stage.tangent(changes[-1]))
    return changes


def _bent(stages: Sequence[Done], g: Floats, changes: list[Floats], dg: Floats | None = None) -> Floats:
    """The change of the gradient with respect to the first argument; that of the last value is g and changes by dg."""
    for stage, dt in zip(reversed(stages), reversed(changes), strict=True):
        bent = stage.adjoint_tangent(g, dt)
        dg = bent if dg is None else bent + stage.adjoint(dg)
        g = stage.adjoint(g)
    assert dg is not None
    return dg


def _mixes(stage: Done, axis: int) -> bool:
    """Whether cells of a stage reach along an axis; of a function one cannot know."""
    return isinstance(stage, OpaquelyDone) or axis in stage.axes


def _of_own_units(apply: Callable[[Floats], Floats], H: int, D: int, width: int) -> Floats:
    """The matrix (H, D, H, D) of a linear map of the weights that leaves units apart: all units at a time."""
    out = np.zeros((H, D, H, D))
    step = max(1, _CHUNK // width)
    for start in range(0, D, step):
        rows = np.eye(D)[start : start + step, None]
        found = apply(np.broadcast_to(rows, (len(rows), H, D)))
        for h in range(H):
            out[h, start : start + step, h] = found[:, h]
    return out


def _of_all_weights(apply: Callable[[Floats], Floats], H: int, D: int, width: int) -> Floats:
    """The matrix (H, D, H, D) of a linear map of the weights, from all directions."""
    out = np.empty((H * D, H, D))
    step = max(1, _CHUNK // width)
    for start in range(0, H * D, step):
        rows = np.eye(min(step, H * D - start), H * D, k=start)
        out[start : start + step] = apply(rows.reshape(-1, H, D))
    return out.reshape(H, D, H, D)

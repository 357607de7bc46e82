r"""The Fisher matrices of a model: exact, eq. (13) as printed, empirical, Monte Carlo and Kronecker-factored.

    F = (1/N) Σ_n J_nᵀ (Cov[y|x_n]/φ²) J_n = (1/N) Σ_n J_nᵀ (η''(z_n)/φ) J_n

with J_n = ∂z_n/∂parameters, batch statistics differentiated (Ba, Kiros, Hinton 2016, eq. 12-14).  Under another link than
the canonical one η'' stands for (dμ/dz)²/V.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError, generator
from ..families import Floats
from ..links import canonical
from ..model import GLM, Linearization, Params
from ..normalizers import Frozen
from . import joint
from .factored import ByJacobian, Factored, check_root
from .operator import Metric
from .parts import parts
from .pieces import Factors
from .rows import is_source


def fisher(model: GLM, p: Params, X: Any, *, dtype: type = np.float64, **how: Any) -> Metric:
    """The expected Fisher matrix F (P, P), exact: a linear operator, mean over the cases, statistics differentiated.

    With ``dtype=np.float32`` the products with the inputs are of single precision, summed up in double: errors of about
    1e-6 for half the time and memory traffic.  X is an array, or a source of blocks of rows of any size: what `rows`
    takes, where it is not in memory or sparse; ``how`` it is gone through are the fields of `Run`.  Raises `InputError`
    for other types and what `GLM.linearize` refuses.
    """
    if dtype not in (np.float32, np.float64):
        raise InputError(f"fisher got dtype={dtype!r}: products are of np.float64, or faster of np.float32")
    if how or is_source(X):
        from .stream import streamed

        return streamed(model, p, X, dtype, **how)
    at = linearized(model, p, X)
    found = parts(at)
    if found is None:
        return by_jacobian(at, JointFisher if joint.joins(at) else ByJacobian)
    return ExactFisher(at, tuple(replace(part, dtype=dtype) for part in found))


class ExactFisher(Factored):
    """The exact Fisher matrix from the factors of its Jacobian; ``reference`` is the same from jvp and vjp alone."""

    def __init__(self, at: Linearization, parts: tuple[Factors, ...]) -> None:
        super().__init__(at, parts, at.cases * at.model.dispersion, f"exact (expected), {what(at.model, at)}")
        self._at = at

    @cached_property
    def reference(self) -> Metric:
        return by_jacobian(self._at)


class JointFisher(ByJacobian):
    """The exact Fisher matrix under a stage over positions and units of each case."""

    @cached_property
    def reference(self) -> Metric:
        return by_jacobian(self.at)

    @cached_property
    def _dense(self) -> Floats:
        dense = joint.dense(self.at)
        dense.flags.writeable = False
        return dense


def by_jacobian(at: Linearization, kind: type[ByJacobian] = ByJacobian) -> ByJacobian:
    """F by jvp and vjp alone, for any normalizer: column by column where it is to be dense."""
    return kind(at, at.cases * at.model.dispersion, f"exact (expected), {what(at.model, at)}")


def own_unit_jacobian(at: Linearization) -> Floats:
    """∂z_ni/∂(w_i, b_i, g_i) for every unit i: (H, D+2, N), what eq. (13) writes with χ_i; other units are left out."""
    H, size = at.params.units, at.params.size // at.params.units
    own = np.empty((H, size, at.cases))
    for k in range(size):
        direction = np.zeros((H, H, size))
        direction[np.arange(H), np.arange(H), k] = 1
        dZ = at.jvp(at.model.unravel(direction.reshape(H, -1), H)).reshape(H, at.cases, H)
        own[:, k] = dZ[np.arange(H), :, np.arange(H)]
    return own


def per_unit_fisher(model: GLM, p: Params, X: ArrayLike) -> PerUnitFisher:
    """Eq. (13)-(14) as printed: F̄_ij from χ_i alone, with ∂â_i/∂w_j (j ≠ i) dropped; exact for BN and WN, not for LN."""
    at = linearized(model, p, X)
    return PerUnitFisher(model, at, own_unit_jacobian(at), fisher(model, p, X))


class PerUnitFisher(Metric):
    """The matrix of eq. (13) of Ba, Kiros, Hinton 2016, with its relative gap to the exact Fisher matrix."""

    def __init__(self, model: GLM, at: Linearization, own: Floats, exact: Metric) -> None:
        H, size, N = own.shape
        scale = at.cases * model.dispersion
        self.exact = exact

        def product(V: Floats) -> Floats:
            dz = np.einsum("khs,hsn->knh", V.reshape(-1, H, size), own, optimize=True)
            weighted = at.hessian.apply(dz.reshape(-1, *at.Z.shape)).reshape(-1, N, H)
            return np.einsum("knh,hsn->khs", weighted, own, optimize=True).reshape(V.shape) / scale

        def root() -> Floats:
            check_root(H * size, at)
            columns = np.zeros((H, size, N, H))
            columns[np.arange(H), :, :, np.arange(H)] = own
            columns = columns.reshape(-1, *at.Z.shape)
            return at.hessian.root(columns).reshape(H * size, -1) / np.sqrt(scale)

        super().__init__(at.params, product, root, f"eq. (13) as printed, {what(model, at)}", at.Z.size, at.cases)

    @property
    def gap(self) -> float:
        """‖F₁₃ - F‖/‖F‖ in the Frobenius norm, F the exact matrix."""
        F = self.exact.to_dense()
        gap, size = np.linalg.norm(self.to_dense() - F), np.linalg.norm(F)
        return float(gap / size) if size > 0 else (0.0 if gap == 0 else float("inf"))

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, relative gap to the exact matrix {self.gap:.3g}>"


def from_scores(at: Linearization, scores: Floats, kind: str) -> Metric:
    """The second moment of score vectors (m, P): F = ScoresᵀScores/m."""
    count, size = scores.shape

    def product(V: Floats) -> Floats:
        return (V @ scores.T) @ scores / count

    text = f"{kind}, {what(at.model, at)}"
    return Metric(at.params, product, lambda: scores.T / np.sqrt(count), text, count + size, at.cases)


def empirical_fisher(model: GLM, p: Params, X: ArrayLike, Y: ArrayLike) -> Metric:
    """The second moment of the scores at the observed Y; not the Fisher matrix unless Y is distributed as the model."""
    at = linearized(model, p, X)
    return from_scores(at, model.score(p, X, Y), "empirical (squared scores at the observed y)")


def monte_carlo_fisher(
    model: GLM, p: Params, X: ArrayLike, rng: np.random.Generator | int | None = None, draws: int = 1
) -> Metric:
    """The second moment of the scores at ``draws`` samples y ~ p(y|x) a case: an unbiased estimate of F."""
    if isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 1:
        raise InputError(f"monte_carlo_fisher got draws={draws!r}: draw at least once, a whole number of times")
    at = linearized(model, p, X)
    source = generator("monte_carlo_fisher", rng)
    scores = [model.score(p, X, model.family.draw(at.mean, model.dispersion, source)) for _ in range(draws)]
    return from_scores(at, np.concatenate(scores), f"Monte Carlo, {draws} draws a case")


def kfac(model: GLM, p: Params, X: ArrayLike) -> Metric:
    """The Kronecker-factored approximation E[η''/φ] ⊗ E[uuᵀ] with u = the own-unit Jacobian rows.

    For the plain model u = (x, 1) for every unit, as in Martens, Grosse 2015; under a normalizer each unit has its own u,
    and block (i, j) is E[η''_ij/φ] E[u_i u_jᵀ].
    """
    at = linearized(model, p, X)
    own = own_unit_jacobian(at)
    H, size, N = own.shape
    curvature = at.hessian.dense().reshape(N, H, H).mean(axis=0) / model.dispersion

    def product(V: Floats) -> Floats:
        dz = np.einsum("khs,hsn->khn", V.reshape(-1, H, size), own, optimize=True)
        return np.einsum("kin,isn->kis", curvature @ dz, own, optimize=True).reshape(V.shape) / N

    def root() -> Floats:
        values, vectors = np.linalg.eigh(curvature)
        half = vectors * np.sqrt(np.clip(values, 0, None))
        return np.einsum("isn,ij->isnj", own, half).reshape(H * size, -1) / np.sqrt(N)

    return Metric(at.params, product, root, f"Kronecker-factored, {what(model, at)}", at.Z.size, at.cases)


def linearized(model: GLM, p: Params, X: ArrayLike) -> Linearization:
    """The model at p on X; raises `InputError` for what is no model."""
    check_model(model)
    return model.linearize(p, X)


def check_model(model: GLM) -> None:
    """Refuse what is no model."""
    if not isinstance(model, GLM):
        raise InputError(f"a Fisher matrix needs a model, not {model!r:.60}: give fg.GLM(family, normalizer)")


def what(model: GLM, at: Linearization | Metric) -> str:
    """Which model a matrix is of, what it is averaged over, and what becomes of the statistics."""
    stages = [stage for _, stage in model.normalizer.stages]
    batch = "no normalization"
    if stages:
        batch = "statistics frozen" if all(isinstance(s, Frozen) for s in stages) else "batch statistics differentiated"
    link = "" if model.curve is None else f" with {(model.link or canonical).name} link"
    return (
        f"{model.family.name}{link}, {model.normalizer.name}, mean over {at.cases} cases, φ={model.dispersion:g}, {batch}"
    )

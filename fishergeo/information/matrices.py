r"""The exact Fisher matrix of a model.

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

from ..axes import Axis, Site
from ..errors import InputError
from ..families import Floats
from ..foreign import is_foreign
from ..links import canonical
from ..model import GLM, Linearization, Params
from ..normalizers import Frozen
from ..readers import check_numpy
from ..threads import one_blas_thread
from . import cancelled, joint
from .factored import ByJacobian, Factored
from .operator import Metric
from .parts import parts
from .pieces import Factors
from .rows import is_source


def fisher(model: GLM, p: Params, X: Any, *, dtype: type = np.float64, **how: Any) -> Metric:
    """The expected Fisher matrix F (P, P), exact: a linear operator, mean over the cases, statistics differentiated.

    With ``dtype=np.float32`` the products with the inputs are of single precision, summed up in double: errors of about
    1e-6 for half the time and memory traffic.  X is an array, or a source of blocks of rows of any size: what `rows`
    takes, where it is not in memory or sparse; ``how`` it is gone through are the fields of `Run`.  For an array of
    another library, such as torch, the result is a `ForeignFisher`.  Raises `InputError` for other types and what
    `GLM.linearize` refuses.
    """
    if dtype not in (np.float32, np.float64):
        raise InputError(f"fisher got dtype={dtype!r}: products are of np.float64, or faster of np.float32")
    if is_foreign(X):
        from .foreign import foreign_fisher

        check_model(model)
        return foreign_fisher(model.linearize(p, X), dtype, how)
    if how or is_source(X):
        from .stream import streamed

        return streamed(model, p, X, dtype, **how)
    with one_blas_thread():  # the others would spin for a while, in the way of those that sum up
        return exactly(linearized(model, p, X), dtype)


def exactly(at: Linearization, dtype: type = np.float64) -> Metric:
    """The expected Fisher matrix of a model at its parameters."""
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

    @property
    def _cancelled(self) -> float:
        return cancelled.of_parts(self.parts) / self.scale**0.5


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
    kept = "derivatives in numbers" if at.model.normalizer.opaque else "exact"
    return kind(at, at.cases * at.model.dispersion, f"{kept} (expected), {what(at.model, at)}")


def linearized(model: GLM, p: Params, X: ArrayLike) -> Linearization:
    """The model at p on X; raises `InputError` for what is no model, and for arrays of other libraries."""
    check_model(model)
    check_numpy("this matrix", X)
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
        joined = any(site is not Site.WEIGHT and Axis.SAMPLE in stage.over for site, stage in model.normalizer.stages)
        frozen = all(isinstance(stage, Frozen) for stage in stages)
        batch = "statistics frozen" if frozen else f"{'batch ' if joined else ''}statistics differentiated"
    link = "" if model.curve is None else f" with {(model.link or canonical).name} link"
    return (
        f"{model.family.name}{link}, {model.normalizer.name}, mean over {at.cases} cases, φ={model.dispersion:g}, {batch}"
    )

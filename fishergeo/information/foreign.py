r"""The exact Fisher matrix of a model on arrays of another library, such as torch: products and the matrix itself.

    F v = 1/(Nφ) Jᵀ η'' J v

by the same linearization as on NumPy arrays: two products of matrices with the inputs, everything else O(NH).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..axes import Axis, Site
from ..errors import InputError
from ..foreign import Foreign, library, only_numpy
from ..model import Linearization, Params
from ..readers import ForeignLinearization
from .foreign_dense import factors, summed_up
from .matrices import what

_CHUNK = 1 << 22  # numbers in the largest array over a batch of vectors


def foreign_fisher(at: Any, dtype: type, how: Mapping[str, Any]) -> Any:
    """The Fisher matrix of a model linearized on arrays of another library, in their precision."""
    assert isinstance(at, ForeignLinearization)
    if how or dtype is not np.float64:
        given = next(iter(how), "dtype")
        raise InputError(
            f"fisher got {given} for an array of {library(at.at.Z.xp)}: it is used whole, as it is; leave it out"
        )
    return ForeignFisher(at.at)


class ForeignFisher:
    """The exact Fisher matrix F (P, P) over the parameters, its products and itself as arrays of the inputs' library.

    ``F @ v`` for v (P,) or (P, k) and ``F.to_dense()`` are computed on the device of the inputs in their precision.  What
    else `Metric` has is there for NumPy arrays alone, and `InputError` here.
    """

    def __init__(self, at: Linearization) -> None:
        self._at, self.shape = at, (at.params.size, at.params.size)
        self.cases: int = at.cases
        Z: Any = at.Z
        self._like: Foreign = Z
        d, mixing = at.hessian.d, at.hessian.mixing
        self._hessian = replace(
            at.hessian, d=Z.read(d, "η'' is an array"), mixing=None if mixing is None else Z.like(mixing)
        )

    @property
    def dtype(self) -> Any:
        return self._like.dtype

    @property
    def device(self) -> Any:
        return self._like.device

    @property
    def params(self) -> Params:
        """The parameters, as arrays of the inputs' library."""
        return self._at.params.map(lambda v: v.array)

    def __repr__(self) -> str:
        kind = str(self.dtype).rpartition(".")[-1]
        where = f"{kind} of {library(self._like.xp)} on {self.device}"
        model = what(self._at.model, self._at)
        return f"<{self.shape[0]}x{self.shape[1]} Fisher matrix: exact (expected), {model}, {where}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise only_numpy(name, self._like)

    def __matmul__(self, v: Any) -> Any:
        """F v for v (P,) or (P, k)."""
        V = self._like.read(v, "a vector is an array")
        if V.ndim not in (1, 2) or V.shape[0] != self.shape[0] or not np.isfinite(V).all():
            raise InputError(f"F @ v got v of shape {V.shape}: give finite numbers (P,) or (P, k), P={self.shape[0]}")
        if V.ndim == 1:
            return self._product(V[None, :])[0].array
        step, size = self._step, V.shape[1]
        spans = (slice(start, min(start + step, size)) for start in range(0, size, step))
        parts = [self._product(V[:, span].swapaxes(0, 1)) for span in spans]
        return _joined(parts).swapaxes(0, 1).array if parts else V.array

    def to_dense(self) -> Any:
        """The matrix (P, P), exactly symmetric.

        From weighted Gram matrices of the inputs where the Jacobian factors, else column by column; independent outputs
        of units that no stage joins have one block for each unit, and one product makes a column of all.
        """
        units, own = self._at.params.units, self.shape[0] // self._at.params.units
        if factors(self._at):
            F = summed_up(self._at, self._hessian, self._apart) / (self.cases * self._at.model.dispersion)
            return ((F + F.swapaxes(0, 1)) / 2).array
        if not self._apart:
            F = _joined([self._product(rows) for rows in self._basis(self.shape[0], 1)])
            return ((F + F.swapaxes(0, 1)) / 2).array
        columns = _joined([self._product(rows) for rows in self._basis(own, units)])
        blocks = columns.reshape(own, units, own).swapaxes(0, 1)
        blocks = (blocks + blocks.swapaxes(1, 2)) / 2
        return (blocks[:, :, None, :] * np.eye(units)[:, None, :, None]).reshape(self.shape).array

    @property
    def _apart(self) -> bool:
        """Whether the outputs are independent and each is a function of the parameters of its own unit."""
        stages = self._at.model.normalizer.stages
        joined = any(Axis.UNIT in stage.over for site, stage in stages if site is not Site.INPUTS)
        return not (joined or self._hessian.coupled or self._hessian.mixing is not None)

    @property
    def _step(self) -> int:
        """How many vectors are multiplied at a time."""
        return max(1, _CHUNK // self._like.size)

    def _basis(self, size: int, copies: int) -> Iterator[Foreign]:
        """The unit vectors of so many numbers, each so many times side by side, some at a time."""
        for start in range(0, size, self._step):
            yield self._like.like(np.tile(np.eye(min(self._step, size - start), size, start), copies))

    def _product(self, V: Foreign) -> Foreign:
        """F v for every row v of V (k, P)."""
        at: Any = self._at
        dZ = at.jvp(Params.unravel(V, at.params.units, at.model.has_gain))
        F: Any = at.vjp(self._hessian.apply(dZ)).ravel() / (at.cases * at.model.dispersion)
        return F


def _joined(parts: list[Foreign]) -> Foreign:
    """Rows one below the other."""
    joined: Any = np.concatenate(parts)
    return joined

"""Fisher matrices from the factors of a Jacobian, and from jvp and vjp alone where there are none."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import cached_property, partial
from typing import Any

import numpy as np
from scipy.linalg import block_diag
from scipy.sparse.linalg import LinearOperator

from ..errors import InputError
from ..families import Floats
from ..model import Linearization
from ..threads import each, one_blas_thread
from . import cancelled, kronecker, roots
from .exact import Sums
from .operator import Metric, spread
from .own_units import own_columns
from .parts import slices
from .pieces import Factors, Piece
from .product import product, rows_for
from .triangular import Triangle

_LANES = 4  # ranges of cases that are summed up apart
_SUMS = 1 << 22  # numbers in all of their sums: 32 MiB
_ROOT_PART = 1 << 17  # numbers of a root that are worth a call
_ROOT_LIMIT = 1 << 29  # numbers in the largest root R that is formed (4 GiB)


class Factored(Metric):
    """A Fisher matrix J_nᵀ η''_n J_n/(Nφ) from the factors of J, N φ = ``scale``; η'' is what the factors say."""

    def __init__(self, at: Linearization, parts: tuple[Factors, ...], scale: float, what: str) -> None:
        self.parts, self.scale = parts, scale
        self._count = at.params.units if all(roots.apart(f) for f in parts) else 1
        text = f"{what}, {self._count} diagonal blocks" if self._count > 1 else what
        super().__init__(at.params, self._multiply, self._full_root, text, at.params.inputs + at.params.units, at.cases)

    def _multiply(self, V: Floats) -> Floats:
        p, cases = self.params, sum(len(f.X) for f in self.parts)
        if "_blocks" in self.__dict__ and self._blocks.size < 2 * cases * p.inputs * p.units:
            parts = V.reshape(len(V), self._count, -1).transpose(1, 0, 2) @ self._blocks
            return parts.transpose(1, 0, 2).reshape(V.shape)
        count = rows_for(self.parts[0].chart, len(V))
        found = (product(f.chart, f.groups(count), V, f.dtype, f.lead, f.shift) for f in self.parts)
        return sum(found, np.zeros_like(V)) / self.scale

    def _between_products(self) -> AbstractContextManager[Any]:
        return super()._between_products() if "_blocks" in self.__dict__ else one_blas_thread()

    @cached_property
    def _blocks(self) -> Floats:
        with one_blas_thread():
            blocks = self._summed()
        blocks /= self.scale
        blocks.flags.writeable = False
        return blocks

    def _summed(self) -> Floats:
        """The blocks (K, P/K, P/K) of N φ F."""
        total: Floats | None = None
        for f in self.parts:
            sums = _sums(f)
            matrix = sums.diagonal_blocks() if sums.diagonal else sums.dense()[None]
            total = matrix if total is None else np.add(total, matrix, out=total)
        assert total is not None
        return total

    @cached_property
    def _dense(self) -> Floats:
        if self._count == 1:
            return self._blocks[0]
        dense: Floats = spread(self._blocks)
        dense.flags.writeable = False
        return dense

    @cached_property
    def _roots(self) -> Floats:
        found = roots.block_roots(self.parts) if self._count > 1 else roots.root(self.parts)[None]
        return found / np.sqrt(self.scale)

    @cached_property
    def _kronecker(self) -> kronecker.Kronecker:
        return kronecker.Kronecker(self.parts, self.scale)

    def preconditioner(self, damping: float) -> LinearOperator | None:
        """Kronecker factors in the coefficients, where those of each unit fit into memory."""
        chart = self.parts[0].chart
        if damping == 0 or chart.params.units * chart.features**2 > kronecker._LARGEST:
            return None
        return self._kronecker.inverse(damping)

    def _full_root(self) -> Floats:
        return block_diag(*self._roots)

    def diagonal(self) -> Floats:
        if "_blocks" in self.__dict__:
            return super().diagonal()
        return roots.diagonal(self.parts) / self.scale


def _sums(f: Factors) -> Sums:
    """The sums over all cases; where they are small, some cases are summed up by each thread."""
    d = f.hessian.d
    new = partial(Sums, f.chart, next(f.pieces(1)), constant=bool((d == d[0, 0]).all()))
    lanes = [new()]
    most = _SUMS * (8 if lanes[0].grams.square else 1)  # one sum keeps one thread busy
    count = min(_LANES, len(f.X) // lanes[0].rows, most // sum(array.size for array in lanes[0].arrays))
    lanes += [new() for _ in range(count - 1)]

    def add(sums: Sums, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            sums.add(piece)

    tasks = [partial(add, *lane) for lane in zip(lanes, f.lanes(lanes[0].rows, len(lanes)), strict=True)]
    each(tasks, len(f.X) * float(f.chart.features) ** 2 if len(tasks) > 1 else 0.0)
    for other in lanes[1:]:
        lanes[0].merge(other)
    return lanes[0]


class ByJacobian(Metric):
    """J_nᵀ η''_n J_n/(Nφ) by jvp and vjp alone, for any normalizer: column by column where it is to be dense."""

    def __init__(self, at: Linearization, scale: float, what: str) -> None:
        self.at, self.scale = at, scale
        super().__init__(at.params, self._multiply, self._factor, what, at.Z.size, at.cases)
        self._precision = 1e-9 if at.model.normalizer.opaque else 0.0

    @property
    def _cancelled(self) -> float:
        return cancelled.of_model(self.at) / self.scale**0.5

    def _multiply(self, V: Floats) -> Floats:
        at = self.at
        return at.vjp(at.hessian.apply(at.jvp(at.model.unravel(V, at.params.units)))).ravel() / self.scale

    def _factor(self) -> Floats:
        """The triangular factor, from some cases at a time; where stages bring cases together, all columns at once."""
        triangle = Triangle(self.params.size)
        for part in self._parts():
            if part is self.at:
                return self._transposed_rows(part) / np.sqrt(self.scale)
            rows = self._transposed_rows(part)
            with one_blas_thread():
                triangle.add(rows)
        return triangle.R.T / np.sqrt(self.scale)

    def _parts(self) -> Iterable[Linearization]:
        """The model on some cases at a time, where no stage brings cases together."""
        at, size = self.at, self.params.size
        parts = slices(at, max(1, max(size, _ROOT_PART // size) * len(at.Z) // at.Z.size))
        if parts is None:
            check_root(size, at)
            return (at,)
        return parts

    def _transposed_rows(self, at: Linearization) -> Floats:
        """√η''J of some cases, as its transpose (P, N k)."""
        return _root_of(at, at.columns())

    def diagonal(self) -> Floats:
        if not {"_blocks", "_dense"}.isdisjoint(self.__dict__):
            return super().diagonal()
        at, size = self.at, self.params.size
        out, step = np.empty(size), max(1, (1 << 19) // at.Z.size)
        for start in range(0, size, step):
            rows = np.eye(min(step, size - start), size, k=start)
            half = at.hessian.root(at.jvp(at.model.unravel(rows, at.params.units)))
            out[start : start + step] = (half * half).reshape(len(rows), -1).sum(axis=1)
        return out / self.scale


class OwnByJacobian(ByJacobian):
    """The same with the own-unit Jacobian: a dense matrix from some cases at a time, and products with it."""

    def _multiply(self, V: Floats) -> Floats:
        return V @ self._dense

    @cached_property
    def _dense(self) -> Floats:
        total = np.zeros(self.shape)
        for part in self._parts():
            R = self._transposed_rows(part)
            total += R @ R.T
        total /= self.scale
        total.flags.writeable = False
        return total

    def _transposed_rows(self, at: Linearization) -> Floats:
        return _root_of(at, own_columns(at))

    def diagonal(self) -> Floats:
        return Metric.diagonal(self)


def _root_of(at: Linearization, J: Floats) -> Floats:
    """√η'' times every column of J (P, N, [S,] H): (P, N k)."""
    out, step = np.empty((len(J), at.hessian.root(J[0]).size)), max(1, _ROOT_PART // at.Z.size)
    for start in range(0, len(J), step):
        some = slice(start, start + step)
        out[some] = at.hessian.root(J[some]).reshape(-1, out.shape[1])
    return out


def check_root(size: int, at: Linearization) -> None:
    if size * at.Z.size > _ROOT_LIMIT:
        raise InputError(
            f"rank, null space and undamped solves factor a matrix of {size} x {at.Z.size} numbers, "
            f"{size * at.Z.size * 8 / 2**30:.1f} GiB: use fewer cases (a few times P are enough) or damping > 0"
        )

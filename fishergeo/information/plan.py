"""What the cases of a model contribute, block by block: the pieces of a chart, without the whole data."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..axes import Axis, Site
from ..errors import InputError
from ..families import Floats, Hessian
from ..model import GLM
from ..normalizer import Normalizer, Stage
from ..opaque import Opaque
from ..standardize import Standardize
from . import cancelled, roots
from .exact import Sums
from .pieces import Piece
from .product import product, rows_for
from .sources import Block
from .sparse import Shifted, SparsePiece
from .structure import Chart, acts_on_units, flat
from .triangular import Triangle

Arrays = list[Floats]


def join(total: Arrays, part: Arrays) -> Arrays:
    """Triangular factors of the rows of two sets of blocks, each followed by sums of squares."""
    if not total or not part:
        return total or part
    joined = [own + other for own, other in zip(total, part, strict=True)]
    for k in range(0, len(total), 2):
        triangles = []
        for R, more in zip(total[k], part[k], strict=True):
            triangle = Triangle(len(R))
            triangle.R = np.array(R, order="F")
            triangle.add(np.array(more.T))
            triangles.append(triangle.R)
        joined[k] = np.stack(triangles)
    return joined


_WEIGHTS = 1 << 25  # numbers in the weights of a piece of sparse inputs, which is as large as can be
_COMPILING = threading.Lock()  # SymPy is not made for threads


@dataclass(frozen=True)
class Affine:
    """A stage of the inputs whose statistics over all cases are known."""

    mean: Any
    sigma: Any

    @classmethod
    def of(cls, done: Any) -> Affine:
        """What a stage on cells along the cases does to each feature."""
        return cls(*(default if found is None else found[0] for found, default in ((done.mean, 0.0), (done.sigma, 1.0))))

    def __call__(self, X: Any) -> Any:
        return X.affine(self.mean, self.sigma) if isinstance(X, Shifted) else (X - self.mean) / self.sigma


@dataclass(frozen=True)
class Inputs:
    """The stages of the inputs, as far as they are known: x̂ of rows of a source."""

    normalizer: Normalizer
    stages: tuple[Standardize | Affine, ...] = ()

    def __call__(self, X: Any) -> Any:
        if not isinstance(X, np.ndarray):
            X = Shifted(X, np.zeros(X.shape[1]))
        for stage in self.stages:
            X = stage(X) if isinstance(stage, Affine) else self.normalizer._site(Site.INPUTS, (stage,), X)[0].value
        return X

    def shift(self, size: int) -> Floats:
        """What is subtracted from the numbers that are stored of sparse inputs."""
        shift = np.zeros(size)
        for stage in self.stages:
            assert isinstance(stage, Affine)
            shift = (shift + stage.mean) / stage.sigma
        return shift


def over_columns(stage: Stage, positions: bool) -> bool:
    """Whether the cells of a stage of X are the features: all cases of each, with all their positions."""
    return isinstance(stage, Standardize) and Axis.INPUT not in stage.over and acts_on_units(stage, positions)


def within_cases(stage: Stage) -> bool:
    """Whether the cells of a stage lie within one case, with its positions."""
    return not isinstance(stage, Opaque) and Axis.SAMPLE not in stage.over


def positions_of(row: tuple[int, ...]) -> int:
    """S of rows of shape (S, D); 1 of (D,)."""
    return int(np.prod(row[:-1], initial=1))


@dataclass(frozen=True)
class Plan:
    """A model whose Jacobian factors, for any of its cases: their rows have shape ``row``, (D,) or (S, D)."""

    model: GLM
    inputs: Inputs
    chart: Chart
    tail: tuple[Stage, ...]  # the stages on cases
    row: tuple[int, ...]
    sparse: bool
    dtype: type = np.float64

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "model": without_caches(self.model)}

    def sums(self) -> Sums:
        """The sums over no cases."""
        units, family = self.chart.params.units, self.model.family
        t = np.random.default_rng(0).normal(size=(1, *self.row[:-1], units))  # that a stage is defined on
        done = self.model.normalizer._site(Site.SUMMED, self.tail, t)
        mixing = None if family.mixing is None else np.asarray(family.mixing)
        hessian = Hessian(np.ones((t.size // units, units)), family.coupled, mixing)
        return Sums(self.chart, self._piece(np.zeros((1, self.row[-1])), hessian, t, done), self._flat)

    @cached_property
    def _flat(self) -> bool:
        """Whether η'' is the same number everywhere."""
        family = self.model.family
        with _COMPILING:
            free = family.coupled or self.model.curve is not None or isinstance(family.trials, tuple)
            return not free and not family.hessian_expression.free_symbols

    @property
    def diagonal(self) -> bool:
        """Whether F is block-diagonal, with a block for each unit."""
        return self.sums().diagonal

    def dense(self, block: Block) -> Arrays:
        """The number of cases in a block, and the sums over them."""
        sums, cases = self.sums(), 0
        for piece in self.pieces(block, sums.rows):
            sums.add(piece)
            cases += len(piece)
        return [np.array([float(cases)]), *sums.arrays]

    def finished(self, total: Arrays) -> Floats:
        """N φ F (P, P) from the sums over all blocks, which are used up; its blocks (H, D+2, D+2) where others are 0."""
        sums = self.sums()
        for own in reversed(sums.arrays):
            own[...] = total.pop()
        return sums.diagonal_blocks() if sums.diagonal else sums.dense()

    def product(self, block: Block, V: Floats) -> Arrays:
        """N φ F v of a block for every row v of V."""
        return [product(self.chart, [self.pieces(block, rows_for(self.chart, len(V)))], V, self.dtype)]

    def triangles(self, block: Block) -> Arrays:
        """The triangular factors of the rows √η''J of a block, in coefficients: one for each unit, or one of all.

        After them come the squares of columns of J before differences are taken, as in `cancelled`.
        """
        chart, by_unit = self.chart, not self.chart.cases and not self.model.family.coupled
        size = chart.features if by_unit else chart.params.units * (chart.features + chart.ends)
        found = [Triangle(size) for _ in range(chart.params.units if by_unit and not self._flat else 1)]
        squares: Floats = np.zeros(chart.params.weight.shape)
        for piece in self.pieces(block, max(512, size) if by_unit else size):
            squares += cancelled.squares(chart, piece)
            if not by_unit:
                found[0].add(roots.columns(chart, piece))
                continue
            phi, weights = piece.phi().T, np.sqrt(piece.hessian.d.T)
            for triangle, weight in zip(found, weights):
                triangle.add(np.multiply(phi, weight, out=np.empty(phi.shape)))
        return [np.stack([triangle.R for triangle in found]), squares]

    def rooted(self, total: Arrays) -> Floats:
        """Roots (K, P/K, m) of the blocks of N φ F from the triangular factors of all blocks."""
        R, chart, family = total[0], self.chart, self.model.family
        if chart.cases or family.coupled:
            return roots.of_columns(chart, R[0])[None]
        R = np.broadcast_to(R, (chart.params.units, *R.shape[1:]))
        if self.diagonal:
            return roots.of_blocks(chart, R)
        return roots.of_units(chart, None if family.mixing is None else np.asarray(family.mixing), R)[None]

    def pieces(self, block: Block, rows: int) -> Iterator[Piece]:
        """The cases of a block, about ``rows`` at a time."""
        compile_all(self.model)
        X, units = block.load(), self.chart.params.units
        step = max(1, rows // positions_of(self.row))
        if self.sparse:
            step = max(step, _WEIGHTS // (2 * units**2))
        for start in range(0, X.shape[0], step):
            stop = min(start + step, X.shape[0])
            try:
                yield self._cases(X[start:stop], slice(start, stop), block)
            except InputError as error:
                raise InputError(f"{block.place(start, stop - 1)}, counted from 0: {error}") from None

    def _cases(self, X: Any, rows: slice, block: Block) -> Piece:
        p, positions = self.chart.params, self.row[:-1]
        with np.errstate(all="ignore"):  # what overflows is reported by name
            Xhat, center = self.inputs(X), self.chart.center
            u = Xhat if self.sparse else Xhat.reshape(-1, self.row[-1])
            if center is not None:
                u = Shifted(u.X, u.shift + center) if self.sparse else u - center
            slopes, constant = self.chart.value[:, :-1], self.chart.value[:, -1:]
            if self.sparse:
                value = (u.X @ slopes.T).T + (constant - (slopes @ u.shift)[:, None])
            else:
                value = slopes @ u.T + constant
            t = value.T.reshape(-1, *positions, p.units)
        done = self.model.normalizer._site(Site.SUMMED, self.tail, t)
        t = done[-1].value if done else t
        with np.errstate(all="ignore"):
            Z = (t if p.gain is None else p.gain * t) + p.bias
        return self._piece(u.X if self.sparse else u, with_trials(self.model, rows, block).predict(Z).hessian, t, done)

    def _piece(self, X: Any, hessian: Hessian, t: Floats, done: Any) -> Piece:
        units = self.chart.params.units
        d, value = (np.asfortranarray(array.reshape(-1, units)) for array in (hessian.d, t))
        stages = tuple(flat(stage, t.shape) for stage in done)
        given = (self.chart.constant, replace(hessian, d=d), value, stages, self.dtype)
        return SparsePiece(X, self._shift, *given) if self.sparse else Piece(X, None, *given)

    @cached_property
    def _shift(self) -> Floats:
        shift = self.inputs.shift(self.row[-1])
        return shift if self.chart.center is None else shift + self.chart.center


def compile_all(model: GLM) -> None:
    """The functions of family and link, which SymPy finds."""
    with _COMPILING:
        _ = model.family._compiled, model.curve


def with_trials(model: GLM, rows: slice, block: Block) -> GLM:
    """A model whose trials are those of some rows of a block; what is compiled is shared."""
    family = model.family
    if not isinstance(family.trials, tuple):
        return model
    if block.start is None:
        raise InputError(f"{block.source}: trials of each case need the sizes of the blocks; give one number of trials")
    changed = copy(family)
    object.__setattr__(changed, "trials", family.trials[block.start + rows.start : block.start + rows.stop])
    whole = copy(model)
    object.__setattr__(whole, "family", changed)
    return whole


def without_caches(model: GLM) -> GLM:
    """The same model without what has been compiled, which cannot be sent to another process."""
    return replace(model, family=replace(model.family))

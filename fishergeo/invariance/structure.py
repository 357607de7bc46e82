"""A model seen from its weights: the cells of its standardizations, and how the data split along them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from ..axes import Axis, Site
from ..families import Floats
from ..model import Linearization
from ..normalizers import Done
from ..standardize import Scale, Standardized

Labels = NDArray[np.intp]

_ROUNDING = 1e-9  # relative size below which a coordinate, a residual or a singular value counts as 0
_CERTAIN = 1e-12  # standard deviation of an outcome, relative to the largest, below which it counts as certain


@dataclass(frozen=True)
class Cells:
    """A standardization of the summed inputs as a function of the weights.

    Its input is X̂Vᵀ with V = ``weight`` (H, D), up to a constant of each unit, and ``pull`` dV is the change of W that
    brings dV about.  A cell is a set of units, a row of ``blocks`` (k, H), times a set of cases (and positions), those
    with one number in ``rows`` (N,).  ``entering`` (k, H) are the units of ``blocks`` whose moments are taken; ``sigma``
    (N, H) is None where nothing is divided.
    """

    X: Floats
    weight: Floats
    pull: Floats
    sigma: Floats | None
    center: bool
    blocks: Floats
    entering: Floats
    rows: Labels

    @property
    def single(self) -> bool:
        """Whether every case has cells of its own."""
        return len(np.unique(self.rows)) == len(self.rows)

    @property
    def centered_inputs(self) -> Floats:
        """X̂ less its mean over the cases of a cell."""
        _, which, counts = np.unique(self.rows, return_inverse=True, return_counts=True)
        sums = np.zeros((len(counts), self.X.shape[1]))
        np.add.at(sums, which, self.X)
        return self.X - (sums / counts[:, None])[which]

    @property
    def centered_weight(self) -> Floats:
        """V less its mean over the units of a cell, where each case has cells of its own: what Â is made of."""
        if not (self.center and self.single):
            return self.weight
        mean = self.entering @ self.weight / self.entering.sum(axis=1, keepdims=True)
        return self.weight - self.blocks.T @ mean

    @property
    def shifts(self) -> Floats:
        """A basis (k, D) of the u with X̂u constant over the cases of every cell."""
        return kernel(self.centered_inputs, norms(self.X))

    @property
    def inputs(self) -> Floats:
        """X̂, centered where cells of one unit are: they remove a constant of each unit."""
        return self.centered_inputs if self.center and len(self.blocks) == self.blocks.shape[1] else self.X

    @cached_property
    def parts(self) -> Floats:
        """The projections (k, D, D) on the parts of the inputs."""
        return parts(self.inputs, self.rows, norms(self.X))

    @property
    def shared_functions(self) -> Floats:
        """Changes dV (k, H, D) with X̂dv_h = σ_h X̂u for one u on a part of the inputs: Â of every unit changes by X̂u."""
        if self.sigma is None or len(self.parts) < 2:
            return np.zeros((0, *self.weight.shape))
        values = self.inputs @ np.concatenate(list(self.parts), axis=1)
        return slopes(self.inputs, (values[:, :, None] * self.sigma[:, None, :]).reshape(len(values), -1)).reshape(
            -1, *self.weight.shape
        )


@dataclass(frozen=True)
class Structure:
    """What the generators of the null space are made from, at one point (`Linearization`)."""

    at: Linearization

    @property
    def units(self) -> int:
        return self.at.params.units

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weights, (H, D)."""
        return self.at.params.weight.shape

    @property
    def X(self) -> Floats:
        """X̂ with positions as cases, (N, D)."""
        return self.at.normalized.Xhat.reshape(-1, self.at.params.inputs)

    @cached_property
    def shown(self) -> NDArray[np.bool_]:
        """Which outputs (N, H) have an outcome that is not certain, up to rounding."""
        d = self.at.hessian.d.reshape(-1, self.units)
        mask = d > _CERTAIN**2 * d.max()
        # a category that is the only one that can occur is certain
        return mask & (mask.sum(axis=1, keepdims=True) > 1) if self.at.model.family.coupled else mask

    @cached_property
    def pull(self) -> Floats:
        """(H, D): the change of W that brings dŴ about is this times dŴ, if there is one."""
        return self._weights[1]

    @property
    def weight_cells(self) -> list[Floats]:
        """For every standardization of the weights, the changes of W (k, H, D) that scale or shift one of its cells."""
        return self._weights[0]

    @cached_property
    def _weights(self) -> tuple[list[Floats], Floats]:
        found, pull, V = [], np.ones(self.shape), self.at.params.weight
        for stage, done in zip(self.at.model.normalizer.weight, self.at.normalized.weight, strict=True):
            units, inputs = _runs(stage, Site.WEIGHT.layout(2), V.shape)
            cells = np.add.outer(units * V.shape[1], inputs)
            masks = np.unique(cells)[:, None, None] == cells
            found += [pull * masks * t for t in ([V] if stage.scale is not Scale.NONE else []) + [1.0] * stage.center]
            pull, V = pull if done.sigma is None else pull * done.sigma, done.value
        return found, pull

    @cached_property
    def cells(self) -> list[Cells]:
        """The standardizations of the summed inputs, on cases whose outcome is not certain.

        What comes after a σ of each case is not affine in x̂, except on parts of the inputs of one dimension; cells of
        several units are then taken case by case.
        """
        found, affine, past = [], True, np.ones((1, 1))
        kept = self.shown.any(axis=1)
        V, pull, T = self.at.normalized.What, self.pull, self.at.normalized.A
        for stage, done in zip(self.at.model.normalizer.summed, self.at.normalized.summed, strict=True):
            *places, units = _runs(stage, Site.SUMMED.layout(T.ndim), T.shape)
            rows = places[0] if T.ndim == 2 else np.add.outer(places[0] * T.shape[1], places[1]).ravel()
            blocks = (np.unique(units)[:, None] == units).astype(float)
            sigma = None if done.sigma is None else np.broadcast_to(done.sigma, T.shape).reshape(-1, self.units)
            if stage.over and kept.any() and (affine or len(blocks) < self.units):
                rows = rows if affine else np.arange(len(rows))
                spread = None if sigma is None else (past * sigma)[kept]
                entering = blocks * _units_that_enter(done)
                found.append(Cells(self.X[kept], V, pull, spread, stage.center, blocks, entering, rows[kept]))
            if not all(t is None or np.prod(np.shape(t)[:-1]) == 1 for t in (done.mean, done.sigma)):
                affine, past = False, past if sigma is None else past * sigma
            if affine:
                mean = 0 if done.mean is None else np.ravel(done.mean)[:, None]
                V = (V - mean * slopes(self.X, np.ones((len(self.X), 1)))) / _of_unit(done.sigma)
                pull = pull * _of_unit(done.sigma)
            T = done.value
        return found

    def kinds(self, cases: int) -> Labels:
        """Numbers of the ``cases`` that are equal where they use the same parts of the inputs, in the same statistics.

        Statistics of so few cases that their x̂ are affinely independent tell nothing about the x̂ they may be of.
        """
        marks, kept = [np.zeros((cases, 1))], np.asarray(self.shown.any(axis=1))
        for found in self.cells:
            used = np.zeros((len(kept), len(found.parts)))
            for k, P in enumerate(found.parts):
                size = np.linalg.norm(found.inputs @ P, axis=1)
                used[kept, k] = size > _ROUNDING * size.max(initial=0.0)
            marks.append(used.reshape(cases, -1))
            groups = set(found.rows.tolist())
            if len(groups) < cases and not any(_independent(found.X[found.rows == g]) for g in groups):
                of_case = np.zeros(len(kept))
                of_case[kept] = 1 + found.rows
                marks.append(of_case.reshape(cases, -1))
        return np.unique(np.concatenate(marks, axis=1), axis=0, return_inverse=True)[1].ravel()

    @cached_property
    def to_logits(self) -> Floats:
        """(H, D): this times u adds u·x̂ to the logit of a unit, up to what is standardized away; 0 if its gain is 0."""
        pull = self.pull
        for done in self.at.normalized.summed:
            pull = pull * _of_unit(done.sigma)
        return pull * self.over_gain

    @property
    def over_gain(self) -> Floats:
        """1/g_h (H, 1), 0 where g_h = 0; 1 for a model without gain."""
        gain = np.ones(self.units) if self.at.params.gain is None else self.at.params.gain
        return np.divide(1, gain, out=np.zeros_like(gain), where=gain != 0)[:, None]


def _independent(X: Floats) -> bool:
    """Whether the distinct rows of X are affinely independent."""
    rows = np.unique(X, axis=0)
    return len(rows) - 1 <= len(rows.T) - len(kernel(rows - rows[0], norms(X)))


def _runs(stage: object, layout: tuple[Axis, ...], shape: Sequence[int]) -> list[Labels]:
    """For every axis, numbers that are equal where entries of a cell differ along it."""
    over, groups = getattr(stage, "over", ()), dict(getattr(stage, "groups", ()))
    parts = [groups.get(axis, 1) if axis in over else size for axis, size in zip(layout, shape, strict=True)]
    return [np.arange(size) * count // size for size, count in zip(shape, parts, strict=True)]


def _units_that_enter(done: Done) -> Floats:
    """1 for the units that enter the moments of their cell, 0 for others; a single number where all do."""
    share = done.cells.share if isinstance(done, Standardized) else None
    return np.ones(1) if share is None or share.ndim > 1 else share


def _of_unit(sigma: Floats | None) -> Floats:
    """σ of each unit (H, 1); 1 where σ depends on the case, which no change of weights can follow."""
    if sigma is None or np.prod(np.shape(sigma)[:-1]) != 1:
        return np.ones((1, 1))
    return np.ravel(sigma)[:, None]


def norms(X: Floats) -> Floats:
    """The norms of the columns of X, 1 where a column is 0."""
    found = np.linalg.norm(X, axis=0)
    found[found == 0] = 1
    return found


def slopes(X: Floats, B: Floats) -> Floats:
    """The u (k, D) with Xu = b for those columns b of B that are linear functions of the rows of X; 0 for the others."""
    scale = norms(X)
    U = np.linalg.lstsq(X / scale, B, rcond=None)[0] / scale[:, None]
    fits = np.abs(X @ U - B).max(axis=0) <= _ROUNDING * np.abs(B).max(axis=0)
    return (U * fits).T


def kernel(X: Floats, scale: Floats) -> Floats:
    """A basis (k, D) of the u with Xu = 0, columns of X divided by ``scale``."""
    _, s, Vt = np.linalg.svd(np.linalg.qr(X / scale, mode="r"), full_matrices=True)
    return Vt[_rank(s, X.shape) :] / scale


def _rank(s: Floats, shape: Sequence[int]) -> int:
    return int((s > max(shape) * np.finfo(float).eps * max(1.0, s.max(initial=0.0))).sum())


def parts(X: Floats, labels: Labels, scale: Floats) -> Floats:
    """The projections P_i (k, D, D) on the parts of the inputs, columns of X divided by ``scale``.

    The parts are the finest splitting of the span of the rows of X into a direct sum in which all rows with one label
    lie in one summand: xP_i is x for the rows of part i, 0 for the others.  Rows of a basis belong to one part when rows
    with one label need both; any basis gives the same parts.
    """
    scaled = X / scale
    R, order = qr(scaled.T, mode="r", pivoting=True)
    rank = _rank(np.abs(np.diag(R)), X.shape)
    basis = scaled[order[:rank]]
    dual = np.linalg.pinv(basis)
    needs = np.abs(scaled @ dual)
    cases, members = np.nonzero(needs > _ROUNDING * needs.max(axis=1, keepdims=True, initial=0.0))
    _, groups = np.unique(labels, return_inverse=True)
    size = rank + len(X)
    graph = csr_array((np.ones(len(cases)), (members, rank + groups[cases])), shape=(size, size))
    part = connected_components(graph, directed=False)[1][:rank]
    found = [(dual[:, part == k] @ basis[part == k]) * scale / scale[:, None] for k in np.unique(part)]
    return np.reshape(found, (-1, X.shape[1], X.shape[1]))


def rank_one(M: Floats) -> Floats | None:
    """c with M = c wᵀ, up to rounding; None if M has another rank."""
    U, s, _ = np.linalg.svd(M, full_matrices=False)
    return U[:, 0] if s[0] > 0 and (s[1:] <= _ROUNDING * s[0]).all() else None

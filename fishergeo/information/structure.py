r"""How a Jacobian factors: which stages act on each unit over all cases, and which on each case over the units.

A stage whose cells hold all cases of one unit maps functions of the form a_n = φ_n·y, φ_n = [x̂_n - c; 1], to such functions:
on the coefficients y (D + 1) it is y -> (y - e y_e - r (q·y))/σ, the one formula of the primitive with the moments
q = E[t̂ φ].  A stage whose cells lie within one case is a matrix M_n for each case.  Cells decide which is which.  If the
former come first, then

    J_n = M_n ⊗ φ_nᵀ · T,     F_ww = Tᵀ E[(M_nᵀ η''_n M_n) ⊗ φ_n φ_nᵀ] T

and what depends on the weights alone, T, acts once, after the mean over the cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..axes import Axis
from ..families import Floats, Hessian
from ..frozen import Frozen
from ..model import Linearization
from ..normalizer import Done, Stage
from ..params import Params
from ..standardize import Scale, Standardize, Standardized

Units = slice | NDArray[np.intp]
ALL = slice(None)
_ROWS = 1024


def acts_on_units(stage: Stage, positions: bool) -> bool:
    """Whether the cells of a stage of A are the units: all cases of each, with all their positions."""
    if isinstance(stage, Frozen):
        return stage.positions is None
    if not isinstance(stage, Standardize) or stage.groups or stage.first is not None or stage.scale is Scale.NORM:
        return False
    return Axis.SAMPLE in stage.over and Axis.UNIT not in stage.over and (Axis.POSITION in stage.over or not positions)


def acts_on_cases(stage: Stage, positions: bool) -> bool:
    """Whether the cells of a stage of A lie within one case, at one position."""
    if isinstance(stage, Frozen):
        return True
    within = {Axis.UNIT} if positions else {Axis.UNIT, Axis.POSITION}
    return isinstance(stage, Standardize) and stage.over <= within


def split(stages: Sequence[Stage], positions: bool) -> int | None:
    """How many stages act on units before all others act on cases; None where they do not come in that order."""
    first = next((k for k, stage in enumerate(stages) if not acts_on_units(stage, positions)), len(stages))
    return first if all(acts_on_cases(stage, positions) for stage in stages[first:]) else None


@dataclass(frozen=True)
class UnitStage:
    """The tangent of a stage on coefficients: dt̂ = φ·y' for dt = φ·y, with t̂ = φ·r and q = E[t̂ φ] (H, D+1)."""

    r: Floats
    q: Floats | None  # None where the statistics are frozen, or nothing is divided by
    sigma: Floats  # (H, 1)
    center: bool

    def tangent(self, y: Floats) -> Floats:
        """y' for coefficients y (..., H, D+1)."""
        y = self._centered(y / self.sigma)
        return y if self.q is None else y - self.r * (self.q * y).sum(axis=-1, keepdims=True)

    def adjoint(self, y: Floats, units: Units = ALL) -> Floats:
        """The adjoint of `tangent`, for some of the units: (..., K, D+1)."""
        if self.q is not None:
            y = y - self.q[units] * (y * self.r[units]).sum(axis=-1, keepdims=True)
        return self._centered(y / self.sigma[units])

    def _centered(self, y: Floats) -> Floats:
        if self.center:
            y[..., -1] = 0
        return y


@dataclass(frozen=True)
class Factors:
    """The factors of the Jacobian of a model at its parameters: φ, the stages on units and the stages on cases.

    Positions are cases here: X̂ (N, D), Â (N, H), whose columns are contiguous.
    """

    params: Params
    X: Floats
    center: Floats | None  # c
    units: tuple[UnitStage, ...]
    cases: tuple[Standardized, ...]
    weight: tuple[Done, ...]
    weight_mixes: bool  # whether a stage of the weights has cells with several units
    predictor: Floats  # the coefficients (H, D+1) of Â, where no stage acts on cases
    value: Floats
    hessian: Hessian
    scale: float  # Nφ

    @property
    def constant(self) -> bool:
        """Whether φ has a constant: where b and g are coefficients too, or a stage of units comes first."""
        return bool(self.units) or not self.cases

    @property
    def features(self) -> int:
        """The length of φ."""
        return self.X.shape[1] + self.constant

    @cached_property
    def inputs(self) -> Floats:
        """X̂ - c."""
        return self.X if self.center is None else self.X - self.center

    def phi(self, rows: slice) -> Floats:
        """φ (n, D+1) of some cases."""
        X = self.X[rows]
        if not self.constant:
            return X
        phi = np.empty((len(X), self.features))
        phi[:, -1] = 1
        if self.center is None:
            phi[:, :-1] = X
        else:
            np.subtract(X, self.center, out=phi[:, :-1])
        return phi

    def push(self, W: Floats) -> Floats:
        """The coefficients (..., H, m) of the change of the units' values for a change (..., H, D) of the weights."""
        for stage in self.weight:
            W = stage.tangent(W)
        if not self.constant:
            return W
        y = np.zeros((*W.shape[:-1], self.features))
        y[..., :-1] = W
        if self.center is not None:
            y[..., -1] = W @ self.center
        for unit in self.units:
            y = unit.tangent(y)
        return y

    def pull(self, y: Floats, units: Units = ALL) -> Floats:
        """The adjoint of `push` for some of the units, (..., K, m) -> (..., K, D); weights that mix units are left out."""
        for unit in reversed(self.units):
            y = unit.adjoint(y, units)
        if self.constant:
            last = y[..., -1:]
            y = y[..., :-1]
            if self.center is not None:
                y = y + last * self.center
        return y if self.weight_mixes else self.mix(y, units)

    def mix(self, W: Floats, units: Units = ALL) -> Floats:
        """The adjoint of the stages of the weights."""
        for stage in reversed(self.weight):
            W = (stage if units is ALL else _units(stage, units)).adjoint(W)
        return W

    def side(self, y: Floats, units: Units = ALL) -> Floats:
        """The adjoint of `push`, and where no stage acts on cases of b and g too: (..., K, m) -> (..., K, D[+2])."""
        gain = self.params.gain
        if self.cases:
            return self.pull(y, units)
        if gain is None and not self.weight and not self.units:
            return y
        out = np.empty((*y.shape[:-1], self.X.shape[1] + 1 + (gain is not None)))
        columns = self.X.shape[1]
        out[..., :columns] = self.pull(y if gain is None else y * gain[units, None], units)
        out[..., columns] = y[..., -1]
        if gain is not None:
            out[..., -1] = (y * self.predictor[units]).sum(axis=-1)
        return out



def _units(stage: Any, units: Units) -> Standardized:
    """A stage of the weights for some of the units."""

    def part(array: Any) -> Any:
        return array if array is None or np.ndim(array) == 0 else array[units]

    return replace(
        stage, value=part(stage.value), mean=part(stage.mean), sigma=part(stage.sigma), ratio=part(stage.ratio)
    )


def cut(stage: Standardized, rows: slice) -> Standardized:
    """A stage of A for some of the cases."""

    def part(array: Any) -> Any:
        whole = array is None or np.ndim(array) < 2 or len(array) == 1
        return array if whole else array[rows]

    return replace(
        stage, value=part(stage.value), mean=part(stage.mean), sigma=part(stage.sigma), ratio=part(stage.ratio)
    )


def _coefficients(What: Floats, center: Floats | None) -> Floats:
    last = np.zeros((len(What), 1)) if center is None else What @ center[:, None]
    return np.concatenate([What, last], axis=1)


def factors(at: Linearization) -> Factors | None:
    """The factors of a model's Jacobian; None where stages do not come in the order that factors."""
    normalized, stages = at.normalized, at.model.normalizer.summed
    positions = normalized.A.ndim == 3
    first = split(stages, positions)
    if first is None:
        return None
    shape = normalized.A.shape
    X = normalized.Xhat.reshape(-1, normalized.Xhat.shape[-1])
    done = normalized.summed
    fixed = all(isinstance(stage, Frozen) for stage in stages[:first])
    center = None if fixed else X.mean(axis=0)
    r, units = _coefficients(normalized.What, center), []
    for stage in done[:first]:
        assert isinstance(stage, Standardized)
        units.append(_unit_stage(stage, r, X, center))
        r = units[-1].r
    weights = at.model.normalizer.weight
    return Factors(
        at.params,
        X,
        center,
        tuple(units),
        tuple(_flat(stage, shape) for stage in done[first:]),
        normalized.weight,
        any(not isinstance(stage, Standardize) or Axis.UNIT in stage.over for stage in weights),
        r,
        np.asfortranarray(normalized.value.reshape(-1, shape[-1])),
        at.hessian._replace(d=np.asfortranarray(at.hessian.d.reshape(-1, shape[-1]))),
        at.cases * at.model.dispersion,
    )


def _unit_stage(stage: Standardized, r: Floats, X: Floats, center: Any) -> UnitStage:
    """A stage on coefficients, from its run on A; ``r`` are the coefficients of its argument."""
    H = len(r)
    r = r.copy()
    if stage.mean is not None:
        r[:, -1] -= np.broadcast_to(stage.mean, (*stage.mean.shape[:-1], H)).reshape(H)
    sigma = np.ones((H, 1))
    if stage.sigma is not None:
        sigma = np.broadcast_to(stage.sigma, (*np.shape(stage.sigma)[:-1], H)).reshape(H, 1)
    r /= sigma
    if stage.frozen or stage.sigma is None:
        return UnitStage(r, None, sigma, stage.mean is not None and not stage.frozen)
    value = stage.value.reshape(-1, H)
    mean, along = value.mean(axis=0), np.zeros((H, X.shape[1]))
    for start in range(0, len(X), _ROWS):
        rows = slice(start, start + _ROWS)
        along += value[rows].T @ (X[rows] - center)  # differences first, so that a large offset costs no digits
    along /= len(X)
    ratio = np.broadcast_to(stage.ratio, (*np.shape(stage.ratio)[:-1], H)).reshape(H, 1)
    q = np.concatenate([along, mean[:, None]], axis=1) * ratio
    if stage.mean is not None:
        r[:, -1] = q[:, -1] = 0
    return UnitStage(r, q, sigma, stage.mean is not None)


def _flat(stage: Any, shape: tuple[int, ...]) -> Standardized:
    """A stage with the positions laid out as cases, each unit contiguous."""

    def flat(array: Any) -> Any:
        if array is None or np.ndim(array) < 2:
            return array
        if len(shape) == 3:
            array = np.broadcast_to(array, (*shape[:-1], array.shape[-1])).reshape(-1, array.shape[-1])
        return np.asfortranarray(array)

    return replace(stage, value=flat(stage.value), mean=flat(stage.mean), sigma=flat(stage.sigma), ratio=flat(stage.ratio))

r"""How a Jacobian factors: which stages act on each unit over all cases, and which on each case over the units.

A stage whose cells hold all cases of one unit maps functions of the form a_n = φ_n·y, φ_n = [x̂_n - c; 1], to such
functions: on the coefficients y (D + 1) it is y -> (y - e y_e - r (q·y))/σ, the one formula of the primitive with the
moments q = E[t̂ φ].  A stage whose cells lie within one case is a matrix M_n for each case.  Cells decide which is which.
If the former come first, then

    J_n = M_n ⊗ φ_nᵀ · T,     F_ww = Tᵀ E[(M_nᵀ η''_n M_n) ⊗ φ_n φ_nᵀ] T

and what depends on the weights alone, the `Chart` T, acts once, after the mean over the cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..axes import Axis
from ..families import Floats
from ..frozen import Frozen
from ..normalizer import Done, Normalizer, Stage
from ..params import Params
from ..standardize import Scale, Standardize, Standardized

Units = slice | NDArray[np.intp]
ALL = slice(None)
_LARGE = 1 << 17  # numbers in an array that is pulled back at once: 1 MiB


def acts_on_units(stage: Stage, positions: bool) -> bool:
    """Whether the cells of a stage of A are the units: all cases of each, with all their positions."""
    if type(stage) is Frozen:
        return stage.positions is None
    if type(stage) is not Standardize or stage.groups or stage.first is not None or stage.scale is Scale.NORM:
        return False
    return Axis.SAMPLE in stage.over and Axis.UNIT not in stage.over and (Axis.POSITION in stage.over or not positions)


def acts_on_cases(stage: Stage, positions: bool) -> bool:
    """Whether the cells of a stage of A lie within one case, at one position."""
    if type(stage) is Frozen:
        return True
    within = {Axis.UNIT} if positions else {Axis.UNIT, Axis.POSITION}
    return type(stage) is Standardize and stage.over <= within


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
class Chart:
    """The factor T of the Jacobian of a model at its parameters: all that is the same for every case."""

    params: Params
    center: Floats | None  # c
    units: tuple[UnitStage, ...]
    cases: bool  # whether stages on cases follow
    weight: tuple[Done, ...]
    mixes: bool  # whether a stage of the weights has cells with several units
    value: Floats  # the coefficients (H, m) of what the stages on units leave; of Â, where no others follow

    @property
    def inputs(self) -> int:
        """D."""
        return self.params.inputs

    @property
    def constant(self) -> bool:
        """Whether φ has a constant: where b and g are coefficients too, or a stage of units comes first."""
        return bool(self.units) or not self.cases

    @property
    def features(self) -> int:
        """m, the length of φ: D or D + 1."""
        return self.inputs + self.constant

    @property
    def ends(self) -> int:
        """How many parameters of a unit, of b and g, come after the stages on cases, not by way of coefficients."""
        return self.cases * (1 + (self.params.gain is not None))

    def push(self, W: Floats) -> Floats:
        """T: the coefficients (..., H, m) for a change (..., H, D) of the weights."""
        for stage in self.weight:
            W = stage.tangent(W)
        y = coefficients(W, self.center, self.constant)
        for unit in self.units:
            y = unit.tangent(y)
        return y

    def coefficients(self, v: Params) -> Floats:
        """`push`, with what b and g add where no stage on cases stands between: (..., H, m) for a change ``v``."""
        y = self.push(v.weight)
        if not self.cases:
            if self.params.gain is not None:
                assert v.gain is not None
                y = self.params.gain[:, None] * y + v.gain[..., None] * self.value
            y[..., -1] += v.bias
        return y

    def pull(self, y: Floats, units: Units = ALL) -> Floats:
        """Tᵀ for some of the units, (..., K, m) -> (..., K, D); weights that are mixed are left to `mix`."""
        for unit in reversed(self.units):
            y = unit.adjoint(y, units)
        if self.constant:
            last = y[..., -1:]
            y = y[..., :-1]
            if self.center is not None:
                y = y + last * self.center
        return y if self.mixes else self.mix(y, units)

    def mix(self, W: Floats, units: Units = ALL) -> Floats:
        """The adjoint of the stages of the weights."""
        for stage in reversed(self.weight):
            W = (stage if units is ALL else _of_units(stage, units)).adjoint(W)
        return W

    def side(self, y: Floats, units: Units = ALL) -> Floats:
        """`pull`, with b and g where no stage on cases stands between: (..., K, m) -> (..., K, D), (..., K, D+2)."""
        gain, D = self.params.gain, self.inputs
        if self.cases:
            return self.pull(y, units)
        if gain is None and not self.weight and not self.units:
            return y
        out = np.empty((*y.shape[:-1], D + 1 + (gain is not None)))
        if isinstance(y, np.ndarray) and y.ndim == 3 and len(y) > 1 and y.size > _LARGE:  # some rows at a time, in cache
            step = max(1, _LARGE * len(y) // y.size)
            for start in range(0, len(y), step):
                out[start : start + step] = self.side(y[start : start + step], units)
            return out
        out[..., :D] = self.pull(y if gain is None else y * gain[units, None], units)
        out[..., D] = y[..., -1]
        if gain is not None:
            out[..., -1] = (y * self.value[units]).sum(axis=-1)
        return out

    def adjoint(self, y: Floats, ends: Floats | None = None) -> Floats:
        """Tᵀ: vectors (k, P) for coefficients (k, H, m); ``ends`` (k, H, 2) are of b and g after stages on cases."""
        out, D = self.side(y), self.inputs
        if self.mixes:
            out = np.concatenate([self.mix(out[..., :D]), out[..., D:]], axis=-1)
        if self.ends:
            assert ends is not None
            out = np.concatenate([out, ends], axis=-1)
        return out.reshape(len(y), -1)


def coefficients(W: Floats, center: Floats | None, constant: bool = True) -> Floats:
    """The coefficients (..., H, m) of X̂ Wᵀ with φ = [x̂ - c; 1]."""
    if not constant:
        return W
    y = np.zeros((*W.shape[:-1], W.shape[-1] + 1))
    y[..., :-1] = W
    if center is not None:
        y[..., -1] = W @ center
    return y


def unit_stage(stage: Standardized, r: Floats, along: Floats | None, mean: Floats | None) -> UnitStage:
    """A stage on coefficients, from its statistics; ``r`` are the coefficients of its argument.

    ``along`` (H, D) and ``mean`` (H,) are the moments E[t̂ u] and E[t̂] over the cases, u = x̂ - c.
    """
    H = len(r)

    def column(array: Any) -> Floats:
        return np.broadcast_to(array, (*np.shape(array)[:-1], H)).reshape(H, 1)

    sigma = np.ones((H, 1)) if stage.sigma is None else column(stage.sigma)
    r = r.copy()
    if stage.mean is not None:
        r[:, -1:] -= column(stage.mean)
    r /= sigma
    center = stage.mean is not None and not stage.frozen
    if center:
        r[:, -1] = 0
    if stage.frozen or stage.sigma is None:
        return UnitStage(r, None, sigma, center)
    assert along is not None and mean is not None
    q = np.concatenate([along, np.zeros((H, 1)) if center else mean[:, None]], axis=1)
    return UnitStage(r, q * column(stage.ratio), sigma, center)


def weights_mix(normalizer: Normalizer) -> bool:
    """Whether a stage of the weights has cells with several units."""
    return any(not isinstance(stage, Standardize) or Axis.UNIT in stage.over for stage in normalizer.weight)


def _of_units(stage: Any, units: Units) -> Standardized:
    """A stage of the weights for some of the units."""
    return _parts(stage, lambda array: array if array is None or np.ndim(array) == 0 else array[units])


def of_cases(stage: Standardized, rows: slice) -> Standardized:
    """A stage of A for some of the cases."""
    return _parts(stage, lambda t: t if t is None or np.ndim(t) < 2 or len(t) == 1 else t[rows])


def flat(stage: Any, shape: tuple[int, ...]) -> Standardized:
    """A stage of A (N, [S,] H) with the positions laid out as cases, each unit contiguous."""

    def part(array: Any) -> Any:
        if array is None or np.ndim(array) < 2:
            return array
        if len(shape) == 3:
            array = np.broadcast_to(array, (*shape[:-1], array.shape[-1])).reshape(-1, array.shape[-1])
        return np.asfortranarray(array)

    return _parts(stage, part)


def _parts(stage: Any, part: Any) -> Standardized:
    return replace(
        stage, value=part(stage.value), mean=part(stage.mean), sigma=part(stage.sigma), ratio=part(stage.ratio)
    )

r"""Statistics over all cases, from blocks: means and centered second moments that merge without loss of digits.

For the summed inputs a = Ŵx̂ of a block of n cases, about their own means: x̄ = E[x̂], Σ a², Σ a (x̂ - x̄)ᵀ.  Two blocks merge
by (δ the difference of their means of x̂)

    n = n₁ + n₂,  x̄ = x̄₁ + δ n₂/n,  Σ a² = Σ₁ + Σ₂ + (Ŵδ)² n₁n₂/n,  Σ a (x̂ - x̄)ᵀ = Σ₁ + Σ₂ + Ŵδ δᵀ n₁n₂/n

Source: Chan, Golub, LeVeque 1983, The American Statistician 37(3).  Of a stage with the cells of one unit, mean and mean
square are all that counts: it runs, as it is defined, on two cases that have them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..axes import Axis, Site
from ..families import Floats
from ..normalizer import Normalizer, Stage
from .sparse import Shifted
from .structure import UnitStage, coefficients, unit_stage

Arrays = list[Floats]
_ROWS = 2048  # cases that stay in the cache


@dataclass(frozen=True)
class Moments:
    """The moments of x̂ and of a = W x̂ over the cases; of the features themselves where there is no W.

    A state is [the sizes of the blocks, x̄ (D,), Σ a² (H,) (of the features: (D,)), Σ a (x̂ - x̄)ᵀ (H, D)].
    """

    prepare: Callable[[Any], Any]  # x̂ from the rows of a source
    W: Floats | None
    positions: int = 1

    def partial(self, block: Any) -> Arrays:
        """The state of a block."""
        X = self.prepare(block.load())
        n = len(X) if isinstance(X, np.ndarray) else X.shape[0]
        D = X.shape[-1]
        if n == 0:
            mean, square, along = np.zeros(D), np.zeros(D if self.W is None else len(self.W)), self._along(D)
        elif isinstance(X, Shifted):
            mean, square, along = self._sparse(X)
        else:
            mean, square, along = self._dense(X.reshape(-1, D))
        return [np.array([float(n)]), mean, square, along]

    def combine(self, total: Arrays, part: Arrays) -> Arrays:
        """The state of both together."""
        (sizes, mean, square, along), (more, other, squares, alongs) = total, part
        n, m = sizes.sum(), more.sum()
        if n == 0 or m == 0:
            moments = [mean, square, along] if m == 0 else [other, squares, alongs]
            return [np.concatenate([sizes, more]), *moments]
        delta = other - mean
        moved = delta if self.W is None else self.W @ delta
        share = n * m / (n + m) * self.positions
        along = along + alongs
        if self.W is not None:
            along += np.outer(moved, delta) * share
        return [np.concatenate([sizes, more]), mean + delta * (m / (n + m)), square + squares + moved**2 * share, along]

    def _along(self, D: int) -> Floats:
        return np.zeros((0 if self.W is None else len(self.W), D))

    def _dense(self, X: Floats) -> tuple[Floats, Floats, Floats]:
        mean, total = X[0].copy(), np.zeros(X.shape[1])
        pieces = [X[start : start + _ROWS] for start in range(0, len(X), _ROWS)]
        for piece in pieces:
            total += (piece - mean).sum(axis=0)  # differences first, so that a large offset costs no digits
        mean += total / len(X)
        along, left = self._along(X.shape[1]), np.zeros_like(mean)
        square = np.zeros(X.shape[1] if self.W is None else len(self.W))
        for piece in pieces:
            u = piece - mean
            left += u.sum(axis=0)
            a = u if self.W is None else u @ self.W.T
            square += np.einsum("nh,nh->h", a, a)
            if self.W is not None:
                along += a.T @ u
        left /= len(X)  # what rounding left of the mean
        moved = left if self.W is None else self.W @ left
        square -= len(X) * moved**2
        if self.W is not None:
            along -= len(X) * np.outer(moved, left)
        return mean + left, square, along

    def _sparse(self, X: Shifted) -> tuple[Floats, Floats, Floats]:
        n, values = X.shape[0], X.X
        mean = np.asarray(values.sum(axis=0)).ravel() / n
        if self.W is None:
            filled = np.bincount(values.indices, minlength=len(mean))
            square = np.bincount(values.indices, (values.data - mean[values.indices]) ** 2, minlength=len(mean))
            return mean - X.shift, square + (n - filled) * mean**2, self._along(len(mean))
        a = values @ self.W.T - self.W @ mean
        along = (values.T @ a).T - np.outer(a.sum(axis=0), mean)
        return mean - X.shift, (a * a).sum(axis=0), along


def stage_on(stage: Stage, mean: Floats, spread: Floats, layout: tuple[Axis, ...], who: str) -> Any:
    """A stage with cells along the first axis, from the mean and the root mean square deviation of each cell.

    Raises `InputError` where σ = 0, as on the cases themselves.
    """
    done: Any = stage(np.stack([mean + spread, mean - spread]), layout, who)
    if done.mean is None or done.frozen:
        return done
    around: Any = stage(np.stack([spread, -spread]), layout, who)  # a large mean costs no digits
    return replace(around, mean=mean[None])


def unit_stages(
    stages: Sequence[Stage], normalizer: Normalizer, What: Floats, moments: Arrays | None, entries: int
) -> tuple[tuple[UnitStage, ...], Floats]:
    """Stages that act on units, and the coefficients of what they leave; no moments where their statistics are given.

    ``moments`` are a state of `Moments` of all cases, with so many ``entries`` of each unit.
    """
    if moments is None:
        center, mean, spread, along = None, np.zeros(len(What)), np.zeros(len(What)), np.zeros_like(What)
    else:
        center, along = moments[1], moments[3] / entries  # E[t̂ u], which is scaled as t̂ is
        mean, spread = What @ center, np.sqrt(np.maximum(moments[2], 0) / entries)
    r, units = coefficients(What, center), []
    for stage in stages:
        done = stage_on(stage, mean, spread, Site.SUMMED.layout(2), normalizer.name)
        sigma = np.broadcast_to(1.0 if done.sigma is None else done.sigma, (1, len(What)))[0]
        mean = (mean - (0 if done.mean is None else done.mean)).ravel() / sigma
        spread, along = spread / sigma, along / sigma[:, None]
        units.append(unit_stage(done, r, along, mean))
        r = units[-1].r
    return tuple(units), r

r"""How large a root of F would be with all statistics held fixed: against this, not against F, what cancels is rounding.

Under batch norm of one input ∂z/∂w = g/σ (x - x̄ - â·E[âx]) is 0, computed as a difference of numbers of size g|x|/σ.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ..families import Floats, Hessian
from ..model import Linearization, Params
from .pieces import Factors, Piece
from .structure import Chart

_ROWS = 1024


def of_parts(parts: tuple[Factors, ...]) -> float:
    """The largest column √Σ_n η''(g x̂/σ)² of a root of N φ F for weights, batch and weight statistics held fixed."""
    total: Floats = np.zeros(())
    for f in parts:
        for piece in f.pieces(_ROWS):
            total = total + squares(f.chart, piece)
    return float(np.sqrt(total.max()))


def squares(chart: Chart, piece: Piece) -> Floats:
    """Σ_n η''(g x̂/σ)² (H, D) over some of the cases."""
    scale = _divided(_gain(chart.params), [*chart.weight, *chart.units])
    own = _divided(np.ones((1, 1)), piece.stages)
    return scale**2 * ((_variance(piece.hessian) * own**2).T @ piece.u**2)


def of_model(at: Linearization) -> float:
    """The same for a model of which no factors are known."""
    p, X = at.params, at.normalized.Xhat
    scale = _divided(_gain(p), at.normalized.weight)
    own = np.broadcast_to(_divided(np.ones((1, 1)), at.normalized.summed), at.Z.shape).reshape(-1, p.units)
    d = _variance(replace(at.hessian, d=at.hessian.d.reshape(own.shape)))
    X = X.reshape(len(own), -1)
    total = sum(
        ((d[k : k + _ROWS] * own[k : k + _ROWS] ** 2).T @ X[k : k + _ROWS] ** 2 for k in range(0, len(X), _ROWS)),
        np.zeros(()),
    )
    return float(np.sqrt((scale**2 * total).max()))


def _gain(p: Params) -> Floats:
    return np.ones((p.units, 1)) if p.gain is None else np.reshape(p.gain, (p.units, 1))


def _divided(scale: Floats, stages: Iterable[Any]) -> Floats:
    """g/σ after all stages that divide."""
    for stage in stages:
        if stage.sigma is not None:
            scale = scale / stage.sigma
    return scale


def _variance(hessian: Hessian) -> Floats:
    """An upper bound of the diagonal of η'' (n, H)."""
    return hessian.d if hessian.mixing is None else hessian.d @ (hessian.mixing**2).T

r"""Products F v of the exact Fisher matrix, by two matrix products with the inputs for each piece of the cases.

    v -> y = T v,    dz_n = M_n (φ_n·y),    F v = Tᵀ Σ_n φ_n M_nᵀ η''_n dz_n/(Nφ)

X̂ is read once: both products are done while a piece of its rows is in the cache.  Everything else is O(NH).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..families import Floats
from ..params import Params
from .pieces import Piece
from .structure import Chart

_BLOCK = 1 << 18  # numbers of X̂ in a piece: 2 MiB


def rows_for(chart: Chart, vectors: int = 1) -> int:
    """How many cases a piece has, so that it stays in the cache."""
    return max(128, _BLOCK // max(chart.inputs, vectors * chart.params.units))


def product(chart: Chart, pieces: Iterable[Piece], V: Floats) -> Floats:
    """N φ F v for every row v of V (k, P)."""
    gain, H, D, k = chart.params.gain, chart.params.units, chart.inputs, len(V)
    v = Params.unravel(V, H, gain is not None)
    y = chart.push(v.weight)
    if not chart.cases:
        if gain is not None:
            assert v.gain is not None
            y = gain[:, None] * y + v.gain[..., None] * chart.value
        y[..., -1] += v.bias
    back, ends = np.zeros((k, H, chart.features)), np.zeros((k, H, 1 + (gain is not None)))
    for piece in pieces:
        dz = piece.forward(y).transpose(0, 2, 1)
        back += _through(chart, piece, dz, v, ends) if chart.cases else piece.backward(_major(piece.hessian.apply(dz)))
    out = chart.side(back)
    if chart.mixes:
        out[..., :D] = chart.mix(out[..., :D])
    if chart.cases:
        out = np.concatenate([out, ends], axis=-1)
    return out.reshape(V.shape)


def _through(chart: Chart, piece: Piece, dz: Floats, v: Params, ends: Floats) -> Floats:
    """φᵀMᵀη''M φ for the stages on cases; what b and g get is added to ``ends`` (k, H, 2)."""
    gain = chart.params.gain
    for stage in piece.stages:
        dz = stage.tangent(dz)
    if gain is not None:
        assert v.gain is not None
        dz = gain * dz + v.gain[:, None] * piece.value
    pull = piece.hessian.apply(dz + v.bias[:, None])
    ends[..., 0] += pull.sum(axis=1)
    if gain is not None:
        ends[..., 1] += (pull * piece.value).sum(axis=1)
        pull = pull * gain
    for stage in reversed(piece.stages):
        pull = stage.adjoint(pull)
    return piece.backward(_major(pull))


def _major(pull: Floats) -> Floats:
    """(k, n, H) as (k, H, n)."""
    return pull.transpose(0, 2, 1)

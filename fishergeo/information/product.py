r"""Products F v of the exact Fisher matrix, by two matrix products with the inputs for each piece of the cases.

    v -> y = T v,    dz_n = M_n (φ_n·y),    F v = Tᵀ Σ_n φ_n M_nᵀ η''_n dz_n/(Nφ)

X̂ is read once: both products are done while a piece of its rows is in the cache.  Everything else is O(NH).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from functools import partial

import numpy as np

from ..families import Floats
from ..params import Params
from ..threads import each
from .pieces import Piece, small
from .structure import Chart

_BLOCK = 1 << 18  # numbers of X̂ in a piece: 2 MiB


def rows_for(chart: Chart, vectors: int = 1) -> int:
    """How many cases a piece has, so that it stays in the cache."""
    K = vectors * chart.params.units
    fitting = max(128, _BLOCK // max(chart.inputs, K) // (1 if chart.cases else 2))
    return fitting if chart.cases else small(chart.inputs * K) or fitting


def product(chart: Chart, groups: Sequence[Iterable[Piece]], V: Floats, dtype: type = np.float64) -> Floats:
    """N φ F v for every row v of V (k, P); each group of pieces is summed up by one thread, the groups in their order."""
    gain, H, D, k = chart.params.gain, chart.params.units, chart.inputs, len(V)
    v = Params.unravel(V, H, gain is not None)
    y = chart.coefficients(v).reshape(k * H, -1)
    slopes: Floats = np.ascontiguousarray(y[:, :D], dtype)
    constants = y[:, D:].copy() if chart.constant else None
    back, ends = (np.zeros((len(groups), k, H, size)) for size in (chart.features, 1 + (gain is not None)))

    def add(group: int) -> None:
        total = back[group].reshape(k * H, -1)
        for piece in groups[group]:
            dz = piece.forward(slopes, constants).reshape(k, H, -1).transpose(0, 2, 1)
            pull = _through(chart, piece, dz, v, ends[group]) if chart.cases else piece.hessian.apply(dz)
            total += piece.backward(pull.transpose(0, 2, 1).reshape(k * H, -1))

    cases = sum(len(piece) for group in groups if isinstance(group, Sized) for piece in group)
    each([partial(add, group) for group in range(len(groups))], 2.0 * cases * D * H * k)
    return chart.adjoint(back.sum(axis=0), ends.sum(axis=0)).reshape(V.shape)


def _through(chart: Chart, piece: Piece, dz: Floats, v: Params, ends: Floats) -> Floats:
    """Mᵀη'' dz for the stages on cases, (k, n, H); what b and g get is added to ``ends`` (k, H, 2)."""
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
    return pull

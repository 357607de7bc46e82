r"""Products F v of the exact Fisher matrix, by two matrix products with the inputs for each block of cases.

    v -> y = T v,    dz_n = M_n (φ_n·y),    F v = Tᵀ Σ_n φ_n M_nᵀ η''_n dz_n/(Nφ)

X̂ is read once: both products are done while a block of its rows is in the cache.  Everything else is O(NH).
"""

from __future__ import annotations

import numpy as np

from ..families import Floats
from ..params import Params
from .structure import Factors, cut

_BLOCK = 1 << 18  # numbers of X̂ in a block of cases: 2 MiB


def product(f: Factors, V: Floats) -> Floats:
    """F v for every row v of V (k, P)."""
    gain, H, D, k = f.params.gain, f.params.units, f.X.shape[1], len(V)
    v = Params.unravel(V, H, gain is not None)
    y = f.push(v.weight)
    if not f.cases:
        y = _predictor(f, y, v)
    slopes, offset = np.ascontiguousarray(y[..., :D]).reshape(k * H, D), y[..., D:, None]
    out = np.zeros((k, H, f.features))
    back = np.zeros((k * H, D))
    lifted = [part if part is None else part[:, None] for part in (v.bias, v.gain)]
    ends = np.zeros((k, H, 2))
    step = max(128, _BLOCK // max(D, k * H))
    for start in range(0, len(f.X), step):
        rows = slice(start, start + step)
        X = f.inputs[rows]
        dz = (slopes @ X.T).reshape(k, H, -1)
        if f.constant:
            dz += offset[:, :, 0]
        dz, curvature = dz.transpose(0, 2, 1), f.hessian._replace(d=f.hessian.d[rows])
        if not f.cases:
            pull = curvature.apply(dz)
        else:
            value, stages = f.value[rows], [cut(stage, rows) for stage in f.cases]
            for stage in stages:
                dz = stage.tangent(dz)
            dz = lifted[0] + (dz if gain is None else gain * dz + lifted[1] * value)
            pull = curvature.apply(dz)
            ends[..., 0] += pull.sum(axis=1)
            if gain is not None:
                ends[..., 1] += (pull * value).sum(axis=1)
                pull = pull * gain
            for stage in reversed(stages):
                pull = stage.adjoint(pull)
        pull = pull.transpose(0, 2, 1)
        back += pull.reshape(k * H, -1) @ X
        if f.constant:
            out[..., -1] += pull.sum(axis=-1)
    out[..., :D] = back.reshape(k, H, D)
    side = f.side(out)
    if f.weight_mixes:
        side[..., :D] = f.mix(side[..., :D])
    if f.cases:
        side = np.concatenate([side, ends[..., : 1 + (gain is not None)]], axis=-1)
    return side.reshape(V.shape) / f.scale


def _predictor(f: Factors, y: Floats, v: Params) -> Floats:
    """The coefficients of dZ where no stage acts on cases: g y + e db + r dg."""
    if f.params.gain is not None:
        assert v.gain is not None
        y = f.params.gain[:, None] * y + v.gain[..., None] * f.predictor
    y[..., -1] += v.bias
    return y

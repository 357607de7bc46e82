r"""The exact Fisher matrix on arrays of another library from weighted Gram matrices, where the Jacobian factors.

    J_n = M_n ⊗ φ_nᵀ · T,     F_ww = 1/(Nφ) Tᵀ [Σ_n (M_nᵀ η''_n M_n) ⊗ φ_n φ_nᵀ] T

as in `structure`, with T in full, one matrix (D+1, D) for each unit: few large products, as accelerators want them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..families import Hessian
from ..foreign import Foreign
from ..model import Linearization
from .structure import split, weights_mix

_CHUNK = 1 << 22  # numbers in the largest array over some of the cases


def factors(at: Linearization) -> bool:
    """Whether stages on units come before those on cases, and no stage of the weights joins units."""
    normalizer = at.model.normalizer
    return not weights_mix(normalizer) and split(normalizer.summed, at.Z.ndim == 3) is not None


def summed_up(at: Any, hessian: Hessian, apart: bool) -> Foreign:
    """N φ F (P, P); ``apart`` says that the blocks of different units are 0."""
    gain, value, H, D = at.params.gain, at.normalized.value, at.params.units, at.params.inputs
    first = split(at.model.normalizer.summed, at.Z.ndim == 3) or 0
    stages = at.normalized.summed[first:]
    X = at.normalized.Xhat.reshape(-1, D)
    center = X.mean(axis=0)
    ones = X.like(np.ones((X.shape[0], 1)))
    phi, flat = _beside([X - center, ones]), (-1, H)
    T = _chart(at, phi[:, :D], center, first)
    ends = [at.Z * 0 + 1] + ([] if gain is None else [value])  # what b and g of a unit are multiplied by
    weights, mixed, rest = [], [], []
    for i in range(H):
        unit = at.Z * 0 + np.eye(H)[i]
        half: Any = unit
        for stage in stages:
            half = stage.tangent(half)
        half = hessian.apply(half if gain is None else gain * half)  # η''M, of unit i
        pulled: Any = half if gain is None else gain * half
        for stage in reversed(stages):
            pulled = stage.adjoint(pulled)
        stop = i + 1 if apart else H
        own = T[i].swapaxes(0, 1) @ (_grams(phi, pulled.reshape(flat)[:, i:stop]) @ T[i:stop])  # (j, D, D)
        upper = [own[:1] / 2] + [own[1:]] * (stop > i + 1)
        weights.append(_row(upper, i, H))
        mixed.append([T[i].swapaxes(0, 1) @ (phi.swapaxes(0, 1) @ (half * end).reshape(flat)) for end in ends])
        curved = hessian.apply(unit)
        rest.append([[(curved * a[..., i : i + 1] * b).reshape(flat).sum(axis=0) for b in ends] for a in ends])
    half_ww = _stack(weights).swapaxes(1, 2)  # (i, D, j, D)
    ww = half_ww + half_ww.swapaxes(0, 2).swapaxes(1, 3)
    we = _stack([_stack(parts).swapaxes(0, 1).swapaxes(1, 2) for parts in mixed])  # (i, D, j, ends)
    ee = _stack([_stack([_stack(row).swapaxes(0, 1) for row in parts]) for parts in rest])  # (i, ends, j, ends)
    F = _beside([_beside([ww, we], 3), _beside([we.swapaxes(0, 2).swapaxes(1, 3), ee], 3)], 1)
    return F.reshape(at.params.size, at.params.size)


def _grams(phi: Foreign, weights: Foreign) -> Foreign:
    """Σ_n ω_nj φ_n φ_nᵀ (j, m, m) for weights (N, j)."""
    (N, m), count = phi.shape, weights.shape[1]
    total: Any = 0
    step = max(1, _CHUNK // (m * count))
    for start in range(0, N, step):
        some = slice(start, min(start + step, N))
        block = phi[some]
        weighted = (weights[some][:, :, None] * block[:, None, :]).reshape(-1, count * m)
        total = total + block.swapaxes(0, 1) @ weighted
    out: Foreign = total.reshape(m, count, m).swapaxes(0, 1)
    return out


def _chart(at: Any, u: Foreign, center: Foreign, first: int) -> Foreign:
    """T (H, D+1, D): the coefficients in φ = [u; 1] of what the stages on units make of a change of each weight."""
    H, D = at.params.units, at.params.inputs
    dW = u.like(np.broadcast_to(np.eye(D)[:, None, :], (D, H, D)))
    for stage in at.normalized.weight:
        dW = stage.tangent(dW)
    What = at.normalized.What
    y, r = (_beside([W, (W * center).sum(axis=-1, keepdims=True)], -1) for W in (dW, What))
    constant = u.like(np.eye(D + 1)[-1])  # of a function that is 1
    slopes = 1 - constant  # so that a large offset of the inputs, which centering takes away, costs no digits
    phi_mean = _beside([u.mean(axis=0), u.like(np.ones(1))], 0)
    for stage in at.normalized.summed[:first]:
        sigma = 1.0 if stage.sigma is None else _column(stage.sigma)
        if stage.frozen:
            r, y = (r - _column(stage.mean) * constant) / sigma, y / sigma
            continue
        if stage.mean is not None:
            r, y = (a - (a * phi_mean).sum(axis=-1, keepdims=True) * constant for a in (r * slopes, y * slopes))
        r = r / sigma
        if stage.sigma is None:
            continue
        t = stage.value.reshape(-1, H).swapaxes(0, 1)
        q = _beside([t @ u, t.sum(axis=1, keepdims=True)], 1) / stage.weight * _column(stage.ratio)
        y = (y - r * (q * y).sum(axis=-1, keepdims=True)) / sigma
    return y.swapaxes(0, 1).swapaxes(1, 2)


def _column(statistic: Any) -> Any:
    """A statistic of each unit, (H, 1) or a number."""
    return statistic.reshape(-1, 1) if isinstance(statistic, Foreign) else statistic


def _row(blocks: Sequence[Foreign], start: int, count: int) -> Foreign:
    """Blocks (j, D, D) from ``start`` on among ``count`` of them, the others 0."""
    zeros = np.zeros((count, *blocks[0].shape[1:]))
    stop = start + sum(block.shape[0] for block in blocks)
    return _beside([blocks[0].like(zeros[:start]), *blocks, blocks[0].like(zeros[stop:])], 0)


def _beside(parts: Sequence[Foreign], axis: int = 1) -> Foreign:
    joined: Any = np.concatenate(list(parts), axis=axis)
    return joined


def _stack(parts: Sequence[Foreign]) -> Foreign:
    return _beside([part[None, ...] for part in parts], 0)

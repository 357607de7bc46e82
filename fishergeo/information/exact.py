r"""The exact dense Fisher matrix from weighted Gram matrices of the inputs, block by block of cases.

Independent outputs under stages of their own have a block-diagonal F, one Gram matrix a unit.  Where outputs or units are
dependent, the blocks of a row often sum to zero (softmax: η''·1 = 0; a centered case: M_n·1 = 0): then only those of i < j
are summed up, and a diagonal block is minus the sum of the others.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..axes import Axis
from ..families import Floats, Hessian
from ..standardize import Standardized
from .gram import Grams
from .structure import ALL, Factors, cut

_BLOCK = 1 << 18  # numbers in the largest array over a block of cases, 2 MiB, and in a batch of blocks of F


def diagonal_blocks(f: Factors) -> Floats | None:
    """The blocks (H, D+2, D+2) on the diagonal where all others are 0; None elsewhere."""
    if f.hessian.coupled or f.hessian.mixing is not None or f.cases or f.weight_mixes:
        return None
    H, grams = f.params.units, _own_grams(f)
    units = np.arange(H)
    out = np.empty((H, f.params.size // H, f.params.size // H))
    for some in _batches(units, f.features):
        out[some] = _congruent(f, np.stack([grams[min(k, len(grams) - 1)] for k in some]), some, some)
    return _symmetric(out) / f.scale


def dense(f: Factors) -> Floats:
    """F (P, P), exactly symmetric."""
    own = diagonal_blocks(f)
    if own is not None:
        return spread(own)
    return _of_cases(f) if f.cases else _of_units(f)


def spread(own: Floats) -> Floats:
    """The block-diagonal matrix of blocks (H, s, s)."""
    H, size, _ = own.shape
    out = np.zeros((H, size, H, size))
    out[np.arange(H), :, np.arange(H)] = own
    return out.reshape(H * size, H * size)


def _of_units(f: Factors) -> Floats:
    """Dependent outputs, or weights that are normalized together; each unit's summed inputs by themselves."""
    H, size = f.params.units, f.params.size // f.params.units
    out = np.empty((H, size, H, size))
    i, j = np.triu_indices(H)
    if f.hessian.coupled:
        _zero_row_sums(f, out, _pair_grams(f), -1.0)
    else:
        own = _own_grams(f)
        L = np.eye(H) if f.hessian.mixing is None else f.hessian.mixing
        for some in _batches(np.arange(len(i)), f.features):
            share = L[i[some]] * L[j[some]]
            grams = np.tensordot(share if len(own) == H else share.sum(axis=1, keepdims=True), np.stack(own), 1)
            _place(out, i[some], j[some], _congruent(f, grams, i[some], j[some]))
    return _finished(f, out)


def _zero_row_sums(f: Factors, out: Floats, pairs: list[Floats], sign: float) -> None:
    """Blocks sign·G_ij for i < j, and those on the diagonal that make every row of blocks of G sum to zero."""
    H = f.params.units
    own = np.zeros((H, f.features, f.features))
    i, j = np.triu_indices(H, 1)
    for some in _batches(np.arange(len(i)), f.features):
        grams = np.stack([pairs[k] for k in some])
        for k in some:
            own[i[k]] += pairs[k]
            own[j[k]] += pairs[k]
            pairs[k] = own[0]  # its memory is free again
        _place(out, i[some], j[some], sign * _congruent(f, grams, i[some], j[some]))
    for some in _batches(np.arange(H), f.features):
        _place(out, some, some, -sign * _congruent(f, own[some], some, some))


def _congruent(f: Factors, grams: Floats, i: NDArray[np.intp], j: NDArray[np.intp]) -> Floats:
    """T_iᵀ G T_j for matrices G (K, m, m) between the units i and j."""
    right = f.side(grams.transpose(1, 0, 2), j)
    return f.side(right.transpose(2, 1, 0), i).transpose(1, 2, 0)


def _place(out: Floats, i: NDArray[np.intp], j: NDArray[np.intp], blocks: Floats) -> None:
    width = blocks.shape[-1]
    out[i, :width, j, :width] = blocks
    out[j, :width, i, :width] = blocks.transpose(0, 2, 1)


def _finished(f: Factors, out: Floats) -> Floats:
    """Sums as F: the stages of the weights that have cells with several units, symmetry, and the mean."""
    D, P = f.X.shape[1], f.params.size
    if f.weight_mixes:
        for _ in range(2):
            out[..., :D] = f.mix(out[..., :D])
            out = out.transpose(2, 3, 0, 1).copy()
    F = out.reshape(P, P)
    return _symmetric(F) / f.scale


def _symmetric(F: Floats) -> Floats:
    return (F + np.swapaxes(F, -1, -2)) / 2


def _batches(items: NDArray[np.intp], features: int) -> Iterator[NDArray[np.intp]]:
    step = max(1, _BLOCK // features**2)
    for start in range(0, len(items), step):
        yield items[start : start + step]


def _rows(f: Factors, width: int) -> Iterator[slice]:
    """Blocks of cases whose arrays of ``width`` numbers a case stay in the cache."""
    step = max(64, _BLOCK // width)
    for start in range(0, len(f.X), step):
        yield slice(start, start + step)


def _own_grams(f: Factors) -> list[Floats]:
    """Σ_n d_nk φ_n φ_nᵀ for every unit k; a single one where d is the same for all."""
    d = f.hessian.d
    if (d == d[0, 0]).all():
        d = d[:, :1]
    grams = Grams(f.features, d.shape[1])
    for rows in _rows(f, f.features):
        grams.add(f.phi(rows), np.ascontiguousarray(d[rows].T))
    return grams.matrices()


def _pair_grams(f: Factors) -> list[Floats]:
    """Σ_n d_ni d_nj/Σ_k d_nk φ_n φ_nᵀ for i < j."""
    i, j = np.triu_indices(f.params.units, 1)
    grams = Grams(f.features, len(i))
    for rows in _rows(f, f.features + len(i)):
        d = np.ascontiguousarray(f.hessian.d[rows].T)
        grams.add(f.phi(rows), d[i] * (d / d.sum(axis=0))[j])
    return grams.matrices()


def _of_cases(f: Factors) -> Floats:
    """Units that are normalized together in each case: F_ww from S_n = M_nᵀ η''_n M_n, the rest from M_nᵀ η''_n."""
    H, size, m, D = f.params.units, f.params.size // f.params.units, f.features, f.X.shape[1]
    first = f.cases[0]
    zero = first.mean is not None and not first.frozen and not first.cells.groups and first.cells.share is None
    i, j = np.triu_indices(H, int(zero))
    grams = Grams(m, len(i))
    bias, gain = np.zeros((2, H, H, m))  # [unit of b or g, unit of w]
    rest = np.zeros((H, 2, H, 2))
    for rows in _rows(f, 2 * H * H):
        phi, value = f.phi(rows), np.ascontiguousarray(f.value[rows].T)
        stages = [cut(stage, rows) for stage in f.cases]
        curvature = _unit_major(Hessian(f.hessian.d[rows], *f.hessian[1:]))
        half = _pulled(f, stages, curvature)  # [z, w, n]
        S = _pulled(f, stages, half.transpose(1, 0, 2))
        grams.add(phi, S[i, j])
        bias += half @ phi
        half *= value[:, None]
        gain += half @ phi
        rest[:, 0, :, 0] += curvature.sum(axis=-1)
        curvature *= value
        rest[:, 0, :, 1] += curvature.sum(axis=-1)
        rest[:, 1, :, 1] += np.einsum("ijn,in->ij", curvature, value)
    rest[:, 1, :, 0] = rest[:, 0, :, 1].T
    out = np.empty((H, size, H, size))
    out[:, D:, :, D:] = rest
    for k, part in enumerate((bias, gain)):
        side = f.pull(part)
        out[:, D + k, :, :D] = side
        out[:, :D, :, D + k] = side.transpose(1, 2, 0)
    if zero:
        _zero_row_sums(f, out, grams.matrices(), 1.0)
    else:
        pairs = grams.matrices()
        for some in _batches(np.arange(len(i)), m):
            _place(out, i[some], j[some], _congruent(f, np.stack([pairs[k] for k in some]), i[some], j[some]))
    return _finished(f, out)


def _pulled(f: Factors, stages: list[Standardized], rows: Floats) -> Floats:
    """M_nᵀ applied to the second index of an array (k, H, n)."""
    y = rows.transpose(0, 2, 1)
    if f.params.gain is not None:
        y = y * f.params.gain
    for stage in reversed(stages):
        y = stage.adjoint(y)
    return y.transpose(0, 2, 1)


def _unit_major(hessian: Hessian) -> Floats:
    """η'' as an array (H, H, n)."""
    d = np.ascontiguousarray(hessian.d.T)
    H, n = d.shape
    if hessian.mixing is not None:
        L = hessian.mixing
        return np.tensordot(L[:, None] * L[None], d, 1)
    out = np.zeros((H, H, n))
    if hessian.coupled:
        np.multiply(d[:, None], -d / d.sum(axis=0), out=out)
    out[np.arange(H), np.arange(H)] += d
    return out

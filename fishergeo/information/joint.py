r"""The dense Fisher matrix under one stage whose cells hold several positions and units of a case, as group norm has.

On the summed inputs of a case the tangent is P = (I - U Vᵀ)/σ, with two columns of U and V for each cell: 1 and t̂, and
their moments.  With E the inputs and C = g η'' g/σσ,

    F_ww = Σ_n [EᵀCE - Y Bᵀ - B Yᵀ + B (UᵀCU) Bᵀ],     B = EᵀV,   Y = EᵀCU

that is, the Gram matrices of a model without normalization and a correction of rank two for each cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..axes import Axis
from ..families import Floats
from ..model import Linearization
from ..standardize import Standardize, Standardized
from .exact import symmetric
from .gram import Grams

_BLOCK = 1 << 19  # numbers in the largest array over a block of cases: 4 MiB


def joins(at: Linearization) -> bool:
    """Whether the summed inputs have one stage, over positions and units, or groups of units, of each case."""
    stages = at.model.normalizer.summed
    if at.Z.ndim != 3 or len(stages) != 1 or type(stages[0]) is not Standardize:
        return False
    groups = {axis for axis, _ in stages[0].groups}
    return stages[0].over == {Axis.POSITION, Axis.UNIT} and groups <= {Axis.UNIT}


def dense(at: Linearization) -> Floats:
    """F (P, P), exactly symmetric."""
    H, D, size = at.params.units, at.params.inputs, at.params.size // at.params.units
    out = np.zeros((H, size, H, size))
    i, j = np.triu_indices(H)
    grams = Grams(D, len(i))
    for case in _cases(at):
        grams.add(case.X.reshape(-1, D), case.C.reshape(-1, H, H)[:, i, j].T)
        case.add(out)
    for k, gram in enumerate(grams.matrices()):
        out[i[k], :D, j[k], :D] += gram
        if i[k] != j[k]:
            out[j[k], :D, i[k], :D] += gram
    for _ in range(2):
        for stage in reversed(at.normalized.weight):
            out[..., :D] = stage.adjoint(out[..., :D])
        out = np.ascontiguousarray(out.transpose(2, 3, 0, 1))
    F = symmetric(out.reshape(at.params.size, -1))
    F /= at.cases * at.model.dispersion
    return F


def _cases(at: Linearization) -> Iterator[_Cases]:
    N, S, H = at.Z.shape
    (stage,) = at.normalized.summed
    assert isinstance(stage, Standardized)
    step = max(1, _BLOCK // (S * H * H + 4 * H * at.params.inputs * H))
    for start in range(0, N, step):
        yield _Cases(at, stage, slice(start, start + step))


class _Cases:
    """Some of the cases: the inputs X (n, S, D), C (n, S, H, H), U (n, S, H, 2), and B (n, H, 2, D)."""

    def __init__(self, at: Linearization, stage: Standardized, rows: slice) -> None:
        gain, value = at.params.gain, stage.value[rows]
        assert gain is not None
        self.X, self.value = at.normalized.Xhat[rows], value
        self.groups = dict(stage.cells.groups).get(-1, 1)
        self.curvature = replace(at.hessian, d=at.hessian.d[rows]).dense()
        scale = np.broadcast_to(gain if stage.sigma is None else gain / stage.sigma[rows], value.shape)
        self.half = scale[..., None] * self.curvature
        self.C = self.half * scale[..., None, :]
        one = np.full_like(value, 0 if stage.mean is None else 1)
        self.U = np.stack([one, value if stage.sigma is not None else 0 * value], axis=-1)
        ratio = stage.ratio
        if np.ndim(ratio):
            ratio = np.broadcast_to(ratio[rows], value.shape)[:, 0, :, None]
        self.B = np.einsum("nshr,nsd->nhrd", self.U, self.X, optimize=True)
        self.B[:, :, 0] /= stage.count
        self.B[:, :, 1] *= ratio / stage.weight

    def _collected(self, columns: Floats) -> Floats:
        """Σ over the units k of each group of U_k times ``columns`` (n, S, H, m): (n, S, groups, 2, m)."""
        n, S, H, m = columns.shape
        split = (n, S, self.groups, H // self.groups)
        return np.einsum("nsakr,nsakm->nsarm", self.U.reshape(*split, 2), columns.reshape(*split, m), optimize=True)

    def add(self, out: Floats) -> None:
        """Add all but the Gram matrices of C to N φ F (H, D+2, H, D+2)."""
        n, S, H = self.value.shape
        D, G = self.X.shape[-1], self.groups
        CU = self._collected(self.C)  # (n, S, a, r, h)
        Y = np.einsum("nsarh,nsd->nhard", CU, self.X, optimize=True)
        M = self._collected(CU.transpose(0, 1, 4, 2, 3).reshape(n, S, H, 2 * G)).sum(axis=1).reshape(n, G, 2, G, 2)
        own = np.repeat(np.arange(G), H // G)
        Y -= np.einsum("nhqd,nhqar->nhard", self.B, M[:, own], optimize=True) / 2
        for a in range(G):
            mine = np.flatnonzero(own == a)
            left = Y[:, :, a].transpose(1, 3, 0, 2).reshape(H * D, n * 2)
            right = self.B[:, mine].transpose(0, 2, 1, 3).reshape(n * 2, -1)
            part = (left @ right).reshape(H, D, len(mine), D)
            out[:, :D, mine, :D] -= part
            out[mine, :D, :, :D] -= part.transpose(2, 3, 0, 1)
        for k, columns in enumerate((self.half, self.half * self.value[:, :, None])):
            side = np.einsum("nsd,nshm->hdm", self.X, columns, optimize=True)
            through = self._collected(columns).sum(axis=1)[:, own]  # (n, h, r, m)
            side -= np.einsum("nhrd,nhrm->hdm", self.B, through, optimize=True)
            out[:, :D, :, D + k] += side
            out[:, D + k, :, :D] += side.transpose(2, 0, 1)
        across = self.curvature * self.value[:, :, None]
        out[:, D, :, D] += self.curvature.sum(axis=(0, 1))
        out[:, D, :, D + 1] += across.sum(axis=(0, 1))
        out[:, D + 1, :, D] += across.sum(axis=(0, 1)).T
        out[:, D + 1, :, D + 1] += (across * self.value[..., None]).sum(axis=(0, 1))

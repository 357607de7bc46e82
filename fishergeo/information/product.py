r"""Products F v of the exact Fisher matrix, by two matrix products with the inputs for each piece of the cases.

    v -> y = T v,    dz_n = M_n (φ_n·y),    F v = Tᵀ Σ_n φ_n M_nᵀ η''_n dz_n/(Nφ)

Both products are done with a piece of the rows of X̂, where it pays while they are in the cache.  All else is O(NH).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from functools import partial

import numpy as np

from ..families import Floats
from ..params import Params
from ..standardize import Standardized
from ..threads import each
from .pieces import Piece, small
from .structure import Chart

_NUMBERS = 1 << 18  # of dz in a piece: 2 MiB
_ROWS = 256, 2048  # cases in a piece, at least and at most


def rows_for(chart: Chart, vectors: int = 1) -> int:
    """How many cases a piece has: as many as the smallest fast products take, if little is done between them.

    Else so many that the calls in between are worth it, and their arrays stay in the cache.
    """
    K = vectors * chart.params.units
    least, most = small(chart.inputs * K), max(_ROWS[0], min(_ROWS[1], _NUMBERS // K))
    if least is None:
        return most
    return (most // least or 1) * least if chart.cases else least


def product(
    chart: Chart,
    groups: Sequence[Iterable[Piece]],
    V: Floats,
    dtype: type = np.float64,
    lead: Standardized | None = None,
    shift: Floats | None = None,
) -> Floats:
    """N φ F v for every row v of V (k, P); each group of pieces is summed up by one thread, the groups in their order.

    ``lead`` is a stage on cases whose centering was taken out of the pieces: it is done on coefficients.  So is
    ``shift``, which is subtracted from the inputs.
    """
    gain, H, D, k = chart.params.gain, chart.params.units, chart.inputs, len(V)
    v = Params.unravel(V, H, gain is not None)
    y = chart.coefficients(v)
    if lead is not None:
        y = _over_units(lead.centered, y)
    if shift is not None:
        y[..., -1] -= y[..., :-1] @ shift
    y = y.reshape(k * H, -1)
    slopes: Floats = np.ascontiguousarray(y[:, :D], dtype)
    constants = y[:, D:].copy() if chart.constant else None
    back, ends = (np.zeros((len(groups), k, H, size)) for size in (chart.features, 1 + (gain is not None)))

    def add(group: int) -> None:
        total = back[group].reshape(k * H, -1)
        with np.errstate(under="ignore"):
            for piece in groups[group]:
                dz = piece.forward(slopes, constants).reshape(k, H, -1).transpose(0, 2, 1)
                pull = _through(chart, piece, dz, v, ends[group]) if chart.cases else piece.hessian.overwrite(dz)
                piece.backward(pull.transpose(0, 2, 1).reshape(k * H, -1), total)

    cases = sum(len(piece) for group in groups if isinstance(group, Sized) for piece in group)
    each([partial(add, group) for group in range(len(groups))], 2.0 * cases * D * H * k)
    total = back.sum(axis=0)
    if lead is not None:
        total = _over_units(lead.recentered, total)
    if shift is not None:
        total[..., :-1] -= total[..., -1:] * shift
    return chart.adjoint(total, ends.sum(axis=0)).reshape(V.shape)


def _over_units(apply: Callable[[Floats], Floats], y: Floats) -> Floats:
    return apply(y.swapaxes(-1, -2)).swapaxes(-1, -2)


def _through(chart: Chart, piece: Piece, dz: Floats, v: Params, ends: Floats) -> Floats:
    """Mᵀη'' dz for the stages on cases, (k, n, H); what b and g get is added to ``ends`` (k, H, 2)."""
    gain = chart.params.gain
    for stage in piece.stages:
        dz = stage.tangent(dz)
    if gain is not None:
        assert v.gain is not None
        dz *= gain
        dz += v.gain[:, None] * piece.value
    dz += v.bias[:, None]
    pull = piece.hessian.overwrite(dz)
    ends[..., 0] += pull.sum(axis=1)
    if gain is not None:
        ends[..., 1] += np.einsum("knh,nh->kh", pull, piece.value)
        pull *= gain
    for stage in reversed(piece.stages):
        pull = stage.adjoint(pull)
    return pull

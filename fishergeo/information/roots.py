r"""Roots of Fisher matrices from the factors of a Jacobian: rows √η''J a piece at a time, and their triangular factor.

With BᵀB = η'' the matrix of the rows B_n J_n has F as its Gram matrix.  In the coefficients of `structure` those rows are
(B M)_n ⊗ φ_nᵀ; T and what else depends on the weights alone is applied to the triangular factor at the end.  Independent
outputs have one factor of rows √η'' φ each.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from ..families import Floats
from ..threads import each
from .pieces import Factors, Piece, Pieces
from .structure import Chart
from .triangular import Triangle

_BLOCK = 1 << 16  # numbers in the largest array over a piece: 512 KiB
_LEAST = (512, 16)  # cases at least in a piece of rows of one unit, and of all units


def by_unit(f: Factors) -> bool:
    """Whether η'' and the Jacobian leave the coefficients of units apart."""
    return not f.chart.cases and not f.hessian.coupled


def apart(f: Factors) -> bool:
    """Whether F is block-diagonal, with a block for each unit."""
    return by_unit(f) and f.hessian.mixing is None and not f.chart.mixes


def block_roots(parts: tuple[Factors, ...]) -> Floats:
    """Roots (H, D+2, m) of the blocks of N φ F on the diagonal, where all others are 0."""
    roots = [of_blocks(f.chart, _triangles(f)) for f in parts]
    if len(roots) == 1:
        return roots[0]
    return np.stack([_joined([root[h] for root in roots]) for h in range(len(roots[0]))])


def of_blocks(chart: Chart, R: Floats) -> Floats:
    """Roots of the blocks on the diagonal from the triangular factors (H, m, m) of √η'' φ for each unit."""
    return chart.side(R.transpose(1, 0, 2)).transpose(1, 2, 0)


def of_units(chart: Chart, mixing: Floats | None, R: Floats) -> Floats:
    """A root (P, Hm) from the triangular factors of √η'' φ for each of the independent outputs that are mixed."""
    H, m = R.shape[:2]
    L = np.eye(H) if mixing is None else mixing
    return chart.adjoint((L.T[:, None, :, None] * R[:, :, None]).reshape(H * m, H, m)).T


def of_columns(chart: Chart, R: Floats) -> Floats:
    """A root from the triangular factor of the `columns` of all cases."""
    H, m = chart.params.units, chart.features
    return chart.adjoint(R[:, : H * m].reshape(-1, H, m), R[:, H * m :].reshape(len(R), H, -1)).T


def root(parts: tuple[Factors, ...]) -> Floats:
    """A root (P, m) of N φ F, m <= P + 2H."""
    return _joined([_root(f) for f in parts])


def _joined(roots: list[Floats]) -> Floats:
    """A root of Σ RRᵀ."""
    if len(roots) == 1:
        return roots[0]
    triangle = Triangle(len(roots[0]))
    _add_all(triangle, roots)
    return triangle.R.T


def _add_all(triangle: Triangle, roots: list[Floats]) -> None:
    each([partial(triangle.add, np.array(R, order="C")) for R in roots], 0.0)


def _root(f: Factors) -> Floats:
    if by_unit(f):
        return of_units(f.chart, f.hessian.mixing, _triangles(f))
    size = f.chart.params.units * (f.chart.features + f.chart.ends)
    cases, count = len(f.X), 2 if outputs(f) * len(f.X) > 4 * size else 1
    triangles, step = [Triangle(size) for _ in range(count)], -(-len(f.X) // count)

    def add(group: int) -> None:
        rows = max(_LEAST[1], size // outputs(f) // 4)
        for piece in Pieces(f, slice(group * step, min((group + 1) * step, cases)), rows):
            triangles[group].add(columns(f.chart, piece))

    each([partial(add, group) for group in range(count)], 2.0 * outputs(f) * cases * size**2)
    _add_all(triangles[0], [other.R.T for other in triangles[1:]])
    return of_columns(f.chart, triangles[0].R)


def _triangles(f: Factors) -> Floats:
    """The triangular factors (H, m, m) of √η'' φ for each unit; one serves all where η'' is the same in all cases."""
    d, m = f.hessian.d, f.chart.features
    constant = bool((d == d[0]).all())
    weights = np.sqrt(np.ones((1, len(d))) if constant else d.T)
    triangles = [Triangle(m) for _ in weights]
    start = 0
    for piece in f.pieces(max(_LEAST[0], m)):
        phi, part = piece.phi().T, weights[:, start : start + len(piece)]
        start += len(piece)
        tasks = [partial(_add, triangle, phi, weight) for triangle, weight in zip(triangles, part)]
        each(tasks, 2.0 * m * m * part.size)
    R = np.stack([triangle.R for triangle in triangles])
    return np.sqrt(d[0])[:, None, None] * R if constant else R


def _add(triangle: Triangle, phi: Floats, weight: Floats) -> None:
    triangle.add(np.multiply(phi, weight, out=np.empty(phi.shape)))


def half(piece: Piece) -> Floats:
    """B (k, H, n) with Σ_k B_ki B_kj = η''_ij for each case."""
    units = np.eye(piece.value.shape[1])
    return piece.hessian.root(units[:, None]).transpose(2, 0, 1)


def outputs(f: Factors) -> int:
    """How many rows of B there are for a case."""
    return len(half(next(f.pieces(1))))


def pulled(chart: Chart, piece: Piece, rows: Floats) -> Floats:
    """M_nᵀ applied to the second index of an array (k, H, n)."""
    y = rows.transpose(0, 2, 1)
    if chart.cases and chart.params.gain is not None:
        y = y * chart.params.gain
    for stage in reversed(piece.stages):
        y = stage.adjoint(y)
    return y.transpose(0, 2, 1)


@np.errstate(under="ignore")
def columns(chart: Chart, piece: Piece) -> Floats:
    """The rows of a piece, as columns (H m + H ends, k n): coefficients, then b and g where stages on cases follow."""
    B, n = half(piece), len(piece)
    S = pulled(chart, piece, B)
    (k, H, _), m = B.shape, chart.features
    out = np.empty((H * (m + chart.ends), k, n))
    np.multiply(S.transpose(1, 0, 2)[:, None], piece.phi().T[:, None], out=out[: H * m].reshape(H, m, k, n))
    if chart.ends:
        ends = out[H * m :].reshape(H, chart.ends, k, n)
        ends[:, 0] = B.transpose(1, 0, 2)
        if chart.ends > 1:
            np.multiply(ends[:, 0], piece.value.T[:, None], out=ends[:, 1])
    return out.reshape(-1, k * n)


def rows(f: Factors, least: int = 1) -> Iterator[Floats]:
    """The rows B_n J_n (k n, P), a piece at a time, of at least about so many rows."""
    H, m, size = f.chart.params.units, f.chart.features, f.chart.params.size
    for piece in f.pieces(max(1, max(least, _BLOCK // size) // outputs(f))):
        y = columns(f.chart, piece).T
        yield f.chart.adjoint(y[:, : H * m].reshape(-1, H, m), y[:, H * m :].reshape(len(y), H, -1))


def diagonal(parts: tuple[Factors, ...]) -> Floats:
    """The diagonal (P,) of N φ F: sums of squares, one pass over the cases."""
    return sum((_diagonal(f) for f in parts[1:]), _diagonal(parts[0]))


@np.errstate(under="ignore")
def _diagonal(f: Factors) -> Floats:
    chart, H = f.chart, f.chart.params.units
    if chart.mixes:
        return sum(((block * block).sum(axis=0) for block in rows(f)), np.zeros(chart.params.size))
    size = chart.params.size // H
    out = np.zeros((H, size))
    for piece in f.pieces(max(8, _BLOCK // chart.params.size)):
        B = half(piece)
        own = (pulled(chart, piece, B) ** 2).sum(axis=0)
        phi = piece.phi()
        u = chart.side(np.broadcast_to(phi[:, None], (len(phi), H, chart.features)))
        out[:, : u.shape[-1]] += np.einsum("hn,nhs->hs", own, u * u)
        if chart.ends:
            own = (B**2).sum(axis=0)
            out[:, chart.inputs] += own.sum(axis=1)
            if chart.ends > 1:
                out[:, -1] += (own * piece.value.T**2).sum(axis=1)
    return out.ravel()

"""The cases of a model, some at a time: the inputs φ, η'', and what the stages on cases need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..families import Floats, Hessian
from ..frozen import Frozen
from ..model import Linearization
from ..standardize import Standardized
from .gram import Grams, scratch
from .structure import Chart, coefficients, flat, of_cases, split, unit_stage, weights_mix

_ROWS = 1024
_FEWEST = 80  # rows of a small product: with fewer, adding up takes too long
_SMALL = 10**6  # multiplications
_NEAR = 4  # standard deviations from 0


@dataclass(frozen=True)
class Piece:
    """Some of the cases: X̂ (n, D), of which c is subtracted, η'' and Â (n, H), whose columns are contiguous.

    ``dtype`` is the precision of φ and of products with it.
    """

    X: Floats
    center: Floats | None
    constant: bool
    hessian: Hessian
    value: Floats
    stages: tuple[Standardized, ...]
    dtype: type = np.float64

    def __len__(self) -> int:
        return len(self.X)

    @cached_property
    def u(self) -> Floats:
        """X̂ - c."""
        return (self.X if self.center is None else self.X - self.center).astype(self.dtype, copy=False)

    def phi(self, kept: bool = True, by: Floats | None = None) -> Floats:
        """φ (n, m), times ``by`` (n,) if given; with ``kept=False`` it may be overwritten by the next call."""
        if not self.constant and by is None:
            return self.u
        (n, D), dtype = self.X.shape, np.dtype(self.dtype)
        phi = np.empty((n, D + self.constant), dtype) if kept else scratch("features", (n, D + self.constant), dtype)
        u = phi[:, :D]
        phi[:, D:] = 1 if by is None else by[:, None]
        if self.center is not None:
            np.subtract(self.X, self.center, out=u, casting="same_kind")
        elif by is None:
            u[...] = self.X
        if by is not None:
            np.multiply(self.X if self.center is None else u, by[:, None], out=u, casting="same_kind")
        return phi

    def grams(self, features: int, count: int) -> Grams:
        """Sums of weighted Gram matrices of φ, for ``count`` weights."""
        return Grams(features, count)

    def forward(self, slopes: Floats, constants: Floats | None) -> Floats:
        """φ·y (K, n) for coefficients y: ``slopes`` (K, D) of the precision of φ, ``constants`` (K, 1).

        The next call overwrites it.
        """
        out = _predicted(self.u, slopes).astype(float, copy=False)
        if constants is not None:
            out += constants
        return out

    def backward(self, pull: Floats, total: Floats) -> None:
        """Add Σ_n φ_n pull_n for pull (K, n) to ``total`` (K, m)."""
        slopes = _gathered(pull.astype(self.dtype, copy=False), self.u)
        if self.constant:
            total[:, -1] += np.add.reduce(pull, axis=1)
            total = total[:, :-1]
        total += slopes


def _predicted(u: Floats, W: Floats) -> Floats:
    """W uᵀ (K, n) for u (n, D) and W (K, D)."""
    out = np.empty((len(W), len(u)), u.dtype)
    for rows, count in _stacks(len(u), W.size):
        if count == 1:
            np.matmul(W, u[rows].T, out=out[:, rows])
        else:
            stack = u[rows].reshape(count, -1, u.shape[1])
            np.matmul(W, stack.transpose(0, 2, 1), out=out[:, rows].reshape(len(W), count, -1).transpose(1, 0, 2))
    return out


def _gathered(pull: Floats, u: Floats) -> Floats:
    """pull u (K, D) for pull (K, n) and u (n, D)."""
    out: Floats | None = None
    for rows, count in _stacks(len(u), len(pull) * u.shape[1]):
        if count == 1:
            part = pull[:, rows] @ u[rows]
        else:
            left = pull[:, rows].reshape(len(pull), count, -1).transpose(1, 0, 2)
            part = (left @ u[rows].reshape(count, -1, u.shape[1])).sum(axis=0)
        out = part if out is None else np.add(out, part, out=out)
    assert out is not None
    return out


def small(size: int) -> int | None:
    """Rows of u in a small product with ``size`` numbers; None where it pays not.

    Up to a million multiplications OpenBLAS does not copy the factors first, which takes half the time where H is small.
    """
    rows = _SMALL // size // 16 * 16
    return rows if rows >= _FEWEST else None


def _stacks(n: int, size: int) -> Sequence[tuple[slice, int]]:
    """Ranges of rows, each a stack of so many small products, and what is left: a call for each would cost too much."""
    step = small(size) or n
    if n <= step:
        return ((slice(None), 1),)
    whole = n // step * step
    return ((slice(0, whole), n // step), (slice(whole, n), 1))[: 1 + (whole < n)]


@dataclass(frozen=True)
class Factors:
    """The factors of the Jacobian of a model on inputs in memory; positions are cases: X̂ (N, D), Â (N, H)."""

    chart: Chart
    X: Floats
    hessian: Hessian
    value: Floats
    stages: tuple[Standardized, ...]
    dtype: type = np.float64

    @cached_property
    def shift(self) -> Floats | None:
        """c, where products can do without a copy X̂ - c: where it is so near that X̂ has as many digits."""
        center = self.chart.center
        if center is None or self.dtype is not np.float64:
            return None
        spread = self.X[:: -(-len(self.X) // _ROWS)].std(axis=0)
        return center if (np.abs(center) <= _NEAR * spread).all() else None

    @cached_property
    def _centered(self) -> Floats:
        """X̂ - c, kept for products; X̂ itself where they see to c."""
        center = self.chart.center if self.shift is None else None
        return (self.X if center is None else self.X - center).astype(self.dtype, copy=False)

    def pieces(self, rows: int) -> Iterator[Piece]:
        """The cases, ``rows`` at a time."""
        return iter(Pieces(self, slice(0, len(self.X)), rows))

    def lanes(self, rows: int, count: int) -> list[Pieces]:
        """The cases in at most ``count`` ranges of pieces of about ``rows``."""
        size = -(-len(self.X) // count)
        ranges = [slice(start, min(start + size, len(self.X))) for start in range(0, len(self.X), size)]
        return [Pieces(self, part, -(-size // -(-size // rows))) for part in ranges]

    @cached_property
    def lead(self) -> Standardized | None:
        """The first stage on cases, if it centers: units enter its means alike in all cases, so coefficients can."""
        first = self.stages[0] if self.stages else None
        return first if isinstance(first, Standardized) and not first.frozen and first.mean is not None else None

    @cached_property
    def _grouped(self) -> dict[int, list[list[Piece]]]:
        return {}

    def groups(self, rows: int, count: int = 8) -> list[list[Piece]]:
        """The cases in ``count`` groups of pieces of ``rows``, for `product`; kept.

        c is subtracted once and for all, or left to `product` as `shift`, and the centering of `lead` is taken out.
        """
        if rows not in self._grouped:
            size = max(rows, -(-len(self.X) // (rows * count)) * rows)
            stages = self.stages if self.lead is None else (replace(self.lead, mean=None), *self.stages[1:])
            centered = replace(self, X=self._centered, chart=replace(self.chart, center=None), stages=stages)
            parts = [slice(start, min(start + size, len(self.X))) for start in range(0, len(self.X), size)]
            self._grouped[rows] = [list(Pieces(centered, part, rows)) for part in parts]
        return self._grouped[rows]


@dataclass(frozen=True)
class Pieces:
    """A range of the cases, some at a time."""

    f: Factors
    part: slice
    rows: int

    def __len__(self) -> int:
        """The number of cases."""
        return int(self.part.stop - self.part.start)

    def __iter__(self) -> Iterator[Piece]:
        f, chart, hessian = self.f, self.f.chart, self.f.hessian
        for start in range(self.part.start, self.part.stop, self.rows):
            some = slice(start, min(start + self.rows, self.part.stop))
            stages = tuple(of_cases(stage, some) for stage in f.stages)
            curvature = replace(hessian, d=hessian.d[some])
            yield Piece(f.X[some], chart.center, chart.constant, curvature, f.value[some], stages, f.dtype)


def factors(at: Linearization) -> Factors | None:
    """The factors of a model's Jacobian; None where its stages do not come in an order that factors."""
    normalized, normalizer = at.normalized, at.model.normalizer
    shape = normalized.A.shape
    first = split(normalizer.summed, len(shape) == 3)
    if first is None:
        return None
    X = normalized.Xhat.reshape(-1, normalized.Xhat.shape[-1])
    fixed = all(isinstance(stage, Frozen) for stage in normalizer.summed[:first])
    center = None if fixed else X.mean(axis=0)
    r, units = coefficients(normalized.What, center), []
    for stage in normalized.summed[:first]:
        assert isinstance(stage, Standardized)
        along, mean = None, None
        if center is not None and not stage.frozen and stage.sigma is not None:
            along, mean = _moments(stage.value.reshape(-1, shape[-1]), X, center)
        units.append(unit_stage(stage, r, along, mean))
        r = units[-1].r
    stages = tuple(flat(stage, shape) for stage in normalized.summed[first:])
    return Factors(
        Chart(at.params, center, tuple(units), bool(stages), normalized.weight, weights_mix(normalizer), r),
        X,
        replace(at.hessian, d=np.asfortranarray(at.hessian.d.reshape(-1, at.hessian.d.shape[-1]))),
        np.asfortranarray(normalized.value.reshape(-1, shape[-1])),
        stages,
    )


def _moments(value: Floats, X: Floats, center: Floats) -> tuple[Floats, Floats]:
    """E[t̂ u] (H, D) and E[t̂] (H,)."""
    along = np.zeros((value.shape[1], X.shape[1]))
    for start in range(0, len(X), _ROWS):
        rows = slice(start, start + _ROWS)
        along += value[rows].T @ (X[rows] - center)  # differences first, so that a large offset costs no digits
    return along / len(X), value.mean(axis=0)

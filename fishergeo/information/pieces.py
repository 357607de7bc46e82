"""The cases of a model, some at a time: the inputs φ, η'', and what the stages on cases need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..families import Floats, Hessian
from ..frozen import Frozen
from ..model import Linearization
from ..standardize import Standardized
from .structure import Chart, coefficients, flat, of_cases, split, unit_stage, weights_mix

_ROWS = 1024


@dataclass(frozen=True)
class Piece:
    """Some of the cases: X̂ (n, D), of which c is subtracted, η'' and Â (n, H), whose columns are contiguous."""

    X: Floats
    center: Floats | None
    constant: bool
    hessian: Hessian
    value: Floats
    stages: tuple[Standardized, ...]

    def __len__(self) -> int:
        return len(self.X)

    @cached_property
    def u(self) -> Floats:
        """X̂ - c."""
        return self.X if self.center is None else self.X - self.center

    def phi(self) -> Floats:
        """φ (n, m)."""
        if not self.constant:
            return self.X
        phi = np.empty((len(self.X), self.X.shape[1] + 1))
        phi[:, -1] = 1
        if self.center is None:
            phi[:, :-1] = self.X
        else:
            np.subtract(self.X, self.center, out=phi[:, :-1])
        return phi

    def forward(self, y: Floats) -> Floats:
        """φ·y (k, H, n) for coefficients y (k, H, m)."""
        k, H, _ = y.shape
        D = self.X.shape[1]
        out = (np.ascontiguousarray(y[..., :D]).reshape(k * H, D) @ self.u.T).reshape(k, H, -1)
        if self.constant:
            out += y[..., D:]
        return out

    def backward(self, pull: Floats) -> Floats:
        """Σ_n φ_n pull_n (k, H, m) for pull (k, H, n)."""
        k, H, n = pull.shape
        D = self.X.shape[1]
        out = np.empty((k, H, D + self.constant))
        out[..., :D] = (pull.reshape(k * H, n) @ self.u).reshape(k, H, D)
        if self.constant:
            out[..., D] = pull.sum(axis=-1)
        return out


@dataclass(frozen=True)
class Factors:
    """The factors of the Jacobian of a model on inputs in memory; positions are cases: X̂ (N, D), Â (N, H)."""

    chart: Chart
    X: Floats
    hessian: Hessian
    value: Floats
    stages: tuple[Standardized, ...]

    @cached_property
    def _centered(self) -> Floats:
        """X̂ - c, kept for products."""
        return self.X if self.chart.center is None else self.X - self.chart.center

    def pieces(self, rows: int, centered: bool = False) -> Iterator[Piece]:
        """The cases, ``rows`` at a time; ``centered`` has c subtracted once and for all."""
        X, center = (self._centered, None) if centered else (self.X, self.chart.center)
        for start in range(0, len(X), rows):
            part = slice(start, start + rows)
            hessian = Hessian(self.hessian.d[part], self.hessian.coupled, self.hessian.mixing)
            stages = tuple(of_cases(stage, part) for stage in self.stages)
            yield Piece(X[part], center, self.chart.constant, hessian, self.value[part], stages)


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
        at.hessian._replace(d=np.asfortranarray(at.hessian.d.reshape(-1, shape[-1]))),
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

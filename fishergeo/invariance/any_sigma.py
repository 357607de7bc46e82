"""Standardizations whose σ is any positive number: what a later stage divides away again needs no formula."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import sympy

from ..axes import Axis
from ..cells import Cells
from ..frozen import Frozen
from ..normalizers import Normalizer, Stage
from ..opaque import Opaque
from ..spectral import Spectral
from ..standardize import Scale, Standardize, Standardized
from ..symbolic.groups import GROUP
from ..symbolic.indexed import IndexArray


class AnySigma(Standardize):
    """Like ``stage``, but divided by a positive symbol with one value for each cell."""

    symbol: str

    def __init__(self, stage: Standardize | Spectral, symbol: str) -> None:
        super().__init__(stage.over, center=stage.center, scale=stage.scale, groups=stage.groups, first=stage.first)
        object.__setattr__(self, "symbol", symbol)

    def __call__(self, t: Any, layout: tuple[Axis, ...], who: str = "AnySigma") -> Standardized:
        plain = Standardize(self.over, scale=Scale.NONE, groups=self.groups, first=self.first)
        centered = plain(t, layout, who) if self.center else None
        mean, c = (None, t) if centered is None else (centered.mean, centered.value)
        grouped = dict(self.groups)
        indices, free = [], []
        for axis, index in zip(layout, c.indices, strict=True):
            kept = axis not in self.over or axis in grouped
            indices.append(index if kept else None)
            if kept and index is not None:
                free.append(GROUP(index, grouped[axis]) if axis in grouped else index)
        name = sympy.IndexedBase(self.symbol, positive=True)[free] if free else sympy.Symbol(self.symbol, positive=True)
        sigma = IndexArray(name, tuple(indices))
        return Standardized(c / sigma, mean, sigma, Cells((), 1))


LETTERS = ("rho", "theta", "phi", "kappa")  # each has a variant form, for the σ after the transformation


def with_any_sigma(normalizer: Normalizer, chosen: Sequence[int], variant: str = "") -> Normalizer:
    """The normalizer with the stages numbered ``chosen``, in the order of `Normalizer.stages`, divided by any σ > 0."""
    number = itertools.count()

    def stage(s: Stage) -> Stage:
        k = next(number)
        return s if k not in chosen or isinstance(s, Frozen | Opaque) else AnySigma(s, variant + LETTERS[chosen.index(k)])

    return normalizer.map_stages(stage)

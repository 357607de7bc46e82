"""Standardizations whose σ is any positive number: what a later stage divides away again needs no formula."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import sympy

from ..axes import Axis
from ..normalizers import Normalizer
from ..standardize import Scale, Stage, Standardize, Standardized
from ..symbolic.indexed import IndexArray


class AnySigma(Standardize):
    """Like ``stage``, but divided by a positive symbol with one value for each cell."""

    symbol: str

    def __init__(self, stage: Standardize, symbol: str) -> None:
        super().__init__(stage.over, center=stage.center, scale=stage.scale, eps=stage.eps, eps_inside=stage.eps_inside)
        object.__setattr__(self, "symbol", symbol)

    def __call__(self, t: Any, layout: tuple[Axis, ...], who: str = "AnySigma") -> Standardized:
        centered = Standardize(self.over, scale=Scale.NONE)(t, layout, who) if self.center else None
        mean, c = (None, t) if centered is None else (centered.mean, centered.value)
        indices = tuple(None if axis in self.over else index for axis, index in zip(layout, c.indices, strict=True))
        free = tuple(index for index in indices if index is not None)
        name = sympy.IndexedBase(self.symbol, positive=True)[free] if free else sympy.Symbol(self.symbol, positive=True)
        return Standardized(c / IndexArray(name, indices), mean, IndexArray(name, indices), (), 1, 1, 1)


LETTERS = ("rho", "theta", "phi", "kappa")  # each has a variant form, for the σ after the transformation


def with_any_sigma(normalizer: Normalizer, chosen: Sequence[int], variant: str = "") -> Normalizer:
    """The normalizer with the stages numbered ``chosen``, in the order of `Normalizer.stages`, divided by any σ > 0."""
    number = itertools.count()

    def stage(s: Stage) -> Stage:
        k = next(number)
        return AnySigma(s, variant + LETTERS[chosen.index(k)]) if k in chosen and isinstance(s, Standardize) else s

    return normalizer.map_stages(stage)

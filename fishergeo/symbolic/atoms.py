"""A normalizer run in index notation with everything it computes named, so that formulas stay short and can be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import sympy
from sympy import Expr, Indexed, IndexedBase, KroneckerDelta, Symbol

from ..axes import Axis, Site
from ..frozen import Frozen
from ..normalizers import Done, Normalized, Normalizer
from ..spectral import SpectrallyScaled
from ..standardize import Scale, Standardize, Standardized
from .arrays import Numbers, length
from .groups import GROUP
from .indexed import IndexArray, generic
from .rules import Rule, rewrite
from .sums import INDEX, I, axis_of

INPUT = Symbol("d'", integer=True)  # the input whose weight is varied
_SITES = (("inputs", Site.INPUTS, "x"), ("weight", Site.WEIGHT, "w"), ("summed", Site.SUMMED, "a"))

_PLACE = {Axis.SAMPLE: 0, Axis.POSITION: -2, Axis.UNIT: -1, Axis.INPUT: -1}  # of an axis in an array of all its axes

Source = Callable[[Normalizer, Normalized], Any]  # where a name's numbers are, in a run on concrete arrays


def _through_group(expr: Expr, index: Symbol) -> Expr:
    """The group of ``index`` if the expression depends on it through that alone, else the index."""
    groups = {part for part in expr.atoms(GROUP) if part.args[0] == index}
    without = expr.xreplace({group: Symbol("z") for group in groups})
    return groups.pop() if len(groups) == 1 and index not in without.free_symbols else index


@dataclass(frozen=True)
class Atoms:
    """A normalizer on generic arrays; the stages of ``normalized`` hold names.

    ``definitions`` says what each name stands for, in order; ``known`` rewrites sums of names (Σ â = 0, Σ â² = N,
    Σ x̂ŵ = a); ``undo`` rewrites a as σâ + ā; ``sources`` finds the numbers of a name in a run on concrete arrays.
    """

    normalized: Normalized
    definitions: tuple[Rule, ...]
    known: tuple[Rule, ...]
    undo: tuple[Rule, ...]
    sources: Mapping[Symbol, Source]
    shapes: Mapping[Symbol, tuple[Any, ...]]  # of names that no definition introduces

    @property
    def value(self) -> Expr:
        """The normalized summed inputs, â_nh."""
        return self.normalized.value.expr

    def jvp(self) -> Expr:
        """∂â_nh/∂w_id': the normalizer's own tangent in the direction dw_hd = δ_hi δ_dd'."""
        unit, column = INDEX[Axis.UNIT], INDEX[Axis.INPUT]
        direction = IndexArray(KroneckerDelta(unit, I) * KroneckerDelta(column, INPUT), (unit, column))
        return self.tidy(self.normalized.jvp(direction).expr)

    def numbers(
        self, normalizer: Normalizer, at: Normalized, sizes: Mapping[Axis, int], numbers: Numbers
    ) -> dict[Any, Any]:
        """The value of every name in a run on concrete arrays, with one axis for each of the name's indices."""
        shapes: dict[Any, Any] = dict(self.shapes) | {
            atom.base.label if isinstance(atom, Indexed) else atom: getattr(atom, "indices", ())
            for atom in (rule.left for rule in self.definitions)
        }
        out = {}
        for label, source in self.sources.items():
            array = numbers.array(source(normalizer, at))
            if label in shapes:
                for group in (index for index in shapes[label] if isinstance(index, GROUP)):
                    place = _PLACE[axis_of(group.args[0])]
                    every = array.shape[place] // int(group.args[1])
                    array = array.take(range(0, array.shape[place], every), axis=place)
                array = array.reshape([length(index, sizes) for index in shapes[label]])
            out[label] = array
        return out

    def tidy(self, expr: Expr) -> Expr:
        """The canonical form with the known sums; a = σâ + ā is used where it leaves fewer terms and no mean."""
        kept = rewrite(expr, self.known)
        undone = rewrite(expr, [*self.known, *self.undo])
        means = any("bar" in str(atom.base) for atom in undone.atoms(Indexed))
        return kept if means or len(sympy.Add.make_args(undone)) >= len(sympy.Add.make_args(kept)) else undone


@lru_cache(maxsize=256)
def atoms(normalizer: Normalizer) -> Atoms:
    """Run ``normalizer`` on x_nd and w_hd, naming what each stage makes."""
    run = _Run(normalizer)
    X, inputs = run.site(0, generic("x", Site.INPUTS, positions=run.positions), lambda _, at: at.Xhat)
    W, weight = run.site(1, generic("w", Site.WEIGHT), lambda _, at: at.What)
    product = X @ W.swapaxes(-1, -2)
    A = run.name("ahat" if normalizer.has_gain and not normalizer.summed else "a", product, lambda _, at: at.A)
    run.known.insert(0, Rule(product.expr, A.expr))
    _, summed = run.site(2, A)
    normalized = Normalized(inputs, weight, summed, X, W, A)
    return Atoms(normalized, tuple(run.definitions), tuple(run.known), tuple(run.undo), run.sources, run.shapes)


@dataclass
class _Run:
    normalizer: Normalizer
    definitions: list[Rule] = field(default_factory=list)
    known: list[Rule] = field(default_factory=list)
    undo: list[Rule] = field(default_factory=list)
    sources: dict[Symbol, Source] = field(default_factory=dict)
    shapes: dict[Symbol, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def positions(self) -> bool:
        return self.normalizer.tells_positions_apart

    def name(self, label: str, array: Any, source: Source, positive: bool = False) -> Any:
        """A name for an index array, entered among the definitions; given numbers stay numbers."""
        if not isinstance(array, IndexArray):
            return array
        used = [_through_group(array.expr, index) for index in array.indices if index is not None]
        kind = {"positive": True} if positive else {"real": True}
        atom = IndexedBase(label, **kind)[tuple(used)] if used else Symbol(label, **kind)
        self.definitions.append(Rule(atom, array.expr))
        self.sources[Symbol(label, **kind) if used else atom] = source
        return IndexArray(atom, array.indices)

    def site(self, place: int, t: IndexArray, raw: Source | None = None) -> tuple[IndexArray, tuple[Done, ...]]:
        part, site, letter = _SITES[place]
        stages = getattr(self.normalizer, part)
        if raw is not None and not stages:
            self.sources[t.expr.base.label] = raw
            self.shapes[t.expr.base.label] = t.expr.indices
        done = []
        for k, stage in enumerate(stages):
            suffix = "" if k == len(stages) - 1 else str(k + 1)
            done.append(self.stage(part, k, stage, t, site, letter, suffix))
            t = done[-1].value
        return t, tuple(done)

    def stage(self, part: str, k: int, stage: Any, t: IndexArray, site: Site, letter: str, suffix: str) -> Done:
        def source(what: str) -> Source:
            return lambda _, at: getattr(getattr(at, part)[k], what)

        scaled = [s for _, s in self.normalizer.stages if isinstance(s, Frozen) or s.scale is not Scale.NONE]
        mark = "" if len(scaled) == 1 else f"{letter}{suffix}"
        eps = Symbol(f"epsilon{mark}", positive=True)
        has_eps = isinstance(stage, Standardize) and stage.has_eps
        at = (replace(stage, eps=eps) if has_eps else stage)(t, site.layout(2 + self.positions))
        if has_eps:
            self.sources[eps] = lambda normalizer, _: getattr(normalizer, part)[k].eps
        mean = at.mean if at.frozen else self.name(f"{letter}bar{suffix}", at.mean, source("mean"))
        sigma = self.name(f"sigma{mark}", at.sigma, source("sigma"), positive=True)
        plain = t if mean is None else t - mean
        value = self.name(f"{letter}hat{suffix}", plain if sigma is None else plain / sigma, source("value"))
        if isinstance(at, SpectrallyScaled):
            return self.pair(replace(at, value=value, sigma=sigma), source)
        ratio = sigma / (sigma - eps) if isinstance(at.ratio, IndexArray) else at.ratio
        named = replace(at, value=value, mean=mean, sigma=sigma, ratio=ratio)
        if not at.frozen:
            self.remember(stage, named, t, eps)
        return named

    def pair(self, at: SpectrallyScaled, source: Callable[[str], Source]) -> SpectrallyScaled:
        """The singular vectors, ŵv = u and ŵᵀu = v, which are names from the start."""
        u, v, hat = at.u, at.v, at.value
        assert u is not None and v is not None
        for vector, label in ((u, "u"), (v, "v")):
            self.sources[vector.expr.base.label] = source(label)
            self.shapes[vector.expr.base.label] = vector.expr.indices
            self.known.append(Rule((vector * vector).sum((-2, -1)).expr, sympy.Integer(1)))
        self.known.append(Rule((hat * v).sum(-1).expr, u.expr))
        self.known.append(Rule((hat * u).sum(-2).expr, v.expr))
        return at

    def remember(self, stage: Any, at: Standardized, t: IndexArray, eps: Symbol) -> None:
        """What is known of the sums over a cell, and t from t̂."""
        if at.mean is not None:
            self.known.append(Rule(at.cells.sum(at.value).expr, sympy.Integer(0)))
        if at.sigma is not None:
            spread, sigma = sympy.Integer(1), at.sigma.expr
            if stage.has_eps:
                spread = 1 - eps / sigma**2 if stage.eps_inside else (1 - eps / sigma) ** 2
            self.known.append(Rule(at.cells.sum(at.value * at.value).expr, at.weight * spread))
        back = at.value if at.sigma is None else at.value * at.sigma
        self.undo.append(Rule(t.expr, (back if at.mean is None else back + at.mean).expr))

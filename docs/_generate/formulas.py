"""The definition of a normalizer as formulas: what it names when run in index notation, as usually written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

from fishergeo.axes import Axis, Site
from fishergeo.cells import Cells
from fishergeo.normalizer import Normalizer
from fishergeo.standardize import Scale, Standardize
from fishergeo.symbolic.atoms import atoms
from fishergeo.symbolic.groups import GROUP
from fishergeo.symbolic.indexed import IndexArray, generic
from fishergeo.symbolic.jacobian import GAIN
from fishergeo.symbolic.latex import latex
from fishergeo.symbolic.rules import Rule, vanishes
from fishergeo.symbolic.sums import axis_of, over

_SUMMED = {axis: sympy.Symbol(name, integer=True) for axis, name in zip(Axis, "mtke")}  # indices that are summed over
_BIAS = generic("b", Site.SUMMED, [Axis.UNIT])


def definition(normalizer: Normalizer) -> list[Rule]:
    """What â_nh and the names in it stand for, in order; σ as the root of a sum of squares, which is checked."""
    known = atoms(normalizer)
    written = {rule.left: rule.right for rule in known.definitions}
    for sigma, entry, mean, cells, scale in _spreads(normalizer):
        formula = _root(entry, mean, cells, scale)
        rules = [Rule(left, right) for left, right in written.items() if mean is not None and left == mean.expr]
        if not vanishes(formula**2 - written[sigma] ** 2, rules):  # both are roots
            raise ArithmeticError(f"{normalizer.name}: {sigma} is {written[sigma]}, not {formula}")
        written[sigma] = formula
    return [Rule(left, right) for left, right in written.items()]


def _spreads(normalizer: Normalizer) -> Iterator[tuple[Any, IndexArray, IndexArray | None, Cells, Scale]]:
    """σ, the array it is of, the mean, the cells and the scale, for each stage that computes a σ of its own."""
    run = atoms(normalizer).normalized
    starts = (
        generic("x", Site.INPUTS, positions=normalizer.tells_positions_apart),
        generic("w", Site.WEIGHT),
        run.A,
    )
    for t, stages, done in zip(
        starts,
        (normalizer.inputs, normalizer.weight, normalizer.summed),
        (run.inputs, run.weight, run.summed),
        strict=True,
    ):
        for stage, at in zip(stages, done, strict=True):
            if isinstance(stage, Standardize) and at.sigma is not None and not stage.has_eps:
                yield at.sigma.expr, t, at.mean, at.cells, stage.scale
            t = at.value


def _root(entry: IndexArray, mean: IndexArray | None, cells: Cells, scale: Scale) -> Any:
    """√(Σ (t - mean)²/K), or √(Σ (t - mean)²) for a norm."""
    indices = {k: entry.indices[k] for k in cells.axes}
    summed = {index: _SUMMED[axis_of(index)] for index in indices.values()}
    inside = entry.expr.xreplace(summed) - (0 if mean is None else mean.expr)
    marks = sympy.Mul(
        *(sympy.KroneckerDelta(GROUP(indices[k], parts), GROUP(summed[indices[k]], parts)) for k, parts in cells.groups),
        1 if cells.share is None else cells.share.expr.xreplace(summed),
    )
    return sympy.sqrt(over(marks * inside**2, *summed.values()) / (cells.count if scale is Scale.STD else 1))


def definition_latex(normalizer: Normalizer) -> list[tuple[str, str]]:
    """Both sides of every definition, and of z."""
    value = atoms(normalizer).normalized.value.expr
    z = sympy.IndexedBase("z", real=True)[_predictor(value)]
    whole = (GAIN.expr * value if normalizer.has_gain else value) + _BIAS.expr
    return [(latex(rule.left), latex(rule.right)) for rule in definition(normalizer)] + [(latex(z), latex(whole))]


def _predictor(value: Any) -> tuple[Any, ...]:
    """The indices of z: those of â, or of the cases and units where â is no name."""
    return value.indices if isinstance(value, sympy.Indexed) else generic("z", Site.SUMMED).indices

r"""How the blocks of the Fisher matrix change under a transformation.

With F̄ = E[Jᵀ (η''/φ) J], a block changes by the product of the factors of its two Jacobian columns as long as η'' does
not change.  Where Â stays, or becomes f Â, the factors follow by differentiating that; elsewhere the tangent of the
definition is run in index notation before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import sympy

from ..axes import Axis, Site
from ..errors import check_positive
from ..levels import Level
from ..normalizers import Normalizer
from ..symbolic.indexed import IndexArray, generic, generic_state
from ..symbolic.latex import latex
from ..symbolic.sums import INDEX, I, J, is_zero
from ..transformations import Permute, Rescale, Rotate, State, Transformation
from .chain import Chain, Run, in_order, parameter_values
from .numbers import example, random_value, with_positions
from .proof import Verdict, prove

BLOCKS = ("ww", "wb", "wg", "bb", "bg", "gg")


@dataclass(frozen=True)
class Scaling:
    """Factors of the Fisher blocks of units i, j under a transformation; None where its columns do not simply scale.

    ``any_family`` says whether Z is unchanged, and with it θ, dθ/dz and η'': then the factors hold for every family and
    link.  Otherwise they hold only where the weight η'' (dθ/dz)² is the same for all z (Gaussian).  ``congruent`` is True
    when the ww block also changes basis, with the units permuted or the inputs rotated.
    """

    normalizer: Normalizer
    transformation: Transformation
    blocks: dict[str, Any]
    any_family: bool
    congruent: bool
    verdict: Verdict

    def at(self, delta: Any = 2) -> dict[str, Any]:
        """The factors as exact numbers when every rescaling factor is ``delta`` > 0: {"ww": 1/4, ...}."""
        check_positive("Scaling.at", delta=delta)
        value = sympy.nsimplify(delta, rational=True)
        return self.between(0, 0, [value] * len(self.transformation.parameters))

    def between(self, i: int, j: int, values: Sequence[Any]) -> dict[str, Any]:
        """The factors of the blocks of units i and j; ``values`` are the parameters of the transformation."""
        known: dict[Any, Any] = {}
        symbols = parameter_values(self.transformation)
        for parameter, symbol, value in zip(self.transformation.parameters, symbols, values, strict=True):
            if parameter.positive and parameter.axes <= {Axis.UNIT}:  # no factor with another index scales a block
                for index, unit in ((I, i), (J, j)):
                    entry = np.ravel(value)[unit if parameter.axes else 0]
                    known[symbol.expr.xreplace({INDEX[Axis.UNIT]: index})] = sympy.sympify(entry)
        return {name: None if f is None else f.xreplace(known) for name, f in self.blocks.items()}

    def __repr__(self) -> str:
        head = f"{self.normalizer.title} / {self.transformation.title}: "
        if all(factor is None for factor in self.blocks.values()):
            return head + "the Fisher blocks do not scale"
        body = ", ".join(f"{name} {'has no law' if f is None else f'x {f}'}" for name, f in self.blocks.items())
        numbers = ", in numbers" if self.verdict.level is Level.NUMERIC else ""
        notes = numbers if self.any_family else " (only where the weight of z is the same for all z, as of a Gaussian)"
        return head + body + notes + (" (after the change of basis)" if self.congruent else "")

    def latex(self) -> str:
        """The law of each block as aligned equations."""
        lines = []
        for name, factor in self.blocks.items():
            symbol = rf"\bar F_{{{name[0]}_i {name[1]}_j}}"
            new = (
                r"\text{no scaling law}" if factor is None else (symbol if factor == 1 else rf"{latex(factor)}\,{symbol}")
            )
            lines.append(rf"{symbol} &\;\to\; {new}")
        return r"\begin{aligned}" + r" \\ ".join(lines) + r"\end{aligned}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"


@lru_cache(maxsize=4096)
def fisher_scaling(normalizer: Normalizer, transformation: Transformation) -> Scaling:
    """How each block (ww, wb, wg, bb, bg, gg) of F̄_ij transforms; ww of batch norm by 1/(δ_iδ_j) when w_h -> δ_h w_h.

    Differentiating Â(δW) = f Â(W) multiplies the weight column by f/δ; elsewhere the tangents before and after are
    compared in index notation.  Raises what `prove` raises.  Corrects Ba, Kiros, Hinton 2016, section 5.2.2: doubling
    ‖w_i‖ divides the ww block by 4.
    """
    verdict = prove(normalizer, transformation)
    columns = _columns(normalizer, transformation, verdict)
    if not normalizer.has_gain:
        del columns["g"]
    blocks = {name: _product(columns[name[0]], columns[name[1]]) for name in BLOCKS if set(name) <= set(columns)}
    return Scaling(normalizer, transformation, blocks, verdict.invariant, bool(_basis(transformation)), verdict)


def _columns(normalizer: Normalizer, transformation: Transformation, verdict: Verdict) -> dict[str, Any]:
    """The factors of the columns of J: of those along weights, biases and gains.

    Where Â becomes f Â and the weights become α W, differentiating divides the weight columns by α: their factor is f/α.
    Where Â does not scale, or f varies from unit to unit, ∂Â/∂W itself is compared.
    """
    likely = {"g": [sympy.Integer(1)], "w": []} if verdict else _likely(normalizer, transformation)
    value = next((f for f in likely["g"] if verdict or _scales_the_value(normalizer, transformation, f)), None)
    if value is None or INDEX[Axis.UNIT] in value.free_symbols:
        weight = next((f for f in likely["w"] if _scales_the_tangent(normalizer, transformation, f)), None)
    else:
        rescales = [
            own[0].expr if own else sympy.Integer(action.sign)
            for action, own in transformation.pairs(parameter_values(transformation))
            if isinstance(action, Rescale) and action.site is Site.WEIGHT
        ]
        weight = value / sympy.Mul(*rescales)
    return {
        "w": None if weight is None or INDEX[Axis.INPUT] in weight.free_symbols else weight,
        "b": sympy.Integer(1),
        "g": value,
    }


def _likely(normalizer: Normalizer, transformation: Transformation) -> dict[str, list[Any]]:
    """The powers of δ (or -1) by which Â, and the weight columns of its Jacobian, change on random models."""
    if normalizer.opaque:  # nothing can be confirmed in index notation
        return {"g": [], "w": []}
    first, *others = (_on_a_model(normalizer, transformation, seed) for seed in range(3))
    return {name: [f for f in found if all(f in other[name] for other in others)] for name, found in first.items()}


def _on_a_model(normalizer: Normalizer, transformation: Transformation, seed: int) -> dict[str, list[Any]]:
    rng = np.random.default_rng(seed)
    X, W = example(normalizer, rng)
    values = [random_value(parameter, X, W, rng) for parameter in transformation.parameters]
    candidates = [(sympy.Integer(sign), np.full((len(W), 1), float(sign))) for sign in (1, -1)]
    symbols = parameter_values(transformation)
    for parameter, symbol, value in zip(transformation.parameters, symbols, values, strict=True):
        if parameter.positive and parameter.axes <= {Axis.UNIT}:  # no factor with another index scales a block
            each = np.broadcast_to(np.ravel(value), len(W))[:, None]
            candidates += [(symbol.expr**power, each**power) for power in (1, -1, 2, -2)]
    u = rng.normal(size=W.shape)
    moved = transformation.act(State(X, W), values)
    before, after = normalizer(X, W), normalizer(moved.X, moved.W, moved.shift)
    turned = after.jvp(_turned(transformation, X, u, values))
    order = slice(None) if moved.order is None else moved.order

    def alike(new: Any, old: Any) -> bool:
        return np.allclose(new, old[..., order], rtol=1e-7, atol=1e-9)

    return {
        "g": [f for f, number in candidates if alike(after.value, number[:, 0] * before.value)],
        "w": [f for f, number in candidates if alike(turned, before.jvp(number * u))],
    }


def _scales_the_value(normalizer: Normalizer, transformation: Transformation, factor: Any) -> bool:
    """Whether Â becomes ``factor`` Â, in index notation."""
    chain = Chain(normalizer, transformation)
    return is_zero(chain.after.expr - factor * in_order(chain.before, chain.order).expr)


def _scales_the_tangent(normalizer: Normalizer, transformation: Transformation, factor: Any) -> bool:
    """Whether the columns of ∂Â/∂W are multiplied by ``factor``, in index notation."""
    positions = with_positions(normalizer, transformation)
    start = generic_state(positions)
    moved = transformation.act(start, parameter_values(transformation, positions=positions))
    kept = replace(  # what a stage does to an array that does not move is any array, and any direction of it
        normalizer,
        inputs=() if moved.X.expr == start.X.expr else normalizer.inputs,
        weight=() if moved.W.expr == start.W.expr else normalizer.weight,
    )
    return any(_same_tangent(each, transformation, factor) for each in dict.fromkeys((kept, normalizer)))


def _same_tangent(normalizer: Normalizer, transformation: Transformation, factor: Any) -> bool:
    run = Run.of(normalizer, transformation)
    direction = generic("u", Site.WEIGHT)
    turned = _turned(transformation, run.start.X, direction, parameter_values(transformation))
    scaled = IndexArray(factor * direction.expr, direction.indices)
    return is_zero(run.after.jvp(turned).expr - run.expected(run.before.jvp(scaled)).expr)


def _basis(transformation: Transformation) -> list[Permute | Rotate]:
    return [action for action in transformation.actions if isinstance(action, Permute | Rotate)]


def _turned(transformation: Transformation, X: Any, direction: Any, values: Any) -> Any:
    """A direction as the permutation and the rotation turn it: a turned model is compared in the turned basis."""
    for action, own in transformation.pairs(values):
        if isinstance(action, Permute | Rotate):
            direction = action.act(State(X, direction), own).W
    return direction


def _product(left: Any, right: Any) -> Any:
    """The factor of block (i, j); None where a column does not scale, or scales differently from case to case."""
    if left is None or right is None:
        return None
    factor = left.xreplace({INDEX[Axis.UNIT]: I}) * right.xreplace({INDEX[Axis.UNIT]: J})
    return None if INDEX[Axis.SAMPLE] in factor.free_symbols else factor

r"""How the blocks of the Fisher matrix change under a transformation.

With F̄ = E[Jᵀ (η''/φ) J], a block changes by the product of the factors of its two Jacobian columns as long as η'' does
not change.  The factors are found by running the tangent of the definition in index notation before and after.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy

from ..axes import Axis, Site
from ..normalizers import Normalizer
from ..symbolic.indexed import IndexArray, generic, generic_value
from ..symbolic.latex import latex
from ..symbolic.sums import INDEX, I, J, is_zero
from ..transformations import Permute, Rotate, State, Transformation
from .proof import Run, Verdict, prove

BLOCKS = ("ww", "wb", "wg", "bb", "bg", "gg")


@dataclass(frozen=True)
class Scaling:
    """Factors of the Fisher blocks of units i, j under a transformation; None where a block does not simply scale.

    ``any_family`` says whether Z, and with it η'', is unchanged: then the factors hold for every family.  Otherwise they
    hold only where Cov[y|x] does not depend on z (Gaussian).  ``congruent`` is True when the ww block also changes basis,
    with the units permuted or the inputs rotated.
    """

    normalizer: Normalizer
    transformation: Transformation
    blocks: dict[str, Any]
    any_family: bool
    congruent: bool
    verdict: Verdict

    def at(self, delta: Any = 2) -> dict[str, Any]:
        """The factors as exact numbers when every rescaling factor is ``delta``: {"ww": 1/4, ...}."""
        value = sympy.nsimplify(delta, rational=True)
        return {name: None if f is None else _substitute(f, value) for name, f in self.blocks.items()}

    def __repr__(self) -> str:
        head = f"{self.normalizer.title} / {self.transformation.title}: "
        if all(factor is None for factor in self.blocks.values()):
            return head + "the Fisher blocks do not scale"
        body = ", ".join(f"{name} {'has no law' if f is None else f'x {f}'}" for name, f in self.blocks.items())
        notes = "" if self.any_family else " (only where Cov[y|x] does not depend on z)"
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


def _substitute(expr: Any, value: Any) -> Any:
    deltas = {a for a in expr.atoms(sympy.Indexed) if str(a.base.label).startswith("delta")}
    deltas |= {a for a in expr.atoms(sympy.Symbol) if a.name.startswith("delta")} - {a.base.label for a in deltas}
    return sympy.sympify(expr).xreplace(dict.fromkeys(deltas, value))


@lru_cache(maxsize=4096)
def fisher_scaling(normalizer: Normalizer, transformation: Transformation) -> Scaling:
    """How each block (ww, wb, wg, bb, bg, gg) of F̄_ij transforms; ww of batch norm by 1/(δ_iδ_j) when w_h -> δ_h w_h.

    Raises what `prove` raises.  Corrects Ba, Kiros, Hinton 2016, section 5.2.2: doubling ‖w_i‖ divides the ww block by 4.
    """
    verdict = prove(normalizer, transformation)
    run = Run.of(normalizer, transformation)
    candidates = [sympy.Integer(1), sympy.Integer(-1), *(delta**k for delta in run.factors for k in (1, -1, 2, -2))]
    basis = [action for action in transformation.actions if isinstance(action, Permute | Rotate)]
    direction = turned = generic("u", Site.WEIGHT)
    for action in basis:  # a permuted or rotated model is compared in the permuted or rotated basis
        turned = action.act(State(run.start.X, turned), [generic_value(p) for p in action.parameters]).W

    def ratio(after: IndexArray, before: IndexArray) -> Any:
        found = (f for f in candidates if is_zero(after.expr - f * run.expected(before).expr))
        return next(found, None)

    column = {"w": ratio(run.after.jvp(turned), run.before.jvp(direction)), "b": sympy.Integer(1)}
    if normalizer.has_gain:
        column["g"] = ratio(run.after.value, run.before.value)
    blocks = {name: _product(column[name[0]], column[name[1]]) for name in BLOCKS if set(name) <= set(column)}
    return Scaling(normalizer, transformation, blocks, verdict.invariant, bool(basis), verdict)


def _product(left: Any, right: Any) -> Any:
    """The factor of block (i, j); None where a column does not scale, or scales differently from case to case."""
    if left is None or right is None:
        return None
    factor = left.xreplace({INDEX[Axis.UNIT]: I}) * right.xreplace({INDEX[Axis.UNIT]: J})
    return None if INDEX[Axis.SAMPLE] in factor.free_symbols else factor

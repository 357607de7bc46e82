r"""Eigenvalues and pseudo-determinants of the Fisher matrix of one unit, for white Gaussian inputs.

On the inputs orthogonal to the weights F is a multiple of the identity; on the direction of the weights, the bias and the
gain it is a matrix of two or three rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from sympy import Expr, KroneckerDelta

from ..axes import Axis
from ..errors import InputError
from ..symbolic import latex as printing
from ..symbolic.atoms import INPUT
from ..symbolic.rules import Rule, rewrite
from ..symbolic.sums import SIZE, I, J, normal, over, rename, resum
from . import averages as of
from .forms import ClosedForm

D = SIZE[Axis.INPUT]


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues with their multiplicities."""

    pairs: tuple[tuple[Expr, Expr], ...]

    @property
    def determinant(self) -> Expr:
        """The product of the eigenvalues that are not 0."""
        once = sympy.Mul(*(value for value, times in self.pairs if value != 0 and times == 1))
        often = (value**times for value, times in self.pairs if value != 0 and times != 1)
        return sympy.factor(sympy.expand(once)) * sympy.Mul(*often)

    @property
    def nullity(self) -> Expr:
        """How often the eigenvalue 0 occurs."""
        return sympy.Add(*(times for value, times in self.pairs if value == 0))

    def at(self, values: Mapping[Any, Any]) -> Any:
        """All eigenvalues as sorted numbers, for values of the symbols."""
        out: list[float] = []
        for value, times in self.pairs:
            number, count = (sympy.sympify(x).subs(list(values.items())) for x in (value, times))
            out += [float(number)] * int(count)
        return np.sort(out)

    def latex(self) -> str:
        return printing.multiplicities([(printing.latex(value), printing.latex(times)) for value, times in self.pairs])

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"


def unit_spectrum(form: ClosedForm) -> Spectrum:
    """The eigenvalues of F of one unit i (its weights, bias and gain), for white inputs and independent outputs.

    Raises `InputError` for other inputs and for mixed outputs.
    """
    if not form.inputs.white or form.model.family.mixing is not None:
        raise InputError(f"unit_spectrum got {form!r}: it is for white inputs and independent outputs")
    own = {pair: rename(form.block(*pair).expr, {J: I}) for pair in itertools.product(form.parts, repeat=2)}
    population, d, e = form.population, of.d, of.e
    stages = form.model.normalizer.weight
    ones = int(any(stage.center for stage in stages))
    u = population.weights[I, d] / population.length if stages else of.SPREAD[I, d]
    facts = [*population.facts, Rule(over(of.SPREAD[I, e] ** 2, e), sympy.Integer(1)), *population.run.known]
    spread = normal(own["weight", "weight"]).coeff(KroneckerDelta(d, INPUT))

    def along(row: str, column: str) -> Expr:
        left, right = u if row == "weight" else 1, u.xreplace({d: INPUT}) if column == "weight" else 1
        bound = [index for index, part in ((d, row), (INPUT, column)) if part == "weight"]
        return normal(rewrite(resum(normal(left * own[row, column] * right), bound), facts))

    small = sympy.Matrix([[along(row, column) for column in form.parts] for row in form.parts])
    apart = spread * (KroneckerDelta(d, INPUT) - (1 / D if ones else 0))
    rest = own["weight", "weight"] - apart - (small[0, 0] - spread) * u * u.xreplace({d: INPUT})
    assert normal(rest) == 0, "the weight block is not that of white inputs"
    pairs = [(spread, D - 1 - ones)]
    null = ones
    if not any(small[0, :]):
        small, null = small[1:, 1:], null + 1
    elif small.rows == 3:
        assert sympy.expand(small.det()) == 0, "weights and gain are not exchangeable"
        null += 1
    trace, minor = sympy.factor(small.trace()), sympy.factor(_minors(small))
    # (a + d)² - 4(ad - b²) = (a - d)² + 4b² for two rows
    square = (small[0, 0] - small[1, 1]) ** 2 + 4 * small[0, 1] ** 2 if small.rows == 2 else trace**2 - 4 * minor
    root = sympy.sqrt(square)
    pairs += [((trace + sign * root) / 2, sympy.Integer(1)) for sign in (1, -1)]
    return Spectrum((*pairs, *([(sympy.Integer(0), sympy.Integer(null))] if null else [])))


def _minors(small: Any) -> Expr:
    """The sum of the principal minors of two rows."""
    return sympy.Add(*(small[list(rows), list(rows)].det() for rows in itertools.combinations(range(small.rows), 2)))

"""LaTeX of index-notation expressions: the one place where formulas are typed by hand."""

from __future__ import annotations

from typing import Any

import sympy
from sympy.printing.latex import LatexPrinter

from .sums import PERMUTATION

ACCENTS = {"ahat": r"\hat{a}", "What": r"\hat{w}", "Xhat": r"\hat{x}"}


class IndexPrinter(LatexPrinter):
    """Prints X[n, d] as x_{nd}, and sums with their index below and size above."""

    def _print_Indexed(self, expr: Any) -> str:
        name = str(expr.base.label)
        base = ACCENTS.get(name) or self._print(expr.base.label)
        return f"{base}_{{{' '.join(self._print(index) for index in expr.indices)}}}"

    def _print_Sum(self, expr: Any) -> str:
        limits = "".join(rf"\sum_{{{self._print(i)}=1}}^{{{self._print(size)}}} " for i, _, size in expr.limits)
        return limits + self._print(expr.function)

    def _print_Mul(self, expr: Any) -> str:
        sums = [factor for factor in expr.args if isinstance(factor, sympy.Sum)]
        if not sums:
            return super()._print_Mul(expr)
        rest = sympy.Mul(*(factor for factor in expr.args if not isinstance(factor, sympy.Sum)))
        tail = " ".join(
            self._print(factor) if len(sums) == 1 else rf"\left({self._print(factor)}\right)" for factor in sums
        )
        if rest == 1:
            return tail
        if rest == -1:
            return "- " + tail
        head = rf"\left({self._print(rest)}\right)" if rest.is_Add else self._print(rest)
        return f"{head} {tail}"

    def _print_KroneckerDelta(self, expr: Any, exp: str | None = None) -> str:
        body = r"\delta_{" + " ".join(self._print(index) for index in expr.args) + "}"
        return body if exp is None else f"{body}^{{{exp}}}"

    def _print_Function(self, expr: Any, exp: str | None = None) -> str:
        if expr.func == PERMUTATION:
            return rf"\pi({self._print(expr.args[0])})"
        return super()._print_Function(expr, exp)


def latex(expr: Any) -> str:
    """The LaTeX of an expression in index notation, in the subset that amsmath alone typesets."""
    return IndexPrinter({"fold_short_frac": False}).doprint(expr)


def matrix(values: Any) -> str:
    """A small exact matrix (a 2-d object array) as a bmatrix."""
    rows = [" & ".join(sympy.latex(sympy.sympify(value)) for value in row) for row in values]
    return r"\begin{bmatrix}" + r" \\ ".join(rows) + r"\end{bmatrix}"

"""LaTeX of index-notation expressions; here and in `vectors` alone formulas are typed by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy
from sympy.core.function import AppliedUndef
from sympy.printing.latex import LatexPrinter

from .groups import GROUP
from .sums import PERMUTATION, SIZE, Deferred, axis_of

_ACCENTS = {"hat": r"\hat", "bar": r"\bar", "dot": r"\dot", "tilde": r"\tilde"}
MEAN_OVER_CASES = r"\mathrm{E}"
_NAMES = {"eta": r"\eta''", **{f"kappa{k}": rf"\kappa^{{({k})}}" for k in range(3)}}  # of an indexed symbol


def symbol_name(name: str, bold: bool = False) -> str:
    """The LaTeX of a name: ahat is a with a hat, ahat1 the first of several, sigmaw the σ of the weights."""
    if name in _NAMES:
        return _NAMES[name]
    if accented := re.fullmatch(r"([a-z]+?)(hat|bar|dot|tilde)(\d?)", name):
        letter, accent, stage = accented.groups()
        body = rf"{_ACCENTS[accent]}{{{symbol_name(letter, bold)}}}"
        return rf"{body}^{{({stage})}}" if stage else body
    if block := re.fullmatch(r"F([vwbg]{2})", name):
        return rf"\bar{{F}}^{{{block.group(1)}}}"
    if sited := re.fullmatch(r"(sigma|epsilon)([xwa])(\d?)", name):
        letter, site, stage = sited.groups()
        return rf"\{letter}^{{{site}{f'({stage})' if stage else ''}}}"
    plain = sympy.latex(sympy.Symbol(name))
    return rf"\boldsymbol{{{plain}}}" if bold else plain


class IndexPrinter(LatexPrinter):
    """Prints X[n, d] as x_{nd}, sums with their index below and size above, and fractions of monomials only."""

    def _print_Indexed(self, expr: Any) -> str:
        return f"{symbol_name(str(expr.base.label))}_{{{' '.join(self._print(index) for index in expr.indices)}}}"

    _print_Symmetric = _print_Indexed

    def _print_Symbol(self, expr: Any) -> str:
        return symbol_name(expr.name) if expr.name.isalnum() else super()._print_Symbol(expr)

    def _print_Sum(self, expr: Any) -> str:
        limits = "".join(rf"\sum_{{{self._print(i)}=1}}^{{{self._print(size)}}} " for i, _, size in expr.limits)
        return limits + self._factor(expr.function)

    def _print_Partial(self, expr: Any) -> str:
        what, by, *at = expr.args
        order = 1
        while isinstance(what, type(expr)) and what.args[1:] == (by,):
            what, order = what.args[0], order + 1
        power = f"^{{{order}}}" if order > 1 else ""
        below = rf"\partial {self._print(by)}{power}"
        body = self._print(what)
        simple = what.is_Symbol or isinstance(what, sympy.Indexed | AppliedUndef)
        text = (
            rf"\frac{{\partial{power} {body}}}{{{below}}}"
            if simple
            else rf"\frac{{\partial{power}}}{{{below}}} \left({body}\right)"
        )
        return rf"\left. {text} \right|_{{{self._print(by)} = {self._print(at[0])}}}" if at else text

    def _print_At(self, expr: Any) -> str:
        what, by, value = (self._print(arg) for arg in expr.args)
        return rf"\left. {what} \right|_{{{by} = {value}}}"

    def _print_Expectation(self, expr: Any) -> str:
        return rf"\mathrm{{E}}\left[{self._print(expr.args[0])}\right]"

    def _print_Derivative(self, expr: Any) -> str:
        function = expr.expr
        if not isinstance(function, AppliedUndef):
            return super()._print_Derivative(expr)
        name = sympy.latex(sympy.Symbol(function.func.__name__))
        return rf"{name}{chr(39) * expr.derivative_count}\left({self._print(function.args[0])}\right)"

    def _print_Pow(self, expr: Any) -> str:
        base = expr.base
        raised = expr.exp > 1 if expr.exp.is_Integer else not expr.exp.is_number
        if raised and "^" in self._print(base) and not base.is_Add:
            return rf"\left({self._print(base)}\right)^{{{self._print(expr.exp)}}}"
        return super()._print_Pow(expr)

    def _print_Add(self, expr: Any, order: Any = None) -> str:
        out = ""
        parts = sorted(expr.args, key=term_order)
        lead = next((term for term in parts if not _negative(term)), parts[0])
        for term in [lead, *(term for term in parts if term is not lead)]:
            text = self._print(term)
            out += text if not out else (f" - {text[1:].lstrip()}" if text.startswith("-") else f" + {text}")
        return out

    def _print_Mul(self, expr: Any) -> str:
        number, rest = expr.as_coeff_Mul()
        roots = [f for f in sympy.Mul.make_args(rest) if f.is_Pow and abs(f.exp) == sympy.Rational(1, 2)]
        constant = sympy.Mul(*(f for f in roots if f.is_number))
        top, bottom = sympy.fraction((number * constant) ** 2)
        root: list[str] = []
        if constant.is_Mul and sympy.sqrt(top).is_Integer:  # √2/(2√π) is 1/√(2π)
            number, rest, roots = sympy.sign(number) * sympy.sqrt(top), rest / constant, []
            root = [rf"\sqrt{{{self._print(bottom)}}}"]
        if len(roots) > 1 and any(f.exp > 0 for f in roots):
            under = rf"\sqrt{{{self._print(sympy.Mul(*(f**2 for f in roots)))}}}"
            before = expr / sympy.Mul(*roots)
            return under if before == 1 else f"{self._factor(before)} {under}"
        above: list[Any] = []
        below: list[Any] = []
        sums: list[Any] = []
        for factor in sorted(sympy.Mul.make_args(rest) if rest != 1 else (), key=_factor_order):
            if factor.is_Pow and factor.exp.is_number and factor.exp < 0:
                below.append(1 / factor)
            else:
                (sums if factor.has(sympy.Sum, Deferred) or factor.is_Add else above).append(factor)
        sign = "- " if number < 0 else ""
        number = abs(number)
        numerator = ([str(number.p)] if number.p != 1 else []) + [self._factor(f) for f in above]
        alone = number.q == 1 and len(below) == 1 and not root
        denominator = ([] if number.q == 1 else [str(number.q)]) + root
        denominator += [self._print(f) if alone else self._factor(f) for f in below]
        if denominator and len(sums) == 1 and sums[0].is_Add and not numerator and not sums[0].has(sympy.Sum):
            return rf"{sign}\frac{{{self._print(sums[0])}}}{{{' '.join(denominator)}}}"
        head = " ".join(numerator)
        if denominator:
            head = rf"\frac{{{head or '1'}}}{{{' '.join(denominator)}}}"
        last = len(sums) - 1
        tail = [
            self._print(f) if k == last and isinstance(f, sympy.Sum) else self._factor(f, bracket_sums=True)
            for k, f in enumerate(sums)
        ]
        return sign + (" ".join(part for part in (head, *tail) if part) or "1")

    def _factor(self, expr: Any, bracket_sums: bool = False) -> str:
        text = self._print(expr)
        return rf"\left({text}\right)" if expr.is_Add or (bracket_sums and isinstance(expr, sympy.Sum)) else text

    def _print_KroneckerDelta(self, expr: Any, exp: str | None = None) -> str:
        body = "I_{" + " ".join(self._print(index) for index in expr.args) + "}"  # δ is a rescaling factor
        return body if exp is None else f"{body}^{{{exp}}}"

    def _print_loggamma(self, expr: Any) -> str:
        return rf"\log\Gamma\left({self._print(expr.args[0])}\right)"

    def _print_Leading(self, expr: Any, exp: str | None = None) -> str:
        index, count = (self._print(arg) for arg in expr.args)
        return rf"\boldsymbol{{1}}_{{{index} \le {count}}}"

    def _print_LargestEigenvalue(self, expr: Any) -> str:
        entry, *bound = expr.args
        letters = (letter + "'" * k for letter in "kl" for k in range(3))
        free = (s for s in (sympy.Symbol(name, integer=True) for name in letters) if s not in entry.atoms())
        named = entry.xreplace(dict(zip(bound, free)))
        return rf"\lambda_{{\max}}\left({self._print(named)}\right)"

    def _print_Function(self, expr: Any, exp: str | None = None) -> str:
        if expr.func == GROUP:
            return rf"[{self._print(expr.args[0])}]_{{{self._print(expr.args[1])}}}"
        if expr.func == PERMUTATION:
            return rf"\varpi({self._print(expr.args[0])})"
        return super()._print_Function(expr, exp)


def _text(expr: Any) -> str:
    """A name to sort by, in which d' follows d."""
    return str(expr).replace("'", "~").replace("]", " ")


def _negative(term: Any) -> bool:
    return bool(term.as_coeff_Mul()[0] < 0)


def term_order(term: Any) -> Any:
    rest = term.as_coeff_Mul()[1]
    sums = sum(len(part.limits) for part in rest.atoms(sympy.Sum))
    return sums, not rest.has(sympy.KroneckerDelta), len(sympy.Mul.make_args(rest)), _text(rest)


def _factor_order(factor: Any) -> Any:
    base = factor.as_base_exp()[0]
    first = str(getattr(getattr(base, "base", base), "label", base)) not in ("g", "eta", "mu")
    sums = isinstance(base, sympy.Sum | Mean | Total)
    wide = isinstance(factor, sympy.exp) or hasattr(factor, "elementary")
    return sums, base.is_Add, wide, isinstance(base, sympy.Indexed), not base.is_Symbol, first, _text(base)


def latex(expr: Any) -> str:
    """The LaTeX of an expression in index notation, in the subset that amsmath alone typesets."""
    return IndexPrinter({"fold_short_frac": False}).doprint(expr)


def index_range(index: Any) -> str:
    """The values of an index: n = 1, …, N."""
    return rf"{latex(index)} = 1, \ldots, {latex(SIZE[axis_of(index)])}"


def matrix(values: Any) -> str:
    """A small exact matrix (a 2-d object array) as a bmatrix; a 3-d array as its matrices, one for each case."""
    if np.ndim(values) == 3:
        return r"\left(" + r",\ ".join(map(matrix, values)) + r"\right)"
    cells = [[sympy.sympify(value) for value in row] for row in values]
    rows = [" & ".join(latex(cell) if cell.free_symbols else sympy.latex(cell) for cell in row) for row in cells]
    return r"\begin{bmatrix}" + r" \\ ".join(rows) + r"\end{bmatrix}"


def block_name(row: str, column: str) -> str:
    """F̄_ij with its parts, e.g. \\bar F_{w_i g_j}."""
    names = {"weight": "w", "bias": "b", "gain": "g"}
    return rf"\bar{{F}}_{{{names[row]}_i {names[column]}_j}}"


class Mean(sympy.Expr):
    """The mean over cases of an expression, printed E[…]; over one of their two indices E_n[…] or E_s[…]."""


class Total(sympy.Expr):
    """The sum over the inputs of a vector, printed 1ᵀ…."""


def multiplicities(pairs: Sequence[tuple[str, str]]) -> str:
    """Values, each with how often it occurs."""
    often = ("once" if times == "1" else f"${times}$ times" for _, times in pairs)
    rows = (rf"& {value} && \text{{({words})}}" for (value, _), words in zip(pairs, often))
    return r"\begin{aligned}" + r" \\ ".join(rows) + r"\end{aligned}"


def relative_gap(value: Any) -> str:
    """The gap of eq. (13) of Ba, Kiros, Hinton 2016 to the exact matrix, relative in the Frobenius norm."""
    head = r"\frac{\lVert F_{(13)} - F \rVert}{\lVert F \rVert}"
    return rf"{head} = {sympy.latex(value)} \approx {float(value):.3f}"

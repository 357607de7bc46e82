"""LaTeX of Fisher blocks in matrix form: vectors over the inputs and matrices over the units, of one case."""

from __future__ import annotations

import re
from typing import Any

import sympy

from ..axes import Axis
from .groups import is_group_delta
from .latex import MEAN_OVER_CASES, IndexPrinter, Mean, Total, block_name, latex, symbol_name, term_order
from .layout import aligned
from .sums import INDEX, I, J, axis_of, common_factor, terms

CASES = (Axis.SAMPLE, Axis.POSITION)
_ROW, _COLUMN = INDEX[Axis.UNIT], sympy.Symbol("d'", integer=True)


class VectorPrinter(IndexPrinter):
    """Prints without the index of the case, which E averages over, and without that of the input: vectors over inputs."""

    def _print_Indexed(self, expr: Any) -> str:
        name = symbol_name(str(expr.base.label), bold=any(axis_of(index) is Axis.INPUT for index in expr.indices))
        kept = [self._print(index) for index in expr.indices if axis_of(index) is Axis.UNIT]
        return f"{name}_{{{' '.join(kept)}}}" if kept else name

    _print_Symmetric = _print_Indexed

    def _print_Mean(self, expr: Any) -> str:
        what, *over = expr.args
        mark = "".join(f"_{{{index}}}" for index in over)
        return rf"{MEAN_OVER_CASES}{mark}\left[{self._print(what)}\right]"

    def _print_Total(self, expr: Any) -> str:
        return rf"\boldsymbol{{1}}^{{\top}} {self._factor(expr.args[0])}"


def vector(expr: Any, column: Any) -> str:
    """A vector over the inputs, given by its entry at ``column``: sums over cases as means, 1 where it is constant."""
    out = []
    for term in terms(expr):
        product = sympy.Mul(*(_means(factor) for factor in term))
        if not any(column in f.free_symbols for f in term):
            product = product * sympy.Symbol(r"\boldsymbol{1}")
        out.append(product)
    monomial = common_factor(sympy.Add(*out)) if len(out) > 1 else sympy.Integer(1)
    return VectorPrinter().doprint(monomial * sympy.Add(*(term / monomial for term in out)))


def _means(factor: Any) -> Any:
    if not isinstance(factor, sympy.Sum):
        return factor
    out, sizes = factor.function, {axis_of(index): size for index, _, size in factor.limits}
    for index, _, size in factor.limits:
        if axis_of(index) is Axis.INPUT:
            out = Total(out)
        elif axis_of(index) not in CASES:
            out = sympy.Sum(out, (index, 1, size))
    averaged = [axis for axis in CASES if axis in sizes]
    if not averaged:
        return out
    known = {axis_of(index) for index in _case_indices(factor.function)}
    only = [INDEX[axis] for axis in averaged] if known - set(averaged) else []
    return sympy.Mul(*(sizes[axis] for axis in averaged)) * Mean(out, *only)


def _case_indices(expr: Any) -> set[Any]:
    """The indices of cases and positions, or of their groups, that occur in an expression."""
    return {index for atom in expr.atoms(sympy.Indexed) for index in atom.indices if axis_of(index) in CASES}


def has_vectors(expr: Any) -> bool:
    """Whether the indices of cases and positions can be left out: no sum over one of them has another beside it."""
    for total in expr.atoms(sympy.Sum):
        bound = {index for index, *_ in total.limits}
        axes = {axis_of(index) for index in bound}
        if any(axis_of(index) in axes and index not in bound for index in _case_indices(total.function)):
            return False
    return True


def unit_matrix(expr: Any, row: Any, column: Any = I) -> str:
    """A matrix over the units, given by its entry: δ as I, products of a row and a column part as outer products."""
    monomial = common_factor(expr)
    left = sympy.Mul(*(f for f in sympy.Mul.make_args(monomial) if row in f.free_symbols))
    printer = VectorPrinter()
    out = ""
    for term in sorted(terms(expr), key=lambda term: term_order(sympy.Mul(*term))):
        factors = sympy.Mul.make_args(sympy.Mul(*term) / monomial)
        same = [f for f in factors if is_group_delta(f)]
        factors = [f for f in factors if f not in same]
        if any(isinstance(f, sympy.KroneckerDelta) for f in factors):
            text, rest = "I", [f for f in factors if not isinstance(f, sympy.KroneckerDelta)]
        else:
            rest = [f for f in factors if not {row, column} & f.free_symbols]
            text = " ".join(
                (_bare(printer, [f for f in factors if index in f.free_symbols]) or r"\boldsymbol{1}") + mark
                for index, mark in ((row, ""), (column, r"^{\top}"))
            )
        if same:
            text = r"B" if text == r"\boldsymbol{1} \boldsymbol{1}^{\top}" else rf"B \circ \left({text}\right)"
        number, scale = sympy.Mul(*rest).as_coeff_Mul()
        above, below = sympy.fraction(abs(number) * scale)
        if above != 1:
            text = f"{printer.doprint(above)} {text}"
        text = text if below == 1 else rf"\frac{{{text}}}{{{printer.doprint(below)}}}"
        out += (" - " if number < 0 else " + " if out else "") + text
    diagonal = rf"\operatorname{{diag}}({_bare(printer, [left])})\," if left != 1 else ""
    above, below = sympy.fraction(monomial / left)
    body = rf"\left({out}\right)" if len(terms(expr)) > 1 else out
    scale = "" if (above, below) == (1, 1) else rf"\frac{{{printer.doprint(above)}}}{{{printer.doprint(below)}}}\,"
    return f"{scale}{diagonal}{body}"


def _bare(printer: Any, factors: list[Any]) -> str:
    """The factors as vectors over the units, multiplied entry by entry: their index is left out."""
    shown = r" \circ ".join(re.sub(r"_\{[^}]*\}$", "", printer.doprint(f)) for f in factors)
    return rf"\left({shown}\right)" if len(factors) > 1 else shown


def matrix_form(
    row: str, column: str, sides: tuple[Any, Any], family_curvature: Any, dispersion: Any, bent: bool = False
) -> str:
    """F̄_ij in matrix form: E[η''_ij g_ig_j/(σ_iσ_j) χ_i χ_jᵀ]/φ, or E[(Mᵀη''M)_ij ξ_i ξ_jᵀ]/φ where units mix.

    Each side is ∂z_nh/∂parameter_i, that of a unit itself with its scale g/σ apart (Ba, Kiros, Hinton 2016, eq. 13), or
    M_hi ξ_i; one that does not factor is written as the matrix J_i = ∂z/∂w_i.  Under a link (``bent``) the curvature is
    called ω.
    """
    middle = r"\omega" if bent else r"\eta''"
    kernel, mark, vectors, scales = middle, "_{i j}", [], sympy.Integer(1)
    lines: list[tuple[str, str]] = []
    whole = any(not side.separate and side.own == 1 for side in sides)
    for part, side, unit, transpose in zip((row, column), sides, "ij", (True, False), strict=True):
        symbol, entry = "", _gain_or_one(part, unit)
        if not side.separate:
            symbol = "J_" + unit if side.own == 1 else "M"
            if side.own == 1:
                lines.append((r"(J_i)_{h d'}", latex(side.mixing)))
            else:
                bare = has_vectors(side.mixing)
                lines.append(("M", unit_matrix(side.mixing, _ROW)) if bare else (r"M_{h i}", latex(side.mixing)))
        elif whole:
            symbol = rf"\boldsymbol{{e}}_{unit}"
        if part == "weight" and side.own != 1:
            letter, own = r"\boldsymbol{\xi}", side.own
            if side.separate:
                letter, (factor, own) = r"\boldsymbol{\chi}", _scale_apart(own)
                scales *= factor.xreplace({I: J}) if unit == "j" else factor
            entry = rf"{letter}_{unit}" + ("" if transpose else r"^{\top}")
            bare = has_vectors(own)
            lines.append((rf"{letter}_i", vector(own, _COLUMN)) if bare else (rf"({letter}_i)_{{d'}}", latex(own)))
        if symbol:
            kernel = rf"{symbol}^{{\top}} {kernel}" if transpose else rf"{kernel} {symbol}"
        vectors.append(entry)
    kernel = kernel if whole else (kernel if kernel == middle else rf"\left({kernel}\right)") + mark
    inside = r" \, ".join(
        part for part in (kernel, "" if scales == 1 else VectorPrinter().doprint(scales), *vectors) if part
    )
    scale = "" if dispersion == 1 else rf"\frac{{1}}{{{latex(dispersion)}}}\,"
    if family_curvature is not None:
        lines.append((rf"{middle}_{{h k}}", VectorPrinter().doprint(family_curvature)))
    head = (block_name(row, column), rf"{scale}\mathrm{{E}}\left[{inside}\right]")
    return aligned([head, *dict.fromkeys(lines)])


def _scale_apart(own: Any) -> tuple[Any, Any]:
    """The factors of ∂z/∂w that are the same for every input, and the rest."""
    scale = sympy.Mul(*(f for f in sympy.Mul.make_args(common_factor(own)) if _COLUMN not in f.free_symbols))
    return scale, sympy.Add(*(sympy.Mul(*term) / scale for term in terms(own)))


def _gain_or_one(part: str, unit: str) -> str:
    return rf"\hat{{a}}_{unit}" if part == "gain" else ""

"""Deciding exactly that two numbers differ, which is all that a counterexample rests on."""

from __future__ import annotations

import functools
import operator
from typing import Any

import sympy

_BITS = 200  # of the intervals in which a difference is enclosed
_FACTORED = 2**30  # integers below this leave a square root square-free in SymPy


def differs(a: Any, b: Any) -> bool:
    """Whether two real numbers differ; True is a proof, False says only that it was not shown.

    Roots of distinct square-free integers are linearly independent over the rationals, and SymPy collects equal roots: a
    rational combination of them is 0 only if nothing is left.  Anything else is enclosed in an interval with outward
    rounding.  Raises `TypeError` for what is not built from rationals, π, + * powers, exp and log.
    """
    a, b = sympy.sympify(a), sympy.sympify(b)
    if a == b:
        return False
    if _apart(a, b):  # as they stand: expanding may take long
        return True
    difference = sympy.expand(a - b)
    if difference == 0:
        return False
    return all(map(_is_root, sympy.Add.make_args(difference))) or _apart(difference, sympy.Integer(0))


def equal(a: Any, b: Any) -> bool:
    """Whether two real numbers are equal; True is a proof, False says only that it was not shown."""
    difference = sympy.expand(sympy.sympify(a) - sympy.sympify(b))
    if difference.has(sympy.nan, sympy.zoo, sympy.oo):
        return False
    return difference == 0 or sympy.radsimp(sympy.simplify(difference)) == 0


def _apart(a: Any, b: Any) -> bool:
    """Whether intervals around two numbers have no point in common."""
    from mpmath import iv
    from mpmath.libmp import ComplexResult

    precision, iv.prec = iv.prec, _BITS
    try:
        return 0 not in enclose(a) - enclose(b)
    except (ComplexResult, ZeroDivisionError):  # an interval around 0 under a root or below a line
        return False
    finally:
        iv.prec = precision


def _is_root(term: Any) -> bool:
    """Whether a term is a rational number times square roots of small integers."""
    return all(
        factor.is_Rational
        or (factor.is_Pow and factor.exp == sympy.Rational(1, 2) and factor.base.is_Integer and factor.base < _FACTORED)
        for factor in sympy.Mul.make_args(term)
    )


def enclose(expr: Any) -> Any:
    """An interval that contains a real number."""
    from mpmath import iv

    if expr.is_Rational:
        return iv.mpf(int(expr.p)) / iv.mpf(int(expr.q))
    if expr.is_Pow and expr.exp.is_Rational:
        base = enclose(expr.base)
        if expr.exp.is_Integer:
            return base ** int(expr.exp)
        return iv.sqrt(base) ** int(2 * expr.exp) if expr.exp.q == 2 else iv.exp(iv.log(base) * enclose(expr.exp))
    if expr == sympy.pi:
        return +iv.pi
    parts = [enclose(part) for part in expr.args]
    combine = {sympy.Add: operator.add, sympy.Mul: operator.mul, sympy.exp: iv.exp, sympy.log: iv.log}.get(expr.func)
    if combine is None or not parts:
        raise TypeError(f"{expr} is not built from rationals, π, + * powers, exp and log")
    return functools.reduce(combine, parts) if len(parts) > 1 else combine(parts[0])

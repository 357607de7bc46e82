"""Exact real numbers for small arrays: q√r where that is all they are, else the operations that made them.

Arithmetic costs no simplification; an enclosure, and an expression for SymPy, are made of the numbers that are asked for.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

_PRIMES = tuple(p for p in range(2, 200) if all(p % q for q in range(2, p)))
_LARGE = 40  # operations beyond which a number is given by its digits
_DIGITS = 50
_BITS = 400  # of the intervals that numbers are enclosed in


class Surd:
    """q√r with r > 0 whole, free of small squares; or ``made`` = (operation, operands), where q and r are None."""

    __slots__ = ("__dict__", "made", "q", "r")

    def __init__(self, q: Any, r: int = 1, made: tuple[Any, ...] | None = None) -> None:
        self.q, self.r, self.made = q, r, made

    @classmethod
    def of(cls, value: Any) -> Surd:
        """A whole number, a fraction, a float (as the fraction it is), or a real number of SymPy."""
        if isinstance(value, cls):
            return value
        if hasattr(value, "is_Rational"):
            square = value if value.is_Rational else value**2
            if not square.is_Rational:
                return cls(None, made=("expression", value))
            found = cls(Fraction(int(square.p), int(square.q)))
            return found if value.is_Rational else -found.sqrt() if value.is_negative else found.sqrt()
        return cls(Fraction(value.item() if hasattr(value, "item") else value))

    @property
    def is_zero(self) -> bool:
        return self.q is not None and not self.q

    def __add__(self, other: Any) -> Surd:
        other = Surd.of(other)
        if self.is_zero or other.is_zero:
            return other if self.is_zero else self
        if self.q is not None and other.q is not None and self.r == other.r:
            return Surd(self.q + other.q, self.r)
        return Surd(None, made=("+", self, other))

    def __neg__(self) -> Surd:
        return Surd(-self.q, self.r) if self.q is not None else Surd(None, made=("*", Surd(Fraction(-1)), self))

    def __sub__(self, other: Any) -> Surd:
        return self + -Surd.of(other)

    def __rsub__(self, other: Any) -> Surd:
        return Surd.of(other) - self

    def __mul__(self, other: Any) -> Surd:
        other = Surd.of(other)
        if self.q is not None and other.q is not None:
            shared = math.gcd(self.r, other.r)
            return Surd(self.q * other.q * shared, (self.r // shared) * (other.r // shared))._squarefree()
        if self.is_zero or other.is_zero:
            return Surd(Fraction(0))
        return self.squared() if self is other else Surd(None, made=("*", self, other))

    def squared(self) -> Surd:
        """Roots of what is squared go away."""
        if self.q is not None:
            return Surd(self.q**2 * self.r)
        operation, *parts = self.made or ()
        if operation == "√":
            return parts[0]
        if operation in ("*", "/"):
            first, second = (part.squared() for part in parts)
            return first * second if operation == "*" else first / second
        return Surd(None, made=("*", self, self))

    def __truediv__(self, other: Any) -> Surd:
        other = Surd.of(other)
        if other.is_zero or (other.q is None and 0 in other.enclosure):
            raise ZeroDivisionError("an exact number was divided by 0, or by what is not shown to be another number")
        if other.q is not None:
            return self * Surd(1 / (other.q * other.r), other.r)
        return self if self.is_zero else Surd(None, made=("/", self, other))

    def __rtruediv__(self, other: Any) -> Surd:
        return Surd.of(other) / self

    def __pow__(self, power: int) -> Surd:
        return functools.reduce(lambda a, b: a * b, [self] * power)

    __radd__, __rmul__ = __add__, __mul__

    def sqrt(self) -> Surd:
        """The root of a number that is not negative."""
        if self.q is not None and self.r == 1 and self.q >= 0:
            return Surd(Fraction(1, self.q.denominator), self.q.numerator * self.q.denominator)._squarefree()
        return Surd(None, made=("√", self))

    def _squarefree(self) -> Surd:
        """Squares of small primes, and a whole square, taken out of the root."""
        q, r = self.q, self.r
        if not q or not r:
            return Surd(Fraction(0))
        whole = math.isqrt(r)
        if whole * whole == r:
            return Surd(q * whole)
        for p in _PRIMES:
            while r % (p * p) == 0:
                q, r = q * p, r // (p * p)
        return Surd(q, r)

    def __eq__(self, other: object) -> bool:
        """Whether it is shown that the two are equal."""
        difference = self - Surd.of(other)
        return difference.is_zero

    __hash__ = None  # type: ignore[assignment]

    @functools.cached_property
    def operations(self) -> int:
        """How many operations make the number, counted with every repetition."""
        if self.q is not None or self.made is None:
            return 1
        if self.made[0] == "σ":
            return _LARGE
        return 1 + sum(part.operations for part in self.made[1:] if isinstance(part, Surd))

    @property
    def is_rational(self) -> bool:
        return self.q is not None and self.r == 1

    @classmethod
    def largest_singular(cls, matrix: Any) -> Surd:
        """The largest singular value of a matrix of such numbers."""
        return cls(None, made=("σ", *(matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T)))

    @property
    def is_large(self) -> bool:
        """Whether the number is better given by its digits."""
        return self.operations > _LARGE

    @functools.cached_property
    def enclosure(self) -> Any:
        """An interval of mpmath that contains the number; all numbers where a root or a quotient is not enclosed."""
        from mpmath import iv
        from mpmath.libmp import ComplexResult

        precision, iv.prec = iv.prec, _BITS
        try:
            return self._interval
        except (ComplexResult, ZeroDivisionError):  # an interval around 0 under a root or below a line
            return iv.mpf(["-inf", "inf"])
        finally:
            iv.prec = precision

    @functools.cached_property
    def _interval(self) -> Any:
        from mpmath import iv

        from .exact import enclose

        if self.q is not None:
            return iv.mpf(self.q.numerator) / iv.mpf(self.q.denominator) * iv.sqrt(iv.mpf(self.r))
        operation, first, *second = self.made or ()
        if operation == "expression":
            return enclose(first)
        if operation == "σ":
            return _largest([[entry._interval for entry in row] for row in (first, *second)])
        if operation == "√":
            return iv.sqrt(first._interval)
        return _APPLY[operation](first._interval, second[0]._interval)

    @functools.cached_property
    def _expression(self) -> Any:
        import sympy

        if self.q is not None:
            return sympy.Rational(self.q.numerator, self.q.denominator) * sympy.sqrt(self.r)
        operation, first, *second = self.made or ()
        if operation == "expression":
            return first
        if operation == "√":
            return sympy.sqrt(first._expression)
        return _APPLY[operation](first._expression, second[0]._expression)

    def _sympy_(self) -> Any:
        return self._expression


def _largest(rows: list[list[Any]]) -> Any:
    """An interval around the largest singular value σ: σ² >= vᵀGv/vᵀv with G = WWᵀ, and σ² < μ if μI - G is positive."""
    from mpmath import iv, mp

    size = range(len(rows))
    gram = [[sum((a * b for a, b in zip(rows[i], rows[j], strict=True)), iv.mpf(0)) for j in size] for i in size]
    with mp.workprec(_BITS):
        values, vectors = mp.eigsy(mp.matrix([[mp.mpf(entry.mid) for entry in row] for row in gram]))
        top = iv.mpf(values[len(rows) - 1]) * (1 + iv.mpf(2) ** -(_BITS // 2))
        v = [iv.mpf(vectors[i, len(rows) - 1]) for i in size]
    below = sum(v[i] * gram[i][j] * v[j] for i in size for j in size) / sum(entry**2 for entry in v)
    left = [[(top if i == j else 0) - gram[i][j] for j in size] for i in size]
    for k in size:  # elimination: all pivots are positive
        if not left[k][k] > 0:
            raise ZeroDivisionError("the largest singular value is not enclosed")
        for i in range(k + 1, len(rows)):
            factor = left[i][k] / left[k][k]
            left[i] = [left[i][j] - factor * left[k][j] for j in size]
    return iv.sqrt(iv.mpf([below.a, top.b]))


_APPLY: dict[str, Callable[[Any, Any], Any]] = {"+": operator.add, "*": operator.mul, "/": operator.truediv}


def digits(a: Surd, b: Surd) -> tuple[Any, Any] | None:
    """Both numbers to 50 digits, where it is shown that they differ: intervals around them have no point in common."""
    import sympy
    from mpmath import iv, mp

    intervals = [number.enclosure for number in (a, b)]
    precision, iv.prec = iv.prec, _BITS
    try:
        apart = 0 not in intervals[0] - intervals[1]
        sharp = all(interval.delta <= abs(interval.mid) * iv.mpf(10) ** -_DIGITS for interval in intervals)
        middle = [interval.mid.a for interval in intervals]
    finally:
        iv.prec = precision
    if not (apart and sharp):
        return None
    with mp.workprec(_BITS):
        before, after = (sympy.Float(mp.mpf(number), _DIGITS) for number in middle)
    return before, after

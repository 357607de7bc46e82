"""Concrete arrays behind index notation: evaluation on numbers of any kind, and exact Fisher matrices of small models."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from sympy import Expr, Indexed, KroneckerDelta, Mul, Sum, Symbol

from .. import special
from ..axes import Axis
from ..errors import InputError
from ..normalizers import Normalizer
from ..standardize import root
from .groups import GROUP, LargestEigenvalue, Leading
from .indexed import exact
from .sums import SIZE, axis_of

Named = tuple[Any, tuple[Symbol, ...]]  # an array and the index along each of its axes
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Numbers:
    """A number system: how a SymPy number enters it, and the square root and reciprocal of its arrays."""

    dtype: Any
    number: Callable[[Any], Any]
    sqrt: Callable[[Any], Any] = root
    reciprocal: Callable[[Any], Any] = lambda array: 1 / array

    def array(self, value: Any) -> Any:
        return np.asarray(value, self.dtype)


FLOATS = Numbers(float, float)
EXACT = Numbers(object, exact)


@dataclass(frozen=True)
class Evaluator:
    """Evaluates an index-notation expression on arrays: ``values`` maps each base (or scalar symbol) to its array.

    Raises `InputError` for a symbol without a value and for a sum over a size other than that of the arrays.
    """

    values: Mapping[Any, Any]
    sizes: Mapping[Axis, int]
    numbers: Numbers = FLOATS

    def __call__(self, expr: Expr, indices: Sequence[Symbol] = ()) -> Any:
        """The array of ``expr`` with one axis for each of ``indices``."""
        array, own = self._value(sympy.sympify(expr))
        if extra := set(own) - set(indices):
            raise InputError(f"the expression varies along {sorted(map(str, extra))}: name these indices too")
        full = tuple(self._size(index) for index in indices)
        return np.broadcast_to(_place(array, own, tuple(indices)), full)

    def _size(self, index: Expr) -> int:
        return length(index, self.sizes)

    def _value(self, expr: Expr) -> Named:
        if isinstance(expr, Indexed):
            return self._entry(expr)
        if isinstance(expr, KroneckerDelta):
            a, b = expr.args
            eye = [[self.numbers.number(int(p == q)) for q in range(self._size(b))] for p in range(self._size(a))]
            return self._ungrouped(self.numbers.array(eye), (a, b))
        if isinstance(expr, Leading):
            marks = [self.numbers.number(int(k < self._count(expr.args[1]))) for k in range(self._size(expr.args[0]))]
            return self.numbers.array(marks), expr.args[:1]
        if isinstance(expr, sympy.ceiling | sympy.floor):
            return self.numbers.array(self.numbers.number(self._count(expr))), ()
        if isinstance(expr, LargestEigenvalue):
            entry, row, column = expr.args
            return self.numbers.array(np.linalg.eigvalsh(self(entry, (row, column)))[-1]), ()
        if isinstance(expr, Sum):
            return self._sum(expr)
        if expr.is_Number or expr.is_NumberSymbol:
            return self.numbers.array(self.numbers.number(expr)), ()
        if expr.is_Symbol:
            return self._scalar(expr)
        if expr.is_Pow:
            return self._power(*expr.args)
        parts = [self._value(arg) for arg in expr.args]
        if not (expr.is_Add or expr.is_Mul):
            ((array, own),) = parts
            return self._function(expr.func, array), own
        out = tuple(dict.fromkeys(index for _, own in parts for index in own))
        total = _place(*parts[0], out)
        for array, own in parts[1:]:
            total = total + _place(array, own, out) if expr.is_Add else total * _place(array, own, out)
        return total, out

    def _entry(self, expr: Indexed) -> Named:
        base = expr.base.label
        if base not in self.values:
            raise InputError(f"the expression contains {expr}, for which no array was given")
        array, own = self._ungrouped(self.values[base], expr.indices)
        if len(set(own)) == len(own):
            return array, own
        out = tuple(dict.fromkeys(own))
        letters = dict(zip(out, _LETTERS))
        return np.einsum(f"{''.join(letters[i] for i in own)}->{''.join(letters[i] for i in out)}", array), out

    def _ungrouped(self, array: Any, indices: Sequence[Expr]) -> Named:
        """An array with one entry for each group, repeated for the entries of the group."""
        for k, index in enumerate(indices):
            if isinstance(index, GROUP):
                array = np.repeat(array, self._size(index.args[0]) // int(index.args[1]), axis=k)
        return array, tuple(index.args[0] if isinstance(index, GROUP) else index for index in indices)

    def _count(self, expr: Expr) -> int:
        """A whole number that sizes make, exactly."""
        return int(expr.xreplace({SIZE[axis]: sympy.Integer(size) for axis, size in self.sizes.items()}))

    def _scalar(self, symbol: Symbol) -> Named:
        if symbol in self.values:
            return self.values[symbol], ()
        for axis, size in SIZE.items():
            if symbol == size:
                return self.numbers.array(self.numbers.number(self.sizes[axis])), ()
        raise InputError(f"the expression contains the symbol {symbol}: give it a value, or substitute one with .subs")

    def _power(self, base: Expr, exponent: Expr) -> Named:
        if base == sympy.E:
            array, own = self._value(exponent)
            return self._function(sympy.exp, array), own
        array, own = self._value(base)
        if not exponent.is_Integer:
            if exponent.is_Rational and self.numbers is FLOATS and base.is_positive:
                return array ** float(exponent), own
            if not (2 * exponent).is_Integer:
                raise InputError(f"the power {base}**({exponent}) is neither whole nor a square root")
            array, exponent = self.numbers.sqrt(array), 2 * exponent
        power = array ** abs(int(exponent))
        return (power if exponent > 0 else self.numbers.reciprocal(power)), own

    def _function(self, function: Any, array: Any) -> Any:
        if self.numbers.dtype is object:
            return np.frompyfunc(function, 1, 1)(array)
        x = Symbol("x")
        return special.numeric(function(x), [x])(array)

    def _sum(self, expr: Sum) -> Named:
        for index, low, high in expr.limits:
            runs_to = self.sizes[axis_of(index)] if high in SIZE.values() else high
            if low != 1 or runs_to != self._size(index):
                raise InputError(f"the sum over {index} runs to {high}, but the arrays have size {self._size(index)}")
        bound = [limit[0] for limit in expr.limits]
        parts = [self._value(factor) for factor in Mul.make_args(expr.function)]
        absent = [index for index in bound if not any(index in own for _, own in parts)]
        scale = math.prod(self._size(index) for index in absent)
        out = tuple(dict.fromkeys(i for _, own in parts for i in own if i not in bound))
        letters = dict(zip(dict.fromkeys(i for _, own in parts for i in own), _LETTERS))
        subscripts = ",".join("".join(letters[i] for i in own) for _, own in parts)
        formula = f"{subscripts}->{''.join(letters[i] for i in out)}"
        total = np.einsum(formula, *(array for array, _ in parts), optimize=self.numbers.dtype is float)
        return (total if scale == 1 else total * self.numbers.number(scale)), out


def length(index: Expr, sizes: Mapping[Axis, int]) -> int:
    """How many values an index takes, or the group of one."""
    return int(index.args[1]) if isinstance(index, GROUP) else sizes[axis_of(index)]


def _place(array: Any, own: tuple[Symbol, ...], out: tuple[Symbol, ...]) -> Any:
    """``array`` with its axes in the order of ``out``, length 1 where it does not vary."""
    array = np.asarray(array)
    array = array.transpose([own.index(i) for i in out if i in own])
    return array.reshape([array.shape[sum(j in own for j in out[:k])] if i in own else 1 for k, i in enumerate(out)])


def exact_jacobian(normalizer: Normalizer, X: Any, W: Any, gain: Any = None) -> Any:
    """∂z_nh/∂(w_i, b_i, g_i) at rational X (N, D), W (H, D), g (H,): (P, N, H), each entry by `sympy.diff` of z_nh.

    Nothing but the definition of the normalizer is used: one weight at a time is a symbol, and Z is differentiated.
    """
    X, W = (EXACT.array(np.frompyfunc(exact, 1, 1)(np.asarray(array, object))) for array in (X, W))
    H, D = W.shape
    if normalizer.has_gain and gain is None:
        raise InputError(f"{normalizer.name} needs a gain: give {H} numbers")
    slope = np.frompyfunc(exact, 1, 1)(np.asarray(gain, object)) if normalizer.has_gain else np.full(H, sympy.Integer(1))
    s = Symbol("s", real=True)
    columns = []
    for i in range(H):
        for d in range(D):
            moved = W.copy()
            moved[i, d] = W[i, d] + s
            Z = slope * normalizer(X, moved).value
            columns.append(np.frompyfunc(lambda z: sympy.sympify(z).diff(s).subs(s, 0), 1, 1)(Z))
        unit = np.full((len(X), H), sympy.Integer(0))
        unit[:, i] = 1
        columns.append(unit)
        if normalizer.has_gain:
            columns.append(unit * normalizer(X, W).value)
    return np.stack(columns)


def exact_fisher(normalizer: Normalizer, X: Any, W: Any, curvature: Any, gain: Any = None, dispersion: Any = 1) -> Any:
    """F = 1/(Nφ) Σ_n J_nᵀ η''_n J_n, exactly, for given matrices η''_n (N, H, H); (P, P) as an object array."""
    J = exact_jacobian(normalizer, X, W, gain)
    F = np.einsum("pnh,nhk,qnk->pq", J, np.frompyfunc(exact, 1, 1)(np.asarray(curvature, object)), J)
    return F / (J.shape[1] * exact(dispersion))

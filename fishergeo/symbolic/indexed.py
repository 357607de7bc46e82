"""The index-notation array: one generic entry of an array of symbolic size, on which the definitions run unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from sympy import Expr, Symbol

from ..axes import Axis, Site
from ..transformations import Parameter, State
from .sums import INDEX, PERMUTATION, ROTATION, SIZE, axis_of, root_of, total


@dataclass(frozen=True)
class IndexArray:
    """An array given by its generic entry ``expr``; ``indices`` holds its index along each axis, None for length 1."""

    expr: Expr
    indices: tuple[Symbol | None, ...]

    __array_ufunc__ = None  # NumPy scalars must defer to this class

    @property
    def shape(self) -> tuple[Any, ...]:
        return tuple(1 if index is None else SIZE[axis_of(index)] for index in self.indices)

    def _with(self, other: Any, operation: Callable[[Expr, Expr], Expr]) -> IndexArray:
        if not isinstance(other, IndexArray):
            return IndexArray(operation(self.expr, sympy.sympify(exact(other))), self.indices)
        width = max(len(self.indices), len(other.indices))
        left, right = ((None,) * (width - len(a.indices)) + a.indices for a in (self, other))
        for a, b in zip(left, right, strict=True):
            if a is not None and b is not None and a != b:
                raise ValueError(f"indices {left} and {right} do not match")
        merged = tuple(a if a is not None else b for a, b in zip(left, right, strict=True))
        return IndexArray(operation(self.expr, other.expr), merged)

    def __add__(self, other: Any) -> IndexArray:
        return self._with(other, lambda a, b: a + b)

    def __sub__(self, other: Any) -> IndexArray:
        return self._with(other, lambda a, b: a - b)

    def __mul__(self, other: Any) -> IndexArray:
        return self._with(other, lambda a, b: a * b)

    __rmul__, __radd__ = __mul__, __add__

    def __truediv__(self, other: Any) -> IndexArray:
        return self._with(other, lambda a, b: a / b)

    def __neg__(self) -> IndexArray:
        return self * -1

    def sum(self, axis: Iterable[int] | int, keepdims: bool = True) -> IndexArray:
        """Σ along ``axis``; the summed axes stay as axes of length 1."""
        if not keepdims:
            raise ValueError("an index array keeps its summed axes: use keepdims=True")
        expr, indices = self.expr, list(self.indices)
        for k in (axis,) if isinstance(axis, int) else axis:
            if (index := indices[k]) is not None:
                expr, indices[k] = total(expr, index), None
        return IndexArray(expr, tuple(indices))

    def __matmul__(self, other: Any) -> IndexArray:
        if other is ROTATION:
            index = self.indices[-1]
            rotated = Symbol("f", integer=True)
            expr = total(self.expr * ROTATION[index, rotated], index).xreplace({rotated: index})
            return IndexArray(expr, self.indices)
        if self.indices[-1] is None or self.indices[-1] != other.indices[-2]:
            raise ValueError(f"cannot contract {self.indices} with {other.indices}")
        expr = total(self.expr * other.expr, self.indices[-1])
        return IndexArray(expr, (*self.indices[:-1], other.indices[-1]))

    def swapaxes(self, a: int, b: int) -> IndexArray:
        indices = list(self.indices)
        indices[a], indices[b] = indices[b], indices[a]
        return IndexArray(self.expr, tuple(indices))

    def take(self, order: Any, axis: int) -> IndexArray:
        """The entries permuted along ``axis`` by the symbolic permutation π."""
        index = self.indices[axis]
        return self if index is None else IndexArray(self.expr.xreplace({index: PERMUTATION(index)}), self.indices)

    def sqrt(self) -> IndexArray:
        """The root, with whatever is a common factor of all terms taken out of it."""
        return IndexArray(root_of(self.expr), self.indices)

    def given(self, symbol: str, values: Any) -> IndexArray:
        """Given numbers, one for each unit, as a generic symbol along the last axis."""
        index = self.indices[-1]
        return IndexArray(sympy.IndexedBase(symbol, positive=symbol == "var", real=True)[index], (None, index))


def exact(value: Any) -> Any:
    """A number as an exact SymPy number: floats become the rational they are, not a decimal."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.item()
    return sympy.Rational(value) if isinstance(value, float | Fraction) else sympy.sympify(value)


def generic(name: str, site: Site, axes: Iterable[Axis] | None = None, **assumptions: bool) -> IndexArray:
    """The array of symbols name[n, d] at ``site``, varying along ``axes`` (default: all)."""
    layout = site.layout(2)
    indices = tuple(INDEX[axis] if axes is None or axis in axes else None for axis in layout)
    used = [index for index in indices if index is not None]
    assumptions = assumptions or {"real": True}
    if not used:
        return IndexArray(Symbol(name, **assumptions), indices)
    return IndexArray(sympy.IndexedBase(name, **assumptions)[tuple(used)], indices)


def generic_state() -> State:
    """Inputs x_nd and weights w_hd of any sizes."""
    return State(generic("x", Site.INPUTS), generic("w", Site.WEIGHT))


def generic_value(parameter: Parameter, suffix: str = "", signed: bool = False) -> Any:
    """A transformation's parameter as a symbol; ``signed`` leaves out δ > 0 and keeps δ ≠ 0."""
    if parameter.symbol == "Q":
        return ROTATION
    if parameter.symbol == "pi":
        return PERMUTATION
    real = {"positive": True} if parameter.positive and not signed else {"real": True, "nonzero": parameter.positive}
    return generic(parameter.symbol + suffix, parameter.site, parameter.axes, **{k: v for k, v in real.items() if v})

"""The index-notation array: one generic entry of an array of symbolic size, on which the definitions run unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import sympy
from sympy import Expr, Mul, Symbol

from ..axes import Axis, Site
from ..cells import First
from ..transformations import Parameter, State
from .groups import GROUP, LargestEigenvalue, Leading
from .sums import (
    INDEX,
    PERMUTATION,
    ROTATION,
    SIZE,
    axis_of,
    common_factor,
    fresh,
    is_index,
    normal,
    rename,
    resum,
    root_of,
    total,
)

_BOUND = sympy.symbols("k_row k_column", integer=True)  # the indices that a largest eigenvalue binds
_PLAIN = sympy.symbols("k_plainrow k_plaincolumn", integer=True)
_MATRICES: dict[Expr, str] = {}  # matrices whose singular vectors have a name


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
        summed = {self.indices[-1]}
        if len(other.indices) == 3:  # Σ over cases and positions of gᵀX
            summed.add(other.indices[0])
        expr = resum(self.expr * other.expr, sorted(summed - {None}, key=str))
        return IndexArray(expr, (*(i for i in self.indices[:-1] if i not in summed), other.indices[-1]))

    def swapaxes(self, a: int, b: int) -> IndexArray:
        indices = list(self.indices)
        indices[a], indices[b] = indices[b], indices[a]
        return IndexArray(self.expr, tuple(indices))

    def take(self, order: Any, axis: int) -> IndexArray:
        """The entries permuted along ``axis`` by the symbolic permutation π."""
        index = self.indices[axis]
        return self if index is None else IndexArray(self.expr.xreplace({index: PERMUTATION(index)}), self.indices)

    def group_sum(self, axes: Iterable[int], groups: Iterable[tuple[int, int]]) -> IndexArray:
        """Σ along ``axes`` within each of the groups of an axis, for every entry of the group."""
        parts = dict(groups)
        out = self.sum([axis for axis in axes if axis not in parts])
        for axis, count in parts.items():
            if (index := out.indices[axis]) is not None:
                other = fresh(index)
                same = sympy.KroneckerDelta(GROUP(index, count), GROUP(other, count))
                out = IndexArray(total(out.expr.xreplace({index: other}) * same, other), out.indices)
        return out

    def leading(self, axis: int, first: First) -> IndexArray:
        """1 for the first entries along ``axis``, 0 for the others."""
        index = self.indices[axis]
        assert index is not None
        mark = Leading(index, first.of(SIZE[axis_of(index)]))
        return IndexArray(mark, tuple(i if i == index else None for i in self.indices))

    def largest_singular(self) -> tuple[IndexArray, IndexArray, IndexArray]:
        """The largest singular value of a matrix over units and inputs, with generic unit vectors u_h and v_d."""
        row, column = self.indices
        assert row is not None and column is not None
        left, right = _BOUND
        gram = total(rename(self.expr, {row: left}) * rename(self.expr, {row: right}), column)
        scale = Mul(*(f for f in Mul.make_args(common_factor(gram)) if not any(map(is_index, f.free_symbols))))
        core = normal(gram / scale)
        unpermuted = core.xreplace({PERMUTATION(left): _PLAIN[0], PERMUTATION(right): _PLAIN[1]})
        if not {left, right} & unpermuted.free_symbols:
            core = unpermuted.xreplace(dict(zip(_PLAIN, _BOUND, strict=True)))
        mark = "" if core == _plain_gram() else _MATRICES.setdefault(core, str(len(_MATRICES) + 1))
        sign = -1 if self.expr.could_extract_minus_sign() else 1
        u, v = (sympy.IndexedBase(letter + mark, real=True)[index] for letter, index in (("u", row), ("v", column)))
        sigma = sympy.sqrt(scale) * sympy.sqrt(LargestEigenvalue(core, left, right))
        return IndexArray(sigma, (None, None)), IndexArray(sign * u, (row, None)), IndexArray(v, (None, column))

    def sqrt(self) -> IndexArray:
        """The root, with whatever is a common factor of all terms taken out of it."""
        return IndexArray(root_of(self.expr), self.indices)

    def given(self, symbol: str, values: Any) -> IndexArray:
        """Given numbers, one for each unit or for each position and unit, as a generic symbol along the last axes."""
        indices = self.indices[-np.ndim(values) :]
        return IndexArray(sympy.IndexedBase(symbol, positive=symbol == "var", real=True)[indices], (None, *indices))


@lru_cache(maxsize=1)
def _plain_gram() -> Expr:
    """Σ_d w_kd w_k'd of the generic weights."""
    array = generic("w", Site.WEIGHT)
    row, column = array.indices
    left, right = (array.expr.xreplace({row: bound}) for bound in _BOUND)
    return normal(total(left * right, column))


def exact(value: Any) -> Any:
    """A number as an exact SymPy number: floats become the rational they are, not a decimal."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.item()
    return sympy.Rational(value) if isinstance(value, float | Fraction) else sympy.sympify(value)


def generic(
    name: str, site: Site, axes: Iterable[Axis] | None = None, positions: bool = False, **assumptions: bool
) -> IndexArray:
    """The symbols name[n, d] at ``site`` (name[n, s, d] with positions), varying along ``axes`` (default: all)."""
    layout = site.layout(2 + positions)
    indices = tuple(INDEX[axis] if axes is None or axis in axes else None for axis in layout)
    used = [index for index in indices if index is not None]
    assumptions = assumptions or {"real": True}
    if not used:
        return IndexArray(Symbol(name, **assumptions), indices)
    return IndexArray(sympy.IndexedBase(name, **assumptions)[tuple(used)], indices)


def generic_state(positions: bool = False) -> State:
    """Inputs x_nd (x_nsd with positions) and weights w_hd of any sizes."""
    return State(generic("x", Site.INPUTS, positions=positions), generic("w", Site.WEIGHT))


def generic_value(parameter: Parameter, suffix: str = "", signed: bool = False, positions: bool = False) -> Any:
    """A transformation's parameter as a symbol; ``signed`` leaves out δ > 0 and keeps δ ≠ 0."""
    if parameter.symbol == "Q":
        return ROTATION
    if parameter.symbol == "pi":
        return PERMUTATION
    real = {"positive": True} if parameter.positive and not signed else {"real": True, "nonzero": parameter.positive}
    given = {k: v for k, v in real.items() if v}
    return generic(parameter.symbol + suffix, parameter.site, parameter.axes, positions, **given)

"""Stages given as functions, of which nothing is known but their values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from .axes import Axis
from .cells import Array
from .errors import InputError
from .standardize import Scale

_STEP = 1e-30  # complex step
_SIZE = 2048  # numbers in the largest array whose Jacobian is formed


@dataclass(frozen=True)
class Opaque:
    """A stage given by a function of the array at its site, t -> t̂ of the same shape, e.g. (N, H) or (N, S, H).

    It is differentiated by the complex step where the function is analytic in complex arrays, by central differences of
    fourth order otherwise; invariances are decided in floating point and labelled so.  ``over`` names the axes along
    which entries enter each other's result: {Axis.POSITION} makes positions part of what is tried.  Raises `InputError`
    for a result of another shape or with a nan, for arrays without numbers, and for adjoints of more than 2048 numbers.
    """

    function: Callable[[Any], Any]
    over: frozenset[Axis] = frozenset()
    center: ClassVar[bool] = False
    scale: ClassVar[Scale] = Scale.NONE
    eps: ClassVar[int] = 0
    has_eps: ClassVar[bool] = False
    minimum: ClassVar[int] = 1
    groups: ClassVar[tuple[Any, ...]] = ()
    first: ClassVar[None] = None

    def __post_init__(self) -> None:
        over = frozenset([self.over] if isinstance(self.over, Axis) else self.over)
        if not callable(self.function) or not all(isinstance(axis, Axis) for axis in over):
            raise InputError(f"Opaque got function={self.function!r}, over={self.over!r}: give a function and axes")
        object.__setattr__(self, "over", over)

    def __repr__(self) -> str:
        return f"Opaque({getattr(self.function, '__name__', repr(self.function))})"

    def __call__(self, t: Array, layout: tuple[Axis, ...], who: str = "Opaque") -> OpaquelyDone:
        """Call the function on numbers."""
        if not isinstance(t, np.ndarray) or t.dtype == object:
            raise InputError(
                f"{who} is given by a function, of which no formula is known: describe it by fg.Standardize for proofs "
                "and formulas"
            )
        return OpaquelyDone(self.function, t, self.value(t, who), who)

    def value(self, t: Any, who: str) -> Any:
        """The function's result, checked."""
        with np.errstate(all="ignore"):  # what goes wrong shows in the result
            value = np.asarray(self.function(t))
        if value.shape != t.shape or value.dtype.kind not in "fciu" or not np.isfinite(value).all():
            raise InputError(
                f"{who}: its function made an array of shape {value.shape} and type {value.dtype} from one of shape "
                f"{t.shape}: it must return finite numbers in the same shape"
            )
        return value


@dataclass(frozen=True, eq=False)
class OpaquelyDone:
    """A function's value at t, with its derivatives."""

    function: Callable[[Any], Any]
    t: Any
    value: Any
    who: str
    mean: ClassVar[None] = None
    sigma: ClassVar[None] = None
    frozen: ClassVar[bool] = False
    axes: ClassVar[tuple[int, ...]] = ()

    @cached_property
    def _analytic(self) -> bool:
        """Whether the complex step works: the function takes complex arrays, and agrees with differences."""
        if np.iscomplexobj(self.t):
            return False
        direction = np.random.default_rng(0).normal(size=self.t.shape)
        try:
            with np.errstate(all="ignore"):
                step = np.imag(self.function(self.t + 1j * _STEP * direction)) / _STEP
        except (TypeError, ValueError):
            return False
        difference = self._difference(direction)
        return bool(np.abs(step - difference).max() <= 1e-6 * max(np.abs(difference).max(), 1e-300))

    def _difference(self, direction: Any, function: Callable[[Any], Any] | None = None) -> Any:
        """The derivative along a direction by central differences of fourth order."""
        function = function or self.function
        size = np.abs(self.t).max() / max(np.abs(direction).max(), 1e-300)
        h = np.finfo(float).eps ** 0.2 * (size or 1.0)
        near, far = (function(self.t + k * h * direction) - function(self.t - k * h * direction) for k in (1, 2))
        return (8 * near - far) / (12 * h)

    def _one(self, direction: Any) -> Any:
        if self._analytic:
            return np.imag(self.function(self.t + 1j * _STEP * direction)) / _STEP
        return self._difference(direction)

    def tangent(self, dt: Array) -> Array:
        """dt̂ for a change dt of the input, which may carry leading batch dimensions."""
        rows = np.asarray(dt).reshape(-1, *self.t.shape)
        return np.stack([self._one(row) for row in rows]).reshape(np.shape(dt)) if len(rows) else np.zeros(np.shape(dt))

    def adjoint_tangent(self, g: Array, dt: Array) -> Array:
        """The change of ``adjoint(g)`` along dt with g held, by differences of the adjoint."""
        rows = np.asarray(dt).reshape(-1, *self.t.shape)
        return np.stack([self._turned(g, row) for row in rows]).reshape(np.shape(dt)) if len(rows) else 0 * dt

    def _turned(self, g: Array, row: Any) -> Any:
        return self._difference(row, lambda t: OpaquelyDone(self.function, t, self.value, self.who).adjoint(g))

    @cached_property
    def _jacobian(self) -> Any:
        if self.t.size > _SIZE:
            raise InputError(
                f"{self.who} is given by a function: its adjoint needs one call for each of {self.t.size} numbers, more "
                f"than {_SIZE}; use less data, or describe it by fg.Standardize"
            )
        return self.tangent(np.eye(self.t.size).reshape(-1, *self.t.shape)).reshape(self.t.size, -1)

    def adjoint(self, g: Array) -> Array:
        """The gradient with respect to the input, from the Jacobian formed column by column."""
        return (np.reshape(g, (-1, self.t.size)) @ self._jacobian.T).reshape(np.shape(g))

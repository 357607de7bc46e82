"""Stages given as functions, of which nothing is known but their values."""

from __future__ import annotations

import math
import warnings
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
_WIDE = float(np.finfo(float).eps ** 0.2)  # relative step of central differences
_NEAR = 1e-7  # relative distance within which the derivatives from both sides are compared
_SIZE = 2048  # numbers in the largest array whose Jacobian is formed


@dataclass(frozen=True)
class Opaque:
    """A stage given by a function of the array at its site, t -> t̂ of the same shape, e.g. (N, H) or (N, S, H).

    It is differentiated by the complex step where the function is analytic in complex arrays, by central differences of
    fourth order otherwise; invariances are decided in floating point and labelled so.  ``over`` names the axes along
    which entries enter each other's result: {Axis.POSITION} makes positions part of what is tried.  Raises `InputError`
    where the function fails, returns another shape, fewer digits or a nan, or another result when it is called again;
    for derivatives at a kink, where those from both sides differ; for arrays without numbers, and for adjoints of more
    than 2048 numbers.
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

    def __call__(self, t: Array, layout: tuple[Axis, ...], who: str | None = None) -> OpaquelyDone:
        """Call the function on numbers."""
        who = repr(self) if who is None else who
        if not isinstance(t, np.ndarray) or t.dtype == object:
            raise InputError(
                f"{who} is given by a function, of which no formula is known: describe it by fg.Standardize for proofs "
                "and formulas"
            )
        value = _call(self.function, t, who)
        if not np.array_equal(value, _call(self.function, t, who)):
            raise InputError(
                f"{who}: its function gives another result when it is called again with the same array; leave out "
                "random numbers and running statistics (fg.Frozen holds given ones)"
            )
        return OpaquelyDone(self.function, t, value, who)


def _call(function: Callable[[Any], Any], t: Any, who: str) -> Any:
    """The function's result on a copy of t, checked."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():  # what goes wrong shows in the result
            warnings.simplefilter("ignore")
            result = function(t.copy())
            value = np.asarray(result)
    except Exception as error:
        raise InputError(
            f"{who}: its function failed on an array of shape {t.shape} and type {t.dtype} with "
            f"{type(error).__name__}: {error}; it must take that array alone"
        ) from error
    if (
        value.shape != t.shape
        or value.dtype.kind not in "fciu"
        or not np.isfinite(value).all()
        or np.ma.is_masked(result)
    ):
        raise InputError(
            f"{who}: its function made an array of shape {value.shape} and type {value.dtype} from one of shape "
            f"{t.shape}: it must return finite numbers in the same shape"
        )
    if value.dtype.kind in "fc" and np.finfo(value.dtype).eps > np.finfo(t.dtype).eps:
        raise InputError(
            f"{who}: its function made numbers of type {value.dtype} from {t.dtype}, whose rounding hides small changes; "
            "compute in the type of the array"
        )
    return value


def _central(at: Callable[[float], Any], h: float) -> Any:
    """The derivative by central differences of fourth order."""
    near, far = (at(k * h) - at(-k * h) for k in (1, 2))
    return (8 * near - far) / (12 * h)


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
        difference = self._difference(direction)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # such as of an imaginary part that is cast away
                step = self._complex_step(direction)
        except (InputError, Warning):
            return False
        return bool(np.abs(step - difference).max() <= 1e-6 * max(np.abs(difference).max(), 1e-300))

    def _complex_step(self, direction: Any) -> Any:
        return np.imag(_call(self.function, self.t + 1j * _STEP * direction, self.who)) / _STEP

    def _difference(self, direction: Any) -> Any:
        """Central differences with steps that shrink until two agree: then no kink lies between."""
        size, level = self._size(direction), np.abs(self.value).max()

        def at(step: float) -> Any:
            return _call(self.function, self.t + step * size * direction, self.who)

        best: Any = None
        gap, last = math.inf, None
        for h in _WIDE * 10.0 ** -np.arange(6):
            slope = _central(at, h)
            if last is not None and (new := np.abs(slope - last).max()) < gap:
                best, gap = last, new
            if gap <= 1e-8 * max(np.abs(slope).max(), level):
                break
            last = slope
        ahead, behind = (at(_NEAR) - self.value) / _NEAR, (self.value - at(-_NEAR)) / _NEAR
        jump = np.abs(ahead - behind).max()
        if max(jump, gap) > max(0.01 * np.abs([ahead, behind]).max(), 1e-6 * level):
            raise InputError(
                f"{self.who} has no derivative at these numbers: its function has a kink or a jump there, as |t|, max or "
                "a sort have, and only one-sided derivatives; move the weights or the inputs off this point"
            )
        return best / size

    def _size(self, direction: Any) -> float:
        """The length along a direction that is as large as t."""
        return float((np.abs(self.t).max() or 1.0) / max(np.abs(direction).max(), 1e-300))

    def _one(self, direction: Any) -> Any:
        return self._complex_step(direction) if self._analytic else self._difference(direction)

    def tangent(self, dt: Array) -> Array:
        """dt̂ for a change dt of the input, which may carry leading batch dimensions."""
        rows = np.asarray(dt).reshape(-1, *self.t.shape)
        return np.stack([self._one(row) for row in rows]).reshape(np.shape(dt)) if len(rows) else np.zeros(np.shape(dt))

    def adjoint_tangent(self, g: Array, dt: Array) -> Array:
        """The change of ``adjoint(g)`` along dt with g held, by differences of the adjoint."""
        rows = np.asarray(dt).reshape(-1, *self.t.shape)
        return np.stack([self._turned(g, row) for row in rows]).reshape(np.shape(dt)) if len(rows) else 0 * dt

    def _turned(self, g: Array, row: Any) -> Any:
        size = self._size(row)

        def at(step: float) -> Any:
            t = self.t + step * size * row
            return OpaquelyDone(self.function, t, _call(self.function, t, self.who), self.who).adjoint(g)

        return _central(at, _WIDE) / size

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

"""Arrays of other libraries in the definitions: torch, jax, cupy, and whatever follows the array API standard.

The definitions are written for NumPy.  `Foreign` holds an array of another library and answers NumPy's protocols:
operators, universal functions and the few array functions that the definitions use become those of the array's own
namespace, on its device and in its precision.  Only where something is wrong are numbers brought to NumPy, to name it.
"""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from .errors import InputError, real_array

_WITHOUT_PROTOCOL = ("torch", "cupy")  # their arrays need not have __array_namespace__
_SPECIAL = {"torch": "torch.special", "jax": "jax.scipy.special", "cupy": "cupyx.scipy.special"}
_NAMES = {"arctan": "atan", "arctan2": "atan2"}  # where NumPy's name is not that of the standard
_OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "matmul": operator.matmul,
    "negative": operator.neg,
    "absolute": abs,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "invert": operator.invert,
}


def is_foreign(value: Any) -> bool:
    """Whether this is an array in memory of a library other than NumPy that can compute with it."""
    if isinstance(value, np.ndarray | np.generic) or hasattr(value, "__dask_graph__"):
        return False
    homes = {kind.__module__.partition(".")[0] for kind in type(value).__mro__}
    if not homes.isdisjoint(_WITHOUT_PROTOCOL):
        return hasattr(value, "dtype")
    return hasattr(value, "__array_namespace__") and "sparse" not in homes


def _compat() -> Any:
    try:
        import array_api_compat
    except ImportError:
        raise InputError('arrays of other libraries need array-api-compat: pip install "fishergeo[array-api]"') from None
    return array_api_compat


def host(value: Any) -> Any:
    """A NumPy array or number as it is; of any other array a copy in the memory of NumPy, for messages and for checks."""
    if not isinstance(value, Foreign):
        return value
    array = value.array
    if hasattr(array, "detach"):
        return array.detach().cpu().numpy()
    if hasattr(array, "get"):
        return array.get()
    if hasattr(value.xp, "__array_namespace_info__"):
        array = _compat().to_device(array, value.xp.__array_namespace_info__().default_device())
    return np.asarray(array)


@dataclass(frozen=True, eq=False, repr=False)
class Foreign(NDArrayOperatorsMixin):
    """An array of another library, with its namespace ``xp``, as the definitions take arrays."""

    array: Any
    xp: Any

    @classmethod
    def of(cls, array: Any, what: str = "an array is") -> Foreign:
        """An array as it is; raises `InputError` for a sparse one and for another type than float32 and float64."""
        xp = _compat().array_namespace(array)
        if not any(array.dtype == kind for kind in (xp.float32, xp.float64)):
            raise InputError(f"{what} of type {array.dtype}: give it as {library(xp)}'s float32 or float64")
        if str(getattr(array, "layout", "torch.strided")) != "torch.strided":
            raise InputError(f"{what} of layout {array.layout}: give it dense, or X as a matrix of scipy.sparse")
        return cls(array, xp)

    def __repr__(self) -> str:
        return f"Foreign({self.array!r})"

    # --- what an array has -------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    @property
    def device(self) -> Any:
        return _compat().device(self.array)

    @property
    def eps(self) -> float:
        """The distance from 1 to the next number of this precision."""
        return float(self.xp.finfo(self.dtype).eps)

    def __float__(self) -> float:
        return float(host(self))

    def __format__(self, spec: str) -> str:
        return format(float(self), spec)

    def __getitem__(self, index: Any) -> Foreign:
        parts = index if isinstance(index, tuple) else (index,)
        parts = tuple(int(part) if isinstance(part, np.integer) else part for part in parts)
        if sum(part is not None for part in parts) < self.ndim and Ellipsis not in parts:
            parts = (*parts, Ellipsis)  # which the standard wants to see
        return self._as(self.array[parts])

    def _as(self, array: Any) -> Foreign:
        return Foreign(array, self.xp)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Foreign:
        return self._as(self.xp.sum(self.array, axis=axis, keepdims=keepdims))

    def mean(self, axis: Any = None, keepdims: bool = False) -> Foreign:
        return self._as(self.xp.mean(self.array, axis=axis, keepdims=keepdims))

    def max(self, axis: Any = None, keepdims: bool = False) -> Foreign:
        return self._as(self.xp.max(self.array, axis=axis, keepdims=keepdims))

    def all(self) -> bool:
        return bool(self.xp.all(self.array))

    def any(self) -> bool:
        return bool(self.xp.any(self.array))

    def reshape(self, *shape: Any) -> Foreign:
        return self._as(self.xp.reshape(self.array, tuple(shape[0]) if isinstance(shape[0], list | tuple) else shape))

    def swapaxes(self, a: int, b: int) -> Foreign:
        order = list(range(self.ndim))
        order[a], order[b] = order[b], order[a]
        return self._as(self.xp.permute_dims(self.array, tuple(order)))

    @property
    def T(self) -> Foreign:
        return self.swapaxes(0, -1)

    # --- what the definitions ask for by name ------------------------------------------------------------------------

    def sqrt(self) -> Foreign:
        """The root; raises `FloatingPointError`, as NumPy does, where squares have overflowed."""
        found = self._as(self.xp.sqrt(self.array))
        if not np.isfinite(found).all():
            raise FloatingPointError("overflow encountered in a sum of squares")
        return found

    def given(self, symbol: str, values: Any) -> Foreign:
        """Given numbers, for each unit or each position and unit, of which the first positions are taken."""
        return self.like(values[: self.shape[-2]] if np.ndim(values) == 2 else values)

    def largest_singular(self) -> tuple[Any, ...]:
        """The largest singular value (1, 1), its vectors u (H, 1) and v (1, D), and the two largest as numbers."""
        U, s, Vt = self.xp.linalg.svd(self.array, full_matrices=False)
        sigma, u, v = s[:1, None], U[:, :1], Vt[:1, :]
        return (*(self._as(part) for part in (sigma, u, v)), *map(float, host(self._as(s))[:2]))

    # --- arrays from elsewhere ---------------------------------------------------------------------------------------

    def like(self, value: Any) -> Foreign:
        """Numbers of NumPy in this namespace and precision, on this device."""
        numbers = np.asarray(value)
        numbers = numbers if numbers.dtype.kind == "b" else numbers.astype(float)
        dtype = self.xp.bool if numbers.dtype.kind == "b" else self.dtype
        return self._as(self.xp.asarray(numbers, dtype=dtype, device=self.device))

    def read(self, value: Any, what: str) -> Foreign:
        """An array of NumPy or of this library in this precision, on this device; `InputError` for any other.

        ``what`` is the start of a message: "the weight is an array".
        """
        if isinstance(value, Foreign):
            return value
        if not is_foreign(value):
            return self.like(real_array(value, what).astype(float, copy=False))
        other = Foreign.of(value, what)
        self._check(other, what)
        array = other.array if other.dtype == self.dtype else self.xp.astype(other.array, self.dtype)
        return self._as(_compat().to_device(array, self.device))

    def _check(self, other: Foreign, what: str) -> None:
        if other.xp is not self.xp:
            own, its = library(self.xp), library(other.xp)
            raise InputError(f"{what} of {its}, but X is one of {own}: give arrays of one library, or NumPy's beside X")

    def _operand(self, value: Any) -> Any:
        """What an operator of the namespace takes: arrays, and Python's numbers as they are."""
        if isinstance(value, Foreign):
            self._check(value, "an operand is an array")
            return value.array
        if np.ndim(value):
            return self.like(value).array
        number = value.item() if isinstance(value, np.ndarray | np.generic) else value
        return number if isinstance(number, bool | int) else float(number)

    def _argument(self, value: Any) -> Any:
        """What a function of the namespace takes: arrays, numbers too."""
        return self._operand(value if isinstance(value, Foreign) else self.like(value))

    # --- the protocols of NumPy --------------------------------------------------------------------------------------

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise only_numpy("this", self)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or kwargs:
            return NotImplemented
        name = ufunc.__name__
        if name in _OPERATORS:
            return self._as(_OPERATORS[name](*map(self._operand, inputs)))
        return self._as(self._function(name)(*map(self._argument, inputs)))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function not in _FUNCTIONS:
            raise only_numpy(f"numpy.{function.__name__}", self)
        return _FUNCTIONS[function](self, *args, **kwargs)

    def _function(self, name: str) -> Callable[..., Any]:
        """A function of the standard, of the library's own special functions, or, on a CPU, of SciPy."""
        known = getattr(self.xp, _NAMES.get(name, name), None)
        if known is None and (home := _SPECIAL.get(library(self.xp))) is not None:
            known = getattr(importlib.import_module(home), name, None)
        if known is not None:
            return known
        if name == "expit":
            return self._expit

        def through_numpy(*arrays: Any) -> Any:
            import scipy.special

            try:
                numbers = [np.asarray(array) for array in arrays]
            except (RuntimeError, TypeError) as error:
                raise InputError(
                    f"{library(self.xp)} has no {name}, and SciPy's takes no array on {self.device} and none that is "
                    "differentiated: give X on the CPU, or use another family or link"
                ) from error
            return self.like(getattr(scipy.special, name)(*numbers)).array

        return through_numpy

    def _expit(self, x: Any) -> Any:
        e = self.xp.exp(-abs(x))
        return self.xp.where(x >= 0, self.xp.ones_like(e), e) / (1 + e)


def library(xp: Any) -> str:
    """The name of a namespace's library."""
    return str(xp.__name__).removeprefix("array_api_compat.").partition(".")[0]


def only_numpy(name: str, array: Foreign) -> InputError:
    """The error for what is there for NumPy arrays alone."""
    return InputError(f"{name} is there for NumPy arrays alone, not for {library(array.xp)}'s: give X as a NumPy array")


def _where(self: Foreign, condition: Any, a: Any, b: Any) -> Foreign:
    like = next(value for value in (a, b, self) if isinstance(value, Foreign))  # a condition has no precision
    return like._as(self.xp.where(*map(like._argument, (condition, a, b))))


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.shape: lambda self, a: a.shape,
    np.ndim: lambda self, a: a.ndim,
    np.where: _where,
    np.argwhere: lambda self, a: np.argwhere(host(a)),
    np.broadcast_to: lambda self, a, shape: self._as(self.xp.broadcast_to(a.array, tuple(shape))),
    np.concatenate: lambda self, arrays, axis=0: self._as(self.xp.concat([a.array for a in arrays], axis=axis)),
}

"""What goes in and comes out of a model whose inputs may be an array of another library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import InputError, real_array
from .foreign import Foreign, is_foreign, only_numpy


def reader(X: Any) -> Callable[[Any, str], Any]:
    """How arrays beside X are read: as float64 of NumPy, or as X's library has them, in its precision on its device."""
    if is_foreign(X):
        return Foreign.of(X, "X is an array").read

    def read(value: Any, what: str) -> Any:
        if is_foreign(value):
            raise InputError(f"{what} of {type(value).__module__}, but X is a NumPy array: give both as one kind")
        return real_array(value, what).astype(float, copy=False)

    return read


@dataclass(frozen=True, eq=False)
class ForeignLinearization:
    """A model linearized on inputs of another library: what goes in and comes out are arrays of that library.

    ``at`` is the linearization by the definitions, of `Foreign` arrays.
    """

    at: Any

    @property
    def Z(self) -> Any:
        """Predictors (N, [S,] H)."""
        return self.at.Z.array

    @property
    def natural(self) -> Any:
        """θ, the natural parameter of every case."""
        return self.at.natural.array

    @property
    def mean(self) -> Any:
        """E[y | x] = η'(θ)."""
        return self.at.mean.array

    @property
    def params(self) -> Any:
        """The parameters, as arrays of that library."""
        return self.at.params.map(lambda v: v.array)

    @property
    def cases(self) -> int:
        """The number of cases, positions counted apart."""
        return int(self.at.cases)

    def jvp(self, v: Any) -> Any:
        """dZ (..., N, [S,] H) for a change of the parameters."""
        return self.at.jvp(v.map(lambda part: self.at.Z.read(part, "the direction is an array"))).array

    def vjp(self, dZ: Any) -> Any:
        """The gradient of Σ dZ·Z with respect to the parameters."""
        return self.at.vjp(self.at.Z.read(dZ, "the cotangent is an array")).map(lambda v: v.array)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise only_numpy(name, self.at.Z)


def check_numpy(who: str, X: Any) -> None:
    """Refuse an array of another library, where NumPy's are needed."""
    if is_foreign(X):
        raise only_numpy(who, Foreign.of(X, f"{who} got an array"))

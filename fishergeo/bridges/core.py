r"""What a bridge returns: a model at its parameters, and the Jacobian by which another library's parameters move them.

If that library's parameters are ψ (K,) and ours are the flat vector (P,), then with T = ∂ours/∂ψ (P, K)

    F_ψ = Tᵀ F T

exactly: T reorders, holds what the other library does not have (a gain, a bias), and carries the chain rule.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.linalg import LinearOperator

from ..errors import InputError, real_array
from ..families import Floats
from ..information.matrices import fisher
from ..information.observed import ObservedInformation
from ..information.operator import Metric
from ..model import GLM, Params

Layout = tuple[tuple[str, tuple[int, ...]], ...]


def library(name: str, who: str, package: str) -> Any:
    """The module ``name``, imported now; `InputError` with the way to install it where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f"{who} needs {package}, which is not installed: pip install {package}") from None


def as_inputs(X: Any, who: str) -> Floats:
    """An array, a data frame, a sparse matrix or a tensor as an array of numbers."""
    for step in ("detach", "cpu", "toarray"):
        X = getattr(X, step)() if hasattr(X, step) else X
    return real_array(X, f"{who} got inputs").astype(float, copy=False)


@dataclass(frozen=True, eq=False)
class Bridge:
    """A model of another library: ``model`` at ``params``, and T = ``jacobian`` (P, K) to that library's K parameters.

    ``layout`` names these with their shapes, in that library's order; ``X`` are the inputs as the model takes them and
    ``Y`` the observations, where they are known; ``inputs`` maps that library's inputs to the model's.  ``curved`` says
    that T depends on the parameters.  ``note`` is what the Fisher matrix does not know of.
    """

    model: GLM
    params: Params
    layout: Layout
    jacobian: Any = field(repr=False)
    X: Floats | None = field(default=None, repr=False)
    Y: Floats | None = field(default=None, repr=False)
    inputs: Callable[[Any], Floats] = field(default=lambda X: as_inputs(X, "inputs"), repr=False)
    curved: bool = False
    note: str = ""

    def __repr__(self) -> str:
        names = ", ".join(name + (f" {shape}" if shape else "") for name, shape in self.layout[:8])
        more = ", …" if len(self.layout) > 8 else ""
        link = "" if self.model.link is None else f", link={self.model.link.name}"
        note = f"; {self.note}" if self.note else ""
        return (
            f"<{self.model.family.name}, {self.model.normalizer.name}{link}, φ={self.model.dispersion:g}: "
            f"{self.params.units} units of {self.params.inputs} inputs, over the parameters {names}{more}{note}>"
        )

    def fisher(self, X: ArrayLike | None = None) -> PulledBack:
        """The expected Fisher matrix TᵀFT (K, K) over the other library's parameters, mean over the cases of X.

        ``X`` is as that library takes it; left out, the inputs that the bridge was given.
        """
        inputs = self.X if X is None else self.inputs(X)
        if inputs is None:
            raise InputError("the bridge has no inputs: give X, as in b.fisher(X)")
        return self.pull(fisher(self.model, self.params, inputs))

    def pull(self, F: Metric) -> PulledBack:
        """TᵀFT for any Fisher matrix F of this model at these parameters.

        Raises `InputError` for another size, and for the observed information where T varies with the parameters: there
        the Hessian has a second term.
        """
        if not isinstance(F, Metric) or F.shape[0] != self.params.size:
            raise InputError(f"pull got {F!r:.80}: give a Fisher matrix of the {self.params.size} parameters b.params")
        if not isinstance(F, ObservedInformation):
            return PulledBack(F, self.jacobian, self.layout, self.note)
        if self.curved:
            raise InputError(
                "pull got the observed information, but the parameters of this module are not linear in those of the "
                "model: use fg.fisher"
            )
        return PulledBackObserved(F, self.jacobian, self.layout, self.note)


class PulledBack(Metric):
    """TᵀFT, the Fisher matrix over another library's parameters, in its order."""

    def __init__(self, F: Metric, jacobian: Any, layout: Layout, note: str = "") -> None:
        size = jacobian.shape[1]
        LinearOperator.__init__(self, np.dtype(np.float64), (size, size))
        self.params, self.cases, self._width = F.params, F.cases, F._width
        self.what = "; ".join(filter(None, (f"{F.what}, over the bridged parameters", note)))
        self.layout = layout
        self._product = lambda V: (jacobian.T @ F._product((jacobian @ V.T).T).T).T
        self._root = lambda: jacobian.T @ F._root()

    @cached_property
    def _slices(self) -> dict[str, slice]:
        sizes = [math.prod(shape) for _, shape in self.layout]
        ends = np.cumsum(sizes).tolist()
        return {name: slice(end - size, end) for (name, _), size, end in zip(self.layout, sizes, ends, strict=True)}

    @property
    def block_size(self) -> int:
        raise InputError("the bridged parameters are not blocks of units: F.block(name, name) takes names of parameters")

    def block(self, i: Any, j: Any) -> Floats:
        """The block of two parameters given by their names, e.g. ``F.block("0.weight", "1.bias")``."""
        for name in (i, j):
            if name not in self._slices:
                raise InputError(f"block got {name!r}: the parameters are {', '.join(self._slices)}")
        return self._dense[self._slices[i], self._slices[j]].copy()

    def unit(self, k: int) -> Any:
        """Which parameter index ``k`` is: its name and its index there."""
        if not isinstance(k, int | np.integer) or not 0 <= k < self.shape[0]:
            raise InputError(f"unit got k={k!r}: the parameters are numbered from 0 to {self.shape[0] - 1}")
        name, part = next((name, part) for name, part in self._slices.items() if part.start <= k < part.stop)
        return name, tuple(map(int, np.unravel_index(k - part.start, dict(self.layout)[name])))


class PulledBackObserved(PulledBack, ObservedInformation):
    """TᵀHT for the observed information H and a constant T."""


def places(p: Params) -> Params:
    """The place of every parameter in the flat vector, in the shapes of ``p``."""
    count = p.units, p.size // p.units
    at: Any = np.arange(p.size).reshape(count)
    D = p.inputs
    return Params(at[:, :D], at[:, D], None if p.gain is None else at[:, D + 1])


def jacobian(entries: Iterable[tuple[Any, Any, Any]], shape: tuple[int, int]) -> Any:
    """T from (rows, columns, values), each triple broadcast to one shape; entries at the same place are added."""
    from scipy.sparse import coo_array

    full = [[part.ravel() for part in np.broadcast_arrays(*entry)] for entry in entries]
    rows, columns, values = (np.concatenate(parts) if parts else np.zeros(0, int) for parts in zip(*full, strict=True))
    return coo_array((values.astype(float), (rows, columns)), shape=shape).tocsr()

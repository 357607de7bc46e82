"""What every candidate gets: the same arrays, on disk, and the names of model and task."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Task(enum.Enum):
    """What is computed; the result of each is an array."""

    DENSE = "dense F"  # (P, P)
    PRODUCT = "F V"  # (P, k)
    EIGENVALUES = "largest eigenvalues"  # (k,), decreasing
    BLOCKS = "diagonal blocks"  # (H, D+2, D+2)


class Storage(enum.Enum):
    """How the inputs are given."""

    ARRAY = "an array"
    FILE = "a .npy file"
    SPARSE = "a sparse matrix"


@dataclass(frozen=True)
class Case:
    """One measurement: a model, sizes, a task.  ``vectors`` is k; ``filled`` the share of inputs that are not 0."""

    workload: str
    task: Task
    family: str
    normalizer: str
    N: int
    D: int
    H: int
    vectors: int = 1
    storage: Storage = Storage.ARRAY
    filled: float = 1.0

    @property
    def has_gain(self) -> bool:
        return self.normalizer != "identity"

    @property
    def size(self) -> int:
        """P."""
        return self.H * (self.D + 1 + self.has_gain)

    @property
    def model(self) -> str:
        return f"{'plain' if self.normalizer == 'identity' else self.normalizer.replace('_', ' ')}, {self.family}"

    @property
    def weights(self) -> int:
        """T, the number of weighted Gram matrices that are needed: one a unit, or one a pair of dependent units."""
        dependent = self.family == "softmax" or self.normalizer == "layer_norm"
        return self.H * (self.H - 1) // 2 if dependent else self.H

    @property
    def flops(self) -> float | None:
        """The least number of floating-point operations: T N m(m+1) for F with m = D + 1, and 4 N D H k for products."""
        if self.task is Task.PRODUCT:
            return 4.0 * self.N * self.D * self.filled * self.H * self.vectors
        if self.task is Task.DENSE:
            return 1.0 * self.weights * self.N * (self.D + 1) * (self.D + 2)
        return None

    @property
    def result_bytes(self) -> int:
        """The size of the result."""
        width = self.size // self.H
        count = {Task.DENSE: self.size**2, Task.PRODUCT: self.size * self.vectors, Task.EIGENVALUES: self.vectors}
        return 8 * count.get(self.task, self.H * width**2)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"task": self.task.value, "storage": self.storage.value}

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Case:
        return Case(**fields | {"task": Task(fields["task"]), "storage": Storage(fields["storage"])})


@dataclass(frozen=True)
class Problem:
    """A case with its arrays in a folder; they are read anew each time, so that who needs no copy holds none."""

    folder: Path
    case: Case

    @staticmethod
    def read(folder: Path) -> Problem:
        return Problem(folder, Case.from_json(json.loads((folder / "case.json").read_text(encoding="utf-8"))))

    def save(self, **arrays: Floats | None) -> None:
        """Write the case, and its parameters and vectors."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            if array is not None:
                np.save(self.folder / f"{name}.npy", array)
        (self.folder / "case.json").write_text(json.dumps(self.case.to_json()), encoding="utf-8")

    @property
    def path(self) -> Path:
        """Where the inputs are; those of several cases are shared."""
        suffix = "npz" if self.case.storage is Storage.SPARSE else "npy"
        return self.folder.parent / f"X-{self.case.N}-{self.case.D}.{suffix}"

    @property
    def inputs(self) -> Any:
        """X (N, D); the path where it is to be read piece by piece."""
        if self.case.storage is Storage.FILE:
            return str(self.path)
        if self.case.storage is Storage.SPARSE:
            from scipy.sparse import load_npz

            return load_npz(self.path)
        return np.load(self.path)

    def _array(self, name: str) -> Floats:
        return np.load(self.folder / f"{name}.npy")

    @property
    def weight(self) -> Floats:
        """(H, D)."""
        return self._array("weight")

    @property
    def bias(self) -> Floats:
        """(H,)."""
        return self._array("bias")

    @property
    def gain(self) -> Floats | None:
        """(H,), or None."""
        return self._array("gain") if self.case.has_gain else None

    @property
    def vectors(self) -> Floats:
        """(P, k)."""
        return self._array("vectors")

    @property
    def flat(self) -> Floats:
        """All parameters (P,), unit by unit: weights, bias, gain."""
        columns = [self.weight, self.bias[:, None]] + ([] if self.gain is None else [self.gain[:, None]])
        return np.concatenate(columns, axis=1).ravel()


@dataclass(frozen=True)
class Prepared:
    """A candidate that is ready: ``run`` is what is timed, ``convert`` gives its result as an array in our order.

    ``verify`` compares with another way to the same result and returns the relative error.
    """

    run: Callable[[], Any]
    convert: Callable[[Any], Floats] = np.asarray
    verify: Callable[[], float] | None = None


@dataclass(frozen=True)
class Adapter:
    """A candidate: its name, the packages it needs, and ``prepare``, which raises `Refused` for what it cannot do.

    ``alone`` is False for who works in processes of its own, so that ours says nothing about its memory.
    """

    name: str
    packages: tuple[str, ...]
    prepare: Callable[[Problem], Prepared]
    alone: bool = True


class Refused(Exception):
    """A candidate does not do this task; the message says why."""


def largest_eigenvalues(product: Callable[[Floats], Floats], case: Case) -> Floats:
    """The ``vectors`` largest eigenvalues, decreasing, of a matrix given by its product, by ARPACK as SciPy calls it."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    size = case.size
    operator = LinearOperator((size, size), matvec=lambda v: product(v.ravel()), dtype=np.float64)
    start = np.ones(size) + np.arange(size) / size
    return np.sort(eigsh(operator, k=case.vectors, which="LA", v0=start, return_eigenvectors=False))[::-1]


def unit_by_unit(case: Case, shapes: Sequence[str]) -> NDArray[np.intp]:
    """Where our flat parameters are in a vector of whole arrays, such as ("weight", "bias", "gain")."""
    H, D = case.H, case.D
    lengths = {"weight": H * D, "bias": H, "gain": H}
    start, place = 0, {}
    for name in shapes:
        place[name] = start + np.arange(lengths[name]).reshape(H, -1)
        start += lengths[name]
    order = ("weight", "bias", "gain")[: 2 + case.has_gain]
    return np.concatenate([place[name] for name in order], axis=1).ravel()

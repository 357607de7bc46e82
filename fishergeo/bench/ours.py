"""fishergeo itself as a candidate, with the check against the Jacobian by which the others are then judged."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..information.matrices import fisher
from ..model import Params
from .problem import Adapter, Floats, Prepared, Problem, Refused, Storage, Task, largest_eigenvalues
from .workloads import model_of

_ROWS, _INPUTS, _UNITS = 60, 9, 5  # of the case in small, where all of F is compared
_PREFIX = 50_000  # rows of a file that are compared in memory


def _params(problem: Problem) -> Params:
    return Params(problem.weight, problem.bias, problem.gain)


def _prepare(problem: Problem) -> Prepared:
    case, model, p, X = problem.case, model_of(problem.case), _params(problem), problem.inputs
    V = problem.vectors
    if case.task is Task.DENSE:
        return Prepared(lambda: fisher(model, p, X).to_dense(), verify=lambda: _verify(problem))
    F = fisher(model, p, X)
    if case.task is Task.PRODUCT:
        return Prepared(lambda: F @ V, verify=lambda: _verify(problem))
    if case.task is Task.EIGENVALUES:
        return Prepared(lambda: F.eigsh(case.vectors)[0], verify=lambda: _verify(problem))
    return Prepared(lambda: _blocks(fisher(model, p, X)), verify=lambda: _verify(problem))


def _blocks(F: Any) -> Floats:
    if not hasattr(F, "blocks"):
        raise Refused("not available: F has no block-diagonal form of its own yet")
    return F.blocks()


def _verify(problem: Problem) -> float:
    """The largest relative error of what is timed, and of all of F for the same model in small."""
    return max(_in_small(problem), _in_full(problem))


def _error(found: Floats, expected: Floats) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _in_small(problem: Problem) -> float:
    p, X = _params(problem), _rows(problem, _ROWS)[:, :_INPUTS]
    few = Params(p.weight[:_UNITS, :_INPUTS], p.bias[:_UNITS], None if p.gain is None else p.gain[:_UNITS])
    F = fisher(model_of(problem.case), few, X)
    return _error(F.to_dense(), F.reference.to_dense())


def _rows(problem: Problem, count: int) -> Floats:
    if problem.case.storage is Storage.SPARSE:
        return problem.inputs[:count].toarray()
    return np.load(problem.path, mmap_mode="r")[:count].copy()


def _in_full(problem: Problem) -> float:
    """The error against products with the Jacobian, which know nothing of how F is built."""
    case, model, p = problem.case, model_of(problem.case), _params(problem)
    rng = np.random.default_rng(1)
    V = rng.normal(size=(case.size, 2))
    if case.storage is Storage.ARRAY:
        F = fisher(model, p, problem.inputs)
        if case.task is Task.DENSE:
            return _error(F.to_dense() @ V, F.reference @ V)
        if case.task is Task.PRODUCT:
            return _error(F @ V, F.reference @ V)
        values = F.eigsh(case.vectors)[0]
        return _error(values, largest_eigenvalues(lambda v: F.reference @ v, case))
    if case.storage is Storage.FILE:
        some = _rows(problem, _PREFIX)
        part = problem.folder / "prefix.npy"
        np.save(part, some)
        return _error(fisher(model, p, str(part)).to_dense() @ V, fisher(model, p, some).reference @ V)
    some = _rows(problem, 400)
    streamed, reference = fisher(model, p, problem.inputs[:400]), fisher(model, p, some).reference
    return _error(streamed @ V, reference @ V)


FISHERGEO = Adapter("fishergeo", ("numpy", "scipy"), _prepare)


def _with_workers(count: int) -> Any:
    def prepare(problem: Problem) -> Prepared:
        raise Refused("not available: streaming with dask is not there yet")

    return prepare


ONE_WORKER = Adapter("one dask worker", ("dask",), _with_workers(1))
TWO_WORKERS = Adapter("two dask workers", ("dask",), _with_workers(2))

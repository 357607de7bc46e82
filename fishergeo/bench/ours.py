"""fishergeo itself as a candidate, with the check against the Jacobian by which the others are then judged."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..information.matrices import fisher
from ..model import Params
from .problem import Adapter, Floats, Prepared, Problem, Refused, Storage, Task, largest_eigenvalues
from .workloads import model_of

_CASES, _INPUTS, _UNITS = 60, 9, 5  # the model in small, where all of F is compared
_ROWS = {Storage.FILE: 50_000, Storage.SPARSE: 500}  # the first of the rows, compared with an array in memory


def _params(problem: Problem) -> Params:
    return Params(problem.weight, problem.bias, problem.gain)


def _prepare(problem: Problem, **how: Any) -> Prepared:
    case, model, p, X = problem.case, model_of(problem.case), _params(problem), problem.inputs

    def build() -> Any:
        return _fisher(case.storage, model, p, X, **how)

    def verify() -> float:
        return max(_in_small(problem), _in_full(problem))

    if case.task is Task.DENSE:
        return Prepared(lambda: build().to_dense(), verify=verify)
    F = build()
    if case.task is Task.PRODUCT:
        V = problem.vectors
        return Prepared(lambda: F @ V, verify=verify)
    if case.task is Task.EIGENVALUES:
        return Prepared(lambda: F.eigsh(case.vectors)[0], verify=verify)
    return Prepared(lambda: _with_blocks(build()), _blocks, verify=verify)


def _fisher(storage: Storage, model: Any, p: Params, X: Any, **how: Any) -> Any:
    if storage is Storage.ARRAY:
        return fisher(model, p, X)
    try:
        return fisher(model, p, X, **how)
    except (TypeError, InputError) as error:
        raise Refused(f"not available: {error}") from error


def _with_blocks(F: Any) -> Any:
    """F with its diagonal blocks computed."""
    F.block(0, 0)
    return F


def _blocks(F: Any) -> Floats:
    return np.stack([F.block(i, i) for i in range(F.params.units)])


def _error(found: Floats, expected: Floats) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _in_small(problem: Problem) -> float:
    """The error of all of F for the same model in small."""
    p, X = _params(problem), np.random.default_rng(2).normal(size=(_CASES, min(_INPUTS, problem.case.D)))
    gain = None if p.gain is None else p.gain[:_UNITS]
    F = fisher(model_of(problem.case), Params(p.weight[:_UNITS, :_INPUTS], p.bias[:_UNITS], gain), X)
    return _error(F.to_dense(), F.reference.to_dense())


def _in_full(problem: Problem) -> float:
    """The error against products with the Jacobian, which know nothing of how F is built."""
    case, model, p = problem.case, model_of(problem.case), _params(problem)
    V = np.random.default_rng(1).normal(size=(case.size, 2))
    if case.storage is Storage.ARRAY:
        F = fisher(model, p, problem.inputs)
        if case.task is Task.EIGENVALUES:
            return _error(F.eigsh(case.vectors)[0], largest_eigenvalues(lambda v: F.reference @ v, case))
        return _error((F.to_dense() if case.task is Task.DENSE else F) @ V, F.reference @ V)
    count = _ROWS[case.storage]
    if case.storage is Storage.SPARSE:
        some: Any = problem.inputs[:count]
        dense = some.toarray()
    else:
        dense = np.array(np.load(problem.path, mmap_mode="r")[:count])
        some = str(problem.folder / "rows.npy")
        np.save(some, dense)
    F = _fisher(case.storage, model, p, some)
    return _error(
        (F.to_dense() if case.task is Task.DENSE else _with_blocks(F)) @ V, fisher(model, p, dense).reference @ V
    )


def _with_dask(count: int) -> Any:
    def prepare(problem: Problem) -> Prepared:
        from dask.distributed import Client

        client = Client(n_workers=count, threads_per_worker=1, dashboard_address=None)
        client.wait_for_workers(count)
        return _prepare(problem, client=client)

    return prepare


FISHERGEO = Adapter("fishergeo", ("numpy", "scipy"), _prepare)
ONE_WORKER = Adapter("one dask worker", ("dask", "distributed"), _with_dask(1), alone=False)
TWO_WORKERS = Adapter("two dask workers", ("dask", "distributed"), _with_dask(2), alone=False)

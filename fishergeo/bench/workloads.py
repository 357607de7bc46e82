"""The workloads: which models, sizes and tasks are measured, and their arrays."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import links, normalizers
from ..errors import InputError
from ..families import bernoulli, binomial, categorical, gamma, poisson
from ..model import GLM
from .problem import Case, Problem, Storage, Task

_FAMILIES = {"bernoulli": bernoulli, "softmax": categorical, "binomial": binomial(5), "poisson": poisson, "gamma": gamma}
_LINKS = {"gamma": links.log}
_ROWS = 1 << 14  # of a file that is written piece by piece
_NORMALIZERS = ("identity", "batch_norm", "weight_norm", "layer_norm")
_GENERAL = ("jax", "jax-kept", "kfac-jax", "curvlinops", "nngeometry")


@dataclass(frozen=True)
class Workload:
    """Cases that belong together, the peers that can be asked to do them, and other ways of ours (``also``)."""

    name: str
    title: str
    cases: tuple[Case, ...]
    peers: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    def asked(self, case: Case, peers: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the ``peers`` that do a case; what is kept from one product to the next matters for products alone."""
        useless = {"jax-kept"} if case.task is Task.DENSE else set()
        return self.also + tuple(name for name in self.peers if name in peers and name not in useless)


def _models(workload: str, task: Task, N: int, D: int, H: int, **more: Any) -> tuple[Case, ...]:
    families, names = more.pop("families", ("bernoulli", "softmax")), more.pop("normalizers", _NORMALIZERS)
    return tuple(Case(workload, task, family, name, N, D, H, **more) for name in names for family in families)


def _growth() -> tuple[Case, ...]:
    """Four sizes along each of N, D and H."""
    sizes = [("N", 5000 << k, 100, 10) for k in range(1, 5)]
    sizes += [("D", 10_000, 25 << k, 10) for k in range(1, 5)]
    sizes += [("H", 10_000, 100, 2 << k) for k in range(1, 5)]
    models = [
        (Task.DENSE, "bernoulli", "batch_norm"),
        (Task.DENSE, "softmax", "batch_norm"),
        (Task.DENSE, "softmax", "layer_norm"),
        (Task.PRODUCT, "softmax", "batch_norm"),
    ]
    return tuple(Case(f"growth {axis}", *model, N, D, H) for axis, N, D, H in sizes for model in models)


_FILE = {"storage": Storage.FILE, "families": ("bernoulli",), "normalizers": ("identity", "batch_norm")}
_SPARSE = {
    "storage": Storage.SPARSE,
    "filled": 0.01,
    "families": ("bernoulli",),
    "normalizers": ("identity", "batch_norm"),
}
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("A", "small, dense F", _models("A", Task.DENSE, 1000, 20, 10), _GENERAL),
        Workload("B", "medium, dense F", _models("B", Task.DENSE, 10_000, 100, 10), _GENERAL),
        Workload(
            "C",
            "digits in 28 x 28 pixels: products, eigenvalues, dense F",
            _models("C", Task.PRODUCT, 20_000, 784, 10)
            + _models("C", Task.EIGENVALUES, 20_000, 784, 10, vectors=10, families=("softmax",))
            + _models("C", Task.DENSE, 20_000, 784, 10),
            _GENERAL,
        ),
        Workload(
            "D",
            "many units: products",
            _models("D", Task.PRODUCT, 50_000, 256, 64) + _models("D", Task.PRODUCT, 50_000, 256, 64, vectors=16),
            _GENERAL,
        ),
        Workload(
            "E",
            "one output: the expected information of a regression",
            _models(
                "E",
                Task.DENSE,
                100_000,
                200,
                1,
                families=("binomial", "poisson", "gamma"),
                normalizers=("identity",),
            ),
            ("statsmodels",),
        ),
        Workload(
            "F",
            "more rows than memory: streamed from a file",
            _models("F", Task.DENSE, 2_500_000, 64, 10, **_FILE) + _models("F", Task.DENSE, 10_000_000, 64, 10, **_FILE),
            also=("one dask worker", "two dask workers"),
        ),
        Workload(
            "G",
            "sparse inputs",
            _models("G", Task.PRODUCT, 200_000, 5000, 4, **_SPARSE)
            + _models("G", Task.BLOCKS, 200_000, 5000, 4, **_SPARSE),
        ),
        Workload("growth", "how the time grows with N, D and H", _growth()),
    )
}


def chosen(names: str | None, most: int | None) -> tuple[Workload, ...]:
    """The workloads of a comma-separated list, all by default, with at most so many rows."""
    wanted = list(WORKLOADS) if names is None else [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in WORKLOADS]
    if unknown:
        raise InputError(f"there is no workload {unknown[0]!r}: give some of {','.join(WORKLOADS)}")
    found = [WORKLOADS[name] for name in dict.fromkeys(wanted)]
    if most is None:
        return tuple(found)
    few = [replace(w, cases=tuple(dict.fromkeys(replace(c, N=min(c.N, most)) for c in w.cases))) for w in found]
    return tuple(few)


def model_of(case: Case) -> GLM:
    """The model of a case."""
    return GLM(_FAMILIES[case.family], getattr(normalizers, case.normalizer), link=_LINKS.get(case.family))


def fitting(case: Case, folder: Path) -> Case:
    """The case, with fewer rows where its file would take more than half of the free disk."""
    if case.storage is not Storage.FILE:
        return case
    rows = shutil.disk_usage(folder).free // 2 // (8 * case.D)
    return replace(case, N=min(case.N, max(rows, 1000)))


def write(case: Case, folder: Path, seed: int = 0) -> Problem:
    """The arrays of a case; the inputs of cases of the same shape are written once."""
    rng = np.random.default_rng(seed)
    model = model_of(case)
    p = model.init(case.D, case.H, rng)
    bias = 0.3 * rng.normal(size=case.H)
    gain = None if p.gain is None else 1 + 0.2 * rng.normal(size=case.H)
    problem = Problem(
        folder / f"{case.family}-{case.normalizer}-{case.task.name}-{case.vectors}-{case.N}-{case.D}-{case.H}", case
    )
    problem.save(weight=p.weight, bias=bias, gain=gain, vectors=rng.normal(size=(case.size, case.vectors)))
    if not problem.path.exists():
        _write_inputs(problem, rng)
    return problem


def _write_inputs(problem: Problem, rng: np.random.Generator) -> None:
    case, work = problem.case, problem.path.with_suffix(".part")
    with open(work, "wb") as file:
        if case.storage is Storage.SPARSE:
            from scipy.sparse import random_array, save_npz

            X = random_array(
                (case.N, case.D), density=case.filled, format="csr", rng=rng, data_sampler=rng.standard_normal
            )
            save_npz(file, X, compressed=False)
        else:
            header = {"descr": "<f8", "fortran_order": False, "shape": (case.N, case.D)}
            np.lib.format.write_array_header_1_0(file, header)
            for piece in _pieces(case, rng):
                file.write(piece.data)
    work.replace(problem.path)


def _pieces(case: Case, rng: np.random.Generator) -> Iterator[Any]:
    offset = 0.3 * rng.normal(size=case.D)
    for start in range(0, case.N, _ROWS):
        yield rng.normal(size=(min(_ROWS, case.N - start), case.D)) + offset

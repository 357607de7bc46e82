"""All numbers of a report as plain data: what `compute` returns is what results.json holds and the documents show."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import __version__
from ..axes import Axis, Site
from ..datasets.data import row
from ..datasets.problems import Problem
from ..errors import MOST, InputError
from ..families import Family, Floats
from ..invariance.proof import Verdict
from ..invariance.table import invariance_table
from ..links import Link
from ..model import GLM
from ..normalizers import ZOO, Normalizer
from ..standardize import Scale
from ..transformations import TRANSFORMATIONS
from .study import block_latex, law, starting_point, study

_REMEDIES = {
    Axis.UNIT: "predict {} or more columns or classes (--target)",
    Axis.INPUT: "give {} or more columns of inputs",
    Axis.SAMPLE: "give {} or more cases",
}
_LARGEST = 6000  # parameters; beyond, one dense Fisher matrix takes more than 280 MB and its spectrum minutes

Tick = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What a report is made of, the command line that makes it again, and how many normalizers are studied at a time."""

    family: Family
    normalizers: tuple[Normalizer, ...]
    seed: int = 0
    steps: int = 400
    cases: int = 2000
    command: str = ""
    note: str = ""
    workers: int = 1
    link: Link | None = None

    def model(self, normalizer: Normalizer) -> GLM:
        return GLM(self.family, normalizer, link=self.link)

    @property
    def ticks(self) -> int:
        """How often `compute` reports progress."""
        return 4 * len(self.normalizers) + len({n.name for n in (*ZOO, *self.normalizers)}) + 1


class _Stopped(Exception):
    """Raised in the other threads when the work is given up."""


def compute(
    problem: Problem, settings: Settings, tick: Tick = lambda label: None
) -> tuple[dict[str, Any], dict[str, Floats]]:
    """The results as nested dictionaries of numbers and text, and the dense Fisher matrix of each normalizer.

    Raises `InputError` for data that a model cannot be trained on, and for steps, cases and sizes out of range.
    """
    check(problem, settings)
    data, facts = used(problem, settings)
    for normalizer in settings.normalizers:  # what is wrong with the data shows here, before long work
        starting_point(settings.model(normalizer), data.X, data.Y, np.random.default_rng(settings.seed))
    invariance = _invariance(settings, tick)
    for normalizer in settings.normalizers:  # what is symbolic stays in this thread
        law(normalizer), block_latex(settings.model(normalizer))
    stop = threading.Event()

    def mark(label: str) -> None:
        if stop.is_set():
            raise _Stopped
        tick(label)

    def run(normalizer: Normalizer) -> tuple[dict[str, Any], Floats]:
        return study(data, settings.model(normalizer), settings.steps, settings.seed, mark)

    with ThreadPoolExecutor(settings.workers) as pool:
        try:
            running = [pool.submit(run, normalizer) for normalizer in settings.normalizers]
            statements = claims(lambda done, of: _raise_failed(running))
            tick("claims")
            studies = [future.result() for future in running]
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    results = {
        "generator": f"fishergeo {__version__}",
        "command": settings.command,
        "seed": settings.seed,
        "versions": versions(),
        "family": settings.family.name,
        "link": None if settings.link is None else settings.link.name,
        "note": settings.note,
        "data": facts,
        "normalizers": [result for result, _ in studies],
        "invariance": invariance,
        "claims": statements,
    }
    return _finite(results), {result["name"]: dense for result, dense in studies}


def _raise_failed(running: list[Future[Any]]) -> None:
    for future in running:
        if future.done():
            future.result()


def _finite(value: Any) -> Any:
    """The same with None where a number is not finite: results.json and the documents know a dash, but no nan."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check(problem: Problem, settings: Settings) -> None:
    """Raise `InputError` for settings out of range and for a problem too large for dense matrices."""
    if settings.steps < 1:
        raise InputError(f"--steps {settings.steps}: training takes at least one step")
    if settings.steps > MOST:
        raise InputError(f"--steps {settings.steps}: more than {MOST} do not fit into memory; take fewer")
    if settings.cases < 3:
        raise InputError(f"--cases {settings.cases}: use at least three cases")
    if settings.seed < 0:
        raise InputError(f"--seed {settings.seed}: a seed is a non-negative integer")
    size = problem.units * (problem.X.shape[1] + 2)
    if size > _LARGEST:
        raise InputError(
            f"{problem.X.shape[1]} inputs and {problem.units} units make {size} parameters; the report builds dense "
            f"matrices, up to {_LARGEST} parameters: leave out columns or merge classes"
        )
    for normalizer in settings.normalizers:
        for axis, given, least in _degenerate(normalizer, problem, settings.cases):
            raise InputError(
                f"{normalizer.name} got {axis.value.upper()}={given} but needs {least} or more to vary: "
                f"{_REMEDIES[axis].format(least)}, or give --eps"
            )


def used(problem: Problem, settings: Settings) -> tuple[Problem, dict[str, Any]]:
    """The problem on at most ``cases`` cases, its inputs divided by one number, and the facts about the data."""
    total = len(problem.X)
    X, Y, chosen = problem.X, problem.Y, np.arange(total)
    if total > settings.cases:
        chosen = np.sort(np.random.default_rng(settings.seed).choice(total, settings.cases, replace=False))
        X, Y = X[chosen], Y[chosen]
    largest = float(np.abs(X).max(initial=0.0))
    if largest == 0:
        raise InputError(f"{problem.name}: every input is 0; nothing can be predicted from that")
    scale = largest * float(np.sqrt(np.mean((X / largest) ** 2)))
    constant = [name for name, column in zip(problem.inputs, X.T, strict=True) if (column == column[0]).all()]
    if len(constant) == X.shape[1]:
        raise InputError(f"{problem.name}: every input column is constant; give columns that vary")
    for normalizer in settings.normalizers:
        if flat := _flat_row(normalizer, X):
            where = f"{row(int(chosen[flat[0]]), problem.lines)} of {problem.name}"
            raise InputError(
                f"{normalizer.name}: the inputs in {where} are {flat[1]}, so σ = 0 there; drop that row, or give --eps"
            )
    data = {
        "name": problem.name,
        "source": problem.source,
        "what": problem.what,
        "cases": total,
        "cases_used": len(X),
        "inputs": X.shape[1],
        "input_names": list(problem.inputs),
        "units": problem.units,
        "unit_names": list(problem.names),
        "constant_columns": constant,
        "rank": int(np.linalg.matrix_rank(X)),
        "input_scale": scale,
        "unit_means": Y.mean(axis=0).tolist(),
    }
    return replace(problem, X=X / scale, Y=Y), data


def _invariance(settings: Settings, tick: Tick) -> dict[str, Any]:
    """The table of the zoo and of the report's own normalizers, every cell with its proof or its witness."""
    own = {normalizer.name: normalizer for normalizer in settings.normalizers}  # in place of one of that name
    rows = tuple(({normalizer.name: normalizer for normalizer in ZOO} | own).values())

    def progress(done: int, of: int) -> None:
        if done % len(TRANSFORMATIONS) == 0:
            tick(f"invariance table, {done} of {of} cells")

    table = invariance_table(rows, progress=progress)
    return {
        "transformations": [{"name": t.name, "title": t.title, "formula": t.formula} for t in table.transformations],
        "normalizers": [{"name": m.name, "title": m.title, "definition": repr(m)} for m in table.normalizers],
        "cells": [_cell(verdict) for verdict in table],
    }


def _cell(verdict: Verdict) -> dict[str, Any]:
    return {
        "normalizer": verdict.normalizer.name,
        "transformation": verdict.transformation.name,
        "invariant": verdict.invariant,
        "conditions": list(verdict.conditions),
        "latex": verdict.latex(),
        "witness": None if verdict.witness is None else repr(verdict.witness),
        "sign_witness": None if verdict.sign is None else verdict.sign.latex(),
    }


def claims(progress: Callable[[int, int], None] | None = None) -> list[dict[str, Any]]:
    """Every registered statement with its verdict, as text."""
    from .. import claims as registry

    return [
        {
            "id": result.id,
            "source": result.source,
            "statement": result.statement,
            "verdict": str(result.verdict),
            "kind": result.verdict.kind.value,
            "level": int(result.level),
            "certainty": str(result.level),
            "evidence": result.evidence,
            "corrected": result.corrected,
        }
        for result in registry.check_all(progress)
    ]


def versions() -> dict[str, str]:
    """The versions of everything that took part."""
    packages = ("numpy", "scipy", "sympy", "matplotlib")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"fishergeo": __version__, "python": platform.python_version(), **found}


def default_normalizers(names: Sequence[Normalizer], problem: Problem) -> tuple[tuple[Normalizer, ...], str]:
    """Those of ``names`` that are not degenerate at the sizes of ``problem``, and a sentence on those left out."""
    left = {}
    for m in names:
        if short := next(_degenerate(m, problem), None):
            left[m] = f"needs at least {short[2]} {short[0].name.lower()}s"
        elif flat := _flat_row(m, problem.X):
            left[m] = f"cannot divide by σ = 0, for the inputs in {row(flat[0], problem.lines)} are {flat[1]}"
    note = f"Left out: {'; '.join(f'{m.title} {why}' for m, why in left.items())}." if left else ""
    return tuple(m for m in names if m not in left), note


def _degenerate(normalizer: Normalizer, problem: Problem, cases: int | None = None) -> Iterator[tuple[Axis, int, int]]:
    """The axes too short for ``normalizer``, each with its size and the least that leaves a degree of freedom."""
    sizes = {Axis.SAMPLE: len(problem.X[:cases]), Axis.UNIT: problem.units, Axis.INPUT: problem.X.shape[1]}
    for axis, least in normalizer.minimum().items():
        if sizes.get(axis, least) < least:
            yield axis, sizes[axis], least


def _flat_row(normalizer: Normalizer, X: Floats) -> tuple[int, str] | None:
    """The first row of inputs in which ``normalizer`` would divide by σ = 0, and whether they are all 0 or all equal."""
    stages = ((site, stage) for site, stage in normalizer.stages if site is not Site.WEIGHT and stage.over)
    site, stage = next(stages, (None, None))
    if stage is None or Axis.SAMPLE in stage.over or stage.scale is Scale.NONE or stage.has_eps:
        return None
    level = X[:, :1] if site is Site.INPUTS and stage.center else 0
    flat = ~(X - level).any(axis=1)
    if not flat.any():
        return None
    first = int(np.argmax(flat))
    return first, "all equal" if X[first].any() else "all 0"

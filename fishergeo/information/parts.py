"""Cases that no stage brings together: F is the mean over such parts, each a model with a simpler normalizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..axes import Axis
from ..families import Floats
from ..frozen import Frozen
from ..model import Linearization
from ..normalizer import Normalizer, Stage
from ..standardize import Standardize
from .pieces import Factors, factors


def parts(at: Linearization) -> tuple[Factors, ...] | None:
    """The factors of each part; None where those of some part do not factor, or where parts are many and small."""
    whole = factors(at)
    if whole is not None:
        return (whole,)
    found: list[Factors] = []
    for part in _apart(at):
        own = parts(part)
        if own is None:
            return None
        found += own
    return tuple(found) or None


def _apart(at: Linearization) -> Iterator[Linearization]:
    """The model on each set of cases that have their statistics for themselves."""
    X, stages = at.normalized.Xhat, at.model.normalizer.summed
    if not all(isinstance(stage, Standardize | Frozen) for stage in stages):
        return  # a function may bring any cases together
    if any(type(stage) not in (Standardize, Frozen) for stage in stages):  # what it does is not known here
        return
    over = frozenset[Axis]().union(*(stage.over for stage in stages))
    of_samples = [stage for stage in stages if isinstance(stage, Standardize) and Axis.SAMPLE in stage.over]
    runs = {dict(stage.groups).get(Axis.SAMPLE, 1) for stage in of_samples}
    if len(runs) == 1 and runs != {1}:
        (count,) = runs
        size = len(X) // count
        for k in range(count):
            rows = slice(k * size, (k + 1) * size)
            yield _part(at, X[rows], rows, lambda stage: _without(stage, Axis.SAMPLE))
    elif X.ndim == 3 and Axis.SAMPLE in over and Axis.POSITION not in over:
        for s in range(X.shape[1]):
            yield _part(at, X[:, s], (slice(None), s), lambda stage, s=s: at_position(stage, s))
    elif X.ndim == 3 and Axis.SAMPLE not in over and X.shape[1] > X.shape[2]:
        for n in range(len(X)):
            yield _part(at, X[n], n, _positions_as_samples)


def slices(at: Linearization, rows: int) -> Iterator[Linearization] | None:
    """The model on ``rows`` cases at a time; None where a stage of A brings cases together, or is a function."""
    stages, X = at.model.normalizer.summed, at.normalized.Xhat
    if any(not isinstance(stage, Standardize | Frozen) or Axis.SAMPLE in stage.over for stage in stages):
        return None
    parts = (slice(start, start + rows) for start in range(0, len(X), rows))
    return (_part(at, X[part], part, lambda stage: stage) for part in parts)


def _part(at: Linearization, X: Floats, where: Any, change: Any) -> Linearization:
    """The model on X = X̂[where], with its stages of A changed."""
    model, family = at.model, at.model.family
    stages = tuple(change(stage) for stage in model.normalizer.summed)
    normalizer = Normalizer(model.normalizer.name, weight=model.normalizer.weight, summed=stages)
    if isinstance(family.trials, tuple):
        rows = where[0] if isinstance(where, tuple) else where
        trials = family.trials[rows] if isinstance(rows, slice) else (family.trials[rows],) * len(X)
        family = replace(family, trials=trials)
    part = replace(model, family=family, normalizer=normalizer).linearize(at.params, X)
    return part if at.given is None else replace(part, given=replace(at.given, d=at.given.d[where]))


def _without(stage: Stage, axis: Axis) -> Stage:
    """A stage without its groups along an axis."""
    if not isinstance(stage, Standardize):
        return stage
    return _changed(stage, stage.over, tuple(pair for pair in stage.groups if pair[0] is not axis))


def at_position(stage: Stage, position: int) -> Stage:
    """A stage at one position."""
    if isinstance(stage, Frozen) and stage.positions is not None:
        mean, var = (value[position] if np.ndim(value) == 2 else value for value in (stage.mean, stage.var))
        return Frozen(mean, var, stage.eps)
    return stage


def _positions_as_samples(stage: Stage) -> Stage:
    """A stage on one case, whose positions are cases now."""
    if not isinstance(stage, Standardize):
        return stage
    rename = {Axis.POSITION: Axis.SAMPLE}
    return _changed(
        stage,
        frozenset(rename.get(axis, axis) for axis in stage.over),
        tuple((rename.get(axis, axis), parts) for axis, parts in stage.groups),
    )


def _changed(stage: Standardize, over: frozenset[Axis], groups: tuple[tuple[Axis, int], ...]) -> Standardize:
    return Standardize(
        over,
        center=stage.center,
        scale=stage.scale,
        eps=stage.eps,
        eps_inside=stage.eps_inside,
        groups=groups,
        first=stage.first,
    )

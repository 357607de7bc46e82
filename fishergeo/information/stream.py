r"""The exact Fisher matrix of data of any size: one sum over blocks of rows, after one for statistics over all cases.

Sums are added up block by block in the order of the data, whoever made them: the result is the same to the last bit for
threads, processes, machines and runs that were interrupted.
"""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from scipy.linalg import block_diag

from ..axes import Axis, Site
from ..errors import InputError
from ..families import Floats
from ..frozen import Frozen
from ..model import GLM, Params
from ..normalizer import Normalizer
from ..standardize import Standardize
from ..threads import one_blas_thread
from .apart import Apart
from .checkpoint import Checkpoint, fingerprint
from .execution import Run
from .fold import Fold, Stream, add, append, count
from .matrices import check_model, what
from .moments import Moments, stage_on, unit_stages
from .operator import Metric, spread
from .plan import Affine, Inputs, Plan, join, over_columns, positions_of, within_cases
from .rows import rows as rows_of
from .sources import Rows
from .steps import StepMoments, Steps, at_step, by_step, in_parts
from .structure import Chart, split, weights_mix


class StreamedFisher(Metric):
    """The exact Fisher matrix of a source of rows: the matrix takes one pass over the data, and so does a product.

    Once the matrix is there, products come from it.  Rank, null space and undamped solves take one pass more, for the
    triangular factor of √η''J; of sparse inputs, and of those that can be had once, they are found from the eigenvalues
    of F instead, of which those below P·eps times the largest count as 0.
    """

    def __init__(self, model: GLM, p: Params, stream: Stream, dtype: type = np.float64) -> None:
        self.stream, self.plan = plan_of(model, p, stream, dtype)
        self._fold = Fold("Fisher matrix", self.plan.dense, add, lasts=not stream.rows.once)
        cases = self.stream.rows.cases
        entries = positions_of(stream.rows.row)
        if cases is None:  # it can be gone through once, which is now
            cases = int(self._fold.result(self.stream)[0][0]) // entries
        if cases == 0:
            raise InputError(f"{stream.rows.name} is empty: give at least one row")
        self._scale = cases * entries * model.dispersion
        super().__init__(p, self._apply, self._full_root, "", 1, cases * entries)
        self.what = f"exact (expected), {what(model, self)}"
        self._count = p.units if self.plan.diagonal else 1

    def _apply(self, V: Floats) -> Floats:
        if not {"_blocks", "_dense"}.isdisjoint(self.__dict__) or self.stream.rows.once:
            parts = V.reshape(len(V), len(self._blocks), -1).transpose(1, 0, 2)
            return (parts @ self._blocks).transpose(1, 0, 2).reshape(V.shape)
        task = partial(self.plan.product, V=V)
        return Fold("Fisher product", task, add).result(replace(self.stream, kept=None))[0] / self._scale

    @cached_property
    def _blocks(self) -> Floats:
        """The blocks (K, P/K, P/K) on the diagonal; all others are 0."""
        total = self._fold.result(self.stream)
        if self.stream.kept is not None:
            total = [array.copy() for array in total]
        self._fold.state = (0, [])
        with one_blas_thread():
            matrix = self.plan.finished(total)
        matrix /= self._scale
        matrix.flags.writeable = False
        return matrix if matrix.ndim == 3 else matrix[None]

    @cached_property
    def _dense(self) -> Floats:
        dense: Floats = self._blocks[0] if self._count == 1 else spread(self._blocks)
        dense.flags.writeable = False
        return dense

    @property
    def has_root(self) -> bool:
        """Whether rank and null space are found from a root of F, without squaring the condition number."""
        return not self.plan.sparse and not self.stream.rows.once

    @cached_property
    def _triangles(self) -> list[Floats]:
        return Fold("triangular factor", self.plan.triangles, join).result(self.stream)

    @property
    def _cancelled(self) -> float:
        if not self.has_root:
            return 0.0
        squares = self._triangles[1::2]
        return float(np.sqrt(sum(squares[1:], squares[0]).max() / self._scale))

    @cached_property
    def _roots(self) -> Floats:
        if self.has_root:
            return self.plan.rooted(self._triangles) / np.sqrt(self._scale)
        values, vectors = np.linalg.eigh(self._blocks)
        values[values <= self.shape[0] * np.finfo(float).eps * values.max()] = 0
        return vectors * np.sqrt(values[:, None])

    def _full_root(self) -> Floats:
        return block_diag(*self._roots)


def streamed(model: GLM, p: Params, X: Any, dtype: type = np.float64, **how: Any) -> StreamedFisher:
    """The Fisher matrix of a source of rows; ``how`` are the fields of `Run`."""
    if unknown := set(how) - {field.name for field in fields(Run)}:
        raise TypeError(f"fisher() got an unexpected keyword argument {unknown.pop()!r}")
    check_model(model)
    run, rows = Run(**how), rows_of(X)
    p, _ = model.checked(p, np.zeros((1, *rows.row)))
    if run.checkpoint is None:
        return StreamedFisher(model, p, Stream(rows, run), dtype)
    if rows.once:
        raise InputError(f"{rows.name} can be read once, so no sum can be taken up again: give a function or a path")
    kept = Checkpoint.at(run.checkpoint, fingerprint(model, p, rows, dtype))
    return StreamedFisher(model, p, Stream(rows, run, kept), dtype)


def plan_of(model: GLM, p: Params, stream: Stream, dtype: type) -> tuple[Stream, Plan | Steps | Apart]:
    """How a model's cases are summed up, after one pass for each of the statistics that all of them share.

    The stream comes back with the sizes of its blocks.  Raises `InputError` where cells bring cases together in a way
    that does not factor.
    """
    normalizer, rows = model.normalizer, stream.rows
    steps = len(rows.row) == 2 and by_step(normalizer)
    positions = len(rows.row) == 2 and not steps
    first = split(normalizer.summed, positions)
    columns = [over_columns(stage, positions) for stage in normalizer.inputs]
    if rows.sparse and not all(columns):
        raise InputError(
            f"{normalizer.name} standardizes each case, which would fill in the zeros of {rows.name}: give dense blocks"
        )
    if first is None or not all(column or within_cases(s) for column, s in zip(columns, normalizer.inputs)):
        return _apart(model, p, stream, dtype)
    if not steps:
        stream, (plan,) = _plans(model, p, stream, dtype, [normalizer], rows.row, first, columns)
        return stream, plan
    stream = counted(stream)
    check_sizes(normalizer, stream.rows, p)
    each = [at_step(normalizer, s) for s in range(rows.row[0])]
    stream, plans = _plans(model, p, stream, dtype, each, rows.row[1:], first, columns)
    return stream, Steps(plans)


def _plans(
    model: GLM,
    p: Params,
    stream: Stream,
    dtype: type,
    each: list[Normalizer],
    row: tuple[int, ...],
    first: int,
    columns: list[bool],
) -> tuple[Stream, list[Plan]]:
    """The plans of a model with ``each`` of some normalizers, one of all positions or one for each position."""
    positions, inputs = positions_of(row), [Inputs(normalizer) for normalizer in each]
    for k, column in enumerate(columns):
        states: list[Any] = [None] * len(each)
        if column:
            label, moments = f"statistics of the inputs ({k})", [Moments(x, None, positions=positions) for x in inputs]
            stream, states = _moments(label, stream, moments)
            check_sizes(model.normalizer, stream.rows, p)
        entries = (stream.rows.cases or 0) * positions
        inputs = [
            replace(x, stages=(*x.stages, _known(x.normalizer, k, state, entries))) for x, state in zip(inputs, states)
        ]
    weight = model.normalizer._site(Site.WEIGHT, model.normalizer.weight, p.weight)
    What, states = weight[-1].value if weight else p.weight, [None] * len(each)
    if not all(isinstance(stage, Frozen) for stage in model.normalizer.summed[:first]):
        moments = [Moments(x, What, positions=positions) for x in inputs]
        stream, states = _moments("statistics of the summed inputs", stream, moments)
    stream = counted(stream)
    check_sizes(model.normalizer, stream.rows, p)
    entries, plans = (stream.rows.cases or 0) * positions, []
    for normalizer, x, state in zip(each, inputs, states):
        heads, tail = normalizer.summed[:first], normalizer.summed[first:]
        units, value = unit_stages(heads, normalizer, What, state, entries)
        center = None if state is None else state[1]
        chart = Chart(p, center, units, bool(tail), weight, weights_mix(normalizer), value)
        own = model if normalizer is model.normalizer else replace(model, normalizer=normalizer)
        plans.append(Plan(own, x, chart, tail, row, stream.rows.sparse, dtype))
    return stream, plans


def _known(normalizer: Normalizer, k: int, moments: Any, entries: int) -> Any:
    """A stage of the inputs, as far as it is known."""
    stage = normalizer.inputs[k]
    if moments is None:
        return stage
    spread_of = np.sqrt(moments[2] / entries)
    return Affine.of(stage_on(stage, moments[1], spread_of, Site.INPUTS.layout(2), normalizer.name))


def _apart(model: GLM, p: Params, stream: Stream, dtype: type) -> tuple[Stream, Apart]:
    """The plan where no cell reaches over more than a batch of cases."""
    normalizer, rows = model.normalizer, stream.rows
    joint = [s for _, s in normalizer.stages if isinstance(s, Standardize) and Axis.SAMPLE in s.over]
    batches = {dict(s.groups).get(Axis.SAMPLE, 1) for s in joint}
    own = all(within_cases(s) or s in joint for s in (*normalizer.inputs, *normalizer.summed))
    if not own or len(batches) > 1 or batches == {1}:
        raise InputError(
            f"{normalizer.name} brings all cases together in a way that sums over blocks of them cannot follow: load "
            f"{rows.name} as one array"
        )
    if rows.sparse:
        raise InputError(f"{normalizer.name} fills in the zeros of {rows.name}: give dense blocks")
    if not batches:
        return counted(stream), Apart(model, p, 1, dtype)
    stream = counted(stream)
    check_sizes(normalizer, stream.rows, p)
    size = (stream.rows.cases or 0) // batches.pop()
    return replace(stream, rows=stream.rows.of_whole(size)), Apart(model, p, size, dtype)


def counted(stream: Stream) -> Stream:
    """The stream, with the sizes of its blocks known, where it can be gone through twice."""
    rows = stream.rows
    if rows.sizes is not None or rows.once:
        return stream
    (sizes,) = stream.fold("count of the cases", count, append)
    return replace(stream, rows=rows.counted(map(int, sizes)))


def _moments(label: str, stream: Stream, moments: list[Moments]) -> tuple[Stream, list[list[Floats]]]:
    if stream.rows.once:
        raise InputError(
            f"{stream.rows.name} can be read once, but statistics over all cases take a pass of their own: give a "
            "function that returns a new iterator"
        )
    together = moments[0] if len(moments) == 1 else StepMoments(moments)
    found = in_parts(stream.fold(label, together.partial, together.combine), len(moments))
    return replace(stream, rows=stream.rows.counted(map(int, found[0][0]))), found


def check_sizes(normalizer: Normalizer, rows: Rows, p: Params) -> None:
    """Refuse data of which a stage has too few, or not a multiple of its groups."""
    if rows.cases == 0:
        raise InputError(f"{rows.name} is empty: give at least one row")
    for site, stage in normalizer.stages:
        if site is not Site.WEIGHT and rows.cases is not None:
            shape = (rows.cases, *rows.row[:-1], p.units if site is Site.SUMMED else p.inputs)
            normalizer._check_size(site, stage, site.layout(len(shape)), shape)

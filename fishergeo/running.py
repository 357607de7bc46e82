"""Batch norm at inference: its statistics from training batches, averaged as they come or merged exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .axes import Axis
from .cells import Array
from .errors import InputError, is_finite, real_array
from .frozen import Frozen
from .normalizer import Normalizer, Stage
from .standardize import Scale, Standardize

_SOURCE = "Ioffe, Szegedy 2015, Alg. 2"


def running_statistics(
    normalizer: Normalizer,
    weight: Any,
    batches: Iterable[Any],
    *,
    momentum: Any = None,
    unbiased: bool = True,
    corrected: bool = False,
) -> Normalizer:
    """The normalizer at inference, with running averages of the statistics of training batches.

    Batch t has the mean μ_t and the variance v_t of its m entries, Σc²/(m - 1), or Σc²/m if not ``unbiased``.  From
    mean = 0 and var = 1,

        mean <- mean + k (μ_t - mean),        var <- var + k (v_t - var)

    with k = ``momentum``, 0 < k <= 1, as in PyTorch, or with k = 1/t if it is None: then all batches count the same.
    ``corrected`` takes out what momentum leaves of the start after T batches: mean/(1 - (1 - k)ᵀ) and
    (var - (1 - k)ᵀ)/(1 - (1 - k)ᵀ).

    ``weight`` is (H, D); a batch is an array (n, D) or (n, S, D), or a list of n sequences (S_i, D) of any lengths;
    arrays of rationals stay exact.  Ghost batches count one after the other.  Statistics of each step
    (`stepwise_batch_norm`) are those of the sequences that reach it, averaged over the batches that have one.

    Raises `InputError` for a normalizer without batch statistics of its summed inputs, or with such that cannot be
    frozen; for no batch, a batch of one entry (``unbiased``), and a variance of 0 with ε = 0.
    Source: Ioffe, Szegedy 2015, Alg. 2; Hoffer et al. 2017, Alg. 1; torch.nn.BatchNorm1d.
    """
    if momentum is not None and not (is_finite(momentum) and 0 < momentum <= 1):
        raise InputError(
            f"running_statistics got momentum={momentum!r}: give 0 < momentum <= 1, or None for the cumulative average"
        )
    cut = _Cut.of(normalizer)
    past: list[Array] = []  # from 0: the averages of mean, variance and 1, and the number of batches
    for moments in cut.moments(weight, batches):
        new = [moments.mean, moments.variance(cut.divides(unbiased)), moments.count**0, moments.count]
        together = _same_length(*(past or [value * 0 for value in new]), *new)
        *averages, seen = together[:4]
        *latest, count = together[4:]
        seen = seen + (count > 0)
        k = np.where(count > 0, 1 / seen if momentum is None else momentum, 0)
        past = [*(old + k * (value - old) for old, value in zip(averages, latest, strict=True)), seen]
    mean, var, total, _ = past
    return cut.frozen(mean / total, var / total) if corrected else cut.frozen(mean, var + (1 - total))


def population_statistics(
    normalizer: Normalizer, weight: Any, batches: Iterable[Any], *, unbiased: bool = False
) -> Normalizer:
    """The normalizer at inference, with the mean and variance of the entries of all batches together.

    Counts m, means μ and sums of squares Q = Σc² are merged batch by batch, which is stable where μ² is large against Q:

        M = m + m',        δ = μ' - μ,        μ <- μ + δ m'/M,        Q <- Q + Q' + δ² m m'/M,

    and var = Q/M, or Q/(M - 1) if ``unbiased``.  Arguments and errors as in `running_statistics`.
    Source: Chan, Golub, LeVeque 1983, Algorithms for computing the sample variance, The American Statistician 37.
    """
    cut = _Cut.of(normalizer)
    merged: list[_Moments] = []
    for moments in cut.moments(weight, batches):
        merged = [merged[0].merge(moments) if merged else moments]
    return cut.frozen(merged[0].mean, merged[0].variance(cut.divides(unbiased)))


@dataclass(frozen=True)
class _Moments:
    """Number m, mean and Q = Σc² of the entries of each cell: (1,), (H,) and (H,), or (S, 1), (S, H) and (S, H)."""

    count: Array
    mean: Array
    square: Array
    who: str

    @classmethod
    def of(cls, cases: list[Array], pooled: bool, center: bool, who: str) -> _Moments:
        """The moments of cases (H,) or (S_i, H), also over steps if ``pooled``."""
        A, kept = (np.stack(_same_length(*arrays)) for arrays in (cases, [A[..., :1] ** 0 for A in cases]))
        axes = tuple(range(A.ndim - 1)) if pooled else (0,)
        count = kept.sum(axis=axes)
        mean = (A * kept).sum(axis=axes) / count * int(center)
        return cls(count, mean, ((A - mean) ** 2 * kept).sum(axis=axes), who)

    def merge(self, other: _Moments) -> _Moments:
        """The moments of the entries of both."""
        arrays = (self.count, self.mean, self.square, other.count, other.mean, other.square)
        m, mean, square, m_other, mean_other, square_other = _same_length(*arrays)
        total, delta = m + m_other, mean_other - mean
        part = m_other / total
        return _Moments(total, mean + delta * part, square + square_other + delta**2 * (m * part), other.who)

    def variance(self, minus: int) -> Array:
        """Q/(m - ``minus``)."""
        few = np.argwhere(self.count <= minus)
        if few.size:
            at = f" at step {few[0][0]}" if self.count.ndim > 1 else ""
            raise InputError(
                f"{self.who} has one entry{at}, and Σc²/(m - 1) needs two: leave it out or give unbiased=False"
            )
        return self.square / (self.count - minus)


@dataclass(frozen=True)
class _Cut:
    """A normalizer, cut at its one stage with batch statistics."""

    normalizer: Normalizer
    before: Normalizer
    stage: Standardize
    after: tuple[Stage, ...]

    @classmethod
    def of(cls, normalizer: Normalizer) -> _Cut:
        if not isinstance(normalizer, Normalizer):
            raise InputError(f"statistics of {normalizer!r}: give a normalizer such as fg.batch_norm")
        name, summed = normalizer.name, normalizer.summed
        if any(Axis.SAMPLE in stage.over for stage in normalizer.inputs):
            raise InputError(f"{name} has batch statistics of the inputs: standardize the data once, beforehand")
        found = [k for k, stage in enumerate(summed) if Axis.SAMPLE in stage.over]
        if len(found) != 1:
            many = f"{len(found)} stages" if found else "no stage"
            raise InputError(f"{name} has {many} with batch statistics: give one that has one, such as fg.batch_norm")
        k = found[0]
        if reason := _refusal(summed[k]):
            raise InputError(f"{name} cannot be frozen: {reason}")
        before = Normalizer(name, normalizer.inputs, normalizer.weight, summed[:k])
        return cls(normalizer, before, summed[k], summed[k + 1 :])

    def divides(self, unbiased: bool) -> int:
        """1 where variances are Σc²/(m - 1), 0 for Σc²/m; a mean square about 0 is unbiased as it is."""
        return int(unbiased and self.stage.center and self.stage.scale is Scale.STD)

    def moments(self, weight: Any, batches: Iterable[Any]) -> Iterator[_Moments]:
        """The moments of each batch, or of its ghost batches one after the other; at least one."""
        name = self.normalizer.name
        W = _array(weight, f"{name}: the weight is an array", "(units, inputs)")
        parts = dict(self.stage.groups).get(Axis.SAMPLE, 1)
        who = ""
        for k, batch in enumerate(batches if np.iterable(batches) else ()):
            who = f"{name}: batch {k}"
            cases = list(self._cases(batch, W, who))
            if len(cases) % parts:
                raise InputError(f"{who} has N={len(cases)}: {parts} equal groups need N divisible by it")
            size = len(cases) // parts
            for start in range(0, len(cases), size):
                ghost = cases[start : start + size]
                yield _Moments.of(ghost, Axis.POSITION in self.stage.over, self.stage.center, who)
        if not who:
            raise InputError(f"{name} got batches={batches!r}: give one or more, each (n, D) or (n, S, D)")

    def _cases(self, batch: Any, W: Array, who: str) -> Iterator[Array]:
        """The summed inputs of each case, (H,) or (S_i, H), as the stages before the batch statistics leave them."""
        try:
            np.asarray(batch)
        except ValueError:  # sequences of different lengths
            arrays = [_array(x, f"{who}: sequence {i} is an array", "(steps, inputs)")[None] for i, x in enumerate(batch)]
        else:
            arrays = [_array(batch, f"{who} is an array", "(cases, inputs)", "(cases, steps, inputs)")]
        for X in arrays:
            if X.shape[-1] != W.shape[1]:
                raise InputError(f"{who} has {X.shape[-1]} inputs but the weights have {W.shape[1]}: give as many")
            yield from self.before(X, W).value

    def frozen(self, mean: Array, var: Array) -> Normalizer:
        """The normalizer with these statistics in place of those of the batch."""
        name, eps = self.normalizer.name, self.stage.eps
        if self.stage.scale is Scale.NONE:
            var, eps = 1, 0
        rounding = 0 if mean.dtype == object else (64 * np.finfo(float).eps) ** 2
        flat = np.argwhere(var + eps <= rounding * mean**2)
        if flat.size:
            *step, unit = flat[0]
            at = "".join(f" at step {s}" for s in step)
            raise InputError(f"{name}: unit {unit}{at} is constant in every batch, so its variance is 0; give eps > 0")
        stages = (*self.before.summed, Frozen(mean, var, eps), *self.after)
        source = "; ".join(dict.fromkeys(part for part in (self.normalizer.source, _SOURCE) if part))
        return Normalizer(f"frozen_{name}", self.before.inputs, self.before.weight, stages, source)


def _refusal(stage: Stage) -> str:
    """Why batch statistics cannot be replaced by given ones, "" if they can."""
    if not isinstance(stage, Standardize):
        return "its statistics are not known to be means and variances; describe it by fg.Standardize"
    if Axis.UNIT in stage.over:
        return "its cells reach over units, and given statistics are of one unit each; leave UNIT out"
    if stage.first is not None or any(axis is not Axis.SAMPLE for axis, _ in stage.groups):
        return "its moments are those of some of the cases or positions; take them from all"
    if stage.scale is Scale.NORM:
        return "it divides by a Euclidean norm over the batch, which grows with the batch; use fg.Scale.STD"
    if stage.has_eps and not stage.eps_inside:
        return f"its ε stands outside the root, but beside given variances inside; use with_eps({stage.eps})"
    return ""


def _array(value: Any, who: str, *shapes: str) -> Array:
    """An array of finite real numbers, not empty, in one of the given shapes; rationals as they are."""
    try:
        exact = np.asarray(value).dtype == object
        array = np.vectorize(Fraction, otypes=[object])(value) if exact else real_array(value, who).astype(float)
    except (TypeError, ValueError, OverflowError) as error:
        raise error if isinstance(error, InputError) else InputError(f"{who} of {value!r}: give real numbers") from None
    if array.ndim not in [shape.count(",") + 1 for shape in shapes] or 0 in array.shape:
        raise InputError(f"{who} of shape {array.shape}: give {' or '.join(shapes)}, not empty")
    if not exact and not np.isfinite(array).all():
        where = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{who} with a nan or inf at index {where}: drop or impute that case")
    return array


def _same_length(*arrays: Array) -> list[Array]:
    """Arrays (S, ...), made as long as the longest by zeros at the end; arrays without steps as they are."""
    if len({array.ndim for array in arrays}) > 1:
        raise InputError("some batches are (n, D) and others (n, S, D): statistics of each step need steps in all")
    if arrays[0].ndim == 1:
        return list(arrays)
    length = max(map(len, arrays))
    return [np.concatenate([a, np.repeat(a[:1] * 0, length - len(a), axis=0)]) if len(a) < length else a for a in arrays]

"""Deciding whether a normalizer is invariant to a transformation: a proof for all sizes, or an exact counterexample.

The definitions are run on index-notation arrays, before and after the transformation; the model is invariant when both
Â reduce to the same canonical expression.  Where they do not, a rational witness is searched; a cell that has neither
is an error.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy

from ..axes import Site
from ..errors import InputError
from ..normalizers import Normalized, Normalizer
from ..standardize import Scale, Standardize
from ..symbolic.indexed import IndexArray, exact, generic_state, generic_value
from ..symbolic.latex import latex
from ..symbolic.sums import INDEX, canonical, is_zero, normal
from ..transformations import State, Transformation
from .opaque import LETTERS, with_any_sigma
from .witness import Witness, changes_somewhere, search


class Undecided(ArithmeticError):
    """Neither a proof nor a counterexample was found."""


@dataclass(frozen=True)
class Step:
    """One checked equation of a proof: the quantity, what it becomes, and why."""

    quantity: str
    becomes: str
    reason: str

    def __repr__(self) -> str:
        return f"{self.quantity} -> {self.becomes}    ({self.reason})"


@dataclass(frozen=True)
class Verdict:
    """The decision on one cell: ``invariant``, under ``conditions``, by ``steps`` (proof) or by ``witness`` (refutation).

    ``sign`` is a witness that δ < 0 fails, where the proof needs δ > 0.
    """

    normalizer: Normalizer
    transformation: Transformation
    invariant: bool
    conditions: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    witness: Witness | None = None
    sign: Witness | None = None

    def __bool__(self) -> bool:
        return self.invariant

    def __repr__(self) -> str:
        head = f"{self.normalizer.title} / {self.transformation.title}: "
        if not self.invariant:
            return f"{head}not invariant; {self.witness}"
        return f"{head}invariant for all sizes" + (f" if {', '.join(self.conditions)}" if self.conditions else "")

    def latex(self) -> str:
        """The proof as an aligned display, or the witness as one line."""
        if self.witness is not None:
            return self.witness.latex()
        lines = [rf"{s.quantity} &\;\to\; {s.becomes} && \text{{{s.reason}}}" for s in self.steps]
        return r"\begin{aligned}" + r" \\ ".join(lines) + r"\end{aligned}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"


def prove(normalizer: Normalizer, transformation: Transformation) -> Verdict:
    """Decide whether Â is the same (permuted, where units are) after ``transformation``, for all N, D, H.

    Returns a `Verdict` with proof and conditions, or with an exact rational witness; raises `Undecided` when there is
    neither, and `InputError` for anything but a normalizer and a transformation.
    """
    if not isinstance(normalizer, Normalizer) or not isinstance(transformation, Transformation):
        raise InputError(
            f"prove got {type(normalizer).__name__} and {type(transformation).__name__}: give a Normalizer and a "
            "Transformation, e.g. prove(fg.layer_norm, fg.case_rescaling)"
        )
    return _prove(normalizer, transformation)


@lru_cache(maxsize=4096)
def _prove(normalizer: Normalizer, transformation: Transformation) -> Verdict:
    # a random model tells which of the two to try first; it decides nothing
    attempts = (_refute, _confirm) if changes_somewhere(_exact_eps(normalizer), transformation) else (_confirm, _refute)
    for attempt in attempts:
        if (verdict := attempt(normalizer, transformation)) is not None:
            return verdict
    raise Undecided(
        f"{normalizer.name} / {transformation.name}: no proof in index notation and no rational counterexample "
        "up to the sizes searched; please report this pair"
    )


def _confirm(normalizer: Normalizer, transformation: Transformation) -> Verdict | None:
    run = _invariant_run(_any_eps(normalizer), transformation)
    if run is None:
        return None
    conditions, sign = _conditions(normalizer, transformation)
    return Verdict(normalizer, transformation, True, conditions, tuple(_steps(run)), sign=sign)


def _refute(normalizer: Normalizer, transformation: Transformation) -> Verdict | None:
    witness = search(_exact_eps(normalizer), transformation)
    return None if witness is None else Verdict(normalizer, transformation, False, witness=witness)


def parameter_values(transformation: Transformation, signed: bool = False) -> list[Any]:
    """The parameters as symbols: δ, γ, … and, where an action repeats, δ', γ', …"""
    parameters = transformation.parameters
    earlier = [[p.symbol for p in parameters[:k]].count(q.symbol) for k, q in enumerate(parameters)]
    return [generic_value(p, "prime" * n, signed) for p, n in zip(parameters, earlier, strict=True)]


@dataclass(frozen=True)
class Run:
    """A normalizer run in index notation on generic arrays, before and after a transformation."""

    start: State
    moved: State
    before: Normalized
    after: Normalized
    factors: tuple[Any, ...]  # the rescaling factors δ

    @classmethod
    def of(
        cls,
        normalizer: Normalizer,
        transformation: Transformation,
        signed: bool = False,
        any_sigma: tuple[int, ...] = (),
    ) -> Run:
        """``signed`` leaves out δ > 0; the stages ``any_sigma`` divide by any ρ > 0 before and any ϱ > 0 after."""
        start = generic_state()
        values = parameter_values(transformation, signed)
        moved = transformation.act(start, values)
        factors = tuple(v.expr for p, v in zip(transformation.parameters, values, strict=True) if p.positive)
        first, second = (with_any_sigma(normalizer, any_sigma, variant) for variant in ("", "var"))
        before, after = first(start.X, start.W), second(moved.X, moved.W, moved.shift)
        done = zip(_stages(before), _stages(after), strict=True)
        factors += tuple(b.sigma.expr / a.sigma.expr for k, (b, a) in enumerate(done) if k in any_sigma)
        return cls(start, moved, before, after, factors)

    def expected(self, array: IndexArray) -> IndexArray:
        """``array`` with its units in the order that the transformation leaves them in."""
        unit = [k for k, index in enumerate(array.indices) if index == INDEX[Site.SUMMED.layout(2)[1]]]
        return array.take(self.moved.order, unit[0]) if unit and self.moved.order is not None else array

    @property
    def invariant(self) -> bool:
        after, expected = self.after.value.expr, self.expected(self.before.value).expr
        if is_zero(after - expected):
            return True
        # renaming h to π(h) can change which name order is canonical: both sides are named anew
        return self.moved.order is not None and is_zero(canonical(after) - canonical(expected))


def _invariant_run(normalizer: Normalizer, transformation: Transformation, signed: bool = False) -> Run | None:
    """A run that proves invariance: with every σ as it is, else with some σ any numbers > 0, for later stages to undo."""
    if (run := Run.of(normalizer, transformation, signed)).invariant:
        return run
    computed = [k for k, (_, s) in enumerate(normalizer.stages) if s.scale is not Scale.NONE and s.over]
    if len(computed) < 2 or changes_somewhere(normalizer, transformation, signed):
        return None
    sizes = range(1, min(len(computed) - 1, len(LETTERS)) + 1)  # the last σ has no later stage to undo it
    choices = itertools.chain.from_iterable(itertools.combinations(computed, n) for n in sizes)
    runs = (Run.of(normalizer, transformation, signed, choice) for choice in choices)
    return next((run for run in runs if run.invariant), None)


def _stages(normalized: Normalized) -> tuple[Any, ...]:
    return (*normalized.inputs, *normalized.weight, *normalized.summed)


def _any_eps(normalizer: Normalizer) -> Normalizer:
    """A positive ε is proved for all ε > 0."""
    return normalizer.map_eps(lambda eps: sympy.Symbol("epsilon", positive=True))


def _exact_eps(normalizer: Normalizer) -> Normalizer:
    return normalizer.map_eps(exact)


def _conditions(normalizer: Normalizer, transformation: Transformation) -> tuple[tuple[str, ...], Witness | None]:
    """What the proof needs beyond generic arrays, each found by running it again without."""
    found: list[str] = []
    sign = None
    if any(p.positive for p in transformation.parameters):
        if _invariant_run(_any_eps(normalizer), transformation, signed=True):
            found.append("δ ≠ 0")
        else:
            found.append("δ > 0")
            sign = search(_exact_eps(normalizer), transformation, signed=True)
            if sign is None:
                raise Undecided(f"{normalizer.name} / {transformation.name}: the sign condition was not decided")
    computed = [s for _, s in normalizer.stages if isinstance(s, Standardize) and s.scale is not Scale.NONE]
    if any(not s.has_eps for s in computed):
        epsilon = sympy.Symbol("epsilon", positive=True)
        if not _invariant_run(normalizer.with_eps(epsilon), transformation):
            found.append("ε = 0")
        found.append("σ > 0")
    return tuple(found), sign


def _quantities(normalized: Normalized, start: State) -> Iterator[tuple[str, IndexArray]]:
    """The named intermediate arrays of a run, in order."""
    yield r"x_{n d}", start.X
    for stage in normalized.inputs:
        yield from _moments("x", "n d", stage)
    yield r"w_{h d}", start.W
    for stage in normalized.weight:
        yield from _moments("w", "h d", stage)
    yield r"a_{n h}", normalized.A
    for stage in normalized.summed:
        yield from _moments("a", "n h", stage)


def _moments(letter: str, indices: str, stage: Any) -> Iterator[tuple[str, Any]]:
    if stage.mean is not None and not stage.frozen:
        yield rf"\mu({letter})", stage.mean
    if stage.sigma is not None and not stage.frozen:
        yield rf"\sigma({letter})", stage.sigma
    yield rf"\hat{{{letter}}}_{{{indices}}}", stage.value


def _steps(run: Run) -> Iterator[Step]:
    """How every intermediate array changes; each line is an identity that the canonical form has confirmed."""
    pairs = zip(_quantities(run.before, run.start), _quantities(run.after, run.moved), strict=True)
    for (name, before), (_, after) in pairs:
        yield _relation(name, before, run.expected(before), after, run.factors)


def _relation(name: str, before: IndexArray, expected: IndexArray, after: IndexArray, factors: tuple[Any, ...]) -> Step:
    if is_zero(after.expr - before.expr):
        return Step(name, name, "unchanged")
    if is_zero(after.expr - expected.expr):
        return Step(name, re.sub(r"\bh\b", r"\\pi(h)", name), "permuted")
    powers = itertools.product(*([factor, 1 / factor, 1] for factor in factors))
    ratios = [sympy.Integer(1), *(sympy.Mul(*choice) for choice in powers if any(part != 1 for part in choice))]
    rests = [normal(after.expr - ratio * before.expr) for ratio in ratios]
    ratio, rest = min(zip(ratios, rests, strict=True), key=lambda pair: sympy.count_ops(pair[1]))
    scaled = name if ratio == 1 else f"{latex(ratio)}\\,{name}"
    if rest == 0:
        return Step(name, scaled, "homogeneous")
    if sympy.count_ops(rest) < sympy.count_ops(after.expr) and len(latex(rest)) < 160:
        return Step(name, f"{scaled} + {latex(rest)}", "shifted" if ratio == 1 else "scaled and shifted")
    return Step(name, latex(after.expr), "by the transformation")

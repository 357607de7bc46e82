"""Deciding whether a normalizer is invariant to a transformation: a proof for all sizes, or an exact counterexample.

The definitions are run on index-notation arrays, before and after the transformation; the model is invariant when both
Â reduce to the same canonical expression (`Chain`).  Where they do not, a rational witness is searched; a cell that has
neither is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import sympy

from ..errors import InputError
from ..frozen import Frozen
from ..levels import Level
from ..normalizers import Normalizer
from ..standardize import Scale
from ..symbolic.indexed import exact
from ..symbolic.latex import latex
from ..symbolic.sums import is_zero
from ..transformations import Transformation
from .chain import Chain, Link
from .numbers import example
from .witness import Witness, changes_somewhere, search, trials


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

    @property
    def level(self) -> Level:
        """How it is known: a proof for all sizes, or an exact counterexample; numbers alone for an opaque normalizer."""
        if self.normalizer.opaque:
            return Level.NUMERIC
        return Level.PROVED if self.invariant else Level.EXACT

    def __repr__(self) -> str:
        head = f"{self.normalizer.title} / {self.transformation.title}: "
        if not self.invariant:
            return f"{head}not invariant{' (in numbers)' if self.level is Level.NUMERIC else ''}; {self.witness}"
        proved = self.level is Level.PROVED
        known = "for all sizes" if proved else f"{self.steps[-1].reason}, not proved"
        conditions = f"{'' if proved else ','} if {', '.join(self.conditions)}" if self.conditions else ""
        return f"{head}invariant {known}{conditions}"

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

    Returns a `Verdict` with proof and conditions, or with an exact rational witness; a normalizer that is a function is
    tried in numbers, and its verdict says so (`Verdict.level`).  Raises `Undecided` when there is neither, and
    `InputError` for anything but a normalizer and a transformation.
    """
    if not isinstance(normalizer, Normalizer) or not isinstance(transformation, Transformation):
        raise InputError(
            f"prove got {type(normalizer).__name__} and {type(transformation).__name__}: give a Normalizer and a "
            "Transformation, e.g. prove(fg.layer_norm, fg.case_rescaling)"
        )
    return _prove(normalizer, transformation)


@lru_cache(maxsize=4096)
def _prove(normalizer: Normalizer, transformation: Transformation) -> Verdict:
    if normalizer.opaque:
        return in_numbers(normalizer, transformation)
    # a random model tells which of the two to try first; it decides nothing
    attempts = (_refute, _confirm) if changes_somewhere(_exact_eps(normalizer), transformation) else (_confirm, _refute)
    for attempt in attempts:
        if (verdict := attempt(normalizer, transformation)) is not None:
            return verdict
    raise Undecided(
        f"{normalizer.name} / {transformation.name}: no proof in index notation and no rational counterexample "
        "up to the sizes searched; please report this pair"
    )


def in_numbers(normalizer: Normalizer, transformation: Transformation) -> Verdict:
    """A verdict on a normalizer of which only values are known: a counterexample in numbers, or random trials."""
    normalizer(*example(normalizer, np.random.default_rng(0)))  # a function that cannot be used says why
    witness = search(normalizer, transformation)
    if witness is not None:
        return Verdict(normalizer, transformation, False, witness=witness)
    worst, models, sizes = trials(normalizer, transformation)
    if worst > 1e-8:
        raise Undecided(
            f"{normalizer.name} / {transformation.name}: a relative change of {worst:.1g} is neither rounding nor clear"
        )
    reason = f"in numbers (relative change at most {worst:.0e} at {models} random models of {sizes} sizes)"
    sign = search(normalizer, transformation, signed=True) if any(p.positive for p in transformation.parameters) else None
    steps = (Step(r"\hat{a}", r"\hat{a}", reason),)
    return Verdict(normalizer, transformation, True, ("δ > 0",) if sign else (), steps, sign=sign)


def _confirm(normalizer: Normalizer, transformation: Transformation) -> Verdict | None:
    run = _invariant_run(_any_eps(normalizer), transformation)
    if run is None:
        return None
    conditions, sign = _conditions(normalizer, transformation)
    steps = tuple(_step(link, run) for link in run.links)
    return Verdict(normalizer, transformation, True, conditions, steps, sign=sign)


def _refute(normalizer: Normalizer, transformation: Transformation) -> Verdict | None:
    witness = search(_exact_eps(normalizer), transformation)
    return None if witness is None else Verdict(normalizer, transformation, False, witness=witness)


def _invariant_run(normalizer: Normalizer, transformation: Transformation, signed: bool = False) -> Chain | None:
    """A run that proves invariance, where there is one and a random model does not speak against it."""
    if changes_somewhere(normalizer, transformation, signed):
        return None
    run = Chain(normalizer, transformation, signed=signed)
    return run if run.invariant else None


def _any_eps(normalizer: Normalizer) -> Normalizer:
    """A positive ε is proved for all ε > 0."""
    return normalizer.map_eps(lambda eps: sympy.Symbol("epsilon", positive=True))


def _exact_eps(normalizer: Normalizer) -> Normalizer:
    return normalizer.map_eps(lambda eps: sympy.Rational(repr(float(eps))) if isinstance(eps, float) else exact(eps))


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
    computed = [s for _, s in normalizer.stages if s.scale is not Scale.NONE and not isinstance(s, Frozen)]
    if any(not s.has_eps for s in computed):
        epsilon = sympy.Symbol("epsilon", positive=True)
        with_eps = normalizer.with_eps(epsilon)
        if with_eps != normalizer and not _invariant_run(with_eps, transformation):
            found.append("ε = 0")
        found.append("σ > 0")
    return tuple(found), sign


def _step(link: Link, run: Chain) -> Step:
    """How a quantity changes: an identity that the canonical form has confirmed."""
    name, before, expected, after = link.name, link.before, link.expected, link.after
    if is_zero(after.expr - before.expr):
        return Step(name, name, "unchanged")
    permuted = expected is not before
    same, how = (re.sub(r"\bh\b", r"\\varpi(h)", name), " and permuted") if permuted else (name, "")
    if is_zero(after.expr - expected.expr):
        return Step(name, same, "permuted")
    ratio, rest = run.relation(expected, after)
    scaled = same if ratio == 1 else f"{latex(ratio)}\\,{same}"
    if rest == 0:
        return Step(name, scaled, "homogeneous" + how)
    shifted = ("shifted" if ratio == 1 else "scaled, shifted" if permuted else "scaled and shifted") + how
    if link.shift is not None:
        shift = latex(link.shift)
        return Step(name, f"{scaled} + {shift},\\quad {shift} = {latex(rest)}", shifted)
    if sympy.count_ops(rest) < sympy.count_ops(after.expr) and len(latex(rest)) < 160:
        return Step(name, f"{scaled} + {latex(rest)}", shifted)
    return Step(name, latex(after.expr), "by the transformation")

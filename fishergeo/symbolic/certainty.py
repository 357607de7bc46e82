"""Levels of certainty, and the checks that reach them: each decides left = right or raises with a counterexample."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy
from sympy import Expr, Indexed, Symbol
from sympy.core.function import AppliedUndef

from ..axes import Axis
from ..levels import Level
from .arrays import EXACT, FLOATS, Evaluator, Numbers
from .curvature import Symmetric
from .exact import differs
from .rules import Rule, carry_out, expand
from .sums import SIZE, axis_of, is_index

_SIZES = {Axis.SAMPLE: 3, Axis.POSITION: 6, Axis.INPUT: 4, Axis.UNIT: 5}


@dataclass(frozen=True)
class Certificate:
    """The level that a check reached, and the sizes, bounds or tolerance that go with it."""

    level: Level
    detail: str = ""

    def __str__(self) -> str:
        return str(self.level) + (f" ({self.detail})" if self.detail else "")


class FalseStep(ArithmeticError):
    """An equation that does not hold, or was not shown to hold: both sides, and a counterexample where one was found."""


@dataclass(frozen=True)
class Claim:
    """left = right, given the ``rules`` (equations already checked) and the ``definitions`` of its symbols, in order."""

    left: Expr
    right: Expr
    rules: tuple[Rule, ...] = ()
    definitions: tuple[Rule, ...] = ()

    @cached_property
    def plain(self) -> tuple[Expr, Expr]:
        """Both sides with derivatives and expectations carried out."""
        left, right = (carry_out(side, self.definitions) for side in (self.left, self.right))
        return left, right

    @cached_property
    def expanded(self) -> Claim:
        """The claim in terms of undefined quantities alone, its roots in canonical form: equal roots look equal."""
        left, right = (expand(side, self.definitions) for side in self.plain)
        return Claim(left, right, self.rules)

    @cached_property
    def computed(self) -> tuple[Rule, ...]:
        """The definitions with derivatives and expectations carried out."""
        return tuple(Rule(rule.left, carry_out(rule.right, self.definitions)) for rule in self.definitions)

    @cached_property
    def indices(self) -> tuple[Symbol, ...]:
        """The free indices, in which the claim holds entry by entry."""
        free = set().union(*(side.free_symbols for side in self.plain))
        return tuple(sorted((s for s in free if is_index(s)), key=str))

    def sides(self, sizes: Mapping[Axis, int], numbers: Numbers, draw: Callable[[tuple[int, ...], Any], Any]) -> Any:
        """Both sides at drawn values of the free quantities, all defined ones computed from them; and the values."""
        values: dict[Any, Any] = {}
        known = {label_of(rule.left) for rule in self.definitions}
        for atom in _quantities([*self.plain, *(rule.right for rule in self.computed)]):
            label = label_of(atom)
            if label in known or label in values:
                continue
            shape = tuple(sizes[axis_of(index)] for index in getattr(atom, "indices", ()))
            array = draw(shape, atom)
            values[label] = (array + array.swapaxes(-1, -2)) if isinstance(atom, Symmetric) else array
        drawn = dict(values)
        pending = list(self.computed)
        while pending:  # a definition may use symbols that are defined later
            rule = next(
                r for r in pending if not any(label_of(atom) in known - set(values) for atom in _quantities([r.right]))
            )
            values[label_of(rule.left)] = Evaluator(values, sizes, numbers)(rule.right, getattr(rule.left, "indices", ()))
            pending.remove(rule)
        evaluator = Evaluator(values, sizes, numbers)
        return *(evaluator(side, self.indices) for side in self.plain), drawn


def label_of(atom: Expr) -> Any:
    return atom.base.label if isinstance(atom, Indexed) else atom


def _quantities(expressions: list[Expr]) -> Iterator[Expr]:
    found = set().union(*(e.atoms(Indexed) for e in expressions))
    labels = {label_of(atom) for atom in found} | set(SIZE.values())
    plain = set().union(*(e.free_symbols for e in expressions))
    found |= {s for s in plain if isinstance(s, Symbol) and s not in labels and not is_index(s)}
    return iter(sorted(found, key=lambda atom: (str(atom), len(atom.args))))


def _integers(rng: np.random.Generator) -> Callable[[tuple[int, ...], Any], Any]:
    def draw(shape: tuple[int, ...], atom: Any) -> Any:
        positive = label_of(atom).is_positive
        return np.asarray(rng.integers(1, 6, shape) if positive else rng.integers(-4, 6, shape), float)

    return draw


@dataclass(frozen=True)
class Counterexample:
    """A small integer point at which two sides differ."""

    sizes: dict[Axis, int]
    point: dict[str, Any]
    entry: dict[str, int]
    left: float
    right: float

    @property
    def summary(self) -> str:
        return f"at a point of small integers {self.left:.4g} on the left, {self.right:.4g} on the right"

    def __str__(self) -> str:
        point = "; ".join(f"{name} = {np.asarray(value).astype(int).tolist()}" for name, value in self.point.items())
        entry = "".join(f", {name} = {place}" for name, place in self.entry.items())
        return f"at {point}{entry}: left {self.left:.6g}, right {self.right:.6g}"


def counterexample(claim: Claim, tolerance: float = 1e-9) -> Counterexample | None:
    """A small integer point at which the sides differ; None when none was found."""
    mentioned = [*claim.plain, *(side for rule in claim.definitions for side in (rule.left, rule.right))]
    if any(e.has(AppliedUndef) for e in mentioned):
        # any function will do for a counterexample: a polynomial
        left, right = claim.expanded.left, claim.expanded.right
        functions = sorted((left - right).atoms(AppliedUndef), key=str)
        made = {f: sympy.Add(*((k + 2) * f.args[0] ** (k + 1) / (k + 3) for k in range(4))) for f in functions}
        claim = Claim(left.subs(made).doit(), right.subs(made).doit(), claim.rules)
    rng = np.random.default_rng(0)
    for sizes, _ in itertools.product((_SIZES, dict.fromkeys(Axis, 3)), range(4)):
        with np.errstate(all="ignore"):
            left, right, drawn = claim.sides(sizes, FLOATS, _integers(rng))
            gap = np.abs(left - right) > tolerance * (1 + np.abs(left) + np.abs(right))
        if not gap.any():
            continue
        entry = tuple(int(i) for i in np.argwhere(gap)[0])
        place = {str(index): i + 1 for index, i in zip(claim.indices, entry)}
        point = {str(label): value for label, value in drawn.items()}
        return Counterexample(sizes, point, place, float(left[entry]), float(right[entry]))
    return None


def confirm(claim: Claim, found: Counterexample) -> bool:
    """Whether the sides differ at a counterexample in exact arithmetic too."""

    def draw(shape: tuple[int, ...], atom: Any) -> Any:
        half = 2 if isinstance(atom, Symmetric) else 1  # a symmetric array is added to its transpose
        exactly = np.frompyfunc(lambda v: sympy.Rational(int(v), half), 1, 1)
        return EXACT.array(exactly(found.point[str(label_of(atom))]))

    left, right, _ = claim.sides(found.sizes, EXACT, draw)
    place = tuple(found.entry[str(index)] - 1 for index in claim.indices)
    return differs(left[place], right[place])


def refuse(claim: Claim, why: str) -> FalseStep:
    """The error for a claim that did not pass."""
    found = counterexample(claim)
    tail = f"they differ {found}" if found else f"no counterexample was found; {why}"
    return FalseStep(f"false step: the left side is {claim.left}, the right side is {claim.right}; {tail}")

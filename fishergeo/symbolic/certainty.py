"""Levels of certainty, and the checks that reach them: each decides left = right or raises with a counterexample."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import sympy
from sympy import Expr, Indexed, Symbol
from sympy.core.function import AppliedUndef

from ..axes import Axis
from ..levels import Level
from .arrays import EXACT, FLOATS, Evaluator, Numbers
from .curvature import Symmetric
from .exact import differs
from .rules import Rule, carry_out, expand, label_of, relevant
from .sums import SIZE, axis_of, is_index

_SIZES = {Axis.SAMPLE: 3, Axis.POSITION: 6, Axis.INPUT: 4, Axis.UNIT: 5}
_TRIES = 20  # at a point where everything that is declared positive is
_OTHER_SIZES = {Axis.SAMPLE: 4, Axis.POSITION: 3, Axis.INPUT: 3, Axis.UNIT: 3}


@dataclass(frozen=True)
class Certificate:
    """The level that a check reached, and the sizes, bounds or tolerance that go with it."""

    level: Level
    detail: str = ""

    def __str__(self) -> str:
        return str(self.level) + (f" ({self.detail})" if self.detail else "")


class OutsideDomain(ArithmeticError):
    """A point at which a quantity that is declared positive is not."""


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
        """The definitions of what is in the sides, with derivatives and expectations carried out."""
        needed = relevant(sympy.Tuple(self.left, self.right, *self.plain), self.definitions)
        return tuple(Rule(rule.left, carry_out(rule.right, self.definitions)) for rule in needed)

    @cached_property
    def indices(self) -> tuple[Symbol, ...]:
        """The free indices, in which the claim holds entry by entry."""
        free = set().union(*(side.free_symbols for side in self.plain))
        return tuple(sorted((s for s in free if is_index(s)), key=str))

    def sides(self, sizes: Mapping[Axis, int], numbers: Numbers, draw: Callable[[tuple[int, ...], Any], Any]) -> Any:
        """Both sides at drawn values of the free quantities, all defined ones computed from them; and the values."""
        values: dict[Any, Any] = {}
        known = {label_of(rule.left) for rule in self.computed}
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
            label = label_of(rule.left)
            values[label] = Evaluator(values, sizes, numbers)(rule.right, getattr(rule.left, "indices", ()))
            if numbers.dtype is float and label.is_positive and not (values[label] > 1e-9).all():
                raise OutsideDomain(f"{rule.left} is not positive at this point")
            pending.remove(rule)
        evaluator = Evaluator(values, sizes, numbers)
        return *(evaluator(side, self.indices) for side in self.plain), drawn


def _quantities(expressions: list[Expr]) -> Iterator[Expr]:
    found = set().union(*(e.atoms(Indexed) for e in expressions))
    labels = {label_of(atom) for atom in found} | set(SIZE.values())
    plain = set().union(*(e.free_symbols for e in expressions))
    found |= {s for s in plain if isinstance(s, Symbol) and s not in labels and not is_index(s)}
    return iter(sorted(found, key=lambda atom: (str(atom), len(atom.args))))


def _concrete(claim: Claim) -> Claim:
    """The claim with every unknown function a polynomial: any function will do for a counterexample."""
    mentioned = [*claim.plain, *(rule.right for rule in claim.computed)]
    if not any(e.has(AppliedUndef) for e in mentioned):
        return claim
    left, right = claim.expanded.left, claim.expanded.right
    functions = sorted(left.atoms(AppliedUndef) | right.atoms(AppliedUndef), key=str)
    names = sorted({str(f.func) for f in functions})
    made = {f: _polynomial(names.index(str(f.func)), f.args[0]) for f in functions}
    left, right = (_differentiated(side.xreplace(made)) for side in (left, right))
    return Claim(left, right, claim.rules)


def _polynomial(which: int, x: Expr) -> Expr:
    """A polynomial of degree 4 that is neither even nor odd, another one for each function."""
    return sympy.Add(*((k + 2) * x ** (k + 1) / (k + 3 + which) for k in range(4)))


def _differentiated(expr: Expr) -> Expr:
    """The expression with its derivatives taken, and its sums left as they stand."""
    if isinstance(expr, sympy.Derivative | sympy.Subs):
        return expr.doit()
    return expr.func(*map(_differentiated, expr.args)) if expr.has(sympy.Derivative) else expr


def _drawing(rng: np.random.Generator, largest: int, parts: int) -> Callable[[tuple[int, ...], Any], Any]:
    """Integers up to ``largest`` over ``parts``."""

    def draw(shape: tuple[int, ...], atom: Any) -> Any:
        label = label_of(atom)
        values = np.asarray(rng.integers(1 if label.is_positive else 1 - largest, largest + 1, shape), float)
        values = np.where(values == 0, 1, values) if label.is_nonzero else values
        return values if label.is_integer else values / parts

    return draw


class Point(NamedTuple):
    """Both sides of a claim at one point: sizes, and the values of what is free."""

    left: Any
    right: Any
    sizes: dict[Axis, int]
    drawn: dict[Any, Any]


def points(claim: Claim, count: int = 4, generic: bool = False) -> Iterator[Point]:
    """Both sides in floating point, at ``count`` points for each of two choices of sizes.

    The points are small integers and halves, where coincidences are likely, or ``generic``.
    """
    claim, rng = _concrete(claim), np.random.default_rng(0)
    for sizes, k in itertools.product((_SIZES, _OTHER_SIZES), range(count)):
        for _ in range(_TRIES):
            draw = _drawing(rng, 30, 16) if generic else _drawing(rng, 5, 1 + k % 2)
            try:
                with np.errstate(all="ignore"):
                    left, right, drawn = claim.sides(sizes, FLOATS, draw)
            except OutsideDomain:
                continue
            yield Point(left, right, sizes, drawn)
            break


@dataclass(frozen=True)
class Counterexample:
    """A point of small rational numbers at which two sides differ; nan stands for a side that is no real number there."""

    sizes: dict[Axis, int]
    point: dict[str, Any]
    entry: dict[str, int]
    left: float
    right: float

    @property
    def summary(self) -> str:
        return f"at a point of small numbers {self.left:.6g} on the left, {self.right:.6g} on the right"

    def __str__(self) -> str:
        point = "; ".join(f"{name} = {written(value)}" for name, value in self.point.items())
        point = point or ", ".join(f"{axis.value.upper()} = {size}" for axis, size in self.sizes.items())
        entry = "".join(f", {name} = {place}" for name, place in self.entry.items())
        return f"at {point}{entry}: left {self.left:.6g}, right {self.right:.6g}"


def written(value: Any) -> str:
    """Numbers as a list of fractions."""
    value = np.asarray(value)
    if value.ndim:
        return "[" + ", ".join(map(written, value)) + "]"
    return str(sympy.Rational(float(value)))


def counterexample(claim: Claim, tolerance: float = 1e-9, count: int = 4) -> Counterexample | None:
    """A point at which the sides differ, of small integers and halves or else of sixteenths; None when none was found."""
    for left, right, sizes, drawn in itertools.chain(points(claim, count), points(claim, 1, generic=True)):
        with np.errstate(all="ignore"):
            gap = np.abs(left - right) > tolerance * (1 + np.abs(left) + np.abs(right))
        gap |= np.isfinite(left) != np.isfinite(right)
        if not gap.any():
            continue
        entry = tuple(int(i) for i in np.argwhere(gap)[0])
        place = {str(index): i + 1 for index, i in zip(claim.indices, entry)}
        point = {str(label): value for label, value in drawn.items()}
        return Counterexample(sizes, point, place, float(left[entry]), float(right[entry]))
    return None


def contradict(claim: Claim) -> bool:
    """Whether numbers contradict a claim at generic points; raises `FalseStep` if its assumptions hold at none."""
    if next(points(claim, 1, generic=True), None) is None:
        raise FalseStep(
            f"no point was found at which everything in {claim.left} = {claim.right} is positive that should be"
        )
    return counterexample(claim, count=0) is not None


def confirm(claim: Claim, found: Counterexample) -> bool:
    """Whether the sides differ at a counterexample in exact arithmetic too."""
    claim = _concrete(claim)

    def draw(shape: tuple[int, ...], atom: Any) -> Any:
        half = 2 if isinstance(atom, Symmetric) else 1  # a symmetric array is added to its transpose
        exactly = np.frompyfunc(lambda v: sympy.Rational(float(v)) / half, 1, 1)
        return EXACT.array(exactly(found.point[str(label_of(atom))]))

    left, right, _ = claim.sides(found.sizes, EXACT, draw)
    place = tuple(found.entry[str(index)] - 1 for index in claim.indices)
    return differs(left[place], right[place])


def refuse(claim: Claim, why: str) -> FalseStep:
    """The error for a claim that did not pass."""
    found = counterexample(claim)
    tail = f"they differ {found}" if found else f"no counterexample was found; {why}"
    return FalseStep(f"false step: the left side is {claim.left}, the right side is {claim.right}; {tail}")

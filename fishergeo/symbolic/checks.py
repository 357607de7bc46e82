"""The checks that an equation can pass, one for each level of certainty; each raises `FalseStep` where it fails."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from ..axes import Axis
from ..errors import InputError
from ..levels import Level
from ..standardize import root
from .arrays import EXACT, FLOATS, Numbers
from .certainty import Certificate, Claim, refuse
from .exact import differs, equal
from .extension import Extension
from .rules import label_of, vanishes
from .wellformed import axes_of

PRIME = 2**61 - 1


@dataclass(frozen=True)
class AllSizes:
    """Level 1: both sides have the same canonical form in index notation."""

    def __call__(self, claim: Claim) -> Certificate:
        if vanishes(claim.left - claim.right, claim.rules, claim.definitions):
            return Certificate(Level.PROVED)
        raise refuse(claim, "the canonical forms differ: give more of the equations it rests on, or a weaker check")


@dataclass(frozen=True)
class _Sized:
    """A check at stated sizes."""

    samples: int = 3
    inputs: int = 4
    units: int = 5
    positions: int = 11

    def __post_init__(self) -> None:
        sizes = list(self.sizes.values())
        if min(sizes) < 3 or len(set(sizes)) < len(sizes):  # what two equal sizes, or a size of 1 or 2, make true
            raise InputError(f"{type(self).__name__} got the sizes {sizes}: give different numbers, 3 or more")

    @property
    def sizes(self) -> dict[Axis, int]:
        return {
            Axis.SAMPLE: self.samples,
            Axis.INPUT: self.inputs,
            Axis.UNIT: self.units,
            Axis.POSITION: self.positions,
        }

    def _detail(self, claim: Claim) -> str:
        used = set().union(*(axes_of(side) for side in (*claim.plain, *(r.right for r in claim.definitions))))
        return ", ".join(f"{axis.value.upper()} = {self.sizes[axis]}" for axis in Axis if axis in used)


@dataclass(frozen=True)
class StatedSize(_Sized):
    """Level 2: an identity for all values of the entries; a root is a symbol whose square is known."""

    def __call__(self, claim: Claim) -> Certificate:
        _check_algebraic(claim)
        entries = extras = 0

        def drawn(shape: tuple[int, ...], atom: Any) -> Any:
            nonlocal entries
            entries += int(np.prod(shape))
            return np.ones(shape)

        def counted(v: Any) -> Any:
            nonlocal extras
            extras += np.size(v)
            return np.ones_like(v)

        with np.errstate(all="ignore"):
            claim.expanded.sides(self.sizes, Numbers(float, float, counted, counted), drawn)
        extension = Extension(entries, extras)
        free = iter(extension.entries)
        left, right, _ = claim.expanded.sides(self.sizes, extension.numbers, lambda shape, atom: _filled(shape, free))
        if not all(extension.vanishes(difference) for difference in np.ravel(left - right)):
            raise refuse(claim, f"the identity fails at {self._detail(claim)}")
        return Certificate(Level.IDENTITY, self._detail(claim))


def _check_algebraic(claim: Claim) -> None:
    functions = {f for side in (claim.expanded.left, claim.expanded.right) for f in side.atoms(sympy.Function)}
    if named := sorted({str(f.func) for f in functions if not isinstance(f, sympy.KroneckerDelta)}):
        raise refuse(claim, f"this check knows sums, products and roots, not {', '.join(named)}")


def _filled(shape: tuple[int, ...], items: Iterator[Any]) -> Any:
    array = np.empty(shape, object)
    for place in np.ndindex(shape):
        array[place] = next(items)
    return array if shape else array[()]


@dataclass(frozen=True)
class ModuloPrime(_Sized):
    """Level 3: an identity modulo 2⁶¹ - 1 at random points, with the Schwartz-Zippel bound on the chance of error."""

    points: int = 2
    seed: int = 0

    def __call__(self, claim: Claim) -> Certificate:
        _check_algebraic(claim)
        rng = np.random.default_rng(self.seed)
        field = sympy.GF(PRIME, symmetric=False)

        def residue(_: Any = None) -> Any:
            return field(int(rng.integers(1, PRIME)))

        def draw(shape: tuple[int, ...], atom: Any) -> Any:
            return np.frompyfunc(residue, 1, 1)(np.zeros(shape, object)) if shape else residue()

        def quadratic(v: Any) -> Any:
            out = v ** ((PRIME + 1) // 4)
            if out * out != v:
                raise _NoRoot
            return out

        numbers = Numbers(
            object,
            lambda c: field(int(sympy.sympify(c).p)) / field(int(sympy.sympify(c).q)),
            np.frompyfunc(quadratic, 1, 1),
            np.frompyfunc(lambda v: field(1) / v, 1, 1),
        )
        done = 0
        for _ in range(self.points * 4096):
            try:
                left, right, _drawn = claim.expanded.sides(self.sizes, numbers, draw)
            except _NoRoot:
                continue
            if np.any(np.ravel(left - right) != field(0)):
                raise refuse(claim, f"the identity fails modulo {PRIME} at {self._detail(claim)}")
            done += 1
            if done == self.points:
                bound = (_degree(claim.expanded, self.sizes) / PRIME) ** self.points
                return Certificate(Level.MODULAR, f"{self._detail(claim)}, chance of error below {bound:.0e}")
        raise refuse(claim, "no point was found at which all roots exist modulo the prime")


class _NoRoot(Exception):
    """A number without a square root modulo the prime."""


@dataclass(frozen=True)
class _Degree:
    """Bounds on the degrees of numerator and denominator of a rational function."""

    above: int
    below: int = 0

    def __add__(self, other: _Degree) -> _Degree:
        if not isinstance(other, _Degree):  # an array adds to each of its entries
            return NotImplemented
        return _Degree(max(self.above + other.below, other.above + self.below), self.below + other.below)

    __sub__ = __add__

    def __radd__(self, other: int) -> _Degree:
        return self

    def __mul__(self, other: _Degree) -> _Degree:
        if not isinstance(other, _Degree):
            return NotImplemented
        return _Degree(self.above + other.above, self.below + other.below)

    def __truediv__(self, other: _Degree) -> _Degree:
        return _Degree(self.above + other.below, self.below + other.above)

    def __pow__(self, power: int) -> _Degree:
        return _Degree(self.above * power, self.below * power)


def _degree(claim: Claim, sizes: Mapping[Axis, int]) -> int:
    """A bound on the degree of the polynomial that left - right amounts to, doubled for every root it contains."""
    roots = 0

    def counted(v: Any) -> Any:
        nonlocal roots
        roots += np.size(v)
        return v

    numbers = Numbers(object, lambda c: _Degree(0), counted, np.frompyfunc(lambda v: _Degree(0) / v, 1, 1))
    left, right, _ = claim.sides(sizes, numbers, lambda shape, atom: _filled(shape, itertools.repeat(_Degree(1))))
    return max(d.above + d.below for d in np.ravel(left - right)) * 2**roots


@dataclass(frozen=True)
class RationalPoints(_Sized):
    """Level 4: exact equality at random rational points."""

    points: int = 2
    seed: int = 0

    def __call__(self, claim: Claim) -> Certificate:
        rng = np.random.default_rng(self.seed)

        def draw(shape: tuple[int, ...], atom: Any) -> Any:
            low = 1 if label_of(atom).is_positive else -4
            fractions = (sympy.Rational(int(rng.integers(low, 6)), int(rng.integers(1, 4))) for _ in itertools.count())
            return _filled(shape, fractions)

        for _ in range(self.points):
            left, right, _drawn = claim.sides(self.sizes, Numbers(object, EXACT.number, root), draw)
            if any(differs(a, b) for a, b in zip(np.ravel(left), np.ravel(right))):
                raise refuse(claim, f"the sides differ exactly at {self._detail(claim)}")
            if not all(equal(a, b) for a, b in zip(np.ravel(left), np.ravel(right))):
                raise refuse(claim, f"the sides were not shown to be equal at {self._detail(claim)}")
        return Certificate(Level.EXACT, f"{self.points} points, {self._detail(claim)}")


@dataclass(frozen=True)
class FloatingPoint(_Sized):
    """Level 5: equality at random points up to a relative tolerance."""

    tolerance: float = 1e-12
    points: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.tolerance <= 1e-9:
            raise InputError(f"FloatingPoint got tolerance={self.tolerance!r}: give a number from 0 to 1e-9")

    def __call__(self, claim: Claim) -> Certificate:
        rng = np.random.default_rng(self.seed)

        def draw(shape: tuple[int, ...], atom: Any) -> Any:
            return rng.uniform(0.5, 2, shape) if label_of(atom).is_positive else rng.normal(size=shape)

        for _ in range(self.points):
            with np.errstate(all="ignore"):
                left, right, _drawn = claim.sides(self.sizes, FLOATS, draw)
            if not np.all(np.abs(left - right) <= self.tolerance * (np.abs(left).max() + np.abs(right).max())):
                raise refuse(claim, f"the sides differ by more than {self.tolerance:g}")
        return Certificate(Level.NUMERIC, f"tolerance {self.tolerance:g}, {self._detail(claim)}")


Check = AllSizes | StatedSize | ModuloPrime | RationalPoints | FloatingPoint

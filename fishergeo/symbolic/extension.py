"""Polynomials in the entries of small arrays, with symbols for roots and reciprocals whose meaning is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from sympy.polys.orderings import lex
from sympy.polys.rings import PolyRing

from .arrays import Numbers


class Extension:
    """The ring Q[entries] with extra symbols: r with r² known, and d with d known, by which may be divided."""

    def __init__(self, entries: int, extras: int) -> None:
        self.ring = PolyRing([f"t{k}" for k in range(entries)] + [f"r{k}" for k in range(extras)], sympy.QQ, lex)
        self.first = entries
        self.meaning: list[tuple[int, Element]] = []  # (power, value): extra**power = value
        self._known: dict[Any, int] = {}

    @property
    def entries(self) -> Iterator[Element]:
        return (Element(self, generator) for generator in self.ring.gens[: self.first])

    @property
    def numbers(self) -> Numbers:
        return Numbers(object, self.constant, np.frompyfunc(self.root, 1, 1), np.frompyfunc(self.reciprocal, 1, 1))

    def constant(self, value: Any) -> Element:
        return Element(self, self.ring.ground_new(sympy.QQ.from_sympy(sympy.sympify(value))))

    def extra(self, power: int, value: Element) -> int:
        """The place of the symbol whose ``power`` is ``value``; equal values share it."""
        key = (power, value.top, value.below)
        if key not in self._known:
            self._known[key] = self.first + len(self.meaning)
            self.meaning.append((power, value))
        return self._known[key]

    def root(self, value: Element) -> Element:
        return Element(self, self.ring.gens[self.extra(2, value)])

    def reciprocal(self, value: Element) -> Element:
        numerator = self.monomial(value.below)
        if len(value.top) == 1:
            ((powers, coefficient),) = value.top.terms()
            if not any(powers[: self.first]):
                below = tuple((k, power) for k, power in enumerate(powers) if power)
                return Element(self, numerator * (1 / coefficient), below).reduced()
        return Element(self, numerator, ((self.extra(1, Element(self, value.top)), 1),)).reduced()

    def monomial(self, powers: tuple[tuple[int, int], ...]) -> Any:
        out = self.ring.one
        for k, power in powers:
            out = out * self.ring.gens[k] ** power
        return out

    def vanishes(self, element: Element) -> bool:
        """Whether the element is 0 once every extra symbol has its meaning, the last one first."""
        top = element.top
        for k in reversed(range(len(self.meaning))):
            power, value = self.meaning[k]
            place = self.first + k
            highest = max((powers[place] for powers in top), default=0) // power
            below = self.monomial(value.below)
            by_power: dict[int, Any] = {}
            for powers, coefficient in top.terms():
                times, rest = divmod(powers[place], power)
                plain = tuple(rest if at == place else p for at, p in enumerate(powers))
                by_power.setdefault(times, self.ring.zero)[plain] = coefficient
            total = self.ring.zero
            for times, part in by_power.items():
                total = total + part * value.top**times * below ** (highest - times)
            top = total
        return not top


@dataclass(frozen=True, eq=False)
class Element:
    """A polynomial over a product of powers of extra symbols, ``below`` = ((place, power), …)."""

    owner: Extension
    top: Any
    below: tuple[tuple[int, int], ...] = ()

    def reduced(self) -> Element:
        """Powers of extra symbols that divide all terms are cancelled."""
        below = dict(self.below)
        common = {k: min((powers[k] for powers in self.top), default=below[k]) for k in below}
        shared = {k: min(common[k], below[k]) for k in below}
        if not any(shared.values()):
            return self
        top = self.owner.ring.zero
        for powers, coefficient in self.top.terms():
            top[tuple(p - shared.get(k, 0) for k, p in enumerate(powers))] = coefficient
        left = tuple((k, below[k] - shared[k]) for k in sorted(below) if below[k] > shared[k])
        return Element(self.owner, top, left)

    def __add__(self, other: Element) -> Element:
        if not isinstance(other, Element):  # an array adds to each of its entries
            return NotImplemented
        mine, yours = dict(self.below), dict(other.below)
        both = {k: max(mine.get(k, 0), yours.get(k, 0)) for k in sorted({*mine, *yours})}
        top = self.owner.ring.zero
        for element, own in ((self, mine), (other, yours)):
            missing = tuple((k, both[k] - own.get(k, 0)) for k in both if both[k] > own.get(k, 0))
            top = top + element.top * self.owner.monomial(missing)
        return Element(self.owner, top, tuple(both.items())).reduced()

    def __radd__(self, other: int) -> Element:
        """NumPy starts its sums with the number 0."""
        return self.owner.constant(other) + self

    def __neg__(self) -> Element:
        return Element(self.owner, -self.top, self.below)

    def __sub__(self, other: Element) -> Element:
        return self + -other

    def __mul__(self, other: Element) -> Element:
        if not isinstance(other, Element):
            return NotImplemented
        below = dict(self.below)
        for k, power in other.below:
            below[k] = below.get(k, 0) + power
        return Element(self.owner, self.top * other.top, tuple(sorted(below.items()))).reduced()

    def __pow__(self, power: int) -> Element:
        out = self
        for _ in range(power - 1):
            out = out * self
        return out

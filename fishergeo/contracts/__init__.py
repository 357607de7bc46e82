"""Contracts: what must be true of every normalizer, family, link and transformation, the user's own included.

Each contract takes a value and a random generator, and returns the evidence in words or raises `Broken`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError, generator
from ..families import Family
from ..links import Link
from ..normalizers import Normalizer
from ..transformations import Transformation
from . import families, links, normalizers, transformations
from .evidence import Broken

__all__ = ["CONTRACTS", "Broken", "Check", "Result", "check"]

CONTRACTS: dict[type, tuple[Callable[[Any, np.random.Generator], str], ...]] = {
    Normalizer: normalizers.CONTRACTS,
    Family: families.CONTRACTS,
    Link: links.CONTRACTS,
    Transformation: transformations.CONTRACTS,
}


@dataclass(frozen=True)
class Result:
    """One contract run on one value."""

    contract: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Check:
    """All contracts run on one value; true when all of them hold."""

    subject: Any
    results: tuple[Result, ...]

    def __bool__(self) -> bool:
        return all(result.passed for result in self.results)

    def __repr__(self) -> str:
        width = max(len(result.contract) for result in self.results)
        lines = [f"{'holds ' if r.passed else 'BROKEN'}  {r.contract:<{width}}  {r.detail}" for r in self.results]
        return "\n".join([repr(self.subject), *lines])


def check(value: Any, rng: np.random.Generator | int | None = 0) -> Check:
    """Run every contract on a normalizer, a family, a link or a transformation; raises `InputError` for anything else.

    A contract also breaks where a function of the value fails.
    """
    contracts = next((found for kind, found in CONTRACTS.items() if isinstance(value, kind)), None)
    if contracts is None:
        raise InputError(f"check got {value!r:.60}: give a Normalizer, a Family, a Link or a Transformation")
    if isinstance(value, Family) and isinstance(value.trials, tuple):
        raise InputError(f"check got {value!r} with trials of its own for each case: give one number of trials")
    random = generator("check", rng)
    results = []
    for contract in contracts:
        try:
            passed, detail = True, contract(value, random)
        except (Broken, ArithmeticError, InputError) as broken:
            passed, detail = False, str(broken)
        except Exception as error:  # of a function that the value was given
            passed, detail = False, " ".join(f"{type(error).__name__}: {error}".split())
        results.append(Result(inspect.cleandoc(contract.__doc__ or contract.__name__), passed, detail))
    return Check(value, tuple(results))

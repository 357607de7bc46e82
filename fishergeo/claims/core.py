"""Claims of the literature, what decides them, and the report of their verdicts.

A `Claim` holds a statement and a check; the check gathers facts, each with its level of certainty, and `decide` turns
them into a verdict.  Nothing here knows the verdict of any claim before its check has run.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..levels import Level


class Inconclusive(ArithmeticError):
    """A check that neither confirmed nor refuted its statement: a proof failed, or a refutation was not exact."""


def listed(parts: Iterable[str]) -> str:
    """The parts as a list in prose: a, b and c."""
    *most, last = [*parts] or [""]
    return f"{', '.join(most)} and {last}" if most else last


class Kind(enum.Enum):
    """The three outcomes of a check."""

    HOLDS = "holds"
    HOLDS_IF = "holds if"
    REFUTED = "refuted"


@dataclass(frozen=True)
class Verdict:
    """An outcome, with the conditions that the statement needs; ``sourced`` are those that its source has."""

    kind: Kind
    conditions: tuple[str, ...] = ()
    sourced: tuple[str, ...] = ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """The conditions that the source leaves out."""
        return tuple(c for c in self.conditions if c not in self.sourced)

    def __str__(self) -> str:
        marked = [f"{c} (in its source)" if c in self.sourced else c for c in self.conditions]
        return " ".join([self.kind.value, listed(marked)]).strip()


HOLDS = Verdict(Kind.HOLDS)
REFUTED = Verdict(Kind.REFUTED)


def HOLDS_IF(*conditions: str) -> Verdict:
    """The verdict "holds if ``conditions``"."""
    return Verdict(Kind.HOLDS_IF, conditions)


@dataclass(frozen=True)
class Fact:
    """One thing that was computed: in words with its numbers, whether it came out as stated, and how certain that is.

    ``negative``: it says that something is not so, or not in general, which one exact point settles.
    """

    text: str
    true: bool
    level: Level
    negative: bool = False

    def __bool__(self) -> bool:
        return self.true


@dataclass(frozen=True)
class Condition:
    """What a statement needs: ``necessary`` is the fact that the statement fails without it.

    ``sourced``: its source states it, or has it in its definitions.
    """

    text: str
    necessary: Fact
    sourced: bool = False


@dataclass(frozen=True)
class Correction:
    """The statement that is true instead, the facts that it rests on, and facts that corroborate it."""

    statement: str
    facts: tuple[Fact, ...]
    also: tuple[Fact, ...] = ()

    @property
    def level(self) -> Level:
        return max(fact.level for fact in self.facts)


@dataclass(frozen=True)
class Evidence:
    """What a check found: the verdict, the facts behind it, their level, and the correction where one is needed."""

    verdict: Verdict
    facts: tuple[Fact, ...]
    level: Level
    correction: Correction | None = None

    @property
    def text(self) -> str:
        """The facts as one sentence."""
        return "; ".join(dict.fromkeys(fact.text for fact in self.facts))


def decide(
    *asserted: Fact,
    needs: Iterable[Condition] = (),
    instead: Correction | None = None,
    also: Iterable[Fact] = (),
) -> Evidence:
    """The verdict on a statement that asserts the facts ``asserted``.

    All true: it holds, if the conditions ``needs`` that proved necessary are met.  One false: it is refuted, which takes
    an exact computation.  ``also`` holds facts that corroborate or delimit; they and those of ``instead`` must be true.
    The level is the least certain of what supports the verdict, where a "not" counts as settled if anything else is
    asserted.  Raises `Inconclusive` where the facts decide nothing.
    """
    also = (*also, *((*instead.facts, *instead.also) if instead else ()))
    needed = tuple(c for c in needs if c.necessary)
    for fact in also:
        if not fact:
            raise Inconclusive(f"a supporting check failed: {fact.text}")
    wrong = [fact for fact in asserted if not fact]
    if wrong:
        exact = [fact for fact in wrong if fact.level < Level.NUMERIC]
        if not exact:
            raise Inconclusive(f"not confirmed, and floating point does not refute: {wrong[0].text}")
        return Evidence(REFUTED, (*exact, *also), min(fact.level for fact in exact), instead)
    level = max(fact.level for fact in [f for f in asserted if not f.negative] or asserted)
    if not needed:
        return Evidence(HOLDS, (*asserted, *also), level)
    facts = (*asserted, *(c.necessary for c in needed), *also)
    verdict = Verdict(Kind.HOLDS_IF, tuple(c.text for c in needed), tuple(c.text for c in needed if c.sourced))
    return Evidence(verdict, facts, level, instead)


@dataclass(frozen=True)
class Paper:
    """Where statements come from."""

    authors: str
    year: int
    title: str
    arxiv: str

    def __str__(self) -> str:
        return f"{self.authors} {self.year}, arXiv {self.arxiv}"


@dataclass(frozen=True)
class Claim:
    """A statement of the literature, in its source's symbols (LaTeX between dollars), and the check that decides it.

    ``paper`` is None for what no single source states.  ``check`` takes the objects that the statement is about as
    keywords, with those of the statement as defaults.
    """

    id: str
    paper: Paper | None
    place: str
    statement: str
    check: Callable[..., Evidence] = field(repr=False)

    @property
    def source(self) -> str:
        return ", ".join(str(part) for part in (self.paper, self.place) if part)

    def run(self, **variant: Any) -> Result:
        """Run the check, on the statement or on a ``variant`` of it; raises `Inconclusive` where it decides nothing."""
        try:
            return Result(self, self.check(**variant))
        except Inconclusive as error:
            raise Inconclusive(f"{self.id}: {error}") from None


def claim(id: str, paper: Paper | None, place: str, statement: str) -> Callable[[Callable[..., Evidence]], Claim]:
    """Make the decorated check a `Claim`."""
    return lambda check: Claim(id, paper, place, statement, check)


@dataclass(frozen=True)
class Result:
    """A claim with what its check found."""

    claim: Claim = field(repr=False)
    found: Evidence = field(repr=False)

    @property
    def id(self) -> str:
        return self.claim.id

    @property
    def source(self) -> str:
        return self.claim.source

    @property
    def statement(self) -> str:
        return self.claim.statement

    @property
    def verdict(self) -> Verdict:
        return self.found.verdict

    @property
    def evidence(self) -> str:
        """What was computed, in one sentence with its numbers."""
        return self.found.text

    @property
    def level(self) -> Level:
        return self.found.level

    @property
    def corrected(self) -> str | None:
        """The true statement, where the claim's is not."""
        return self.found.correction.statement if self.found.correction else None

    @property
    def corrected_level(self) -> Level | None:
        return self.found.correction.level if self.found.correction else None

    def __repr__(self) -> str:
        facts = dict.fromkeys(f"[{int(fact.level)}] {fact.text}" for fact in self.found.facts)
        lines = [
            f"{self.id}: {self.verdict}  [level {int(self.level)}, {self.level}]",
            f"  {self.source}",
            f"  statement: {self.statement}",
            *(f"  {'evidence:' if k == 0 else '':9}  {fact}" for k, fact in enumerate(facts)),
        ]
        if self.corrected:
            assert self.corrected_level is not None
            lines.append(f"  corrected: {self.corrected}  [level {int(self.corrected_level)}]")
        return "\n".join(lines)

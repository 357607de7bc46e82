"""Derivations whose every equation is checked when it is written down, and rendered only then."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sympy
from sympy import Expr

from ..errors import InputError
from ..levels import Level
from .certainty import Certificate, Claim, FalseStep, confirm, contradict, counterexample, refuse
from .checks import AllSizes, Check
from .expectation import Expectation
from .items import Display, Insert, Justification, Step, Text, kind, numbered, reason
from .items import definition as definition
from .latex import latex
from .layout import broken, listed
from .rules import Partial, Rule, label_of, relevant
from .wellformed import (
    check_definition,
    check_divisors,
    check_expression,
    check_late,
    check_names,
    check_sign,
)

__all__ = ["Derivation", "Display", "FalseStep", "Insert", "Justification", "Step", "Text"]


algebra = Justification("algebra")
substitution = Justification("substitution")
chain_rule = Justification("chain rule", mentions=(Partial,))
differentiation = Justification("differentiation", mentions=(Partial,))
linearity_of_the_mean = Justification("linearity of the mean", mentions=(sympy.Sum,))
projector_identity = Justification("projector identity")
exact_expectation = Justification("expectation taken exactly", mentions=(Expectation, sympy.Sum))
independence = Justification("independence of Gaussian parts", mentions=(Expectation,))
run_of_the_definition = Justification("the definition, run in index notation")
invariance = Justification("invariance")
curvature_of_the_metric = Justification("curvature of the metric, from its derivatives")
counterexample_found = Justification("exact counterexample", Level.EXACT, shown=True)
exact_arithmetic = Justification("exact arithmetic on one model", Level.EXACT, shown=True)
comparison = Justification("comparison with what the package computes in numbers", Level.NUMERIC, shown=True)


def justifications() -> tuple[Justification, ...]:
    """The list: every justification that this module names."""
    return tuple(value for value in globals().values() if isinstance(value, Justification))


@dataclass
class Derivation:
    """A chapter: prose, and equations that were checked when they were added.

    Every defined quantity must be defined before it is used; a step that is not an identity raises `FalseStep`.
    """

    number: int
    title: str
    items: list[Any] = field(default_factory=list)
    definitions: list[Rule] = field(default_factory=list)
    _since: int = 0
    _names: dict[Any, Any] = field(default_factory=dict)  # of quantities, since the last restart

    @classmethod
    def chapter(cls, path: str | Path, title: str) -> Derivation:
        """A chapter that is numbered as its file is: 03_name.py is chapter 3."""
        number = Path(path).name.split("_")[0]
        if not number.isdecimal():
            raise InputError(
                f"chapter got the file {Path(path).name}: its name must start with a number, as in 03_name.py"
            )
        return cls(int(number), title)

    @property
    def steps(self) -> list[Step]:
        """The equations so far, or since the symbols were last given new meanings."""
        return [item for item in self.items[self._since :] if isinstance(item, Step)]

    def _label(self) -> str:
        return f"{self.number}.{1 + sum(isinstance(item, Step | Display) for item in self.items)}"

    def say(self, template: str, *parts: Any) -> None:
        """A paragraph of prose; each {} is replaced by the formula of an expression or the number of a step."""
        self.items.append(Text(" ".join(template.split()), parts))

    def head(self, title: str) -> None:
        """A heading within the chapter."""
        self.items.append(Text(title, heading=True))

    def define(self, left: Expr, right: Expr, restricts: bool = False) -> Step:
        """Introduce a new symbol ``left`` for ``right``; raises `FalseStep` if that does not say what it is.

        A symbol that is declared positive where ``right`` may be 0 is assumed not to be, and the assumption is printed;
        with ``restricts`` also where ``right`` may be negative: what follows holds only where it is positive.
        """
        rule = Rule(sympy.sympify(left), sympy.sympify(right))
        if any(label_of(known.left) == label_of(rule.left) for known in self.definitions):
            raise FalseStep(f"{left} is already defined")
        self._check_form(rule.left, rule.right)
        check_definition(rule, self.definitions)
        check_late(rule, self.definitions, [(step.left, step.right) for step in self.steps if step.certificate])
        check_sign(rule, self.definitions, restricts)
        step = Step(self._label(), rule.left, rule.right, definition)
        self.definitions.append(rule)
        self.items.append(step)
        return step

    def restart(self) -> None:
        """Forget all definitions: symbols may be given new meanings, and earlier steps can no longer be used."""
        self.definitions.clear()
        self._names.clear()
        self._since = len(self.items)

    def _check_form(self, *sides: Expr) -> None:
        for side in sides:
            check_expression(side, self.definitions)
            check_divisors(side)
        check_names(sides, self._names)

    def step(
        self,
        left: Expr,
        right: Expr,
        because: Justification,
        using: Iterable[Step] = (),
        check: Check | None = None,
    ) -> Step:
        """Add the equation left = right; it rests on the equations ``using`` and on the definitions of its symbols.

        Raises `FalseStep` with both sides and a counterexample if the check (default: a proof for all sizes) fails, and
        also where it passes but the sides differ in numbers.
        """
        certified = self.check(left, right, because, using, check)
        self.items.append(certified)
        return certified

    def refute(self, left: Expr, right: Expr, because: Justification) -> Display:
        """Write left ≠ right with a point where the sides differ; raises `FalseStep` when no such point is found."""
        claim = Claim(sympy.sympify(left), sympy.sympify(right), (), tuple(self.definitions))
        self._check_form(claim.left, claim.right)
        found = counterexample(claim)
        if found is None or not confirm(claim, found):
            raise FalseStep(f"no counterexample was found to {left} = {right}")
        shown = broken(latex(claim.left), latex(claim.right), r"\neq")
        self.items.append(Display(self._label(), shown, because, Certificate(Level.EXACT, found.summary)))
        return self.items[-1]

    def check(
        self,
        left: Expr,
        right: Expr,
        because: Justification,
        using: Iterable[Step] = (),
        check: Check | None = None,
    ) -> Step:
        """The step left = right, checked but not written."""
        used = tuple(using)
        known = {(step.label, frozenset((step.left, step.right))) for step in self.steps}
        for step in used:
            if (step.label, frozenset((step.left, step.right))) not in known:
                raise FalseStep(f"equation {step.label} is not one of this derivation: derive it here first")
        rules = tuple(step.rule for step in used)
        claim = Claim(sympy.sympify(left), sympy.sympify(right), rules, tuple(self.definitions))
        self._check_form(claim.left, claim.right)
        meaning = relevant(sympy.Tuple(claim.left, claim.right), self.definitions)
        involved = itertools.chain.from_iterable((rule.left, rule.right) for rule in (*rules, *meaning))
        self._check_reason(because, [claim.left, claim.right, *involved])
        certificate = (check or AllSizes())(claim)
        if contradict(claim):  # a proof that numbers contradict proves nothing
            raise refuse(claim, "")
        certificates = [certificate, *(step.certificate for step in used if step.certificate)]
        weakest = max(certificates, key=lambda c: c.level)
        return Step(self._label(), claim.left, claim.right, because, used, weakest)

    @staticmethod
    def _check_reason(because: Justification, involved: Iterable[Expr]) -> None:
        if because not in justifications():
            raise FalseStep(f"{because.text!r} is not one of the justifications that there are")
        if because.shown:
            raise FalseStep(f"{because.text!r} is no reason for a step: it is checked elsewhere, and shown")
        if because.mentions and not any(e.has(*because.mentions) for e in involved):
            kinds = " or ".join(kind.__name__ for kind in because.mentions)
            raise FalseStep(f"{because.text!r} is given for a step in which there is no {kinds}")

    def show(self, formula: Any, because: Justification, certificate: Certificate | None = None) -> Display:
        """Display a formula that was checked elsewhere: an object with ``.latex()``, or its LaTeX.

        The level is that of ``certificate``, or the object's own.  Raises `FalseStep` for a level that is missing, or
        more than ``because`` can establish.
        """
        shown = listed(formula if isinstance(formula, str) else formula.latex())
        known = certificate or (Certificate(formula.level) if hasattr(formula, "level") else None)
        if known is None or known.level < because.level:
            raise FalseStep(f"{because.text!r} does not establish that a formula is {known or 'true'}")
        self.items.append(Display(self._label(), shown, because, known))
        return self.items[-1]

    def insert(self, tex: str, markup: str) -> None:
        """Add a table, as LaTeX and as HTML with $formulas$."""
        self.items.append(Insert(tex, markup))

    def equations(self) -> list[tuple[str, str, int | None]]:
        """(LaTeX, justification, level of certainty) of every equation, in order; the level of a definition is None."""
        return [
            (item.latex(), reason(item, str), item.certificate.level if item.certificate else None)
            for item in self.items
            if isinstance(item, Step | Display)
        ]

    def latex(self) -> str:
        """The chapter as a LaTeX section; the macros it uses are those of `fishergeo.symbolic.document`."""
        lines = [rf"\section{{{self.title}}}"]
        for sort, group in itertools.groupby(self.items, kind):
            if sort == "text":
                lines.extend(f"\n{item.latex()}" for item in group)
            elif sort == "definition":
                body = " \\\\\n".join(rf"{item.latex()} \label{{eq:{item.label}}}" for item in group)
                lines.append(f"\\begin{{gather}}\n{body}\n\\end{{gather}}")
            else:
                lines.extend(numbered(item) for item in group)
        return "\n".join(lines) + "\n"

    def html(self, mathml: Callable[[str, bool], str]) -> str:
        """The chapter's body as HTML; ``mathml`` turns LaTeX into MathML, (formula, whether it is a display)."""
        parts: list[str] = []
        for item in self.items:
            if isinstance(item, Text):
                text = item.render(
                    lambda formula: mathml(formula, False),
                    lambda label: f'<a href="#eq-{label}">({label})</a>',
                    html.escape,
                )
                parts.append(f"<h3>{text}</h3>" if item.heading else f"<p>{text}</p>")
                continue
            if isinstance(item, Insert):
                markup = re.sub(r"\$([^$]+)\$", lambda found: mathml(found[1], False), item.markup)
                parts.append(f'<div class="table">{markup}</div>')
                continue
            formula = mathml(item.latex().replace(":=", r"\coloneqq"), True)
            why = reason(item, lambda label: f'<a href="#eq-{label}">({label})</a>')
            if item.certificate:
                why += f": {html.escape(item.certificate.detail)}" if item.certificate.detail else ""
                title = html.escape(str(item.certificate))
                why += f' <span class="level" title="{title}">{int(item.certificate.level)}</span>'
            note = "" if item.because is definition else f'<span class="because">{why}</span>'
            shown = f'<div class="formula">{formula}</div><span>({item.label})</span>{note}'
            parts.append(f'<div class="equation" id="eq-{item.label}">{shown}</div>')
        return "".join(parts)

    def write(self, path: str | Path) -> Path:
        """Write the chapter's LaTeX to ``path`` (with the suffix .tex) and return that path."""
        target = Path(path).with_suffix(".tex")
        target.write_text(self.latex(), encoding="utf-8")
        return target

"""Derivations whose every equation is checked when it is written down, and rendered only then."""

from __future__ import annotations

import html
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sympy
from sympy import Expr

from ..levels import Level
from .certainty import Certificate, Claim, FalseStep, confirm, counterexample
from .checks import AllSizes, Check
from .latex import latex
from .layout import broken
from .rules import Rule

__all__ = ["Derivation", "FalseStep", "Justification", "Step"]


@dataclass(frozen=True)
class Justification:
    """Why an equation holds, in words."""

    text: str


definition = Justification("definition")
algebra = Justification("algebra")
substitution = Justification("substitution")
chain_rule = Justification("chain rule")
differentiation = Justification("differentiation")
linearity_of_the_mean = Justification("linearity of the mean")
projector_identity = Justification("projector identity")
exact_expectation = Justification("expectation taken exactly")
run_of_the_definition = Justification("the definition, run in index notation")
invariance = Justification("invariance")
counterexample_found = Justification("exact counterexample")
exact_arithmetic = Justification("exact arithmetic on one model")
comparison = Justification("comparison with the operator that computes with numbers")


@dataclass(frozen=True)
class Step:
    """A checked equation left = right with its number, its justification and the certificate of its check."""

    label: str
    left: Expr
    right: Expr
    because: Justification
    using: tuple[Step, ...] = ()
    certificate: Certificate | None = None

    @property
    def rule(self) -> Rule:
        """The equation as a rewriting rule, from left to right."""
        return Rule(self.left, self.right)

    def backwards(self) -> Step:
        """The same equation read from right to left."""
        return replace(self, left=self.right, right=self.left)

    def latex(self) -> str:
        """The equation as a display, broken over lines where it is long."""
        return broken(latex(self.left), latex(self.right), ":=" if self.because is definition else "=")


@dataclass(frozen=True)
class Text:
    """A paragraph; {} stands for an expression or for the number of a step."""

    template: str
    parts: tuple[Any, ...] = ()
    heading: bool = False

    def latex(self) -> str:
        text = self.render(lambda formula: f"${formula}$", _cite, _escape)
        return rf"\subsection*{{{text}}}" if self.heading else text

    def render(self, show: Any, cite: Any, escape: Any) -> str:
        prose = self.template.split("{}")
        parts = [cite(part.label) if isinstance(part, Step) else show(_formula(part)) for part in self.parts]
        return "".join(escape(text) + part for text, part in zip(prose, [*parts, ""], strict=True))


@dataclass(frozen=True)
class Display:
    """A formula that another part of the package has checked, with the certificate of that check."""

    label: str
    formula: str
    because: Justification
    certificate: Certificate | None = None
    using: tuple[Step, ...] = ()

    def latex(self) -> str:
        return self.formula


@dataclass(frozen=True)
class Insert:
    """A table, given as LaTeX and as HTML by the part of the package that checked its cells."""

    tex: str
    markup: str

    def latex(self) -> str:
        return "\\begin{center}\\small\\tabcolsep=3pt\n" + self.tex + "\n\\end{center}"


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

    def define(self, left: Expr, right: Expr) -> Step:
        """Introduce a new symbol ``left`` for ``right``; raises `FalseStep` if the symbol already means something."""
        step = Step(self._label(), left, right, definition)
        base = getattr(left, "base", left)
        earlier = [rule.left for rule in self.definitions]
        if any(getattr(known, "base", known) == base for known in earlier):
            raise FalseStep(f"{left} is already defined")
        if any(base in (atom, getattr(atom, "base", None)) for atom in sympy.sympify(right).atoms(type(left))):
            raise FalseStep(f"the definition of {left} mentions {left} itself")
        self.definitions.append(step.rule)
        self.items.append(step)
        return step

    def restart(self) -> None:
        """Forget all definitions: symbols may be given new meanings, and earlier steps can no longer be used."""
        self.definitions.clear()
        self._since = len(self.items)

    def step(
        self,
        left: Expr,
        right: Expr,
        because: Justification,
        using: Iterable[Step] = (),
        check: Check | None = None,
    ) -> Step:
        """Add the equation left = right; it rests on the equations ``using`` and on the definitions of its symbols.

        Raises `FalseStep` with both sides and a counterexample if the check (default: a proof for all sizes) fails.
        """
        certified = self.check(left, right, because, using, check)
        self.items.append(certified)
        return certified

    def refute(self, left: Expr, right: Expr, because: Justification) -> Display:
        """Write left ≠ right with a point where the sides differ; raises `FalseStep` when no such point is found."""
        claim = Claim(sympy.sympify(left), sympy.sympify(right), (), tuple(self.definitions))
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
        certificate = (check or AllSizes())(claim)
        return Step(self._label(), claim.left, claim.right, because, used, certificate)

    def show(self, formula: Any, because: Justification, certificate: Certificate | None = None) -> Display:
        """Display a formula that was checked elsewhere: an object with ``.latex()``, or its LaTeX."""
        shown = formula if isinstance(formula, str) else formula.latex()
        self.items.append(Display(self._label(), shown, because, certificate))
        return self.items[-1]

    def insert(self, tex: str, markup: str) -> None:
        """Add a table, as LaTeX and as HTML."""
        self.items.append(Insert(tex, markup))

    def equations(self) -> list[tuple[str, str, int | None]]:
        """(LaTeX, justification, level of certainty) of every equation, in order; the level of a definition is None."""
        return [
            (item.latex(), _reason(item, str), item.certificate.level if item.certificate else None)
            for item in self.items
            if isinstance(item, Step | Display)
        ]

    def latex(self) -> str:
        """The chapter as a LaTeX section; the macros it uses are those of `fishergeo.symbolic.document`."""
        lines = [rf"\section{{{self.title}}}"]
        for kind, group in itertools.groupby(self.items, _kind):
            if kind == "text":
                lines.extend(f"\n{item.latex()}" for item in group)
            elif kind == "definition":
                body = " \\\\\n".join(rf"{item.latex()} \label{{eq:{item.label}}}" for item in group)
                lines.append(f"\\begin{{gather}}\n{body}\n\\end{{gather}}")
            else:
                lines.extend(_numbered(item) for item in group)
        return "\n".join(lines) + "\n"

    def html(self, mathml: Callable[[str, bool], str]) -> str:
        """The chapter as an HTML section; ``mathml`` turns LaTeX into MathML, (formula, whether it is a display)."""
        parts = [f"<h2>{html.escape(self.title)}</h2>"]
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
                parts.append(item.markup)
                continue
            formula = mathml(item.latex(), True)
            reason = _reason(item, lambda label: f'<a href="#eq-{label}">({label})</a>')
            if item.certificate:
                title = html.escape(str(item.certificate))
                reason += f' <span class="level" title="{title}">{int(item.certificate.level)}</span>'
            note = f'<span class="because">{reason}</span>'
            parts.append(f'<div class="equation" id="eq-{item.label}">{formula}<span>({item.label})</span>{note}</div>')
        return f'<section class="derivation">{"".join(parts)}</section>'

    def write(self, path: str | Path) -> Path:
        """Write the chapter's LaTeX to ``path`` (with the suffix .tex) and return that path."""
        target = Path(path).with_suffix(".tex")
        target.write_text(self.latex(), encoding="utf-8")
        return target


_TEX = {character: "\\" + character for character in "&%#_"}
_TEX |= {
    ">": "$>$",
    "≠": r"$\neq$",
    "δ": r"$\delta$",
    "ε": r"$\varepsilon$",
    "σ": r"$\sigma$",
    "²": "$^2$",
    "⁶¹": "$^{61}$",
}


def _kind(item: Any) -> str:
    return "text" if isinstance(item, Text | Insert) else "definition" if item.because is definition else "step"


def _numbered(item: Step | Display) -> str:
    """A numbered equation with its justification and its level of certainty."""
    detail = f": {item.certificate.detail}" if item.certificate and item.certificate.detail else ""
    reason = _reason(item, _cite) + _escape(detail)
    level = int(item.certificate.level) if item.certificate else ""
    equation = f"\\begin{{equation}}\\label{{eq:{item.label}}}\n{item.latex()}\n\\end{{equation}}"
    return f"{equation}\n\\reason{{{reason}}}{{{level}}}"


def _cite(label: str) -> str:
    return rf"\eqref{{eq:{label}}}"


def _formula(part: Any) -> str:
    if isinstance(part, str):
        return part
    return part.latex() if hasattr(part, "latex") else latex(sympy.sympify(part))


def _reason(item: Step | Display, cite: Any) -> str:
    labels = sorted({step.label for step in item.using}, key=lambda label: int(label.split(".")[1]))
    return item.because.text + (", by " + ", ".join(cite(label) for label in labels) if labels else "")


def _escape(text: str) -> str:
    for character, tex in _TEX.items():
        text = text.replace(character, tex)
    return text

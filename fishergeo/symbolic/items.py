"""What a chapter consists of, and how it is written: steps, displays, paragraphs and tables, as LaTeX and as HTML."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import sympy
from sympy import Expr

from ..levels import Level
from .certainty import Certificate
from .latex import latex
from .layout import broken
from .rules import Rule
from .wellformed import positive


@dataclass(frozen=True)
class Justification:
    """Why an equation holds, in words: one of the list below.

    ``level`` is the most that it can establish; ``mentions`` are kinds of expressions of which one must occur in the
    equation or in those that it rests on; ``shown`` says that only `Derivation.show` and `refute` may give it.
    """

    text: str
    level: Level = Level.PROVED
    mentions: tuple[type, ...] = ()
    shown: bool = False


definition = Justification("definition", shown=True)


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
        if self.because is not definition:
            return broken(latex(self.left), latex(self.right))
        assumed = " > 0" if self.left.is_positive and not positive(self.right) else ""
        return broken(latex(self.left), latex(self.right) + assumed, ":=")


@dataclass(frozen=True)
class Text:
    """A paragraph; {} stands for an expression or for the number of a step."""

    template: str
    parts: tuple[Any, ...] = ()
    heading: bool = False

    def latex(self) -> str:
        text = self.render(lambda formula: f"${formula}$", cite_latex, _escape)
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
    """A table, given as LaTeX and as HTML with $formulas$ by the part of the package that checked its cells."""

    tex: str
    markup: str

    def latex(self) -> str:
        return f"\\nobreak\\medskip{{\\centering\\small\\tabcolsep=3pt\n{self.tex}\n\\par}}\\medskip"


_TEX = {character: "\\" + character for character in "&%#_"}
_TEX |= {
    ">": "$>$",
    "≠": r"$\neq$",
    "δ": r"$\delta$",
    "ε": r"$\epsilon$",
    "σ": r"$\sigma$",
    "²": "$^2$",
    "⁶¹": "$^{61}$",
}


def kind(item: Any) -> str:
    return "text" if isinstance(item, Text | Insert) else "definition" if item.because is definition else "step"


def numbered(item: Step | Display) -> str:
    """A numbered equation with its justification and its level of certainty."""
    detail = f": {item.certificate.detail}" if item.certificate and item.certificate.detail else ""
    why = reason(item, cite_latex) + _escape(detail)
    level = int(item.certificate.level) if item.certificate else ""
    equation = f"\\begin{{equation}}\\label{{eq:{item.label}}}\n{item.latex()}\n\\end{{equation}}"
    return f"{equation}\n\\reason{{{why}}}{{{level}}}"


def cite_latex(label: str) -> str:
    return rf"\eqref{{eq:{label}}}"


def _formula(part: Any) -> str:
    if isinstance(part, str):
        return part
    return part.latex() if hasattr(part, "latex") else latex(sympy.sympify(part))


def reason(item: Step | Display, cite: Any) -> str:
    """Why, by which equations: (1.2), (1.4)-(1.7)."""
    places = sorted({int(step.label.split(".")[1]) for step in item.using})
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    chapter = item.label.split(".")[0]
    shown: list[str] = []
    for run in runs:
        labels = [cite(f"{chapter}.{place}") for place in run]
        shown += [f"{labels[0]}-{labels[-1]}"] if len(run) > 2 else labels
    return item.because.text + (", by " + ", ".join(shown) if shown else "")


def _escape(text: str) -> str:
    for character, tex in _TEX.items():
        text = text.replace(character, tex)
    return text

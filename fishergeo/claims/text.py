"""Prose with formulas between dollars, as LaTeX in plain ASCII."""

from __future__ import annotations

import re
import unicodedata

_ESCAPED = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", **{c: "\\" + c for c in "&%#_{}$"}}
_TABLE = r"""
α \alpha β \beta γ \gamma δ \delta ε \varepsilon η \eta θ \theta λ \lambda μ \mu ξ \xi π \pi ρ \rho σ \sigma φ \phi
χ \chi Δ \Delta Σ \Sigma ∇ \nabla ∂ \partial ℓ \ell ∈ \in ∞ \infty ≠ \ne ≤ \le ≥ \ge ≈ \approx ± \pm ∝ \propto < < > >
· \cdot × \times ⊗ \otimes ⟂ \perp → \to ⇒ \Rightarrow ⇔ \Leftrightarrow √ \surd ‖ \Vert | | ⟨ \langle ⟩ \rangle ′ '
½ \tfrac12 ¼ \tfrac14 ¹ ^1 ² ^2 ³ ^3 ⁴ ^4 ⁺ ^+ ⁻ ^- ᵀ ^\top ₀ _0 ₁ _1 ₂ _2 ₙ _n ᵢ _i ⱼ _j ^ \hat{\;}
"""
_MATH = dict(line.split() for line in re.findall(r"\S+ \S+", _TABLE))
_ACCENTS = {"\u0302": r"\hat", "\u0304": r"\bar", "\u0303": r"\tilde"}  # combining marks


def prose(text: str) -> str:
    """``text`` for LaTeX: what is between dollars stays, Greek letters and signs become formulas, the rest is escaped."""
    formula = re.compile(r"(\$[^$]*\$)")
    return "".join(part if formula.fullmatch(part) else _plain(part) for part in formula.split(text))


def _plain(text: str) -> str:
    out: list[str] = []
    for character in text:
        if character in _MATH:
            out.append(f"${_MATH[character]}$")
            continue
        letter, *marks = list(unicodedata.normalize("NFD", character))
        if letter in _ACCENTS:  # a mark written after its letter
            letter, marks = out.pop().strip("$"), [letter]
        for mark in marks:
            letter = f"{_ACCENTS[mark]}{{{letter}}}"
        out.append(f"${letter}$" if marks else _ESCAPED.get(letter, letter))
    return "".join(out).replace("$$", " ")

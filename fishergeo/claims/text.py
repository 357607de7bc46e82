"""Prose with formulas between dollars, as LaTeX in plain ASCII."""

from __future__ import annotations

import re
import unicodedata

_ESCAPED = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", **{c: "\\" + c for c in "&%#_{}$"}}
_TABLE = r"""
α \alpha β \beta γ \gamma δ \delta ε \varepsilon η \eta θ \theta λ \lambda μ \mu ξ \xi π \pi ρ \rho σ \sigma φ \phi
χ \chi Δ \Delta Σ \Sigma ∇ \nabla ∂ \partial ℓ \ell ∈ \in ∞ \infty ≠ \ne ≤ \le ≥ \ge ≈ \approx ± \pm ∝ \propto < < > >
· \cdot × \times ⊗ \otimes ⟂ \perp → \to ⇒ \Rightarrow ⇔ \Leftrightarrow √ \surd ‖ \Vert | | ⟨ \langle ⟩ \rangle ′ '
½ \tfrac12 ¼ \tfrac14 ᵀ ^\top ₀ _0 ₁ _1 ₂ _2 ₙ _n ᵢ _i ⱼ _j ^ \hat{\;}
"""
_MATH = dict(line.split() for line in re.findall(r"\S+ \S+", _TABLE))
_ACCENTS = {  # combining marks
    "\u0302": r"\hat",
    "\u0303": r"\tilde",
    "\u0304": r"\bar",
    "\u0307": r"\dot",
    "\u0308": r"\ddot",
}


_RAISED = str.maketrans("⁺⁻¹²³⁴", "+-1234")
_FORMULA = re.compile(r"(\$[^$]*\$)")
_SCRIPT = re.compile(r"([_^])(\{[^}]*\}|\([^)]*\)|[-+]?\w+(?:\.\d+)?)")  # w_11, w_{t+1}, e^(2λt), ‖δ‖^3.02


def prose(text: str) -> str:
    """``text`` for LaTeX: what is between dollars stays, Greek letters, signs, sub- and superscripts become formulas."""
    parts = _FORMULA.split(text)
    return "".join(part if _FORMULA.fullmatch(part) else _plain(part) for part in parts)


def _plain(text: str) -> str:
    text = re.sub("[⁺⁻¹²³⁴]+", lambda raised: f"^{{{raised[0].translate(_RAISED)}}}", text)
    out, end = "", 0
    for script in _SCRIPT.finditer(text):
        inner = script[2].strip("{}") if script[2].startswith("{") else script[2]
        body = "".join(_symbol(character, "") for character in inner)
        out += _run(text[end : script.start()]) + f"${script[1]}{{{body}}}$"
        end = script.end()
    return re.sub(r"\$\$", " ", out + _run(text[end:]))


def _run(text: str) -> str:
    """Characters one by one; an accent written after its letter belongs to it."""
    out: list[str] = []
    for character in text:
        if character in _ACCENTS:
            out[-1] = f"${_ACCENTS[character]}{{{out[-1].strip('$')}}}$"
        else:
            out.append(_symbol(character, "$"))
    return "".join(out)


def _symbol(character: str, dollar: str) -> str:
    if character in _MATH:
        return f"{dollar}{_MATH[character]}{dollar}" if dollar else _MATH[character] + " "
    letter, *marks = list(unicodedata.normalize("NFD", character))
    if not marks or not set(marks) <= set(_ACCENTS):
        return _ESCAPED.get(character, character)
    for mark in marks:
        letter = f"{_ACCENTS[mark]}{{{letter}}}"
    return f"{dollar}{letter}{dollar}"

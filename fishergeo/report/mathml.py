"""LaTeX to MathML that browsers draw without scripts, and text with mathematics in it to HTML or LaTeX."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from xml.etree import ElementTree

_BOLD = {"bold": "A𝐀 a𝐚 0𝟎 α𝛂", "bold-italic": "A𝑨 a𝒂 α𝜶 Α𝜜"}  # a letter and its bold form; those that follow go alike
_ROMAN = re.compile(r"\\mathrm\{(\w+)\}")
_PRIMES = "′″‴"
_ROWS = ("math", "mrow", "mtd", "msqrt", "mstyle")
_ACCENTS = ("^", "~", "˙", "ˇ", "`", "´")
_OPEN = ("[", "(", "{", "|", "‖")
_WORDS = re.compile(r"\\text\{((?:[^{}$]|\$[^$]*\$)*)\}")  # with formulas in them
_TOKEN = re.compile(r"\$([^$]+)\$|`([^`]+)`|(?<!\w)\*\*([^*]+)\*\*(?!\w)")


@lru_cache(maxsize=8192)
def mathml(latex: str, display: bool = False) -> str:
    """The MathML of a formula; alignment and bold letters are written in the way that MathML Core knows.

    Raises `ValueError` for a formula that the converter did not understand.
    """
    from latex2mathml.converter import convert

    latex = _WORDS.sub(_apart, latex)
    source = _ROMAN.sub(r"\\text{\1}", latex.replace("{aligned}", "{align*}").replace(r"\surd", r"\text{√}"))
    text = convert(source, display="block" if display else "inline")
    root = ElementTree.fromstring(
        text.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "").replace("<mi>&</mi>", "<bad/>")
    )
    for node in list(root.iter()):
        _modernize(node)
    if root.find(".//bad") is not None or any("\\" in (node.text or "") for node in root.iter()):
        raise ValueError(f"not convertible to MathML: {latex}")
    return ElementTree.tostring(root, encoding="unicode")


def _apart(words: re.Match[str]) -> str:
    """Words with formulas between them as words, formulas, words."""
    parts = words[1].split("$")
    return "".join(part if k % 2 else rf"\text{{{part}}}" for k, part in enumerate(parts) if part)


def _modernize(node: ElementTree.Element) -> None:
    if align := node.attrib.pop("columnalign", None):
        node.set("style", f"text-align: {align}")
    variant = node.attrib.get("mathvariant")
    if variant in _BOLD and node.text:
        del node.attrib["mathvariant"]
        node.text = "".join(_bold(letter, variant) for letter in node.text)
    if node.tag == "mo" and node.text in ("|", "‖") and "stretchy" not in node.attrib:  # \\left and \\right say so
        node.attrib.update(stretchy="false", lspace="0", rspace="0")
    if node.tag == "mover" and node[1].text in _ACCENTS:
        node.set("accent", "true")  # as large as on a letter in TeX, not as a superscript
    if node.tag == "mover" and node[1].text == "¯":
        node[1].text = "‾"  # an accent would touch a capital letter: a line that keeps its distance
    if node.tag in ("msub", "msubsup") and node[0].tag == "mo" and node[0].text == "∑":
        node.tag = {"msub": "munder", "msubsup": "munderover"}[node.tag]
        node[0].set("movablelimits", "true")
    if node.tag in ("msup", "msubsup") and (node[-1].text or "") in tuple(_PRIMES):
        _lower_prime(node)
    _hold_fences(node)
    for place in range(len(node) - 1, 0, -1) if node.tag in _ROWS else ():  # log x, not logx
        if node[place - 1].tag == "mi" and len(node[place - 1].text or "") > 1 and node[place].tag != "mo":
            node.insert(place, ElementTree.Element("mspace", width="0.17em"))


def _hold_fences(node: ElementTree.Element) -> None:
    """The brackets of a matrix go with it into a row of their own: they stretch to the height of their row."""
    for place in range(len(node) - 2, 0, -1):
        if place + 1 >= len(node):  # what was to the right went into a row
            continue
        left, table, right = node[place - 1 : place + 2]
        if table.tag == "mtable" and left.tag == right.tag == "mo" and left.text in _OPEN:
            row = ElementTree.Element("mrow")
            row.extend([left, table, right])
            node[place - 1 : place + 2] = [row]


def _bold(letter: str, variant: str) -> str:
    for pair in _BOLD[variant].split():
        first, bold = pair[0], pair[1]
        if 0 <= ord(letter) - ord(first) < (10 if first == "0" else 26):
            return chr(ord(bold) + ord(letter) - ord(first))
    return letter


def _lower_prime(node: ElementTree.Element) -> None:
    """A prime is a raised sign already: as a superscript it would be raised twice."""
    prime = node[-1]
    node.remove(prime)
    prime.tag = "mo"
    prime.attrib.update(lspace="0", rspace="0")
    base = ElementTree.Element("mrow")
    base.extend([node[0], prime])
    node[0] = base
    node.tag = "msub" if len(node) > 1 else "mrow"


def to_html(text: str) -> str:
    """Prose with $mathematics$, `code` and **emphasis** as HTML."""

    def token(match: re.Match[str]) -> str:
        formula, code, strong = match.groups()
        if formula:
            return mathml(formula)
        return f"<code>{html.escape(code)}</code>" if code else f"<strong>{html.escape(strong)}</strong>"

    return _between(text, token, html.escape)


def to_tex(text: str) -> str:
    """Prose with $mathematics$, `code` and **emphasis** as LaTeX."""

    def token(match: re.Match[str]) -> str:
        formula, code, strong = match.groups()
        if formula:
            return f"${formula}$"
        return rf"\texttt{{{escape_tex(code)}}}" if code else rf"\textbf{{{escape_tex(strong)}}}"

    return _between(text, token, escape_tex)


def _between(text: str, token: Callable[[re.Match[str]], str], plain: Callable[[str], str]) -> str:
    out, end = [], 0
    for match in _TOKEN.finditer(text):
        out += [plain(text[end : match.start()]), token(match)]
        end = match.end()
    return "".join([*out, plain(text[end:])])


_KNOWN = {
    "…": r"\ldots{}",
    "–": "--",
    "“": "``",
    "”": "''",
    "’": "'",
    "°": r"$^\circ$",
    "ß": r"{\ss}",
    "æ": r"{\ae}",
    "ø": r"{\o}",
}
_ACCENT = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0308": '"',
    "\u030a": "r",
    "\u0327": "c",
    "\u030c": "v",
}
_SIGNS = "<>|→⇒⇔≠≤≥≈±∝·×⊗⟂∈∞√"  # as good as plain text as they are as formulas
_ESCAPE = re.compile(r"\\textbackslash\{\}|\\textasciitilde\{\}|\\([&%#_{}$])")


def escape_tex(text: str) -> str:
    """Plain text as LaTeX for pdflatex; a character that it cannot set becomes its code point in brackets."""
    from ..claims.text import prose

    def letter(character: str) -> str:
        base, *marks = list(unicodedata.normalize("NFD", character))
        if character in _KNOWN:
            return _KNOWN[character]
        if base.isascii() and len(marks) == 1 and marks[0] in _ACCENT:
            return rf"\{_ACCENT[marks[0]]}{{{base}}}"
        known = character if unicodedata.combining(character) else prose(character)
        return known if known.isascii() else f"[U+{ord(character):04X}]"

    return "".join(map(letter, unicodedata.normalize("NFC", text)))


def marked(text: str) -> str:
    """The text of a claim with its Greek letters and indices as $mathematics$."""
    from ..claims.text import prose

    def plain(match: re.Match[str]) -> str:
        return match[1] or {"b": "\\", "a": "~"}[match[0][5]]

    signs = {prose(sign): sign for sign in _SIGNS}
    return "".join(
        signs.get(part, part) if part.startswith("$") else _ESCAPE.sub(plain, part)
        for part in re.split(r"(\$[^$]+\$)", prose(text))
    )

"""Every symbol of the book has one meaning: they are made in one place, and what is printed is in the table."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from sympy import IndexedBase, Symbol

from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.sums import INDEX, over

BOOK = Path(__file__).resolve().parents[1] / "derivations"
CHAPTERS = sorted(BOOK.glob("[0-9][0-9]_*.py"))
MAKERS = {"Symbol", "IndexedBase", "Function", "Dummy", "Wild", "symbols", "var"}
# what is no symbol: structure, functions with a name, and the indices inside the names of blocks
_NAMES = r"""
    \frac \sqrt \sum \left \right \biggl \biggr \quad \qquad \; \, \! \to \neq \approx \partial \top \cdot \lVert \rVert
    \hat \bar \tilde \dot \check \grave \boldsymbol \mathrm \mathcal \operatorname \text \log \exp \sin \pi \le \infty
    \checkmark
"""
STRUCTURE = set(_NAMES.split())


@pytest.fixture
def symbols(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BOOK))
    import symbols

    yield symbols
    del sys.modules["symbols"]


def made(source: str) -> list[str]:
    """The calls in a chapter that make a symbol."""
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = [call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls]
    return [name for name in names if name in MAKERS]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapters_make_no_symbols(path: Path) -> None:
    assert made(path.read_text(encoding="utf-8")) == []


def test_a_chapter_that_makes_a_symbol_is_noticed() -> None:
    assert made("import sympy\nt = sympy.Symbol('t')\nu = IndexedBase('u')") == ["Symbol", "IndexedBase"]


def test_a_symbol_has_one_meaning(symbols: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"g means 'the gains', and cannot also mean 'a shift'"):
        symbols.array("g", "a shift")
    with pytest.raises(ValueError, match=r"\\gamma means"):
        symbols.number("gamma", "the gain of batch norm")


def test_an_equation_with_an_unknown_symbol_is_refused(symbols: ModuleType) -> None:
    n, m = INDEX[next(iter(INDEX))], Symbol("m", integer=True)
    d = Derivation(9, "A cell")
    d.define(symbols.q[n], over(symbols.v[m], m))
    symbols.check(d)
    for stranger in (IndexedBase("stranger", real=True)[n], Symbol("g", negative=True)):
        wrong = Derivation(9, "A cell")
        wrong.define(symbols.q[n], stranger)
        with pytest.raises(ValueError, match=r"equation 9\.1 contains (stranger|g), which is not in the table"):
            symbols.check(wrong)


def letters(formula: str) -> set[str]:
    """The letters of a formula: x, \\gamma, …"""
    return set(re.findall(r"\\[a-zA-Z]+|[A-Za-z]", formula)) - STRUCTURE


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_what_is_printed_is_in_the_table(path: Path, symbols: ModuleType) -> None:
    tex = path.with_suffix(".tex").read_text(encoding="utf-8")
    table = set().union(*(letters(re.sub(r"\\(?:operatorname|mathrm)", "", entry)) for entry in symbols.MEANINGS))
    displays = re.findall(r"\\begin\{(equation|gather)\}(.*?)\\end\{\1\}", tex, re.S)
    formulas = [body for _, body in displays] + re.findall(r"\$([^$]*)\$", re.sub(r"\\text\{[^}]*\}", "", tex))
    text = " ".join(formulas)
    for words in (r"\\text\{[^{}]*\}", r"\\(?:label|begin|end)\{[^}]*\}"):
        text = re.sub(words, " ", text)
    assert letters(text) <= table, sorted(letters(text) - table)


def test_the_table_has_nothing_else(symbols: ModuleType) -> None:
    text = "".join(path.with_suffix(".tex").read_text(encoding="utf-8") for path in CHAPTERS)
    plain = {entry: re.sub(r"_\{\d\}$", "", entry) for entry in symbols.MEANINGS}
    assert [entry for entry, bare in plain.items() if not all(part in text for part in bare.split(", "))] == []


def cited(text: str) -> set[tuple[str, str]]:
    """(first author, year) of every citation: Ba, Kiros and Hinton 2016; van Laarhoven (2017, section 2)."""
    names = r"([A-Z]\w+)(?:, [A-Z]\w+)*(?: and [A-Z]\w+| et al\.)? \(?((?:19|20)\d\d)\b"
    return set(re.findall(names, text))


def test_references_are_cited_and_citations_are_references(symbols: ModuleType) -> None:
    import front

    text = "".join(path.with_suffix(".tex").read_text(encoding="utf-8") for path in CHAPTERS)
    known = [re.match(r"(?:[A-Z]\. )+(?:van )?(\w+).*?\b((?:19|20)\d\d)\b", entry) for entry in front.REFERENCES]
    assert all(known)
    assert cited(text) == {(entry[1], entry[2]) for entry in known if entry}
    del sys.modules["front"]

"""The derivation engine, and the book that it writes."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from sympy import Function, IndexedBase, Integer, Symbol

import fishergeo as fg
from fishergeo.axes import Axis
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.blocks import fisher_block
from fishergeo.symbolic.certainty import FalseStep
from fishergeo.symbolic.checks import FloatingPoint
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.document import document, page
from fishergeo.symbolic.latex import block_name, latex
from fishergeo.symbolic.layout import LINE, broken, width
from fishergeo.symbolic.rules import Partial
from fishergeo.symbolic.sums import INDEX, SIZE, over

BOOK = Path(__file__).resolve().parents[1] / "derivations"
n, N = INDEX[Axis.SAMPLE], SIZE[Axis.SAMPLE]
m, n2 = Symbol("m", integer=True), Symbol("n'", integer=True)
t, c = IndexedBase("t", real=True), IndexedBase("c", real=True)
mean = Symbol("tbar", real=True)


@pytest.fixture
def d() -> Derivation:
    """The mean of a cell and the centered cell."""
    derivation = Derivation(9, "A cell")
    derivation.define(mean, over(t[m], m) / N)
    derivation.define(c[n], t[n] - mean)
    return derivation


def test_a_true_step_is_added_with_its_certificate(d: Derivation) -> None:
    step = d.step(over(c[m], m), Integer(0), by.linearity_of_the_mean, d.steps)
    assert step.certificate is not None and int(step.certificate.level) == 1
    assert [s.label for s in d.steps] == ["9.1", "9.2", "9.3"]
    assert d.equations()[2] == (r"\sum_{m=1}^{N} c_{m} = 0", "linearity of the mean, by 9.1, 9.2", 1)
    assert d.equations()[0][1:] == ("definition", None) and ":=" in d.equations()[0][0]


def test_a_false_step_raises_with_both_sides_and_a_counterexample(d: Derivation) -> None:
    pattern = (
        r"false step: the left side is Sum\(c\[m\].*the right side is 1; they differ at t = \[.*\]: left .*, right 1"
    )
    with pytest.raises(FalseStep, match=pattern):
        d.step(over(c[m], m), Integer(1), by.linearity_of_the_mean, d.steps)
    with pytest.raises(FalseStep, match=r"left 0.66\d*, right 1"):
        d.step(Partial(c[n], t[n]), Integer(1), by.differentiation)
    with pytest.raises(FalseStep, match="they differ at"):
        d.step(over(c[m] ** 2, m), over(t[m] ** 2, m), by.algebra, check=FloatingPoint())
    assert len(d.steps) == 2


def test_a_true_step_without_its_reasons_is_not_accepted(d: Derivation) -> None:
    with pytest.raises(FalseStep, match="no counterexample was found; the canonical forms differ"):
        d.step(over(c[m], m), Integer(0), by.algebra)


def test_definitions_are_kept_apart(d: Derivation) -> None:
    with pytest.raises(FalseStep, match=r"c\[n\] is already defined"):
        d.define(c[n], t[n])
    with pytest.raises(FalseStep, match="mentions"):
        d.define(IndexedBase("q", real=True)[n], over(IndexedBase("q", real=True)[m], m) + 1)
    foreign = Derivation(1, "Another").define(IndexedBase("q", real=True)[n], t[n])
    with pytest.raises(FalseStep, match="not one of this derivation"):
        d.step(over(c[m], m), Integer(0), by.algebra, [foreign])
    earlier = d.steps
    d.restart()
    d.define(c[n], 2 * t[n])
    with pytest.raises(FalseStep, match="not one of this derivation"):
        d.step(c[n], t[n] - mean, by.algebra, earlier)
    d.step(c[n] / 2, t[n], by.algebra, d.steps)


def test_refutations_are_exact(d: Derivation) -> None:
    shown = d.refute(over(c[m] ** 2, m), over(t[m] ** 2, m), by.counterexample_found)
    assert r"\neq" in shown.latex() and shown.certificate is not None and int(shown.certificate.level) == 4
    with pytest.raises(FalseStep, match="no counterexample"):
        d.refute(over(c[m], m), Integer(0), by.counterexample_found)


def test_rendering(d: Derivation) -> None:
    f = Function("f")
    d.head("Sums & means")
    d.say("The mean {} is linear, see {}; 100% of {}.", mean, d.steps[0], f(t[n]))
    d.step(over(c[m], m), Integer(0), by.linearity_of_the_mean, d.steps)
    tex = d.latex()
    assert r"\subsection*{Sums \& means}" in tex and r"see \eqref{eq:9.1}; 100\% of $f{\left(t_{n} \right)}$." in tex
    assert r"\reason{linearity of the mean, by \eqref{eq:9.1}, \eqref{eq:9.2}}{1}" in tex
    d.step(over(c[m], m) + t[n], t[n], by.algebra, d.steps)
    assert r"\reason{algebra, by \eqref{eq:9.1}-\eqref{eq:9.3}}{1}" in d.latex()
    del d.items[-1]
    assert tex.count(r"\label{eq:") == 3 and r"\begin{gather}" in tex
    assert document("T", tex).count(r"\begin{document}") == 1
    body = d.html(lambda formula, display: f"<math>{display}</math>")
    html = page("T & U", ("", "", ""), [("A cell", body)])
    assert html.count("<math>True</math>") == 3 and 'href="#eq-9.1"' in html and "Sums &amp; means" in html
    assert '<a href="#chapter-1">A cell</a>' in html and "<h2>1 A cell</h2>" in html and "T &amp; U" in html


@pytest.mark.parametrize("family", [None, fg.bernoulli, fg.categorical], ids=str)
@pytest.mark.parametrize("normalizer", [fg.layer_norm, fg.batch_norm, fg.compose(fg.layer_norm, fg.batch_norm)], ids=str)
def test_long_equations_are_broken(normalizer: fg.Normalizer, family: fg.Family | None) -> None:
    block = fisher_block(normalizer, "weight", "weight", family)
    text = broken(block_name("weight", "weight"), latex(block.expr))
    lines = re.sub(r"\\(begin|end)\{aligned\}", "", text).split(r" \\ ")
    assert len(lines) > 1
    assert max(width(line) for line in lines) < 1.1 * LINE
    for line in lines:
        assert line.count(r"\left") - line.count(r"\leftarrow") == line.count(r"\right"), line
        assert line.count("{") == line.count("}")
    assert text.count(r"\biggl") == text.count(r"\biggr")


def chapters() -> ModuleType:
    spec = importlib.util.spec_from_file_location("book", BOOK / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where data classes look for their annotations
    spec.loader.exec_module(module)
    return module


def test_the_committed_book_is_what_the_chapters_derive() -> None:
    """In a process of its own, with another hash seed: the text must not depend on it."""
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(BOOK.parent)}
    command = [sys.executable, "-W", "error", str(BOOK / "build.py"), "--check"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


def test_differences_are_reported(tmp_path: Path) -> None:
    book = chapters()
    for path in BOOK.glob("*.tex"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    assert book.differences(tmp_path) == []
    changed = tmp_path / "04_projector_lemma.tex"
    changed.write_text(changed.read_text(encoding="utf-8").replace("N - 2", "N - 1"), encoding="utf-8")
    (tmp_path / "98_new.tex").write_text("", encoding="utf-8")
    assert book.differences(tmp_path) == ["04_projector_lemma.tex", "98_new.tex"]


def test_every_chapter_is_in_the_book() -> None:
    book = chapters()
    text = (BOOK / "book.tex").read_text(encoding="utf-8")
    names = [path.stem for path in book.chapter_files()]
    assert text == book.book(names)
    assert len(names) >= 12 and all(rf"\input{{{name}.tex}}" in text for name in names)


@pytest.mark.parametrize("path", sorted(BOOK.glob("*.tex")), ids=lambda path: path.stem)
def test_the_book_needs_little(path: Path) -> None:
    """ASCII, few packages, every reference defined, and no trace of a failed display."""
    text = path.read_text(encoding="utf-8")
    assert text.isascii()
    assert set(re.findall(r"\\usepackage(?:\[[^]]*\])?\{([^}]*)\}", text)) <= {"geometry", "amsmath,amssymb,amsthm"}
    labels = re.findall(r"\\label\{([^}]*)\}", text)
    assert len(set(labels)) == len(labels) and set(re.findall(r"\\eqref\{([^}]*)\}", text)) <= set(labels)
    assert not re.search(r"\bNone\b|Sum\(|Partial|\bTrue\b|\bFalse\b|\bnan\b", text)
    for name in ("equation", "gather", "aligned", "center", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}")

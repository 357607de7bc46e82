"""What is wrong with the typeset book is found in the log, and said in one line."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

BOOK = Path(__file__).resolve().parents[1] / "derivations"
GOOD = """This is pdfTeX
(./book.tex (./01_one.tex [1] [2])
Overfull \\hbox (9.9pt too wide) in paragraph at lines 3--4
(./02_two.tex [3]))
Output written on book.pdf (3 pages, 12345 bytes).
"""
WRONG = {
    "error": ("! Undefined control sequence.", "02_two.tex: Undefined control sequence."),
    "reference": (
        "LaTeX Warning: Reference `eq:9.9' on page 3 undefined on input line 7.",
        "02_two.tex: Reference `eq:9.9' on page 3 undefined on input line 7.",
    ),
    "label": (
        "LaTeX Warning: Label `eq:1.1' multiply defined.",
        "02_two.tex: Label `eq:1.1' multiply defined.",
    ),
    "line": (
        "Overfull \\hbox (10.1pt too wide) detected at line 1917",
        "02_two.tex: \\hbox 10.1 pt too wide detected at line 1917",
    ),
    "page": (
        "Overfull \\vbox (33.0pt too high) has occurred while \\output is active",
        "02_two.tex: \\vbox 33.0 pt too wide has occurred while \\output is active",
    ),
}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BOOK))
    import typeset

    yield typeset
    del sys.modules["typeset"]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], Path]:
    """A TeX engine that writes the given log; a folder with a book to typeset."""
    source, programs = tmp_path / "source", tmp_path / "bin"
    source.mkdir()
    programs.mkdir()
    (source / "book.tex").write_text("\\relax", encoding="utf-8")

    def install(log: str, status: int = 0) -> Path:
        for name in ("latexmk", "pdflatex"):
            program = programs / name
            program.write_text(f"#!/bin/sh\ncat > book.log <<'END'\n{log}END\ntouch book.pdf\nexit {status}\n")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        return source

    return install


def test_a_good_log_has_no_faults(module: ModuleType) -> None:
    assert module.faults(GOOD) == []


@pytest.mark.parametrize("kind", WRONG)
def test_faults_are_found(module: ModuleType, kind: str) -> None:
    line, said = WRONG[kind]
    assert module.faults(GOOD.replace("[3]", f"[3]\n{line}\n")) == [said]


def test_the_book_is_copied_only_when_it_is_good(
    module: ModuleType, engine: Callable[[str, int], Path], tmp_path: Path
) -> None:
    target = tmp_path / "out.pdf"
    assert module.typeset(engine(GOOD, 0), target) == 3
    assert target.exists()
    target.unlink()
    two = "\n".join(["", WRONG["line"][0], WRONG["reference"][0], ""])
    with pytest.raises(module.NotTypeset, match=r"^02_two\.tex: .*1917 \(and 1 more\)$"):
        module.typeset(engine(GOOD.replace("[3]", f"[3]{two}"), 0), target)
    with pytest.raises(module.NotTypeset, match=r"latexmk ended with exit status 12"):
        module.typeset(engine(GOOD, 12), target)
    with pytest.raises(module.NotTypeset, match=r"names no book\.pdf"):
        module.typeset(engine("nothing\n", 0), target)
    assert not target.exists()


def test_a_missing_engine_is_named(module: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(module.NotTypeset, match="neither latexmk nor pdflatex is on PATH: install texlive-latex-base"):
        module.typeset(tmp_path, tmp_path / "out.pdf")

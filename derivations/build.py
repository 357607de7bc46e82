"""Rebuild the book: every chapter derives, checks and writes its .tex; --check compares with what is committed."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

import front  # noqa: E402
import symbols  # noqa: E402

from fishergeo.symbolic.derivation import Derivation, FalseStep  # noqa: E402
from fishergeo.symbolic.document import document, page  # noqa: E402


@dataclass(frozen=True)
class Chapter:
    """What a chapter derived: its title and number of equations, as LaTeX, and as HTML where that was wanted."""

    stem: str
    title: str
    equations: int
    tex: str
    html: str = ""


def chapter_files() -> list[Path]:
    """The chapters, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def load(path: Path) -> Derivation:
    """Derive a chapter."""
    spec = importlib.util.spec_from_file_location(f"chapter_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build()


def derive(path: Path, html: bool = False) -> Chapter:
    """Derive a chapter, and write it as text."""
    try:
        chapter = load(path)
    except FalseStep as error:
        raise FalseStep(f"{path.name}: {error}") from None
    symbols.check(chapter)
    markup = ""
    if html:
        from fishergeo.report.mathml import mathml

        markup = chapter.html(mathml)
    return Chapter(path.stem, chapter.title, len(chapter.equations()), chapter.latex(), markup)


def chapters(html: bool = False) -> list[Chapter]:
    """All chapters in order, derived at the same time in as many processes as there are processors."""
    paths = chapter_files()
    with ProcessPoolExecutor(min(len(paths), os.cpu_count() or 1)) as pool:
        return list(pool.map(derive, paths, [html] * len(paths)))


def book(stems: Iterable[str]) -> str:
    """The LaTeX file that inputs all chapters."""
    inputs = "".join(f"\\clearpage\n\\input{{{stem}.tex}}\n" for stem in stems)
    return document(front.TITLE, f"{front.latex()}{inputs}{front.references_latex()}")


def write(found: Iterable[Chapter], folder: Path) -> None:
    """Write the .tex of the chapters, and the book's, into ``folder``."""
    for chapter in found:
        (folder / f"{chapter.stem}.tex").write_text(chapter.tex, encoding="utf-8")
    (folder / "book.tex").write_text(book(chapter.stem for chapter in found), encoding="utf-8")


def differences(folder: Path) -> list[str]:
    """The names of the committed .tex files that differ from those in ``folder``."""
    names = {path.name for path in (*HERE.glob("*.tex"), *folder.glob("*.tex"))}

    def text(path: Path) -> str | None:
        return path.read_text(encoding="utf-8") if path.exists() else None

    return sorted(name for name in names if text(HERE / name) != text(folder / name))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write no .tex; exit with 1 if a committed file would change"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write the book as one HTML page")
    parser.add_argument(
        "--pdf",
        type=Path,
        metavar="FILE",
        help="also typeset the book; exit with 1 on an error, an undefined reference or a line that leaves the page",
    )
    options = parser.parse_args(arguments)
    try:
        found = chapters(html=options.html is not None)
    except FalseStep as error:
        print(error, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(found, folder)
        if options.check:
            if changed := differences(folder):
                names = ", ".join(changed)
                print(f"these files differ from what the chapters derive: {names}; run python derivations/build.py")
                return 1
        else:
            write(found, HERE)
        if options.html:
            options.html.write_text(page(front.TITLE, front.html(), [(c.title, c.html) for c in found]), encoding="utf-8")
        if options.pdf:
            from typeset import NotTypeset, typeset

            try:
                print(f"{options.pdf}: {typeset(folder, options.pdf)} pages")
            except NotTypeset as error:
                print(f"the book was not typeset: {error}", file=sys.stderr)
                return 1
    print(f"{len(found)} chapters, {sum(chapter.equations for chapter in found)} equations")
    return 0


if __name__ == "__main__":
    sys.exit(main())

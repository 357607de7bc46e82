"""A document as LaTeX that needs amsmath, amssymb and graphicx alone, and as PDF where a TeX engine is on PATH."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .blocks import Details, Document, Grid
from .html import environment, numbered
from .mathml import escape_tex, to_tex

_FIRST, _LINES, _LETTERS = 34, 50, 70  # lines of a table in its first part and in others, letters in its wide columns
_SECONDS = 180  # after which a TeX run is given up


def render(document: Document) -> str:
    """The LaTeX source; figures are included as NAME.png."""
    env = environment(prose=to_tex, plain=escape_tex, pages=_pages)
    env.block_start_string, env.block_end_string = "<%", "%>"
    env.variable_start_string, env.variable_end_string = "<<", ">>"
    env.comment_start_string, env.comment_end_string = "<#", "#>"
    sections, appendix = [], []
    for section in document.sections:  # what HTML folds away goes to an appendix
        details = tuple(b for b in section.blocks if isinstance(b, Details) and not b.screen_only)
        if details:
            appendix.append(replace(section, blocks=details))
        shown = tuple(b for b in section.blocks if not isinstance(b, Details))
        sections.append((replace(section, blocks=shown), bool(details)))
    return env.get_template("report.tex.j2").render(
        document=document, sections=sections, appendix=appendix, labels=numbered(document)
    )


def _pages(grid: Grid) -> list[list[Sequence[str]]]:
    """The rows of a table in parts that fit on a page."""
    parts: list[list[Sequence[str]]] = [[]]
    lines = 0
    for row in grid.rows:
        lines += max([1, *(math.ceil(len(row[k]) * len(grid.wide) / _LETTERS) for k in grid.wide)])
        if lines > (_FIRST if len(parts) == 1 else _LINES):
            parts.append([])
            lines = 1
        parts[-1].append(row)
    return parts


def engine(name: str = "report") -> list[list[str]]:
    """The commands that typeset NAME.tex: latexmk, else pdflatex twice, else none."""
    options = ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"]
    if shutil.which("latexmk") and shutil.which("pdflatex"):
        return [["latexmk", "-norc", "-pdf", *options, f"{name}.tex"]]
    return [["pdflatex", *options, f"{name}.tex"]] * 2 if shutil.which("pdflatex") else []


def typeset(folder: Path, name: str = "report") -> str:
    """Make NAME.pdf in ``folder`` from its NAME.tex; returns why there is none, or an empty string."""
    commands = engine(name)
    for command in commands:
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, timeout=_SECONDS, stdin=subprocess.DEVNULL, check=False
            )
        except subprocess.TimeoutExpired:
            return f"{command[0]} did not finish within {_SECONDS} s"
        if done.returncode:
            lines = done.stdout.decode("utf-8", "replace").splitlines()
            cause = next((line for line in lines if line.startswith("!")), f"exit status {done.returncode}")
            (folder / f"{name}.pdf").unlink(missing_ok=True)
            return f"{command[0]} failed: {cause.lstrip('! ')}"
    for suffix in ("aux", "log", "out", "fls", "fdb_latexmk", "toc"):
        (folder / f"{name}.{suffix}").unlink(missing_ok=True)
    return "" if commands else "no TeX engine (latexmk or pdflatex) on PATH"

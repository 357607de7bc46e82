"""The book as a PDF, and what is wrong with it: errors, undefined references, lines that leave the page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from fishergeo.report.tex import engine

WIDEST = 10.0  # pt; a box that is wider by more is an error
PACKAGES = "texlive-latex-base and latexmk"  # of Debian and its relatives; they are all that is needed
_SECONDS = 180


class NotTypeset(Exception):
    """Why there is no PDF, or why it is not good enough, in one line."""


def faults(log: str) -> list[str]:
    """What a TeX log complains of: errors, undefined or repeated labels, and boxes that are more than 10 pt too wide."""
    found, file = [], "book.tex"
    for line in log.splitlines():
        if line.startswith("! "):
            found.append(f"{file}: {line[2:]}")
        elif warning := re.match(r"LaTeX Warning: ((?:Reference|Citation|Label) .*)", line):
            found.append(f"{file}: {warning[1]}")
        elif box := re.match(r"Overfull (\\[hv]box) \(([\d.]+)pt too \w+\) (.*)", line):
            too_wide = float(box[2]) > WIDEST
            found += [f"{file}: {box[1]} {box[2]} pt too wide {box[3]}"] if too_wide else []
        for name in re.findall(r"\(\./(\S+\.tex)", line):
            file = name
    return found


def typeset(source: Path, target: Path) -> int:
    """Typeset book.tex in ``source`` as the PDF ``target``, and return its number of pages; raises `NotTypeset`."""
    commands = engine("book")
    if not commands:
        raise NotTypeset(f"neither latexmk nor pdflatex is on PATH: install {PACKAGES}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in source.glob("*.tex"):
            shutil.copy(path, folder)
        environment = {**os.environ, "max_print_line": "1000"}  # TeX breaks the lines of its log
        for command in commands:
            try:
                done = subprocess.run(
                    command, cwd=folder, env=environment, capture_output=True, timeout=_SECONDS, stdin=subprocess.DEVNULL
                )
            except subprocess.TimeoutExpired:
                raise NotTypeset(f"{command[0]} did not finish within {_SECONDS} s") from None
        log = folder / "book.log"
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        wrong = faults(text)
        if done.returncode and not wrong:
            wrong = [f"{command[0]} ended with exit status {done.returncode}"]
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise NotTypeset(f"{wrong[0]}{more}")
        pages = re.search(r"Output written on book\.pdf \((\d+) pages?", text)
        if pages is None:
            raise NotTypeset("the TeX log names no book.pdf")
        shutil.copy(folder / "book.pdf", target)
    return int(pages[1])

"""Pieces of a page in Markdown (MyST): formulas, tables, code, and parts that are folded away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fishergeo.report.mathml import mathml
from fishergeo.symbolic.layout import broken, width

LINE = 37.0  # em of a formula that fit into the text column
ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")


def inline(latex: str) -> str:
    """A formula within text; a bar would end the cell of a table."""
    return f"${latex.replace('|', chr(92) + 'vert ')}$"


def cell(text: str) -> str:
    """Text with $mathematics$ for a cell of a table."""
    parts = text.split("$")
    return "".join(inline(part) if k % 2 else part.replace("|", r"\|") for k, part in enumerate(parts))


def display(latex: str) -> str:
    return f"```{{math}}\n{latex}\n```"


def equation(left: str, right: str, sign: str = "=") -> str:
    """left = right, on as many lines as it needs."""
    return display(broken(left, right, sign, LINE))


def aligned(latex: str) -> str:
    """An aligned display; its equations one by one, each broken over lines, where one of them is too wide."""
    body = latex.removeprefix(r"\begin{aligned}").removesuffix(r"\end{aligned}")
    rows = [row.partition(" &= ") for row in body.split(r" \\ ")]
    if all(width(left) + width(right) + 1.5 <= LINE for left, _, right in rows):
        return display(latex)
    return "\n\n".join(equation(left, right) for left, _, right in rows)


def code(*lines: str) -> str:
    """Lines as a session; those that the reader does not type are output."""
    return "```python\n" + "\n".join(lines) + "\n\n```"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> str:
    """A table; ``align`` has l or c for each column."""
    marks = [{"c": ":---:"}.get(kind, ":---") for kind in (align or "l" * len(header))]
    lines = [header, marks, *rows]
    return "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines)


def details(summary: str, *blocks: str) -> str:
    """Something to unfold; in the summary, which is HTML, formulas stand between dollars too."""
    shown = re.sub(r"\$([^$]+)\$", lambda match: mathml(match[1]), summary)
    return "\n\n".join([f"<details>\n<summary>{shown}</summary>", *blocks, "</details>"])


def source(text: str) -> str:
    """A citation, with its arXiv number as a link."""
    return ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def page(title: str, *blocks: str) -> str:
    return "\n\n".join([f"# {title}", *(block for block in blocks if block)]) + "\n"


def toctree(names: Iterable[str], hidden: bool = True) -> str:
    options = ":maxdepth: 1\n" + (":hidden:\n" if hidden else "")
    return f"```{{toctree}}\n{options}\n" + "\n".join(names) + "\n```"

"""The results of many checks, as text, Markdown, LaTeX and HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from .core import Kind, Result
from .text import prose


@dataclass(frozen=True)
class Report(Sequence[Result]):
    """The results of `check_all`, in the order of the registry; ``report["LN-half"]`` gives one of them."""

    results: tuple[Result, ...]

    @overload
    def __getitem__(self, key: int | str) -> Result: ...
    @overload
    def __getitem__(self, key: slice) -> Report: ...
    def __getitem__(self, key: int | str | slice) -> Result | Report:
        if isinstance(key, str):
            return {result.id: result for result in self.results}[key]
        return Report(self.results[key]) if isinstance(key, slice) else self.results[key]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def counts(self) -> dict[Kind, int]:
        """How many claims came out how."""
        return {kind: sum(result.verdict.kind is kind for result in self) for kind in Kind}

    def __repr__(self) -> str:
        width = max((len(result.id) for result in self), default=0)
        lines = [f"{r.id:<{width}}  {int(r.level)}  {r.verdict}" for r in self]
        tail = ", ".join(f"{count} {kind.value}" for kind, count in self.counts().items())
        return "\n".join([*lines, f"{len(self)} claims: {tail}"])

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for r in self:
            yield r.id, r.source, r.statement, str(r.verdict), r.evidence, r.corrected or "", str(int(r.level))

    def to_markdown(self) -> str:
        """One table row for each claim; formulas between dollars."""
        lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
        lines += ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in self._rows()]
        return "\n".join(lines)

    def to_latex(self) -> str:
        """A description list, one item for each claim, for a document that is set in UTF-8 by pdflatex with amsmath."""
        items = []
        for r in self:
            items.append(rf"\item[{prose(r.id)}] \emph{{{prose(r.source)}.}} {prose(r.statement)}\\")
            items.append(rf"\textbf{{{prose(str(r.verdict))}}} (level {int(r.level)}). {prose(r.evidence)}.")
            if r.corrected:
                items[-1] += rf"\\ Corrected: {prose(r.corrected)}"
        return "\n".join([r"\begin{description}", *items, r"\end{description}"])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in _HEAD)
        rows = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in self._rows())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


_HEAD = ("claim", "source", "statement", "verdict", "evidence", "corrected", "level")

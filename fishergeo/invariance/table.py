"""The invariance table: every normalizer x every transformation, each cell proved or refuted."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..levels import Level
from ..normalizers import ZOO, Normalizer
from ..transformations import TRANSFORMATIONS, Transformation
from .proof import Verdict, prove


@dataclass(frozen=True)
class Table:
    """Verdicts by normalizer (rows) and transformation (columns), read as ``table[normalizer, transformation]``."""

    normalizers: tuple[Normalizer, ...]
    transformations: tuple[Transformation, ...]
    verdicts: dict[tuple[str, str], Verdict]

    def __getitem__(self, cell: tuple[Normalizer, Transformation]) -> Verdict:
        try:
            normalizer, transformation = cell
            return self.verdicts[normalizer.name, transformation.name]
        except (TypeError, ValueError, AttributeError, KeyError):
            raise InputError(
                f"the table has no cell {cell!r}: give a normalizer and a transformation of it, as table[normalizer, "
                "transformation]"
            ) from None

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self.verdicts.values())

    def rows(self, yes: str = "yes", no: str = "no", likely: str = "≈") -> list[list[str]]:
        """The marks, one row for each normalizer; ``likely`` where an invariance was seen in numbers and not proved."""

        def mark(verdict: Verdict) -> str:
            return no if not verdict else yes if verdict.level is Level.PROVED else likely

        return [[mark(self[m, t]) for t in self.transformations] for m in self.normalizers]

    def conditions(self) -> list[str]:
        """All conditions that some proof of the table needs, in order of appearance."""
        return list(dict.fromkeys(c for verdict in self for c in verdict.conditions))

    def __repr__(self) -> str:
        width = max(len(m.title) for m in self.normalizers)
        lines = [f"{k + 1:>2}  {t.title}" for k, t in enumerate(self.transformations)]
        lines.append(" " * width + " ".join(f"{k + 1:>2}" for k in range(len(self.transformations))))
        for normalizer, marks in zip(self.normalizers, self.rows("✓", "·"), strict=True):
            lines.append(f"{normalizer.title:<{width}}" + " ".join(f"{mark:>2}" for mark in marks))
        return "\n".join(lines)

    def to_markdown(self) -> str:
        """The table in Markdown: ✓ where a proof was found, ✗ where a witness was, ≈ where only numbers were tried."""
        head = ["normalizer", *(t.title for t in self.transformations)]
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for normalizer, marks in zip(self.normalizers, self.rows("✓", "✗"), strict=True):
            lines.append("| " + " | ".join([normalizer.title, *marks]) + " |")
        return "\n".join(lines)

    def to_latex(self) -> str:
        """The table as a LaTeX tabular; columns are numbered as in `legend_latex`."""
        columns = " & ".join(str(k + 1) for k in range(len(self.transformations)))
        rows = self.rows(r"$\checkmark$", r"$\cdot$", r"$\approx$")
        body = [f"{n.title} & " + " & ".join(marks) + r" \\" for n, marks in zip(self.normalizers, rows, strict=True)]
        spec = "l" + "c" * len(self.transformations)
        return "\n".join(
            [
                rf"\begin{{tabular}}{{{spec}}}",
                r"\hline",
                f" & {columns} \\\\",
                r"\hline",
                *body,
                r"\hline",
                r"\end{tabular}",
            ]
        )

    def legend_latex(self) -> str:
        """The numbered transformations with their formulas."""
        return ", ".join(f"{k + 1}: {t.title} (${t.formula}$)" for k, t in enumerate(self.transformations))

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(t.title)}</th>" for t in self.transformations)
        rows = []
        for normalizer, marks in zip(self.normalizers, self.rows("✓", "✗"), strict=True):
            cells = ""
            for transformation, mark in zip(self.transformations, marks, strict=True):
                verdict = self[normalizer, transformation]
                cells += f'<td title="{html.escape(repr(verdict), quote=True)}">{mark}</td>'
            rows.append(f"<tr><th>{html.escape(normalizer.title)}</th>{cells}</tr>")
        return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def invariance_table(
    normalizers: Normalizer | Iterable[Normalizer] = ZOO,
    transformations: Transformation | Iterable[Transformation] = TRANSFORMATIONS,
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Decide every cell of the table; raises `Undecided` where neither proof nor witness is found.

    No or two normalizers, or transformations, of a name are refused with `InputError`.  ``progress(done, of)`` is called
    after each cell.
    """
    rows = _named("normalizers", normalizers, Normalizer)
    columns = _named("transformations", transformations, Transformation)
    if progress is not None and not callable(progress):
        raise InputError(f"invariance_table got progress={progress!r}: give a function of (done, of), or leave it out")
    verdicts: dict[tuple[str, str], Verdict] = {}
    for row in rows:
        for column in columns:
            verdicts[row.name, column.name] = prove(row, column)
            if progress is not None:
                progress(len(verdicts), len(rows) * len(columns))
    return Table(rows, columns, verdicts)


def _named(what: str, given: Any, kind: type) -> tuple[Any, ...]:
    """One value or several of ``kind``, each with its own name."""
    values = (given,) if isinstance(given, kind) or not isinstance(given, Iterable) else tuple(given)
    if not values or not all(isinstance(value, kind) for value in values):
        raise InputError(f"invariance_table got {what}={given!r}: give a fg.{kind.__name__}, or several")
    names = [value.name for value in values]
    if len(set(names)) < len(names):
        raise InputError(f"invariance_table got the {what} {', '.join(names)}: give each its own name")
    return values

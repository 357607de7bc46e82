"""A report on disk: page, LaTeX, PDF, figures and every number, in one folder."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..datasets.problems import Problem
from . import document, figures, html, output, tex
from .compute import Settings, compute

_DPI = 200


def write_report(
    problem: Problem, settings: Settings, target: Path, tick: Callable[[str], None] = lambda label: None
) -> dict[str, Any]:
    """Compute a report on ``problem`` and write it to the folder ``target``; returns its results.

    Raises `InputError` for data that no model can be trained on and for a target that holds something else.
    """
    output.check_folder(target)
    results, matrices = compute(problem, settings, tick)
    with output.folder(target) as folder:
        svgs = {}
        for name, figure in figures.draw(results, matrices):
            text = io.StringIO()
            figure.savefig(
                text, format="svg", dpi=_DPI, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
            )
            svgs[name] = text.getvalue()
            (folder / f"{name}.svg").write_text(svgs[name], encoding="utf-8")
            figure.savefig(
                folder / f"{name}.png", dpi=_DPI, metadata={"Software": None}, pil_kwargs={"compress_level": 3}
            )
        tick("figures")
        written = document.write(results)
        (folder / "index.html").write_text(html.render(written, svgs), encoding="utf-8")
        (folder / "report.tex").write_text(tex.render(written), encoding="utf-8")
        tick("page")
        results["pdf"] = tex.typeset(folder) or "report.pdf"
        tick("PDF")
        results["files"] = sorted({path.name for path in folder.iterdir()} | {output.RESULTS})
        numbers = json.dumps(results, indent=1, allow_nan=False, ensure_ascii=False)
        (folder / output.RESULTS).write_text(numbers + "\n", encoding="utf-8")
    return results

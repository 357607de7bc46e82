"""Put measured results into docs/performance.md: between its marks, with the pictures, and the numbers they come from.

    fishergeo bench -o bench && python benchmarks/document.py bench [FOLDER ...]

Results of several runs on one machine, of different workloads, make one table.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fishergeo.bench import plots, render

ROOT = Path(__file__).resolve().parent.parent
PAGE, PICTURES, NUMBERS = (
    ROOT / "docs" / "performance.md",
    ROOT / "docs" / "_static",
    ROOT / "benchmarks" / "results.json",
)
BEGIN, END = "<!-- written by benchmarks/document.py: begin -->\n", "<!-- end -->\n"


def merged(all_results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The results of several runs as those of one; refuses those of different machines."""
    first = all_results[0]
    for results in all_results:
        if results["machine"] != first["machine"]:
            raise SystemExit(f"measured on different machines: {first['machine']} and {results['machine']}")
    loads = [load for results in all_results for load in results["load"].values() if load is not None]
    return {
        **first,
        "command": [results["command"] for results in all_results],
        "load": {"before": first["load"]["before"], "after": max(loads, default=None)},
        "most": min((r["most"] for r in all_results if r["most"] is not None), default=None),
        "complete": all(results["complete"] for results in all_results),
        "rows": [row for results in all_results for row in results["rows"]],
    }


def generated(results: dict[str, Any], pictures: Sequence[str]) -> str:
    """What stands between the marks."""
    commands = "\n".join(results["command"])
    shown = "\n\n".join(f"![{Path(name).stem}](_static/{name})" for name in pictures)
    parts = [f"Written by\n\n```console\n{commands}\n```", render.markdown(results).rstrip(), shown]
    return "\n\n".join(part for part in parts if part) + "\n"


def placed(page: str, text: str) -> str:
    """The page with the text between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + text + END + after


def between(page: str) -> str:
    """What stands between the marks of a page."""
    return page.partition(BEGIN)[2].partition(END)[0]


def names(folder: Path) -> list[str]:
    """The pictures that are there."""
    return sorted(path.name for path in folder.glob("bench-*.svg"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="outputs of fishergeo bench")
    folders = parser.parse_args().folders
    results = merged([json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in folders])
    NUMBERS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for name in names(PICTURES):
        (PICTURES / name).unlink()
    work = ROOT / "benchmarks" / "out"
    work.mkdir(exist_ok=True)
    for name in plots.draw(results, work):
        shutil.move(work / name, PICTURES / f"bench-{name}")
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(placed(page, generated(results, names(PICTURES))), encoding="utf-8")


if __name__ == "__main__":
    main()

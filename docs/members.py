"""Writes the pages of the zoo, one for each member, from the values: python docs/members.py, and whenever Sphinx runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from _generate import families, links, normalizers, overview, transformations  # noqa: E402


def pages() -> Iterator[tuple[Path, str | bytes]]:
    """Every file with its path within the folder."""
    for part in (normalizers, families, links, transformations):
        yield from part.write(Path(part.__name__.rpartition(".")[2]))
    yield Path("index.md"), overview.render()


def write(folder: Path) -> None:
    """Write what is new or has changed into ``folder``, and remove what belongs to no member any more."""
    kept = set()
    for path, content in pages():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else content.encode()
        if not target.exists() or target.read_bytes() != data:
            target.write_bytes(data)
        kept.add(target)
    for stale in {path for path in folder.rglob("*") if path.is_file()} - kept:
        stale.unlink()


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "zoo"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    write(HERE / "zoo")

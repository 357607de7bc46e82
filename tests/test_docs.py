"""The README, the contributing guide and the documentation pages are run, and say the same as CI."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
WRITTEN = ROOT / "docs" / "zoo"  # by docs/members.py; those are run as they would be written now
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if not page.is_relative_to(WRITTEN)]
FENCE = re.compile(r"^( *)```python\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def run(text: str, name: str) -> doctest.TestResults:
    """Run the python blocks of a page in order, in one namespace."""
    source = "\n".join(textwrap.dedent(block) for _, block in FENCE.findall(text))
    test = doctest.DocTestParser().get_doctest(source, {}, name, name, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    with np.errstate(all="warn"):
        runner.run(test, clear_globs=False)
    return doctest.TestResults(runner.failures, runner.tries)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_the_page_runs(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = text.count(">>> ")
    result = run(text, page.name)
    assert result == doctest.TestResults(0, blocks)


def test_a_wrong_block_fails() -> None:
    assert run("```python\n>>> 1 + 1\n3\n\n```\n", "wrong").failed == 1


def test_readme_setup_is_two_commands_and_ci_calls_the_second() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    assert all(len(block.strip().splitlines()) == 1 for block in blocks)
    assert "fishergeo report" in blocks[0]
    assert blocks[1].strip() in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def documented(page: str) -> dict[str, list[str] | None]:
    """The modules of the API page with the names listed for each; None where all are."""
    found = re.findall(r"\.\. automodule:: (\S+)\n(?: +:members:(.*)\n)?", page)
    return {module: [name.strip() for name in names.split(",")] if names.strip() else None for module, names in found}


def missing(page: str) -> set[str]:
    """The public functions, classes and packages that a page leaves out."""
    import fishergeo as fg

    modules, alone = documented(page), re.findall(r"\.\. auto(?:class|function):: fishergeo\.(\w+)", page)

    def listed(name: str, value: object) -> bool:
        if inspect.ismodule(value):
            return value.__name__ in modules
        home = getattr(value, "__module__", "")
        return name in alone or any(
            (names is None and module == home) or name in (names or ()) for module, names in modules.items()
        )

    values = {name: getattr(fg, name) for name in fg.__all__}
    own = {n: v for n, v in values.items() if inspect.isclass(v) or inspect.isfunction(v) or inspect.ismodule(v)}
    return {name for name, value in own.items() if not listed(name, value)}


def test_every_public_name_is_documented() -> None:
    """Functions, classes and packages, on the API page or that of the bridges; members of the zoo have their own."""
    page = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("api.md", "bridges.md"))
    assert not missing(page)
    for module, names in documented(page).items():
        found = importlib.import_module(module)
        assert all(hasattr(found, name) for name in names or ()), module
    assert missing(page.replace("running_statistics, ", "")) == {"running_statistics"}
    assert missing(page.replace("   :members: First\n", "   :members: Last\n")) == {"First"}
    assert missing(page.replace("automodule:: fishergeo.links", "automodule:: fishergeo.link")) == {"links"}

"""Imports point downwards, and importing the package loads nothing heavy."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import fishergeo as fg

ROOT = Path(fg.__file__).parent

# from the bottom to the top; a module may import from lower lines, and a package from itself
LAYERS = (
    "threads",
    "errors",
    "axes special levels",
    "cells foreign",
    "standardize",
    "frozen spectral opaque",
    "normalizer",
    "normalizers families transformations",
    "links params",
    "initial readers",
    "model running datasets",
    "symbolic",
    "closed_forms",
    "information",
    "bridges",
    "invariance",
    "dynamics",
    "contracts",
    "claims",
    "report",
    "bench",
    "cli",
    "__main__",
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}


def imported(tree: ast.AST, module: str) -> list[tuple[int, str]]:
    """Line and top-level name of every import of the package itself, those inside functions included."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            full = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import families` names modules, `from .families import x` names one
            found += [(node.lineno, f"{full}.{alias.name}") for alias in node.names]
    # the package as a whole reaches everything: `import fishergeo` inside it points upwards
    parts = [(line, f"{name}.the whole package".split(".")) for line, name in found]
    return [(line, part[1]) for line, part in parts if part[0] == "fishergeo"]


def violations(source: str, module: str) -> list[str]:
    """The imports of a module, given by its dotted name, that do not point downwards."""
    own = module.split(".")[1]
    if own not in LEVEL:
        return [f"{module}: not in the list of layers; give it its place"]
    return [
        f"{module}:{line} imports {name}, which is not below {own}"
        for line, name in imported(ast.parse(source), module)
        if name != own
        and LEVEL.get(name, len(LAYERS)) >= LEVEL[own]
        and not (name.startswith("__") and name != "__main__")
    ]


def _modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("fishergeo", *path.relative_to(ROOT).with_suffix("").parts)
        if parts != ("fishergeo", "__init__"):  # the list of public names
            yield path, ".".join(parts)


MODULES = list(_modules())


@pytest.mark.parametrize(("path", "module"), MODULES, ids=[module for _, module in MODULES])
def test_imports_point_downwards(path, module):
    assert not violations(path.read_text(encoding="utf-8"), module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fishergeo.standardize", "from .normalizers import Normalizer"),
        ("fishergeo.standardize", "from . import errors, normalizers"),
        ("fishergeo.standardize", "def f():\n    from .model import GLM"),
        ("fishergeo.standardize", "if True:\n    import fishergeo.cli"),
        ("fishergeo.standardize", "from fishergeo.cli import main"),
        ("fishergeo.information.operator", "from ..invariance.proof import prove"),
        ("fishergeo.information.operator", "from .. import invariance"),
        ("fishergeo.symbolic.__init__", "from ..information import operator"),
        ("fishergeo.families", "from .normalizers import ZOO"),
        ("fishergeo.model", "from fishergeo import prove"),
        ("fishergeo.model", "import fishergeo as fg"),
        ("fishergeo.unheard_of", "import math"),
    ],
)
def test_an_import_that_points_upwards_is_found(module, source):
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fishergeo.model", "import numpy as np\nfrom .families import Family\nfrom . import errors"),
        (
            "fishergeo.information.operator",
            "from ..model import Params\nfrom .matrices import fisher\nfrom . import matrices",
        ),
        (
            "fishergeo.cli",
            "import fishergeo.report.document\nfrom fishergeo.claims import check_all\nfrom . import __version__",
        ),
    ],
)
def test_an_import_that_points_downwards_is_fine(module, source):
    assert not violations(source, module)


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


HEAVY = (
    "sympy",
    "matplotlib",
    "scipy.stats",
    "torch",
    "scipy",
    "jinja2",
    "latex2mathml",
    "tqdm",
    "statsmodels",
    "sklearn",
    "array_api_compat",
)


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import fishergeo", HEAVY),
        ("import fishergeo; dir(fishergeo)", HEAVY),
        # a numeric Fisher matrix needs SymPy once, to differentiate the cumulant, and nothing that draws
        (
            "import fishergeo as fg; m = fg.GLM(fg.bernoulli, fg.batch_norm); p = m.init(4, 3, rng=0);"
            "fg.fisher(m, p, [[1, 2, 3, 4], [2, 1, 0, 5], [0, 1, 1, 2]]).to_dense()",
            ("matplotlib", "scipy.stats", "torch"),
        ),
    ],
    ids=["import", "dir", "fisher"],
)
def test_what_is_loaded(code, absent):
    loaded = json.loads(python(f"{code}; import sys, json; print(json.dumps(sorted(sys.modules)))"))
    assert not set(absent) & set(loaded)
    assert "fishergeo" in loaded


def test_every_public_name_resolves():
    for name in fg.__all__:
        assert getattr(fg, name) is not None
    assert set(fg.__all__) <= set(dir(fg))
    assert len(set(fg.__all__)) == len(fg.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        fg.no_such_name  # noqa: B018


def test_every_module_imports():
    for path, module in MODULES:
        if path.stem != "__main__":
            importlib.import_module(module.removesuffix(".__init__"))


def test_star_import_brings_the_public_names():
    shown = python("from fishergeo import *; print(GLM, batch_norm, fisher)")
    assert "batch_norm" in shown


def test_the_oracle_is_independent():
    """The plain formulas that everything is compared with import nothing of the package."""
    tree = ast.parse((Path(__file__).parent / "oracles.py").read_text(encoding="utf-8"))
    assert imported(tree, "oracles") == []
    assert imported(ast.parse("from fishergeo.families import bernoulli"), "oracles") == [(1, "families")]

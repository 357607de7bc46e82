"""Sphinx configuration."""

import re
import sys
from pathlib import Path
from typing import Any

import fishergeo

sys.path.insert(0, str(Path(__file__).parent))

project = "fishergeo"
author = "The fishergeo developers"
version = release = fishergeo.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode", "myst_parser", "_generate.renderer", "members"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"  # no scripts, no network
autodoc_typehints = "none"
autodoc_preserve_defaults = True  # as they are written: a zoo is long
autodoc_member_order = "bysource"
default_role = "code"
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"fishergeo {version}"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["formulas.css"]


def bars(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """A bar in a docstring is an absolute value, not the start of a substitution; not in ``code``."""
    lines[:] = [re.sub(r"(``.*?``)|\|", lambda found: found[1] or r"\|", line) for line in lines]


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", bars)

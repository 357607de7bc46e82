"""Sphinx configuration."""

import sys
from pathlib import Path

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
autodoc_member_order = "bysource"
default_role = "code"
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"fishergeo {version}"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["formulas.css"]

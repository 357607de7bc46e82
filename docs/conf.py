"""Sphinx configuration."""

import fishergeo

project = "fishergeo"
author = "The fishergeo developers"
version = release = fishergeo.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.viewcode", "myst_parser"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
autodoc_typehints = "none"
autodoc_member_order = "bysource"
default_role = "code"
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"fishergeo {version}"
html_static_path = ["_static"]

"""The LaTeX and HTML documents around derivations; pdflatex needs amsmath, amssymb and amsthm, nothing else."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

from ..levels import Level
from .derivation import Derivation

PREAMBLE = r"""\documentclass[11pt]{article}
\usepackage[margin=1in]{geometry}
\usepackage{amsmath,amssymb,amsthm}
\numberwithin{equation}{section}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\setlength{\parskip}{0.6ex plus 0.3ex}
\newcommand{\reason}[2]{\hspace*{\fill}{\footnotesize\itshape #1%
  \if\relax#2\relax\else\enspace{\upshape\fboxsep=2pt\fbox{#2}}\fi}\vadjust{\penalty0}}
\AtBeginDocument{\abovedisplayskip=6pt plus 3pt\abovedisplayshortskip=4pt plus 3pt%
  \belowdisplayskip=3pt plus 2pt\belowdisplayshortskip=3pt plus 2pt}
\postdisplaypenalty=10000
"""


def legend() -> str:
    """What the number in a box beside an equation means."""
    rows = [rf"\fbox{{{int(level)}}} & {level!s} \\" for level in Level]
    return r"\begin{tabular}{cl}" + "\n" + "\n".join(rows) + "\n" + r"\end{tabular}"


def document(title: str, body: str) -> str:
    """A whole LaTeX document."""
    head = f"{PREAMBLE}\\title{{{title}}}\n\\author{{}}\n\\date{{}}\n"
    return f"{head}\\begin{{document}}\n\\maketitle\n{body}\\end{{document}}\n"


def page(title: str, chapters: Sequence[Derivation], mathml: Callable[[str, bool], str]) -> str:
    """One HTML page with all chapters, which needs no network and no scripts."""
    rows = "".join(f"<tr><td>{int(level)}</td><td>{html.escape(str(level))}</td></tr>" for level in Level)
    style = (
        "body{max-width:60rem;margin:2rem auto;padding:0 1rem;font-family:serif;line-height:1.5}"
        ".equation{display:grid;grid-template-columns:1fr auto;overflow-x:auto;margin:.6rem 0}"
        ".because{grid-column:1/3;text-align:right;font-style:italic;font-size:.85rem}"
        ".level{border:1px solid;padding:0 .3em;font-style:normal}"
    )
    body = "".join(chapter.html(mathml) for chapter in chapters)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{style}</style></head><body><h1>{html.escape(title)}</h1><table>{rows}</table>{body}</body></html>\n"
    )

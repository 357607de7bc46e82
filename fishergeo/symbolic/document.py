"""The LaTeX and HTML documents around derivations; pdflatex needs amsmath, amssymb and amsthm, nothing else."""

from __future__ import annotations

import html
from collections.abc import Sequence

from ..levels import Level

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
\postdisplaypenalty=10000 \clubpenalty=10000 \widowpenalty=10000 \displaywidowpenalty=10000
"""


def legend() -> str:
    """What the number in a box beside an equation means."""
    rows = [rf"\fbox{{{int(level)}}} & {level!s} \\" for level in Level]
    return r"\begin{tabular}{cl}" + "\n" + "\n".join(rows) + "\n" + r"\end{tabular}"


def document(title: str, body: str) -> str:
    """A whole LaTeX document."""
    head = f"{PREAMBLE}\\title{{{title}}}\n\\author{{}}\n\\date{{}}\n"
    return f"{head}\\begin{{document}}\n\\maketitle\n{body}\\end{{document}}\n"


STYLE = (
    "body{max-width:52rem;margin:2rem auto;padding:0 1rem;font-family:serif;line-height:1.5;color:#111;background:#fff}"
    "h1,h2,h3{line-height:1.2}h2{margin-top:3rem}table{border-collapse:collapse;margin:1rem 0;font-size:.9rem}"
    "td,th{padding:.1rem .5rem;text-align:left;vertical-align:top}nav ol{columns:20rem 2;column-gap:3rem}"
    "nav li{overflow-wrap:anywhere}"
    ".equation{display:grid;grid-template-columns:1fr auto;align-items:center;margin:.8rem 0}"
    ".equation:target{background:#fff3c4}.formula{overflow-x:auto;overflow-y:hidden}"
    ".because{grid-column:1/3;text-align:right;font-style:italic;font-size:.85rem}"
    ".level{border:1px solid;padding:0 .3em;font-style:normal}.table{overflow-x:auto}"
)


def page(title: str, front: tuple[str, str, str], chapters: Sequence[tuple[str, str]]) -> str:
    """One HTML page without network or scripts: abstract, contents, symbols, chapters (title, body), references.

    ``front`` holds the abstract, the table of symbols and the references.
    """
    abstract, symbols, references = front
    rows = "".join(f"<tr><td>{int(level)}</td><td>{html.escape(str(level))}</td></tr>" for level in Level)
    entries = "".join(
        f'<li><a href="#chapter-{k}">{html.escape(name)}</a></li>' for k, (name, _) in enumerate(chapters, 1)
    )
    body = "".join(
        f'<section id="chapter-{k}"><h2>{k} {html.escape(name)}</h2>{text}</section>'
        for k, (name, text) in enumerate(chapters, 1)
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{html.escape(title)}</h1>{abstract}<table>{rows}</table>"
        f'<nav><h2>Contents</h2><ol>{entries}</ol><p><a href="#symbols">Symbols</a>, '
        f'<a href="#references">References</a></p></nav><section id="symbols"><h2>Symbols</h2>{symbols}</section>{body}'
        f'<section id="references"><h2>References</h2>{references}</section></body></html>\n'
    )

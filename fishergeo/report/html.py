"""A document as one self-contained HTML page: no scripts, nothing fetched; figures are inline SVG, formulas MathML."""

from __future__ import annotations

import re
from collections.abc import Mapping

import jinja2
from markupsafe import Markup

from .blocks import Block, Callout, Details, Document, Grid, Marks, Picture
from .mathml import mathml, to_html


def numbered(document: Document) -> dict[str, str]:
    """ "Figure 1", "Table 1", … by the name of the figure or table, in the order in which they are shown."""
    count = {"Figure": 0, "Table": 0}
    labels: dict[str, str] = {}

    def visit(blocks: tuple[Block, ...]) -> None:
        for block in blocks:
            if isinstance(block, Details | Callout):
                visit(block.blocks)
            elif isinstance(block, Picture | Grid | Marks):
                kind = "Figure" if isinstance(block, Picture) else "Table"
                count[kind] += 1
                labels[block.name] = f"{kind} {count[kind]}"

    for section in document.sections:
        visit(section.blocks)
    return labels


def environment(**filters: object) -> jinja2.Environment:
    """Templates of this package; a name that is missing is an error."""
    env = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters["kind"] = lambda block: type(block).__name__
    env.filters.update(filters)
    return env


def render(document: Document, svgs: Mapping[str, str]) -> str:
    """The page, with the figures ``svgs`` by name."""
    env = environment(
        prose=lambda text: Markup(to_html(text)),
        formula=lambda latex: Markup(mathml(latex, display=True)),
        math=lambda latex: Markup(mathml(latex)),
        svg=lambda name: Markup(inline(svgs[name], name)),
    )
    env.autoescape = True
    style = env.loader.get_source(env, "style.css")[0] if env.loader else ""
    return env.get_template("report.html.j2").render(document=document, labels=numbered(document), style=Markup(style))


def inline(svg: str, name: str) -> str:
    """An SVG file as an element of a page: no prologue, metadata or size; ids that are its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id=")', rf"\1{name}-", svg)
    svg = re.sub(r"(url\(#|href=\"#)", rf"\1{name}-", svg)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    return re.sub(r'^<svg\b[^>]*?(viewBox="[^"]*")[^>]*>', rf'<svg \1 role="img" aria-label="{name}">', svg, count=1)

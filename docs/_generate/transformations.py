"""The page of a transformation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fishergeo as fg
from fishergeo.invariance.scaling import BLOCKS
from fishergeo.normalizers import ZOO
from fishergeo.report.axes_figure import ARRAYS, NAMES
from fishergeo.transformations import TRANSFORMATIONS, Parameter, Transformation

from .markdown import code, display, inline, page, source, table, toctree
from .normalizers import factor, link, mark

SYMBOLS = {"delta": r"\delta", "gamma": r"\gamma", "pi": r"\Pi", "Q": "Q"}
UP = "../normalizers/"


def write(folder: Path) -> Iterator[tuple[Path, str | bytes]]:
    """The files: a page for each member, and a page that lists them."""
    for transformation in TRANSFORMATIONS:
        yield folder / f"{transformation.name}.md", render(transformation)
    rows = [[f"[{t.title}]({t.name}.md)", inline(t.formula), source(t.source) or "–"] for t in TRANSFORMATIONS]
    yield (
        folder / "index.md",
        page("Transformations", table(["", "", "source"], rows), toctree(t.name for t in TRANSFORMATIONS)),
    )


def render(transformation: Transformation) -> str:
    column = fg.invariance_table(transformations=transformation)
    name = f"fg.{transformation.name}"
    return page(
        transformation.title,
        f"*{source(transformation.source)}*" if transformation.source else "",
        display(transformation.formula),
        parameters(transformation),
        code(
            ">>> import fishergeo as fg",
            f">>> column = fg.invariance_table(transformations={name})",
            ">>> sum(map(bool, column))                      # of the normalizers below",
            str(sum(map(bool, column))),
        ),
        "## Which normalizers are invariant",
        r"$\hat{A}$ is the same before and after. Proofs and counterexamples are on the page of each normalizer.",
        table(
            ["normalizer", r"$\hat{A}$ unchanged", "if"],
            ([link(v.normalizer, UP), mark(v), ", ".join(v.conditions)] for v in column),
            "lcl",
        ),
        "## How the Fisher blocks scale",
        *scalings(transformation),
    )


def parameters(transformation: Transformation) -> str:
    """What the actions do, in words."""
    texts = [_parameter(p) for p in transformation.parameters]
    return " ".join(texts) or "It has no parameters."


def _parameter(p: Parameter) -> str:
    symbol = inline(SYMBOLS[p.symbol] + (" > 0" if p.positive else ""))
    if p.symbol == "pi":
        return f"{symbol} permutes the units; the outputs follow."
    if p.symbol == "Q":
        return f"{symbol} is a rotation of the space of inputs, $QQ^\\top = I$."
    axes = [f"each {NAMES[axis][:-1]}" for axis in p.site.layout(3) if axis in p.axes]
    values = f"one number for {' and '.join(axes)}" if axes else "one number"
    return f"It changes the {ARRAYS[p.site]}; {symbol} is {values}."


def scalings(transformation: Transformation) -> Iterator[str]:
    laws = [fg.fisher_scaling(normalizer, transformation) for normalizer in ZOO]
    some = [law for law in laws if any(f is not None for f in law.blocks.values())]
    if not some:
        yield "Under no normalizer do they scale."
        return
    rows = [
        [
            link(law.normalizer, UP) + "¹" * (not law.any_family) + "²" * law.congruent,
            *(factor(law.blocks[name]) if name in law.blocks else "" for name in BLOCKS),
        ]
        for law in some
    ]
    yield table(["normalizer", *(inline(rf"\bar{{F}}_{{{a}_i {b}_j}}") for a, b in BLOCKS)], rows, "lcccccc")
    notes = ["A dash: no factor."]
    if any(not law.any_family for law in some):
        notes.append(r"¹ only where $\mathrm{Cov}[y \mid x]$ does not depend on $z$ (a Gaussian).")
    if any(law.congruent for law in some):
        notes.append("² after the change of basis of the weights.")
    yield " ".join(notes)

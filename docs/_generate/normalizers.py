"""The page of a normalizer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sympy

import fishergeo as fg
from fishergeo.axes import Axis
from fishergeo.claims import REGISTRY, Result
from fishergeo.invariance.proof import Verdict
from fishergeo.invariance.scaling import Scaling
from fishergeo.invariance.symmetries import Symmetries
from fishergeo.invariance.witness import Witness
from fishergeo.normalizer import Normalizer
from fishergeo.normalizers import ZOO
from fishergeo.report import axes_figure
from fishergeo.symbolic.blocks import PARTS
from fishergeo.symbolic.latex import block_name, latex
from fishergeo.transformations import TRANSFORMATIONS, Transformation

from . import catalogue
from .formulas import definition_latex
from .markdown import ARXIV, aligned, cell, code, details, display, equation, inline, page, source, table, toctree

CELLS = {Axis.SAMPLE: 12, Axis.POSITION: 3, Axis.UNIT: 5, Axis.INPUT: 4}  # sizes of the example, before they are raised
CHOICES = {
    "over": "its axes",
    "center": "whether it is centered",
    "scale": "what it is divided by",
    "groups": "its groups",
    "first": "which entries make the moments",
    "mean": "the given means",
    "var": "the given variances",
}


def link(normalizer: Normalizer, folder: str = "") -> str:
    return f"[{normalizer.title}]({folder}{catalogue.file_name(normalizer)}.md)"


def write(folder: Path) -> Iterator[tuple[Path, str | bytes]]:
    """The files: a page and a picture of the cells for each member, and a page that lists them."""
    calls = catalogue.normalizer_calls()
    for normalizer in ZOO:
        yield folder / f"{catalogue.file_name(normalizer)}.svg", picture(normalizer)
        yield folder / f"{catalogue.file_name(normalizer)}.md", render(normalizer, calls[normalizer.name])
    yield folder / "index.md", overview()


def picture(normalizer: Normalizer) -> bytes:
    """The cells as SVG."""
    import io

    target = io.BytesIO()
    axes_figure.draw(normalizer).savefig(target, format="svg", facecolor="white", metadata={"Date": None})
    return target.getvalue()


def render(normalizer: Normalizer, call: tuple[str, ...]) -> str:
    """The page of a normalizer that the lines ``call`` make."""
    return page(
        normalizer.title,
        f"*{source(normalizer.source)}*",
        code(">>> import fishergeo as fg", *(f">>> {line}" for line in call), repr(normalizer)),
        "## Definition",
        *definition(normalizer),
        "## Invariances",
        *invariances(normalizer),
        "## Fisher matrix",
        *blocks(normalizer),
        "## How the blocks scale",
        *scalings(normalizer),
        "## Null space",
        *null_space(normalizer, call),
        *statements(normalizer),
        "## See also",
        *see_also(normalizer),
    )


def definition(normalizer: Normalizer) -> Iterator[str]:
    for site, stage in normalizer.stages:
        over = f", over {axes_figure.together(site, stage)}" if stage.over else ""
        yield f"The {axes_figure.ARRAYS[site]} are {axes_figure.words(stage)}{over}."
    if not normalizer.stages:
        yield "Nothing is standardized, so there is no gain."
    lines = [rf"{left} &= {right}" for left, right in definition_latex(normalizer)]
    yield display(r"\begin{aligned}" + r" \\ ".join(lines) + r"\end{aligned}")
    yield positions(normalizer)
    yield f"![{axes_figure.alt(normalizer)}]({catalogue.file_name(normalizer)}.svg)"
    dark = " Its moments are those of the dark entries." * _leading(normalizer)
    yield f"*One cell is coloured.{dark}*" if any(s.over for _, s in normalizer.stages) else "*There are no cells.*"


def _leading(normalizer: Normalizer) -> bool:
    return any(getattr(stage, "first", None) is not None for _, stage in normalizer.stages)


def positions(normalizer: Normalizer) -> str:
    """What becomes of inputs (N, S, D)."""
    if normalizer.tells_positions_apart:
        return "Inputs are $(N, S, D)$; those of shape $(N, D)$ have one position."
    if normalizer.flattens:
        return "For inputs $(N, S, D)$ the index $n$ runs over cases and positions."
    return "For inputs $(N, S, D)$ these are the formulas of one position; each is standardized by itself."


def invariances(normalizer: Normalizer) -> Iterator[str]:
    verdicts = [fg.prove(normalizer, transformation) for transformation in TRANSFORMATIONS]
    yield table(
        ["transformation", "", r"$\hat{A}$ unchanged", "if"],
        (
            [
                f"[{v.transformation.title}](../transformations/{v.transformation.name}.md)",
                inline(v.transformation.formula),
                mark(v),
                ", ".join(v.conditions),
            ]
            for v in verdicts
        ),
        "llcl",
    )
    yield "Every ✓ is proved for all sizes, every ✗ comes with the smallest counterexample that was found:"
    for verdict in verdicts:
        yield details(summary(verdict), *evidence(verdict))


def mark(verdict: Verdict) -> str:
    """As in `Table.rows`: an invariance that was only seen in numbers is no ✓."""
    return fg.invariance_table(verdict.normalizer, verdict.transformation).rows("✓", "✗")[0][0]


def summary(verdict: Verdict) -> str:
    formula = inline(verdict.transformation.formula)
    return f"{mark(verdict)} {verdict.transformation.title} {formula}"


def evidence(verdict: Verdict) -> Iterator[str]:
    """The steps of a proof with what each condition guards against, or the counterexample."""
    if verdict.witness is not None:
        yield from counterexample(verdict.witness)
        return
    yield aligned(verdict.latex())
    if verdict.sign is not None:
        yield "δ > 0 is needed:"
        yield from counterexample(verdict.sign)
    if "ε = 0" in verdict.conditions:
        yield "ε = 0 is needed; with ε > 0 inside the root:"
        yield display(fg.eps_defect(verdict.normalizer, verdict.transformation).latex())


def counterexample(witness: Witness) -> Iterator[str]:
    """The model on one line and what happens to an entry on the next, in the shortest equal form that was found."""
    before, after = (shortest(value) for value in (witness.before, witness.after))
    model, change = replace(witness, before=before, after=after).latex().split(r":\quad ")
    yield display(rf"\begin{{aligned}}&{model}: \\ &\quad {change}\end{{aligned}}")


def shortest(value: Any) -> Any:
    forms = [value, sympy.sqrtdenest(sympy.radsimp(sympy.simplify(value)))]
    return min((f for f in forms if abs((f - value).evalf(40)) < 1e-30), key=lambda form: len(sympy.latex(form)))


def blocks(normalizer: Normalizer) -> Iterator[str]:
    yield (
        r"The blocks $\bar{F}_{ij}$ of units $i$ and $j$, for all sizes and any family with curvature $\eta''$ and "
        r"dispersion $\phi$; in matrix form E is the mean over the cases"
        + (" and positions" if normalizer.tells_positions_apart else "")
        + ". What the symbols stand for: [notation](../index.md#notation)."
    )
    parts = PARTS if normalizer.has_gain else PARTS[:2]
    for row, column in itertools.combinations_with_replacement(parts, 2):
        block = fg.fisher_block(normalizer, row, column)
        yield f"### {row} and {column}"
        yield aligned(block.matrix_latex())
        yield "In index notation:"
        yield equation(block_name(row, column), latex(block.expr))


def scalings(normalizer: Normalizer) -> Iterator[str]:
    laws = [fg.fisher_scaling(normalizer, transformation) for transformation in TRANSFORMATIONS]
    laws = [law for law in laws if any(factor is not None for factor in law.blocks.values())]
    yield "The factor of each block; a dash where there is none:"
    names = list(laws[0].blocks)
    rows = [[_law_name(law), *(factor(f) for f in law.blocks.values())] for law in laws]
    yield table(
        ["transformation", *(inline(rf"\bar{{F}}_{{{a}_i {b}_j}}") for a, b in names)], rows, "l" + "c" * len(names)
    )
    notes = []
    if any(not law.any_family for law in laws):
        notes.append(r"¹ only where $\mathrm{Cov}[y \mid x]$ does not depend on $z$ (a Gaussian)")
    if any(law.congruent for law in laws):
        notes.append("² after the change of basis of the weights")
    if notes:
        yield "; ".join(notes) + "."


def _law_name(law: Scaling) -> str:
    t = law.transformation
    marks = "¹" * (not law.any_family) + "²" * law.congruent
    return f"[{t.title}](../transformations/{t.name}.md){marks}"


def factor(value: Any) -> str:
    return "–" if value is None else inline(latex(value))


@cache
def example(normalizer: Normalizer) -> tuple[tuple[int, ...], int, Symmetries]:
    """The shape of X, the number of units, and the null space of F at random parameters, as the page says."""
    least, every = normalizer.minimum(), normalizer.multiples()
    N, S, H, D = (-(-max(size, least[axis]) // every[axis]) * every[axis] for axis, size in CELLS.items())
    shape = (
        (N, S, D) if any(Axis.POSITION in s.over and Axis.SAMPLE not in s.over for _, s in normalizer.stages) else (N, D)
    )
    rng = np.random.default_rng(0)
    X = rng.normal(size=shape)
    model = fg.GLM(fg.gaussian, normalizer)
    p = model.unravel(rng.normal(size=H * (D + 1 + model.has_gain)), units=H)
    return shape, H, fg.symmetries(model, p, X)


def null_space(normalizer: Normalizer, call: tuple[str, ...]) -> Iterator[str]:
    shape, units, found = example(normalizer)
    yield "At a generic point, with a Gaussian family:"
    yield code(
        ">>> import numpy as np",
        ">>> rng = np.random.default_rng(0)",
        f">>> X = rng.normal(size={shape})",
        f">>> model = fg.GLM(fg.gaussian, {call[-1]})",
        f">>> p = model.unravel(rng.normal(size={found.size}), units={units})",
        ">>> null = fg.symmetries(model, p, X)",
        ">>> null.nullity, null.unexplained",
        f"({found.nullity}, {found.unexplained})",
    )
    if not found.explained:
        yield f"No direction of the {found.size} parameters is invisible."
        return
    yield table(
        ["generator", "directions", "because"],
        ([e.name, str(e.dimension), e.meaning] for e in found.explained),
        "lcl",
    )


def see_also(normalizer: Normalizer) -> Iterator[str]:
    near, parts, wholes = catalogue.related(normalizer)
    items = [f"{link(other)} differs in one choice, {CHOICES[choice]}" for other, choice in near]
    items += [f"{link(other)} is a part of it" for other in parts] + [f"{link(other)} contains it" for other in wholes]
    items.append("[the invariance table](../../results/invariance.md), [all normalizers](index.md)")
    yield "\n".join(f"- {item}" for item in items)


@cache
def checked(arxiv: str) -> list[Result]:
    """The statements of a paper that are among the claims, each checked."""
    return [claim.run() for claim in REGISTRY.values() if claim.paper is not None and claim.paper.arxiv == arxiv]


def statements(normalizer: Normalizer) -> Iterator[str]:
    results = [result for arxiv in dict.fromkeys(ARXIV.findall(normalizer.source)) for result in checked(arxiv)]
    if not results:
        return
    rows = [[f"`{r.id}`", r.claim.place, cell(r.claim.statement), str(r.verdict).replace("|", "\\|")] for r in results]
    yield "## Statements of its source"
    yield "As the source states them, and what [their check](../../results/claims.md) finds:"
    yield table(["", "place", "statement", "verdict"], rows)


def overview() -> str:
    """The list of all normalizers, and the invariance table."""
    rows = [
        [
            link(n),
            f"![{axes_figure.alt(n)}]({catalogue.file_name(n)}.svg)",
            "; ".join(f"{axes_figure.ARRAYS[site]}: {axes_figure.words(stage)}" for site, stage in n.stages) or "–",
            source(n.source),
        ]
        for n in ZOO
    ]
    head = [f"[{k + 1}](../transformations/{t.name}.md)" for k, t in enumerate(TRANSFORMATIONS)]
    marks = [[link(n), *(mark(fg.prove(n, t)) for t in TRANSFORMATIONS)] for n in ZOO]
    return page(
        "Normalizers",
        "One cell of each: the entries that are standardized together.",
        table(["", "one cell", "", "source"], rows),
        "## Invariances",
        table(["", *head], marks, "l" + "c" * len(head)),
        "\n".join(
            f"{k + 1}. [{t.title}](../transformations/{t.name}.md) {inline(t.formula)}"
            for k, t in enumerate(TRANSFORMATIONS)
        ),
        toctree(map(catalogue.file_name, ZOO)),
    )


__all__ = ["Transformation", "render", "write"]

"""Which transformations of weights and data leave which normalized model unchanged: all proofs, all counterexamples."""

from __future__ import annotations

import re

from common import heading, spelled
from symbols import N, delta, gamma, m, n, sigma, sigmatilde, v, vbar, vhat, vtilde, vtildebar, vtildehat
from sympy import sqrt

from fishergeo import invariance_table
from fishergeo.frozen import Frozen
from fishergeo.invariance.table import Table
from fishergeo.normalizers import Normalizer
from fishergeo.report.axes_figure import ARRAYS, together, words
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.sums import over

TITLE = r"(?<=\d{4}), (?!section|eq|Alg)[^,]*"  # of a paper, or its number


def build() -> Derivation:
    d = Derivation.chapter(__file__, "Invariance")
    principle(d)
    table = invariance_table()
    overview(d, table)
    for normalizer in table.normalizers:
        d.head(heading(normalizer.title))
        d.say(definition(normalizer))
        for transformation in table.transformations:
            verdict = table[normalizer, transformation]
            name = f"{transformation.title.capitalize()}, {{}}: "
            if verdict:
                under = f", if {', '.join(verdict.conditions)}" if verdict.conditions else ""
                d.say(f"{name}unchanged{under}.", transformation.formula)
                d.show(verdict, by.run_of_the_definition)
            else:
                d.say(f"{name}changed.", transformation.formula)
                d.show(verdict, by.counterexample_found)
    return d


def definition(normalizer: Normalizer) -> str:
    """What is standardized along which axes, and by what if that is given; and where it is from."""
    said = []
    for site, stage in normalizer.stages:
        over = f", over {together(site, stage)}" if stage.over else ""
        given = f": mean {stage.mean}, variance {stage.var}" if isinstance(stage, Frozen) else ""
        said.append(f"The {ARRAYS[site]} are {words(stage)}{over}{given}")
    sources = [re.sub(TITLE, "", source) for source in normalizer.source.split("; ") if source]
    cited = re.sub(r", (\w+) (?=\d{4})", r" and \1 ", "; ".join(sources))
    text = ". ".join(said) or "Nothing is standardized"
    return f"{text} ({cited})." if cited else f"{text}."


def principle(d: Derivation) -> None:
    spread, factor = sigma.label, delta.label
    d.say("All positive results rest on one. Standardize a cell, and the same cell scaled and shifted as a whole:")
    before = [
        d.define(vbar, over(v[m], m) / N),
        d.define(spread, sqrt(over((v[m] - vbar) ** 2, m) / N)),
        d.define(vhat[n], (v[n] - vbar) / spread),
    ]
    after = [
        d.define(vtilde[n], factor * v[n] + gamma),
        d.define(vtildebar, over(vtilde[m], m) / N),
        d.define(sigmatilde.label, sqrt(over((vtilde[m] - vtildebar) ** 2, m) / N)),
        d.define(vtildehat[n], (vtilde[n] - vtildebar) / sigmatilde.label),
    ]
    d.say("The mean follows, the standard deviation feels the factor alone, and the standardized cell feels nothing.")
    d.step(vtildebar, factor * vbar + gamma, by.linearity_of_the_mean, [*after[:2], *before])
    scaled = d.step(sigmatilde.label, factor * spread, by.algebra, [*after[:3], *before])
    d.step(vtildehat[n], vhat[n], by.substitution, [after[3], scaled, *after[:2], *before])
    d.say("With a negative factor the standardized cell changes its sign: the factor must be positive.")


def overview(d: Derivation, table: Table) -> None:
    d.head("The table")
    d.say(
        """A transformation leaves a model unchanged if it turns every array that is standardized into a scaled and
        shifted one, with factors and shifts that do not vary along the axes of the moments. Below, a mark is a
        proof for all numbers of cases, inputs and units; its absence is an exact counterexample. Conditions are
        given with each proof. A shift of inputs or weights is gone from the summed inputs where what it is multiplied
        with is standardized and adds up to 0."""
    )
    d.say("The columns are numbered as in the list below the table.")
    d.insert(spelled(table.to_latex()), spelled(markup(table)))
    names = "; ".join(f"({k + 1}) {t.title} {{}}" for k, t in enumerate(table.transformations))
    d.say(f"The transformations are {names}.", *(t.formula for t in table.transformations))


def markup(table: Table) -> str:
    """The table as HTML, with numbered columns."""
    head = [str(k + 1) for k in range(len(table.transformations))]
    rows = [[n.title, *marks] for n, marks in zip(table.normalizers, table.rows("✓", "·"), strict=True)]
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in (["", *head], *rows))
    return f"<table>{body}</table>"


if __name__ == "__main__":
    build().write(__file__)

"""Which transformations of weights and data leave which normalized model unchanged: all proofs, all counterexamples."""

from __future__ import annotations

import sympy
from common import N, m, n
from sympy import IndexedBase, Symbol, sqrt

from fishergeo import invariance_table
from fishergeo.invariance.table import Table
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.derivation import Derivation, Step
from fishergeo.symbolic.sums import over


def build() -> Derivation:
    d = Derivation(5, "Invariance")
    principle(d)
    table = invariance_table()
    overview(d, table)
    for normalizer in table.normalizers:
        d.head(f"{normalizer.title.capitalize()}")
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


def moments(d: Derivation, name: str, entry: sympy.Expr) -> list[Step]:
    """Define an array with its mean, standard deviation and standardized value."""
    t, hat = IndexedBase(name, real=True), IndexedBase(f"{name}hat", real=True)
    mean, sigma = Symbol(f"{name}bar", real=True), Symbol("sigma" if name == "t" else "s", positive=True)
    named = [] if t[n] == entry else [d.define(t[n], entry)]
    return [
        *named,
        d.define(mean, over(t[m], m) / N),
        d.define(sigma, sqrt(over((t[m] - mean) ** 2, m) / N)),
        d.define(hat[n], (t[n] - mean) / sigma),
    ]


def principle(d: Derivation) -> None:
    t, alpha, beta = IndexedBase("t", real=True), Symbol("alpha", positive=True), Symbol("beta", real=True)
    d.say("All positive results rest on one. Standardize a cell, and the same cell scaled and shifted as a whole:")
    before = moments(d, "t", t[n])
    after = moments(d, "u", alpha * t[n] + beta)
    d.say("The mean follows, the standard deviation feels the scale alone, and the standardized cell feels nothing.")
    d.step(after[1].left, alpha * before[0].left + beta, by.linearity_of_the_mean, [*after[:2], *before])
    spread = d.step(after[2].left, alpha * before[1].left, by.algebra, [*after[:3], *before])
    d.step(after[3].left, before[2].left, by.substitution, [after[3], spread, *after[:2], *before])
    d.say(
        "With a negative factor the standardized cell changes its sign, so that {} is needed.", sympy.Symbol("alpha") > 0
    )


def overview(d: Derivation, table: Table) -> None:
    d.head("The table")
    d.say(
        """A transformation leaves a model unchanged if it turns every array that is standardized into a scaled and
        shifted one, with factors and shifts that do not vary along the axes of the moments. Below, a mark is a
        proof for all numbers of cases, inputs and units; its absence is an exact counterexample. Conditions are
        given with each proof."""
    )
    d.insert(table.to_latex(), table._repr_html_())
    names = "; ".join(f"({k + 1}) {t.title} {{}}" for k, t in enumerate(table.transformations))
    d.say(f"The transformations are {names}.", *(t.formula for t in table.transformations))


if __name__ == "__main__":
    build().write(__file__)

"""The first page of the zoo: where everything is, and the notation."""

from __future__ import annotations

from .markdown import page, table, toctree

NOTATION = (
    ("$n, s, h, d$ (summed over: $m, t, k, e$)", "case, position, unit, input; there are $N, S, H, D$ of them"),
    (r"$a_{n h}$, $\hat{a}_{n h}$", "summed input, normalized summed input; a bar is a mean"),
    (r"$\sigma$", "what a cell is divided by; an upper index says of which array"),
    ("$I_{i j}$", "1 for $i = j$, else 0"),
    ("$[h]_{2}$", "the group, of 2, that unit $h$ is in"),
    (r"$\boldsymbol{1}_{k \le K}$", "1 for the first $K$, else 0"),
    (r"$\eta''$", r"$\mathrm{Cov}[y \mid x]/\phi$, a matrix over the units for each case"),
    (r"$\boldsymbol{\chi}_i$, $\boldsymbol{\xi}_i$", "vectors over the inputs, one for each case and unit"),
    (
        "$M$, $J_i$",
        r"$\partial z/\partial w_i$ of a case: $M$ mixes the units, $J_i$ is the whole matrix, units by inputs",
    ),
    (r"$\boldsymbol{e}_i$, $\boldsymbol{1}$", "the vector with 1 at unit $i$, the vector of ones"),
    (r"$B$, $\circ$", "the matrix over the units with 1 within a group, the entrywise product"),
)


def render() -> str:
    return page(
        "The zoo",
        "One page for each member. Everything on it is computed from the value when these pages are built: the formulas "
        "are printed from expressions that were checked, the verdicts are proofs or exact counterexamples.",
        "- [Normalizers](normalizers/index.md): definition, picture of the cells, invariances with proofs and "
        "counterexamples, Fisher blocks and how they scale, null space\n"
        "- [Families](families/index.md): cumulant, mean, variance, canonical link, domain, sampler\n"
        "- [Links](links/index.md): $g$, $g^{-1}$, derivatives, domain\n"
        "- [Transformations](transformations/index.md): formula, which normalizers are invariant, how blocks scale",
        "A member of your own takes one declaration: [extending](../extending.md).",
        "## Notation",
        table(["", ""], NOTATION),
        toctree(["normalizers/index", "families/index", "links/index", "transformations/index"]),
    )

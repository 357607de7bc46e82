"""The sections of a report on geometry: the Fisher matrix, invariances, scaling laws, training."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .blocks import Block, Details, Formula, Grid, Marks, Picture, Text
from .mathml import marked
from .numbers import listed, number, plural

Results = dict[str, Any]

# definitions and a known identity; what is derived is printed from the derivation
_FISHER = (
    r"F = \frac{1}{N} \sum_{n=1}^{N} J_n^\top \frac{\mathrm{Cov}[y \mid x_n]}{\phi^2} J_n, \qquad "
    r"J_n = \frac{\partial %s_n}{\partial (w_1, b_1, g_1, w_2, \ldots)}"
)
_STRAIGHT = 0.01  # the largest deviation, in a natural logarithm, at which a measured curve counts as a power law
_GROWTH = r"\lVert w_{t+1} \rVert^2 = \lVert w_t \rVert^2 + \eta^2 \lVert \nabla_w L \rVert^2"


def fisher(results: Results) -> Iterator[Block]:
    studies = results["normalizers"]
    yield Text("The Fisher matrix is the mean over the cases, with parameters ordered unit by unit:")
    yield Formula(_FISHER % (r"\theta" if results["link"] else "z"))
    yield Text(
        "Its weight block for units $i$ and $j$ follows from each normalizer's definition, for all sizes. Under batch "
        "and weight norm "
        "unit $i$ has its own $\\chi_i$; under layer norm the units of a case are mixed by a matrix $M$. E is the mean "
        "over the cases."
        + (" $\\omega$ is $(d\\mu/dz)^2/V(\\mu)$." if any("omega" in study["block"] for study in studies) else "")
    )
    for study in studies:
        yield Text(f"**{study['title']}**:")
        yield Formula(study["block"])
    yield Picture(
        "fisher_matrices",
        "Size of the entries of $F$, relative to the largest, on a logarithmic scale; white lines separate the units. "
        "Blocks off the diagonal show which units are coupled: through the family (categorical outputs share one total), "
        "and under layer norm also through the statistics. Dark stripes are parameters that matter little, such as "
        "weights of inputs that hardly vary.",
    )
    yield Picture(
        "spectra",
        "Eigenvalues of $F$ that are not zero, largest first; a dot marks the last one, so its position is the rank. "
        "What a "
        "normalizer gives away is seen at the right end: the null directions that the next table explains.",
    )
    starts = [
        (study["at_start"]["given"]["condition"], study["at_start"]["standardized"]["condition"]) for study in studies
    ]
    lowered = sum(after < before for before, after in starts if before is not None and after is not None)
    yield Grid(
        "spectrum",
        "$F$ at the trained parameters. Eigenvalues come from a singular value decomposition of a root of $F$, so that "
        "rank and condition number are not limited by rounding in $F$ itself. The last two columns are taken before "
        f"training: standardizing each input column lowers the condition number for {lowered} of {len(studies)} models.",
        ["", "size", "rank", "nullity", "trace", "$\\lambda_{\\max}$", "condition", "at start", "at start, standardized"],
        [
            [
                study["title"],
                str(study["fisher"]["size"]),
                str(study["fisher"]["rank"]),
                str(study["fisher"]["nullity"]),
                number(study["fisher"]["trace"]),
                number(study["fisher"]["largest_eigenvalue"]),
                number(study["fisher"]["condition"]),
                number(study["at_start"]["given"]["condition"]),
                number(study["at_start"]["standardized"]["condition"]),
            ]
            for study in studies
        ],
    )
    yield Text(
        "**The null space.** A direction in the null space changes no distribution $p(y \\mid x)$ on the data. Each one "
        "below is "
        "accounted for by a symmetry of the model or a property of the data; the dimensions add up to the nullity."
    )
    yield Grid(
        "null_space",
        "The null space of $F$, explained.",
        ["", "dimension", "because", "what it means"],
        list(_null_rows(studies)),
        wide=(2, 3),
    )
    yield Text(
        "**Eq. (13) of the paper** (Ba, Kiros, Hinton 2016) builds each block from the statistics of its own unit. "
        "Under batch and "
        "weight norm that is the exact matrix; under layer norm every $\\hat{a}_i$ depends on every $w_j$, and the "
        "formula "
        "leaves that out."
    )
    yield Grid(
        "eq13",
        "Relative error $\\lVert F_{13} - F \\rVert / \\lVert F \\rVert$ of eq. (13) in the Frobenius norm, on this "
        "data.",
        ["", "error of eq. (13)"],
        [[study["title"], number(study["eq13_gap"])] for study in studies],
    )


def _null_rows(studies: list[dict[str, Any]]) -> Iterator[list[str]]:
    for study in studies:
        space = study["null_space"]
        title = study["title"]
        for part in space["explained"]:
            yield [title, str(part["dimension"]), part["name"], marked(part["meaning"])]
            title = ""
        if space["unexplained"]:
            yield [title, str(space["unexplained"]), "not explained", space["note"] or "no known symmetry"]
        elif not space["explained"]:
            yield [title, "0", "no null direction", ""]


def invariance(results: Results) -> Iterator[Block]:
    table = results["invariance"]
    titles = {entry["name"]: entry["title"] for entry in [*table["normalizers"], *table["transformations"]]}
    cells = {(cell["normalizer"], cell["transformation"]): cell for cell in table["cells"]}
    proved = sum(cell["invariant"] for cell in table["cells"])
    conditions = list(dict.fromkeys(c for cell in table["cells"] for c in cell["conditions"]))
    yield Text(
        f"Each of the {len(cells)} cells says whether the normalized summed inputs $\\hat{{A}}$ stay the same under a "
        f"transformation. The {proved} marks are proved in index notation for all sizes; each of the "
        f"{len(cells) - proved} "
        f"others is refuted by a smallest exact rational counterexample. Conditions that proofs use: "
        f"{listed(conditions)}."
    )
    yield Marks(
        "table",
        "The invariance table. Columns 1 to 6 and the rows batch norm, weight norm and layer norm are table 1 of Ba, "
        "Kiros, "
        "Hinton 2016. A mark leads to its proof, a dot to its counterexample.",
        [entry["title"] for entry in table["normalizers"]],
        [(entry["title"], entry["formula"]) for entry in table["transformations"]],
        [
            [(cells[m["name"], t["name"]]["invariant"], _anchor(m["name"], t["name"])) for t in table["transformations"]]
            for m in table["normalizers"]
        ],
    )
    studied = {study["name"] for study in results["normalizers"]}
    for entry in table["normalizers"]:
        of = [cell for cell in table["cells"] if cell["normalizer"] == entry["name"]]
        yield Details(
            f"{entry['title']}: {plural(sum(cell['invariant'] for cell in of), 'proof')}, "
            f"{plural(sum(not cell['invariant'] for cell in of), 'counterexample')}",
            tuple(block for cell in of for block in _cell(cell, titles[cell["transformation"]])),
            name=_anchor(entry["name"]),
            screen_only=entry["name"] not in studied,
        )


def _anchor(*names: str) -> str:
    return "-".join(["proof", *(re.sub(r"\W+", "_", name) for name in names)])


def _cell(cell: dict[str, Any], title: str) -> Iterator[Block]:
    blocks: list[Block] = [Formula(cell["latex"])]
    if cell["sign_witness"]:
        blocks += [Text("A negative factor changes it:"), Formula(cell["sign_witness"])]
    if cell["invariant"]:
        verdict = "invariant for all sizes" + (f" if {', '.join(cell['conditions'])}" if cell["conditions"] else "")
    else:
        verdict = "not invariant"
    yield Details(f"{title}: {verdict}", tuple(blocks), name=_anchor(cell["normalizer"], cell["transformation"]))


def scaling(results: Results) -> Iterator[Block]:
    studies = results["normalizers"]
    yield Text(
        "When the weights are multiplied by $\\delta$ and $\\hat{A}$ stays the same, the Jacobian with respect to $w$ is "
        "divided by $\\delta$. The factors of the blocks follow from the definition of each normalizer, for all sizes "
        "and "
        "families; without an invariance there is no such law."
    )
    laws: dict[tuple[str, str, str], list[str]] = {}
    for study in studies:
        law = study["scaling"]
        if law["applies"]:
            laws.setdefault((law["transformation"], law["formula"], law["law"]), []).append(study["title"])
    for (transformation, formula, law), titles in laws.items():
        yield Text(f"**{' and '.join(titles)}**, {transformation} ${formula}$:")
        yield Formula(law)
    names = ["ww", "wb", "wg", "bb", "bg", "gg"]
    yield Grid(
        "doubling",
        "Derived: the factor of each block when all weights double.",
        ["", *names],
        [[s["title"], *(_law(s["scaling"], name) for name in names)] for s in studies],
    )
    yield Grid(
        "slopes",
        f"Measured on {studies[0]['scaling']['cases']} cases of this data: slopes of the logarithm of the Frobenius "
        f"norm of each "
        "block in $\\log c$ when $W$ becomes $cW$ (a factor 1/4 on doubling is a slope of -2), of the length $ds$ of a "
        "step in "
        "$w$, and the curvature along $w_i$ and along $W$ relative to the norm of the block.",
        ["", *names, "ds", "along $w_i$", "along $W$"],
        [
            [
                s["title"],
                *(_slope(s["scaling"], name) for name in [*names, "ds"]),
                number(s["scaling"]["curvature_along_w"], 2),
                number(s["scaling"]["curvature_along_W"], 2),
            ]
            for s in studies
        ],
    )
    yield Picture(
        "scaling",
        "Norms of the Fisher blocks when the weights are multiplied by $c$. Under each normalizer that is invariant to "
        "it, the ww block falls with slope -2, wb and wg with -1, and the others stay. The dotted line is what the "
        "paper prints for the ww block, a factor 1/2 on doubling: it is the law of wb and wg. Where no law holds, the "
        "curves bend.",
    )


def _law(law: dict[str, Any], name: str) -> str:
    if name not in law["doubling"]:
        return "–"
    return "no law" if law["doubling"][name] is None or not law["applies"] else law["doubling"][name]


def _slope(measured: dict[str, Any], name: str) -> str:
    if name not in measured["slopes"]:
        return "–"
    value = measured["slopes"][name]
    if value is None:
        return "zero"
    return f"{value:.3f}".replace("-0.000", "0.000") if measured["deviations"][name] < _STRAIGHT else "bends"


def training(results: Results) -> Iterator[Block]:
    studies = results["normalizers"]
    yield Text(
        "Where the loss does not depend on the length of a weight vector, its gradient is perpendicular to it. Then "
        "every step "
        "of (stochastic) gradient descent lengthens the vector, and the rate at which its direction is trained, "
        "$\\eta / \\lVert w \\rVert^2$, falls:"
    )
    yield Formula(_GROWTH)
    yield Picture(
        "effective_rate",
        "Left: length of the weight vectors relative to the start, median (line) and range (band). Right: the effective "
        "learning rate of the normalizers that make the length irrelevant. A rate that is too large for a moment "
        "lengthens "
        "the weights until it no longer is: the fast fall in the first steps.",
    )
    yield Picture(
        "training",
        "Left: loss on the batches. Right: how far the weight vectors turn in a step (median); normalized weights turn "
        "less as "
        "they grow longer. Both are running means.",
    )
    yield Grid(
        "identity",
        "The identity, measured: the largest relative defect over all steps and weight vectors. Where the length matters "
        "(no scale symmetry) the gradient is not perpendicular, and the identity does not hold.",
        ["", "scale-free", "norm, end/start", "effective rate, start", "end", "largest defect"],
        [
            [
                s["title"],
                s["training"]["scale_free"] or "no",
                number(s["training"]["norm"]["median"][-1]),
                number(s["training"]["effective_rate_start"]),
                number(s["training"]["effective_rate_end"]),
                number(s["training"]["norm_identity_defect"], 2),
            ]
            for s in studies
        ],
    )

"""The text of a report: sections written from its results, once, for HTML and LaTeX alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import sections
from .blocks import Block, Callout, Details, Document, Formula, Grid, Items, Section, Text
from .mathml import marked
from .numbers import listed, number, percent, plural

Results = dict[str, Any]

# a definition, not a derivation
_MODEL = (
    r"A = XW^\top, \qquad Z = g\,\hat{A} + b, \qquad "
    r"\log p(y \mid x) = \frac{y \cdot %s - \eta(%s)}{\phi} + c(y, \phi)"
)

PROMINENT = ("LN-half", "LN-13-LN", "LN-5.1-text")


def write(results: Results) -> Document:
    """The whole report."""
    data = results["data"]
    names = listed([study["title"] for study in results["normalizers"]])
    return Document(
        f"Fisher geometry of {data['name']} under normalization",
        f"A generalized linear model with {results['family']} outputs: {names}. Every verdict is the result of a check.",
        (
            Section("summary", "At a glance", tuple(_summary(results))),
            Section("data", "Data and model", tuple(_data(results))),
            Section("fisher", "The Fisher matrix", tuple(sections.fisher(results))),
            Section("invariance", "Invariances, proved and refuted", tuple(sections.invariance(results))),
            Section("scaling", "How the Fisher blocks scale when weights grow", tuple(sections.scaling(results))),
            Section("training", "The effective learning rate", tuple(sections.training(results))),
            Section("claims", "Statements that hold, and those that do not", tuple(_claims(results))),
            Section("reproduce", "To make this report again", tuple(_reproduce(results))),
        ),
    )


def _summary(results: Results) -> Iterator[Block]:
    rows = [
        [
            study["title"],
            f"{study['fisher']['rank']} of {study['fisher']['size']}",
            number(study["fisher"]["condition"]),
            percent(study["eq13_gap"]) if study["eq13_gap"] > 1e-9 else "exact",
            _factor(study["scaling"]["doubling"]["ww"], study),
            _fall(study),
        ]
        for study in results["normalizers"]
    ]
    yield Grid(
        "glance",
        "The Fisher matrix $F$ of the trained model and what normalization does to it. The condition number is that of "
        "the part of $F$ that is not zero; the effective rate is that of the median weight vector, from the first step "
        "to the last.",
        ["", "rank of $F$", "condition", "error of eq. (13)", "ww block when $w$ doubles", "effective rate"],
        rows,
    )
    chosen = {claim["id"]: claim for claim in results["claims"]}
    prominent = [chosen[name] for name in PROMINENT if name in chosen]
    if prominent:
        yield Text("Printed statements that the computation does not bear out:")
    for claim in prominent:
        yield _callout(claim)


def _callout(claim: dict[str, Any]) -> Callout:
    blocks: list[Block] = [Text(f"**Statement:** {marked(claim['statement'])} ({claim['source']})")]
    if claim["corrected"]:
        blocks.append(Text(f"**Instead:** {marked(claim['corrected'])}"))
    blocks.append(Text(f"**Evidence** ({claim['certainty']}): {marked(claim['evidence'])}."))
    return Callout(claim["id"], claim["verdict"], tuple(blocks))


def _factor(factor: str | None, study: dict[str, Any]) -> str:
    if factor is None or not study["scaling"]["applies"]:
        return "no law"
    return f"x {factor}"


def _fall(study: dict[str, Any]) -> str:
    run = study["training"]
    if not run["scale_free"]:
        return "constant"
    left = run["effective_rate_end"] / run["effective_rate_start"]
    return f"falls by {percent(1 - left)}" if 0.995 < left < 1 else f"falls to {percent(left)}"


def _data(results: Results) -> Iterator[Block]:
    data, link = results["data"], results["link"] or "canonical"
    used = "" if data["cases_used"] == data["cases"] else f", of which {data['cases_used']} drawn at random are used"
    constant = data["constant_columns"]
    yield Items(
        (
            f"**Data:** {data['name']}, $N$ = {data['cases']} cases{used}"
            + (f". Source: {data['source']}." if data["source"] else "."),
            f"**Inputs:** $D$ = {data['inputs']}, rank {data['rank']}; "
            + (
                f"{plural(len(constant), 'constant column')}: {listed(constant)}. "
                if constant
                else "no column is constant. "
            )
            + f"All inputs are divided by one number, their root mean square {number(data['input_scale'])}.",
            f"**Outputs:** {data['what']}; $H$ = {plural(data['units'], 'unit')}: {listed(data['unit_names'], 12)}.",
            f"**Family:** {results['family']}, {link} link, $\\phi = 1$.",
        )
    )
    made, theta = "natural parameters $Z$:", "z"
    if results["link"]:
        made, theta = (
            f"predictors $Z$; the natural parameter $\\theta$ of a case has the mean of the {link} link:",
            r"\theta",
        )
    yield Text(f"The model has summed inputs $A$, normalized summed inputs $\\hat{{A}}$ and {made}")
    yield Formula(_MODEL % (theta, theta))
    yield Text(
        "A normalizer standardizes one array along some of its axes; without one, $\\hat{A} = A$ and there is no gain "
        "$g$. "
        "Every model starts from the same random weights, with gain and bias set so that each unit's $z$ has unit "
        "variance around the best constant model (less where family and link allow only some $z$). It is trained by "
        "stochastic gradient descent on the mean negative log-likelihood; "
        "what follows is computed at the parameters that training ends with, on all cases used, with batch statistics "
        "differentiated. The rate is $1/\\lambda_{\\max}(F)$ at the start; weights whose length does not matter take up "
        "to "
        "four times that of their block, which is more than a fixed quadratic would survive."
    )
    rows = [
        [
            study["title"],
            f"`{study['definition']}`",
            number(study["training"]["rate"]),
            f"{number(study['loss']['start'])} → {number(study['loss']['end'])}",
        ]
        for study in results["normalizers"]
    ]
    first = results["normalizers"][0]["training"]
    yield Grid(
        "models",
        f"The models: {plural(first['steps'], 'step')} with batches of {first['batch']} cases. Loss: mean negative "
        "log-likelihood on all cases used, before and after.",
        ["", "definition", "rate $\\eta$", "loss"],
        rows,
        wide=(1,),
    )
    if results["note"]:
        yield Text(results["note"])


def _claims(results: Results) -> Iterator[Block]:
    claims = results["claims"]
    counts = {kind: sum(claim["kind"] == kind for claim in claims) for kind in ("holds", "holds if", "refuted")}
    yield Text(
        f"{len(claims)} statements of the literature, each decided by a computation: {counts['holds']} hold, "
        f"{counts['holds if']} hold under conditions (marked where the source has them), {counts['refuted']} do not "
        f"hold as printed."
    )
    order = {"refuted": 0, "holds if": 1, "holds": 2}
    claims = sorted(claims, key=lambda claim: order[claim["kind"]])
    yield Grid(
        "statements",
        "The statements and their verdicts. Level: 1 proved for all sizes, 2 an identity at a stated size, 4 exact at "
        "rational points, 5 floating point within a tolerance.",
        ["", "verdict", "level", "source"],
        [[claim["id"], marked(claim["verdict"]), str(claim["level"]), claim["source"]] for claim in claims],
        wide=(1, 3),
    )
    for claim in claims:
        yield Details(f"{claim['id']}: {marked(claim['verdict'])}", _callout(claim).blocks, name=f"claim-{claim['id']}")


def _reproduce(results: Results) -> Iterator[Block]:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    yield Items(
        (
            f"**Command:** `{results['command']}`",
            f"**Seed:** {results['seed']}",
            f"**Versions:** {versions}",
            "**Every number** shown here, and those behind the figures: `results.json`",
        )
    )

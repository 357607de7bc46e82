"""The page of a family: everything from its cumulant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sympy

import fishergeo as fg
from fishergeo.families import Family
from fishergeo.symbolic.curvature import MEAN
from fishergeo.symbolic.latex import block_name, latex, matrix

from . import catalogue, curves
from .links import HEADER, MU, cells, shown
from .markdown import aligned, code, details, display, equation, inline, page, source, table, toctree

DRAWS = 100_000


def write(folder: Path) -> Iterator[tuple[Path, str | bytes]]:
    """The files: a page for each member, and a page that lists them."""
    members = catalogue.family_members()
    rows = []
    for name, (family, call) in members.items():
        yield folder / f"{name}.md", render(family, call)
        formulas = (inline(cumulant(family)), inline(latex(curves.variance(family))))
        dispersion = "free" if family.free_dispersion else "1"
        rows.append([f"[{title(family)}]({name}.md)", *formulas, dispersion, family.support.text, source(family.source)])
    intro = (
        r"$\log p(y \mid \theta, \phi) = (y\theta - \eta(\theta))/\phi + c(y, \phi)$, with mean "
        r"$\mu = \eta'(\theta)$ and covariance $\phi V(\mu) = \phi\,\eta''(\theta)$."
    )
    listed = table(["", r"cumulant $\eta(\theta)$", r"variance $V(\mu)$", r"$\phi$", "$y$", "source"], rows)
    yield folder / "index.md", page("Families", intro, listed, toctree(members))


def printer(family: Family) -> Callable[[Any], str]:
    return latex if family.coupled else shown


def cumulant(family: Family) -> str:
    return printer(family)(family.cumulant(family.symbols[2]))


def title(family: Family) -> str:
    return catalogue.file_name(family).replace("_", " ")


def render(family: Family, call: str) -> str:
    """The page of a family that ``call`` makes."""
    return page(
        title(family),
        f"*{source(family.source)}*",
        code(">>> import numpy as np, fishergeo as fg", f">>> {call}", repr(family)),
        "## Definition",
        *definition(family),
        "## Links",
        *links(family),
        "## Fisher matrix",
        *fisher(family),
        "## Sampler",
        *sampler(family, call),
        "## See also",
        "- [links](../links/index.md), [all families](index.md)\n- [a family of your own](../../extending.md#a-family)",
    )


def definition(family: Family) -> Iterator[str]:
    y, phi = sympy.Symbol("y", real=True), sympy.Symbol("phi", positive=True)
    product, constant = (r"y^\top\theta", r"\sum_h c(y_h, \phi)") if family.coupled else (r"y\theta", r"c(y, \phi)")
    if family.mixing is not None:
        yield "The outputs are $y = Lu$; the formulas are those of one of the independent $u$:"
        L = np.array(family.mixing)
        lower, covariance = (matrix([[_short(v) for v in row] for row in A]) for A in (L, L @ L.T))
        yield display(rf"L = {lower}, \qquad \Sigma = LL^\top = {covariance}")
    yield display(rf"\log p(y \mid \theta, \phi) = \frac{{{product} - \eta(\theta)}}{{\phi}} + {constant}")
    lines = [
        (r"\eta(\theta)", cumulant(family)),
        ("\\mu_i" if family.coupled else r"\mu = \eta'(\theta)", printer(family)(family.mean_expression)),
        (r"\eta''_{h k} = V(\mu)" if family.coupled else r"\eta'' = V(\mu)", latex(curves.variance(family))),
        canonical(family),
        (r"c(y, \phi)", latex(sympy.sympify(family.base(y, phi)))),
    ]
    yield aligned(r"\begin{aligned}" + r" \\ ".join(f"{left} &= {right}" for left, right in lines) + r"\end{aligned}")
    facts = [
        ["natural parameter", rf"$\theta$ in {family.domain}"],
        ["mean", means(family)],
        ["dispersion", r"$\phi > 0$" if family.free_dispersion else r"$\phi = 1$"],
        ["observations $y$", family.support.text],
        ["outputs of a case", "dependent" if family.joint else "independent"],
    ]
    yield table(["", ""], facts)


def _short(value: float) -> Any:
    """Four digits, and none after the point of a whole number."""
    return round(value) if abs(value - round(value)) < 1e-12 else sympy.Float(value, 4)


def canonical(family: Family) -> tuple[str, str]:
    """θ as a function of the mean, or what the mean says of θ where it leaves a shared part open."""
    if not family.coupled:
        return r"\theta = g(\mu)", shown(family.natural_expression(MU))
    (share,) = family.mean_expression.atoms(sympy.exp)
    trials = sympy.powsimp(family.mean_expression / share)
    return latex(sympy.log(MEAN[family.symbols[0].indices] / trials)), latex(share.args[0])


def means(family: Family) -> str:
    if family.coupled:
        return rf"$\mu_i > 0$ with $\sum_i \mu_i = {latex(sympy.sympify(family.trials))}$"
    each = " for each trial" if family.trials != 1 else ""
    return rf"$\mu$ in {family.means}{each}"


def links(family: Family) -> Iterator[str]:
    """θ and the Fisher weight of z under each link that the family takes."""
    if family.joint:
        yield "The outputs of a case are dependent: only the canonical link, $z = \\theta$."
        return
    takes = {name: link for name, (link, _) in catalogue.link_members().items() if curves.of(family, link) is not None}
    for every in (True, False):
        rows = [
            [f"[{link.name}](../links/{name}.md)", *cells(family, link)]
            for name, link in takes.items()
            if curves.reaches(family, link) is every
        ]
        if rows:
            listed = table(["link", *HEADER], rows)
            yield listed if every else details("links that reach only some of the means", listed)
    yield "In the Fisher matrix the weight $(d\\mu/dz)^2/V(\\mu)$ takes the place of $\\eta''$."


def fisher(family: Family) -> Iterator[str]:
    block = fg.fisher_block(fg.identity, "weight", "weight", family)
    yield "The block of the weights of units $i$ and $j$, without a normalizer and with the canonical link:"
    yield equation(block_name("weight", "weight"), latex(block.expr))
    yield (
        "Under a normalizer $x$ is replaced by $\\partial \\hat{a}/\\partial w$: [the pages of the normalizers]"
        "(../normalizers/index.md) have the blocks for any $\\eta''$."
    )


def sampler(family: Family, call: str) -> Iterator[str]:
    """Mean and variance of many draws, beside what the cumulant says."""
    units = family.units or 3
    phi = 0.5 if family.free_dispersion else 1.0
    rng = np.random.default_rng(0)
    theta = family.example(rng, (1, units))
    mean, expected = family.mean(theta)[0], phi * np.diagonal(family.hessian(theta).dense()[0])
    draws = family.draw(np.repeat(mean[None], DRAWS, axis=0), phi, rng)
    if np.any(np.abs(draws.mean(axis=0) - mean) > 6 * np.sqrt(expected / DRAWS)):
        raise ArithmeticError(f"{family.name}: the mean of {DRAWS} draws is {draws.mean(axis=0)}, not {mean}")
    yield f"Many draws of one case at $\\phi = {phi:g}$, beside what the cumulant says:"
    yield code(
        ">>> rng = np.random.default_rng(0)",
        f">>> family = {call}",
        f">>> theta = family.example(rng, (1, {units}))",
        f">>> y = family.draw(np.repeat(family.mean(theta), {DRAWS}, axis=0), {phi}, rng)",
        ">>> y.shape",
        f"{draws.shape}",
    )
    columns = (theta[0], mean, draws.mean(axis=0), expected, draws.var(axis=0))
    rows = [[str(unit + 1), *(f"{column[unit]:.3f}" for column in columns)] for unit in range(units)]
    header = ["output", r"$\theta$", r"$\mu$", "mean of the draws", r"$\phi\,\eta''$", "variance of the draws"]
    yield table(header, rows, "cccccc")

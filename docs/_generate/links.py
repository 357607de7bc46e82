"""The page of a link: its inverse, what undoes it, and their derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sympy

import fishergeo as fg
from fishergeo import special
from fishergeo.families import Interval
from fishergeo.families.core import _inverse
from fishergeo.links import Link

from . import catalogue, curves
from .markdown import aligned, code, details, inline, page, source, table, toctree

MU = sympy.Symbol("mu", real=True)
KEPT = ("expit", "softplus", "logit", "ndtr", "log_ndtr", "mills")  # functions with a usual name
NO_BREAK = "\u00a0"
HEADER = ["for", r"$\theta(z)$", r"$(d\mu/dz)^2/V(\mu)$"]


def write(folder: Path) -> Iterator[tuple[Path, str | bytes]]:
    """The files: a page for each member, and a page that lists them."""
    members = catalogue.link_members()
    rows = []
    for name, (link, call) in members.items():
        yield folder / f"{name}.md", render(link, call)
        formulas = (
            ["θ", "η'(z)"]
            if link.inverse is None
            else [inline(shown(e)) for e in (forward(link), link.mean_expression())]
        )
        means = "any" if link.inverse is None else str(mean_range(link))
        rows.append([f"[{link.name}]({name}.md)", *formulas, means, source(link.source)])
    intro = r"A link $z = g(\mu)$ is given by its inverse; what a model needs follows by differentiation."
    listed = table(["", r"$g(\mu)$", r"$g^{-1}(z)$", "means", "source"], rows)
    yield folder / "index.md", page("Links", intro, listed, toctree(members))


def render(link: Link, call: str) -> str:
    """The page of a link that ``call`` makes."""
    start = code(">>> import fishergeo as fg", f">>> {call}", repr(link))
    end = "- [families](../families/index.md), [all links](index.md)\n- [a link of your own](../../extending.md#a-link)"
    body = of_each_family() if link.inverse is None else (aligned(formulas(link)), domain(link))
    return page(
        link.name,
        f"*{source(link.source)}*",
        start,
        "## Definition",
        *body,
        "## Families",
        *in_families(link, call),
        "## See also",
        end,
    )


class quantile(sympy.Function):
    """The inverse of the normal distribution function."""

    nargs = 1

    def _latex(self, printer: Any) -> str:
        return rf"\Phi^{{-1}}\left({printer._print(self.args[0])}\right)"


@cache
def forward(link: Link) -> Any:
    """g(μ), found by undoing one operation of g⁻¹ after the other; checked by putting it back."""
    z, mean = link.predictor, link.mean_expression()
    try:
        found = _inverse(mean, z, MU)
    except NotImplementedError:
        found = _inverse(special.elementary(mean), z, MU)
    at = np.array([0.3, 0.8, 1.7])
    means = special.numeric(mean, [z])(at)
    back = sympy.lambdify(MU, special.elementary(found), "scipy")(means)
    if not np.abs(back - at).max() < 1e-12:
        raise ArithmeticError(f"{link.name}: {found} undoes {mean} to {back}, not {at}")
    return found.replace(sympy.erfcinv, lambda x: quantile(1 - x / 2) / sympy.sqrt(2))


def shown(expr: Any) -> str:
    """An expression of one variable as it is usually written: functions without a usual name in exp and log."""
    for name in special.NAMES:
        function = getattr(special, name)
        if name not in KEPT:
            expr = expr.replace(function, function.elementary)
        elif name in ("expit", "softplus"):  # of a logarithm they are fractions
            expr = expr.replace(function, lambda x, f=function: f.elementary(x) if x.has(sympy.log) else f(x))
    spread = expr.replace(lambda e: isinstance(e, sympy.exp), sympy.expand_power_exp)
    return sympy.latex(sympy.powsimp(spread), inv_trig_style="full")


@cache
def mean_range(link: Link) -> Interval:
    """The least interval that holds the means: the limits of g⁻¹ at the ends of every piece on which it is continuous."""
    z = link.predictor
    x = sympy.Symbol("x", real=True)
    mean = special.elementary(link.mean_expression()).xreplace({z: x})
    ends = [(0 if link.positive else -sympy.oo, "+"), (sympy.oo, "-")]
    if not link.positive:
        ends += [(pole, side) for pole in poles(link) for side in "+-"]
    limits = [float(sympy.limit(mean, x, end, side)) for end, side in ends]
    return Interval(min(limits), max(limits))


def poles(link: Link) -> list[Any]:
    """The predictors at which g⁻¹ is infinite."""
    powers = special.elementary(link.mean_expression()).as_powers_dict()
    found = [pole for base, power in powers.items() if power.is_negative for pole in sympy.solve(base)]
    return [pole for pole in found if pole.is_real]


def formulas(link: Link) -> str:
    z, mean = link.predictor, link.mean_expression()
    lines = [
        (r"g(\mu)", forward(link)),
        (r"\mu = g^{-1}(z)", mean),
        (r"\frac{d\mu}{dz}", mean.diff(z)),
        (r"\frac{d^2\mu}{dz^2}", mean.diff(z, 2)),
    ]
    return r"\begin{aligned}" + r" \\ ".join(f"{left} &= {shown(right)}" for left, right in lines) + r"\end{aligned}"


def domain(link: Link) -> str:
    excluded = "".join(rf", $z \neq {sympy.latex(pole)}$" for pole in ([] if link.positive else poles(link)))
    predictors = "$z > 0$, the branch on which $g$ has one value" if link.positive else f"all real $z${excluded}"
    return f"Predictors: {predictors}. Means: $\\mu$ in {mean_range(link)}."


def in_families(link: Link, call: str) -> Iterator[str]:
    """θ and the Fisher weight of z in every family with independent outputs."""
    takes = {name: f for name, (f, _) in catalogue.family_members().items() if curves.of(f, link) is not None}
    for every in (True, False):
        rows = [
            [f"[{family.name}](../families/{name}.md)", *cells(family, link)]
            for name, family in takes.items()
            if curves.reaches(family, link) is every
        ]
        if rows:
            listed = table(["family", *HEADER], rows)
            yield listed if every else details("families of which it reaches only some means", listed)
    first = next(f for f in takes.values() if f.trials == 1 and curves.reaches(f, link))
    yield code(f">>> fg.GLM(fg.{first.name}, link={call}).link", repr(fg.GLM(first, link=link).link))


def cells(family: fg.Family, link: Link) -> list[str]:
    """The entries of the table of families and links."""
    curve = curves.of(family, link)
    assert curve is not None
    return [curve.predictors.replace(" ", NO_BREAK), inline(shown(curve.natural)), inline(shown(curve.weight))]


def of_each_family() -> Iterator[str]:
    """The canonical link: z = θ."""
    yield r"The predictor is the natural parameter, $z = \theta = g(\mu)$ with $g = (\eta')^{-1}$ of the family:"
    rows = [
        [f"[{family.name}](../families/{name}.md)", inline(shown(family.natural_expression(MU)))]
        for name, (family, _) in catalogue.family_members().items()
        if not family.joint
    ]
    yield table(["family", r"$g(\mu)$"], rows)

"""What the chapters share: the names that a normalizer's run gives to its moments, and a numeric comparison."""

from __future__ import annotations

import numpy as np
import sympy
from symbols import *  # noqa: F403
from symbols import ETA, PHI, SIZE, F, I, J, N, a, b, col, d2, e, g, h, k, k2, m, n, w, z
from sympy import Expr, Indexed, IndexedBase, Integer, Symbol, sqrt

import fishergeo as fg
from fishergeo.families import Family
from fishergeo.invariance.scaling import BLOCKS
from fishergeo.levels import Level
from fishergeo.normalizers import ZOO, Normalizer
from fishergeo.standardize import Scale
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.atoms import atoms
from fishergeo.symbolic.blocks import FisherBlock
from fishergeo.symbolic.certainty import Certificate, FalseStep
from fishergeo.symbolic.curvature import Symmetric
from fishergeo.symbolic.derivation import Derivation, Step
from fishergeo.symbolic.latex import latex
from fishergeo.symbolic.rules import Partial
from fishergeo.symbolic.sums import is_index, over
from fishergeo.transformations import Transformation

PARAMETER = {"w": w, "b": b, "g": g}
_SPELLED = {"rms norm": "RMS norm", "mean only": "mean-only"}


def spelled(text: str) -> str:
    """Titles of normalizers with their capitals and hyphens."""
    for title, written in _SPELLED.items():
        text = text.replace(title, written)
    return text


def heading(title: str) -> str:
    title = spelled(title)
    return title if title.startswith("pRMS") else title[0].upper() + title[1:]


def introduce(derivation: Derivation, normalizer: Normalizer) -> list[Step]:
    """Define what a normalizer computes, as it is usually written, and check it against a run of the package."""
    steps = []
    stages = [stage for _, stage in normalizer.stages if stage.scale is not Scale.NONE]
    for rule in atoms(normalizer).definitions:
        written = rule.right
        if str(getattr(rule.left, "base", rule.left)).startswith("sigma") and stages[0].over:
            written = _spread(rule.left, stages[0], normalizer)
        steps.append(derivation.define(rule.left, written))
        derivation.check(rule.left, rule.right, by.run_of_the_definition, steps)
    return steps


def _spread(sigma: Expr, stage: object, normalizer: Normalizer) -> Expr:
    """σ = √(Σ c²/K) over a cell, or √(Σ c²)."""
    weights = bool(normalizer.weight)
    t = w if weights else a
    layout = (h, col) if weights else (n, h)
    kept = sigma.indices if isinstance(sigma, Indexed) else ()
    bound = {index: {n: m, h: k, col: e}[index] for index in layout if index not in kept}
    entry = t[layout]
    if stage.center:
        entry = entry - IndexedBase(f"{t.label}bar", real=True)[kept]
    count = sympy.Mul(*(SIZE[{n: fg.Axis.SAMPLE, h: fg.Axis.UNIT, col: fg.Axis.INPUT}[index]] for index in bound))
    scale = count if stage.scale is Scale.STD else 1
    return sqrt(over(entry.xreplace(bound) ** 2, *bound.values()) / scale)


def known(derivation: Derivation, normalizer: Normalizer, because: by.Justification, using: list[Step]) -> list[Step]:
    """Derive what is known of the sums of a normalizer's names: means are 0, mean squares 1, and so on."""
    found = [rule for rule in atoms(normalizer).known if not isinstance(rule.right, Indexed)]
    return [derivation.step(rule.left, rule.right, because, using) for rule in found]


def fisher_definition(derivation: Derivation, row: str, column: str) -> Step:
    """Define a block of the Fisher matrix: F = 1/(Nφ) Σ_n Σ_kk' ∂z_nk/∂row_i η''_nkk' ∂z_nk'/∂column_j."""
    left = PARAMETER[row][(I, col) if row == "w" else I]
    right = PARAMETER[column][(J, d2) if column == "w" else J]
    free = [index for index in (I, J, col, d2) if index in left.free_symbols | right.free_symbols and is_index(index)]
    total = over(Partial(z[n, k], left) * Symmetric(ETA, n, k, k2) * Partial(z[n, k2], right), n, k, k2)
    return derivation.define(F[row + column][tuple(free)], total / (N * PHI))


def agrees(block: FisherBlock, family: Family, tolerance: float = 1e-12) -> Certificate:
    """Compare a block with the numeric Fisher matrix at random arrays; raises `FalseStep` if they differ."""
    samples, inputs, units = 7, 4, 5
    rng = np.random.default_rng(0)
    X = rng.normal(size=(samples, inputs))
    model = fg.GLM(family, block.normalizer, dispersion=0.7 if family.free_dispersion else 1.0)
    start = model.init(inputs=inputs, units=units, rng=rng)
    p = model.unravel(start.ravel() + 0.3 * rng.normal(size=start.size), units)
    dense = fg.fisher(model, p, X).to_dense().reshape(units, -1, units, p.size // units)
    place = {"weight": slice(inputs), "bias": inputs, "gain": inputs + 1}
    expected = dense[:, place[block.row], :, place[block.column]]
    order = [0, 2, 1, 3] if expected.ndim == 4 else [0, 2, 1] if block.row == "weight" else list(range(expected.ndim))
    gap = np.abs(block.lambdify()(model, p, X) - expected.transpose(order)).max()
    if not gap <= tolerance * np.abs(dense).max():
        raise FalseStep(f"{block} differs from the operator by {gap:.3g}")
    return Certificate(Level.NUMERIC, f"tolerance {tolerance:g}, N = {samples}, D = {inputs}, H = {units}")


def second(expr: Expr, variable: Symbol) -> Partial:
    """The second derivative at 0."""
    return Partial(Partial(expr, variable), variable, Integer(0))


def third(expr: Expr, variable: Symbol) -> Partial:
    """The third derivative at 0."""
    return Partial(Partial(Partial(expr, variable), variable), variable, Integer(0))


def scalings(transformation: Transformation) -> tuple[str, str]:
    """The laws under one transformation, each with the normalizers that have it, as LaTeX and as HTML."""
    laws: dict[tuple[tuple[Expr | str | None, ...], bool], list[str]] = {}
    for normalizer in ZOO:
        law = fg.fisher_scaling(normalizer, transformation)
        factors = tuple(law.blocks.get(name, "") for name in BLOCKS)
        laws.setdefault((factors, law.any_family), []).append(spelled(normalizer.title))
    rows, cells = [], []
    for (factors, any_family), titles in laws.items():
        star, names = "" if any_family else " *", ", ".join(titles)
        marks = ["--" if f is None else f if isinstance(f, str) else f"${latex(f)}$" for f in factors]
        rows.append(rf"\raggedright {names}{star} & " + " & ".join(marks) + r" \\")
        cells.append([names + star, *("-" if mark == "--" else mark for mark in marks)])
    head = list(BLOCKS)
    tex = "\n".join(
        [
            r"\renewcommand{\arraystretch}{1.5}",
            r"\begin{tabular}{p{80mm}cccccc}",
            r"\hline",
            " & ".join(["", *head]) + r" \\",
            r"\hline",
            *rows,
            r"\hline",
            r"\end{tabular}",
        ]
    )
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in (["", *head], *cells))
    return tex, f"<table>{body}</table>"

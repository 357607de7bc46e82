"""Natural gradients, and what the approximations of the Fisher matrix make of them."""

from __future__ import annotations

import html
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import generator
from ..families import Floats
from ..model import GLM, Params
from .approximations import diagonal_fisher, difference, empirical_fisher, kfac, monte_carlo_fisher, per_unit_fisher
from .matrices import fisher
from .operator import Metric


def natural_gradient(model: GLM, p: Params, X: ArrayLike, Y: ArrayLike, damping: float = 0.0) -> Floats:
    """(F + damping·I)⁻¹ ∇ of the mean log-likelihood, a flat vector (P,); with ``damping=0`` F⁺∇.

    Raises what `fisher`, `GLM.gradient` and `Metric.solve` raise.  Source: Amari 1998, Neural Computation 10(2).
    """
    return fisher(model, p, X).solve(model.gradient(p, X, Y), damping)


@dataclass(frozen=True)
class Row:
    """One matrix: its relative errors, the time to build it and solve once, and the peak of memory that took."""

    name: str
    gap: float
    solve_gap: float
    seconds: float
    bytes: int

    def texts(self) -> tuple[str, ...]:
        return self.name, f"{self.gap:.3g}", f"{self.solve_gap:.3g}", f"{self.seconds:.2g}", f"{self.bytes / 2**20:.2g}"


HEAD = ("matrix", "gap", "gap of the step", "seconds", "MiB")


@dataclass(frozen=True)
class Comparison:
    """Approximations of the Fisher matrix of one model: ‖A - F‖/‖F‖, and the same for (A + damping·I)⁻¹g."""

    rows: tuple[Row, ...]
    what: str
    damping: float

    def __getitem__(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    def __repr__(self) -> str:
        table = [HEAD, *(row.texts() for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*table)]
        lines = [f"{self.what}, damping {self.damping:g}"]
        for name, *numbers in table:
            lines.append("  ".join([name.ljust(widths[0]), *(t.rjust(w) for t, w in zip(numbers, widths[1:]))]))
        return "\n".join(lines)

    def to_markdown(self) -> str:
        """The table in Markdown."""
        lines = [HEAD, ("---",) * len(HEAD), *(row.texts() for row in self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def _repr_html_(self) -> str:
        def line(tag: str, texts: tuple[str, ...]) -> str:
            return f"<tr>{''.join(f'<{tag}>{html.escape(text)}</{tag}>' for text in texts)}</tr>"

        body = "".join(line("td", row.texts()) for row in self.rows)
        return f"<table><thead>{line('th', HEAD)}</thead><tbody>{body}</tbody></table>"


def compare_approximations(
    model: GLM,
    p: Params,
    X: ArrayLike,
    Y: ArrayLike,
    damping: float = 1e-3,
    rng: np.random.Generator | int | None = None,
    draws: int = 1,
) -> Comparison:
    """Every approximation against the exact Fisher matrix F: errors of the matrix and of the natural gradient at Y.

    The errors are ‖A - F‖/‖F‖ and ‖x - y‖/‖y‖ for x = (A + damping·I)⁻¹g and y the same with F, g the gradient.  Each
    matrix is built twice, for its time and for its memory.  ``rng`` and ``draws`` are those of `monte_carlo_fisher`.
    """
    gradient, source = model.gradient(p, X, Y), generator("compare_approximations", rng)
    seed = int(source.integers(2**32))
    makers: dict[str, Callable[[], Metric]] = {
        "exact": lambda: fisher(model, p, X),
        "eq. (13)": lambda: per_unit_fisher(model, p, X),
        "K-FAC": lambda: kfac(model, p, X),
        "diagonal": lambda: diagonal_fisher(model, p, X),
        f"Monte Carlo, {draws} draw{'s' * (draws != 1)}": lambda: monte_carlo_fisher(model, p, X, seed, draws),
        "empirical": lambda: empirical_fisher(model, p, X, Y),
    }
    F = makers["exact"]()
    y, size = F.solve(gradient, damping), F.norm()
    if not np.any(y):
        raise ArithmeticError(
            "the gradient vanishes, so no error of a step is relative to it: compare before training ends"
        )
    rows = []
    for name, make in makers.items():
        start = time.perf_counter()
        A = make()
        x = A.solve(gradient, damping)
        seconds = time.perf_counter() - start
        step = np.linalg.norm(x - y) / np.linalg.norm(y)
        rows.append(Row(name, difference(A, F) / size, float(step), seconds, _peak(make, gradient, damping)))
    return Comparison(tuple(rows), F.what.removeprefix("exact (expected), "), damping)


def _peak(make: Callable[[], Metric], v: Floats, damping: float) -> int:
    """The most memory, in bytes, that building a matrix and solving with it takes beyond what there is."""
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        make().solve(v, damping)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        if not tracing:
            tracemalloc.stop()

"""Root Mean Square Layer Normalization: the statements of Zhang and Sennrich."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import normalizers
from .. import transformations as tr
from ..axes import Axis, Site
from ..normalizers import Normalizer
from ..standardize import root
from ..transformations import State, Transformation
from .arrays import at_zero, generic_run, moments, one_unit, only_unit_j, path, rationals, symbols
from .core import Condition, Evidence, Fact, Inconclusive, Level, Paper, claim, decide
from .facts import eps_condition, fails, gain_column, identity, row_facts, sign_condition, table_facts

ZHANG = Paper("Zhang, Sennrich", 2019, "Root Mean Square Layer Normalization", "1910.07467")

_RMS = normalizers.rms_norm


def partial_rms(state: State, part: Any, count: Any) -> Any:
    """pRMS norm: A over the root mean square of those units of a case that ``part`` (0 or 1 for each) selects."""
    A = state.X @ state.W.swapaxes(0, 1)
    return A / root((A * A * part).sum(axis=(1,), keepdims=True) / count)


def partial_invariance(transformation: Transformation, mark: str) -> Fact:
    """That pRMS norm does not change (✓), by a proof for all sizes and parts, or can change (✗), by exact numbers."""
    import sympy

    from ..symbolic.exact import differs
    from ..symbolic.indexed import generic_state, generic_value
    from .facts import vanishes

    part, count = symbols("m", Site.SUMMED, Axis.UNIT), sympy.Symbol("k", positive=True)
    start = generic_state()
    moved = transformation.act(start, [generic_value(p) for p in transformation.parameters])
    if vanishes(partial_rms(moved, part, count).expr - partial_rms(start, part, count).expr):
        text = f"pRMS norm under {transformation.title}: invariant, proved for all sizes and parts"
        return Fact(text, mark == "✓", Level.PROVED)
    exact = State(rationals([[1, 2], [3, -1], [0, 1]]), rationals([[1, 0], [1, 1], [2, -1]]))
    sizes = {Axis.SAMPLE: 3, Axis.INPUT: 2, Axis.UNIT: 3}
    values = []
    for parameter in transformation.parameters:
        shape = [sizes[axis] if axis in parameter.axes else 1 for axis in parameter.site.layout(2)]
        value = np.full(shape, int(parameter.positive), dtype=int)
        value.flat[0] = 2
        values.append(rationals(value))
    first_two = rationals([[1, 1, 0]])
    before, after = (partial_rms(s, first_two, 2) for s in (exact, transformation.act(exact, values)))
    for place in np.ndindex(before.shape):
        if differs(before[place], after[place]):
            text = f"pRMS norm, 2 of 3 units, under {transformation.title}: {before[place]} becomes {after[place]}"
            return Fact(text, mark == "✗", Level.EXACT, negative=True)
    raise Inconclusive(f"pRMS norm under {transformation.title}: neither proved nor refuted")


@claim(
    "RMS-T",
    ZHANG,
    "table of invariances",
    "Invariance of RMS norm and pRMS norm under weight matrix re-scaling, weight matrix re-centering, weight vector "
    "re-scaling, dataset re-scaling, dataset re-centering and single training case re-scaling, in this order: "
    "yes no no yes "
    "no yes.",
)
def table(marks: str = "✓✗✗✓✗✓") -> Evidence:
    partial = [(partial_invariance(t, mark), mark) for t, mark in zip(tr.PAPER, marks, strict=True)]
    witnesses = [fact for fact, _ in partial if fact.negative]
    return decide(
        *table_facts({_RMS: marks}),
        *row_facts("pRMS norm (statistics from any k units)", partial),
        needs=[sign_condition(_RMS), eps_condition(_RMS)],
        also=witnesses if all(fact for fact, _ in partial) else (),
    )


@claim(
    "RMS-grad",
    ZHANG,
    "eq. (8)-(10)",
    r"$\frac{\partial L}{\partial g} = \frac{\partial L}{\partial v} \odot \frac{W x}{\mathrm{RMS}(a)}$, and the "
    r"gradient of "
    r"$W$ passes through $R = \frac{1}{\mathrm{RMS}(a)} \big(I - \frac{(W x)(W x)^\top}{n\, "
    r"\mathrm{RMS}(a)^2}\big)$, which is "
    r"$R/\delta$ when $x$ or $W$ is scaled by $\delta$.",
)
def gradients(normalizer: Normalizer = _RMS) -> Evidence:
    import sympy

    from ..invariance.chain import Run
    from ..symbolic.sums import INDEX, SIZE, J

    run = generic_run(_RMS)
    _, rms = moments(run)
    other = run.A.expr.xreplace({INDEX[Axis.UNIT]: J})
    dA = run.Xhat @ symbols("v", Site.WEIGHT, Axis.INPUT).swapaxes(0, 1)
    R = (only_unit_j().swapaxes(0, 1) - run.A * other / (rms * rms * SIZE[Axis.UNIT])) / rms
    moving, t = path(normalizer, one_unit())
    G = symbols("G")
    scaled: list[Any] = []
    signed: list[Any] = []
    for change in (tr.weight_matrix_rescaling, tr.dataset_rescaling):
        for sign, found in ((False, scaled), (True, signed)):
            pair = Run.of(_RMS, change, signed=sign)
            (before,), (after,) = pair.before.summed, pair.after.summed
            delta = sympy.Symbol("delta", **({"real": True, "nonzero": True} if sign else {"positive": True}))
            found.append(after.tangent(G) * delta - before.tangent(G))
    return decide(
        gain_column(normalizer),
        identity(
            "∂â/∂a = R by differentiating the definition",
            at_zero(moving.value, t) - R * dA,
        ),
        identity("R becomes R/δ when W or X is scaled by δ > 0", *scaled),
        needs=[Condition("δ > 0", fails(identity("R becomes R/δ for δ of either sign (it becomes R/|δ|)", *signed)))],
    )

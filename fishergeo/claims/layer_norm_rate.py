"""Layer Normalization: what Ba, Kiros and Hinton state about the norm of the weights as a learning rate."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from .. import families, normalizers
from .. import transformations as tr
from ..axes import Site
from ..model import Params
from .arrays import exact_gaussian_fisher, exact_model, generic_run, only_unit_j, rationals, symbols
from .core import Correction, Evidence, Level, claim, decide
from .facts import exactly, identity, slope
from .layer_norm import BA
from .models import random_model

_BN, _WN, _LN = normalizers.batch_norm, normalizers.weight_norm, normalizers.layer_norm
BLOCKS = {"ww": Fraction(1, 4), "wb": Fraction(1, 2), "wg": Fraction(1, 2), "bb": 1, "bg": 1, "gg": 1}


@claim(
    "LN-half",
    BA,
    "section 5.2.2",
    r"If the norm of the weight vector $w_i$ grows twice as large, the curvature along the $w_i$ direction changes by a "
    r"factor of $\frac12$, because $\sigma_i$ is also twice as large.",
)
def half(factor: Any = Fraction(1, 2)) -> Evidence:
    from ..invariance.scaling import fisher_scaling

    each, whole = tr.weight_vector_rescaling, tr.weight_matrix_rescaling
    laws = {n: fisher_scaling(n, change).at(2) for n, change in ((_BN, each), (_WN, each), (_LN, whole))}
    twice = [
        exact_gaussian_fisher(exact_model(_BN, [[1, 2], [0, 1], [3, -1], [2, 2]], [w, [2, -1], [0, 3]]))[0, 0]
        for w in ([1, 1], [2, 2])
    ]
    return decide(
        *(
            exactly(
                f"{n.title}: the block ww changes by {{left}}, not by {{right}}, for all sizes",
                law["ww"],
                rationals(factor),
                Level.PROVED,
            )
            for n, law in laws.items()
        ),
        instead=Correction(
            r"When all weights double, the block $ww$ of $\bar F$ changes by $\frac14$, $wb$ and $wg$ by $\frac12$, "
            r"$bb$, $bg$ and $gg$ by $1$ (when $w_i$ alone doubles, under batch and weight norm, so do the blocks of "
            r"unit $i$ with itself); $\frac12$ is the factor of the length $ds$ of a step of $w_i$. Under batch and "
            r"weight norm the curvature along $w_i$ itself is exactly 0, before and after.",
            (
                exactly(
                    "all three: ww changes by 1/4, wb and wg by 1/2, bb, bg and gg by 1",
                    [[law[name] for name in BLOCKS] for law in laws.values()],
                    rationals(list(BLOCKS.values())),
                    Level.PROVED,
                ),
                identity(
                    "batch and weight norm: the curvature along w_i itself is 0",
                    *(generic_run(n).jvp(symbols("w", Site.WEIGHT) * only_unit_j()) for n in (_BN, _WN)),
                ),
            ),
            also=(
                exactly(
                    "in numbers, batch norm on X = [[1,2],[0,1],[3,-1],[2,2]]: the entry (w_11, w_11) is "
                    f"{twice[0]} at w_1 = (1,1) and {{left}} at (2,2)",
                    twice[1],
                    twice[0] / 4,
                ),
            ),
        ),
    )


@claim(
    "LN-orient",
    BA,
    "section 5.2.2",
    "The norm of the weight vector effectively controls its learning rate: it is harder to change the orientation of a "
    "weight vector with a large norm.",
)
def orientation(exponent: int = -2) -> Evidence:
    from ..invariance.chain import Run
    from ..invariance.scaling import fisher_scaling

    facts, power = [], Fraction(2) ** exponent
    for n, change in (
        (_BN, tr.weight_vector_rescaling),
        (_WN, tr.weight_vector_rescaling),
        (_LN, tr.weight_matrix_rescaling),
    ):
        metric = fisher_scaling(n, change).at(2)["ww"]
        facts.append(
            exactly(
                f"{n.title}: the squared length of a fixed step of w changes by {{left}} when ‖w‖ doubles",
                metric,
                rationals(power),
                Level.PROVED,
            )
        )
        run, G = Run.of(n, tr.weight_matrix_rescaling), symbols("G")
        facts.append(
            identity(
                f"{n.title}: the gradient at δw is the gradient at w over δ",
                run.after.vjp(G) * _delta() - run.before.vjp(G),
            )
        )
    rng, angles = np.random.default_rng(15), []
    model, p, X = random_model(families.bernoulli, _BN, rng)
    Y = model.sample(p, X, rng)
    for c in (1.0, 4.0, 16.0):
        W = c * p.weight
        step = 1e-3 * model.unravel(model.gradient(Params(W, p.bias, p.gain), X, Y), p.units).weight
        cosine = ((W + step) * W).sum(axis=1) / np.linalg.norm(W, axis=1) / np.linalg.norm(W + step, axis=1)
        sine = np.linalg.norm(step, axis=1) / np.linalg.norm(W + step, axis=1)
        angles.append(np.arctan2(sine, cosine).mean())
    text = "batch norm, Bernoulli: one gradient step turns w by an angle ∝ ‖w‖^{slope}"
    return decide(*facts, also=[slope(text, (1, 4, 16), angles, -2, 0.01)])


def _delta() -> Any:
    import sympy

    return sympy.Symbol("delta", positive=True)

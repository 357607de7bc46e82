"""Weight Normalization: the statements of Salimans and Kingma."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import normalizers
from ..axes import Axis, Site
from .arrays import at_zero, generic_run, moments, path, rationals, symbols
from .core import Evidence, Paper, claim, decide
from .facts import exactly, identity, measured, unequal

SALIMANS = Paper("Salimans, Kingma", 2016, "Weight Normalization", "1602.07868")

_WN, _BN = normalizers.weight_norm, normalizers.batch_norm


def _gradient(factor: int = 1) -> tuple[Any, Any, Any, Any]:
    """v, g, ∇_w and ∇_v = (g/‖v‖) M_w ∇_w with M_w = I - ww'/‖w‖², w = g v/‖v‖, for generic v of every unit."""
    v, g, G = symbols("w", Site.WEIGHT), symbols("g", Site.WEIGHT, Axis.UNIT), symbols("G", Site.WEIGHT)
    w = generic_run(_WN).What * g
    along = (w * G).sum(axis=1) / (w * w).sum(axis=1)
    return v, g, G, (G - w * along * factor) * g / _norm()


def _norm() -> Any:
    """‖v‖ of every unit, as a column."""
    return moments(generic_run(_WN))[1].swapaxes(0, 1)


@claim(
    "WN-grad",
    SALIMANS,
    "eq. (3)-(4)",
    r"$\nabla_g L = \frac{\nabla_w L \cdot v}{\lVert v \rVert}$, $\nabla_v L = \frac{g}{\lVert v \rVert} \nabla_w "
    r"L - \frac{g "
    r"\nabla_g L}{\lVert v \rVert^2} v = \frac{g}{\lVert v \rVert} M_w \nabla_w L$ with $M_w = I - \frac{w w'}{\lVert w "
    r"\rVert^2}$.",
)
def gradients(factor: int = 1) -> Evidence:
    v, g, G, gradient = _gradient(factor)
    grad_g = (G * v).sum(axis=1) / _norm()
    u = symbols("u", Site.WEIGHT)
    moving, t = path(_WN, u)
    change = (at_zero(moving.What, t) * g * G).sum(axis=1)
    return decide(
        identity(
            "dL along any change of v is ∇_v L · dv, by differentiating w = g v/‖v‖", change - (gradient * u).sum(axis=1)
        ),
        identity("∇_g L = ∂w/∂g · ∇_w L", (generic_run(_WN).What * G).sum(axis=1) - grad_g),
        identity("eq. (3) and eq. (4) agree", G * g / _norm() - v * g * grad_g / (_norm() * _norm()) - gradient),
    )


@claim(
    "WN-growth",
    SALIMANS,
    "section 2.1",
    r"With standard gradient descent (without momentum) $\Delta v$ is orthogonal to $v$, so $\lVert v' \rVert = "
    r"\sqrt{1 + c^2}\, "
    r"\lVert v \rVert$ with $c = \lVert \Delta v \rVert/\lVert v \rVert$.",
)
def growth(momentum: Any = 0) -> Evidence:
    import sympy

    v, _, _, gradient = _gradient()
    eta, buffer = sympy.Symbol("eta", positive=True), symbols("u", Site.WEIGHT)
    step = (gradient + buffer * momentum) * eta
    moved = v - step
    start, last, grown = two_steps(sympy.Rational(1, 2))
    text = f"with momentum 1/2 it fails: in the second step, from v = {start}, ‖v'‖² = {{left}}, (1 + c²)‖v‖² = {{right}}"
    return decide(
        identity("∇_v L · v = 0", (gradient * v).sum(axis=1)),
        identity(
            "‖v + Δv‖² = ‖v‖² + ‖Δv‖² for Δv = -η∇_v L",
            (moved * moved).sum(axis=1) - (v * v).sum(axis=1) - (step * step).sum(axis=1),
        ),
        also=[unequal(text, grown, last)],
    )


def two_steps(momentum: Any) -> tuple[list[Any], Any, Any]:
    """The second of two steps on L = w_1, w = v/‖v‖, from v = (3, 4): v before it, (1 + c²)‖v‖² and ‖v'‖², exact."""
    import sympy

    G, v = rationals([1, 0]), rationals([3, 4])
    eta, velocity = sympy.Rational(125, 4), rationals([0, 0])
    for _ in range(2):
        square, start = v @ v, v
        velocity = velocity * momentum + (G - v * (v @ G) / square) / sympy.sqrt(square)
        v = v - velocity * eta
    step = v - start
    return start.tolist(), sympy.expand(square + step @ step), sympy.expand(v @ v)


@claim(
    "WN-BN",
    SALIMANS,
    "section 2.2",
    r"If the network has a single layer and its inputs are whitened, $\mu[t] = 0$ and $\sigma[t] = \lVert v "
    r"\rVert$: batch "
    "normalization of the pre-activations is then equivalent to weight normalization.",
)
def whitened(variance: Any = 1) -> Evidence:
    import sympy

    from ..symbolic.sums import INDEX, SIZE, total

    n, d, f, N = INDEX[Axis.SAMPLE], INDEX[Axis.INPUT], sympy.Symbol("f", integer=True), SIZE[Axis.SAMPLE]
    run = generic_run(_BN)
    x, w = run.Xhat.expr, symbols("w", Site.WEIGHT).expr
    mean = total(x, n) / N
    other, w_f = (x - mean).xreplace({d: f}), w.xreplace({d: f})
    covariance = total((x - mean) * other, n) / N
    square = total(total(w * w_f * covariance, f), d)
    unit = total(total(w * w_f * sympy.KroneckerDelta(d, f) * variance, f), d)
    mu, sigma = moments(run)
    white = [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    W = rationals([[1, 2, -1], [0, 3, 1], [2, 2, 5]])
    pair = [normalizer(rationals(white), W).value for normalizer in (_BN, _WN)]
    skew = [normalizer(rationals([[1, 1, 1], [2, 0, 1], [0, 0, 3], [5, 1, 0]]), W).value for normalizer in (_BN, _WN)]
    batch, weight = (array.astype(float) for array in skew)
    gap = float(np.linalg.norm(batch - weight) / np.linalg.norm(weight))
    return decide(
        identity("μ[t] = v·E[x]", mu.expr - total(w * mean, d)),
        identity("σ[t]² = v' Cov[x] v", (sigma * sigma).expr - square),
        identity("which is ‖v‖² when Cov[x] = I", unit - (_norm() * _norm()).expr),
        also=[
            exactly("on four whitened cases BN and WN agree exactly, {left} = {right}", *pair),
            unequal(
                "on four cases that are not whitened the first entry is {left} for BN and {right} for WN",
                skew[0][0, 0],
                skew[1][0, 0],
            ),
            measured(f"there the two differ by {100 * gap:.0f} %", gap > 0),
        ],
    )


@claim(
    "WN-init",
    SALIMANS,
    "section 3",
    r"With $t = v \cdot x/\lVert v \rVert$, the initialization $g \leftarrow 1/\sigma[t]$, $b \leftarrow "
    r"-\mu[t]/\sigma[t]$ gives "
    "all features zero mean and unit variance on the initial minibatch.",
)
def initialization(bias_sign: int = -1) -> Evidence:
    from ..symbolic.sums import SIZE

    N, t = SIZE[Axis.SAMPLE], generic_run(_WN).value
    mean = t.sum(axis=0) / N
    sigma = (((t - mean) * (t - mean)).sum(axis=0) / N).sqrt()
    y = t / sigma + mean / sigma * bias_sign
    X, other, W = rationals([[1, 2], [0, 1], [3, -1]]), rationals([[2, 2], [1, 0], [4, 1]]), rationals([[3, 4]])
    first, second = (_WN(batch, W).value for batch in (X, other))
    centre = first.sum() / 3
    return decide(
        identity("E[y] = 0 on that minibatch", y.sum(axis=0)),
        identity("E[y²] = 1 on that minibatch", (y * y).sum(axis=0) - N),
        also=[
            unequal(
                "on another minibatch the mean is μ'[t] - μ[t] over σ[t], here {left} over σ[t]",
                second.sum() / 3 - centre,
                0,
            )
        ],
    )


@claim(
    "WN-mobn",
    SALIMANS,
    "section 4",
    r"Mean-only batch normalization $\tilde t = t - \mu[t] + b$ has the gradient $\nabla_t L = \nabla_{\tilde t} "
    r"L - \mu[\nabla_{"
    r"\tilde t} L]$.",
)
def mean_only(factor: int = 1) -> Evidence:
    from ..symbolic.sums import SIZE

    u, G = symbols("u", Site.WEIGHT), symbols("G")
    moving, t = path(normalizers.mean_only_batch_norm, u)
    gradient = G - G.sum(axis=0) / SIZE[Axis.SAMPLE] * factor
    dA = generic_run(normalizers.identity).Xhat @ u.swapaxes(0, 1)
    change = (at_zero(moving.value, t) * G).sum(axis=0) - (gradient * dA).sum(axis=0)
    return decide(
        identity("dL along any change of v is Σ_n (∇ - μ[∇])_n dt_n, by differentiating the definition", change)
    )

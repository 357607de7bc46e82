"""How Does Batch Normalization Help Optimization?: the lemma of Santurkar et al. on the initialization.

Dannemann and Junike 2025, arXiv 2502.17913, refute it by a network without bias; here is what it needs, and what each
condition is needed for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import normalizers
from .. import transformations as tr
from ..axes import Axis, Site
from .arrays import moments, rationals, symbols
from .core import Condition, Correction, Evidence, Fact, Level, claim, decide
from .facts import exactly, identity, unequal
from .optimization import SANTURKAR

_BN = normalizers.batch_norm


def gradient_on_the_ray(X: Any, W: Any, Y: Any, mean: Any, slope: int = 1, shift: Any = 0) -> Any:
    """The gradient in W (1, D) under batch norm with gain slope·σ and bias μ + shift of its summed inputs; all exact.

    With slope 1 and shift 0 the network is the plain one at W, without bias.
    """
    import sympy

    at = _BN(X, W)
    (stage,) = at.summed
    Z = at.value * stage.sigma * slope + stage.mean + shift
    means = np.vectorize(lambda z: mean(sympy.expand(z)), otypes=[object])(Z)
    return np.vectorize(sympy.radsimp, otypes=[object])(at.vjp((means - Y) * stage.sigma * slope))


def fixed_gain_and_bias() -> Fact:
    """Poisson outputs fitted exactly, with the gain 2σ* or the bias b* + μ* + log 2: W* is no optimum."""
    import sympy

    X, W = rationals([[0, 0], [1, 1], [2, 0]]), np.array([[sympy.log(2), sympy.Integer(0)]], object)
    Y = rationals([[1], [2], [4]])
    own, gain, bias = (
        gradient_on_the_ray(X, W, Y, sympy.exp, slope, shift)[0] for slope, shift in ((1, 0), (2, 0), (1, sympy.log(2)))
    )
    text = (
        f"Poisson outputs (1,2,4), x = (0,0), (1,1), (2,0), fitted exactly by W* = (log 2, 0), b* = 0: at W_0 = W* the "
        f"bound is 0, but under batch norm the gradient there is {gain.tolist()} with the gain 2σ* and {bias.tolist()} "
        f"with the bias b* + μ* + log 2"
    )
    return Fact(text, not any(own) and any(gain) and any(bias), Level.EXACT)


def without_bias() -> Fact:
    """Least squares without a bias, batch norm with the best gain and bias: W* is no optimum."""
    import sympy

    X, W, Y = rationals([[1, 0], [0, 1], [1, 1]]), rationals([[2, -1]]), rationals([[3], [0], [0]])
    plain = (X @ W.T - Y).T @ X
    a, y = X @ W.T - (X @ W.T).sum() / 3, Y - Y.sum() / 3
    slope = (a * y).sum() / (a * a).sum()
    mean = (X @ W.T).sum() / 3
    found = gradient_on_the_ray(X, W, Y, sympy.sympify, slope, Y.sum() / 3 - mean)[0]
    text = (
        "least squares without bias on x = (1,0), (0,1), (1,1), y = (3,0,0) has the optimum W* = (2,-1): at W_0 = W* the "
        f"bound is 0, but under batch norm, with the best gain and bias for W*, the gradient there is {found.tolist()}"
    )
    return Fact(text, not plain.any() and any(found), Level.EXACT)


def opposite_start() -> Fact:
    """Gaussian outputs on four white cases: the optima are (k, 0), k > 0, and W_0 on the other side is too far."""
    import sympy

    p, q = sympy.symbols("p q", real=True)
    X = rationals([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    Z = _BN(X, np.array([[p, q]], object)).value[:, 0]
    loss = sympy.simplify(((Z - X[:, 0]) ** 2).sum() / 2)
    stated = sympy.simplify(loss - 4 + 4 * p / sympy.sqrt(p**2 + q**2)) == 0
    below, beside = _bound(1, -1, 1), _bound(1, 0, 1)
    text = (
        "Gaussian outputs y = x_1 on x = (±1,±1), W* = (1,0), b* = 0, γ = σ* = 1: the loss under batch norm is "
        "4 - 4 cos of the angle to W*, so that its optima are (k,0), k > 0; from W_0 = (-1,0) all are farther than 1, "
        f"the bound is {below}; from W_0 = (0,1) too, where the bound is {beside}"
    )
    return Fact(text, bool(stated and below <= 1 and beside <= 1), Level.EXACT)


def _bound(start: Any, inner: Any, square: Any, sign: int = 1) -> Any:
    """The stated bound on ‖W_0 - Ŵ*‖², of ‖W_0‖², ⟨W*,W_0⟩ and ‖W*‖²."""
    import sympy

    return start - 2 * inner + square - sign * sympy.sympify(square - inner) ** 2 / square


@claim(
    "SAN-4.5",
    SANTURKAR,
    "lemma 4.5",
    r"For any initialization $W_0$, $\lVert W_0 - \hat W^* \rVert^2 \le \lVert W_0 - W^* \rVert^2 - \frac{1}{\lVert W^* "
    r"\rVert^2} \big(\lVert W^* \rVert^2 - \langle W^*, W_0 \rangle\big)^2$, where $\hat W^*$ and $W^*$ are the local "
    r"optima of the weights closest to $W_0$, with and without batch norm ($\gamma$ and $\beta$ constant).",
)
def initialization(sign: int = 1) -> Evidence:
    import sympy

    from ..invariance.chain import Run

    w, b, g = symbols("w", Site.WEIGHT), *(symbols(name, Site.SUMMED, Axis.UNIT) for name in "bg")
    scaled, flipped = (Run.of(_BN, change) for change in (tr.weight_vector_rescaling, tr.sign_flip))
    run = scaled.before
    mean, sigma = moments(run)
    plain, X = run.A + b, run.Xhat
    effective = X @ (w * (g / sigma).swapaxes(0, 1)).swapaxes(0, 1) + b - g * mean / sigma
    start, inner, square, k = sympy.symbols("start inner square k")
    distance, nearest = start - 2 * k * inner + k**2 * square, inner / square
    values = [distance.diff(k), distance - _bound(start, inner, square, sign)]
    one, each = sum((v - 2 * u) ** 2 for v, u in ((1, 1), (3, 1))), sum((v - u) ** 2 for v, u in ((1, 1), (3, 3)))
    return decide(
        identity(
            "batch norm (W, γ, β) is the plain network with the weights γ_i w_i/σ_i and the biases β_i - γ_i μ_i/σ_i, a "
            "continuous map, so that what it takes to a local optimum (W*, b*) is one",
            run.value * g + b - effective,
        ),
        identity(
            "it takes (k_i w*_i, σ*_i, b*_i + μ*_i) to (W*, b*) for all k_i > 0",
            scaled.after.value * sigma + mean + b - plain,
        ),
        exactly(
            "‖W_0 - kW*‖² is smallest at k = ⟨W*,W_0⟩/‖W*‖², where it is the bound: the difference is {left}",
            [*(sympy.expand(value.subs(k, nearest)) for value in values), distance.diff(k, 2) - 2 * square],
            0,
            Level.PROVED,
        ),
        needs=[
            Condition("⟨W*,W_0⟩ > 0", opposite_start(), sourced=True),
            Condition("W* is optimal together with the biases b*", without_bias()),
            Condition("γ and β are fitted, or happen to be σ* and b* + μ*", fixed_gain_and_bias()),
        ],
        instead=Correction(
            r"If $(W^*, b^*)$ is a local optimum in weights and biases and $\sigma^* > 0$, then "
            r"$(kW^*, \gamma = \sigma^*, \beta = b^* + \mu^*)$ is one under batch norm for every $k > 0$, so that the "
            r"bound holds for $\langle W^*, W_0 \rangle > 0$. It is an equality if no optimum is closer to $W_0$ than "
            r"$kW^*$, $k = \frac{\langle W^*, W_0 \rangle}{\lVert W^* \rVert^2}$; with several units, where each "
            r"$w^*_i$ has a $k_i$ of its own, in general one is. For $\langle W^*, W_0 \rangle < 0$ it holds if the "
            r"gain may be $-\sigma^*$.",
            (
                identity(
                    "(-w*_i, -σ*_i, b*_i + μ*_i) is taken to (W*, b*) too",
                    flipped.after.value * sigma * -1 + mean + b - plain,
                ),
            ),
            also=(
                unequal(
                    "two units, W* = I, W_0 = diag(1, 3): the nearest kW* has the squared distance {left}, the nearest "
                    "diag(k_1, k_2) {right}",
                    one,
                    each,
                ),
            ),
        ),
    )

"""Weight standardization, group and instance normalization, and the backward pass of layer norm."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from .. import normalizers
from ..axes import Axis, Site
from ..standardize import Standardize
from .arrays import at_zero, generic_run, path, rationals, symbols
from .core import Condition, Evidence, Paper, claim, decide
from .facts import identical, identity, unequal

QIAO = Paper("Qiao et al.", 2019, "Weight Standardization", "1903.10520")
WU = Paper("Wu, He", 2018, "Group Normalization", "1803.08494")
XU = Paper("Xu et al.", 2019, "Understanding and Improving Layer Normalization", "1911.07013")

_WEIGHTS = (Axis.UNIT, Axis.INPUT)


@claim(
    "WS-grad",
    QIAO,
    "",
    r"The gradient passes through $\hat W = \frac{W - \mu}{\sigma}$ by two projections, $\nabla_{\dot W} L = "
    r"\frac1\sigma "
    r"\big(\nabla_{\hat W} L - \frac{1}{I} \langle \hat W, \nabla_{\hat W} L \rangle \hat W\big)$ and $\nabla_W L "
    r"= \nabla_{\dot "
    r"W} L - \frac1I \langle 1, \nabla_{\dot W} L \rangle 1$, and its norm does not grow.",
)
def weight_standardization(weight: int = 1) -> Evidence:
    from ..symbolic.sums import SIZE

    count, u, G = SIZE[Axis.INPUT], symbols("u", Site.WEIGHT), symbols("G", Site.WEIGHT)
    (stage,) = generic_run(normalizers.weight_standardization).weight
    assert stage.sigma is not None
    moving, t = path(normalizers.weight_standardization, u)
    first = (G - stage.value * (stage.value * G).sum(axis=1) * weight / count) / stage.sigma
    second = first - first.sum(axis=1) / count
    change = (at_zero(moving.What, t) * G).sum(axis=1) - (second * u).sum(axis=1)
    ones, own = G.sum(axis=1), (stage.value * G).sum(axis=1)
    square = ((G * G).sum(axis=1) - ones * ones / count - own * own / count) / (stage.sigma * stage.sigma)
    W, gradient = (
        rationals([[Fraction(1, 2), Fraction(1, 2), Fraction(-1, 2), Fraction(-1, 2)]]),
        rationals([[1, -1, 1, -1]]),
    )
    passed = Standardize(Axis.INPUT)(W, _WEIGHTS).tangent(gradient)
    return decide(
        identity("dL along any dW is ∇_W L · dW, by differentiating the definition", change),
        identity("‖∇_W L‖² = (‖∇‖² - ⟨1,∇⟩²/I - ⟨Ŵ,∇⟩²/I)/σ², at most ‖∇‖²/σ²", (second * second).sum(axis=1) - square),
        needs=[
            Condition(
                "σ ≥ 1",
                unequal(
                    "W = ½(1,1,-1,-1) has σ = ½: the gradient (1,-1,1,-1) of squared norm {right} comes out with {left}",
                    (passed**2).sum(),
                    (gradient**2).sum(),
                ),
            )
        ],
    )


@claim(
    "GN-special",
    WU,
    "",
    "Group norm is layer norm when there is one group and instance norm when each channel is a group; instance "
    "norm is batch "
    r"norm on one case, and $\mathrm{BN}(A) = \mathrm{LN}(A^\top)^\top$ ($\epsilon$, gain and bias aside).",
)
def group_norm(groups: tuple[int, int] = (1, 3)) -> Evidence:
    import sympy

    layout, cases = (Axis.SAMPLE, Axis.POSITION, Axis.UNIT), (Axis.SAMPLE, Axis.UNIT)
    A, a = np.array(sympy.symbols("a:18", real=True), object).reshape(2, 3, 3), symbols("a")

    def over(array: Any, *axes: Axis) -> Any:
        return Standardize(axes)(array, layout).value

    def grouped(count: int) -> Any:
        parts = [over(part, Axis.POSITION, Axis.UNIT) for part in np.split(A, count, axis=-1)]
        return np.concatenate(parts, axis=-1)

    turned = Standardize(Axis.UNIT)(a.swapaxes(0, 1), cases).value.swapaxes(0, 1)
    return decide(
        identical("G = 1 is layer norm over positions and units", grouped(groups[0]), over(A, Axis.POSITION, Axis.UNIT)),
        identical("G = H is instance norm", grouped(groups[1]), over(A, Axis.POSITION)),
        identical(
            "instance norm is batch norm on one case (all at N = 2, S = 3, H = 3)",
            over(A[:1], Axis.POSITION),
            over(A[:1], Axis.SAMPLE, Axis.POSITION),
        ),
        identity("BN(A) = LN(Aᵀ)ᵀ for all sizes", Standardize(Axis.SAMPLE)(a, cases).value - turned),
    )


@claim(
    "XU-1",
    XU,
    "theorem 1",
    r"Let $g = \partial \ell/\partial y$ have mean $\bar g$ and variance $D_g$. The gradients of $x$ under layer "
    r"norm, with the "
    r"derivative of $\sigma$ detached, with that of $\mu$ detached, and with both, have the means $0$, $0$, $\bar "
    r"g/\sigma$, "
    r"$\bar g/\sigma$ and the variances $D$, $D_g/\sigma^2$, $D$, $D_g/\sigma^2$ with $D = \frac{1}{\sigma^2} \big(D_g - "
    r"(\frac{g \cdot y}{H})^2\big) \le \frac{D_g}{\sigma^2}$.",
)
def detached_backward(power: int = 2) -> Evidence:
    import sympy

    from ..symbolic.sums import SIZE

    H, t = SIZE[Axis.UNIT], sympy.Symbol("t", real=True)
    x, g, u = (symbols(name) for name in ("x", "G", "u"))

    def mean(array: Any) -> Any:
        return array.sum(axis=1) / H

    def variance(array: Any) -> Any:
        return mean(array * array) - mean(array) * mean(array)

    at = Standardize(Axis.UNIT)(x, (Axis.SAMPLE, Axis.UNIT))
    assert at.mean is not None and at.sigma is not None
    y, sigma = at.value, at.sigma
    along = mean(g * y)
    reduced = (variance(g) - (along * along if power == 2 else along)) / (sigma * sigma)
    full = variance(g) / (sigma * sigma)
    gradients = {  # which of μ, σ stay fixed: the gradient, its mean and its variance
        (False, False): ((g - mean(g) - y * along) / sigma, g * 0, reduced),
        (False, True): ((g - mean(g)) / sigma, g * 0, full),
        (True, False): ((g - y * along) / sigma, mean(g) / sigma, reduced),
        (True, True): (g / sigma, mean(g) / sigma, full),
    }
    facts = []
    for (fixed_mean, fixed_sigma), (gradient, centre, spread) in gradients.items():
        moved = x + u * t
        c = moved - (at.mean if fixed_mean else mean(moved))
        value = c / (sigma if fixed_sigma else mean(c * c).sqrt())
        what = " and ".join([name for name, fixed in (("μ", fixed_mean), ("σ", fixed_sigma)) if fixed]) or "nothing"
        change = (at_zero(value, t) * g).sum(axis=1) - (gradient * u).sum(axis=1)
        facts.append(
            identity(
                f"{what} detached: gradient, mean and variance as stated",
                change,
                mean(gradient) - centre,
                variance(gradient) - spread,
            )
        )
    return decide(*facts)

r"""Closed forms of the norm under a gradient of constant size: growth without weight decay, equilibrium with it.

The model is a random walk: the gradient at w is orthogonal to w, of norm G/‖w‖ (a scale-invariant loss has gradients of
degree -1) and uncorrelated with the past.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import InputError, check_count, check_positive, generator
from ..families import Floats
from .optimizers import SGD, AdamW, Optimizer, check_optimizer
from .trajectory import angles


class Growth(NamedTuple):
    """Norms (steps+1,) under gradient descent: exact, and the closed forms that enclose them."""

    norms: Floats
    lower: Floats
    upper: Floats


def quartic_growth(rate: float, gradient_norm: float, steps: int, start: float = 1.0) -> Growth:
    r"""‖w_t‖⁴ = ‖w_0‖⁴ + 2η²G²t + O(log t), so that the effective rate falls like η/‖w_t‖² → 1/(G√(2t)), whatever η is.

    From r_{t+1}² = r_t² + c/r_t² with c = η²G²: r_{t+1}⁴ = r_t⁴ + 2c + c²/r_t⁴, hence with ρ = r_0⁴
    0 <= r_t⁴ - ρ - 2ct <= c²/ρ + (c/2) log(1 + 2c(t-1)/ρ).  Raises `InputError` for numbers that are not positive.
    """
    check_positive("quartic_growth", rate=rate, gradient_norm=gradient_norm, start=start)
    check_count("quartic_growth", 1, steps=steps)
    try:
        c, rho = (rate * gradient_norm) ** 2, start**4
        growth = c / rho
    except (OverflowError, ZeroDivisionError):
        growth = 0.0
    if not 0 < growth < math.inf:
        raise InputError(
            f"quartic_growth got rate={rate!r}, gradient_norm={gradient_norm!r}, start={start!r}: their powers over- or "
            "underflow; measure the norms in other units"
        )
    square = np.full(steps + 1, float(start) ** 2)
    for k in range(steps):
        square[k + 1] = square[k] + c / square[k]
    t = np.arange(steps + 1.0)
    lower = rho + 2 * c * t
    rest = c**2 / rho + c / 2 * np.log1p(2 * c * np.maximum(t - 1, 0) / rho)
    return Growth(np.sqrt(square), lower**0.25, (lower + np.where(t > 0, rest, 0)) ** 0.25)


@dataclass(frozen=True)
class Equilibrium:
    """Where the pull of weight decay balances the growth: ``versine`` 1 - cos of the angle a step turns, and the norm.

    ``small_angle`` and ``small_norm`` are the approximations of the literature, for ηλ → 0.
    """

    versine: float
    norm: float
    small_angle: float
    small_norm: float

    @property
    def cosine(self) -> float:
        return 1 - self.versine

    @property
    def angle(self) -> float:
        """The angle in radians, accurate however small."""
        return 2 * math.asin(math.sqrt(self.versine / 2))


def equilibrium(optimizer: Optimizer, gradient_norm: float) -> Equilibrium:
    r"""The stationary norm and turning angle of the random walk under ``optimizer`` with weight decay λ; a = 1 - ηλ.

    - SGD, momentum α: cos = 1 - ηλ/(1+α), ‖w‖⁴ = ηG²(1+α)/(λ(1-α)(2(1+α)-ηλ)); for small ηλ the angle is √(2ηλ/(1+α))
      and the norm (ηG²/(2λ(1-α)))^{1/4}.
    - AdamW: cos = (a+β₁)/(1+aβ₁), ‖w‖² = η²Γ²(1-β₁)(1+aβ₁)/((1+β₁)(1-aβ₁)(1-a²)); for small ηλ the angle is
      √(2ηλ(1-β₁)/(1+β₁)) and the norm √(ηΓ²/(2λ)).

    ``gradient_norm`` is G, the norm of the gradient on the unit sphere; for AdamW it is Γ, the norm of ∇L/√v, which is √n
    for n weights.  Without momentum the norm converges to the exact value; with it, it fluctuates about it, by less the
    more weights there are.  Raises `InputError` without weight decay and for an optimizer with no known law.
    Sources: van Laarhoven 2017, arXiv 1706.05350; Wan et al. 2021, arXiv 2006.08419; Kosson et al. 2023, 2305.17212.
    """
    check_positive("equilibrium", gradient_norm=gradient_norm)
    if not isinstance(optimizer, SGD | AdamW):
        raise InputError(f"equilibrium got optimizer={optimizer!r}: its law is known for fg.sgd and fg.adamw")
    eta, decay = optimizer.rate, optimizer.weight_decay
    if not decay:
        raise InputError(
            f"equilibrium got {optimizer!r}: without weight decay the norm only grows; give weight_decay > 0"
        )
    try:
        return _equilibrium(optimizer, eta, decay, float(gradient_norm))
    except OverflowError:
        raise InputError(
            f"equilibrium got gradient_norm={gradient_norm!r}: its powers overflow; use other units"
        ) from None


def _equilibrium(optimizer: SGD | AdamW, eta: float, decay: float, gradient_norm: float) -> Equilibrium:
    pull = eta * decay
    if isinstance(optimizer, SGD):
        alpha = optimizer.momentum
        quartic = eta * gradient_norm**2 * (1 + alpha) / (decay * (1 - alpha) * (2 * (1 + alpha) - pull))
        small = eta * gradient_norm**2 / (2 * decay * (1 - alpha))
        return Equilibrium(pull / (1 + alpha), quartic**0.25, math.sqrt(2 * pull / (1 + alpha)), small**0.25)
    beta, a = optimizer.beta1, 1 - pull
    kept = (1 - beta) / (1 + beta)
    versine = pull * (1 - beta) / (1 + a * beta)  # 1 - (a + β₁)/(1 + aβ₁), without cancellation
    square = (eta * gradient_norm) ** 2 * kept * (1 + a * beta) / ((1 - a * beta) * pull * (2 - pull))
    small = eta * gradient_norm**2 / (2 * decay)
    return Equilibrium(versine, math.sqrt(square), math.sqrt(2 * pull * kept), math.sqrt(small))


class Walk(NamedTuple):
    """Norms (steps+1,) of a random walk and the angles (steps,) between its successive directions."""

    norms: Floats
    angles: Floats


def random_walk(
    optimizer: Optimizer,
    weights: int,
    steps: int,
    *,
    gradient_norm: float = 1.0,
    start: float = 1.0,
    rng: np.random.Generator | int | None = None,
) -> Walk:
    """Run ``optimizer`` on random gradients of norm G/‖w‖ orthogonal to w, from a random w of norm ``start``.

    Raises `InputError` for fewer than two weights and for numbers that are not positive.
    """
    check_optimizer("random_walk", optimizer)
    check_positive("random_walk", gradient_norm=gradient_norm, start=start)
    check_count("random_walk", 2, weights=weights)
    check_count("random_walk", 1, steps=steps)
    source = generator("random_walk", rng)
    w = source.normal(size=weights)
    w *= start / np.linalg.norm(w)
    norms, turned, memory = np.full(steps + 1, float(start)), np.empty(steps), None
    with np.errstate(all="ignore"):  # an overflow is reported by name
        for t in range(steps):
            gradient = source.normal(size=weights)
            gradient -= w * (w @ gradient / (w @ w))
            gradient *= gradient_norm / (norms[t] * np.linalg.norm(gradient))
            change, memory = optimizer.step(w, gradient, memory)
            turned[t] = angles(w, change)
            w = w + change
            norms[t + 1] = np.linalg.norm(w)
            if not 0 < norms[t + 1] < math.inf:
                raise InputError(
                    f"random_walk came to ‖w‖ = {norms[t + 1]} at step {t + 1} with {optimizer!r}, "
                    f"gradient_norm={gradient_norm!r}, start={start!r}; measure the norms in other units"
                )
    return Walk(norms, turned)


class Schedule(NamedTuple):
    """Descent without decay at ``rates`` (steps,), whose weights u_t are those with decay but for scale: w_t = α^t u_t.

    Where w_t starts from the velocity v_0 (0 for `descend`), u_t starts from v_0 + ``buffer`` w_0.
    """

    rates: Floats
    alpha: float
    buffer: float


def equivalent_schedule(optimizer: SGD, steps: int) -> Schedule:
    r"""The rates η̃_t = α^{-2t-1} η at which descent without decay takes the directions that ``optimizer`` takes with it.

    α is the larger root of x² - (1 + γ - λη)x + γ = 0, γ the momentum, and the velocities start as `Schedule` says: with
    γ > 0, zero on both sides does not match.  Raises `InputError` unless λη <= (1 - √γ)², where the roots are real, and
    for so many steps that η̃ overflows.  Source: Li, Arora 2020, arXiv 1910.07454.
    """
    check_count("equivalent_schedule", 1, steps=steps)
    if not isinstance(optimizer, SGD):
        raise InputError(f"equivalent_schedule got optimizer={optimizer!r}: its law is known for fg.sgd")
    gamma, pull = optimizer.momentum, optimizer.rate * optimizer.weight_decay
    if pull > (1 - math.sqrt(gamma)) ** 2:
        raise InputError(
            f"equivalent_schedule got {optimizer!r}: the roots are real only for ηλ <= (1 - √γ)² = "
            f"{(1 - math.sqrt(gamma)) ** 2:.3g}; use a smaller rate or weight_decay"
        )
    b = 1 + gamma - pull
    alpha = (b + math.sqrt(max(b * b - 4 * gamma, 0))) / 2
    if -2 * steps * math.log(alpha) > 690:
        raise InputError(f"equivalent_schedule got steps={steps}: η̃ grows {alpha**-2:.4g}-fold a step and overflows")
    buffer = (alpha - 1 + pull) / (optimizer.rate * gamma) if gamma else 0.0
    return Schedule(optimizer.rate * np.power(alpha, -2.0 * np.arange(steps) - 1), alpha, buffer)

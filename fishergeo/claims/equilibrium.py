"""Scale-invariant training with weight decay: what is stated about its equilibrium and equivalent schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import families, normalizers
from ..axes import Site
from ..dynamics.optimizers import Optimizer, adamw, sgd
from ..model import Params
from .arrays import symbols
from .core import Condition, Correction, Evidence, Fact, Level, Paper, claim, decide
from .facts import exactly, identity, measured, unequal
from .models import random_model
from .norm_growth import LAARHOVEN

if TYPE_CHECKING:
    from ..dynamics.equilibrium import Equilibrium

KOSSON = Paper("Kosson et al.", 2023, "Rotational Equilibrium", "2305.17212")
LI = Paper("Li, Arora", 2020, "An Exponential Learning Rate Schedule for Deep Learning", "1910.07454")


def _walk(optimizer: Optimizer) -> Fact:
    """The turning angle of a simulated random walk against the exact law."""
    from ..dynamics.equilibrium import equilibrium, random_walk

    law = equilibrium(optimizer, gradient_norm=1.0)
    walk = random_walk(optimizer, 400, 3000, start=law.norm, rng=31)
    found = float(walk.angles[1000:].mean())
    text = f"a random walk of 400 weights turns by {found:.5f} a step, the law says {law.angle:.5f} (tolerance 1 %)"
    return measured(text, abs(found / law.angle - 1) < 0.01)


def _small(law: Equilibrium, pull: float) -> Fact:
    """How far the approximation of the angle is off."""
    error = law.small_angle / law.angle - 1
    return measured(f"at ηλ = {pull:g} the approximate angle is off by {error:.1e}", abs(error) < pull)


@claim(
    "EFF-eq",
    LAARHOVEN,
    "with Wan et al. 2021, arXiv 2006.08419",
    r"Under SGD with weight decay a scale-invariant weight vector settles at the norm $\lVert w \rVert \approx "
    r"(\eta G^2/2\lambda)^{"
    r"1/4}$ and turns by the angle $\approx \sqrt{2 \eta \lambda}$ a step ($G$ the norm of the gradient on the "
    r"unit sphere).",
)
def sgd_equilibrium(factor: int = 2) -> Evidence:
    import sympy

    from ..dynamics.equilibrium import equilibrium

    eta, decay, G, square = sympy.symbols("eta lambda G square", positive=True)
    pull = sympy.Symbol("p", positive=True)
    fixed = eta * G**2 / (decay * (2 - eta * decay))  # ‖w‖⁴
    after = (1 - eta * decay) ** 2 * square + eta**2 * G**2 / square
    stationary = sympy.cancel((after - square) * square).subs(square, sympy.sqrt(fixed))
    u, v, a = sympy.symbols("u v a", positive=True)  # two values of ‖w‖² over that of the fixed point, 1 - ηλ

    def following(x: Any) -> Any:
        return a**2 * x + (1 - a**2) / x

    cycle = sympy.expand(u * following(u) - v * following(v))
    limits = [
        sympy.limit(sympy.acos(1 - pull) / sympy.sqrt(factor * pull), pull, 0),
        sympy.limit(2 / (2 - pull), pull, 0),
    ]
    optimizer, w, D = sgd(rate=0.1, weight_decay=0.1), symbols("w", Site.WEIGHT), symbols("G", Site.WEIGHT)
    return decide(
        exactly(
            "‖w‖⁴ = ηG²/(λ(2 - ηλ)) is a fixed point of w' = (1 - ηλ)w - η∇L, ⟨∇L,w⟩ = 0, ‖∇L‖ = G/‖w‖",
            sympy.simplify(stationary),
            0,
            Level.PROVED,
        ),
        exactly(
            # a continuous map of an interval without cycles of two tends to a fixed point from everywhere (Coppel 1955)
            "a cycle of two norms, u' = v and v' = u, would need (1 - ηλ)²(u² - v²) = 0: there is none for "
            "0 < ηλ < 1, and every start tends to the fixed point",
            [cycle, sympy.expand(following(1))],
            [sympy.expand(a**2 * (u**2 - v**2)), 1],
            Level.PROVED,
        ),
        exactly(
            f"arccos(1 - ηλ)/√({factor}ηλ) and the ratio of the two ‖w‖⁴ tend to 1 as ηλ → 0", limits, 1, Level.PROVED
        ),
        needs=[
            Condition(
                "ηλ is small",
                unequal("at ηλ = 1 the angle is {left}, not {right}", sympy.acos(0), sympy.sqrt(2)),
                sourced=True,
            )
        ],
        also=[_walk(optimizer), _small(equilibrium(optimizer, 1.0), 0.01)],
        instead=Correction(
            r"Exactly, for $0 < \eta\lambda < 1$: $\cos = 1 - \eta\lambda$ and $\lVert w \rVert^4 = \frac{\eta G^2}"
            r"{\lambda (2 - \eta\lambda)}$.",
            (
                identity(
                    "⟨w,w'⟩ = (1 - ηλ)‖w‖² - η⟨w,∇L⟩, whose last term is 0, and ‖w'‖ = ‖w‖",
                    (w * (w * (1 - eta * decay) - D * eta) - w * w * (1 - eta * decay) + w * D * eta).sum(axis=1),
                ),
            ),
        ),
    )


@claim(
    "EFF-mom",
    KOSSON,
    "",
    r"In equilibrium the angle of a step is $\sqrt{2\eta\lambda/(1 + \alpha)}$ for SGD with momentum $\alpha$ and "
    r"$\sqrt{2\eta\lambda"
    r"(1 - \beta_1)/(1 + \beta_1)}$ for AdamW.",
)
def momentum_equilibrium(sign: int = 1) -> Evidence:
    import sympy

    from ..dynamics.equilibrium import equilibrium

    eta, decay, alpha, beta, w, old, g, p = sympy.symbols("eta lambda alpha beta w old g p", positive=True)
    a = 1 - eta * decay
    # eliminate the velocity: w = old - η v
    heavy = w - eta * (alpha * (old - w) / eta + g + decay * w)
    momentum = (a * old - w) / eta  # w = a old - η m
    adam = a * w - eta * (beta * momentum + (1 - beta) * g)
    recursions = [
        sympy.expand(heavy - ((1 + alpha - eta * decay) * w - alpha * old - eta * g)),
        sympy.expand(adam - ((a + beta) * w - a * beta * old - eta * (1 - beta) * g)),
    ]
    # at rest ⟨w_{t+1},w_t⟩ = ⟨w_t,w_{t-1}⟩ = cos ‖w‖²
    cosines = [(1 + alpha - eta * decay) / (1 + alpha), (a + beta) / (1 + a * beta)]
    balance = [
        sympy.cancel((1 + alpha - eta * decay) - alpha * cosines[0] - cosines[0]),
        sympy.cancel((a + beta) - a * beta * cosines[1] - cosines[1]),
    ]
    kept = [2 * p / (1 + sign * alpha), 2 * p * (1 - beta) / (1 + beta)]
    limits = [sympy.limit(sympy.cancel(2 * (1 - c.subs(eta, p / decay)) / k), p, 0) for c, k in zip(cosines, kept)]
    point, slope = sympy.Matrix([3, 4]), sympy.Matrix([16, -12]) / 125
    sign_step = slope.applyfunc(sympy.sign)
    laws: tuple[Optimizer, ...] = (
        sgd(rate=0.1, momentum=0.5, weight_decay=0.1),
        adamw(rate=0.1, beta1=0.5, weight_decay=0.1),
    )
    return decide(
        exactly("without the velocity both are w_{{t+1}} = φ₁w_t + φ₂w_{{t-1}} - c g_t", recursions, 0, Level.PROVED),
        exactly(
            "times w_t, with ⟨g_t,w_t⟩ = 0, at rest: cos = φ₁ + φ₂ cos, which 1 - ηλ/(1+α) and (a+β₁)/(1+aβ₁), "
            "a = 1 - ηλ, solve",
            balance,
            0,
            Level.PROVED,
        ),
        exactly(
            "2(1 - cos) over the stated angle squared tends to 1 as ηλ → 0",
            [sympy.cancel(v) for v in limits],
            1,
            Level.PROVED,
        ),
        needs=[
            Condition(
                "ηλ is small",
                unequal("SGD at ηλ = 1, α = 0: the angle is {left}, not {right}", sympy.acos(0), sympy.sqrt(2)),
                sourced=True,
            ),
            Condition(
                "the normalized gradients of AdamW are orthogonal to w on average",
                unequal(
                    "L = w_1/‖w‖ at w = (3,4): ⟨∇L,w⟩ = 0, but ∇L over its absolute values is (1,-1), times w {left}",
                    sign_step.dot(point),
                    0,
                ),
                sourced=True,
            ),
        ],
        also=[*map(_walk, laws), _small(equilibrium(laws[0], 1.0), 0.01)],
        instead=Correction(
            r"Where the norm and the angle stay the same, exactly: $\cos = 1 - \frac{\eta\lambda}{1 + \alpha}$ for SGD "
            r"on a scale-invariant loss, and $\cos = \frac{a + \beta_1}{1 + a \beta_1}$, $a = 1 - \eta\lambda$, for "
            r"AdamW with normalized gradients orthogonal to $w$.",
            (exactly("the two cosines solve cos = φ₁ + φ₂ cos", balance, 0, Level.PROVED),),
        ),
    )


@claim(
    "EFF-exp",
    LI,
    "",
    r"Training with weight decay $\lambda$, rate $\eta$ and momentum $\gamma$ is equivalent, for a "
    r"scale-invariant loss, to training "
    r"without decay at the rate $\tilde\eta_t = \alpha^{-2t-1} \eta$, $\alpha$ a root of $x^2 - (1 + \gamma - "
    r"\lambda\eta) x + \gamma "
    r"= 0$.",
)
def exponential_schedule(power: int = -2) -> Evidence:
    import sympy

    alpha, gamma, step = sympy.symbols("alpha gamma t", positive=True)
    pull = 1 + gamma - alpha - gamma / alpha  # λη for which α is a root
    # w_{t+1} = (1+γ-λη) w_t - γ w_{t-1} - η∇L(w_t), w_t = α^t u_t, ∇L(w_t) = α^{-t} ∇L(u_t), divided by α^{t+1}
    decayed = [(1 + gamma - pull) / alpha, -gamma / alpha**2]
    ratio = alpha**power  # η̃_{t+1}/η̃_t
    free = [1 + gamma * ratio, -gamma * ratio]
    third, quarter = sympy.Rational(3, 4), sympy.Rational(1, 4)
    at = {alpha: third, gamma: quarter}
    # L = w_1/‖w‖ from (3, 4), η = 1, zero velocities: the first step of each
    w, gradient = sympy.Matrix([3, 4]), sympy.Matrix([16, -12]) / 125
    with_decay, without = w * (1 - pull.subs(at)) - gradient, w - gradient / third
    cross = with_decay[0] * without[1] - with_decay[1] * without[0]
    gap = _directions_gap()
    return decide(
        exactly(
            "both recursions have the same coefficients of u_t and u_{{t-1}}",
            [sympy.cancel(x - y) for x, y in zip(decayed, free)],
            0,
            Level.PROVED,
        ),
        exactly(
            "and of ∇L(u_t): η α^-t over α^(t+1) is η̃_t",
            sympy.powsimp(alpha ** (-step) / alpha ** (step + 1)),
            alpha ** (power * step - 1),
            Level.PROVED,
        ),
        needs=[
            Condition(
                "λη ≤ (1 - √γ)²",
                Fact(
                    "γ = 1/4, λη = 1/2: the discriminant is -7/16, there is no real root",
                    (1 + quarter - sympy.Rational(1, 2)) ** 2 - 4 * quarter == -sympy.Rational(7, 16),
                    Level.EXACT,
                ),
                sourced=True,
            ),
            Condition(
                "momentum is in units of the gradient",
                unequal(
                    "γ = 1/4, α = 3/4: steps would need the coefficient {left} where decay gives {right}",
                    -gamma.subs(at),
                    decayed[1].subs(at),
                ),
                sourced=True,
            ),
            Condition(
                "the initial buffers match when γ > 0",
                unequal(
                    "they must differ by w_0 (α - 1 + λη)/(ηγ): from zero buffers, γ = 1/4, λη = 1/6: the first "
                    "steps are not parallel, their cross product "
                    "is {left}",
                    cross,
                    0,
                ),
                sourced=True,
            ),
        ],
        also=[
            measured(
                f"a batch norm model, 60 steps each way: the directions differ by {gap:.1e} (tolerance 1e-10)",
                gap < 1e-10,
            )
        ],
    )


def _directions_gap() -> float:
    """The largest distance of directions between descent with decay and its equivalent schedule, buffers matching."""
    from ..dynamics.equilibrium import equivalent_schedule

    rng = np.random.default_rng(32)
    model, p, X = random_model(families.bernoulli, normalizers.batch_norm, rng)
    Y = model.sample(p, X, rng)
    optimizer = sgd(rate=0.2, momentum=0.5, weight_decay=0.05)
    schedule = equivalent_schedule(optimizer, 60)

    def unit(W: np.ndarray) -> Any:
        return W / np.linalg.norm(W, axis=1, keepdims=True)

    def gradient(W: np.ndarray) -> Any:
        return -model.unravel(model.gradient(Params(W, p.bias, p.gain), X, Y), p.units).weight

    W, U, v, u, gap = p.weight, p.weight, 0 * p.weight, schedule.buffer * p.weight, 0.0
    for rate in schedule.rates:
        v = optimizer.momentum * v + gradient(W) + optimizer.weight_decay * W
        u = optimizer.momentum * u + gradient(U)
        W, U = W - optimizer.rate * v, U - rate * u
        gap = max(gap, float(np.abs(unit(W) - unit(U)).max()))
    return gap

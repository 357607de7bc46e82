"""Weight decay against growth: the length settles where they balance, and each step then turns by a fixed angle."""

from __future__ import annotations

from symbols import (
    A,
    Abar,
    G,
    Omega,
    R,
    Theta,
    alpha,
    col,
    decay,
    e,
    ell,
    elltilde,
    momentum,
    p,
    w,
    wdot,
    wdottilde,
    wgrave,
    what,
    wtilde,
    wtildehat,
)
from sympy import Expr, Integer, Rational, sqrt

from fishergeo import adamw, sgd
from fishergeo.dynamics.equilibrium import equilibrium
from fishergeo.dynamics.optimizers import Optimizer
from fishergeo.levels import Level
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.certainty import Certificate, FalseStep
from fishergeo.symbolic.derivation import Derivation, Step
from fishergeo.symbolic.latex import latex
from fishergeo.symbolic.layout import broken
from fishergeo.symbolic.rules import Partial
from fishergeo.symbolic.sums import over

STEP, DECAY, MOMENTUM = Rational(1, 5), Rational(1, 4), Rational(1, 2)  # the numbers of a comparison


def build() -> Derivation:
    d = Derivation.chapter(__file__, "Equilibrium with weight decay")
    descent(d)
    settling(d)
    heavy_ball(d)
    adam(d)
    return d


def gradient(d: Derivation) -> tuple[Step, ...]:
    """A weight vector with its length and direction, and a gradient that is orthogonal to it."""
    names = (
        d.define(ell, sqrt(over(w[e] ** 2, e))),
        d.define(what[col], w[col] / ell),
        d.define(G[col], (R[col] - what[col] * over(what[e] * R[e], e)) / ell),
    )
    square = d.step(over(w[e] ** 2, e), ell**2, by.substitution, names[:1])
    return *names, square, d.step(over(G[e] * w[e], e), Integer(0), by.invariance, [*names[:0:-1], square])


def descent(d: Derivation) -> None:
    d.say(
        """A loss that does not depend on the length of a weight vector has the gradient {}: the part of the gradient
        {} by the direction that is orthogonal to the weights, over their length.""",
        G[col],
        R[col],
    )
    _, unit, _, square, flat = gradient(d)
    d.say("Weight decay {} pulls the length in while the gradient pushes it out. A step of size {} gives", decay, alpha)
    step = d.define(wtilde[col], (1 - alpha * decay) * w[col] - alpha * G[col])
    new = (1 - alpha * decay) ** 2 * ell**2 + alpha**2 * over(G[e] ** 2, e)
    d.step(over(wtilde[e] ** 2, e), new, by.invariance, [step, flat, square])
    d.say("and turns the direction by an angle whose cosine is")
    d.define(elltilde, sqrt(over(wtilde[e] ** 2, e)))
    after = d.define(wtildehat[col], wtilde[col] / elltilde)
    cosine = (1 - alpha * decay) * ell / elltilde
    d.step(over(what[e] * wtildehat[e], e), cosine, by.invariance, [after, step, unit, flat, square])
    d.say(
        """Once the length has settled, this is {}, whatever the gradients: each step turns by the same angle (van
        Laarhoven 2017; Wan et al. 2021). Weight decay is also a growing step size in disguise (Li and Arora 2020): the
        weights after the step have the direction that a step without it leads to, of the larger size {},""",
        1 - alpha * decay,
        alpha / Theta,
    )
    kept = d.define(Theta, 1 - alpha * decay, restricts=True)
    d.step(wtilde[col] / Theta, w[col] - alpha / Theta * G[col], by.algebra, [step, kept])


def settling(d: Derivation) -> None:
    d.restart()
    d.head("Where the length settles")
    following = Theta**2 * A + alpha**2 * Omega**2 / A
    d.say(
        """Let the gradient have the length {} at weights of length 1, hence {} at the length {}. A step takes the
        square {} of the length to {}, which leaves it what it is at {}, where""",
        Omega,
        Omega / ell,
        ell,
        A,
        following,
        Abar,
    )
    kept = d.define(Theta, 1 - alpha * decay, restricts=True)
    rest = d.define(Abar, Omega * sqrt(alpha / (decay * (1 + Theta))))
    d.step(following.subs(A, Abar), Abar, by.algebra, [rest, kept])
    d.say("Lengths nearby come closer with every step, since the slope there is less than 1 and more than -1:")
    slope = Partial(following, A, Abar)
    d.step(slope, 2 * Theta**2 - 1, by.differentiation, [rest, kept])
    d.say("The cosine and the fourth power of the length are therefore")
    optimizer = sgd(rate=float(STEP), weight_decay=float(DECAY))
    compare(d, optimizer, 1 - alpha * decay, Omega**2 * alpha / (decay * (2 - alpha * decay)))


def heavy_ball(d: Derivation) -> None:
    d.restart()
    d.head("Momentum")
    d.say(
        "With momentum {} a step takes the weights {} to {} to {}, along the velocity {}:",
        momentum,
        wgrave[col],
        w[col],
        wtilde[col],
        wdot[col],
    )
    *_, square, flat = gradient(d)
    steps = [
        d.define(wdot[col], (wgrave[col] - w[col]) / alpha),
        d.define(wdottilde[col], momentum * wdot[col] + G[col] + decay * w[col]),
        d.define(wtilde[col], w[col] - alpha * wdottilde[col]),
    ]
    forward = 1 + momentum - alpha * decay
    moved = d.step(wtilde[col], forward * w[col] - momentum * wgrave[col] - alpha * G[col], by.algebra, steps[::-1])
    inner = over(w[e] * wgrave[e], e)
    d.say("Multiply by the weights; the gradient drops out:")
    d.step(over(w[e] * wtilde[e], e), forward * ell**2 - momentum * inner, by.invariance, [moved, flat, square])
    d.say("Where lengths and angles stay the same, both products are the same part {} of {}, and", p, ell**2)
    part = d.define(p, 1 - alpha * decay / (1 + momentum))
    d.step(forward - momentum * p, p, by.algebra, [part])
    d.say("The length of the weights after the step is")
    crossed = 2 * momentum * alpha * over(G[e] * wgrave[e], e)
    before = forward**2 * ell**2 + momentum**2 * over(wgrave[e] ** 2, e) - 2 * forward * momentum * inner
    new = before + alpha**2 * over(G[e] ** 2, e) + crossed
    d.step(over(wtilde[e] ** 2, e), new, by.invariance, [moved, flat, square])
    d.say(
        """Let the gradient be orthogonal to the weights before, on average, and all lengths be {}. What the gradient adds
        must replace what the other terms lose, which is this part of {}:""",
        ell,
        ell**2,
    )
    drop = alpha * decay * (1 - momentum) * (2 * (1 + momentum) - alpha * decay) / (1 + momentum)
    d.step(1 - forward**2 - momentum**2 + 2 * forward * momentum * p, drop, by.algebra, [part])
    d.say("With {} for the length of the gradient, the cosine and the fourth power of the length are", Omega / ell)
    optimizer = sgd(rate=float(STEP), weight_decay=float(DECAY), momentum=float(MOMENTUM))
    compare(d, optimizer, 1 - alpha * decay / (1 + momentum), alpha**2 * Omega**2 / drop)


def adam(d: Derivation) -> None:
    d.restart()
    d.head("Decoupled weight decay")
    d.say("AdamW applies the decay to the weights and averages normalized gradients {}:", G[col])
    d.define(Theta, 1 - alpha * decay, restricts=True)
    steps = [
        d.define(wdot[col], (Theta * wgrave[col] - w[col]) / alpha),
        d.define(wdottilde[col], momentum * wdot[col] + (1 - momentum) * G[col]),
        d.define(wtilde[col], Theta * w[col] - alpha * wdottilde[col]),
    ]
    moved = (momentum + Theta) * w[col] - momentum * Theta * wgrave[col] - alpha * (1 - momentum) * G[col]
    d.step(wtilde[col], moved, by.algebra, steps[::-1])
    d.say(
        """With normalized gradients that are orthogonal to the weights on average (Kosson et al. 2023), the cosine {}
        solves the equation that products with the weights lead to, as above,""",
        p,
    )
    part = d.define(p, (momentum + Theta) / (1 + momentum * Theta))
    d.step((momentum + Theta) - momentum * Theta * p, p, by.algebra, [part])
    d.say("which is larger than that of gradient descent with the same decay:")
    d.step(p - Theta, momentum * (1 - Theta**2) / (1 + momentum * Theta), by.algebra, [part])
    optimizer = adamw(rate=float(STEP), weight_decay=float(DECAY), beta1=float(MOMENTUM))
    d.say("In terms of step size and decay it is")
    compare(d, optimizer, ((momentum + Theta) / (1 + momentum * Theta)).subs(Theta, 1 - alpha * decay))


def compare(d: Derivation, optimizer: Optimizer, cosine: Expr, quartic: Expr | None = None) -> None:
    """Show the closed forms, compared with `fishergeo.dynamics.equilibrium`; raises `FalseStep` if they differ."""
    at = {alpha: STEP, decay: DECAY, momentum: MOMENTUM, Omega: 1}
    known = equilibrium(optimizer, 1.0)
    found = [(p, cosine, known.cosine)] + ([(ell**4, quartic, known.norm**4)] if quartic is not None else [])
    for symbol, formula, number in found:
        if abs(float(formula.subs(at)) - number) > 1e-12 * abs(number):
            raise FalseStep(f"{formula} is {float(formula.subs(at))}, the package finds {number}")
        d.show(
            broken(latex(symbol), latex(formula)),
            by.comparison,
            Certificate(Level.NUMERIC, "tolerance 1e-12, at one point"),
        )


if __name__ == "__main__":
    build().write(__file__)

"""The natural gradient step is the same in all parametrizations, and does not slow down when weights grow."""

from __future__ import annotations

from symbols import (
    PHI,
    Fcheck,
    Ftildes,
    G,
    Gcheck,
    N,
    Psi,
    Psicheck,
    Psitilde,
    ahat,
    alpha,
    anyvector,
    atildehat,
    col,
    d2,
    delta,
    e,
    e2,
    ell,
    elltilde,
    fisher,
    g,
    jacobian,
    n,
    omega,
    psi,
    psicheck,
    upstream,
    w,
    what,
    wtilde,
    wtildehat,
    x,
)
from sympy import Expr, IndexedBase, Integer, sqrt

from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.derivation import Derivation, Step
from fishergeo.symbolic.sums import over

gain, factor = g.label, delta.label


def build() -> Derivation:
    d = Derivation.chapter(__file__, "Natural gradient")
    parametrizations(d)
    quotient(d)
    return d


def metric(slope: IndexedBase) -> Expr:
    """The Fisher matrix of one output with the Fisher weight ω: Σ_n ω_n S_nd S_nd'/(Nφ)."""
    return over(omega[n] * slope[n, col] * slope[n, d2], n) / (N * PHI)


def parametrizations(d: Derivation) -> None:
    d.head("The same step in all parametrizations")
    d.say(
        """Take one output with a list {} of parameters, the derivative {} of its natural parameters by them, and the
        derivative {} of the loss by the natural parameters. The Fisher matrix and the gradient are""",
        w[col],
        Psi[n, col],
        upstream[n],
    )
    old = [d.define(fisher[col, d2], metric(Psi)), d.define(G[col], over(upstream[n] * Psi[n, col], n))]
    d.say("Other parameters, of which these are functions with the Jacobian matrix {}, have", jacobian[col, d2])
    slope = d.define(Psicheck[n, col], over(Psi[n, e] * jacobian[e, col], e))
    new = [d.define(Fcheck[col, d2], metric(Psicheck)), d.define(Gcheck[col], over(upstream[n] * Psicheck[n, col], n))]
    d.say("The Fisher matrix changes as a metric does, the gradient as a covector:")
    tensor = over(jacobian[e, col] * fisher[e, e2] * jacobian[e2, d2], e, e2)
    d.step(Fcheck[col, d2], tensor, by.substitution, [*new, slope, *old])
    d.step(Gcheck[col], over(jacobian[e, col] * G[e], e), by.substitution, [*new, slope, *old])
    d.say("Gradient descent in other parameters takes another step: carried back, it is not along the gradient,")
    back = [over(jacobian[place, e] * Gcheck[e], e) for place in (col, d2)]
    d.refute(back[0] * G[d2], back[1] * G[col], by.counterexample_found)
    d.say(
        """The natural gradient (Amari 1998) solves a system of equations with the Fisher matrix. Let {} be a step in the
        other parameters, and {} what it is in the first. The second is the natural gradient if""",
        psicheck[col],
        psi[col],
    )
    d.restart()
    step = d.define(psi[col], over(jacobian[col, e] * psicheck[e], e))
    first = d.define(fisher[col, d2], metric(Psi))
    solved = d.define(G[col], over(fisher[col, e] * psi[e], e))
    d.say("and then the first is the natural gradient in the other parameters,")
    others = [
        d.define(Psicheck[n, col], over(Psi[n, e] * jacobian[e, col], e)),
        d.define(Fcheck[col, d2], metric(Psicheck)),
        d.define(Gcheck[col], over(jacobian[e, col] * G[e], e)),
    ]
    using = [*others[::-1], solved, first, step]
    d.step(over(Fcheck[col, e] * psicheck[e], e), Gcheck[col], by.invariance, using)
    d.say("and both move the natural parameters, hence the model, by the same amount:")
    d.step(over(Psicheck[n, e] * psicheck[e], e), over(Psi[n, e] * psi[e], e), by.invariance, [others[0], step])
    d.say(
        """Where every change of the first parameters is one of the others, there is no difference: a small
        natural gradient step changes a plain model and, with gains that are not 0, one with batch norm or weight norm in
        the same way."""
    )


def unit(d: Derivation, names: tuple[IndexedBase, Expr, IndexedBase, IndexedBase, IndexedBase]) -> list[Step]:
    """One unit of weight norm, and the derivative of its natural parameters by the weights (projector lemma)."""
    weights, length, direction, summed, slope = names
    return [
        d.define(length, sqrt(over(weights[e] ** 2, e))),
        d.define(direction[col], weights[col] / length),
        d.define(summed[n], over(direction[e] * x[n, e], e)),
        d.define(slope[n, col], gain / length * (x[n, col] - summed[n] * direction[col])),
    ]


def quotient(d: Derivation) -> None:
    d.restart()
    d.head("Directions alone")
    d.say(
        """With batch norm or weight norm a model does not depend on the length of a weight vector. For one unit of weight
        norm,"""
    )
    names = unit(d, (w, ell, what, ahat, Psi))
    d.say("the Fisher matrix does not see a change along the weights:")
    square = d.step(over(w[e] ** 2, e), ell**2, by.substitution, names[:1])
    null = d.step(over(Psi[n, e] * w[e], e), Integer(0), by.projector_identity, [*names[::-1], square])
    metric_ = d.define(fisher[col, d2], metric(Psi))
    d.step(over(fisher[col, e] * w[e], e), Integer(0), by.substitution, [metric_, null])
    d.say(
        """So multiples of the weights can be added to a natural gradient; on the quotient, the sphere of directions, it
        is the solution {} that is orthogonal to them. Let {} be any vector, its part that is orthogonal the natural
        gradient, and rescale the weights:""",
        psi[col],
        anyvector[col],
    )
    flat = d.define(psi[col], anyvector[col] - what[col] * over(what[e] * anyvector[e], e))
    solved = d.define(G[col], over(fisher[col, e] * psi[e], e))
    after = [
        d.define(wtilde[col], factor * w[col]),
        *unit(d, (wtilde, elltilde, wtildehat, atildehat, Psitilde)),
        d.define(Ftildes[col, d2], metric(Psitilde)),
    ]
    d.say("The derivative is divided by the factor, hence the gradient too, and the Fisher matrix by its square:")
    longer = d.step(elltilde, factor * ell, by.substitution, [after[1], after[0], *names])
    slower = d.step(
        Psitilde[n, col], Psi[n, col] / factor, by.invariance, [*after[4:0:-1], after[0], longer, *names[::-1]]
    )
    new = d.step(Ftildes[col, d2], fisher[col, d2] / factor**2, by.substitution, [after[5], slower, metric_])
    d.say("so that the natural gradient is multiplied by it:")
    d.step(over(Ftildes[col, e] * factor * psi[e], e), G[col] / factor, by.substitution, [new, solved])
    turning(d, names, square, flat, longer)


def turning(d: Derivation, names: list[Step], square: Step, flat: Step, longer: Step) -> None:
    d.head("Weight growth does not slow it")
    d.say("A step of size {} along the natural gradient is orthogonal to the weights and makes them longer,", alpha)
    level = d.step(over(psi[e] * w[e], e), Integer(0), by.projector_identity, [flat, names[1], square])
    grown = ell**2 + alpha**2 * over(psi[e] ** 2, e)
    d.step(over((w[e] + alpha * psi[e]) ** 2, e), grown, by.invariance, [level, square])
    d.say(
        """as a step of gradient descent does. But the square of the tangent of the angle by which it turns them,
        {}, is the same for rescaled weights,""",
        alpha**2 * over(psi[e] ** 2, e) / ell**2,
    )
    further = over((factor * psi[e]) ** 2, e)
    tangent = alpha**2 * over(psi[e] ** 2, e) / ell**2
    d.step(alpha**2 * further / elltilde**2, tangent, by.substitution, [longer])
    d.say("while that of gradient descent falls with the fourth power of the factor: the effective rate with its square.")
    slowed = alpha**2 * over(G[e] ** 2, e) / (factor**4 * ell**2)
    d.step(alpha**2 * over((G[e] / factor) ** 2, e) / elltilde**2, slowed, by.substitution, [longer])


if __name__ == "__main__":
    build().write(__file__)

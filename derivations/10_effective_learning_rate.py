"""Scale invariance makes gradients orthogonal to weights, weights grow, and the effective learning rate falls."""

from __future__ import annotations

from common import introduce, known
from symbols import (
    G,
    R,
    a,
    abar,
    ahat,
    alpha,
    col,
    e,
    ell,
    elltilde,
    h,
    k,
    n,
    sigma,
    w,
    what,
    wtilde,
    wtildehat,
)
from sympy import Expr, Integer, Symbol, sqrt

from fishergeo import batch_norm, layer_norm
from fishergeo.normalizers import Normalizer
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.atoms import atoms
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.indexed import IndexArray
from fishergeo.symbolic.rules import At, Partial
from fishergeo.symbolic.sums import over


def build() -> Derivation:
    d = Derivation.chapter(__file__, "The effective learning rate")
    d.say(
        """Let {} be the gradient of any loss with respect to the normalized summed inputs {}. The package pulls it
        back to the weights with the projector lemma, and the result is orthogonal to the weights.""",
        R[n, h],
        ahat[n, h],
    )
    d.head("Batch norm")
    orthogonal(d, batch_norm, h, [over(G[h, e] * w[h, e], e)])
    d.say("This holds for every unit by itself.")
    d.head("Layer norm")
    d.restart()
    orthogonal(d, layer_norm, n, [over(G[k, e] * w[k, e], k, e)])
    d.say("This holds for all units together: only a common factor can be scaled away.")
    growth(d)
    return d


def orthogonal(d: Derivation, normalizer: Normalizer, cell: Symbol, products: list[Expr]) -> None:
    """Pull a gradient back through a normalizer, and show that it is orthogonal to the weights."""
    names = introduce(d, normalizer)
    facts = known(d, normalizer, by.projector_identity, names[::-1])
    undone = d.step(a[n, h], sigma[cell] * ahat[n, h] + abar[cell], by.substitution, [names[-1]])
    named = atoms(normalizer)
    pulled = d.define(G[h, col], named.tidy(named.normalized.vjp(IndexArray(R[n, h], (n, h))).expr))
    for product in products:
        d.step(product, Integer(0), by.invariance, [pulled, names[0].backwards(), undone, *facts])


def growth(d: Derivation) -> None:
    d.restart()
    d.head("Weights grow")
    d.say(
        """Take one weight vector {} whose length does not matter: the loss depends on its direction alone. Let {}
        be the gradient with respect to that direction; the chain rule gives the gradient with respect to the
        weights.""",
        w[col],
        R[col],
    )
    length = d.define(ell, sqrt(over(w[e] ** 2, e)))
    unit = d.define(what[col], w[col] / ell)
    pulled = d.define(G[col], over(R[e] * Partial(what[e], w[col]), e))
    tangent = (R[col] - what[col] * over(what[e] * R[e], e)) / ell
    shape = d.step(G[col], tangent, by.projector_identity, [pulled])
    d.say("It falls with the inverse of the length, and is orthogonal to the weights:")
    square = d.step(over(w[e] ** 2, e), ell**2, by.substitution, [length])
    flat = d.step(over(G[e] * w[e], e), Integer(0), by.invariance, [shape, unit, square])
    d.say("A step of gradient descent of size {} therefore makes the weights longer, whatever the loss:", alpha)
    step = d.define(wtilde[col], w[col] - alpha * G[col])
    grown = over(w[e] ** 2, e) + alpha**2 * over(G[e] ** 2, e)
    d.step(over(wtilde[e] ** 2, e), grown, by.invariance, [step, flat])
    d.head("Directions turn more slowly")
    d.say("Normalize the weights after the step. The cosine of the angle of the step is the ratio of the lengths,")
    d.define(elltilde, sqrt(over(wtilde[e] ** 2, e)))
    after = d.define(wtildehat[col], wtilde[col] / elltilde)
    d.step(over(what[e] * wtildehat[e], e), ell / elltilde, by.invariance, [after, step, unit, flat, square])
    d.say("and for a small step size the direction moves as gradient descent on the unit sphere would,")
    d.step(At(wtildehat[col], alpha, Integer(0)), what[col], by.substitution)
    d.step(Partial(wtildehat[col], alpha, Integer(0)), -tangent / ell, by.chain_rule)
    d.say(
        """but with the effective learning rate {}, which falls as the weights grow (van Laarhoven 2017; Arora, Li
        and Lyu 2019).""",
        alpha / ell**2,
    )


if __name__ == "__main__":
    build().write(__file__)

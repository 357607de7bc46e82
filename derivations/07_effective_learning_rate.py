"""Scale invariance makes gradients orthogonal to weights, weights grow, and the effective learning rate falls."""

from __future__ import annotations

from common import a, ahat, col, e, h, introduce, k, known, n, w
from sympy import Expr, IndexedBase, Integer, Symbol, sqrt

from fishergeo import batch_norm, layer_norm
from fishergeo.normalizers import Normalizer
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.atoms import atoms
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.indexed import IndexArray
from fishergeo.symbolic.rules import At, Partial
from fishergeo.symbolic.sums import over

R, G, abar, sigma = (
    IndexedBase(name, real=True, positive=name == "sigma" or None) for name in ("R", "G", "abar", "sigma")
)


def build() -> Derivation:
    d = Derivation(7, "The effective learning rate")
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
    v, u, gradient, moved, turned = (IndexedBase(name, real=True) for name in ("w", "what", "G", "v", "vhat"))
    rho, longer, tau = (Symbol(name, positive=True) for name in ("rho", "r", "tau"))
    d.restart()
    d.head("Weights grow")
    d.say(
        """Take one weight vector {} whose length does not matter: the loss depends on its direction alone. Let {}
        be the gradient with respect to that direction; the chain rule gives the gradient with respect to the
        weights.""",
        v[col],
        R[col],
    )
    length = d.define(rho, sqrt(over(v[e] ** 2, e)))
    unit = d.define(u[col], v[col] / rho)
    pulled = d.define(gradient[col], over(R[e] * Partial(u[e], v[col]), e))
    tangent = (R[col] - u[col] * over(u[e] * R[e], e)) / rho
    shape = d.step(gradient[col], tangent, by.projector_identity, [pulled])
    d.say("It falls with the inverse of the length, and is orthogonal to the weights:")
    square = d.step(over(v[e] ** 2, e), rho**2, by.substitution, [length])
    flat = d.step(over(gradient[e] * v[e], e), Integer(0), by.invariance, [shape, unit, square])
    d.say("A step of gradient descent of size {} therefore makes the weights longer, whatever the loss:", tau)
    step = d.define(moved[col], v[col] - tau * gradient[col])
    grown = over(v[e] ** 2, e) + tau**2 * over(gradient[e] ** 2, e)
    d.step(over(moved[e] ** 2, e), grown, by.invariance, [step, flat])
    d.head("Directions turn more slowly")
    d.say("Normalize the weights after the step. The cosine of the angle of the step is the ratio of the lengths,")
    d.define(longer, sqrt(over(moved[e] ** 2, e)))
    after = d.define(turned[col], moved[col] / longer)
    d.step(over(u[e] * turned[e], e), rho / longer, by.invariance, [after, step, unit, flat, square])
    d.say("and for a small step size the direction moves as gradient descent on the unit sphere would,")
    d.step(At(turned[col], tau, Integer(0)), u[col], by.substitution)
    d.step(Partial(turned[col], tau, Integer(0)), -tangent / rho, by.chain_rule)
    d.say(
        """but with the effective learning rate {}, which falls as the weights grow (van Laarhoven 2017; Arora, Li
        and Lyu 2019).""",
        tau / rho**2,
    )


if __name__ == "__main__":
    build().write(__file__)

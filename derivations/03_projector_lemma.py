"""The derivative of standardization is a projector over sigma; batch norm's backward pass and weight norm's
gradient."""

from __future__ import annotations

import sympy
from sympy import Integer, KroneckerDelta, sqrt

from fishergeo import Axis, Standardize
from fishergeo.axes import Site
from fishergeo.standardize import Standardized
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.indexed import IndexArray
from fishergeo.symbolic.rules import Partial, rewrite
from fishergeo.symbolic.sums import INDEX, SIZE, over

n, N = INDEX[Axis.SAMPLE], SIZE[Axis.SAMPLE]
m, n2, n3 = (sympy.Symbol(name, integer=True) for name in ("m", "n'", "n''"))


def vector(name: str) -> sympy.IndexedBase:
    return sympy.IndexedBase(name, real=True)


def build() -> Derivation:
    d = Derivation(3, "The projector lemma")
    standardization(d)
    projector(d)
    code(d)
    batch_norm(d)
    weight_norm(d)
    return d


t, tbar, c, that, P = (vector(name) for name in ("t", "tbar", "c", "that", "P"))
sigma = sympy.Symbol("sigma", positive=True)
mean = sympy.Symbol("tbar", real=True)


def standardization(d: Derivation) -> None:
    d.say(
        """Every normalizer standardizes cells of numbers. Take one cell, {} with {} running from 1 to {}, and
        give its moments names.""",
        t[n],
        n,
        N,
    )
    definitions = [
        d.define(mean, over(t[m], m) / N),
        d.define(c[n], t[n] - mean),
        d.define(sigma, sqrt(over(c[m] ** 2, m) / N)),
        d.define(that[n], c[n] / sigma),
    ]
    d.say("The centered numbers add up to nothing, and the standardized ones have mean 0 and mean square 1.")
    d.step(over(c[m], m), Integer(0), by.linearity_of_the_mean, definitions[:2])
    square = d.step(over(c[m] ** 2, m), N * sigma**2, by.substitution, definitions[2:3])
    d.step(over(that[m], m), Integer(0), by.linearity_of_the_mean, definitions)
    d.step(over(that[m] ** 2, m), N, by.substitution, [definitions[3], square])


def projector(d: Derivation) -> None:
    zero, one = d.steps[-2:]
    d.say("""Now differentiate with respect to one number of the cell. The mean is linear, so that""")
    d.step(Partial(mean, t[n2]), 1 / N, by.linearity_of_the_mean)
    d.step(Partial(c[n], t[n2]), KroneckerDelta(n, n2) - 1 / N, by.linearity_of_the_mean)
    slope = d.step(Partial(sigma, t[n2]), that[n2] / N, by.chain_rule)
    matrix = d.define(P[n, n2], KroneckerDelta(n, n2) - 1 / N - that[n] * that[n2] / N)
    d.say("The quotient rule, with {}, gives the lemma.", slope)
    d.step(Partial(that[n], t[n2]), P[n, n2] / sigma, by.projector_identity, [matrix])
    d.say(
        """The matrix {} is symmetric and its own square: an orthogonal projector. It annihilates the
        constant cells and the cell itself, and nothing else, since its trace is {}.""",
        P[n, n2],
        N - 2,
    )
    d.step(P[n, n2], P[n2, n], by.algebra, [matrix])
    known = [matrix, zero, one]
    d.step(over(P[n, m] * P[m, n2], m), P[n, n2], by.projector_identity, known)
    d.step(over(P[n, m], m), Integer(0), by.projector_identity, known)
    d.step(over(P[n, m] * that[m], m), Integer(0), by.projector_identity, known)
    d.step(over(P[m, m], m), N - 2, by.projector_identity, known)


def code(d: Derivation) -> None:
    matrix = next(step for step in d.steps if step.left == P[n, n2])
    zero = next(step for step in d.steps if step.left == over(that[m], m))
    d.say(
        """The package computes the right side below, for any array; since {} is symmetric the same code gives the
        gradient.""",
        P[n, n2],
    )
    dt = vector("tdot")
    layout = Site.INPUTS.layout(2)
    run = Standardize(Axis.SAMPLE)(IndexArray(t[n], (n, None)), layout)
    named = Standardized(IndexArray(that[n], (n, None)), run.mean, IndexArray(sigma, (None, None)), run.cells, run.weight)
    tangent = named.tangent(IndexArray(dt[n], (n, None))).expr
    d.step(over(P[n, m] * dt[m], m) / sigma, rewrite(tangent, [zero.rule]), by.run_of_the_definition, [matrix, zero])


def batch_norm(d: Derivation) -> None:
    d.head("Batch norm: the backward pass")
    matrix = next(step for step in d.steps if step.left == P[n, n2])
    G, hat, dx = vector("G"), vector("Ghat"), vector("X")
    gamma, dv, dm = sympy.Symbol("gamma", real=True), sympy.Symbol("V", real=True), sympy.Symbol("M", real=True)
    d.say(
        """Ioffe and Szegedy (2015, section 3) send the gradient {} of the loss with respect to the outputs back
        through batch norm with gain {} by the chain rule, in four equations for the standardized inputs, the
        variance, the mean and the inputs.""",
        G[n],
        gamma,
    )
    chain = [
        d.define(hat[n], gamma * G[n]),
        d.define(dv, -over(hat[m] * c[m], m) / (2 * sigma**3)),
        d.define(dm, -over(hat[m], m) / sigma - 2 * dv * over(c[m], m) / N),
        d.define(dx[n], hat[n] / sigma + 2 * dv * c[n] / N + dm / N),
    ]
    centered = next(step for step in d.steps if step.left == over(c[m], m))
    hatted = next(step for step in d.steps if step.left == that[n])
    d.say("They are the projector of the lemma, times the gain over the standard deviation.")
    d.step(
        dx[n], gamma / sigma * over(P[n, m] * G[m], m), by.projector_identity, [*chain[::-1], centered, matrix, hatted]
    )


def weight_norm(d: Derivation) -> None:
    d.head("Weight norm: the gradient")
    e, k, k2 = INDEX[Axis.INPUT], sympy.Symbol("e", integer=True), sympy.Symbol("d'", integer=True)
    v, u, w, G = (vector(name) for name in ("v", "vhat", "w", "G"))
    rho, g = sympy.Symbol("rho", positive=True), sympy.Symbol("g", real=True)
    d.restart()
    d.say(
        """Salimans and Kingma (2016, eq. 2-4) write a weight vector as a length times a direction. A cell that is not
        centered and is divided by its Euclidean norm loses the term {} of the projector.""",
        1 / N,
    )
    names = [
        d.define(rho, sqrt(over(v[k] ** 2, k))),
        d.define(u[e], v[e] / rho),
        d.define(w[e], g * u[e]),
    ]
    d.step(Partial(u[e], v[k2]), (KroneckerDelta(e, k2) - u[e] * u[k2]) / rho, by.projector_identity)
    d.say("With {} the gradient of the loss with respect to {}, the gradients of length and direction are", G[e], w[e])
    d.step(over(G[k] * Partial(w[k], g), k), over(G[k] * v[k], k) / rho, by.chain_rule, names[1:2])
    d.step(
        over(G[k] * Partial(w[k], v[e]), k),
        g / rho * (G[e] - u[e] * over(u[k] * G[k], k)),
        by.chain_rule,
    )


if __name__ == "__main__":
    build().write(__file__)

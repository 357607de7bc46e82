"""The derivative of standardization is a projector over the standard deviation."""

from __future__ import annotations

from symbols import N, P, m, n, n2, q, sigma, v, vbar, vdot, vhat
from sympy import Integer, KroneckerDelta, sqrt

from fishergeo import Axis, Standardize
from fishergeo.axes import Site
from fishergeo.standardize import Standardized
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.indexed import IndexArray
from fishergeo.symbolic.rules import Partial, rewrite
from fishergeo.symbolic.sums import over

spread = sigma.label


def build() -> Derivation:
    d = Derivation.chapter(__file__, "The projector lemma")
    standardization(d)
    projector(d)
    code(d)
    return d


def standardization(d: Derivation) -> None:
    d.say(
        """Every normalizer standardizes cells of numbers. Take one cell, {} with {} running from 1 to {}, and
        give its moments names.""",
        v[n],
        n,
        N,
    )
    definitions = [
        d.define(vbar, over(v[m], m) / N),
        d.define(q[n], v[n] - vbar),
        d.define(spread, sqrt(over(q[m] ** 2, m) / N)),
        d.define(vhat[n], q[n] / spread),
    ]
    d.say("The centered numbers add up to nothing, and the standardized ones have mean 0 and mean square 1.")
    d.step(over(q[m], m), Integer(0), by.linearity_of_the_mean, definitions[:2])
    square = d.step(over(q[m] ** 2, m), N * spread**2, by.substitution, definitions[2:3])
    d.step(over(vhat[m], m), Integer(0), by.linearity_of_the_mean, definitions)
    d.step(over(vhat[m] ** 2, m), N, by.substitution, [definitions[3], square])


def projector(d: Derivation) -> None:
    zero, one = d.steps[-2:]
    d.say("""Now differentiate with respect to one number of the cell. The mean is linear, so that""")
    d.step(Partial(vbar, v[n2]), 1 / N, by.linearity_of_the_mean)
    d.step(Partial(q[n], v[n2]), KroneckerDelta(n, n2) - 1 / N, by.linearity_of_the_mean)
    slope = d.step(Partial(spread, v[n2]), vhat[n2] / N, by.chain_rule)
    matrix = d.define(P[n, n2], KroneckerDelta(n, n2) - 1 / N - vhat[n] * vhat[n2] / N)
    d.say("The quotient rule, with {}, gives the lemma.", slope)
    d.step(Partial(vhat[n], v[n2]), P[n, n2] / spread, by.projector_identity, [matrix])
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
    d.step(over(P[n, m] * vhat[m], m), Integer(0), by.projector_identity, known)
    d.step(over(P[m, m], m), N - 2, by.projector_identity, known)


def code(d: Derivation) -> None:
    matrix = next(step for step in d.steps if step.left == P[n, n2])
    zero = next(step for step in d.steps if step.left == over(vhat[m], m))
    d.say(
        """The package computes the right side below, for any array; since {} is symmetric the same code gives the
        gradient.""",
        P[n, n2],
    )
    layout = Site.INPUTS.layout(2)
    run = Standardize(Axis.SAMPLE)(IndexArray(v[n], (n, None)), layout)
    named = Standardized(
        IndexArray(vhat[n], (n, None)), run.mean, IndexArray(spread, (None, None)), run.cells, run.weight
    )
    tangent = named.tangent(IndexArray(vdot[n], (n, None))).expr
    d.step(over(P[n, m] * vdot[m], m) / spread, rewrite(tangent, [zero.rule]), by.run_of_the_definition, [matrix, zero])


if __name__ == "__main__":
    build().write(__file__)

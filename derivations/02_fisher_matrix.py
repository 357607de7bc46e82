"""The Fisher matrix of a generalized linear model (Ba, Kiros, Hinton 2016, eq. 8-12)."""

from __future__ import annotations

from common import PARTS, F, I, J, agrees, b, col, d2, e, fisher_definition, h, k, n, w, x, z
from sympy import Expr, Function, IndexedBase, Integer, KroneckerDelta, Symbol

from fishergeo import bernoulli, categorical, gaussian, identity, poisson
from fishergeo.families import Family
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.blocks import fisher_block
from fishergeo.symbolic.curvature import ETA, MEAN, PHI, Symmetric, variance_function
from fishergeo.symbolic.curvature import k as unit
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.expectation import Y
from fishergeo.symbolic.rules import At, Partial
from fishergeo.symbolic.sums import over

y, score = (IndexedBase(name, real=True) for name in ("y", "s"))


def build() -> Derivation:
    d = Derivation(2, "The Fisher matrix of a generalized linear model")
    divergence(d)
    model(d)
    families(d)
    return d


def divergence(d: Derivation) -> None:
    theta, step = Symbol("theta", real=True), Symbol("u", real=True)
    eta, c, K = Function("eta"), Function("c"), Function("K")
    d.say(
        """The Kullback-Leibler divergence from the member {} of a family to the member {} is the expectation of the
        difference of their log densities,""",
        theta,
        theta + step,
    )
    density = (Y * theta - eta(theta)) / PHI + c(Y, PHI)
    difference = (eta(theta + step) - eta(theta) - step * Y) / PHI
    d.step(density - density.subs(theta, theta + step), difference, by.algebra)
    d.say("which is linear in the observation, so that only its mean {} enters:", eta(theta).diff(theta))
    d.define(K(step), (eta(theta + step) - eta(theta) - step * eta(theta).diff(theta)) / PHI)
    d.say("It starts with its second order, and the coefficient is the Fisher information:")
    d.step(At(K(step), step, Integer(0)), Integer(0), by.substitution)
    d.step(Partial(K(step), step, Integer(0)), Integer(0), by.differentiation)
    d.step(Partial(Partial(K(step), step), step, Integer(0)), eta(theta).diff(theta, 2) / PHI, by.differentiation)
    d.restart()


def model(d: Derivation) -> None:
    d.head("The model")
    d.say(
        """Rows {} of inputs are cases, and each unit {} has weights {} and a bias {}. The natural parameter is the
        summed input plus the bias,""",
        x[n, col],
        h,
        w[h, col],
        b[h],
    )
    d.define(z[n, h], over(w[h, e] * x[n, e], e) + b[h])
    weight = d.step(Partial(z[n, h], w[I, d2]), KroneckerDelta(h, I) * x[n, d2], by.differentiation)
    bias = d.step(Partial(z[n, h], b[I]), KroneckerDelta(h, I), by.differentiation)
    d.say("The score of a case is a sum over the units,")
    d.define(score[n, I, col], over((y[n, k] - MEAN[n, k]) / PHI * Partial(z[n, k], w[I, col]), k))
    d.say(
        """so that its second moment, averaged over the cases, needs the covariance of the outputs alone, which is
        {} for the units {} and {}. That is the Fisher matrix:""",
        PHI * Symmetric(ETA, n, I, J),
        I,
        J,
    )
    for pair, using in (("ww", [weight]), ("wb", [weight, bias]), ("bb", [bias])):
        definition = fisher_definition(d, *pair)
        block = fisher_block(identity, PARTS[pair[0]], PARTS[pair[1]])
        d.step(definition.left, block.expr, by.chain_rule, [definition, *using])
    block = fisher_block(identity, "weight", "weight")
    d.say("In matrix form, with the mean over cases written as an expectation (Ba, Kiros and Hinton 2016, eq. 12):")
    d.show(block.matrix_latex(), by.comparison, agrees(block, gaussian))


def families(d: Derivation) -> None:
    d.head("Families")
    d.say(
        """Independent outputs have a diagonal covariance, and different units do not interact; the categorical family
        couples all of them. The block {} in terms of the means {}:""",
        F["ww"][I, J, col, d2],
        MEAN[n, h],
    )
    general = fisher_block(identity, "weight", "weight")
    for family in (gaussian, bernoulli, poisson, categorical):
        d.restart()
        d.say(f"{family.name.capitalize()}:")
        definitions = [d.define(Symmetric(ETA, n, h, k), family_curvature(family))]
        if not family.free_dispersion:
            definitions.append(d.define(PHI, Integer(1)))
        block = fisher_block(identity, "weight", "weight", family)
        d.step(general.expr, block.expr, by.substitution, definitions)
        agrees(block, family)


def family_curvature(family: Family) -> Expr:
    """The entry of the units h and k of the second derivative of a family's cumulant."""
    variance = variance_function(family).xreplace({unit: k})
    return variance if family.coupled else KroneckerDelta(h, k) * variance


if __name__ == "__main__":
    build().write(__file__)

"""The Fisher matrix of a generalized linear model (Ba, Kiros, Hinton 2016, eq. 8-12)."""

from __future__ import annotations

from common import agrees, fisher_definition
from symbols import ETA, PARTS, PHI, F, I, J, b, col, d2, e, h, k, k2, mu, n, score, w, x, y, z
from sympy import Expr, Integer, KroneckerDelta

from fishergeo import bernoulli, categorical, gaussian, identity, poisson
from fishergeo.families import Family
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.blocks import fisher_block
from fishergeo.symbolic.curvature import Symmetric, variance_function
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.rules import Partial
from fishergeo.symbolic.sums import over


def build() -> Derivation:
    d = Derivation.chapter(__file__, "The Fisher matrix of a generalized linear model")
    model(d)
    families(d)
    return d


def model(d: Derivation) -> None:
    d.head("The model")
    d.say(
        """The rows of the inputs {} are cases, and each unit {} has weights {} and a bias {}. The natural parameter
        is the summed input plus the bias,""",
        x[n, col],
        h,
        w[h, col],
        b[h],
    )
    d.define(z[n, h], over(w[h, e] * x[n, e], e) + b[h])
    weight = d.step(Partial(z[n, h], w[I, d2]), KroneckerDelta(h, I) * x[n, d2], by.differentiation)
    bias = d.step(Partial(z[n, h], b[I]), KroneckerDelta(h, I), by.differentiation)
    d.say("The score of a case is a sum over the units,")
    d.define(score[n, I, col], over((y[n, k] - mu[n, k]) / PHI * Partial(z[n, k], w[I, col]), k))
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
        mu[n, h],
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
    variance = variance_function(family).xreplace({k2: k})
    return variance if family.coupled else KroneckerDelta(h, k) * variance


if __name__ == "__main__":
    build().write(__file__)

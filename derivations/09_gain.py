"""The metric along gains, and along the lengths of weight vectors (the appendix of Ba, Kiros, Hinton 2016)."""

from __future__ import annotations

from common import fisher_definition, heading, introduce, known, scalings
from symbols import ETA, PHI, F, I, J, N, a, abar, ahat, b, col, d2, e, g, h, k, n, omega, sigma, w, what, x, z
from sympy import Integer, KroneckerDelta

from fishergeo import batch_norm, dataset_rescaling, layer_norm, weight_norm
from fishergeo.normalizers import Normalizer
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.blocks import fisher_block
from fishergeo.symbolic.curvature import Symmetric
from fishergeo.symbolic.derivation import Derivation, Step
from fishergeo.symbolic.rules import Partial
from fishergeo.symbolic.sums import over

STATED = over(Symmetric(ETA, n, I, J), n) / (N * PHI)  # E[Cov[y|x]]/φ²


def build() -> Derivation:
    d = Derivation.chapter(__file__, "Gain and magnitude")
    d.say(
        """How much a change of a gain moves the outputs is measured by the block of the Fisher matrix along the gains.
        The natural parameter is linear in them, so that every normalizer has the same formula, with its own {}.""",
        ahat[n, h],
    )
    batch(d)
    layer(d)
    weight(d)
    robust(d)
    return d


def start(d: Derivation, normalizer: Normalizer) -> tuple[list[Step], Step]:
    """Define the model and its block along the gains, and derive that block."""
    d.restart()
    d.head(heading(normalizer.title))
    names = introduce(d, normalizer)
    d.define(z[n, h], g[h] * ahat[n, h] + b[h])
    slope = d.step(Partial(z[n, h], g[I]), KroneckerDelta(h, I) * ahat[n, I], by.differentiation)
    definition = fisher_definition(d, "g", "g")
    block = fisher_block(normalizer, "gain", "gain")
    return names, d.step(definition.left, block.expr, by.chain_rule, [definition, slope])


def batch(d: Derivation) -> None:
    names, block = start(d, batch_norm)
    independent = d.define(Symmetric(ETA, n, h, k), KroneckerDelta(h, k) * omega[n, h])
    d.say(
        """Ba, Kiros and Hinton (2016, appendix) state the mean of the covariance alone. That is another number already
        for independent outputs of variance {}, where the variance of a case goes with the square of its {}:""",
        PHI * omega[n, h],
        ahat[n, h],
    )
    d.refute(block.left, STATED, by.counterexample_found)
    d.say("It is right for independent outputs of constant variance, since that square is 1 on average:")
    square = known(d, batch_norm, by.projector_identity, names[::-1])[-1]
    constant = d.define(omega[n, h], Integer(1))
    d.step(block.left, STATED, by.substitution, [block, independent, constant, square])


def layer(d: Derivation) -> None:
    names, block = start(d, layer_norm)
    d.say("Here the appendix has the normalized summed inputs, and is right:")
    deviation = [a[n, unit] - abar[n] for unit in (I, J)]
    printed = over(Symmetric(ETA, n, I, J) * deviation[0] * deviation[1] / sigma[n] ** 2, n) / (N * PHI)
    d.step(block.left, printed, by.substitution, [block, names[-1]])


def weight(d: Derivation) -> None:
    names, block = start(d, weight_norm)
    d.say("In terms of inputs and weights this is")
    summed = over(w[I, e] * x[n, e], e), over(w[J, e] * x[n, e], e)
    printed = over(Symmetric(ETA, n, I, J) * summed[0] * summed[1], n) / (N * PHI * sigma[I] * sigma[J])
    d.step(block.left, printed, by.substitution, [block, *names[::-1]])
    d.say(
        "which is what the generalized linear model without normalization has along the direction of each weight vector:"
    )
    plain = d.define(F["ww"][I, J, col, d2], over(Symmetric(ETA, n, I, J) * x[n, col] * x[n, d2], n) / (N * PHI))
    along = over(what[I, e] * F["ww"][I, J, e, d2] * what[J, d2], e, d2)
    d.step(along, block.left, by.substitution, [plain, block, names[-1]])
    d.say(
        """The gain of weight norm is the length of a weight vector under another name, and its block changes with the
        scale of the inputs as that does."""
    )


def robust(d: Derivation) -> None:
    d.head("Scale")
    d.say(
        """Under batch norm and layer norm a gain moves the outputs by as much, whatever the scale of inputs and weights.
        Under weight norm the scale of the inputs counts, as it does without normalization. A star means: only where the
        covariance of the outputs does not depend on the natural parameter, since the predictions change."""
    )
    d.say("The factors by which the blocks change under dataset rescaling, {}:", dataset_rescaling.formula)
    d.insert(*scalings(dataset_rescaling))


if __name__ == "__main__":
    build().write(__file__)

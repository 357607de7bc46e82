"""How the blocks of the Fisher matrix change when weights are rescaled: by 1/4, not 1/2, when a weight vector
doubles."""

from __future__ import annotations

from common import introduce, scalings
from symbols import (
    PARTS,
    F,
    Ftilde,
    I,
    J,
    N,
    Psitilde,
    ahat,
    atilde,
    atildebar,
    atildehat,
    col,
    delta,
    e,
    h,
    m,
    n,
    sigma,
    sigmatilde,
    w,
    wtilde,
    x,
)
from sympy import Expr, IndexedBase, Integer, KroneckerDelta, sqrt

from fishergeo import batch_norm, weight_matrix_rescaling, weight_vector_rescaling
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.blocks import fisher_block
from fishergeo.symbolic.derivation import Derivation, Step
from fishergeo.symbolic.rules import Partial
from fishergeo.symbolic.sums import over


def build() -> Derivation:
    d = Derivation.chapter(__file__, "How the Fisher matrix scales")
    facts = rescaled(d)
    blocks(d, facts)
    tables(d)
    return d


def rescaled(d: Derivation) -> list[Step]:
    d.say("Take batch norm, and write down its names once more, for the weights {} and for rescaled weights.", w[h, col])
    old = introduce(d, batch_norm)
    new = [
        d.define(wtilde[h, col], delta[h] * w[h, col]),
        d.define(atilde[n, h], over(wtilde[h, e] * x[n, e], e)),
        d.define(atildebar[h], over(atilde[m, h], m) / N),
        d.define(sigmatilde[h], sqrt(over((atilde[m, h] - atildebar[h]) ** 2, m) / N)),
        d.define(atildehat[n, h], (atilde[n, h] - atildebar[h]) / sigmatilde[h]),
    ]
    d.say("The standard deviation takes the factor, and nothing is left of it in the normalized summed inputs:")
    spread = d.step(sigmatilde[h], delta[h] * sigma[h], by.linearity_of_the_mean, [*new[:4], *old])
    same = d.step(atildehat[n, h], ahat[n, h], by.invariance, [*new, *old])
    d.say(
        """so that predictions, and the covariance of the outputs, stay what they were. What changes is the
        derivative. It is the expression of the projector lemma, at {} and at the rescaled weights:""",
        w[h, col],
    )
    before = d.step(Partial(ahat[n, h], w[I, col]), projector(ahat, sigma), by.projector_identity)
    after = d.define(Psitilde[n, h, I, col], projector(atildehat, sigmatilde))
    d.step(Partial(atildehat[n, h], w[I, col]), delta[I] * after.left, by.chain_rule, [after, spread, same, before])
    d.say("The new derivative is the old one, divided by the factor:")
    d.step(after.left, before.left / delta[I], by.invariance, [after, spread, same, before])
    d.say("Along the weight vector itself it vanishes, as it must where the length does not matter:")
    d.step(over(w[I, e] * Partial(ahat[n, h], w[I, e]), e), Integer(0), by.invariance)
    return [spread, same]


def projector(hat: IndexedBase, scale: IndexedBase) -> Expr:
    """The derivative of the normalized summed inputs of unit h with respect to the weights of unit i."""
    moments = over(x[m, col], m) / N + hat[n, I] * over(hat[m, I] * x[m, col], m) / N
    return KroneckerDelta(h, I) / scale[I] * (x[n, col] - moments)


def blocks(d: Derivation, facts: list[Step]) -> None:
    d.head("The blocks")
    d.say("The blocks before, and after with the rescaled weights in their place:")
    names = {sigma: sigmatilde, ahat: atildehat}
    laws, before = {}, {}
    for old in ("ww", "wb", "wg"):
        block = fisher_block(batch_norm, PARTS[old[0]], PARTS[old[1]])
        first, second = (blocks[old][block.indices] for blocks in (F, Ftilde))
        definitions = [d.define(first, block.expr), d.define(second, block.expr.xreplace(names))]
        factor = delta[I] * (delta[J] if old == "ww" else 1)
        laws[old] = d.step(second, first / factor, by.substitution, [*definitions, *facts])
        before[old] = first
    d.say("The blocks of biases and gains contain the weights through {} alone, and do not change.", ahat[n, h])
    d.head("Doubling the weight vectors")
    two = d.define(delta[h], Integer(2))
    d.step(laws["ww"].left, before["ww"] / 4, by.substitution, [laws["ww"], two])
    d.step(laws["wb"].left, before["wb"] / 2, by.substitution, [laws["wb"], two])
    d.step(laws["wg"].left, before["wg"] / 2, by.substitution, [laws["wg"], two])
    d.say(
        """Ba, Kiros and Hinton (2016, section 5.2.2) state that the curvature along a weight vector changes by a
        factor of 1/2. The block changes by 1/4, lengths in that metric by 1/2, and the curvature along the weight
        vector itself is 0. The stated factor has a counterexample:"""
    )
    d.refute(laws["ww"].left, before["ww"] / 2, by.counterexample_found)


def tables(d: Derivation) -> None:
    d.head("All normalizers")
    d.say(
        """The factors by which the blocks change, found by running the definitions in index notation before and
        after. A row with a star holds only where the covariance of the outputs does not depend on the natural
        parameter, since the predictions change. A dash: no such law."""
    )
    for transformation in (weight_vector_rescaling, weight_matrix_rescaling):
        d.say(f"{transformation.title.capitalize()}, {{}}:", transformation.formula)
        d.insert(*scalings(transformation))


if __name__ == "__main__":
    build().write(__file__)

"""The Fisher matrix of a normalized model (Ba, Kiros, Hinton 2016, eq. 13-14), and what it misses for layer norm."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from common import agrees, fisher_definition, introduce, known
from symbols import (
    ETA,
    PARTS,
    PHI,
    H,
    I,
    J,
    N,
    abar,
    ahat,
    b,
    chi,
    col,
    d2,
    g,
    h,
    m,
    n,
    sigma,
    w,
    what,
    x,
    z,
)
from sympy import Integer, KroneckerDelta, sqrt

from fishergeo import batch_norm, bernoulli, categorical, gaussian, layer_norm, weight_norm
from fishergeo.levels import Level
from fishergeo.normalizers import Normalizer
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.arrays import exact_fisher, exact_jacobian
from fishergeo.symbolic.blocks import fisher_block
from fishergeo.symbolic.certainty import Certificate
from fishergeo.symbolic.curvature import Symmetric
from fishergeo.symbolic.derivation import Derivation, Step
from fishergeo.symbolic.latex import matrix, relative_gap
from fishergeo.symbolic.rules import Partial
from fishergeo.symbolic.sums import over


def build() -> Derivation:
    d = Derivation.chapter(__file__, "The Fisher matrix of a normalized model")
    batch(d)
    weight(d)
    layer(d)
    return d


def start(d: Derivation, normalizer: Normalizer) -> list[Step]:
    """Define the model with this normalizer, and derive the sums of its names."""
    d.restart()
    names = introduce(d, normalizer)
    d.define(z[n, h], g[h] * ahat[n, h] + b[h])
    d.say("By the projector lemma,")
    known(d, normalizer, by.projector_identity, names[::-1])
    return names


def blocks(
    d: Derivation, normalizer: Normalizer, slopes: dict[str, Step], pairs: Iterable[str], using: list[Step]
) -> None:
    """Define blocks of the Fisher matrix and derive them from the derivatives of z."""
    for pair in pairs:
        definition = fisher_definition(d, *pair)
        block = fisher_block(normalizer, PARTS[pair[0]], PARTS[pair[1]])
        needed = list(dict.fromkeys(slopes[part] for part in pair))
        d.step(definition.left, block.expr, by.chain_rule, [definition, *needed, *using])


def gain_and_bias(d: Derivation) -> dict[str, Step]:
    return {
        "b": d.step(Partial(z[n, h], b[I]), KroneckerDelta(h, I), by.differentiation),
        "g": d.step(Partial(z[n, h], g[I]), KroneckerDelta(h, I) * ahat[n, I], by.differentiation),
    }


def batch(d: Derivation) -> None:
    d.head("Batch norm")
    d.say("Batch norm standardizes every summed input over the cases. With gain and bias the model is")
    start(d, batch_norm)
    d.say("Mean and standard deviation depend on the weights of their own unit only:")
    d.step(Partial(abar[h], w[I, col]), KroneckerDelta(h, I) * over(x[m, col], m) / N, by.linearity_of_the_mean)
    spread = KroneckerDelta(h, I) / N * (over(ahat[m, I] * x[m, col], m))
    d.step(Partial(sigma[h], w[I, col]), spread, by.chain_rule)
    d.say("Ba, Kiros and Hinton (2016, eq. 14) collect them in")
    definition = d.define(
        chi[n, I, col], x[n, col] - over(x[m, col], m) / N - ahat[n, I] * over(ahat[m, I] * x[m, col], m) / N
    )
    d.say("with which the derivatives of the natural parameters, and the blocks, are")
    slope = d.step(Partial(z[n, h], w[I, col]), KroneckerDelta(h, I) * g[I] / sigma[I] * chi[n, I, col], by.chain_rule)
    slopes = {"w": slope, **gain_and_bias(d)}
    short = fisher_definition(d, "w", "w")
    printed = (
        g[I] * g[J] / (N * PHI * sigma[I] * sigma[J]) * over(Symmetric(ETA, n, I, J) * chi[n, I, col] * chi[n, J, d2], n)
    )
    d.step(short.left, printed, by.chain_rule, [short, slope])
    block = fisher_block(batch_norm, "weight", "weight")
    d.step(short.left, block.expr, by.substitution, [short, slope, definition])
    blocks(d, batch_norm, slopes, ("wb", "wg", "bb", "bg", "gg"), [definition])
    d.say("This is equation (13) of that paper, exact for batch norm with the statistics of the batch differentiated:")
    for family in (gaussian, bernoulli, categorical):
        d.say(f"{family.name.capitalize()} outputs:")
        block = fisher_block(batch_norm, "weight", "weight", family)
        d.show(block.matrix_latex(), by.comparison, agrees(block, family))


def weight(d: Derivation) -> None:
    d.head("Weight norm")
    d.say("Weight norm divides every weight vector by its length.")
    start(d, weight_norm)
    slopes = {
        "w": d.step(
            Partial(z[n, h], w[I, col]),
            KroneckerDelta(h, I) * g[I] / sigma[I] * (x[n, col] - ahat[n, I] * what[I, col]),
            by.projector_identity,
        ),
        **gain_and_bias(d),
    }
    blocks(d, weight_norm, slopes, ("ww", "wb", "wg"), [])
    d.say("The units do not meet in a derivative, and equation (13) is exact once more.")
    block = fisher_block(weight_norm, "weight", "weight", bernoulli)
    d.show(block.matrix_latex(), by.comparison, agrees(block, bernoulli))


def layer(d: Derivation) -> None:
    d.head("Layer norm")
    d.say("Layer norm standardizes the summed inputs of one case over the units.")
    start(d, layer_norm)
    facts = [step for step in d.steps if step.certificate][-2:]
    d.say("Now every natural parameter of a case depends on the weights of every unit:")
    projected = KroneckerDelta(h, I) - 1 / H - ahat[n, h] * ahat[n, I] / H
    slope = d.step(Partial(z[n, h], w[I, col]), g[h] / sigma[n] * projected * x[n, col], by.projector_identity)
    d.say("Equation (13) keeps the derivative of a unit with respect to its own weights, with")
    own = d.define(chi[n, I, col], x[n, col] - Partial(abar[n], w[I, col]) - ahat[n, I] * Partial(sigma[n], w[I, col]))
    mean = d.step(Partial(abar[n], w[I, col]), x[n, col] / H, by.linearity_of_the_mean)
    spread = d.step(Partial(sigma[n], w[I, col]), ahat[n, I] * x[n, col] / H, by.chain_rule)
    d.step(chi[n, I, col], x[n, col] * (1 - 1 / H - ahat[n, I] ** 2 / H), by.substitution, [own, mean, spread])
    d.say("and drops what a weight does to the other units of the case, through the mean and the standard deviation:")
    dropped = -(1 - KroneckerDelta(h, I)) * g[h] / (H * sigma[n]) * (1 + ahat[n, h] * ahat[n, I]) * x[n, col]
    kept = KroneckerDelta(h, I) * g[I] / sigma[n] * chi[n, I, col]
    d.step(Partial(z[n, h], w[I, col]) - kept, dropped, by.algebra, [slope, own, mean, spread])
    slopes = {"w": slope, **gain_and_bias(d)}
    d.say("The true block couples all units of a case, whatever the family:")
    blocks(d, layer_norm, slopes, ("ww", "wb", "wg"), facts)
    d.say("In matrix form, with the projector of layer norm in the matrix that mixes the units:")
    block = fisher_block(layer_norm, "weight", "weight")
    d.show(block.matrix_latex(), by.comparison, agrees(block, categorical))
    gap(d)


def gap(d: Derivation) -> None:
    """The relative gap of eq. (13) at one small rational model, exactly."""
    X, W = np.eye(3, dtype=int), np.array([[1, 0, -1], [0, -1, 1], [-1, 1, 0]])
    gain, eye = np.ones(3, dtype=int), np.stack([np.eye(3, dtype=int)] * 3)
    exact = exact_fisher(layer_norm, X, W, eye, gain)
    columns = exact_jacobian(layer_norm, X, W, gain)
    size = len(columns) // 3
    for unit in range(3):
        others = [other for other in range(3) if other != unit]
        columns[unit * size : (unit + 1) * size, :, others] = Integer(0)
    printed = np.einsum("pnh,nhk,qnk->pq", columns, eye.astype(object), columns) / 3
    ratio = sum(((printed - exact) ** 2).ravel()) / sum((exact**2).ravel())
    d.say(
        """How much is lost depends on the model. With inputs {}, weights {}, unit gain and the Gaussian family,
        the relative gap in the Frobenius norm of the whole matrix is""",
        matrix(X),
        matrix(W),
    )
    d.show(relative_gap(sqrt(ratio)), by.exact_arithmetic, Certificate(Level.EXACT))


if __name__ == "__main__":
    build().write(__file__)

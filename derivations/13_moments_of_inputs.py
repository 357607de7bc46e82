"""What the Fisher matrix needs to know of the inputs: mean and covariance, where the Fisher weight is constant."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
from common import introduce, known
from symbols import PARTS, I, N, S, abar, ahat, col, d2, e, m, s, sigma, tau, w, x, xbar
from sympy import Rational, nsimplify, sqrt

from fishergeo import GLM, any_inputs, batch_norm, closed_form, gaussian, identity, layer_norm
from fishergeo.normalizers import Normalizer
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.arrays import exact_fisher
from fishergeo.symbolic.blocks import fisher_block
from fishergeo.symbolic.certainty import FalseStep
from fishergeo.symbolic.curvature import Symmetric
from fishergeo.symbolic.derivation import Derivation, Step
from fishergeo.symbolic.latex import matrix
from fishergeo.symbolic.sums import over


def build() -> Derivation:
    d = Derivation.chapter(__file__, "What mean and covariance of the inputs determine")
    d.say(
        """A Gaussian family under the identity link has a Fisher weight that does not depend on the predictor;
        so have the gamma family under the logarithmic link and the Poisson family under the square root, which stabilize
        the variance. Mean and covariance of the inputs are"""
    )
    plain(d)
    batch(d)
    layer(d)
    return d


def moments(d: Derivation) -> list[Step]:
    return [
        d.define(xbar[col], over(x[m, col], m) / N),
        d.define(Symmetric(S, col, d2), over((x[m, col] - xbar[col]) * (x[m, d2] - xbar[d2]), m) / N),
    ]


def blocks(d: Derivation, normalizer: Normalizer, because: by.Justification, using: list[Step]) -> None:
    """Every block as a mean over cases is what the moments make of it."""
    form = closed_form(GLM(gaussian, normalizer), any_inputs)
    for row, column in combinations_with_replacement([part for part in PARTS.values() if part in form.parts], 2):
        block, closed = fisher_block(normalizer, row, column, gaussian), form.block(row, column).expr
        if block.expr != closed:
            d.step(block.expr, closed, because, using if row == "weight" else using[:4])


def plain(d: Derivation) -> None:
    names = moments(d)
    d.say("Without a normalizer the blocks are second moments of the inputs:")
    blocks(d, identity, by.linearity_of_the_mean, names)


def batch(d: Derivation) -> None:
    d.restart()
    d.head("Batch norm")
    d.say("Batch norm needs the same two moments. With its names")
    names = introduce(d, batch_norm)
    known(d, batch_norm, by.projector_identity, names[::-1])
    d.say("and with the covariance of the inputs, from which come the spread of a unit and its direction,")
    own = moments(d)
    own.append(d.define(tau[I], sqrt(over(w[I, col] * Symmetric(S, col, d2) * w[I, d2], col, d2))))
    d.say("the mean of the summed inputs, their standard deviation and their covariance with the inputs are")
    d.step(abar[I], over(w[I, e] * xbar[e], e), by.linearity_of_the_mean, [*names[:2], own[0]])
    spread = d.step(sigma[I], tau[I], by.substitution, [*names[:3], *own])
    direction = d.define(s[I, col], over(Symmetric(S, col, e) * w[I, e], e) / tau[I])
    slope = over(ahat[m, I] * x[m, col], m) / N
    d.step(slope, s[I, col], by.substitution, [*names, direction, *own, spread])
    d.say("so that the blocks contain the cases no longer:")
    blocks(d, batch_norm, by.substitution, [*names, *own, direction])
    d.say(
        """These are identities for every batch, of any size. The weight block is the covariance of the inputs without
        the direction {} in which the unit already varies.""",
        s[I, col],
    )


def layer(d: Derivation) -> None:
    d.restart()
    d.head("Layer norm")
    batches = (np.array([[5, 5], [-5, -5], [5, -5], [-5, 5]]), np.array([[-1, 7], [1, -7], [7, 1], [-7, -1]]))
    W = np.array([[1, 0], [0, 1], [-2, 1]])
    if any((X.mean(axis=0) != 0).any() or (100 * np.eye(2, dtype=int) != X.T @ X).any() for X in batches):
        raise FalseStep("the batches have different moments")
    (same, other), (first, second) = ([trace(norm, X, W) for X in batches] for norm in (batch_norm, layer_norm))
    if same != other or first == second:
        raise FalseStep("the batches were to tell layer norm from batch norm")
    d.say(
        """Under layer norm the blocks contain the standard deviation of every single case in the denominator, and two
        moments do not suffice. The inputs {} and {}, one row for each case, have the same mean and the same covariance.
        With weights {} and unit gains the trace of the weight blocks under batch norm is {} for both; under layer norm
        it is {} for the first and {} for the second (exact arithmetic).""",
        *map(matrix, batches),
        matrix(W),
        same,
        first,
        second,
    )


def trace(normalizer: Normalizer, X: np.ndarray, W: np.ndarray) -> Rational:
    """The trace of the weight blocks for Gaussian outputs, exactly."""
    H, D = W.shape
    F = exact_fisher(normalizer, X, W, np.stack([np.eye(H, dtype=int)] * len(X)), np.ones(H, dtype=int))
    return nsimplify(sum(F[k, k] for k in range(len(F)) if k % (D + 2) < D))


if __name__ == "__main__":
    build().write(__file__)

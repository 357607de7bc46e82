"""The Kullback-Leibler divergence between nearby members of a family is the Fisher metric, to second order."""

from __future__ import annotations

from common import second, third
from symbols import (
    ETA,
    KL,
    PHI,
    F,
    I,
    J,
    L,
    N,
    Y,
    base,
    change,
    col,
    d2,
    e,
    eta,
    h,
    k,
    k2,
    mu,
    n,
    part,
    psi,
    theta,
    x,
    z,
    zeta,
)
from sympy import Integer, KroneckerDelta

from fishergeo import bernoulli, gaussian, identity, poisson
from fishergeo.families import Family
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.blocks import fisher_block
from fishergeo.symbolic.curvature import Symmetric, variance_function
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.rules import At, Partial, elementary
from fishergeo.symbolic.sums import over


def build() -> Derivation:
    d = Derivation.chapter(__file__, "The Kullback-Leibler divergence and the metric")
    one_parameter(d)
    for family in (gaussian, poisson, bernoulli):
        member(d, family)
    model(d)
    return d


def one_parameter(d: Derivation) -> None:
    d.say(
        """The Kullback-Leibler divergence from the member {} of a family to the member {} is the expectation, under
        the first, of the difference of their log densities,""",
        theta,
        theta + change,
    )
    density = (Y * theta - eta(theta)) / PHI + base(Y, PHI)
    difference = (eta(theta + change) - eta(theta) - change * Y) / PHI
    d.step(density - density.subs(theta, theta + change), difference, by.algebra)
    d.say("which is linear in the observation, so that only its mean {} enters:", eta(theta).diff(theta))
    d.define(KL(change), (eta(theta + change) - eta(theta) - change * eta(theta).diff(theta)) / PHI)
    information = eta(theta).diff(theta, 2) / PHI
    d.say("It starts with its second order, and the coefficient is the Fisher information {}:", information)
    d.step(At(KL(change), change, Integer(0)), Integer(0), by.substitution)
    d.step(Partial(KL(change), change, Integer(0)), Integer(0), by.differentiation)
    d.step(second(KL(change), change), information, by.differentiation)
    d.say("What is left is of third order, and where the information changes with the parameter it is no smaller:")
    d.step(third(KL(change), change), eta(theta).diff(theta, 3) / PHI, by.differentiation)
    d.say("The divergence in the other direction has the same second order, and twice the third:")
    slope = Partial(eta(theta + change), change)
    d.define(L(change), (eta(theta) - eta(theta + change) + change * slope) / PHI)
    d.step(second(L(change), change), information, by.differentiation)
    d.step(third(L(change), change), 2 * eta(theta).diff(theta, 3) / PHI, by.differentiation)
    d.say(
        """So half the square of the length in the Fisher metric is either divergence up to terms of third order
        (Ba, Kiros and Hinton 2016, eq. 8), and the two differ by such a term."""
    )


def member(d: Derivation, family: Family) -> None:
    d.restart()
    d.head(family.name.capitalize())
    phi = PHI if family.free_dispersion else Integer(1)
    natural, _, whole = family.symbols
    cumulant = elementary(family.cumulant(whole)).subs(natural, theta)
    at = mu.label
    mean = d.define(at, elementary(family.mean_expression).subs(natural, theta))
    divergence = d.define(KL(change), (cumulant.subs(theta, theta + change) - cumulant - change * at) / phi)
    variance = variance_function(family).xreplace({mu[n, h]: at})
    if not variance.has(at):
        d.say("The information is constant, and the divergence is half the square of the length:")
        d.step(KL(change), change**2 * variance / (2 * phi), by.algebra, [divergence, mean])
        return
    d.say("The information is {}, and the third order is that times its derivative by the mean:", variance)
    d.step(second(KL(change), change), variance, by.differentiation, [mean])
    d.step(third(KL(change), change), variance * variance.diff(at), by.differentiation, [mean])


def model(d: Derivation) -> None:
    d.restart()
    d.head("A generalized linear model")
    d.say(
        """Move the weights of a generalized linear model by {}. The natural parameters of a case move by""",
        psi[h, col],
    )
    moved = d.define(zeta[n, h], over(psi[h, e] * x[n, e], e))
    d.say("At the fraction {} of the way the divergence of independent outputs, averaged over the cases, is", part)
    here, there = eta(z[n, k]), eta(z[n, k] + part * zeta[n, k])
    d.define(KL(part), over(there - here - part * zeta[n, k] * here.diff(z[n, k]), n, k) / (N * PHI))
    d.say("Its first order vanishes, and its second is the square of the length of the move in the Fisher metric:")
    d.step(Partial(KL(part), part, Integer(0)), Integer(0), by.differentiation)
    square = over(zeta[n, k] ** 2 * here.diff(z[n, k], 2), n, k) / (N * PHI)
    d.step(second(KL(part), part), square, by.differentiation)
    curvature = d.define(Symmetric(ETA, n, h, k2), KroneckerDelta(h, k2) * eta(z[n, h]).diff(z[n, h], 2))
    block = fisher_block(identity, "weight", "weight")
    fisher = d.define(F["ww"][block.indices], block.expr)
    length = over(psi[I, col] * F["ww"][block.indices] * psi[J, d2], I, J, col, d2)
    d.step(length, square, by.substitution, [fisher, curvature, moved])


if __name__ == "__main__":
    build().write(__file__)

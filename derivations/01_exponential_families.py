"""Exponential families: mean and variance from the cumulant, and the Fisher information of theta, taken exactly."""

from __future__ import annotations

import sympy
from sympy import Function, Integer, KroneckerDelta, Symbol, exp, log

from fishergeo import Family, bernoulli, categorical, gaussian, poisson
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.curvature import MEAN, PHI, h, k, n, variance_function
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.expectation import Y, expectation, log_density
from fishergeo.symbolic.rules import Partial, elementary
from fishergeo.symbolic.sums import I, J, over

ETA = Function("eta")


def build() -> Derivation:
    d = Derivation(1, "Exponential families")
    cumulant(d)
    d.restart()
    for family in (gaussian, bernoulli, poisson):
        one_output(d, family)
    coupled(d)
    return d


def cumulant(d: Derivation) -> None:
    theta, s = Symbol("theta", real=True), Symbol("s", real=True)
    eta, c, K = ETA, Function("c"), Function("K")
    density = (Y * theta - eta(theta)) / PHI + c(Y, PHI)
    d.say(
        """An exponential-dispersion family has the log density {} with natural parameter {}, dispersion {} and cumulant
        {} (McCullagh and Nelder 1989, section 2.2). Tilting the density by a factor, whose logarithm is {}, gives
        the density of another member of the family, times a number that does not depend on the observation.""",
        density,
        theta,
        PHI,
        eta,
        s * Y,
    )
    tilted = density.subs(theta, theta + PHI * s)
    d.step(density + s * Y, tilted + (eta(theta + PHI * s) - eta(theta)) / PHI, by.algebra)
    d.say("Densities integrate to one, so that number is the logarithm of the expectation of the factor,")
    d.define(K(s), (eta(theta + PHI * s) - eta(theta)) / PHI)
    d.say("and its derivatives are the mean and the variance of the observation.")
    d.step(Partial(K(s), s, Integer(0)), eta(theta).diff(theta), by.differentiation)
    d.step(Partial(Partial(K(s), s), s, Integer(0)), PHI * eta(theta).diff(theta, 2), by.differentiation)
    d.say("The score is the centered observation over the dispersion,")
    d.step(Partial(density, theta), (Y - eta(theta).diff(theta)) / PHI, by.differentiation)
    d.say("and the Fisher information, its variance, is {}.", eta(theta).diff(theta, 2) / PHI)


def one_output(d: Derivation, family: Family) -> None:
    """Everything the general argument says, once more for one family, by exact sums or integrals."""
    theta, _, whole = family.symbols
    mean, curvature = family.mean_expression, family.hessian_expression
    phi = PHI if family.free_dispersion else Integer(1)
    d.head(family.name.capitalize())
    d.say("The cumulant and its derivatives are")
    d.define(ETA(theta), family.cumulant(whole))
    d.step(Partial(ETA(theta), theta), mean, by.differentiation)
    d.step(Partial(Partial(ETA(theta), theta), theta), curvature, by.differentiation)
    variance = variance_function(family)
    if variance.has(MEAN[n, h]):
        mu = d.define(MEAN.label, mean)
        if mean != elementary(mean):
            d.step(MEAN.label, elementary(mean), by.algebra, [mu])
        d.say("The second derivative is a function of the mean, the variance function:")
        d.step(Partial(MEAN.label, theta), variance.subs(MEAN[n, h], MEAN.label), by.differentiation)
    d.say("The log density is {}. It adds up to one, and has that mean and that variance:", log_density(family))
    d.step(expectation(family, Integer(1)), Integer(1), by.exact_expectation)
    d.step(expectation(family, Y), mean, by.exact_expectation)
    d.step(expectation(family, (Y - mean) ** 2), phi * curvature, by.exact_expectation)
    d.say("The Fisher information of {} is the mean square of the score.", theta)
    d.step(Partial(log_density(family), theta), (Y - mean) / phi, by.differentiation)
    d.step(expectation(family, ((Y - mean) / phi) ** 2), curvature / phi, by.exact_expectation)
    d.restart()


def coupled(d: Derivation) -> None:
    m = Symbol("k", integer=True)
    theta, p = sympy.IndexedBase("theta", real=True), sympy.IndexedBase("mu", real=True)
    d.restart()
    d.head(categorical.name.capitalize())
    d.say(
        """The observation is one of the {} unit vectors; the cumulant couples the outputs. Write the
        probabilities, which are also the means, as""",
        Symbol("H"),
    )
    total = over(exp(theta[m]), m)
    definition = d.define(p[h], exp(theta[h]) / total)
    one = d.step(over(p[m], m), Integer(1), by.algebra, [definition])
    d.say("An expectation over one-hot vectors is a sum over their places. The mean and the covariance are")
    d.step(over(p[m] * KroneckerDelta(m, h), m), Partial(log(total), theta[h]), by.exact_expectation, [definition])
    covariance = over(p[m] * (KroneckerDelta(m, I) - p[I]) * (KroneckerDelta(m, J) - p[J]), m)
    right = p[I] * KroneckerDelta(I, J) - p[I] * p[J]
    d.step(covariance, right, by.exact_expectation, [one])
    d.say("and the second derivatives of the cumulant agree. The package finds the same matrix from the cumulant alone.")
    d.step(Partial(Partial(log(total), theta[I]), theta[J]), right, by.differentiation)
    units = {MEAN[n, h]: p[I], MEAN[n, k]: p[J], KroneckerDelta(h, k): KroneckerDelta(I, J)}
    found = variance_function(categorical).xreplace(units)
    d.check(found, right, by.run_of_the_definition)


if __name__ == "__main__":
    build().write(__file__)

"""Exponential families: mean and variance from the cumulant, and the Fisher information of theta, taken exactly."""

from __future__ import annotations

from symbols import PHI, H, I, J, Lambda, Y, base, eta, h, k, k2, mu, n, theta, thetas, tilt
from sympy import Integer, KroneckerDelta, exp, log

from fishergeo import Family, bernoulli, categorical, gaussian, poisson
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.curvature import variance_function
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.expectation import expectation, log_density
from fishergeo.symbolic.rules import Partial, elementary
from fishergeo.symbolic.sums import over


def build() -> Derivation:
    d = Derivation.chapter(__file__, "Exponential families")
    cumulant(d)
    d.restart()
    for family in (gaussian, bernoulli, poisson):
        one_output(d, family)
    coupled(d)
    return d


def cumulant(d: Derivation) -> None:
    density = (Y * theta - eta(theta)) / PHI + base(Y, PHI)
    d.say(
        """An exponential-dispersion family has the log density {} with natural parameter {}, dispersion {} and cumulant
        {} (McCullagh and Nelder 1989, section 2.2). Tilting the density by a factor, whose logarithm is {}, gives
        the density of another member of the family, times a number that does not depend on the observation.""",
        density,
        theta,
        PHI,
        eta,
        tilt * Y,
    )
    tilted = density.subs(theta, theta + PHI * tilt)
    d.step(density + tilt * Y, tilted + (eta(theta + PHI * tilt) - eta(theta)) / PHI, by.algebra)
    d.say("Densities integrate to one, so that number is the logarithm of the expectation of the factor,")
    d.define(Lambda(tilt), (eta(theta + PHI * tilt) - eta(theta)) / PHI)
    d.say("and its derivatives are the mean and the variance of the observation.")
    d.step(Partial(Lambda(tilt), tilt, Integer(0)), eta(theta).diff(theta), by.differentiation)
    d.step(Partial(Partial(Lambda(tilt), tilt), tilt, Integer(0)), PHI * eta(theta).diff(theta, 2), by.differentiation)
    d.say("The score is the centered observation over the dispersion,")
    d.step(Partial(density, theta), (Y - eta(theta).diff(theta)) / PHI, by.differentiation)
    d.say("and the Fisher information, its variance, is {}.", eta(theta).diff(theta, 2) / PHI)


def one_output(d: Derivation, family: Family) -> None:
    """Everything the general argument says, once more for one family, by exact sums or integrals."""
    natural, _, whole = family.symbols
    assert natural == theta
    mean, curvature = family.mean_expression, family.hessian_expression
    phi = PHI if family.free_dispersion else Integer(1)
    d.head(family.name.capitalize())
    d.say("The cumulant and its derivatives are")
    d.define(eta(theta), family.cumulant(whole))
    d.step(Partial(eta(theta), theta), mean, by.differentiation)
    d.step(Partial(Partial(eta(theta), theta), theta), curvature, by.differentiation)
    variance = variance_function(family)
    if variance.has(mu[n, h]):
        named = d.define(mu.label, mean)
        if mean != elementary(mean):
            d.step(mu.label, elementary(mean), by.algebra, [named])
        d.say("The second derivative is a function of the mean, the variance function:")
        d.step(Partial(mu.label, theta), variance.subs(mu[n, h], mu.label), by.differentiation)
    d.say("The log density is {}. It adds up to one, and has that mean and that variance:", log_density(family))
    d.step(expectation(family, Integer(1)), Integer(1), by.exact_expectation)
    d.step(expectation(family, Y), mean, by.exact_expectation)
    d.step(expectation(family, (Y - mean) ** 2), phi * curvature, by.exact_expectation)
    d.say("The Fisher information of {} is the mean square of the score.", theta)
    d.step(Partial(log_density(family), theta), (Y - mean) / phi, by.differentiation)
    d.step(expectation(family, ((Y - mean) / phi) ** 2), curvature / phi, by.exact_expectation)
    d.restart()


def coupled(d: Derivation) -> None:
    theta, p, m = thetas, mu, k
    d.restart()
    d.head(categorical.name.capitalize())
    d.say(
        """The observation is one of the {} unit vectors; the cumulant couples the outputs. Write the
        probabilities, which are also the means, as""",
        H,
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
    units = {mu[n, h]: p[I], mu[n, k2]: p[J], KroneckerDelta(h, k2): KroneckerDelta(I, J)}
    found = variance_function(categorical).xreplace(units)
    d.check(found, right, by.run_of_the_definition)


if __name__ == "__main__":
    build().write(__file__)

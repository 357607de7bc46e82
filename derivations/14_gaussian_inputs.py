"""Gaussian inputs: the blocks of any family with independent outputs follow from three moments of its Fisher weight."""

from __future__ import annotations

import sympy
from designs import agrees_when_white
from symbols import (
    I,
    J,
    N,
    S,
    Y,
    a,
    abar,
    acheck,
    anyvector,
    col,
    d2,
    e,
    e2,
    f,
    g,
    kappa,
    m,
    n,
    nu,
    r,
    s,
    t,
    tau,
    tilt,
    w,
    x,
    xbar,
)
from sympy import Integer, KroneckerDelta, exp, log, pi, sqrt

from fishergeo import GLM, batch_norm, bernoulli, closed_form, gaussian, gaussian_inputs, links, poisson
from fishergeo.closed_forms import white_inputs
from fishergeo.closed_forms.averages import GaussianMean
from fishergeo.closed_forms.weights import PREDICTOR, elementary_moments, fisher_weight
from fishergeo.families import Family
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.certainty import FalseStep
from fishergeo.symbolic.curvature import ETA, Symmetric
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.expectation import Expectation
from fishergeo.symbolic.rules import Partial
from fishergeo.symbolic.sums import over

k0, k1, k2 = (moment[I] for moment in kappa)
PAIRS = [("weight", part) for part in ("weight", "bias", "gain")]


def build() -> Derivation:
    d = Derivation.chapter(__file__, "Gaussian inputs")
    parts(d)
    means(d)
    blocks(d)
    weights(d)
    return d


def parts(d: Derivation) -> None:
    d.say("Take any batch, and give names to the moments of its inputs and of the summed input of a unit {}:", I)
    names = [
        d.define(a[n, I], over(w[I, e] * x[n, e], e)),
        d.define(xbar[col], over(x[m, col], m) / N),
        d.define(abar[I], over(w[I, e] * xbar[e], e)),
        d.define(Symmetric(S, col, d2), over((x[m, col] - xbar[col]) * (x[m, d2] - xbar[d2]), m) / N),
        d.define(tau[I], sqrt(over(w[I, col] * Symmetric(S, col, d2) * w[I, d2], col, d2))),
        d.define(s[I, col], over(Symmetric(S, col, e) * w[I, e], e) / tau[I]),
        d.define(acheck[n, I], (a[n, I] - abar[I]) / tau[I]),
        d.define(r[n, I, col], x[n, col] - xbar[col] - s[I, col] * acheck[n, I]),
    ]
    d.say("The summed input {} is standardized, and {} is what the inputs contain beside it:", acheck[n, I], r[n, I, col])
    using = names[::-1]
    square = Symmetric(S, col, d2) - s[I, col] * s[I, d2]
    d.step(over(acheck[m, I], m), Integer(0), by.linearity_of_the_mean, using)
    d.step(over(acheck[m, I] ** 2, m), N, by.substitution, using)
    d.step(over(r[m, I, col], m), Integer(0), by.linearity_of_the_mean, using)
    d.step(over(acheck[m, I] * r[m, I, col], m), Integer(0), by.substitution, using)
    d.step(over(r[m, I, col] * r[m, I, d2], m), N * square, by.substitution, using)
    d.step(over(w[I, e] * r[n, I, e], e), Integer(0), by.substitution, using)
    d.say(
        """The two do not co-vary, and for any {} and {} the mean square of a combination of them is a sum of one term in
        each,""",
        tilt,
        anyvector[col],
    )
    mixed = tilt * acheck[m, I] + over(anyvector[e] * r[m, I, e], e)
    apart = over(anyvector[e] * square.xreplace({col: e, d2: e2}) * anyvector[e2], e, e2)
    d.step(over(mixed**2, m) / N, tilt**2 + apart, by.substitution, [d.steps[k] for k in (-5, -3, -2)])
    d.say(
        """In a population of Gaussian inputs half of it is the logarithm of the mean of the exponential of that
        combination. This mean is therefore a product, so that {} and {} are independent, and means of products are
        products of means. It is the only property of Gaussian inputs that is used here, and the reason given below.""",
        acheck[n, I],
        r[n, I, col],
    )


def means(d: Derivation) -> None:
    d.restart()
    d.head("Means of products")
    d.say(
        """For independent outputs {} is the Fisher weight of unit {} at its natural parameter, a function of {}. Its
        moments get names, and means of its products with the inputs follow.""",
        ETA[n, I],
        I,
        acheck[n, I],
    )
    eta, spread = ETA[n, I], Symmetric(S, col, d2) - s[I, col] * s[I, d2]
    for k, moment in enumerate((k0, k1, k2)):
        d.define(moment, GaussianMean(eta * acheck[n, I] ** k))
    d.restart()
    d.define(r[n, I, col], x[n, col] - xbar[col] - s[I, col] * acheck[n, I])
    d.step(GaussianMean(eta * r[n, I, col] * r[n, I, d2]), k0 * spread, by.independence)
    d.step(GaussianMean(eta * x[n, col]), k0 * xbar[col] + k1 * s[I, col], by.independence)
    both = xbar[col] * s[I, d2] + s[I, col] * xbar[d2]
    second = k0 * (spread + xbar[col] * xbar[d2]) + k1 * both + k2 * s[I, col] * s[I, d2]
    d.step(GaussianMean(eta * x[n, col] * x[n, d2]), second, by.independence)


def blocks(d: Derivation) -> None:
    d.head("Plain model and batch norm")
    d.say(
        """The derivative of the natural parameter with respect to the weights is {} in the plain model, whose blocks are
        found already, and {} under batch norm. The blocks of a unit there, times the dispersion, are""",
        x[n, col],
        g[I] / tau[I] * r[n, I, col],
    )
    left, right = (g[I] / tau[I] * r[n, I, i] for i in (col, d2))
    closed = {pair: closed_form(GLM(bernoulli, batch_norm), gaussian_inputs).block(*pair).expr for pair in PAIRS}
    own = {pair: expr.xreplace({KroneckerDelta(I, J): Integer(1)}) for pair, expr in closed.items()}
    for pair, factor in zip(PAIRS, (right, Integer(1), acheck[n, I])):
        d.step(GaussianMean(ETA[n, I] * left * factor), own[pair], by.independence)
    d.say(
        """Under batch norm the weights do not interact with the bias and the gain, whose own blocks are {}, {} and {}.
        For white inputs, of mean 0 and covariance {}, everything depends on the weights through their length {} and their
        direction {} only:""",
        k0,
        k1,
        k2,
        KroneckerDelta(col, d2),
        tau[I],
        s[I, col],
    )
    form = closed_form(GLM(poisson, batch_norm), white_inputs)
    d.show(form, by.comparison, agrees_when_white(form))


def weights(d: Derivation) -> None:
    d.restart()
    d.head("Moments of the Fisher weight")
    bell = exp(-(Y**2) / 2)
    d.say(
        """The moments are integrals over the line. The derivative of a function that vanishes far out integrates to 0,
        and for any {} of moderate growth""",
        f(Y),
    )
    d.step(Partial(f(Y) * bell, Y), (f(Y).diff(Y) - Y * f(Y)) * bell, by.differentiation)
    d.step(Partial(Y * f(Y) * bell, Y), (f(Y) + Y * f(Y).diff(Y) - Y**2 * f(Y)) * bell, by.differentiation)
    d.say(
        """With the Fisher weight at {} for {} this is Stein's lemma: the first moment is {} times the mean of its
        derivative, and the second exceeds the moment of order 0 by {} times the mean of its second derivative. The
        moments of order 0 and 2 therefore differ as the weight is convex or concave on average.""",
        nu + t * Y,
        f(Y),
        t,
        t**2,
    )
    elementary(d, poisson, None, "For Poisson outputs the integrals are elementary, with {} as the variable,")
    elementary(d, gaussian, links.probit, "and so they are, for one, for Gaussian outputs under the probit link:")
    d.say(
        """For Bernoulli outputs, under the logit or the probit link, the package finds no such integrals, and takes them
        by the trapezoidal rule, which converges geometrically there (Trefethen and Weideman 2014)."""
    )
    if elementary_moments(fisher_weight(bernoulli), nu, t) or elementary_moments(
        fisher_weight(bernoulli, links.probit), nu, t
    ):
        raise FalseStep("an integral for Bernoulli outputs is elementary")


def elementary(d: Derivation, family: Family, link: links.Link | None, text: str) -> None:
    """The moments that the package finds are the integrals that SymPy finds."""
    d.say(text, *([Y] if "{}" in text else []))
    weight = fisher_weight(family, link)
    found = elementary_moments(weight, nu, t)
    if found is None:
        raise FalseStep(f"the moments for {family.name} outputs are not elementary")
    for k in range(3 if link is None else 1):
        at = weight.xreplace({PREDICTOR: nu + t * Y})
        left = Expectation(at * Y**k, -(Y**2) / 2 - log(2 * pi) / 2, sympy.S.Reals)
        d.step(left, found[k], by.exact_expectation)


if __name__ == "__main__":
    build().write(__file__)

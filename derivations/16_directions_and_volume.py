"""Directions: a round sphere under batch norm, an ellipsoid under weight norm; determinants and volume."""

from __future__ import annotations

from designs import agrees_on_determinant
from symbols import PHI, B, D, I, J, S, T, col, d2, e, e2, g, s, sigma, tau, w, what
from sympy import Abs, Integer, KroneckerDelta, sqrt

from fishergeo import GLM, batch_norm, bernoulli, closed_form, gaussian, identity, weight_norm
from fishergeo.closed_forms import any_inputs, gaussian_inputs, radius, unit_determinant
from fishergeo.closed_forms.forms import DETERMINANT, LENGTH
from fishergeo.normalizers import Normalizer
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.curvature import Symmetric
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.latex import latex
from fishergeo.symbolic.rules import Partial
from fishergeo.symbolic.sums import over

DIRECTION = {batch_norm: w, weight_norm: what}


def build() -> Derivation:
    d = Derivation.chapter(__file__, "Directions and volume")
    sphere(d)
    ellipsoid(d)
    determinants(d)
    volume(d)
    return d


def names(d: Derivation, normalizer: Normalizer) -> list:
    """The covariance, and the spread and the direction of the summed input of a unit."""
    v = DIRECTION[normalizer]
    return [
        d.define(Symmetric(S, col, d2), over(T[e2, col] * T[e2, d2], e2)),
        d.define(tau[I], sqrt(over(over(T[e2, e] * v[I, e], e) ** 2, e2))),
        d.define(s[I, col], over(Symmetric(S, col, e) * v[I, e], e) / tau[I]),
    ]


def block(normalizer: Normalizer) -> object:
    """The weight block of one unit for centered inputs and Gaussian outputs."""
    found = closed_form(GLM(gaussian, normalizer), any_inputs).block("weight", "weight").expr
    zero = {name: Integer(0) for name in found.free_symbols if str(name).startswith(("abar[", "xbar["))}
    return found.xreplace({KroneckerDelta(I, J): Integer(1), **zero})


def metric() -> object:
    """The metric of space on y, written with the weights, times the square of the gain over the dispersion."""
    return g[I] ** 2 / PHI * over(Partial(B[I, e2], w[I, col]) * Partial(B[I, e2], w[I, d2]), e2)


def sphere(d: Derivation) -> None:
    d.say(
        """Under batch norm a weight vector matters by its direction alone. Let {} be any matrix with the covariance of
        the inputs for its Gram matrix, and send the weights of a unit to the vector {}:""",
        T[e2, col],
        B[I, e2],
    )
    given = names(d, batch_norm)
    unit = d.define(B[I, e2], over(T[e2, e] * w[I, e], e) / tau[I])
    d.step(over(B[I, e2] ** 2, e2), Integer(1), by.substitution, [unit, given[1]])
    d.say(
        """It lies on the unit sphere. The metric that it has in space, times {}, is the weight block of the Fisher matrix
        for Gaussian outputs and any inputs:""",
        g[I] ** 2 / PHI,
    )
    d.step(metric(), block(batch_norm), by.chain_rule, [unit, *given])
    d.say(
        """so that the directions are a round sphere, whatever the covariance. Its radius is {}; for other families with
        dispersion 1, and Gaussian inputs, it is {}. The distance of two directions is the radius times the angle between
        their vectors, whose cosine is the correlation of their summed inputs:""",
        Abs(g[I]) / sqrt(PHI),
        radius(closed_form(GLM(bernoulli, batch_norm), gaussian_inputs)),
    )
    cosine = over(w[I, col] * Symmetric(S, col, d2) * w[J, d2], col, d2) / (tau[I] * tau[J])
    d.step(over(B[I, e2] * B[J, e2], e2), cosine, by.substitution, [unit, given[0]])


def ellipsoid(d: Derivation) -> None:
    d.restart()
    d.head("Weight norm")
    d.say("Weight norm divides by the length of the weights instead of the spread of the summed input:")
    d.define(sigma[I], sqrt(over(w[I, e] ** 2, e)))
    d.define(what[I, col], w[I, col] / sigma[I])
    given = names(d, weight_norm)
    image = d.define(B[I, e2], over(T[e2, e] * what[I, e], e))
    d.say(
        """For centered inputs its directions are the ellipsoid of these vectors, a sphere where the covariance is a
        number times {}:""",
        KroneckerDelta(col, d2),
    )
    d.step(metric(), block(weight_norm), by.chain_rule, [image, *given])


def determinants(d: Derivation) -> None:
    d.restart()
    d.head("Determinants")
    d.say(
        """For Gaussian inputs with covariance of determinant {} the Fisher matrix of a unit in the plain model, its bias
        included, has for an output of dispersion 1 the determinant""",
        DETERMINANT,
    )
    form = closed_form(GLM(bernoulli, identity), gaussian_inputs)
    d.show(latex(unit_determinant(form)), by.comparison, agrees_on_determinant(form))
    shared = Symmetric(S, col, d2) - s[I, col] * s[I, d2]
    d.say(
        """Under batch norm the weight vector itself is a null direction of {}, and what is left is the product of the
        other eigenvalues. Adding the projector on the weights makes the eigenvalue 0 a 1; the determinant of {} is {}
        times that of a matrix of two rows (the matrix determinant lemma), of whose entries one on the diagonal is 0 and
        the two beside it are {} but for a sign:""",
        shared,
        shared + w[I, col] * w[I, d2] / LENGTH[I] ** 2,
        DETERMINANT,
        LENGTH[I] / tau[I],
    )
    given = names(d, batch_norm)
    length = d.define(LENGTH[I], sqrt(over(w[I, e] ** 2, e)))
    d.step(1 - over(s[I, e] * w[I, e], e) / tau[I], Integer(0), by.substitution, given[::-1])
    square = over(w[I, e] ** 2, e) / (LENGTH[I] * tau[I])
    d.step(square, LENGTH[I] / tau[I], by.substitution, [length])
    d.say("The product of the eigenvalues that are not 0 is therefore, bias and gain included,")
    form = closed_form(GLM(bernoulli, batch_norm), gaussian_inputs)
    d.show(latex(unit_determinant(form)), by.comparison, agrees_on_determinant(form))


def volume(d: Derivation) -> None:
    d.head("Volume")
    d.say(
        """Its root, for weights of length 1, is the density of the volume on the quotient by the length of the weights,
        with respect to the area of the sphere of directions, the bias and the gain. The part that depends on the
        direction is {}, the density of the angular central Gaussian distribution up to a factor (Tyler 1987). The sphere
        of directions being round, its mean over all directions is 1: the volume of all directions, and with it the
        marginal Jeffreys prior of gain and bias, does not depend on the covariance of the inputs.""",
        sqrt(DETERMINANT) / tau[I] ** D,
    )


if __name__ == "__main__":
    build().write(__file__)

"""When the Fisher matrix is a Kronecker product, by how much it is not, and what layer norm has instead."""

from __future__ import annotations

from designs import agrees_when_orthogonal, agrees_when_white
from symbols import PHI, I, J, N, Upsilon, col, d2, ell, etabar, g, kappa, m, n, s, tau, x
from sympy import KroneckerDelta

from fishergeo import GLM, batch_norm, bernoulli, closed_form, gaussian, identity, layer_norm, poisson
from fishergeo.closed_forms import orthogonal_form, unit_spectrum
from fishergeo.closed_forms.population import SLOPE
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.blocks import fisher_block
from fishergeo.symbolic.curvature import ETA, Symmetric
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.sums import over

k0, _, k2 = (moment[I] for moment in kappa)


def build() -> Derivation:
    d = Derivation.chapter(__file__, "Kronecker structure and eigenvalues")
    plain(d)
    white(d)
    eigenvalues(d)
    layer(d)
    return d


def plain(d: Derivation) -> None:
    d.say(
        """The weight blocks of a plain model are means of products: the curvature of the outputs, a matrix over the
        units, times the outer product of the inputs. A Kronecker product of means is cheaper to store and to invert
        (Martens and Grosse 2015); with the factors"""
    )
    eta = Symmetric(ETA, n, I, J)
    factors = [
        d.define(Symmetric(etabar, I, J), over(Symmetric(ETA, m, I, J), m) / N),
        d.define(Symmetric(Upsilon, col, d2), over(x[m, col] * x[m, d2], m) / N),
    ]
    block = fisher_block(identity, "weight", "weight")
    d.say("what it misses is a covariance over the cases:")
    gap = block.expr - Symmetric(etabar, I, J) * Symmetric(Upsilon, col, d2) / PHI
    apart = (eta - Symmetric(etabar, I, J)) * (x[n, col] * x[n, d2] - Symmetric(Upsilon, col, d2))
    d.step(gap, over(apart, n) / (N * PHI), by.linearity_of_the_mean, factors)
    d.say(
        """The Kronecker product is exact if and only if no entry of the curvature co-varies with a product of two inputs:
        always where the curvature is the same for every case, as for Gaussian outputs, also of several dependent ones."""
    )


def white(d: Derivation) -> None:
    d.restart()
    d.head("White Gaussian inputs")
    d.say(
        """For independent outputs and inputs with mean 0 and covariance {} the factors are {} and {}, and the gap lies in
        the direction {} of the weights:""",
        KroneckerDelta(col, d2),
        k0 * KroneckerDelta(I, J),
        KroneckerDelta(col, d2),
        s[I, col],
    )
    block = closed_form(GLM(bernoulli, identity)).block("weight", "weight").expr
    apart = block - k0 * KroneckerDelta(I, J) * KroneckerDelta(col, d2)
    d.step(apart, KroneckerDelta(I, J) * (k2 - k0) * s[I, col] * s[I, d2], by.algebra)
    d.say("It is never 0 for Poisson outputs, unless the weights are:")
    values = {rule.left: rule.right for rule in closed_form(GLM(poisson, identity)).moments}
    names = [d.define(left, values[left]) for left in (k0, k2)]
    d.step(k2 - k0, SLOPE[I] ** 2 * k0, by.algebra, names)
    d.say(
        """For Bernoulli outputs it has either sign. Under batch norm and weight norm the blocks are multiples of the
        projectors {}, one for each unit, so that a Kronecker product is exact only for units whose weight vectors are
        parallel.""",
        KroneckerDelta(col, d2) - s[I, col] * s[I, d2],
    )


def eigenvalues(d: Derivation) -> None:
    d.restart()
    d.head("Eigenvalues")
    d.say(
        """For white inputs the matrix of a unit, with its bias and its gain, has few different eigenvalues. In the plain
        model, for an output whose dispersion is 1, they are"""
    )
    form = closed_form(GLM(bernoulli, identity))
    d.show(unit_spectrum(form), by.comparison, agrees_when_white(form))
    d.say("and under batch norm")
    form = closed_form(GLM(bernoulli, batch_norm))
    d.show(unit_spectrum(form), by.comparison, agrees_when_white(form))
    d.say(
        """The last is that of the weight vector itself, whose length does not matter. The length {} of the weights sets
        the scale of the directions, and leaves bias and gain alone.""",
        tau[I],
    )


def layer(d: Derivation) -> None:
    d.restart()
    d.head("Layer norm")
    d.say(
        """Under layer norm the curvature that is averaged contains the projector of the case and its standard deviation,
        and both depend on the inputs, for Gaussian outputs too. Where the inputs are white and Gaussian, the weight
        vectors are orthogonal and of one length {}, and all gains are {}, the mean can be taken: the summed inputs are
        white, their direction is uniform on a sphere and independent of the standard deviation.""",
        ell,
        g.label,
    )
    form = orthogonal_form(GLM(gaussian, layer_norm))
    d.show(form, by.comparison, agrees_when_orthogonal(form))
    d.say(
        """The term in which the inputs of two units are exchanged belongs to no Kronecker product. The eigenvalues, for
        at least four units and as many inputs as units or more, are"""
    )
    d.show(form.spectrum, by.comparison, agrees_when_orthogonal(form))
    d.say(
        """Antisymmetric combinations of weight vectors come first (rotations of the units), symmetric ones second, and
        what turns weights towards inputs that no unit sees third; the null directions are one shift for each input, and
        the scale of all weights."""
    )


if __name__ == "__main__":
    build().write(__file__)

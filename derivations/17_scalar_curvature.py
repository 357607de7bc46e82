"""Scalar curvature of the Fisher metric of one unit with white inputs."""

from __future__ import annotations

from symbols import Gamma, kappa, mu, sigma, varphi
from sympy import Expr, Float, Integer, Matrix, Rational, Symbol, diag, exp, simplify, sin

from fishergeo import GLM, bernoulli, gamma, gaussian, links, poisson, scalar_curvature
from fishergeo.closed_forms import white_curvature
from fishergeo.closed_forms.curvature import BIAS, RADIUS, D, ScalarCurvature
from fishergeo.closed_forms.weights import elementary_moments, fisher_weight
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.certainty import FalseStep
from fishergeo.symbolic.curvature import PHI
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.latex import matrix
from fishergeo.symbolic.rules import Partial

theta, turn = varphi
k0, k1, k2 = (moment.label for moment in kappa)
g, b = RADIUS, BIAS


def build() -> Derivation:
    d = Derivation.chapter(__file__, "Scalar curvature")
    conventions(d)
    unit(d)
    return d


def curvature(d: Derivation, coordinates: list[Symbol], metric: Matrix, value: Expr) -> None:
    """The scalar curvature of a metric."""
    d.step(ScalarCurvature(*coordinates, *metric), value, by.curvature_of_the_metric)


def conventions(d: Derivation) -> None:
    ball = Matrix([[1, 0], [0, sin(theta) ** 2]])
    d.say("Sign and factor are those for which the unit sphere in space, of the metric {}, has", matrix(ball.tolist()))
    curvature(d, [theta, turn], ball, Integer(2))
    d.say("Twice the Gaussian curvature on any surface, it is divided by what the metric is multiplied with:")
    curvature(d, [theta, turn], ball / PHI, 2 * PHI)
    mean, deviation = mu.label, sigma.label
    normal = Matrix([[1, 0], [0, 2]]) / deviation**2
    text = "The normal distributions of mean {} and deviation {} have the metric {}:"
    d.say(text, mean, deviation, matrix(normal.tolist()))
    curvature(d, [mean, deviation], normal, Integer(-1))


def polar(model: GLM, inputs: int) -> tuple[list[Symbol], Matrix]:
    """Coordinates and metric of one unit with white inputs, times the dispersion."""
    moments = elementary_moments(fisher_weight(model.family, model.link), b, g)
    if moments is None:
        raise FalseStep(f"the moments of {model.family.name} are not elementary")
    zero, one, two = moments
    angles = [(), (theta,), (theta, turn)][inputs - 1]
    round_ = [g**2 * zero, g**2 * zero * sin(theta) ** 2][: inputs - 1]
    return [g, b, *angles], diag(Matrix([[two, one], [one, zero]]), *round_)


def unit(d: Derivation) -> None:
    d.head("One unit with white inputs")
    d.say(
        """In polar coordinates, {} the length of the weights and {} the bias, the plain model has the metric {}, and {}
        times that of the unit sphere for the direction of the weights, over the dispersion. Batch norm and weight norm,
        without the length of the weights, have the same metric, with the gain for {}: one curvature for all three.""",
        g,
        b,
        matrix([[k2, k1], [k1, k0]]),
        g**2 * k0,
        g,
    )
    flat = ((GLM(gaussian), "Gaussian outputs"), (GLM(gamma, link=links.log), "gamma outputs under the logarithmic link"))
    for model, text in flat:
        d.say(f"For {text} it is flat; here for three inputs:")
        curvature(d, *polar(model, 3), Integer(0))
    for inputs, text in ((1, "For Poisson outputs it is flat for one input,"), (2, "for two inputs"), (3, "for three")):
        d.say(text)
        curvature(d, *polar(GLM(poisson), inputs), -Rational(inputs * (inputs - 1), 4) * exp(-b - g**2 / 2))
    general = white_curvature(GLM(poisson)).expr
    for inputs in (1, 2, 3):
        coordinates, metric = polar(GLM(poisson), inputs)
        if simplify(general.subs(D, inputs) - scalar_curvature(metric, coordinates)) != 0:
            raise FalseStep(f"the curvature for {inputs} inputs is not the one for any number of them")
    d.say(
        """In general it is {}, where the mean of the outputs is {}. The reason is a coordinate in which the metric is
        that of a flat space of {} dimensions, times one factor:""",
        general,
        exp(b + g**2 / 2),
        D + 1,
    )
    name = d.define(Gamma, b + g**2 / 2)
    along, across = (d.step(Partial(Gamma, x), slope, by.differentiation) for x, slope in ((g, g), (b, Integer(1))))
    zero, one, two = elementary_moments(fisher_weight(poisson), b, g) or ()
    d.say("so that the squares of the changes of {} and {}, times {}, make up the moments", Gamma, g, exp(Gamma))
    d.step(two, exp(Gamma) * (along.right**2 + 1), by.substitution, [name])
    d.step(one, exp(Gamma) * along.right * across.right, by.substitution, [name])
    d.step(zero, exp(Gamma) * across.right**2, by.substitution, [name])
    d.say(
        """For Bernoulli outputs the moments are integrals. At {} and {} the curvature is {} for one input, {} for two and
        {} for three, in floating point.""",
        "b = 0",
        "g = 1",
        *(Float(white_curvature(GLM(bernoulli)).at(1, 0, inputs), 4) for inputs in (1, 2, 3)),
    )


if __name__ == "__main__":
    build().write(__file__)

"""The published backward passes of batch norm, layer norm and weight norm are the projector lemma, read as gradients."""

from __future__ import annotations

from symbols import (
    G,
    H,
    N,
    P,
    R,
    U,
    V,
    a,
    abar,
    ahat,
    b,
    col,
    d2,
    e,
    ell,
    epsilon,
    g,
    h,
    k,
    m,
    n,
    n2,
    q,
    sigma,
    upstream,
    v,
    vbar,
    vhat,
    w,
    wcheck,
    what,
    x,
    z,
)
from sympy import Integer, KroneckerDelta, sqrt

from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.rules import Partial
from fishergeo.symbolic.sums import over

gain, bias, spread = g.label, b.label, sigma.label


def build() -> Derivation:
    d = Derivation.chapter(__file__, "Backward passes")
    batch_norm(d)
    layer_norm(d)
    weight_norm(d)
    initialization(d)
    return d


def batch_norm(d: Derivation) -> None:
    d.head("Batch norm")
    d.say(
        "Ioffe and Szegedy (2015) standardize the values {} of one unit over a batch, with {} under the root:",
        v[n],
        epsilon,
    )
    names = [
        d.define(vbar, over(v[m], m) / N),
        d.define(q[n], v[n] - vbar),
        d.define(spread, sqrt(over(q[m] ** 2, m) / N + epsilon)),
        d.define(vhat[n], q[n] / spread),
        d.define(z[n], gain * vhat[n] + bias),
    ]
    d.say(
        "The gradient {} of the loss with respect to the outputs goes back in six equations (their section 3):",
        upstream[n],
    )
    published = [
        d.define(R[n], gain * upstream[n]),
        d.define(V, -over(R[m] * q[m], m) / (2 * spread**3)),
        d.define(U, -over(R[m], m) / spread - 2 * V * over(q[m], m) / N),
        d.define(G[n], R[n] / spread + 2 * V * q[n] / N + U / N),
    ]
    d.step(over(upstream[m] * Partial(z[m], gain), m), over(upstream[m] * vhat[m], m), by.chain_rule, names[4:])
    d.step(over(upstream[m] * Partial(z[m], bias), m), over(upstream[m], m), by.chain_rule, names[4:])
    d.say("The fourth is the gradient with respect to the values, the batch statistics differentiated:")
    d.step(over(upstream[m] * Partial(z[m], v[n]), m), G[n], by.chain_rule, [*published[::-1], names[3]])
    d.say("Together they are the matrix of the projector lemma, times the gain over the standard deviation:")
    matrix = d.define(P[n, n2], KroneckerDelta(n, n2) - 1 / N - vhat[n] * vhat[n2] / N)
    centered = d.step(over(q[m], m), Integer(0), by.linearity_of_the_mean, names[:2])
    used = [*published[::-1], centered, matrix, names[3]]
    d.step(G[n], gain / spread * over(P[n, m] * upstream[m], m), by.projector_identity, used)
    d.say(
        "So to first order no gradient changes the mean of the values, and without {} none changes their spread:", epsilon
    )
    square = d.step(over(q[m] ** 2, m), N * (spread**2 - epsilon), by.substitution, [names[2]])
    d.step(over(G[m], m), Integer(0), by.projector_identity, [*published[::-1], centered])
    left = gain * epsilon / spread**3 * over(upstream[m] * vhat[m], m)
    d.step(over(G[m] * vhat[m], m), left, by.projector_identity, [*published[::-1], centered, names[3], square])


def layer_norm(d: Derivation) -> None:
    d.restart()
    d.head("Layer norm")
    d.say("Over the units of one case, with the gains {} behind the standardization, the same equation holds,", g[h])
    d.define(abar[n], over(a[n, k], k) / H)
    d.define(sigma[n], sqrt(over((a[n, k] - abar[n]) ** 2, k) / H))
    hat = d.define(ahat[n, h], (a[n, h] - abar[n]) / sigma[n])
    d.define(z[n, h], g[h] * ahat[n, h] + b[h])
    scaled = d.define(R[n, h], g[h] * upstream[n, h])
    mean, along = over(R[n, k], k) / H, over(R[n, k] * ahat[n, k], k) / H
    back = (R[n, h] - mean - ahat[n, h] * along) / sigma[n]
    d.step(over(upstream[n, k] * Partial(z[n, k], a[n, h]), k), back, by.chain_rule, [hat, scaled])
    d.say("but what is projected is the gradient times the gains, which differ from unit to unit.")


def weight_norm(d: Derivation) -> None:
    d.restart()
    d.head("Weight norm")
    d.say(
        """Salimans and Kingma (2016, eq. 2) write the weights {} that a unit uses as a gain times the direction of
        a vector {}, which they call {} where this book writes {}.""",
        wcheck[col],
        w[col],
        "v",
        w[col],
    )
    names = [
        d.define(ell, sqrt(over(w[e] ** 2, e))),
        d.define(what[col], w[col] / ell),
        d.define(wcheck[col], gain * what[col]),
    ]
    d.say(
        "With the gradient {} with respect to the weights that are used, those of gain and vector are",
        upstream[col],
    )
    d.step(over(upstream[e] * Partial(wcheck[e], gain), e), over(upstream[e] * w[e], e) / ell, by.chain_rule, names[1:2])
    along = over(upstream[e] * w[e], e) / ell
    back = d.define(G[col], over(upstream[e] * Partial(wcheck[e], w[col]), e))
    d.step(G[col], gain / ell * upstream[col] - gain * along / ell**2 * w[col], by.chain_rule, [back])
    d.say("(their eq. 3), in which the second is a projection (their eq. 4) along the weights,")
    matrix = d.define(P[col, d2], KroneckerDelta(col, d2) - what[col] * what[d2])
    lemma = d.step(G[col], gain / ell * over(P[col, e] * upstream[e], e), by.projector_identity, [back, matrix, names[1]])
    length = d.step(over(w[e] ** 2, e), ell**2, by.substitution, names[:1])
    d.say("so that the gradient is orthogonal to the vector:")
    d.step(over(G[e] * w[e], e), Integer(0), by.projector_identity, [lemma, matrix, names[1], length])


def initialization(d: Derivation) -> None:
    d.restart()
    d.head("Initialization by data")
    d.say(
        """Salimans and Kingma (2016, eq. 5-6) take the first batch, {} along the directions, and set the gain to one
        over the standard deviation and the bias to minus the mean over it. The outputs are then standardized:""",
        a[n],
    )
    names = [
        d.define(a[n], over(what[e] * x[n, e], e)),
        d.define(abar.label, over(a[m], m) / N),
        d.define(spread, sqrt(over((a[m] - abar.label) ** 2, m) / N)),
        d.define(gain, 1 / spread),
        d.define(bias, -abar.label / spread),
        d.define(z[n], gain * a[n] + bias),
    ]
    d.step(over(z[m], m), Integer(0), by.linearity_of_the_mean, [names[5], names[3], names[4], *names[:2]])
    d.step(over(z[m] ** 2, m) / N, Integer(1), by.substitution, [names[5], names[4], names[3], names[2], *names[:2]])


if __name__ == "__main__":
    build().write(__file__)

r"""Averages over a population of inputs, as rewriting rules for the sums of a Fisher block in index notation.

Of the inputs x the rules know the mean x̄ and the covariance S.  A summed input a_i = Σ_e v_ie x_e has the standard
deviation τ_i; with ξ_i = (a_i - ā_i)/τ_i and s_id = Cov[x_d, ξ_i],

    E[x] = x̄,   E[xxᵀ] = S + x̄x̄ᵀ,   E[xξ_i] = s_i,   E[ξ_iξ_j] = ρ_ij.

For Gaussian inputs x - x̄ - s_iξ_i is independent of ξ_i, so that with η''_i a function of ξ_i and κ_k = E[η''_i ξ_iᵏ]

    E[η''_i x] = κ₀x̄ + κ₁s_i,   E[η''_i xxᵀ] = κ₀(S - s_is_iᵀ + x̄x̄ᵀ) + κ₁(x̄s_iᵀ + s_ix̄ᵀ) + κ₂s_is_iᵀ.
"""

from __future__ import annotations

import sympy
from sympy import Expr, IndexedBase, Symbol

from ..axes import Axis
from ..symbolic.curvature import ETA, Symmetric
from ..symbolic.rules import Rule
from ..symbolic.sums import INDEX, SIZE, I, J, over

n, d, h = (INDEX[axis] for axis in (Axis.SAMPLE, Axis.INPUT, Axis.UNIT))
N = SIZE[Axis.SAMPLE]
m, e, d2, f = (Symbol(name, integer=True) for name in ("m", "e", "d'", "f"))

MEAN, SPREAD, STANDARD = (IndexedBase(name, real=True) for name in ("xbar", "s", "xi"))
COVARIANCE, CORRELATION = (IndexedBase(name, real=True) for name in ("S", "rho"))
DEVIATION = IndexedBase("tau", positive=True)
KAPPA = tuple(IndexedBase(f"kappa{k}", real=True) for k in range(3))


def covariance(row: Expr, column: Expr) -> Expr:
    return Symmetric(COVARIANCE, row, column)


def of_moments(x: IndexedBase) -> list[Rule]:
    """What mean and covariance of the inputs say, whatever their distribution."""
    xi = STANDARD
    return [
        Rule(over(x[m, d], m), N * MEAN[d]),
        Rule(over(x[m, d] ** 2, m), N * (covariance(d, d) + MEAN[d] ** 2)),
        Rule(over(x[m, d] * x[m, d2], m), N * (covariance(d, d2) + MEAN[d] * MEAN[d2])),
        Rule(over(xi[m, I], m), sympy.Integer(0)),
        Rule(over(xi[m, I] ** 2, m), N),
        Rule(over(xi[m, I] * xi[m, J], m), N * Symmetric(CORRELATION, I, J)),
        Rule(over(x[m, d] * xi[m, I], m), N * SPREAD[I, d]),
    ]


def of_gaussian(x: IndexedBase) -> list[Rule]:
    """What else Gaussian inputs say: means of products with η''_i, a function of ξ_i."""
    eta, xi, s = ETA[m, I], STANDARD[m, I], SPREAD
    k0, k1, k2 = (kappa[I] for kappa in KAPPA)

    def second(a: Expr, b: Expr) -> Expr:
        apart = covariance(a, b) - s[I, a] * s[I, b] + MEAN[a] * MEAN[b]
        return N * (k0 * apart + k1 * (MEAN[a] * s[I, b] + s[I, a] * MEAN[b]) + k2 * s[I, a] * s[I, b])

    return [
        Rule(over(eta, m), N * k0),
        Rule(over(eta * xi, m), N * k1),
        Rule(over(eta * xi**2, m), N * k2),
        Rule(over(eta * x[m, d], m), N * (k0 * MEAN[d] + k1 * s[I, d])),
        Rule(over(eta * x[m, d] * xi, m), N * (k1 * MEAN[d] + k2 * s[I, d])),
        Rule(over(eta * x[m, d] ** 2, m), second(d, d)),
        Rule(over(eta * x[m, d] * x[m, d2], m), second(d, d2)),
    ]

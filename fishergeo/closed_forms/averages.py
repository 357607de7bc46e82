r"""Averages over a population of inputs, as rewriting rules for the sums of a Fisher block in index notation.

Of the inputs x the rules know the mean x̄ and the covariance S.  A summed input a_i = Σ_e v_ie x_e has the standard
deviation τ_i; with ǎ_i = (a_i - ā_i)/τ_i and š_id = Cov[x_d, ǎ_i],

    E[x] = x̄,   E[xxᵀ] = S + x̄x̄ᵀ,   E[xǎ_i] = š_i,   E[ǎ_iǎ_j] = ϱ_ij.

Gaussian inputs are x = x̄ + š_iǎ_i + r_i with r_i independent of ǎ_i, because the two do not co-vary.  With η''_i a
function of ǎ_i and κ_k = E[η''_i ǎ_iᵏ]

    E[η''_i ǎ_iᵏ r_i] = 0,   E[η''_i r_ir_iᵀ] = κ₀ (S - š_iš_iᵀ).
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy
from sympy import Expr, IndexedBase, Symbol

from ..axes import Axis
from ..symbolic.curvature import ETA, Symmetric
from ..symbolic.expectation import Expectation
from ..symbolic.rules import Rule, expand, rewrite
from ..symbolic.sums import INDEX, SIZE, I, J, normal, over, resum

n, d, h = (INDEX[axis] for axis in (Axis.SAMPLE, Axis.INPUT, Axis.UNIT))
N = SIZE[Axis.SAMPLE]
m, e, d2, f = (Symbol(name, integer=True) for name in ("m", "e", "d'", "f"))

MEAN, SPREAD, STANDARD, REST = (IndexedBase(name, real=True) for name in ("xbar", "scheck", "acheck", "r"))
COVARIANCE, CORRELATION = (IndexedBase(name, real=True) for name in ("S", "varrho"))
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


def split(x: IndexedBase) -> Rule:
    """x = x̄ + š_iǎ_i + r_i for case n and unit i."""
    return Rule(x[n, d], MEAN[d] + SPREAD[I, d] * STANDARD[n, I] + REST[n, I, d])


def of_gaussian() -> list[Rule]:
    """What else Gaussian inputs say: means of products with η''_i, a function of ǎ_i, which r_i is independent of."""
    eta, xi, s, r = ETA[m, I], STANDARD[m, I], SPREAD, REST
    k0, zero = KAPPA[0][I], sympy.Integer(0)
    return [
        Rule(over(eta, m), N * k0),
        Rule(over(eta * xi, m), N * KAPPA[1][I]),
        Rule(over(eta * xi**2, m), N * KAPPA[2][I]),
        Rule(over(eta * r[m, I, d], m), zero),
        Rule(over(eta * xi * r[m, I, d], m), zero),
        Rule(over(eta * r[m, I, d] ** 2, m), N * k0 * (covariance(d, d) - s[I, d] ** 2)),
        Rule(over(eta * r[m, I, d] * r[m, I, d2], m), N * k0 * (covariance(d, d2) - s[I, d] * s[I, d2])),
    ]


X = IndexedBase("x", real=True)


class GaussianMean(Expectation):
    """E over Gaussian inputs of an expression in x, ǎ_i and η''_i of one case n."""

    @property
    def free_symbols(self) -> set[Expr]:
        return self.args[0].free_symbols - {n}

    def carry_out(self, definitions: Sequence[Rule]) -> Expr:
        inside = rewrite(expand(self.args[0], definitions), [split(X)])
        return rewrite(resum(normal(inside), (n,)) / N, of_gaussian())

r"""Scalar curvature of a metric, and of the Fisher metric of one unit with white Gaussian inputs.

    Γᵏ_ij = ½ gᵏˡ (∂_i g_jl + ∂_j g_il - ∂_l g_ij),   R = gʲᵏ (∂_i Γⁱ_jk - ∂_j Γⁱ_ik + Γⁱ_ip Γᵖ_jk - Γⁱ_jp Γᵖ_ik)

R is 2 on the unit sphere in three dimensions, twice the Gaussian curvature of any surface, and -1 for the normal
distributions with the metric (dμ² + 2dσ²)/σ².
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import sympy
from numpy.typing import ArrayLike
from sympy import Expr, Symbol

from ..axes import Axis
from ..errors import InputError
from ..model import GLM
from ..normalizers import batch_norm, identity, weight_norm
from ..symbolic import latex as printing
from ..symbolic.curvature import PHI
from ..symbolic.rules import Rule, expand
from ..symbolic.sums import SIZE, Deferred
from .weights import PREDICTOR, check_unbounded, elementary_moments, fisher_weight, moments_at

Derivative = Callable[[Expr, Symbol], Expr]
D = SIZE[Axis.INPUT]


@dataclass(frozen=True)
class Geometry:
    """A metric as a matrix of functions of coordinates, with the derivative by which functions depend on them."""

    metric: sympy.Matrix
    coordinates: tuple[Symbol, ...]
    derivative: Derivative = sympy.diff

    @cached_property
    def inverse(self) -> sympy.Matrix:
        return self.metric.inv().applyfunc(sympy.cancel)

    @cached_property
    def christoffel(self) -> list[Any]:
        """Γᵏ_ij as a list over k of matrices."""
        size, g = len(self.coordinates), self.metric
        slopes = [g.applyfunc(lambda f, x=x: self.derivative(f, x)) for x in self.coordinates]
        first = [
            sympy.Matrix(size, size, lambda i, j, k=k: (slopes[i][j, k] + slopes[j][i, k] - slopes[k][i, j]) / 2)
            for k in range(size)
        ]
        return [
            sympy.Add(*(self.inverse[k, m] * first[m] for m in range(size))).applyfunc(sympy.cancel)
            if size > 1
            else (self.inverse[0, 0] * first[0]).applyfunc(sympy.cancel)
            for k in range(size)
        ]

    @cached_property
    def ricci(self) -> sympy.Matrix:
        """∂_i Γⁱ_jk - ∂_j Γⁱ_ik + Γⁱ_ip Γᵖ_jk - Γⁱ_jp Γᵖ_ik."""
        G, axes = self.christoffel, range(len(self.coordinates))

        def entry(j: int, k: int) -> Expr:
            slopes = (
                self.derivative(G[i][j, k], self.coordinates[i]) - self.derivative(G[i][i, k], self.coordinates[j])
                for i in axes
            )
            products = (G[i][i, p] * G[p][j, k] - G[i][j, p] * G[p][i, k] for i in axes for p in axes)
            return sympy.Add(*slopes, *products)

        return sympy.Matrix(len(axes), len(axes), entry)

    @cached_property
    def scalar(self) -> Expr:
        """R."""
        return _shortest((self.inverse * self.ricci).trace())

    def warped(self, square: Expr, dimension: Expr, fiber: Expr) -> Expr:
        """R of ds² + f² dΩ², f² = ``square``, dΩ² of ``dimension`` p and scalar curvature ``fiber``.

        R + fiber/f² - 2p Δf/f - p(p - 1)|∇f|²/f²
        """
        q, axes = square, range(len(self.coordinates))
        slope = [self.derivative(q, x) / (2 * q) for x in self.coordinates]  # ∂f/f
        bend = sympy.zeros(len(axes), len(axes))
        for i in axes:
            for j in axes:
                second = self.derivative(self.derivative(q, self.coordinates[i]), self.coordinates[j]) / (2 * q)
                level = sympy.Add(*(self.christoffel[k][i, j] * slope[k] for k in axes))
                bend[i, j] = second - slope[i] * slope[j] - level
        laplacian = (self.inverse * bend).trace()
        length = sympy.Add(*(self.inverse[i, j] * slope[i] * slope[j] for i in axes for j in axes))
        total = self.scalar + fiber / q - 2 * dimension * laplacian - dimension * (dimension - 1) * length
        return _shortest(total)


def _shortest(expr: Expr) -> Expr:
    return sympy.factor(expr if expr.is_rational_function() else sympy.simplify(expr))


class ScalarCurvature(Deferred):
    """R of a metric, written and not carried out: the arguments are n coordinates and the n² entries of the matrix."""

    def carry_out(self, definitions: Sequence[Rule]) -> Expr:
        size = math.isqrt(len(self.args))
        coordinates, entries = self.args[:size], self.args[size:]
        return scalar_curvature(
            sympy.Matrix(size, size, [expand(sympy.sympify(f), definitions) for f in entries]), coordinates
        )

    def _latex(self, printer: Any) -> str:
        return r"\mathcal{R}"


def scalar_curvature(metric: Any, coordinates: Sequence[Symbol]) -> Expr:
    """The scalar curvature R of a metric given as a matrix of expressions in the coordinates; 2 on the unit sphere.

    Raises `InputError` for a matrix that is not square and symmetric, of another size than the coordinates, or singular.
    """
    g = sympy.Matrix(metric)
    if g.shape != (len(coordinates),) * 2 or not all(isinstance(x, Symbol) for x in coordinates):
        raise InputError(f"scalar_curvature got a metric {g.shape} and coordinates {coordinates}: give as many symbols")
    if not (g - g.T).applyfunc(sympy.simplify).is_zero_matrix or sympy.simplify(g.det()) == 0:
        raise InputError(
            "scalar_curvature got a metric that is not symmetric or is singular: divide by its null directions"
        )
    return sympy.Integer(0) if len(coordinates) == 1 else Geometry(g, tuple(coordinates)).scalar


_JET = sympy.symbols("h0:9", real=True)  # h and its derivatives with respect to b
RADIUS, BIAS = Symbol("g", positive=True), Symbol("b", real=True)


def _along_heat(expr: Expr, coordinate: Symbol) -> Expr:
    """∂ of an expression in g, b and h_k = ∂ᵏh/∂bᵏ, where ∂h/∂g = g ∂²h/∂b²."""
    step, rate = (2, RADIUS) if coordinate == RADIUS else (1, 1)
    chain = (expr.diff(h) * rate * _JET[k + step] for k, h in enumerate(_JET[: len(_JET) - step]) if expr.has(h))
    return expr.diff(coordinate) + sympy.Add(*chain)


def white_metric(h: Sequence[Expr] = _JET) -> tuple[sympy.Matrix, Expr]:
    """φ times the metric of (g, b), and the factor of dΩ² of the direction: [[κ₂, κ₁], [κ₁, κ₀]] and g²κ₀.

    κ₀ = h₀, κ₁ = g h₁, κ₂ = h₀ + g²h₂ by Stein's lemma, with h_k = ∂ᵏκ₀/∂bᵏ.
    """
    g = RADIUS
    return sympy.Matrix([[h[0] + g**2 * h[2], g * h[1]], [g * h[1], h[0]]]), g**2 * h[0]


@lru_cache(maxsize=1)
def _general() -> tuple[Expr, Expr]:
    """R for one input, and for D inputs, as expressions in g and the h_k (φ = 1)."""
    metric, square = white_metric()
    geometry = Geometry(metric, (RADIUS, BIAS), _along_heat)
    return geometry.scalar, geometry.warped(square, D - 1, (D - 1) * (D - 2))


@dataclass(frozen=True)
class WhiteCurvature:
    """The scalar curvature of the Fisher metric of one unit with D white inputs, at g = ‖w‖ (or the gain) and bias b."""

    model: GLM

    @cached_property
    def weight(self) -> Expr:
        return fisher_weight(self.model.family, self.model.link)

    @cached_property
    def expr(self) -> Expr:
        """R: in g, b and D where the moments are elementary, else in g, D and h_k = E[v⁽ᵏ⁾(gξ + b)]."""
        general = _general()[1] * (PHI if self.model.family.free_dispersion else 1)
        found = elementary_moments(self.weight, BIAS, RADIUS)
        if found is None:
            return general
        jet = [found[0].diff(BIAS, k) for k in range(len(_JET))]
        return sympy.powsimp(sympy.factor(sympy.simplify(general.subs(dict(zip(_JET, jet))))))

    def at(self, g: float, b: float, inputs: int) -> float:
        """R as a number."""
        values: dict[Any, Any] = {RADIUS: g, BIAS: b, D: inputs, PHI: self.model.dispersion}
        for k, h in enumerate(_JET):
            if self.expr.has(h):
                values[h] = float(moments_at(self.weight.diff(PREDICTOR, k), _number(b), _number(g))[0])
        return float(self.expr.subs(values))

    def latex(self) -> str:
        return f"R = {printing.latex(self.expr)}"


def _number(x: ArrayLike) -> Any:
    import numpy as np

    return np.asarray(x, float)


def white_curvature(model: GLM) -> WhiteCurvature:
    """The scalar curvature of the Fisher metric of one unit for x ~ N(0, I); a normalizer takes the length of w away.

    The plain model in polar coordinates, batch norm and weight norm have one metric,
    ds² = (κ₂dg² + 2κ₁dg db + κ₀db² + g²κ₀dΩ²)/φ.  Raises `InputError` for other normalizers and for mixed outputs.
    """
    if not isinstance(model, GLM) or model.normalizer not in (identity, batch_norm, weight_norm):
        raise InputError(f"white_curvature got {model!r:.80}: it is for identity, batch_norm and weight_norm")
    if model.family.mixing is not None:
        raise InputError(f"{model.family.name}: one unit has one output; use fg.gaussian")
    check_unbounded(model.family, model.link)
    return WhiteCurvature(model)

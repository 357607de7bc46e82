r"""The geometry of directions under batch norm: angles, and volumes on the quotient by the length of the weights.

    ds² = (g²κ₀/φ) |dv|²,   v = S^½w/√(wᵀSw):

for Gaussian inputs of any covariance S (for a constant Fisher weight: any inputs) the directions of w are a round sphere,
on which the distance of two weight vectors is |g|√(κ₀/φ) times the arc cosine of the correlation of their summed inputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy
from numpy.typing import ArrayLike
from sympy import Expr

from ..axes import Axis
from ..errors import InputError
from ..families import Floats
from ..normalizers import batch_norm, identity, weight_norm
from ..symbolic.curvature import PHI
from ..symbolic.jacobian import GAIN, h
from ..symbolic.sums import SIZE, I
from . import averages as of
from .forms import DETERMINANT, LENGTH, ClosedForm

D = SIZE[Axis.INPUT]
_g, _tau = GAIN.expr.xreplace({h: I}), of.DEVIATION[I]
_k0, _k1, _k2 = (k[I] for k in of.KAPPA)


def _phi(form: ClosedForm) -> Expr:
    return PHI if form.model.family.free_dispersion else sympy.Integer(1)


def radius(form: ClosedForm) -> Expr:
    """The radius |g|√(κ₀/φ) of the sphere of directions of unit i, under batch norm (weight norm: for white inputs)."""
    if form.model.normalizer != batch_norm and not (form.model.normalizer == weight_norm and form.inputs.white):
        raise InputError(
            f"radius got {form!r}: the directions are a round sphere under batch_norm, and under weight_norm for white "
            "inputs; there the metric is g²κ₀(I - ŵŵᵀ) of the directions"
        )
    return sympy.Abs(_g) * sympy.sqrt(_constant(form, _k0) / _phi(form))


def _constant(form: ClosedForm, expr: Expr) -> Expr:
    """κ₀ = κ₂ = v and κ₁ = 0 where the Fisher weight v is constant."""
    return expr.xreplace({_k0: form.weight, _k1: sympy.Integer(0), _k2: form.weight}) if form.constant else expr


def unit_determinant(form: ClosedForm) -> Expr:
    r"""The product of the eigenvalues of F of unit i that are not 0, for Gaussian inputs.

        plain:       κ₀^{D-1} (κ₀κ₂ - κ₁²) Δ/φ^{D+1}
        batch norm:  (g²κ₀/τ²)^{D-1} (κ₀κ₂ - κ₁²) Δ ℓ²/(τ²φ^{D+1})

    with Δ = det S, τ² = wᵀSw and ℓ = ‖w‖.  Its root is the density of the volume: at ℓ = 1, under batch norm, with
    respect to the area of the sphere of directions.  Raises `InputError` for other normalizers and for mixed outputs.
    """
    if form.model.normalizer not in (identity, batch_norm) or form.model.family.mixing is not None:
        raise InputError(f"unit_determinant got {form!r}: it is for identity and batch_norm with independent outputs")
    pair = _constant(form, (_k0 * _k2 - _k1**2) / _phi(form) ** 2)
    spread = _constant(form, _k0 / _phi(form))
    delta = sympy.Integer(1) if form.inputs.white else DETERMINANT
    if form.model.normalizer == identity:
        return spread ** (D - 1) * pair * delta
    ratio = sympy.Integer(1) if form.inputs.white else LENGTH[I] ** 2 / _tau**2
    return (_g**2 * spread / _tau**2) ** (D - 1) * pair * delta * ratio


def angle(v: ArrayLike, w: ArrayLike, covariance: ArrayLike) -> float:
    """arccos of the correlation vᵀSw/√(vᵀSv wᵀSw) of two summed inputs, exact also for small angles.

    Times `radius` it is the length of the shortest path between two directions under batch norm, gain and bias fixed.
    """
    S = np.asarray(covariance, float)
    try:
        root = np.linalg.cholesky(S).T
    except np.linalg.LinAlgError:
        raise InputError(
            "angle got a covariance that is not positive definite: drop inputs that depend on others"
        ) from None
    a, b = (root @ np.asarray(x, float) for x in (v, w))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    return float(2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b)))


def direction_density(covariance: ArrayLike) -> Any:
    r"""The density √Δ/(ŵᵀSŵ)^{D/2} of the volume of directions under batch norm, with respect to the area of the sphere.

    It is the angular central Gaussian density, up to the area: its mean over the sphere is 1 for every S, so the
    volume of all directions does not depend on the inputs.
    """
    S = np.asarray(covariance, float)
    root = np.sqrt(np.linalg.det(S))

    def density(directions: ArrayLike) -> Floats:
        """At unit vectors (..., D)."""
        u = np.asarray(directions, float)
        return np.asarray(root * np.einsum("...d,de,...e->...", u, S, u) ** (-S.shape[0] / 2))

    return density

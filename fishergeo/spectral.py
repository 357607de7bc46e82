r"""Spectral normalization: a matrix divided by its largest singular value.

With σ = max ‖W v‖/‖v‖ attained at unit vectors u = W v/σ and v,

    Ŵ = W/σ,        dŴ = (dW - Ŵ ⟨u vᵀ, dW⟩)/σ,        adjoint: G -> (G - u vᵀ ⟨Ŵ, G⟩)/σ

Where the largest singular value is not simple, σ has one-sided derivatives only, max over its singular pairs of uᵀ dW v.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .axes import Axis
from .cells import Array
from .errors import InputError
from .standardize import Scale


@dataclass(frozen=True)
class Spectral:
    """Divide the whole weight matrix by its largest singular value.

    Raises `InputError` where W = 0 and, when it is differentiated, where the largest singular value is not simple.
    Source: Miyato et al. 2018, arXiv 1802.05957, eq. (7)-(12).
    """

    over: ClassVar[frozenset[Axis]] = frozenset([Axis.UNIT, Axis.INPUT])
    center: ClassVar[bool] = False
    scale: ClassVar[Scale] = Scale.NORM
    eps: ClassVar[int] = 0
    has_eps: ClassVar[bool] = False
    minimum: ClassVar[int] = 1
    groups: ClassVar[tuple[Any, ...]] = ()
    first: ClassVar[None] = None

    def __call__(self, t: Array, layout: tuple[Axis, ...], who: str = "Spectral") -> SpectrallyScaled:
        """W/σ, for numbers, exact numbers (of rank two at most) and index-notation arrays."""
        if hasattr(t, "largest_singular"):
            sigma, u, v, *largest = t.largest_singular()
            if largest and largest[0] == 0:
                raise _all_zero(who)
            return SpectrallyScaled(t / sigma, sigma, u, v, tuple(largest), who)
        if t.dtype == object:
            sigma = _exact(t, who)
            return SpectrallyScaled(t / sigma, sigma, None, None, (), who)
        U, s, Vt = np.linalg.svd(t.real, full_matrices=True)
        if s[0] == 0:
            raise _all_zero(who)
        u, v = U[:, 0], Vt[0]
        sigma = (u @ t @ v).reshape(1, 1)  # to first order in an imaginary part too, for the complex step
        return SpectrallyScaled(t / sigma, sigma, u[:, None], v[None, :], tuple(s[:2]), who, (U, s, Vt))


@dataclass(frozen=True)
class SpectrallyScaled:
    """A spectrally normalized matrix, its largest singular value and the singular vectors u (H, 1) and v (1, D)."""

    value: Array
    sigma: Array
    u: Array  # None for exact numbers, which have no tangent here
    v: Array
    largest: tuple[float, ...]  # the two largest singular values
    who: str
    decomposed: tuple[Array, Array, Array] | None = None  # U, s, Vᵀ of W
    mean: ClassVar[None] = None
    frozen: ClassVar[bool] = False
    axes: ClassVar[tuple[int, int]] = (-2, -1)
    weight: ClassVar[int] = 1
    ratio: ClassVar[int] = 1

    def tangent(self, dt: Array) -> Array:
        """dŴ for a change dW (..., H, D)."""
        return (dt - self.value * (self._simple() * dt).sum(axis=(-2, -1), keepdims=True)) / self.sigma

    def adjoint(self, g: Array) -> Array:
        """The gradient with respect to W for a gradient ``g`` (..., H, D) with respect to Ŵ."""
        return (g - self._simple() * (self.value * g).sum(axis=(-2, -1), keepdims=True)) / self.sigma

    def adjoint_tangent(self, g: Array, dt: Array) -> Array:
        """∇²⟨g, Ŵ⟩ dW for changes dW (..., H, D): the change of ``adjoint(g)`` along dW with g held."""
        outer, pull = self._simple(), (self.value * g).sum()
        slope = (outer * dt).sum(axis=(-2, -1), keepdims=True)
        moved = (dt - self.value * slope) / self.sigma
        assert self.decomposed is not None
        du, dv = _turn(*self.decomposed, dt)
        turned = (du[..., :, None] * self.v + self.u * dv[..., None, :]) * pull
        pulled = (moved * g).sum(axis=(-2, -1), keepdims=True)
        return ((outer * pull - g) * (slope / self.sigma) - turned - outer * pulled) / self.sigma

    def _simple(self) -> Array:
        """u vᵀ; raises `InputError` where it is not unique to rounding, and for exact numbers."""
        if self.u is None:
            raise InputError(f"{self.who}: the singular vectors of exact numbers are not computed; use floats")
        if len(self.largest) == 2:
            first, second = self.largest
            if first - second <= 64 * getattr(self.value, "eps", np.finfo(float).eps) * max(self.value.shape) * first:
                raise InputError(
                    f"{self.who}: the two largest singular values of the weights are both {first:.6g}, where it has "
                    "no derivative, only one-sided ones; move the weights off this point"
                )
        return self.u * self.v


def _all_zero(who: str) -> InputError:
    return InputError(f"{who}: all weights are 0, so their largest singular value is 0; use other weights")


def _turn(U: Any, s: Any, Vt: Any, dW: Any) -> tuple[Any, Any]:
    """The changes du (..., H) and dv (..., D) of the first singular vectors of U diag(s) Vᵀ for dW (..., H, D)."""
    left, right = dW @ Vt[0] @ U, U[:, 0] @ dW @ Vt.T  # u_kᵀ dW v and uᵀ dW v_k for all k
    return _mixed(left, right, s) @ U.T, _mixed(right, left, s) @ Vt


def _mixed(own: Any, other: Any, s: Any) -> Any:
    """The coefficients (σ own_k + s_k other_k)/(σ² - s_k²) of the other singular vectors; s_k = 0 beyond the last."""
    size, shared = own.shape[-1], len(s)
    full = np.zeros(size)
    full[:shared] = s
    numerator, denominator = s[0] * own, s[0] ** 2 - full**2
    numerator[..., :shared] += s * other[..., :shared]
    fine = denominator > 0  # not for the pair itself, and for one as large, which is refused
    return np.where(fine, numerator, 0) / np.where(fine, denominator, 1)


def _exact(t: Any, who: str) -> Any:
    """The largest singular value of a matrix of exact numbers: in closed form for rank two at most."""
    import sympy

    enclosed = getattr(t.flat[0], "largest_singular", None)
    if enclosed is None or all(entry.is_rational for entry in t.flat):
        plain = np.frompyfunc(sympy.sympify, 1, 1)(t)
        small = plain if t.shape[0] <= t.shape[1] else plain.T
        gram = small @ small.T
        first, second = (sympy.expand(power.trace()) for power in (gram, gram @ gram))  # λ + λ' and λ² + λ'²
        if first == 0:
            raise _all_zero(who)
        third = sympy.expand((gram @ gram @ gram).trace()) if len(small) > 2 else None
        # 6 times Σ of the products of three eigenvalues
        if third is None or (first**3 - 3 * first * second + 2 * third).equals(0):
            gap = sympy.sqrt(sympy.expand(2 * second - first**2))
            return np.full((1, 1), sympy.sqrt(sympy.sqrtdenest((first + gap) / 2)), dtype=object)
    if enclosed is None:
        raise InputError(f"{who}: exact singular values need a matrix of rank 2 at most; W has shape {t.shape}")
    return np.full((1, 1), enclosed(t), dtype=object)

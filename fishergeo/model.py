"""Parameters, and the generalized linear model with normalized summed inputs, linearized exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .errors import InputError
from .families import Family, Floats, Hessian
from .normalizers import Normalized, Normalizer, identity

_CHUNK = 1 << 19  # numbers in a piece of J that is computed at a time: 4 MiB


@dataclass(frozen=True)
class Params:
    """Weights W (H, D), bias b (H,) and, for a normalized model, gain g (H,); leading batch dimensions are allowed.

    Flattened unit by unit, [w_1, b_1, g_1, w_2, …]: P = H(D+2), or H(D+1) without a gain.
    """

    weight: Floats
    bias: Floats
    gain: Floats | None = None

    @property
    def units(self) -> int:
        return self.weight.shape[-2]

    @property
    def inputs(self) -> int:
        return self.weight.shape[-1]

    @property
    def size(self) -> int:
        """P, the number of parameters."""
        return self.units * (self.inputs + 1 + (self.gain is not None))

    def ravel(self) -> Floats:
        """All parameters as one vector (P,), unit by unit."""
        columns = [self.weight, self.bias[..., None]] + ([] if self.gain is None else [self.gain[..., None]])
        return np.concatenate(columns, axis=-1).reshape(*self.weight.shape[:-2], self.size)

    @staticmethod
    def unravel(v: ArrayLike, units: int, has_gain: bool) -> Params:
        """The inverse of `ravel`, along the last axis of ``v``."""
        v = np.asarray(v, dtype=float)
        if v.ndim == 0 or units < 1 or v.shape[-1] % units or v.shape[-1] // units < 2 + has_gain:
            parts = "D + 2" if has_gain else "D + 1"
            raise InputError(f"unravel got a vector of shape {v.shape} for {units} units: its length must be H({parts})")
        rows = v.reshape(*v.shape[:-1], units, -1)
        if has_gain:
            return Params(rows[..., :-2], rows[..., -2], rows[..., -1])
        return Params(rows[..., :-1], rows[..., -1])


@dataclass(frozen=True)
class GLM:
    r"""A generalized linear model whose summed inputs are normalized: Z = g Â + b, log p = (y·Z - η(Z))/φ + c(y, φ).

    ``family`` supplies η, ``normalizer`` the map (X, W) -> Â, ``dispersion`` is φ > 0.  The link is canonical
    (``link=None``): Z is the natural parameter.  Raises `InputError` for φ <= 0 and for φ ≠ 1 where the family fixes it.
    """

    family: Family
    normalizer: Normalizer = identity
    link: None = field(default=None, kw_only=True)
    dispersion: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.family, Family):
            raise InputError(f"GLM got family={self.family!r}: give a family such as fg.bernoulli")
        if not isinstance(self.normalizer, Normalizer):
            raise InputError(f"GLM got normalizer={self.normalizer!r}: give a normalizer such as fg.batch_norm")
        if self.link is not None:
            raise InputError(f"GLM got link={self.link!r}: only the canonical link is supported; leave link=None")
        if not (math.isfinite(self.dispersion) and self.dispersion > 0):
            raise InputError(f"GLM got dispersion={self.dispersion}: φ must be a positive number")
        if self.dispersion != 1 and not self.family.free_dispersion:
            raise InputError(f"GLM got dispersion={self.dispersion}: {self.family.name} has φ = 1; leave it out")

    @property
    def has_gain(self) -> bool:
        return self.normalizer.has_gain

    def init(self, inputs: int, units: int, rng: np.random.Generator | int | None = None) -> Params:
        """Random parameters: weights N(0, 1/D), zero bias, unit gain (where the model has one)."""
        if inputs < 1 or units < 1:
            raise InputError(f"init got inputs={inputs}, units={units}: both must be at least 1")
        weight = np.random.default_rng(rng).normal(scale=inputs**-0.5, size=(units, inputs))
        return Params(weight, np.zeros(units), np.ones(units) if self.has_gain else None)

    def unravel(self, v: ArrayLike, units: int) -> Params:
        """Parameters from a flat vector (P,) or from a batch of them (..., P)."""
        return Params.unravel(v, units, self.has_gain)

    def linearize(self, p: Params, X: ArrayLike) -> Linearization:
        """The model at ``p`` on the inputs X (N, D) or (N, S, D), with its exact Jacobian (batch statistics included).

        Raises `InputError` for arrays that do not fit each other, for nan or inf, and where a normalizer meets σ = 0.
        """
        p, X = self._checked(p, X)
        try:
            with np.errstate(over="raise", invalid="raise", under="ignore"):
                normalized = self.normalizer(X, p.weight)
        except FloatingPointError as error:
            raise InputError(
                f"{self.normalizer.name}: {error}, with inputs up to {np.abs(X).max():.3g} and weights up to "
                f"{np.abs(p.weight).max():.3g}; rescale them"
            ) from error
        with np.errstate(all="ignore"):  # what overflows here is reported by name below
            Z = normalized.value if p.gain is None else p.gain * normalized.value
            Z = Z + p.bias
            mean = self.family.mean(Z)
        bad = ~(np.isfinite(Z) & np.isfinite(mean))
        if bad.any():
            at = tuple(np.argwhere(bad)[0])
            raise InputError(
                f"{self.family.name}: case {at[0]} has natural parameter {Z[at]:.4g} and mean {mean[at]:.4g}; "
                "shrink the weights, or normalize the inputs"
            )
        return Linearization(self, p, normalized, Z, mean)

    def _checked(self, p: Params, X: ArrayLike) -> tuple[Params, Floats]:
        X = np.asarray(X)
        if X.dtype.kind not in "biuf":
            raise InputError(f"X has type {X.dtype}: give real numbers")
        X = X.astype(float, copy=False)
        if X.ndim not in (2, 3) or 0 in X.shape:
            raise InputError(f"X has shape {X.shape}: give (cases, inputs) or (cases, positions, inputs), not empty")
        if not isinstance(p, Params):
            raise InputError(
                f"parameters are a {type(p).__name__}: give Params, e.g. model.init(...) or model.unravel(...)"
            )
        W, b, g = (None if v is None else np.asarray(v, dtype=float) for v in (p.weight, p.bias, p.gain))
        assert W is not None and b is not None
        if W.ndim != 2 or W.shape[1] != X.shape[-1]:
            raise InputError(f"weights have shape {W.shape} but X has {X.shape[-1]} inputs: give (units, {X.shape[-1]})")
        if b.shape != W.shape[:1] or (g is not None and g.shape != W.shape[:1]):
            raise InputError(f"bias and gain must have shape {W.shape[:1]}, one number for each unit")
        if (g is not None) != self.has_gain:
            wants = "needs a gain" if self.has_gain else "has no gain (its weights already scale freely)"
            raise InputError(f"a model with {self.normalizer.name} {wants}: use model.init or model.unravel")
        for name, array in (("X", X), ("weight", W), ("bias", b), ("gain", g)):
            if array is not None and not np.isfinite(array).all():
                where = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
                raise InputError(f"{name} has a nan or inf at index {where}: drop or impute that row")
        return Params(W, b, g), X

    def natural(self, p: Params, X: ArrayLike) -> Floats:
        """Natural parameters Z = g Â + b, shape (N, [S,] H)."""
        return self.linearize(p, X).Z

    def mean(self, p: Params, X: ArrayLike) -> Floats:
        """E[y | x] = η'(Z), shape (N, [S,] H)."""
        return self.linearize(p, X).mean

    def log_likelihood(self, p: Params, X: ArrayLike, Y: ArrayLike) -> Floats:
        """log p(y_n | x_n) of every case, summed over its outputs, shape (N, [S]); Ba et al. eq. (9)."""
        at = self.linearize(p, X)
        return self.family.log_density(self.family.encode(Y, at.Z.shape), at.Z, self.dispersion)

    def loss(self, p: Params, X: ArrayLike, Y: ArrayLike) -> float:
        """The mean negative log-likelihood over cases (and positions)."""
        return -float(self.log_likelihood(p, X, Y).mean())

    def gradient(self, p: Params, X: ArrayLike, Y: ArrayLike) -> Floats:
        """The gradient (P,) of the mean log-likelihood, batch statistics differentiated."""
        at = self.linearize(p, X)
        return at.vjp(at.residual(Y)).ravel() / at.cases

    def score(self, p: Params, X: ArrayLike, Y: ArrayLike) -> Floats:
        """The scores J_nᵀ(y_n - E[y_n])/φ of all cases (N, P), J_n = ∂z_n/∂parameters with batch statistics included.

        With positions there is one row for each case and position.
        """
        at = self.linearize(p, X)
        residual = at.residual(Y).reshape(at.cases, -1)
        return np.einsum("pnh,nh->np", at.columns().reshape(p.size, *residual.shape), residual)

    def jvp(self, p: Params, X: ArrayLike, v: Params | ArrayLike) -> Floats:
        """dZ (..., N, [S,] H) for a change ``v`` of the parameters: Params or flat (..., P)."""
        direction = v if isinstance(v, Params) else self.unravel(v, p.units)
        return self.linearize(p, X).jvp(direction)

    def vjp(self, p: Params, X: ArrayLike, dZ: ArrayLike) -> Params:
        """The gradient of Σ dZ·Z with respect to the parameters."""
        return self.linearize(p, X).vjp(np.asarray(dZ, dtype=float))

    def sample(self, p: Params, X: ArrayLike, rng: np.random.Generator | int | None = None) -> Floats:
        """One draw y ~ p(y | X), shape (N, [S,] H); one-hot rows for a categorical family."""
        return self.family.draw(self.mean(p, X), self.dispersion, np.random.default_rng(rng))


@dataclass(frozen=True)
class Linearization:
    """A model at given parameters and inputs: Z, E[y], η'' and the Jacobian J = ∂Z/∂parameters as jvp and vjp."""

    model: GLM
    params: Params
    normalized: Normalized
    Z: Floats
    mean: Floats

    @property
    def cases(self) -> int:
        """The number of cases, positions counted apart: what F is averaged over."""
        return math.prod(self.Z.shape[:-1])

    @cached_property
    def hessian(self) -> Hessian:
        """η''(Z) for each case; Cov[y] = φ η''."""
        return self.model.family.hessian(self.Z)

    def residual(self, Y: Any) -> Floats:
        """(y - E[y])/φ: the gradient of each case's log-likelihood with respect to z."""
        return (self.model.family.encode(Y, self.Z.shape) - self.mean) / self.model.dispersion

    def jvp(self, v: Params) -> Floats:
        dA = self.normalized.jvp(v.weight)
        lift = (slice(None),) * (v.bias.ndim - 1) + (None,) * (self.Z.ndim - 1)
        dZ = v.bias[lift] + (dA if self.params.gain is None else self.params.gain * dA)
        return dZ if v.gain is None else dZ + v.gain[lift] * self.normalized.value

    def vjp(self, dZ: Floats) -> Params:
        gain = self.params.gain
        axes = tuple(range(-self.Z.ndim, -1))
        weight = self.normalized.vjp(dZ if gain is None else gain * dZ)
        return Params(weight, dZ.sum(axis=axes), None if gain is None else (dZ * self.normalized.value).sum(axis=axes))

    def columns(self) -> Floats:
        """All of J, column by column: (P, N, [S,] H)."""
        size = self.params.size
        J = np.empty((size, *self.Z.shape))
        step = max(1, _CHUNK // self.Z.size)
        for start in range(0, size, step):  # in pieces that stay in the cache
            rows = np.eye(min(step, size - start), size, k=start)
            J[start : start + step] = self.jvp(Params.unravel(rows, self.params.units, self.model.has_gain))
        return J

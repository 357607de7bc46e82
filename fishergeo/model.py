"""Parameters, and the generalized linear model with normalized summed inputs, linearized exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .errors import InputError, all_finite, check_count, generator
from .families import Family, Floats, Hessian
from .families.core import REALS
from .foreign import Foreign
from .frozen import Frozen
from .initial import center, reach
from .links import Curve, Link, canonical, curve, refusal
from .normalizers import Normalized, Normalizer, identity
from .params import Params
from .readers import ForeignLinearization, reader
from .standardize import Standardize

_CHUNK = 1 << 19  # numbers in a piece of J that is computed at a time: 4 MiB


@dataclass(frozen=True)
class GLM:
    r"""A generalized linear model whose summed inputs are normalized: Z = g Â + b, log p = (y·θ - η(θ))/φ + c(y, φ).

    ``family`` supplies η, ``normalizer`` the map (X, W) -> Â, ``link`` the map from the predictor Z to the mean
    μ = g⁻¹(Z) and so to θ = (η')⁻¹(μ); under the canonical link (``link=None``) Z is θ.  ``dispersion`` is φ > 0.  Raises
    `InputError` for φ <= 0, for φ ≠ 1 where the family fixes it, and for dependent outputs under another link.
    """

    family: Family
    normalizer: Normalizer = identity
    link: Link | None = field(default=None, kw_only=True)
    dispersion: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.family, Family):
            raise InputError(f"GLM got family={self.family!r}: give a family such as fg.bernoulli")
        if not isinstance(self.normalizer, Normalizer):
            raise InputError(f"GLM got normalizer={self.normalizer!r}: give a normalizer such as fg.batch_norm")
        if not isinstance(self.link, Link | None):
            raise InputError(f"GLM got link={self.link!r}: give a link such as fg.links.probit, or leave link=None")
        if self.family.joint and self.link not in (None, canonical):
            curve(self.family, self.link)  # raises
        phi = self.dispersion
        if isinstance(phi, bool) or not isinstance(phi, int | float | np.number) or not (math.isfinite(phi) and phi > 0):
            raise InputError(f"GLM got dispersion={phi!r}: φ must be a positive number")
        if self.dispersion != 1 and not self.family.free_dispersion:
            raise InputError(f"GLM got dispersion={self.dispersion}: {self.family.name} has φ = 1; leave it out")

    @property
    def has_gain(self) -> bool:
        return self.normalizer.has_gain

    def init(self, inputs: int, units: int, rng: np.random.Generator | int | None = None) -> Params:
        """Random parameters: weights N(0, 1/D), zero bias, unit gain (where the model has one).

        Where family and link allow only some predictors z, such as θ < 0 of the canonical gamma, the bias is the allowed
        one of distance 1 (or the largest there is) from the others that is nearest to 0, and the gain (the weights,
        without one) such that z stays within a quarter of that distance on 256 random standardized inputs; then it is
        allowed on other such inputs too, but for rare outliers.
        """
        check_count("init", 1, inputs=inputs, units=units)
        rng = generator("init", rng)
        weight = rng.normal(scale=inputs**-0.5, size=(units, inputs))
        start, room = center(self.family, self.link or canonical)
        scale = np.ones(units) if room == math.inf else room / 4 / reach(self.normalizer, weight, rng)
        bias = np.full(units, start)
        return Params(weight, bias, scale) if self.has_gain else Params(weight * scale[:, None], bias)

    def unravel(self, v: ArrayLike, units: int) -> Params:
        """Parameters from a flat vector (P,) or from a batch of them (..., P)."""
        return Params.unravel(v, units, self.has_gain)

    def linearize(self, p: Params, X: ArrayLike) -> Linearization:
        """The model at ``p`` on the inputs X (N, D) or (N, S, D), with its exact Jacobian (batch statistics included).

        X may be an array of another library, such as torch: then so are the results, in its precision on its device.
        Raises `InputError` for arrays that do not fit each other, for nan or inf, and where a normalizer meets σ = 0.
        """
        told = self._tells_of(X)  # then what is not finite is found without a pass over X of its own
        p, X = self.checked(p, X, finite=not told)
        try:
            with np.errstate(over="raise", invalid="raise", under="ignore"):
                normalized = self.normalizer(X, p.weight)
        except (FloatingPointError, InputError) as error:
            _refuse_nan("X", X)
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{self.normalizer.name}: {error}, with inputs up to {np.abs(X).max():.3g} and weights up to "
                f"{np.abs(p.weight).max():.3g}; rescale them"
            ) from error
        if told and not normalized.What.any(axis=0).all():  # 0 times inf is nan, unless a BLAS leaves zeros out
            _refuse_nan("X", X)
        with np.errstate(all="ignore"):  # what overflows here is reported by name
            Z = normalized.value if p.gain is None else p.gain * normalized.value
            Z = Z + p.bias
        at = self.predict(Z)
        found = Linearization(self, Z, at.mean, at.bent, p, normalized)
        return ForeignLinearization(found) if isinstance(X, Foreign) else found

    def predict(self, Z: Floats) -> Prediction:
        """What family and link make of predictors Z (N, [S,] H).

        Raises `InputError` for predictors outside their domain, naming the case.
        """
        with np.errstate(all="ignore"):  # what overflows here is reported by name below
            bent = self.curve
            if bent is None:
                self._check_natural(Z)
                mean = natural = self.family.mean(Z)
            else:
                counts = self.family.counts(Z.shape)
                mean, natural = bent.mean(Z, *counts), bent.natural(Z, *counts)
        bad = ~(np.isfinite(Z) & np.isfinite(mean))
        if bent is None and bad.any():
            at = tuple(np.argwhere(bad)[0])
            raise InputError(
                f"{self.family.name}: case {at[0]} has natural parameter {Z[at]:.4g} and mean {mean[at]:.4g}; "
                "shrink the weights, or normalize the inputs"
            )
        if bent is not None and (reason := refusal(self.family, self.link or canonical, Z, natural, mean)):
            raise InputError(reason)
        return Prediction(self, Z, mean, None if bent is None else natural)

    @cached_property
    def curve(self) -> Curve | None:
        """θ as a function of the predictor; None where that is θ itself."""
        found = None if self.link is None else curve(self.family, self.link)
        return None if found is None or found.trivial else found

    def _check_natural(self, Z: Floats) -> None:
        family = self.family
        if family.units not in (None, Z.shape[-1]):
            raise InputError(f"{family.name} has {family.units} outputs, but the weights have {Z.shape[-1]} units")
        bad = ~family.domain.contains(Z) if family.domain != REALS else None
        if bad is not None and bad.any():
            at = tuple(np.argwhere(bad)[0])
            raise InputError(
                f"{family.name}: case {at[0]} has natural parameter {Z[at]:.4g}, which must lie in {family.domain}; use "
                "link=fg.links.log, or move the bias into that range"
            )

    def _tells_of(self, X: Any) -> bool:
        """Whether Â, which is found to be finite, is so only if X is."""
        known = all(type(stage) in (Standardize, Frozen) for stage in self.normalizer.summed)
        return known and not self.normalizer.inputs and isinstance(X, np.ndarray) and X.dtype == float

    def checked(self, p: Params, X: Any, finite: bool = True) -> tuple[Params, Floats]:
        """The parameters and inputs as arrays that fit each other and the model, without nan or inf; else `InputError`.

        With ``finite=False`` X may hold nan and inf.
        """
        read = reader(X)
        X = read(X, "X is an array")
        if self.normalizer.opaque and isinstance(X, Foreign):
            raise InputError(
                f"{self.normalizer.name} is given by a function of NumPy arrays: give X as one, or describe the stage by "
                "fg.Standardize"
            )
        if X.ndim not in (2, 3) or 0 in X.shape:
            raise InputError(f"X has shape {X.shape}: give (cases, inputs) or (cases, positions, inputs), not empty")
        if not isinstance(p, Params):
            raise InputError(
                f"parameters are a {type(p).__name__}: give Params, e.g. model.init(...) or model.unravel(...)"
            )
        if p.weight is None or p.bias is None:
            raise InputError("parameters need a weight (H, D) and a bias (H,): one of them is None; use model.init")
        W, b = (read(v, f"the {name} is an array") for name, v in (("weight", p.weight), ("bias", p.bias)))
        g = None if p.gain is None else read(p.gain, "the gain is an array")
        if W.ndim != 2 or W.shape[1] != X.shape[-1]:
            raise InputError(f"weights have shape {W.shape} but X has {X.shape[-1]} inputs: give (units, {X.shape[-1]})")
        if b.shape != W.shape[:1] or (g is not None and g.shape != W.shape[:1]):
            raise InputError(f"bias and gain must have shape {W.shape[:1]}, one number for each unit")
        if (g is not None) != self.has_gain:
            wants = "needs a gain" if self.has_gain else "has no gain (its weights already scale freely)"
            raise InputError(f"a model with {self.normalizer.name} {wants}: use model.init or model.unravel")
        for name, array in (("X", X if finite else None), ("weight", W), ("bias", b), ("gain", g)):
            if array is not None:
                _refuse_nan(name, array)
        return Params(W, b, g), X

    def predictor(self, p: Params, X: ArrayLike) -> Floats:
        """Predictors Z = g Â + b, shape (N, [S,] H)."""
        return self.linearize(p, X).Z

    def natural(self, p: Params, X: ArrayLike) -> Floats:
        """Natural parameters θ, shape (N, [S,] H): Z itself under the canonical link."""
        return self.linearize(p, X).natural

    def mean(self, p: Params, X: ArrayLike) -> Floats:
        """E[y | x] = η'(θ), shape (N, [S,] H)."""
        return self.linearize(p, X).mean

    def log_likelihood(self, p: Params, X: ArrayLike, Y: ArrayLike) -> Floats:
        """log p(y_n | x_n) of every case, summed over its outputs, shape (N, [S]); Ba et al. eq. (9)."""
        return self.linearize(p, X).log_likelihood(Y)

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
        out = np.empty((at.cases, at.params.size))
        for some, J in at.column_blocks():
            out[:, some] = np.einsum("pnh,nh->np", J.reshape(len(J), *residual.shape), residual)
        return out

    def jvp(self, p: Params, X: ArrayLike, v: Params | ArrayLike) -> Floats:
        """dZ (..., N, [S,] H) for a change ``v`` of the parameters: Params or flat (..., P)."""
        at = self.linearize(p, X)
        direction = v if isinstance(v, Params) else self.unravel(v, at.params.units)
        for name in ("weight", "bias", "gain"):
            shape, got = (
                None if v is None else tuple(np.shape(v)) for v in (getattr(at.params, name), getattr(direction, name))
            )
            if (got if got is None or shape is None else got[-len(shape) :]) != shape:
                raise InputError(f"jvp got a {name} of shape {got}: the parameters have {shape}; give as many numbers")
        return at.jvp(direction)

    def vjp(self, p: Params, X: ArrayLike, dZ: ArrayLike) -> Params:
        """The gradient of Σ dZ·Z with respect to the parameters."""
        at, cotangent = self.linearize(p, X), reader(X)(dZ, "vjp got an array")
        if cotangent.shape[-at.Z.ndim :] != tuple(at.Z.shape):
            raise InputError(f"vjp got an array of shape {cotangent.shape}: give {tuple(at.Z.shape)}, the shape of Z")
        return at.vjp(cotangent)

    def sample(self, p: Params, X: ArrayLike, rng: np.random.Generator | int | None = None) -> Floats:
        """One draw y ~ p(y | X), shape (N, [S,] H); one-hot rows for a categorical family."""
        return self.linearize(p, X).sample(generator("sample", rng))


def _refuse_nan(name: str, array: Any) -> None:
    if not all_finite(array):
        where = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{name} has a nan or inf at index {where}: drop or impute that row") from None


@dataclass(frozen=True)
class Prediction:
    """A model at given predictors Z (N, [S,] H): θ, E[y], and η'' as `hessian`."""

    model: GLM
    Z: Floats
    mean: Floats
    bent: Floats | None  # θ where it is not Z

    @property
    def natural(self) -> Floats:
        """θ, the natural parameter of every case."""
        return self.Z if self.bent is None else self.bent

    @property
    def cases(self) -> int:
        """The number of cases, positions counted apart: what F is averaged over."""
        return math.prod(self.Z.shape[:-1])

    @cached_property
    def hessian(self) -> Hessian:
        """φ E[-∂² log p/∂z²] for each case: η''(Z), or (dμ/dz)²/V under another link."""
        curve = self.model.curve
        if curve is None:
            return self.model.family.hessian(self.Z, self.mean)
        with np.errstate(all="ignore"):
            return Hessian(self._finite(curve.weight))

    @cached_property
    def _slope(self) -> Floats | None:
        curve = self.model.curve
        with np.errstate(all="ignore"):
            return None if curve is None else self._finite(curve.slope)

    def _finite(self, function: Callable[..., Floats]) -> Floats:
        """A derivative of the link at Z."""
        value = np.broadcast_to(function(self.Z, *self.model.family.counts(self.Z.shape)), self.Z.shape)
        bad = ~np.isfinite(value)
        if bad.any():
            at = tuple(np.argwhere(bad)[0])
            link = self.model.link or canonical
            raise InputError(
                f"{self.model.family.name}: the {link.name} link is too steep at case {at[0]}, with predictor "
                f"{self.Z[at]:.4g}; shrink the weights, or normalize the inputs"
            )
        return value

    def log_likelihood(self, Y: ArrayLike) -> Floats:
        """log p(y_n | z_n) of every case, summed over its outputs, shape (N, [S])."""
        family = self.model.family
        return family.log_density(family.encode(Y, self.Z.shape), self.natural, self.model.dispersion)

    def sample(self, rng: np.random.Generator) -> Floats:
        """One draw y ~ p(y | z), shape (N, [S,] H)."""
        return self.model.family.draw(self.mean, self.model.dispersion, rng)

    def residual(self, Y: Any) -> Floats:
        """dθ/dz (y - E[y])/φ: the gradient of each case's log-likelihood with respect to z."""
        error = (self.model.family.encode(Y, self.Z.shape) - self.mean) / self.model.dispersion
        return error if self._slope is None else self._slope * error

    def observed_hessian(self, Y: Any) -> Hessian:
        """-φ ∂² log p/∂z² at the observed Y, for each case: may be negative; `hessian` under the canonical link."""
        curve = self.model.curve
        if curve is None:
            return self.hessian
        with np.errstate(all="ignore"):
            bend = self._finite(curve.bend)
        return Hessian(self.hessian.d - bend * (self.model.family.encode(Y, self.Z.shape) - self.mean))


@dataclass(frozen=True)
class Linearization(Prediction):
    """A model at given parameters and inputs, with its Jacobian J = ∂Z/∂parameters as jvp and vjp."""

    params: Params
    normalized: Normalized
    given: Hessian | None = None  # what stands for the expected `hessian`

    @cached_property
    def hessian(self) -> Hessian:
        """The expected curvature, or the one that is ``given``."""
        return super().hessian if self.given is None else self.given

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
        J = np.empty((self.params.size, *self.Z.shape))
        for some, block in self.column_blocks():
            J[some] = block
        return J

    def column_blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Some columns of J at a time (K, N, [S,] H), which stay in the cache, and which they are."""
        size = self.params.size
        step = max(1, _CHUNK // self.Z.size)
        for start in range(0, size, step):
            rows = np.eye(min(step, size - start), size, k=start)
            J = self.jvp(Params.unravel(rows, self.params.units, self.model.has_gain))
            yield slice(start, start + len(rows)), J

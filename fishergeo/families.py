r"""Exponential-dispersion families, each declared by its cumulant.

    log p(y | θ, φ) = (y·θ - η(θ))/φ + c(y, φ),     E[y] = η'(θ),     Cov[y] = φ η''(θ)

Mean and covariance are derivatives of the cumulant η, taken by SymPy and compiled to NumPy on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import special
from .errors import InputError

Floats = NDArray[np.float64]
_tiny_is_zero = np.errstate(under="ignore")  # a probability below 1e-308 is 0, also for callers who trap underflow


class Hessian(NamedTuple):
    """η''(θ) for each case: diag(d) for independent outputs, diag(d) - ddᵀ/Σd for outputs that share a total."""

    d: Floats
    coupled: bool = False

    def _centered(self, v: Floats) -> Floats:
        if not self.coupled:
            return v
        return v - (self.d * v).sum(axis=-1, keepdims=True) / self.d.sum(axis=-1, keepdims=True)

    @_tiny_is_zero
    def apply(self, v: Floats) -> Floats:
        """η''(θ) v along the last axis; ``v`` may carry leading batch dimensions."""
        return self.d * self._centered(v)

    @_tiny_is_zero
    def root(self, v: Floats) -> Floats:
        """B v, where BᵀB = η''(θ)."""
        return np.sqrt(self.d) * self._centered(v)

    @_tiny_is_zero
    def dense(self) -> Floats:
        """The (..., H, H) matrices."""
        eye = np.eye(self.d.shape[-1])
        return self.d[..., None] * (eye - self.coupled * self.d[..., None, :] / self.d.sum(axis=-1)[..., None, None])


@dataclass(frozen=True)
class Support:
    """The values y can take: a description and a test on arrays."""

    text: str
    contains: Callable[[Floats], NDArray[np.bool_]]


@dataclass(frozen=True)
class Family:
    """An exponential-dispersion family given by its cumulant η.

    ``cumulant`` maps θ to a SymPy expression: θ is a symbol for independent outputs, an indexed family over the units
    when ``coupled``.  ``base`` is c(y, φ), ``draw(mean, φ, rng)`` samples, ``free_dispersion`` says whether φ may differ
    from 1.  Source: McCullagh, Nelder 1989, section 2.2; Jørgensen 1987.
    """

    name: str
    cumulant: Callable[[Any], Any]
    base: Callable[[Any, Any], Any]
    support: Support
    draw: Callable[[Floats, float, np.random.Generator], Floats]
    coupled: bool = False
    free_dispersion: bool = False

    def __repr__(self) -> str:
        return f"Family({self.name!r})"

    @cached_property
    def symbols(self) -> tuple[Any, Any, Any]:
        """θ_i, θ_j and the whole θ, as the SymPy objects in which the derivatives are written."""
        import sympy

        if not self.coupled:
            theta = sympy.Symbol("theta", real=True)
            return theta, theta, theta
        whole = sympy.IndexedBase("theta", real=True)
        i, j = sympy.symbols("i j", integer=True)
        return whole[i], whole[j], whole

    @cached_property
    def mean_expression(self) -> Any:
        """η' (coupled: ∂η/∂θ_i)."""
        theta_i, _, whole = self.symbols
        return self.cumulant(whole).diff(theta_i)

    @cached_property
    def hessian_expression(self) -> Any:
        """η'' (coupled: ∂²η/∂θ_i∂θ_j)."""
        return self.mean_expression.diff(self.symbols[1])

    @cached_property
    def _compiled(self) -> tuple[Callable[..., Any], ...]:
        import sympy

        theta_i, theta_j, whole = self.symbols
        cumulant = self.cumulant(whole)
        if not self.coupled:
            return tuple(
                special.numeric(expression, [theta_i])
                for expression in (cumulant, self.mean_expression, self.hessian_expression)
            )
        total = sympy.Symbol("total", real=True)
        reduction, mean = special.logsumexp(whole), self.mean_expression
        delta = sympy.KroneckerDelta(theta_i.indices[0], theta_j.indices[0])
        hessian = sympy.expand(self.hessian_expression)
        diagonal = hessian.coeff(delta)
        scale = sympy.simplify((hessian - diagonal * delta) / (diagonal * diagonal.subs(theta_i, theta_j)))
        # Σ_i exp(θ_i - logsumexp θ) = 1 makes Σd a number; then -dᵢdⱼ/Σd must be the whole off-diagonal part
        if sympy.simplify(diagonal / sympy.exp(theta_i - reduction)) * scale != -1:
            raise ArithmeticError(f"{self.name}: η'' is not diag(d) - ddᵀ/Σd: {hessian}")
        # exp(θ_i - total) is evaluated as it stands, so that neither factor overflows
        return (
            special.numeric(self.cumulant(whole).subs(reduction, total), [total]),
            *(special.numeric(e.subs(reduction, total), [theta_i, total]) for e in (mean, sympy.powsimp(diagonal))),
        )

    @_tiny_is_zero
    def cumulant_value(self, theta: Floats) -> Floats:
        """η(θ): elementwise for independent outputs, one number for each case when coupled."""
        if not self.coupled:
            return self._compiled[0](theta)
        return self._compiled[0](_reduce(theta))[..., 0]

    @_tiny_is_zero
    def mean(self, theta: Floats) -> Floats:
        """E[y] = η'(θ), the shape of θ."""
        if not self.coupled:
            return self._compiled[1](theta)
        return self._compiled[1](theta, _reduce(theta))

    @_tiny_is_zero
    def hessian(self, theta: Floats) -> Hessian:
        """η''(θ) for each case; Cov[y] = φ η''(θ)."""
        if not self.coupled:
            return Hessian(self._compiled[2](theta))
        return Hessian(self._compiled[2](theta, _reduce(theta)), coupled=True)

    @cached_property
    def _base(self) -> Callable[..., Any]:
        import sympy

        y, phi = sympy.Symbol("y", real=True), sympy.Symbol("phi", positive=True)
        return special.numeric(sympy.sympify(self.base(y, phi)), [y, phi])

    def log_density(self, y: Floats, theta: Floats, phi: float) -> Floats:
        """log p(y | θ, φ) for each case, summed over the outputs; ``y`` as `encode` returns it."""
        fit = y * theta if self.coupled else y * theta - self.cumulant_value(theta)
        total = fit.sum(axis=-1) - (self.cumulant_value(theta) if self.coupled else 0.0)
        return total / phi + self._base(y, phi).sum(axis=-1)

    def encode(self, Y: ArrayLike, shape: tuple[int, ...]) -> Floats:
        """Observations as an array of ``shape`` (N, [S,] H): labels become one-hot rows for a coupled family.

        Raises `InputError` for a wrong shape and for values outside the support, naming the first case.
        """
        y = np.asarray(Y)
        if y.dtype.kind not in "biuf":
            raise InputError(f"{self.name} got observations of type {y.dtype}: give numbers")
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise InputError(f"{self.name} got a nan or inf at case {_first(~np.isfinite(y))}: drop or impute it")
        units = shape[-1]
        if self.coupled and y.shape == shape[:-1]:
            bad = (y != np.round(y)) | (y < 0) | (y >= units)
            if bad.any():
                raise InputError(
                    f"{self.name} got label {y[bad].flat[0]} at case {_first(bad)}: labels must be integers from 0 to "
                    f"{units - 1}, one for each of the {units} units"
                )
            return np.eye(units)[y.astype(np.intp)]
        if not self.coupled and units == 1 and y.shape == shape[:-1]:
            y = y[..., None]
        if y.shape != shape:
            also = f" or labels {shape[:-1]}" if self.coupled else ""
            raise InputError(f"{self.name} got observations of shape {y.shape}: the model needs {shape}{also}")
        y = y.astype(float)
        bad = ~self.support.contains(y)
        if bad.any():
            raise InputError(
                f"{self.name} got y = {_example(y, bad)} at case {_first(bad)}: its support is {self.support.text}"
            )
        return y


def _reduce(theta: Floats) -> Floats:
    from scipy.special import logsumexp

    return logsumexp(theta, axis=-1, keepdims=True)


def _first(bad: NDArray[np.bool_]) -> int:
    return int(np.argwhere(bad)[0][0])


def _example(y: Floats, bad: NDArray[np.bool_]) -> Any:
    return y[bad].flat[0] if bad.shape == y.shape else y[tuple(np.argwhere(bad)[0][:-1])]


def _one_hot(y: Floats) -> NDArray[np.bool_]:
    fine = ((y == 0) | (y == 1)).all(axis=-1, keepdims=True) & (y.sum(axis=-1, keepdims=True) == 1)
    return np.broadcast_to(fine, y.shape)


def _draw_category(mean: Floats, phi: float, rng: np.random.Generator) -> Floats:
    edges = np.cumsum(mean, axis=-1)
    chosen = (rng.random((*mean.shape[:-1], 1)) * edges[..., -1:] > edges).sum(axis=-1)
    return np.eye(mean.shape[-1])[chosen]


def _log_two_pi_phi(phi: Any) -> Any:
    import sympy

    return sympy.log(2 * sympy.pi * phi)


def _exp(theta: Any) -> Any:
    import sympy

    return sympy.exp(theta)


def _log_factorial(y: Any) -> Any:
    import sympy

    return sympy.loggamma(y + 1)


gaussian = Family(
    "gaussian",
    cumulant=lambda theta: theta**2 / 2,
    base=lambda y, phi: -(y**2) / (2 * phi) - _log_two_pi_phi(phi) / 2,
    support=Support("the real numbers", lambda y: np.isfinite(y)),
    draw=lambda mean, phi, rng: rng.normal(mean, np.sqrt(phi)),
    free_dispersion=True,
)
bernoulli = Family(
    "bernoulli",
    cumulant=lambda theta: special.softplus(theta),
    base=lambda y, phi: 0,
    support=Support("0 or 1 (class labels: fg.datasets.one_hot)", lambda y: (y == 0) | (y == 1)),
    draw=lambda mean, phi, rng: (rng.random(mean.shape) < mean).astype(float),
)
poisson = Family(
    "poisson",
    cumulant=_exp,
    base=lambda y, phi: -_log_factorial(y),
    support=Support("the integers 0, 1, 2, …", lambda y: (y >= 0) & (y == np.round(y))),
    draw=lambda mean, phi, rng: rng.poisson(mean).astype(float),
)
categorical = Family(
    "categorical",
    cumulant=lambda theta: special.logsumexp(theta),
    base=lambda y, phi: 0,
    support=Support("one-hot rows (or labels 0 … H-1)", _one_hot),
    draw=_draw_category,
    coupled=True,
)

FAMILIES: tuple[Family, ...] = (gaussian, bernoulli, poisson, categorical)

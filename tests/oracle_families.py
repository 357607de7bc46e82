"""An independent route to families and links: log p(y | μ) as the textbooks print it, links by their inverses.

Nothing here imports the package.  Every function of z runs on complex arrays, for derivatives by the complex step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import oracles
from scipy.special import gammaln, ndtr


def binomial_coefficient(m: Any, y: Any) -> Any:
    return gammaln(m + 1) - gammaln(y + 1) - gammaln(m - y + 1)


# --- links: z -> μ, and a range of predictors on which every family can use them -------------------------------------

INVERSES: dict[str, Callable[[Any], Any]] = {
    "logit": lambda z: 1 / (1 + np.exp(-z)),
    "probit": ndtr,
    "cauchit": lambda z: 0.5 + np.arctan(z) / np.pi,
    "cloglog": lambda z: 1 - np.exp(-np.exp(z)),
    "loglog": lambda z: np.exp(-np.exp(-z)),
    "log": np.exp,
    "logc": lambda z: 1 - np.exp(z),
    "nbinom(0.5)": lambda z: 2 * np.exp(z) / (1 - np.exp(z)),
    "identity": lambda z: z,
    "inverse": lambda z: 1 / z,
    "inverse_squared": lambda z: z**-0.5,
    "sqrt": lambda z: z**2,
    "power(1/3)": lambda z: z**3,
    "power(-3)": lambda z: z ** (-1 / 3),
}
SAFE = {
    "log": (-2.0, -0.2),
    "logc": (-2.0, -0.2),
    "nbinom(0.5)": (-3.0, -1.3),
    "inverse": (1.2, 3.0),
    "inverse_squared": (1.2, 3.0),
    "power(-3)": (1.2, 3.0),
} | dict.fromkeys(("identity", "sqrt", "power(1/3)"), (0.3, 0.9))


def safe(link: str, lower: float = -1.5, upper: float = 1.5) -> tuple[float, float]:
    return SAFE.get(link, (lower, upper))


# --- families --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outputs:
    """A family: log p(y | μ, φ), its canonical inverse link, and outcomes with exact first and second moments.

    ``log_p`` is one number for each output, or, where ``joint``, one for each case (the last axis of length 1).
    """

    canonical: Callable[[Any], Any]
    log_p: Callable[[Any, Any, float], Any]
    outcomes: Callable[[Any, float], tuple[Any, Any]]
    domain: tuple[float, float] = (-1.5, 1.5)
    joint: bool = False
    dispersions: tuple[float, ...] = field(default=(1.0,))


def listed(log_p: Callable[[Any, Any, float], Any], end: Callable[[Any], int]) -> Callable[[Any, float], tuple[Any, Any]]:
    """The outcomes 0, 1, ... up to an end, with their probabilities; what is beyond is below 1e-13 in all."""

    def outcomes(mean: Any, phi: float) -> tuple[Any, Any]:
        y = np.arange(end(mean) + 1.0).reshape(-1, *(1,) * mean.ndim) + 0 * mean
        with np.errstate(under="ignore", invalid="ignore"):
            p = np.exp(np.where(np.isfinite(log_p(y, mean, phi)), log_p(y, mean, phi), -np.inf))
        assert np.abs(p.sum(axis=0) - 1).max() < 1e-13
        return y, p

    return outcomes


def two_nodes(variance: Callable[[Any, float], Any], skewness: Callable[[Any, float], Any]) -> Any:
    """The two-point Gauss rule of a density with given mean, variance and skewness: exact for cubic polynomials."""

    def outcomes(mean: Any, phi: float) -> tuple[Any, Any]:
        s, g = np.sqrt(variance(mean, phi)), skewness(mean, phi)
        root = np.sqrt(g * g + 4)
        low, high = (g - root) / 2, (g + root) / 2
        p = np.stack([high / root, -low / root]) + 0 * mean
        return np.stack([mean + s * low, mean + s * high]), p

    return outcomes


def geometric_end(mean: Any) -> int:
    return int(60 * (mean.max() + 2))


def gaussian(y: Any, mu: Any, phi: float) -> Any:
    return -((y - mu) ** 2) / (2 * phi) - np.log(2 * np.pi * phi) / 2


def poisson(y: Any, mu: Any, phi: float) -> Any:
    return y * np.log(mu) - mu - gammaln(y + 1)


def gamma(y: Any, mu: Any, phi: float) -> Any:
    k = 1 / phi
    return k * np.log(k * y / mu) - k * y / mu - np.log(y) - gammaln(k)


def inverse_gaussian(y: Any, mu: Any, phi: float) -> Any:
    return -((y - mu) ** 2) / (2 * phi * mu**2 * y) - np.log(2 * np.pi * phi * y**3) / 2


def binomial(m: Any) -> Outputs:
    """``m`` is a number or an array that broadcasts with the outputs; the link is that of one trial."""

    def log_p(y: Any, mu: Any, phi: float) -> Any:
        with np.errstate(invalid="ignore"):
            return (
                np.where(y <= m, binomial_coefficient(m, np.minimum(y, m)), -np.inf)
                + y * np.log(mu / m)
                + (m - y) * np.log(1 - mu / m)
            )

    def outcomes(mean: Any, phi: float) -> tuple[Any, Any]:
        y = np.arange(np.max(m) + 1.0).reshape(-1, *(1,) * mean.ndim) + 0 * mean
        with np.errstate(invalid="ignore"):
            p = np.where(y <= m, np.exp(np.where(y <= m, log_p(y, mean, phi), 0)), 0)
        assert np.abs(p.sum(axis=0) - 1).max() < 1e-13
        return np.minimum(y, m), p  # an impossible outcome has probability 0

    return Outputs(lambda z: m / (1 + np.exp(-z)), log_p, outcomes)


def negative_binomial(r: float) -> Outputs:
    def log_p(y: Any, mu: Any, phi: float) -> Any:
        return gammaln(y + r) - gammaln(r) - gammaln(y + 1) + r * np.log(r / (r + mu)) + y * np.log(mu / (r + mu))

    return Outputs(lambda z: r * np.exp(z) / (1 - np.exp(z)), log_p, listed(log_p, geometric_end), (-2.0, -0.5))


def softmax(z: Any) -> Any:
    e = np.exp(z)
    return e / e.sum(axis=-1, keepdims=True)


def compositions(m: int, units: int) -> Iterator[tuple[int, ...]]:
    for cuts in itertools.combinations(range(m + units - 1), units - 1):
        edges = (-1, *cuts, m + units - 1)
        yield tuple(b - a - 1 for a, b in itertools.pairwise(edges))


def multinomial(m: int) -> Outputs:
    def log_p(y: Any, mu: Any, phi: float) -> Any:
        return gammaln(m + 1) + (y * np.log(mu / m) - gammaln(y + 1)).sum(axis=-1, keepdims=True)

    def outcomes(mean: Any, phi: float) -> tuple[Any, Any]:
        rows = np.array(list(compositions(m, mean.shape[-1])), float)
        y = rows.reshape(len(rows), *(1,) * (mean.ndim - 1), -1) + 0 * mean
        return y, np.exp(log_p(y, mean, phi))

    return Outputs(lambda z: m * softmax(z), log_p, outcomes, joint=True)


def multivariate_gaussian(S: Any) -> Outputs:
    inverse, half = np.linalg.inv(S), np.linalg.cholesky(S)

    def log_p(y: Any, mu: Any, phi: float) -> Any:
        c = y - mu
        square = ((c @ inverse) * c).sum(axis=-1, keepdims=True)
        return -square / (2 * phi) - np.log(np.linalg.det(2 * np.pi * phi * S)) / 2

    def outcomes(mean: Any, phi: float) -> tuple[Any, Any]:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(S))))  # Gauss-Hermite: exact for cubics
        c = (np.sqrt(phi) * signs @ half.T).reshape(len(signs), *(1,) * (mean.ndim - 1), -1)
        return mean + c, np.full((len(signs), *mean.shape[:-1], 1), 1 / len(signs))

    return Outputs(lambda z: z @ S.T, log_p, outcomes, joint=True, dispersions=(1.0, 2.5))


FAMILIES: dict[str, Outputs] = {
    "gaussian": Outputs(
        lambda z: z, gaussian, two_nodes(lambda mu, phi: phi + 0 * mu, lambda mu, phi: 0 * mu), dispersions=(1.0, 2.5)
    ),
    "bernoulli": binomial(1),
    "poisson": Outputs(np.exp, poisson, listed(poisson, lambda mean: oracles.poisson_end(float(mean.max())))),
    "gamma": Outputs(
        lambda z: -1 / z,
        gamma,
        two_nodes(lambda mu, phi: phi * mu**2, lambda mu, phi: 2 * np.sqrt(phi) + 0 * mu),
        (-2.0, -0.3),
        dispersions=(1.0, 0.4),
    ),
    "inverse_gaussian": Outputs(
        lambda z: (-2 * z) ** -0.5,
        inverse_gaussian,
        two_nodes(lambda mu, phi: phi * mu**3, lambda mu, phi: 3 * np.sqrt(phi * mu)),
        (-2.0, -0.3),
        dispersions=(1.0, 0.4),
    ),
    "binomial(5)": binomial(5),
    "negative_binomial(1.7)": negative_binomial(1.7),
    "multinomial(4)": multinomial(4),
}


# --- models ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """A model of the oracle: normalizer, family and link by name or formula, inputs, sizes and φ."""

    forward: Any
    family: Outputs
    link: str
    X: Any
    units: int
    gain: bool
    phi: float = 1.0
    trials: Any = 1  # what the mean of one trial is multiplied by

    def predictor(self, v: Any) -> Any:
        return oracles.natural(self.forward, v, self.X, self.units, self.gain)

    def mean(self, v: Any) -> Any:
        z = self.predictor(v)
        return self.family.canonical(z) if self.link == "canonical" else self.trials * INVERSES[self.link](z)

    def log_p(self, v: Any, Y: Any) -> Any:
        """One number for each output (for each case, where joint)."""
        return self.family.log_p(Y, self.mean(v), self.phi)

    def scores(self, v: Any, Y: Any) -> Any:
        """∇log p of every case (N, P)."""
        S = oracles.derivatives(lambda u: self.log_p(u, Y).sum(axis=-1), v)
        return S.reshape(len(v), -1).T

    def fisher(self, v: Any) -> Any:
        """Σ_y p ∇log p ∇log pᵀ, the mean over the cases."""
        mean = self.mean(v)
        y, p = self.family.outcomes(mean, self.phi)
        S = oracles.derivatives(lambda u: self.log_p(u, y), v)
        with np.errstate(under="ignore"):
            assert np.abs((p * S).sum(axis=1)).max() <= 1e-12 * max(1.0, np.abs(S).max())
        with np.errstate(under="ignore"):
            R = (np.sqrt(p / (mean.size / self.units)) * S).reshape(len(v), -1)
            return R @ R.T

    def curvature(self, v: Any, Y: Any, directions: Any, radius: float = 0.003, points: int = 16) -> Any:
        """Minus the second derivative of the mean log-likelihood along directions: Cauchy's integral on a circle."""
        turn = np.exp(2j * np.pi * np.arange(points) / points)
        cases = self.log_p(v, Y).sum(axis=-1).size

        def second(direction: Any) -> Any:
            values = [self.log_p(v + radius * w * direction, Y).sum() / cases for w in turn]
            return 2 * np.mean(np.array(values) * turn**-2).real / radius**2

        return -np.array([second(direction) for direction in directions])

    def placed(self, v: Any, lower: float, upper: float) -> Any:
        """Parameters near ``v`` whose predictors lie between the two numbers: gains (or weights) shrunk, biases moved."""
        D = self.X.shape[-1]
        rows = v.reshape(self.units, -1).copy()
        rows[:, D] = 0
        z = self.predictor(rows.ravel()).reshape(-1, self.units)
        shrink = np.minimum(1, (upper - lower) / np.ptp(z, axis=0))
        if self.gain:
            rows[:, D + 1] *= shrink
        else:
            rows[:, :D] *= shrink[:, None]
        z = self.predictor(rows.ravel()).reshape(-1, self.units)
        rows[:, D] = (lower + upper) / 2 - (z.max(axis=0) + z.min(axis=0)) / 2
        return rows.ravel()

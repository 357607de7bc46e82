"""The zoo of families: each is its cumulant, with the constant, the support and a sampler."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import special
from ..errors import InputError, real_array
from .core import Family, Interval, Support, Trials, trials_symbols
from .hessian import Floats

_BELOW_0 = Interval(upper=0.0)
_BOOK = "McCullagh, Nelder 1989"
_TABLE = f"{_BOOK}, table 2.1"


def _sympy() -> Any:
    import sympy

    return sympy


def _whole(y: Floats) -> NDArray[np.bool_]:
    return (y >= 0) & (y == np.round(y))


def _log_two_pi_phi(phi: Any) -> Any:
    return _sympy().log(2 * _sympy().pi * phi)


def _log_gamma(x: Any) -> Any:
    """log Γ(x); of a large number its value, for SymPy would write out the factorial."""
    large = getattr(x, "is_Rational", False) and x > 20
    return _sympy().loggamma(_sympy().Float(x, 30)).evalf(17) if large else _sympy().loggamma(x)


def _log_factorial(y: Any) -> Any:
    return _log_gamma(y + 1)


def _draw_category(mean: Floats, phi: float, rng: np.random.Generator) -> Floats:
    edges = np.cumsum(mean, axis=-1)
    chosen = (rng.random((*mean.shape[:-1], 1)) * edges[..., -1:] > edges).sum(axis=-1)
    return np.eye(mean.shape[-1])[chosen]


gaussian = Family(
    "gaussian",
    cumulant=lambda theta: theta**2 / 2,
    base=lambda y, phi: -(y**2) / (2 * phi) - _log_two_pi_phi(phi) / 2,
    support=Support("the real numbers", lambda y: np.isfinite(y)),
    draw=lambda mean, phi, rng: rng.normal(mean, np.sqrt(phi)),
    free_dispersion=True,
    source=_TABLE,
)
bernoulli = Family(
    "bernoulli",
    cumulant=lambda theta: special.softplus(theta),
    base=lambda y, phi: 0,
    support=Support("0 or 1 (class labels: fg.datasets.one_hot)", lambda y: (y == 0) | (y == 1)),
    draw=lambda mean, phi, rng: (rng.random(mean.shape) < mean).astype(float),
    source=_TABLE,
)
poisson = Family(
    "poisson",
    cumulant=lambda theta: _sympy().exp(theta),
    base=lambda y, phi: -_log_factorial(y),
    support=Support("the integers 0, 1, 2, …", _whole),
    draw=lambda mean, phi, rng: rng.poisson(mean).astype(float),
    source=_TABLE,
)
gamma = Family(  # shape 1/φ
    "gamma",
    cumulant=lambda theta: -_sympy().log(-theta),
    base=lambda y, phi: _sympy().log(y / phi) / phi - _sympy().log(y) - _sympy().loggamma(1 / phi),
    support=Support("the positive real numbers", lambda y: y > 0),
    draw=lambda mean, phi, rng: rng.gamma(1 / phi, phi * mean),
    free_dispersion=True,
    domain=_BELOW_0,
    source=_TABLE,
)
inverse_gaussian = Family(  # shape λ = 1/φ
    "inverse_gaussian",
    cumulant=lambda theta: -_sympy().sqrt(-2 * theta),
    base=lambda y, phi: -1 / (2 * phi * y) - _log_two_pi_phi(phi * y**3) / 2,
    support=Support("the positive real numbers", lambda y: y > 0),
    draw=lambda mean, phi, rng: rng.wald(mean, 1 / phi),
    free_dispersion=True,
    domain=_BELOW_0,
    source=_TABLE,
)


def _one_hot(y: Floats) -> NDArray[np.bool_]:
    fine = ((y == 0) | (y == 1)).all(axis=-1, keepdims=True) & (y.sum(axis=-1, keepdims=True) == 1)
    return np.broadcast_to(fine, y.shape)


categorical = Family(
    "categorical",
    cumulant=lambda theta: special.logsumexp(theta),
    base=lambda y, phi: 0,
    support=Support("one-hot rows (or labels 0 … H-1)", _one_hot),
    draw=_draw_category,
    coupled=True,
    source=f"{_BOOK}, chapter 5",
)


def _trials(trials: ArrayLike, who: str) -> Trials:
    """A whole number of trials, or one for each case as a tuple."""
    m = real_array(trials, f"{who} got trials")
    if m.ndim > 1 or not m.size or not (np.isfinite(m) & (m >= 1) & (m == np.round(m))).all():
        raise InputError(f"{who} got trials={trials!r:.60}: give a whole number >= 1, or one for each case (N,)")
    return int(m) if m.ndim == 0 else tuple(map(float, m))


def _named(who: str, trials: Trials) -> tuple[str, str]:
    """The name, and the number of trials in words."""
    if isinstance(trials, tuple):
        return f"{who}({len(trials)} cases)", "the trials of the case"
    return f"{who}({trials})", str(trials)


def _symbol(trials: Trials) -> Any:
    return trials_symbols(trials)[0] if isinstance(trials, tuple) else _sympy().Integer(trials)


def _count(trials: Trials, y: Floats) -> Any:
    """The trials as a number, or as an array to be broadcast with ``y`` (N, ...)."""
    return np.asarray(trials).reshape(-1, *(1,) * (y.ndim - 1)) if isinstance(trials, tuple) else trials


def binomial(trials: ArrayLike) -> Family:
    """The number of successes in ``trials`` trials (one number, or one for each case): η = m log(1 + exp(θ))."""
    return _binomial(_trials(trials, "binomial"))


@lru_cache(maxsize=64)
def _binomial(trials: Trials) -> Family:
    name, words = _named("binomial", trials)
    return Family(
        name,
        cumulant=lambda theta: _symbol(trials) * special.softplus(theta),
        base=lambda y, phi: _log_factorial(_symbol(trials)) - _log_factorial(y) - _log_factorial(_symbol(trials) - y),
        support=Support(f"the integers from 0 to {words}", lambda y: _whole(y) & (y <= _count(trials, y))),
        draw=lambda mean, phi, rng: rng.binomial(
            np.broadcast_to(_count(trials, mean), mean.shape).astype(int), np.clip(mean / _count(trials, mean), 0, 1)
        ).astype(float),
        trials=trials,
        source=_TABLE,
    )


def multinomial(trials: ArrayLike) -> Family:
    """The counts of H classes in ``trials`` draws (one number, or one for each case): η = m log Σ exp(θ_j)."""
    return _multinomial(_trials(trials, "multinomial"))


@lru_cache(maxsize=64)
def _multinomial(trials: Trials) -> Family:
    name, words = _named("multinomial", trials)

    def constant(y: Any, phi: Any) -> Any:
        """-log y!, and log m! spread over the outputs in proportion to y, which sum to m."""
        return _log_factorial(_symbol(trials)) * y / _symbol(trials) - _log_factorial(y)

    def contains(y: Floats) -> NDArray[np.bool_]:
        fine = _whole(y).all(axis=-1, keepdims=True) & (y.sum(axis=-1, keepdims=True) == _count(trials, y))
        return np.broadcast_to(fine, y.shape)

    def draw(mean: Floats, phi: float, rng: np.random.Generator) -> Floats:
        count = np.broadcast_to(_count(trials, mean), (*mean.shape[:-1], 1))[..., 0].astype(int)
        return rng.multinomial(count, mean / mean.sum(axis=-1, keepdims=True)).astype(float)

    return Family(
        name,
        cumulant=lambda theta: _symbol(trials) * special.logsumexp(theta),
        base=constant,
        support=Support(f"rows of whole numbers that sum to {words}", contains),
        draw=draw,
        coupled=True,
        trials=trials,
        source=f"{_BOOK}, chapter 5",
    )


def negative_binomial(shape: float) -> Family:
    """Failures before the ``shape``-th success, or any shape r > 0: η = -r log(1 - exp(θ)), variance μ + μ²/r."""
    r = real_array(shape, "negative_binomial got a shape")
    if r.ndim or not (np.isfinite(r) and r > 0):
        raise InputError(f"negative_binomial got shape={shape!r:.60}: give a number r > 0; the variance is μ + μ²/r")
    return _negative_binomial(float(r))


@lru_cache(maxsize=64)
def _negative_binomial(shape: float) -> Family:
    def r() -> Any:
        return _sympy().Rational(repr(shape))

    return Family(
        f"negative_binomial({shape:g})",
        cumulant=lambda theta: -r() * special.log1mexp(-theta),
        base=lambda y, phi: _sympy().loggamma(y + r()) - _log_gamma(r()) - _log_factorial(y),
        support=Support("the integers 0, 1, 2, …", _whole),
        draw=lambda mean, phi, rng: rng.negative_binomial(shape, shape / (shape + mean)).astype(float),
        domain=_BELOW_0,
        source=f"{_BOOK}, section 11.2",
    )


def multivariate_gaussian(covariance: ArrayLike) -> Family:
    """A Gaussian vector of covariance φΣ, Σ (H, H) given: η = θᵀΣθ/2, so that θ = Σ⁻¹E[y].

    It is y = L u for Σ = LLᵀ and independent Gaussian u.  Raises `InputError` unless Σ is symmetric positive definite.
    """
    S = real_array(covariance, "multivariate_gaussian got a covariance").astype(float)
    if S.ndim != 2 or S.shape[0] != S.shape[1] or not S.size or not np.isfinite(S).all():
        raise InputError(f"multivariate_gaussian got a covariance of shape {S.shape}: give finite numbers (H, H)")
    if np.abs(S - S.T).max() > 1e-12 * np.abs(S).max():
        i, j = map(int, np.unravel_index(np.abs(S - S.T).argmax(), S.shape))
        raise InputError(
            f"multivariate_gaussian got a covariance that is not symmetric: entries ({i}, {j}) and ({j}, {i}) differ; "
            "give (Σ + Σᵀ)/2"
        )
    try:
        L = np.linalg.cholesky((S + S.T) / 2)
    except np.linalg.LinAlgError:
        raise InputError(
            "multivariate_gaussian got a covariance that is not positive definite: its smallest eigenvalue is "
            f"{np.linalg.eigvalsh(S)[0]:.3g}; drop outputs that depend on others"
        ) from None
    return _multivariate_gaussian(tuple(map(tuple, L.tolist())))


@lru_cache(maxsize=64)
def _multivariate_gaussian(L: tuple[tuple[float, ...], ...]) -> Family:
    return Family(
        f"multivariate_gaussian({len(L)})",
        cumulant=gaussian.cumulant,
        base=gaussian.base,
        support=gaussian.support,
        draw=partial(_draw_mixed, np.asarray(L)),
        free_dispersion=True,
        mixing=L,
        source="Jørgensen 1987, Exponential dispersion models",
    )


def _draw_mixed(L: Floats, mean: Floats, phi: float, rng: np.random.Generator) -> Floats:
    return mean + np.sqrt(phi) * rng.normal(size=mean.shape) @ L.T


FAMILIES: tuple[Family, ...] = (gaussian, bernoulli, poisson, categorical)  # no parameters, and any θ
ZOO: tuple[Family, ...] = (  # one of every kind
    *FAMILIES,
    gamma,
    inverse_gaussian,
    binomial(5),
    negative_binomial(1.7),
    multinomial(4),
    multivariate_gaussian([[2.0, 0.5, -0.3], [0.5, 1.0, 0.1], [-0.3, 0.1, 3.0]]),
)

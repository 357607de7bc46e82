"""Random models of every family, and expectations over y from nothing but the density."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..families import Family
from ..families.core import REALS
from ..model import GLM, Params
from ..normalizers import Normalizer


def random_model(family: Family, normalizer: Normalizer, rng: Any, N: int = 40, D: int = 4, H: int = 5) -> Any:
    """A model with random parameters, none of them special, and inputs; its predictors are in the family's domain."""
    H = family.units or H
    model = GLM(family, normalizer, dispersion=1.7 if family.free_dispersion else 1.0)
    p = model.init(D, H, rng)
    gain = None if p.gain is None else rng.uniform(0.5, 1.5, H)
    p, X = Params(p.weight, rng.normal(size=H) / 3, gain), rng.normal(size=(N, D)) + 0.3
    return model, p if family.domain == REALS else _between(model, p, X, -1.6, -0.4), X


def _between(model: GLM, p: Params, X: Any, lower: float, upper: float) -> Params:
    """Bias and gain (without one, weights) such that the predictors of every unit reach from ``lower`` to ``upper``."""
    A = model.normalizer(X, p.weight).value
    scale = (upper - lower) / np.ptp(A, axis=0)
    bias = lower - scale * A.min(axis=0)
    return Params(p.weight * scale[:, None], bias) if p.gain is None else Params(p.weight, bias, scale)


def kullback_leibler(model: GLM, p: Params, q: Params, X: Any) -> float:
    """KL(p ‖ q), mean over the cases: the Bregman divergence of the cumulant."""
    z, new, family = model.natural(p, X), model.natural(q, X), model.family
    linear = (family.mean(z) * (new - z)).sum()
    return float(family.cumulant_value(new).sum() - family.cumulant_value(z).sum() - linear) / model.dispersion / len(X)


def densities(family: Family, z: np.ndarray, phi: float) -> tuple[np.ndarray, np.ndarray]:
    """Values y (m, H) that carry a family's whole probability at z (H,), and their probabilities (m,) or (m, H).

    Sums over all outcomes, or, on the real line, the trapezoidal rule, which converges exponentially.
    """
    H = len(z)
    if family.joint:
        y, volume = _together(family, z, phi)
        return y, volume * _exp(family.log_density(y, np.broadcast_to(z, y.shape), phi))
    if not family.support.contains(np.array(0.5)):
        y, volume = np.arange(400.0), np.ones(1)
        y = y[family.support.contains(y)]
    elif family.support.contains(np.array(-0.5)):
        y, volume = np.arange(-400, 401) / 10, np.full(1, 0.1)
    else:
        t = np.arange(-2400, 360) / 40
        y, volume = np.exp(t), np.exp(t) / 40
    density = family.log_density(np.tile(y[:, None, None], (1, H, 1)), np.tile(z[:, None], (len(y), 1, 1)), phi)
    return np.tile(y[:, None], (1, H)), volume[:, None] * _exp(density)


def _exp(logarithm: np.ndarray) -> np.ndarray:
    """The exponential function, 0 below 1e-200."""
    return np.where(logarithm < -460, 0.0, np.exp(np.maximum(logarithm, -460)))


def _together(family: Family, z: np.ndarray, phi: float) -> tuple[np.ndarray, Any]:
    """Values (m, H) of dependent outputs, and the volume that each stands for."""
    H = len(z)
    if family.coupled:
        grid = np.indices((int(family.trials) + 1,) * H).reshape(H, -1).T  # type: ignore[arg-type]
        return grid[grid.sum(axis=1) == family.trials].astype(float), 1.0
    step, L = 0.5 * np.sqrt(phi), np.asarray(family.mixing)
    grid = step * np.indices((41,) * H).reshape(H, -1).T - 20 * step
    return family.mean(z) + grid @ L.T, step**H * np.linalg.det(L)


def expected_outer_product(model: GLM, p: Params, X: Any) -> np.ndarray:
    """E_x E_y[s sᵀ] with the scores s = J_nᵀ(y - E[y])/φ summed over every value of y, from the density alone."""
    at = model.linearize(p, X)
    total = np.zeros((p.size, p.size))
    for n, z in enumerate(at.natural):
        y, weights = densities(model.family, z, model.dispersion)
        r = (y - at.mean[n]) / model.dispersion
        if weights.ndim == 1:
            square = r.T @ (weights[:, None] * r)
        else:  # outputs by themselves: the product of two of them has the product of their means
            mean = (weights * r).sum(axis=0)
            square = np.outer(mean, mean)
            np.fill_diagonal(square, (weights * r * r).sum(axis=0))
        J = at.columns()[:, n]
        total += J @ square @ J.T
    return total / len(X)

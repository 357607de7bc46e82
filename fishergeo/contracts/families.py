"""What must be true of every family: its derivatives, its density, its support and its samples."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from ..errors import InputError
from ..families import Family, Floats
from .evidence import Broken, small

_DRAWS = 20_000
_OUTCOMES = 300_000  # the most at which a density is evaluated
_PROBES = (-1e6, -2.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 7.0, 1e6, np.nan, np.inf, -np.inf)


def natural_parameters(family: Family, rng: np.random.Generator, cases: int, units: int = 3) -> Floats:
    """Random admissible θ (cases, H), with H = ``units`` unless the family fixes it.

    Raises `Broken` where mean or variance are not finite at an example that the family gives.
    """
    theta = family.example(rng, (cases, family.units or units))
    with np.errstate(all="ignore"):
        fine = np.isfinite(family.mean(theta)).all() and (family.hessian(theta).d > 0).all()
    if not fine:
        raise Broken(f"{family.name} has no finite mean and positive variance at θ = {theta[0]}: restrict its domain")
    return theta


def mean_is_the_derivative(family: Family, rng: np.random.Generator) -> str:
    """mean and covariance are the derivatives of the cumulant"""
    theta = natural_parameters(family, rng, 5, 4)
    mean, hessian = family.mean(theta), family.hessian(theta).dense()
    worst = 0.0
    for k, e in enumerate(np.eye(theta.shape[-1])):
        slope = _slope(family.cumulant_value, theta, e)
        worst = max(worst, float(np.abs((slope if family.joint else slope[:, k]) - mean[:, k]).max()))
        worst = max(worst, float(np.abs(_slope(family.mean, theta, e) - hessian[:, :, k]).max()))
    return small(worst, float(np.abs(hessian).max()), 1e-8, "against central differences")


def root_squares_to_the_hessian(family: Family, rng: np.random.Generator) -> str:
    """the root B of η'' satisfies BᵀB = η''"""
    theta = natural_parameters(family, rng, 5, 4)
    hessian = family.hessian(theta)
    B = np.stack([hessian.root(np.broadcast_to(e, theta.shape)) for e in np.eye(theta.shape[-1])], axis=-1)
    truth = hessian.dense()
    return small(np.abs(np.swapaxes(B, 1, 2) @ B - truth).max(), np.abs(truth).max(), 1e-13, "BᵀB - η''")


def density_is_normalized(family: Family, rng: np.random.Generator) -> str:
    """the density sums or integrates to 1 over the support, whatever φ"""
    worst, cases = 0.0, 0
    for phi in _dispersions(family):
        for theta in typical(family, rng, 3, 3 if family.joint else 1):
            draws = family.draw(np.repeat(family.mean(theta[None]), 500, axis=0), phi, rng)
            is_continuous = family.support.contains(draws + 0.01 * rng.random(draws.shape)).all()  # or only some numbers
            total = _integral(family, theta, phi) if is_continuous else _sum(family, theta, phi, draws)
            if not abs(total - 1) <= 1e-9:
                raise Broken(f"the density sums to {total:.10g} over {family.support.text} at θ = {theta}, φ = {phi:g}")
            worst, cases = max(worst, abs(total - 1)), cases + 1
    return f"{cases} cases, worst {worst:.1g} off"


def support_is_kept(family: Family, rng: np.random.Generator) -> str:
    """samples lie in the support, and what lies outside or has density 0 is refused"""
    for phi in _dispersions(family):
        theta = natural_parameters(family, rng, 500)
        y = family.draw(family.mean(theta), phi, rng)
        outside = ~family.support.contains(y)
        if outside.any():
            raise Broken(f"a sample {y[np.argwhere(outside)[0][0]]} is not in the support, {family.support.text}")
        if not np.array_equal(family.encode(y, y.shape), y):
            raise Broken("encode changes samples")
    refused = 0
    for place, value in itertools.product(range(y.shape[-1]), (*_PROBES, y.max() + 1)):
        row = y[:1].copy()
        row[0, place] = value
        inside = bool(np.isfinite(value)) and bool(family.support.contains(row).all())
        with np.errstate(all="ignore"):
            if inside and not np.isfinite(family.log_density(row, theta[:1], phi)).all():
                raise Broken(f"{row[0]} lies in the support, {family.support.text}, but has no density")
        try:
            family.encode(row, row.shape)
            taken = True
        except InputError:
            taken, refused = False, refused + 1
        if taken != inside:
            where = "in" if inside else "outside"
            raise Broken(f"{'accepts' if taken else 'refuses'} {row[0]}, which is {where} {family.support.text}")
    return f"{len(y)} samples at each φ, {refused} outcomes refused"


def samples_have_the_moments(family: Family, rng: np.random.Generator) -> str:
    """samples have mean η' and covariance φ η'', whatever φ"""
    worst = 0.0
    for phi in _dispersions(family):
        theta = typical(family, rng, 1)
        mean, covariance = family.mean(theta)[0], phi * family.hessian(theta).dense()[0]
        c = family.draw(np.repeat(mean[None], _DRAWS, axis=0), phi, rng) - mean
        worst = max(worst, _standard_errors(c, 0), _standard_errors(c[:, :, None] * c[:, None, :], covariance))
        if not worst <= 6:
            raise Broken(f"mean or covariance off by {worst:.1f} standard errors at θ = {theta[0]}, φ = {phi:g}")
    return f"mean and covariance within {worst:.1f} standard errors"


CONTRACTS = (
    mean_is_the_derivative,
    root_squares_to_the_hessian,
    density_is_normalized,
    support_is_kept,
    samples_have_the_moments,
)


def _dispersions(family: Family) -> tuple[float, ...]:
    return (1.0, 0.3, 2.5) if family.free_dispersion else (1.0,)


def _standard_errors(samples: Floats, expected: Floats | float) -> float:
    """By how many standard errors the means of the samples differ from what is expected."""
    error = samples.std(axis=0) / np.sqrt(len(samples))
    return float((np.abs(samples.mean(axis=0) - expected) / np.maximum(error, 1e-12)).max())


def typical(family: Family, rng: np.random.Generator, cases: int, units: int = 3) -> Floats:
    """θ (cases, H) that are neither rare nor alike: quantiles of the admissible ones, between a fifth and four fifths."""
    theta = natural_parameters(family, rng, 100, units)
    H = theta.shape[-1]
    levels = np.linspace(0.2, 0.8, max(cases, H))
    return np.stack([[np.quantile(theta[:, h], np.roll(levels, n)[h]) for h in range(H)] for n in range(cases)])


def _slope(f: Callable[[Floats], Floats], theta: Floats, e: Floats, step: float = 1e-4) -> Floats:
    """The derivative of f along e, by central differences of fourth order."""
    near, far = f(theta + step * e) - f(theta - step * e), f(theta + 2 * step * e) - f(theta - 2 * step * e)
    return (8 * near - far) / (12 * step)


def _density(family: Family, y: Floats, theta: Floats, phi: float) -> Floats:
    """The density at the outcomes y (Q, H), 0 outside the support."""
    inside = family.support.contains(y).all(axis=-1)
    density = np.zeros(len(y))
    with np.errstate(all="ignore"):  # an overflow shows in the sum
        density[inside] = np.exp(family.log_density(y[inside], theta, phi))
    return density


def _grid(axis: Floats, dimensions: int) -> Floats:
    """All points (Q, H) whose coordinates are on ``axis``."""
    return np.stack(np.meshgrid(*[axis] * dimensions, indexing="ij"), axis=-1).reshape(-1, dimensions)


def _sum(family: Family, theta: Floats, phi: float, draws: Floats) -> float:
    """Σ_y p(y) over the integers in the support: a box around samples, widened until its outer half adds nothing."""
    lower, upper = np.floor(draws.min()), np.ceil(draws.max())
    more = 2
    while (upper - lower + 2 * more + 1) ** len(theta) <= _OUTCOMES:
        y = _grid(np.arange(lower - more, upper + more + 1), len(theta))
        p = _density(family, y, theta, phi)
        outer = ((y < lower - more / 2) | (y > upper + more / 2)).any(axis=-1)
        if not p[outer].sum() > 1e-13:
            return float(p.sum())
        more *= 2
    raise Broken(f"the density does not die out on the integers in {family.support.text} at θ = {theta}")


def _integral(family: Family, theta: Floats, phi: float) -> float:
    """∫ p(y) dy over the real line or its positive half, by trapezoidal rules that double their digits with the nodes."""
    outputs, mean = len(theta), family.mean(theta[None])[0]
    center, root = mean, np.linalg.cholesky(phi * family.hessian(theta[None]).dense()[0])
    if not family.support.contains(-np.abs(mean[None]) - 1).any():  # positive outcomes
        t = np.linspace(-5, 3, 2001)
        u = np.exp(np.pi / 2 * np.sinh(t))
        du = np.pi / 2 * np.cosh(t) * u
        center, root = np.zeros(outputs), np.diag(mean)
    elif outputs == 1:
        t = np.linspace(-5, 5, 2001)
        u, du = np.sinh(t), np.cosh(t)
    else:  # tails as those of a Gaussian
        t = np.linspace(-8, 8, 21)
        u, du = t, np.ones(len(t))
    if len(t) ** outputs > _OUTCOMES:
        raise Broken(f"the density of {outputs} dependent outputs takes too many nodes; try fewer outputs")
    weight = _grid(du * (t[1] - t[0]), outputs).prod(axis=-1) * np.linalg.det(root)
    with np.errstate(under="ignore"):
        return float((weight * _density(family, center + _grid(u, outputs) @ root.T, theta, phi)).sum())

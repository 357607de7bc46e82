"""What must be true of every family: its derivatives, its density, its support and its samples."""

from __future__ import annotations

import itertools

import numpy as np

from ..errors import InputError
from ..families import Family, Floats
from .evidence import Broken, small

_DRAWS = 20_000
_OUTCOMES = 300_000  # the most at which a density is evaluated at once
_PROBES = (-1e6, -2.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 7.0, 1e6, np.nan, np.inf, -np.inf)


def natural_parameters(family: Family, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Random admissible θ: any numbers, or those of ``family.example(rng, shape)`` where only some are admissible.

    Raises `Broken` where the family's mean or hessian is not finite there.
    """
    example = getattr(family, "example", None)
    theta = rng.normal(size=shape) if example is None else example(rng, shape)
    with np.errstate(all="ignore"):
        finite = np.isfinite(family.mean(theta)).all() and (family.hessian(theta).d > 0).all()
    if not finite:
        raise Broken(f"{family.name} has no finite mean and positive variance at every θ: give admissible examples")
    return theta


def mean_is_the_derivative(family: Family, rng: np.random.Generator) -> str:
    """mean and covariance are the derivatives of the cumulant"""
    theta, step = natural_parameters(family, rng, (5, 4)), 1e-5
    mean, hessian = family.mean(theta), family.hessian(theta).dense()
    worst = 0.0
    for k, e in enumerate(np.eye(4)):
        slope = (family.cumulant_value(theta + step * e) - family.cumulant_value(theta - step * e)) / (2 * step)
        worst = max(worst, float(np.abs((slope if family.coupled else slope[:, k]) - mean[:, k]).max()))
        curve = (family.mean(theta + step * e) - family.mean(theta - step * e)) / (2 * step)
        worst = max(worst, float(np.abs(curve - hessian[:, :, k]).max()))
    return small(worst, float(np.abs(hessian).max()), 1e-8, "against central differences")


def root_squares_to_the_hessian(family: Family, rng: np.random.Generator) -> str:
    """the root B of η'' satisfies BᵀB = η''"""
    hessian = family.hessian(natural_parameters(family, rng, (5, 4)))
    B = np.stack([hessian.root(np.broadcast_to(e, (5, 4))) for e in np.eye(4)], axis=-1)
    truth = hessian.dense()
    return small(np.abs(np.swapaxes(B, 1, 2) @ B - truth).max(), np.abs(truth).max(), 1e-13, "BᵀB - η''")


def density_is_normalized(family: Family, rng: np.random.Generator) -> str:
    """the density sums or integrates to 1 over the support, whatever φ"""
    worst, cases = 0.0, 0
    for phi in _dispersions(family):
        for theta in natural_parameters(family, rng, (3, 3 if family.coupled else 1)):
            total = (_integral if _is_continuous(family, theta, phi, rng) else _sum)(family, theta, phi)
            if not abs(total - 1) <= 1e-9:
                raise Broken(f"the density sums to {total:.10g} over {family.support.text} at θ = {theta}, φ = {phi:g}")
            worst, cases = max(worst, abs(total - 1)), cases + 1
    return f"{cases} cases, worst {worst:.1g} off"


def support_is_kept(family: Family, rng: np.random.Generator) -> str:
    """samples lie in the support, and what lies outside is refused"""
    for phi in _dispersions(family):
        mean = family.mean(natural_parameters(family, rng, (500, 3)))
        y = family.draw(mean, phi, rng)
        outside = ~family.support.contains(y)
        if outside.any():
            raise Broken(f"a sample {y[np.argwhere(outside)[0][0]]} is not in the support, {family.support.text}")
        if not np.array_equal(family.encode(y, y.shape), y):
            raise Broken("encode changes samples")
    refused = 0
    for place, value in itertools.product(range(3), _PROBES):
        row = y[:1].copy()
        row[0, place] = value
        inside = bool(np.isfinite(value)) and bool(family.support.contains(row).all())
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
        theta = natural_parameters(family, rng, (1, 3))
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


def _is_continuous(family: Family, theta: Floats, phi: float, rng: np.random.Generator) -> bool:
    """Whether outcomes can be moved a little, by an irrational amount."""
    y = family.draw(np.repeat(family.mean(theta[None]), 50, axis=0), phi, rng)
    return bool(family.support.contains(y + 0.01 * rng.random(y.shape)).all())


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


def _sum(family: Family, theta: Floats, phi: float) -> float:
    """Σ_y p(y) over the integers in the support, up to where the rest is below 1e-13."""
    end = 4 + 2 * int(np.abs(family.mean(theta[None])).max())
    while (2 * end) ** len(theta) <= _OUTCOMES:
        y = _grid(np.arange(-end, end + 1.0), len(theta))
        p = _density(family, y, theta, phi)
        rest, total = p[np.abs(y).max(axis=-1) > end / 2].sum(), float(p.sum())
        if total > 0 and not rest > 1e-13:
            return total
        end *= 2
    raise Broken(f"the density does not die out on the integers in {family.support.text} at θ = {theta}")


def _integral(family: Family, theta: Floats, phi: float) -> float:
    """∫ p(y) dy over the real line or its positive half, by the trapezoidal rule in double-exponential variables."""
    outputs, mean = len(theta), family.mean(theta[None])[0]
    number = min(2001, int(_OUTCOMES ** (1 / outputs)))
    if not family.support.contains(-np.abs(mean[None]) - 1).any():  # positive outcomes
        t = np.linspace(-5, 3, number)
        u, du = np.exp(np.pi / 2 * np.sinh(t)), np.pi / 2 * np.cosh(t) * np.exp(np.pi / 2 * np.sinh(t))
        center, root = np.zeros(outputs), np.diag(mean)
    else:
        t = np.linspace(-4, 4, number)
        u, du = np.sinh(t), np.cosh(t)
        center, root = mean, np.linalg.cholesky(phi * family.hessian(theta[None]).dense()[0])
    weight = _grid(du * (t[1] - t[0]), outputs).prod(axis=-1) * np.linalg.det(root)
    with np.errstate(under="ignore"):
        return float((weight * _density(family, center + _grid(u, outputs) @ root.T, theta, phi)).sum())

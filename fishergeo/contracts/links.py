"""What must be true of every link: that it can be undone, its derivatives, and the Fisher weight of families under it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..families import ZOO as FAMILIES
from ..families import Family, Floats
from ..links import Curve, Link, allowed, curve
from .evidence import Broken, small

_GRID = np.arange(-255, 256) / 64 + 1 / 128  # between the multiples of 1/64, where poles and ends of domains are
_STEP, _POINTS = 2e-5, 9


def inverse_is_one_to_one(link: Link, rng: np.random.Generator) -> str:
    """g⁻¹ only rises or only falls, in every family that takes it"""
    taken = list(_taken(link))
    for family, bent, z in taken:
        rises = bent.slope(z) > 0  # dθ/dz = dμ/dz / V
        if rises.any() and not rises.all():
            turn = z[np.argmax(rises != rises[0])]
            raise Broken(
                f"{family.name}: the mean rises and falls with z, it turns near {turn:.3g}; positive=True keeps z > 0"
            )
    return _names(taken)


def derivatives_are_derivatives(link: Link, rng: np.random.Generator) -> str:
    """θ(z) is the natural parameter of the mean g⁻¹(z); dθ/dz and d²θ/dz² are its derivatives"""
    worst, taken = 0.0, list(_taken(link))
    for family, bent, every in taken:
        z = rng.choice(every, _POINTS)
        natural, slope, bend, mean = (f(z) for f in (bent.natural, bent.slope, bent.bend, bent.mean))
        worst = max(
            worst,
            _gap(family.mean(natural), mean, mean),
            _gap(_slope(bent.natural, z), slope, natural),
            _gap(_slope(bent.slope, z), bend, slope),
        )
    return small(worst, 1.0, 1e-8, f"against central differences, {_names(taken)}")


def weight_is_the_expected_curvature(link: Link, rng: np.random.Generator) -> str:
    """the Fisher weight is (dμ/dz)²/V(μ)"""
    worst, taken = 0.0, list(_taken(link))
    for family, bent, every in taken:
        z = rng.choice(every, _POINTS)
        expected = _slope(bent.mean, z) ** 2 / family.hessian(bent.natural(z)[:, None]).d[:, 0]
        worst = max(worst, _gap(bent.weight(z), expected, expected))
    return small(worst, 1.0, 1e-8, f"against central differences, {_names(taken)}")


CONTRACTS = (inverse_is_one_to_one, derivatives_are_derivatives, weight_is_the_expected_curvature)


def _taken(link: Link) -> Iterator[tuple[Family, Curve, Floats]]:
    """The families with independent outputs that the link is of use in, with predictors that they allow.

    Raises `Broken` where there is none; the canonical link is z = θ in each, and has nothing to check.
    """
    none = True
    for family in (f for f in FAMILIES if not f.joint):
        bent = curve(family, link)
        if bent is None:
            return
        with np.errstate(all="ignore"):
            good = allowed(family, link, _GRID, bent.natural(_GRID), bent.mean(_GRID), family.trials)
            for value in (bent.slope(_GRID), bent.weight(_GRID)):
                good &= np.isfinite(value) & (np.abs(value) > 1e-100)
        z = _GRID[1:-1][good[:-2] & good[1:-1] & good[2:]]  # inside: differences do not leave the domain
        if len(z) >= _POINTS:
            none = False
            yield family, bent, z
    if none:
        raise Broken("no family has means that it reaches with predictors from -4 to 4")


def _names(taken: list[tuple[Family, Curve, Floats]]) -> str:
    return ", ".join(family.name for family, _, _ in taken) or "z = θ in every family"


def _slope(f: Callable[[Floats], Floats], z: Floats) -> Floats:
    """df/dz by central differences of fourth order, in steps that stay on the side of 0."""
    h = _STEP * np.minimum(1, np.abs(z))
    near, far = f(z + h) - f(z - h), f(z + 2 * h) - f(z - 2 * h)
    return np.asarray((8 * near - far) / (12 * h))


def _gap(found: Floats, expected: Floats, size: Floats) -> float:
    """The largest difference, relative to the largest of what is expected, or of what it is a derivative of."""
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), np.abs(size).max(), 1e-300))

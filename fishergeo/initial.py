"""Where parameters start: predictors that family and link allow, and how far the normalized summed inputs reach."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from .axes import Axis
from .families import Family, Floats
from .links import Link, allowed, curve
from .normalizers import Normalizer

_CASES, _POSITIONS = 256, 8


@lru_cache(maxsize=256)
def center(family: Family, link: Link) -> tuple[float, float]:
    """The allowed predictor nearest to 0 whose distance from all others is 1, or the largest there is; and that distance.

    (0, ∞) where all are allowed.  Found among the multiples of 1/16 from -4 to 4.
    """
    z = np.arange(-64, 65) / 16
    bent = curve(family, link)
    if bent is None:
        good = family.domain.contains(z)
    else:  # one trial each where every case has its own number
        trials = 1 if isinstance(family.trials, tuple) else family.trials
        counts = (1.0,) if isinstance(family.trials, tuple) else ()
        with np.errstate(all="ignore"):
            good = allowed(family, link, z, bent.natural(z, *counts), bent.mean(z, *counts), trials)
    if good.all() or not good.any():
        return 0.0, math.inf
    room = np.minimum(1, np.abs(z[:, None] - z[~good]).min(axis=1) * good)
    best = np.lexsort((-z, np.abs(z), -room))[0]
    return float(z[best]), float(room[best])


def reach(normalizer: Normalizer, W: Floats, rng: np.random.Generator) -> Floats:
    """max |Â| of every unit (H,) on 256 or more cases of independent standard normal inputs."""
    every = normalizer.multiples()

    def size(least: int, axis: Axis) -> int:
        return -(-least // every[axis]) * every[axis]

    apart = (size(normalizer.positions or _POSITIONS, Axis.POSITION),) if normalizer.tells_positions_apart else ()
    X = rng.normal(size=(size(_CASES, Axis.SAMPLE), *apart, W.shape[1]))
    return np.abs(normalizer(X, W).value).reshape(-1, len(W)).max(axis=0)

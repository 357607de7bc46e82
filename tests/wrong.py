"""Objects that are wrong on purpose."""

from __future__ import annotations

from copy import copy
from dataclasses import fields, replace

import numpy as np
import sympy

import fishergeo as fg
from fishergeo.families import Family, Hessian, Support


class Broken(fg.Standardize):
    """Batch norm whose result is changed by a function; equal only to itself, so that no cache takes it for another."""

    __eq__, __hash__ = object.__eq__, object.__hash__

    def __init__(self, change):
        super().__init__([fg.Axis.SAMPLE, fg.Axis.POSITION])
        object.__setattr__(self, "change", change)

    def __call__(self, t, layout, who="broken"):
        return self.change(super().__call__(t, layout, who))


class OneSided:
    """A tangent that is not its own adjoint: it forgets to centre the result."""

    def __init__(self, done):
        self.value, self.sigma, self.done = done.value, done.sigma, done

    def tangent(self, dt):
        return replace(self.done, mean=None).tangent(dt) * np.arange(1, dt.shape[-2] + 1)[:, None]


class Blind:
    """A tangent that does not see the first unit."""

    def __init__(self, done):
        self.done = done

    def __getattr__(self, name):
        return getattr(self.done, name)

    def tangent(self, dt):
        seen = (np.arange(dt.shape[-1]) > 0) if isinstance(dt, np.ndarray) else 1
        return self.done.tangent(dt) * seen


class SelfAdjoint:
    """An adjoint that is the tangent."""

    def __init__(self, done):
        self.done = done

    def __getattr__(self, name):
        return getattr(self.done, "tangent" if name == "adjoint" else name)


def changing(stage, change):
    """A stage of any kind whose result is changed by a function; equal only to itself."""
    own = type(stage)

    def call(self, t, layout, who="changed"):
        return change(own.__call__(self, t, layout, who))

    wrong = copy(stage)
    kind = type("Changed", (own,), {"__call__": call, "__eq__": object.__eq__, "__hash__": object.__hash__})
    object.__setattr__(wrong, "__class__", kind)
    return wrong


# what the tangent of two groups is taken for
WRONG_GROUPS = {
    "one cell": lambda done: replace(done, cells=replace(done.cells, groups=())),
    "four groups": lambda done: replace(done, cells=replace(done.cells, groups=((-2, 4),), count=2)),
    "the size of the axis for that of the group": lambda done: replace(done, weight=2 * done.weight),
}
WRONG_LEADING = {
    "all entries": lambda done: replace(done, cells=replace(done.cells, share=None, count=6), weight=6),
    "sums of all, counted as some": lambda done: replace(done, cells=replace(done.cells, share=None)),
    "the other entries": lambda done: replace(done, cells=replace(done.cells, share=1 - done.cells.share)),
}
WRONG_SPECTRAL = {
    "sigma held": lambda done: replace(done, u=0 * done.u),
    "Frobenius norm": lambda done: replace(done, u=done.value, v=np.ones_like(done.v) / np.sum(done.value**2)),
    "u for v": lambda done: replace(done, u=done.u[::-1]),
    "sigma twice": lambda done: replace(done, sigma=2 * done.sigma),
}

WRONG_TANGENTS = {
    "detached mean": lambda done: replace(done, mean=None),
    "detached sigma": lambda done: replace(done, weight=1e300),
    "norm for std": lambda done: replace(done, weight=1),
    "sigma off by 1 %": lambda done: replace(done, sigma=1.01 * done.sigma),
    "frozen statistics": lambda done: replace(done, frozen=True),
}


def changed(family, **methods):
    """A copy of the family with some methods replaced."""
    kind = type("Changed", (Family,), methods)
    return kind(**{field.name: getattr(family, field.name) for field in fields(family)})


def off(hessian):
    return Hessian(1.01 * hessian.d, hessian.coupled)


class Scaled(Hessian):
    """A root that is no root: its factor is not the square root of the hessian."""

    def root(self, v):
        return 1.001 * super().root(v)


def scaled(family):
    def hessian(self, *given):
        right = family.hessian(*given)
        return Scaled(right.d, right.coupled, right.mixing)

    return changed(family, hessian=hessian)


def shifted(family, by):
    return changed(family, log_density=lambda self, y, theta, phi: family.log_density(y, theta, phi) + by(phi))


def takes_everything(family):
    return changed(family, encode=lambda self, Y, shape: np.asarray(Y, float))


_INTEGERS = Support("the integers 0, 1, 2, …", lambda y: (y >= 0) & (y == np.round(y)))
_HALF_LINE = Support("the numbers y >= 0", lambda y: y >= 0)

# families by the only contract that each of them breaks
WRONG_FAMILIES = {
    "derivatives": {
        "mean off by 1 %": changed(fg.bernoulli, mean=lambda self, theta: 1.01 * fg.bernoulli.mean(theta)),
        "hessian off by 1 %": changed(fg.poisson, hessian=lambda self, theta: off(fg.poisson.hessian(theta))),
    },
    "root": {f"root off by 0.1 %, {f.name}": scaled(f) for f in (fg.gaussian, fg.bernoulli, fg.categorical)},
    "density": {
        **{
            f"density off by 1e-6, {f.name}": shifted(f, lambda phi: 1e-6)
            for f in (fg.gaussian, fg.bernoulli, fg.poisson, fg.categorical)
        },
        "normalized for φ = 1 alone": shifted(fg.gaussian, lambda phi: np.log(phi) / 2),
        "no log-factorial": replace(fg.poisson, base=lambda y, phi: 0),
        "counts that need not be whole": replace(fg.poisson, support=_HALF_LINE),
        "two outcomes taken for many": replace(fg.bernoulli, support=_INTEGERS),
        "shape φ for 1/φ": replace(
            fg.gamma, base=lambda y, phi: phi * sympy.log(phi * y) - sympy.log(y) - sympy.loggamma(phi)
        ),
        "half a determinant": shifted(fg.multivariate_gaussian([[2, 1], [1, 3]]), lambda phi: np.log(5) / 4),
    },
    "support": {
        "normal samples of a Bernoulli mean": replace(
            fg.bernoulli, draw=lambda mean, phi, rng: rng.normal(mean, np.sqrt(mean * (1 - mean)))
        ),
        "one trial too many": replace(fg.binomial(4), support=fg.binomial(5).support),
        **{f"takes everything, {f.name}": takes_everything(f) for f in (fg.gaussian, fg.bernoulli, fg.poisson)},
    },
    "samples": {
        "mean off by 10 %": replace(fg.poisson, draw=lambda mean, phi, rng: rng.poisson(1.1 * mean).astype(float)),
        "variance φ for 1/φ": replace(fg.inverse_gaussian, draw=lambda mean, phi, rng: rng.wald(mean, phi)),
        "the covariance of another": replace(
            fg.multivariate_gaussian([[2, 1], [1, 3]]), draw=fg.multivariate_gaussian([[2, 0], [0, 3]]).draw
        ),
        "φ left out": replace(fg.gaussian, draw=lambda mean, phi, rng: rng.normal(mean, 1.0)),
        "φ for its root": replace(fg.gaussian, draw=lambda mean, phi, rng: rng.normal(mean, phi)),
        "one number decides all outputs": replace(
            fg.bernoulli, draw=lambda mean, phi, rng: (rng.random((len(mean), 1)) < mean).astype(float)
        ),
        "labels drawn at random": replace(
            fg.categorical,
            draw=lambda mean, phi, rng: np.eye(mean.shape[-1])[rng.integers(mean.shape[-1], size=len(mean))],
        ),
    },
}

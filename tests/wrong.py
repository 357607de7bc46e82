"""Objects that are wrong on purpose."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

import fishergeo as fg
from fishergeo.families import Family, Hessian


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

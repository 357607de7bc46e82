"""The cases that every contract loops over: the package's own zoos, each paired with its oracle."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import oracles
import pytest

import fishergeo as fg
from fishergeo.families import FAMILIES
from fishergeo.normalizers import ZOO
from fishergeo.transformations import TRANSFORMATIONS

SIZES = (8, 4, 6)  # N, D, H: all different, at least 3, two groups of at least 3 cases or units
SIZES_WITH_POSITIONS = (4, 5, 3, 6)  # N, S, D, H
DISPERSIONS = {"gaussian": (1.0, 2.5)}  # families whose φ is free are tried with more than φ = 1


@dataclass(frozen=True)
class Case:
    """A normalizer of the package and the plain formula it must agree with."""

    name: str
    normalizer: fg.Normalizer
    forward: Any = field(repr=False)

    def __str__(self) -> str:
        return self.name


def _statistics(units: int) -> tuple[Any, Any]:
    return np.linspace(-1, 1, units), np.linspace(0.5, 2, units)


def _cases() -> Iterator[Case]:
    for normalizer in ZOO:
        yield Case(normalizer.name, normalizer, oracles.forward(normalizer.name))
    for eps, inside in ((0.125, True), (0.25, False)):
        for normalizer in ZOO:
            if normalizer.with_eps(eps) != normalizer:  # it divides by a computed σ
                name = f"{normalizer.name}-eps-{'inside' if inside else 'outside'}"
                yield Case(name, normalizer.with_eps(eps, inside), oracles.forward(normalizer.name, (eps, inside)))


def frozen_per_unit(units: int) -> Case:
    """Batch norm at inference with one mean and one variance for each unit."""
    mean, var = _statistics(units)
    return Case("frozen-per-unit", fg.frozen_batch_norm(mean, var), oracles.frozen(mean, var))


def on_positions_alone(case: Case) -> bool:
    """Whether a stage has cells that only inputs (N, S, D) have."""
    return any(stage.over == {fg.Axis.POSITION} for _, stage in case.normalizer.stages)


def divides(case: Case) -> bool:
    """Whether a stage divides by a σ that it computes."""
    return any(stage.over and stage.scale is not fg.Scale.NONE for _, stage in case.normalizer.stages)


ALL = [Case(n.name, n, oracles.forward(n.name)) for n in ZOO]
PLAIN = [case for case in ALL if not on_positions_alone(case)]
CASES = [case for case in (*_cases(), frozen_per_unit(SIZES[2])) if not on_positions_alone(case)]
CASES_WITH_POSITIONS = [*_cases(), frozen_per_unit(SIZES_WITH_POSITIONS[3])]


def admissible(normalizer: fg.Normalizer, sizes: Sequence[int]) -> tuple[int, ...]:
    """Sizes (N, [S,] D, H) raised until they split into groups and no stage degenerates, with ε = 0 or not."""
    axes = [fg.Axis.SAMPLE, fg.Axis.POSITION, fg.Axis.INPUT, fg.Axis.UNIT]
    if len(sizes) == 3:
        axes.remove(fg.Axis.POSITION)
    least, every = normalizer.with_eps(0).minimum(), normalizer.multiples()
    fixed = {} if normalizer.units is None else {fg.Axis.UNIT: normalizer.units}
    return tuple(
        fixed.get(axis, -(-max(size, least[axis]) // every[axis]) * every[axis])
        for axis, size in zip(axes, sizes, strict=True)
    )


def told_apart(normalizer: fg.Normalizer, sizes: Sequence[int], positions: int = 5) -> tuple[int, ...]:
    """Sizes (N, D, H), with S positions where the normalizer tells positions apart, so that its cells are generic."""
    N, D, H = sizes
    return admissible(normalizer, (N, positions, D, H) if normalizer.tells_positions_apart else (N, D, H))


_AXES = {"n": fg.Axis.SAMPLE, "s": fg.Axis.POSITION, "h": fg.Axis.UNIT, "d": fg.Axis.INPUT}
_SCALES = {"std": fg.Scale.STD, "norm": fg.Scale.NORM, "nothing": fg.Scale.NONE}
SPECTRAL = "spectral"  # a stage of the weights without options
HALF = Fraction(1, 2)


def stage(
    over: str,
    center: bool,
    divide: str,
    eps: tuple[Any, bool] = (0, True),
    parts: Sequence[tuple[str, int]] = (),
    first: tuple[Fraction, Any] | None = None,
) -> fg.Standardize:
    """The package's stage for the arguments of `oracles.standardize`; ``first`` is a fraction and its rounding."""
    return fg.Standardize(
        [_AXES[letter] for letter in over],
        center=center,
        scale=_SCALES[divide],
        eps=eps[0],
        eps_inside=eps[1],
        groups={_AXES[letter]: number for letter, number in parts},
        first=None if first is None else fg.First(*first),
    )


def formula(*arguments: Any) -> tuple[Any, ...]:
    """The arguments of `oracles.standardize` for those of `stage`."""
    if len(arguments) < 6 or arguments[5] is None:
        return arguments
    fraction, rounding = arguments[5]
    return (*arguments[:5], lambda size: rounding(fraction * size))


def composed(name: str, **sites: list[Any]) -> Case:
    """A normalizer of any stages (arguments of `stage`, or SPECTRAL) at the three sites, with its plain formula."""
    ours = {k: tuple(fg.Spectral() if a is SPECTRAL else stage(*a) for a in listed) for k, listed in sites.items()}
    plain = {k: [oracles.spectral if a is SPECTRAL else formula(*a) for a in listed] for k, listed in sites.items()}
    return Case(name, fg.Normalizer(name, **ours), oracles.staged(**plain))


def random_composition(
    rng: np.random.Generator,
    name: str,
    axes: str = "nhd",
    eps: tuple[Any, ...] = (0,),
    rich: bool = False,
    stages: int | None = None,
) -> Case:
    """A normalizer of 1 to 3 random stages at random sites; ``rich`` adds groups, leading entries and Spectral."""
    options = [(True, "std"), (True, "norm"), (True, "nothing"), (False, "std"), (False, "norm")]
    sites: dict[str, list[Any]] = {"inputs": [], "weight": [], "summed": []}
    letters = {"inputs": "nsd", "weight": "hd", "summed": "nsh"}
    for _ in range(stages or rng.choice([1, 2, 2, 3])):
        site = rng.choice(list(sites))
        if rich and site == "weight" and rng.random() < 0.25:
            sites[site].append(SPECTRAL)
            continue
        possible = [letter for letter in letters[site] if letter in axes]
        over = "".join(rng.permutation(possible)[: rng.integers(1, len(possible) + 1)])
        center, divide = options[rng.integers(len(options))]
        value = 0 if divide == "nothing" else eps[rng.integers(len(eps))]
        arguments = (over, center, divide, (value, bool(rng.integers(2)) or not value))
        kind = rng.choice(["plain", "groups", "first"]) if rich else "plain"
        if kind == "groups":
            arguments = (*arguments, ((rng.choice(list(over)).item(), 2 + int(rng.random() < 0.3)),))
        elif kind == "first" and len(over) == 1:
            arguments = (*arguments, (), (HALF, (math.ceil, math.floor)[rng.integers(2)]))
        sites[site].append(arguments)
    text = " ".join(f"{site}:{'>'.join(map(str, listed))}" for site, listed in sites.items() if listed)
    return composed(f"{name} {text}", **sites)


@dataclass(frozen=True)
class Setup:
    """A model with random parameters on given inputs, and the arguments of the oracle's functions for it."""

    case: Case
    model: fg.GLM
    p: fg.Params
    X: Any

    @classmethod
    def of(cls, case: Case, family: fg.Family, X: Any, units: int, rng: np.random.Generator, phi: float = 1.0) -> Setup:
        model = fg.GLM(family, case.normalizer, dispersion=phi)
        size = units * (X.shape[-1] + 1 + model.has_gain)
        return cls(case, model, model.unravel(rng.normal(scale=0.5, size=size), units), X)

    @property
    def v(self) -> Any:
        return self.p.ravel()

    @property
    def arguments(self) -> tuple[Any, ...]:
        """forward, family, v, X, units, gain, φ: what `oracles.fisher` takes."""
        return (self.case.forward, self.model.family.name, self.v, self.X, *self.shape, self.model.dispersion)

    @property
    def shape(self) -> tuple[int, bool]:
        return self.p.units, self.model.has_gain

    def natural(self, v: Any) -> Any:
        """The oracle's Z at other parameters, complex ones included."""
        return oracles.natural(self.case.forward, v, self.X, *self.shape)

    def with_outputs(self, Y: Any) -> tuple[Any, ...]:
        """The arguments of `oracles.scores` and `oracles.log_p`."""
        return (*self.arguments[:4], Y, *self.arguments[4:])


def each_case(cases: list[Case] = CASES) -> Any:
    return pytest.mark.parametrize("case", cases, ids=str)


_PAIRS = [(family, phi) for family in FAMILIES for phi in DISPERSIONS.get(family.name, (1.0,))]


def each_family() -> Any:
    """Every family with every dispersion that it is tried with."""
    return pytest.mark.parametrize(("family", "phi"), _PAIRS, ids=[f"{f.name}-{phi:g}" for f, phi in _PAIRS])


def each_case_and_family(cases: list[Case] = CASES) -> Any:
    """Every normalizer with every family; with an ε, which changes Â alone, each with one family in turn."""
    triples = []
    for k, case in enumerate(cases):
        exact = not any(stage.has_eps for _, stage in case.normalizer.stages)
        triples += [(case, *pair) for pair in (_PAIRS if exact else [_PAIRS[k % len(_PAIRS)]])]
    ids = [f"{case}-{family.name}-{phi:g}" for case, family, phi in triples]
    return pytest.mark.parametrize(("case", "family", "phi"), triples, ids=ids)


def each_transformation() -> Any:
    return pytest.mark.parametrize("transformation", TRANSFORMATIONS, ids=lambda t: t.name)

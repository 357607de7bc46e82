"""A normalizer: a name and the stages that standardize inputs, weights and summed inputs; and its Jacobian."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .axes import Axis, Site
from .cells import Array
from .errors import InputError, all_finite
from .foreign import Foreign
from .frozen import Frozen
from .opaque import Opaque, OpaquelyDone
from .spectral import Spectral, SpectrallyScaled
from .standardize import Scale, Standardize, Standardized, check_eps
from .threads import over_ranges

Stage = Standardize | Frozen | Spectral | Opaque
Done = Standardized | SpectrallyScaled | OpaquelyDone
Numbers = np.ndarray | Foreign  # arrays of numbers, not of index notation


@dataclass(frozen=True)
class Normalizer:
    """A normalization of a GLM: stages for the inputs X, the weights W and the summed inputs A = X̂ Ŵᵀ.

    Each of ``inputs``, ``weight`` and ``summed`` is a stage (`Standardize`, `Frozen` or `Spectral`; any other function of
    the array becomes an `Opaque` one), a tuple of stages applied in turn, or empty.  Raises `InputError` for an axis that
    the site does not have.
    """

    name: str
    inputs: Any = ()
    weight: Any = ()
    summed: Any = ()
    source: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InputError(f"Normalizer got name={self.name!r}: give a non-empty string")
        if not isinstance(self.source, str):
            raise InputError(f"{self.name}: source={self.source!r} is not a citation; give a string")
        for field, site in (("inputs", Site.INPUTS), ("weight", Site.WEIGHT), ("summed", Site.SUMMED)):
            stages = getattr(self, field)
            stages = tuple(stages) if isinstance(stages, tuple | list) else (stages,)
            stages = tuple(Opaque(s) if callable(s) and not isinstance(s, Stage | type) else s for s in stages)
            for stage in stages:
                if not isinstance(stage, Stage):
                    raise InputError(f"{self.name}: {field}={stage!r} is not a stage; use fg.Standardize(axis, ...)")
                if isinstance(stage, Frozen) and site is not Site.SUMMED:
                    raise InputError(f"{self.name}: frozen statistics belong to the summed inputs, not to {field}")
                if isinstance(stage, Spectral) and site is not Site.WEIGHT:
                    raise InputError(f"{self.name}: a largest singular value is of the weights, not of {field}")
                if not stage.over <= site.axes:
                    wrong = ", ".join(sorted(axis.name for axis in stage.over - site.axes))
                    right = ", ".join(axis.name for axis in site.layout(3))
                    raise InputError(f"{self.name}: {field} has no axis {wrong}; its axes are {right}")
            object.__setattr__(self, field, stages)

    def __repr__(self) -> str:
        fields = [
            f"{f}={v[0] if len(v) == 1 else v!r}" for f in ("inputs", "weight", "summed") if (v := getattr(self, f))
        ]
        return f"Normalizer({', '.join([repr(self.name), *fields])})"

    @property
    def title(self) -> str:
        return self.name.replace("_", " ")

    @property
    def stages(self) -> tuple[tuple[Site, Stage], ...]:
        """All stages with their sites, in the order in which they act."""
        return tuple(
            (site, stage)
            for site, stages in ((Site.INPUTS, self.inputs), (Site.WEIGHT, self.weight), (Site.SUMMED, self.summed))
            for stage in stages
        )

    @property
    def has_gain(self) -> bool:
        """Whether the model has a gain g; the plain GLM has none, its weights already scale freely."""
        return bool(self.stages)

    @property
    def opaque(self) -> bool:
        """Whether a stage is given by a function, of which no formula is known."""
        return any(isinstance(stage, Opaque) for _, stage in self.stages)

    def map_stages(self, change: Callable[[Stage], Stage]) -> Normalizer:
        """The same normalizer with ``change`` applied to every stage."""
        sites = (tuple(map(change, stages)) for stages in (self.inputs, self.weight, self.summed))
        inputs, weight, summed = sites
        return Normalizer(self.name, inputs, weight, summed, self.source)

    def map_eps(self, change: Callable[[Any], Any]) -> Normalizer:
        """The same normalizer with every ε > 0 replaced by ``change(ε)``, inside or outside the root as it was."""

        def stage(s: Stage) -> Stage:
            return s.with_eps(change(s.eps), s.eps_inside) if isinstance(s, Standardize) and s.has_eps else s

        return self.map_stages(stage)

    def with_eps(self, eps: Any, inside: bool = True) -> Normalizer:
        """The same normalizer with ε = ``eps`` in every stage that divides by a computed σ."""
        check_eps(eps, self.name)
        return self.map_stages(lambda stage: stage.with_eps(eps, inside) if isinstance(stage, Standardize) else stage)

    @property
    def tells_positions_apart(self) -> bool:
        """Whether positions are neither more cases (cells have both axes or none) nor apart (no cell has positions)."""
        return self.positions is not None or (
            any(Axis.POSITION in stage.over for _, stage in self.stages) and not self.flattens
        )

    @property
    def flattens(self) -> bool:
        """Whether inputs (N, S, D) are normalized as inputs (NS, D) are."""
        mixed = any(len(stage.over & {Axis.SAMPLE, Axis.POSITION}) == 1 for _, stage in self.stages)
        return not mixed and self.positions is None

    @property
    def units(self) -> int | None:
        """The number of units that frozen statistics are for; None when any number will do."""
        return next((units for s in self.summed if (units := getattr(s, "units", None)) is not None), None)

    @property
    def positions(self) -> int | None:
        """The number of positions that frozen statistics are for; None when any number will do."""
        found = [s.positions for s in self.summed if isinstance(s, Frozen) and s.positions is not None]
        return min(found, default=None)

    def multiples(self) -> dict[Axis, int]:
        """What the size of each axis must be a multiple of, for its groups."""
        out = dict.fromkeys(Axis, 1)
        for _, stage in self.stages:
            for axis, parts in getattr(stage, "groups", ()):
                out[axis] = math.lcm(out[axis], parts)
        return out

    def minimum(self) -> dict[Axis, int]:
        """The smallest size of each axis at which no stage is degenerate, positions aside."""
        multiples = self.multiples()
        sizes = dict(multiples)
        for _, stage in self.stages:
            if isinstance(stage, Standardize):
                axis = _widest(stage.over)
                sizes[axis] = max(sizes[axis], stage.minimum * dict(stage.groups).get(axis, 1))
        return {axis: -(-size // multiples[axis]) * multiples[axis] for axis, size in sizes.items()}

    def __call__(self, X: Array, W: Array, shift: Array | None = None) -> Normalized:
        """Run the stages on inputs ``X`` (N, D) or (N, S, D) and weights ``W`` (H, D); ``shift`` is added to A = X̂ Ŵᵀ.

        Raises `InputError` for arrays that do not fit each other, for nan and inf, and where a stage meets σ = 0.
        """
        self._check_shapes(*(getattr(t, "shape", None) for t in (X, W)))
        inputs = self._site(Site.INPUTS, self.inputs, X)
        weight = self._site(Site.WEIGHT, self.weight, W)
        Xhat, What = _last(inputs, X), _last(weight, W)
        A = _summed_inputs(Xhat, What)
        if shift is not None:
            A = A + shift
        summed = self._site(Site.SUMMED, self.summed, A)
        value = _last(summed, A)
        if isinstance(value, np.ndarray) and value.dtype.kind in "fc" and not all_finite(value):
            where = tuple(map(int, np.argwhere(~np.isfinite(value))[0]))
            raise InputError(
                f"{self.name} gives {value[where]} at index {where}: X or W holds a nan or inf, or numbers too large; "
                "drop, impute or rescale them"
            )
        return Normalized(inputs, weight, summed, Xhat, What, A)

    def _check_shapes(self, X: tuple[Any, ...] | None, W: tuple[Any, ...] | None) -> None:
        fit = X is not None and W is not None and len(X) in (2, 3) and len(W) == 2 and X[-1] == W[-1]
        if not fit:
            got = " and ".join(
                f"{what} no array" if shape is None else f"{what} of shape {tuple(shape)}"
                for what, shape in (("X", X), ("W", W))
            )
            raise InputError(f"{self.name} got {got}: give arrays (N, D) or (N, S, D) and (H, D), with the same D")

    def _site(self, site: Site, stages: tuple[Stage, ...], t: Array) -> tuple[Done, ...]:
        done: list[Done] = []
        layout = site.layout(len(t.shape))
        for stage in stages:
            self._check_size(site, stage, layout, t.shape)
            done.append(stage(t, layout, self.name))
            t = done[-1].value
        return tuple(done)

    def _check_size(self, site: Site, stage: Stage, layout: tuple[Axis, ...], shape: tuple[Any, ...]) -> None:
        sizes = {axis: size for axis, size in zip(layout, shape, strict=True) if axis in stage.over}
        if stage.over and not sizes:
            raise InputError(f"{self.name} standardizes along positions but X is (N, D); give X as (N, S, D)")
        if not isinstance(stage, Standardize) or not all(isinstance(size, int) for size in sizes.values()):
            return  # index notation: the size is a symbol
        got = ", ".join(f"{axis.value.upper()}={size}" for axis, size in sizes.items())
        for axis, parts in stage.groups:
            if axis in sizes and sizes[axis] % parts:
                letter = axis.value.upper()
                raise InputError(
                    f"{self.name} got {letter}={sizes[axis]}: {parts} equal groups need {letter} divisible by it"
                )
        size = math.prod(sizes.values()) // math.prod(parts for axis, parts in stage.groups if axis in sizes)
        if size < stage.minimum:
            count = size if stage.first is None else stage.first.of(size)
            if stage.first is not None:
                got += f", of which the first {count} enter the moments"
            if count == 0:
                why = "an empty cell has no moments"
            elif not stage.center or stage.scale is Scale.NONE:
                why = "one number leaves nothing, or only its sign"
            elif count == 2:
                why = "standardizing two numbers leaves only a sign, so every weight block is 0"
            else:
                why = "one number is its own mean, so centering leaves 0 and σ = 0"
            axis = _widest(sizes)
            remedy = f"use {axis.value.upper()} >= {self.minimum()[axis]}" + (" or eps > 0" if count else "")
            raise InputError(f"{self.name} got {got}: {why}; {remedy}")


def _widest(axes: Iterable[Axis]) -> Axis:
    """The axis of a cell that is enlarged where the cell is too small: positions last."""
    return min(axes, key=lambda axis: (axis is Axis.POSITION, axis.name))


def _summed_inputs(Xhat: Array, What: Array) -> Array:
    """A = X̂ Ŵᵀ; where there are only cases each unit is contiguous, as its moments want it."""
    if isinstance(Xhat, np.ndarray) and Xhat.ndim == 2 and Xhat.dtype != object:
        A = np.empty((len(What), len(Xhat)), np.result_type(Xhat, What))

        def multiply(some: slice) -> None:
            np.matmul(What, Xhat[some].T, out=A[:, some])

        over_ranges(multiply, len(Xhat), float(Xhat.size) * len(What))
        return A.T
    return Xhat @ What.swapaxes(-1, -2)


def _last(stages: tuple[Done, ...], t: Array) -> Array:
    return stages[-1].value if stages else t


def _cases(X: Array) -> Array:
    """X with its positions laid out as cases, (N S, D); an index-notation array contracts any number of axes."""
    return X.reshape(-1, X.shape[-1]) if isinstance(X, Numbers) and X.ndim == 3 else X


@dataclass(frozen=True)
class Normalized:
    """A normalizer evaluated at (X, W): the stages with their moments, and the Jacobian of Â with respect to W."""

    inputs: tuple[Done, ...]
    weight: tuple[Done, ...]
    summed: tuple[Done, ...]
    Xhat: Array
    What: Array
    A: Array

    @property
    def value(self) -> Array:
        """The normalized summed inputs Â."""
        return _last(self.summed, self.A)

    @cached_property
    def _inputs(self) -> Array:
        """X̂ for the differential: centered where A is centered next, so that a large offset costs no digits."""
        first = self.summed[0] if self.summed else None
        if first is None or first.mean is None or first.frozen or -1 in first.axes or not isinstance(self.Xhat, Numbers):
            return self.Xhat
        return self.Xhat - self.Xhat.mean(axis=first.axes, keepdims=True)

    def sums(self, dW: Array) -> Array:
        """dA = X̂ dŴᵀ for changes dŴ (..., H, D) of the normalized weights."""
        dA = _cases(self._inputs) @ dW.swapaxes(-1, -2)
        return dA.reshape(*dW.shape[:-2], *self.A.shape) if isinstance(dA, Numbers) and self.A.ndim == 3 else dA

    def sums_adjoint(self, dA: Array) -> Array:
        """The gradient with respect to Ŵ (..., H, D) for a cotangent dA (..., N, [S,] H) of A."""
        if isinstance(dA, Numbers) and self.A.ndim == 3:
            dA = dA.reshape(*dA.shape[:-3], -1, dA.shape[-1])
        return dA.swapaxes(-1, -2) @ _cases(self._inputs)

    def jvp(self, dW: Array) -> Array:
        """dÂ for a change dW (..., H, D) of the weights."""
        for stage in self.weight:
            dW = stage.tangent(dW)
        dA = self.sums(dW)
        for stage in self.summed:
            dA = stage.tangent(dA)
        return dA

    def vjp(self, dA: Array) -> Array:
        """The gradient with respect to W (..., H, D) for a cotangent dA (..., N, H) of Â."""
        for stage in reversed(self.summed):
            dA = stage.adjoint(dA)
        dW = self.sums_adjoint(dA)
        for stage in reversed(self.weight):
            dW = stage.adjoint(dW)
        return dW


def compose(*normalizers: Normalizer, name: str | None = None) -> Normalizer:
    """The normalizer with the stages of all ``normalizers``, in their order at each site.

    Raises `InputError` for no normalizer, and for anything else than normalizers.
    """
    if not normalizers or not all(isinstance(normalizer, Normalizer) for normalizer in normalizers):
        given = ", ".join(map(repr, normalizers)) or "nothing"
        raise InputError(f"compose got {given}: give one or more normalizers, e.g. fg.weight_norm, fg.batch_norm")
    return Normalizer(
        "+".join(normalizer.name for normalizer in normalizers) if name is None else name,
        inputs=sum((normalizer.inputs for normalizer in normalizers), ()),
        weight=sum((normalizer.weight for normalizer in normalizers), ()),
        summed=sum((normalizer.summed for normalizer in normalizers), ()),
        source="; ".join(dict.fromkeys(normalizer.source for normalizer in normalizers if normalizer.source)),
    )

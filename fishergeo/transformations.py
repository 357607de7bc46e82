"""The zoo of transformations of weights, data and summed inputs: each is a name and the actions it is made of.

An action changes one site affinely, T -> αT + β, where α and β vary only along stated axes (`Rescale`, `Shift`), or is a
group acting on an axis (`Permute`, `Rotate`).  Parameters are supplied by whoever runs the action: numbers, exact
rationals, or symbols.  A model is invariant when Â stays the same (permuted, where the action permutes the units).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .axes import Axis, Site
from .errors import InputError
from .standardize import Array


@dataclass(frozen=True)
class State:
    """What a transformation acts on: inputs X, weights W, and a shift of the summed inputs A (None: no shift)."""

    X: Array
    W: Array
    shift: Array | None = None
    order: Any = None  # permutation of the units that the outputs must follow


@dataclass(frozen=True)
class Parameter:
    """A free parameter of an action: its symbol and the axes of ``site`` along which it varies."""

    symbol: str
    site: Site
    axes: frozenset[Axis]
    positive: bool = False


@dataclass(frozen=True)
class Rescale:
    """T -> δ T with δ > 0 that varies along ``axes``; ``sign=-1`` fixes δ = -1 instead."""

    site: Site
    axes: frozenset[Axis] = frozenset()
    sign: int = 1

    def __post_init__(self) -> None:
        _check_axes(self)
        if self.site is Site.SUMMED:
            raise InputError("Rescale got the summed inputs, which only follow from X and W: rescale one of those")
        if self.sign not in (1, -1):
            raise InputError(f"Rescale got sign={self.sign!r}: give 1 (any factor > 0) or -1 (the factor -1)")
        if self.sign < 0 and self.axes:
            raise InputError("Rescale got sign=-1 and axes: the factor -1 does not vary; leave the axes out")

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("delta", self.site, self.axes, positive=True),) if self.sign > 0 else ()

    def act(self, state: State, values: Sequence[Array]) -> State:
        factor = values[0] if values else -1
        return _replace(state, self.site, lambda t: t * factor)


@dataclass(frozen=True)
class Shift:
    """T -> T + γ with γ that varies along ``axes``."""

    site: Site
    axes: frozenset[Axis]

    def __post_init__(self) -> None:
        _check_axes(self)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("gamma", self.site, self.axes),)

    def act(self, state: State, values: Sequence[Array]) -> State:
        if self.site is Site.SUMMED:
            shift = values[0] if state.shift is None else state.shift + values[0]
            return State(state.X, state.W, shift, state.order)
        return _replace(state, self.site, lambda t: t + values[0])


def _check_axes(action: Rescale | Shift) -> None:
    who = type(action).__name__
    if not isinstance(action.site, Site):
        raise InputError(f"{who} got site={action.site!r}: give fg.Site.WEIGHT, fg.Site.INPUTS or fg.Site.SUMMED")
    given: Any = action.axes
    axes = [given] if isinstance(given, Axis) else list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(axis, Axis) for axis in axes):
        raise InputError(f"{who} got axes={action.axes!r}: give axes such as fg.Axis.UNIT along which it varies")
    object.__setattr__(action, "axes", frozenset(axes))
    if not action.axes <= action.site.axes:
        wrong = ", ".join(sorted(axis.name for axis in action.axes - action.site.axes))
        right = ", ".join(axis.name for axis in action.site.layout(3))
        raise InputError(f"{who} of {action.site.name} got axis {wrong}: that array has the axes {right}")


@dataclass(frozen=True)
class Permute:
    """Permute the units: W -> ΠW, and the outputs follow."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("pi", Site.WEIGHT, frozenset([Axis.UNIT])),)

    def act(self, state: State, values: Sequence[Array]) -> State:
        shift = state.shift
        if shift is not None and shift.shape[-1] != 1:
            shift = shift.take(values[0], axis=-1)
        return State(state.X, state.W.take(values[0], axis=-2), shift, values[0])


@dataclass(frozen=True)
class Rotate:
    """Rotate the input space: X -> XQ, W -> WQ with QQᵀ = I."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("Q", Site.INPUTS, frozenset([Axis.INPUT])),)

    def act(self, state: State, values: Sequence[Array]) -> State:
        return State(state.X @ values[0], state.W @ values[0], state.shift, state.order)


Action = Rescale | Shift | Permute | Rotate


@dataclass(frozen=True)
class Transformation:
    """A transformation of a GLM: a name, its formula, and its action, or a tuple of actions in the order they act in.

    Raises `InputError` for what is no action, and for more than one permutation or rotation.
    """

    name: str
    formula: str
    actions: tuple[Action, ...] = field(repr=False)
    source: str = ""

    def __post_init__(self) -> None:
        for label, text in (("name", self.name), ("formula", self.formula), ("source", self.source)):
            if not isinstance(text, str) or (label == "name" and not text):
                raise InputError(
                    f"Transformation got {label}={text!r}: give a string{' that names it' * (label == 'name')}"
                )
        actions = tuple(self.actions) if isinstance(self.actions, tuple | list) else (self.actions,)
        if not actions or not all(isinstance(action, Action) for action in actions):
            raise InputError(
                f"Transformation {self.name!r} got actions={self.actions!r}: give at least one action, each a Rescale, "
                "Shift, Permute or Rotate"
            )
        object.__setattr__(self, "actions", actions)
        if any(sum(isinstance(action, kind) for action in self.actions) > 1 for kind in (Permute, Rotate)):
            raise InputError(
                f"Transformation {self.name!r} permutes or rotates twice: one permutation and rotation suffice"
            )

    @property
    def title(self) -> str:
        return self.name.replace("_", " ")

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(parameter for action in self.actions for parameter in action.parameters)

    def then(self, other: Transformation, name: str | None = None) -> Transformation:
        """This transformation followed by ``other``, each with parameters of its own."""
        if not isinstance(other, Transformation):
            raise InputError(f"{self.name}.then got {other!r}: give a Transformation, e.g. fg.sign_flip")
        formula = rf"{self.formula},\;\text{{then }} {other.formula}"
        source = "; ".join(dict.fromkeys(s for s in (self.source, other.source) if s))
        return Transformation(name or f"{self.name}_then_{other.name}", formula, self.actions + other.actions, source)

    def act(self, state: State, values: Sequence[Array]) -> State:
        """Apply the actions; ``values`` holds one array for each entry of ``parameters``."""
        for action, own in self.pairs(values):
            state = action.act(state, own)
        return state

    def pairs(self, values: Sequence[Array]) -> Iterator[tuple[Action, Sequence[Array]]]:
        """Each action with its own part of ``values``."""
        rest = list(values)
        if len(rest) != len(self.parameters):
            raise InputError(
                f"{self.name} got {len(rest)} values: give one array for each of {len(self.parameters)} parameters"
            )
        for action in self.actions:
            count = len(action.parameters)
            yield action, rest[:count]
            rest = rest[count:]


def _replace(state: State, site: Site, change: Any) -> State:
    if site is Site.INPUTS:
        return State(change(state.X), state.W, state.shift, state.order)
    return State(state.X, change(state.W), state.shift, state.order)


def _axes(*axes: Axis) -> frozenset[Axis]:
    return frozenset(axes)


_PAPER = "Ba, Kiros, Hinton 2016, table 1"

weight_matrix_rescaling = Transformation("weight_matrix_rescaling", r"W \to \delta W", (Rescale(Site.WEIGHT),), _PAPER)
weight_matrix_recentering = Transformation(
    "weight_matrix_recentering", r"W \to W + 1\gamma^\top", (Shift(Site.WEIGHT, _axes(Axis.INPUT)),), _PAPER
)
weight_vector_rescaling = Transformation(
    "weight_vector_rescaling", r"w_h \to \delta_h w_h", (Rescale(Site.WEIGHT, _axes(Axis.UNIT)),), _PAPER
)
dataset_rescaling = Transformation("dataset_rescaling", r"X \to \delta X", (Rescale(Site.INPUTS),), _PAPER)
dataset_recentering = Transformation(
    "dataset_recentering", r"x_n \to x_n + \gamma", (Shift(Site.INPUTS, _axes(Axis.INPUT)),), _PAPER
)
case_rescaling = Transformation(
    "case_rescaling", r"x_n \to \delta_n x_n", (Rescale(Site.INPUTS, _axes(Axis.SAMPLE)),), _PAPER
)
weight_vector_recentering = Transformation(
    "weight_vector_recentering",
    r"w_h \to w_h + \gamma_h",
    (Shift(Site.WEIGHT, _axes(Axis.UNIT, Axis.INPUT)),),
)
weight_constant_shift = Transformation(
    "weight_constant_shift", r"w_h \to w_h + \gamma_h 1", (Shift(Site.WEIGHT, _axes(Axis.UNIT)),)
)
case_recentering = Transformation(
    "case_recentering", r"x_n \to x_n + \gamma_n", (Shift(Site.INPUTS, _axes(Axis.SAMPLE, Axis.INPUT)),)
)
case_constant_shift = Transformation(
    "case_constant_shift", r"x_n \to x_n + \gamma_n 1", (Shift(Site.INPUTS, _axes(Axis.SAMPLE)),)
)
feature_rescaling = Transformation(
    "feature_rescaling", r"x_{nd} \to \delta_d x_{nd}", (Rescale(Site.INPUTS, _axes(Axis.INPUT)),)
)
summed_input_shift = Transformation(
    "summed_input_shift", r"a_n \to a_n + \gamma_n 1", (Shift(Site.SUMMED, _axes(Axis.SAMPLE)),)
)
sign_flip = Transformation("sign_flip", r"W \to -W", (Rescale(Site.WEIGHT, sign=-1),))
unit_permutation = Transformation("unit_permutation", r"W \to \Pi W", (Permute(),))
input_rotation = Transformation("input_rotation", r"X \to XQ,\; W \to WQ", (Rotate(),))

PAPER: tuple[Transformation, ...] = (
    weight_matrix_rescaling,
    weight_matrix_recentering,
    weight_vector_rescaling,
    dataset_rescaling,
    dataset_recentering,
    case_rescaling,
)
TRANSFORMATIONS: tuple[Transformation, ...] = (
    *PAPER,
    weight_vector_recentering,
    weight_constant_shift,
    case_recentering,
    case_constant_shift,
    feature_rescaling,
    summed_input_shift,
    sign_flip,
    unit_permutation,
    input_rotation,
)

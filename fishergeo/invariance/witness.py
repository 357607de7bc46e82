"""Exact counterexamples: the smallest rational model on which a transformation changes the normalized summed inputs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import sympy

from ..axes import Axis
from ..errors import InputError
from ..normalizers import Normalizer
from ..symbolic.exact import differs
from ..symbolic.latex import matrix
from ..symbolic.surds import Surd, digits
from ..transformations import Parameter, State, Transformation
from .candidates import count_models, draw_model, shapes_of, simple_values, sizes_of
from .numbers import random_value

_COUNTED = 200  # candidates tried in all before drawing
_OTHERS = 7  # counterexamples tried for one that is written with few roots, after one that takes digits


_Candidate = tuple[Any, Any, tuple[Any, ...]]  # X, W and the parameters


@dataclass(frozen=True)
class Witness:
    """Rational X, W and parameters at which Â changes: ``before`` and ``after`` are its exact values at ``entry``.

    Values that take many nested roots are given by 50 digits, each enclosed in an interval.
    """

    X: Any
    W: Any
    values: tuple[Any, ...]
    entry: tuple[int, ...]
    before: Any
    after: Any
    parameters: tuple[Parameter, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        return dict(zip("NSDH" if self.X.ndim == 3 else "NDH", (*self.X.shape, len(self.W)), strict=True))

    @property
    def cut(self) -> bool:
        """Whether the values are given by digits."""
        return any(getattr(value, "is_Float", False) for value in (self.before, self.after))

    def __repr__(self) -> str:
        entry = ",".join(map(str, self.entry))
        given = "".join(f", {p.symbol} = {_plain(v)}" for p, v in zip(self.parameters, self.values, strict=True))
        before, after = map(_shown, (self.before, self.after))
        return f"X = {_plain(self.X)}, W = {_plain(self.W)}{given}: â[{entry}] is {before}, becomes {after}"

    def latex(self) -> str:
        """The counterexample as one line of mathematics."""
        parts = [f"X = {matrix(self.X)}", f"W = {matrix(self.W)}"]
        for parameter, value in zip(self.parameters, self.values, strict=True):
            symbol = {"delta": r"\delta", "gamma": r"\gamma", "pi": r"\varpi", "Q": "Q"}[parameter.symbol]
            value = np.asarray(value) + 1 if parameter.symbol == "pi" else value  # units count from 1, as in the entry
            scalar = np.size(value) == 1
            parts.append(f"{symbol} = {sympy.latex(np.ravel(value)[0]) if scalar else matrix(np.atleast_2d(value))}")
        place = " ".join(str(k + 1) for k in self.entry)
        before, after = (sympy.latex(_shown(value)) for value in (self.before, self.after))
        relation = r"\approx" if self.cut else "="
        change = rf"\hat{{a}}_{{{place}}} {relation} {before} \;\to\; {after}"
        return r",\; ".join(parts) + r":\quad " + change


def _shown(value: Any) -> Any:
    """A number as it is shown: digits are cut."""
    return value.n(12) if value.is_Float else value


def _plain(array: Any) -> str:
    entries = np.asarray(array)
    return str(np.vectorize(str, otypes=[object])(entries).tolist()).replace(" ", "").replace("'", "")


def search(normalizer: Normalizer, transformation: Transformation, signed: bool = False) -> Witness | None:
    """The first counterexample in the order: sizes, largest entry, entries; None when the search finds none.

    Where counting up finds none, small integers are drawn and then lowered until none can be lowered further.
    Candidates are screened in floating point; the one returned is decided exactly.  ``signed`` takes δ = -1.
    """

    def candidates() -> Iterator[_Candidate]:
        tried = 0
        for size in sizes_of(normalizer, transformation):
            for values in simple_values(transformation.parameters, size, signed):
                if not _generic(normalizer, transformation, size, values):
                    continue
                for X, W, before in _counted(normalizer, *shapes_of(size)):
                    if before is not None and _changes(normalizer, transformation, (X, W, values), before):
                        yield X, W, values
                    if (tried := tried + 1) == _COUNTED:
                        return

    def drawn() -> Iterator[_Candidate]:
        rng, parts = np.random.default_rng(0), (1, 4) if normalizer.opaque else (1,)
        for size in sizes_of(normalizer, transformation):
            for values in simple_values(transformation.parameters, size, signed):
                if not _generic(normalizer, transformation, size, values):
                    continue
                for X, W in (draw_model(size, rng, part) for part in parts for _ in range(40)):
                    if _changes(normalizer, transformation, (X, W, values)):
                        yield _lower(normalizer, transformation, (X, W, values))

    decide = _in_numbers if normalizer.opaque else _exactly
    found = (
        witness
        for X, W, values in itertools.chain(candidates(), drawn())
        if (witness := decide(normalizer, transformation, State(X, W), values)) is not None
    )
    first = next(found, None)
    if first is None or normalizer.opaque or not first.cut:
        return first
    return next((other for other in itertools.islice(found, _OTHERS) if not other.cut), first)


def changes_somewhere(normalizer: Normalizer, transformation: Transformation, signed: bool = False) -> bool:
    """Whether Â changes on a random model of a size that degenerates nowhere; a hint, not a decision."""
    *_, size = sizes_of(normalizer, transformation)
    choices = simple_values(transformation.parameters, size, signed)
    return any(_generic(normalizer, transformation, size, values) for values in choices)


def _generic(
    normalizer: Normalizer, transformation: Transformation, size: dict[Axis, int], values: tuple[Any, ...]
) -> bool:
    """Whether Â changes at a random model: where it does not, it changes at none, being analytic where σ > 0.

    A function need not be analytic: it is tried at several scales.
    """
    rng = np.random.default_rng(0)
    X, W = (rng.normal(size=shape) for shape in shapes_of(size))
    scales = (1, 0.3, 3) if normalizer.opaque else (1,)
    return any(_changes(normalizer, transformation, (scale * X, scale * W, values)) for scale in scales)


def trials(normalizer: Normalizer, transformation: Transformation, count: int = 6) -> tuple[float, int, int]:
    """The largest relative change of Â at random models with random parameters, the number of models and of sizes."""
    rng = np.random.default_rng(0)
    worst, models, sizes = 0.0, 0, list(itertools.islice(sizes_of(normalizer, transformation), 4, None, 5))
    for size, scale in itertools.product(sizes, np.geomspace(0.1, 10, count)):
        X, W = (np.sqrt(scale) * rng.normal(size=shape) for shape in shapes_of(size))
        values = tuple(random_value(parameter, X, W, rng) for parameter in transformation.parameters)
        if (pair := _evaluate(normalizer, transformation, State(X, W), values, float)) is not None:
            change, level = np.abs(pair[1] - pair[0]).max(), np.abs(pair).max()
            worst, models = max(worst, float(change / level) if change else 0.0), models + 1
    if not models:
        raise InputError(f"{normalizer.name}: its function failed on every random model of sizes up to {sizes[-1]}")
    return worst, models, len(sizes)


@lru_cache(maxsize=256)
def _floating(normalizer: Normalizer) -> Normalizer:
    """With ε = 1/2 for any ε > 0: a tiny or a huge one would change Â by less than rounding shows."""
    return normalizer.map_eps(lambda eps: 0.5)


def _changes(normalizer: Normalizer, transformation: Transformation, candidate: _Candidate, before: Any = None) -> bool:
    """Whether Â changes by more than rounding; ``before`` is what it was, where that is known."""
    X, W, values = candidate
    with np.errstate(all="ignore"):
        pair = _evaluate(_floating(normalizer), transformation, State(X, W), values, float, before)
    return pair is not None and bool((np.abs(pair[0] - pair[1]) > 1e-9).any())


class _Counted:
    """The models of one size in order, with Â of a normalizer (None where it has none), found once for all searches."""

    def __init__(self, normalizer: Normalizer, ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
        self.normalizer, self.source = _floating(normalizer), count_models(ours, theirs)
        self.found: list[tuple[Any, Any, Any]] = []

    def __iter__(self) -> Iterator[tuple[Any, Any, Any]]:
        for k in itertools.count():
            if k == len(self.found):
                model = next(self.source, None)
                if model is None:
                    return
                self.found.append((*model, self._value(*model)))
            yield self.found[k]

    def _value(self, X: Any, W: Any) -> Any:
        with np.errstate(all="ignore"):
            try:
                return _value(self.normalizer, State(np.asarray(X, float), np.asarray(W, float)))
            except InputError:  # σ = 0: not an admissible model
                return None


_counted = lru_cache(maxsize=64)(_Counted)


def _lower(normalizer: Normalizer, transformation: Transformation, candidate: _Candidate) -> _Candidate:
    """Replace entries by smaller ones as long as the candidate remains a counterexample."""
    X, W, values = (candidate[0].copy(), candidate[1].copy(), candidate[2])
    lowered = True
    while lowered:
        lowered = False
        for array in (X, W):
            for entry in np.ndindex(array.shape):
                old = array[entry]
                for smaller in (0, 1, -1, 2):
                    if (abs(smaller), smaller < 0) >= (abs(old), old < 0):
                        break
                    array[entry] = smaller
                    if _changes(normalizer, transformation, (X, W, values)):
                        lowered = True
                        break
                    array[entry] = old
    return X, W, values


def _evaluate(
    normalizer: Normalizer,
    transformation: Transformation,
    state: State,
    values: tuple[Any, ...],
    kind: type,
    before: Any = None,
) -> tuple[Any, Any] | None:
    convert = np.vectorize(Surd.of, otypes=[object]) if kind is object else (lambda array: np.asarray(array, float))
    cast = [v if p.symbol == "pi" else convert(v) for p, v in zip(transformation.parameters, values, strict=True)]
    start = State(convert(state.X), convert(state.W))
    moved = transformation.act(start, cast)
    try:
        before = _value(normalizer, start) if before is None else before
        after = _value(normalizer, moved)
    except (InputError, ZeroDivisionError):  # σ = 0: not an admissible model
        return None
    except ValueError as error:  # SymPy 1.14 factors some large integers wrongly, and notices
        if "is not a prime factor" not in str(error):
            raise
        return None
    if before is None or after is None:
        return None
    return (before if moved.order is None else before[..., moved.order]), after


def _value(normalizer: Normalizer, state: State) -> Any:
    """Â; None where a σ is so much smaller than others in floating point that it may be a 0 that was rounded."""
    run = normalizer(state.X, state.W, state.shift)
    done: Any
    for done in (*run.inputs, *run.weight, *run.summed):
        if done.sigma is not None and not done.frozen and done.sigma.dtype != object:
            spread = np.abs(done.sigma / done.ratio)
            if spread.min() <= 1e-9 * spread.max():
                return None
    return run.value


def _exactly(
    normalizer: Normalizer, transformation: Transformation, state: State, values: tuple[Any, ...]
) -> Witness | None:
    pair = _evaluate(normalizer, transformation, state, values, object)
    if pair is None:
        return None
    entries = sorted(np.ndindex(pair[0].shape), key=lambda e: sum(Surd.of(array[e]).operations for array in pair))
    short = [e for e in entries if not any(Surd.of(array[e]).is_large for array in pair)]
    for entry in sorted(short, key=lambda e: sum(sympy.count_ops(array[e]) for array in pair)):
        before, after = (_tidy(array[entry]) for array in pair)
        if differs(before, after):
            return Witness(state.X, state.W, values, entry, before, after, transformation.parameters)
    for entry in (e for e in entries if e not in short):
        if (found := digits(*(Surd.of(array[entry]) for array in pair))) is not None:
            return Witness(state.X, state.W, values, entry, *found, transformation.parameters)
    return None


def _in_numbers(
    normalizer: Normalizer, transformation: Transformation, state: State, values: tuple[Any, ...]
) -> Witness | None:
    """A counterexample of a normalizer that has only values: the entry that changes most, by far more than rounding."""
    pair = _evaluate(normalizer, transformation, state, values, float)
    if pair is None:
        return None
    change = np.abs(pair[1] - pair[0])
    entry = tuple(int(k) for k in np.unravel_index(change.argmax(), change.shape))
    before, after = (sympy.Float(float(array[entry]), 12) for array in pair)
    if change[entry] <= 1e-6 * np.abs(pair[0]).max():
        return None
    return Witness(state.X, state.W, values, entry, before, after, transformation.parameters)


def _simple_roots(expr: Any) -> bool:
    """Whether all roots in the expression are square roots of integers."""
    roots = (power for power in expr.atoms(sympy.Pow) if not power.exp.is_Integer)
    return all(power.base.is_Integer and abs(power.exp) == sympy.Rational(1, 2) for power in roots)


def _tidy(value: Any) -> Any:
    value = sympy.sympify(value)
    return sympy.radsimp(value) if _simple_roots(value) else value

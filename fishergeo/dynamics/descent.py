"""Training a model by (stochastic) gradient descent on its mean negative log-likelihood."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..axes import Axis
from ..errors import InputError, check_count, generator
from ..families import Floats
from ..model import GLM, Linearization, Params
from ..readers import check_numpy
from .optimizers import Optimizer, check_optimizer
from .scale import ScaleGroup, scale_group
from .trajectory import Trajectory, angles

Progress = Callable[[int, int], Any]


class Diverged(ArithmeticError):
    """Training left the floating-point numbers; ``trajectory`` holds the steps before."""

    def __init__(self, message: str, trajectory: Trajectory) -> None:
        super().__init__(message)
        self.trajectory = trajectory


def descend(
    model: GLM,
    p: Params,
    X: ArrayLike,
    Y: ArrayLike,
    *,
    optimizer: Optimizer,
    steps: int,
    rng: np.random.Generator | int | None = None,
    progress: Progress | None = None,
) -> Trajectory:
    """Take ``steps`` steps of ``optimizer`` down the mean negative log-likelihood of ``model`` on (X, Y), from ``p``.

    Batches are drawn without replacement from the cases in an order shuffled every epoch by ``rng``; what is left of an
    epoch when no full batch remains is dropped.  Batch statistics are those of the batch.  ``progress(step, steps)`` is
    called after every step.  A KeyboardInterrupt ends the run early and returns what was finished, ``interrupted`` set.
    Raises `InputError` for input that does not fit and a batch too small for the normalizer, `Diverged` (an
    ArithmeticError) when the loss or the weights overflow or a normalizer meets σ = 0.
    """
    check_model("descend", model)
    check_optimizer("descend", optimizer)
    check_count("descend", 1, steps=steps)
    if progress is not None and not callable(progress):
        raise InputError(f"descend got progress={progress!r}: give a function of (step, steps), or leave it out")
    check_numpy("descend", X)
    at = model.linearize(p, X)
    inputs, y = np.asarray(X, dtype=float), model.family.encode(Y, at.Z.shape)
    _check_batch(model, optimizer.batch, inputs.shape)
    batches = _batches(len(inputs), optimizer.batch, generator("descend", rng))

    def evaluate(step: int, params: Params, memory: tuple[Any, ...]) -> _State:
        chosen = next(batches)
        at = model.linearize(params, inputs[chosen])
        loss = -float(model.family.log_density(y[chosen], at.natural, model.dispersion).mean())
        if not np.isfinite(loss):
            raise InputError(f"the loss is {loss}: shrink the weights, or normalize the inputs")
        history.loss[step] = loss
        return _State(step, memory, at, y[chosen])

    def finished(interrupted: bool = False) -> Trajectory:
        return history.until(state, optimizer, interrupted)

    history = _History.empty(scale_group(model.normalizer), steps, at.params.weight)
    with np.errstate(all="ignore"):  # an overflow is reported by name
        state = evaluate(0, at.params, (None,) * 3)
        try:
            while state.step < steps:
                try:
                    state = evaluate(state.step + 1, *_update(state, optimizer, history))
                except InputError as error:
                    where = f"descend came to a stop at step {state.step + 1} with {optimizer!r}"
                    raise Diverged(f"{where}: {error}; use a smaller rate", finished()) from error
                if progress is not None:  # the step counts from here on, whatever interrupts
                    progress(state.step, steps)
        except KeyboardInterrupt:
            return finished(interrupted=True)
    return finished()


@dataclass(frozen=True)
class _State:
    """A run after ``step`` steps: the model linearized on the next batch (x, y), and what the optimizer remembers."""

    step: int
    memory: tuple[Any, ...]
    at: Linearization
    y: Floats

    def gradient(self) -> Params:
        """The gradient of the mean negative log-likelihood over the batch."""
        return self.at.vjp(-self.at.residual(self.y) / self.at.cases)


@dataclass(frozen=True)
class _History:
    """The rows of a trajectory, written in place; a row counts once the state has passed it."""

    group: ScaleGroup
    norms: Floats
    angles: Floats
    gradient_norms: Floats
    loss: Floats

    @classmethod
    def empty(cls, group: ScaleGroup, steps: int, W: Floats) -> _History:
        count = len(group.vectors(W))
        try:
            turns, lengths = np.zeros((2, steps, count))
            history = cls(group, np.zeros((steps + 1, count)), turns, lengths, np.zeros(steps + 1))
        except (MemoryError, ValueError):
            raise InputError(f"descend got steps={steps}: its history does not fit into memory; take fewer") from None
        history.norms[0] = np.linalg.norm(group.vectors(W), axis=-1)
        return history

    def until(self, state: _State, optimizer: Optimizer, interrupted: bool) -> Trajectory:
        t = state.step
        rows = (self.norms[: t + 1], self.angles[:t], self.gradient_norms[:t], self.loss[: t + 1])
        return Trajectory(state.at.model, optimizer, self.group, state.at.params, *rows, interrupted)


def _update(state: _State, optimizer: Optimizer, history: _History) -> tuple[Params, tuple[Any, ...]]:
    """The parameters after one step and the optimizer's memory; notes norms and angle."""
    p, gradient = state.at.params, state.gradient()
    vectors = history.group.vectors
    change, weight_memory = optimizer.step(p.weight, gradient.weight, state.memory[0])
    history.gradient_norms[state.step] = np.linalg.norm(vectors(gradient.weight), axis=-1)
    history.angles[state.step] = angles(vectors(p.weight), vectors(change))
    history.norms[state.step + 1] = norms = np.linalg.norm(vectors(p.weight + change), axis=-1)
    if not np.isfinite(norms).all():
        raise InputError("the weights have overflowed")
    bias, bias_memory = optimizer.step(p.bias, gradient.bias, state.memory[1], decay=False)
    if p.gain is None or gradient.gain is None:
        return Params(p.weight + change, p.bias + bias), (weight_memory, bias_memory, None)
    gain, gain_memory = optimizer.step(p.gain, gradient.gain, state.memory[2], decay=False)
    return Params(p.weight + change, p.bias + bias, p.gain + gain), (weight_memory, bias_memory, gain_memory)


def _batches(cases: int, size: int | None, rng: np.random.Generator) -> Iterator[Any]:
    """Indices of one batch after another: shuffled epochs, cut into full batches."""
    while size is None:
        yield slice(None)
    while True:
        order = rng.permutation(cases)
        for start in range(0, cases - size + 1, size):
            yield order[start : start + size]


def check_model(who: str, model: Any) -> None:
    """Refuse what is not a model."""
    if not isinstance(model, GLM):
        raise InputError(f"{who} got model={model!r}: give a model such as fg.GLM(fg.bernoulli, fg.batch_norm)")


def _check_batch(model: GLM, batch: int | None, shape: tuple[int, ...]) -> None:
    if batch is None:
        return
    if batch > shape[0]:
        raise InputError(
            f"descend got batch={batch} but X has {shape[0]} cases: use batch <= {shape[0]}, or None for all"
        )
    for _, stage in model.normalizer.stages:
        if Axis.SAMPLE in stage.over:
            each = shape[1] if len(shape) == 3 and Axis.POSITION in stage.over else 1
            least = -(-stage.minimum // each)
            if batch < least:
                raise InputError(
                    f"descend got batch={batch}: {model.normalizer.name} needs {least} cases in every batch to leave a "
                    f"degree of freedom; use batch >= {least}"
                )

"""Optimizers: values that turn gradients of the loss into changes of the parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import InputError, is_finite
from ..families import Floats


class Optimizer(Protocol):
    """What `descend` and the laws ask of an optimizer; ``memory`` is whatever `step` returned last, None at the start."""

    @property
    def rate(self) -> float: ...

    @property
    def batch(self) -> int | None: ...

    @property
    def weight_decay(self) -> float: ...

    def step(self, w: Floats, gradient: Floats, memory: Any, decay: bool = True) -> tuple[Floats, Any]:
        """The change of ``w``, and the memory; ``decay=False`` leaves out weight decay (bias and gain have none)."""
        ...

    def effective_rate(self, norms: Floats) -> Floats:
        """The rate at which a weight vector of norm ‖w‖ turns, where the loss does not depend on ‖w‖."""
        ...


@dataclass(frozen=True)
class SGD:
    """v⁺ = αv + ∇L + λw, w⁺ = w - ηv⁺: gradient descent on batches, momentum α and decay λ as in PyTorch.

    ``batch`` cases a step, all of them if None.  Raises `InputError` unless η > 0, 0 <= α < 1, λ >= 0 and ηλ < 1.
    """

    rate: float
    batch: int | None = None
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check(self)
        if not (is_finite(self.momentum) and 0 <= self.momentum < 1):
            raise InputError(f"sgd got momentum={self.momentum!r}: give 0 <= momentum < 1; with 1 nothing is forgotten")

    def __repr__(self) -> str:
        return ("gradient_descent" if self.batch is None else "sgd") + _options(self)

    def step(self, w: Floats, gradient: Floats, memory: Any, decay: bool = True) -> tuple[Floats, Any]:
        velocity = gradient + self.weight_decay * w if decay and self.weight_decay else gradient
        if self.momentum and memory is not None:
            velocity = self.momentum * memory + velocity
        return -self.rate * velocity, velocity

    def effective_rate(self, norms: Floats) -> Floats:
        """η/‖w‖² (van Laarhoven 2017): ∇L is of degree -1 in w, and turning takes a step relative to ‖w‖."""
        return self.rate / norms**2


@dataclass(frozen=True)
class AdamW:
    """w⁺ = w - η (m/(√v + ε) + λw), m, v corrected averages of ∇L, ∇L² (Loshchilov, Hutter 2019).

    ``batch`` as for `SGD`.  Raises `InputError` unless η > 0, 0 <= β₁, β₂ < 1, ε > 0, λ >= 0 and ηλ < 1.
    """

    rate: float
    batch: int | None = None
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check(self)
        for name, beta in (("beta1", self.beta1), ("beta2", self.beta2)):
            if not (is_finite(beta) and 0 <= beta < 1):
                raise InputError(f"adamw got {name}={beta!r}: an average forgets at a rate 0 <= {name} < 1")
        if not (is_finite(self.eps) and self.eps > 0):
            raise InputError(f"adamw got eps={self.eps!r}: it keeps √v + ε away from 0; give eps > 0")

    def __repr__(self) -> str:
        return "adamw" + _options(self)

    def step(self, w: Floats, gradient: Floats, memory: Any, decay: bool = True) -> tuple[Floats, Any]:
        m, v, t = (0.0, 0.0, 0) if memory is None else memory
        m = self.beta1 * m + (1 - self.beta1) * gradient
        v = self.beta2 * v + (1 - self.beta2) * gradient**2
        t += 1
        update = m / (1 - self.beta1**t) / (np.sqrt(v / (1 - self.beta2**t)) + self.eps)
        return -self.rate * (update + self.weight_decay * w if decay else update), (m, v, t)

    def effective_rate(self, norms: Floats) -> Floats:
        """η/‖w‖ (van Laarhoven 2017): the scale of ∇L cancels, and turning takes a step relative to ‖w‖."""
        return self.rate / norms


sgd, adamw = SGD, AdamW


def gradient_descent(rate: float, momentum: float = 0.0, weight_decay: float = 0.0) -> SGD:
    """Gradient descent on all cases: `sgd` with ``batch=None``."""
    return SGD(rate, None, momentum, weight_decay)


def check_optimizer(who: str, optimizer: Any) -> None:
    """Refuse what cannot take a step."""
    needed = ("rate", "batch", "weight_decay", "step", "effective_rate")
    if isinstance(optimizer, type) or not all(hasattr(optimizer, name) for name in needed):
        raise InputError(f"{who} got optimizer={optimizer!r}: give an optimizer such as fg.sgd(rate=0.1)")


def _check(optimizer: SGD | AdamW) -> None:
    who = "sgd" if isinstance(optimizer, SGD) else "adamw"
    rate, batch, decay = optimizer.rate, optimizer.batch, optimizer.weight_decay
    if not (is_finite(rate) and rate > 0):
        raise InputError(f"{who} got rate={rate!r}: a step down the gradient needs a finite rate > 0, e.g. rate=0.1")
    if batch is not None and not (isinstance(batch, int | np.integer) and not isinstance(batch, bool) and batch >= 1):
        raise InputError(f"{who} got batch={batch!r}: give the number of cases a step, or None for all of them")
    if not (is_finite(decay) and decay >= 0):
        raise InputError(f"{who} got weight_decay={decay!r}: weights can only shrink; give a finite weight_decay >= 0")
    if rate * decay >= 1:
        raise InputError(
            f"{who} got rate={rate!r} and weight_decay={decay!r}: a step multiplies the weights by 1 - ηλ = "
            f"{1 - rate * decay:.3g}, which must be positive; use weight_decay < {1 / rate:.3g}"
        )


def _options(optimizer: SGD | AdamW) -> str:
    """The arguments that are not at their defaults."""
    fields = optimizer.__dataclass_fields__
    shown = {name: getattr(optimizer, name) for name in fields}
    return f"({', '.join(f'{n}={v!r}' for n, v in shown.items() if n == 'rate' or v != fields[n].default)})"

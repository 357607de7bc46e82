"""What a training run leaves: norms, angles, losses and the effective learning rate, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..families import Floats
from ..model import GLM, Params
from .optimizers import Optimizer
from .scale import ScaleGroup


@dataclass(frozen=True, repr=False)
class Trajectory:
    """A training run of ``steps`` steps: what happened to each weight vector of the scale-symmetry ``group``.

    ``norms`` (steps+1, groups) ‖w_t‖; ``gradient_norms`` and ``angles`` (steps, groups) ‖∇L‖ and the angle between w_t
    and w_{t+1}, in radians; ``loss`` (steps+1,) the mean negative log-likelihood over the batch on which the next step
    is (or would be) taken: with full batches the training loss.  ``params`` are the last ones; ``interrupted`` tells
    that the run was stopped before it was complete.
    """

    model: GLM
    optimizer: Optimizer
    group: ScaleGroup
    params: Params
    norms: Floats
    angles: Floats
    gradient_norms: Floats
    loss: Floats
    interrupted: bool = False

    @property
    def steps(self) -> int:
        """The number of steps taken."""
        return len(self.angles)

    @property
    def effective_rate(self) -> Floats:
        """The rate (steps+1, groups) at which the directions w/‖w‖ are trained: η/‖w‖² (η/‖w‖ for AdamW).

        Without a scale symmetry the norm matters and nothing rescales the rate: it is η itself throughout.
        Source: van Laarhoven 2017, arXiv 1706.05350; Hoffer et al. 2018, arXiv 1803.01814.
        """
        if not self.group.symmetric:
            return np.full_like(self.norms, self.optimizer.rate)
        return self.optimizer.effective_rate(self.norms)

    def __repr__(self) -> str:
        def change(values: Floats) -> str:
            return f"{np.median(values[0]):.4g} -> {np.median(values[-1]):.4g}"

        count = self.norms.shape[1]
        what = "‖W‖" if self.group.whole else f"‖w_i‖ (median of {count} units)"
        rate = f"effective rate {change(self.effective_rate)}" if self.group.symmetric else "no scale symmetry"
        steps = f"{self.steps} steps{' (interrupted)' if self.interrupted else ''}"
        return (
            f"<Trajectory: {self.model.family.name}, {self.model.normalizer.name}, {self.optimizer!r}, {steps}; "
            f"loss {change(self.loss)}; {what} {change(self.norms)}; {rate}>"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the effective rate of every weight vector on ``ax`` (default: a new figure) and return the axes."""
        ax = axes(ax)
        first, *rest = self.effective_rate.T
        (line,) = ax.plot(first, linewidth=1, label=self.model.normalizer.title)
        for rate in rest:
            ax.plot(rate, linewidth=1, color=line.get_color())
        ax.set(xlabel="step", ylabel="effective learning rate", yscale="log")
        return ax


def axes(ax: Any) -> Any:
    """The Matplotlib axes ``ax``, or those of a new figure for None."""
    if ax is None:
        from matplotlib.figure import Figure

        return Figure(layout="constrained").add_subplot()
    if not hasattr(ax, "plot"):
        raise InputError(f"plot got ax={ax!r}: give Matplotlib axes, or leave it out for a new figure")
    return ax


def angles(w: Floats, change: Floats) -> Floats:
    """The angle (...,) between w and w + change, vectors along the last axis, from the part of the change across w.

    Accurate to rounding however small; π/2 for w = 0, which has no direction.
    """
    norm = np.linalg.norm(w, axis=-1)
    direction = w / np.where(norm > 0, norm, 1)[..., None]
    along = (direction * change).sum(axis=-1)
    across = np.linalg.norm(change - along[..., None] * direction, axis=-1)
    return np.where(norm > 0, np.arctan2(across, norm + along), np.pi / 2)

"""Laws of scale-invariant training, measured on a model: norm growth, effective step, scaling with the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError, check_positive
from ..families import Floats
from ..information.matrices import fisher
from ..model import GLM, Params
from ..readers import check_numpy
from .descent import check_model
from .scale import ScaleGroup, scale_group
from .trajectory import Trajectory, axes


def norm_identity_defect(run: Trajectory) -> float:
    """The largest relative defect of ‖w⁺‖² = (1-ηλ)²‖w‖² + η²‖∇L‖² over the steps and weight vectors of ``run``.

    ⟨∇L, w⟩ = 0 where the loss does not depend on ‖w‖, so gradient descent without momentum, stochastic or not, leaves
    rounding only.  Source: Arora, Li, Lyu 2019, arXiv 1812.03981, Lemma 2.4 (λ = 0).
    """
    if not isinstance(run, Trajectory):
        raise InputError(f"norm_identity_defect got run={run!r}: give what descend returns")
    rate, decay = run.optimizer.rate, run.optimizer.weight_decay
    square = run.norms**2
    expected = (1 - rate * decay) ** 2 * square[:-1] + (rate * run.gradient_norms) ** 2
    return float(np.abs(square[1:] / expected - 1).max())


class EffectiveStep(NamedTuple):
    """Directions (groups, n) after one step of gradient descent: ``exact``, and ``predicted`` to first order in η."""

    exact: Floats
    predicted: Floats

    @property
    def gap(self) -> float:
        """The largest distance between the two over the weight vectors."""
        return float(np.linalg.norm(self.exact - self.predicted, axis=-1).max())


def effective_step(
    model: GLM, p: Params, X: ArrayLike, Y: ArrayLike, rate: float, group: ScaleGroup | None = None
) -> EffectiveStep:
    """Both sides of ŵ⁺ = ŵ - (η/‖w‖²)(I - ŵŵᵀ)∇L(ŵ) + O(η²), ŵ = w/‖w‖, for the weight vectors of ``group``.

    ``group`` defaults to the scale symmetry of the model; for vectors that are no symmetry the gap is O(η).
    Source: van Laarhoven 2017, arXiv 1706.05350; Hoffer et al. 2018, arXiv 1803.01814.
    """
    check_model("effective_step", model)
    check_positive("effective_step", rate=rate)
    if group is not None and not isinstance(group, ScaleGroup):
        raise InputError(f"effective_step got group={group!r}: give what scale_group returns, or leave it out")
    check_numpy("effective_step", X)
    p = model.linearize(p, X).params
    vectors = (group or scale_group(model.normalizer)).vectors
    W = p.weight
    norm = np.linalg.norm(vectors(W), axis=-1, keepdims=True)
    if not norm.all():
        raise InputError("effective_step got a weight vector that is 0: it has no direction; start elsewhere")
    unit = vectors(W) / norm

    def gradient(rows: Floats) -> Floats:
        at = Params(rows.reshape(W.shape), p.bias, p.gain)
        return -vectors(model.unravel(model.gradient(at, X, Y), p.units).weight)

    with np.errstate(over="ignore"):
        moved = vectors(W) - rate * gradient(W)
        length = np.linalg.norm(moved, axis=-1, keepdims=True)
    if not np.isfinite(length).all():
        raise InputError(f"effective_step got rate={rate!r}: the weights overflow in one step; use a smaller rate")
    slope = gradient(unit)
    slope = slope - unit * (unit * slope).sum(axis=-1, keepdims=True)
    return EffectiveStep(moved / length, unit - rate / norm**2 * slope)


@dataclass(frozen=True, repr=False)
class ScalingSlopes:
    """How the Fisher matrix changes when the weights are multiplied by each of ``factors`` (k,).

    ``norms`` (k,) of each block (ww, wb, … over all units, Frobenius) and of the length ds of a weight change (root mean
    square over directions); ``slopes`` of their logarithms in log c, and ``deviations`` from those lines (0: a power
    law).  A block that is 0 to rounding has slope None.  ``along_units`` (k, H) and ``along_matrix`` (k,) are the
    curvatures along w_i and along W, relative to the norm of their ww block.
    """

    model: GLM
    factors: Floats
    norms: Mapping[str, Floats]
    slopes: Mapping[str, float | None]
    deviations: Mapping[str, float]
    along_units: Floats
    along_matrix: Floats

    def __repr__(self) -> str:
        shown = ", ".join(f"{k} {'zero' if s is None else f'{s:+.4g}'}" for k, s in self.slopes.items())
        return (
            f"<ScalingSlopes: {self.model.family.name}, {self.model.normalizer.name}: {shown}; relative curvature along "
            f"w_i {np.abs(self.along_units).max():.2g}, along W {np.abs(self.along_matrix).max():.2g}>"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the norms over the factors, log-log, on ``ax`` (default: a new figure) and return the axes."""
        ax = axes(ax)
        for name, slope in self.slopes.items():
            if slope is not None:
                ax.loglog(self.factors, self.norms[name], marker=".", label=f"{name}: slope {round(slope, 2) + 0.0:g}")
        ax.set_xscale("log", base=2)
        ax.set(xlabel="factor c of the weights", ylabel="norm of the block", title=self.model.normalizer.title)
        ax.legend()
        return ax


def scaling_slopes(
    model: GLM, p: Params, X: ArrayLike, factors: Sequence[float] | Floats = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
) -> ScalingSlopes:
    """Measure how the blocks of F and the length ds = √(dwᵀF dw) scale when W becomes cW, for c in ``factors``.

    Under invariance to W -> cW the slopes are -2 (ww), -1 (wb, wg, ds) and 0 (bb, bg, gg), and the curvature along W is
    0; one evaluation of the exact F a factor measures them.  Raises `InputError` for fewer than three positive factors.
    """
    check_model("scaling_slopes", model)
    try:
        c = np.asarray(factors, dtype=float)
    except (TypeError, ValueError):
        c = np.array(np.nan)
    if c.ndim != 1 or len(np.unique(c)) < 3 or not (np.isfinite(c) & (c > 0)).all() or np.ma.is_masked(factors):
        raise InputError(f"scaling_slopes got factors={factors!r}: a slope needs at least three different factors > 0")
    check_numpy("scaling_slopes", X)
    p = model.linearize(p, X).params
    places = model.unravel(np.arange(p.size), p.units)
    kinds = {"w": places.weight, "b": places.bias} | ({} if places.gain is None else {"g": places.gain})
    where = {kind: index.ravel().astype(int) for kind, index in kinds.items()}
    pairs = [a + b for a, b in combinations_with_replacement(where, 2)]
    norms = {name: np.empty(len(c)) for name in [*pairs, "ds"]}
    along_units, along_matrix = np.empty((len(c), p.units)), np.empty(len(c))
    for k, factor in enumerate(c):
        W = factor * p.weight
        F = fisher(model, Params(W, p.bias, p.gain), X).to_dense()
        for name in pairs:
            norms[name][k] = np.linalg.norm(F[np.ix_(where[name[0]], where[name[1]])])
        ww = F[np.ix_(where["w"], where["w"])]
        if not (norms["ww"][k] > 0 and norms["bb"][k] > 0):
            raise InputError(f"scaling_slopes: F underflows to 0 at factor {factor:g}; use factors closer to 1")
        norms["ds"][k] = np.sqrt(max(np.trace(ww), 0.0) / len(ww))
        along_matrix[k] = _relative_curvature(ww, W.ravel())
        blocks = ww.reshape(*W.shape, *W.shape)
        along_units[k] = [_relative_curvature(blocks[i, :, i], W[i]) for i in range(p.units)]
    slopes: dict[str, float | None] = {}
    deviations: dict[str, float] = {}
    for name, norm in norms.items():
        scale = norm if name == "ds" else np.sqrt(norms[name[0] * 2] * norms[name[1] * 2])
        if (norm <= 1e3 * np.finfo(float).eps * scale).all():  # the largest entry that Cauchy-Schwarz allows, at rounding
            slopes[name] = None
            continue
        fit = np.polynomial.Polynomial.fit(np.log(c), np.log(norm), 1)
        slopes[name] = float(fit.convert().deriv()(0.0))  # not coef[1]: a slope of exactly 0 is trimmed away
        deviations[name] = float(np.abs(fit(np.log(c)) - np.log(norm)).max())
    return ScalingSlopes(model, c, norms, slopes, deviations, along_units, along_matrix)


def _relative_curvature(F: Floats, w: Floats) -> float:
    """ŵᵀFŵ over ‖F‖."""
    return float(w @ F @ w / (w @ w) / np.linalg.norm(F))

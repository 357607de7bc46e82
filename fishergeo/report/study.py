"""One model on one data set: trained, and the geometry at the parameters that training ends with, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from .. import special
from ..datasets.problems import Problem
from ..dynamics import laws
from ..dynamics.descent import Diverged, descend
from ..dynamics.optimizers import SGD
from ..dynamics.scale import scale_group
from ..dynamics.trajectory import Trajectory
from ..errors import InputError
from ..families import Floats
from ..information.approximations import per_unit_fisher
from ..information.matrices import fisher
from ..information.operator import Metric
from ..initial import center
from ..invariance.scaling import Scaling, fisher_scaling
from ..invariance.symmetries import symmetries
from ..links import allowed, canonical
from ..model import GLM, Params
from ..normalizers import Normalizer
from ..symbolic.blocks import fisher_block
from ..transformations import weight_matrix_rescaling, weight_vector_rescaling

_BATCH = 128
_BOLDNESS = 4  # the rate of scale-free weights, in units of 1/λ_max: twice what a fixed quadratic survives
_TRIES = 6
_MEASURED = 300  # cases on which scaling laws are measured
_ITERATIONS, _HALVINGS = 200, 60


@dataclass(frozen=True)
class Trained:
    """A model with the parameters before and after training, and the run between."""

    model: GLM
    start: Params
    metric: Metric  # at the start
    run: Trajectory
    losses: tuple[float, float]

    @property
    def params(self) -> Params:
        return self.run.params


def starting_point(model: GLM, X: Floats, Y: Floats, rng: np.random.Generator) -> Params:
    """Random weights, with gain and bias set so that every unit's z has unit variance around the best constant model.

    The data-dependent start of Salimans, Kingma 2016, section 3, for every normalizer; without a gain the weights are
    scaled.  All normalizers start from the same random W.  Where family and link allow only some predictors the variance
    is less, so that twice the spread of z is allowed.
    """
    p = model.init(X.shape[1], Y.shape[1], rng)
    A = model.normalizer(X, p.weight).value
    middle, spread = A.mean(axis=0), A.std(axis=0)
    if not (spread > 1e-12 * np.abs(A).max(axis=0)).all():
        raise InputError(f"{model.normalizer.name}: the summed inputs of a unit are constant; give inputs that vary")
    best, scale = best_constant(model, Y.mean(axis=0)), 1 / spread
    for _ in range(_HALVINGS):
        try:
            model.predict(best + 2 * scale * (A - middle))
            break
        except InputError:
            scale = scale / 2
    else:
        scale = scale * 2**_HALVINGS  # what is wrong is not the spread: it shows where the model is used
    if p.gain is None:
        return Params(p.weight * scale[:, None], best - middle * scale)
    return Params(p.weight, best - middle * scale, scale)


def best_constant(model: GLM, mean: Floats) -> Floats:
    """The predictors (H,) of the constant model with the given means; raises `InputError` where there are none."""
    from scipy.optimize import minimize

    family, bent, link = model.family, model.curve, model.link or canonical
    if family.joint:

        def loss(theta: Floats) -> tuple[float, Floats]:
            with np.errstate(all="ignore"):
                return float(np.sum(family.cumulant_value(theta)) - mean @ theta), family.mean(theta) - mean

        return np.asarray(minimize(loss, np.zeros(len(mean)), jac=True, method="BFGS").x)
    if bent is None:
        import sympy

        mu = sympy.Symbol("mu", positive=True)
        return np.asarray(special.numeric(family.natural_expression(mu), [mu])(mean))
    z = np.full(len(mean), center(family, link)[0])
    with np.errstate(all="ignore"):
        for _ in range(_ITERATIONS):  # Newton's method on the means, in steps that stay among the predictors allowed
            error = mean - bent.mean(z)
            if (np.abs(error) <= 1e-10 * np.abs(mean)).all():
                return z
            most = np.maximum(1, np.abs(z))
            step = np.clip(error * bent.slope(z) / bent.weight(z), -most, most)
            for _ in range(_HALVINGS):
                natural, there = bent.natural(z + step), bent.mean(z + step)
                step = np.where(allowed(family, link, z + step, natural, there, family.trials), step, step / 2)
            z = z + step
    means = ", ".join(f"{value:.3g}" for value in mean)
    raise InputError(
        f"{family.name} with the {link.name} link has no constant model with the means {means}; use another --link"
    )


def _rate(model: GLM, p: Params, metric: Metric) -> float:
    """1/λ_max; where the weights are scale-free, 4/λ_max of the weight block, as far as gain and bias allow."""
    F = metric.to_dense()
    if not scale_group(model.normalizer).symmetric:
        return float(1 / np.linalg.eigvalsh(F)[-1])
    weights = np.arange(p.size) % (p.size // p.units) < p.inputs
    parts = [np.linalg.eigvalsh(F[np.ix_(part, part)])[-1] for part in (weights, ~weights)]
    return float(min(_BOLDNESS / parts[0], 1 / parts[1]))


def train(model: GLM, X: Floats, Y: Floats, steps: int, seed: int, rate: float | None = None) -> Trained:
    """Stochastic gradient descent from `starting_point`; without a ``rate``, one at which the loss falls is found.

    Raises `InputError` where the given rate diverges, or none is found.
    """
    start = starting_point(model, X, Y, np.random.default_rng(seed))
    before = model.loss(start, X, Y)
    metric = fisher(model, start, X)
    tried = [rate] if rate is not None else _rate(model, start, metric) / 4.0 ** np.arange(_TRIES)
    for eta in tried:
        optimizer = SGD(float(eta), min(_BATCH, len(X)))
        try:
            run = descend(model, start, X, Y, optimizer=optimizer, steps=steps, rng=np.random.default_rng(seed))
            if run.interrupted:
                raise KeyboardInterrupt
            after = model.loss(run.params, X, Y)
        except Diverged as error:
            if rate is not None:
                raise InputError(str(error)) from None
            continue
        if after < before or rate is not None:
            return Trained(model, start, metric, run, (before, after))
    raise InputError(
        f"{model.normalizer.name}: no rate down to {tried[-1]:.2g} lowers the loss; rescale the inputs or targets"
    )


def standardized(X: Floats) -> Floats:
    """The columns with zero mean and unit variance; constant columns become 0."""
    spread = X.std(axis=0)
    varies = spread > 1e-12 * np.abs(X).max(axis=0, initial=0)
    return np.where(varies, (X - X.mean(axis=0)) / np.where(varies, spread, 1), 0.0)


def study(problem: Problem, model: GLM, steps: int, seed: int, tick: Any) -> tuple[dict[str, Any], Floats]:
    """Everything the report says about one normalizer, and the dense Fisher matrix; ``tick(label)`` marks progress."""
    normalizer, X, Y = model.normalizer, problem.X, problem.Y
    trained = train(model, X, Y, steps, seed)
    tick(f"{normalizer.title}: trained")
    F = fisher(model, trained.params, X)
    dense = F.to_dense()
    result: dict[str, Any] = {
        "name": normalizer.name,
        "title": normalizer.title,
        "definition": repr(normalizer),
        "source": normalizer.source,
        "block": block_latex(model),
        "loss": dict(zip(("start", "end"), trained.losses)),
        "fisher": _spectrum(F, dense),
        "null_space": _null_space(model, trained.params, X, F),
    }
    tick(f"{normalizer.title}: Fisher matrix")
    result["eq13_gap"] = per_unit_fisher(model, trained.params, X).gap
    result["at_start"] = _conditions(trained, X, Y, seed, F.rank())
    tick(f"{normalizer.title}: eq. (13), standardized inputs")
    result["scaling"] = _scaling(model, trained.params, X)
    result["training"] = _training(trained)
    tick(f"{normalizer.title}: scaling laws")
    return result, dense


@lru_cache(maxsize=64)
def block_latex(model: GLM) -> str:
    """The ww block of F for all sizes, in matrix form."""
    return fisher_block(model.normalizer, "weight", "weight", model.family, model.link).matrix_latex()


def law(normalizer: Normalizer) -> Scaling:
    """How the Fisher blocks change when the weights are rescaled as far as the normalizer allows."""
    group = scale_group(normalizer)
    whole = group.whole or not group.symmetric
    return fisher_scaling(normalizer, weight_matrix_rescaling if whole else weight_vector_rescaling)


def _spectrum(F: Metric, dense: Floats) -> dict[str, Any]:
    values = F.singular_values() ** 2
    rank = F.rank()
    entries = np.abs(dense)
    return {
        "what": F.what,
        "size": F.shape[0],
        "units": F.params.units,
        "block": F.block_size,
        "rank": rank,
        "nullity": F.shape[0] - rank,
        "trace": F.trace(),
        "largest_eigenvalue": float(values[0]),
        "smallest_nonzero_eigenvalue": float(values[rank - 1]) if rank else None,
        "condition": F.condition() if rank else None,
        "largest_entry": float(entries.max()),
        "eigenvalues": values[:rank].tolist(),
    }


def _null_space(model: GLM, p: Params, X: Floats, F: Metric) -> dict[str, Any]:
    found = symmetries(model, p, X, metric=F)
    return {
        "nullity": found.nullity,
        "explained": [{"name": e.name, "dimension": e.dimension, "meaning": e.meaning} for e in found.explained],
        "unexplained": found.unexplained,
        "note": found.note,
    }


def _conditions(trained: Trained, X: Floats, Y: Floats, seed: int, rank: int) -> dict[str, Any]:
    """The condition number before training, where no probability is near 0 or 1, on inputs as given and standardized."""
    inputs = standardized(X)
    start = starting_point(trained.model, inputs, Y, np.random.default_rng(seed))
    pairs = {"given": trained.metric, "standardized": fisher(trained.model, start, inputs)}
    return {name: _condition(F, rank) for name, F in pairs.items()}


def _condition(F: Metric, rank: int) -> dict[str, Any]:
    """Condition number and rank; the eigenvalues of F settle them where they leave no doubt, else a root of F does."""
    values = np.linalg.eigvalsh(F.to_dense())[::-1]
    values = values / values[0]
    beyond = np.abs(values[rank:]).max(initial=0.0)
    if values[rank - 1] > 1e-10 and beyond < 1e-13:
        return {"condition": float(1 / values[rank - 1]), "rank": rank}
    return {"condition": F.condition(), "rank": F.rank()}


def _scaling(model: GLM, p: Params, X: Floats) -> dict[str, Any]:
    """The factor of each block when the weights double, derived and measured."""
    X = X[:_MEASURED]  # the laws hold for any data
    found = law(model.normalizer)
    for most in (4.0, 1.25, 1.05, 1.01):  # a model without scale symmetry can saturate, or leave its domain
        try:
            measured = laws.scaling_slopes(model, p, X, most ** np.linspace(-1, 1, 5))
            break
        except InputError as error:
            refused = error
    else:
        raise refused
    return {
        "transformation": found.transformation.title,
        "formula": found.transformation.formula,
        "law": found.latex(),
        "applies": found.any_family or (model.curve is None and not model.family.hessian_expression.free_symbols),
        "doubling": {name: None if factor is None else str(factor) for name, factor in found.at(2).items()},
        "cases": len(X),
        "factors": measured.factors.tolist(),
        "norms": {name: norms.tolist() for name, norms in measured.norms.items()},
        "slopes": dict(measured.slopes),
        "deviations": dict(measured.deviations),
        "curvature_along_w": float(np.abs(measured.along_units).max()),
        "curvature_along_W": float(np.abs(measured.along_matrix).max()),
    }


def _training(trained: Trained) -> dict[str, Any]:
    """The run, step by step: medians and extremes over the weight vectors."""
    run = trained.run
    relative = run.norms / run.norms[0]
    rate = run.effective_rate / run.effective_rate[0]
    return {
        "optimizer": repr(run.optimizer),
        "rate": run.optimizer.rate,
        "batch": run.optimizer.batch,
        "steps": run.steps,
        "scale_free": ("the whole matrix" if run.group.whole else "each unit") if run.group.symmetric else None,
        "norm": _band(relative),
        "effective_rate": _band(rate),
        "effective_rate_start": float(np.median(run.effective_rate[0])),
        "effective_rate_end": float(np.median(run.effective_rate[-1])),
        "angle": _band(run.angles),
        "batch_loss": run.loss.tolist(),
        "norm_identity_defect": laws.norm_identity_defect(run),
    }


def _band(values: Floats) -> dict[str, list[float]]:
    return {
        "median": np.median(values, axis=1).tolist(),
        "low": values.min(axis=1).tolist(),
        "high": values.max(axis=1).tolist(),
    }

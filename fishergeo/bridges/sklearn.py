"""Fitted estimators of scikit-learn as models: linear, logistic, Poisson, gamma and Tweedie regression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import families, links
from ..errors import InputError, real_array
from ..families import Family, Floats
from ..model import GLM, Params
from .core import Bridge, as_inputs, jacobian, library, places

_TWEEDIE = {0: families.gaussian, 1: families.poisson, 2: families.gamma, 3: families.inverse_gaussian}
_SUPPORTED = (
    "LinearRegression, Ridge, LogisticRegression, PoissonRegressor, GammaRegressor, TweedieRegressor with power 0, 1, 2 "
    "or 3, or a Pipeline that ends in one"
)


def from_sklearn(estimator: Any, X: Any, y: ArrayLike | None = None, *, dispersion: float = 1.0) -> Bridge:
    """A fitted estimator of scikit-learn as a model at its coefficients, on the inputs X (N, D).

    Two classes are a Bernoulli family, more a categorical one; ``y`` becomes Y, class labels as their numbers.  A
    Pipeline is its last step, on inputs that the fitted steps before it transform: these are fixed maps, a StandardScaler
    with the statistics of its fit for instance.  Scikit-learn estimates no φ: give ``dispersion``.  A penalty is not part
    of the likelihood: F is that of the likelihood at the penalized estimate, and ``note`` says so.  Raises `InputError`
    for other estimators, unfitted ones, and inputs that do not fit.
    """
    pipeline = library("sklearn.pipeline", "from_sklearn", "scikit-learn").Pipeline
    whole, steps = estimator, None
    if type(estimator) is pipeline:
        steps, estimator = estimator[:-1], estimator.steps[-1][1]
    family, link = _family(estimator)
    if not hasattr(estimator, "coef_"):
        raise InputError(f"from_sklearn got {_name(estimator)} before its fit: call fit(X, y) first")

    def inputs(X: Any) -> Floats:
        try:
            X = X if steps is None or not len(steps) else steps.transform(X)
        except (ValueError, TypeError) as error:
            raise InputError(f"from_sklearn: the steps of the pipeline refuse X: {error}") from None
        X = as_inputs(X, "from_sklearn")
        if X.ndim != 2 or X.shape[1] != weight.shape[1]:
            raise InputError(f"from_sklearn got X of shape {X.shape}: {_name(whole)} needs (cases, {weight.shape[1]})")
        return X

    weight = np.atleast_2d(as_inputs(estimator.coef_, "from_sklearn"))
    bias = np.zeros(len(weight)) + np.asarray(estimator.intercept_, dtype=float)
    p = Params(weight, bias)
    at, (H, D) = places(p), weight.shape
    entries = [(at.weight.ravel(), np.arange(H * D), 1.0)]
    layout = [("coef_", np.shape(estimator.coef_))]
    if estimator.fit_intercept:
        entries.append((at.bias, H * D + np.arange(H), 1.0))
        layout.append(("intercept_", np.shape(estimator.intercept_)))
    size = H * D + (H if estimator.fit_intercept else 0)
    return Bridge(
        GLM(family, link=link, dispersion=dispersion),
        p,
        tuple(layout),
        jacobian(entries, (p.size, size)),
        inputs(X),
        None if y is None else _observations(estimator, y),
        inputs,
        note=_penalty(estimator),
    )


def _name(estimator: Any) -> str:
    return type(estimator).__name__


def _family(estimator: Any) -> tuple[Family, links.Link | None]:
    """Family and link of an estimator by its class."""
    known = library("sklearn.linear_model", "from_sklearn", "scikit-learn")
    kind = type(estimator)
    if kind in (known.LinearRegression, known.Ridge):
        return families.gaussian, None
    if kind is known.LogisticRegression:
        classes = len(getattr(estimator, "classes_", (0, 1)))
        scheme = getattr(estimator, "multi_class", "auto")
        if (scheme == "ovr" or estimator.solver == "liblinear") and classes > 2:
            raise InputError("from_sklearn got one logistic regression for each class, not one model: use solver='lbfgs'")
        if scheme == "multinomial" and classes == 2:
            raise InputError("from_sklearn got multi_class='multinomial' with two classes: leave it out, refit")
        return (families.bernoulli if classes == 2 else families.categorical), None
    if kind is known.PoissonRegressor:
        return families.poisson, None
    if kind is known.GammaRegressor:
        return families.gamma, links.log
    if kind is known.TweedieRegressor and estimator.power in _TWEEDIE:
        family = _TWEEDIE[estimator.power]
        link = {"log": links.log, "identity": links.identity}.get(estimator.link)
        link = link or (links.identity if family is families.gaussian else links.log)
        bent = links.curve(family, link)
        return family, None if bent is None or bent.trivial else link
    given = f"TweedieRegressor with power={estimator.power}" if kind is known.TweedieRegressor else kind.__name__
    raise InputError(f"from_sklearn got {given}: give {_SUPPORTED}")


_PENALTIES: dict[str, Callable[[Any], str]] = {
    "Ridge": lambda e: "" if np.all(np.asarray(e.alpha) == 0) else f"alpha={e.alpha}",
    "LogisticRegression": lambda e: "" if np.isinf(e.C) or getattr(e, "penalty", "") is None else f"C={e.C:g}",
    **dict.fromkeys(
        ("PoissonRegressor", "GammaRegressor", "TweedieRegressor"), lambda e: "" if e.alpha == 0 else f"alpha={e.alpha:g}"
    ),
}


def _penalty(estimator: Any) -> str:
    """What the estimate was held by besides the likelihood."""
    strength = _PENALTIES.get(_name(estimator), lambda e: "")(estimator)
    if strength:
        return f"fitted with a penalty ({strength}), which is not in F"
    return "fitted with positive coefficients, which F does not know" if getattr(estimator, "positive", False) else ""


def _observations(estimator: Any, y: ArrayLike) -> Floats:
    """Y: class labels as 0, 1, …; numbers as they are."""
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return real_array(y, "from_sklearn got y").astype(float)
    labels = np.asarray(y)
    found = np.isin(labels, classes)
    if labels.ndim != 1 or not found.all():
        strange = f"{labels[~found].flat[0]!r}" if labels.ndim == 1 else f"shape {labels.shape}"
        raise InputError(f"from_sklearn got y with {strange}: its classes are {', '.join(map(str, classes[:8]))}")
    return np.searchsorted(classes, labels).astype(float)

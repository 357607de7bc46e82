"""statsmodels: the expected information of a regression."""

from __future__ import annotations

import importlib

import numpy as np

from .problem import Adapter, Prepared, Problem, Refused, Storage, Task


def _information(problem: Problem) -> Prepared:
    sm = importlib.import_module("statsmodels.api")
    case, families = problem.case, sm.families
    if case.H > 1 or case.has_gain or case.task is not Task.DENSE or case.storage is not Storage.ARRAY:
        raise Refused("one output, no normalization, the matrix itself: nothing else")
    X = np.empty((case.N, case.D + 1))
    X[:, :-1], X[:, -1] = np.load(problem.path, mmap_mode="r"), 1
    family, y = {
        "binomial": (families.Binomial(), np.tile([2.0, 3.0], (case.N, 1))),
        "poisson": (families.Poisson(), np.ones(case.N)),
        "gamma": (families.Gamma(families.links.Log()), np.ones(case.N)),
    }[case.family]
    model = sm.GLM(y, X, family=family)
    # it returns the expected second derivative of the log-likelihood, the sum over the cases
    return Prepared(lambda: model.hessian(problem.flat, scale=1.0, observed=False), lambda F: -np.asarray(F) / case.N)


STATSMODELS = Adapter("statsmodels", ("statsmodels",), _information)

"""Candidates for the tests of the benchmarks: right, wrong, refusing, missing, dying, slow, interrupting."""

from __future__ import annotations

import os
import time

import numpy as np

from fishergeo.bench.problem import Adapter, Prepared, Problem, Refused


def result(problem: Problem) -> np.ndarray:
    """What fishergeo has found."""
    return np.load(problem.folder / "result.npy")


def answering(change):
    return lambda problem: Prepared(lambda: change(result(problem)))


def refusing(problem):
    raise Refused("normalization\nis not for me")


def failing(problem):
    raise NotImplementedError("no such layer\nand a long trace")


def missing(problem):
    import no_such_library  # noqa: F401


def dying(problem):
    os._exit(3)


def interrupting(problem):
    if problem.case.family == "softmax":
        raise KeyboardInterrupt
    return Prepared(lambda: result(problem))


RIGHT = Adapter("right", ("numpy",), answering(lambda F: F.copy()))
WRONG = Adapter("wrong", ("numpy",), answering(lambda F: 1.5 * F))
NAN = Adapter("nan", ("numpy",), answering(lambda F: np.nan * F))
SHAPELESS = Adapter("shapeless", ("numpy",), answering(lambda F: F[:-1]))
REFUSING = Adapter("refusing", (), refusing)
FAILING = Adapter("failing", (), failing)
MISSING = Adapter("missing", ("no_such_library",), missing)
DYING = Adapter("dying", (), dying)
SLOW = Adapter("slow", (), lambda problem: Prepared(lambda: time.sleep(60)))
INTERRUPTING = Adapter("interrupting", (), interrupting)
NO_ADAPTER = 3

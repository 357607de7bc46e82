"""Shared fixtures: one seeded generator, strict floating point, and inputs whose sizes are all different."""

from __future__ import annotations

import os
from collections.abc import Callable

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices in parallel processes: threads would only wait

import numpy as np
import pytest
from cases import SIZES, SIZES_WITH_POSITIONS, Case, on_positions_alone


@pytest.fixture(autouse=True)
def _strict_floating_point():
    """Overflow, underflow, invalid operations and division by zero are errors in every test."""
    with np.errstate(all="raise"):
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20160721)


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray:
    """Inputs (N, D)."""
    N, D, _ = SIZES
    return rng.normal(size=(N, D)) + 0.5


@pytest.fixture
def X_positions(rng: np.random.Generator) -> np.ndarray:
    """Inputs (N, S, D)."""
    N, S, D, _ = SIZES_WITH_POSITIONS
    return rng.normal(size=(N, S, D)) + 0.5


@pytest.fixture
def inputs(X: np.ndarray, X_positions: np.ndarray) -> Callable[[Case], np.ndarray]:
    """The inputs for a normalizer: (N, S, D) where it cannot do without positions, else (N, D)."""
    return lambda case: X_positions if on_positions_alone(case) else X

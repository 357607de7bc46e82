"""The parts of training: scale groups against the plain formulas, angles in 60 digits, batches, optimizers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import oracles
import pytest
from cases import CASES_WITH_POSITIONS, each_case, told_apart

import fishergeo as fg
from fishergeo.dynamics.descent import _batches
from fishergeo.dynamics.optimizers import adamw, sgd
from fishergeo.dynamics.scale import scale_group
from fishergeo.dynamics.trajectory import angles

# --- the scale group ----------------------------------------------------------------------------------------------------


@each_case(CASES_WITH_POSITIONS)
def test_scale_group_is_the_largest_rescaling_that_the_plain_formula_allows(case, rng):
    sizes = told_apart(case.normalizer, (7, 5, 3))
    group = scale_group(case.normalizer)
    each, whole = (
        oracles.invariant(case.forward, f"weight_{what}_rescaling", rng, sizes) for what in ("vector", "matrix")
    )
    assert (group.symmetric, group.whole) == (whole, whole and not each)
    assert group.vectors(np.ones((3, 5))).shape == ((1, 15) if whole and not each else (3, 5))


def test_scale_group_follows_the_definition_and_not_the_name():
    impostor = fg.Normalizer("layer_norm", summed=fg.Standardize(fg.Axis.SAMPLE))
    assert scale_group(impostor).symmetric and not scale_group(impostor).whole
    assert "one factor a unit" in repr(scale_group(impostor))
    assert "whole matrix" in repr(scale_group(fg.layer_norm)) and "none" in repr(scale_group(fg.identity))


# --- angles, batches, optimizers --------------------------------------------------------------------------------------


def test_angles_are_accurate_however_small():
    import mpmath

    generator = np.random.default_rng(3)
    w, across = generator.normal(size=(2, 7))
    with mpmath.workdps(60):

        def exact(change) -> float:
            a, b = ([mpmath.mpf(float(x)) for x in w], [mpmath.mpf(float(x)) for x in change])
            c = [x + y for x, y in zip(a, b, strict=True)]
            dot = mpmath.fdot(a, c) / mpmath.sqrt(mpmath.fdot(a, a) * mpmath.fdot(c, c))
            return float(mpmath.acos(dot))

        for scale in (1e-25, 1e-15, 1e-8, 1e-3, 1.0, 30.0):
            change = scale * across
            assert angles(w, change) == pytest.approx(exact(change), rel=1e-14)
        tiny = 1e-9 * across
        naive = np.arccos(np.clip(w @ (w + tiny) / np.linalg.norm(w) / np.linalg.norm(w + tiny), -1, 1))
        assert abs(naive / exact(tiny) - 1) > 0.1  # what the textbook formula would have given
    assert angles(np.zeros(3), np.ones(3)) == np.pi / 2
    assert angles(w, -3 * w) == pytest.approx(np.pi)


def test_batches_are_epochs_without_repetition_and_without_remainder():
    drawn = _batches(17, 5, np.random.default_rng(0))
    for _ in range(4):
        epoch = np.concatenate([next(drawn) for _ in range(3)])
        assert len(epoch) == len(set(epoch)) == 15 and set(epoch) < set(range(17))


@pytest.mark.parametrize(
    "make",
    [
        lambda: sgd(0),
        lambda: sgd(-1),
        lambda: sgd(float("nan")),
        lambda: sgd("0.1"),
        lambda: sgd(True),
        lambda: sgd(0.1, batch=0),
        lambda: sgd(0.1, batch=1.5),
        lambda: sgd(0.1, momentum=1),
        lambda: sgd(0.1, weight_decay=-1),
        lambda: sgd(0.1, weight_decay=10),
        lambda: adamw(0.1, beta1=1),
        lambda: adamw(0.1, eps=0),
    ],
)
def test_bad_optimizers_are_refused(make):
    with pytest.raises(fg.InputError, match=r"^(sgd|adamw) got .*; .*|^(sgd|adamw) got .*: "):
        make()


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = (
        "import sys, fishergeo.dynamics.optimizers, fishergeo.dynamics.trajectory; "
        "sys.exit(sum(name in sys.modules for name in ('matplotlib', 'matplotlib.pyplot', 'scipy.stats')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

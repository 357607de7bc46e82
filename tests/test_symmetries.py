"""The null space of the Fisher matrix and the generators that explain it, against the oracle's rank; and `fg.check`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import oracles
import pytest
from cases import PLAIN, SIZES, Setup, composed, each_case, each_family
from wrong import WRONG_TANGENTS, Broken, changed, off

import fishergeo as fg
from fishergeo.families import FAMILIES
from fishergeo.normalizers import ZOO
from fishergeo.transformations import TRANSFORMATIONS, Rescale

H = SIZES[2]


@each_case(PLAIN)
@each_family()
def test_null_space_is_explained(case, family, phi, rng):
    """On generic data no null direction is left over, and their number is what the oracle's scores leave free."""
    setup = Setup.of(case, family, rng.normal(size=(40, 5)), H, rng, phi)
    found = fg.symmetries(setup.model, setup.p, setup.X)
    R = oracles.fisher_root(*setup.arguments)
    s = np.linalg.svd(R, compute_uv=False)
    assert found.nullity == len(R) - int((s > 1e-10 * s[0]).sum())
    assert found.unexplained == 0
    assert sum(e.dimension for e in found.explained) == found.nullity
    assert found.basis.shape == (len(R), found.nullity)
    assert np.abs(R.T @ found.basis).max(initial=0) < 1e-12 * s[0]


def dimensions(normalizer, D=5, family=fg.bernoulli, N=40):
    rng = np.random.default_rng(4)
    model = fg.GLM(family, normalizer)
    size = H * (D + 1 + model.has_gain)
    found = fg.symmetries(model, model.unravel(rng.normal(size=size), H), rng.normal(size=(N, D)))
    assert found.unexplained == 0
    return {e.name: e.dimension for e in found.explained}


def test_generators_of_the_literature():
    """BN and WN: one scale for each unit; RMS: one in all; LN: that and a common vector."""
    assert dimensions(fg.identity) == {}
    assert dimensions(fg.batch_norm) == {"weight vector rescaling": H}
    assert dimensions(fg.weight_norm) == {"weight vector rescaling": H}
    assert dimensions(fg.rms_norm) == {"weight matrix rescaling": 1}
    assert dimensions(fg.layer_norm, D=5) == {"weight matrix recentering": 5, "weight matrix rescaling": 1}
    assert dimensions(fg.weight_standardization) == {"weight vector rescaling": H, "weight constant shift": H}
    assert dimensions(fg.mean_only_batch_norm) == {"weight-gain exchange": H}


def test_a_softmax_has_a_common_shift():
    assert dimensions(fg.identity, D=5, family=fg.categorical) == {"shared bias shift": 1, "shared logit shift": 5}


def test_columns_that_are_constant_in_the_data_are_named(rng):
    X = rng.normal(size=(40, 5))
    X[:, 2] = 1.5
    model = fg.GLM(fg.bernoulli)
    found = fg.symmetries(model, model.unravel(rng.normal(size=18), H), X)
    assert {e.name: e.dimension for e in found.explained} == {"inputs not in the data": H}


def test_too_few_cases_are_named(rng):
    model = fg.GLM(fg.bernoulli, fg.layer_norm)
    found = fg.symmetries(model, model.unravel(rng.normal(size=21), H), rng.normal(size=(3, 5)))
    assert found.nullity == sum(e.dimension for e in found.explained) + found.unexplained
    assert found.equations == 9
    assert (not found.unexplained) or "add cases" in repr(found)


# --- fg.check ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [*ZOO, *FAMILIES, *TRANSFORMATIONS], ids=lambda v: v.name)
def test_check_holds_for_everything_in_the_package(value):
    result = fg.check(value)
    assert result, result
    assert all(r.passed for r in result.results)
    assert "BROKEN" not in repr(result)


def test_check_holds_for_a_normalizer_of_ones_own():
    assert fg.check(fg.Normalizer("mine", weight=fg.Standardize(fg.Axis.INPUT)))
    both = composed("both", inputs=[("d", True, "nothing")], summed=[("h", False, "std")])
    assert fg.check(both.normalizer)
    assert fg.check(fg.layer_norm.with_eps(1e-3))


@pytest.mark.parametrize("name", WRONG_TANGENTS)
def test_check_finds_a_wrong_tangent(name):
    result = fg.check(replace(fg.batch_norm, summed=Broken(WRONG_TANGENTS[name])))
    assert not result
    assert not next(r for r in result.results if "tangent" in r.contract).passed
    assert "BROKEN" in repr(result)


def test_check_finds_a_wrong_family():
    wrong = changed(fg.poisson, hessian=lambda self, theta: off(fg.poisson.hessian(theta)))
    assert not fg.check(wrong)
    assert not fg.check(replace(fg.poisson, draw=lambda mean, phi, rng: rng.poisson(1.1 * mean).astype(float)))
    assert not fg.check(replace(fg.poisson, draw=lambda mean, phi, rng: rng.normal(mean, np.sqrt(mean))))


def test_check_finds_a_wrong_transformation():
    class Off(Rescale):
        def act(self, state, values):
            moved = super().act(state, values)
            return replace(moved, W=moved.W + 1)

    assert not fg.check(replace(fg.weight_matrix_rescaling, actions=(Off(fg.Site.WEIGHT),)))


def test_check_refuses_anything_else():
    with pytest.raises(fg.InputError, match="give a Normalizer, a Family or a Transformation"):
        fg.check("batch_norm")


def test_check_is_reproducible():
    assert fg.check(fg.weight_norm, rng=3) == fg.check(fg.weight_norm, rng=3)

"""The null space of the Fisher matrix and the generators that explain it, against the oracle's rank; and `fg.check`."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import contracts
import numpy as np
import oracles
import pytest
from cases import PLAIN, SIZES, Setup, composed, each_case, each_family
from wrong import WRONG_TANGENTS, Broken, changed, off

import fishergeo as fg
from fishergeo.axes import Axis
from fishergeo.families import FAMILIES
from fishergeo.invariance import structure
from fishergeo.invariance import symmetries as module
from fishergeo.invariance.generators import Generator
from fishergeo.normalizers import ZOO
from fishergeo.transformations import TRANSFORMATIONS, Rescale

H = SIZES[2]
SAMPLE, POSITION, UNIT = Axis.SAMPLE, Axis.POSITION, Axis.UNIT


@each_case(PLAIN)
@each_family()
def test_null_space_is_explained(case, family, phi, rng):
    """On generic data no null direction is left over, and their number is what the oracle's scores leave free."""
    setup = Setup.of(case, family, rng.normal(scale=0.5, size=(40, 5)), H, rng, phi)
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
    found = fg.symmetries(model, model.unravel(rng.normal(size=6 * H), H), X)
    assert {e.name: e.dimension for e in found.explained} == {"inputs not in the data": H}


# --- degenerate data and parameters --------------------------------------------------------------------------------

INPUTS = {
    "generic": lambda X, rng: X,
    "few rows, repeated": lambda X, rng: X[np.arange(len(X)) % X.shape[1]],
    "rows repeated and scaled": lambda X, rng: X[np.arange(len(X)) % X.shape[1]] * rng.uniform(1, 2, size=(len(X), 1)),
    "one-hot": lambda X, rng: np.eye(X.shape[1])[np.arange(len(X)) % X.shape[1]],
    "constant column": lambda X, rng: np.where(np.arange(X.shape[1]) == 1, 0.1, X),
    "zero column": lambda X, rng: np.where(np.arange(X.shape[1]) == 1, 0, X),
    "dependent columns": lambda X, rng: np.where(np.arange(X.shape[1]) == 1, X[:, :1] - 2 * X[:, 2:3], X),
    "columns that add up": lambda X, rng: np.where(np.arange(X.shape[1]) == 1, 1 - X[:, :1], X),
    "two parts": lambda X, rng: np.where((np.arange(X.shape[1]) < 2) == (np.arange(len(X)) < 30)[:, None], X, 0),
    "two inputs": lambda X, rng: X[:, :2],
    "three inputs": lambda X, rng: X[:, :3],
}
POSITIONS = {
    "generic": lambda X: X,
    "an input that is constant over positions": lambda X: np.where(np.arange(X.shape[-1]) == 1, X[:, :1], X),
    "an input that depends on the position alone": lambda X: np.where(np.arange(X.shape[-1]) == 1, X[:1], X),
    "cases with inputs of their own": lambda X: (
        X * ((np.arange(X.shape[-1]) < 2) == (np.arange(len(X)) % 2 == 0)[:, None])[:, None]
    ),
}


def with_gain(p, gain):
    return replace(p, gain=gain) if p.gain is not None else p


POINTS = {
    "generic": lambda p: p,
    "equal weights": lambda p: replace(p, weight=p.weight[[0, 0, *range(2, p.units)]]),
    "one gain 0": lambda p: with_gain(p, np.where(np.arange(p.units) < 1, 0, p.gain)),
    "two gains 0": lambda p: with_gain(p, np.where(np.arange(p.units) < 2, 0, p.gain)),
    "no gain": lambda p: with_gain(p, np.zeros(p.units)),
    "equal gains": lambda p: with_gain(p, np.ones(p.units)),
}


def point(model, X, units, rng, change=POINTS["generic"]):
    """Random parameters of at least ``units`` units, as many as the groups of the normalizer need."""
    least, multiple = model.normalizer.minimum()[UNIT], model.normalizer.multiples()[UNIT]
    units = -(-max(units, least) // multiple) * multiple
    return change(model.unravel(rng.normal(size=units * (X.shape[-1] + 1 + model.has_gain)), units))


def fitted(normalizer, X):
    """60 cases, as 12 cases at 5 positions where the normalizer tells them apart."""
    return X.reshape(12, 5, -1) if normalizer.tells_positions_apart else X


def check(model, p, X):
    """Every null direction is explained, or there are fewer equations than parameters, by as many as are left."""
    found = fg.symmetries(model, p, X)
    assert found.unexplained <= found.shortage, (model, found)
    assert found.nullity == sum(e.dimension for e in found.explained) + found.unexplained
    at, scale = model.linearize(p, X), max(1e-300, *fg.fisher(model, p, X).singular_values())
    for part in found.explained:
        assert part.basis.shape == (p.size, part.dimension)
        dZ = at.jvp(model.unravel(part.basis.T, p.units))
        assert np.abs(at.hessian.root(dZ)).max() < 1e-5 * scale * np.sqrt(at.cases), part
    return found


def defined(normalizer, X):
    """Whether no input that it standardizes is constant, and no cell of two weights."""
    constant = (np.ptp(X, axis=0) == 0).any() and any(Axis.SAMPLE in stage.over for stage in normalizer.inputs)
    return not constant and X.shape[1] >= normalizer.minimum()[Axis.INPUT]


@pytest.mark.parametrize("change", POINTS.values(), ids=POINTS.keys())
@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS.keys())
def test_degenerate_null_spaces_are_explained(inputs, change, rng):
    X = inputs(rng.normal(size=(60, 4)) + 0.3, rng)
    able = [n for n in ZOO if defined(n, X)]
    assert len(able) >= len(ZOO) - 5
    for (k, normalizer), family in itertools.product(enumerate(able), FAMILIES):
        model, data = fg.GLM(family, normalizer), fitted(normalizer, X)
        check(model, point(model, data, (3, 4, 5)[k % 3], rng, change), data)


OTHERS = [
    (fg.gamma, fg.links.log),
    (fg.inverse_gaussian, fg.links.log),
    (fg.negative_binomial(2.5), fg.links.log),
    (fg.binomial(5), fg.links.probit),
    (fg.bernoulli, fg.links.cloglog),
    (fg.multinomial(4), None),
    (fg.multivariate_gaussian(np.eye(6) + 0.3), None),
]


@pytest.mark.parametrize(("family", "link"), OTHERS, ids=[f.name for f, _ in OTHERS])
def test_null_spaces_of_other_families_are_explained(family, link, rng):
    """Only where Cov[y|x] is singular matters, at the predictor z."""
    for kind in ("generic", "one-hot", "dependent columns"):
        X = 0.5 * INPUTS[kind](rng.normal(size=(60, 4)), rng)
        for normalizer in ZOO:
            model, data = fg.GLM(family, normalizer, link=link), fitted(normalizer, X)
            p = point(model, data, 6, rng)
            check(model, replace(p, weight=p.weight / 2, gain=None if p.gain is None else p.gain / 2), data)


@pytest.mark.parametrize("first", [n for n in ZOO if n.stages], ids=lambda n: n.name)
def test_compositions_are_explained(first, rng):
    X = rng.normal(size=(60, 4)) + 0.3
    kinds = itertools.cycle(INPUTS[kind](X, rng) for kind in ("generic", "few rows, repeated", "dependent columns"))
    # a matrix norm of one of two stages of the weights takes a proof of minutes
    seconds = [s for s in ZOO if not (first.weight and s.weight and fg.spectral_norm in (first, s))]
    for second in seconds[ZOO.index(first) % 4 :: 4]:
        for family, change in ((fg.gaussian, POINTS["generic"]), (fg.categorical, POINTS["one gain 0"])):
            model = fg.GLM(family, fg.compose(first, second))
            data = fitted(model.normalizer, next(kinds))
            check(model, point(model, data, 3 + (second.name > "m"), rng, change), data)


CELLS = [frozenset(axes) for k in (1, 2, 3) for axes in itertools.combinations((SAMPLE, POSITION, UNIT), k)]


@pytest.mark.parametrize("inputs", POSITIONS.values(), ids=POSITIONS.keys())
@pytest.mark.parametrize("center", [True, False], ids=["centered", "not centered"])
def test_cells_of_any_axes_are_explained(center, inputs, rng):
    X = inputs(rng.normal(size=(8, 5, 4)))
    for over, family in itertools.product(CELLS, (fg.bernoulli, fg.categorical)):
        model = fg.GLM(family, fg.Normalizer("cells", summed=fg.Standardize(over, center=center)))
        check(model, point(model, X, H, rng), X)
        check(model, point(model, X, H + 1, rng, POINTS["two gains 0"]), X)


def test_batch_statistics_of_every_position(rng):
    """σ of each unit and position is no scale of the unit."""
    model = fg.GLM(fg.categorical, fg.Normalizer("per_position_bn", summed=fg.Standardize(SAMPLE)))
    X = rng.normal(size=(9, 4, 5))
    assert parts(check(model, point(model, X, H, rng), X)) == {"weight vector rescaling": H, "shared bias shift": 1}


# --- what the generators say ---------------------------------------------------------------------------------------


def parts(found):
    return {e.name: e.dimension for e in found.explained}


def test_repeated_rows_are_rescaled_apart(rng):
    """D distinct rows that are independent: each can be rescaled, and σ is linear in x, so that biases can be moved."""
    X = INPUTS["one-hot"](np.zeros((60, 4)), rng)
    model = fg.GLM(fg.bernoulli, fg.rms_norm)
    found = check(model, point(model, X, H, rng), X)
    # 4 rows with factors of their own, one of which scales all of W; 2H changes of g and b against 4 tangents
    assert parts(found) == {"weight matrix rescaling": 1, "weight-gain exchange": 2 * H - 4, "rescalings of cells": 3}


@pytest.mark.parametrize(("rows", "pieces"), [((0, 1), 2), ((0, 1, 2), 1)])
def test_parts_of_the_inputs(rows, pieces, rng):
    """Cases in two planes of R⁴ are rescaled apart; cases that need both planes tie them together."""
    splits = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]])[list(rows)]
    X = rng.normal(size=(60, 4)) * splits[np.arange(60) % len(rows)]
    mixing = rng.normal(size=(4, 4))
    found = structure.parts(X @ mixing, np.arange(60), np.ones(4))
    assert len(found) == pieces
    np.testing.assert_allclose(found.sum(axis=0), np.eye(4), atol=1e-12)
    for P in found:  # every case is in one part
        moved = X @ mixing @ P
        assert np.isclose(moved, X @ mixing).all(axis=1).sum() + np.isclose(moved, 0).all(axis=1).sum() == 60


def test_a_gain_of_0_frees_the_weights_of_its_unit(rng):
    """All D directions of w_h under batch norm; under RMS norm only rotations among such units, which σ does not see."""
    X = rng.normal(size=(60, 4))
    for normalizer, free in ((fg.batch_norm, 4 - 1), (fg.weight_standardization, 4 - 2), (fg.rms_norm, 0)):
        model = fg.GLM(fg.poisson, normalizer)
        found = parts(check(model, point(model, X, H, rng, POINTS["one gain 0"]), X))
        assert found.get("gain 0", 0) == free
    X = rng.normal(size=(60, 6))
    for units, free in ((4, 1), (5, 3)):  # SO(2) and SO(3) of two and three units
        model = fg.GLM(fg.bernoulli, fg.rms_norm)
        p = with_gain(point(model, X, units, rng), np.where(np.arange(units) < units - 2, 0.0, 1.0))
        assert parts(check(model, p, X)) == {"weight matrix rescaling": 1, "gain 0": free}


@pytest.mark.parametrize(("D", "units"), [(3, 4), (3, 5), (3, 6), (2, 3), (2, 5), (4, 7)])
def test_the_softmax_meets_a_sphere(D, units, rng):
    """RMS norm: (u·x) Σ a_h/g_h = Σ k_h a_h²/g_h needs Σ k_h a_h²/g_h to vanish on a plane: H - D(D-1)/2 solutions.

    The quadratic forms a_h² span at most D(D+1)/2 dimensions: D of the k, u then come from u·x = 0, k ≠ 0.
    """
    X = rng.normal(size=(80, D))
    model = fg.GLM(fg.categorical, fg.rms_norm)
    found = parts(check(model, point(model, X, units, rng), X))
    assert found.pop("weight matrix rescaling") == found.pop("shared bias shift") == 1
    exchange, shared = found.pop("weight-gain exchange", 0), found.pop("shared logit shift", 0)
    assert not found
    assert exchange == max(0, units - D * (D + 1) // 2)
    assert exchange + shared == max(0, units - D * (D - 1) // 2)


def test_proportional_weights_are_named(rng):
    """Two equal rows of three leave one centered direction: Â is ±c for every w, D directions instead of 1."""
    model, X = fg.GLM(fg.bernoulli, fg.layer_norm), rng.normal(size=(60, 5))
    found = parts(check(model, point(model, X, 3, rng, POINTS["equal weights"]), X))
    assert found["proportional weights"] == 4


@pytest.mark.parametrize("normalizer", ZOO, ids=lambda n: n.name)
@pytest.mark.parametrize("family", [fg.bernoulli, fg.poisson, fg.categorical], ids=lambda f: f.name)
def test_certain_outcomes_are_named(family, normalizer, rng):
    X = fitted(normalizer, rng.normal(size=(60, 4)))
    model = fg.GLM(family, normalizer)
    p = point(model, X, H, rng)
    far = -800.0 if family is not fg.bernoulli else 800.0
    before, one = check(model, p, X), check(model, replace(p, bias=p.bias + far * (np.arange(p.units) == 0)), X)
    assert one.unexplained == 0
    certain = parts(one)["certain outcomes"]  # b_0 and g_0, and what of w_0 is seen otherwise
    assert 1 + model.has_gain <= certain <= model.has_gain + 5
    # two categories that are left share a function of x more easily than three
    assert one.nullity - before.nullity <= certain + parts(one).get("shared logit shift", 0)
    if family is not fg.categorical:
        every = check(model, replace(p, bias=p.bias + far), X)
        assert every.nullity == p.size and every.unexplained == 0


def test_frozen_statistics_before_a_layer_norm(rng):
    """Two stages of one site: each unit has its own scale, and one function of x̂ is still added to all."""
    X = rng.normal(size=(60, 4))
    for mean, extra in ((0.0, 1), ((0.5, -1.0, 2.0), 0)):
        frozen = fg.frozen_batch_norm(mean, (0.5, 1.0, 3.0))
        model = fg.GLM(fg.bernoulli, fg.compose(frozen, fg.layer_norm))
        found = check(model, point(model, X, 3, rng), X)
        assert found.unexplained == 0
        assert found.nullity == 4 + extra
        assert parts(found)["shifts of cells"] == 4


def test_few_cases_are_counted(rng):
    """What is left over goes when cases are added: too few equations, for any inputs."""
    for normalizer, N in itertools.product(ZOO, (4, 5, 8)):
        if normalizer.tells_positions_apart or N % normalizer.multiples()[SAMPLE] or normalizer.minimum()[SAMPLE] > N:
            continue
        model, X = fg.GLM(fg.bernoulli, normalizer), rng.normal(size=(N, 5))
        found = check(model, point(model, X, H, rng), X)
        if found.unexplained:
            assert found.nullity == sum(e.dimension for e in found.explained) + found.shortage
            assert f"from {N} distinct cases: add cases" in repr(found)
    assert fg.symmetries(fg.GLM(fg.bernoulli), point(fg.GLM(fg.bernoulli), X, H, rng), X).note == ""


FEW_CASES = [  # D, N, H at which a softmax with two equal rows of weights has more null directions than equations lack
    (fg.rms_norm, 6, 10, 3),
    (fg.layer_norm, 7, 10, 4),
    (fg.ghost_batch_norm(2), 4, 8, 3),
    (fg.ghost_batch_norm(2), 8, 12, 5),
    (fg.ghost_batch_norm(2), 6, 12, 3),
]


@pytest.mark.parametrize(("normalizer", "D", "N", "units"), FEW_CASES)
def test_few_cases_and_equal_weights(normalizer, D, N, units, rng):
    """Logits of equal rows change by the same functions of x: fewer equations are independent than there are."""
    model = fg.GLM(fg.categorical, normalizer)
    X, more = rng.normal(size=(N, D)), rng.normal(size=(20 * N, D))
    p = point(model, X, units, rng, POINTS["equal weights"])
    found = check(model, p, X)
    assert found.unexplained > 0
    assert found.lasting == sum(e.dimension for e in found.explained)
    enough = check(model, p, more)
    assert (enough.unexplained, enough.nullity) == (0, found.lasting)


@pytest.mark.parametrize(("family", "inputs"), [(fg.categorical, "generic"), (fg.bernoulli, "one-hot")])
def test_missing_generators_are_not_put_down_to_few_cases(family, inputs, rng, monkeypatch):
    """Cases that are added keep what is null for another reason."""
    model, X = fg.GLM(family, fg.rms_norm), INPUTS[inputs](rng.normal(size=(60, 6)), rng)
    monkeypatch.setattr(module, "generators", lambda model: iter([]))
    found = fg.symmetries(model, point(model, X, 3, rng), X)
    assert found.lasting == found.unexplained == found.nullity > 1
    if inputs == "generic":  # six one-hot cases are few
        assert "add cases" not in repr(found)


# --- what is not claimed -------------------------------------------------------------------------------------------


def generic(rng, normalizer=fg.batch_norm):
    model, X = fg.GLM(fg.bernoulli, normalizer), rng.normal(size=(60, 5))
    return model, point(model, X, H, rng), X


@pytest.mark.parametrize("tilt", [0.0, 1e-3, 1.0])
def test_a_wrong_generator_explains_nothing(tilt, rng, monkeypatch):
    """Directions off the null space explain nothing, however many; the null space itself, tilted, neither."""
    model, p, X = generic(rng)
    null = fg.fisher(model, p, X).null_space()
    off = rng.normal(size=(p.size, 7)) - null @ (null.T @ rng.normal(size=(p.size, 7)))
    span = (null + tilt * rng.normal(size=null.shape)).T if tilt < 1 else (off - null @ (null.T @ off)).T
    wrong = Generator("wrong", "not a symmetry", lambda structure: span)
    monkeypatch.setattr(module, "generators", lambda model: iter([wrong]))
    found = fg.symmetries(model, p, X)
    assert found.unexplained == (H if tilt else 0)
    assert parts(found) == ({} if tilt else {"wrong": H})
    assert ("not explained" in repr(found)) == bool(tilt)


def test_a_missing_generator_leaves_its_directions(rng, monkeypatch):
    """No other generator takes them over."""
    model, p, X = generic(rng, fg.layer_norm)
    left_out = ("weight matrix recentering", "shifts of cells", "weight-gain exchange")
    kept = [g for g in module.generators(model) if g.name not in left_out]
    monkeypatch.setattr(module, "generators", lambda model: iter(kept))
    found = fg.symmetries(model, p, X)
    assert found.unexplained == 5
    assert found.note == ""


def test_a_direction_of_several_generators_needs_a_proper_span(rng, monkeypatch):
    """Together the generators may not span everything: that would explain any null direction."""
    model, p, X = generic(rng)
    halves = [
        Generator(name, "half of all directions", lambda structure, k=k: np.eye(p.size)[k::2])
        for k, name in enumerate(("even", "odd"))
    ]
    monkeypatch.setattr(module, "generators", lambda model: iter(halves))
    assert fg.symmetries(model, p, X).unexplained == H


@pytest.mark.parametrize(("difference", "noted"), [(1e-11, True), (1.0, False)])
def test_a_blurred_null_space_is_noted(difference, noted, rng, monkeypatch):
    """A singular value just above rounding turns the null directions by rounding over its size."""
    X = rng.normal(size=(60, 5))
    X[:, 1] = X[:, 0] + difference * (np.arange(60) == 0)
    X[:, 2] = X[:, 3]
    model = fg.GLM(fg.gaussian)
    monkeypatch.setattr(module, "generators", lambda model: iter([]))
    found = fg.symmetries(model, point(model, X, H, rng), X)
    assert found.unexplained == found.nullity == H
    assert ("blurs its null space" in repr(found)) == noted


def test_a_metric_of_another_model_is_refused(rng):
    model, p, X = generic(rng)
    F = fg.fisher(model, p, X)
    assert parts(fg.symmetries(model, p, X, F)) == parts(fg.symmetries(model, p, X))
    larger = fg.GLM(fg.bernoulli, fg.batch_norm).init(inputs=5, units=H + 1, rng=0)
    wrong = [
        fg.fisher(model, larger, X),
        fg.fisher(model, replace(p, bias=p.bias + 1), X),
        fg.fisher(model, p, X[:50]),
        fg.fisher(fg.GLM(fg.poisson, fg.batch_norm), p, X),
        fg.kfac(model, p, X),
    ]
    for metric in wrong:
        with pytest.raises(fg.InputError, match="not the Fisher matrix of this model"):
            fg.symmetries(model, p, X, metric)
    with pytest.raises(fg.InputError, match="leave it out"):
        fg.symmetries(model, p, X, F.to_dense())


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
    with pytest.raises(fg.InputError, match="give a Normalizer, a Family, a Link or"):
        fg.check("batch_norm")


def test_check_is_reproducible():
    assert fg.check(fg.weight_norm, rng=3) == fg.check(fg.weight_norm, rng=3)


# --- moments of few units ----------------------------------------------------------------------------------------------

ONE = fg.First(Fraction(1, 8))
TWO = fg.First(Fraction(1, 4))
FEW = {  # stages of 8 units, and the null directions of a Gaussian model of 4 inputs
    "one unit leads": (fg.prms_norm(Fraction(1, 16)).summed[0], 1 + 7),
    "one unit's value is taken off": (fg.Standardize(fg.Axis.UNIT, scale=fg.Scale.NONE, first=ONE), 4 + 8),
    "two units lead": (fg.Standardize(fg.Axis.UNIT, first=TWO), 4 + 1 + 6),
}


@pytest.mark.parametrize("name", FEW)
def test_moments_of_few_units(name, rng):
    """What leads is reduced to signs; every other unit keeps an exchange of its own between weights and gain."""
    stage, nullity = FEW[name]
    normalizer = fg.Normalizer(name, summed=stage)
    assert normalizer.minimum()[fg.Axis.UNIT] <= 8
    model, X = fg.GLM(fg.gaussian, normalizer), rng.normal(size=(60, 4))
    p = model.init(inputs=4, units=8, rng=rng)
    if stage.scale is not fg.Scale.NONE:
        leading = model.linearize(p, X).normalized.value[:, : stage.first.of(8)]
        contracts.close(np.abs(leading), np.ones_like(leading), 1e-12)
    found = fg.symmetries(model, p, X)
    assert (found.nullity, found.unexplained) == (nullity, 0), found
    per_unit = fg.per_unit_fisher(model, p, X)
    assert per_unit.gap > 0.05
    assert fg.check(normalizer), fg.check(normalizer)


def test_proved_directions_that_do_not_show_in_numbers_are_said(rng, monkeypatch):
    """A rank that is too large hides what is proved: the report says how much, and nothing where nothing is lost."""
    model, X = fg.GLM(fg.gaussian, fg.batch_norm), rng.normal(size=(30, 5))
    p = model.init(inputs=5, units=4, rng=1)
    right = fg.symmetries(model, p, X)
    assert right.nullity == 4 and right.lost == 0 and "lost" not in repr(right)
    kind = type(fg.fisher(model, p, X))
    whole = kind.null_space
    monkeypatch.setattr(kind, "null_space", lambda self: whole(self)[:, :-1])
    fewer = fg.symmetries(model, p, X)
    assert fewer.nullity == 3 and fewer.lost >= 1
    assert f"{fewer.lost}  more are proved, but lost in rounding" in repr(fewer)


def test_no_direction_of_small_weights_is_lost_in_silence(rng):
    """One input: every direction of the weights is null under instance norm, by cancellation of 1/‖w‖."""
    model, X = fg.GLM(fg.gaussian, fg.instance_norm), rng.normal(size=(12, 5, 1))
    for scale in (1, 1e-2, 1e-4):
        found = fg.symmetries(model, fg.Params(scale * rng.normal(size=(6, 1)), np.zeros(6), np.ones(6)), X)
        assert found.nullity + found.lost >= 6

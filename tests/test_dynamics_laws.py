"""The closed-form laws, each by another route and each on an object for which it must fail."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

import fishergeo as fg
from fishergeo.dynamics.descent import descend
from fishergeo.dynamics.equilibrium import equilibrium, equivalent_schedule, quartic_growth, random_walk
from fishergeo.dynamics.laws import effective_step, norm_identity_defect, scaling_slopes
from fishergeo.dynamics.optimizers import adamw, gradient_descent, sgd
from fishergeo.dynamics.scale import ScaleGroup, scale_group
from fishergeo.families import FAMILIES
from fishergeo.invariance.proof import prove
from fishergeo.invariance.scaling import fisher_scaling
from fishergeo.normalizers import ZOO

N, S, D, H = 12, 5, 7, 6  # N cases of S positions where a normalizer cannot do without them, else NS cases
WITH_SYMMETRY = [n for n in ZOO if scale_group(n).symmetric]
WITHOUT = [n for n in ZOO if not scale_group(n).symmetric] + [fg.batch_norm.with_eps(0.1), fg.weight_norm.with_eps(0.1)]


@pytest.fixture
def start(rng):
    """normalizer, family -> (model, p, X, Y): digits 0 to 5 by the pixels that vary most, all parameters generic."""
    images, labels = fg.datasets.load_digits()
    images, labels = images[labels < H][: N * S], labels[labels < H][: N * S]
    images = images[:, np.argsort(images.std(axis=0))[-D:]] / 16

    def build(normalizer: fg.Normalizer, family: fg.Family = fg.categorical):
        model = fg.GLM(family, normalizer)
        gain = rng.uniform(0.5, 1.5, H) if model.has_gain else None
        weight = rng.normal(size=(H, D)) * rng.uniform(0.5, 2, (H, 1))
        X, y = images, labels
        if any(stage.over == {fg.Axis.POSITION} for _, stage in normalizer.stages):
            X, y = X.reshape(N, S, D), y.reshape(N, S)
        return model, fg.Params(weight, rng.normal(size=H), gain), X, y if family is fg.categorical else np.eye(H)[y]

    return build


# --- the norm identity ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [sgd(0.5), sgd(0.3, batch=10), sgd(0.3, batch=10, weight_decay=0.2)], ids=repr)
@pytest.mark.parametrize("normalizer", WITH_SYMMETRY, ids=lambda n: n.name)
def test_norm_identity_holds_to_rounding(normalizer, optimizer, start):
    run = descend(*start(normalizer), optimizer=optimizer, steps=40, rng=0)
    assert norm_identity_defect(run) < 1e-14
    assert ((run.gradient_norms * 0.3 / run.norms[:-1]) ** 2).max() > 1e-6  # there was something to account for


@pytest.mark.parametrize("optimizer", [sgd(0.5, momentum=0.5), adamw(0.01)], ids=repr)
def test_norm_identity_is_refuted_with_momentum_and_under_adamw(optimizer, start):
    assert norm_identity_defect(descend(*start(fg.batch_norm), optimizer=optimizer, steps=40)) > 1e-4


@pytest.mark.parametrize("normalizer", WITHOUT, ids=lambda n: n.name)
def test_norm_identity_is_refuted_without_the_symmetry(normalizer, start):
    assert norm_identity_defect(descend(*start(normalizer), optimizer=sgd(0.1), steps=40)) > 1e-4


@pytest.mark.parametrize("normalizer", [fg.layer_norm, fg.rms_norm], ids=lambda n: n.name)
def test_norm_identity_is_refuted_for_the_units_of_layer_norm(normalizer, start):
    model, p, X, y = start(normalizer)
    run = descend(model, p, X, y, optimizer=sgd(0.1), steps=1)
    slope = model.unravel(model.gradient(p, X, y), H).weight
    norms = np.linalg.norm([p.weight, run.params.weight], axis=-1)
    units = replace(run, norms=norms, gradient_norms=np.linalg.norm(slope, axis=-1)[None])
    assert norm_identity_defect(run) < 1e-14 < 1e-4 < norm_identity_defect(units)


# --- the effective step -----------------------------------------------------------------------------------------------


def order(start, group: ScaleGroup | None = None) -> float:
    """The exponent of η in the gap, from the last of a series of halvings."""
    gaps = [effective_step(*start, rate, group).gap for rate in 0.5 ** np.arange(6, 12)]
    return float(np.log2(gaps[-2] / gaps[-1]))


@pytest.mark.parametrize("normalizer", WITH_SYMMETRY, ids=lambda n: n.name)
def test_effective_step_is_right_to_second_order(normalizer, start):
    assert order(start(normalizer)) == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("normalizer", WITHOUT, ids=lambda n: n.name)
def test_effective_step_fails_at_first_order_without_the_symmetry(normalizer, start):
    assert order(start(normalizer)) == pytest.approx(1, abs=0.1)


def test_effective_step_fails_at_first_order_for_the_units_of_layer_norm(start):
    units = ScaleGroup(prove(fg.layer_norm, fg.weight_vector_rescaling))
    assert order(start(fg.layer_norm), units) == pytest.approx(1, abs=0.1)
    model, p, X, y = start(fg.identity)
    with pytest.raises(fg.InputError, match="no direction"):
        effective_step(model, replace(p, weight=0 * p.weight), X, y, 0.1)


# --- scaling with the weights -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
@pytest.mark.parametrize("normalizer", WITH_SYMMETRY, ids=lambda n: n.name)
def test_measured_slopes_are_the_proved_exponents(normalizer, family, start):
    model, p, X, _ = start(normalizer, family)
    measured = scaling_slopes(model, p, X)
    proved = fisher_scaling(normalizer, fg.weight_matrix_rescaling).at(2)
    for block, factor in proved.items():
        if measured.slopes[block] is not None:
            assert measured.slopes[block] == pytest.approx(np.log2(float(factor)), abs=1e-12)
    assert [measured.slopes[name] for name in ("ww", "ds", "bb", "gg")] == pytest.approx([-2, -1, 0, 0], abs=1e-12)
    assert max(measured.deviations.values()) < 1e-12
    assert np.abs(measured.along_matrix).max() < 1e-15
    largest = np.abs(measured.along_units).max()
    assert (largest > 1e-4) if scale_group(normalizer).whole else (largest < 1e-15)


def test_a_block_that_vanishes_has_no_slope(start):
    """Under batch norm Σ_n Â = 0, and with constant Cov[y|x] this makes the wb and bg blocks 0."""
    model, p, X, _ = start(fg.batch_norm, fg.gaussian)
    measured = scaling_slopes(model, p, X)
    assert measured.slopes["wb"] is None and measured.slopes["bg"] is None and "wb zero" in repr(measured)
    assert scaling_slopes(*start(fg.batch_norm, fg.bernoulli)[:3]).slopes["wb"] == pytest.approx(-1)


@pytest.mark.parametrize("normalizer", WITHOUT, ids=lambda n: n.name)
def test_slopes_without_the_symmetry_are_others(normalizer, start):
    measured = scaling_slopes(*start(normalizer, fg.bernoulli)[:3])
    assert abs(measured.slopes["ww"] + 2) > 0.1 and np.abs(measured.along_units).max() > 1e-4
    assert max(measured.deviations.values()) > 0.01  # not even a power law
    plain = scaling_slopes(*start(fg.identity, fg.gaussian)[:3])
    assert set(plain.slopes) == {"ww", "wb", "bb", "ds"}  # no gain
    assert list(plain.slopes.values()) == pytest.approx([0, 0, 0, 0], abs=1e-13)


def test_slopes_plot_and_refuse_too_few_factors(start):
    model, p, X, _ = start(fg.layer_norm)
    ax = scaling_slopes(model, p, X, factors=[1, 2, 4]).plot()
    assert ax.lines[0].get_label() == "ww: slope -2"
    for factors in ([1, 2], [1, 1, 2], [1, 2, -4], [0, 1, 2]):
        with pytest.raises(fg.InputError, match="three different factors"):
            scaling_slopes(model, p, X, factors=factors)
    positive = replace(p, weight=np.abs(p.weight), gain=None)
    with pytest.raises(fg.InputError, match="underflows"):
        scaling_slopes(fg.GLM(fg.poisson), positive, -X - 1, factors=[1, 10, 1e6])


# --- growth without weight decay --------------------------------------------------------------------------------------


def test_quartic_growth_is_the_walk_and_lies_between_its_bounds():
    growth = quartic_growth(0.3, 2.0, 400, start=0.7)
    walk = random_walk(gradient_descent(0.3), 5, 400, gradient_norm=2.0, start=0.7, rng=0)
    np.testing.assert_allclose(growth.norms, walk.norms, rtol=1e-13)
    assert (growth.lower <= growth.norms * (1 + 1e-14)).all() and (growth.norms <= growth.upper * (1 + 1e-14)).all()
    assert growth.upper[-1] / growth.lower[-1] < 1.01 and growth.upper[1] / growth.lower[1] > 1.01
    other = random_walk(gradient_descent(0.3, momentum=0.5), 5, 400, gradient_norm=2.0, start=0.7, rng=0)
    assert (other.norms[100:] > growth.upper[100:]).all()


def test_effective_rate_falls_like_the_root_of_time_whatever_the_rate():
    t = 200_000
    for rate in (0.03, 0.5):
        norms = quartic_growth(rate, 1.3, t).norms
        effective = rate / norms**2
        assert effective[t] * 1.3 * np.sqrt(2 * t) == pytest.approx(1, abs=3e-3)
        assert np.log2(effective[t] / effective[t // 2]) == pytest.approx(-1 / 2, abs=3e-3)
    constant = np.sqrt(1 + (0.5 * 1.3) ** 2 * np.arange(t + 1))  # a gradient whose norm does not depend on ‖w‖
    assert np.log2(constant[t // 2] ** 2 / constant[t] ** 2) == pytest.approx(-1, abs=1e-3)


# --- equilibrium with weight decay ------------------------------------------------------------------------------------


def stationary(transition, noise) -> np.ndarray:
    """The second moments M = T M Tᵀ + nnᵀ of a linear recursion driven by noise of variance 1."""
    noise = np.array(noise, float)[:, None]
    return solve_discrete_lyapunov(np.array(transition, float), noise @ noise.T)


@pytest.mark.parametrize(("rate", "decay"), [(0.1, 0.5), (0.02, 0.3), (1.5, 0.5)])
@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_equilibrium_solves_the_moment_equations(rate, decay, memory):
    a = 1 - rate * decay
    # w⁺ = (a + α)w - αw⁻ - ηg with E‖g‖² = G²/E‖w‖²
    M = stationary([[a + memory, -memory], [1, 0]], [rate, 0])
    law = equilibrium(sgd(rate, momentum=memory, weight_decay=decay), 1.7)
    assert law.cosine == pytest.approx(M[0, 1] / M[0, 0], rel=1e-10)
    assert law.norm**4 == pytest.approx(1.7**2 * M[0, 0], rel=1e-10)
    # w⁺ = aw - ηu⁺, u⁺ = βu + (1-β)g with E‖g‖² = Γ²
    T = np.array([[a, -rate * memory], [0, memory]])
    M = stationary(T, [-rate * (1 - memory), 1 - memory])
    law = equilibrium(adamw(rate, beta1=memory, weight_decay=decay), 1.7)
    assert law.cosine == pytest.approx((T @ M)[0, 0] / M[0, 0], rel=1e-10)
    assert law.norm**2 == pytest.approx(1.7**2 * M[0, 0], rel=1e-10)
    if memory:  # leaving the memory out is wrong
        assert abs(equilibrium(sgd(rate, weight_decay=decay), 1.7).versine / law.versine - 1) > 0.1


def test_equilibrium_is_the_formula_of_the_literature():
    eta, lam, G = Fraction(1, 8), Fraction(1, 2), 3
    law = equilibrium(sgd(float(eta), weight_decay=float(lam)), G)
    assert law.cosine == 1 - eta * lam
    assert law.norm**4 == pytest.approx(float(eta * G**2 / (lam * (2 - eta * lam))), rel=1e-14)
    for optimizer in (sgd(0.1, momentum=0.9, weight_decay=1e-6), adamw(0.1, beta1=0.8, weight_decay=1e-6)):
        law = equilibrium(optimizer, 3.0)
        kept = 1 / 1.9 if optimizer.rate and hasattr(optimizer, "momentum") else 0.2 / 1.8
        assert law.small_angle == pytest.approx(np.sqrt(2 * 1e-7 * kept), rel=1e-12)
        assert law.angle == pytest.approx(law.small_angle, rel=1e-6)
        assert law.norm == pytest.approx(law.small_norm, rel=1e-5)
    coarse = equilibrium(sgd(0.5, weight_decay=1.0), 1.0)
    assert abs(coarse.small_norm / coarse.norm - 1) > 0.05  # the approximations are only that


def test_a_walk_without_momentum_converges_to_the_exact_equilibrium():
    optimizer = sgd(0.2, weight_decay=0.25)
    law = equilibrium(optimizer, 2.5)
    for begin in (0.3, 5.0):
        walk = random_walk(optimizer, 6, 400, gradient_norm=2.5, start=begin, rng=1)
        assert walk.norms[-1] == pytest.approx(law.norm, rel=1e-13)
        assert walk.angles[-1] == pytest.approx(law.angle, rel=1e-13)
        assert walk.norms[0] == begin


@pytest.mark.parametrize(
    "optimizer",
    [sgd(0.2, momentum=0.8, weight_decay=0.2), adamw(0.02, beta1=0.8, beta2=0.99, eps=1e-30, weight_decay=1.0)],
    ids=repr,
)
def test_walks_with_memory_settle_about_the_equilibrium(optimizer):
    """Statistics of 1500 weights over 1500 steps: to 1 % for the norm, 0.5 % for 1 - cos; the laws differ by far more."""
    weights = 1500
    size = weights**0.5 if optimizer.weight_decay == 1 else 1.0
    law = equilibrium(optimizer, size)
    walk = random_walk(optimizer, weights, 2000, start=1.5 * law.norm, rng=5)
    assert np.sqrt((walk.norms[500:] ** 2).mean()) == pytest.approx(law.norm, rel=0.01)
    assert (1 - np.cos(walk.angles[500:])).mean() == pytest.approx(law.versine, rel=0.005)
    memoryless = replace(optimizer, momentum=0.0) if hasattr(optimizer, "momentum") else replace(optimizer, beta1=0.0)
    assert abs(equilibrium(memoryless, size).versine / law.versine - 1) > 0.2


# --- weight decay as a schedule ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_weight_decay_is_an_exponential_schedule(momentum, start):
    """Weights alone descend, on the digits: the directions with decay are those without, at growing rates."""
    model, p, X, y = start(fg.batch_norm)
    optimizer = sgd(0.1, momentum=momentum, weight_decay=0.1)  # at rates of 0.3 and more this descent is chaotic
    steps = 60
    schedule = equivalent_schedule(optimizer, steps)

    def slope(w):
        return -model.unravel(model.gradient(replace(p, weight=w), X, y), H).weight

    def run(first_buffer, rates, decay):
        w, v = p.weight, first_buffer * p.weight
        for rate in rates:
            v = momentum * v + slope(w) + decay * w
            w = w - rate * v
        return w

    decayed = run(0, [0.1] * steps, 0.1)
    grown = run(schedule.buffer, schedule.rates, 0)
    np.testing.assert_allclose(schedule.alpha**steps * grown, decayed, rtol=0, atol=1e-10)
    assert schedule.rates[-1] / schedule.rates[0] == pytest.approx(schedule.alpha ** (-2 * (steps - 1)))
    assert np.abs(decayed / p.weight).max() > 1.5
    if momentum:  # a zero buffer on both sides does not match
        zero = schedule.alpha**steps * run(0, schedule.rates, 0)
        assert np.abs(zero - decayed).max() > 1e-3
    else:
        assert schedule.buffer == 0 and schedule.alpha == pytest.approx(1 - 0.01)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: equilibrium(sgd(0.1), 1.0), "without weight decay the norm only grows"),
        (lambda: equilibrium(sgd(0.1, weight_decay=0.1), 0.0), "gradient_norm=0.0"),
        (lambda: equilibrium(object(), 1.0), "its law is known for"),
        (lambda: quartic_growth(0.1, -1, 10), "gradient_norm=-1"),
        (lambda: quartic_growth(0.1, 1, 0), "steps=0"),
        (lambda: random_walk(sgd(0.1), 1, 10), "weights=1: give an integer >= 2"),
        (lambda: equivalent_schedule(sgd(0.5, momentum=0.9, weight_decay=0.5), 10), "the roots are real only"),
        (lambda: equivalent_schedule(sgd(0.5, weight_decay=1.0), 1000), "overflows"),
    ],
)
def test_laws_refuse_what_they_do_not_cover(make, message):
    with pytest.raises(fg.InputError, match=message):
        make()

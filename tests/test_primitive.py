"""The primitive: value, tangent, adjoint and the projector, for every kind of standardization."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import contracts
import numpy as np
import oracles
import pytest
from cases import ALL, CASES_WITH_POSITIONS, SIZES_WITH_POSITIONS, each_case, formula, stage

import fishergeo as fg

LAYOUTS = {"nd": fg.Site.INPUTS, "nsd": fg.Site.INPUTS, "hd": fg.Site.WEIGHT, "nh": fg.Site.SUMMED, "nsh": fg.Site.SUMMED}
SIZE = {"n": 7, "s": 5, "d": 4, "h": 3}
DIVISIBLE = {"n": 6, "s": 8, "d": 9, "h": 12}  # runs of at least 3 entries
PARTS = {"n": 2, "s": 2, "d": 3, "h": 3}
KINDS = [(True, "std"), (True, "norm"), (True, "nothing"), (False, "std"), (False, "norm")]  # centered, divided by
EPS = [(0, True), (0.125, True), (0.25, False)]
FIRST = [(Fraction(1, 2), math.ceil), (Fraction(1, 2), math.floor), (Fraction(5, 8), math.ceil)]  # at least 3 of 6


def kinds():
    """Every kind with every ε that it knows."""
    for center, divide in KINDS:
        for eps in EPS if divide != "nothing" else EPS[:1]:
            yield center, divide, eps


def subsets(letters, least=1):
    for length in range(least, len(letters) + 1):
        yield from map("".join, itertools.combinations(letters, length))


def variants():
    """Every layout, every set of its axes, every kind, every ε that the kind knows."""
    for layout in LAYOUTS:
        for over, kind in itertools.product(subsets(layout), kinds()):
            yield layout, over, *kind


def grouped():
    """Every set of axes, with any of them split into groups; every kind, with one ε each in turn."""
    every = itertools.cycle(EPS)
    for layout in LAYOUTS:
        for over, (center, divide) in itertools.product(subsets(layout), KINDS):
            for split in subsets(over):
                eps = next(every) if divide != "nothing" else EPS[0]
                yield layout, over, center, divide, eps, tuple((letter, PARTS[letter]) for letter in split)


def leading():
    """Moments of the leading entries along every axis, in turn in both roundings."""
    every = itertools.cycle(FIRST)
    for layout in LAYOUTS:
        for over, kind in itertools.product(layout, kinds()):
            yield layout, over, *kind, (), next(every)


def each_variant(of=variants, keep=lambda eps: True):
    kept = [v for v in of() if keep(v[4])]
    return pytest.mark.parametrize("variant", kept, ids=["-".join(map(str, v)) for v in kept])


def built(variant, rng, size=SIZE):
    layout, *arguments = variant
    t = rng.normal(size=[size[letter] for letter in layout]) + 0.3
    plain = formula(*arguments)
    return stage(*arguments), lambda t: oracles.standardize(t, layout, *plain), t, LAYOUTS[layout].layout(len(layout))


@each_variant()
def test_value_and_tangent(variant, rng):
    standardize, plain, t, layout = built(variant, rng)
    contracts.value_is_the_formula(standardize, plain, t, layout)
    contracts.tangent_is_the_derivative(standardize, plain, t, layout, rng)
    contracts.tangent_is_self_adjoint(standardize, t, layout, rng)
    if standardize.scale is fg.Scale.NONE:
        assert not standardize(t, layout).adjoint_tangent(t, t).any()
    else:
        contracts.second_derivative_is_the_difference(standardize, plain, t, layout, rng)


@each_variant(keep=lambda eps: not eps[0])
def test_bracket_is_a_projector_without_eps(variant, rng):
    standardize, _, t, layout = built(variant, rng)
    contracts.bracket_is_a_projector(standardize, t, layout, rng)


@each_variant(keep=lambda eps: eps[0])
def test_bracket_is_no_projector_with_eps(variant, rng):
    standardize, _, t, layout = built(variant, rng)
    with pytest.raises(AssertionError):
        contracts.bracket_is_a_projector(standardize, t, layout, rng)


# --- groups, leading entries, the largest singular value ------------------------------------------------------------


@each_variant(grouped)
def test_groups(variant, rng):
    standardize, plain, t, layout = built(variant, rng, DIVISIBLE)
    contracts.value_is_the_formula(standardize, plain, t, layout)
    contracts.tangent_is_the_derivative(standardize, plain, t, layout, rng)
    contracts.tangent_is_self_adjoint(standardize, t, layout, rng)
    if standardize.scale is not fg.Scale.NONE:
        contracts.second_derivative_is_the_difference(standardize, plain, t, layout, rng)
    if not standardize.has_eps:
        contracts.bracket_is_a_projector(standardize, t, layout, rng)


@each_variant(leading)
def test_leading_entries(variant, rng):
    """1ᵀ and t̂ᵀ become sᵀ and (s t̂)ᵀ: the bracket is an oblique projector, whose transpose is another."""
    standardize, plain, t, layout = built(variant, rng, DIVISIBLE)
    contracts.value_is_the_formula(standardize, plain, t, layout)
    contracts.tangent_is_the_derivative(standardize, plain, t, layout, rng)
    contracts.adjoint_is_the_transpose(standardize, plain, t, layout, rng)
    with pytest.raises(AssertionError):
        contracts.tangent_is_self_adjoint(standardize, t, layout, rng)
    if standardize.scale is not fg.Scale.NONE:
        contracts.second_derivative_is_the_difference(standardize, plain, t, layout, rng)
    if not standardize.has_eps:
        contracts.bracket_is_a_projector(standardize, t, layout, rng)


@pytest.mark.parametrize("over", ["n", "ns", "nsh", "sh"])
def test_adjoint_with_groups_is_the_transpose(over, rng):
    variant = ("nsh", over, True, "std", (0, True), tuple((letter, PARTS[letter]) for letter in over))
    standardize, plain, t, layout = built(variant, rng, DIVISIBLE)
    contracts.adjoint_is_the_transpose(standardize, plain, t, layout, rng)


@pytest.mark.parametrize("rounding", [math.ceil, math.floor])
def test_how_many_entries_lead(rounding):
    """⌈pK⌉ and ⌊pK⌋ in exact arithmetic: 0.7 of 10 is 7, though 0.7 is not seven tenths in binary."""
    for p, size, up, down in ((Fraction(1, 16), 8, 1, 0), (0.7, 10, 7, 7), ("2/5", 6, 3, 2), (1, 5, 5, 5)):
        assert fg.First(p, rounding).of(size) == (up if rounding is math.ceil else down)
    for p in (Fraction(1, 16), 0.7, Fraction(2, 3), 1):
        first = fg.First(p, rounding)
        for count in range(1, 5):
            assert first.least(count) == next(size for size in itertools.count(1) if first.of(size) >= count)


def test_smallest_cells():
    """From the minimum on every larger size leaves a degree of freedom, and one less does not."""
    for center, scale in ((True, fg.Scale.STD), (True, fg.Scale.NONE), (False, fg.Scale.STD)):
        for p, rounding in itertools.product((Fraction(1, 16), Fraction(1, 3), 0.9, 1), (math.ceil, math.floor)):
            leading = fg.Standardize(fg.Axis.UNIT, center=center, scale=scale, first=fg.First(p, rounding))

            def free(size, leading=leading, used=center + (scale is not fg.Scale.NONE)):
                count = leading.first.of(size)
                few = 2 if used == 2 else 1  # of which σ is not 0
                return count >= few and (count < size or size > used)

            assert not free(leading.minimum - 1)
            assert all(map(free, range(leading.minimum, leading.minimum + 40)))


LAYOUT = fg.Site.WEIGHT.layout(2)
SHAPES = [(3, 4), (6, 4), (5, 5), (1, 4), (4, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_spectral(shape, rng):
    W = rng.normal(size=shape)
    arguments = (fg.Spectral(), oracles.spectral, W, LAYOUT)
    contracts.value_is_the_formula(*arguments)
    contracts.tangent_is_the_derivative(*arguments, rng)
    contracts.adjoint_is_the_transpose(*arguments, rng)
    contracts.second_derivative_is_the_difference(*arguments, rng)
    contracts.bracket_is_a_projector(fg.Spectral(), W, LAYOUT, rng)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_spectral_against_differences(shape, rng):
    """Independent of every formula for the derivative of a singular value: central differences of NumPy's own."""
    W, dW = rng.normal(size=(2, *shape))
    at = fg.Spectral()(W, LAYOUT)
    contracts.close(at.value, W / np.linalg.svd(W, compute_uv=False)[0])
    contracts.close(np.linalg.norm(at.value, 2), 1.0)
    h = 1e-5
    ahead, behind = (V / np.linalg.svd(V, compute_uv=False)[0] for V in (W + h * dW, W - h * dW))
    contracts.close(at.tangent(dW), (ahead - behind) / (2 * h), 1e-8)


def test_spectral_where_the_largest_singular_value_is_not_simple(rng):
    """The value is there, its derivative is not: the two one-sided ones differ."""
    Q, R = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (4, 5))
    W = Q @ np.diag([2.0, 2.0, 1.0, 0.5]) @ R[:4]
    at = fg.Spectral()(W, LAYOUT)
    contracts.close(at.value, W / 2)
    for product in (at.tangent, at.adjoint):
        contracts.is_refused(lambda product=product: product(W), "singular values of the weights are both 2", "move")
    dW = np.outer(Q[:, 0], R[0])
    sides = [(np.linalg.norm(W + h * dW, 2) - 2) / h for h in (1e-6, -1e-6)]
    np.testing.assert_allclose(sides, [1, 0], atol=1e-8)
    near = Q @ np.diag([2.0, 2.0 - 1e-6, 1.0, 0.5]) @ R[:4]  # simple, if barely
    contracts.tangent_is_the_derivative(fg.Spectral(), svd_formula, near, LAYOUT, rng)


def svd_formula(W):
    """W/σ for a complex step, with σ + i⟨u vᵀ, dW⟩ from NumPy: where powers of WWᵀ converge too slowly."""
    U, s, Vt = np.linalg.svd(W.real)
    return W / (s[0] + 1j * (U[:, 0] @ W.imag @ Vt[0]))


def test_spectral_of_nothing():
    contracts.is_refused(lambda: fg.Spectral()(np.zeros((3, 4)), LAYOUT, "mine"), "mine: all weights are 0", "use other")


# --- batches, scales, frozen statistics ------------------------------------------------------------------------------


def test_tangent_of_frozen_statistics(rng):
    mean, var = rng.normal(size=3), rng.uniform(0.5, 2, size=3)
    frozen, t, layout = fg.Frozen(mean, var), rng.normal(size=(7, 3)), fg.Site.SUMMED.layout(2)

    def plain(t):
        return (t - mean) / np.sqrt(var)

    contracts.value_is_the_formula(frozen, plain, t, layout)
    contracts.tangent_is_the_derivative(frozen, plain, t, layout, rng)
    contracts.tangent_is_self_adjoint(frozen, t, layout, rng)


BATCHES = {
    "plain": (fg.Standardize([fg.Axis.SAMPLE, fg.Axis.POSITION]), fg.Site.SUMMED.layout(3)),
    "groups": (fg.Standardize(fg.Axis.UNIT, groups={fg.Axis.UNIT: 2}), fg.Site.SUMMED.layout(3)),
    "groups of cases": (
        fg.Standardize([fg.Axis.SAMPLE, fg.Axis.POSITION], groups={fg.Axis.SAMPLE: 2}),
        fg.Site.SUMMED.layout(3),
    ),
    "first": (fg.Standardize(fg.Axis.UNIT, first=fg.First(0.5)), fg.Site.SUMMED.layout(3)),
    "spectral": (fg.Spectral(), fg.Site.WEIGHT.layout(2)),
}


@pytest.mark.parametrize("name", BATCHES)
def test_tangent_and_adjoint_take_batches(name, rng):
    standardize, layout = BATCHES[name]
    shape = (8, 5, 6)[-len(layout) :]
    t, dt = rng.normal(size=shape), rng.normal(size=(2, 3, *shape))
    done = standardize(t, layout)
    for product in (done.tangent, done.adjoint):
        whole = product(dt)
        for i, j in np.ndindex(2, 3):
            contracts.close(whole[i, j], product(dt[i, j]))


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1.0, 1e8, 1e150])
@pytest.mark.parametrize("options", [{}, {"groups": {fg.Axis.SAMPLE: 2}}, {"first": fg.First(0.5)}], ids=str)
def test_scale_of_the_input_does_not_matter(options, scale, rng):
    t, layout = rng.normal(size=(8, 3)), fg.Site.SUMMED.layout(2)
    standardize = fg.Standardize(fg.Axis.SAMPLE, **options)
    contracts.close(standardize(scale * t, layout).value, standardize(t, layout).value)


# --- the zoo -----------------------------------------------------------------------------------------------------------


@each_case(CASES_WITH_POSITIONS)
def test_normalizer_is_the_formula_of_the_literature(case, rng, inputs):
    X = inputs(case)
    W = rng.normal(size=(SIZES_WITH_POSITIONS[-1], X.shape[-1]))
    shift = rng.normal(size=(*X.shape[:-1], 1))
    contracts.close(case.normalizer(X, W).value, case.forward(X, W))
    contracts.close(case.normalizer(X, W, shift).value, case.forward(X, W, shift))


@each_case(ALL)
def test_normalizer_is_the_formula_of_the_literature_with_positions(case, rng, X_positions):
    W = rng.normal(size=(SIZES_WITH_POSITIONS[-1], X_positions.shape[-1]))
    contracts.close(case.normalizer(X_positions, W).value, case.forward(X_positions, W))


def test_moments_are_kept(rng, X):
    W = rng.normal(size=(3, 4))
    (done,) = fg.batch_norm(X, W).summed
    A = X @ W.T
    contracts.close(done.mean, A.mean(axis=0, keepdims=True))
    contracts.close(done.sigma, A.std(axis=0, keepdims=True))

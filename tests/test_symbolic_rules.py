"""Rewriting with known equations, derivatives of definitions, number systems, and the checks of all five levels."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from sympy import Function, IndexedBase, Integer, KroneckerDelta, Rational, Symbol, sqrt

import fishergeo as fg
from fishergeo.axes import Axis, Site
from fishergeo.levels import Level
from fishergeo.standardize import Scale, Standardize
from fishergeo.symbolic.arrays import EXACT, Evaluator
from fishergeo.symbolic.atoms import INPUT, atoms
from fishergeo.symbolic.certainty import Claim, FalseStep, confirm, counterexample
from fishergeo.symbolic.checks import AllSizes, Check, FloatingPoint, ModuloPrime, RationalPoints, StatedSize
from fishergeo.symbolic.curvature import PHI
from fishergeo.symbolic.exact import differs
from fishergeo.symbolic.expectation import Y, expectation, support
from fishergeo.symbolic.extension import Extension
from fishergeo.symbolic.indexed import IndexArray, generic
from fishergeo.symbolic.rules import At, Partial, Rule, rewrite, vanishes
from fishergeo.symbolic.sums import INDEX, SIZE, I, canonical, over, rename

n, h, d = (INDEX[axis] for axis in (Axis.SAMPLE, Axis.UNIT, Axis.INPUT))
N, D, H = (SIZE[axis] for axis in (Axis.SAMPLE, Axis.INPUT, Axis.UNIT))
m, k, e, d2 = (Symbol(name, integer=True) for name in ("m", "k", "e", "d'"))
x, w, t, u, q = (IndexedBase(name, real=True) for name in "xwtuq")

SIZES = {Axis.SAMPLE: 3, Axis.INPUT: 4, Axis.UNIT: 5}


def test_renaming_steps_aside_for_bound_indices() -> None:
    inner = canonical(over(w[h, e] * x[n, e], e))
    assert rename(inner, {h: k}) == canonical(over(w[k, e] * x[n, e], e))
    captured = rename(over(q[d, e], e), {d: e})
    assert captured == canonical(over(q[e, d2], d2)) and e in captured.free_symbols
    assert rename(sqrt(over(q[d, e], e)) * t[n], {d: e, n: m}) == sqrt(canonical(over(q[e, d2], d2))) * t[m]


def test_canonical_forms_are_equal_exactly_when_they_should_be() -> None:
    double = over(over(w[h, e] * x[n, e], e) ** 2, n)
    assert canonical(double) == canonical(over(w[h, e] * w[h, d2] * x[m, e] * x[m, d2], m, e, d2))
    assert canonical(KroneckerDelta(h, I) * t[h]) == canonical(KroneckerDelta(h, I) * t[I])
    assert canonical(over(KroneckerDelta(h, k) * t[k], k)) == t[h]
    assert canonical(over(Integer(1), m)) == N
    assert canonical(over(t[m], m) ** 2) != canonical(over(t[m] ** 2, m))
    p, r, s = (Symbol(name, real=True) for name in "prs")
    assert canonical(sqrt(p * r + p * s) - sqrt(p) * sqrt(r + s)) != 0  # false where p < 0
    assert canonical(sqrt(p**2 * r + p**2 * s) - abs(p) * sqrt(r + s)) == 0
    spread = sqrt(over((t[m] - over(t[n], n) / N) ** 2, m) / N)
    assert canonical(spread) == canonical(sqrt(N * over(t[m] ** 2, m) - over(t[m], m) ** 2) / N)


def test_rules_match_up_to_names() -> None:
    rule = Rule(canonical(over(w[h, e] * x[n, e], e)), q[n, h])
    assert rewrite(over(w[k, e] * x[m, e] * t[m], e, m), [rule]) == canonical(over(q[m, k] * t[m], m))
    assert rewrite(over(w[k, e] * x[m, e] ** 2, e, m), [rule]) == canonical(over(w[k, e] * x[m, e] ** 2, e, m))
    sigma = Symbol("sigma", positive=True)
    square = Rule(sigma**2, over(t[m] ** 2, m))
    assert rewrite(sigma**5, [square]) == canonical(sigma * over(t[m] ** 2, m) ** 2)
    assert rewrite(1 / sigma**2, [square]) == 1 / sigma**2
    with pytest.raises(TypeError, match="a rule rewrites"):
        Rule(t[n] + u[n], Integer(0))
    with pytest.raises(RecursionError, match="in circles"):
        rewrite(t[n], [Rule(t[n], 2 * u[n]), Rule(u[n], t[n])])


def test_derivatives_see_through_definitions_and_bound_names() -> None:
    """∂/∂w_ie inside a sum over e must not be confused with the summed index of what is differentiated."""
    a = Rule(q[n, h], over(w[h, e] * x[n, e], e))
    assert vanishes(over(w[I, e] * Partial(q[n, I], w[I, e]), e) - q[n, I], [], [a])
    assert not vanishes(over(w[I, e] * Partial(q[n, I], w[I, e]), e) - D * q[n, I], [], [a])
    b = Rule(u[n], q[n, h] ** 2)
    assert vanishes(Partial(q[n, h] ** 2, w[I, d2]) - 2 * q[n, h] * KroneckerDelta(h, I) * x[n, d2], [], [a, b])
    nested = Rule(t[n], over(Partial(q[n, k], w[k, d]), k))
    assert vanishes(Partial(t[n], x[m, d]) - H * KroneckerDelta(n, m), [], [a, nested])
    f, s = Function("f"), Symbol("s", real=True)
    assert vanishes(Partial(f(2 * s), s, Integer(0)) - 2 * At(Partial(f(s), s), s, Integer(0)))


CONFIGURATIONS = [
    (center, scale, eps, inside)
    for center in (True, False)
    for scale in Scale
    for eps in (0, Symbol("epsilon", positive=True))
    for inside in (True, False)
    if center or scale is not Scale.NONE
]


@pytest.mark.parametrize(("center", "scale", "eps", "inside"), CONFIGURATIONS)
def test_the_differential_of_standardization(center: bool, scale: Scale, eps: sympy.Expr, inside: bool) -> None:
    """`Standardized.tangent` is the derivative of `Standardize` along any path, for all sizes and every option."""
    stage = Standardize(Axis.SAMPLE, center=center, scale=scale, eps=eps, eps_inside=inside)
    layout, s = Site.INPUTS.layout(2), Symbol("s", real=True)
    start, speed = (generic(name, Site.INPUTS, [Axis.SAMPLE]) for name in ("t", "u"))
    slope = canonical(stage(start + speed * s, layout).value.expr.diff(s).subs(s, 0))
    tangent = stage(start, layout).tangent(speed)
    assert vanishes(slope - tangent.expr)
    assert not vanishes(slope - tangent.expr * 2)
    cotangent = IndexArray(q[n], (n, None))
    left = (cotangent * tangent).sum(axis=0).expr
    right = (stage(start, layout).tangent(cotangent) * speed).sum(axis=0).expr
    assert vanishes(left - right)


def test_evaluation_on_numbers_of_any_kind(rng: np.random.Generator) -> None:
    expr = over(w[h, e] * x[n, e] / sqrt(over(w[h, d2] ** 2, d2)), e) - KroneckerDelta(n, n) * t[n] ** -2 / H
    values = {"w": rng.integers(1, 5, (5, 4)), "x": rng.integers(1, 5, (3, 4)), "t": rng.integers(1, 5, 3)}
    labels = {name: base.label for name, base in (("w", w), ("x", x), ("t", t))}
    floats = Evaluator({labels[name]: array.astype(float) for name, array in values.items()}, SIZES)(expr, (n, h))
    W, X, T = (values[name].astype(float) for name in "wxt")
    assert np.allclose(floats, (X @ (W / np.linalg.norm(W, axis=1, keepdims=True)).T) - (T**-2 / 5)[:, None])
    exact = {labels[name]: EXACT.array(np.frompyfunc(sympy.Integer, 1, 1)(array)) for name, array in values.items()}
    found = Evaluator(exact, SIZES, EXACT)(expr, (n, h))
    assert np.allclose(found.astype(float), floats, rtol=1e-14)
    with pytest.raises(fg.InputError, match="no array was given"):
        Evaluator({}, SIZES)(t[n], (n,))
    with pytest.raises(fg.InputError, match="varies along"):
        Evaluator({labels["t"]: np.ones(3)}, SIZES)(t[n])
    with pytest.raises(fg.InputError, match="neither whole nor a square root"):
        Evaluator({labels["t"]: np.ones(3)}, SIZES)(t[n] ** Rational(1, 3), (n,))
    assert differs(sqrt(2) * sqrt(3), sqrt(5)) and not differs(1 / (sqrt(2) - 1), 1 + sqrt(2))


def test_polynomials_with_known_roots() -> None:
    ring = Extension(entries=2, extras=4)
    a, b = ring.entries
    root = ring.root(a * a + b * b)
    inverse = ring.reciprocal(root)
    assert ring.vanishes(root * root - a * a - b * b)
    assert ring.vanishes(inverse * a * root - a)
    assert ring.vanishes(inverse * inverse * (a * a + b * b) - ring.constant(1))
    assert not ring.vanishes(root - a - b)
    whole = ring.reciprocal(a + b)
    assert ring.vanishes(whole * a + whole * b - ring.constant(1))


CHECKS: list[tuple[Check, Level]] = [
    (AllSizes(), Level.PROVED),
    (StatedSize(3, 4, 5), Level.IDENTITY),
    (ModuloPrime(4, 3, 5), Level.MODULAR),
    (RationalPoints(3, 4, 5), Level.EXACT),
    (FloatingPoint(6, 4, 5), Level.NUMERIC),
]


@pytest.mark.parametrize(("check", "level"), CHECKS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("normalizer", [fg.weight_norm, fg.weight_norm_mean_only_batch_norm, fg.rms_norm], ids=str)
def test_each_check_reaches_its_level_and_refuses_what_is_false(
    normalizer: fg.Normalizer, check: Check, level: Level
) -> None:
    named = atoms(normalizer)
    left = Partial(named.value, w[I, INPUT])
    assert check(Claim(left, named.jvp(), (), named.definitions)).level is level
    wrong = named.jvp() + named.value * KroneckerDelta(h, I) / 1000
    with pytest.raises(
        FalseStep, match=r"the left side is Partial.*the right side is.*they differ at w = .*: left .* right"
    ):
        check(Claim(left, wrong, (), named.definitions))


def test_certificates_say_what_they_rest_on() -> None:
    claim = Claim(over(t[m], m) * u[n], over(t[m] * u[n], m))
    assert str(AllSizes()(claim)) == "proved for all sizes"
    assert str(StatedSize(7)(claim)) == "identity for all values at a stated size (N = 7)"
    assert "chance of error below" in str(ModuloPrime(7)(claim))
    assert str(FloatingPoint(9, tolerance=1e-10)(claim)).endswith("(tolerance 1e-10, N = 9)")


def test_a_counterexample_is_exact() -> None:
    claim = Claim(over(t[m], m) ** 2, over(t[m] ** 2, m))
    found = counterexample(claim)
    assert found is not None and confirm(claim, found)
    assert counterexample(Claim(over(t[m], m) * 2, over(2 * t[m], m))) is None
    theta, f = Symbol("theta", real=True), Function("f")
    wrong = Claim(Partial(f(theta) ** 2, theta), f(theta) * f(theta).diff(theta))
    assert counterexample(wrong) is not None
    undecided = Claim(sympy.sin(theta) ** 2, 1 - sympy.cos(theta) ** 2 + 0 * t[n])
    assert AllSizes()(undecided).level is Level.PROVED


@pytest.mark.parametrize("family", [fg.gaussian, fg.bernoulli, fg.poisson], ids=lambda family: family.name)
def test_expectations_are_exact(family: fg.Family) -> None:
    mean, curvature = family.mean_expression, family.hessian_expression
    phi = PHI if family.free_dispersion else Integer(1)
    assert vanishes(expectation(family, Integer(1)) - 1)
    assert vanishes(expectation(family, Y) - mean)
    assert vanishes(expectation(family, (Y - mean) ** 2) - phi * curvature)
    assert not vanishes(expectation(family, (Y - mean) ** 2) - 2 * phi * curvature)
    values = {"gaussian": sympy.S.Reals, "bernoulli": sympy.FiniteSet(0, 1), "poisson": sympy.S.Naturals0}
    assert support(family) == values[family.name]

"""Exact numbers against sixty digits: arithmetic, roots that go away, enclosures, singular values."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy

import fishergeo as fg
from fishergeo.symbolic import surds
from fishergeo.symbolic.surds import Surd, digits

mpmath.mp.dps = 60


def number(surd):
    """A number to 60 digits, by SymPy."""
    return mpmath.mpf(str(sympy.N(sympy.sympify(surd), 60)))


def pairs(rng, count):
    """Random numbers, each twice: exact and to 60 digits."""
    for _ in range(count):
        p, q, r = (int(k) for k in rng.integers(1, 20, 3))
        yield Surd.of(Fraction(p, q)) * Surd.of(r).sqrt(), mpmath.mpf(p) / q * mpmath.sqrt(r)


@pytest.mark.parametrize("seed", range(20))
def test_operations(seed):
    rng = np.random.default_rng(seed)
    pool = list(pairs(rng, 6))
    for _ in range(25):
        (a, x), (b, y) = (pool[k] for k in rng.integers(len(pool), size=2))
        kind = rng.integers(6)
        if kind == 0:
            new = a + b, x + y
        elif kind == 1:
            new = a - 3 * b, x - 3 * y
        elif kind == 2:
            new = a * b, x * y
        elif kind == 3 and abs(y) > 1e-30:
            new = a / b, x / y
        elif kind == 4:
            new = (a * a + 1).sqrt(), mpmath.sqrt(x * x + 1)
        else:
            new = a**3 + Fraction(1, 7), x**3 + mpmath.mpf(1) / 7
        if 1e-6 < abs(new[1]) < 1e6:
            pool.append(new)
    for exact, expected in pool:
        assert abs(number(exact) - expected) <= mpmath.mpf(10) ** -50 * max(1, abs(expected))
        interval = exact.enclosure
        assert mpmath.mpf(interval.a) <= expected + mpmath.mpf(10) ** -50
        assert mpmath.mpf(interval.b) >= expected - mpmath.mpf(10) ** -50


def test_roots_that_go_away():
    two, half = Surd.of(2).sqrt(), Surd.of(Fraction(1, 2)).sqrt()
    assert two * two == 2 and two * half == 1 and two + two == Surd.of(8).sqrt()
    assert two - Surd.of(2).sqrt() == 0
    nested = (two + 1).sqrt()
    assert nested.squared() == two + 1 - 0 or nested.squared().made == (two + 1).made
    assert sympy.sympify(Surd.of(Fraction(9, 8)).sqrt()) == 3 * sympy.sqrt(2) / 4
    assert Surd.of(sympy.sqrt(12)).r == 3 and Surd.of(-sympy.sqrt(12)).q == -2
    assert Surd.of(0.375) == Fraction(3, 8)
    assert Surd.of(10**40).sqrt() == 10**20


def test_what_is_not_shown_to_be_another_number_divides_nothing():
    """√2 + √3 - √(5 + 2√6) is 0, though no digits show it."""
    two, three = Surd.of(2).sqrt(), Surd.of(3).sqrt()
    nothing = two + three - (Surd.of(24).sqrt() + 5).sqrt()
    for zero in (nothing, two - two, Surd.of(0)):
        with pytest.raises(ZeroDivisionError):
            two / zero
    assert digits(two + three, (Surd.of(24).sqrt() + 5).sqrt()) is None


def test_digits():
    a, b = (Surd.of(2).sqrt() + 1).sqrt(), (Surd.of(2).sqrt() + 1 + Fraction(1, 10**30)).sqrt()
    found = digits(a, b)
    assert found is not None
    for said, exact in zip(found, (a, b), strict=True):
        assert abs(mpmath.mpf(str(said)) - number(exact)) < mpmath.mpf(10) ** -48
    assert digits(a, a) is None


@pytest.mark.parametrize("shape", [(3, 3), (3, 5), (6, 4)])
def test_largest_singular_value_of_any_rank(shape, rng):
    W = np.vectorize(Surd.of, otypes=[object])(rng.integers(-3, 4, shape).astype(object))
    W[0] = W[0] * Surd.of(2).sqrt()  # irrational
    sigma = fg.Spectral()(W, fg.Site.WEIGHT.layout(2)).sigma.item()
    truth = max(mpmath.svd_r(mpmath.matrix([[number(entry) for entry in row] for row in W]), compute_uv=False))
    interval = sigma.enclosure
    assert mpmath.mpf(interval.a) - mpmath.mpf(10) ** -45 <= truth <= mpmath.mpf(interval.b) + mpmath.mpf(10) ** -45
    assert mpmath.mpf(interval.b) - mpmath.mpf(interval.a) < mpmath.mpf(10) ** -50


def test_a_value_that_is_not_the_largest_is_not_enclosed(monkeypatch):
    """The eigenvalue below the largest passes for a lower bound, not for an upper one."""
    second = {}

    def eigsy(matrix):
        values, vectors = original(matrix)
        n = len(values)
        values[n - 1], second["vectors"] = values[n - 2], vectors
        return values, vectors

    original = mpmath.mp.eigsy
    W = np.vectorize(Surd.of, otypes=[object])(np.diag([3, 2, 1]).astype(object) + 1)
    assert 0 not in Surd.largest_singular(W).enclosure
    monkeypatch.setattr(surds.mpmath.mp if hasattr(surds, "mpmath") else mpmath.mp, "eigsy", eigsy)
    assert 0 in Surd.largest_singular(W).enclosure  # all numbers: nothing is claimed

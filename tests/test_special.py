"""Special functions: the NumPy twin is the definition, also in the tails, and the slope its derivative."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy

from fishergeo import special

POSITIVE = {"todd", "todd_slope", "log1mexp", "bose"}
POINTS = {
    "logit": (1e-300, 1e-9, 0.2, 0.5, 0.9),
    "log_expm1_exp": (-700.0, -40.0, -3.0, 0.0, 2.0, 6.0),
    "gumbel": (-6.0, -3.0, 0.0, 3.0, 40.0, 700.0),
    "gumbel_tail": (-700.0, -40.0, -3.0, 0.0, 3.0, 6.0),
    "ndtr": (-37.0, -30.0, -3.0, 0.0, 2.0, 30.0),
    "mills": (-1e5, -300.0, -30.0, -3.0, 0.0, 2.0, 30.0),
    "log_ndtr": (-1e5, -300.0, -30.0, -3.0, 0.0, 2.0, 30.0),
}


def in_many_digits(expression, symbol, value, digits=60):
    """The value of an expression of elementary functions, with the digits that its cancellations need."""
    function = sympy.lambdify(symbol, expression, modules="mpmath")
    with mpmath.workdps(digits + 12 * int(abs(value)) + int(min(value * value, 1e3))):
        return float(function(mpmath.mpf(value)))


@pytest.mark.parametrize("name", special.NAMES)
def test_functions_are_what_they_say(name):
    """The twin is the definition, and the declared slope its derivative."""
    x = sympy.Symbol("x", positive=True)
    function = getattr(special, name)
    near = (1e-290, 1e-12, 1e-5, 0.3, 2.0, 40.0, 700.0)
    points = POINTS.get(name, near if name in POSITIVE else (-700.0, -40.0, -3.0, 0.0, 2.0, 40.0, 700.0))
    twin = special.TWINS[name]
    with np.errstate(under="ignore", over="ignore"):
        for value in points:
            if name in ("mills", "log_ndtr") and value < -100:  # the asymptotic series
                a = -value
                exact = a + 1 / a - 2 / a**3 + 10 / a**5
                if name == "log_ndtr":
                    exact = -(a**2) / 2 - np.log(a * np.sqrt(2 * np.pi)) + np.log1p(-1 / a**2 + 3 / a**4)
            else:
                exact = in_many_digits(function.elementary(x), x, value, 700 if name in POSITIVE else 60)
            got = float(twin(np.float64(value)))
            assert abs(got - exact) <= 1e-13 * max(abs(value) / 10, 1) * abs(exact), (name, value, got, exact)
    point = 0.3
    slope = special.elementary(function(x).diff(x))
    assert abs(float(slope.subs(x, point)) - float(function.elementary(x).diff(x).subs(x, point))) < 1e-12


def test_simplifications_are_identities():
    z = sympy.Symbol("z", real=True)
    for inner in (
        special.expit,
        special.ndtr,
        special.cauchy,
        special.gumbel,
        special.gumbel_tail,
        special.one_minus_exp,
    ):
        found = special.logit(inner(z))
        assert not found.has(special.logit)
        plain = sympy.log(inner(z) / (1 - inner(z)))
        for point in (-1.1, 0.4):
            assert abs(complex(special.elementary(found - plain).subs(z, point))) < 1e-12
    assert special.expit(special.logit(z)) == z
    assert special.expit(-special.logit(z)) == 1 - z
    assert special.logit(special.expit(z)) == z
    assert sympy.exp(special.softplus(z)) - 1 != 0
    assert special.bose(special.softplus(-z)) == sympy.exp(z)
    assert special.softplus(-sympy.log(special.bose(z))) == z


@pytest.mark.parametrize("name", ["erf", "erfc", "erfinv", "gamma"])
def test_functions_that_scipy_has_are_evaluated_with_their_derivatives(name):
    x, at = sympy.Symbol("x"), np.array([0.3, 0.5, 0.7])
    for order in range(3):
        expression = getattr(sympy, name)(x).diff(x, order)
        exact = [float(expression.subs(x, value).evalf(20)) for value in at]
        assert np.allclose(special.numeric(expression, [x])(at), exact, rtol=1e-12)

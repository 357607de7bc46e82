"""No false step gets into a derivation: equations that are wrong in many ways, each refused for its own reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sympy
from sympy import Function, IndexedBase, Integer, KroneckerDelta, Rational, Sum, Symbol, sqrt, symbols

from fishergeo.axes import Axis
from fishergeo.errors import InputError
from fishergeo.levels import Level
from fishergeo.symbolic import derivation as by
from fishergeo.symbolic.certainty import Certificate, FalseStep
from fishergeo.symbolic.checks import Check, FloatingPoint, ModuloPrime, RationalPoints, StatedSize
from fishergeo.symbolic.curvature import ETA, Symmetric
from fishergeo.symbolic.derivation import Derivation, Justification, Step
from fishergeo.symbolic.rules import At, Partial
from fishergeo.symbolic.sums import INDEX, SIZE, over

n, h, col = (INDEX[axis] for axis in (Axis.SAMPLE, Axis.UNIT, Axis.INPUT))
N, H, D = (SIZE[axis] for axis in (Axis.SAMPLE, Axis.UNIT, Axis.INPUT))
m, n2, k, e = (Symbol(name, integer=True) for name in ("m", "n'", "k", "e"))
t, c, w, x, a, q, u, that = (IndexedBase(name, real=True) for name in ("t", "c", "w", "x", "a", "q", "u", "that"))
mean, y, z = symbols("tbar y z", real=True)
sigma, p = symbols("sigma p", positive=True)
DELTA = KroneckerDelta(n, n2)


@pytest.fixture
def d() -> Derivation:
    """A cell with its mean, standard deviation and standardized value."""
    derivation = Derivation(9, "A cell")
    derivation.define(mean, over(t[m], m) / N)
    derivation.define(c[n], t[n] - mean)
    derivation.define(sigma, sqrt(over(c[m] ** 2, m) / N))
    derivation.define(that[n], c[n] / sigma)
    return derivation


Case = Callable[[Derivation], object]
WRONG: dict[str, tuple[str, Case]] = {}


def wrong(name: str, message: str) -> Callable[[Case], Case]:
    def register(case: Case) -> Case:
        WRONG[name] = message, case
        return case

    return register


def equation(name: str, left: object, right: object, message: str = "they differ at", check: Check | None = None) -> None:
    """A false equation, given all definitions to rest on."""
    WRONG[name] = message, lambda d: d.step(sympy.sympify(left), sympy.sympify(right), by.algebra, d.steps, check)


# signs, factors, terms
equation("sign", Partial(that[n], t[n2]), (DELTA - 1 / N + that[n] * that[n2] / N) / sigma)
equation("missing 1/N", over(that[m] ** 2, m), 1)
equation("missing term", Partial(that[n], t[n2]), (DELTA - that[n] * that[n2] / N) / sigma)
equation("one σ too few", Partial(that[n], t[n2]), DELTA - 1 / N - that[n] * that[n2] / N)
equation("factor 1/2", over(c[m] ** 2, m), N * sigma**2 / 2)
equation("square for product", over(over(t[m], m) * t[m], m), over(t[m] ** 2, m))
equation("dropped δ", Partial(c[n], t[n2]), 1 - 1 / N)
# indices
equation("unit k for unit h", over(w[h, e] * x[n, e], e), over(w[k, e] * x[n, e], e))
equation("case n for case n'", that[n] * c[n2], that[n2] * c[n] * 2)
equation("a free index that is summed", over(t[m], m), N * t[n])
equation("number 1 as an index", over(t[m], m), N * t[1], "has the index 1")
equation("an index as a number", over(m, m), N, "uses the index m as a number")
equation("δ between axes", KroneckerDelta(n, h) * t[n], KroneckerDelta(n, h), "indices of two axes")
equation("transposed", over(w[h, e] * x[n, e], e), over(w[h, e] * x[e, n], e), "two quantities are written x")
equation("another number of indices", t[n], t[n, h], "two quantities are written t")
equation("sum over the wrong size", Sum(t[m], (m, 1, H)), over(t[m], m), "sum over a whole axis")
equation("sum from 2", Sum(t[m], (m, 2, N)), over(t[m], m), "sum over a whole axis")
equation("sum to N - 1", Sum(1, (m, 1, N - 1)), N - 1, "sum over a whole axis")
# sizes
equation("only for D = 1", over(x[n, e] * w[h, e], e), D * x[n, col] * w[h, col])
equation("only for N = D", N, D, check=StatedSize())
equation("only for N = D, at points", N, D, check=RationalPoints())
equation("only for N = D, in numbers", N, D, check=FloatingPoint())
equation("only for N = 3", N * (N - 3), 0, check=StatedSize())
equation("only for H = 5, modulo a prime", over(w[k, e], k, e) * (H - 5), 0, check=ModuloPrime())
equation("not for H = 2", (H**2 - 4) / (H - 2), H + 2, r"divides by H - 2, which may be 0 \(at H = 2\)")
# conditions
equation("not where y = z", (y**2 - z**2) / (y - z), y + z, r"which may be 0 \(at y = 1, z = 1\)")
equation("not where y = 0", y / y**2, 1 / y, r"divides by y, which may be 0 \(at y = 0\)")
equation("only for y > 0", sqrt(y**2), y)
equation("only for y > 0, modulo a prime", sqrt(y**2), y, check=ModuloPrime())
equation("only where all numbers are equal", over(c[m] ** 2, m), 0)
equation("only on the integers from -4 to 5", sympy.Mul(*(y - s for s in range(-4, 6))), 0)
equation("only for y = 0", y * over(t[m], m), 0)
equation("only for orthogonal vectors", over((t[m] + u[m]) ** 2, m), over(t[m] ** 2, m) + over(u[m] ** 2, m))
equation("no number", sqrt(-(t[n] ** 2) - 1), 0, check=FloatingPoint())
equation("nan", sympy.nan, sympy.nan, "is not a real number", check=RationalPoints())
equation("infinity", sympy.oo, sympy.oo, "is not a real number")
equation("equal to 9 digits only", y, y * (1 + Rational(1, 10**8)), check=FloatingPoint(tolerance=1e-9))
equation(
    "nearly equal numbers", sqrt(2) * 10**14 + Rational(1, 10**6), sqrt(2) * 10**14, "differ exactly", RationalPoints()
)
equation("an imaginary number", sqrt(sympy.Integer(-1)) * y, y, "is not a real number")
equation("a logarithm of what may be negative", sympy.log(y**2), 2 * sympy.log(y))
equation("a root taken apart", sqrt(y * z), sqrt(y) * sqrt(z))
equation("an absolute value in a sum", sympy.Abs(over(c[m], m)), over(sympy.Abs(c[m]), m))
equation("a mean of products", over(t[m] * u[m], m) / N, over(t[m], m) * over(u[m], m) / N**2)
equation("N - 1 for N", over(that[m] ** 2, m), N - 1)
equation("a trace", over(KroneckerDelta(m, m), m), 1)
equation("the diagonal of a double sum", over(t[m] * u[n2], m, n2), over(t[m] * u[m], m))
# functions of which nothing is known
f, other = Function("f"), Function("other")
equation("a function that is linear", f(y + z), f(y) + f(z))
equation("a function that is even", f(-y), f(y))
equation("one function for another", f(y), other(y))
equation("a derivative at another point", Partial(f(2 * y), y), f(y).diff(y))
# derivatives
equation("the first derivative for the second", Partial(Partial(y**3, y), y), 3 * y**2)
equation("a derivative at 1", Partial(y**3, y, Integer(1)), 1)
equation("a limit", At(sympy.sin(y) / y, y, Integer(0)), 1, "divides by y, which may be 0")
equation("one term of a derivative for all", Partial(over(t[m] ** 2, m), t[n]), 2 * over(t[m], m))
equation("a defined quantity is varied", Partial(that[n], sigma), -that[n] / sigma, "sigma, which is defined")
equation("a size is varied", Partial(N * y, N), y, "which is not a variable")
equation(
    "a summed entry is set to 0", At(over(t[m] ** 2, m), t[n], Integer(0)), over(t[m] ** 2, m), "one entry of an array"
)
equation("chain rule without the inner derivative", Partial(over(c[m] ** 2, m), t[n]), 2 * over(c[m], m))


@wrong("a σ that is not the one defined", "two quantities are written sigma")
def _(d: Derivation) -> None:
    d.step(Partial(Symbol("sigma", real=True), t[n]), Integer(0), by.differentiation)


@wrong("a reason that is none", "is not one of the justifications")
def _(d: Derivation) -> None:
    d.step(mean, over(t[m], m) / N, Justification("obviously"))


@wrong("differentiation of nothing", "there is no Partial")
def _(d: Derivation) -> None:
    d.step(y + y, 2 * y, by.differentiation)


@wrong("a step by definition", "is no reason for a step")
def _(d: Derivation) -> None:
    d.step(mean, over(t[m], m) / N, by.definition)


@wrong("a forged equation", "is not one of this derivation")
def _(d: Derivation) -> None:
    d.step(Integer(1), Integer(0), by.algebra, [Step("9.1", Integer(1), Integer(0), by.algebra)])


@wrong("a certificate that is too good", "does not establish")
def _(d: Derivation) -> None:
    d.show("1 = 2", by.comparison, Certificate(Level.PROVED))


@wrong("no certificate", "does not establish")
def _(d: Derivation) -> None:
    d.show("1 = 2", by.comparison)


# definitions
@wrong("circular definitions", "mentions z itself, or what is defined by it")
def _(d: Derivation) -> None:
    d.define(y, z + 1)
    d.define(z, y - 2)


@wrong("a definition that changes a derivative", "y was taken as free")
def _(d: Derivation) -> None:
    d.define(z, y + 1)
    d.step(Partial(z, t[n]), Integer(0), by.differentiation)
    d.define(y, over(t[m], m))


@wrong("an open index", "leaves the index n open")
def _(d: Derivation) -> None:
    d.define(y, t[n])


@wrong("a diagonal only", "repeats an index")
def _(d: Derivation) -> None:
    d.define(q[n, n], t[n])


@wrong("a size", "cannot be defined")
def _(d: Derivation) -> None:
    d.define(N, D)


@wrong("a positive number that is negative", "p is declared positive, but at t = .* it is defined as -")
def _(d: Derivation) -> None:
    d.define(p, mean)


@wrong("a positive number that is 0", "p is declared positive, but at t = .* it is defined as 0")
def _(d: Derivation) -> None:
    d.define(p, over(c[m], m))


@wrong("a real number that is none", "y is a real number, but at t = .* it is defined as none")
def _(d: Derivation) -> None:
    d.define(y, sqrt(mean))


@wrong("a symmetric array that is not", "symmetric in h and k")
def _(d: Derivation) -> None:
    d.define(Symmetric(ETA, n, h, k), t[n] * q[h])


@wrong("assumptions that exclude each other", "no point was found at which everything")
def _(d: Derivation) -> None:
    second = Symbol("s", positive=True)
    d.define(p, y, restricts=True)
    d.define(second, -y, restricts=True)
    d.step(p + second, Integer(0), by.algebra, d.steps[-2:])


@wrong("an ε that is forgotten", "they differ at epsilon = ")
def _(d: Derivation) -> None:
    d.define(p, sqrt(over(c[m] ** 2, m) / N + Symbol("epsilon", positive=True)))
    d.define(q[n], c[n] / p)
    d.step(over(q[m] ** 2, m), N, by.algebra, d.steps)


@wrong("a function defined twice", "K is already defined")
def _(d: Derivation) -> None:
    K = Function("K")
    d.define(K(y), y)
    d.define(K(z), 2 * z)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_false_is_refused(d: Derivation, name: str) -> None:
    message, case = WRONG[name]
    with pytest.raises(FalseStep, match=message):
        case(d)


def test_counterexamples_are_concrete(d: Derivation) -> None:
    """The message names both sides, the numbers at which they differ, and their values there."""
    pattern = (
        r"the left side is Sum\(that\[m\]\*\*2, \(m, 1, N\)\), the right side is 1; they differ at t = "
        r"\[[-\d/, ]+\]: left 3, right 1$"
    )
    with pytest.raises(FalseStep, match=pattern):
        d.step(over(that[m] ** 2, m), Integer(1), by.algebra)


@pytest.mark.parametrize("check", [StatedSize, ModuloPrime, RationalPoints, FloatingPoint])
@pytest.mark.parametrize("sizes", [{"inputs": 1}, {"units": 2}, {"samples": 4}], ids=str)
def test_sizes_that_make_things_true_are_refused(check: type, sizes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="give different numbers, 3 or more"):
        check(**sizes)


@pytest.mark.parametrize("tolerance", [0.0, 1e-3, float("nan")])
def test_tolerances_that_make_things_true_are_refused(tolerance: float) -> None:
    with pytest.raises(InputError, match="give a number from 0 to 1e-9"):
        FloatingPoint(tolerance=tolerance)


@pytest.mark.parametrize("check", [None, StatedSize(), ModuloPrime(), RationalPoints(), FloatingPoint()], ids=repr)
def test_what_is_true_is_accepted(d: Derivation, check: Check | None) -> None:
    """The right side of every false equation above is close to this one."""
    step = d.step(
        Partial(that[n], t[n2]), (DELTA - 1 / N - that[n] * that[n2] / N) / sigma, by.chain_rule, d.steps, check
    )
    assert step.certificate is not None and int(step.certificate.level) == (
        1 if check is None else {StatedSize: 2, ModuloPrime: 3, RationalPoints: 4, FloatingPoint: 5}[type(check)]
    )


def test_a_step_is_no_more_certain_than_what_it_rests_on(d: Derivation) -> None:
    weak = d.step(over(c[m], m), Integer(0), by.linearity_of_the_mean, check=StatedSize(samples=7))
    later = d.step(2 * over(c[m], m), Integer(0), by.algebra, [weak])
    assert later.certificate == weak.certificate == Certificate(Level.IDENTITY, "N = 7")


def test_numbers_overrule_a_proof(d: Derivation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the canonical forms wrong, the step would still be refused."""
    monkeypatch.setattr(by, "AllSizes", lambda: lambda claim: Certificate(Level.PROVED))
    with pytest.raises(FalseStep, match="they differ at"):
        d.step(over(that[m] ** 2, m), N + 1, by.algebra)


def test_what_is_assumed_is_printed(d: Derivation) -> None:
    tex = d.latex()
    assert r"} > 0 \label{eq:9.3}" in tex and tex.count("> 0") == 1
    d.define(p, over(t[m] ** 2, m) + 1)  # which is positive, whatever t is
    assert d.latex().count("> 0") == 1

r"""Functions that know their derivative (as SymPy expressions) and a NumPy twin that neither overflows nor cancels.

Each is declared once: what it is in elementary functions, its derivative, its LaTeX.  SymPy is imported when the first of
them is asked for; `numeric` turns an expression into a NumPy function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from .errors import InputError

NAMES = (
    "expit",
    "softplus",
    "logit",
    "ndtr",
    "log_ndtr",
    "mills",
    "cauchy",
    "gumbel",
    "gumbel_tail",
    "log_expm1_exp",
    "todd",
    "todd_slope",
    "log1mexp",
    "bose",
    "one_minus_exp",
)


@functools.cache
def _functions() -> SimpleNamespace:
    import sympy
    from sympy import Rational, exp, log, pi, sqrt

    f = SimpleNamespace()

    def define(
        name: str,
        elementary: Callable[[Any], Any],
        slope: Callable[[Any], Any],
        latex: str,
        simplify: Callable[[Any], Any] = lambda x: None,
        inverse: Callable[[Any], Any] | None = None,
    ) -> None:
        """``latex`` has an @ for the argument; ``simplify`` gives the value at special arguments, or None."""

        def print_latex(self: Any, printer: Any, exp: str | None = None) -> str:
            body = latex.replace("@", printer._print(self.args[0]))
            return body if exp is None else rf"{body}^{{{exp}}}"

        members = {
            "nargs": 1,
            "__doc__": f"{latex.replace('@', 'x')}.",
            "eval": classmethod(lambda cls, x: simplify(x)),
            "fdiff": lambda self, argindex=1: slope(self.args[0]),
            "_latex": print_latex,
            "elementary": staticmethod(elementary),
        }
        if inverse is not None:
            members["inverse"] = lambda self, argindex=1: inverse
        setattr(f, name, type(name, (sympy.Function,), members))

    def expit_of(x: Any) -> Any:
        sign, rest = x.as_coeff_Mul()
        if not isinstance(rest, f.logit) or abs(sign) != 1:
            return None
        return rest.args[0] if sign > 0 else 1 - rest.args[0]

    def softplus_of(x: Any) -> Any:
        inner = -x
        return inner.args[0].args[0] if isinstance(inner, log) and isinstance(inner.args[0], f.bose) else None

    def logit_of(u: Any) -> Any:
        """The logit of a distribution function, in a form that is exact in both tails."""
        x: Any = u.args[0] if u.args else None
        for kind, value in (
            (f.expit, lambda: x),
            (f.ndtr, lambda: f.log_ndtr(x) - f.log_ndtr(-x)),
            (f.cauchy, lambda: log(f.cauchy(x)) - log(f.cauchy(-x))),
            (f.gumbel, lambda: -f.log_expm1_exp(-x)),
            (f.gumbel_tail, lambda: f.log_expm1_exp(x)),
            (exp, lambda: x - f.log1mexp(-x)),
            (f.one_minus_exp, lambda: f.log1mexp(-x) - x),
        ):
            if isinstance(u, kind):
                return value()
        return None

    define("expit", lambda x: 1 / (1 + exp(-x)), lambda x: f.expit(x) * f.expit(-x),
           r"\operatorname{expit}\left(@\right)", expit_of, lambda u: f.logit(u))  # fmt: skip
    define("softplus", lambda x: log(1 + exp(x)), lambda x: f.expit(x), r"\log\left(1 + e^{@}\right)", softplus_of)
    define("logit", lambda u: log(u / (1 - u)), lambda u: 1 / (u * (1 - u)),
           r"\operatorname{logit}\left(@\right)", logit_of, lambda x: f.expit(x))  # fmt: skip
    # the normal distribution function Φ, and its logarithm with slope Φ'/Φ (an inverse Mills ratio)
    tail = lambda x: sympy.erfc(-x / sqrt(2)) / 2  # noqa: E731
    define("ndtr", tail, lambda x: exp(-(x**2) / 2) / sqrt(2 * pi), r"\Phi\left(@\right)")
    define("log_ndtr", lambda x: log(tail(x)), lambda x: f.mills(x), r"\log\Phi\left(@\right)")
    define("mills", lambda x: exp(-(x**2) / 2) / sqrt(2 * pi) / tail(x), lambda x: -f.mills(x) * (x + f.mills(x)),
           r"\frac{\Phi'}{\Phi}\left(@\right)")  # fmt: skip
    # the Cauchy and Gumbel distribution functions, the latter mirrored too: 1 - exp(-exp(x))
    define("cauchy", lambda x: Rational(1, 2) + sympy.atan(x) / pi, lambda x: 1 / (pi * (1 + x**2)),
           r"\left(\frac12 + \frac1\pi\arctan\left(@\right)\right)")  # fmt: skip
    define("gumbel", lambda x: exp(-exp(-x)), lambda x: exp(-x - exp(-x)), r"e^{-\exp\left(-\left(@\right)\right)}")
    define("gumbel_tail", lambda x: 1 - exp(-exp(x)), lambda x: exp(x - exp(x)),
           r"\left(1 - e^{-\exp\left(@\right)}\right)")  # fmt: skip
    define("log_expm1_exp", lambda x: log(exp(exp(x)) - 1), lambda x: f.todd(exp(x)),
           r"\log\left(e^{\exp\left(@\right)} - 1\right)")  # fmt: skip
    define("todd", lambda x: x / (1 - exp(-x)), lambda x: f.todd_slope(x), r"\frac{@}{1 - e^{-\left(@\right)}}")
    define("todd_slope", lambda x: (1 - (1 + x) * exp(-x)) / (1 - exp(-x)) ** 2,
           lambda x: f.bose(x) * (1 + f.bose(x)) * (x + 2 * x * f.bose(x) - 2),
           r"\frac{1 - \left(1 + @\right)e^{-\left(@\right)}}{\left(1 - e^{-\left(@\right)}\right)^2}")  # fmt: skip
    define("log1mexp", lambda x: log(1 - exp(-x)), lambda x: f.bose(x), r"\log\left(1 - e^{-\left(@\right)}\right)")
    define("bose", lambda x: 1 / (exp(x) - 1), lambda x: -f.bose(x) * (1 + f.bose(x)),
           r"\frac{1}{e^{@} - 1}", lambda x: exp(-x.args[0]) if isinstance(x, f.softplus) else None,
           lambda u: f.softplus(-log(u)))  # fmt: skip
    define("one_minus_exp", lambda x: 1 - exp(x), lambda x: -exp(x), r"\left(1 - e^{@}\right)",
           inverse=lambda u: log(1 - u))  # fmt: skip

    class logsumexp(sympy.Function):
        """log Σ_j exp(θ_j), a function of a whole indexed family θ."""

        nargs = 1

        def _eval_derivative(self, s: Any) -> Any:
            if isinstance(s, sympy.Indexed) and s.base == self.args[0]:
                return exp(s - self)
            return sympy.Integer(0)

        def _latex(self, printer: Any) -> str:
            return rf"\log\sum_k e^{{{printer._print(self.args[0])}_k}}"

    f.logsumexp = logsumexp
    return f


def __getattr__(name: str) -> Any:
    if name in NAMES or name == "logsumexp":
        return getattr(_functions(), name)
    raise AttributeError(name)


def elementary(expression: Any) -> Any:
    """The expression with the functions of one variable of this module written out in exp, log, erfc and atan."""
    for name in NAMES:
        function = getattr(_functions(), name)
        expression = expression.replace(function, function.elementary)
    return expression


def _from_scipy(name: str) -> Callable[[Any], Any]:
    def twin(*x: Any) -> Any:
        import scipy.special

        return getattr(scipy.special, name)(*x)

    return twin


def _mills(x: Any) -> Any:
    from scipy.special import erfcx

    return np.sqrt(2 / np.pi) / erfcx(-x / np.sqrt(2))


def _log1mexp(x: Any) -> Any:  # Mächler 2012, Accurately computing log(1 - exp(-|a|))
    half = np.log(2)
    return np.where(x > half, np.log1p(-np.exp(-np.maximum(x, half))), np.log(-np.expm1(-np.minimum(x, half))))


def _log_expm1_exp(x: Any) -> Any:
    return np.exp(x) + _log1mexp(np.exp(x))


def _todd_slope(x: Any) -> Any:
    from scipy.special import gammainc

    small = x < 1e-8  # where the square of expm1 could underflow
    return np.where(small, 0.5 + x / 6, gammainc(2, x) / np.expm1(-np.where(small, 1.0, x)) ** 2)


TWINS: dict[str, Callable[[Any], Any]] = {
    "expit": _from_scipy("expit"),
    "softplus": lambda x: np.logaddexp(0.0, x),
    "logit": _from_scipy("logit"),
    "ndtr": _from_scipy("ndtr"),
    "log_ndtr": _from_scipy("log_ndtr"),
    "mills": _mills,
    "cauchy": lambda x: np.arctan2(1.0, -x) / np.pi,
    "gumbel": lambda x: np.exp(-np.exp(-x)),
    "gumbel_tail": lambda x: -np.expm1(-np.exp(x)),
    "log_expm1_exp": _log_expm1_exp,
    "todd": lambda x: np.where(x == 0, 1.0, -x / np.expm1(-np.where(x == 0, 1.0, x))),
    "todd_slope": _todd_slope,
    "log1mexp": _log1mexp,
    "bose": lambda x: 1 / np.expm1(x),
    "one_minus_exp": lambda x: -np.expm1(x),
    "loggamma": _from_scipy("gammaln"),
    **{name: _from_scipy(name) for name in ("erf", "erfc", "erfinv", "gamma", "polygamma")},  # which NumPy lacks
}


def numeric(expression: Any, symbols: Sequence[Any]) -> Callable[..., Any]:
    """The NumPy function of ``symbols`` that evaluates ``expression``, broadcasting constants to its arguments.

    Raises `InputError` for an expression with functions that neither this module nor NumPy has.
    """
    import sympy

    try:
        compiled = sympy.lambdify(symbols, expression, modules=[TWINS, "numpy"], cse=True)
        with np.errstate(all="ignore"):
            compiled(*(np.full(2, 0.5) for _ in symbols))
    except (NameError, TypeError, AttributeError, NotImplementedError) as error:
        why = str(error).splitlines()[0]
        raise InputError(
            f"{expression} cannot be evaluated on arrays ({why}): write it, and so its derivatives, in functions that "
            "NumPy has, such as exp, log and sqrt, or in erf, erfc and gamma"
        ) from None
    if expression.free_symbols & set(symbols):
        return compiled
    return lambda *arguments: np.broadcast_to(np.asarray(compiled(*arguments), float), np.shape(arguments[0]))

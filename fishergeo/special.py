"""Functions that know their derivative (as SymPy expressions) and a NumPy twin that neither overflows nor cancels.

SymPy is imported when the first of them is asked for; `numeric` turns an expression into a NumPy function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np


@functools.cache
def _functions() -> SimpleNamespace:
    import sympy

    class expit(sympy.Function):
        """1/(1 + exp(-x))."""

        nargs = 1

        def fdiff(self, argindex: int = 1) -> Any:
            return self * expit(-self.args[0])

        def _latex(self, printer: Any, exp: str | None = None) -> str:
            body = rf"\operatorname{{expit}}\left({printer._print(self.args[0])}\right)"
            return body if exp is None else rf"{body}^{{{exp}}}"

    class softplus(sympy.Function):
        """log(1 + exp(x))."""

        nargs = 1

        def fdiff(self, argindex: int = 1) -> Any:
            return expit(self.args[0])

        def _latex(self, printer: Any) -> str:
            return rf"\log\left(1 + e^{{{printer._print(self.args[0])}}}\right)"

    class logsumexp(sympy.Function):
        """log Σ_j exp(θ_j), a function of a whole indexed family θ."""

        nargs = 1

        def _eval_derivative(self, s: Any) -> Any:
            if isinstance(s, sympy.Indexed) and s.base == self.args[0]:
                return sympy.exp(s - self)
            return sympy.Integer(0)

        def _latex(self, printer: Any) -> str:
            return rf"\log\sum_k e^{{{printer._print(self.args[0])}_k}}"

    return SimpleNamespace(expit=expit, softplus=softplus, logsumexp=logsumexp)


def __getattr__(name: str) -> Any:
    if name in ("expit", "softplus", "logsumexp"):
        return getattr(_functions(), name)
    raise AttributeError(name)


def _expit(x: Any) -> Any:
    from scipy.special import expit

    return expit(x)


def _loggamma(x: Any) -> Any:
    from scipy.special import gammaln

    return gammaln(x)


TWINS: dict[str, Callable[[Any], Any]] = {
    "expit": _expit,
    "softplus": lambda x: np.logaddexp(0.0, x),
    "loggamma": _loggamma,
}


def numeric(expression: Any, symbols: Sequence[Any]) -> Callable[..., Any]:
    """The NumPy function of ``symbols`` that evaluates ``expression``, broadcasting constants to its arguments."""
    import sympy

    compiled = sympy.lambdify(symbols, expression, modules=[TWINS, "numpy"], cse=True)
    if expression.free_symbols & set(symbols):
        return compiled
    return lambda *arguments: np.broadcast_to(np.asarray(compiled(*arguments), float), np.shape(arguments[0]))

r"""The exponential-dispersion family, declared by its cumulant.

    log p(y | θ, φ) = (y·θ - η(θ))/φ + c(y, φ),     E[y] = η'(θ),     Cov[y] = φ η''(θ)

Mean and covariance are derivatives of the cumulant η, taken by SymPy and compiled to NumPy on first use.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import special
from ..errors import InputError
from ..errors import real_array as real_array
from .checks import check_callable, check_text, expression
from .hessian import Floats, Hessian, tiny_is_zero

Trials = float | tuple[float, ...]


class Interval(NamedTuple):
    """An open interval of real numbers."""

    lower: float = -math.inf
    upper: float = math.inf

    def __str__(self) -> str:
        ends = (f"{end:g}".replace("inf", "∞") for end in self)
        return f"({', '.join(ends)})"

    def contains(self, x: Any) -> NDArray[np.bool_]:
        return (self.lower < x) & (x < self.upper)


REALS = Interval()


@dataclass(frozen=True)
class Support:
    """The values y can take: a description and a test on arrays."""

    text: str
    contains: Callable[[Floats], NDArray[np.bool_]]


@dataclass(frozen=True)
class Family:
    """An exponential-dispersion family given by its cumulant η.

    ``cumulant`` maps θ to a SymPy expression: θ is a symbol for independent outputs, an indexed family over the units
    when ``coupled``.  ``base`` is c(y, φ), ``draw(mean, φ, rng)`` samples, ``free_dispersion`` says whether φ may differ
    from 1, ``domain`` where θ may lie.  ``trials`` is the number of trials that y counts, one for all cases or one for
    each; in expressions the latter is the symbol m.  With ``mixing`` = L (H, H) the outputs are y = L u, and ``cumulant``
    and ``base`` are those of one of the independent u.  Raises `InputError` for parts of another type.  Source:
    McCullagh, Nelder 1989, section 2.2; Jørgensen 1987.
    """

    name: str
    cumulant: Callable[[Any], Any]
    base: Callable[[Any, Any], Any]
    support: Support
    draw: Callable[[Floats, float, np.random.Generator], Floats]
    coupled: bool = False
    free_dispersion: bool = False
    domain: Interval = REALS
    trials: Trials = 1
    mixing: tuple[tuple[float, ...], ...] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        check_text("Family", name=self.name, source=self.source)
        check_callable(
            self.name,
            cumulant=(self.cumulant, "lambda theta: theta**2 / 2"),
            base=(self.base, "lambda y, phi: 0"),
            draw=(self.draw, "lambda mean, phi, rng: rng.normal(mean)"),
        )
        if not isinstance(self.support, Support):
            raise InputError(f"{self.name} got support={self.support!r:.60}: give Support(text, test on arrays)")
        if not (isinstance(self.domain, tuple) and len(self.domain) == 2 and self.domain[0] < self.domain[1]):
            raise InputError(f"{self.name} got domain={self.domain!r:.60}: give Interval(lower, upper), lower < upper")

    def __repr__(self) -> str:
        return f"Family({self.name!r})"

    @property
    def units(self) -> int | None:
        """The number of outputs where the family fixes it."""
        return None if self.mixing is None else len(self.mixing)

    def example(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """Random natural parameters in the domain."""
        x = rng.normal(size=shape)
        if self.domain == REALS:
            return x
        lower, upper = self.domain
        if math.isinf(lower) or math.isinf(upper):
            return upper - np.exp(x) if math.isinf(lower) else lower + np.exp(x)
        return lower + (upper - lower) / (1 + np.exp(-x))

    @property
    def joint(self) -> bool:
        """Whether the outputs of a case are dependent: then η is one number for each case."""
        return self.coupled or self.mixing is not None

    @cached_property
    def symbols(self) -> tuple[Any, Any, Any]:
        """θ_i, θ_j and the whole θ, as the SymPy objects in which the derivatives are written."""
        import sympy

        if not self.coupled:
            theta = sympy.Symbol("theta", real=True)
            return theta, theta, theta
        whole = sympy.IndexedBase("theta", real=True)
        i, j = sympy.symbols("i j", integer=True)
        return whole[i], whole[j], whole

    @cached_property
    def _eta(self) -> Any:
        """η; raises `InputError` where ``cumulant`` is no expression of θ."""
        eta = expression(self.cumulant, f"{self.name}: its cumulant", self.symbols[2])
        if not eta.has(self.symbols[2]):
            raise InputError(f"{self.name}: its cumulant is {eta}, which does not vary with θ; give η(θ)")
        return eta

    @cached_property
    def mean_expression(self) -> Any:
        """η' (coupled: ∂η/∂θ_i)."""
        return self._eta.diff(self.symbols[0])

    @cached_property
    def hessian_expression(self) -> Any:
        """η'' (coupled: ∂²η/∂θ_i∂θ_j)."""
        return self.mean_expression.diff(self.symbols[1])

    def natural_expression(self, mean: Any) -> Any:
        """θ as an expression of the mean, (η')⁻¹(mean), for independent outputs.

        Raises `InputError` where η' cannot be inverted in closed form.
        """
        import sympy

        negative = self.domain.upper <= 0  # then t = -θ > 0 lets roots of -θ cancel
        t = sympy.Symbol("t", positive=True) if negative else self.symbols[0]
        try:
            found = _inverse(self.mean_expression.subs(self.symbols[0], -t if negative else t), t, mean)
        except NotImplementedError:
            raise InputError(
                f"{self.name}: η' = {self.mean_expression} has no inverse in closed form; use the canonical link"
            ) from None
        return sympy.expand_log(
            -found if negative else found, force=True
        )  # exp, log and powers cancel: the mean is in its domain

    @cached_property
    def _compiled(self) -> tuple[Callable[..., Any], ...]:
        import sympy

        theta_i, theta_j, whole = self.symbols
        given, cumulant = trials_symbols(self.trials), self._eta
        compiled = lru_cache(lambda e, *first: special.numeric(e, [*first, *given]))  # one function for one expression
        if not self.coupled:
            return tuple(compiled(e, theta_i) for e in (cumulant, self.mean_expression, self.hessian_expression))
        total = sympy.Symbol("total", real=True)
        reduction, mean = special.logsumexp(whole), self.mean_expression
        delta = sympy.KroneckerDelta(theta_i.indices[0], theta_j.indices[0])
        hessian = sympy.expand(self.hessian_expression)
        diagonal = hessian.coeff(delta)
        scale = sympy.simplify((hessian - diagonal * delta) / (diagonal * diagonal.subs(theta_i, theta_j)))
        # Σ_i exp(θ_i - logsumexp θ) = 1 makes Σd a number; then -dᵢdⱼ/Σd must be the whole off-diagonal part
        if sympy.simplify(diagonal / sympy.exp(theta_i - reduction) * scale) != -1:
            raise ArithmeticError(f"{self.name}: η'' is not diag(d) - ddᵀ/Σd: {hessian}")
        # exp(θ_i - total) is evaluated as it stands, so that neither factor overflows
        return (
            compiled(cumulant.subs(reduction, total), total),
            *(compiled(sympy.powsimp(e).subs(reduction, total), theta_i, total) for e in (mean, diagonal)),
        )

    def counts(self, shape: tuple[int, ...]) -> tuple[Floats, ...]:
        """The trials of each case, to be broadcast with an array of ``shape`` (N, [S,] H); none when all share one."""
        if not isinstance(self.trials, tuple):
            return ()
        if not shape or shape[0] != len(self.trials):
            raise InputError(f"{self.name} got an array of shape {shape}: it has the trials of {len(self.trials)} cases")
        return (np.asarray(self.trials).reshape(-1, *(1,) * (len(shape) - 1)),)

    def _evaluate(self, derivative: int, theta: Floats) -> Floats:
        if self.domain != REALS:
            bad = ~self.domain.contains(theta)
            if bad.any():
                raise InputError(
                    f"{self.name} got natural parameter {theta[bad].flat[0]:.4g}{_at(bad)}: it must lie in {self.domain}"
                )
        if self.mixing is not None:
            if theta.shape[-1] != self.units:
                raise InputError(
                    f"{self.name} got {theta.shape[-1]} units: its covariance is for {self.units}; give as many"
                )
            theta = theta @ np.asarray(self.mixing)
        return self._compiled[derivative](theta, *(_reduce(theta) if self.coupled else ()), *self.counts(theta.shape))

    @tiny_is_zero
    def cumulant_value(self, theta: Floats) -> Floats:
        """η(θ): elementwise for independent outputs, one number for each case of dependent ones."""
        if self.coupled:
            return self._compiled[0](*_reduce(theta), *self.counts(theta.shape))[..., 0]
        value = self._evaluate(0, theta)
        return value if self.mixing is None else value.sum(axis=-1)

    @tiny_is_zero
    def mean(self, theta: Floats) -> Floats:
        """E[y] = η'(θ), the shape of θ."""
        value = self._evaluate(1, theta)
        return value if self.mixing is None else value @ np.asarray(self.mixing).T

    @tiny_is_zero
    def hessian(self, theta: Floats, mean: Floats | None = None) -> Hessian:
        """η''(θ) for each case; Cov[y] = φ η''(θ).  ``mean`` is η'(θ), if known: Poisson's η'' too."""
        if mean is not None and self.mixing is None and self._compiled[1] is self._compiled[2]:
            return Hessian(mean, self.coupled)
        return Hessian(self._evaluate(2, theta), self.coupled, None if self.mixing is None else np.asarray(self.mixing))

    @cached_property
    def means(self) -> Interval:
        """Where the mean of one trial lies, for independent outputs: η' at the ends of the domain."""
        with np.errstate(all="ignore"):
            inside = np.nextafter(self.domain, self.domain[::-1])
            ends = self._compiled[1](inside, *(1.0 for _ in trials_symbols(self.trials)))
        ends = ends / (1 if isinstance(self.trials, tuple) else self.trials)
        return Interval(*(0.0 if abs(end) < 1e-150 else end if abs(end) < 1e150 else end * np.inf for end in ends))

    @cached_property
    def _base(self) -> Callable[..., Any]:
        import sympy

        y, phi = sympy.Symbol("y", real=True), sympy.Symbol("phi", positive=True)
        constant = expression(self.base, f"{self.name}: its base c(y, φ)", y, phi)
        return special.numeric(constant, [y, phi, *trials_symbols(self.trials)])

    def log_density(self, y: Floats, theta: Floats, phi: float) -> Floats:
        """log p(y | θ, φ) for each case, summed over the outputs; ``y`` as `encode` returns it."""
        eta, constant = self.cumulant_value(theta), 0.0
        fit = (y * theta).sum(axis=-1) - eta if self.joint else (y * theta - eta).sum(axis=-1)
        if self.mixing is not None:
            L = np.asarray(self.mixing)
            y, constant = np.linalg.solve(L, y[..., None])[..., 0], -np.linalg.slogdet(L)[1]
        return fit / phi + self._base(y, phi, *self.counts(y.shape)).sum(axis=-1) + constant

    def encode(self, Y: ArrayLike, shape: tuple[int, ...]) -> Floats:
        """Observations as an array of ``shape`` (N, [S,] H): labels become one-hot rows for a coupled family.

        Raises `InputError` for a wrong shape and for values outside the support, naming the first case.
        """
        y = real_array(Y, f"{self.name} got observations", "numbers")
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise InputError(f"{self.name} got a nan or inf at case {_first(~np.isfinite(y))}: drop or impute it")
        units, takes_labels = shape[-1], self.coupled and self.trials == 1
        if takes_labels and y.shape == shape[:-1]:
            bad = (y != np.round(y)) | (y < 0) | (y >= units)
            if bad.any():
                raise InputError(
                    f"{self.name} got label {y[bad].flat[0]} at case {_first(bad)}: labels must be integers from 0 to "
                    f"{units - 1}, one for each of the {units} units"
                )
            return np.eye(units)[y.astype(np.intp)]
        if not self.coupled and units == 1 and y.shape == shape[:-1]:
            y = y[..., None]
        if y.shape != shape:
            also = f" or labels {shape[:-1]}" if takes_labels else ""
            raise InputError(f"{self.name} got observations of shape {y.shape}: the model needs {shape}{also}")
        y = y.astype(float)
        bad = ~self.support.contains(y)
        if bad.any():
            raise InputError(
                f"{self.name} got y = {_example(y, bad)} at case {_first(bad)}: its support is {self.support.text}"
            )
        return y


def _reduce(theta: Floats) -> tuple[Floats]:
    """log Σ exp θ; SciPy's takes five times as long for a thousand cases."""
    top = theta.max(axis=-1, keepdims=True)
    return (top + np.log(np.exp(theta - top).sum(axis=-1, keepdims=True)),)


def _first(bad: NDArray[np.bool_]) -> int:
    return int(np.argwhere(bad)[0][0])


def _example(y: Floats, bad: NDArray[np.bool_]) -> Any:
    return y[bad].flat[0] if bad.shape == y.shape else y[tuple(np.argwhere(bad)[0][:-1])]


def _at(bad: NDArray[np.bool_]) -> str:
    return f" at case {_first(bad)}" if bad.ndim else ""


def trials_symbols(trials: Trials) -> tuple[Any, ...]:
    """The symbol m that stands for the trials of each case; none when all cases have the same number."""
    import sympy

    return (sympy.Symbol("m", positive=True),) if isinstance(trials, tuple) else ()


def _inverse(expression: Any, x: Any, value: Any) -> Any:
    """The solution x of expression = value, found by undoing one operation after the other."""
    while expression != x:
        if expression.is_Add or expression.is_Mul:
            rest, part = expression.as_independent(x, as_Add=expression.is_Add)
            value = value - rest if expression.is_Add else value / rest
        elif expression.is_Pow and not expression.exp.has(x):
            value, part = value ** (1 / expression.exp), expression.base
        elif hasattr(expression, "inverse") and len(expression.args) == 1:
            value, part = expression.inverse()(value), expression.args[0]
        else:
            raise NotImplementedError
        if part == expression:  # x occurs twice
            raise NotImplementedError
        expression = part
    return value

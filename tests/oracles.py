"""An independent route to every number: the literature's formulas as plain NumPy, and log p(y | x) alone.

Nothing here imports the package.  The forward maps use only arithmetic, ``sum`` and ``np.sqrt``, so that they run on
complex arrays (complex-step derivatives) and on object arrays of `decimal.Decimal` (exact counterexamples).

    F = (1/N) Σ_n Σ_y p(y|x_n) ∇log p(y|x_n) ∇log p(y|x_n)ᵀ

with the sum over y enumerated, the scores by the complex step, batch statistics included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from scipy.special import gammaln

STEP = 1e-30  # the complex step: exact to rounding, since nothing is subtracted
Forward = Callable[..., Any]  # (X, W, shift=0) -> Â

# --- normalizers ---------------------------------------------------------------------------------------------------


def cases(t: Any) -> tuple[int, ...]:
    """Every axis but the last: cases, and positions where there are any."""
    return tuple(range(t.ndim - 1))


def centered(t: Any, axis: Any) -> Any:
    return t - t.sum(axis=axis, keepdims=True) / count(t, axis)


def count(t: Any, axis: Any) -> int:
    return int(np.prod([t.shape[k] for k in np.atleast_1d(axis)]))


def over_root(c: Any, axis: Any, eps: tuple[Any, bool], norm: bool = False, of: Any = None) -> Any:
    """c/σ with σ the root mean square of c, or of ``of`` (or its Euclidean norm); ε inside or outside the root."""
    of = c if of is None else of
    value, inside = number(eps[0], c), eps[1]
    square = (of * of).sum(axis=axis, keepdims=True) / (1 if norm else count(of, axis))
    return c / (np.sqrt(square + value) if inside else np.sqrt(square) + value)


def number(value: Any, like: Any) -> Any:
    """Given numbers as they are, or as Decimals beside an array of Decimals."""
    return decimals(value) if like.dtype == object else np.asarray(value)


def same(t: Any, eps: Any) -> Any:
    return t


def of_case(t: Any) -> tuple[int, ...]:
    """Every axis but the first: units, and positions where there are any."""
    return tuple(range(1, t.ndim))


def standard(t: Any, axis: Any, eps: tuple[Any, bool]) -> Any:
    return over_root(centered(t, axis), axis, eps)


def in_groups(t: Any, axis: int, parts: int, each: Callable[[Any], Any]) -> Any:
    """``each`` on runs of equal length, put together again."""
    return np.concatenate([each(part) for part in np.split(t, parts, axis=axis)], axis=axis)


def partial_rms(t: Any, first: int, eps: tuple[Any, bool]) -> Any:
    """t over the root mean square of its first entries."""
    return over_root(t, -1, eps, of=t[..., :first])


def largest_singular(w: Any) -> Any:
    """From powers of W Wᵀ, squared until only the largest eigenvalue is left: arithmetic alone."""
    gram = w @ w.T
    power = gram
    for _ in range(40):
        power = power / np.trace(power)
        power = power @ power
    return np.sqrt(np.trace(gram @ power) / np.trace(power))


# inputs, weights, summed inputs: what each normalizer of the literature does to them
FORMULAS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]] = {
    "identity": (same, same, same),
    "batch_norm": (same, same, lambda a, e: over_root(centered(a, cases(a)), cases(a), e)),
    "mean_only_batch_norm": (same, same, lambda a, e: centered(a, cases(a))),
    "frozen_batch_norm": (same, same, lambda a, e: (a - 1) / 2),  # mean 1, variance 4
    "layer_norm": (same, same, lambda a, e: over_root(centered(a, -1), -1, e)),
    "rms_norm": (same, same, lambda a, e: over_root(a, -1, e)),
    "weight_norm": (same, lambda w, e: over_root(w, -1, e, norm=True), same),
    "weight_standardization": (same, lambda w, e: over_root(centered(w, -1), -1, e), same),
    "centered_weight_norm": (same, lambda w, e: over_root(centered(w, -1), -1, e, norm=True), same),
    "weight_norm_mean_only_batch_norm": (
        same,
        lambda w, e: over_root(w, -1, e, norm=True),
        lambda a, e: centered(a, cases(a)),
    ),
    "input_standardization": (lambda x, e: over_root(centered(x, cases(x)), cases(x), e), same, same),
    "input_layer_norm": (lambda x, e: over_root(centered(x, -1), -1, e), same, same),
    "ghost_batch_norm_2": (same, same, lambda a, e: in_groups(a, 0, 2, lambda t: standard(t, cases(t), e))),
    "group_norm_2": (same, same, lambda a, e: in_groups(a, -1, 2, lambda t: standard(t, of_case(t), e))),
    "prms_norm_1/2": (same, same, lambda a, e: partial_rms(a, -(-a.shape[-1] // 2), e)),
    "prms_norm_rounded_down_1/2": (same, same, lambda a, e: partial_rms(a, a.shape[-1] // 2, e)),
    "spectral_norm": (same, lambda w, e: spectral(w), same),
    "instance_norm": (same, same, lambda a, e: standard(a, 1, e)),
    "layer_norm_with_positions": (same, same, lambda a, e: standard(a, of_case(a), e)),
    "stepwise_batch_norm": (same, same, lambda a, e: standard(a, 0, e)),
    "weight_standardization_group_norm_2": (
        same,
        lambda w, e: standard(w, -1, e),
        lambda a, e: in_groups(a, -1, 2, lambda t: standard(t, of_case(t), e)),
    ),
}


def forward(name: str, eps: tuple[Any, bool] = (0, True)) -> Forward:
    """(X, W, shift) -> Â for the normalizer called ``name``."""
    inputs, weight, summed = FORMULAS[name]
    return lambda X, W, shift=0: summed(inputs(X, eps) @ weight(W, eps).T + shift, eps)


def frozen(mean: Any, var: Any) -> Forward:
    """Batch norm at inference, with one mean and one variance for each unit."""
    return lambda X, W, shift=0: given(X @ W.T + shift, mean, var)


def given(a: Any, mean: Any, var: Any) -> Any:
    """(a - mean)/√var with given statistics."""
    return (a - number(mean, a)) / np.sqrt(number(var, a))


def standardize(
    t: Any,
    layout: str,
    over: str,
    center: bool,
    divide: str,
    eps: tuple[Any, bool] = (0, True),
    parts: Sequence[tuple[str, int]] = (),
    first: Callable[[int], int] | None = None,
) -> Any:
    """Standardize along the axes named in ``over``; ``divide`` is "std", "norm" or "nothing".

    Each of ``parts`` (letter, G) splits an axis into G runs; with ``first`` the moments are of the first(K) entries.
    """
    if parts:
        (letter, number_of), *rest = parts
        if letter not in layout:
            return standardize(t, layout, over, center, divide, eps, rest)
        run = lambda part: standardize(part, layout, over, center, divide, eps, rest)  # noqa: E731
        return in_groups(t, layout.index(letter), number_of, run)
    axis = tuple(layout.index(letter) for letter in over if letter in layout)
    lead = t if first is None else np.take(t, range(first(t.shape[axis[0]])), axis=axis[0])
    mean = lead.sum(axis=axis, keepdims=True) / count(lead, axis) if center else 0
    if divide == "nothing":
        return t - mean
    return over_root(t - mean, axis, eps, divide == "norm", lead - mean)


def spectral(w: Any, layout: str = "hd") -> Any:
    """The whole matrix over its largest singular value."""
    return w / largest_singular(w)


def staged(inputs: Sequence[Any] = (), weight: Sequence[Any] = (), summed: Sequence[Any] = ()) -> Forward:
    """(X, W, shift) -> Â for any sequence of `standardize` arguments, or of functions, at the three sites."""

    def run(t: Any, layout: str, stages: Sequence[Any]) -> Any:
        for stage in stages:
            t = stage(t, layout) if callable(stage) else standardize(t, layout, *stage)
        return t

    def apply(X: Any, W: Any, shift: Any = 0) -> Any:
        s = "s" if X.ndim == 3 else ""
        A = run(X, f"n{s}d", inputs) @ run(W, "hd", weight).T + shift
        return run(A, f"n{s}h", summed)

    return apply


# --- transformations -----------------------------------------------------------------------------------------------

# name: shape of the parameter (δ positive, γ any, π an order of the units, Q a rotation), and what becomes of (X, W)
MOVES: dict[str, tuple[str, Callable[..., Any]]] = {
    "weight_matrix_rescaling": ("δ11", lambda X, W, v: (X, W * v)),
    "weight_matrix_recentering": ("γ1d", lambda X, W, v: (X, W + v)),
    "weight_vector_rescaling": ("δh1", lambda X, W, v: (X, W * v)),
    "dataset_rescaling": ("δ11", lambda X, W, v: (X * v, W)),
    "dataset_recentering": ("γ1d", lambda X, W, v: (X + v, W)),
    "case_rescaling": ("δn1", lambda X, W, v: (X * v, W)),
    "weight_vector_recentering": ("γhd", lambda X, W, v: (X, W + v)),
    "weight_constant_shift": ("γh1", lambda X, W, v: (X, W + v)),
    "case_recentering": ("γnd", lambda X, W, v: (X + v, W)),
    "case_constant_shift": ("γn1", lambda X, W, v: (X + v, W)),
    "feature_rescaling": ("δ1d", lambda X, W, v: (X * v, W)),
    "summed_input_shift": ("γn1", lambda X, W, v: (X, W, v)),
    "sign_flip": ("", lambda X, W: (X, -W)),
    "unit_permutation": ("π", lambda X, W, v: (X, W[v])),
    "input_rotation": ("Q", lambda X, W, v: (X @ v, W @ v)),
}


def draw_move(name: str, X: Any, W: Any, rng: np.random.Generator, sign: int = 1) -> list[Any]:
    """Random parameters of a transformation: δ = ±exp(normal), γ normal, π without fixed points, Q orthogonal."""
    code = MOVES[name][0]
    if not code:
        return []
    if code == "π":
        return [np.roll(np.arange(len(W)), 1)]
    if code == "Q":
        return [np.linalg.qr(rng.normal(size=(W.shape[1],) * 2))[0]]
    sizes = {"1": 1, "n": X.shape[0], "d": X.shape[-1], "h": W.shape[0]}
    shape = [sizes[letter] for letter in code[1:]]
    if code[1] == "n" and X.ndim == 3:  # one value for all positions of a case
        shape.insert(1, 1)
    values = rng.normal(size=shape)
    return [sign * np.exp(values) if code[0] == "δ" else values]


def before_and_after(forward: Forward, name: str, X: Any, W: Any, values: Sequence[Any]) -> tuple[Any, Any]:
    """Â (in the order of the units that the transformation leaves) and Â of the transformed model."""
    before = forward(X, W)
    return (before[..., values[0]] if MOVES[name][0] == "π" else before), forward(*MOVES[name][1](X, W, *values))


def invariant(forward: Forward, name: str, rng: np.random.Generator, sizes: Any = (7, 5, 4), sign: int = 1) -> bool:
    """Whether Â stays the same at three random points of sizes (N, [S,] D, H); asserts that the answer is clear-cut."""
    *shape, H = sizes
    defects = []
    for _ in range(3):
        X, W = rng.normal(size=shape), rng.normal(size=(H, shape[-1]))
        before, after = before_and_after(forward, name, X, W, draw_move(name, X, W, rng, sign))
        defects.append(np.abs(after - before).max() / np.abs(before).max())
    assert max(defects) < 1e-9 or min(defects) > 1e-5, f"{name}: unclear, relative defects {defects}"
    return max(defects) < 1e-9


def decimals(array: Any) -> Any:
    """An array of rationals (or floats, taken as the binary fractions they are) as Decimals in the current context."""

    def convert(value: Any) -> Decimal:
        q = Fraction(value) if isinstance(value, int | float | Fraction) else Fraction(int(value.p), int(value.q))
        return Decimal(q.numerator) / Decimal(q.denominator)

    return np.vectorize(convert, otypes=[object])(np.asarray(array, object))


# --- families ------------------------------------------------------------------------------------------------------


def log1pexp(z: Any) -> Any:
    large = np.real(z) > 0
    return np.where(large, z, 0) + np.log1p(np.exp(np.where(large, -z, z)))


def log_sum_exp(z: Any) -> Any:
    top = np.real(z).max(axis=-1, keepdims=True)
    return top + np.log(np.exp(z - top).sum(axis=-1, keepdims=True))


# log p(y | z, φ), one number for each output; one for the whole row when the outputs share a total
LOG_P: dict[str, Callable[[Any, Any, float], Any]] = {
    "gaussian": lambda y, z, phi: -((y - z) ** 2) / (2 * phi) - np.log(2 * np.pi * phi) / 2,
    "bernoulli": lambda y, z, phi: y * z - log1pexp(z),
    "poisson": lambda y, z, phi: y * z - np.exp(z) - gammaln(y + 1),
    "categorical": lambda y, z, phi: (y * z).sum(axis=-1, keepdims=True) - log_sum_exp(z),
}


def outcomes(family: str, Z: Any, phi: float) -> tuple[Any, Any]:
    """Values y (Q, ..., H) and their probabilities: enumerated, up to a tail below 1e-18, or Gauss-Hermite nodes."""
    if family == "gaussian":
        nodes, weights = np.polynomial.hermite.hermgauss(4)  # exact for polynomials in y up to degree 7
        lift = (-1,) + (1,) * Z.ndim
        y = Z + np.sqrt(2 * phi) * nodes.reshape(lift)
        return y, np.broadcast_to((weights / np.sqrt(np.pi)).reshape(lift), y.shape)
    if family == "categorical":
        eye = np.eye(Z.shape[-1])
        y = np.broadcast_to(eye.reshape(len(eye), *(1,) * (Z.ndim - 1), -1), (len(eye), *Z.shape))
    else:
        values = np.arange(2) if family == "bernoulli" else np.arange(poisson_end(float(np.exp(Z).max())))
        y = np.broadcast_to(values.reshape(-1, *(1,) * Z.ndim).astype(float), (len(values), *Z.shape))
    log_p = LOG_P[family](y, Z, phi)
    p = np.where(log_p > -100, np.exp(np.maximum(log_p, -100)), 0)  # what is below 1e-43 is left out
    assert np.allclose(p.sum(axis=0), 1, rtol=0, atol=1e-13)
    return y, p


def poisson_end(mean: float) -> int:
    """The count beyond which the Poisson tail is below 1e-18: successive terms at least halve there."""
    k = int(2 * mean) + 1
    while k * np.log(mean) - mean - gammaln(k + 1) > np.log(1e-19):
        k += 1
    return k + 1


# --- the model -----------------------------------------------------------------------------------------------------


def natural(forward: Forward, v: Any, X: Any, units: int, gain: bool) -> Any:
    """Z = g Â + b from the flat parameters [w_1, b_1, g_1, w_2, …] (no g without a gain)."""
    rows = v.reshape(units, -1)
    D = X.shape[-1]
    Z = forward(X, rows[:, :D])
    return (Z * rows[:, D + 1] if gain else Z) + rows[:, D]


def derivatives(f: Callable[[Any], Any], v: Any) -> Any:
    """∂f/∂v_k for every k, by the complex step: (P, ...)."""
    return np.stack([np.imag(f(v + 1j * STEP * unit)) / STEP for unit in np.eye(len(v))])


def log_p(forward: Forward, family: str, v: Any, X: Any, Y: Any, units: int, gain: bool, phi: float) -> Any:
    """log p(y_n | x_n) of every case."""
    return LOG_P[family](Y, natural(forward, v, X, units, gain), phi).sum(axis=-1)


def scores(forward: Forward, family: str, v: Any, X: Any, Y: Any, units: int, gain: bool, phi: float) -> Any:
    """∇log p(y_n | x_n) of every case: (N, [S,] P)."""
    return np.moveaxis(derivatives(lambda u: log_p(forward, family, u, X, Y, units, gain, phi), v), 0, -1)


def fisher_root(forward: Forward, family: str, v: Any, X: Any, units: int, gain: bool, phi: float = 1.0) -> Any:
    """R (P, m) with F = RRᵀ: the columns are √(p/N) ∇log p over cases, outputs and outcomes.

    Independent outputs enter one by one: E[∇log p_h] = 0 (asserted), so that products between them have mean 0.
    """
    Z = natural(forward, v, X, units, gain)
    y, p = outcomes(family, Z, phi)
    S = derivatives(lambda u: LOG_P[family](y, natural(forward, u, X, units, gain), phi), v)
    assert np.abs((p * S).sum(axis=1)).max() <= 1e-12 * max(1.0, np.abs(S).max())
    return (np.sqrt(p / (Z.size / units)) * S).reshape(len(v), -1)


def fisher(*args: Any, **kwargs: Any) -> Any:
    """The Fisher matrix (P, P)."""
    R = fisher_root(*args, **kwargs)
    return R @ R.T


def fisher_by_joint_enumeration(forward: Forward, v: Any, X: Any, units: int, gain: bool) -> Any:
    """The Bernoulli Fisher matrix from all 2^H joint outcomes of a case: no use of independence."""
    total = 0
    for code in range(2**units):
        y = np.broadcast_to([float(code >> h & 1) for h in range(units)], (len(X), units))
        S = scores(forward, "bernoulli", v, X, y, units, gain, 1.0)
        p = np.exp(log_p(forward, "bernoulli", v, X, y, units, gain, 1.0))
        total = total + (S * p[:, None]).T @ S
    return total / len(X)

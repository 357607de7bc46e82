"""The geometry of the Fisher matrix: null directions, white inputs, wide layers, natural gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import families, normalizers
from ..axes import Axis, Site
from ..families.core import REALS
from ..information.matrices import fisher
from ..model import GLM, Params
from ..normalizers import Normalizer
from .arrays import exact_jacobian, exact_model, generic_run, moments, symbols
from .core import Condition, Evidence, Inconclusive, Paper, claim, decide
from .facts import close, exactly, identity, measured, unequal
from .models import random_model
from .norm_growth import WHOLE, along_weights

KARAKIDA = Paper(
    "Karakida, Akaho, Amari",
    2019,
    "The Normalization Method for Alleviating Pathological Sharpness in Wide Neural Networks",
    "1906.02926",
)

_PLAIN, _BN, _WN = normalizers.identity, normalizers.batch_norm, normalizers.weight_norm
_LN, _RMS, _MEAN = normalizers.layer_norm, normalizers.rms_norm, normalizers.mean_only_batch_norm

NULLITY: Mapping[Normalizer, str] = {_BN: "H", _WN: "H", _RMS: "1", _LN: "D + 1"}


def exact_rank(rows: Any) -> int:
    """The rank of an exact matrix of rational numbers."""
    import sympy
    from sympy.polys.matrices import DomainMatrix

    return DomainMatrix.from_Matrix(sympy.Matrix(rows)).to_field().rank()


PRIME = 2**31 - 1  # products of two residues fit into 64 bits


def _inverse(a: Any) -> Any:
    return np.vectorize(lambda x: pow(int(x), -1, PRIME), otypes=[np.int64])(a)


def modular_rank(rows: Any) -> int:
    """The rank of an integer matrix modulo a prime: at most its rank, which is at most the generic one."""
    rows, rank = rows % PRIME, 0
    for column in range(rows.shape[1]):
        pivots = np.flatnonzero(rows[rank:, column])
        if len(pivots) == 0:
            continue
        rows[[rank, rank + pivots[0]]] = rows[[rank + pivots[0], rank]]
        factors = rows[rank + 1 :, column] * _inverse(rows[rank, column]) % PRIME
        rows[rank + 1 :] = (rows[rank + 1 :] - factors[:, None] * rows[rank]) % PRIME
        rank += 1
        if rank == len(rows):
            break
    return rank


def modular_jacobian(normalizer: Normalizer, X: Any, W: Any) -> Any:
    """σ ∂Â/∂W (HD, NH) of a normalizer with one stage, modulo a prime: each entry of σ dt̂ = dt - mean - c⟨c,dt⟩/⟨c,c⟩."""
    ((site, stage),), (H, D) = normalizer.stages, W.shape
    (axis,) = (k - 2 for k, name in enumerate(site.layout(2)) if name in stage.over)

    def total(t: Any) -> Any:
        return t.sum(axis=axis, keepdims=True) % PRIME

    def centered(t: Any) -> Any:
        return (t - total(t) * _inverse(t.shape[axis]) if stage.center else t) % PRIME

    def differential(t: Any, dt: Any) -> Any:
        c, dc = centered(t), centered(dt)
        return (dc - c * (total(c * dc % PRIME) * _inverse(total(c * c % PRIME)) % PRIME)) % PRIME

    dW = np.eye(H * D, dtype=np.int64).reshape(H * D, H, D)
    if site is Site.WEIGHT:
        J = X @ differential(W, dW).swapaxes(-1, -2)
    else:
        J = differential(X @ W.T % PRIME, X @ dW.swapaxes(-1, -2))
    return J.reshape(H * D, -1) % PRIME


def orbit(normalizer: Normalizer, W: Any) -> Any:
    """The tangent vectors (., HD) at W of rescaling each w_i (LN, RMS: all of W), and of adding one γ to all (LN)."""
    H, D = W.shape
    scaled = W[None] if normalizer in WHOLE else np.eye(H, dtype=np.int64)[:, :, None] * W
    shifted = np.broadcast_to(np.eye(D, dtype=np.int64)[:, None], (D, H, D))
    return np.concatenate([scaled, shifted] if normalizer is _LN else [scaled]).reshape(-1, H * D)


def generic_nullity(normalizer: Normalizer, N: int, D: int, H: int) -> int:
    """The generic nullity of ∂Â/∂W: at most HD less its rank at any point, at least the dimension of the orbit."""
    rng = np.random.default_rng(41)
    X, W = (rng.integers(-99, 100, shape) for shape in ((N, D), (H, D)))
    upper, lower = H * D - modular_rank(modular_jacobian(normalizer, X, W)), modular_rank(orbit(normalizer, W))
    if lower != upper:
        raise Inconclusive(f"{normalizer.title}: the nullity at (N,D,H) = ({N},{D},{H}) is from {lower} to {upper}")
    return upper


SIZES = tuple((2 * D + 1, D, H) for H in range(3, 7) for D in range(3, 8))


@claim(
    "GEO-null",
    None,
    "no single source",
    "At generic $X$ and $W$ (Cov[y|x] regular, $g \\ne 0$, enough cases) the nullity of the weight block of the Fisher "
    "matrix is the dimension of the symmetry orbit: $H$ for batch norm and weight norm, $1$ for RMS norm, $D + 1$ for "
    "layer norm with $H \\ge 3$.",
)
def nullity(expected: Mapping[Normalizer, str] = NULLITY) -> Evidence:
    shift = symbols("w", Site.WEIGHT) * 0 + symbols("gamma", Site.WEIGHT, Axis.INPUT)
    facts = []
    for normalizer, formula in expected.items():
        found = [generic_nullity(normalizer, *size) for size in SIZES]
        stated = [{"H": H, "1": 1, "D + 1": D + 1}[formula] for _, D, H in SIZES]
        text = (
            f"{normalizer.title}: at one integer point the orbit has the dimension {formula} and ∂Â/∂W the rank "
            f"HD - ({formula}), hence at generic points, for H = 3 to 6, D = 3 to 7, N = 2D + 1"
        )
        facts.append(exactly(text, found, stated))
    return decide(
        identity(
            "for all sizes the orbits lie in the null space: rescaling one w_i (BN, WN) or W (RMS, LN), and adding one γ "
            "to all w_i (LN), change no Â",
            *along_weights(_BN, _WN, _RMS, _LN),
            generic_run(_LN).jvp(shift),
        ),
        *facts,
    )


@claim(
    "GEO-white",
    None,
    "no single source",
    r"For Gaussian whitened inputs, batch or weight norm and independent outputs: $\phi \bar F_{ww} = "
    r"\frac{g^2}{\lVert w \rVert^2} "
    r"E[f'(g\xi + b)]\, (I - \hat w \hat w^\top)$, the bias-gain block is $\begin{bmatrix} E f' & E f' \xi \\ E "
    r"f' \xi & E f' "
    r"\xi^2 \end{bmatrix}$, $\xi \sim N(0, 1)$, and the two do not mix.",
)
def white_inputs(power: int = 2) -> Evidence:
    rng = np.random.default_rng(42)
    N, D = 200_000, 3
    X = rng.normal(size=(N, D))
    X -= X.mean(axis=0)
    X = np.linalg.solve(np.linalg.cholesky(X.T @ X / N), X.T).T  # exactly white
    x, weight = np.polynomial.hermite_e.hermegauss(60)
    weight = weight / weight.sum()
    facts = []
    for normalizer in (_BN, _WN):
        for family in (f for f in families.ZOO if not f.joint and f.domain == REALS):  # z = gξ + b is any number
            model = GLM(family, normalizer)
            w, b, g = rng.normal(size=D), rng.normal() / 3, rng.uniform(0.4, 0.8)
            found = fisher(model, Params(w[None], np.array([b]), np.array([g])), X).to_dense()
            slope_at = family.hessian((g * x + b)[:, None]).d[:, 0] * weight
            unit = w / np.linalg.norm(w)
            law = np.zeros((D + 2, D + 2))
            law[:D, :D] = g**2 / np.linalg.norm(w) ** power * slope_at.sum() * (np.eye(D) - np.outer(unit, unit))
            law[D:, D:] = [[slope_at.sum(), slope_at @ x], [slope_at @ x, slope_at @ x**2]]
            facts.append(
                close(
                    f"{normalizer.title}, {family.name}: Gauss-Hermite and {N} cases differ by {{error}}",
                    found,
                    law,
                    0.02,
                )
            )
    return decide(*facts)


def widest(normalizer: Normalizer, width: int, units: int = 3) -> float:
    """The largest eigenvalue of F for Gaussian outputs on ``width`` cases of ``width`` random ReLU features."""
    rng = np.random.default_rng(width)
    features = np.maximum(rng.normal(size=(width, width)) @ rng.normal(scale=np.sqrt(2 / width), size=(width, width)), 0)
    model = GLM(families.gaussian, normalizer)
    values, _ = fisher(model, model.init(width, units, rng), features).eigsh(1)
    return float(values[0])


@claim(
    "GEO-kar",
    KARAKIDA,
    "",
    "The largest eigenvalue of the Fisher matrix grows with the width; subtracting the mean in the last layer, as batch "
    "norm does, removes that growth, layer norm does not.",
)
def wide_layers(removes: Normalizer = _MEAN) -> Evidence:
    widths = (100, 200, 400)
    plain, kept = [widest(_PLAIN, width) for width in widths], [widest(_LN, width, 10) / width for width in widths]
    ratio, growth = plain[-1] / widths[-1] * np.pi, (plain[-1] - plain[0]) / (widths[-1] - widths[0]) * np.pi
    facts = []
    for normalizer in (removes, _BN):
        largest = [widest(normalizer, width) for width in widths]
        shown = ", ".join(f"{value:.2f}" for value in largest)
        text = f"{normalizer.title}: λ_max is {shown} at widths 100, 200, 400 (no growth: below 5 %)"
        facts.append(measured(text, largest[-1] < 1.05 * largest[0]))
    return decide(
        measured(
            f"plain: λ_max/width is {ratio:.3f}/π at width 400, and grows by {growth:.3f}/π a unit of width "
            f"(tolerance 5 %)",
            max(abs(ratio - 1), abs(growth - 1)) < 0.05,
        ),
        measured(
            f"layer norm of 10 units: λ_max/width is {', '.join(f'{r:.2f}' for r in kept)} at widths 100, 200, "
            f"400 (at least 0.2)",
            min(kept) > 0.2,
        ),
        *facts,
    )


@claim(
    "GEO-natgrad",
    None,
    "no single source",
    r"The natural-gradient step $F^+ \nabla L$ is the same step of the function in every parametrization: plain, "
    r"batch norm, weight "
    "norm.",
)
def natural_gradient(methods: tuple[Normalizer, ...] = (_PLAIN, _BN, _WN)) -> Evidence:
    rng = np.random.default_rng(43)
    model, p, X = random_model(families.bernoulli, _BN, rng)
    Y = model.sample(p, X, rng)
    mean, sigma = (np.ravel(moment) for moment in moments(model.linearize(p, X).normalized))
    assert p.gain is not None
    weight, bias = (p.gain / sigma)[:, None] * p.weight, p.bias - p.gain * mean / sigma
    same = {
        _PLAIN: Params(weight, bias),
        _BN: p,
        _WN: Params(weight, bias, np.linalg.norm(weight, axis=1)),
    }
    steps = {}
    for method in methods:
        other = GLM(families.bernoulli, method)
        q = same.get(method, p)
        steps[method] = other.jvp(q, X, fisher(other, q, X).solve(other.gradient(q, X, Y)))
    rows, units = [[1, 2], [0, 1], [3, -1], [2, 2], [1, 0]], [[1, 1], [2, -1]]
    ranks = []
    for method in (_PLAIN, _BN):
        J = exact_jacobian(exact_model(method, rows, units, gain=[0, 0]))
        # each row of J is rational times one root: divide it by its first entry that is not 0
        scaled = [row / row[np.flatnonzero(row != 0)[0]] for row in J.reshape(len(J), -1) if (row != 0).any()]
        ranks.append(exact_rank(scaled))
    first = steps[methods[0]]
    return decide(
        *(
            close(f"{m.title} and {methods[0].title}: the steps of Z differ by {{error}}", steps[m], first, 1e-9)
            for m in methods[1:]
        ),
        needs=[
            Condition(
                "g ≠ 0, so that the tangent spaces agree",
                unequal(
                    "two inputs, two units, g = 0: the tangent spaces of the plain and the batch norm model have the "
                    "dimensions {left} and {right}",
                    *ranks,
                ),
            ),
        ],
    )

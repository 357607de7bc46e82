"""How Does Batch Normalization Help Optimization?: the theorems of Santurkar, Tsipras, Ilyas and Madry."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..axes import Axis
from ..standardize import Standardize
from .arrays import at_zero, rationals, symbols
from .core import Correction, Evidence, Fact, Level, Paper, claim, decide
from .facts import exactly, identity

SANTURKAR = Paper("Santurkar et al.", 2018, "How Does Batch Normalization Help Optimization?", "1805.11604")

_LAYOUT = (Axis.SAMPLE, Axis.UNIT)
_STAGE = Standardize(Axis.SAMPLE)


def _generic() -> tuple[Any, Any, Any]:
    """Batch norm of a generic y, a generic gradient g = ∂L/∂z, and ĥ = ∂L̂/∂y with γ = 1."""
    at, g = _STAGE(symbols("y"), _LAYOUT), symbols("G")
    return at, g, at.tangent(g)


def _dot(a: Any, b: Any) -> Any:
    return (a * b).sum(axis=0)


@claim(
    "SAN-4.1",
    SANTURKAR,
    "theorem 4.1, as some copies print it",
    r"$\lVert \nabla_{y} \hat L \rVert^2 \le \frac{\gamma^2}{\sigma^2} \big(\lVert \nabla_{y} L \rVert^2 - "
    r"\frac1m \langle 1, "
    r"\nabla_{y} L \rangle^2 - \frac{1}{\sqrt m} \langle \nabla_{y} L, \hat y \rangle^2\big)$.",
)
def gradient_bound(root: bool = True) -> Evidence:
    import sympy

    from ..symbolic.sums import SIZE

    at, g, h = _generic()
    m = SIZE[Axis.SAMPLE]
    rest = _dot(g, g) - g.sum(axis=0) * g.sum(axis=0) / m - _dot(g, at.value) * _dot(g, at.value) / m
    y = rationals([[1], [1], [-1], [-1]])
    exact = _STAGE(y, _LAYOUT)
    left = (exact.tangent(exact.value) ** 2).sum()
    inner = (exact.value**2).sum()
    right = sympy.Integer(4) - inner**2 / (sympy.sqrt(4) if root else 4)
    text = f"m = 4, y = (1,1,-1,-1), γ = 1, g = ŷ: the left side is {left}, the bound is {right}"
    return decide(
        Fact(text, bool(left <= right), Level.EXACT),
        instead=Correction(
            r"$\lVert \nabla_y \hat L \rVert^2 = \frac{\gamma^2}{\sigma^2} \big(\lVert g \rVert^2 - \frac1m \langle 1, g "
            r"\rangle^2 - \frac1m \langle g, \hat y \rangle^2\big)$, an equality, with $g = \nabla_z L$ and "
            r"$\lVert \hat y "
            r"\rVert^2 = m$.",
            (identity("with 1/m the two sides are equal", _dot(h, h) - rest / (at.sigma * at.sigma)),),
        ),
    )


def curvature_along_gradient(y: Any, g: Any, H: Any, gamma: Any) -> tuple[Any, Any, Any, Any]:
    """ĥᵀĤĥ for L(z) = g·(z - z_0) + ½(z - z_0)ᵀH(z - z_0), from the definition, with ĥ, ŷ and σ; all exact."""
    import sympy

    t = sympy.Symbol("t", real=True)
    at = _STAGE(y, _LAYOUT)
    assert at.sigma is not None
    h = at.tangent(g) * gamma
    z = _STAGE(y + h * t, _LAYOUT).value * gamma
    first, second = (np.vectorize(lambda e, k=k: e.diff(t, k).subs(t, 0), otypes=[object])(z) for k in (1, 2))
    return (first * (H @ first) + g * second).sum(), h, at.value, at.sigma[0, 0]


THEOREM = (
    r"\hat h^\top \hat H \hat h \le \frac{\gamma^2}{\sigma^2} \hat h^\top H \hat h - \frac{\gamma}{m \sigma^2} "
    r"\langle g, \hat "
    r"y \rangle \lVert \hat h \rVert^2"
)


@claim(
    "SAN-4.2",
    SANTURKAR,
    "theorem 4.2, first form",
    rf"${THEOREM}$, with $\hat h = \nabla_y \hat L$, $g = \nabla_z L$, and $H$, $\hat H$ the Hessians of the loss "
    rf"in $z = \gamma "
    r"\hat y + \beta$ and in $y$.",
)
def curvature(factor: int = 1) -> Evidence:
    import sympy

    from ..symbolic.sums import SIZE

    at, _, h = _generic()
    m, t, u = SIZE[Axis.SAMPLE], sympy.Symbol("t", real=True), symbols("u")
    moving = _STAGE(symbols("y") + u * t, _LAYOUT).value
    bent = type(moving)(moving.expr.diff(t, 2).subs(t, 0), moving.indices)
    Pu, along = at.tangent(u) * at.sigma, _dot(u, at.value) / m
    expected = (Pu * along * -2 - at.value * _dot(Pu, Pu) * factor / m) / (at.sigma * at.sigma)
    y, g = rationals([[7], [1], [-1], [-7]]), rationals([[-1], [3], [0], [2]])
    H = rationals([[2, 1, 0, 1], [1, 3, 1, 0], [0, 1, 1, 1], [1, 0, 1, 4]])
    left, hat, value, sigma = curvature_along_gradient(y, g, H, 3)
    right = 9 / sigma**2 * (hat * (H @ hat)).sum() - 3 / (4 * sigma**2) * (g * value).sum() * (hat**2).sum()
    return decide(
        identity("dŷ along u is Pu/σ", at_zero(moving, t) - at.tangent(u)),
        identity("d²ŷ along u is -(2⟨u,ŷ⟩Pu + ŷ‖Pu‖²)/(mσ²)", bent - expected),
        identity(
            "Pĥ = ĥ and ⟨ĥ,ŷ⟩ = 0, so that the two sides are equal", at.tangent(h) * at.sigma - h, _dot(h, at.value)
        ),
        also=[exactly("y = (7,1,-1,-7), g = (-1,3,0,2), γ = 3, an integer H: both sides are {left}", left, right)],
    )


@claim(
    "SAN-4.2-second",
    SANTURKAR,
    "theorem 4.2, second form",
    r"If $H$ also preserves the relative norms of $g$ and $\hat h$: $\hat h^\top \hat H \hat h \le "
    r"\frac{\gamma^2}{\sigma^2} "
    r"\big(g^\top H g - \frac{1}{m\gamma} \langle g, \hat y \rangle \lVert \hat h \rVert^2\big)$.",
)
def curvature_bound(gamma: Any = 1) -> Evidence:
    import sympy

    def sides(g: Any, H: Any, gamma: Any) -> tuple[Any, Any]:
        """Both sides for m = 4 and y = (½,½,-½,-½), so that σ = ½ and ŷ = 2y."""
        y, g, half = rationals([[1], [1], [-1], [-1]]), rationals(g), sympy.Rational(1, 2)
        left, hat, value, sigma = curvature_along_gradient(y * half, g, rationals(H), gamma)
        last = (g * value).sum() * (hat**2).sum() / (4 * gamma)
        return left, gamma**2 / sigma**2 * ((g * (rationals(H) @ g)).sum() - last)

    left, right = sides([[1], [-1], [0], [0]], np.eye(4, dtype=int), sympy.sympify(gamma))
    # H orthogonal to g: gᵀHg = 0, but not ĥᵀHĥ
    v = np.array([[1], [3], [0], [0]])
    other_left, other_right = sides([[3], [-1], [0], [0]], v @ v.T, sympy.Rational(1, 2))
    first, second, rest, scale, spread, m = sympy.symbols("first second rest gamma sigma m")
    bounds = (
        scale**2 / spread**2 * first - scale / (m * spread**2) * rest,
        scale**2 / spread**2 * (second - rest / (m * scale)),
    )
    difference = sympy.expand(bounds[1] - bounds[0] - scale**2 / spread**2 * (second - first))
    return decide(
        Fact(
            f"H = I (which preserves all norms), m = 4, σ = ½, γ = {gamma}, g = (1,-1,0,0): the left side is "
            f"{left}, the bound "
            f"is {right}",
            bool(left <= right),
            Level.EXACT,
        ),
        instead=Correction(
            r"The second form holds if and only if $\hat h^\top H \hat h \le g^\top H g$.",
            (
                exactly(
                    "the two bounds differ by γ²/σ² (gᵀHg - ĥᵀHĥ), and the first is an equality",
                    difference,
                    0,
                    Level.PROVED,
                ),
            ),
            also=(
                Fact(
                    f"without the assumption it also fails for γ = σ: H = vvᵀ, v = (1,3,0,0), g = (3,-1,0,0) has "
                    f"{other_left} "
                    f"against {other_right}",
                    bool(other_left > other_right),
                    Level.EXACT,
                ),
            ),
        ),
    )

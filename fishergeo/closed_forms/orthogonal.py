r"""Layer norm and RMS norm in closed form: white Gaussian inputs, constant Fisher weight v, one gain, orthogonal weights.

With w_i·w_j = ℓ²δ_ij the summed inputs are white, their direction â is uniform on a sphere in m dimensions and
independent of σ and of the rest r of the inputs, x = WᵀCa/ℓ² + r.  With C the projector on these m dimensions
(I - 11ᵀ/H and m = H - 1 for layer norm, I and m = H for RMS norm)

    E[â_iâ_j] = H C_ij/m,   E[â_iâ_jâ_kâ_l] = H² (C_ijC_kl + C_ikC_jl + C_ilC_jk)/(m(m + 2)),
    E[1/σ²] = H/(ℓ²(m - 2)),   E[rrᵀ] = I - WᵀCW/ℓ².
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import sympy
from sympy import Expr, Indexed, IndexedBase, KroneckerDelta, Mul, Symbol

from ..axes import Axis
from ..errors import InputError
from ..families import Floats
from ..model import GLM, Params
from ..normalizers import layer_norm, rms_norm
from ..symbolic import latex as printing
from ..symbolic.arrays import Evaluator
from ..symbolic.atoms import atoms
from ..symbolic.curvature import PHI, Symmetric
from ..symbolic.jacobian import GAIN, derivative, h
from ..symbolic.layout import aligned
from ..symbolic.rules import Rule, rewrite
from ..symbolic.sums import SIZE, I, J, normal, over, resum, terms
from . import averages as of
from .spectra import Spectrum
from .weights import constant_weight

n, d, d2, m, N = of.n, of.d, of.d2, of.m, of.N
H, D = SIZE[Axis.UNIT], SIZE[Axis.INPUT]
w, ahat, r = (IndexedBase(name, real=True) for name in ("w", "ahat", "r"))
g, sigma, ELL = Symbol("g", real=True), IndexedBase("sigma", positive=True), Symbol("ell", positive=True)
k, k2 = (Symbol(name, integer=True) for name in ("k", "k'"))
SEEN, CENTERED, PROJECTOR = (IndexedBase(name, real=True) for name in ("K", "u", "C"))


def C(i: Expr, j: Expr) -> Expr:
    return Symmetric(PROJECTOR, i, j)


@dataclass(frozen=True)
class OrthogonalForm:
    """The weight block of layer norm or RMS norm for orthogonal weight vectors of length ℓ and one gain g."""

    model: GLM

    @property
    def centered(self) -> bool:
        return self.model.normalizer == layer_norm

    @property
    def dimension(self) -> Expr:
        """m, the dimension of the sphere's space."""
        return H - 1 if self.centered else H

    @property
    def definitions(self) -> tuple[Rule, ...]:
        """C projects the units on m dimensions, u = CW are the weights as they are seen, K = WᵀCW/ℓ² the inputs."""
        return (
            Rule(C(I, J), KroneckerDelta(I, J) - (1 / H if self.centered else 0)),
            Rule(CENTERED[I, d], over(C(I, k) * w[k, d], k)),
            Rule(Symmetric(SEEN, d, d2), over(w[k, d] * CENTERED[k, d2], k) / ELL**2),
        )

    @cached_property
    def rules(self) -> list[Rule]:
        """Means over cases, and sums over units."""
        size, zero = self.dimension, sympy.Integer(0)
        q = H / (ELL**2 * (size - 2))
        seen, rest = Symmetric(SEEN, d, d2), KroneckerDelta(d, d2) - Symmetric(SEEN, d, d2)
        pair = ahat[m, I] * ahat[m, J]
        two = H * C(I, J) / size
        four = C(I, J) * C(k, k2) + C(I, k) * C(J, k2) + C(I, k2) * C(J, k)
        return [
            Rule(over(r[m, d] * r[m, d2] / sigma[m] ** 2, m), N * q * rest),
            Rule(over(r[m, d] * r[m, d2] * pair / sigma[m] ** 2, m), N * q * two * rest),
            Rule(over(r[m, d] * ahat[m, k] / sigma[m], m), zero),
            Rule(over(r[m, d] * ahat[m, k] * pair / sigma[m], m), zero),
            Rule(over(pair, m), N * two),
            Rule(over(pair * ahat[m, k] * ahat[m, k2], m), N * H**2 * four / (size * (size + 2))),
            Rule(over(C(k, k2) * w[k, d] * w[k2, d2], k, k2), ELL**2 * seen),
            Rule(over(C(I, k) * w[k, d], k), CENTERED[I, d]),
        ]

    @cached_property
    def expr(self) -> Expr:
        """F̄_ij of the weights, with the free indices i, j, d and d'."""
        return _weights(self)

    def latex(self) -> str:
        """The block and what its names stand for, as one LaTeX display."""
        names = [(printing.latex(rule.left), printing.latex(rule.right)) for rule in self.definitions]
        return aligned([(printing.block_name("weight", "weight"), printing.latex(self.expr)), *names])

    def evaluate(self, p: Params) -> Floats:
        """The block (H, H, D, D) at parameters; raises `InputError` where these are not of that kind."""
        W, gain = np.asarray(p.weight, float), np.asarray(p.gain, float)
        units, inputs = W.shape
        least = 4 if self.centered else 3
        square = float((W**2).sum() / units)
        if units < least or inputs < units:
            raise InputError(
                f"{self.model.normalizer.name} got H={units}, D={inputs}: the closed form needs {least} <= H <= D, so "
                "that E[1/σ²] is finite and the weight vectors can be orthogonal"
            )
        if np.abs(W @ W.T - square * np.eye(units)).max() > 1e-9 * square or np.ptp(gain) > 1e-9 * np.abs(gain).max():
            raise InputError(
                f"{self.model.normalizer.name}: the closed form needs orthogonal weight vectors of one length, and one "
                "gain; use fg.fisher for others"
            )
        values: dict[Any, Any] = {symbol: np.asarray(number) for symbol, number in self.numbers(p).items()}
        values[w.label], sizes = W, {Axis.UNIT: units, Axis.INPUT: inputs}
        for rule in self.definitions:
            values[rule.left.base.label] = Evaluator(values, sizes)(rule.right, rule.left.indices)
        return np.array(Evaluator(values, sizes)(self.expr, (I, J, d, d2)))

    def numbers(self, p: Params) -> dict[Symbol, float]:
        """The numbers that g, ℓ, φ, H and D stand for."""
        units, inputs = np.shape(p.weight)
        length = float(np.linalg.norm(p.weight)) / np.sqrt(units)
        return {g: float(np.mean(np.asarray(p.gain))), ELL: length, PHI: self.model.dispersion, H: units, D: inputs}

    @property
    def spectrum(self) -> Spectrum:
        """The eigenvalues of the weight block, of antisymmetric, symmetric traceless and other directions CB, and 0."""
        size, weight = self.dimension, constant_weight(self.model.family, self.model.link)
        phi = PHI if self.model.family.free_dispersion else 1
        scale = g**2 * weight * H / (ELL**2 * phi)
        return Spectrum(
            (
                (scale / size, size * (size - 1) / 2),
                (scale / (size + 2), (size - 1) * (size + 2) / 2),
                (scale * (size - 1) / (size * (size - 2)), sympy.factor(size * (D - size))),
                (sympy.Integer(0), sympy.expand((H - size) * D + 1)),
            )
        )


@lru_cache(maxsize=16)
def _weights(form: OrthogonalForm) -> Expr:
    normalizer = form.model.normalizer
    weight = constant_weight(form.model.family, form.model.link)
    (left, own), (right, other) = (
        derivative(normalizer, "weight").at(unit, h, place) for unit, place in ((I, d), (J, d2))
    )
    one_gain = Rule(GAIN.expr, g)
    unit = KroneckerDelta(I, J)
    mixed = rewrite(resum(normal(rewrite(left, [one_gain]) * rewrite(right, [one_gain])), (h,)), atoms(normalizer).known)
    inside = Rule(IndexedBase("x", real=True)[n, d], r[n, d] + over(w[k, d] * sigma[n] * ahat[n, k], k) / ELL**2)
    mixed = mixed.xreplace({unit: C(I, J) + (1 / H if form.centered else 0)})
    total = resum(normal(weight * mixed * rewrite(own, [inside]) * rewrite(other, [inside])), (n,))
    phi = PHI if form.model.family.free_dispersion else 1
    found = rewrite(total / (N * phi), form.rules)
    return gathered(found, g**2 * H * weight / (ELL**2 * phi))


def gathered(expr: Expr, scale: Expr) -> Expr:
    """The expression as ``scale`` times a sum in which every product of entries occurs once."""
    parts: dict[Expr, Expr] = {}
    for term in terms(normal(expr / scale)):
        entries = Mul(*(f for f in term if f.has(Indexed, KroneckerDelta)))
        parts[entries] = parts.get(entries, sympy.Integer(0)) + Mul(*term) / entries
    return scale * sympy.Add(*(entries * sympy.factor(number) for entries, number in parts.items()))


def orthogonal_form(model: GLM) -> OrthogonalForm:
    """The weight block of `layer_norm` or `rms_norm` for white Gaussian inputs and orthogonal weight vectors.

    Raises `InputError` for another normalizer, and for a Fisher weight that is not constant.
    """
    if not isinstance(model, GLM) or model.normalizer not in (layer_norm, rms_norm):
        raise InputError(f"orthogonal_form got {model!r:.80}: it is for layer_norm and rms_norm with ε = 0")
    if model.family.mixing is not None or constant_weight(model.family, model.link) is None:
        raise InputError(
            f"{model.family.name}: under {model.normalizer.name} the Fisher weight would have to be constant, as that "
            "of fg.gaussian; otherwise the mean is an integral over all units"
        )
    return OrthogonalForm(model)

r"""Fisher blocks in closed form: the mean over cases of `fisher_block`, taken over a population of inputs.

    F̄_ij = (1/φ) E_x[Σ_hk (∂z_h/∂row_i) η''_hk (∂z_k/∂column_j)]

A normalizer whose statistics are those of the population, or of the weights, makes every z_h an affine function of x.
Then mean and covariance of the inputs give F̄ for a constant Fisher weight, and for Gaussian inputs and independent
outputs the moments κ_k = E[η''(ν + tξ) ξᵏ] of each unit give it for any weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import sympy
from numpy.typing import ArrayLike
from sympy import Expr, Indexed, IndexedBase, KroneckerDelta, Symbol

from ..axes import Axis
from ..errors import InputError
from ..families import Floats
from ..families.core import real_array
from ..model import GLM, Params
from ..symbolic import latex as printing
from ..symbolic.arrays import Evaluator
from ..symbolic.atoms import INPUT
from ..symbolic.blocks import PARTS
from ..symbolic.curvature import ETA, PHI, Symmetric
from ..symbolic.jacobian import GAIN, derivative, h
from ..symbolic.layout import aligned
from ..symbolic.rules import Rule
from ..symbolic.sums import SIZE, I, J, normal, resum
from . import averages as of
from .inputs import Inputs, white_inputs
from .population import LOCATION, SLOPE, Population, collected, used
from .weights import check_unbounded, constant_weight, elementary_moments, fisher_weight, moments_at, sampled

LENGTH = IndexedBase("ell", positive=True)  # of w_i
DETERMINANT = Symbol("Delta", positive=True)  # of S
VARIANCE = IndexedBase("V", real=True)  # η'' of mixed outputs, the same for every case
_k = Symbol("k'", integer=True)


@dataclass(frozen=True)
class ClosedBlock:
    """A block F̄_ij in closed form: ``expr`` has the free indices i, j (units) and d, d' (inputs)."""

    form: ClosedForm
    row: str
    column: str
    expr: Expr

    @property
    def indices(self) -> tuple[Symbol, ...]:
        """The free indices in the order of the axes of `lambdify`: i, j, then d, d' for weights."""
        return (I, J, *((of.d,) if self.row == "weight" else ()), *((INPUT,) if self.column == "weight" else ()))

    @property
    def definitions(self) -> list[Rule]:
        """What the names in ``expr`` stand for, in terms of w, b, g, x̄, S and the names before."""
        return used(self.form.definitions, [self.expr])

    def subs(self, *arguments: Any, **options: Any) -> ClosedBlock:
        """The block with symbols replaced in ``expr``, as `sympy.Basic.subs` does."""
        return replace(self, expr=self.expr.subs(*arguments, **options))

    def lambdify(self) -> Callable[..., Floats]:
        """The NumPy function f(p, mean, covariance) -> (H, H[, D][, D]); moments only where the inputs are not white."""
        return lambda p, mean=None, covariance=None: self.form.evaluate([self], p, mean, covariance)[0]

    def latex(self) -> str:
        """The block as one LaTeX equation."""
        return f"{printing.block_name(self.row, self.column)} = {printing.latex(self.expr)}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def _latex(self, printer: Any) -> str:
        return printing.latex(self.expr)

    def __repr__(self) -> str:
        return f"ClosedBlock({self.row} x {self.column}, {self.expr})"


@dataclass(frozen=True)
class ClosedForm:
    """The Fisher matrix of a model in closed form, its mean over cases taken over the population ``inputs``."""

    model: GLM
    inputs: Inputs

    @cached_property
    def population(self) -> Population:
        return Population(self.model.normalizer, self.inputs)

    @cached_property
    def weight(self) -> Expr:
        """The Fisher weight v(z) = (dμ/dz)²/V."""
        return fisher_weight(self.model.family, self.model.link)

    @property
    def constant(self) -> bool:
        """Whether the Fisher weight is constant: then F depends on the inputs through mean and covariance alone."""
        return constant_weight(self.model.family, self.model.link) is not None

    @cached_property
    def moments(self) -> tuple[Rule, ...]:
        """κ₀, κ₁, κ₂ of unit i as functions of ν_i and t_i; empty where they are integrals that are not elementary."""
        found = elementary_moments(self.weight, LOCATION[I], SLOPE[I])
        return () if found is None else tuple(Rule(k[I], value) for k, value in zip(of.KAPPA, found))

    @property
    def definitions(self) -> tuple[Rule, ...]:
        """What the names in the blocks stand for."""
        return (*self.population.definitions, *(() if self.constant else self.moments))

    @property
    def parts(self) -> tuple[str, ...]:
        return PARTS if self.model.normalizer.has_gain else PARTS[:2]

    @property
    def conditions(self) -> tuple[str, ...]:
        """What must hold for the formulas to be those of `fisher`."""
        found = [self.inputs.name]
        if self.inputs.gaussian and any(stage.over - {Axis.INPUT} for _, stage in self.model.normalizer.stages):
            found.append("batch statistics are those of the population (N → ∞), and are differentiated")
        return tuple(found)

    def block(self, row: str, column: str) -> ClosedBlock:
        """The block of ``row`` and ``column``, each "weight", "bias" or "gain"."""
        for part in (row, column):
            if part not in self.parts:
                raise InputError(f"the closed form got the part {part!r}: this model has {', '.join(self.parts)}")
        return ClosedBlock(self, row, column, _block(self, row, column))

    def evaluate(
        self,
        blocks: list[ClosedBlock],
        p: Params,
        mean: ArrayLike | None = None,
        covariance: ArrayLike | None = None,
        xi: ArrayLike | None = None,
    ) -> list[Floats]:
        """Blocks (H, H[, D][, D]) at parameters; ``mean`` (D,) and ``covariance`` (D, D) of the inputs unless white.

        With ``xi`` the moments κ are means over these numbers instead of integrals over N(0, 1).
        """
        values, sizes = self._values(p, mean, covariance, xi)
        blocks_ = [Evaluator(values, sizes)(block.expr, block.indices) for block in blocks]
        return [np.array(block) for block in blocks_]

    def _values(self, p: Params, mean: Any, covariance: Any, xi: Any = None) -> tuple[dict[Any, Any], dict[Axis, int]]:
        H, D = np.shape(p.weight)
        if self.inputs.white != (mean is None and covariance is None):
            wanted = "no moments" if self.inputs.white else "mean (D,) and covariance (D, D)"
            raise InputError(f"a closed form for {self.inputs.name} needs {wanted} of the inputs beside the parameters")
        m, S = np.zeros(D), np.eye(D)
        if not self.inputs.white:
            m, S = (real_array(array, "the moments are an array").astype(float) for array in (mean, covariance))
            if m.shape != (D,) or S.shape != (D, D) or not np.allclose(S, S.T, rtol=1e-12, atol=0):
                raise InputError(f"moments have shapes {m.shape} and {S.shape}: give ({D},) and a symmetric ({D}, {D})")
        if self.model.normalizer.inputs:
            deviation = np.sqrt(np.diag(S))
            m, S = np.zeros(D), S / np.outer(deviation, deviation)
        self.model.checked(p, np.zeros((1, D)))
        sizes = {Axis.UNIT: H, Axis.INPUT: D}
        values: dict[Any, Any] = {
            IndexedBase("w", real=True).label: p.weight,
            IndexedBase("b", real=True).label: p.bias,
            GAIN.expr.base.label: p.gain,
            of.MEAN.label: m,
            of.COVARIANCE.label: S,
            PHI: np.asarray(self.model.dispersion),
        }
        mixing = self.model.family.mixing
        if mixing is not None:
            values[VARIANCE.label] = np.asarray(mixing) @ np.asarray(mixing).T
        for rule in self.population.definitions:
            indices = tuple(getattr(rule.left, "indices", ()))
            label = rule.left.base.label if indices else rule.left
            values[label] = Evaluator(values, sizes)(rule.right, indices)
        if not self.constant:
            location, slope = values[LOCATION.label], values[SLOPE.label]
            found = moments_at(self.weight, location, slope) if xi is None else sampled(self.weight, location, slope, xi)
            for kappa, value in zip(of.KAPPA, found):
                values[kappa.label] = np.broadcast_to(value, (H,))
        return values, sizes

    def numbers(
        self,
        p: Params,
        unit: int = 0,
        mean: ArrayLike | None = None,
        covariance: ArrayLike | None = None,
        xi: ArrayLike | None = None,
    ) -> dict[Expr, float]:
        """The numbers that the names of unit i stand for at parameters, as formulas for one unit need them."""
        values, sizes = self._values(p, mean, covariance, xi)
        found: dict[Expr, Any] = {SIZE[axis]: sympy.Integer(size) for axis, size in sizes.items()}
        named = [rule.left for rule in self.population.definitions if isinstance(rule.left, Indexed)]
        for atom in (*named, *(k[I] for k in of.KAPPA), GAIN.expr):
            array = values.get(atom.base.label)
            if array is not None and np.ndim(array) == 1:
                found[atom.xreplace({h: I})] = float(array[unit])
        if self.constant:
            found |= {k[I]: float(self.weight * (j != 1)) for j, k in enumerate(of.KAPPA)}
        w = np.asarray(p.weight, float)[unit]
        S = np.eye(len(w)) if covariance is None else np.asarray(covariance, float)
        length, volume = float(np.linalg.norm(w)), float(np.linalg.det(S))
        return {**found, PHI: float(self.model.dispersion), LENGTH[I]: length, DETERMINANT: volume}

    def to_dense(
        self,
        p: Params,
        mean: ArrayLike | None = None,
        covariance: ArrayLike | None = None,
        xi: ArrayLike | None = None,
    ) -> Floats:
        """F (P, P) in the order of `Params.ravel`; the arguments are those of `evaluate`."""
        pairs = [(row, column) for row in self.parts for column in self.parts]
        blocks = dict(zip(pairs, self.evaluate([self.block(*pair) for pair in pairs], p, mean, covariance, xi)))
        H, D = np.shape(p.weight)
        size = D + len(self.parts) - 1
        place = {"weight": slice(D), "bias": slice(D, D + 1), "gain": slice(D + 1, D + 2)}
        F = np.empty((H, size, H, size))
        for (row, column), block in blocks.items():
            wide = block.reshape(H, H, D if row == "weight" else 1, D if column == "weight" else 1)
            F[:, place[row], :, place[column]] = wide.transpose(0, 2, 1, 3)
        return F.reshape(H * size, H * size)

    def latex(self) -> str:
        """All blocks and what their names stand for, as one LaTeX display."""
        blocks = [self.block(r, c) for k, r in enumerate(self.parts) for c in self.parts[k:]]
        rules = used(self.definitions, [block.expr for block in blocks])
        shown = [(printing.block_name(block.row, block.column), printing.latex(block.expr)) for block in blocks]
        return aligned([*shown, *((printing.latex(rule.left), printing.latex(rule.right)) for rule in rules)])

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def __repr__(self) -> str:
        link = "" if self.model.link is None else f", {self.model.link.name} link"
        return (
            f"ClosedForm({self.model.family.name}{link}, {self.model.normalizer.name}, {'; '.join(self.conditions)}, "
            f"φ={self.model.dispersion:g})"
        )


def closed_form(model: GLM, inputs: Inputs = white_inputs) -> ClosedForm:
    """The Fisher matrix of a model as formulas, its mean over cases taken over a population of inputs.

        F̄_ij = (1/φ) E_x[Σ_hk (∂z_h/∂row_i) η''_hk (∂z_k/∂column_j)]

    ``inputs`` is `white_inputs` (x ~ N(0, I)), `gaussian_inputs` (any mean and covariance) or `any_inputs` (any
    distribution with these moments, for a constant Fisher weight: a Gaussian family, or a link that stabilizes the
    variance).  For any inputs the formulas are those of `fisher` on every batch with these moments; for Gaussian ones
    they are its limit for many cases.  Raises `InputError` where there is no closed form, and says why.
    """
    if not isinstance(model, GLM) or not isinstance(inputs, Inputs):
        raise InputError(
            f"closed_form got {model!r:.60} and inputs={inputs!r:.60}: give a GLM and fg.white_inputs, "
            "fg.gaussian_inputs or fg.any_inputs"
        )
    return _form(model, inputs)


@lru_cache(maxsize=256)
def _form(model: GLM, inputs: Inputs) -> ClosedForm:
    form = ClosedForm(model, inputs)
    assert form.population.run
    weight = fisher_weight(model.family, model.link)
    if not inputs.gaussian and not form.constant:
        raise InputError(
            f"{model.family.name}: its Fisher weight {weight} depends on z, so mean and covariance of the inputs do not "
            "determine F; give fg.white_inputs or fg.gaussian_inputs"
        )
    if inputs.gaussian:
        check_unbounded(model.family, model.link)
    return form


@lru_cache(maxsize=1024)
def _block(form: ClosedForm, row: str, column: str) -> Expr:
    """Average ∂z_h/∂row_i η''_hk ∂z_k/∂column_j over the population."""
    population = form.population
    left, right = (
        population.named(normal(mixing * vector))
        for part, unit, inner, place in ((row, I, h, of.d), (column, J, _k, INPUT))
        for mixing, vector in [derivative(form.model.normalizer, part).at(unit, inner, place)]
    )
    if form.model.family.mixing is not None:
        weight: Expr = Symmetric(VARIANCE, h, _k)
    elif form.constant:
        weight = KroneckerDelta(h, _k) * form.weight
    else:
        weight = KroneckerDelta(h, _k) * ETA[of.n, h]
    total = resum(normal(left * weight * right), (h, _k))
    found = population.average(total, independent=not form.constant)
    phi = PHI if form.model.family.free_dispersion else sympy.Integer(1)
    return collected(found / phi)

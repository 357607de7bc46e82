r"""The blocks F̄_ij of the Fisher matrix in index notation, for all sizes, derived from a normalizer's own definition.

    F̄_ij = 1/(Nφ) Σ_n Σ_hk (∂z_nh/∂row_i) η''_n,hk (∂z_nk/∂column_j)        (Ba, Kiros, Hinton 2016, eq. 12-14)

The normalizer is run on index-notation arrays and its tangent is taken in the direction of one weight; every moment is
a named quantity.  A derivative that factors, ∂z_nh/∂w_id = M_n,hi ξ_nid, gives F̄_ij = E[(Mᵀη''M)_ij ξ_i ξ_jᵀ]/φ: M is
the identity where each unit is normalized by itself, and diag(g) P/σ where the units of a case are normalized together.
Under a link z = g(μ) other than the canonical one (dμ/dz)²/V(μ) stands for η''.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import sympy
from sympy import Expr, KroneckerDelta, Mul, Sum, Symbol

from ..axes import Axis
from ..errors import InputError
from ..families import Family
from ..links import Link, canonical, curve
from ..model import GLM, Params
from ..normalizers import Normalized, Normalizer
from . import latex as printing
from .arrays import FLOATS, Evaluator, Numbers
from .atoms import INPUT, atoms
from .curvature import (
    ETA,
    MEAN,
    PHI,
    POSITIVE_PREDICTOR,
    PREDICTOR,
    TRIALS,
    at_positions,
    curvature,
    dispersion,
    insert,
    k,
    weight_function,
)
from .jacobian import GAIN, Derivative, derivative, h, primitive
from .rules import Rule, rewrite
from .sums import INDEX, SIZE, I, J, axis_of, normal, over, rename, resum
from .vectors import matrix_form

n, d = INDEX[Axis.SAMPLE], INDEX[Axis.INPUT]
CASES = (n, INDEX[Axis.POSITION])
PARTS = ("weight", "bias", "gain")


@dataclass(frozen=True)
class FisherBlock:
    """The block F̄_ij (row, column) for all sizes: ``expr`` has the free indices i, j (units) and d, d' (inputs)."""

    normalizer: Normalizer
    row: str
    column: str
    family: Family | None
    expr: Expr
    link: Link | None = None

    @property
    def indices(self) -> tuple[Symbol, ...]:
        """The free indices in the order of the axes that `lambdify` gives: i, j, then d, d' for weights."""
        return (I, J, *((d,) if self.row == "weight" else ()), *((INPUT,) if self.column == "weight" else ()))

    @property
    def derivatives(self) -> tuple[Derivative, Derivative]:
        """∂z_nh/∂row and ∂z_nh/∂column."""
        return derivative(self.normalizer, self.row), derivative(self.normalizer, self.column)

    @property
    def definitions(self) -> tuple[Rule, ...]:
        """What the names in ``expr`` stand for, each in terms of x, w and the names before it."""
        return atoms(self.normalizer).definitions

    @cached_property
    def canonical(self) -> Expr:
        """``expr`` with all products distributed: two equal blocks have the same one."""
        return atoms(self.normalizer).tidy(self.expr)

    def subs(self, *arguments: Any, **options: Any) -> FisherBlock:
        """The block with symbols replaced in ``expr``, as `sympy.Basic.subs` does."""
        return replace(self, expr=self.expr.subs(*arguments, **options))

    def lambdify(self) -> Callable[[GLM, Params, Any], Any]:
        """The NumPy function f(model, p, X) -> (H, H[, D][, D]): f(...)[i, j] is the block of units i and j.

        It raises `InputError` for another normalizer, family or link; the block of any family is that of any link.
        """

        def block(model: GLM, p: Params, X: Any) -> Any:
            fits = self.family is None or (self.family, self.link) == (model.family, _bent(model.family, model.link))
            if model.normalizer != self.normalizer or not fits:
                raise InputError(
                    f"this block is of {_named(self.normalizer, self.family, self.link)}, the model has "
                    f"{_named(model.normalizer, model.family, model.link)}: ask fisher_block for the block of this model"
                )
            at = model.linearize(p, X)
            independent = self.family is not None and not self.family.joint
            weights = at.hessian.d if independent else at.hessian.dense()
            with np.errstate(under="ignore"):
                return self.on(at.normalized, at.params.gain, weights, at.mean, model.dispersion, predictor=at.Z)

        return block

    def on(
        self,
        at: Normalized,
        gain: Any,
        curvature: Any,
        mean: Any = None,
        phi: Any = 1,
        numbers: Numbers = FLOATS,
        predictor: Any = None,
    ) -> Any:
        """The block of a run of the normalizer on concrete arrays; η'' is (N, H, H), for independent outputs (N, H).

        μ and z are (N, H), needed where ``expr`` has them.
        """
        sizes = {Axis.SAMPLE: at.A.shape[0], Axis.INPUT: at.Xhat.shape[-1], Axis.UNIT: at.A.shape[-1]}
        cases = at.A.shape[:-1]
        if self.normalizer.tells_positions_apart:
            sizes[Axis.POSITION] = cases[1] if len(cases) == 2 else 1
            cases = (sizes[Axis.SAMPLE], sizes[Axis.POSITION])
        elif len(cases) == 2:
            if not self.normalizer.flattens:
                raise InputError(
                    f"the blocks of {self.normalizer.name} are those of inputs (N, D): give one position at a time"
                )
            sizes[Axis.SAMPLE] = math.prod(cases)
            cases = (sizes[Axis.SAMPLE],)
        curvature, mean, predictor = (_laid_out(array, cases, at.A.ndim - 1) for array in (curvature, mean, predictor))
        counts = None if self.family is None else self.family.counts(at.A.shape)
        trials = np.repeat(counts[0].ravel(), cases[0] // len(at.A)) if counts else None
        values = {
            **atoms(self.normalizer).numbers(self.normalizer, at, sizes, numbers),
            GAIN.expr.base.label: gain,
            ETA.label: curvature,
            MEAN.label: mean,
            PREDICTOR.label: predictor,
            POSITIVE_PREDICTOR.label: predictor,
            TRIALS.label: trials,
            PHI: numbers.array(numbers.number(phi)),
        }
        return Evaluator(values, sizes, numbers)(self.expr, self.indices)

    def latex(self) -> str:
        """The block in index notation, as one LaTeX equation."""
        return f"{printing.block_name(self.row, self.column)} = {printing.latex(self.expr)}"

    def matrix_latex(self) -> str:
        """The block in matrix form, with what its symbols stand for; ω is what stands for η'' under a link."""
        shape = None
        if self.family is not None and self.family.mixing is None:
            weight = curvature(self.family)
            weight = weight if self.family.coupled else insert(weight, weight_function(self.family, self.link))
            shape = weight.xreplace({k: Symbol("k", integer=True)})
        return matrix_form(
            self.row, self.column, self.derivatives, shape, dispersion(self.family), bent=self.link is not None
        )

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def _latex(self, printer: Any) -> str:
        return printing.latex(self.expr)

    def __repr__(self) -> str:
        of = _named(self.normalizer, self.family, self.link)
        return f"FisherBlock({self.row} x {self.column}, {of}: {self.expr})"


def _named(normalizer: Normalizer, family: Family | None, link: Link | None) -> str:
    """E.g. "batch_norm and bernoulli under the probit link"."""
    under = "" if link is None else f" under the {link.name} link"
    return normalizer.name + (" and any family" if family is None else f" and {family.name}{under}")


def _bent(family: Family, link: Link | None) -> Link | None:
    """The link where it is not the canonical one, by whatever name; raises `InputError` where the family has none."""
    found = None if link is None else curve(family, link)
    return None if found is None or found.trivial else link


def _laid_out(array: Any, cases: tuple[int, ...], own: int) -> Any:
    """An array with its first ``own`` axes replaced by ``cases``; None stays."""
    return None if array is None else np.reshape(array, (*cases, *np.shape(array)[own:]))


def fisher_block(
    normalizer: Normalizer, row: str, column: str, family: Family | None = None, link: Link | None = None
) -> FisherBlock:
    """The block F̄_ij of ``row`` and ``column`` (each "weight", "bias" or "gain") in index notation, for all sizes.

    Without a family η'' is any symmetric matrix; with one it is written with the mean μ = E[y], and φ = 1 where the
    family fixes it.  Under a ``link`` z = g(μ), F̄_ij = 1/(Nφ) Σ_n Σ_h (∂z_nh/∂row_i) ω_nh (∂z_nh/∂column_j) with
    ω = (dμ/dz)²/V(μ), written with μ or the predictor z (McCullagh, Nelder 1989, section 2.5).  Raises `InputError` for
    an unknown part, for the gain of a normalizer that has none, for a link without a family and, as `GLM` does, for
    dependent outputs under a link that is not canonical.
    """
    if not isinstance(normalizer, Normalizer) or not isinstance(family, Family | None):
        raise InputError(f"fisher_block got {normalizer!r} and family={family!r}: give a Normalizer and a Family or None")
    if not isinstance(link, Link | None):
        raise InputError(f"fisher_block got link={link!r}: give a link such as fg.links.probit, or leave link=None")
    for part in (row, column):
        if part not in PARTS:
            raise InputError(f"fisher_block got the part {part!r}: use 'weight', 'bias' or 'gain'")
    if family is None and link not in (None, canonical):
        raise InputError(
            f"fisher_block got the {link.name} link without a family: η'' stands for (dμ/dz)²/V(μ) of any family; "
            "give the family too, or leave link=None"
        )
    return _block(normalizer, row, column, family, None if family is None else _bent(family, link))


@lru_cache(maxsize=1024)
def _block(normalizer: Normalizer, row: str, column: str, family: Family | None, link: Link | None) -> FisherBlock:
    (left, own), (right, other) = (
        derivative(normalizer, part).at(unit, inner, place)
        for part, unit, inner, place in ((row, I, h, d), (column, J, k, INPUT))
    )
    known = atoms(normalizer)
    if INPUT in derivative(normalizer, row).mixing.free_symbols | derivative(normalizer, column).mixing.free_symbols:
        body = _contracted(left, curvature(family), right) * own * other
    else:
        weight = rewrite(resum(normal(left * curvature(family) * right), (h, k)), known.known)
        if weight.has(KroneckerDelta) and weight.xreplace({KroneckerDelta(I, J): sympy.Integer(0)}) == 0:
            other = rename(other, {J: I})
        body = Mul(*primitive(weight)) * own * other
    if family is not None and not family.coupled:
        body = insert(body, weight_function(family, link))
    cases = CASES[: 1 + normalizer.tells_positions_apart]
    if len(cases) == 2:
        body = at_positions(body, cases)
    outside = Mul(*(f for f in Mul.make_args(body) if not f.free_symbols & set(cases)))
    inside = Mul(*(f for f in Mul.make_args(body) if f.free_symbols & set(cases)))
    mean = outside if inside == 1 else outside * over(inside, *cases) / Mul(*(SIZE[axis_of(i)] for i in cases))
    return FisherBlock(normalizer, row, column, family, mean / dispersion(family), link)


def _contracted(left: Expr, weight: Expr, right: Expr) -> Expr:
    """Σ_hk left η''_hk right with the sums written out but not distributed, for derivatives that do not factor."""
    first, size = Symbol("k", integer=True), SIZE[Axis.UNIT]
    if weight.is_Mul and KroneckerDelta(h, k) in weight.args:  # independent outputs
        weight, right = weight.xreplace({KroneckerDelta(h, k): sympy.Integer(1)}), rename(right, {k: h})
    product = Mul(*(rename(factor, {h: first}) for factor in (left, weight, right)))
    units = [index for index in (first, k) if index in product.free_symbols]
    return Sum(product, *((index, 1, size) for index in units))

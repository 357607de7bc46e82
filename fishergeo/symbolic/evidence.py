"""How certain the symbolic blocks are: derivatives and blocks compared with their definitions, for all sizes."""

from __future__ import annotations

from functools import lru_cache

from sympy import Expr, IndexedBase, Mul, Symbol

from ..axes import Site
from ..normalizers import Normalizer, Stage
from .atoms import INPUT, atoms
from .blocks import CASES, FisherBlock, d
from .curvature import Symmetric, at_positions, curvature, dispersion, insert, k, weight_function
from .groups import LargestEigenvalue
from .jacobian import derivative, h
from .rules import Partial, Rule, vanishes
from .sums import SIZE, I, J, axis_of, is_index, over, rename, terms

_MOST = 100  # products of terms
_W, _U, _V = (IndexedBase(letter, real=True) for letter in "wuv")
_ATTAINED = over(_W[k, INPUT] * _U[k] * _V[INPUT], k, INPUT)
_FIRST = Symbol("k", integer=True)


def derivative_is_proved(normalizer: Normalizer) -> bool:
    """Whether the derivative of each stage is that of its definition; the chain rule puts them together.

    The largest singular value is the maximum of uᵀWv, which does not change to first order with the unit vectors u and v.
    """
    return all(_stage_is_proved(site, stage) for site, stage in normalizer.stages if site is not Site.INPUTS)


@lru_cache(maxsize=256)
def _stage_is_proved(site: Site, stage: Stage) -> bool:
    alone = Normalizer("stage", weight=stage) if site is Site.WEIGHT else Normalizer("stage", summed=stage)
    named = atoms(alone)
    definitions = [
        Rule(rule.left, _ATTAINED) if rule.right.has(LargestEigenvalue) else rule for rule in named.definitions
    ]
    return vanishes(Partial(named.value, _W[I, INPUT]) - named.jvp(), definitions=definitions)


def definition(block: FisherBlock, letter: str = "eta") -> Expr:
    """1/(Nφ) Σ_n Σ_kk' (∂z_nk/∂row_i) η''_nkk' (∂z_nk'/∂column_j): what the block is defined to be."""
    cases = CASES[: 1 + block.normalizer.tells_positions_apart]
    z, kernel = IndexedBase("z", real=True), IndexedBase(letter, real=True)
    left, right = (
        Partial(z[(*cases, unit)], IndexedBase(part[0], real=True)[(at, column) if part == "weight" else at])
        for part, unit, at, column in ((block.row, _FIRST, I, d), (block.column, k, J, INPUT))
    )
    total = over(left * Symmetric(kernel, *cases, _FIRST, k) * right, *cases, _FIRST, k)
    return total / Mul(*(SIZE[axis_of(index)] for index in cases)) / dispersion(block.family)


@lru_cache(maxsize=1024)
def block_is_proved(block: FisherBlock) -> bool:
    """Whether the block is Σ (∂z/∂row) η'' (∂z/∂column) of the derivatives, given what is known of the names in them.

    Derivatives that do not factor enter as names, which stand for any derivative; others of so many terms that their
    products would take long are not decided: False.
    """
    (left, own), (right, other) = (
        derivative(block.normalizer, part).at(unit, inner, place)
        for part, unit, inner, place in ((block.row, I, _FIRST, d), (block.column, J, k, INPUT))
    )
    expr = block.expr
    if not derivative(block.normalizer, "weight").separate and own == other == 1:
        expr, left, right = _with_names(expr, left, right)
    elif len(terms(left)) * len(terms(right)) > _MOST:
        return False
    family, cases = block.family, CASES[: 1 + block.normalizer.tells_positions_apart]
    weight = rename(curvature(family), {h: _FIRST})
    if family is not None and not family.joint:
        weight = insert(weight, weight_function(family, block.link))
    if len(cases) == 2:
        weight = at_positions(weight, cases)
    total = over(left * weight * right * own * other, *cases, _FIRST, k)
    total = total / Mul(*(SIZE[axis_of(index)] for index in cases)) / dispersion(family)
    return vanishes(expr - total, atoms(block.normalizer).known)


def _with_names(expr: Expr, left: Expr, right: Expr) -> tuple[Expr, Expr, Expr]:
    """The block with the sums that its two derivatives are named: u for that of the row, v for that of the column."""
    names: dict[Expr, Expr] = {}
    for letter, side, unit in (("u", left, _FIRST), ("v", right, k)):
        free = sorted((s for s in side.free_symbols if is_index(s) and s != unit), key=str)
        if side.is_Add:
            for inner in (_FIRST, k):
                names[rename(side, {unit: inner})] = IndexedBase(letter, real=True)[(inner, *free)]
    return expr.xreplace(names), names.get(left, left), names.get(right, right)

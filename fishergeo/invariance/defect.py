"""What ε > 0 leaves of an invariance that holds for ε = 0, as an exact factor."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import sympy
from sympy import Expr

from ..errors import InputError
from ..normalizers import Normalizer
from ..standardize import Standardize
from ..symbolic.latex import latex
from ..transformations import Transformation
from .chain import Chain, Scaled
from .proof import prove
from .witness import changes_somewhere

EPSILON = sympy.Symbol("epsilon", positive=True)
SPREAD = sympy.Symbol("sigma", positive=True)


@dataclass(frozen=True)
class Defect:
    """``quantity`` becomes factor · quantity: in terms of ε, of δ, and of the spread σ that its cell has without ε.

    Where an earlier σ of another cell changes by no power of δ, the factor has it before and after: ``given`` holds both,
    as they stand in the factor, with the place of their stage in `Normalizer.stages`.
    """

    normalizer: Normalizer
    transformation: Transformation
    quantity: str
    factor: Expr
    given: tuple[tuple[int, Expr, Expr], ...] = ()

    def latex(self) -> str:
        """The change as one line of mathematics."""
        return rf"{self.quantity} \;\to\; {latex(self.factor)}\,{self.quantity}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def __repr__(self) -> str:
        head = f"{self.normalizer.title} / {self.transformation.title} with ε > 0"
        earlier = "".join(
            f", where {old} and {new} are σ before and after of {self.normalizer.stages[place][1]!r}"
            for place, old, new in self.given
        )
        return f"{head}: {self.quantity} becomes {self.factor} times itself{earlier}"


@lru_cache(maxsize=1024)
def eps_defect(normalizer: Normalizer, transformation: Transformation, inside: bool = True) -> Defect:
    """By what factor ε > 0 (``inside`` the root, or added to σ) misses an invariance that needs ε = 0.

    For batch norm and w -> δw it is δ √(σ² + ε)/√(δ²σ² + ε), 1 where ε is rescaled by δ² too.  Only the last stage in
    which ε breaks the invariance is given one.  Raises `InputError` where the invariance does not need ε = 0, and where
    the entries that this stage divides do not change by a factor.
    """
    verdict = prove(normalizer, transformation)
    if normalizer.opaque:
        raise InputError(
            f"eps_defect got {normalizer.name}, which is given by a function, with no ε of its own: describe the stage "
            "by fg.Standardize"
        )
    if "ε = 0" not in verdict.conditions:
        kept = "holds with any ε" if verdict else "does not hold at all"
        raise InputError(
            f"eps_defect got {normalizer.name} and {transformation.name}, whose invariance {kept}: give a pair that "
            "holds for ε = 0 only, e.g. fg.batch_norm and fg.weight_matrix_rescaling"
        )
    chain = Chain(normalizer, transformation)
    scaled = next(_broken_by_eps(normalizer, transformation, chain, inside))
    if scaled.rest != 0:
        raise InputError(
            f"eps_defect got {normalizer.name} and {transformation.name}: the entries that {scaled.stage!r} divides "
            f"become {scaled.ratio} times themselves plus other terms, so that no factor describes what ε > 0 changes; "
            "compare the normalizers of both ε on numbers"
        )
    spreads = SPREAD, sympy.Abs(scaled.ratio) * SPREAD
    before, after = (sympy.sqrt(s**2 + EPSILON) if inside else s + EPSILON for s in spreads)
    letter, indices = scaled.site.value, " ".join(axis.value for axis in scaled.site.layout(2 + chain.positions))
    used = scaled.ratio.atoms(sympy.Symbol, sympy.Indexed)
    given = tuple((s.place, s.sigma.expr, s.moved.expr) for s in chain.scaled if s.moved.expr in used)
    factor = scaled.ratio * before / after
    return Defect(normalizer, transformation, rf"\hat{{{letter}}}_{{{indices}}}", factor, given)


def _broken_by_eps(
    normalizer: Normalizer, transformation: Transformation, chain: Chain, inside: bool
) -> Iterator[Scaled]:
    """The stages in which alone an ε breaks the invariance, the last first."""
    for scaled in reversed(chain.scaled):
        if not isinstance(scaled.stage, Standardize):
            continue
        widened, number = scaled.stage.with_eps(EPSILON, inside), itertools.count()
        with_one = normalizer.map_stages(
            lambda s, n=number, k=scaled.place, w=widened: w if next(n) == k else s  # type: ignore[misc]
        )
        if changes_somewhere(with_one, transformation):
            yield scaled

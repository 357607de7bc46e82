"""What ε > 0 leaves of an invariance that holds for ε = 0, as an exact factor."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import sympy
from sympy import Expr

from ..errors import InputError
from ..frozen import Frozen
from ..normalizers import Normalizer
from ..standardize import Scale, Standardize
from ..symbolic.latex import latex
from ..symbolic.sums import is_zero
from ..transformations import Transformation
from .chain import Chain
from .proof import prove

EPSILON = sympy.Symbol("epsilon", positive=True)
SPREAD = sympy.Symbol("sigma", positive=True)


@dataclass(frozen=True)
class Defect:
    """``quantity`` becomes factor · quantity: in terms of ε, of δ, and of the spread σ that its cell has without ε."""

    normalizer: Normalizer
    transformation: Transformation
    quantity: str
    factor: Expr

    def latex(self) -> str:
        """The change as one line of mathematics."""
        return rf"{self.quantity} \;\to\; {latex(self.factor)}\,{self.quantity}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def __repr__(self) -> str:
        head = f"{self.normalizer.title} / {self.transformation.title} with ε > 0"
        return f"{head}: {self.quantity} becomes {self.factor} times itself"


@lru_cache(maxsize=1024)
def eps_defect(normalizer: Normalizer, transformation: Transformation, inside: bool = True) -> Defect:
    """By what factor ε > 0 (``inside`` the root, or added to σ) misses an invariance that needs ε = 0.

    For batch norm and w -> δw it is δ √(σ² + ε)/√(δ²σ² + ε), 1 where ε is rescaled by δ² too.  Only the last stage in
    which ε breaks the invariance is given one.  Raises `InputError` where the invariance does not need ε = 0.
    """
    verdict = prove(normalizer, transformation)
    if "ε = 0" not in verdict.conditions:
        kept = "holds with any ε" if verdict else "does not hold at all"
        raise InputError(
            f"eps_defect got {normalizer.name} and {transformation.name}, whose invariance {kept}: give a pair that "
            "holds for ε = 0 only, e.g. fg.batch_norm and fg.weight_matrix_rescaling"
        )
    place, run = next(found for found in _with_one_eps(normalizer, transformation, inside) if not found[1].invariant)
    sigma = [link for link in run.links if link.name.startswith(r"\sigma")][place]
    value = run.links[run.links.index(sigma) + 1]
    # c' = αc for the centered entries c = σ_ε t̂, and σ'² = α²σ² once ε is taken off
    ratio, rest = run.relation(value.before * sigma.before, value.after * sigma.after)
    old, new = (
        (link.expr**2 - EPSILON if inside else (link.expr - EPSILON) ** 2) for link in (sigma.before, sigma.after)
    )
    if rest != 0 or not is_zero(sympy.expand(new) - ratio**2 * sympy.expand(old)):
        raise ArithmeticError(
            f"{normalizer.name} / {transformation.name}: the change by ε is no factor; please report it"
        )
    spreads = SPREAD, sympy.Abs(ratio) * SPREAD
    before, after = (sympy.sqrt(s**2 + EPSILON) if inside else s + EPSILON for s in spreads)
    return Defect(normalizer, transformation, value.name, ratio * before / after)


def _with_one_eps(normalizer: Normalizer, transformation: Transformation, inside: bool) -> Iterator[tuple[int, Chain]]:
    """Runs with ε in one stage alone, the last first, each with the place of its stage among those that scale."""
    scaled = [k for k, (_, s) in enumerate(normalizer.stages) if s.scale is not Scale.NONE and not isinstance(s, Frozen)]
    for place, chosen in reversed(list(enumerate(scaled))):
        if not isinstance(normalizer.stages[chosen][1], Standardize):
            continue
        number = itertools.count()
        with_one = normalizer.map_stages(
            lambda s, n=number, k=chosen: s.with_eps(EPSILON, inside) if next(n) == k else s  # type: ignore[misc]
        )
        yield place, Chain(with_one, transformation, abstract=True)

"""The kinds of fact a check gathers: identities in index notation, exact values, proofs of invariance, measurements."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..axes import Axis, Site
from ..normalizers import Normalizer
from ..transformations import PAPER, Transformation, weight_matrix_rescaling
from .arrays import at_zero, generic_run, only_unit_j, symbols
from .core import Condition, Fact, Inconclusive, Level, listed


def invariant(
    methods: Normalizer | Sequence[Normalizer], changes: Transformation | Sequence[Transformation], expected: bool = True
) -> Fact:
    """That no Â changes (``expected=False``: that each can change), by proofs for all sizes or by rational witnesses."""
    from ..invariance.proof import prove

    methods = (methods,) if isinstance(methods, Normalizer) else methods
    changes = (changes,) if isinstance(changes, Transformation) else changes
    verdicts = [prove(method, change) for method in methods for change in changes]
    wrong = [verdict for verdict in verdicts if bool(verdict) != expected]
    if wrong:
        return Fact(repr(wrong[0]), False, Level.PROVED if wrong[0] else Level.EXACT)
    names = f"{listed(m.title for m in methods)} under {listed(change.title for change in changes)}"
    if expected:
        return Fact(f"{names}: invariant, proved for all sizes", True, Level.PROVED)
    such = ", such as" if len(verdicts) > 1 else ":"
    return Fact(f"{names}: not invariant{such} {verdicts[0].witness}", True, Level.EXACT, negative=True)


def identity(text: str, *arrays: Any) -> Fact:
    """That index-notation expressions vanish for all sizes; else the value of one at a rational point refutes it.

    Raises `Inconclusive` when an expression neither reduces to 0 nor differs from 0 at the points tried.
    """
    for array in arrays:
        expr = getattr(array, "expr", array)
        if vanishes(expr):
            continue
        found = _rational_value(expr)
        if found is None:
            raise Inconclusive(f"{text}: not reduced to 0, and no rational point contradicts it")
        where, value = found
        return Fact(f"{text}: refuted, the difference of the two sides is {value} at {where}", False, Level.EXACT)
    return Fact(text, True, Level.PROVED)


def exactly(text: str, left: Any, right: Any, level: Level = Level.EXACT) -> Fact:
    """That exact numbers (or arrays of them) are equal; the text takes {left} and {right}."""
    differ, x, y = _compared(left, right)
    tail = f": refuted, {x} is not {y}" if differ and "{right}" not in text else ""
    return Fact(text.format(left=x, right=y) + tail, not differ, level)


def unequal(text: str, left: Any, right: Any) -> Fact:
    """That exact numbers differ, as a counterexample needs; the text takes {left} and {right}."""
    differ, x, y = _compared(left, right)
    return Fact(text.format(left=x, right=y), differ, Level.EXACT, negative=True)


def _compared(left: Any, right: Any) -> tuple[bool, Any, Any]:
    """Whether two exact arrays differ, and the first entries that do (or the first of all)."""
    import sympy

    a, b = np.broadcast_arrays(np.asarray(left, object), np.asarray(right, object))
    wrong = [pair for pair in zip(a.ravel(), b.ravel(), strict=True) if _differ(*pair)]
    shown = wrong[0] if wrong else (a.flat[0], b.flat[0])
    return bool(wrong), *(sympy.sqrtdenest(sympy.radsimp(sympy.sympify(value))) for value in shown)


def _differ(a: Any, b: Any) -> bool:
    """Whether two exact numbers differ; expressions in symbols differ when they do so with primes for the symbols."""
    import sympy
    from sympy.core.function import AppliedUndef

    from ..symbolic.exact import differs

    difference = sympy.expand(sympy.sympify(a) - sympy.sympify(b))
    for kind in (sympy.Derivative, AppliedUndef):  # of functions that may be any: as good as symbols
        difference = difference.xreplace({atom: sympy.Dummy(str(atom)) for atom in difference.atoms(kind)})
    symbols = sorted(difference.free_symbols, key=str)
    value = difference.xreplace({symbol: sympy.Integer(sympy.prime(k + 1)) for k, symbol in enumerate(symbols)})
    if symbols and value == 0:
        raise Inconclusive(f"{difference} is 0 with primes for its symbols, but not identically as it stands")
    return differs(value, 0)


def identical(text: str, left: Any, right: Any) -> Fact:
    """That two arrays of expressions in the same symbols are the same expressions; one rational point refutes it."""
    import sympy

    pairs = [(a, b) for a, b in zip(np.ravel(left), np.ravel(right), strict=True) if sympy.expand(a - b) != 0]
    if not pairs:
        return Fact(text, True, Level.IDENTITY)
    a, b = pairs[0]
    values = {
        symbol: sympy.Integer(k * k) for k, symbol in enumerate(sorted(a.free_symbols | b.free_symbols, key=str), 1)
    }
    refuted = unequal(
        f"{text}: refuted, {{left}} is not {{right}} where the symbols are 1, 4, 9, ...",
        *(side.xreplace(values) for side in (a, b)),
    )
    if not refuted:
        raise Inconclusive(f"{text}: the expressions differ, but not at the point tried")
    return replace(refuted, true=False)


def close(text: str, left: Any, right: Any, tolerance: float) -> Fact:
    """That floating-point arrays agree, max|left - right| <= ``tolerance`` max|right|; the text takes {error}."""
    error = float(np.max(np.abs(np.subtract(left, right))) / np.max(np.abs(right)))
    return Fact(f"{text.format(error=f'{error:.1e}')} (tolerance {tolerance:g})", error <= tolerance, Level.NUMERIC)


def slope(text: str, x: Any, y: Any, expected: float, tolerance: float) -> Fact:
    """That log y grows with log x at the slope ``expected``; the text takes {slope}."""
    found = float(np.polyfit(np.log(x), np.log(y), 1)[0])
    return Fact(
        f"{text.format(slope=f'{found:.3f}')} (tolerance {tolerance:g})",
        abs(found - expected) <= tolerance,
        Level.NUMERIC,
    )


def measured(text: str, true: bool) -> Fact:
    """A floating-point measurement that came out as stated, or not."""
    return Fact(text, bool(true), Level.NUMERIC)


def sign_condition(normalizer: Normalizer) -> Condition:
    """That W -> δW leaves Â as it is only for δ > 0."""
    from ..invariance.proof import prove

    witness = prove(normalizer, weight_matrix_rescaling).sign
    return Condition("δ > 0", Fact(f"δ = -1 changes {normalizer.title}: {witness}", witness is not None, Level.EXACT))


def eps_condition(normalizer: Normalizer, sourced: bool = True) -> Condition:
    """That the invariance to rescaling needs ε = 0; ``sourced`` where the source divides by σ without ε."""
    changed = invariant(normalizer.with_eps(1), weight_matrix_rescaling, expected=False)
    return Condition("ε = 0", replace(changed, text=f"with ε = 1, {changed.text}"), sourced)


def fails(fact: Fact) -> Fact:
    """That a statement is wrong: the same computation, with its refutation as the finding."""
    return replace(fact, true=not fact.true)


def gain_column(normalizer: Normalizer) -> Fact:
    """∂z_i/∂g_j = δ_ij â_i, by differentiating Z = g Â + b."""
    import sympy

    run, t, step = generic_run(normalizer), sympy.Symbol("t", real=True), only_unit_j().swapaxes(0, 1)
    g, b = (symbols(name, Site.SUMMED, Axis.UNIT) for name in "gb")
    return identity("∂z_i/∂g_j = δ_ij â_i", at_zero(run.value * (g + step * t) + b, t) - run.value * step)


def table_facts(table: Mapping[Normalizer, str]) -> list[Fact]:
    """Two facts for each row of an invariance table, ✓ and ✗ for the six transformations of Ba, Kiros and Hinton."""
    rows = ((normalizer, zip(PAPER, marks, strict=True)) for normalizer, marks in table.items())
    return [
        fact
        for normalizer, row in rows
        for fact in row_facts(normalizer.title, [(invariant(normalizer, t, mark == "✓"), mark) for t, mark in row])
    ]


def row_facts(name: str, cells: Sequence[tuple[Fact, str]]) -> list[Fact]:
    """The facts of the ✓ of a row, proved for all sizes, as one, and those of its ✗, each with a witness, as another."""
    facts = []
    for mark, good, level in (("✓", "proved for all sizes", Level.PROVED), ("✗", "refuted by witnesses", Level.EXACT)):
        marked = [fact for fact, own in cells if own == mark]
        wrong = [fact for fact in marked if not fact]
        if wrong:  # a proof against ✗, a witness against ✓
            facts += wrong
        elif marked:
            facts.append(Fact(f"{name}: {len(marked)} invariances {good}", True, level, negative=mark == "✗"))
    return facts


def vanishes(expr: Any) -> bool:
    """Whether an index-notation expression is 0 for all sizes, with R^(-1/2) and R^(1/2) of a radicand R reduced to R."""
    import sympy

    from ..symbolic.sums import normal, terms

    expr = normal(expr)
    done: set[Any] = set()
    while expr != 0:
        roots = (p for p in expr.atoms(sympy.Pow) if isinstance(p.base, sympy.Add | sympy.Sum) and p.base not in done)
        radicand = next((p.base for p in sorted(roots, key=str) if not (p.exp.is_Integer and p.exp > 0)), None)
        if radicand is None:
            return False
        done.add(radicand)
        powers = [[(f, p) for f, p in sympy.Mul(*term).as_powers_dict().items()] for term in terms(expr)]
        own = [sum((p for f, p in term if f == radicand), start=sympy.Integer(0)) for term in powers]
        rest = [sympy.Mul(*(f**p for f, p in term if f != radicand)) for term in powers]
        least = min(own)
        expr = normal(
            sympy.Add(
                *(
                    r * radicand ** (sympy.floor(p - least)) * (1 if (p - least).is_Integer else sympy.sqrt(radicand))
                    for r, p in zip(rest, own, strict=True)
                )
            )
        )
    return True


def _rational_value(expr: Any) -> tuple[str, Any] | None:
    """A small size and integer values of all symbols at which ``expr`` is not 0, with its exact value there."""
    import sympy

    from ..symbolic.exact import differs
    from ..symbolic.sums import SIZE, axis_of

    sizes = {SIZE[Axis.SAMPLE]: 3, SIZE[Axis.INPUT]: 2, SIZE[Axis.UNIT]: 3, SIZE[Axis.POSITION]: 2}
    bases = {a.base.label for a in expr.atoms(sympy.Indexed)}
    scalars = [s for s in expr.free_symbols if isinstance(s, sympy.Symbol) and s not in sizes and s not in bases]
    indices = {s for s in scalars if s.is_integer and not s.is_positive}
    for seed, together in itertools.product(range(8), (False, True) if expr.has(sympy.KroneckerDelta) else (False,)):
        draw = random.Random(seed)
        places: dict[Any, int] = {}
        for s in sorted(indices, key=str):  # different indices are different places, unless δ_ij says what is where
            axis = SIZE[axis_of(s)]
            taken = set() if together else {places[other] for other in places if SIZE[axis_of(other)] == axis}
            places[s] = draw.choice([k for k in range(1, sizes[axis] + 1) if k not in taken])
        concrete = expr.subs(sizes).doit().xreplace({s: sympy.Integer(v) for s, v in places.items()}).doit()
        values = {}
        for atom in sorted(concrete.atoms(sympy.Indexed) | (concrete.free_symbols - bases), key=str):
            if isinstance(atom, sympy.Indexed) or atom in scalars:
                positive = bool(atom.is_positive)
                values[atom] = sympy.Integer(draw.randint(1, 3) if positive else draw.choice([-3, -2, -1, 1, 2, 3]))
        value = concrete.xreplace(values)
        if value.is_finite and value.is_real and differs(value, 0):
            where = [f"{size} = {k}" for size, k in sorted(sizes.items(), key=str) if expr.has(size)]
            return listed([*where, "small integers"]), sympy.radsimp(value)
    return None

"""What an equation must be before it is checked: indices that fit, names with one meaning, divisors that are not 0."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import sympy
from sympy import Expr, Indexed, KroneckerDelta, Sum, Symbol
from sympy.core.function import AppliedUndef

from .. import special
from ..axes import Axis
from .certainty import Claim, FalseStep, points, written
from .curvature import Symmetric
from .groups import GROUP
from .rules import At, Partial, Rule, carry_out, expand, label_of
from .sums import PERMUTATION, SIZE, Deferred, axis_of, canonical, is_index, rename

Signature = tuple[Any, ...]


def check_expression(expr: Expr, definitions: Sequence[Rule] = ()) -> None:
    """Raise `FalseStep` for sums that do not run over an axis, indices used as numbers, deltas between axes, and nan."""
    if expr.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo, sympy.I):
        raise FalseStep(f"{expr} is not a real number")
    for total in expr.atoms(Sum):
        for index, *limits in total.limits:
            if not is_index(index) or limits != [1, SIZE[axis_of(index)]]:
                raise FalseStep(f"the sum over {index} runs from {limits[0]} to {limits[-1]}: sum over a whole axis")
    for entry in expr.atoms(Indexed, KroneckerDelta):
        _check_indices(entry)
    if stray := sorted(map(str, _numbers(expr))):
        raise FalseStep(f"{expr} uses the index {', '.join(stray)} as a number")
    _check_variables(expr, definitions)


def _check_indices(entry: Expr) -> None:
    indices = entry.indices if isinstance(entry, Indexed) else entry.args
    for index in indices:
        if not (is_index(index) or isinstance(index, GROUP | PERMUTATION)):
            raise FalseStep(f"{entry} has the index {index}: an index is a symbol that runs along an axis")
    if isinstance(entry, KroneckerDelta) and len({axis_of(index) for index in indices}) > 1:
        raise FalseStep(f"{entry} compares indices of two axes")


def _numbers(expr: Expr) -> set[Expr]:
    """The indices that stand for numbers, not for places."""
    if isinstance(expr, Symbol):
        return {expr} if is_index(expr) else set()
    if isinstance(expr, Indexed | KroneckerDelta | GROUP | PERMUTATION) or expr.func.__name__ == "Leading":
        return set()
    inside = [expr.function] if isinstance(expr, Sum) else expr.args
    return set().union(*(_numbers(part) for part in inside if isinstance(part, Expr)))


def _check_variables(expr: Expr, definitions: Sequence[Rule]) -> None:
    """What is differentiated by, or replaced, must be free: a defined quantity does not vary by itself."""
    defined = {label_of(rule.left) for rule in definitions}
    for part in expr.atoms(Partial, At):
        variable, *values = part.args[1:]
        if not isinstance(variable, Symbol | Indexed) or is_index(variable) or variable in SIZE.values():
            raise FalseStep(f"{part} varies {variable}, which is not a variable")
        if label_of(variable) in defined:
            raise FalseStep(f"{part} varies {variable}, which is defined: it is not free to vary")
        if isinstance(variable, Indexed) and values:
            raise FalseStep(f"{part} gives one entry of an array a value: give the array by a free number instead")


def check_names(expressions: Iterable[Expr], known: dict[Any, Signature]) -> None:
    """Raise `FalseStep` for two quantities that look alike; ``known`` collects the names."""
    for expr in expressions:
        labels = {atom.base.label for atom in expr.atoms(Indexed)}
        for atom in sorted(expr.atoms(Symbol, Indexed, AppliedUndef), key=str):
            if atom in labels:
                continue
            name, signature = _signature(atom)
            if known.setdefault(name, signature) != signature:
                raise FalseStep(
                    f"two quantities are written {name[1]}: one is {_words(known[name])}, one is {_words(signature)}"
                )


def _signature(atom: Expr) -> tuple[Any, Signature]:
    if isinstance(atom, Indexed):
        label = atom.base.label
        return ("array", str(label)), (*_assumptions(label), *(f"over {axis_of(i).name.lower()}s" for i in atom.indices))
    if isinstance(atom, AppliedUndef):
        return ("function", atom.func.__name__), (len(atom.args),)
    return ("number", atom.name), _assumptions(atom)


def _assumptions(symbol: Symbol) -> Signature:
    """The strongest of the usual assumptions that a symbol was made with, and all of them."""
    words = ("positive", "nonnegative", "integer", "real")
    named = next((word for word in words if getattr(symbol, f"is_{word}")), "any")
    return named, tuple(sorted(symbol.assumptions0.items()))


def _words(signature: Signature) -> str:
    return ", ".join(part for part in signature if isinstance(part, str)) or f"of {signature[0]} arguments"


def nonnegative(expr: Expr) -> bool:
    """Whether a real expression is at least 0 wherever it is defined; False says only that it was not shown."""
    if expr.is_nonnegative or positive(expr):
        return True
    if expr.is_Pow and (expr.exp.is_even or expr.exp == sympy.Rational(1, 2)):
        return bool(expr.base.is_real or expr.exp == sympy.Rational(1, 2))
    if isinstance(expr, Sum):
        return nonnegative(expr.function)
    return bool((expr.is_Add or expr.is_Mul) and all(map(nonnegative, expr.args)))


def positive(expr: Expr) -> bool:
    """Whether a real expression is greater than 0; False says only that it was not shown."""
    if expr.is_positive or isinstance(expr, sympy.exp | special.expit | special.softplus):
        return True
    if isinstance(expr, Sum):
        return positive(expr.function)
    if expr.is_Add:
        return any(map(positive, expr.args)) and all(map(nonnegative, expr.args))
    if expr.is_Mul:
        return all(map(positive, expr.args))
    return bool(expr.is_Pow and positive(expr.base))


def _nonzero(expr: Expr) -> bool:
    if expr.is_nonzero or positive(expr) or positive(-expr):
        return True
    if expr.is_Mul:
        return all(map(_nonzero, expr.args))
    return bool(expr.is_Pow and _nonzero(expr.base))


def check_divisors(expr: Expr) -> None:
    """Raise `FalseStep` for a division by what may be 0."""
    for power in sorted(expr.atoms(sympy.Pow), key=str):
        if power.exp.is_number and power.exp.is_negative and not _nonzero(power.base):
            raise FalseStep(
                f"the equation divides by {power.base}, which may be 0{_zero(power.base)}: give it a name that is "
                "declared positive or nonzero"
            )


def _zero(expr: Expr) -> str:
    """Numbers at which an expression without sums vanishes, in words."""
    symbols = sorted(expr.free_symbols - {e.base.label for e in expr.atoms(Indexed)}, key=str)
    entries = [*expr.atoms(Indexed), *(s for s in symbols if not is_index(s))]
    if expr.has(Sum) or not entries:
        return ""
    for value in (1, 2, 3, 0, -1):
        if any(e.is_positive and value <= 0 for e in entries):
            continue
        if expr.subs(dict.fromkeys(entries, value)) == 0:
            return " (at " + ", ".join(f"{entry} = {value}" for entry in sorted(entries, key=str)) + ")"
    return ""


def check_definition(rule: Rule, definitions: Sequence[Rule]) -> None:
    """Raise `FalseStep` for a definition that leaves open what it defines, or whose sides cannot be equal."""
    left, right = rule.left, rule.right
    if isinstance(left, Symbol) and (is_index(left) or left in SIZE.values()):
        raise FalseStep(f"{left} is an index or a size, and cannot be defined")
    indices = getattr(left, "indices", ())
    if len(set(indices)) < len(indices):
        raise FalseStep(f"the definition of {left} repeats an index: the other entries stay undefined")
    if free := sorted(str(s) for s in right.free_symbols if is_index(s) and s not in indices):
        raise FalseStep(f"the definition of {left} leaves the index {', '.join(free)} open")
    if isinstance(left, AppliedUndef) and any(getattr(r.left, "func", None) == left.func for r in definitions):
        raise FalseStep(f"{left.func} is already defined")
    _check_circles(rule, definitions)
    if isinstance(left, Symmetric):
        *_, a, b = left.indices
        swapped = rename(right, {a: b, b: a})
        if canonical(carry_out(right - swapped, definitions)) != 0:
            raise FalseStep(f"{left} is symmetric in {a} and {b}, but {right} is not")


def _check_circles(rule: Rule, definitions: Sequence[Rule]) -> None:
    needs = {label_of(r.left): {label_of(a) for a in r.right.atoms(Symbol, Indexed)} for r in (*definitions, rule)}
    reached, fresh = set[Any](), needs[label_of(rule.left)]
    while fresh:
        reached |= fresh
        fresh = set().union(*(needs.get(label, set()) for label in fresh)) - reached
    if label_of(rule.left) in reached:
        raise FalseStep(f"the definition of {rule.left} mentions {rule.left} itself, or what is defined by it")


def check_sign(rule: Rule, definitions: Sequence[Rule], restricts: bool = False) -> None:
    """Raise `FalseStep` where a quantity that is declared real, or positive, is defined as something else.

    One that ``restricts`` what is free need be positive somewhere only.
    """
    roots = [power for power in rule.right.atoms(sympy.Pow) if not power.exp.is_integer]
    if not (rule.left.is_positive or roots or rule.right.has(sympy.log)):
        return
    seen = False
    for values, _, _, drawn in points(Claim(rule.right, sympy.Integer(0), (), tuple(definitions)), 8, generic=True):
        at = "; ".join(f"{label} = {written(value)}" for label, value in drawn.items())
        shown = f"but at {at} it is defined as"
        if np.isnan(values).any() and not restricts:
            raise FalseStep(f"{rule.left} is a real number, {shown} none")
        if rule.left.is_positive and not restricts:
            if (values < -1e-9).any():
                raise FalseStep(f"{rule.left} is declared positive, {shown} {values.min():.6g}")
            if not (values > 1e-9).any():
                raise FalseStep(f"{rule.left} is declared positive, {shown} 0")
        seen = seen or bool((values > 1e-9).all()) or not rule.left.is_positive
    if not seen:
        raise FalseStep(f"{rule.left} is declared positive, but no point was found at which everything positive is")


def check_late(rule: Rule, definitions: Sequence[Rule], steps: Iterable[tuple[Expr, Expr]]) -> None:
    """Raise `FalseStep` for a definition after a derivative was taken that it would change."""
    if not rule.right.free_symbols:
        return
    label = label_of(rule.left)
    for left, right in steps:
        if not (left.has(Deferred) or right.has(Deferred)):
            continue
        inside = [expand(e, definitions) for part in (left, right) for e in _varied(part)]
        if any(label in {label_of(a) for a in e.atoms(Symbol, Indexed)} for e in inside):
            raise FalseStep(f"{rule.left} was taken as free when {left} was derived: define it before")


def _varied(expr: Expr) -> list[Expr]:
    """What stands under the derivatives of an expression."""
    return [part.args[0] for part in expr.atoms(Deferred)]


def axes_of(expr: Expr) -> set[Axis]:
    """The axes that an expression runs along, or whose sizes it mentions."""
    sizes = {size: axis for axis, size in SIZE.items()}
    symbols = expr.atoms(Symbol)
    return {axis_of(s) for s in symbols if is_index(s)} | {sizes[s] for s in symbols if s in sizes}

"""Names on the command line, and the values they stand for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from ..datasets.data import nearest
from ..errors import InputError
from ..families import FAMILIES, Family, binomial, gamma, inverse_gaussian, multinomial, negative_binomial
from ..links import LINKS, Link, nbinom, power
from ..normalizers import (
    ZOO,
    Normalizer,
    compose,
    ghost_batch_norm,
    group_norm,
    identity,
    prms_norm,
    weight_standardization_group_norm,
)

_MAKERS = {
    "ghost_batch_norm": ghost_batch_norm,
    "group_norm": group_norm,
    "weight_standardization_group_norm": weight_standardization_group_norm,
    "prms_norm": prms_norm,
}
_FAMILIES = {"binomial": binomial, "negative_binomial": negative_binomial, "multinomial": multinomial}
_LINKS = {"power": power, "nbinom": nbinom}


def _key(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _made(key: str, makers: Mapping[str, Callable[[Any], Any]]) -> Any:
    """The value that "name(number)" or "name_number" asks for; None where that is not the form, or no such name."""
    form = re.fullmatch(r"(\w+?)(?:\((.+)\)|_(\d+))", key)
    if form is None or form[1] not in makers:
        return None
    number = form[2] or form[3]
    try:
        value = Fraction(number)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"{key!r}: {number!r} is not a number; give e.g. {form[1]}(2)") from None
    return makers[form[1]](int(value) if value.denominator == 1 else value)


def normalizer(name: str, eps: float = 0.0) -> Normalizer:
    """The normalizer of that name: "batch_norm", "batch", "none", "group_norm(4)", or a composition "weight+batch".

    ``eps`` is ε, added to σ² wherever the normalizer divides by a computed σ.  Raises `InputError` for an unknown name.
    """
    known = {m.name.removesuffix("_norm"): m for m in ZOO} | {m.name: m for m in ZOO} | {"none": identity}
    if "," in name:
        raise InputError(f"{name!r} names several normalizers: give one (--normalizer), or compose them with +")
    parts = []
    for part in name.split("+"):
        if (made := _made(_key(part), _MAKERS)) is not None:
            parts.append(made)
            continue
        if _key(part) not in known:
            near = difflib.get_close_matches(_key(part), known, n=1)
            meant = f"did you mean {known[near[0]].name!r}? " if near else ""
            shown = ", ".join(["none", *(m.name for m in ZOO if m is not identity)])
            raise InputError(f"unknown normalizer {part!r}: {meant}there is {shown}")
        parts.append(known[_key(part)])
    found = parts[0] if len(parts) == 1 else compose(*parts)
    return _with_eps(found, eps)


def _with_eps(found: Normalizer, eps: float) -> Normalizer:
    if eps == 0:
        return found
    changed = found.with_eps(eps)
    return found if changed == found else replace(changed, name=f"{found.name}, eps={eps:g}")


def normalizers(names: str | None, eps: float = 0.0, default: Sequence[Normalizer] = ()) -> tuple[Normalizer, ...]:
    """The normalizers of a comma-separated list, without repetition; those of ``default`` for no list."""
    if names is None:
        return tuple(_with_eps(found, eps) for found in default)
    found = [normalizer(name, eps) for name in names.split(",") if name.strip()]
    if not found:
        raise InputError("--normalizers is empty: give names such as none,batch,weight,layer")
    return tuple(dict.fromkeys(found))


def family(name: str) -> Family:
    """The family of that name, e.g. "poisson" or "binomial(10)"; raises `InputError` for an unknown one."""
    known = {member.name: member for member in (*FAMILIES, gamma, inverse_gaussian)}
    return _member("family", name, known, _FAMILIES)


def link(name: str) -> Link:
    """The link of that name, e.g. "probit" or "power(1/3)"; raises `InputError` for an unknown one."""
    return _member("link", name, {member.name: member for member in LINKS}, _LINKS)


def _member(kind: str, name: str, known: Mapping[str, Any], makers: Mapping[str, Callable[[Any], Any]]) -> Any:
    if (made := _made(_key(name), makers)) is not None:
        return made
    if _key(name) not in known:
        raise InputError(f"unknown {kind} {name!r}: {nearest(name, known)}")
    return known[_key(name)]

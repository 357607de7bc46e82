"""Names on the command line, and the values they stand for."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

from ..datasets.data import nearest
from ..errors import InputError
from ..families import ZOO as FAMILIES
from ..families import Family, binomial, multinomial, multivariate_gaussian, negative_binomial
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

_NUMBER = r"-?\d{1,15}(?:\.\d{1,15}|/\d{1,15})?"
_COMMA = r",(?![^(]*\))"  # not those between the arguments of one name


def _number(text: str) -> Any:
    """A whole number, a fraction of two or a decimal one; `ValueError` for anything else."""
    if not re.fullmatch(_NUMBER, text):
        raise ValueError
    return float(text) if "." in text else Fraction(text) if "/" in text else int(text)


class _Maker(NamedTuple):
    """A function of one argument, that argument for an example, what it is, and how it is read."""

    make: Callable[[Any], Any]
    example: str
    what: str = "number"
    read: Callable[[str], Any] = _number


_NORMALIZERS = {
    "ghost_batch_norm": _Maker(ghost_batch_norm, "8"),
    "group_norm": _Maker(group_norm, "4"),
    "weight_standardization_group_norm": _Maker(weight_standardization_group_norm, "4"),
    "prms_norm": _Maker(prms_norm, "1/16"),
    "prms_norm_rounded_down": _Maker(lambda p: prms_norm(p, math.floor), "1/16"),
}
_NORMALIZERS |= {name.removesuffix("_norm"): maker for name, maker in _NORMALIZERS.items()}
_FAMILIES = {
    "binomial": _Maker(binomial, "10", "number of trials"),
    "negative_binomial": _Maker(lambda r: negative_binomial(float(r)), "2.5", "shape"),
    "multinomial": _Maker(multinomial, "5", "number of trials"),
    "multivariate_gaussian": _Maker(multivariate_gaussian, "[[2, 1], [1, 3]]", "covariance", json.loads),
}
_LINKS = {"power": _Maker(power, "1/3"), "nbinom": _Maker(lambda alpha: nbinom(float(alpha)), "0.5")}


def _key(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _made(name: str, makers: Mapping[str, _Maker]) -> Any:
    """The value that "name(argument)" or "name_number" asks for; None where that is not the form, or no such name."""
    form = re.fullmatch(rf"([^(]+?)(?:\((.*)\)|_({_NUMBER}))", name.strip(), re.DOTALL)
    key, text = _key(form[1] if form else name), form and (form[3] if form[2] is None else form[2])
    if key not in makers:
        return None
    make, example, what, read = makers[key]
    try:
        return make(read(text.strip() if text else ""))
    except InputError:
        raise
    except (ValueError, ZeroDivisionError, RecursionError):
        got = f"{key} has no {what}" if not text else f"{key} got {text!r:.60}, which is no {what}"
        raise InputError(f"{got}; give e.g. {key}({example})") from None


def normalizer(name: str, eps: float = 0.0) -> Normalizer:
    """The normalizer of that name: "batch_norm", "batch", "none", "group_norm(4)", or a composition "weight+batch".

    ``eps`` is ε, added to σ² wherever the normalizer divides by a computed σ.  Raises `InputError` for an unknown name.
    """
    known = {m.name.removesuffix("_norm"): m for m in ZOO} | {m.name: m for m in ZOO} | {"none": identity}
    if re.search(_COMMA, name):
        raise InputError(f"{name!r} names several normalizers: give one (--normalizer), or compose them with +")
    parts = []
    for part in name.split("+"):
        if (made := _made(part, _NORMALIZERS)) is not None:
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
    found = [normalizer(name, eps) for name in re.split(_COMMA, names) if name.strip()]
    if not found:
        raise InputError("--normalizers is empty: give names such as none,batch,weight,layer")
    return tuple(dict.fromkeys(found))


def family(name: str) -> Family:
    """The family of that name, e.g. "poisson" or "binomial(10)"; raises `InputError` for an unknown one."""
    return _member("family", name, {member.name: member for member in FAMILIES if "(" not in member.name}, _FAMILIES)


def link(name: str) -> Link:
    """The link of that name, e.g. "probit" or "power(1/3)"; raises `InputError` for an unknown one."""
    return _member("link", name, {member.name: member for member in LINKS}, _LINKS)


def _member(kind: str, name: str, known: Mapping[str, Any], makers: Mapping[str, _Maker]) -> Any:
    if (made := _made(name, makers)) is not None:
        return made
    if _key(name) not in known:
        every = [*known, *(f"{key}({maker.example})" for key, maker in makers.items())]
        raise InputError(f"unknown {kind} {name!r}: {nearest(name, every)}")
    return known[_key(name)]

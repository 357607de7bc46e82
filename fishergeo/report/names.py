"""Names on the command line, and the values they stand for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from ..datasets.data import nearest
from ..errors import InputError
from ..families import FAMILIES, Family
from ..normalizers import ZOO, Normalizer, compose, identity


def _key(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def normalizer(name: str, eps: float = 0.0) -> Normalizer:
    """The normalizer of that name: "batch_norm", "batch", "none", or a composition "weight_norm+mean_only_batch_norm".

    ``eps`` is ε, added to σ² wherever the normalizer divides by a computed σ.  Raises `InputError` for an unknown name.
    """
    known = {m.name.removesuffix("_norm"): m for m in ZOO} | {m.name: m for m in ZOO} | {"none": identity}
    if "," in name:
        raise InputError(f"{name!r} names several normalizers: give one (--normalizer), or compose them with +")
    parts = []
    for part in name.split("+"):
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
    """The family of that name; raises `InputError` for an unknown one."""
    known = {member.name: member for member in FAMILIES}
    if _key(name) not in known:
        raise InputError(f"unknown family {name!r}: {nearest(name, known)}")
    return known[_key(name)]

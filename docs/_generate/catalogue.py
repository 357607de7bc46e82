"""What has a page: the members of the zoos, the code that gets each of them, and which are one choice apart."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Iterator
from typing import Any

import fishergeo as fg
from fishergeo import families, links, normalizers
from fishergeo.axes import Site
from fishergeo.families import Family
from fishergeo.links import Link
from fishergeo.normalizer import Normalizer
from fishergeo.transformations import TRANSFORMATIONS

# arguments with which a constructor is shown
ARGUMENTS = {
    "binomial": "5",
    "negative_binomial": "3",
    "multinomial": "4",
    "multivariate_gaussian": "[[2, 1], [1, 3]]",
    "power": "3",
    "nbinom": "0.5",
}


def file_name(value: Any) -> str:
    """The name of a page: that of the value, without the arguments that a family's or a link's has, and without slash."""
    return value.name.partition("(")[0].replace("/", "_")


def normalizer_calls() -> dict[str, tuple[str, ...]]:
    """The code for each normalizer of the zoo, by name, with the imports it needs before it, as the zoo lists it."""
    tree = ast.parse(inspect.getsource(normalizers))
    (listed,) = (
        node.value for node in tree.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "ZOO"
    )
    assert isinstance(listed, ast.Tuple)
    return {
        value.name: (*_imports(entry), f"fg.{ast.unparse(entry)}")
        for value, entry in zip(normalizers.ZOO, listed.elts, strict=True)
    }


def _imports(entry: ast.expr) -> Iterator[str]:
    """The imports of the names in an entry that the package does not have."""
    for name in dict.fromkeys(node.id for node in ast.walk(entry) if isinstance(node, ast.Name)):
        value = getattr(normalizers, name)
        if isinstance(value, types.ModuleType):
            yield f"import {value.__name__}"
        elif not hasattr(fg, name):
            yield f"from {value.__module__} import {name}"


def _members(module: types.ModuleType, kind: type, names: list[str], prefix: str) -> dict[str, tuple[Any, str]]:
    """The values of ``kind`` that a module offers, each with its code; constructors are called with ``ARGUMENTS``."""
    found: dict[str, tuple[Any, str]] = {}
    for name in names:
        value, text = getattr(module, name), f"{prefix}{name}"
        if inspect.isfunction(value) and inspect.get_annotations(value).get("return") == kind.__name__:
            text = f"{text}({ARGUMENTS[name]})"
            value = value(ast.literal_eval(ARGUMENTS[name]))
        if isinstance(value, kind):
            found[file_name(value)] = (value, text)
    return found


def family_members() -> dict[str, tuple[Family, str]]:
    return _members(families, Family, list(families.__all__), "fg.")


def link_members() -> dict[str, tuple[Link, str]]:
    names = [link.name for link in links.LINKS] + ["power", "nbinom"]
    return _members(links, Link, names, "fg.links.")


def choices(normalizer: Normalizer) -> dict[tuple[Site, int, str], Any]:
    """What a normalizer is made of, choice by choice."""
    out: dict[tuple[Site, int, str], Any] = {}
    for site in Site:
        for k, stage in enumerate(stage for where, stage in normalizer.stages if where is site):
            out[site, k, "kind"] = type(stage)
            for choice in ("over", "center", "scale", "groups", "first", "mean", "var"):
                out[site, k, choice] = getattr(stage, choice, None)
    return out


def differences(one: Normalizer, other: Normalizer) -> list[str]:
    """The choices in which two normalizers with stages at the same sites differ; none where the stages do not match."""
    left, right = choices(one), choices(other)
    if set(left) != set(right):
        return []
    return [choice for (site, k, choice), value in left.items() if right[site, k, choice] != value]


def related(normalizer: Normalizer) -> tuple[list[tuple[Normalizer, str]], list[Normalizer], list[Normalizer]]:
    """Members one choice apart, with that choice; members that have a part of its stages; members that have them all."""
    near, parts, wholes = [], [], []
    for other in normalizers.ZOO:
        if other == normalizer or not other.stages or not normalizer.stages:
            continue
        differing = differences(normalizer, other)
        if len(differing) == 1:
            near.append((other, differing[0]))
        mine, theirs = set(normalizer.stages), set(other.stages)
        if theirs < mine:
            parts.append(other)
        elif mine < theirs:
            wholes.append(other)
    return near, parts, wholes


__all__ = ["TRANSFORMATIONS", "family_members", "file_name", "link_members", "normalizer_calls", "related"]

"""What the literature says about normalization, each statement machine-checked.

`REGISTRY` maps ids to claims; `check_all` runs every check and returns a `Report` of verdicts with their evidence.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from ..errors import InputError
from .core import (
    HOLDS,
    HOLDS_IF,
    REFUTED,
    Claim,
    Evidence,
    Fact,
    Inconclusive,
    Kind,
    Level,
    Paper,
    Result,
    Verdict,
)
from .report import Report

__all__ = [
    "HOLDS",
    "HOLDS_IF",
    "REFUTED",
    "REGISTRY",
    "Claim",
    "Evidence",
    "Fact",
    "Inconclusive",
    "Kind",
    "Level",
    "Paper",
    "Report",
    "Result",
    "Verdict",
    "check",
    "check_all",
]

_MODULES = (
    "layer_norm",
    "layer_norm_metric",
    "layer_norm_rate",
    "layer_norm_gain",
    "rms_norm",
    "weight_norm",
    "batch_norm",
    "optimization",
    "initialization",
    "standardization",
    "norm_growth",
    "equilibrium",
    "geometry",
)


def _registry() -> Mapping[str, Claim]:
    modules = [importlib.import_module(f"{__name__}.{name}") for name in _MODULES]
    claims = [value for module in modules for value in vars(module).values() if isinstance(value, Claim)]
    return MappingProxyType({claim.id: claim for claim in claims})


REGISTRY: Mapping[str, Claim] = _registry()


def check(id: str) -> Result:
    """Run the check of one claim; raises `InputError` for an unknown id and `Inconclusive` where nothing is decided."""
    if not isinstance(id, str):
        raise InputError(f"check got the claim {id!r}: give an id such as 'LN-half'; check_all runs them all")
    if id not in REGISTRY:
        raise InputError(f"check got the claim {id!r}: use one of {', '.join(REGISTRY)}")
    return REGISTRY[id].run()


def check_all(progress: Callable[[int, int], None] | None = None) -> Report:
    """Run every check of the registry; ``progress(done, of)`` is called after each."""
    if progress is not None and not callable(progress):
        raise InputError(f"check_all got progress={progress!r}: give a function of (done, of), or leave it out")
    results = []
    for claim in REGISTRY.values():
        results.append(claim.run())
        if progress is not None:
            progress(len(results), len(REGISTRY))
    return Report(tuple(results))

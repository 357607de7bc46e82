"""Numbers as they are shown."""

from __future__ import annotations

import math


def number(value: float | None, digits: int = 3) -> str:
    """``digits`` significant digits, powers of ten as a formula; a dash for None."""
    if value is None:
        return "–"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if isinstance(value, int):
        return str(value)
    if 1e-3 <= abs(value) < 10 ** max(4, digits):
        text = f"{value:.{digits}g}"
        return f"{float(text):g}" if "e" in text else text
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return rf"${mantissa}\times 10^{{{int(exponent)}}}$"


def percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def listed(names: list[str], most: int = 8) -> str:
    """Names joined by commas, the middle left out of a long list."""
    shown = names if len(names) <= most else [*names[: most - 1], "…", names[-1]]
    return ", ".join(shown)


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

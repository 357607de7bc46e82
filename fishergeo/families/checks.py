"""What a definition must be: its parts, and the expressions that its functions make of SymPy symbols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import InputError


def check_text(who: str, **texts: Any) -> None:
    """Refuse a name or a source that is no string, and an empty name."""
    for part, text in texts.items():
        if not isinstance(text, str) or (part == "name" and not text):
            raise InputError(f"{who} got {part}={text!r}: give a string{' that names it' * (part == 'name')}")


def check_callable(who: str, **functions: tuple[Any, str]) -> None:
    """Refuse what cannot be called; each function comes with an example."""
    for part, (function, example) in functions.items():
        if not callable(function):
            raise InputError(f"{who} got {part}={function!r:.60}: give a function, e.g. {example}")


def expression(function: Callable[..., Any], who: str, *symbols: Any) -> Any:
    """What a function makes of SymPy symbols; `InputError` where it fails or makes no expression of them."""
    import sympy

    cure = "write it with functions of sympy or fishergeo.special, e.g. sympy.exp"
    try:
        found = sympy.sympify(function(*symbols), strict=True)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{who} failed on SymPy symbols with {type(error).__name__}: {error}; {cure}") from error
    if not isinstance(found, sympy.Expr) or found.has(sympy.nan, sympy.zoo):
        raise InputError(f"{who} made {found!r:.60} of SymPy symbols, which is no number: {cure}")
    return found

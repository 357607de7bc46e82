"""Breaking long formulas over lines: an estimate of the width of LaTeX, and breaks at its plus and minus signs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

_INDENT = 1.0  # of the lines after the first, in em
LINE = 33.0  # em; what fits beside the equation number on a page with 1 inch margins at 11 pt
_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[{}^_&]|\s+|.", re.S)
_WIDE = {r"\sum": 1.4, r"\to": 1.7, r"\quad": 1.0, r"\qquad": 2.0, r"\cdot": 0.9, r"\,": 0.17, r"\;": 0.28, r"\leq": 1.4}
_NOTHING = {
    r"\left",
    r"\right",
    r"\biggl",
    r"\biggr",
    r"\mathrm",
    r"\text",
    r"\boldsymbol",
    r"\operatorname",
    r"\displaystyle",
}
_NOTHING |= {r"\hat", r"\bar", r"\dot", r"\tilde", r"\!", "&"}


_MATRIX = re.compile(r"\\begin\{bmatrix\}(.*?)\\end\{bmatrix\}", re.S)


def width(latex: str) -> float:
    """The width of a formula in em, estimated."""
    matrices = sum(_matrix(body) for body in _MATRIX.findall(latex))
    return matrices + _width(_TOKEN.findall(_MATRIX.sub("", latex)))


def _matrix(body: str) -> float:
    """The width of a matrix: its columns, a gap of 1 em between them, and the brackets."""
    rows = [[width(cell) for cell in row.split("&")] for row in body.split(r"\\")]
    return sum(map(max, itertools.zip_longest(*rows, fillvalue=0.0))) + len(rows[0]) + 0.3


def listed(latex: str, line: float = LINE) -> str:
    """A list of formulas, separated by commas or a colon and spaces, in lines none of which is wider than ``line`` em."""
    if r"\\" in _MATRIX.sub("", latex) or width(latex) <= line:  # it has lines already
        return latex
    lines = [""]
    for part in re.split(r"(?<=,)\\; |(?<=:)\\quad ", latex):
        if lines[-1] and width(f"{lines[-1]} {part}") > line:
            lines.append("")
        lines[-1] += (r"\; " if lines[-1] else "") + part
    return r"\begin{aligned}" + r" \\ ".join(f"& {text}" for text in lines) + r"\end{aligned}"


def _group(tokens: list[str], start: int) -> tuple[list[str], int]:
    """The argument that begins at ``start``: a braced group or one token; and where it ends."""
    while start < len(tokens) and tokens[start].isspace():
        start += 1
    if start >= len(tokens):
        return [], start
    if tokens[start] != "{":
        return [tokens[start]], start + 1
    depth, end = 0, start
    while True:
        depth += (tokens[end] == "{") - (tokens[end] == "}")
        end += 1
        if depth == 0:
            return tokens[start + 1 : end - 1], end


def _width(tokens: list[str]) -> float:
    total, k = 0.0, 0
    while k < len(tokens):
        token = tokens[k]
        k += 1
        if token in (r"\frac", r"\dfrac"):
            above, k = _group(tokens, k)
            below, k = _group(tokens, k)
            total += max(_width(above), _width(below)) + 0.25
        elif token == "{":
            inside, k = _group(tokens, k - 1)
            total += _width(inside)
        elif token in "_^":
            script, k = _group(tokens, k)
            first = _width(script)
            while k < len(tokens) and tokens[k].isspace():
                k += 1
            if k < len(tokens) and tokens[k] in "_^":
                script, k = _group(tokens, k + 1)
                first = max(first, _width(script))
            over_sum = r"\sum" in tokens[max(0, k - 20) : k] and first < 2.5  # limits stand above and below
            total += 0.25 if over_sum and _after_sum(tokens, k) else 0.72 * first + 0.05
        elif token == r"\sqrt":
            inside, k = _group(tokens, k)
            total += _width(inside) + 0.9
        elif token in _NOTHING or token.isspace():
            continue
        elif token in _WIDE:
            total += _WIDE[token]
        elif token in "+=<>" or token == "-":
            total += 1.2
        elif token in "()[]|,.'":
            total += 0.42
        else:
            total += 0.55 if len(token) == 1 else 0.62
    return total


def _after_sum(tokens: list[str], k: int) -> bool:
    """Whether the scripts that end at ``k`` belong to a sum sign."""
    depth, at = 0, k - 1
    while at >= 0:
        token = tokens[at]
        depth += (token == "}") - (token == "{")
        if depth == 0 and token.startswith("\\"):
            return token == r"\sum"
        if depth == 0 and token.isalnum() and at > 0 and tokens[at - 1] not in "_^":
            return False
        at -= 1
    return False


@dataclass(frozen=True)
class Piece:
    """A stretch of a formula without a place to break, and the sign (or nothing) that joins it to the one before."""

    text: str
    joint: str


def pieces(latex: str) -> list[Piece]:
    """The formula cut at binary plus and minus signs, and before factors in brackets; short brackets stay whole."""
    tokens = _TOKEN.findall(latex)
    whole = _short_brackets(tokens)
    out, current, joint, depth = [], "", "", 0
    for k, token in enumerate(tokens):
        before = current.rstrip()
        free = depth == 0 and k not in whole and bool(before)
        binary = free and token in ("+", "-") and before[-1] not in "([=+-,"
        factor = free and token == r"\left" and before[-1] in "})" and width(current) > 6
        if binary or factor:
            out.append(Piece(before, joint))
            current, joint = "", token if binary else "factor"
            if binary:
                continue
        depth += (token == "{") - (token == "}")
        current += token
    return [*out, Piece(current.rstrip(), joint)]


def _short_brackets(tokens: list[str]) -> set[int]:
    """The places inside brackets that are too short to be broken."""
    inside: set[int] = set()
    opened: list[int] = []
    for k, token in enumerate(tokens):
        if token == r"\left":
            opened.append(k)
        elif token == r"\right":
            start = opened.pop()
            if _width(tokens[start:k]) < LINE / 2:
                inside.update(range(start + 1, k))
    return inside


def broken(left: str, right: str, sign: str = "=", line: float = LINE) -> str:
    """left = right as a display: on one line, or broken into lines none of which is wider than ``line`` em."""
    if width(left) + width(right) + 1.5 <= line:
        return f"{left} {sign} {right}"
    beside = width(left) < 0.5 * line
    texts = _split(right, line - (width(left) + 1.5 if beside else 2.5))
    above = r" \\ &\quad ".join(_split(left, line))
    first = f"{left} &{sign} {texts[0]}" if beside else rf"&{above} \\ &\quad {sign} {texts[0]}"
    return r"\begin{aligned}" + r" \\ ".join([first, *(rf"&\quad {text}" for text in texts[1:])]) + r"\end{aligned}"


def aligned(rows: Sequence[tuple[str, str]], line: float = LINE) -> str:
    """Equations left = right below each other, each broken into lines none of which is wider than ``line`` em."""
    room = line - max(width(left) for left, _ in rows) - 1.5
    lines: list[str] = []
    for left, right in rows:
        first, *rest = [right] if width(right) <= room else _split(right, room)
        lines += [f"{left} &= {first}", *(rf"&\quad {text}" for text in rest)]
    return r"\begin{aligned}" + r" \\ ".join(lines) + r"\end{aligned}"


def _split(right: str, room: float) -> list[str]:
    """A formula in lines none of which is wider than ``room`` em, as far as there are places to break it.

    A term is broken before a factor only where it is longer than a line.
    """
    lines: list[list[Piece]] = [[]]
    used = 0.0
    for term in _terms(pieces(right)):
        parts = [term] if sum(map(_need, term)) <= room - _INDENT else [[piece] for piece in term]
        for part in parts:
            need = sum(map(_need, part))
            if lines[-1] and used + need > room:
                lines.append([])
                used = _INDENT
            lines[-1] += part
            used += need
    return _fixed_brackets([_joined(pieces_) for pieces_ in lines])


def _terms(found: list[Piece]) -> list[list[Piece]]:
    """Pieces with the factors that follow them."""
    out: list[list[Piece]] = []
    for piece in found:
        if piece.joint == "factor":
            out[-1].append(piece)
        else:
            out.append([piece])
    return out


def _need(piece: Piece) -> float:
    return width(piece.text) + (1.2 if piece.joint in ("+", "-") else 0)


def _joined(line: list[Piece]) -> str:
    parts = [f"{piece.joint} {piece.text}" if piece.joint in ("+", "-") else piece.text for piece in line]
    return ("{}" if line[0].joint in ("+", "-") else "") + " ".join(parts)


def _fixed_brackets(lines: list[str]) -> list[str]:
    """``\\left`` must meet its ``\\right`` on the same line: the pairs that do not get brackets of a fixed size."""
    tokens = [_TOKEN.findall(line) for line in lines]
    opened: list[tuple[int, int]] = []
    for k, line in enumerate(tokens):
        for at, token in enumerate(line):
            if token == r"\left":
                opened.append((k, at))
            elif token == r"\right":
                start, place = opened.pop()
                if start != k:
                    tokens[start][place], line[at] = r"\biggl", r"\biggr"
    return ["".join(line) for line in tokens]

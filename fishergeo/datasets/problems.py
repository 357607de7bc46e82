"""From data to what a model of a family is fitted to: (X, Y, units) with names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..families import Family
from ..links import Link, canonical, identity
from . import Floats, load_digits, one_hot
from .data import Data, number

_MOST_CLASSES, _FEWEST_ROWS = 64, 3
_IS = [f"is {digit}" for digit in range(10)]


@dataclass(frozen=True)
class Problem:
    """Model-ready data: X (N, D), Y (N, H) in the support of the family, the names of the H units, and what Y is.

    ``lines`` are those of the text file that the rows stand on, as in `Data`.
    """

    name: str
    X: Floats
    Y: Floats
    names: tuple[str, ...]
    inputs: tuple[str, ...]
    what: str
    source: str = ""
    lines: tuple[int, ...] | None = None

    @property
    def units(self) -> int:
        return self.Y.shape[1]


def prepare(data: Data, family: Family, link: Link | None = None) -> Problem:
    """The targets as the observations Y (N, H) of ``family`` under ``link``.

    Categorical: one column of labels, one unit for each class.  Multinomial: a column of counts for each class, which sum
    to the trials.  Bernoulli: one column of 0 and 1 (one unit), of more classes (each against the rest), or several
    columns of 0 and 1.  Others: numeric columns, one unit each, a family with free dispersion on standardized columns
    (under a link other than the identity, which may not reach their mean 0, on columns divided by their largest number),
    or where it is of positive numbers on columns with mean 1.  Raises `InputError` for targets that the family cannot
    have produced, and for fewer than three rows.
    """
    if not isinstance(data, Data):
        raise InputError(
            f"prepare got data of type {type(data).__name__}: give what load returns, or fg.datasets.Data(...)"
        )
    _check_family("prepare", family)
    if len(data.X) < _FEWEST_ROWS:
        raise InputError(f"{data.name} has too few rows ({len(data.X)}): give {_FEWEST_ROWS} or more")
    if family.coupled and family.trials == 1:
        Y, names, what = _classes(data, family)
    elif family.coupled:
        Y, names, what = _totals(data, family)
    elif not family.support.contains(np.array([2.0])).all():
        Y, names, what = _binary(data, family)
    else:
        Y, names, what = _numeric(data, family, link)
    family.encode(Y, Y.shape)
    return Problem(data.name, data.X, Y, names, data.inputs, what, lines=data.lines)


def digits(family: Family, link: Link | None = None) -> Problem:
    """The handwritten digits as a problem of ``family`` under ``link``.

    Classes for categorical and bernoulli (each digit against the rest); indicator columns of the classes, scaled as by
    `prepare`, for a family of real numbers; for one of counts or of positive numbers, the ink in the four lower rows,
    predicted from the upper half.  Raises `InputError` for families that cannot have produced these, such as multinomial
    ones.
    """
    _check_family("digits", family)
    X, y = load_digits()
    names = tuple(f"pixel ({row}, {column})" for row in range(8) for column in range(8))
    source = "Alpaydin, Kaynak 1998, Optical Recognition of Handwritten Digits (UCI), doi 10.24432/C50P49, CC BY 4.0"
    if family.coupled and family.trials != 1:
        raise InputError(
            f"the digits have no counts of {family.name}: give a file with a column for each class (--data, --target)"
        )
    if family.coupled or not family.support.contains(np.array([2.0])).all():
        data = Data("digits", X, names, (y,), ("digit",))
    elif family.support.contains(np.array([-0.5])).all():
        data = Data("digits", X, names, tuple(one_hot(y).T)[: family.units], tuple(_IS[: family.units]))
    else:
        rows = X.reshape(-1, 8, 8)[:, 4:].sum(axis=2)
        data = Data("digits", X[:, :32], names[:32], tuple(rows.T), tuple(f"ink in row {k}" for k in range(4, 8)))
    problem = prepare(data, family, link)
    return replace(problem, source=source)


def _classes(data: Data, family: Family) -> tuple[Floats, tuple[str, ...], str]:
    column = _only(data, family)
    values, codes = np.unique(column, return_inverse=True)
    name = data.targets[0]
    if len(values) < 2:
        raise InputError(
            f"the target {name!r} has one class, {_text(values[0])!r}: {family.name} needs two or more; choose another"
        )
    if len(values) > min(_MOST_CLASSES, len(column) / 2):
        remedy = "merge classes, or choose another target"
        if column.dtype.kind != "U":
            remedy = "use --family gaussian (real numbers) or poisson (counts)"
        raise InputError(
            f"the target {name!r} has {len(values)} different values in {len(column)} rows, too many for "
            f"classes (at most {_MOST_CLASSES}, of two rows each on average); {remedy}"
        )
    names = tuple(map(_text, values))
    return one_hot(codes.ravel(), len(values)), names, f"the class {name} ({len(values)} classes)"


def _binary(data: Data, family: Family) -> tuple[Floats, tuple[str, ...], str]:
    if len(data.y) > 1:
        for name, column in zip(data.targets, data.y, strict=True):
            if column.dtype.kind == "U" or not family.support.contains(column).all():
                raise InputError(
                    f"the target {name!r} is not all 0 and 1: with several targets {family.name} needs that; name one"
                )
        return np.column_stack(data.y).astype(float), data.targets, "several columns of 0 and 1"
    Y, names, what = _classes(data, family)
    if len(names) == 2:
        return Y[:, 1:], names[1:], f"{data.targets[0]} = {names[1]} against {names[0]}"
    return Y, names, what + ", each against the rest"


def _numeric(data: Data, family: Family, link: Link | None) -> tuple[Floats, tuple[str, ...], str]:
    if family.units not in (None, len(data.y)):
        raise InputError(f"{family.name} has {family.units} outputs but got {len(data.y)} targets: name as many")
    for name, column in zip(data.targets, data.y, strict=True):
        if column.dtype.kind == "U":
            k, text = next(((k, text) for k, text in enumerate(column) if number(text) is None), (0, column[0]))
            raise InputError(
                f"the target {name!r} is text ({str(text)!r} in {data.row(k)}): {family.name} needs numbers; correct it, "
                "or use --family categorical"
            )
        bad = ~family.support.contains(column)
        if bad.any():
            first = int(np.argmax(bad))
            raise InputError(
                f"the target {name!r} is {column[first]:g} in {data.row(first)}: the support of {family.name} is "
                f"{family.support.text}; correct it, or use another --family"
            )
        if (column == column[0]).all():
            raise InputError(
                f"the target {name!r} is {column[0]:g} in every row: nothing to model; choose another column"
            )
    Y = np.column_stack(data.y).astype(float)
    what = _listed(data.targets)
    if family.free_dispersion:
        Y = Y / np.abs(Y).max(axis=0)  # first, so that no square over- or underflows
        if family.support.contains(np.array([-0.5])).all():
            if link not in (None, canonical, identity):
                return Y, data.targets, f"{what}, divided by the largest"
            return (Y - Y.mean(axis=0)) / Y.std(axis=0), data.targets, f"{what}, standardized"
        return Y / Y.mean(axis=0), data.targets, f"{what}, divided by the mean"
    return Y, data.targets, what


def _totals(data: Data, family: Family) -> tuple[Floats, tuple[str, ...], str]:
    for name, column in zip(data.targets, data.y, strict=True):
        if column.dtype.kind == "U":
            raise InputError(f"the target {name!r} is text: {family.name} needs a column of counts for each class")
    Y = np.column_stack(data.y).astype(float)
    bad = ~family.support.contains(Y).all(axis=1)
    if bad.any() or len(data.y) < 2:
        first = int(np.argmax(bad))
        raise InputError(
            f"the targets {_listed(data.targets)} are {_listed([f'{count:g}' for count in Y[first]])} in "
            f"{data.row(first)}: {family.name} needs {family.support.text}, a column for each of two classes or more"
        )
    return Y, data.targets, _listed(data.targets)


def _check_family(who: str, family: Any) -> None:
    if not isinstance(family, Family):
        raise InputError(f"{who} got family={family!r}: give a family such as fg.bernoulli")


def _only(data: Data, family: Family) -> NDArray[Any]:
    if len(data.y) > 1:
        raise InputError(
            f"{family.name} takes one column of labels but got {len(data.y)} ({_listed(data.targets)}): name one"
        )
    return data.y[0]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{names[0]}, {names[1]}, … {names[-1]}"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)

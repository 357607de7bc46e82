"""Documents of Fisher blocks: definitions, derivatives, and every block with the level of certainty that it reached."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import sympy
from sympy import KroneckerDelta

from ..axes import Axis
from ..errors import InputError
from ..families import Family, Floats, categorical
from ..information.matrices import fisher
from ..initial import center
from ..levels import Level
from ..links import Link, canonical
from ..model import GLM, Params
from ..normalizers import Normalizer
from ..symbolic import derivation as by
from ..symbolic.atoms import INPUT, atoms
from ..symbolic.blocks import CASES, PARTS, FisherBlock, d, fisher_block
from ..symbolic.certainty import Certificate
from ..symbolic.curvature import (
    ETA,
    MEAN,
    PHI,
    Symmetric,
    at_positions,
    curvature,
    dispersion,
    insert,
    k,
    mean_function,
    weight_function,
)
from ..symbolic.derivation import Derivation, Display, Step, Text
from ..symbolic.document import document, legend
from ..symbolic.evidence import block_is_proved, definition, derivative_is_proved
from ..symbolic.groups import GROUP, Leading
from ..symbolic.jacobian import GAIN, derivative, h
from ..symbolic.latex import MEAN_OVER_CASES, block_name, index_range, latex
from ..symbolic.layout import broken
from ..symbolic.rules import Partial
from ..symbolic.sums import I, rename

Item = Text | Step | Display
TOLERANCE = 1e-12
_SIZES = {Axis.SAMPLE: 7, Axis.POSITION: 3, Axis.INPUT: 4, Axis.UNIT: 5}  # of the comparison, raised where needed
_WIDEST = 3.0  # of the range of predictors in the comparison


@dataclass(frozen=True)
class Sheet:
    """The blocks of ``pairs`` (row, column) of one model; each is compared with numbers before it is written.

    Raises `InputError` as `fisher_block` does, and `ArithmeticError` where a block differs from the numeric operator.
    """

    normalizer: Normalizer
    pairs: tuple[tuple[str, str], ...]
    family: Family | None = None
    link: Link | None = None

    @cached_property
    def blocks(self) -> tuple[FisherBlock, ...]:
        return tuple(fisher_block(self.normalizer, *pair, family=self.family, link=self.link) for pair in self.pairs)

    @property
    def title(self) -> str:
        of = "" if self.family is None else f": {_title(self.family.name)} outputs"
        bent = self.blocks[0].link
        return f"Fisher blocks of {self.normalizer.title}{of}" + ("" if bent is None else f", {bent.name} link")

    @cached_property
    def comparison(self) -> tuple[tuple[float, ...], dict[Axis, int]]:
        """The largest gap of each block to the numeric operator, relative to the largest entry of F, and the sizes."""
        model = GLM(self.family or categorical, self.normalizer, link=self.link)
        if model.family.free_dispersion:
            model = GLM(model.family, self.normalizer, link=self.link, dispersion=0.7)
        sizes = _sizes(self.normalizer, model.family)
        p, X = _example(model, sizes)
        F = fisher(model, p, X)
        scale = np.abs(F.to_dense()).max()
        gaps = tuple(_gap(block, F, model, p, X) / scale for block in self.blocks)
        for block, gap in zip(self.blocks, gaps, strict=True):
            if not gap <= TOLERANCE:
                raise ArithmeticError(f"the {block.row} x {block.column} block of {self.title} is off by {gap:.2g}")
        return gaps, {axis: size for axis, size in sizes.items() if axis is not Axis.POSITION or X.ndim == 3}

    @cached_property
    def certificates(self) -> tuple[tuple[Certificate, Certificate], ...]:
        """Of each block: that of its index form, and that of the comparison with numbers."""
        gaps, sizes = self.comparison
        at = ", ".join(f"{axis.value.upper()} = {size}" for axis, size in sizes.items())
        compared = [Certificate(Level.NUMERIC, f"gap {gap:.1g}, tolerance {TOLERANCE:g}, {at}") for gap in gaps]
        known = derivative_is_proved(self.normalizer)
        return tuple(
            (Certificate(Level.PROVED) if known and block_is_proved(block) else numeric, numeric)
            for block, numeric in zip(self.blocks, compared, strict=True)
        )

    def chapters(self) -> tuple[Derivation, ...]:
        """Definitions, derivatives and blocks."""
        parts = {"Definitions": self._definitions(), "Derivatives": self._derivatives(), "Blocks": self._blocks()}
        return tuple(_chapter(number, title, items) for number, (title, items) in enumerate(parts.items(), 1))

    def check(self, tick: Callable[[str], None] = lambda label: None) -> None:
        """Derive and prove every block and compare all with numbers; ``tick(label)`` marks each of these as done."""
        for block in self.blocks:
            block_is_proved(block)
            tick(f"{block.row}-{block.column}")
        if self.certificates:
            tick("comparison with numbers")

    def latex(self) -> str:
        """The whole document."""
        body = "".join(chapter.latex() for chapter in self.chapters())
        return document(self.title, f"\\begin{{center}}\n{legend()}\n\\end{{center}}\n{body}")

    def fragment(self, place: int) -> str:
        """One block as two equations, to be put into a document that loads amsmath."""
        block = self.blocks[place]
        return "".join(
            f"\\begin{{equation}}\n{text}\n\\end{{equation}}\n" for text in (_index_form(block), block.matrix_latex())
        )

    def results(self) -> list[dict[str, Any]]:
        """What was checked, as plain data."""
        gaps, sizes = self.comparison
        return [
            {
                "row": block.row,
                "column": block.column,
                "index_form": block.latex(),
                "matrix_form": block.matrix_latex(),
                "level": int(proof.level),
                "certainty": str(proof.level),
                "gap": gap,
                "tolerance": TOLERANCE,
                "sizes": {axis.value.upper(): size for axis, size in sizes.items()},
            }
            for block, gap, (proof, _) in zip(self.blocks, gaps, self.certificates, strict=True)
        ]

    @property
    def _cases(self) -> tuple[Any, ...]:
        return CASES[: 1 + self.normalizer.tells_positions_apart]

    def _definitions(self) -> Iterator[Item]:
        normalizer, named = self.normalizer, atoms(self.normalizer)
        x, w, b, z = (sympy.IndexedBase(letter, real=True) for letter in "xwbz")
        own = {"the weights": w[h, d], "the bias": b[h]} | ({"the gain": GAIN.expr} if normalizer.has_gain else {})
        indices = (*self._cases, d, h)
        yield Text(
            f"The inputs are {{}}, and every unit has {', '.join(f'{name} {{}}' for name in own)}; the indices run over "
            f"{', '.join('{}' for _ in indices)}. {normalizer.title[0].upper()}{normalizer.title[1:]} computes",
            (x[(*self._cases, d)], *own.values(), *map(index_range, indices)),
        )
        yield from (_defined(rule.left, rule.right) for rule in named.definitions)
        yield _defined(z[(*self._cases, h)], (GAIN.expr if normalizer.has_gain else 1) * named.value + b[h])
        yield from self._outputs()
        notes: dict[str, Any] = {"{} is 1 where its indices are equal and 0 elsewhere": KroneckerDelta(h, k)}
        for kind, note in ((GROUP, "{} is the group of an index"), (Leading, "{} is 1 where that is so and 0 elsewhere")):
            found = sorted((part for rule in named.definitions for part in rule.right.atoms(kind)), key=str)
            notes |= {note: found[0]} if found else {}
        notes |= {"{} is the dispersion": PHI} if dispersion(self.family) == PHI else {}
        cases = "cases and positions (with one index below, over that alone)" if len(self._cases) == 2 else "cases"
        notes[f"{{}} is the mean over {cases}, in which bold letters are vectors over the inputs"] = MEAN_OVER_CASES
        yield Text("; ".join(notes) + ".", tuple(notes.values()))

    def _outputs(self) -> Iterator[Item]:
        """The family and the link: the mean, and what stands between two derivatives."""
        family, link, n = self.family, self.blocks[0].link, CASES[0]
        kernel = Symmetric(ETA if link is None else sympy.IndexedBase("omega", real=True), *self._cases, h, k)
        if family is None or family.mixing is not None:
            yield Text("{} is the covariance of the outputs of a case, divided by {}.", (kernel, PHI))
            return
        mean, weight = at_positions(MEAN[n, h], self._cases), curvature(family)
        yield Text(f"{_title(family.name)} outputs have the mean {{}}.", (mean,))
        if link is not None:
            yield _defined(mean, at_positions(mean_function(family, link), self._cases))
        if not family.coupled:
            weight = insert(weight, weight_function(family, link))
        yield _defined(kernel, at_positions(weight, self._cases))

    def _derivatives(self) -> Iterator[Item]:
        known = derivative_is_proved(self.normalizer)
        z = sympy.IndexedBase("z", real=True)[(*self._cases, h)]
        for part in sorted({part for pair in self.pairs for part in pair}, key=PARTS.index):
            by_what = sympy.IndexedBase(part[0], real=True)[(I, d) if part == "weight" else I]
            right = rename(derivative(self.normalizer, part).expr, {INPUT: d})
            level = Certificate(Level.PROVED) if known else self.certificates[0][1]
            yield Step("", Partial(z, by_what), right, by.chain_rule if known else by.comparison, (), level)

    def _blocks(self) -> Iterator[Item]:
        letter = "eta" if self.blocks[0].link is None else "omega"
        for block, (certificate, numeric) in zip(self.blocks, self.certificates, strict=True):
            name = block_name(block.row, block.column)
            yield Text(f"{block.row.capitalize()} and {block.column}", heading=True)
            yield Display("", broken(name, latex(definition(block, letter)), ":="), by.definition)
            reason = by.chain_rule if certificate.level is Level.PROVED else by.comparison
            yield Display("", _index_form(block), reason, certificate)
            yield Display("", block.matrix_latex(), by.comparison, numeric)


def _chapter(number: int, title: str, items: Iterable[Item]) -> Derivation:
    """A chapter whose equations are numbered."""
    count = itertools.count(1)
    labelled = [item if isinstance(item, Text) else replace(item, label=f"{number}.{next(count)}") for item in items]
    return Derivation(number, title, labelled)


def _defined(left: Any, right: Any) -> Step:
    return Step("", left, right, by.definition)


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _index_form(block: FisherBlock) -> str:
    return broken(block_name(block.row, block.column), latex(block.expr))


# --- the comparison with numbers --------------------------------------------------------------------------------------


def _sizes(normalizer: Normalizer, family: Family) -> dict[Axis, int]:
    """Sizes that split into groups and leave no stage degenerate."""
    least, every = normalizer.minimum(), normalizer.multiples()
    sizes = {axis: -(-max(size, least[axis]) // every[axis]) * every[axis] for axis, size in _SIZES.items()}
    fixed = {Axis.UNIT: normalizer.units or family.units, Axis.POSITION: normalizer.positions}
    return sizes | {axis: size for axis, size in fixed.items() if size is not None}


def _example(model: GLM, sizes: dict[Axis, int]) -> tuple[Params, Floats]:
    """Random inputs, and parameters whose predictors the family and the link allow."""
    rng = np.random.default_rng(0)
    shape = [sizes[axis] for axis in (Axis.SAMPLE, Axis.POSITION, Axis.INPUT)]
    X = rng.normal(size=shape if model.normalizer.tells_positions_apart else (shape[0], shape[2])) + 0.5
    p = model.init(sizes[Axis.INPUT], sizes[Axis.UNIT], rng)
    start, room = center(model.family, model.link or canonical)
    width = min(room, _WIDEST)
    values = model.normalizer(X, p.weight).value.reshape(-1, p.units)
    scale = np.minimum(1, width / np.ptp(values, axis=0))
    middle = scale * (values.min(axis=0) + values.max(axis=0)) / 2
    bias = start - middle + width / 4 * rng.uniform(-1, 1, p.units)
    return (Params(scale[:, None] * p.weight, bias) if p.gain is None else Params(p.weight, bias, scale)), X


def _gap(block: FisherBlock, F: Any, model: GLM, p: Params, X: Floats) -> float:
    """The largest difference between a block and the same entries of the numeric operator."""
    found = block.lambdify()(model, p, X)
    place = {"weight": slice(p.inputs), "bias": p.inputs, "gain": p.inputs + 1}
    return max(
        float(np.abs(found[i, j] - F.block(i, j)[place[block.row], place[block.column]]).max())
        for i, j in np.ndindex(p.units, p.units)
    )


def pairs(names: str, normalizer: Normalizer) -> tuple[tuple[str, str], ...]:
    """The blocks that a comma-separated list of row-column names, or all of them for "all"."""
    parts = PARTS if normalizer.has_gain else PARTS[:-1]
    if names.strip() == "all":
        return tuple((row, column) for k, row in enumerate(parts) for column in parts[k:])
    known = {f"{row}-{column}": (row, column) for row in PARTS for column in PARTS}
    return tuple(dict.fromkeys(_pair(name.strip(), known) for name in names.split(",")))


def _pair(name: str, known: dict[str, tuple[str, str]]) -> tuple[str, str]:
    from ..datasets.data import nearest

    if name not in known:
        raise InputError(f"unknown block {name!r}: {nearest(name, known)}")
    return known[name]

"""The null space of the Fisher matrix, matched with the generators that explain it.

A generator proposes directions of the parameters; what it explains is the part of the null space of F that lies in their
span and was not explained before.  Proposals need no proof: the intersection is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from ..axes import Site
from ..families import Floats
from ..information.matrices import fisher
from ..information.operator import Metric
from ..model import GLM, Linearization, Params
from ..transformations import TRANSFORMATIONS, Parameter, Rescale, Shift, State, Transformation, case_rescaling
from .proof import prove

_ANGLE = 1e-6  # sine of the angle to the null space below which a direction counts as lying in it


@dataclass(frozen=True)
class Generator:
    """A family of parameter directions, ``span(linearization)`` (k, P), with its meaning in words."""

    name: str
    meaning: str
    span: Callable[[Linearization], Floats]


@dataclass(frozen=True)
class Explained:
    """A generator and the number of null directions it accounts for."""

    name: str
    dimension: int
    meaning: str


@dataclass(frozen=True)
class Symmetries:
    """The nullity of F, split by generator; ``unexplained`` directions belong to none of them."""

    nullity: int
    explained: tuple[Explained, ...]
    unexplained: int
    basis: Floats
    equations: int
    size: int

    @property
    def note(self) -> str:
        """Why directions may be left over."""
        if self.unexplained and self.equations < self.size:
            return f"{self.size} parameters but only {self.equations} equations (cases x free outputs): add cases"
        return ""

    def __repr__(self) -> str:
        lines = [f"null space of F: {self.nullity} of {self.size} directions"]
        lines += [f"  {e.dimension:>4}  {e.name}: {e.meaning}" for e in self.explained]
        if self.unexplained:
            lines.append(f"  {self.unexplained:>4}  not explained{'; ' + self.note if self.note else ''}")
        return "\n".join(lines)


def symmetries(model: GLM, p: Params, X: ArrayLike, metric: Metric | None = None) -> Symmetries:
    """The null space of F at ``p`` with the generators that explain it; ``metric`` saves building F again.

    Raises what `fisher` and `prove` raise.
    """
    F = fisher(model, p, X) if metric is None else metric
    at = model.linearize(p, X)
    null = F.null_space()
    spanned = np.zeros((p.size, 0))
    explained = []
    for generator in _generators(model):
        found = _intersection(null, np.concatenate([spanned, generator.span(at).T], axis=1))
        if (more := found.shape[1] - spanned.shape[1]) > 0:
            explained.append(Explained(generator.name, more, generator.meaning))
            spanned = found
    free = p.units - 1 if model.family.coupled else p.units
    return Symmetries(null.shape[1], tuple(explained), null.shape[1] - spanned.shape[1], null, at.cases * free, p.size)


def _intersection(null: Floats, candidates: Floats) -> Floats:
    """An orthonormal basis of the directions in the span of ``candidates`` whose sine with the null space vanishes."""
    norms = np.linalg.norm(candidates, axis=0)
    U, s, _ = np.linalg.svd(candidates[:, norms > 0] / norms[norms > 0], full_matrices=False)
    Q = U[:, s > 1e-10 * max(s.max(initial=0.0), 1e-300)]
    _, sines, Vt = np.linalg.svd(Q - null @ (null.T @ Q), full_matrices=True)
    sines = np.concatenate([sines, np.zeros(Q.shape[1] - len(sines))])
    return Q @ Vt[sines < _ANGLE].T


def _generators(model: GLM) -> Iterator[Generator]:
    moving = [t for t in TRANSFORMATIONS if _moves_weights_only(t) and prove(model.normalizer, t)]
    for transformation in sorted(moving, key=lambda t: -sum(len(p.axes) for p in t.parameters)):  # subgroups after groups
        meaning = f"Â does not change under ${transformation.formula}$"
        yield Generator(transformation.title, meaning, partial(_orbit, transformation))
    if model.family.coupled:
        yield Generator("shared bias shift", "one number added to every logit changes no probability", _bias)
    if model.has_gain:
        yield Generator("weight-gain exchange", "the length of w_h can be moved into g_h and b_h", _own_weights)
    if len({site for site, _ in model.normalizer.stages}) > 1:
        meaning = "changes of A that its own standardization removes, pulled back through the other sites"
        yield Generator("composition of sites", meaning, _pulled_back)
    yield Generator("inputs not in the data", "combinations of inputs that are constant over all cases", _unseen)
    if prove(model.normalizer, case_rescaling):
        yield Generator(
            "cases that inputs single out", "rescaling one such case is a change of weights, and changes no Â", _single
        )
    if model.family.coupled:
        yield Generator("shared logit shift", "one function of x added to every logit changes no probability", _shared)


def _rows(at: Linearization, dW: Floats, affine: bool = False) -> Floats:
    """Weight changes (k, H, D) as flat vectors; ``affine`` adds every gain and bias direction to them."""
    zero = np.zeros(dW.shape[:-1])
    rows = Params(dW, zero, zero if at.model.has_gain else None).ravel()
    if not affine:
        return rows
    places = np.arange(at.params.size) % (at.params.size // at.params.units)
    return np.concatenate([rows, np.eye(at.params.size)[places >= at.params.inputs]])


def _moves_weights_only(transformation: Transformation) -> bool:
    return all(
        isinstance(action, Shift) or (isinstance(action, Rescale) and action.sign > 0)
        for action in transformation.actions
    ) and all(action.site is Site.WEIGHT for action in transformation.actions if isinstance(action, Shift | Rescale))


def _orbit(transformation: Transformation, at: Linearization) -> Floats:
    return _rows(at, _tangents(transformation, at.params.weight))


def _tangents(transformation: Transformation, W: Floats) -> Floats:
    """The derivative of the transformed weights with respect to every entry of its parameters, at the identity."""
    start = State(np.zeros((1, W.shape[1])), W)

    def unit(parameter: Parameter) -> Floats:
        sizes = dict(zip(Site.WEIGHT.layout(2), W.shape, strict=True))
        return np.full([sizes[a] if a in parameter.axes else 1 for a in Site.WEIGHT.layout(2)], float(parameter.positive))

    rest = [unit(parameter) for parameter in transformation.parameters]
    out = []
    for k, value in enumerate(rest):
        for entry in np.ndindex(value.shape):
            moved = value.copy()
            moved[entry] += 1  # actions are affine in each parameter, so a unit step gives the derivative exactly
            out.append(transformation.act(start, [*rest[:k], moved, *rest[k + 1 :]]).W - W)
    return np.stack(out)


def _own_weights(at: Linearization) -> Floats:
    return _rows(at, np.eye(at.params.units)[:, :, None] * at.params.weight, affine=True)


def _pulled_back(at: Linearization) -> Floats:
    """One linear function of x̂ added to every summed input; constants and lengths of w_h are free to make room for it."""
    H, D = at.params.weight.shape
    eye = np.eye(H)[:, :, None]
    shared = np.einsum("h,ud->uhd", _unit_scale(at), np.eye(D))
    return _rows(at, np.concatenate([shared, eye * np.ones(D), eye * at.params.weight]))


def _bias(at: Linearization) -> Floats:
    zero = np.zeros_like(at.params.bias)
    return Params(np.zeros_like(at.params.weight), zero + 1, zero if at.model.has_gain else None).ravel()[None]


def _unseen(at: Linearization) -> Floats:
    """e_h ⊗ u for every u with X̂u constant over the cases."""
    H, D = at.params.weight.shape
    X, scale = _equilibrated(at)
    _, s, Vt = np.linalg.svd(np.linalg.qr(X - X.mean(axis=0), mode="r"), full_matrices=True)
    directions = Vt[_numerical_rank(s, X.shape) :] / scale
    return _rows(at, np.einsum("hk,ud->hukd", np.eye(H), directions).reshape(-1, H, D), affine=True)


def _single(at: Linearization) -> Floats:
    """a_n ⊗ u_n for every case n of leverage 1, where X̂u_n is 1 at case n and 0 elsewhere."""
    X, scale = _equilibrated(at)
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    rank = _numerical_rank(s, X.shape)
    cases = np.flatnonzero(1 - (U[:, :rank] ** 2).sum(axis=1) < _ANGLE**2 + X.shape[1] * np.finfo(float).eps)
    picks = (U[cases, :rank] / s[:rank]) @ Vt[:rank] / scale
    return _rows(at, at.normalized.A.reshape(len(X), -1)[cases][:, :, None] * picks[:, None, :])


def _equilibrated(at: Linearization) -> tuple[Floats, Floats]:
    """X̂ with its columns divided by their norms (1 where a column is 0), and those norms."""
    X = at.normalized.Xhat.reshape(-1, at.params.inputs)
    scale = np.linalg.norm(X, axis=0)
    scale[scale == 0] = 1
    return X / scale, scale


def _numerical_rank(s: Floats, shape: tuple[int, ...]) -> int:
    return int((s > max(shape) * np.finfo(float).eps * s.max(initial=0.0)).sum())


def _shared(at: Linearization) -> Floats:
    """The weight changes that add the same linear function u of x to every logit, up to what gain and bias can undo."""
    scale, gain = _unit_scale(at), at.params.gain
    if gain is not None:
        scale = np.divide(scale, gain, out=np.zeros_like(scale), where=gain != 0)
    return _rows(at, np.einsum("h,ud->uhd", scale, np.eye(at.params.inputs)), affine=True)


def _unit_scale(at: Linearization) -> Floats:
    """The product of the σ of each unit over the stages; a σ of each case has no place in it."""
    scale = np.ones(at.params.units)
    for stages, by_unit in ((at.normalized.weight, True), (at.normalized.summed, False)):
        for sigma in (stage.sigma for stage in stages):
            if sigma is not None and (by_unit or np.ndim(sigma) < 2 or np.shape(sigma)[0] == 1):
                scale = scale * np.ravel(sigma)
    return scale

"""The generators of the null space of F: families of parameter directions proposed from the structure of the model.

A standardization removes from its input exactly what scales or shifts whole cells, dT = α_cell T + β_cell; what it
leaves can be taken up by gains and biases, by the softmax, or by outcomes that do not show.  Each generator says which
changes of the weights bring one of these about.  No proposal needs a proof: `symmetries` keeps what is null.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..axes import Site
from ..families import Floats, Hessian
from ..model import GLM, Params
from ..normalizers import Normalizer
from ..transformations import TRANSFORMATIONS, Parameter, Rescale, Shift, State, Transformation
from .proof import Undecided, prove
from .structure import Structure, kernel, norms, rank_one, slopes


@dataclass(frozen=True)
class Generator:
    """A family of parameter directions, ``span(structure)`` (k, P), with its meaning in words.

    One with a ``proof`` is a group of transformations: it explains all of its span, where the proof holds, or nothing.
    """

    name: str
    meaning: str
    span: Callable[[Structure], Floats]
    proof: Callable[[], bool] | None = None


def generators(model: GLM) -> Iterator[Generator]:
    """The generators that apply to ``model``, special ones before those that contain them."""
    moving = [t for t in TRANSFORMATIONS if _moves_weights_only(t)]
    for transformation in sorted(moving, key=lambda t: -sum(len(p.axes) for p in t.parameters)):  # subgroups after groups
        meaning = f"Â does not change under ${transformation.formula}$"
        proof = partial(_proved, model.normalizer, transformation)
        yield Generator(transformation.title, meaning, partial(_orbit, transformation), proof)
    if model.family.coupled:
        yield Generator("shared bias shift", "one number added to every logit changes no probability", _bias)
    yield Generator("certain outcomes", "functions of x that change Z only where the outcome is certain", _certain)
    yield Generator("inputs not in the data", "combinations of inputs that are constant over all cases", _unseen)
    if model.has_gain:
        yield Generator("shifts of cells", "what is added to a whole cell is centered away", _cell_shifts)
        meaning = "a factor of a whole cell is divided away, as of the one part of the inputs that a case uses"
        yield Generator("rescalings of cells", meaning, _cell_rescalings)
        meaning = "where the (centered) w_h that share σ are multiples c_h w of one w, Â does not depend on w"
        yield Generator("proportional weights", meaning, _proportional)
        meaning = "the length of w_h can be moved into g_h and b_h, where σ is linear in x also a shift of a_h"
        yield Generator("weight-gain exchange", meaning, _exchange)
        yield Generator("gain 0", "a unit with gain 0 shows only in the moments that it shares with others", _no_gain)
    if model.family.coupled:
        yield Generator("shared logit shift", "one function of x added to every logit changes no probability", _shared)


def _rows(model: Structure, dW: Floats, affine: bool = False) -> Floats:
    """Weight changes (k, H, D) as flat vectors; ``affine`` adds every gain and bias direction to them."""
    zero = np.zeros(dW.shape[:-1])
    rows = Params(dW, zero, zero if model.at.model.has_gain else None).ravel()
    if not affine:
        return rows
    size = model.at.params.size
    places = np.arange(size) % (size // model.units)
    return np.concatenate([rows, np.eye(size)[places >= model.shape[1]]])


def _each(model: Structure, U: Floats) -> Floats:
    """e_h ⊗ u for every unit and every row u of ``U`` (k, D), or of the unit's own ``U`` (H, k, D)."""
    U = np.broadcast_to(U, (model.units, *U.shape[-2:]))
    return np.einsum("hj,hud->hujd", np.eye(model.units), U).reshape(-1, *model.shape)


# --- transformations of the weights --------------------------------------------------------------------------------


def _moves_weights_only(transformation: Transformation) -> bool:
    return all(
        isinstance(action, Shift) or (isinstance(action, Rescale) and action.sign > 0)
        for action in transformation.actions
    ) and all(action.site is Site.WEIGHT for action in transformation.actions if isinstance(action, Shift | Rescale))


def _proved(normalizer: Normalizer, transformation: Transformation) -> bool:
    try:
        return bool(prove(normalizer, transformation))
    except Undecided:
        return False


def _orbit(transformation: Transformation, model: Structure) -> Floats:
    return _rows(model, _tangents(transformation, model.at.params.weight))


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


# --- what the data and the standardizations remove -----------------------------------------------------------------


def _unseen(model: Structure) -> Floats:
    """e_h ⊗ u for every u with X̂u constant over the cases."""
    X = model.X
    return _rows(model, model.pull * _each(model, kernel(X - X.mean(axis=0), norms(X))), affine=True)


def _cell_shifts(model: Structure) -> Floats:
    """1 ⊗ u over the units of a cell, for every u with X̂u constant over its cases; a constant added to a cell of W."""
    dW = [c.pull * np.einsum("bh,ud->buhd", c.blocks, c.shifts) for c in model.cells if c.center]
    return _rows(model, _stacked(model, [*dW, *model.weight_cells]))


def _cell_rescalings(model: Structure) -> Floats:
    """V P_i over the units of a cell, for every part i of the inputs; a cell of W times a number."""
    dW = [
        c.pull * np.einsum("bh,phd->bphd", c.blocks, c.weight @ np.swapaxes(c.parts, -1, -2))
        for c in model.cells
        if c.sigma is not None
    ]
    return _rows(model, _stacked(model, [*dW, *model.weight_cells]))


def _proportional(model: Structure) -> Floats:
    """c ⊗ u for every u on a part of the inputs, where the weights of a cell are c wᵀ."""
    dW = []
    for cells in model.cells:
        if cells.sigma is None or not cells.single:
            continue
        for block, P in itertools.product(cells.blocks, cells.parts):
            c = rank_one(cells.centered_weight * block[:, None] @ P.T)
            if c is not None:
                dW.append(cells.pull * np.einsum("h,du->uhd", c, P))
    return _rows(model, _stacked(model, dW))


def _stacked(model: Structure, dW: Sequence[Floats]) -> Floats:
    return np.concatenate([np.zeros((0, *model.shape)), *(d.reshape(-1, *model.shape) for d in dW)])


# --- what gains, biases and the family take up ---------------------------------------------------------------------


def _bias(model: Structure) -> Floats:
    zero = np.zeros(model.units)
    return Params(np.zeros(model.shape), zero + 1, zero if model.at.model.has_gain else None).ravel()[None]


def _lengths(model: Structure) -> Floats:
    """e_h ⊗ the weights of â_h, which g_h undoes; e_h ⊗ u where X̂u = σ, which b_h undoes."""
    own = [] if model.cells else [model.pull * _each(model, model.at.normalized.What[:, None, :])]
    for cells in model.cells:
        own.append(cells.pull * _each(model, cells.centered_weight[:, None, :]))
        if cells.sigma is not None:
            own.append(cells.pull * _each(model, slopes(cells.X, cells.sigma)[:, None, :]))
    return _stacked(model, own)


def _exchange(model: Structure) -> Floats:
    return _rows(model, _lengths(model), affine=True)


def _hidden(model: Structure) -> Floats:
    """Every direction of w_h for the units with g_h = 0."""
    gain = model.at.params.gain
    none = np.zeros(model.units, bool) if gain is None else gain == 0
    return _each(model, np.eye(model.shape[1]))[np.repeat(none, model.shape[1])]


def _no_gain(model: Structure) -> Floats:
    hidden = _hidden(model)
    return _rows(model, _stacked(model, [hidden, _lengths(model)]), affine=True) if len(hidden) else _rows(model, hidden)


def _shared(model: Structure) -> Floats:
    """The weight changes that add the same linear function of x̂ to every logit, up to what gain and bias can undo."""
    same = [model.to_logits * np.eye(model.shape[1])[:, None, :]]
    same += [cells.pull * model.over_gain * cells.shared_functions for cells in model.cells]
    return _rows(model, _stacked(model, [*same, _lengths(model), _hidden(model)]), affine=True)


def _certain(model: Structure) -> Floats:
    """The changes u_h·x̂ + c_h of the logits that show nowhere only because some outcomes are certain."""
    if model.shown.all():
        return np.zeros((0, model.at.params.size))
    always, now = (_unseen_logits(model, shown) for shown in (np.ones_like(model.shown), model.shown))
    _, s, Vt = np.linalg.svd(
        now - (now @ always.T) @ always, full_matrices=False
    )  # s is 0 or 1: the one contains the other
    free = Vt[s > 0.5].reshape(-1, model.units, model.shape[1] + 1)[..., :-1] / norms(model.X)
    return _rows(model, model.to_logits * free, affine=True)


def _unseen_logits(model: Structure, shown: NDArray[np.bool_]) -> Floats:
    """An orthonormal basis (k, H (D + 1)) of the u_h, c_h that show in no outcome; columns of X̂ divided by their norm."""
    (H, D), X, cases = model.shape, model.X / norms(model.X), shown.any(axis=1)
    columns = np.zeros((H, D + 1, int(cases.sum()), H))
    for h in range(H):
        columns[h, :D, :, h], columns[h, D, :, h] = X[cases].T, 1
    root = Hessian(shown[cases].astype(float), model.at.hessian.coupled).root(columns)
    return kernel(root.reshape(H * (D + 1), -1).T, np.ones(H * (D + 1)))

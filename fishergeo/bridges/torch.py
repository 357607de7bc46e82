r"""Modules of PyTorch as models: one linear layer, with a normalization before or after it, or of its weights.

Let r = 1/σ and m = μ/σ where the statistics of the inputs are frozen, 1 and 0 where they are not.  Before and after the
normalization of the summed inputs

    A = W (γ₀ (r x - m) + β₀) + c = (W γ₀ r) x + l,   l = c + W (β₀ - γ₀ m),        Z = γ₁ Â + β₁

so the weights of the model are W γ₀ r.  The lift l joins its bias, or is removed by a normalization that centers it away,
or becomes the weight of one more input that is 1 for every case.  T is the derivative of this map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from ..axes import Axis
from ..errors import InputError
from ..families import Family, Floats
from ..frozen import Frozen
from ..links import Link
from ..model import GLM, Params
from ..normalizers import Normalizer, compose, identity
from .core import Bridge, as_inputs, jacobian, library, places
from .torch_layers import Chain, read


def from_torch(
    module: Any,
    X: ArrayLike | None = None,
    *,
    family: Family | None = None,
    link: Link | None = None,
    dispersion: float = 1.0,
) -> Bridge:
    """A module of PyTorch as a model, in float64, with T for all its parameters in the order of ``named_parameters()``.

    The module is an ``nn.Linear``, or an ``nn.Sequential`` of one with at most one of BatchNorm1d, LayerNorm, RMSNorm,
    GroupNorm and InstanceNorm1d before it and one after it, or has the weight_norm or spectral_norm parametrization.
    It does not know its loss: give the ``family``, e.g. `fg.categorical` for a cross entropy.  Statistics are those of
    the data where the layer computes them, and its running ones where it uses those.  Inputs are (N, D) or (N, S, D):
    PyTorch's channels are units (or inputs), always on the last axis here.  Where the bias of the linear layer survives
    the normalization, the model has one more input, 1 for every case: ``b.inputs(X)`` appends it, and ``b.X`` and
    ``b.fisher(X)`` have it.  Raises `InputError` for any other module, naming it.
    """
    torch = library("torch", "from_torch", "torch")
    if not isinstance(family, Family):
        raise InputError(
            f"from_torch got family={family!r}: a module does not know its loss; give one, e.g. fg.categorical for a "
            "cross entropy, fg.bernoulli for a binary one, fg.gaussian for squares"
        )
    bridge = _bridge(read(module, torch), family, link, dispersion)
    return bridge if X is None else replace(bridge, X=bridge.inputs(X))


@dataclass(frozen=True)
class _Summed:
    """A = (W scale) x + lift over inputs that ``inputs`` normalizes, with the derivatives of W scale and of the lift."""

    inputs: Normalizer
    weight: Floats
    lift: Floats
    lifted: bool
    weight_entries: list[tuple[Any, Any]]  # (places in ψ, derivative), to be broadcast to (H, D)
    lift_entries: list[tuple[Any, Any]]

    @classmethod
    def of(cls, chain: Chain) -> _Summed:
        W, c, before = chain.weight, chain.bias, chain.before
        D = W.value.shape[1]
        r, m, inputs = np.ones(D), np.zeros(D), identity
        gain, bias = (None, None) if before is None else (before.gain, before.bias)
        if before is not None and (statistics := _frozen(before.normalizer)) is not None:
            r = 1 / statistics.scale
            m = statistics.mean * r
        elif before is not None:
            inputs = before.on_inputs()
        g = np.ones(D) if gain is None else gain.value
        offset = -g * m if bias is None else bias.value - g * m
        lift = W.value @ offset
        weight_entries: list[tuple[Any, Any]] = [(W.at, g * r)]
        lift_entries: list[tuple[Any, Any]] = [(W.at, offset)]
        if c is not None:
            lift = lift + c.value
            lift_entries.append((c.at[:, None], 1.0))
        if gain is not None:
            weight_entries.append((gain.at, W.value * r))
            lift_entries.append((gain.at, -W.value * m))
        if bias is not None:
            lift_entries.append((bias.at, W.value))
        lifted = c is not None or bias is not None or bool(m.any())
        return cls(inputs, W.value * (g * r), lift, lifted, weight_entries, lift_entries)


@dataclass(frozen=True)
class _Statistics:
    mean: Floats
    scale: Floats


def _frozen(normalizer: Normalizer) -> _Statistics | None:
    """The given statistics of batch norm at inference; None for any other normalizer."""
    stage = normalizer.summed[0] if normalizer.summed else None
    if not isinstance(stage, Frozen):
        return None
    return _Statistics(np.asarray(stage.mean, float), np.sqrt(np.asarray(stage.var, float) + float(stage.eps)))


def _bridge(chain: Chain, family: Family, link: Link | None, dispersion: float) -> Bridge:
    A, after = _Summed.of(chain), chain.after or chain.parametrization
    weight, (H, D) = A.weight, A.weight.shape
    normalizer = identity if after is None else after.normalizer
    gain, beta = (None, None) if after is None else (after.gain, after.bias)
    g = np.ones(H) if gain is None else gain.value
    bias = np.zeros(H) if beta is None else beta.value
    statistics = _frozen(normalizer)
    constant = A.lifted and bool(normalizer.summed) and Axis.UNIT in normalizer.summed[0].over
    # z moves with the lift as with the bias, times k; a normalization that centers along cases or positions removes it
    k = np.ones(H) if not normalizer.summed else None if statistics is None else g / statistics.scale
    if k is not None:
        bias = bias + k * A.lift
    if constant:
        weight = np.column_stack([weight, A.lift])
    elif A.inputs is not identity:
        normalizer = A.inputs if normalizer is identity else compose(A.inputs, normalizer)
    model = GLM(family, normalizer, link=link, dispersion=dispersion)
    p = Params(weight, bias, g if model.has_gain else None)

    at = places(p)
    entries = [(at.weight[:, :D], *entry) for entry in A.weight_entries]
    if constant or k is not None:
        rows = (at.weight[:, D] if constant else at.bias)[:, None]
        factor = np.ones((H, 1)) if constant or k is None else k[:, None]
        entries += [(rows, columns, factor * value) for columns, value in A.lift_entries]
    if gain is not None:
        entries.append((cast(Any, at.gain), gain.at, 1.0))
        if statistics is not None:
            entries.append((at.bias, gain.at, A.lift / statistics.scale))
    if beta is not None:
        entries.append((at.bias, beta.at, 1.0))
    size = sum(math.prod(shape) for _, shape in chain.layout)
    curved = chain.before is not None and (chain.before.gain, chain.before.bias) != (None, None)
    curved |= statistics is not None and gain is not None and A.lifted

    def inputs(X: Any) -> Floats:
        X = as_inputs(X, "from_torch")
        if X.ndim not in (2, 3) or X.shape[-1] != D:
            raise InputError(f"from_torch got X of shape {X.shape}: give (cases, {D}) or (cases, positions, {D})")
        if not constant:
            return X
        return np.concatenate([A.inputs(X, np.zeros((1, D))).Xhat, np.ones((*X.shape[:-1], 1))], axis=-1)

    return Bridge(model, p, chain.layout, jacobian(entries, (p.size, size)), inputs=inputs, curved=curved)

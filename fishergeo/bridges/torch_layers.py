"""A module of PyTorch taken apart: one linear layer, its parametrization, and the normalizations before and after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..axes import Axis
from ..errors import InputError
from ..families import Floats
from ..normalizers import (
    Normalizer,
    batch_norm,
    frozen_batch_norm,
    group_norm,
    input_layer_norm,
    input_standardization,
    instance_norm,
    layer_norm,
    rms_norm,
    spectral_norm,
    weight_norm,
)
from ..standardize import Scale, Standardize
from .core import Layout

SUPPORTED = (
    "give an nn.Linear, plain or with weight_norm or spectral_norm of torch.nn.utils.parametrizations, alone or in an "
    "nn.Sequential with at most one of BatchNorm1d, LayerNorm, RMSNorm, GroupNorm, InstanceNorm1d before and one after it"
)


@dataclass(frozen=True)
class Part:
    """A parameter of the module: its values, and their places in the vector of all its parameters."""

    value: Floats
    at: NDArray[np.intp]


@dataclass(frozen=True)
class Norm:
    """A normalization, written as one of the summed inputs, with the affine map that follows it."""

    normalizer: Normalizer
    gain: Part | None
    bias: Part | None

    def on_inputs(self) -> Normalizer:
        """The same normalization of the inputs: along INPUT where it is along UNIT."""
        known = {"batch_norm": input_standardization, "layer_norm": input_layer_norm}.get(self.normalizer.name)
        (stage,) = self.normalizer.summed
        if known is not None:
            return known.with_eps(stage.eps)
        along = {Axis.UNIT: Axis.INPUT}
        moved = Standardize(
            [along.get(axis, axis) for axis in stage.over],
            center=stage.center,
            eps=stage.eps,
            groups={along.get(axis, axis): count for axis, count in stage.groups},
        )
        return Normalizer(f"input_{self.normalizer.name}", inputs=moved, source=self.normalizer.source)


@dataclass(frozen=True)
class Chain:
    """W and c of the linear layer, what normalizes its weights (with its gain), its inputs and its outputs."""

    weight: Part
    bias: Part | None
    parametrization: Norm | None
    before: Norm | None
    after: Norm | None
    layout: Layout


def read(module: Any, torch: Any) -> Chain:
    """The parts of a module; raises `InputError` naming the first layer that is not supported."""
    nn = torch.nn
    if not isinstance(module, nn.Module):
        raise InputError(f"from_torch got a {type(module).__name__}, no module: {SUPPORTED}")
    parts, layout = _parameters(module, torch)
    layers = list(_chain(module, torch))
    at = [k for k, (_, layer, _) in enumerate(layers) if isinstance(layer, nn.Linear)]
    if len(at) != 1:
        raise InputError(f"from_torch got {len(at)} linear layers ({type(module).__name__}), it takes one: {SUPPORTED}")
    (place,) = at
    for side, found in (("before", layers[:place]), ("after", layers[place + 1 :])):
        if len(found) > 1:
            names = " and ".join(type(layer).__name__ for _, layer, _ in found[:2])
            raise InputError(f"from_torch got {names} {side} the linear layer, it takes one normalization: {SUPPORTED}")
    name, linear, swapped = layers[place]
    if swapped:
        raise InputError(f"from_torch: {name} acts on axis 1; swap the axes back before the linear layer")
    parametrization, weight = _weight(name, linear, parts, torch)
    dtype = next(module.parameters()).dtype
    before, after = (
        _norm(*layers[k], size, parts, dtype, torch) if 0 <= k < len(layers) else None
        for k, size in ((place - 1, linear.in_features), (place + 1, linear.out_features))
    )
    if parametrization is not None and (before is not None or after is not None):
        raise InputError(
            f"from_torch got {parametrization.normalizer.name} together with a normalization of inputs or outputs: the "
            "model has one gain and one bias, at its end; take one of the two off"
        )
    bias = None if linear.bias is None else parts(linear.bias)
    return Chain(weight, bias, parametrization, before, after, layout)


def _parameters(module: Any, torch: Any) -> tuple[Callable[[Any], Part], Layout]:
    """How a parameter is looked up, and the names and shapes of all."""
    starts, layout, size = {}, [], 0
    for name, parameter in module.named_parameters():
        if torch.nn.parameter.is_lazy(parameter) or parameter.is_meta:
            raise InputError(f"from_torch: parameter {name} has no values yet: run the module once, or load its state")
        if parameter.dtype not in (torch.float32, torch.float64):
            raise InputError(f"from_torch: parameter {name} has type {parameter.dtype}: convert with module.double()")
        starts[id(parameter)] = size
        layout.append((name, tuple(parameter.shape)))
        size += parameter.numel()

    def part(parameter: Any) -> Part:
        value = numbers(parameter)
        return Part(value, starts[id(parameter)] + np.arange(value.size).reshape(value.shape))

    return part, tuple(layout)


def numbers(tensor: Any) -> Floats:
    """A tensor as an array of float64."""
    return np.array(tensor.detach().cpu().double().numpy())


def _leaves(module: Any, torch: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    where = f"layer {name}" if name else "the module"
    if module._forward_hooks or module._forward_pre_hooks:
        raise InputError(
            f"from_torch: {where} ({type(module).__name__}) has forward hooks, which may do anything: remove them; to "
            "normalize weights use torch.nn.utils.parametrizations"
        )
    if type(module) is torch.nn.Sequential:
        for key, child in module.named_children():
            yield from _leaves(child, torch, f"{name}.{key}".lstrip("."))
    else:
        yield where, module


def _chain(module: Any, torch: Any) -> Iterator[tuple[str, Any, bool]]:
    """The linear layers and normalizations in order, and whether the last two axes are swapped there."""
    nn, swapped = torch.nn, False
    for name, layer in _leaves(module, torch):
        if type(layer) is nn.Identity:
            continue
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            if layer.training and layer.p > 0:
                raise InputError(f"from_torch: {name} is {type(layer).__name__} in training: call eval() on it")
        elif _kind(layer, torch) is nn.Linear or type(layer) in _norms(nn):
            yield name, layer, swapped
        elif _swaps(layer, torch):
            swapped = not swapped
        else:
            raise InputError(f"from_torch: {name} is {_kind(layer, torch).__name__}, not supported: {SUPPORTED}")


def _kind(layer: Any, torch: Any) -> type:
    return torch.nn.utils.parametrize.type_before_parametrizations(layer)


def _norms(nn: Any) -> tuple[type, ...]:
    return nn.BatchNorm1d, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.InstanceNorm1d


def _swaps(layer: Any, torch: Any) -> bool:
    """Whether a layer without state swaps the last two of three axes, as BatchNorm1d wants them; found by trying."""
    if next(iter(layer.state_dict()), None) is not None:
        return False
    x = torch.arange(30.0).reshape(2, 3, 5) - 14.5
    try:
        with torch.no_grad():
            return bool(torch.equal(layer(x), x.transpose(1, 2)))
    except Exception:  # whatever it is, it does not swap axes
        return False


def _norm(name: str, layer: Any, swapped: bool, size: int, parts: Callable[[Any], Part], dtype: Any, torch: Any) -> Norm:
    """A normalization layer that acts on ``size`` features."""
    nn, kind, eps = torch.nn, type(layer), layer.eps
    last = kind in (nn.LayerNorm, nn.RMSNorm)
    features = layer.normalized_shape if last else (layer.num_channels if kind is nn.GroupNorm else layer.num_features,)
    if tuple(features) != (size,):
        raise InputError(
            f"from_torch: {name} is {kind.__name__} over {tuple(features)}, but the linear layer has {size} there: "
            "give as many features"
        )
    if last and swapped:
        raise InputError(f"from_torch: {name}, {kind.__name__}, acts on the last axis: swap the axes back before it")
    if kind in (nn.BatchNorm1d, nn.InstanceNorm1d) and not layer.training and layer.running_mean is not None:
        normalizer = frozen_batch_norm(numbers(layer.running_mean), numbers(layer.running_var), eps)
    elif kind is nn.GroupNorm:
        normalizer = group_norm(layer.num_groups).with_eps(eps)
    elif kind is nn.RMSNorm:
        normalizer = rms_norm.with_eps(torch.finfo(dtype).eps if eps is None else eps)
    else:
        zoo = {nn.BatchNorm1d: batch_norm, nn.LayerNorm: layer_norm, nn.InstanceNorm1d: instance_norm}
        normalizer = zoo[kind].with_eps(eps)
    affine = (getattr(layer, name, None) for name in ("weight", "bias"))
    gain, bias = (None if parameter is None else parts(parameter) for parameter in affine)
    return Norm(normalizer, gain, bias)


def _weight(name: str, linear: Any, parts: Callable[[Any], Part], torch: Any) -> tuple[Norm | None, Part]:
    """The weights of a linear layer, and what normalizes them; reads no property that would iterate the power method."""
    utils = torch.nn.utils
    if not utils.parametrize.is_parametrized(linear):
        return None, parts(linear.weight)
    lists = linear.parametrizations
    (kind, *more) = (type(one) for one in next(iter(lists.values())))
    if set(lists) == {"weight"} and not more and kind is utils.parametrizations._WeightNorm:
        dim, g, v = lists.weight[0].dim, parts(lists.weight.original0), parts(lists.weight.original1)
        H = linear.out_features
        if dim == 0:
            return Norm(weight_norm, Part(g.value.reshape(H), g.at.reshape(H)), None), v
        if dim == -1:  # one norm and one gain for the whole matrix
            whole = Standardize((Axis.UNIT, Axis.INPUT), center=False, scale=Scale.NORM)
            gain = Part(np.full(H, float(g.value)), np.full(H, int(g.at)))
            return Norm(Normalizer("matrix_weight_norm", weight=whole), gain, None), v
        raise InputError(f"from_torch: {name} has weight_norm with dim={dim}: give dim=0, one norm for each unit")
    if set(lists) == {"weight"} and not more and kind is utils.parametrizations._SpectralNorm:
        weight = parts(lists.weight.original)
        _check_converged(name, weight.value, lists.weight[0], torch.finfo(lists.weight.original.dtype).eps)
        return Norm(spectral_norm, None, None), weight
    which = ", ".join(f"{type(one).__name__} on {key}" for key, chain in lists.items() for one in chain)
    raise InputError(f"from_torch: {name} has the parametrizations {which}: {SUPPORTED}")


def _check_converged(name: str, W: Floats, state: Any, eps: float) -> None:
    """Refuse a power iteration whose vectors are not the singular vectors of the largest singular value."""
    u, v = numbers(state._u), numbers(state._v)
    (u, v) = (u, v) if state.dim == 0 else (v, u)
    sigma, largest = float(u @ W @ v), float(np.linalg.norm(W, 2))
    gap = max(
        abs(sigma - largest), float(np.linalg.norm(W @ v - largest * u)), float(np.linalg.norm(W.T @ u - largest * v))
    )
    if gap > 1000 * eps * largest:
        raise InputError(
            f"from_torch: {name} has a power iteration that is not at the largest singular value {largest:.6g} yet: "
            f"it has {sigma:.6g}, with vectors off by {gap / largest if largest else np.inf:.2g}; run the module in "
            "training mode until it converges"
        )

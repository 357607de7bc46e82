"""PyTorch: curvlinops' Gauss-Newton operator, which is F under a canonical link, and nngeometry's Fisher matrices."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from .problem import Adapter, Case, Floats, Prepared, Problem, Refused, Storage, Task, largest_eigenvalues, unit_by_unit

_ROWS = 1000  # cases of a batch, where a library may work in batches
_CHUNK = 1 << 21  # numbers of dZ for as many columns of F as are computed at a time


def _torch() -> Any:
    torch = importlib.import_module("torch")
    torch.set_default_dtype(torch.float64)
    return torch


def _tensors(problem: Problem, torch: Any) -> tuple[Any, ...]:
    case = problem.case
    if case.storage is not Storage.ARRAY or case.family not in ("bernoulli", "softmax"):
        raise Refused("no adapter for this input or family")
    arrays = (problem.inputs, problem.weight, problem.bias, problem.gain)
    return tuple(None if array is None else torch.from_numpy(array) for array in arrays)


def _scale(torch: Any, gain: Any, bias: Any, layer: Any) -> Any:
    """A stock layer with our gain and bias."""
    layer.weight.data, layer.bias.data = gain.clone(), bias.clone()
    return layer


def _linear(torch: Any, weight: Any, bias: Any = None) -> Any:
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight.clone()
    if bias is not None:
        layer.bias.data = bias.clone()
    return layer


def _normalization(case: Any, torch: Any, gain: Any, bias: Any) -> Any:
    nn = torch.nn
    if case.normalizer == "batch_norm":
        return _scale(torch, gain, bias, nn.BatchNorm1d(case.H, eps=1e-300, track_running_stats=False))
    return _scale(torch, gain, bias, nn.LayerNorm(case.H, eps=0.0))


def _order(case: Case) -> tuple[str, ...]:
    """The parameters as the modules list them."""
    return ("weight", "gain", "bias") if case.has_gain else ("weight", "bias")


def _weight_normed(torch: Any, weight: Any, bias: Any, gain: Any) -> Any:
    """Weight normalization written out: torch's own has no forward-mode derivative."""

    class WeightNormed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.gain, self.bias = (torch.nn.Parameter(t.clone()) for t in (weight, gain, bias))

        def forward(self, X: Any) -> Any:
            W = self.weight / self.weight.square().sum(dim=1, keepdim=True).sqrt()
            return torch.nn.functional.linear(X, self.gain[:, None] * W, self.bias)

    return WeightNormed()


def _curvlinops(problem: Problem) -> Prepared:
    torch, curvlinops = _torch(), importlib.import_module("curvlinops")
    case, nn = problem.case, torch.nn
    X, weight, bias, gain = _tensors(problem, torch)
    if case.normalizer == "identity":
        module = _linear(torch, weight, bias)
    elif case.normalizer == "weight_norm":
        module = _weight_normed(torch, weight, bias, gain)
    else:
        module = nn.Sequential(_linear(torch, weight), _normalization(case, torch, gain, bias))
    if case.family == "bernoulli":
        loss, y = nn.BCEWithLogitsLoss(reduction="sum"), torch.zeros(case.N, case.H)
    else:
        loss, y = nn.CrossEntropyLoss(reduction="sum"), torch.zeros(case.N, dtype=torch.long)
    G = curvlinops.GGNLinearOperator(module, loss, list(module.parameters()), [(X, y)], check_deterministic=False)
    order = unit_by_unit(case, _order(case))

    def dense() -> Any:
        step, out = max(1, _CHUNK // (case.N * case.H)), torch.empty(case.size, case.size)
        unit = torch.eye(case.size)
        for start in range(0, case.size, step):
            out[:, start : start + step] = G @ unit[:, start : start + step]
        return out / case.N

    return _answers(problem, torch, order, dense, lambda V: (G @ V) / case.N)


def _answers(problem: Problem, torch: Any, order: Any, dense: Any, product: Any) -> Prepared:
    """The tasks for parameters in another ``order``."""
    case, V = problem.case, problem.vectors
    there = np.argsort(order)  # their parameters in ours
    if case.task is Task.DENSE:
        return Prepared(dense, lambda F: F.numpy()[np.ix_(order, order)])
    if case.task is Task.PRODUCT:
        theirs = torch.from_numpy(np.ascontiguousarray(V[there]))
        return Prepared(lambda: product(theirs), lambda FV: FV.numpy()[order])

    def single(v: Floats) -> Floats:
        return product(torch.from_numpy(v[:, None].copy())).numpy()[:, 0]

    return Prepared(lambda: largest_eigenvalues(single, case))


def _nngeometry(problem: Problem) -> Prepared:
    torch = _torch()
    metrics, layers = (importlib.import_module(f"nngeometry.{name}") for name in ("metrics", "layers"))
    pspace, vector = (importlib.import_module(f"nngeometry.object.{name}") for name in ("pspace", "vector"))
    case, nn = problem.case, torch.nn
    X, weight, bias, gain = _tensors(problem, torch)
    if case.normalizer == "identity":
        module = nn.Sequential(_linear(torch, weight, bias))
    elif case.normalizer == "weight_norm":
        unit = layers.WeightNorm1d(case.D, case.H, eps=0.0)
        unit.weight.data = weight.clone()
        module = nn.Sequential(unit, _scale(torch, gain, bias, layers.Affine1d(case.H)))
    else:
        module = nn.Sequential(_linear(torch, weight), _normalization(case, torch, gain, bias))

    class Slices(torch.utils.data.DataLoader):  # type: ignore[name-defined]
        """Batches that are slices of X: putting them together case by case would be most of the time."""

        def __iter__(self) -> Iterator[Any]:
            return ((X[k : k + _ROWS],) for k in range(0, case.N, _ROWS))

    variant = "classif_logits" if case.family == "softmax" else "classif_binary_logits"
    loader = Slices(torch.utils.data.TensorDataset(X), batch_size=_ROWS)

    def matrix(kind: Any) -> Any:
        return metrics.FIM(module, loader, kind, variant=variant)

    order = unit_by_unit(case, _order(case))
    if case.task is Task.DENSE:
        return _answers(problem, torch, order, lambda: matrix(pspace.PMatDense).to_torch(), None)
    F = matrix(pspace.PMatImplicit)
    collection = F.generator.layer_collection

    def product(V: Any) -> Any:
        columns = [F.mv(vector.PVector(collection, vector_repr=v.contiguous())).to_torch() for v in V.T]
        return torch.stack(columns, dim=1).detach()

    return _answers(problem, torch, order, None, product)


CURVLINOPS = Adapter("curvlinops", ("curvlinops-for-pytorch", "torch"), _curvlinops)
NNGEOMETRY = Adapter("nngeometry", ("nngeometry", "torch"), _nngeometry)

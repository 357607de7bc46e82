"""Modules of PyTorch: values, and Fisher matrices by automatic differentiation through the module's own forward pass."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

import fishergeo as fg

torch.set_num_threads(1)  # small matrices: threads would only wait
N, S, D, H = 8, 5, 4, 6
CONVERGED = {"n_power_iterations": 2000}


class Swap(nn.Module):
    """The last two axes exchanged: BatchNorm1d, GroupNorm and InstanceNorm1d take channels second."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


def swapped(norm: nn.Module) -> list[nn.Module]:
    return [Swap(), norm, Swap()]


def cases() -> dict[str, nn.Module]:
    """Modules that take inputs (N, D)."""
    torch.manual_seed(0)
    found: dict[str, nn.Module] = {"linear": nn.Linear(D, H), "linear-without-bias": nn.Linear(D, H, bias=False)}
    after = {
        "batch": nn.BatchNorm1d(H, eps=0.1),
        "batch-not-affine": nn.BatchNorm1d(H, affine=False),
        "batch-untracked": nn.BatchNorm1d(H, track_running_stats=False),
        "layer": nn.LayerNorm(H, eps=0.1),
        "layer-without-bias": nn.LayerNorm(H, bias=False),
        "layer-not-affine": nn.LayerNorm([H], elementwise_affine=False),
        "rms": nn.RMSNorm(H),
        "rms-eps": nn.RMSNorm(H, eps=0.1),
        "rms-not-affine": nn.RMSNorm(H, elementwise_affine=False),
        "group": nn.GroupNorm(2, H, eps=0.1),
        "group-one": nn.GroupNorm(1, H),
        "group-not-affine": nn.GroupNorm(3, H, affine=False),
    }
    before = {
        "batch": nn.BatchNorm1d(D, eps=0.1),
        "batch-not-affine": nn.BatchNorm1d(D, affine=False),
        "layer": nn.LayerNorm(D, eps=0.1),
        "rms": nn.RMSNorm(D, eps=0.1),
        "group": nn.GroupNorm(2, D, eps=0.1),
    }
    for name, norm in after.items():
        found[f"linear+{name}"] = nn.Sequential(nn.Linear(D, H), norm)
        found[f"linear-without-bias+{name}"] = nn.Sequential(nn.Linear(D, H, bias=False), copy.deepcopy(norm))
    for name, norm in before.items():
        found[f"{name}+linear"] = nn.Sequential(norm, nn.Linear(D, H))
        found[f"{name}+linear-without-bias"] = nn.Sequential(copy.deepcopy(norm), nn.Linear(D, H, bias=False))
        for second in ("batch", "layer", "rms", "group-not-affine"):
            both = copy.deepcopy(norm), nn.Linear(D, H, bias=name != "rms"), copy.deepcopy(after[second])
            found[f"{name}+linear+{second}"] = nn.Sequential(*both)
    found["nested"] = nn.Sequential(
        nn.Sequential(nn.Identity(), nn.Dropout(0.0)), nn.Sequential(nn.Linear(D, H), nn.Sequential(nn.LayerNorm(H)))
    )
    found["weight-norm"] = weight_norm(nn.Linear(D, H))
    found["weight-norm-without-bias"] = nn.Sequential(weight_norm(nn.Linear(D, H, bias=False)))
    found["weight-norm-of-the-matrix"] = weight_norm(nn.Linear(D, H), dim=None)
    found["spectral-norm"] = spectral_norm(nn.Linear(D, H), **CONVERGED)
    found["spectral-norm-transposed"] = spectral_norm(nn.Linear(D, H, bias=False), dim=1, **CONVERGED)
    return found


def cases_with_positions() -> dict[str, nn.Module]:
    """Modules that take inputs (N, S, D)."""
    return {
        "linear": nn.Linear(D, H),
        "layer": nn.Sequential(nn.Linear(D, H), nn.LayerNorm(H)),
        "rms": nn.Sequential(nn.Linear(D, H), nn.RMSNorm(H)),
        "layer-before": nn.Sequential(nn.LayerNorm(D), nn.Linear(D, H)),
        "batch": nn.Sequential(nn.Linear(D, H), *swapped(nn.BatchNorm1d(H, eps=0.1))),
        "batch-before": nn.Sequential(*swapped(nn.BatchNorm1d(D, eps=0.1)), nn.Linear(D, H)),
        "group": nn.Sequential(nn.Linear(D, H), *swapped(nn.GroupNorm(2, H, eps=0.1))),
        "group-before": nn.Sequential(*swapped(nn.GroupNorm(2, D)), nn.Linear(D, H)),
        "instance": nn.Sequential(nn.Linear(D, H), *swapped(nn.InstanceNorm1d(H))),
        "instance-affine": nn.Sequential(nn.Linear(D, H), *swapped(nn.InstanceNorm1d(H, eps=0.1, affine=True))),
        "instance-tracked": nn.Sequential(
            nn.Linear(D, H), *swapped(nn.InstanceNorm1d(H, affine=True, track_running_stats=True))
        ),
        "instance-before": nn.Sequential(*swapped(nn.InstanceNorm1d(D, affine=True)), nn.Linear(D, H)),
        "instance-before-layer": nn.Sequential(
            *swapped(nn.InstanceNorm1d(D, affine=True)), nn.Linear(D, H), nn.LayerNorm(H)
        ),
        "batch-before-group": nn.Sequential(*swapped(nn.BatchNorm1d(D)), nn.Linear(D, H), *swapped(nn.GroupNorm(3, H))),
        "weight-norm": weight_norm(nn.Linear(D, H)),
        "spectral-norm": spectral_norm(nn.Linear(D, H), **CONVERGED),
    }


ALL = {**{name: (module, (N, D)) for name, module in cases().items()},
       **{f"{name}-positions": (module, (N, S, D)) for name, module in cases_with_positions().items()}}  # fmt: skip


def prepared(name: str, training: bool, rng: np.random.Generator) -> tuple[Any, torch.Tensor]:
    """A copy of a module in float64, away from its initial values and with running statistics of its own."""
    module, shape = ALL[name]
    module = copy.deepcopy(module).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.tensor(0.4 * rng.normal(size=tuple(parameter.shape)))
        module.train()
        module(torch.tensor(rng.normal(size=shape) + 0.5))
    return module.train(training), torch.tensor(rng.normal(size=shape) + 0.5)


def autograd_fisher(module: nn.Module, X: torch.Tensor, covariance: Any) -> np.ndarray:
    """Mean JᵀCov J over cases and positions, J the Jacobian of the module's outputs in all its parameters."""
    names, values = zip(*module.named_parameters(), strict=True)

    def forward(*values: torch.Tensor) -> torch.Tensor:
        out = torch.func.functional_call(module, dict(zip(names, values, strict=True)), (X,))
        return out.reshape(-1, H)

    columns = torch.autograd.functional.jacobian(forward, values)
    J = torch.cat([column.reshape(*column.shape[:2], -1) for column in columns], dim=-1)
    C = covariance(forward(*values))
    return (J.transpose(1, 2) @ C @ J).mean(dim=0).detach().numpy()


def of_categories(Z: torch.Tensor) -> torch.Tensor:
    p = torch.softmax(Z, -1)
    return torch.diag_embed(p) - p[..., :, None] * p[..., None, :]


def of_coins(Z: torch.Tensor) -> torch.Tensor:
    p = torch.sigmoid(Z)
    return torch.diag_embed(p * (1 - p))


def agree(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return bool(np.abs(ours - theirs).max() <= 1e-10 * np.abs(theirs).max())


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", ALL)
def test_fisher_matrix_and_outputs_are_those_of_the_module(name, training, rng):
    module, X = prepared(name, training, rng)
    before = copy.deepcopy(module.state_dict())
    b = fg.from_torch(module, X, family=fg.categorical)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())  # nothing was iterated
    with torch.no_grad():
        Z = module(X).numpy()
    np.testing.assert_allclose(b.model.predictor(b.params, b.X), Z, rtol=1e-10, atol=1e-10)
    F = autograd_fisher(module, X, of_categories)
    assert agree(b.fisher().to_dense(), F)
    assert agree(b.pull(fg.fisher(b.model, b.params, b.X)).to_dense(), F)
    assert b.layout == tuple((key, tuple(value.shape)) for key, value in module.named_parameters())
    assert b.params.weight.dtype == np.float64
    other = fg.from_torch(module.train(not training), X, family=fg.categorical).fisher().to_dense()
    statistics = any(getattr(layer, "running_mean", None) is not None for layer in module.modules())
    assert agree(other, F) is not statistics  # the two modes are different models, and only where there are statistics


@pytest.mark.parametrize("name", ["linear", "linear+layer", "batch+linear", "weight-norm", "instance-positions"])
def test_any_family(name, rng):
    module, X = prepared(name, True, rng)
    b = fg.from_torch(module, X, family=fg.bernoulli)
    assert agree(b.fisher().to_dense(), autograd_fisher(module, X, of_coins))
    squares = fg.from_torch(module, family=fg.gaussian, dispersion=2.5)
    ones = autograd_fisher(module, X, lambda Z: torch.eye(H, dtype=Z.dtype) / 2.5)
    assert agree(squares.fisher(X).to_dense(), ones)
    assert not agree(b.fisher().to_dense(), ones)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(H), nn.GroupNorm(2, H), nn.InstanceNorm1d(H, affine=True)], ids=repr)
def test_channels_are_units_also_where_the_module_does_not_swap_axes(layer, rng):
    torch.manual_seed(0)
    linear = nn.Linear(D, H).double()
    plain = fg.from_torch(nn.Sequential(linear, layer.double()), family=fg.categorical)
    swaps = fg.from_torch(nn.Sequential(linear, *swapped(layer)), family=fg.categorical)
    X = rng.normal(size=(N, S, D))
    assert agree(plain.fisher(X).to_dense(), swaps.fisher(X).to_dense())


def test_the_model_is_the_zoo_with_the_module_s_numbers():
    b = fg.from_torch(nn.Sequential(nn.Linear(D, H, bias=False), nn.LayerNorm(H)), family=fg.categorical)
    assert b.model == fg.GLM(fg.categorical, fg.layer_norm.with_eps(1e-5))
    assert b.params.weight.shape == (H, D) and b.X is None and not b.curved
    with_bias = fg.from_torch(nn.Sequential(nn.Linear(D, H), nn.LayerNorm(H)), family=fg.categorical)
    assert with_bias.params.weight.shape == (H, D + 1)  # the bias is the weight of an input that is 1
    assert (with_bias.inputs(np.zeros((N, D)))[:, D] == 1).all()
    batch = fg.from_torch(nn.Sequential(nn.Linear(D, H), nn.BatchNorm1d(H, eps=0.5)), family=fg.bernoulli)
    assert batch.model.normalizer == fg.batch_norm.with_eps(0.5)
    rms = fg.from_torch(nn.Sequential(nn.Linear(D, H), nn.RMSNorm(H)), family=fg.bernoulli)
    assert rms.model.normalizer == fg.rms_norm.with_eps(float(np.finfo(np.float32).eps))
    group = fg.from_torch(nn.Sequential(nn.GroupNorm(2, D), nn.Linear(D, H)), family=fg.bernoulli)
    assert "group_norm_2" in repr(group) and fg.Axis.INPUT in group.model.normalizer.inputs[0].over
    spectral = fg.from_torch(spectral_norm(nn.Linear(D, H), **CONVERGED), family=fg.bernoulli)
    assert spectral.model.normalizer == fg.spectral_norm and (spectral.params.gain == 1).all()


def test_a_bias_that_batch_norm_removes_has_no_information(rng):
    module, X = prepared("linear+batch", True, rng)
    F = fg.from_torch(module, X, family=fg.bernoulli).fisher()
    assert (F.block("0.bias", "0.bias") == 0).all()
    assert F.block("1.bias", "1.weight").shape == (H, H)
    assert F.block("0.weight", "0.bias").shape == (H * D, H)
    assert F.unit(D + 2) == ("0.weight", (1, 2)) and F.unit(F.shape[0] - 1) == ("1.bias", (H - 1,))
    eigenvalues = np.linalg.eigvalsh(F.to_dense())
    assert F.rank() == (eigenvalues > 1e-12 * eigenvalues[-1]).sum() < F.shape[0] - H
    for wrong in (lambda: F.block(0, 1), lambda: F.unit(F.shape[0]), lambda: F.block_size):
        with pytest.raises(fg.InputError):
            wrong()


class WeightNorm(nn.Module):
    """Weight norm written out: PyTorch's own has first derivatives right and second ones wrong (seen in 2.13)."""

    def forward(self, g: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return g * v / v.norm(dim=1, keepdim=True)


# not spectral norm: its singular vectors are constants to PyTorch, so that only its first derivatives are right
@pytest.mark.parametrize("name", ["linear", "linear+layer", "linear+batch", "weight-norm"])
def test_the_observed_information_is_the_hessian_of_the_loss(name, rng):
    module, X = prepared(name, True, rng)
    labels = rng.integers(H, size=N)
    names, values = zip(*module.named_parameters(), strict=True)
    sizes = [value.numel() for value in values]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = [part.reshape(value.shape) for part, value in zip(torch.split(flat, sizes), values, strict=True)]
        out = torch.func.functional_call(module, dict(zip(names, parts, strict=True)), (X,))
        return nn.functional.cross_entropy(out, torch.tensor(labels))

    b = fg.from_torch(module, X, family=fg.categorical)
    observed = b.pull(fg.observed_fisher(b.model, b.params, b.X, labels))
    if name == "weight-norm":
        module.parametrizations.weight[0] = WeightNorm()
    theirs = torch.autograd.functional.hessian(loss, torch.cat([value.flatten() for value in values])).detach().numpy()
    assert np.abs(observed.to_dense() - theirs).max() <= 1e-9 * np.abs(theirs).max()
    assert observed.negative() == (np.linalg.eigvalsh(theirs) < -1e-9).sum()


def test_the_observed_information_needs_a_constant_jacobian(rng):
    module, X = prepared("layer+linear", True, rng)
    b = fg.from_torch(module, X, family=fg.categorical)
    H_ours = fg.observed_fisher(b.model, b.params, b.X, rng.integers(H, size=N))
    with pytest.raises(fg.InputError, match="observed information"):
        b.pull(H_ours)
    with pytest.raises(fg.InputError, match="pull got"):
        b.pull(np.eye(b.params.size))


def test_single_precision_becomes_double(rng):
    module = nn.Sequential(nn.Linear(D, H), nn.RMSNorm(H, eps=1e-6))
    X = rng.normal(size=(N, D)).astype(np.float32)
    b, double = (fg.from_torch(m, X, family=fg.categorical) for m in (module, copy.deepcopy(module).double()))
    assert b.X.dtype == b.params.weight.dtype == np.float64
    np.testing.assert_array_equal(b.fisher().to_dense(), double.fisher().to_dense())
    with torch.no_grad():
        np.testing.assert_allclose(b.model.predictor(b.params, b.X), module(torch.tensor(X)).numpy(), atol=1e-5)


def test_a_power_iteration_that_has_not_converged_is_refused_and_left_alone(rng):
    torch.manual_seed(3)
    module = spectral_norm(nn.Linear(D, H)).double().train()
    with torch.no_grad():
        module.parametrizations.weight.original += torch.tensor(rng.normal(size=(H, D)))
    state = copy.deepcopy(module.state_dict())
    with pytest.raises(fg.InputError, match="power iteration"):
        fg.from_torch(module, family=fg.bernoulli)
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    with torch.no_grad():
        for _ in range(500):
            module(torch.zeros(1, D, dtype=torch.double))
    X = torch.tensor(rng.normal(size=(N, D)))
    b = fg.from_torch(module, X, family=fg.categorical)
    assert agree(b.fisher().to_dense(), autograd_fisher(module, X, of_categories))


def hooked() -> nn.Module:
    module = nn.Sequential(nn.Linear(D, H))
    module[0].register_forward_pre_hook(lambda module, arguments: None)
    return module


def smallest_pair() -> nn.Module:
    """A power iteration at rest at a singular value that is not the largest."""
    module = spectral_norm(nn.Linear(D, H)).double()
    U, _, Vt = np.linalg.svd(module.parametrizations.weight.original.detach().numpy())
    module.parametrizations.weight[0]._u.copy_(torch.tensor(U[:, 1]))
    module.parametrizations.weight[0]._v.copy_(torch.tensor(Vt[1]))
    return module


def twice(layer: nn.Module) -> nn.Module:
    return weight_norm(weight_norm(layer))


BAD = {
    "no-module": (lambda: "nn.Linear(4, 6)", "str, no module"),
    "convolution": (lambda: nn.Conv1d(D, H, 1), "the module is Conv1d"),
    "activation": (lambda: nn.Sequential(nn.Linear(D, H), nn.Sigmoid()), "layer 1 is Sigmoid"),
    "two-linear": (lambda: nn.Sequential(nn.Linear(D, H), nn.Linear(H, H)), "2 linear layers"),
    "no-linear": (lambda: nn.Sequential(nn.BatchNorm1d(H)), "0 linear layers"),
    "two-norms": (lambda: nn.Sequential(nn.Linear(D, H), nn.LayerNorm(H), nn.RMSNorm(H)), "LayerNorm and RMSNorm after"),
    "dropout": (lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(D, H)), "layer 0 is Dropout in training"),
    "other-size": (lambda: nn.Sequential(nn.Linear(D, H), nn.BatchNorm1d(D)), r"layer 1 is BatchNorm1d over \(4,\)"),
    "over-positions": (lambda: nn.Sequential(nn.Linear(D, H), nn.LayerNorm((S, H))), r"over \(5, 6\)"),
    "two-dimensions": (lambda: nn.Sequential(nn.Linear(D, H), nn.BatchNorm2d(H)), "BatchNorm2d"),
    "layer-on-swapped": (lambda: nn.Sequential(nn.Linear(D, H), Swap(), nn.LayerNorm(H)), "swap the axes back"),
    "linear-on-swapped": (lambda: nn.Sequential(Swap(), nn.Linear(D, H)), "swap the axes back"),
    "both": (lambda: nn.Sequential(weight_norm(nn.Linear(D, H)), nn.LayerNorm(H)), "weight_norm together with"),
    "orthogonal": (lambda: orthogonal(nn.Linear(D, H)), "the parametrizations _Orthogonal on weight"),
    "twice": (lambda: twice(nn.Linear(D, H)), "_WeightNorm on weight, _WeightNorm on weight"),
    "on-the-bias": (lambda: weight_norm(nn.Linear(D, H), "bias"), "_WeightNorm on bias"),
    "norm-parametrized": (lambda: nn.Sequential(nn.Linear(D, H), weight_norm(nn.LayerNorm(H))), "LayerNorm"),
    "other-dimension": (lambda: weight_norm(nn.Linear(D, H), dim=1), "dim=1"),
    "hook": (hooked, r"layer 0 \(Linear\) has forward hooks"),
    "smallest": (smallest_pair, "power iteration"),
    "lazy": (lambda: nn.LazyLinear(H), "no values yet"),
    "meta": (lambda: nn.Linear(D, H, device="meta"), "no values yet"),
    "half": (lambda: nn.Linear(D, H).half(), "float16"),
    "own-module": (lambda: nn.Sequential(nn.Linear(D, H), nn.ModuleList()), "layer 1 is ModuleList"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_unsupported_module_is_one_clear_line(name):
    module, words = BAD[name]
    with pytest.raises(fg.InputError, match=words) as error:
        fg.from_torch(module(), family=fg.bernoulli)
    assert "\n" not in str(error.value) and str(error.value).startswith("from_torch")


def test_other_bad_arguments():
    module = nn.Linear(D, H)
    for family in (None, "bernoulli", nn.CrossEntropyLoss()):
        with pytest.raises(fg.InputError, match="does not know its loss"):
            fg.from_torch(module, family=family)
    with pytest.raises(fg.InputError, match="shape"):
        fg.from_torch(module, np.zeros((N, H)), family=fg.bernoulli)
    with pytest.raises(fg.InputError, match="no inputs"):
        fg.from_torch(module, family=fg.bernoulli).fisher()
    with pytest.raises(fg.InputError, match="φ = 1"):
        fg.from_torch(module, family=fg.bernoulli, dispersion=2.0)

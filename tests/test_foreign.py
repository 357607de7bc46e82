"""Arrays of other libraries: the definitions give on them what they give on NumPy arrays, as arrays of that library."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_compat
import array_api_strict as strict
import numpy as np
import pytest
import torch
from cases import CASES_WITH_POSITIONS, SIZES, Case, admissible, each_case, random_composition, told_apart

import fishergeo as fg
from fishergeo import foreign
from fishergeo.families import ZOO as FAMILIES
from fishergeo.foreign import Foreign, host
from fishergeo.normalizers import ZOO

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


@dataclass(frozen=True)
class Kind:
    """A library, with a device of it."""

    name: str
    xp: Any
    device: Any

    def __call__(self, value: Any, dtype: str = "float64") -> Any:
        return self.xp.asarray(np.asarray(value, float), dtype=getattr(self.xp, dtype), device=self.device)

    def __str__(self) -> str:
        return self.name


STRICT, TORCH = Kind("strict", strict, strict.Device("CPU_DEVICE")), Kind("torch", torch, torch.device("cpu"))
# a device that NumPy cannot read from, as if it were an accelerator; and an accelerator, where there is one
DEVICES = [Kind("strict-device1", strict, strict.Device("device1"))]
DEVICES += [Kind("torch-cuda", torch, torch.device("cuda", 0))] if torch.cuda.is_available() else []
KINDS = [STRICT, TORCH, *DEVICES]

MODELS = [
    (fg.bernoulli, None),
    (fg.categorical, None),
    (fg.gaussian, None),
    (fg.poisson, None),
    (fg.gamma, fg.links.log),
]


def numbers(array: Any) -> np.ndarray:
    return np.asarray(host(Foreign.of(array)), float)


def flat(p: fg.Params) -> np.ndarray:
    return fg.Params(*(None if v is None else numbers(v) for v in (p.weight, p.bias, p.gain))).ravel()


def problem(normalizer: fg.Normalizer, family: fg.Family, link: Any, rng: np.random.Generator) -> tuple[Any, ...]:
    """A model with random parameters, and inputs with positions where it tells them apart."""
    *cases, D, H = told_apart(normalizer, SIZES)
    model = fg.GLM(family, normalizer, link=link, dispersion=2.5 if family.free_dispersion else 1)
    p = model.unravel(rng.normal(scale=0.5, size=H * (D + 1 + model.has_gain)), H)
    return model, p, rng.normal(size=(*cases, D)) + 0.5


@functools.cache
def expected(normalizer: fg.Normalizer, family: fg.Family, link: Any) -> tuple[Any, ...]:
    """A problem with directions, and what NumPy gives."""
    rng = np.random.default_rng(11)
    model, p, X = problem(normalizer, family, link, rng)
    v, V, dZ = (rng.normal(size=size) for size in (p.size, (p.size, 3), (*X.shape[:-1], p.units)))
    at, F = model.linearize(p, X), fg.fisher(model, p, X)
    dZ_of_v = model.jvp(p, X, v)
    truth = {
        "Z": at.Z,
        "natural": at.natural,
        "mean": at.mean,
        "jvp": dZ_of_v,
        "vjp": model.vjp(p, X, dZ).ravel(),
        "F v": F @ v,
        "F V": F @ V,
        "F": F.to_dense(),
    }
    return (model, p, X), (v, V, dZ), truth


def contract(
    normalizer: fg.Normalizer, family: fg.Family, link: Any, make: Callable[..., Any], dtype: str = "float64"
) -> None:
    """Values, derivatives, products and F agree with NumPy's, and are arrays of the kind, type and device of X."""
    (model, p, X), (v, V, dZ), truth = expected(normalizer, family, link)
    inputs = make(X, dtype)
    at, F = model.linearize(p, inputs), fg.fisher(model, p, inputs)
    pulled = model.vjp(p, inputs, make(dZ, dtype))
    found = {
        "Z": model.predictor(p, inputs),
        "natural": model.natural(p, inputs),
        "mean": model.mean(p, inputs),
        "jvp": model.jvp(p, inputs, make(v, dtype)),
        "vjp": pulled.ravel(),
        "F v": F @ v,
        "F V": F @ make(V, dtype),
        "F": F.to_dense(),
    }
    assert at.cases == F.cases == X[..., 0].size
    for name, want in truth.items():
        got = found[name]
        assert type(got) is type(inputs) and got.dtype == inputs.dtype
        assert array_api_compat.device(got) == array_api_compat.device(inputs)
        scale = max(float(np.abs(want).max()), 1e-300)
        assert got.shape == want.shape and np.abs(numbers(got) - want).max() <= TOLERANCE[dtype] * scale, name
    F_numbers = numbers(found["F"])
    np.testing.assert_array_equal(F_numbers, F_numbers.T)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("normalizer", ZOO, ids=lambda n: n.name)
def test_the_definitions_agree_with_numpy(normalizer: fg.Normalizer, kind: Kind) -> None:
    for family, link in MODELS:
        contract(normalizer, family, link, kind)


@pytest.mark.parametrize("normalizer", ZOO, ids=lambda n: n.name)
def test_single_precision_stays_single(normalizer: fg.Normalizer) -> None:
    for k, (family, link) in enumerate(MODELS):
        contract(normalizer, family, link, (STRICT, TORCH)[k % 2], "float32")


@each_case(CASES_WITH_POSITIONS)
def test_options_and_positions(case: Case, rng: np.random.Generator) -> None:
    """ε inside and outside the root, statistics for each unit, and positions for every normalizer."""
    N, S, D, H = admissible(case.normalizer, (4, 5, 3, 6))
    model = fg.GLM(fg.categorical, case.normalizer)
    p = model.unravel(rng.normal(size=H * (D + 1 + model.has_gain)), H)
    X = rng.normal(size=(N, S, D)) + 0.5
    own, other = fg.fisher(model, p, X), fg.fisher(model, p, STRICT(X))
    np.testing.assert_allclose(numbers(model.natural(p, STRICT(X))), model.natural(p, X), rtol=1e-12, atol=1e-12)
    F = own.to_dense()
    assert np.abs(numbers(other.to_dense()) - F).max() <= 1e-12 * np.abs(F).max()


def test_statistics_for_each_position(rng: np.random.Generator) -> None:
    X = rng.normal(size=(4, 3, 5))
    model = fg.GLM(fg.bernoulli, fg.frozen_batch_norm(rng.normal(size=(7, 6)), 1 + rng.random((7, 6))))
    p = model.init(5, 6, rng=rng)
    for kind in (STRICT, TORCH):
        np.testing.assert_allclose(numbers(model.natural(p, kind(X))), model.natural(p, X), rtol=1e-13)


LINKED = [(family, link) for family in FAMILIES if not family.joint for link in fg.links.LINKS]


@pytest.mark.parametrize("kind", [STRICT, TORCH], ids=str)
def test_every_family_and_link(kind: Kind) -> None:
    """The functions that the standard lacks come from the library itself, or on a CPU from SciPy."""
    X, tried = np.random.default_rng(5).normal(size=(8, 4)), 0
    for family, link in [*LINKED, *((f, None) for f in FAMILIES if f.joint), (fg.binomial(range(1, 9)), None)]:
        try:
            model = fg.GLM(family, fg.layer_norm, link=link)
            p = model.init(4, 3, rng=1)
            F = fg.fisher(model, p, X).to_dense()
        except fg.InputError:
            continue  # the link does not suit the family
        tried += 1
        np.testing.assert_allclose(numbers(model.mean(p, kind(X))), model.mean(p, X), rtol=1e-12, atol=1e-12)
        gap = np.abs(numbers(fg.fisher(model, p, kind(X)).to_dense()) - F).max()
        assert gap <= 1e-12 * np.abs(F).max(), (family.name, link)
    assert tried > 60


def test_large_predictors_neither_overflow_nor_cancel() -> None:
    z = np.array([[-700.0, -40.0, 0.0], [1e-9, 40.0, 700.0]])
    for family, units in ((fg.bernoulli, 1), (fg.categorical, 3)):
        model = fg.GLM(family)
        X = z.reshape(-1, units)
        p = fg.Params(np.eye(units), np.zeros(units))
        for kind in (STRICT, TORCH):
            want = model.mean(p, X)
            assert (np.abs(numbers(model.mean(p, kind(X))) / want - 1) <= 1e-13).all()


@pytest.mark.parametrize("normalizer", ZOO, ids=lambda n: n.name)
def test_autograd_of_torch_agrees(normalizer: fg.Normalizer) -> None:
    """The values carry gradients: those that torch finds of Z are our Jacobian."""
    (model, p, X), (_, _, dZ), truth = expected(normalizer, fg.bernoulli, None)
    W, b, g = (None if part is None else TORCH(part).requires_grad_() for part in (p.weight, p.bias, p.gain))
    Z = model.natural(fg.Params(W, b, g), TORCH(X))
    (Z * TORCH(dZ)).sum().backward()
    gradient = fg.Params(W.grad, b.grad, None if g is None else g.grad).ravel()
    assert np.abs(numbers(gradient) - truth["vjp"]).max() <= 1e-12 * np.abs(truth["vjp"]).max()


def test_the_repr_says_precision_and_device(rng: np.random.Generator) -> None:
    model, p, X = problem(fg.batch_norm, fg.bernoulli, None, rng)
    assert "float32 of torch on cpu" in repr(fg.fisher(model, p, TORCH(X, "float32")))
    assert "float64 of array_api_strict" in repr(fg.fisher(model, p, STRICT(X)))


def test_many_vectors_are_multiplied_some_at_a_time(rng: np.random.Generator, monkeypatch: Any) -> None:
    model, p, X = problem(fg.layer_norm, fg.categorical, None, rng)
    F, whole = fg.fisher(model, p, STRICT(X)), fg.fisher(model, p, X)
    monkeypatch.setattr("fishergeo.information.foreign._CHUNK", 5 * X.shape[0] * p.units)
    monkeypatch.setattr("fishergeo.information.foreign_dense._CHUNK", 3 * (p.inputs + 1) * p.units)
    np.testing.assert_allclose(numbers(F.to_dense()), whole.to_dense(), atol=1e-14)
    for normalizer in (fg.spectral_norm, fg.ghost_batch_norm(2)):  # column by column, and a column of all units
        other, q, inputs = problem(normalizer, fg.bernoulli, None, rng)
        want = fg.fisher(other, q, inputs).to_dense()
        np.testing.assert_allclose(numbers(fg.fisher(other, q, STRICT(inputs)).to_dense()), want, atol=1e-13)
    V = rng.normal(size=(p.size, 7))
    np.testing.assert_allclose(numbers(F @ V), whole @ V, atol=1e-13)
    assert (F @ STRICT(V[:, :0])).shape == (p.size, 0)


def test_a_large_offset_costs_no_more_digits_than_numpy() -> None:
    """What centering takes away is taken away before it is multiplied."""
    rng = np.random.default_rng(2)
    base, model = rng.normal(size=(40, 5)), fg.GLM(fg.categorical, fg.compose(fg.batch_norm, fg.layer_norm))
    p = model.init(5, 4, rng=rng)
    shifted = base + 2.0**20
    exact = fg.fisher(model, p, shifted - 2.0**20).to_dense()  # the same numbers, exactly
    F = fg.fisher(model, p, TORCH(shifted))
    assert np.abs(numbers(F.to_dense()) - exact).max() <= 1e-8 * np.abs(exact).max()
    assert np.abs(numbers(F @ np.eye(p.size)) - exact).max() <= 1e-8 * np.abs(exact).max()


@pytest.mark.parametrize("k", range(12))
def test_compositions(k: int) -> None:
    """Stages at any sites, in any order: where the Jacobian factors and where it does not."""
    rng = np.random.default_rng(k)
    case = random_composition(rng, f"composition {k}", axes="nshd", eps=(0, 0.25), rich=True)
    N, S, D, H = admissible(case.normalizer, (5, 4, 3, 6))
    model = fg.GLM(fg.categorical if k % 2 else fg.bernoulli, case.normalizer)
    p = model.unravel(rng.normal(size=H * (D + 2)), H)
    X = rng.normal(size=(N, S, D)) + 0.5
    own, other = fg.fisher(model, p, X).to_dense(), fg.fisher(model, p, TORCH(X))
    assert np.abs(numbers(other.to_dense()) - own).max() <= 1e-11 * np.abs(own).max()
    assert np.abs(numbers(other @ np.eye(p.size)) - own).max() <= 1e-11 * np.abs(own).max()


def test_parameters_are_flattened_in_their_own_library(rng: np.random.Generator) -> None:
    model, p, _ = problem(fg.batch_norm, fg.bernoulli, None, rng)
    for kind in KINDS:
        own = model.unravel(kind(p.ravel()), p.units)
        assert type(own.weight) is type(own.ravel()) is type(kind(0.0))
        np.testing.assert_array_equal(flat(own), p.ravel())
        np.testing.assert_array_equal(numbers(own.ravel()), p.ravel())


class _Wrong:
    """A namespace in which one function is wrong."""

    def __init__(self, xp: Any, name: str, function: Any) -> None:
        self._xp, self._name, self._function = xp, name, function
        self.__name__ = xp.__name__

    def __getattr__(self, name: str) -> Any:
        return self._function if name == self._name else getattr(self._xp, name)


WRONG = {
    "sum": lambda x, axis=None, keepdims=False: strict.sum(x, axis=axis),
    "sqrt": lambda x: strict.sqrt(x) * (1 + 1e-9),
    "exp": lambda x: strict.exp(x) * (1 - 1e-10),
    "permute_dims": lambda x, axes: x,
    "concat": lambda arrays, axis: strict.concat(arrays[::-1], axis=axis),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_namespace_fails(name: str, monkeypatch: Any) -> None:
    contract(fg.batch_norm, fg.poisson, None, STRICT)
    wrong = _Wrong(strict, name, WRONG[name])
    monkeypatch.setattr(array_api_compat, "array_namespace", lambda *arrays: wrong)
    with pytest.raises((AssertionError, ValueError, IndexError)):
        contract(fg.batch_norm, fg.poisson, None, STRICT)


MODEL = fg.GLM(fg.bernoulli, fg.batch_norm)
P = MODEL.init(4, 3, rng=0)
X = np.random.default_rng(1).normal(size=(8, 4))
T = TORCH(X)


def replaced(at: tuple[int, int], value: float) -> torch.Tensor:
    out = T.clone()
    out[at] = value
    return out


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: MODEL.natural(P, replaced((3, 2), np.nan)), r"X has a nan or inf at index \(3, 2\)"),
    (lambda: MODEL.natural(P, replaced((5, 0), np.inf)), r"X has a nan or inf at index \(5, 0\)"),
    (lambda: MODEL.natural(fg.Params(TORCH(P.weight) * np.inf, P.bias, P.gain), T), "weight has a nan or inf"),
    (lambda: MODEL.natural(P, T[:, :3]), "weights have shape .3, 4. but X has 3 inputs"),
    (lambda: MODEL.natural(P, T[:0]), "X has shape .0, 4."),
    (lambda: MODEL.natural(P, T.to(torch.int64)), "X is an array of type torch.int64: give it as torch's float32 or"),
    (lambda: MODEL.natural(P, T.to_sparse()), "X is an array of layout torch.sparse_coo: give it dense"),
    (lambda: MODEL.natural(P, T.to(torch.bfloat16)), "torch's float32 or float64"),
    (lambda: MODEL.natural(P, strict.ones((8, 4), dtype=strict.complex128)), "array_api_strict's float32 or float64"),
    (lambda: MODEL.natural(P, torch.ones_like(T)), "batch_norm: the entries at unit 0 are constant along sample"),
    (lambda: MODEL.natural(P, T * 1e200), "overflow encountered in a sum of squares, with inputs up to"),
    (lambda: MODEL.natural(P, T.to(torch.float32) * 1e-30), "their squares underflow and σ is lost"),
    (lambda: fg.GLM(fg.poisson).natural(fg.Params(P.weight, P.bias + 800), T), "poisson: case 0 has natural parameter"),
    (lambda: fg.GLM(fg.gamma).natural(fg.Params(P.weight, P.bias), T), "which must lie in"),
    (lambda: MODEL.natural(fg.Params(STRICT(P.weight), P.bias, P.gain), T), "of array_api_strict, but X is one of torch"),
    (lambda: MODEL.natural(fg.Params(TORCH(P.weight), P.bias, P.gain), X), "of torch, but X is a NumPy array"),
    (lambda: MODEL.vjp(P, T, STRICT(np.ones((8, 3)))), "of array_api_strict, but X is one of torch"),
    (lambda: MODEL.vjp(P, T, np.ones((3, 6))), r"vjp got an array of shape \(3, 6\): give \(8, 3\)"),
    (lambda: MODEL.jvp(P, T, fg.Params(P.weight, P.bias)), r"jvp got a gain of shape None"),
    (lambda: MODEL.unravel(T[0, :], 3), r"unravel got a vector of shape"),
    (
        lambda: fg.GLM(fg.bernoulli, fg.spectral_norm).natural(fg.Params(0 * P.weight, P.bias, P.gain), T),
        "all weights are 0",
    ),
    (
        lambda: fg.GLM(fg.bernoulli, fg.spectral_norm).jvp(fg.Params(np.eye(3, 4), P.bias, P.gain), T, P),
        "the two largest singular values",
    ),
    (
        lambda: fg.GLM(fg.bernoulli, fg.Normalizer("mine", summed=np.tanh)).natural(P, T),
        "mine is given by a function of NumPy arrays",
    ),
    (
        lambda: fg.GLM(fg.bernoulli, link=fg.links.probit).natural(fg.Params(P.weight, P.bias), DEVICES[0](X)),
        "array_api_strict has no ndtr, and SciPy's takes no array on .*device1.*: give X on the CPU",
    ),
    (lambda: fg.fisher(MODEL, P, T, dtype=np.float32), "fisher got dtype for an array of torch"),
    (lambda: fg.fisher(MODEL, P, T, block=4), "fisher got block for an array of torch"),
    (lambda: fg.fisher(MODEL, P, T).eigsh(2), "eigsh is there for NumPy arrays alone, not for torch's"),
    (lambda: fg.fisher(MODEL, P, T) @ np.ones(3), r"got v of shape \(3,\): give finite numbers"),
    (lambda: fg.fisher(MODEL, P, T) @ (np.inf * np.ones(P.size)), "give finite numbers"),
    (lambda: MODEL.linearize(P, T).normalized, "normalized is there for NumPy arrays alone"),
    *(
        (call, "is there for NumPy arrays alone, not for torch's: give X as a NumPy array")
        for call in (
            lambda: MODEL.loss(P, T, np.ones((8, 3))),
            lambda: MODEL.gradient(P, T, np.ones((8, 3))),
            lambda: MODEL.score(P, T, np.ones((8, 3))),
            lambda: MODEL.sample(P, T, 0),
            lambda: fg.kfac(MODEL, P, T),
            lambda: fg.empirical_fisher(MODEL, P, T, np.ones((8, 3))),
            lambda: fg.observed_fisher(MODEL, P, T, np.ones((8, 3))),
            lambda: fg.symmetries(MODEL, P, T),
            lambda: fg.descend(MODEL, P, T, np.ones((8, 3)), optimizer=fg.sgd(rate=0.1), steps=2, rng=0),
        )
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message[:60] for _, message in REFUSED])
def test_what_cannot_work_is_refused_in_one_line(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(fg.InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_foreign_array_is_never_turned_into_one_of_numpy() -> None:
    for convert in (np.asarray, np.linalg.norm, np.sort):
        with pytest.raises(fg.InputError, match="is there for NumPy arrays alone"):
            convert(Foreign.of(T))


def test_without_array_api_compat_the_remedy_is_named(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "array_api_compat", None)
    with pytest.raises(fg.InputError, match=r'pip install "fishergeo\[array-api\]"'):
        MODEL.natural(P, T)
    assert not any(map(foreign.is_foreign, (X, X[0, 0], 1.0, [1.0], None, "torch", np.float32(1))))

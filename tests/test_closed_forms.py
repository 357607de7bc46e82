"""Closed forms against the numeric operator on batches with exactly the moments of a population, and by quadrature."""

from __future__ import annotations

import functools
import itertools

import mpmath
import numpy as np
import pytest
import sympy

import fishergeo as fg
from fishergeo.closed_forms.weights import (
    PREDICTOR,
    check_unbounded,
    elementary_moments,
    fisher_weight,
    gaussian_mean,
    moments_at,
    numeric_moments,
)
from fishergeo.families import ZOO as FAMILIES
from fishergeo.normalizers import ZOO
from fishergeo.special import elementary
from fishergeo.symbolic.sums import I

N_INPUTS, UNITS = 5, 3
UNITWISE = (
    fg.identity,
    fg.batch_norm,
    fg.mean_only_batch_norm,
    fg.frozen_batch_norm(1, 4),
    fg.weight_norm,
    fg.weight_standardization,
    fg.centered_weight_norm,
    fg.weight_norm_mean_only_batch_norm,
    fg.input_standardization,
    fg.stepwise_batch_norm,
)
REFUSED = [normalizer for normalizer in ZOO if normalizer.name not in {u.name for u in UNITWISE}]


def parameters(model: fg.GLM, units: int, rng: np.random.Generator) -> fg.Params:
    start = model.init(N_INPUTS, units, rng)
    return model.unravel(start.ravel() + 0.3 * rng.normal(size=start.size), units)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# --- mean and covariance -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalizer", UNITWISE, ids=lambda n: n.name)
@pytest.mark.parametrize(
    ("family", "link"),
    [
        (fg.gaussian, None),
        (fg.gamma, fg.links.log),
        (fg.multivariate_gaussian([[2.0, 0.5, -0.3], [0.5, 1.0, 0.1], [-0.3, 0.1, 3.0]]), None),
    ],
    ids=["gaussian", "gamma-log", "multivariate"],
)
def test_two_moments_of_any_batch(normalizer, family, link, rng):
    X = rng.exponential(size=(40, N_INPUTS)) @ rng.normal(size=(N_INPUTS, N_INPUTS)) + 0.4  # not Gaussian
    model = fg.GLM(family, normalizer, link=link, dispersion=0.7)
    p = parameters(model, UNITS, rng)
    form = fg.closed_form(model, fg.any_inputs)
    S = np.cov(X.T, bias=True)
    expected = fg.fisher(model, p, X).to_dense()
    assert relative(form.to_dense(p, X.mean(axis=0), S), expected) < 1e-12
    assert relative(form.to_dense(p, X.mean(axis=0), S + np.eye(N_INPUTS)[:1].T * np.eye(N_INPUTS)[0]), expected) > 1e-4


def test_poisson_under_the_square_root_has_a_constant_weight(rng):
    model = fg.GLM(fg.poisson, link=fg.links.sqrt)
    X = rng.uniform(0.5, 1.5, size=(40, N_INPUTS))
    p = fg.Params(rng.uniform(0.5, 1, size=(UNITS, N_INPUTS)), np.ones(UNITS))
    found = fg.closed_form(model, fg.any_inputs).to_dense(p, X.mean(axis=0), np.cov(X.T, bias=True))
    assert relative(found, fg.fisher(model, p, X).to_dense()) < 1e-12
    assert found[-1, -1] == pytest.approx(4, rel=1e-14)


# --- Gaussian inputs -------------------------------------------------------------------------------------------------


def gaussian_like(v: np.ndarray, mean: np.ndarray, S: np.ndarray, xi: np.ndarray) -> np.ndarray:
    """A batch x = mean + s xi + r in which r has, at every xi, mean 0 and covariance S - ss'."""
    s = S @ v / np.sqrt(v @ S @ v)
    values, vectors = np.linalg.eigh(S - np.outer(s, s))
    root = (vectors * np.sqrt(values.clip(min=0)))[:, 1:].T * np.sqrt(len(v) - 1)
    return (mean + xi[:, None, None] * s + np.concatenate([root, -root])).reshape(-1, len(v))


def effective(normalizer: fg.Normalizer, w: np.ndarray, S: np.ndarray) -> np.ndarray:
    """The direction in the inputs that a unit sees."""
    if normalizer.weight and normalizer.weight[0].center:
        w = w - w.mean()
    return w / np.sqrt(np.diag(S)) if normalizer.inputs else w


@pytest.mark.parametrize("white", [True, False], ids=["white", "any covariance"])
@pytest.mark.parametrize("family", [fg.bernoulli, fg.poisson, fg.gaussian, fg.binomial(5)], ids=str)
@pytest.mark.parametrize("normalizer", UNITWISE, ids=lambda n: n.name)
def test_gaussian_inputs_exactly(normalizer, family, white, rng):
    model = fg.GLM(family, normalizer, dispersion=0.7 if family.free_dispersion else 1.0)
    p = parameters(model, 1, rng)
    xi = rng.normal(size=9)
    xi = (xi - xi.mean()) / xi.std()
    root = rng.normal(size=(N_INPUTS, N_INPUTS)) / 2
    mean, S = (np.zeros(N_INPUTS), np.eye(N_INPUTS)) if white else (rng.normal(size=N_INPUTS) / 3, root @ root.T)
    X = gaussian_like(effective(normalizer, p.weight[0], S), mean, S, xi)
    form = fg.closed_form(model, fg.white_inputs if white else fg.gaussian_inputs)
    moments = () if white else (mean, S)
    expected = fg.fisher(model, p, X).to_dense()
    assert relative(form.to_dense(p, *moments, xi=xi), expected) < 1e-11
    if family is not fg.gaussian:
        assert relative(form.to_dense(p, *moments, xi=xi[1:]), expected) > 1e-4


@pytest.mark.parametrize("normalizer", [fg.batch_norm, fg.weight_norm, fg.identity], ids=lambda n: n.name)
@pytest.mark.parametrize("family", [fg.bernoulli, fg.poisson], ids=str)
def test_many_gaussian_cases(family, normalizer, rng):
    model = fg.GLM(family, normalizer)
    p = parameters(model, UNITS, rng)
    p = fg.Params(p.weight / 3, p.bias, None if p.gain is None else p.gain / 2)
    X = rng.normal(size=(100_000, N_INPUTS))
    found = fg.closed_form(model).to_dense(p)
    assert relative(found, fg.fisher(model, p, X).to_dense()) < 0.02


def test_blocks_evaluate_print_and_substitute(rng):
    form = fg.closed_form(fg.GLM(fg.poisson, fg.batch_norm))
    p = parameters(form.model, UNITS, rng)
    block = form.block("weight", "weight")
    assert block.lambdify()(p).shape == (UNITS, UNITS, N_INPUTS, N_INPUTS)
    dense = form.to_dense(p).reshape(UNITS, -1, UNITS, N_INPUTS + 2)
    np.testing.assert_array_equal(block.lambdify()(p), dense[:, :N_INPUTS, :, :N_INPUTS].transpose(0, 2, 1, 3))
    assert r"\bar{F}_{w_i w_j} =" in block.latex() and r"\kappa^{(0)}_{i}" in block.latex()
    assert block._repr_latex_().startswith("$") and "ClosedBlock" in repr(block)
    zero = block.subs(fg.closed_forms.averages.KAPPA[0][I], 0)
    assert zero.expr == 0
    assert [str(rule.left) for rule in block.definitions][:2] == ["tau[i]", "scheck[i, d]"]
    assert "N(0, I)" in repr(form) and "N → ∞" in repr(form) and form.latex().count("&=") > 8
    assert form.block("weight", "gain").expr == 0 and form.block("bias", "gain").expr != 0


# --- moments of the Fisher weight ------------------------------------------------------------------------------------


def takes_every_predictor(family: fg.Family, link: fg.links.Link) -> bool:
    """Told from the family and the link alone: Gaussian inputs reach every predictor."""
    z = np.linspace(-3, 3, 25)
    try:
        with np.errstate(all="ignore"):
            fg.GLM(family, link=link).linearize(fg.Params(np.ones((1, 1)), np.zeros(1)), z[:, None])
    except fg.InputError:
        return False
    return True


PAIRS = list(itertools.product([f for f in FAMILIES if not f.joint], fg.links.LINKS))
DIVERGES = (fg.inverse_gaussian, fg.links.loglog)
TAKEN = [pair for pair in PAIRS if takes_every_predictor(*pair) and pair != DIVERGES]


@pytest.mark.parametrize(("family", "link"), [pair for pair in PAIRS if not takes_every_predictor(*pair)], ids=str)
def test_links_that_gaussian_inputs_leave(family, link):
    with pytest.raises(fg.InputError, match=r"Gaussian inputs give every real predictor: use link=fg\.links"):
        fg.closed_form(fg.GLM(family, link=link))


@pytest.mark.parametrize(("family", "link"), TAKEN, ids=str)
def test_moments_are_the_integrals(family, link):
    weight = fisher_weight(family, link)
    check_unbounded(family, link)
    nu, t = 0.3, 0.4
    v = sympy.lambdify(PREDICTOR, elementary(weight), "mpmath")
    bell = functools.cache(lambda x: v(nu + t * x) * mpmath.npdf(x))  # at the same points for each moment
    found = moments_at(weight, np.array(nu), np.array(t))
    for k in range(3):
        expected = mpmath.quad(lambda x, k=k: bell(x) * x**k, np.linspace(-12, 12, 25).tolist())
        assert float(found[k]) == pytest.approx(float(expected), rel=1e-11, abs=1e-12)


def test_elementary_moments_agree_with_the_trapezoidal_rule():
    nu, t = sympy.symbols("nu t", real=True)
    for weight in (fisher_weight(fg.poisson), fisher_weight(fg.gaussian, fg.links.probit), PREDICTOR**2 + 1):
        found = elementary_moments(weight, nu, t)
        assert found is not None
        place, scale = np.array([0.3, -1.0]), np.array([0.5, 2.0])
        with np.errstate(under="ignore"):
            exact = [sympy.lambdify((nu, t), k, "numpy")(place, scale) for k in found]
            np.testing.assert_allclose(exact, numeric_moments(weight, place, scale), rtol=1e-12, atol=1e-14)
    assert elementary_moments(fisher_weight(fg.bernoulli), nu, t) is None
    assert gaussian_mean(sympy.exp(sympy.Symbol("xi", real=True) ** 2)) is None  # diverges


def test_moments_without_end_are_refused():
    weight = fisher_weight(fg.inverse_gaussian, fg.links.loglog)
    with pytest.raises(fg.InputError, match="did not settle"):
        numeric_moments(weight, np.array([0.3]), np.array([1.0]))


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalizer", REFUSED, ids=lambda n: n.name)
def test_no_closed_form(normalizer):
    with pytest.raises(fg.InputError, match=f"{normalizer.name} has no closed form: ."):
        fg.closed_form(fg.GLM(fg.gaussian, normalizer))


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (fg.GLM(fg.categorical), fg.white_inputs, "coupled"),
        (fg.GLM(fg.bernoulli), fg.any_inputs, r"depends on z"),
        (fg.GLM(fg.gamma), fg.white_inputs, r"natural parameter in \(-∞, 0\).*use link=fg.links.log"),
        (fg.GLM(fg.poisson, link=fg.links.sqrt), fg.white_inputs, "fewer predictors under the sqrt link"),
        (fg.GLM(fg.bernoulli, link=fg.links.log), fg.white_inputs, "use link=fg.links.logit"),
        (fg.GLM(fg.binomial([2, 3])), fg.white_inputs, "different trials"),
        (fg.GLM(fg.gaussian, fg.batch_norm.with_eps(1e-5)), fg.white_inputs, r"ε > 0; use with_eps\(0\)"),
        (fg.GLM(fg.gaussian, fg.Normalizer("mine", summed=lambda A: A)), fg.white_inputs, "no formula is known"),
        (fg.batch_norm, fg.white_inputs, "give a GLM"),
        (fg.GLM(fg.gaussian), "white", "give a GLM and fg.white_inputs"),
    ],
    ids=lambda x: str(x)[:40],
)
def test_refusals(model, inputs, message):
    with pytest.raises(fg.InputError, match=message):
        fg.closed_form(model, inputs)


def test_wrong_moments_are_refused(rng):
    form = fg.closed_form(fg.GLM(fg.gaussian, fg.batch_norm), fg.any_inputs)
    p = parameters(form.model, UNITS, rng)
    with pytest.raises(fg.InputError, match="needs mean"):
        form.to_dense(p)
    with pytest.raises(fg.InputError, match="moments have shapes"):
        form.to_dense(p, np.zeros(N_INPUTS), np.eye(N_INPUTS + 1))
    with pytest.raises(fg.InputError, match="no moments"):
        fg.closed_form(form.model).to_dense(p, np.zeros(N_INPUTS), np.eye(N_INPUTS))
    with pytest.raises(fg.InputError, match=r"this model has weight, bias$"):
        fg.closed_form(fg.GLM(fg.gaussian)).block("weight", "gain")

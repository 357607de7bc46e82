"""Fisher blocks under every link: against the numeric operator and exact models, proved from their definitions."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import oracle_families as oracle
import pytest
import sympy
from cases import ALL, SIZES, SIZES_WITH_POSITIONS, Case, each_case, on_positions_alone
from test_symbolic_blocks import gap, pairs

import fishergeo as fg
from fishergeo import special
from fishergeo.families import ZOO, Family
from fishergeo.links import LINKS, Link
from fishergeo.symbolic.arrays import EXACT, exact_jacobian
from fishergeo.symbolic.blocks import fisher_block
from fishergeo.symbolic.curvature import PHI, PREDICTOR, TRIALS
from fishergeo.symbolic.evidence import block_is_proved, derivative_is_proved
from fishergeo.symbolic.exact import differs

N, D, H = SIZES
EVERY = (*LINKS, fg.links.power(1 / 3), fg.links.power(-3), fg.links.nbinom(0.5))


def each_trials(kind, cases: int) -> Family:
    return kind(np.arange(cases) % 5 + 1)


def legal() -> list[tuple[Family, Link]]:
    """Every family with every link that it may have."""
    return [(family, link) for family in ZOO for link in (EVERY[:1] if family.joint else EVERY)]


def design() -> list[tuple[Case, Family, Link]]:
    """All families with all links, dealt out to the normalizers in turn; and trials of each case."""
    dealt = [(ALL[k % len(ALL)], *pair) for k, pair in enumerate(legal())]
    flat = [case for case in ALL if not on_positions_alone(case)]
    links = (fg.links.probit, fg.links.sqrt, fg.links.canonical, fg.links.log)
    dealt += [(case, each_trials(fg.binomial, N), links[k % 4]) for k, case in enumerate(flat[:8])]
    return dealt + [(case, each_trials(fg.multinomial, N), fg.links.canonical) for case in flat[8:11]]


def setup(
    case: Case, family: Family, link: Link, X: np.ndarray, rng: np.random.Generator
) -> tuple[fg.GLM, fg.Params, np.ndarray]:
    """A model with random parameters whose predictors the link allows."""
    if family.mixing is not None:
        root = rng.normal(size=(H, H))
        family = fg.multivariate_gaussian(root @ root.T + np.eye(H))
    model = fg.GLM(family, case.normalizer, link=link, dispersion=0.7 if family.free_dispersion else 1.0)
    names = oracle.FAMILIES.get(family.name, oracle.FAMILIES["bernoulli"])
    span = names.domain if link is fg.links.canonical else oracle.safe(link.name)
    twin = oracle.Model(case.forward, names, link.name, X, H, model.has_gain)
    start = rng.normal(scale=0.7, size=H * (X.shape[-1] + 1 + model.has_gain))
    return model, model.unravel(twin.placed(start, *span), H), X


def block_of(model: fg.GLM, row: str, column: str) -> fg.symbolic.blocks.FisherBlock:
    return fisher_block(model.normalizer, row, column, family=model.family, link=model.link)


def test_the_design_covers_every_family_link_and_normalizer() -> None:
    met = {(family, link) for _, family, link in design()}
    assert met >= set(legal()) and {family for family, _ in met} >= set(ZOO)
    assert {link for _, link in met} >= set(LINKS)
    for case in ALL:
        own = [(family, link) for other, family, link in design() if other is case]
        assert len(own) >= 2 and any(link is not fg.links.canonical for _, link in own), case


@pytest.mark.parametrize(("case", "family", "link"), design(), ids=lambda v: getattr(v, "name", str(v)))
def test_blocks_agree_with_the_operator(case: Case, family: Family, link: Link, inputs, rng: np.random.Generator) -> None:
    model, p, X = setup(case, family, link, inputs(case), rng)
    F = fg.fisher(model, p, X)
    for row, column in pairs(case.normalizer, once=True):
        block = block_of(model, row, column)
        assert gap(block, model, p, X, F) < 1e-13, (row, column)
        assert "None" not in block.latex() + block.matrix_latex()
    assert gap(fisher_block(case.normalizer, "weight", "weight"), model, p, X, F) < 1e-13  # that of any family


@each_case([case for case in ALL if case.name != "stepwise_batch_norm"])  # its blocks are those of one position
def test_blocks_with_positions(case: Case, X_positions: np.ndarray, rng: np.random.Generator) -> None:
    for family, link in (
        (fg.bernoulli, fg.links.cauchit),
        (each_trials(fg.binomial, SIZES_WITH_POSITIONS[0]), fg.links.cloglog),
        (each_trials(fg.multinomial, SIZES_WITH_POSITIONS[0]), fg.links.canonical),
    ):
        model, p, X = setup(case, family, link, X_positions, rng)
        for row, column in (("weight", "weight"), ("bias", "weight")):
            assert gap(block_of(model, row, column), model, p, X) < 1e-13, (family, row, column)


def test_trials_of_each_case_are_those_of_the_model(X: np.ndarray, rng: np.random.Generator) -> None:
    case, family = ALL[1], each_trials(fg.binomial, N)
    model, p, _ = setup(case, family, fg.links.log, X, rng)
    block = block_of(model, "bias", "bias")
    assert r"T_{n}" in block.latex() and block.expr.has(TRIALS)
    trials = TRIALS[sympy.Symbol("n", integer=True)]
    for wrong in (sympy.Integer(6), trials + 1):
        assert gap(dataclasses.replace(block, expr=block.expr.xreplace({trials: wrong})), model, p, X) > 1e-3
    with pytest.raises(fg.InputError, match="it has the trials of 8 cases"):
        block.lambdify()(model, p, X[:5])


@pytest.mark.parametrize("link", EVERY[1:], ids=lambda link: link.name)
def test_a_block_of_another_link_is_caught(link: Link, X: np.ndarray, rng: np.random.Generator) -> None:
    """The block of another link, one without the slope squared, or one that takes η'' for it."""
    case = ALL[4]  # layer norm
    model, p, _ = setup(case, fg.gamma, link, X, rng)
    right = block_of(model, "weight", "bias")
    expr = fisher_block(case.normalizer, "weight", "bias", family=fg.gamma).expr
    others = [fisher_block(case.normalizer, "weight", "bias", family=fg.gamma, link=other).expr for other in EVERY[1:]]
    wrong = {other for other in (expr, *others) if other != right.expr}
    assert len(wrong) > len(EVERY) - 4
    for other in wrong:
        off = dataclasses.replace(right, expr=other)
        assert gap(off, model, p, X) > 1e-3 or np.ptp(model.predictor(p, X)) < 1e-3, other


@pytest.mark.parametrize("link", [fg.links.probit, fg.links.cloglog, fg.links.loglog, fg.links.cauchit], ids=str)
def test_tails(link: Link, rng: np.random.Generator) -> None:
    """Where all means round to 0 or 1, the block is still that of the operator, relative to its own size."""
    model = fg.GLM(fg.bernoulli, link=link)
    for side in (-1, 1):
        far = {"cloglog": 5.0 if side > 0 else -45.0, "loglog": 45.0 if side > 0 else -5.0}.get(link.name, 11.0 * side)
        p, X = fg.Params(0.1 * rng.normal(size=(3, 4)), np.full(3, far)), rng.normal(size=(7, 4))
        if link is not fg.links.cauchit:
            assert set(model.mean(p, X).round(15).ravel()) <= {0.0, 1.0}
        assert gap(fisher_block(fg.identity, "weight", "bias", fg.bernoulli, link), model, p, X) < 1e-12


# --- exact small models -----------------------------------------------------------------------------------------------

z = sympy.Symbol("z", real=True)
VARIANCE = {
    "gaussian": lambda mu: 1,
    "bernoulli": lambda mu: mu * (1 - mu),
    "binomial(5)": lambda mu: mu * (1 - mu / 5),
    "poisson": lambda mu: mu,
    "gamma": lambda mu: mu**2,
    "inverse_gaussian": lambda mu: mu**3,
    "negative_binomial(1.7)": lambda mu: mu + mu**2 / sympy.Rational("1.7"),
}
INVERSE = {
    "identity": z,
    "inverse": 1 / z,
    "inverse_squared": 1 / sympy.sqrt(z),
    "sqrt": z**2,
    "power(1/3)": z**3,
    "log": sympy.exp(z),
    "logc": 1 - sympy.exp(z),
    "logit": 1 / (1 + sympy.exp(-z)),
    "cloglog": 1 - sympy.exp(-sympy.exp(z)),
    "loglog": sympy.exp(-sympy.exp(-z)),
}
PLACES = {
    "log": sympy.Rational(-8, 7),
    "logc": sympy.Rational(-8, 7),
    "inverse": 2,
    "inverse_squared": 2,
}  # of predictors; elsewhere 3/7
NORMALIZERS = (fg.layer_norm, fg.batch_norm, fg.weight_norm, fg.rms_norm, fg.weight_standardization)
EXACT_PAIRS = [
    (NORMALIZERS[(k + k // len(INVERSE)) % len(NORMALIZERS)], family, link)
    for k, (family, link) in enumerate((f, at) for f in ZOO for at in EVERY if f.name in VARIANCE and at.name in INVERSE)
]


@cache
def small(normalizer: fg.Normalizer) -> tuple[object, object, object, object]:
    """A run on small integers, the gains, and ∂z/∂parameters by `sympy.diff`, in blocks of units."""
    rng = np.random.default_rng(3)
    X, W = rng.integers(-3, 4, (3, 3)), rng.integers(-3, 4, (3, 3))
    W[:, 0] += 4
    gain = np.array([sympy.Rational(1, k) for k in (20, 30, 40)])
    X, W = (EXACT.array(np.frompyfunc(sympy.Integer, 1, 1)(array)) for array in (X, W))
    J = exact_jacobian(normalizer, X, W, gain)
    return normalizer(X, W), gain, J.reshape(3, 5, *J.shape[1:]), X


@pytest.mark.parametrize(("normalizer", "family", "link"), EXACT_PAIRS, ids=lambda v: v.name)
def test_blocks_are_exact_on_small_models(normalizer: fg.Normalizer, family: Family, link: Link) -> None:
    run, gain, J, _ = small(normalizer)
    Z = gain * run.value + PLACES.get(link.name, sympy.Rational(3, 7))
    mu = (5 if family.name == "binomial(5)" else 1) * INVERSE[link.name]
    at = [np.frompyfunc(lambda v, e=e: e.subs(z, v), 1, 1) for e in (mu, mu.diff(z) ** 2 / VARIANCE[family.name](mu))]
    mean, weight = (function(Z) for function in at)
    phi = 3 if family.free_dispersion else 1
    places = {"weight": slice(0, 3), "bias": 3, "gain": 4}
    elementary = np.frompyfunc(special.elementary, 1, 1)
    row, column = (("weight", "bias"), ("weight", "gain"), ("gain", "gain"))[
        EXACT_PAIRS.index((normalizer, family, link)) % 3
    ]
    block = fisher_block(normalizer, row, column, family=family, link=link)
    found = elementary(block.on(run, gain, None, mean, phi, EXACT, predictor=Z)[:1])  # of the first unit and all
    left, right = J[:1, places[row]], J[:, places[column]]
    subscripts = "idnh,nh,jnh->ijd" if row == "weight" else "inh,nh,jnh->ij"
    expected = np.einsum(subscripts, left, weight, right) / (len(Z) * phi)
    assert not any(differs(a, b) for a, b in zip(found.ravel(), expected.ravel(), strict=True)), (row, column)
    largest = max(range(expected.size), key=lambda k: abs(float(expected.ravel()[k])))
    if expected.ravel()[largest] != 0:
        assert differs(sympy.Rational(1001, 1000) * expected.ravel()[largest], found.ravel()[largest])


# --- proofs -----------------------------------------------------------------------------------------------------------


@each_case(ALL)
def test_blocks_are_proved_from_the_definitions(case: Case) -> None:
    """For all sizes, with the derivative of every stage; a block off by a part in 1000, or a sign, is not."""
    assert derivative_is_proved(case.normalizer)
    kinds = ((fg.bernoulli, fg.links.probit), (fg.gamma, fg.links.identity), (fg.categorical, None), (None, None))
    family, link = kinds[ALL.index(case) % 4]
    last = "gain" if case.normalizer.has_gain else "bias"
    for row, column in (("weight", "weight"), ("bias", "weight"), (last, last)):
        assert block_is_proved(fisher_block(case.normalizer, row, column, family, link)), (row, column)
    block = fisher_block(case.normalizer, last, last, family, link)
    for wrong in (-block.expr, sympy.Rational(1001, 1000) * block.expr):
        assert not block_is_proved(dataclasses.replace(block, expr=wrong))


# --- as values --------------------------------------------------------------------------------------------------------


def test_the_canonical_link_by_any_name_is_none() -> None:
    for family, link in (
        (fg.bernoulli, fg.links.logit),
        (fg.poisson, fg.links.log),
        (fg.gaussian, fg.links.identity),
        (fg.categorical, fg.links.canonical),
        (None, fg.links.canonical),
    ):
        block = fisher_block(fg.batch_norm, "weight", "gain", family=family, link=link)
        assert block is fisher_block(fg.batch_norm, "weight", "gain", family=family) and block.link is None
    assert fisher_block(fg.batch_norm, "weight", "gain", fg.gamma, fg.links.inverse).link is fg.links.inverse  # θ = -1/μ


def test_formulas_are_short() -> None:
    """The curvature is a function of μ or of z, whichever is shorter."""

    def weight(family: Family, link: Link) -> str:
        found = fisher_block(fg.identity, "bias", "bias", family=family, link=link)
        return found.subs(PHI, 1).latex().split("}^{N} ")[-1]

    assert weight(fg.poisson, fg.links.identity) == r"\frac{1}{\mu_{n i}}"
    assert weight(fg.bernoulli, fg.links.log) == r"\frac{\mu_{n i}}{1 - \mu_{n i}}"
    assert weight(fg.poisson, fg.links.power(1 / 3)) == "z_{n i}"
    assert weight(fg.gaussian, fg.links.probit) == r"e^{- z_{n i}^{2}}"
    assert fisher_block(fg.identity, "bias", "bias", fg.gamma, fg.links.log).subs(PHI, 1).latex().endswith("= I_{i j}")


def test_blocks_under_a_link_as_values(X: np.ndarray, rng: np.random.Generator) -> None:
    mine = Link("squares", lambda t: (1 + t) ** 2, positive=True)
    for link in (fg.links.sqrt, mine):
        model, p, _ = setup(ALL[1], fg.gamma, fg.links.inverse, X, rng)
        model = fg.GLM(fg.gamma, fg.batch_norm, link=link, dispersion=0.7)
        block = fisher_block(fg.batch_norm, "weight", "gain", family=fg.gamma, link=link)
        assert block is fisher_block(fg.batch_norm, "weight", "gain", family=fg.gamma, link=link)
        assert f"gamma under the {link.name} link" in repr(block) and r"\omega_{h k} &= " in block.matrix_latex()
        whole, halved = (b.lambdify()(model, p, X) for b in (block, block.subs(PHI, 2 * PHI)))
        np.testing.assert_allclose(whole, 2 * halved, rtol=1e-14, atol=1e-14)
        assert gap(block, model, p, X) < 1e-13
    shifted = block.subs(PREDICTOR.label, sympy.Symbol("t"))
    assert shifted.family is fg.gamma and shifted.link is mine


def test_links_that_do_not_fit_are_refused(X: np.ndarray, rng: np.random.Generator) -> None:
    for bad in ("probit", special.ndtr, 1):
        with pytest.raises(fg.InputError, match=r"give a link such as fg\.links\.probit"):
            fisher_block(fg.batch_norm, "weight", "gain", fg.bernoulli, link=bad)
    with pytest.raises(fg.InputError, match="the probit link without a family"):
        fisher_block(fg.batch_norm, "weight", "gain", link=fg.links.probit)
    for family in (fg.categorical, fg.multinomial(3), fg.multivariate_gaussian([[2, 1], [1, 3]])):
        messages = []
        for act in (
            lambda f=family: fg.GLM(f, fg.batch_norm, link=fg.links.log),
            lambda f=family: fisher_block(fg.batch_norm, "weight", "gain", f, link=fg.links.log),
        ):
            with pytest.raises(fg.InputError, match="the outputs of a case are dependent") as error:
                act()
            messages.append(str(error.value))
        assert len(set(messages)) == 1
    model, p, _ = setup(ALL[1], fg.bernoulli, fg.links.probit, X, rng)
    for link in (None, fg.links.cloglog):
        block = fisher_block(fg.batch_norm, "weight", "gain", fg.bernoulli, link)
        with pytest.raises(fg.InputError, match="the model has batch_norm and bernoulli under the probit link"):
            block.lambdify()(model, p, X)
    named = fisher_block(fg.batch_norm, "weight", "gain", fg.bernoulli, fg.links.logit)
    named.lambdify()(fg.GLM(fg.bernoulli, fg.batch_norm, link=fg.links.canonical), p, X)

"""Bad definitions and bad requests: one line that names the culprit and the remedy."""

from __future__ import annotations

from dataclasses import replace

import contracts
import numpy as np
import pytest

import fishergeo as fg
from fishergeo.information import factored
from fishergeo.invariance.proof import prove
from fishergeo.links import Link

N, D, H = 7, 4, 3
X = np.random.default_rng(11).normal(size=(N, D))
NAN, INF = float("nan"), float("inf")


def model(normalizer=fg.batch_norm, family=fg.bernoulli, **options):
    return fg.GLM(family, normalizer, **options)


def params(m):
    return m.init(inputs=D, units=H, rng=1)


def natural(normalizer):
    m = model(normalizer)
    return m.natural(params(m), X)


def operator(normalizer=fg.batch_norm):
    m = model(normalizer)
    return fg.fisher(m, params(m), X)


# what is done, and what the message must name: the culprit, and the remedy
CASES = {
    # --- definitions
    "a negative eps": (lambda: fg.Standardize(fg.Axis.UNIT, eps=-1e-5), "eps=-1e-05", "use e.g. eps=1e-5"),
    "a negative eps for a normalizer": (lambda: fg.batch_norm.with_eps(-1), "eps=-1", "use e.g. eps=1e-5"),
    "a negative NumPy eps": (lambda: fg.batch_norm.with_eps(np.float32(-1)), "eps=np.float32(-1.0)", "use e.g. eps=1e-5"),
    "an eps that is nan": (lambda: fg.layer_norm.with_eps(NAN), "eps=nan", "use e.g. eps=1e-5"),
    "an infinite eps": (lambda: fg.layer_norm.with_eps(INF), "eps=inf", "use e.g. eps=1e-5"),
    "an eps that is text": (lambda: fg.layer_norm.with_eps("1e-5"), "eps='1e-5'", "use e.g. eps=1e-5"),
    "no axis": (lambda: fg.Standardize([]), "over=[]", "name at least one axis"),
    "an axis by name": (lambda: fg.Standardize("h"), "over='h'", "name at least one axis, e.g. fg.Axis.UNIT"),
    "a scale by name": (lambda: fg.Standardize(fg.Axis.UNIT, scale="std"), "scale='std'", "use fg.Scale.STD"),
    "a stage that does nothing": (
        lambda: fg.Standardize(fg.Axis.UNIT, center=False, scale=fg.Scale.NONE),
        "nothing to do",
        "leave this stage out",
    ),
    "an axis that the weights lack": (
        lambda: fg.Normalizer("mine", weight=fg.Standardize(fg.Axis.SAMPLE)),
        "mine: weight has no axis SAMPLE",
        "its axes are UNIT, INPUT",
    ),
    "an axis that the inputs lack": (
        lambda: fg.Normalizer("mine", inputs=fg.Standardize(fg.Axis.UNIT)),
        "mine: inputs has no axis UNIT",
        "its axes are SAMPLE, POSITION, INPUT",
    ),
    "an axis for a stage": (
        lambda: fg.Normalizer("mine", summed=(fg.Axis.UNIT,)),
        "is not a stage",
        "use fg.Standardize",
    ),
    "a link without a name": (lambda: Link("", lambda z: z), "Link got name=''", "give a string that names it"),
    "a link that is no function": (lambda: Link("mine", 3), "mine got inverse=3", "give a function, e.g. lambda z"),
    "a branch by name": (lambda: Link("mine", None, "yes"), "positive='yes'", "give True where g needs z > 0"),
    "an inverse for numbers": (
        lambda: model(fg.identity, fg.poisson, link=Link("mine", lambda z: np.exp(z))).init(D, H, rng=0),
        "the mine link: its inverse failed on SymPy symbols with TypeError",
        "write it with functions of sympy or fishergeo.special",
    ),
    "an inverse that does not vary": (
        lambda: model(fg.identity, fg.poisson, link=Link("mine", lambda z: 2)).init(D, H, rng=0),
        "its inverse is 2, which does not vary with z",
        "give g⁻¹(z)",
    ),
    "a family without a name": (
        lambda: replace(fg.poisson, name=""),
        "Family got name=''",
        "give a string that names it",
    ),
    "a family without draws": (lambda: replace(fg.poisson, draw=None), "draw=None", "give a function, e.g. lambda mean"),
    "a support in words": (lambda: replace(fg.poisson, support="reals"), "support='reals'", "give Support(text, test"),
    "an empty domain": (lambda: replace(fg.poisson, domain=(1, 0)), "domain=(1, 0)", "give Interval(lower, upper)"),
    "a cumulant for numbers": (
        lambda: replace(fg.poisson, cumulant=lambda theta: np.exp(theta)).mean(X),
        "poisson: its cumulant failed on SymPy symbols with TypeError",
        "write it with functions of sympy or fishergeo.special",
    ),
    "a cumulant that does not vary": (
        lambda: replace(fg.poisson, cumulant=lambda theta: 1).mean(X),
        "its cumulant is 1, which does not vary",
        "give η(θ)",
    ),
    "a constant that is text": (
        lambda: replace(fg.poisson, base=lambda y, phi: "0").log_density(np.ones((2, 3)), np.ones((2, 3)), 1.0),
        "its base c(y, φ) failed",
        "write it with functions of sympy",
    ),
    "no name": (lambda: fg.Normalizer(""), "name=''", "give a non-empty string"),
    "frozen statistics of the weights": (
        lambda: fg.Normalizer("mine", weight=fg.Frozen(0, 1)),
        "frozen statistics belong to the summed inputs",
        "not to weight",
    ),
    "a negative variance": (lambda: fg.frozen_batch_norm(0, -1), "var=-1", "var + eps must be positive"),
    "a variance of 0": (lambda: fg.frozen_batch_norm(0, [1, 0, 2]), "var=(1, 0, 2)", "var + eps must be positive"),
    "a variance that is nan": (lambda: fg.frozen_batch_norm(0, [1, NAN]), "var=[1, nan]", "give finite numbers"),
    "a frozen eps below 0": (lambda: fg.frozen_batch_norm(0, 1, eps=-0.5), "eps=-0.5", "var + eps must be positive"),
    "a frozen eps that is nan": (lambda: fg.frozen_batch_norm(0, 1, eps=NAN), "eps=nan", "var + eps must be positive"),
    "a mean that is text": (lambda: fg.frozen_batch_norm("0", 1), "mean='0'", "give finite numbers"),
    "as many means as variances": (
        lambda: natural(fg.frozen_batch_norm([0, 1, 2], [1, 2])),
        "3 means and 2 variances",
        "give as many",
    ),
    "statistics of other units": (
        lambda: natural(fg.frozen_batch_norm([0, 1, 2, 3], [1, 2, 3, 4])),
        "frozen_batch_norm got H=3 units but statistics of 4",
        "give one for each unit",
    ),
    "a family by name": (lambda: fg.GLM("bernoulli"), "family='bernoulli'", "give a family such as fg.bernoulli"),
    "a normalizer by name": (
        lambda: fg.GLM(fg.bernoulli, "batch_norm"),
        "normalizer='batch_norm'",
        "give a normalizer such as fg.batch_norm",
    ),
    "a link that is not canonical": (lambda: model(link="probit"), "link='probit'", "leave link=None"),
    "a negative dispersion": (
        lambda: model(family=fg.gaussian, dispersion=-1.0),
        "dispersion=-1.0",
        "must be a positive number",
    ),
    "a dispersion of 0": (lambda: model(family=fg.gaussian, dispersion=0), "dispersion=0", "must be a positive number"),
    "a dispersion that is nan": (
        lambda: model(family=fg.gaussian, dispersion=NAN),
        "dispersion=nan",
        "must be a positive",
    ),
    "a dispersion that the family fixes": (lambda: model(dispersion=2.0), "bernoulli has φ = 1", "leave it out"),
    "a transformation without actions": (
        lambda: fg.Transformation("nothing", "", ()),
        "actions=()",
        "give at least one action",
    ),
    "a proof about the wrong things": (
        lambda: prove(fg.case_rescaling, fg.layer_norm),
        "prove got Transformation and Normalizer",
        "give a Normalizer and a Transformation",
    ),
    # --- the Fisher matrix
    "a block of no unit": (lambda: operator().block(0, 3), "unit 3", "the model has units 0 to 2"),
    "a block of a negative unit": (lambda: operator().block(-1, 0), "unit -1", "the model has units 0 to 2"),
    "more eigenvalues than there are": (lambda: operator().eigsh(k=19), "k=19", "give 1 <= k <= P = 18"),
    "no eigenvalues": (lambda: operator().eigsh(k=0), "k=0", "give 1 <= k <= P = 18"),
    "a right side of another length": (lambda: operator().solve(np.ones(5)), "shape (5,)", "P=18"),
    "a right side with a nan": (lambda: operator().solve(np.full(18, NAN)), "shape (18,)", "give finite numbers"),
    "a negative damping": (lambda: operator().solve(np.ones(18), damping=-1e-3), "damping=-0.001", "give a number >= 0"),
    "a damping that is nan": (lambda: operator().solve(np.ones(18), damping=NAN), "damping=nan", "give a number >= 0"),
    "no draws": (
        lambda: fg.monte_carlo_fisher(model(), params(model()), X, draws=0),
        "draws=0",
        "draw at least once",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_definition(name):
    contracts.is_refused(*CASES[name])


def test_a_root_that_would_not_fit(monkeypatch):
    """Only stages that bring cases and units together need all of the Jacobian at once."""
    monkeypatch.setattr(factored, "_ROOT_LIMIT", 100)
    m = replace(model(), normalizer=fg.compose(fg.layer_norm, fg.batch_norm))
    with pytest.raises(fg.InputError, match=r"18 x 21 numbers.*damping > 0") as caught:
        fg.fisher(m, params(m), X).rank()
    assert "\n" not in str(caught.value)
    assert fg.fisher(model(), params(m), X).rank() > 0

"""Families and links: what is refused, by the case it happens in and with the cure."""

from __future__ import annotations

from dataclasses import replace

import contracts
import numpy as np
import pytest
import sympy

import fishergeo as fg
from fishergeo.links import curve

W = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
FLAT = np.full((7, 4), 0.5)


def at(family, link, bias, case=3):
    """Predictors of 0.5, except in one case, where they are ``bias`` + 0.5."""
    X = FLAT.copy()
    X[case] += bias
    return lambda: fg.GLM(family, link=link).natural(fg.Params(W, np.zeros(3)), X)


REFUSED = {
    "identity beyond 1": (
        at(fg.bernoulli, fg.links.identity, 0.7),
        "case 3 has predictor 1.2 and mean 1.2",
        "fg.links.logit",
    ),
    "a proportion of several trials": (
        at(fg.binomial(5), fg.links.identity, 0.7),
        "(0, 1) of one trial",
        "fg.links.logit",
    ),
    "log of a proportion": (
        at(fg.bernoulli, fg.links.log, -0.6, 0),
        "bernoulli: case 1 has predictor 0.5",
        "fg.links.logit",
    ),
    "a negative rate": (
        at(fg.poisson, fg.links.identity, -1.0),
        "case 3 has predictor -0.5 and mean -0.5",
        "fg.links.log",
    ),
    "a negative mean": (at(fg.inverse_gaussian, fg.links.identity, -1.0), "mean -0.5", "fg.links.log"),
    "a mean of 0": (at(fg.gamma, fg.links.identity, -0.5), "case 3 has predictor 0", "fg.links.log"),
    "the other branch": (
        at(fg.poisson, fg.links.sqrt, -1.0),
        "sqrt link, which needs a positive predictor",
        "fg.links.log",
    ),
    "an inverse at 0": (
        at(fg.gaussian, fg.links.inverse, -0.5),
        "case 3 has predictor 0 and mean inf",
        "shrink the weights",
    ),
    "a mean that overflows": (
        at(fg.gamma, fg.links.log, 800.0),
        "case 3 has predictor 800.5 and mean inf",
        "shrink the weights",
    ),
    "a positive natural parameter": (
        at(fg.gamma, None, -1.0, 5),
        "gamma: case 0 has natural parameter 0.5, which must lie in (-∞, 0)",
        "use link=fg.links.log",
    ),
    "a natural parameter of 0": (at(fg.negative_binomial(2), None, -0.5, 0), "natural parameter 0,", "fg.links.log"),
    "outputs that are dependent": (
        lambda: fg.GLM(fg.categorical, link=fg.links.probit),
        "categorical got the probit link",
        "leave link=None",
    ),
    "correlated outputs": (
        lambda: fg.GLM(fg.multivariate_gaussian(np.eye(3)), link=fg.links.identity),
        "multivariate_gaussian(3) got the identity link",
        "leave link=None",
    ),
    "a covariance of another size": (
        at(fg.multivariate_gaussian(np.eye(2)), None, 0.0),
        "multivariate_gaussian(2) has 2 outputs",
        "3 units",
    ),
    "a power of 0": (lambda: fg.links.power(0), "power got p=0", "fg.links.log"),
    "a power that is text": (lambda: fg.links.power("2"), "power got p='2'", "give a number"),
    "a power without end": (lambda: fg.links.power(float("nan")), "power got p=nan", "fg.links.log"),
    "a link of shape 0": (lambda: fg.links.nbinom(0), "nbinom got alpha=0", "a finite number > 0"),
    "a proportion of 0": (at(fg.bernoulli, fg.links.logc, -0.6, 0), "under the logc link", "fg.links.logit"),
    "no trials": (lambda: fg.binomial(0), "trials=0", "a whole number >= 1"),
    "half a trial": (lambda: fg.multinomial(2.5), "trials=2.5", "a whole number >= 1"),
    "trials that are text": (lambda: fg.binomial("many"), "binomial got trials of type", "give real numbers"),
    "trials of other cases": (at(fg.binomial([3, 4]), None, 0.0), "the trials of 2 cases", "(7, 3)"),
    "a shape of 0": (lambda: fg.negative_binomial(0), "shape=0", "give a number r > 0"),
    "a shape that is missing": (lambda: fg.negative_binomial(None), "negative_binomial got a shape", "give real numbers"),
    "a covariance that is not square": (
        lambda: fg.multivariate_gaussian(np.ones((2, 3))),
        "covariance of shape (2, 3)",
        "give finite numbers (H, H)",
    ),
    "a covariance that is not symmetric": (
        lambda: fg.multivariate_gaussian([[1, 0.5], [0.4, 1]]),
        "entries (0, 1) and (1, 0) differ",
        "give (Σ + Σᵀ)/2",
    ),
    "a covariance that is singular": (
        lambda: fg.multivariate_gaussian(np.ones((3, 3))),
        "not positive definite",
        "drop outputs",
    ),
    "a mean with no inverse": (
        lambda: curve(replace(fg.gaussian, name="odd", cumulant=lambda t: t**2 + t**4), fg.links.log),
        "odd: η'",
        "use the canonical link",
    ),
    "too many successes": (
        lambda: fg.binomial(5).encode(np.full((7, 3), 6), (7, 3)),
        "y = 6.0 at case 0",
        "the integers from 0 to 5",
    ),
    "a total that is wrong": (
        lambda: fg.multinomial(4).encode(np.ones((7, 3)), (7, 3)),
        "at case 0",
        "rows of whole numbers that sum to 4",
    ),
    "labels for counts": (lambda: fg.multinomial(4).encode(np.zeros(7), (7, 3)), "shape (7,)", "the model needs (7, 3)"),
    "a waiting time of 0": (lambda: fg.gamma.encode(np.zeros((7, 3)), (7, 3)), "y = 0.0 at case 0", "the positive real"),
    "a θ out of the domain": (
        lambda: fg.gamma.mean(np.array([-1.0, 0.5])),
        "gamma got natural parameter 0.5 at case 1",
        "(-∞, 0)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    contracts.is_refused(*REFUSED[name])


@pytest.mark.parametrize("name", ["zeta", "floor", "sign"])
def test_functions_that_numpy_lacks_are_refused_at_once(name):
    """One that is not there, one without a derivative, one with a delta in it."""
    link = fg.links.Link(name, lambda z: z + getattr(sympy, name)(z + 3))
    with pytest.raises(fg.InputError, match=r"cannot be evaluated on arrays .* functions that NumPy has") as caught:
        at(fg.gaussian, link, 0.0)()
    assert "\n" not in str(caught.value)

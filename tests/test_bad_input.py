"""Bad input: one line that names the culprit and the remedy, never a silent nan."""

from __future__ import annotations

from dataclasses import replace

import contracts
import numpy as np
import pytest

import fishergeo as fg

N, D, H = 7, 4, 3
RNG = np.random.default_rng(11)
X = RNG.normal(size=(N, D))
W = RNG.normal(size=(H, D))
NAN, INF = float("nan"), float("inf")


def model(normalizer=fg.batch_norm, family=fg.bernoulli, **options):
    return fg.GLM(family, normalizer, **options)


def params(m, units=H, inputs=D):
    return m.init(inputs=inputs, units=units, rng=1)


def natural(normalizer=fg.batch_norm, X=X, units=H, family=fg.bernoulli, change=lambda p: p):
    m = model(normalizer, family)
    return m.natural(change(params(m, units, np.shape(X)[-1] if np.ndim(X) > 1 else D)), X)


def likelihood(Y, family=fg.bernoulli):
    m = model(fg.batch_norm, family)
    return m.log_likelihood(params(m), X, Y)


def at(array, place, value):
    array = np.array(array, float)
    array[place] = value
    return array


def constant_column(k=2):
    """Inputs whose column k is constant, for statistics along the cases."""
    return at(X, (slice(None), k), 3.25)


def equal_units(p):
    return replace(p, weight=np.broadcast_to(p.weight[:1], p.weight.shape))


BERNOULLI_Y = RNG.integers(2, size=(N, H)).astype(float)

# what is done, and what the message must name: the culprit, and the remedy
CASES = {
    # --- arrays
    "inputs of one dimension": (lambda: natural(X=X[0]), "X has shape (4,)", "give (cases, inputs)"),
    "inputs of four dimensions": (lambda: natural(X=np.ones((2, 3, 5, D))), "(2, 3, 5, 4)", "give (cases, inputs)"),
    "no cases": (lambda: natural(X=np.ones((0, D))), "(0, 4)", "give (cases, inputs)"),
    "no features": (lambda: natural(X=np.ones((N, 0)), change=lambda p: p), "inputs=0", "an integer >= 1"),
    "inputs that are text": (lambda: natural(X=[["a", "b"]] * N), "type <U1", "give real numbers"),
    "inputs that are objects": (lambda: natural(X=np.array([[None] * D] * N)), "type object", "give real numbers"),
    "complex inputs": (lambda: natural(X=X + 1j), "type complex128", "give real numbers"),
    "nan in the inputs": (lambda: natural(X=at(X, (5, 2), NAN)), "X has a nan or inf at index (5, 2)", "drop or impute"),
    "inf in the inputs": (lambda: natural(X=at(X, (0, 3), -INF)), "X has a nan or inf at index (0, 3)", "drop or impute"),
    "nan in the weights": (
        lambda: natural(change=lambda p: replace(p, weight=at(p.weight, (1, 2), NAN))),
        "weight has a nan or inf at index (1, 2)",
        "drop or impute",
    ),
    "inf in the gain": (
        lambda: natural(change=lambda p: replace(p, gain=at(p.gain, 1, INF))),
        "gain has a nan or inf at index (1,)",
        "drop or impute",
    ),
    "weights of another width": (
        lambda: natural(change=lambda p: replace(p, weight=np.ones((H, D + 1)))),
        "weights have shape (3, 5) but X has 4 inputs",
        "give (units, 4)",
    ),
    "weights of one dimension": (
        lambda: natural(change=lambda p: replace(p, weight=np.ones(D))),
        "shape (4,)",
        "give (units, 4)",
    ),
    "bias of another length": (
        lambda: natural(change=lambda p: replace(p, bias=np.zeros(H + 1))),
        "bias and gain",
        "must have shape (3,)",
    ),
    "gain of another length": (
        lambda: natural(change=lambda p: replace(p, gain=np.ones(H + 2))),
        "bias and gain",
        "must have shape (3,)",
    ),
    "no gain where one is needed": (
        lambda: natural(change=lambda p: replace(p, gain=None)),
        "batch_norm needs a gain",
        "use model.init",
    ),
    "a gain where there is none": (
        lambda: natural(fg.identity, change=lambda p: replace(p, gain=np.ones(H))),
        "identity has no gain",
        "use model.init",
    ),
    "parameters that are a vector": (
        lambda: natural(change=lambda p: p.ravel()),
        "parameters are a ndarray",
        "give Params",
    ),
    "a vector of another length": (
        lambda: model().unravel(np.ones(17), units=H),
        "shape (17,) for 3 units",
        "must be H(D + 2)",
    ),
    "a number for a vector": (lambda: model().unravel(3.0, units=H), "shape ()", "must be H(D + 2)"),
    "a vector for no units": (lambda: model().unravel(np.ones(18), units=0), "for 0 units", "must be H(D + 2)"),
    "a vector too short for one input": (lambda: model().unravel(np.ones(6), units=3), "shape (6,)", "must be H(D + 2)"),
    "a model of no units": (lambda: model().init(inputs=4, units=0), "units=0", "an integer >= 1"),
    # --- sizes at which a normalizer degenerates
    "layer norm of two units": (lambda: natural(fg.layer_norm, units=2), "layer_norm got H=2", "use H >= 3"),
    "layer norm of one unit": (lambda: natural(fg.layer_norm, units=1), "H=1: one number is its own mean", "use H >= 3"),
    "RMS norm of one unit": (lambda: natural(fg.rms_norm, units=1), "rms_norm got H=1", "use H >= 2"),
    "batch norm of two cases": (lambda: natural(X=X[:2]), "batch_norm got N=2", "use N >= 3"),
    "batch norm of one case": (lambda: natural(X=X[:1]), "batch_norm got N=1", "use N >= 3"),
    "mean-only batch norm of one case": (
        lambda: natural(fg.mean_only_batch_norm, X=X[:1]),
        "mean_only_batch_norm got N=1",
        "use N >= 2",
    ),
    "weight norm of one input": (lambda: natural(fg.weight_norm, X=X[:, :1]), "weight_norm got D=1", "use D >= 2"),
    "weight standardization of two inputs": (
        lambda: natural(fg.weight_standardization, X=X[:, :2]),
        "weight_standardization got D=2",
        "use D >= 3",
    ),
    "input layer norm of two inputs": (
        lambda: natural(fg.input_layer_norm, X=X[:, :2]),
        "input_layer_norm got D=2",
        "use D >= 3",
    ),
    "input standardization of two cases": (
        lambda: natural(fg.input_standardization, X=X[:2]),
        "input_standardization got N=2",
        "use N >= 3",
    ),
    "positions where there are none": (
        lambda: natural(fg.Normalizer("instance_norm", summed=fg.Standardize(fg.Axis.POSITION))),
        "instance_norm standardizes along positions but X is (N, D)",
        "give X as (N, S, D)",
    ),
    # --- σ = 0
    "a constant input column": (
        lambda: natural(fg.input_standardization, X=constant_column()),
        "input_standardization: the entries at input 2 are constant along sample",
        "drop it or give eps > 0",
    ),
    "a constant summed input": (
        lambda: natural(X=np.broadcast_to(X[:1], X.shape)),
        "batch_norm: the entries at unit 0 are constant along sample (3 such)",
        "drop it or give eps > 0",
    ),
    "a unit without weights": (
        lambda: natural(change=lambda p: replace(p, weight=at(p.weight, 1, 0.0))),
        "batch_norm: the entries at unit 1 are constant along sample (1 such)",
        "drop it or give eps > 0",
    ),
    "units that are all equal": (
        lambda: natural(fg.layer_norm, change=equal_units),
        "layer_norm: the entries at sample 0 are constant along unit (7 such)",
        "drop it or give eps > 0",
    ),
    "a weight vector of norm 0": (
        lambda: natural(fg.weight_norm, change=lambda p: replace(p, weight=at(p.weight, 2, 0.0))),
        "weight_norm: the entries at unit 2 are constant along input (1 such)",
        "drop it or give eps > 0",
    ),
    "a case of zeros under RMS norm": (
        lambda: natural(fg.rms_norm, X=at(X, 4, 0.0)),
        "rms_norm: the entries at sample 4 are constant along unit (1 such)",
        "drop it or give eps > 0",
    ),
    "a constant column with eps outside the root": (
        lambda: natural(fg.input_standardization.with_eps(0.1, inside=False), X=constant_column(1)),
        "input_standardization: the spread at input 1 is constant",
        "put eps inside the root",
    ),
    "a constant up to rounding": (
        lambda: natural(fg.input_standardization, X=X + np.array([0, 1e17, 0, 0])),
        "input_standardization: the entries at input 1 are constant along sample",
        "drop it or give eps > 0",
    ),
    # --- observations
    "a label beyond the units": (
        lambda: likelihood([0, 1, 2, 3, 0, 1, 2], fg.categorical),
        "label 3 at case 3",
        "labels must be integers from 0 to 2",
    ),
    "a negative label": (
        lambda: likelihood([0, -1, 2, 0, 0, 1, 2], fg.categorical),
        "label -1 at case 1",
        "labels must be integers from 0 to 2",
    ),
    "a label that is no integer": (
        lambda: likelihood([0, 1, 0.5, 0, 0, 1, 2], fg.categorical),
        "label 0.5 at case 2",
        "labels must be integers from 0 to 2",
    ),
    "rows that are not one-hot": (
        lambda: likelihood(np.full((N, H), 1 / 3), fg.categorical),
        "at case 0",
        "its support is one-hot rows",
    ),
    "two hot entries": (
        lambda: likelihood(at(np.eye(H)[[0, 1, 2, 0, 1, 2, 0]], (5, 0), 1.0), fg.categorical),
        "at case 5",
        "its support is one-hot rows",
    ),
    "a bernoulli 2": (lambda: likelihood(at(BERNOULLI_Y, (6, 1), 2)), "y = 2.0 at case 6", "its support is 0 or 1"),
    "a bernoulli fraction": (
        lambda: likelihood(at(BERNOULLI_Y, (3, 0), 0.5)),
        "y = 0.5 at case 3",
        "its support is 0 or 1",
    ),
    "a negative count": (
        lambda: likelihood(at(BERNOULLI_Y, (2, 2), -1), fg.poisson),
        "y = -1.0 at case 2",
        "the integers 0, 1, 2",
    ),
    "half a count": (
        lambda: likelihood(at(BERNOULLI_Y, (4, 1), 1.5), fg.poisson),
        "y = 1.5 at case 4",
        "the integers 0, 1, 2",
    ),
    "a nan observed": (lambda: likelihood(at(BERNOULLI_Y, (5, 1), NAN)), "nan or inf at case 5", "drop or impute"),
    "an inf observed": (
        lambda: likelihood(at(BERNOULLI_Y, (1, 0), INF), fg.gaussian),
        "nan or inf at case 1",
        "drop or impute",
    ),
    "observations that are text": (lambda: likelihood(np.full((N, H), "yes")), "type <U3", "give numbers"),
    "observations of another shape": (lambda: likelihood(BERNOULLI_Y.T), "shape (3, 7)", "needs (7, 3)"),
    "labels for independent units": (lambda: likelihood([0, 1, 0, 0, 1, 1, 0]), "shape (7,)", "needs (7, 3)"),
    "observations of another length": (
        lambda: likelihood([0, 1, 2], fg.categorical),
        "shape (3,)",
        "needs (7, 3) or labels (7,)",
    ),
    "a nan straight into a normalizer": (
        lambda: fg.layer_norm(at(X, (2, 1), NAN), np.eye(5, D)),
        "layer_norm gives nan at index (2,",
        "drop, impute or rescale",
    ),
    # --- numbers that overflow
    "a mean that overflows": (
        lambda: natural(fg.identity, family=fg.poisson, change=lambda p: replace(p, bias=np.full(H, 800.0))),
        "poisson: case 0 has natural parameter 80",
        "shrink the weights",
    ),
    "a summed input that overflows": (
        lambda: natural(fg.identity, X=1e200 * X, change=lambda p: replace(p, weight=1e200 * p.weight)),
        "identity: overflow encountered in matmul",
        "rescale them",
    ),
    "a square that overflows": (
        lambda: natural(X=1e160 * X),
        "batch_norm: overflow encountered in",
        "rescale them",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name):
    contracts.is_refused(*CASES[name])


def test_input_errors_are_value_errors():
    assert issubclass(fg.InputError, ValueError)


@pytest.mark.parametrize("eps", [0.125, 1e-5])
def test_eps_inside_the_root_lifts_the_size_limits_and_takes_constants(eps):
    """What the messages recommend works."""
    for normalizer, change in ((fg.layer_norm, equal_units), (fg.batch_norm, lambda p: p)):
        m = model(normalizer.with_eps(eps))
        for array, units in ((X, H), (X[:1], 2), (np.ones((N, D)), 1)):
            p = change(params(m, units))
            assert np.isfinite(m.natural(p, array)).all()
            assert np.isfinite(fg.fisher(m, p, array).to_dense()).all()

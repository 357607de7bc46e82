"""The fast exact builder against products of the Jacobian, where pieces are many and every kernel is met."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import fishergeo as fg
from fishergeo import threads
from fishergeo.families import ZOO as FAMILIES
from fishergeo.information import exact, gram, joint, matrices, operator, parts, pieces, product, structure
from fishergeo.information.gram import Grams

S, A = fg.Standardize, fg.Axis
NORMALIZERS = (
    *fg.normalizers.ZOO,
    fg.compose(fg.weight_norm, fg.layer_norm),
    fg.compose(fg.batch_norm, fg.layer_norm),
    fg.compose(fg.weight_standardization, fg.batch_norm.with_eps(0.1), fg.layer_norm.with_eps(0.1, False)),
    fg.compose(fg.batch_norm, fg.batch_norm.with_eps(0.1, False)),
    fg.compose(fg.spectral_norm, fg.batch_norm),
    fg.compose(fg.spectral_norm, fg.layer_norm),
    fg.Normalizer("not centered", summed=(S(A.SAMPLE, center=False), S(A.UNIT, center=False))),
    fg.Normalizer("norm of the weights of a layer", weight=S((A.UNIT, A.INPUT), center=False, scale=fg.Scale.NORM)),
    fg.compose(fg.spectral_norm, fg.group_norm(2).with_eps(0.3, False)),
    fg.Normalizer("layer, not centered", summed=S((A.POSITION, A.UNIT), center=False)),
    fg.Normalizer("layer, not scaled", summed=S((A.POSITION, A.UNIT), scale=fg.Scale.NONE)),
    fg.Normalizer("layer, by the norm", summed=S((A.POSITION, A.UNIT), scale=fg.Scale.NORM, eps=0.1)),
    fg.Normalizer("offset and scale", summed=(S(A.SAMPLE, scale=fg.Scale.NONE), S(A.SAMPLE, center=False, eps=0.2))),
)


@pytest.fixture(params=["whole", "pieces"])
def blocks(request, monkeypatch):
    """Cases in one piece, or a few at a time with the kernel of many features."""
    if request.param == "pieces":
        monkeypatch.setattr(exact, "_BLOCK", 64)
        monkeypatch.setattr(product, "_ROWS", (14, 14))
        for module in (pieces, product):  # a piece is one small product, or two where stages on cases follow
            monkeypatch.setattr(module, "small", lambda size: 7)
        monkeypatch.setattr(joint, "_BLOCK", 64)
        monkeypatch.setattr(pieces, "_ROWS", 7)
        monkeypatch.setattr(Grams, "choose", staticmethod(lambda features, count: "updates"))
    return request.param


def setup(normalizer, family, shape, rng, offset=0.0):
    regular = family.joint or family.domain == fg.families.core.REALS
    link = None if regular else fg.links.log
    model = fg.GLM(family, normalizer, link=link, dispersion=0.7 if family.free_dispersion else 1)
    units = family.units or 6
    start = model.init(shape[-1], units, rng)
    p = model.unravel(start.ravel() + 0.2 * rng.normal(size=start.size), units)
    return model, p, rng.normal(size=shape) + offset


def usable(normalizer, family, positions):
    needs = any(stage.over == {A.POSITION} for _, stage in normalizer.stages)
    return (positions or not needs) and not (family.units or 6) % normalizer.multiples()[A.UNIT]


def gap(model, p, X, rng):
    fast = fg.fisher(model, p, X)
    assert isinstance(fast, matrices.ExactFisher | matrices.JointFisher)
    F, V = fast.reference.to_dense(), rng.normal(size=(p.size, 3))
    product = fast @ V  # before there is a dense matrix to multiply with
    dense = fast.to_dense()
    assert (dense == dense.T).all()
    return max(np.abs(dense - F).max(), np.abs(product - F @ V).max()) / np.abs(F).max()


@pytest.mark.parametrize("positions", [False, True], ids=["cases", "positions"])
@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=lambda n: n.name)
def test_the_factors_give_the_products_of_the_jacobian(normalizer, positions, blocks, rng):
    for family in FAMILIES:
        if not usable(normalizer, family, positions):
            continue
        model, p, X = setup(normalizer, family, (8, 5, 4) if positions else (12, 4), rng)
        assert gap(model, p, X, rng) < 1e-13, family.name


def test_stages_out_of_order_are_left_to_the_jacobian(rng):
    model, p, X = setup(fg.compose(fg.layer_norm, fg.batch_norm), fg.bernoulli, (12, 4), rng)
    assert not isinstance(fg.fisher(model, p, X), matrices.ExactFisher)


@pytest.mark.parametrize("offset", [1e3, 1e6])
@pytest.mark.parametrize("normalizer", [fg.batch_norm, fg.compose(fg.batch_norm, fg.layer_norm)], ids=lambda n: n.name)
def test_offsets_cost_batch_norm_no_digits(normalizer, offset, rng):
    model, p, X = setup(normalizer, fg.bernoulli, (40, 5), rng)
    near, far = (fg.fisher(model, p, inputs).to_dense() for inputs in (X, X + offset))
    lost = np.finfo(float).eps * offset * np.abs(X).max() * 30  # rounding of the inputs themselves
    assert np.abs(far - near).max() < lost * np.abs(near).max()


@pytest.mark.parametrize("kernel", ["products", "stripes", "updates"])
@pytest.mark.parametrize("signed", [False, True])
def test_weighted_gram_matrices(kernel, signed, rng, monkeypatch):
    monkeypatch.setattr(Grams, "choose", staticmethod(lambda features, count: kernel))
    for name, small in (("_ROWS", 30), ("_STRIPE", 3), ("_FORMED", 200)):
        monkeypatch.setattr(gram, name, small)
    phi, weights = rng.normal(size=(130, 7)), rng.normal(size=(4, 130))
    if not signed:
        weights = np.abs(weights)
    grams = Grams(7, 4)
    grams.add(phi[:77], weights[:, :77])
    grams.add(phi[77:], weights[:, 77:])
    found = np.stack(grams.matrices())
    assert (found == found.transpose(0, 2, 1)).all()
    assert np.abs(found - (phi.T * weights[:, None]) @ phi).max() < 1e-12


@pytest.mark.parametrize("cases", [300, 5000], ids=["by stripes", "by cases"])
@pytest.mark.parametrize("normalizer", [fg.batch_norm, fg.layer_norm], ids=lambda n: n.name)
def test_the_number_of_threads_changes_no_bit(normalizer, cases, rng, monkeypatch):
    model, p, X = setup(normalizer, fg.categorical, (cases, 40), rng)

    def build(count):
        with threadpool_limits(count, user_api="blas"):
            return fg.fisher(model, p, X).to_dense()

    monkeypatch.setattr(threads, "_WORTHWHILE", 0)
    np.testing.assert_array_equal(build(1), build(3))


@pytest.mark.parametrize("normalizer", [fg.identity, fg.batch_norm, fg.layer_norm], ids=lambda n: n.name)
@pytest.mark.parametrize("kernel", ["products", "stripes", "updates"])
def test_single_precision(normalizer, kernel, rng, monkeypatch):
    monkeypatch.setattr(Grams, "choose", staticmethod(lambda features, count: kernel))
    model, p, X = setup(normalizer, fg.categorical, (40, 5), rng)
    double, single = fg.fisher(model, p, X), fg.fisher(model, p, X, dtype=np.float32)
    v = rng.normal(size=p.size)
    for a, b in ((double.to_dense(), single.to_dense()), (double @ v, single @ v)):
        assert 1e-9 < np.abs(a - b).max() / np.abs(a).max() < 1e-5
    with pytest.raises(fg.InputError, match=r"dtype=.*int"):
        fg.fisher(model, p, X, dtype=int)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda chart: {"center": chart.center + 0.1},
        lambda chart: {"value": chart.value * 1.1},
        lambda chart: {"units": (structure.UnitStage(u.r, None, u.sigma, u.center) for u in chart.units)},
    ],
    ids=["center", "coefficients", "statistics not differentiated"],
)
def test_a_wrong_chart_is_noticed(wrong, rng, monkeypatch):
    model, p, X = setup(fg.batch_norm, fg.categorical, (12, 4), rng)
    right = parts.factors

    def broken(at):
        found = right(at)
        changes = {name: tuple(v) if name == "units" else v for name, v in wrong(found.chart).items()}
        return pieces.Factors(
            structure.replace(found.chart, **changes), found.X, found.hessian, found.value, found.stages
        )

    assert gap(model, p, X, rng) < 1e-13
    monkeypatch.setattr(parts, "factors", broken)
    assert gap(model, p, X, rng) > 1e-3


@pytest.mark.parametrize("family", [fg.bernoulli, fg.categorical], ids=lambda f: f.name)
def test_a_large_matrix_is_handed_over(family, rng, monkeypatch):
    model, p, X = setup(fg.batch_norm, family, (40, 5), rng)
    expected = fg.fisher(model, p, X).to_dense()
    monkeypatch.setattr(operator, "_KEPT", 10)
    fast = fg.fisher(model, p, X)
    given = fast.to_dense()
    given[0] = 7  # it belongs to the caller
    np.testing.assert_array_equal(fast.to_dense(), expected)
    assert "_dense" not in fast.__dict__

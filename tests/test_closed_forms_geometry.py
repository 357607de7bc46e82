"""The geometry of closed forms: eigenvalues, determinants, directions, layer norm with orthogonal weights, curvature."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import sympy
from sympy.polys.matrices import DomainMatrix
from test_closed_forms import N_INPUTS, UNITWISE, parameters, relative

import fishergeo as fg
from fishergeo import closed_forms as cf
from fishergeo.closed_forms.curvature import BIAS, RADIUS, Geometry, ScalarCurvature, _along_heat, _general
from fishergeo.closed_forms.orthogonal import ELL, D, H, g
from fishergeo.closed_forms.weights import fisher_weight, numeric_moments
from fishergeo.symbolic.curvature import PHI

# --- spectra and volumes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [fg.bernoulli, fg.poisson, fg.gaussian], ids=str)
@pytest.mark.parametrize("normalizer", UNITWISE, ids=lambda n: n.name)
def test_eigenvalues_of_a_unit(normalizer, family, rng):
    form = fg.closed_form(fg.GLM(family, normalizer))
    p = parameters(form.model, 1, rng)
    spectrum = cf.unit_spectrum(form)
    numbers = form.numbers(p)
    values = np.linalg.eigvalsh(form.to_dense(p))
    np.testing.assert_allclose(spectrum.at(numbers), values, atol=1e-12 * values[-1])
    big = values[values > 1e-12 * values[-1]]
    assert float(spectrum.determinant.subs(numbers)) == pytest.approx(np.prod(big), rel=1e-10)
    assert int(spectrum.nullity) == len(values) - len(big)
    assert "times" in spectrum.latex()


@pytest.mark.parametrize("family", [fg.bernoulli, fg.poisson, fg.gaussian], ids=str)
@pytest.mark.parametrize("normalizer", [fg.identity, fg.batch_norm], ids=lambda n: n.name)
def test_determinant_of_a_unit(normalizer, family, rng):
    form = fg.closed_form(
        fg.GLM(family, normalizer, dispersion=0.7 if family.free_dispersion else 1.0), fg.gaussian_inputs
    )
    p = parameters(form.model, 1, rng)
    root = rng.normal(size=(N_INPUTS, N_INPUTS))
    moments = rng.normal(size=N_INPUTS), root @ root.T / 4 + np.eye(N_INPUTS) / 4
    values = np.linalg.eigvalsh(form.to_dense(p, *moments))
    found = float(cf.unit_determinant(form).subs(form.numbers(p, 0, *moments)))
    assert found == pytest.approx(np.prod(values[values > 1e-12 * values[-1]]), rel=1e-9)


def test_the_determinant_lemma_for_three_inputs():
    """det(S - Sww'S/w'Sw + ww'/w'w) = det S w'w/w'Sw, as a polynomial identity."""
    w = sympy.Matrix([1, *sympy.symbols("w1:3")])  # both sides are homogeneous
    S = sympy.Matrix(3, 3, lambda i, j: sympy.Symbol(f"S{min(i, j)}{max(i, j)}"))
    q, length = (w.T * S * w)[0], (w.T * w)[0]
    left = DomainMatrix.from_Matrix((q * length * S - length * S * w * w.T * S + q * w * w.T).expand())
    right = left.domain.from_sympy(sympy.expand(S.det() * length**4 * q**2))
    assert left.det() == right


def test_directions_are_a_round_sphere(rng):
    root = rng.normal(size=(N_INPUTS, N_INPUTS))
    S = root @ root.T
    form = fg.closed_form(fg.GLM(fg.gaussian, fg.batch_norm, dispersion=0.7), fg.any_inputs)
    v, w = rng.normal(size=(2, N_INPUTS))
    p = fg.Params(v[None], np.zeros(1), np.full(1, -1.3))
    radius = float(cf.radius(form).subs(form.numbers(p, 0, np.zeros(N_INPUTS), S)))
    assert radius == pytest.approx(1.3 / math.sqrt(0.7), rel=1e-14)
    steps = 400  # the great circle of S^½w, in small steps measured by F
    angle = cf.angle(v, w, S)
    a, b = (u / np.sqrt(u @ S @ u) for u in (v, w))
    b = (b - (a @ S @ b) * a) / math.sin(angle)
    path = [math.cos(x) * a + math.sin(x) * b for x in np.linspace(0, angle, steps + 1)]
    length = 0.0
    for start, end in itertools.pairwise(path):
        middle = fg.Params(((start + end) / 2)[None], p.bias, p.gain)
        F = form.block("weight", "weight").lambdify()(middle, np.zeros(N_INPUTS), S)[0, 0]
        length += math.sqrt((end - start) @ F @ (end - start))
    assert length == pytest.approx(radius * angle, rel=1e-5)
    assert cf.angle(v, 3 * v, S) == pytest.approx(0, abs=1e-12)
    with pytest.raises(fg.InputError, match="round sphere"):
        cf.radius(fg.closed_form(fg.GLM(fg.gaussian, fg.weight_norm), fg.any_inputs))
    with pytest.raises(fg.InputError, match="not positive definite"):
        cf.angle(v, w, np.zeros((N_INPUTS, N_INPUTS)))


@pytest.mark.parametrize("size", [2, 3])
def test_the_volume_of_directions_does_not_depend_on_the_covariance(size, rng):
    root = rng.normal(size=(size, size))
    density = cf.direction_density(root @ root.T + np.eye(size) / 4)
    turns = 2 * np.pi * np.arange(400) / 400
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    if size == 2:
        mean = density(circle).mean()
    else:
        heights, weight = np.polynomial.legendre.leggauss(80)
        rings = np.sqrt(1 - heights**2)[:, None, None] * circle
        points = np.concatenate([rings, np.broadcast_to(heights[:, None, None], (80, 400, 1))], axis=-1)
        mean = density(points).mean(axis=1) @ weight / 2
    assert mean == pytest.approx(1, rel=1e-9)


# --- layer norm with orthogonal weights ------------------------------------------------------------------------------


def isotropic(frame: np.ndarray, seen: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Cases whose seen part has the directions of a 24-cell (a design of order 5), the rest white at each of them."""
    cell = [v for v in itertools.product((-1, 0, 1), repeat=4) if sum(map(abs, v)) == 2]
    lengths = lengths * np.sqrt(2 * np.mean(1 / lengths**2))  # E[1/length²] = 1/(m - 2) with m = 4
    other = np.linalg.svd(frame.T @ seen)[2][4:]
    signs = np.sqrt(len(other)) * np.concatenate([other, -other])
    return np.concatenate([r * np.array(cell) / np.sqrt(2) @ frame.T @ seen + o for r in lengths for o in signs])


@pytest.mark.parametrize(("family", "link"), [(fg.gaussian, None), (fg.gamma, fg.links.log)], ids=["gaussian", "gamma"])
@pytest.mark.parametrize("normalizer", [fg.layer_norm, fg.rms_norm], ids=lambda n: n.name)
def test_orthogonal_weights_exactly(normalizer, family, link, rng):
    units = 4 + (normalizer is fg.layer_norm)
    inputs = units + 2
    model = fg.GLM(family, normalizer, link=link, dispersion=0.7)
    form = cf.orthogonal_form(model)
    rows = np.linalg.qr(rng.normal(size=(inputs, inputs)))[0][:units]
    center = np.eye(units) - (1 / units if normalizer is fg.layer_norm else 0)
    frame = np.linalg.eigh(center)[1][:, -4:]
    p = fg.Params(1.7 * rows, rng.normal(size=units), np.full(units, 1.3))
    X = isotropic(frame, rows, np.array([1.0, 1.5, 2.5]))
    F = fg.fisher(model, p, X).to_dense().reshape(units, inputs + 2, units, inputs + 2)[:, :inputs, :, :inputs]
    found = form.evaluate(p)
    assert relative(found, F.transpose(0, 2, 1, 3)) < 1e-12
    values = np.linalg.eigvalsh(F.reshape(units * inputs, -1))
    expected = form.spectrum.at({g: 1.3, ELL: 1.7, PHI: 0.7, H: units, D: inputs})
    np.testing.assert_allclose(values, expected, atol=1e-12 * values[-1])
    nullity = inputs + 1 if normalizer is fg.layer_norm else 1  # as for generic weights
    assert int(form.spectrum.nullity.subs({H: units, D: inputs})) == nullity
    assert r"C_{i j}" in form.latex()


def test_orthogonal_weights_refused(rng):
    form = cf.orthogonal_form(fg.GLM(fg.gaussian, fg.layer_norm))
    eye = np.eye(5, 6)
    with pytest.raises(fg.InputError, match="orthogonal weight vectors"):
        form.evaluate(fg.Params(eye + 0.1, np.zeros(5), np.ones(5)))
    with pytest.raises(fg.InputError, match="orthogonal weight vectors"):
        form.evaluate(fg.Params(eye, np.zeros(5), np.arange(5.0)))
    with pytest.raises(fg.InputError, match="needs 4 <= H <= D"):
        form.evaluate(fg.Params(np.eye(3, 6), np.zeros(3), np.ones(3)))
    with pytest.raises(fg.InputError, match="for layer_norm and rms_norm"):
        cf.orthogonal_form(fg.GLM(fg.gaussian, fg.batch_norm))
    with pytest.raises(fg.InputError, match="would have to be constant"):
        cf.orthogonal_form(fg.GLM(fg.bernoulli, fg.rms_norm))


# --- curvature -------------------------------------------------------------------------------------------------------


def numeric_curvature(metric, at: np.ndarray, step: float = 1e-2) -> float:
    """R of a numeric metric by central differences of order 6, from Γ and its derivatives."""
    weights = {k: c / 60 for k, c in ((1, 45), (2, -9), (3, 1))}
    size = len(at)

    def slope(f, x):
        shifts = step * np.eye(size)
        return np.stack([sum(c * (f(x + k * e) - f(x - k * e)) for k, c in weights.items()) / step for e in shifts])

    def gamma(x):
        d = slope(metric, x)  # d[l, i, j] = ∂_l g_ij
        first = (np.einsum("ijl->lij", d) + np.einsum("jil->lij", d) - d) / 2
        return np.einsum("kl,lij->kij", np.linalg.inv(metric(x)), first)

    G, dG = gamma(at), slope(gamma, at)
    ricci = np.einsum("iijk->jk", dG) - np.einsum("jiik->jk", dG)
    ricci += np.einsum("iip,pjk->jk", G, G) - np.einsum("ijp,pik->jk", G, G)
    return float(np.einsum("jk,jk->", np.linalg.inv(metric(at)), ricci))


def test_curvatures_that_are_known():
    theta, psi, r, s, mu = sympy.symbols("theta psi r s mu", positive=True)
    ball = [[1, 0, 0], [0, sympy.sin(theta) ** 2, 0], [0, 0, sympy.sin(theta) ** 2 * sympy.sin(psi) ** 2]]
    assert fg.scalar_curvature([[1, 0], [0, sympy.sin(theta) ** 2]], [theta, psi]) == 2
    assert fg.scalar_curvature(ball, [theta, psi, mu]) == 6
    assert fg.scalar_curvature([[1 / s**2, 0], [0, 2 / s**2]], [mu, s]) == -1
    assert fg.scalar_curvature([[1, 0], [0, r**2]], [r, theta]) == 0
    assert fg.scalar_curvature([[r**3]], [r]) == 0
    for metric, names, message in (
        ([[1, 0], [0, 1]], [r], "give as many symbols"),
        ([[1, r], [0, 1]], [r, s], "not symmetric or is singular"),
        ([[1, 1], [1, 1]], [r, s], "not symmetric or is singular"),
    ):
        with pytest.raises(fg.InputError, match=message):
            fg.scalar_curvature(metric, names)
    written = ScalarCurvature(mu, s, 1 / s**2, 0, 0, 2 / s**2)
    assert written.carry_out(()) == -1 and sympy.latex(written) == r"\mathcal{R}"


def test_curvature_agrees_with_finite_differences(rng):
    u, v, w = sympy.symbols("u v w", real=True)
    metric = sympy.Matrix([[2 + v**2, u, 0], [u, 3 + w**2, 0], [0, 0, 4 + u]])
    at = np.array([0.3, 0.5, 0.2])
    exact = float(fg.scalar_curvature(metric, [u, v, w]).subs(dict(zip((u, v, w), at))))
    compiled = sympy.lambdify((u, v, w), metric, "numpy")
    assert numeric_curvature(lambda x: np.array(compiled(*x), float), at) == pytest.approx(exact, rel=1e-7)


@pytest.mark.parametrize("inputs", [1, 2, 3])
@pytest.mark.parametrize("family", [fg.bernoulli, fg.poisson], ids=str)
def test_curvature_of_a_unit(family, inputs):
    """The formula for any number of inputs against finite differences of the metric in polar coordinates."""
    weight = fisher_weight(family)

    def metric(x):
        zero, one, two = (float(k) for k in numeric_moments(weight, x[1], x[0]))
        around = [x[0] ** 2 * zero, x[0] ** 2 * zero * math.sin(x[-1]) ** 2][: inputs - 1]
        out = np.diag([two, zero, *around[::-1]])
        out[0, 1] = out[1, 0] = one
        return out

    at = np.array([1.1, 0.3, 0.4, 0.9][: 1 + inputs])
    found = cf.white_curvature(fg.GLM(family, fg.batch_norm)).at(1.1, 0.3, inputs)
    assert numeric_curvature(metric, at, 0.02) == pytest.approx(found, rel=1e-6, abs=1e-8)


def test_curvature_in_closed_form():
    size, g_, b = sympy.Symbol("D", positive=True, integer=True), RADIUS, BIAS
    poisson = cf.white_curvature(fg.GLM(fg.poisson)).expr
    assert sympy.simplify(poisson + size * (size - 1) * sympy.exp(-b - g_**2 / 2) / 4) == 0
    assert cf.white_curvature(fg.GLM(fg.gaussian, fg.weight_norm)).expr == 0
    assert cf.white_curvature(fg.GLM(fg.gamma, link=fg.links.log)).expr == 0
    wide = cf.white_curvature(fg.GLM(fg.inverse_gaussian, link=fg.links.log, dispersion=2.0)).at(1.1, 0.3, 3)
    assert wide == pytest.approx(2 * cf.white_curvature(fg.GLM(fg.inverse_gaussian, link=fg.links.log)).at(1.1, 0.3, 3))
    with pytest.raises(fg.InputError, match="identity, batch_norm and weight_norm"):
        cf.white_curvature(fg.GLM(fg.gaussian, fg.layer_norm))


def test_curvature_of_every_heat_flow():
    """The general formula on κ₀ = Σ c exp(λb + λ²g²/2), which solves ∂κ₀/∂g = g ∂²κ₀/∂b², against the metric itself."""
    g_, b, theta = RADIUS, BIAS, sympy.Symbol("theta", positive=True)
    h = sympy.exp(b + g_**2 / 2) + 2 * sympy.exp(-2 * b + 2 * g_**2)
    assert sympy.expand(h.diff(g_) - g_ * h.diff(b, 2)) == 0
    metric = sympy.diag(sympy.Matrix([[h + g_**2 * h.diff(b, 2), g_ * h.diff(b)], [g_ * h.diff(b), h]]), g_**2 * h)
    at = np.array([0.6, 0.1, 0.4])
    compiled = sympy.lambdify((g_, b, theta), metric, "numpy")
    numeric = numeric_curvature(lambda x: np.array(compiled(*x), float), at)
    jet = {sympy.Symbol(f"h{k}", real=True): h.diff(b, k) for k in range(9)}
    size = sympy.Symbol("D", positive=True, integer=True)
    found = _general()[1].subs(size, 2).subs(jet).subs({g_: at[0], b: at[1]})
    assert numeric == pytest.approx(float(found), rel=1e-7)
    jets = sympy.symbols("h0:9", real=True)
    assert _along_heat(jets[1] * g_, g_) == jets[1] + g_**2 * jets[3]
    assert Geometry(sympy.eye(2), (g_, b)).scalar == 0

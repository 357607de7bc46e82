"""Small batches on which means over Gaussian inputs are exact, to compare closed forms with the numeric operator."""

from __future__ import annotations

import itertools

import numpy as np

import fishergeo as fg
from fishergeo.closed_forms import ClosedForm, OrthogonalForm, unit_determinant, unit_spectrum
from fishergeo.levels import Level
from fishergeo.symbolic.certainty import Certificate, FalseStep

TOLERANCE = 1e-12


def split_batch(w: np.ndarray, xi: np.ndarray) -> np.ndarray:
    """White inputs whose part along w is xi, and whose other part has, at every xi, mean 0 and covariance I - ŵŵᵀ."""
    basis = np.linalg.qr(np.column_stack([w, np.eye(len(w))]))[0]
    along, across = w / np.linalg.norm(w), np.sqrt(len(w) - 1) * basis[:, 1 : len(w)].T
    signs = np.concatenate([across, -across])
    return (xi[:, None, None] * along + signs[None]).reshape(-1, len(w))


def agrees_when_white(form: ClosedForm) -> Certificate:
    """Compare a closed form for white inputs, and its eigenvalues, with the operator; κ are means over a few xi."""
    rng, inputs = np.random.default_rng(0), 4
    xi = rng.normal(size=12)
    xi = (xi - xi.mean()) / xi.std()
    start = form.model.init(inputs=inputs, units=1, rng=rng)
    p = form.model.unravel(start.ravel() + 0.3 * rng.normal(size=start.size), 1)
    X = split_batch(p.weight[0], xi)
    F, detail = fg.fisher(form.model, p, X).to_dense(), f"N = {len(X)}, D = {inputs}, H = 1"
    _compare(unit_spectrum(form).at(form.numbers(p, xi=xi)), np.linalg.eigvalsh(F), detail)
    return _compare(form.to_dense(p, xi=xi), F, detail)


def agrees_when_orthogonal(form: OrthogonalForm) -> Certificate:
    """Compare the weight block with the operator: the directions are the 24-cell, a design of order 5 on the sphere."""
    rng, m = np.random.default_rng(0), 4
    cell = [v for v in itertools.product((-1, 0, 1), repeat=m) if sum(map(abs, v)) == 2]
    units, inputs = m + form.centered, m + 3
    frame = np.linalg.qr(np.column_stack([np.ones(units), rng.normal(size=(units, units))]))[0][:, units - m : units]
    rows = np.linalg.qr(rng.normal(size=(inputs, inputs)))[0]
    weight = 1.7 * rows[:units]
    seen, rest = np.array(cell) / np.sqrt(2) @ frame.T @ rows[:units], _complement(frame.T @ rows[:units])
    lengths = np.array([1.0, 1.5, 2.5])
    lengths *= np.sqrt((m - 2) * np.mean(1 / lengths**2))  # so that the mean of 1/length² is 1/(m - 2)
    others = np.sqrt(len(rest)) * np.concatenate([rest, -rest])
    X = np.concatenate([length * seen + other for length in lengths for other in others])
    p = fg.Params(weight, rng.normal(size=units), np.full(units, 1.3))
    size = inputs + 2
    F = fg.fisher(form.model, p, X).to_dense().reshape(units, size, units, size)[:, :inputs, :, :inputs]
    detail = f"N = {len(X)}, D = {inputs}, H = {units}"
    block = form.evaluate(p).transpose(0, 2, 1, 3)
    values = np.linalg.eigvalsh(F.reshape(units * inputs, -1))
    _compare(form.spectrum.at(form.numbers(p)), values, detail)
    return _compare(block, F, detail)


def agrees_on_determinant(form: ClosedForm) -> Certificate:
    """Compare the product of the eigenvalues that are not 0 with the formula, at a random covariance."""
    rng, inputs = np.random.default_rng(0), 5
    start = form.model.init(inputs=inputs, units=1, rng=rng)
    p = form.model.unravel(start.ravel() + 0.3 * rng.normal(size=start.size), 1)
    root = rng.normal(size=(inputs, inputs))
    moments = rng.normal(size=inputs), root @ root.T + np.eye(inputs)
    values = np.linalg.eigvalsh(form.to_dense(p, *moments))
    product = np.prod(values[values > 1e-12 * values[-1]])
    found = float(unit_determinant(form).subs(form.numbers(p, 0, *moments)))
    return _compare(np.array([found]), np.array([product]), f"D = {inputs}")


def _complement(rows: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what is orthogonal to orthonormal rows."""
    return np.linalg.svd(rows)[2][len(rows) :]


def _compare(found: np.ndarray, expected: np.ndarray, detail: str) -> Certificate:
    gap = np.abs(found - expected).max() / np.abs(expected).max()
    if not gap <= TOLERANCE:
        raise FalseStep(f"a closed form differs from the operator by {gap:.3g}, {detail}")
    return Certificate(Level.NUMERIC, f"tolerance {TOLERANCE:g}, {detail}")

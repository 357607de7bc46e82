"""Normalizers given as functions: derivatives, verdicts in numbers, and their labels."""

from __future__ import annotations

import contracts
import numpy as np
import pytest

import fishergeo as fg
from fishergeo.invariance.proof import prove
from fishergeo.levels import Level
from fishergeo.transformations import TRANSFORMATIONS


def root_mean_square(a):
    return a / np.sqrt((a * a).mean(axis=-1, keepdims=True))


def batch(a):
    c = a - a.mean(axis=0, keepdims=True)
    return c / np.sqrt((c * c).mean(axis=0, keepdims=True))


def modulus(a):
    """Not analytic: the complex step would see nothing of |a|."""
    return a / np.sqrt((np.abs(a) ** 2).mean(axis=-1, keepdims=True))


def per_case(a):
    """Instance norm on (N, S, H)."""
    c = a - a.mean(axis=1, keepdims=True)
    return c / np.sqrt((c * c).mean(axis=1, keepdims=True))


RMS_OF_INPUTS = fg.Normalizer("rms_of_inputs", inputs=fg.Standardize(fg.Axis.INPUT, center=False))
TWINS = [
    (fg.Normalizer("my_rms", summed=root_mean_square), fg.rms_norm),
    (fg.Normalizer("my_batch", summed=batch), fg.batch_norm),
    (fg.Normalizer("my_modulus", summed=modulus), fg.rms_norm),
    (fg.Normalizer("my_instance", summed=fg.Opaque(per_case, fg.Axis.POSITION)), fg.instance_norm),
    (fg.Normalizer("my_inputs", inputs=root_mean_square), RMS_OF_INPUTS),
]


@pytest.mark.parametrize(("mine", "twin"), TWINS, ids=lambda n: n.name)
def test_verdicts_are_those_of_the_formula_and_labelled(mine, twin):
    for transformation in TRANSFORMATIONS:
        verdict, expected = prove(mine, transformation), prove(twin, transformation)
        assert verdict.invariant == expected.invariant, transformation.name
        assert verdict.level is Level.NUMERIC
        assert "in numbers" in repr(verdict)
        assert not repr(verdict).endswith(",")
        assert ("δ > 0" in verdict.conditions) == ("δ > 0" in expected.conditions)
        assert expected.level is (Level.PROVED if expected else Level.EXACT)


@pytest.mark.parametrize(("mine", "twin"), TWINS, ids=lambda n: n.name)
def test_fisher_matrix_is_that_of_the_formula(mine, twin, rng):
    shape = (6, 5, 4) if twin.tells_positions_apart else (6, 4)
    X = rng.normal(size=shape)
    p = fg.GLM(fg.bernoulli, twin).init(inputs=4, units=3, rng=rng)
    F, expected = (fg.fisher(fg.GLM(fg.bernoulli, n), p, X).to_dense() for n in (mine, twin))
    contracts.close(F, expected, 1e-9 if mine.name == "my_modulus" else 1e-12)


@pytest.mark.parametrize(("mine", "twin"), TWINS, ids=lambda n: n.name)
def test_observed_information_is_that_of_the_formula(mine, twin, rng):
    X = rng.normal(size=(6, 5, 4) if twin.tells_positions_apart else (6, 4))
    models = [fg.GLM(fg.bernoulli, n, link=fg.links.cloglog) for n in (mine, twin)]
    p = models[1].init(inputs=4, units=3, rng=rng)
    Y = models[1].sample(p, X, rng)
    found, expected = (fg.observed_fisher(model, p, X, Y) for model in models)
    contracts.close(found.to_dense(), expected.to_dense(), 1e-7)
    v = rng.normal(size=p.size)
    contracts.close(found @ v, expected @ v, 1e-7)


def test_table_tells_numbers_from_proofs():
    table = fg.invariance_table([fg.rms_norm, TWINS[0][0]], [fg.case_rescaling, fg.dataset_recentering])
    assert table.rows("✓", "·") == [["✓", "·"], ["≈", "·"]]
    for text in (table.to_markdown(), table._repr_html_(), repr(table)):
        assert "≈" in text
    assert r"$\approx$" in table.to_latex()
    assert "in numbers" in repr(fg.fisher_scaling(TWINS[0][0], fg.weight_matrix_rescaling))


def test_a_change_that_is_neither_rounding_nor_clear_is_undecided():
    nearly = fg.Normalizer("nearly", summed=lambda a: root_mean_square(a) * (1 + 1e-7 * np.tanh(a)))
    with pytest.raises(fg.Undecided, match="neither rounding nor clear"):
        prove(nearly, fg.case_rescaling)


class Running:
    """Keeps an average of what it has seen."""

    def __init__(self):
        self.mean = 0

    def __call__(self, a):
        self.mean = 0.9 * self.mean + 0.1 * a.mean(axis=0)
        return a - self.mean


def fails(a):
    raise RuntimeError("out of order")


RANDOM = np.random.default_rng(0)
BAD = {
    "another shape": (lambda a: a.sum(axis=-1), "of shape (", "in the same shape"),
    "a nan": (lambda a: a * np.nan, "finite numbers", "in the same shape"),
    "yes and no": (lambda a: a > 0, "type bool", "finite numbers"),
    "text": (lambda a: a.astype(str), "type <U32", "finite numbers"),
    "nothing": (lambda a: None, "type object", "finite numbers"),
    "masked": (lambda a: np.ma.masked_less(a, 0), "of shape (", "finite numbers"),
    "fewer digits": (lambda a: root_mean_square(a).astype(np.float32), "float32 from float64", "compute in the type"),
    "two arguments": (lambda a, eps: a, "missing 1 required positional argument", "that array alone"),
    "an error of its own": (fails, "RuntimeError: out of order", "that array alone"),
    "random numbers": (lambda a: a + RANDOM.normal(size=a.shape), "another result", "random"),
    "running statistics": (Running(), "another result", "fg.Frozen"),
}


@pytest.mark.parametrize("name", BAD)
def test_results_that_cannot_be_used(name, rng):
    function, culprit, remedy = BAD[name]
    mine = fg.Normalizer("mine", summed=function)
    contracts.is_refused(lambda: mine(rng.normal(size=(6, 4)), rng.normal(size=(3, 4))), culprit, remedy)
    contracts.is_refused(lambda: prove(mine, fg.case_rescaling), culprit, remedy)
    assert not fg.check(mine)


def in_place(a):
    a -= a.mean(axis=-1, keepdims=True)
    a /= np.sqrt((a * a).mean(axis=-1, keepdims=True))
    return a


def row_by_row(a):
    """Real arrays of its own: complex numbers lose their imaginary part."""
    out = np.zeros(a.shape)
    for row, given in zip(out, a, strict=True):
        row[:] = given / np.sqrt(np.sum(given**2))
    return out


PLAUSIBLE = {  # functions with kinks and jumps, that change their argument, that know two axes only; and what stays
    "largest modulus": (lambda a: a / np.abs(a).max(axis=-1, keepdims=True), "case_rescaling", "dataset_recentering"),
    "sum of moduli": (lambda a: a / np.abs(a).sum(axis=-1, keepdims=True), "case_rescaling", "summed_input_shift"),
    "median": (lambda a: a - np.median(a, axis=-1, keepdims=True), "summed_input_shift", "case_rescaling"),
    "ranks": (lambda a: np.argsort(np.argsort(a, axis=-1), axis=-1), "case_rescaling", "weight_vector_rescaling"),
    "signs": (np.sign, "case_rescaling", "sign_flip"),
    "rectified": (lambda a: np.maximum(a, 0), "unit_permutation", "case_rescaling"),
    "clipped": (lambda a: np.clip(a, -1, 1), "unit_permutation", "weight_matrix_rescaling"),
    "in place": (in_place, "summed_input_shift", "weight_vector_rescaling"),
    "row by row": (row_by_row, "case_rescaling", "summed_input_shift"),
    "lists": (lambda a: root_mean_square(a).tolist(), "case_rescaling", "summed_input_shift"),
    "mean and variance": (
        lambda a: (a - np.mean(a, 0, keepdims=True)) / np.sqrt(np.var(a, 0, keepdims=True) + 1e-5),
        "dataset_recentering",
        "weight_matrix_rescaling",
    ),
    "a matrix": (lambda a: a / np.linalg.norm(a, axis=1).reshape(a.shape[0], 1), "case_rescaling", "summed_input_shift"),
    "one number": (lambda a: a / float(np.sqrt((a * a).mean())), "dataset_rescaling", "case_rescaling"),
}


@pytest.mark.parametrize("name", PLAUSIBLE)
def test_functions_that_a_user_may_write(name):
    function, kept, broken = PLAUSIBLE[name]
    mine = fg.Normalizer(name.replace(" ", "_"), summed=function)
    stays, changes = (prove(mine, getattr(fg, transformation)) for transformation in (kept, broken))
    assert stays and not changes
    assert stays.level is changes.level is Level.NUMERIC
    assert changes.witness is not None
    result = fg.check(mine)
    assert result, result
    assert "proofs" not in repr(result)


def test_a_kink_has_no_derivative():
    """At a kink only derivatives from either side exist: said, not averaged; next to it there is one."""
    X, W = np.eye(4), np.array([[1.0, 2, 0, -1], [3, 1, 2, -2], [1, 1, 1, 1]])
    for function, at_kink in ((lambda a: np.maximum(a, 0), (0, 2)), (lambda a: a / np.abs(a).max(axis=0), None)):
        mine = fg.Normalizer("mine", summed=function)
        moved = W.copy()
        if at_kink is None:
            moved[:, 3] = (2, -2, 1)
            X[3] = (0, 0, 0, 1)
            mine = fg.Normalizer("mine", summed=lambda a: a / np.abs(a).max(axis=-1, keepdims=True))
        contracts.is_refused(lambda m=mine, w=moved: m(X, w).vjp(np.ones((4, 3))), "a kink or a jump", "move the weights")
        near = moved + 1e-5 * np.arange(12.0).reshape(3, 4)
        dW = np.linspace(-1, 1, 12).reshape(3, 4)
        h = 1e-9
        slope = (mine(X, near + h * dW).value - mine(X, near - h * dW).value) / (2 * h)
        contracts.close(mine(X, near).jvp(dW), slope, 1e-6)


def test_what_needs_a_formula_or_too_many_numbers_is_refused(rng):
    mine = TWINS[0][0]
    contracts.is_refused(lambda: fg.fisher_block(mine, "weight", "gain"), "no formula", "fg.Standardize")
    contracts.is_refused(lambda: fg.eps_defect(mine, fg.case_rescaling), "which is given by a function", "fg.Standardize")
    contracts.is_refused(lambda: fg.Opaque(3), "function=3", "give a function")
    X, W = rng.normal(size=(1000, 4)), rng.normal(size=(3, 4))
    contracts.is_refused(lambda: mine(X, W).vjp(np.ones((1000, 3))), "3000 numbers", "use less data")


@pytest.mark.parametrize(("mine", "twin"), TWINS, ids=lambda n: n.name)
def test_contracts_hold_of_functions(mine, twin):
    result = fg.check(mine)
    assert result, result
    assert "proofs" not in repr(result)


def test_contracts_find_a_wrong_derivative(monkeypatch):
    done = type(TWINS[0][0](np.eye(4), np.ones((3, 4)) + np.eye(3, 4)).summed[0])
    tangent = done.tangent
    monkeypatch.setattr(done, "tangent", lambda self, dt: 1.01 * tangent(self, dt))
    result = fg.check(TWINS[0][0])
    assert not result
    assert not result.results[0].passed


def test_formulas_of_a_function_are_refused_by_its_name():
    def halved(a):
        return a / 2

    with pytest.raises(fg.InputError, match=r"halved.* no formula is known"):
        fg.fisher_block(fg.Normalizer("ours", summed=halved), "weight", "weight")

"""The dimension-generic Fisher blocks: against the numeric operator, against exact small models, and as shown."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import sympy
from cases import (
    ALL,
    CASES_WITH_POSITIONS,
    PLAIN,
    SIZES,
    Case,
    admissible,
    each_case,
    each_case_and_family,
    random_composition,
)

import fishergeo as fg
from fishergeo.families import FAMILIES, Family
from fishergeo.information.operator import Metric
from fishergeo.symbolic.arrays import EXACT, FLOATS, Evaluator, exact_fisher, exact_jacobian
from fishergeo.symbolic.atoms import INPUT, atoms
from fishergeo.symbolic.blocks import PARTS, FisherBlock, fisher_block
from fishergeo.symbolic.curvature import MEAN, PHI, curvature, k, variance_function
from fishergeo.symbolic.exact import differs
from fishergeo.symbolic.groups import LargestEigenvalue
from fishergeo.symbolic.jacobian import GAIN, derivative, h
from fishergeo.symbolic.rules import Partial, Rule, vanishes
from fishergeo.symbolic.sums import I, J, canonical, over, rename

N, D, H = SIZES


def pairs(normalizer: fg.Normalizer, once: bool = False) -> list[tuple[str, str]]:
    """The blocks of the Fisher matrix; ``once`` leaves out those that are the transposes of others."""
    parts = PARTS if normalizer.has_gain else PARTS[:2]
    return [(row, column) for i, row in enumerate(parts) for column in parts[i if once else 0 :]]


def model_at(
    normalizer: fg.Normalizer, family: Family, rng: np.random.Generator, inputs: int = D, units: int = H, phi: float = 1.0
) -> tuple[fg.GLM, fg.Params]:
    model = fg.GLM(family, normalizer, dispersion=phi)
    start = model.init(inputs=inputs, units=units, rng=rng)
    return model, model.unravel(start.ravel() + 0.4 * rng.normal(size=start.size), units)


def gap(block: FisherBlock, model: fg.GLM, p: fg.Params, X: np.ndarray, F: Metric | None = None) -> float:
    """How far a block is from the numeric operator, relative to the largest entry of the Fisher matrix."""
    F = F or fg.fisher(model, p, X)
    found = block.lambdify()(model, p, X)
    inputs = p.inputs
    place = {"weight": slice(inputs), "bias": inputs, "gain": inputs + 1}
    entries = [
        np.abs(found[i, j] - F.block(i, j)[place[block.row], place[block.column]]).max()
        for i, j in np.ndindex(p.units, p.units)
    ]
    return max(entries) / np.abs(F.to_dense()).max()


@each_case_and_family(CASES_WITH_POSITIONS)
def test_blocks_agree_with_the_operator(case: Case, family: Family, phi: float, inputs, rng) -> None:
    X = inputs(case)
    model, p = model_at(case.normalizer, family, rng, X.shape[-1], phi=phi)
    F = fg.fisher(model, p, X)
    for row, column in pairs(case.normalizer, once=family is not fg.bernoulli):
        assert gap(fisher_block(case.normalizer, row, column, family), model, p, X, F) < 1e-13, (row, column)
    anything = fisher_block(case.normalizer, "weight", "weight")
    assert gap(anything, model, p, X, F) < 1e-13


@each_case([case for case in ALL if case.name != "stepwise_batch_norm"])  # its blocks are those of one position
def test_blocks_with_positions(case: Case, X_positions: np.ndarray, rng: np.random.Generator) -> None:
    model, p = model_at(case.normalizer, fg.bernoulli, rng, X_positions.shape[-1])
    for row, column in pairs(case.normalizer):
        block = fisher_block(case.normalizer, row, column, fg.bernoulli)
        assert gap(block, model, p, X_positions) < 1e-13, (row, column)


@pytest.mark.parametrize("rich", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_blocks_of_random_compositions(seed: int, rich: bool, rng: np.random.Generator) -> None:
    case = random_composition(np.random.default_rng(seed), f"random {seed}", axes="nhd", eps=(0, 0.125), rich=rich)
    samples, inputs, units = admissible(case.normalizer, SIZES)
    model, p = model_at(case.normalizer, fg.categorical, rng, inputs, units)
    X = rng.normal(size=(samples, inputs))
    for row, column in (("weight", "weight"), ("gain", "weight"), ("weight", "bias")):
        assert gap(fisher_block(case.normalizer, row, column), model, p, X) < 1e-12


@each_case([case for case in PLAIN if case.name != "spectral_norm"])  # its singular vectors are no exact numbers
def test_blocks_are_exact_on_small_models(case: Case, rng: np.random.Generator) -> None:
    """Against an exact Fisher matrix that differentiates z entry by entry, for arbitrary symmetric η''."""
    sizes = (4, 3, 5 if case.name in ("identity", "frozen_batch_norm") else 3)
    if case.normalizer.multiples()[fg.Axis.UNIT] > 1:
        sizes = (2, 2, 6)  # no more than two groups of units need
    samples, inputs, units = admissible(case.normalizer, sizes)
    X, W = rng.integers(-3, 4, (samples, inputs)), rng.integers(-3, 4, (units, inputs))
    W[:, 0] += 4
    if case.name == "weight_standardization_group_norm_2":  # roots of sums of roots take minutes: these rows have σ = 3
        X, W = rng.integers(-3, 4, (2, 4)), np.stack([rng.permutation([5, -1, -1, -3]) for _ in range(units)])
        samples, inputs = X.shape
    gain, weights = rng.integers(1, 4, units), rng.integers(-3, 4, (samples, units, units))
    weights = weights + weights.swapaxes(1, 2)
    F = exact_fisher(case.normalizer, X, W, weights, gain, dispersion=3)
    size = len(F) // units
    blocks = F.reshape(units, size, units, size).transpose(0, 2, 1, 3)
    exact = [EXACT.array(np.frompyfunc(sympy.Integer, 1, 1)(array)) for array in (X, W, gain, weights)]
    run = case.normalizer(exact[0], exact[1])
    place = {"weight": slice(inputs), "bias": inputs, "gain": inputs + 1}
    for row, column in pairs(case.normalizer):
        block = fisher_block(case.normalizer, row, column)
        found = block.on(run, exact[2], exact[3], phi=3, numbers=EXACT)
        expected = blocks[(..., place[row], place[column])]
        assert not any(differs(a, b) for a, b in zip(found.ravel(), expected.ravel(), strict=True)), (row, column)


def test_exact_fisher_catches_a_wrong_block(rng: np.random.Generator) -> None:
    X, W = rng.integers(-3, 4, (4, 3)), rng.integers(-3, 4, (3, 3))
    exact = [EXACT.array(np.frompyfunc(sympy.Integer, 1, 1)(array)) for array in (X, W)]
    eye = np.stack([np.eye(3, dtype=int)] * 4)
    F = exact_fisher(fg.layer_norm, X, W, eye, np.ones(3, int))
    block = fisher_block(fg.layer_norm, "weight", "weight")
    wrong = dataclasses.replace(block, expr=block.expr.subs(sympy.Symbol("H", positive=True, integer=True), 4))
    with pytest.raises(fg.InputError, match="runs to 4"):
        wrong.on(fg.layer_norm(*exact), np.ones(3, int), eye, numbers=EXACT)
    found = fisher_block(fg.rms_norm, "weight", "weight").on(fg.rms_norm(*exact), np.ones(3, int), eye, numbers=EXACT)
    assert differs(found[0, 0, 0, 0], F[0, 0])


@each_case(ALL)
def test_wrong_blocks_are_caught(case: Case, inputs, rng: np.random.Generator) -> None:
    """A sign, another variance, or statistics that are not differentiated do not pass for the block."""
    X = inputs(case)
    model, p = model_at(case.normalizer, fg.bernoulli, rng, X.shape[-1])
    right = fisher_block(case.normalizer, "weight", "weight", fg.bernoulli)
    halved = {mean: mean / 2 for mean in right.expr.atoms(sympy.Indexed) if mean.base.label == MEAN.label}
    assert halved
    for wrong in (-right.expr, right.expr.xreplace(halved)):
        assert gap(dataclasses.replace(right, expr=wrong), model, p, X) > 1e-3
    computed = [stage for _, stage in case.normalizer.stages if stage.over]
    if computed and not case.normalizer.inputs:
        other = fg.identity
        if case.normalizer.tells_positions_apart:  # the mean alone, for an expression of inputs with positions
            (last,) = case.normalizer.summed
            other = fg.Normalizer("mine", summed=fg.Standardize(last.over, scale=fg.Scale.NONE, groups=last.groups))
        plain = fisher_block(other, "weight", "weight", fg.bernoulli).expr
        assert gap(dataclasses.replace(right, expr=plain), model, p, X) > 1e-3


SINGULAR = {"u", "v"}  # singular vectors have no formula: what is known of them defines them


@each_case([case for case in CASES_WITH_POSITIONS if case in ALL or len(case.normalizer.stages) == 1])  # ε of one stage
def test_what_is_known_of_the_names_follows_from_their_definitions(case: Case) -> None:
    named = atoms(case.normalizer)
    definitions = named.definitions
    for rule in named.known:
        if not SINGULAR & {str(atom.base) for atom in rule.left.atoms(sympy.Indexed)}:
            assert vanishes(rule.left - rule.right, definitions), rule
            assert not vanishes(rule.left - 2 * rule.right - 1, definitions), rule


def test_what_is_known_of_singular_vectors_is_true_of_numbers(X: np.ndarray, rng: np.random.Generator) -> None:
    """Σu² = Σv² = 1, Ŵv = u and Ŵᵀu = v, for the u and v that NumPy finds."""
    named, at = atoms(fg.spectral_norm), fg.spectral_norm(X, rng.normal(size=(H, D)))
    sizes = {fg.Axis.SAMPLE: N, fg.Axis.INPUT: D, fg.Axis.UNIT: H}
    evaluate = Evaluator(named.numbers(fg.spectral_norm, at, sizes, FLOATS), sizes)
    rules = [rule for rule in named.known if SINGULAR & {str(a.base) for a in rule.left.atoms(sympy.Indexed)}]
    assert len(rules) == 4
    for rule in rules:
        left, right = (evaluate(side, rule.indices) for side in (rule.left, rule.right))
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-14)
        assert np.abs(left - 2 * right).max() > 0.1


@each_case([case for case in ALL if case.name != "weight_standardization_group_norm_2"])  # both its stages are here
def test_the_tangent_is_the_derivative_of_the_definition(case: Case) -> None:
    """The derivative that blocks are made of, against SymPy's derivative of the run of the definition: for all sizes.

    The largest singular value is the maximum of uᵀWv, which does not change to first order with the unit vectors u and v:
    its derivative is that of uᵀWv with these held fixed.
    """
    named = atoms(case.normalizer)
    w, u, v = (sympy.IndexedBase(letter, real=True) for letter in "wuv")
    attained = over(w[k, INPUT] * u[k] * v[INPUT], k, INPUT)
    definitions = [Rule(rule.left, attained) if rule.right.has(LargestEigenvalue) else rule for rule in named.definitions]
    entry = Partial(named.value, w[I, INPUT])
    assert vanishes(entry - named.jvp(), definitions=definitions)
    assert not vanishes(entry - 2 * named.jvp(), definitions=definitions)


@each_case(CASES_WITH_POSITIONS)
def test_a_derivative_factors_into_what_mixes_units_and_what_is_a_unit_s_own(case: Case) -> None:
    whole = atoms(case.normalizer).jvp()
    gain = sympy.IndexedBase("g", real=True)[h] if case.normalizer.has_gain else 1
    split = derivative(case.normalizer, "weight")
    assert vanishes(split.expr - gain * whole)
    together = any(fg.Axis.UNIT in stage.over for _, stage in case.normalizer.stages)
    assert split.separate is not together


def test_matrix_form_is_the_block() -> None:
    """E[(Mᵀη''M)_ij ξ_i ξ_jᵀ]/φ, written out in index notation, is the block."""
    block = fisher_block(fg.layer_norm, "weight", "weight")
    split = derivative(fg.layer_norm, "weight")
    n, d = sympy.Symbol("n", integer=True), sympy.Symbol("d", integer=True)
    inner = sympy.Symbol("k", integer=True)
    left, right = split.at(I, inner, d), split.at(J, k, INPUT)
    weight = rename(curvature(None), {h: inner})
    total = over(left[0] * weight * right[0] * left[1] * right[1], n, inner, k) / (
        sympy.Symbol("N", positive=True, integer=True) * PHI
    )
    assert vanishes(block.expr - total, atoms(fg.layer_norm).known)
    assert not vanishes(block.expr - 2 * total, atoms(fg.layer_norm).known)


def test_the_structure_of_the_cells_decides_the_matrix_form() -> None:
    assert r"\boldsymbol{\chi}_i \, \boldsymbol{\chi}_j" in fisher_block(fg.batch_norm, "weight", "weight").matrix_latex()
    mine = fg.Normalizer("anything", summed=fg.Standardize(fg.Axis.UNIT, center=False))
    shown = fisher_block(mine, "weight", "gain", family=fg.poisson).matrix_latex()
    assert r"M^{\top} \eta''" in shown and r"\operatorname{diag}(g)" in shown and r"I_{h k} \mu_{h}" in shown
    deep = fg.compose(fg.layer_norm, fg.batch_norm)
    assert r"J_i^{\top} \eta'' J_j" in fisher_block(deep, "weight", "weight").matrix_latex()


def test_matrix_forms_keep_positions_apart() -> None:
    """A mean over positions alone says so; where a sum has another index of its axis beside it, no index is left out."""
    shown = fisher_block(fg.instance_norm, "weight", "weight").matrix_latex()
    assert shown.count(r"\mathrm{E}_{s}\left[") == 2 and r"\sum" not in shown
    assert r"\mathrm{E}_{" not in fisher_block(fg.batch_norm, "weight", "weight").matrix_latex()
    mixed = fg.compose(fg.instance_norm, fg.stepwise_batch_norm)
    shown = fisher_block(mixed, "weight", "weight").matrix_latex()
    assert r"(\boldsymbol{\chi}_i)_{d'} &= " in shown and r"\hat{a}^{(1)}_{m s i} \hat{a}^{(1)}_{m t i}" in shown


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_variance_function(family: Family, rng: np.random.Generator) -> None:
    """η'' as a function of the mean, against the numeric second derivative of the cumulant."""
    theta = rng.normal(size=(N, H))
    mean, variance = family.mean(theta), variance_function(family)
    compiled = sympy.lambdify([MEAN[sympy.Symbol("n", integer=True), h], MEAN[sympy.Symbol("n", integer=True), k],
                               sympy.KroneckerDelta(h, k)], variance)  # fmt: skip
    expected = family.hessian(theta).dense()
    for i in range(H):
        for j in range(H):
            value = compiled(mean[:, i], mean[:, j], float(i == j)) * (1.0 if family.coupled else float(i == j))
            assert np.allclose(value, expected[:, i, j], rtol=1e-13, atol=1e-15)


def test_blocks_as_values(X: np.ndarray, rng: np.random.Generator) -> None:
    block = fg.fisher_block(fg.weight_norm, "weight", "gain")
    assert block is fg.fisher_block(fg.weight_norm, "weight", "gain")
    assert block.latex().startswith(r"\bar{F}_{w_i g_j} = ") and block._repr_latex_().startswith("$")
    assert sympy.latex(block.expr.subs(PHI, 1)) and PHI not in block.subs(PHI, 1).expr.free_symbols
    assert "weight x gain" in repr(block)
    transposed = fg.fisher_block(fg.weight_norm, "gain", "weight")
    model, p = model_at(fg.weight_norm, fg.categorical, rng)
    a, b = block.lambdify()(model, p, X), transposed.lambdify()(model, p, X)
    assert np.allclose(a, b.transpose(1, 0, 2), rtol=1e-13)
    assert canonical(block.expr) == block.canonical
    assert [str(rule.left) for rule in block.definitions] == ["sigma[h]", "what[h, d]", "ahat[n, h]"]


def test_unfitting_requests_are_refused(X: np.ndarray, rng: np.random.Generator) -> None:
    with pytest.raises(fg.InputError, match="identity has no gain"):
        fg.fisher_block(fg.identity, "weight", "gain")
    with pytest.raises(fg.InputError, match="use 'weight', 'bias' or 'gain'"):
        fg.fisher_block(fg.batch_norm, "weights", "gain")
    with pytest.raises(fg.InputError, match="give a Normalizer"):
        fg.fisher_block("batch_norm", "weight", "gain")
    block = fg.fisher_block(fg.batch_norm, "weight", "bias", family=fg.poisson)
    model, p = model_at(fg.batch_norm, fg.bernoulli, rng)
    with pytest.raises(fg.InputError, match="this block is of batch_norm and poisson"):
        block.lambdify()(model, p, X)
    model, p = model_at(fg.batch_norm, fg.poisson, rng)
    each = fg.Normalizer("each_position_by_itself", summed=fg.Standardize(fg.Axis.SAMPLE))
    model, p = model_at(each, fg.poisson, rng)
    with pytest.raises(fg.InputError, match="give one position at a time"):
        fg.fisher_block(each, "bias", "bias").lambdify()(model, p, np.stack([X, X + rng.normal(size=X.shape)], axis=1))
    model, p = model_at(fg.batch_norm, fg.poisson, rng)
    with pytest.raises(fg.InputError, match="symbol alpha"):
        block.subs(GAIN.expr.subs(h, I), sympy.Symbol("alpha")).lambdify()(model, p, X)
    with pytest.raises(fg.InputError, match="needs a gain"):
        exact_jacobian(fg.batch_norm, X, X[:3])

"""How Fisher blocks scale, against the oracle's matrix before and after; the table of verdicts as it is shown."""

from __future__ import annotations

import itertools

import numpy as np
import oracles
import pytest
import sympy
from cases import (
    ALL,
    PLAIN,
    SIZES,
    SIZES_WITH_POSITIONS,
    Case,
    Setup,
    each_case,
    each_transformation,
    random_composition,
)

import fishergeo as fg
from fishergeo.contracts.normalizers import blocks_scale_as_stated
from fishergeo.invariance.numbers import example, random_value
from fishergeo.invariance.proof import prove
from fishergeo.normalizers import ZOO
from fishergeo.symbolic.sums import I, J
from fishergeo.transformations import PAPER, TRANSFORMATIONS, Rescale, State

H = SIZES[-1]
assert SIZES_WITH_POSITIONS[-1] == H


def inputs(case, rng):
    """Inputs (N, D), or (N, S, D) where a stage tells positions from cases."""
    return rng.normal(size=(SIZES_WITH_POSITIONS if case.normalizer.tells_positions_apart else SIZES)[:-1])


def places(setup, letter):
    """The parameter indices of one kind, unit by unit: (H, D) for w, (H, 1) for b and g."""
    rows, D = np.arange(setup.p.size).reshape(H, -1), setup.p.inputs
    return {"w": rows[:, :D], "b": rows[:, D : D + 1], "g": rows[:, D + 1 :]}[letter]


def before_and_after(case, family, transformation, values, X, rng):
    """The setup and that of the transformed model, whose parameters are mapped to those of the first by the matrix B."""
    setup = Setup.of(case, family, X, H, rng)
    code, move = oracles.MOVES[transformation.name]
    X1, W1, *shift = move(X, setup.p.weight, *values)
    p1 = fg.Params(W1, setup.p.bias, setup.p.gain)
    B = np.eye(setup.p.size)
    if code == "π":
        p1 = fg.Params(W1, *(None if part is None else part[values[0]] for part in (setup.p.bias, setup.p.gain)))
        B = B[np.arange(len(B)).reshape(H, -1)[values[0]].ravel()]
    if code == "Q":
        for rows in places(setup, "w"):
            B[np.ix_(rows, rows)] = values[0].T

    def shifted(X, W):
        return case.forward(X, W, *shift)

    return setup, Setup(Case(case.name, case.normalizer, shifted), setup.model, p1, X1), B


def metric(setup, covariance):
    """E[Jᵀ C J] with given matrices C for the cases: what a block is made of once η'' is held fixed."""
    J = oracles.derivatives(setup.natural, setup.v).reshape(setup.p.size, -1, H)
    return np.einsum("pni,nij,qnj->pq", J, covariance, J, optimize=True) / len(covariance)


def factor(expression, values, i, j):
    """The number that a law states for units i and j."""
    delta = np.ravel(values[0]) if values else np.ones(1)
    at = {"i": i, "j": j}
    known = {a: delta[at[str(a.indices[0])]] for a in expression.atoms(sympy.Indexed)}
    if not known:
        known = dict.fromkeys(expression.free_symbols, delta[0])
    return float(expression.xreplace(known))


def law_holds(blocks, values, setup, F, F1, tolerance=1e-11):
    """Every stated factor is that of its pair of units; the parameters differ from unit to unit and from case to case."""
    for name, stated in blocks.items():
        for i, j in np.ndindex(H, H) if stated is not None else ():
            block = np.ix_(places(setup, name[0])[i], places(setup, name[1])[j])
            gap = np.abs(F1[block] - factor(stated, values, i, j) * F[block]).max()
            assert gap < tolerance * np.abs(F).max(), f"{name} of units {i}, {j}"


def coupled_metrics(case, transformation, values, X, rng):
    """The setup, and JᵀCJ before and after with matrices C that couple all units: no block of it is empty."""
    setup, moved, B = before_and_after(case, fg.gaussian, transformation, values, X, rng)
    C = rng.normal(size=(X[..., 0].size, H, H))
    C = C @ C.swapaxes(1, 2)
    order = values[0] if oracles.MOVES[transformation.name][0] == "π" else np.arange(H)
    return setup, metric(setup, C), B.T @ metric(moved, C[:, order][:, :, order]) @ B


@each_transformation()
@each_case(ALL)
def test_laws_hold_and_nothing_else_scales(case, transformation, rng):
    """Every stated factor holds for any fixed η''; where none is stated, no one factor of the block would do."""
    law = fg.fisher_scaling(case.normalizer, transformation)
    assert set(law.blocks) == ({"ww", "wb", "wg", "bb", "bg", "gg"} if law.normalizer.has_gain else {"ww", "wb", "bb"})
    X = inputs(case, rng)
    values = oracles.draw_move(transformation.name, X, np.ones((H, X.shape[-1])), rng)
    setup, F, F1 = coupled_metrics(case, transformation, values, X, rng)
    law_holds(law.blocks, values, setup, F, F1)
    for name in (name for name, stated in law.blocks.items() if stated is None):
        defects = []
        for i, j in np.ndindex(H, H):
            block = np.ix_(places(setup, name[0])[i], places(setup, name[1])[j])
            best = (F1[block] * F[block]).sum() / (F[block] ** 2).sum()
            simple = [best ** (1 / k) for k in (-2, -1, 1, 2)] if best > 0 else []
            known = [1.0, *(np.ravel(values[0]).tolist() if values and np.ndim(values[0]) else [])]
            fits = np.abs(F1[block] - best * F[block]).max() < 1e-11 * np.abs(F).max()
            defects.append(not (fits and any(np.isclose(s, d, rtol=1e-9) for s in simple for d in known)))
        assert any(defects)


@pytest.mark.parametrize("swap", [{J: I}, {I: J}, {I: J, J: I}], ids=["i-for-j", "j-for-i", "exchanged"])
def test_a_law_with_the_factors_of_another_unit_is_found(swap, rng):
    case = next(case for case in PLAIN if case.name == "weight_norm")
    X, transformation = inputs(case, rng), fg.weight_vector_rescaling
    values = oracles.draw_move(transformation.name, X, np.ones((H, X.shape[-1])), rng)
    setup, F, F1 = coupled_metrics(case, transformation, values, X, rng)
    blocks = fg.fisher_scaling(case.normalizer, transformation).blocks
    for name in ("ww", "wb"):
        wrong = {name: blocks[name].xreplace(swap)}
        if wrong[name] == blocks[name]:  # symmetric, or without j
            law_holds(wrong, values, setup, F, F1)
        else:
            with pytest.raises(AssertionError, match=name):
                law_holds(wrong, values, setup, F, F1)


def test_factors_between_two_units(rng):
    """Two factors at once, one for each unit and one for all: the numbers of each pair are those of its own units."""
    both = fg.Transformation(
        "both", "", (Rescale(fg.Site.WEIGHT, frozenset([fg.Axis.UNIT])), Rescale(fg.Site.WEIGHT), Rescale(fg.Site.INPUTS))
    )
    delta, all_units, data = np.arange(2.0, 2 + H)[:, None], np.full((1, 1), 7.0), np.full((1, 1), 11.0)
    law = fg.fisher_scaling(fg.batch_norm, both)
    for i, j in np.ndindex(H, H):
        factors = law.between(i, j, [delta, all_units, data])
        first, second = (7 * delta[k, 0] for k in (i, j))
        expected = {"ww": 1 / (first * second), "wb": 1 / first, "wg": 1 / first, "bb": 1, "bg": 1, "gg": 1}
        assert {name: pytest.approx(float(f), rel=1e-15) for name, f in factors.items()} == expected
    assert law.at(2)["ww"] == sympy.Rational(1, 16)
    plain = fg.fisher_scaling(fg.identity, both)
    assert float(plain.between(0, 2, [delta, all_units, data])["ww"]) == 121


@each_transformation()
@each_case(ALL)
def test_laws_of_an_invariant_model_hold_for_every_family(case, transformation, rng):
    law = fg.fisher_scaling(case.normalizer, transformation)
    assert law.any_family == prove(case.normalizer, transformation).invariant
    X = inputs(case, rng)
    values = oracles.draw_move(transformation.name, X, np.ones((H, X.shape[-1])), rng)
    for family in (fg.bernoulli, fg.categorical):
        setup, moved, B = before_and_after(case, family, transformation, values, X, rng)
        F, F1 = oracles.fisher(*setup.arguments), B.T @ oracles.fisher(*moved.arguments) @ B
        if law.any_family:
            law_holds(law.blocks, values, setup, F, F1)
        elif not family.coupled:  # one number added to every logit changes no probability, but does change Z
            with pytest.raises(AssertionError, match="of units"):
                law_holds(law.blocks, values, setup, F, F1)


LINKS = [(fg.bernoulli, fg.links.probit), (fg.bernoulli, fg.links.cauchit), (fg.gamma, fg.links.log)]


def fisher_before_and_after(normalizer, transformation, family, link, rng):
    """The values, the parameters and F before and after, in the basis of before; weights scaled so that Z > 0."""
    X, W = example(normalizer, rng)
    values = [random_value(parameter, X, W, rng) for parameter in transformation.parameters]
    moved = transformation.act(State(X, W), values)
    gain = 0.05 * rng.uniform(0.5, 1.5, len(W)) if normalizer.has_gain else None
    p = fg.Params(W if gain is not None else 0.02 * W, rng.uniform(1.0, 1.5, len(W)), gain)
    q = fg.Params(moved.W if gain is not None else 0.02 * moved.W, p.bias, p.gain)
    model = fg.GLM(family, normalizer, link=link)
    return values, p, *(fg.fisher(model, point, data).to_dense() for point, data in ((p, X), (q, moved.X)))


def no_law_is_broken(law, values, p, F, F1, pairs, tolerance=1e-9):
    size = p.size // p.units
    at = {"w": range(p.inputs), "b": [p.inputs], "g": [p.inputs + 1]}
    for i, j in pairs:
        for name, stated in law.between(i, j, values).items():
            if stated is not None:
                block = np.ix_([i * size + k for k in at[name[0]]], [j * size + k for k in at[name[1]]])
                assert np.abs(F1[block] - float(stated) * F[block]).max() <= tolerance * np.abs(F).max(), (law, name)


@each_transformation()
@pytest.mark.parametrize(("family", "link"), LINKS, ids=lambda v: v.name)
def test_links_change_no_law_of_an_invariant_model(family, link, transformation, rng):
    """Where Z stays, so do θ, dθ/dz and η'': F scales as it does under the canonical link."""
    kept = [n for n in ZOO if prove(n, transformation) and not fg.fisher_scaling(n, transformation).congruent]
    for normalizer in kept:
        law = fg.fisher_scaling(normalizer, transformation)
        if any(parameter.site is fg.Site.SUMMED for parameter in transformation.parameters):
            continue
        values, p, F, F1 = fisher_before_and_after(normalizer, transformation, family, link, rng)
        no_law_is_broken(law, values, p, F, F1, itertools.product(range(p.units), repeat=2))


def test_a_law_that_needs_a_gaussian_does_not_hold_under_another_link(rng):
    """Cov[y|x] of a Gaussian is the same for all z, but dθ/dz is not under a link."""
    law = fg.fisher_scaling(fg.identity, fg.dataset_rescaling)
    assert not law.any_family and "as of a Gaussian" in repr(law)
    for link, holds in ((fg.links.identity, True), (fg.links.log, False)):
        values, p, F, F1 = fisher_before_and_after(fg.identity, fg.dataset_rescaling, fg.gaussian, link, rng)
        if holds:
            no_law_is_broken(law, values, p, F, F1, [(0, 0)])
        else:
            with pytest.raises(AssertionError):
                no_law_is_broken(law, values, p, F, F1, [(0, 0)])


@pytest.mark.parametrize("seed", range(60))
def test_laws_of_random_compositions(seed):
    """Stages at all sites, with positions: every stated factor is that of JᵀCJ with a matrix C that couples all units."""
    rng = np.random.default_rng(300 + seed)
    case = random_composition(rng, f"composition-{seed}", "nshd", eps=(0, 0, 0.5), rich=True)
    normalizer, transformation = case.normalizer, TRANSFORMATIONS[seed % len(TRANSFORMATIONS)]
    law = fg.fisher_scaling(normalizer, transformation)
    if law.congruent or any(parameter.site is fg.Site.SUMMED for parameter in transformation.parameters):
        return
    X, W = example(normalizer, rng)
    values = [random_value(parameter, X, W, rng) for parameter in transformation.parameters]
    moved = transformation.act(State(X, W), values)
    model, bias, gain = fg.GLM(fg.gaussian, normalizer), rng.normal(size=len(W)), rng.uniform(0.5, 1.5, len(W))
    C = rng.normal(size=(len(W), len(W)))

    def coupled(weight, data):
        p = fg.Params(weight, bias, gain)
        J = model.linearize(p, data).columns().reshape(p.size, -1, p.units)
        return np.einsum("pnh,qnh->pq", J @ (C @ C.T), J, optimize=True) / J.shape[1]

    pairs = itertools.product(range(min(3, len(W))), repeat=2)
    no_law_is_broken(law, values, fg.Params(W, bias, gain), coupled(W, X), coupled(moved.W, moved.X), pairs)


@pytest.mark.parametrize("normalizer", [fg.batch_norm, fg.weight_norm], ids=lambda n: n.name)
def test_a_doubled_norm_quarters_the_metric_along_its_weights(normalizer):
    """Not a factor of 1/2 (Ba et al., section 5.2.2): ww scales by 1/4, wb and wg by 1/2, the rest not at all."""
    law = fg.fisher_scaling(normalizer, fg.weight_vector_rescaling)
    quarter, half = sympy.Rational(1, 4), sympy.Rational(1, 2)
    assert law.at(2) == {"ww": quarter, "wb": half, "wg": half, "bb": 1, "bg": 1, "gg": 1}
    assert law.any_family
    assert law.at(sympy.Rational(1, 3))["ww"] == 9


def test_the_plain_model_has_no_such_law():
    law = fg.fisher_scaling(fg.identity, fg.weight_vector_rescaling)
    assert law.at(2) == {"ww": 1, "wb": 1, "bb": 1}
    assert not law.any_family
    assert "only where" in repr(law)
    assert fg.fisher_scaling(fg.identity, fg.dataset_rescaling).at(2)["ww"] == 4


@pytest.mark.parametrize(
    "stage",
    [
        fg.Standardize(fg.Axis.POSITION),
        fg.Standardize([fg.Axis.UNIT, fg.Axis.POSITION], groups={fg.Axis.UNIT: 2}),
        fg.Standardize([fg.Axis.UNIT, fg.Axis.POSITION], center=False),
    ],
    ids=repr,
)
def test_laws_with_positions(stage, rng):
    """Units are permuted along the last axis, which is not the second where there are positions."""
    normalizer = fg.Normalizer("mine", summed=stage)
    assert "no law" not in repr(fg.fisher_scaling(normalizer, fg.weight_matrix_rescaling))
    assert "laws" in blocks_scale_as_stated(normalizer, rng)
    permuted = fg.fisher_scaling(normalizer, fg.unit_permutation)
    assert permuted.at(2)["ww"] == (None if stage.groups else 1)


def test_laws_are_shown():
    law = fg.fisher_scaling(fg.layer_norm, fg.weight_matrix_rescaling)
    assert "ww x delta**(-2)" in repr(law)
    assert law.latex().count(r"\to") == 6
    assert "no scaling law" in fg.fisher_scaling(fg.batch_norm, fg.case_rescaling).latex()
    assert "do not scale" in repr(fg.fisher_scaling(fg.batch_norm, fg.case_rescaling)) or "no law" in repr(
        fg.fisher_scaling(fg.batch_norm, fg.case_rescaling)
    )


# --- the table -----------------------------------------------------------------------------------------------------


def test_table_holds_every_verdict():
    done = []
    table = fg.invariance_table(progress=lambda k, of: done.append((k, of)))
    cells = len(ZOO) * len(TRANSFORMATIONS)
    assert len(list(table)) == cells
    assert done == [(k + 1, cells) for k in range(cells)]
    for normalizer, row in zip(ZOO, table.rows(), strict=True):
        for transformation, mark in zip(TRANSFORMATIONS, row, strict=True):
            verdict = table[normalizer, transformation]
            assert (verdict.normalizer, verdict.transformation) == (normalizer, transformation)
            assert mark == ("yes" if verdict.invariant else "no")
    assert set(table.conditions()) == {"δ > 0", "ε = 0", "σ > 0"}


def test_table_in_every_form():
    table = fg.invariance_table([fg.batch_norm, fg.layer_norm], PAPER)
    marks = ["✓✗✓✓✓✗", "✓✓✗✓✗✓"]
    lines = table.to_markdown().splitlines()
    assert [line.split("|")[1].strip() for line in lines] == ["normalizer", "---", "batch norm", "layer norm"]
    assert ["".join(c for c in line if c in "✓✗") for line in lines[2:]] == marks
    html = table._repr_html_()
    assert "".join(c for c in html if c in "✓✗") == "".join(marks)
    assert html.count("<tr>") == 3
    latex = table.to_latex()
    assert latex.count(r"\checkmark") == "".join(marks).count("✓")
    assert latex.startswith(r"\begin{tabular}{lcccccc}")
    shown = repr(table).splitlines()[-2:]
    assert ["".join(c for c in line if c in "✓·").replace("·", "✗") for line in shown] == marks
    assert table.legend_latex().count("$") == 2 * len(PAPER)


def test_table_takes_a_normalizer_of_ones_own():
    mine = fg.Normalizer("mine", weight=fg.Standardize(fg.Axis.INPUT, scale=fg.Scale.NONE))
    table = fg.invariance_table([mine], [fg.case_constant_shift, fg.case_rescaling])
    assert table.rows() == [["yes", "no"]]


@pytest.mark.parametrize(
    ("normalizers", "message"),
    [
        ([], r"normalizers=\[\]: give a fg.Normalizer"),
        ([fg.batch_norm, fg.layer_norm, fg.batch_norm], "batch_norm, layer_norm, batch_norm: give each its own name"),
    ],
    ids=["none", "twice"],
)
def test_table_refuses_what_it_cannot_show(normalizers, message):
    with pytest.raises(fg.InputError, match=message):
        fg.invariance_table(normalizers)

"""The registry of claims: what each check decides, that false statements do not pass, and how results are shown."""

from __future__ import annotations

import re
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy

import fishergeo as fg
from fishergeo import claims
from fishergeo.claims import HOLDS, REFUTED, Fact, Inconclusive, Kind, Level
from fishergeo.claims.arrays import exact_jacobian, exact_model, generic_run, moments, rationals, symbols
from fishergeo.claims.core import Condition, Correction, decide
from fishergeo.claims.facts import exactly, identical, identity, vanishes
from fishergeo.claims.geometry import PRIME, generic_nullity, modular_jacobian, modular_rank
from fishergeo.errors import InputError

H, IF, R = Kind.HOLDS, Kind.HOLDS_IF, Kind.REFUTED

# what a first reading of the literature expects, where the checks agree
EXPECTED = {
    H: (
        "LN-pre LN-reparam LN-8 LN-10 LN-12 LN-13-BN LN-13-WN LN-orient LN-gain-WN WN-grad WN-BN WN-init "
        "WN-mobn BN-backprop BN-eps BN-jac BN-bias SAN-4.2 GN-special XU-1 EFF-0 EFF-eta EFF-growth EFF-cons "
        "GEO-null GEO-white GEO-kar"
    ),
    IF: ("LN-T1 LN-sign LN-gain-BN LN-gain-robust RMS-T BN-scale BN-unbiased WS-grad EFF-quartic EFF-exp GEO-natgrad"),
    R: ("LN-5.1-text LN-conclusion LN-10-c LN-13-LN LN-half LN-supp SAN-4.1"),
}

# where a check finds otherwise, and why
DEVIATIONS = {
    "WN-growth": (H, "the source itself says: without momentum"),
    "RMS-grad": (IF, "R becomes R/|δ|, so that R/δ needs δ > 0"),
    "SAN-4.2-second": (R, "even under its assumption: H = I preserves all norms, and the bound fails for γ > σ"),
    "SAN-4.5": (IF, "kW* is an optimum only with a bias in W*'s network, the gain and bias of W*, and k > 0"),
    "EFF-eq": (IF, "a law for small ηλ; the exact one is given"),
    "EFF-mom": (IF, "a law for small ηλ; the exact one is given"),
}

# statements changed so that they are false: none may pass
FALSE = [
    ("LN-T1", {"table": {fg.batch_norm: "✓✓✓✓✓✗"}}),
    ("LN-T1", {"table": {fg.layer_norm: "✓✓✗✓✗✗"}}),
    ("LN-sign", {"methods": (fg.input_layer_norm,)}),
    ("LN-pre", {"methods": (fg.batch_norm,)}),
    ("LN-reparam", {"outside": fg.batch_norm}),
    ("LN-conclusion", {"shift": fg.case_constant_shift}),
    ("LN-8", {"factor": 1.0}),
    ("LN-10", {"order": 2}),
    ("LN-12", {"normalizer": fg.batch_norm}),
    ("LN-13-BN", {"normalizer": fg.layer_norm}),
    ("LN-13-WN", {"normalizer": fg.layer_norm}),
    ("LN-half", {"factor": Fraction(1, 3)}),
    ("LN-orient", {"exponent": -1}),
    ("LN-gain-BN", {"normalizer": fg.weight_norm}),
    ("LN-gain-WN", {"normalizer": fg.batch_norm}),
    ("LN-gain-robust", {"methods": (fg.weight_norm,)}),
    ("LN-supp", {"alpha": 2, "beta": 0}),
    ("RMS-T", {"marks": "✓✗✗✓✓✓"}),
    ("RMS-T", {"marks": "✓✗✗✓✗✗"}),
    ("RMS-grad", {"normalizer": fg.layer_norm}),
    ("WN-grad", {"factor": 2}),
    ("WN-growth", {"momentum": sympy.Rational(1, 2)}),
    ("WN-BN", {"variance": 2}),
    ("WN-init", {"bias_sign": 1}),
    ("WN-mobn", {"factor": 2}),
    ("BN-backprop", {"weight": -1}),
    ("BN-scale", {"normalizer": fg.mean_only_batch_norm}),
    ("BN-eps", {"power": 1}),
    ("BN-jac", {"factor": 2}),
    ("BN-unbiased", {"correction": 0}),
    ("BN-bias", {"center": False}),
    ("SAN-4.2", {"factor": 2}),
    ("SAN-4.5", {"sign": 2}),
    ("WS-grad", {"weight": 2}),
    ("GN-special", {"groups": (3, 1)}),
    ("XU-1", {"power": 1}),
    ("EFF-0", {"degree": 1}),
    ("EFF-eta", {"power": 1}),
    ("EFF-growth", {"whole": (fg.mean_only_batch_norm,)}),
    ("EFF-growth", {"momentum": Fraction(1, 2)}),
    ("EFF-quartic", {"factor": 1}),
    ("EFF-cons", {"translation": fg.batch_norm}),
    ("EFF-eq", {"factor": 1}),
    ("EFF-mom", {"sign": -1}),
    ("EFF-exp", {"power": -1}),
    ("GEO-null", {"expected": {fg.layer_norm: "H"}}),
    ("GEO-white", {"power": 1}),
    ("GEO-kar", {"removes": fg.rms_norm}),
    ("GEO-natgrad", {"methods": (fg.batch_norm, fg.layer_norm)}),
]

# false ones that only floating point speaks against: they raise, and so does one whose correction fails with it
UNDECIDED = {"GEO-white", "GEO-kar", "GEO-natgrad", "BN-scale"}

# refuted statements changed so that they are true: they must pass
TRUE = [
    ("LN-5.1-text", {"methods": (fg.batch_norm, fg.layer_norm)}),
    ("LN-conclusion", {"shift": fg.summed_input_shift}),
    ("LN-13-LN", {"normalizer": fg.batch_norm}),
    ("LN-half", {"factor": Fraction(1, 4)}),
    ("LN-supp", {"alpha": 1, "beta": 0}),
    ("SAN-4.1", {"root": False}),
]


@pytest.fixture(scope="module")
def calls() -> list[tuple[int, int]]:
    return []


@pytest.fixture(scope="module")
def report(calls: list[tuple[int, int]]) -> claims.Report:
    with np.errstate(all="raise"):
        return claims.check_all(progress=lambda done, of: calls.append((done, of)))


def test_every_claim_has_an_expected_verdict(report: claims.Report) -> None:
    expected = {name: kind for kind, names in EXPECTED.items() for name in names.split()}
    expected |= {name: kind for name, (kind, _) in DEVIATIONS.items()}
    assert {r.id: r.verdict.kind for r in report} == expected
    assert list(claims.REGISTRY) == [r.id for r in report]


def test_results_are_complete(report: claims.Report) -> None:
    for r in report:
        assert r.source and r.statement and r.evidence and r.level in Level
        assert (r.verdict.kind is IF) == bool(r.verdict.conditions)
        assert all(fact.true for fact in r.found.facts) or r.verdict == REFUTED
        if r.verdict == REFUTED:
            assert r.level < Level.NUMERIC and r.corrected and r.corrected_level is not None
        if r.verdict == HOLDS:
            assert r.corrected is None


def test_only_geometry_rests_on_floating_point(report: claims.Report) -> None:
    assert {r.id for r in report if r.level is Level.NUMERIC} == {"GEO-white", "GEO-kar", "GEO-natgrad"}


def outcome(name: str, variant: dict[str, object]) -> claims.Result | Inconclusive:
    try:
        return claims.REGISTRY[name].run(**variant)
    except Inconclusive as error:
        return error


@pytest.mark.parametrize(("name", "variant"), FALSE, ids=lambda value: value if isinstance(value, str) else "")
def test_false_statements_do_not_pass(name: str, variant: dict[str, object]) -> None:
    found = outcome(name, variant)
    if isinstance(found, Inconclusive):
        assert str(found).startswith(f"{name}: ")
        assert name in UNDECIDED
    else:
        assert found.verdict == REFUTED
        assert found.level < Level.NUMERIC


@pytest.mark.parametrize(("name", "variant"), TRUE, ids=lambda value: value if isinstance(value, str) else "")
def test_corrected_statements_pass(name: str, variant: dict[str, object]) -> None:
    assert claims.REGISTRY[name].run(**variant).verdict.kind in (H, IF)


@pytest.mark.parametrize("name", ["LN-8", "LN-13-LN", "LN-half", "EFF-growth", "EFF-mom", "GEO-white", "GEO-kar"])
def test_evidence_is_reproducible(name: str, report: claims.Report) -> None:
    assert claims.check(name).evidence == report[name].evidence


def test_half(report: claims.Report) -> None:
    """The factor 1/2, against the numeric Fisher matrix."""
    rng = np.random.default_rng(5)
    model, X = fg.GLM(fg.bernoulli, fg.batch_norm), rng.normal(size=(20, 4))
    W = rng.normal(size=(3, 4))
    blocks = [fg.fisher(model, fg.Params(c * W, np.zeros(3), np.ones(3)), X).to_dense()[:6, :6] for c in (1, 2)]
    np.testing.assert_allclose(blocks[1][:4, :4], blocks[0][:4, :4] / 4, rtol=1e-12)
    np.testing.assert_allclose(blocks[1][:4, 4:], blocks[0][:4, 4:] / 2, rtol=1e-12, atol=1e-16)
    assert "changes by 1/4, not by 1/2" in report["LN-half"].evidence
    assert report["LN-half"].corrected_level is Level.PROVED


def test_gap_of_the_printed_blocks(report: claims.Report) -> None:
    low, high = map(int, re.search(r"off by (\d+) to (\d+) %", report["LN-13-LN"].evidence).groups())
    assert 10 < low < high < 80


def test_statements_of_every_family_are_checked_in_one_of_every_kind(report: claims.Report) -> None:
    from fishergeo.families import ZOO

    for id in ("LN-8", "LN-10"):
        assert all(f"{family.name}" in report[id].evidence for family in ZOO), id
    for id in ("LN-12", "LN-13-BN", "LN-13-WN", "LN-13-LN"):
        assert f"{len(ZOO)} families" in report[id].evidence, id
    counted = [f.name for f in ZOO if not f.joint and not f.support.contains(np.array(0.5))]
    assert len(counted) == 4
    assert all(name in report["LN-10-c"].evidence for name in counted)


@pytest.mark.parametrize("wrong", ["mean", "hessian"])
def test_a_family_whose_moments_are_not_those_of_its_density_is_found(monkeypatch: Any, wrong: str) -> None:
    from dataclasses import replace

    from fishergeo import families

    cumulant = {"mean": lambda t: -2 * sympy.log(-t), "hessian": lambda t: -sympy.log(-t) + (t + 1) ** 2 / 100}[wrong]
    false = replace(fg.gamma, cumulant=cumulant)
    monkeypatch.setattr(families, "ZOO", (false,))
    for id in ("LN-10", "LN-12"):
        with pytest.raises(Inconclusive, match="a supporting check failed"):
            claims.check(id)


# the conditions that a source has itself, where it has any
SOURCED = {
    "LN-T1": ("ε = 0", "batch statistics not frozen"),
    "LN-gain-robust": ("ε = 0",),
    "RMS-T": ("ε = 0",),
    "SAN-4.5": ("⟨W*,W_0⟩ > 0",),
    "EFF-eq": ("ηλ is small",),
    "EFF-mom": ("ηλ is small", "the normalized gradients of AdamW are orthogonal to w on average"),
    "EFF-exp": (
        "λη ≤ (1 - √γ)²",
        "momentum is in units of the gradient",
        "the initial buffers match when γ > 0",
    ),
}
LEFT_OUT = {
    **dict.fromkeys(("LN-T1", "LN-sign", "LN-gain-robust", "RMS-T", "RMS-grad"), ("δ > 0",)),
    "LN-gain-BN": ("Cov[y|x] is diagonal", "it does not co-vary with â², as for independent Gaussian outputs"),
    "BN-scale": ("a > 0", "ε = 0"),
    "BN-unbiased": ("the cases of a batch are drawn independently",),
    "SAN-4.5": ("W* is optimal together with the biases b*", "γ and β are fitted, or happen to be σ* and b* + μ*"),
    "WS-grad": ("σ ≥ 1",),
    "EFF-quartic": ("t is large",),
    "GEO-natgrad": ("g ≠ 0, so that the tangent spaces agree",),
}


def test_no_condition_is_lost_and_whose_it_is(report: claims.Report) -> None:
    assert {r.id: r.verdict.sourced for r in report if r.verdict.sourced} == SOURCED
    assert {r.id: r.verdict.left_out for r in report if r.verdict.left_out} == LEFT_OUT
    assert str(report["LN-gain-robust"].verdict) == "holds if δ > 0 and ε = 0 (in its source)"


def test_a_counterexample_alone_is_never_called_a_proof(report: claims.Report) -> None:
    """Of what is not so, nothing is known but exact points; RMS norm and its partial form have 6 such cells."""
    assert all(f.level is Level.EXACT for r in report for f in r.found.facts if f.negative)
    partial = [f for f in report["RMS-T"].found.facts if f.negative and f.text.startswith("pRMS norm, 2 of 3")]
    assert len(partial) == 3
    assert "3 invariances proved" in report["RMS-T"].evidence and "3 invariances refuted" in report["RMS-T"].evidence


def test_initialization_lemma(report: claims.Report) -> None:
    """With the gain and bias of W* every kW* is an optimum under batch norm; without a free bias or gain it is not."""
    assert len(report["SAN-4.5"].verdict.conditions) == 3
    X, Y = np.array([[0.0, 0], [1, 1], [2, 0]]), np.array([[1.0], [2], [4]])
    w, b = np.log(2) * np.array([[1.0, 0]]), np.zeros(1)
    plain, normal = fg.GLM(fg.poisson), fg.GLM(fg.poisson, fg.batch_norm)
    a = X @ w[0]

    def steepest(k: float, gain: float, bias: float) -> float:
        p = fg.Params(k * w, np.array([bias]), np.array([gain]))
        return float(np.abs(normal.unravel(normal.gradient(p, X, Y), 1).weight).max())

    assert np.abs(plain.gradient(fg.Params(w, b), X, Y)).max() < 1e-15
    assert max(steepest(k, a.std(), a.mean()) for k in (0.3, 1.0, 4.0)) < 1e-15
    # the claim sums over cases, the model takes the mean over 3
    assert steepest(1.0, 2 * a.std(), a.mean()) == pytest.approx(7 / 9)
    assert steepest(1.0, a.std(), a.mean() + np.log(2)) == pytest.approx(1 / 9)


def test_modular_jacobian_is_that_of_the_package() -> None:
    """Against the exact Jacobian of the package, times σ, at a small size and reduced modulo the same prime."""
    rng = np.random.default_rng(6)
    X, W = rng.integers(-9, 10, (5, 3)), rng.integers(-9, 10, (4, 3))
    for normalizer in (fg.batch_norm, fg.weight_norm, fg.rms_norm, fg.layer_norm):
        at = exact_model(normalizer, X, W)
        J = exact_jacobian(at) * moments(at.normalized)[1]
        exact = J[np.arange(at.params.size) % 5 < 3].reshape(12, -1)
        reduced = np.vectorize(lambda v: int(v.p) * pow(int(v.q), -1, PRIME) % PRIME, otypes=[np.int64])(
            np.vectorize(sympy.radsimp, otypes=[object])(exact)
        )
        assert (modular_jacobian(normalizer, X, W) == reduced).all()


def test_modular_rank() -> None:
    rng = np.random.default_rng(7)
    for rank in (1, 3, 5):
        rows = rng.integers(-9, 10, (6, rank)) @ rng.integers(-9, 10, (rank, 8))
        assert modular_rank(rows) == np.linalg.matrix_rank(rows) == rank
    assert modular_rank(np.zeros((3, 4), dtype=np.int64)) == 0


def test_a_nullity_that_the_orbit_does_not_explain_is_not_accepted() -> None:
    with pytest.raises(Inconclusive, match="from 1 to"):
        generic_nullity(fg.rms_norm, 2, 5, 3)  # too few cases


def test_progress_and_order(report: claims.Report, calls: list[tuple[int, int]]) -> None:
    assert calls == [(k + 1, len(report)) for k in range(len(report))]


def test_unknown_claims_are_named() -> None:
    with pytest.raises(InputError, match="LN-halves"):
        claims.check("LN-halves")


def test_report_as_sequence(report: claims.Report) -> None:
    assert report["LN-half"] is report.results[list(claims.REGISTRY).index("LN-half")]
    assert isinstance(report[:3], claims.Report) and len(report[:3]) == 3
    assert sum(report.counts().values()) == len(report)
    with pytest.raises(KeyError):
        report["LN-halves"]


def test_shown_as_text(report: claims.Report) -> None:
    lines = repr(report).splitlines()
    assert len(lines) == len(report) + 1
    assert str(len(report)) in lines[-1]
    assert "corrected:" in repr(report["LN-half"])
    assert "corrected:" not in repr(report["LN-10"])


def test_shown_as_markdown(report: claims.Report) -> None:
    rows = report.to_markdown().splitlines()
    assert len(rows) == len(report) + 2
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_shown_as_latex(report: claims.Report) -> None:
    text = report.to_latex()
    assert text.isascii()
    assert text.count(r"\item[") == len(report)
    plain = text.replace(r"\$", "")
    assert plain.count("$") % 2 == 0
    for formula in re.findall(r"\$([^$]*)\$", plain):
        bare = re.sub(r"\\[{}]", "", formula)
        assert bare.count("{") == bare.count("}"), formula
        assert formula.count(r"\begin") == formula.count(r"\end")
    outside = re.sub(r"\$[^$]*\$", "", plain)
    assert not re.search(r"(?<!\\)[&%#_^]", outside)


def test_shown_as_html(report: claims.Report) -> None:
    page = report._repr_html_()
    assert page.count("<tr>") == len(report) + 1
    assert page.count("<td>") == 7 * len(report)


def test_import_stays_light() -> None:
    code = "import sys, fishergeo; fishergeo.claims.REGISTRY; print({'sympy', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# what decides: the rules that turn facts into a verdict


def fact(true: bool, level: Level = Level.PROVED, text: str = "a fact") -> Fact:
    return Fact(text, true, level)


def test_decide_holds_at_the_weakest_level() -> None:
    found = decide(fact(True), fact(True, Level.NUMERIC))
    assert found.verdict == HOLDS
    assert found.level is Level.NUMERIC


def test_decide_keeps_only_conditions_that_are_needed() -> None:
    needs = [Condition("a", fact(True, Level.EXACT)), Condition("b", fact(False, Level.EXACT))]
    assert str(decide(fact(True), needs=needs).verdict) == "holds if a"
    assert decide(fact(True), needs=needs[1:]).verdict == HOLDS
    own = decide(fact(True), needs=[*needs, Condition("c", fact(True, Level.EXACT), sourced=True)]).verdict
    assert str(own) == "holds if a and c (in its source)" and own.left_out == ("a",)


def test_what_is_not_so_does_not_lower_the_level() -> None:
    negative = Fact("not so", True, Level.EXACT, negative=True)
    assert decide(fact(True), negative).level is Level.PROVED
    assert decide(fact(True, Level.NUMERIC), negative).level is Level.NUMERIC
    assert decide(negative).level is Level.EXACT


def test_floating_point_does_not_refute() -> None:
    with pytest.raises(Inconclusive, match="floating point"):
        decide(fact(True), fact(False, Level.NUMERIC))
    assert decide(fact(False, Level.NUMERIC), fact(False, Level.EXACT)).verdict == REFUTED


def test_supporting_facts_must_hold() -> None:
    with pytest.raises(Inconclusive, match="supporting"):
        decide(fact(True), also=[fact(False)])
    with pytest.raises(Inconclusive, match="supporting"):
        decide(fact(False), instead=Correction("the contrary", (fact(False),)))


def test_identities_are_proved_or_refuted() -> None:
    run = generic_run(fg.layer_norm)
    ones = (run.value * run.value).sum(axis=1) - sympy.Symbol("H", positive=True, integer=True)
    assert identity("Σ_h â² = H", ones).level is Level.PROVED
    wrong = identity("Σ_h â² = H + 1", ones - 1)
    assert not wrong and wrong.level is Level.EXACT and "is -1 at" in wrong.text


def test_vanishing_is_not_claimed_in_vain() -> None:
    a, b = symbols("a"), symbols("b")
    root = (a * a + b * b + 1).sqrt()
    assert vanishes((root * root / root - root).expr)
    assert vanishes(((a * a + b * b + 1) / root - root).expr)
    for wrong in (root - 1, root + root, root / root - 2, root * root - a * a - b * b):
        assert not vanishes(wrong.expr)


def test_exact_comparison_of_roots() -> None:
    two = rationals(2)
    assert exactly("{left}", sympy.sqrt(8), 2 * sympy.sqrt(two))
    assert not exactly("{left}", sympy.sqrt(2), Fraction(99, 70))


def test_expressions_that_agree_at_a_point_only() -> None:
    x = sympy.Symbol("x", positive=True)
    assert identical("squares", [(x + 1) ** 2], [x**2 + 2 * x + 1]).level is Level.IDENTITY
    with pytest.raises(Inconclusive):
        identical("agree at 1", [x], [x**2])

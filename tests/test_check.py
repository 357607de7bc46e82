"""`fg.check` must fail on values that are wrong on purpose, in the one contract that they break."""

from __future__ import annotations

from dataclasses import replace

import contracts
import numpy as np
import pytest
from wrong import WRONG_FAMILIES, Blind, Broken

import fishergeo as fg
from fishergeo.contracts import links as checked_links
from fishergeo.contracts import normalizers as checked
from fishergeo.links import LINKS, Link, nbinom, power
from fishergeo.symbolic.sums import I, J


def test_check_refuses_trials_for_each_case():
    contracts.is_refused(lambda: fg.check(fg.binomial([3, 4, 5])), "binomial(3 cases)", "give one number of trials")


@pytest.mark.parametrize(
    ("contract", "name"), [(contract, name) for contract, names in WRONG_FAMILIES.items() for name in names]
)
def test_check_finds_the_one_contract_that_a_family_breaks(contract, name):
    result = fg.check(WRONG_FAMILIES[contract][name])
    broken = [r.contract for r in result.results if not r.passed]
    assert len(broken) == 1, result
    assert contract in broken[0]


def only(contract, normalizer):
    """What one contract of `fg.check` says about a normalizer."""
    return next(result for result in fg.check(normalizer).results if contract in result.contract)


def test_check_tells_pairs_of_units_apart(monkeypatch):
    """1/δ_i² in the place of 1/(δ_iδ_j) is true on the diagonal, and where all δ are alike."""

    def wrong(normalizer, transformation):
        law = fg.fisher_scaling(normalizer, transformation)
        ww = law.blocks["ww"]
        return law if ww is None else replace(law, blocks={**law.blocks, "ww": ww.xreplace({J: I})})

    assert only("scale", fg.batch_norm).passed
    monkeypatch.setattr(checked, "fisher_scaling", wrong)
    assert not only("scale", fg.batch_norm).passed
    assert only("scale", fg.layer_norm).passed  # its δ is one number


def test_check_finds_null_directions_without_a_generator(monkeypatch):
    assert only("null space", fg.batch_norm).passed
    assert not only("null space", replace(fg.batch_norm, summed=Broken(Blind))).passed

    def forgets(hidden):
        def found(model, p, X):
            full = fg.symmetries(model, p, X)
            return replace(full, unexplained=1) if hidden(model, X) else full

        return found

    for hidden, named in (
        (lambda model, X: model.family is fg.poisson, "poisson, generic data"),
        (lambda model, X: np.linalg.matrix_rank(X) < X.shape[1], "gaussian, dependent inputs"),
        (lambda model, X: len(np.unique(X, axis=0)) < len(X), "gaussian, data with repeated rows"),
    ):
        monkeypatch.setattr(checked, "symmetries", forgets(hidden))
        result = only("null space", fg.batch_norm)
        assert not result.passed
        assert named in result.detail


@pytest.mark.parametrize("link", [*LINKS, power(-3), power(1.5), nbinom(0.7)], ids=lambda link: link.name)
def test_check_of_every_link(link):
    assert fg.check(link)


WRONG_CURVES = {
    "only rises": lambda bent: replace(bent, slope=lambda z: bent.slope(z) * np.sign(z)),
    "natural parameter": lambda bent: replace(bent, bend=lambda z: 1.001 * bent.bend(z)),
    "Fisher weight": lambda bent: replace(bent, weight=lambda z: 1.001 * bent.weight(z)),
}


@pytest.mark.parametrize("contract", WRONG_CURVES)
def test_check_finds_what_a_link_breaks(contract, monkeypatch):
    right = checked_links.curve
    monkeypatch.setattr(checked_links, "curve", lambda family, link: WRONG_CURVES[contract](right(family, link)))
    broken = [r.contract for r in fg.check(fg.links.probit).results if not r.passed]
    assert any(contract in name for name in broken)
    assert len(broken) == 1 or contract == "only rises"  # whose slope is wrong


WRONG_LINKS = {
    "square": (lambda z: z**2, "turns near"),
    "numbers": (lambda z: np.exp(z), "failed on SymPy symbols with TypeError"),
    "text": (lambda z: "z", "failed on SymPy symbols with SympifyError"),
    "constant": (lambda z: 3, "does not vary with z"),
    "none": (lambda z: None, "failed on SymPy symbols"),
}


@pytest.mark.parametrize("name", WRONG_LINKS)
def test_check_of_a_wrong_link(name):
    inverse, why = WRONG_LINKS[name]
    result = fg.check(Link(name, inverse))
    assert not result
    assert any(why in r.detail for r in result.results)


def test_a_function_that_fails_breaks_its_contract():
    def fails(mean, phi, rng):
        raise KeyError("no such draw")

    result = fg.check(replace(fg.poisson, draw=fails))
    assert [r.passed for r in result.results[:2]] == [True, True]
    assert all("KeyError: 'no such draw'" in r.detail for r in result.results[2:])

"""Every member of the zoo has a complete page, written from its value; what the pages say is checked by another route."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_docs

import fishergeo as fg
from fishergeo.families import FAMILIES, Family
from fishergeo.links import LINKS, Link
from fishergeo.normalizers import ZOO, Normalizer
from fishergeo.report.mathml import mathml
from fishergeo.symbolic.latex import block_name
from fishergeo.transformations import PAPER, TRANSFORMATIONS, Transformation

DOCS = Path(__file__).resolve().parent.parent / "docs"
sys.path.insert(0, str(DOCS))

import members  # noqa: E402
from _generate import catalogue, curves, families, formulas, links, normalizers  # noqa: E402

Pages = dict[str, str]
PARTS = ("normalizers", "families", "links", "transformations")


@pytest.fixture(scope="module")
def files() -> dict[str, Any]:
    with np.errstate(all="warn"):
        return {str(path): content for path, content in members.pages()}


@pytest.fixture(scope="module")
def pages(files: dict[str, Any]) -> Pages:
    return {path.removesuffix(".md"): text for path, text in files.items() if path.endswith(".md")}


# --- every member has a page -----------------------------------------------------------------------------------------


def public(kind: type, module: Any) -> set[str]:
    """The names of the values of ``kind`` that a module offers, and of the functions that make one."""
    found = set()
    for name in dir(module):
        value = getattr(module, name)
        made = inspect.isfunction(value) and inspect.get_annotations(value).get("return") == kind.__name__
        if isinstance(value, kind) or (made and not name.startswith("_")):
            found.add(name)
    return found


def test_every_member_has_a_page(pages: Pages) -> None:
    listed = {part: {Path(name).name for name in pages if name.startswith(part)} - {"index"} for part in PARTS}
    assert listed["normalizers"] == {catalogue.file_name(m) for m in ZOO}
    assert listed["transformations"] == {t.name for t in TRANSFORMATIONS} == public(Transformation, fg)
    assert listed["families"] == public(Family, fg) >= {family.name for family in FAMILIES}
    assert listed["links"] == public(Link, fg.links) >= {link.name for link in LINKS}


def test_every_public_normalizer_has_a_page(pages: Pages) -> None:
    """Also those that a function makes: one page is of its result."""
    made_elsewhere = {"compose", "population_statistics", "running_statistics"}  # of other normalizers
    calls = [call[-1].removeprefix("fg.").partition("(")[0] for call in catalogue.normalizer_calls().values()]
    assert set(calls) == public(Normalizer, fg) - made_elsewhere
    assert len(calls) == len(ZOO)


def test_the_code_on_a_page_makes_its_value() -> None:
    for normalizer in ZOO:
        *imports, call = catalogue.normalizer_calls()[normalizer.name]
        names: dict[str, Any] = {"fg": fg}
        exec("\n".join(imports), names)
        assert eval(call, names) == normalizer


def test_every_member_names_its_source(pages: Pages) -> None:
    """Those of the zoo do, on their page and in the list; transformations beyond the paper have none."""
    named = [(f"families/{name}", family) for name, (family, _) in catalogue.family_members().items()]
    named += [(f"links/{name}", link) for name, (link, _) in catalogue.link_members().items()]
    named += [(f"normalizers/{catalogue.file_name(m)}", m) for m in ZOO]
    for path, value in named:
        part, _, name = path.partition("/")
        row = next(line for line in pages[f"{part}/index"].splitlines() if f"]({name}.md) |" in line)
        cited = value.source.partition(",")[0]
        assert cited and cited in pages[path].partition("```")[0] and cited in row, path


# --- every page is complete ------------------------------------------------------------------------------------------

SECTIONS = {
    "normalizers": ("Definition", "Invariances", "Fisher matrix", "How the blocks scale", "Null space", "See also"),
    "families": ("Definition", "Links", "Fisher matrix", "Sampler", "See also"),
    "links": ("Definition", "Families", "See also"),
    "transformations": ("Which normalizers are invariant", "How the Fisher blocks scale"),
}


def missing(name: str, text: str) -> list[str]:
    """What a page should have and does not."""
    part, _, member = name.partition("/")
    wanted = [f"\n## {title}\n" for title in SECTIONS[part]]
    if part == "normalizers":
        normalizer = next(m for m in ZOO if catalogue.file_name(m) == member)
        wanted += [f"# {normalizer.title}\n", f"]({member}.svg)", "\\hat{a}", *_invariances(normalizer)]
        wanted += re.findall(r"arXiv (\d{4}\.\d{5})", normalizer.source) or [normalizer.source]
    if part == "transformations":
        transformation = next(t for t in TRANSFORMATIONS if t.name == member)
        wanted += [f"```{{math}}\n{transformation.formula}\n```"]
        wanted += [
            f"| [{m.title}](../normalizers/{catalogue.file_name(m)}.md) | {_mark(m, transformation)} |" for m in ZOO
        ]
    if part == "families":
        wanted += [
            "\\eta(\\theta) &= ",
            "V(\\mu) &= ",
            "c(y, \\phi) &= ",
            "| mean |",
            "| dispersion |",
            "| observations $y$ |",
        ]
    if part == "links" and member != "canonical":
        wanted += ["g(\\mu) &= ", "g^{-1}(z) &= ", "\\frac{d\\mu}{dz} &= ", "\\frac{d^2\\mu}{dz^2} &= ", "Predictors: "]
    gone = [piece for piece in wanted if piece not in text]
    if part == "normalizers":  # in matrix form and in index notation, perhaps over several lines
        blocks = re.findall(r"```\{math\}\n(?:\\begin\{aligned\}&?)?(\\bar\{F\}_\{\w_i \w_j\}) (?:&?=|\\\\ &)", text)
        gone += [block_name(a, b) for a, b in _pairs(normalizer) if blocks.count(block_name(a, b)) != 2]
    return gone


def _pairs(normalizer: Normalizer) -> list[tuple[str, str]]:
    parts = ["weight", "bias", *(["gain"] if normalizer.has_gain else [])]
    return [(a, b) for k, a in enumerate(parts) for b in parts[k:]]


def _mark(normalizer: Normalizer, transformation: Transformation) -> str:
    return "✓" if fg.prove(normalizer, transformation) else "✗"


def _invariances(normalizer: Normalizer) -> list[str]:
    """The row of the table, the steps of every proof, the model of every counterexample."""
    wanted = []
    for t in TRANSFORMATIONS:
        verdict = fg.prove(normalizer, t)
        conditions = ", ".join(verdict.conditions)
        wanted.append(
            f"[{t.title}](../transformations/{t.name}.md) | ${t.formula}$ | {_mark(normalizer, t)} | {conditions} |"
        )
        for witness in (verdict.witness, verdict.sign):
            wanted += [] if witness is None else [witness.latex().partition(r":\quad")[0]]
        wanted += [f"{step.quantity} &" for step in verdict.steps]
    return wanted


def test_every_page_is_complete(pages: Pages) -> None:
    incomplete = {name: missing(name, text) for name, text in pages.items() if not name.endswith("index")}
    assert {name: parts for name, parts in incomplete.items() if parts} == {}


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("normalizers/batch_norm", "| ✓ |"),
        ("normalizers/batch_norm", "\\bar{F}_{w_i g_j} = "),
        ("normalizers/layer_norm", "(layer_norm.svg)"),
        ("normalizers/rms_norm", "X = "),
        ("families/gamma", "V(\\mu)"),
        ("links/probit", "Predictors"),
        ("transformations/sign_flip", "W \\to -W"),
    ],
)
def test_an_incomplete_page_is_noticed(pages: Pages, name: str, cut: str) -> None:
    assert cut in pages[name]
    assert missing(name, pages[name].replace(cut, ""))


# --- what the pages say ----------------------------------------------------------------------------------------------


def test_the_table_of_the_paper_is_on_the_pages(pages: Pages) -> None:
    """Table 1 of Ba, Kiros, Hinton 2016, as printed there."""
    printed = {"batch_norm": "✓✗✓✓✓✗", "weight_norm": "✓✗✓✗✗✗", "layer_norm": "✓✓✗✓✗✓"}
    for name, row in printed.items():
        text = pages[f"normalizers/{name}"]
        found = [re.search(rf"\({'../transformations/'}{t.name}\.md\) \|[^|]*\| (.) \|", text) for t in PAPER]
        assert "".join(match[1] for match in found if match) == row


def test_every_block_of_code_runs(pages: Pages) -> None:
    for name, text in pages.items():
        result = test_docs.run(text, name)
        assert (result.failed, result.attempted) == (0, text.count(">>> ")), name


def test_every_formula_is_drawn_without_scripts(pages: Pages) -> None:
    for name, text in pages.items():
        displays = re.findall(r"```\{math\}\n(.*?)\n```", text, re.DOTALL)
        rest = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
        for formula in (*displays, *re.findall(r"\$([^$\n]+)\$", rest)):
            assert mathml(formula).startswith("<math"), (name, formula)
        assert "<script" not in text


def test_every_link_leads_somewhere(files: dict[str, Any], pages: Pages) -> None:
    for name, text in pages.items():
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if not target.startswith("https://arxiv.org/abs/"):
                path = (DOCS / "zoo" / name).parent / target
                inside = path.resolve().is_relative_to(DOCS / "zoo")
                relative = str(path.resolve().relative_to(DOCS / "zoo")) if inside else ""
                assert relative in files or (not inside and path.resolve().exists()), (name, target)


def test_files_are_written_once_and_stale_ones_removed(tmp_path: Path, files: dict[str, Any], monkeypatch: Any) -> None:
    some = [(Path(name), content) for name, content in files.items() if "weight_norm" in name]
    monkeypatch.setattr(members, "pages", lambda: iter(some))
    members.write(tmp_path)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "gone.md").write_text("# gone")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*weight_norm*")}
    members.write(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    assert len(before) == len(some) > 4


# --- definitions -----------------------------------------------------------------------------------------------------


def test_definitions_are_those_of_the_textbook() -> None:
    assert dict(formulas.definition_latex(fg.batch_norm)) == {
        r"a_{n h}": r"\sum_{e=1}^{D} w_{h e} x_{n e}",
        r"\bar{a}_{h}": r"\frac{1}{N} \sum_{m=1}^{N} a_{m h}",
        r"\sigma_{h}": r"\sqrt{\frac{1}{N} \sum_{m=1}^{N} \left(a_{m h} - \bar{a}_{h}\right)^{2}}",
        r"\hat{a}_{n h}": r"\frac{a_{n h} - \bar{a}_{h}}{\sigma_{h}}",
        r"z_{n h}": r"b_{h} + g_{h} \hat{a}_{n h}",
    }


def test_a_wrong_spread_is_refused(monkeypatch: Any) -> None:
    right = formulas._root
    monkeypatch.setattr(formulas, "_root", lambda entry, mean, cells, scale: right(entry, None, cells, scale))
    formulas.definition(fg.rms_norm)
    for normalizer in (fg.batch_norm, fg.group_norm(2), fg.weight_standardization):
        with pytest.raises(ArithmeticError, match="sigma"):
            formulas.definition(normalizer)


# --- families and links ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", catalogue.family_members())
def test_the_block_of_every_family_is_that_of_the_operator(name: str, rng: np.random.Generator) -> None:
    family, _ = catalogue.family_members()[name]
    N, D, H = 7, 3, family.units or 4
    X = rng.normal(size=(N, D))
    model = fg.GLM(family, dispersion=0.7 if family.free_dispersion else 1.0)
    bias = -5.0 if family.domain.upper <= 0 else 0.3
    p = fg.Params(0.3 * rng.normal(size=(H, D)), np.full(H, bias))
    block = fg.fisher_block(fg.identity, "weight", "weight", family).lambdify()(model, p, X)
    F = fg.fisher(model, p, X)
    for i, j in np.ndindex(H, H):
        np.testing.assert_allclose(block[i, j], F.block(i, j)[:D, :D], rtol=1e-12, atol=1e-15)


@np.errstate(under="ignore", over="ignore")
def test_ranges_of_links_hold_their_means_and_no_less() -> None:
    for link, _ in catalogue.link_members().values():
        if link.inverse is None:
            continue
        z = np.geomspace(1e-5, 1e4, 200)
        z = z if link.positive else np.concatenate([-z[::-1], z])
        mean = links.special.numeric(link.mean_expression(), [link.predictor])(z)
        low, high = links.mean_range(link)
        assert low <= mean.min() < mean.max() <= high
        assert np.isinf(low) or mean.min() < low + 0.05
        assert np.isinf(high) or mean.max() > high - 0.05


def test_the_means_of_dependent_outputs_tell_their_natural_parameters_up_to_a_shared_part() -> None:
    shared = r"\theta_{i} - \log\sum_k e^{\theta_k}"
    assert families.canonical(fg.categorical) == (r"\log{\left(\mu_{i} \right)}", shared)
    assert families.canonical(fg.multinomial(4)) == (r"\log{\left(\frac{\mu_{i}}{4} \right)}", shared)


def test_a_wrong_weight_is_refused() -> None:
    weight = curves.of(fg.bernoulli, fg.links.probit).weight
    curves._confirm(fg.bernoulli, fg.links.probit, weight)
    with pytest.raises(ArithmeticError, match="probit"):
        curves._confirm(fg.bernoulli, fg.links.probit, 2 * weight)


def test_a_family_takes_the_links_that_share_a_mean_with_it() -> None:
    assert curves.of(fg.poisson, fg.links.log) is not None
    assert curves.of(fg.categorical, fg.links.log) is None
    assert curves.reaches(fg.bernoulli, fg.links.probit)
    assert not curves.reaches(fg.poisson, fg.links.probit)


def test_shortest_form_is_equal() -> None:
    sympy = links.sympy
    long = (sympy.sqrt(6) / 3 - sympy.sqrt(2) / 6) / sympy.sqrt(sympy.Rational(1, 3) + (sympy.sqrt(2) - 1) ** 2)
    short = normalizers.shortest(long)
    assert len(sympy.latex(short)) <= len(sympy.latex(long))
    assert abs((short - long).evalf(30)) < 1e-25


def test_members_one_choice_apart() -> None:
    near, parts, wholes = catalogue.related(fg.layer_norm)
    assert (fg.rms_norm, "center") in near
    assert not parts and not wholes
    _, parts, _ = catalogue.related(fg.weight_norm_mean_only_batch_norm)
    assert parts == [fg.mean_only_batch_norm, fg.weight_norm]
    assert catalogue.differences(fg.batch_norm, dataclasses.replace(fg.batch_norm, name="other")) == []

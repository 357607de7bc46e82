"""The report: self-contained, made of nothing but its results, right in what it says about its data."""

from __future__ import annotations

import json
import math
import re
import shutil
from html.parser import HTMLParser

import contracts
import numpy as np
import pytest

import fishergeo as fg
from fishergeo.cli import main
from fishergeo.datasets import Data, load, prepare
from fishergeo.report import document, html, sections, tex
from fishergeo.report.blocks import Formula
from fishergeo.report.compute import Settings, default_normalizers, used
from fishergeo.report.mathml import escape_tex, marked, mathml, to_html, to_tex
from fishergeo.report.names import normalizer, normalizers
from fishergeo.report.numbers import number
from fishergeo.report.study import best_constant, standardized, starting_point, study, train

FIGURES = ("effective_rate", "fisher_matrices", "scaling", "spectra", "training")


def _write_data(path, rng):
    """Three classes, five inputs of different scales, one of them constant, and a column name that TeX must escape."""
    X = rng.normal(size=(40, 5)) * [1, 10, 0.1, 2, 0] + [0, 5, 1, -2, 3]
    y = ((X[:, :3] - [0, 5, 1]) / [1, 10, 0.1] + rng.normal(size=(40, 3))).argmax(axis=1)
    names = ["low", "mid_50%", "high & up"]
    lines = [",".join([*(f"{v:.4f}" for v in row), names[k]]) for row, k in zip(X, y)]
    path.write_text("\n".join(["a_1,b,c,d,same,kind", *lines]) + "\n", encoding="utf-8")


class Page(HTMLParser):
    """All tags with their attributes, and the text in cells."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def values(self, name):
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def test_a_report(tmp_path, monkeypatch, rng, capsys):
    monkeypatch.chdir(tmp_path)
    _write_data(tmp_path / "data.csv", rng)
    command = [
        "report",
        "--data",
        "data.csv",
        "--target",
        "kind",
        "--steps",
        "40",
        "--normalizers",
        "none,batch,layer",
        "-o",
        "out",
    ]
    assert main(command) == 0
    assert capsys.readouterr().out == "out/index.html\n"
    folder = tmp_path / "out"
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    page = (folder / "index.html").read_text(encoding="utf-8")
    source = (folder / "report.tex").read_text(encoding="utf-8")
    _check_files(folder, results)
    _check_page(page)
    _check_tex(source)
    _check_numbers(folder, results, page, source)
    _check_geometry(tmp_path / "data.csv", results)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv", "out"]
    problem = prepare(load("data.csv", "kind"), fg.categorical)
    data, _ = used(problem, Settings(fg.categorical, (fg.layer_norm,)))
    again, _ = study(data, fg.GLM(fg.categorical, fg.layer_norm), 40, 0, lambda label: None)
    assert json.loads(json.dumps(again)) == results["normalizers"][2], "the same seed must give the same numbers"


def _check_files(folder, results):
    names = {"index.html", "report.tex", "results.json", *(f"{f}.{kind}" for f in FIGURES for kind in ("svg", "png"))}
    if shutil.which("pdflatex"):
        assert results["pdf"] == "report.pdf" and (folder / "report.pdf").read_bytes().startswith(b"%PDF")
        names.add("report.pdf")
    assert {path.name for path in folder.iterdir()} == names == set(results["files"])
    assert results["command"].startswith("fishergeo report --data data.csv") and results["seed"] == 0


def _check_page(page):
    parsed = Page(page)
    used_tags = {tag for tag, _ in parsed.tags}
    assert not used_tags & {"script", "link", "iframe", "img", "object", "embed", "base", "form"}
    assert "://" not in page and "@import" not in page
    assert all(url.startswith("#") for url in re.findall(r"url\(([^)]*)\)", page))
    assert all(url.startswith(("#", "data:image/png;base64,")) for url in parsed.values("href"))
    ids = parsed.values("id")
    assert len(ids) == len(set(ids)) and not any(" " in name for name in ids), "ids must be unique words"
    assert {url[1:] for url in parsed.values("href") if url.startswith("#")} <= set(ids), "links must lead somewhere"
    assert sum(tag == "svg" for tag, _ in parsed.tags) == len(FIGURES)
    assert sum(tag == "math" for tag, _ in parsed.tags) > 300 and "merror" not in used_tags
    text = re.sub(r"<style>.*?</style>|<code>.*?</code>|<svg.*?</svg>|<[^>]*>", " ", page, flags=re.DOTALL)
    assert "\\" not in text and "$" not in text, "LaTeX must not show through"


def _check_tex(source):
    packages = re.findall(r"\\usepackage(?:\[.*?\])?{(.*?)}", source)
    assert set(",".join(packages).split(",")) == {"inputenc", "amsmath", "amssymb", "graphicx"}
    assert r"mid\_50\%" in source and r"high \& up" in source
    assert source.count(r"\begin{") == source.count(r"\end{")


def _check_numbers(folder, results, page, source):
    """Both documents are functions of results.json: every number that they show is in it."""
    written = document.write(results)
    svgs = {name: (folder / f"{name}.svg").read_text(encoding="utf-8") for name in FIGURES}
    assert html.render(written, svgs) == page
    assert tex.render(written) == source
    for one in results["normalizers"]:
        assert number(one["fisher"]["trace"]) in source and number(one["loss"]["end"]) in source


def _check_geometry(path, results):
    """What the report says, computed again from the data by the public functions."""
    data = results["data"]
    assert data["cases"] == 40 and data["constant_columns"] == ["same"] and data["rank"] == 5
    assert data["unit_names"] == ["high & up", "low", "mid_50%"]
    X = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(5))
    assert math.isclose(data["input_scale"], np.sqrt((X**2).mean()))
    for one in results["normalizers"]:
        F, null = one["fisher"], one["null_space"]
        assert F["size"] == 3 * (5 + 2 if one["name"] != "identity" else 5 + 1)
        assert F["rank"] + F["nullity"] == F["size"] and len(F["eigenvalues"]) == F["rank"]
        assert math.isclose(sum(F["eigenvalues"]), F["trace"], rel_tol=1e-9)
        assert math.isclose(F["eigenvalues"][0] / F["eigenvalues"][-1], F["condition"], rel_tol=1e-6)
        assert null["unexplained"] == 0 and sum(e["dimension"] for e in null["explained"]) == F["nullity"]
        assert one["loss"]["end"] < one["loss"]["start"]
    plain, batch, layer = results["normalizers"]
    assert plain["eq13_gap"] < 1e-12 and batch["eq13_gap"] < 1e-12 and layer["eq13_gap"] > 0.1
    for one in (batch, layer):
        assert one["scaling"]["doubling"] == {"ww": "1/4", "wb": "1/2", "wg": "1/2", "bb": "1", "bg": "1", "gg": "1"}
        assert math.isclose(one["scaling"]["slopes"]["ww"], -2, abs_tol=1e-6)
        assert one["training"]["norm_identity_defect"] < 1e-12
        assert one["training"]["effective_rate_end"] < one["training"]["effective_rate_start"]
    assert not plain["scaling"]["applies"] and plain["training"]["norm_identity_defect"] > 1e-6
    assert batch["scaling"]["curvature_along_w"] < 1e-12 < layer["scaling"]["curvature_along_w"]
    assert {claim["id"]: claim["kind"] for claim in results["claims"]}.items() >= {
        ("LN-half", "refuted"),
        ("LN-13-LN", "refuted"),
        ("LN-5.1-text", "refuted"),
    }
    cells = {(cell["normalizer"], cell["transformation"]): cell["invariant"] for cell in results["invariance"]["cells"]}
    assert cells["layer_norm", "case_rescaling"] and not cells["weight_norm", "dataset_rescaling"]


STARTS = [  # family, link, means of the outputs that it can have had
    (fg.gamma, None, (0.5, 1.0, 2.0)),
    (fg.gamma, fg.links.log, (0.01, 1.0, 40.0)),
    (fg.inverse_gaussian, fg.links.inverse_squared, (0.5, 1.0, 2.0)),
    (fg.negative_binomial(2.5), None, (0.5, 3.0, 40.0)),
    (fg.negative_binomial(2.5), fg.links.nbinom(0.3), (0.5, 3.0, 40.0)),
    (fg.binomial(10), fg.links.identity, (0.5, 4.0, 9.5)),
    (fg.binomial(128), fg.links.cloglog, (3.0, 60.0, 127.0)),
    (fg.poisson, fg.links.sqrt, (0.01, 1.0, 900.0)),
    (fg.bernoulli, fg.links.logc, (0.01, 0.5, 0.99)),
    (fg.multinomial(6), None, (1.0, 2.0, 3.0)),
    (fg.multivariate_gaussian([[2, 0.5, 0], [0.5, 1, 0], [0, 0, 1]]), None, (-3.0, 0.0, 2.0)),
]


@pytest.mark.parametrize(("family", "link", "means"), STARTS, ids=lambda value: getattr(value, "name", ""))
def test_the_start_is_around_the_best_constant_model(family, link, means, rng):
    """Inside the domain of every family and link; twice the spread of the predictors is, too."""
    X, Y = rng.normal(size=(60, 4)) + 1, np.tile(means, (60, 1))
    for method in (fg.identity, fg.batch_norm, fg.layer_norm, fg.prms_norm()):
        model = fg.GLM(family, method, link=link)
        best = best_constant(model, np.array(means))
        np.testing.assert_allclose(model.predict(best[None]).mean[0], means, rtol=1e-5, atol=1e-5)
        Z = model.predictor(starting_point(model, X, Y, np.random.default_rng(0)), X)
        np.testing.assert_allclose(Z.mean(axis=0), best, rtol=1e-9, atol=1e-12)
        assert (Z.std(axis=0) <= 1 + 1e-12).all()
        model.predict(best + 2 * (Z - best))


def test_means_that_a_link_does_not_reach_are_refused():
    model = fg.GLM(fg.gaussian, link=fg.links.log)
    contracts.is_refused(lambda: best_constant(model, np.array([1.0, -1.0])), "no constant model", "use another")


@pytest.mark.parametrize(("link", "theta"), [(None, "z"), ("log", r"\theta")])
def test_the_model_is_that_of_the_link(link, theta):
    """Under a link z is not the natural parameter: neither in log p nor in the Jacobian."""
    data = {"name": "d", "cases": 3, "cases_used": 3, "source": "", "inputs": 2, "rank": 2, "constant_columns": []}
    data |= {"input_scale": 1.0, "what": "y", "units": 1, "unit_names": ["y"]}
    run = {"training": {"rate": 1.0, "steps": 1, "batch": 3}, "loss": {"start": 1.0, "end": 0.5}}
    study = {"title": "identity", "definition": "", "block": r"\omega" if link else "", **run}
    results = {"data": data, "link": link, "family": "poisson", "normalizers": [study], "note": ""}
    (model,) = (block.latex for block in document._data(results) if isinstance(block, Formula))
    assert rf"y \cdot {theta} - \eta({theta})" in model
    fisher = sections.fisher(results)
    _, formula, text = (next(fisher) for _ in range(3))
    assert rf"\partial {theta}_n" in formula.latex
    assert ("omega" in text.text) == bool(link)


def test_training_and_start(rng):
    X, Y = rng.normal(size=(60, 4)) + 1, fg.datasets.one_hot(rng.integers(0, 3, 60))
    for family in (fg.categorical, fg.bernoulli, fg.poisson, fg.gaussian):
        for method in (fg.identity, fg.batch_norm, fg.weight_norm, fg.layer_norm):
            model = fg.GLM(family, method)
            p = starting_point(model, X, Y, np.random.default_rng(0))
            Z = model.natural(p, X)
            np.testing.assert_allclose(Z.std(axis=0), 1, rtol=1e-12)
            np.testing.assert_allclose(family.mean(Z.mean(axis=0)), Y.mean(axis=0), atol=1e-3)
    trained = train(fg.GLM(fg.categorical, fg.weight_norm), X, Y, 30, 0)
    assert trained.losses[1] < trained.losses[0] and trained.run.steps == 30
    with pytest.raises(fg.InputError, match="use a smaller rate"):
        train(fg.GLM(fg.poisson), X, Y, 30, 0, rate=1e6)


def test_standardized_columns(rng):
    X = np.column_stack([rng.normal(3, 5, size=30), np.full(30, 2.0), rng.normal(size=30)])
    Z = standardized(X)
    np.testing.assert_allclose(Z.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(Z.std(axis=0), [1, 0, 1], atol=1e-14)


def test_what_is_degenerate_is_left_out_of_the_defaults_and_said():
    data = Data("d", np.arange(12.0).reshape(6, 2), ("a", "b"), (np.array([0.0, 1, 0, 1, 1, 0]),), ("y",))
    problem = prepare(data, fg.bernoulli)
    kept, note = default_normalizers((fg.identity, fg.batch_norm, fg.layer_norm), problem)
    assert kept == (fg.identity, fg.batch_norm) and note == "Left out: layer norm needs at least 3 units."
    inputs = np.vstack([data.X + 1, [[2, 2], [0, 0]]])
    labels = (np.append(data.y[0], [2, 2]),)
    problem = prepare(Data("d", inputs, ("a", "b"), labels, ("y",), lines=tuple(range(2, 10))), fg.categorical)
    kept, note = default_normalizers((fg.batch_norm, fg.layer_norm, fg.layer_norm.with_eps(1e-5)), problem)
    assert kept == (fg.batch_norm, fg.layer_norm.with_eps(1e-5))
    assert note == "Left out: layer norm cannot divide by σ = 0, for the inputs in line 9 are all 0."


def test_many_cases_are_sampled_with_the_seed(rng):
    X, y = rng.normal(size=(50, 3)), rng.integers(0, 3, 50).astype(float)
    problem = prepare(Data("d", X, ("a", "b", "c"), (y,), ("y",)), fg.categorical)
    settings = Settings(fg.categorical, (fg.identity,), cases=20, seed=3)
    one, facts = used(problem, settings)
    assert one.X.shape == (20, 3) and (facts["cases"], facts["cases_used"]) == (50, 20)
    assert (used(problem, settings)[0].X == one.X).all()
    assert not np.array_equal(used(problem, Settings(fg.categorical, (fg.identity,), cases=20, seed=4))[0].X, one.X)
    np.testing.assert_allclose((one.X**2).mean(), 1)


def test_names():
    assert (
        normalizer("none") is fg.identity
        and normalizer("Batch-Norm") is fg.batch_norm
        and normalizer("rms") is fg.rms_norm
    )
    assert normalizers("layer, layer_norm,none") == (fg.layer_norm, fg.identity)
    both = normalizer("weight+mean_only_batch")
    assert both.stages == fg.weight_norm_mean_only_batch_norm.stages
    small = normalizer("layer", 1e-5)
    assert small.name == "layer_norm, eps=1e-05" and small.stages == fg.layer_norm.with_eps(1e-5).stages
    assert normalizer("none", 1e-5) is fg.identity


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (7, "7"),
        (None, "–"),
        (0.12345, "0.123"),
        (1234.5, "1230"),
        (-2.0, "-2"),
        (3.65e7, r"$3.65\times 10^{7}$"),
        (1.2e-16, r"$1.20\times 10^{-16}$"),
    ],
)
def test_numbers(value, shown):
    assert number(value) == shown


def test_formulas_for_the_browser():
    assert "columnalign" not in mathml(r"\begin{aligned}a &\to b && \text{so} \\ c &= d\end{aligned}", display=True)
    assert "text-align: right" in mathml(r"\begin{aligned}a &= b\end{aligned}")
    assert "𝝌" in mathml(r"\boldsymbol{\chi}_i") and "𝐖" in mathml(r"\mathbf{W}") and "𝟏" in mathml(r"\mathbf{1}")
    assert "<mtext>Cov</mtext>" in mathml(r"\mathrm{Cov}[y]")
    assert "<msup>" not in mathml("f''") and "″" in mathml("f''")
    assert mathml(r"X = \begin{bmatrix}1\\2\end{bmatrix}").count("<mrow><mo") == 1
    assert "mspace" not in mathml(r"\sin^{2}{\left(x \right)}") and "mspace" in mathml(r"\log x")  # one base, one script
    assert '<mover accent="true">' in mathml(r"\check{a}") and "‾" in mathml(r"\bar{F}")
    with pytest.raises(ValueError, match="not convertible"):
        mathml(r"\frobnicate{x}")


def test_every_formula_of_the_package_has_mathml():
    for verdict in fg.invariance_table():
        mathml(verdict.latex(), display=True)
    for method in fg.normalizers.ZOO:
        mathml(fg.fisher_scaling(method, fg.weight_matrix_rescaling).latex(), display=True)
        mathml(fg.fisher_block(method, "weight", "weight").matrix_latex(), display=True)


def test_text_for_both_documents():
    text = "**100 %** of `a_b` & <c> where $x_i < 2$"
    assert to_tex(text) == r"\textbf{100 \%} of \texttt{a\_b} \& $<$c$>$ where $x_i < 2$"
    assert to_html(text).startswith("<strong>100 %</strong> of <code>a_b</code> &amp; &lt;c&gt; where <math")
    assert escape_tex("naïve δ \u6e29 5") == r"na\"{i}ve $\delta$ [U+6E29] 5"
    assert marked("w_11 grows by 50 % & σ²") == r"w$_{11}$ grows by 50 % & $\sigma ^{2}$"

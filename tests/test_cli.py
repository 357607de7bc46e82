"""The command line: what it prints, and one line and exit code 2 for whatever is wrong."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

import fishergeo as fg
from fishergeo.cli import main

ROWS = "".join(f"{i * 7 % 11},{i * 5 % 13},{i % 3},{'pqr'[i % 3]},{i % 2}\n" for i in range(24))
COUNTED = "".join(
    f"{i * 7 % 11 + 1},{i * 5 % 13},{i % 3 + 2},{3 - i % 3},{i % 2 + 1},{5 - i % 2 - 1}\n" for i in range(24)
)
FILES = {
    "good.csv": "a,b,n,kind,coin\n" + ROWS,
    "text.csv": "a,b,k\n1,x,p\n2,3,q\n",
    "nan.csv": "a,b,k\n1,nan,p\n2,3,q\n",
    "ragged.csv": "a,b,k\n1,2,p\n2,3\n",
    "constant.csv": "a,b,k\n" + "1,2,p\n1,2,q\n1,2,r\n" * 8,
    "zero.csv": "a,b,k\n" + "0,0,p\n0,0,q\n0,0,r\n" * 8,
    "negative.csv": "a,b,n\n" + "1,2,-1\n3,5,2\n4,7,3\n" * 5,
    "below.csv": "a,b,n\n" + "1,2,-1\n3,5,-2\n4,7,1\n" * 5,
    "three.csv": "a,b,y\n1,2,1.5\n3,5,2.5\n4,4,2\n",
    "two.csv": "a,b,k\n1,2,p\n3,4,q\n",
    "counts.csv": "a,b,p,q,r,s\n" + COUNTED,
    "even.csv": "a,b,c,k\n1,2,1,p\n3,5,2,q\n4,4,4,r\n1,7,3,p\n2,5,4,q\n8,4,5,r\n",
    "text.npy": "a text",
    "file": "a file",
    "mine/notes.txt": "my own notes",
}
COUNTS = "--data counts.csv --target p q r --drop s"
GOOD = "--data good.csv --target kind --drop n coin"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "fifo.csv")
    (tmp_path / "link").symlink_to("mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder, capsys):
    """Run the command line in a folder of files; returns exit code, output and errors."""

    def command(line: str) -> tuple[int, str, str]:
        code = main(line.split())
        return code, *capsys.readouterr()

    return command


BAD = [
    ("", "arguments are required: COMMAND"),
    ("reprot", "invalid choice: 'reprot'"),
    ("report --frob", "unrecognized arguments: --frob"),
    ("report --data nan.cvs --target k", "suffix '.cvs'"),
    ("report --data goood.csv --target kind", "goood.csv is missing; did you mean good.csv?"),
    ("report --data good.csv", "name the column to predict (--target); there is a, b, n, kind, coin"),
    ("report --data good.csv --target knd", "no column 'knd': did you mean 'kind'?"),
    ("report --data good.csv --target kind --drop knd", "no column 'knd': did you mean 'kind'?"),
    ("report --target kind", "give the file too (--data)"),
    ("report --data text.csv --target k", "line 2, column 'b' holds 'x', not a number"),
    ("report --data nan.csv --target k", "line 2, column 'b' holds 'nan'; drop or impute that row"),
    ("report --data ragged.csv --target k", "line 3 has 2 cells but the header has 3"),
    ("report --data constant.csv --target k", "every input column is constant"),
    ("report --data zero.csv --target k", "every input is 0"),
    ("report --data negative.csv --target n --family poisson", "'n' is -1 in line 2: the support of poisson is"),
    ("report --data good.csv --target kind --family gaussian", "'kind' is text ('p' in line 2): gaussian needs numbers"),
    (
        "report --data good.csv --target a --drop kind --family gaussian --normalizers layer",
        "layer_norm got H=1 but needs 3 or more",
    ),
    ("report --data three.csv --target y --family gaussian --cases 2", "--cases 2: use at least three"),
    (f"report {GOOD} --normalizers batch,laier", "unknown normalizer 'laier': did you mean 'layer_norm'?"),
    (f"report {GOOD} --normalizers ,", "--normalizers is empty"),
    (f"report {GOOD} --family gausian", "unknown family 'gausian': did you mean 'gaussian'?"),
    (f"report {GOOD} --eps -1", "finite ε >= 0"),
    (f"report {GOOD} --eps nan", "finite ε >= 0"),
    (f"report {GOOD} --steps 0", "--steps 0: training takes at least one step"),
    (f"report {GOOD} --steps many", "argument --steps: invalid int value: 'many'"),
    (f"report {GOOD} --seed -1", "--seed -1: a seed is a non-negative integer"),
    (f"report {GOOD} --steps 99999999999", "--steps 99999999999: more than 100000000 do not fit into memory"),
    (f"report {GOOD} --normalizers=", "--normalizers is empty"),
    (f"report {GOOD} --normalizers layer,rms", "layer_norm: the inputs in line 2 of good.csv are all 0, so σ = 0 there"),
    (f"report {GOOD} --normalizers batch+foo", "unknown normalizer 'foo'"),
    ("report --data two.csv --target k", "two.csv has too few rows (2): give 3 or more"),
    ("report --data mine --target k", "mine has the suffix ''"),
    ("report --data= --target k", "path='': give the name of a .csv, .npy or .npz file"),
    ("report --data text.npy --target 0", "text.npy is not a readable .npy file: it does not start like one"),
    ("report -o .", "the output '.' has no name"),
    ("report -o link", "link is a link: name the folder itself (-o)"),
    ("report -o file/report", "file is a file, not a folder: choose another output (-o)"),
    ("report -o /proc/report", "nothing can be written to the folder /proc (no such file or directory)"),
    ("report -o file", "file is a file: choose another name"),
    ("report -o mine", "mine holds 'notes.txt', which no report wrote"),
    ("report -o no/where", "the folder no does not exist"),
    ("table --format pdf", "invalid choice: 'pdf'"),
    ("table --normalizers layers", "unknown normalizer 'layers': did you mean 'layer_norm'?"),
    ("table --eps -3", "finite ε >= 0"),
    ("table --normalizers=", "--normalizers is empty: give names such as none,batch,weight,layer"),
    ("table --eps 1e400", "got eps=inf"),
    ("table layer", "unrecognized arguments: layer"),
    (f"fisher {GOOD} --steps -1", "--steps -1"),
    (
        "fisher --data good.csv --target coin --drop kind --family bernoulli --normalizer layer",
        "predict 3 or more columns or classes (--target)",
    ),
    ("fisher --data even.csv --target k --normalizer input_layer", "the inputs in line 4 of even.csv are all equal"),
    ("fisher --data even.csv --target k --drop b c --normalizer weight", "weight_norm got D=1 but needs 2 or more"),
    (f"fisher {GOOD} --normalizer batch,layer", "'batch,layer' names several normalizers: give one (--normalizer)"),
    (f"fisher {GOOD} --normalizer +", "unknown normalizer ''"),
    (f"fisher {GOOD} --eps 1e400", "identity got eps=inf"),
    (f"fisher {GOOD} --eps small", "argument --eps: invalid float value: 'small'"),
    ("fisher -o /proc/F.npz", "nothing can be written to the folder /proc"),
    ("fisher -o folder.csv", "folder.csv is a folder: give a file name"),
    ("fisher -o=", "has the suffix ''"),
    ("fisher -o F.txt", "suffix '.txt': give one of .npz, .csv"),
    ("fisher -o no/F.npz", "the folder no does not exist"),
    ("fisher -o mine", "suffix ''"),
    ("derive --normalizer frozen", "unknown normalizer 'frozen'"),
    ("derive --family foo", "unknown family 'foo'"),
    ("derive -o x.pdf", "suffix '.pdf': give one of .tex"),
    ("derive -o mine", "mine holds 'notes.txt', which no report wrote"),
    ("derive -o no/where/", "the folder no does not exist"),
    ("derive --family poisson --link prbit", "unknown link 'prbit': did you mean 'probit'?"),
    ("derive --family poisson --link power(0)", "power got p=0"),
    ("derive --link probit", "the probit link without a family"),
    ("derive --family categorical --link probit", "the outputs of a case are dependent"),
    ("derive --family multinomial(3) --link log", "the outputs of a case are dependent"),
    ("derive --blocks weight-gian", "unknown block 'weight-gian': did you mean 'weight-gain'?"),
    ("derive --blocks weight-gain", "identity has no gain"),
    ("derive --blocks=", "unknown block ''"),
    ("derive -o /proc/x.tex", "nothing can be written to the folder /proc"),
    ("table --normalizers layer,frozen_batch_norm(1,4)", "unknown normalizer 'frozen_batch_norm(1,4)': did you mean"),
    ("derive --normalizer batch,layer", "names several normalizers: give one (--normalizer), or compose them with +"),
    ("derive --eps -1", "identity got eps=-1.0"),
    (f"decay {GOOD} --rate -1", "sgd got rate=-1.0"),
    ("decay --steps 0", "--steps 0"),
    (f"decay {GOOD} --normalizers=", "--normalizers is empty"),
    (f"decay {GOOD} --rate nan", "sgd got rate=nan"),
    (f"decay {GOOD} --normalizers batch --rate 1e308", "the weights have overflowed; use a smaller rate"),
    ("decay --data good.csv --target coin --drop kind --family bernoulli", "layer_norm got H=1 but needs 3 or more"),
    ("decay -o fifo.csv", "fifo.csv is not a regular file: give a file name"),
    ("decay -o x.txt", "suffix '.txt': give one of .csv, .svg, .png, .pdf"),
    (f"fisher {GOOD} --family binomial", "binomial has no number of trials; give e.g. binomial(10)"),
    (f"fisher {GOOD} --family binomial(0)", "binomial got trials=0"),
    (f"fisher {GOOD} --family binomial(x)", "binomial got 'x', which is no number of trials; give e.g. binomial(10)"),
    (f"fisher {GOOD} --family multinomial(2.5)", "multinomial got trials=2.5"),
    (f"fisher {GOOD} --family negative_binomial(-1)", "negative_binomial got shape=-1.0"),
    (f"fisher {GOOD} --family gamma(2)", "unknown family 'gamma(2)': did you mean 'gamma'?"),
    (
        f"fisher {GOOD} --family multivariate_gaussian(__import__)",
        "which is no covariance; give e.g. multivariate_gaussian(",
    ),
    (f"fisher {GOOD} --family binomial(1e99999999)", "which is no number of trials"),
    ("fisher --family multinomial(5)", "the digits have no counts of multinomial(5)"),
    ("fisher --family binomial(5)", "the support of binomial(5) is the integers from 0 to 5"),
    (f"fisher {GOOD} --normalizer group_norm", "group_norm has no number; give e.g. group_norm(4)"),
    (f"fisher {GOOD} --normalizer prms(2)", "First got fraction=2"),
    (f"fisher {GOOD} --normalizer prms_norm(1/0)", "prms_norm got '1/0', which is no number; give e.g. prms_norm(1/16)"),
    (f"fisher {GOOD} --normalizer ghost_batch_norm(2.5)", "ghost_batch_norm got batches=2.5"),
    (f"fisher {GOOD} --link prbit", "unknown link 'prbit': did you mean 'probit'?"),
    (f"fisher {GOOD} --link probit", "categorical got the probit link"),
    (
        "decay --data below.csv --target n --family gaussian --link log --normalizers batch",
        "gaussian with the log link has no constant model",
    ),
    (
        f"report {COUNTS} --family multinomial(3)",
        "the targets p, q, r are 2, 3, 1 in line 2: multinomial(3) needs rows of",
    ),
    ("claims LN-haf", "unknown statement 'LN-haf': did you mean 'LN-half'?"),
    ("claims LN-half foo", "unknown statement 'foo': there is LN-T1, "),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_line_and_leaves_nothing(run, folder, line, message):
    before = sorted(folder.rglob("*"))
    code, out, err = run(line)
    assert code == 2 and out == ""
    assert err.startswith("fishergeo: error: ") and err.count("\n") == 1 and message in err
    assert sorted(folder.rglob("*")) == before


def test_the_paper_s_table(run):
    code, out, err = run("table --paper")
    assert (code, err) == (0, "")
    marks = {line[:11].strip(): line[11:].split() for line in out.splitlines()[-3:]}
    assert marks == {"batch norm": [*"✓·✓✓✓·"], "weight norm": [*"✓·✓···"], "layer norm": [*"✓✓·✓·✓"]}


@pytest.mark.parametrize(
    ("form", "start"), [("markdown", "| normalizer |"), ("latex", r"\begin{tabular}"), ("html", "<table>")]
)
def test_table_formats(run, form, start):
    code, out, _ = run(f"table --paper --normalizers none,weight+mean_only_batch --format {form}")
    assert code == 0 and out.startswith(start) and "weight norm+mean only batch norm" in out


def test_eps_breaks_the_scaling_invariances(run):
    _, out, _ = run("table --paper --normalizers layer --eps 1e-5 --proofs")
    assert [*"·✓····"] == next(line for line in out.splitlines() if line.startswith("layer norm, eps")).split()[-6:]
    assert "layer norm, eps=1e-05 / weight matrix recentering: invariant for all sizes" in out


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_fisher_matrix_is_printed_and_saved(run, folder, suffix):
    code, out, _ = run(f"fisher {GOOD} --normalizer batch_norm --steps 5 -o F.{suffix}")
    shown = dict(line.split(maxsplit=1) for line in out.splitlines()[:-1])
    assert code == 0 and out.splitlines()[-1] == f"F.{suffix}"
    assert shown["size"] == "12" and int(shown["rank"]) + int(shown["nullity"]) == 12
    if suffix == "npz":
        with np.load(folder / "F.npz", allow_pickle=False) as saved:
            F, names = saved["fisher"], saved["names"].tolist()
            assert saved["weight"].shape == (3, 2)
    else:
        F = np.loadtxt(folder / "F.csv", delimiter=",", skiprows=1)
        names = (folder / "F.csv").read_text().splitlines()[0].split(",")
    assert names[:4] == ["weight[0 0]", "weight[0 1]", "bias[0]", "gain[0]"] and len(names) == 12
    assert (F == F.T).all() and np.isclose(np.trace(F), float(shown["trace"]), rtol=1e-5)


FAMILIES = [  # family, link, the number of units
    ("gamma", None),
    ("gamma", "log"),
    ("inverse_gaussian", "inverse_squared"),
    ("binomial(10)", None),
    ("binomial(10)", "cloglog"),
    ("negative_binomial(2.5)", None),
    ("negative-binomial(2.5)", "nbinom(0.4)"),
    ("poisson", "sqrt"),
    ("gaussian", "power(1)"),
    ("gaussian", "log"),
    ("multivariate_gaussian([[2,1,0],[1,3,0],[0,0,1]])", None),
]


@pytest.mark.parametrize(("family", "link"), FAMILIES, ids=str)
def test_every_family_trains_on_a_file(run, family, link):
    given = f"fisher {COUNTS} --family {family} --normalizer batch --steps 3" + (f" --link {link}" if link else "")
    code, out, err = run(given)
    assert (code, err) == (0, "")
    name = family.partition("(")[0].replace("-", "_")
    assert f"(expected), {name}" in out and "24 cases, 2 inputs, 3 units" in out
    assert (f"{link} link" in out) is (
        link in ("log", "inverse_squared", "cloglog", "sqrt")
    )  # others are canonical there


def test_classes_counted(run):
    for family in ("multinomial(6)", "multinomial_6"):
        code, out, err = run(f"fisher --data counts.csv --target p q r s --drop a --family {family}")
        assert (code, out) == (2, "")
        assert "the targets p, q, r, s are 2, 3, 1, 4 in line 2: multinomial(6) needs rows of whole numbers that" in err
    code, out, err = run("fisher --data counts.csv --target p q r s --family multinomial(10) --normalizer layer")
    assert (code, err) == (0, "") and "4 units" in out and "multinomial(10)" in out
    digits = run("fisher --family binomial(128) --cases 40")
    assert digits[0] == 0 and "4 units" in digits[1]


@pytest.mark.parametrize(
    "name", ["group(3)", "group_norm_3", "ghost_batch(4)", "prms(1/16)", "prms_norm_rounded_down(1/3)"]
)
def test_normalizers_with_numbers(name):
    from fishergeo.report.names import normalizer

    found = {
        "group(3)": fg.group_norm(3),
        "group_norm_3": fg.group_norm(3),
        "ghost_batch(4)": fg.ghost_batch_norm(4),
        "prms(1/16)": fg.prms_norm(),
        "prms_norm_rounded_down(1/3)": fg.prms_norm(Fraction(1, 3), math.floor),
    }
    assert normalizer(name) == found[name]


def test_every_member_of_the_zoos_has_a_name():
    from fishergeo.families import ZOO as families
    from fishergeo.links import LINKS
    from fishergeo.normalizers import ZOO
    from fishergeo.report.names import family, link, normalizer

    assert all(normalizer(member.name) == member for member in ZOO if member.name != "frozen_batch_norm")
    assert all(family(member.name) == member for member in families if not member.mixing)
    assert family("multivariate_gaussian([[2, 1], [1, 3]])") == fg.multivariate_gaussian([[2, 1], [1, 3]])
    assert all(link(member.name) == member for member in (*LINKS, fg.links.power(1 / 3), fg.links.nbinom(0.5)))


def test_decay_prints_falling_rates_and_saves_every_step(run, folder):
    code, out, _ = run(f"decay {GOOD} --normalizers batch,none --steps 20 -o run.csv")
    rates = [float(line.split()[4]) for line in out.splitlines() if line.startswith("batch norm")]
    assert code == 0 and rates == sorted(rates, reverse=True) and rates[-1] < rates[0]
    assert len((folder / "run.csv").read_text().splitlines()) == 1 + 2 * 21 * 3
    assert run(f"decay {GOOD} --normalizers batch --steps 5 --rate 0.1 -o run.svg")[0] == 0
    assert (folder / "run.svg").read_text().startswith("<?xml")


DERIVED = (  # options, equations: each block is defined and given in two forms
    ("--normalizer layer --family bernoulli --link probit", 6),
    ("--normalizer none", 3),  # no gain
    ("--normalizer weight_norm+batch_norm --family gamma --link log --blocks weight-gain,bias-bias,weight-gain", 2),
    ("--normalizer instance_norm --family negative_binomial(2) --link identity --blocks gain-weight", 1),
    ("--normalizer group_norm(3) --family categorical --link canonical --blocks weight-weight --eps 1e-5", 1),
)


@pytest.mark.parametrize(("options", "blocks"), DERIVED, ids=[options for options, _ in DERIVED])
def test_derive_prints_a_document_of_checked_blocks(run, options, blocks):
    code, text, err = run(f"derive {options}")
    assert (code, err) == (0, "")
    assert text.count("{") == text.count("}") and text.rstrip().endswith(r"\end{document}") and text.isascii()
    assert text.count(r"\subsection*") == blocks == text.count(r"\bar{F}_{") // 3
    assert text.count("tolerance 1e-12, N = ") >= blocks and r"\reason{chain rule}{1}" in text
    assert r"\section{Definitions}" in text and r"\section{Derivatives}" in text
    assert (r"\omega_{n" in text) is ("--link" in options and "canonical" not in options)


def test_derive_writes_a_file_or_a_folder(run, folder):
    line = "derive --normalizer layer --family poisson --link sqrt --blocks weight-gain,gain-gain"
    text = run(line)[1]
    assert run(f"{line} -o blocks.tex") == (0, "blocks.tex\n", "")
    assert (folder / "blocks.tex").read_text() == text
    for target in ("out", "out/", "folder.csv"):  # new, to be replaced, and an empty one of whatever name
        assert run(f"{line} -o {target}")[:2] == (0, f"{target.rstrip('/')}/blocks.tex\n")
        written = {path.name for path in (folder / target).iterdir()}
        assert written - {"blocks.pdf"} == {"blocks.tex", "weight-gain.tex", "gain-gain.tex", "results.json"}
        assert (folder / target / "blocks.tex").read_text() == text
    results = json.loads((folder / "out" / "results.json").read_text())
    assert set(results["files"]) == {path.name for path in (folder / "out").iterdir()}
    for block, name in zip(results["blocks"], ("weight-gain", "gain-gain"), strict=True):
        assert f"{block['row']}-{block['column']}" == name and block["level"] == 1 and block["gap"] <= 1e-12
        assert block["sizes"] == {"N": 7, "D": 4, "H": 5}
        assert block["matrix_form"] in (folder / "out" / f"{name}.tex").read_text()


def test_derive_refuses_a_wrong_block(monkeypatch, run, folder):
    from fishergeo.report import derive

    right = derive.fisher_block

    def wrong(*arguments, **options):
        block = right(*arguments, **options)
        return dataclasses.replace(block, expr=1.001 * block.expr)

    monkeypatch.setattr(derive, "fisher_block", wrong)
    before = sorted(folder.rglob("*"))
    code, out, err = run("derive --normalizer batch --family poisson --link sqrt -o out")
    assert (code, out) == (1, "") and "weight x weight block" in err and "is off by 0.001" in err
    assert sorted(folder.rglob("*")) == before


def test_claims(run):
    code, out, _ = run("claims LN-half LN-sign")
    assert code == 0 and "LN-half: refuted" in out and "LN-sign: holds if δ > 0" in out and "evidence:" in out
    assert r"\begin{description}" in run("claims LN-sign --format latex")[1]


def test_help_and_version(capsys):
    for line in (
        "--help",
        "report --help",
        "table --help",
        "fisher --help",
        "derive --help",
        "decay --help",
        "claims -h",
    ):
        with pytest.raises(SystemExit) as exit:
            main(line.split())
        assert exit.value.code == 0 and "usage: fishergeo" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("fishergeo ")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from fishergeo.cli import parser; parser().format_help(); "
        "print(*{'numpy', 'scipy', 'sympy', 'matplotlib', 'jinja2'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"

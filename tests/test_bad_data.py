"""Bad data: what is wrong is named by its place, the line of a text file or the row of an array."""

from __future__ import annotations

import io
import os
import struct
import zipfile

import contracts
import numpy as np
import pytest

import fishergeo as fg
from fishergeo.datasets import Data, digits, load, one_hot, prepare

N = 24
RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(N, 3)), np.arange(N) % 3
ROWS = "".join(f"{i * 7 % 11},{i * 5 % 13},{'pqr'[i % 3]}\n" for i in range(1, N))
MASKED = np.ma.masked_greater(X, 1)


def npy(header, body=b""):
    """A .npy file of any header, right or wrong."""
    text = header + " " * (63 - (len(header) + 10) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + body


def shaped(shape, kind="<f8", body=b""):
    return npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}", body)


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def archive(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name, content in members.items():
            out.writestr(name.replace("_", "."), content)
    return file.getvalue()


GOOD = npz(X=X, y=Y)
NUMPY = "write it again"

# name of the file, its contents, the target, and what the message must name: the culprit and the remedy
FILES = [
    ("blank.csv", "\n\n", "k", "is empty", "give a header and at least one row"),
    ("two.csv", "a,k\n1,p\n2,q\n", "k", "two.csv has too few rows (2)", "give 3 or more"),
    ("quote.csv", 'a,b,k\n1,"2,p\n3,4,q\n', "k", "line 2 has 2 cells", "is a quote left open?"),
    ("long.csv", 'a,b,k\n1,"2\n2",p\n3,q\n', "k", "line 4 has 2 cells", "correct that line"),
    ("comma.csv", 'a,k\n"1,5",p\n', "k", "line 2, column 'a' holds '1,5', not a number", "use a decimal point"),
    ("thousand.csv", 'a,k\n"1,234,567",p\n', "k", "holds '1,234,567'", "nothing between thousands"),
    ("python.csv", "a,k\n1_000,p\n", "k", "holds '1_000', not a number", "nothing between thousands"),
    ("inf.csv", "a,k\n1,p\n\n\n1e999,q\n", "k", "line 5, column 'a' holds '1e999'", "drop or impute that row"),
    ("nothing.csv", "a,b,k\n1,,p\n2,,q\n", "k", "the column 'b' is empty in every row", "leave it out (--drop)"),
    ("comment.csv", "# a file\na,b,k\n1,2,p\n", "k", "one cell but the next has 3", "the first must be the header"),
    ("pipe.csv", "a|k\n1|p\n", "k", "the separator seems to be '|'", "separate by commas"),
    ("tab.csv", "a\tk\n1\tp\n", "k", "the separator seems to be '\\t'", "separate by commas"),
    ("utf16.csv", "a,k\n1,p\n".encode("utf-16"), "k", "is not UTF-8", "save it as UTF-8 CSV"),
    ("field.csv", 'a,k\n"' + "x" * 200_000, "k", "field larger than field limit", "check its quotes"),
    ("power.csv", "a,k\n1,p\n", "²", "no column '²'", "there is a, k"),
    ("minus.csv", "a,k\n1,p\n", "--1", "no column '--1'", "there is a, k"),
    ("number.csv", "a,k\n1,p\n", 1.5, "target=1.5", "give the name or index of a column"),
    ("nested.csv", "a,k\n1,p\n", [["k"]], "target=[['k']]", "or a list of them"),
    ("missing.csv", "a,k\n1,a\n2,b\n3,?\n4,a\n", "k", "the target 'k' is '?' in line 4", "drop that row"),
    ("counts.csv", "a,k\n" + "1,p\n2,q\n3,r\n", "k", "3 different values in 3 rows", "merge classes"),
    ("reals.csv", "a,k\n" + "1,1.5\n2,2.5\n3,3.5\n", "k", "3 different values in 3 rows", "use --family gaussian"),
    ("text.npy", "hello, this is text", "0", "it does not start like one", "give it the suffix of what it is"),
    ("text.npz", "hello, this is text", "y", "it does not start like one", "give it the suffix of what it is"),
    ("zip.npy", GOOD, "0", "is not a readable .npy file: it is a .npz file", "give it the suffix of what it is"),
    ("array.npz", shaped((1, 1)), "y", "is not a readable .npz file: it is a .npy file", "the suffix of what it is"),
    ("empty.npy", "", "0", "empty.npy is empty", "write it again with numpy.save"),
    ("empty.npz", "", "y", "empty.npz is empty", "write it again with numpy.savez"),
    ("pickle.npy", MASKED.dumps(), "0", "holds Python objects, which are never unpickled", "save plain number arrays"),
    ("objects.npy", shaped((3, 3), "|O", b"0" * 16), "0", "holds Python objects", "save plain arrays"),
    ("objects.npz", archive(X_npy=shaped((3, 3), "|O"), y_npy=b""), "y", "holds Python objects", "save plain arrays"),
    ("huge.npy", shaped((10**13, 3)), "0", "Unable to allocate", "its header is damaged, or it needs more memory"),
    ("huge.npz", archive(X_npy=shaped((10**13, 3)), y_npy=b""), "y", "Unable to allocate", "its header is damaged"),
    ("kind.npy", shaped((3, 3), "foo"), "0", "not a valid dtype descriptor: 'foo'", NUMPY),
    ("short.npy", shaped((3, 3), body=b"0" * 16), "0", "Failed to read all data", NUMPY),
    ("syntax.npy", npy("{'descr': ((((("), "0", "is not a readable .npy file", NUMPY),
    ("none.npz", archive(X="hello", y="x"), "y", "X is not an array", "write the file with numpy.savez"),
    ("cut.npz", GOOD[: len(GOOD) // 2], "y", "is not a readable .npz file", NUMPY),
    ("flipped.npz", GOOD[:200] + b"\xff\xff\xff" + GOOD[203:], "y", "Bad CRC-32 for file 'X.npy'", NUMPY),
    ("end.npz", archive(X_npy=shaped((3, 3), body=b"0" * 9), y_npy=b""), "y", "EOF: reading array data", NUMPY),
    ("complex.npz", npz(X=X, y=Y * 1j), "y", "y is an array of type complex128", "give real numbers"),
    ("dates.npz", npz(X=X, y=np.zeros(N, "M8[D]")), "y", "y is an array of type datetime64[D]", "give real numbers"),
    (
        "nan.npz",
        npz(X=np.where(np.arange(3 * N).reshape(N, 3) == 10, np.nan, X), y=Y),
        "y",
        "nan at row 3 (counting from 0), column 1",
        "drop or",
    ),
    ("blank.npz", npz(X=X, y=np.array(["a", " ", "b"] * 8)), "y", "'y' is empty in row 1 (counting from 0)", "drop that"),
    ("twice.npz", GOOD, ["y", "y"], "the targets y, y repeat a name", "give each once"),
    ("inputs.npz", GOOD, "X", "or name the inputs X", "give each once"),
    ("negative.npz", npz(X=X, y=Y - 1.0), "y", "'y' is -1 in row 0 (counting from 0)", "or use another --family"),
]


@pytest.mark.parametrize(("name", "contents", "target", "culprit", "remedy"), FILES, ids=[name for name, *_ in FILES])
def test_bad_files_are_refused_by_name(tmp_path, name, contents, target, culprit, remedy):
    path = tmp_path / name
    path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
    os.chdir(tmp_path)
    family = fg.poisson if name.startswith("negative") else fg.categorical
    contracts.is_refused(lambda: prepare(load(name, target), family), culprit, remedy)


@pytest.fixture(autouse=True)
def _stay(monkeypatch):
    monkeypatch.chdir(".")  # and come back


def test_what_is_no_file(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to("nowhere.csv")
    os.mkfifo(tmp_path / "fifo.csv")
    os.chdir(tmp_path)
    for path, culprit, remedy in [
        ("folder.csv", "folder.csv is a folder", "name a file in it"),
        ("link.csv", "link.csv is a link to nothing", "name the file itself"),
        ("fifo.csv", "fifo.csv is not a regular file", "copy its contents to one"),
        ("x" * 290 + ".csv", "cannot be read: file name too long", "check the file"),
        ("", "path=''", "give the name of a .csv"),
        (3, "path=3", "give the name of a .csv"),
        (None, "path=None", "give the name of a .csv"),
    ]:
        with pytest.raises(fg.InputError) as caught:
            load(path, "k")
        assert culprit in str(caught.value) and remedy in str(caught.value) and "\n" not in str(caught.value)


def data(X=X, y=None, inputs=("a", "b", "c"), targets=("t",), name="d"):
    return Data(name, X, inputs, (Y,) if y is None else y, targets)


VALUES = {
    "complex inputs": (lambda: data(X * 1j), "X is an array of type complex128", "give real numbers"),
    "masked inputs": (lambda: data(MASKED), "X is an array with masked entries", "drop or impute"),
    "text inputs": (lambda: data("x"), "X is an array of type <U1", "give real numbers"),
    "ragged inputs": (
        lambda: data([[1], [1, 2]]),
        "X is an array in rows of different lengths",
        "in a rectangular array",
    ),
    "inputs with a nan": (lambda: data(X * np.nan), "nan at row 0 (counting from 0), column 0", "drop or impute"),
    "inputs of one dimension": (lambda: data(X[0]), "X has shape (3,)", "give (N, D) and D names"),
    "no rows": (lambda: data(X[:0]), "X is empty, shape (0, 3)", "give at least one row"),
    "too few names": (lambda: data(inputs=("a",)), "1 names of columns", "give (N, D) and D names"),
    "names that are text": (lambda: data(inputs="abc"), "inputs='abc'", "give a tuple of strings"),
    "no names": (lambda: data(inputs=None), "inputs=None", "give a tuple of strings"),
    "no name": (lambda: data(name=3), "name=3", "give a string"),
    "no targets": (lambda: data(y=()), "d has 0 targets and 1 names", "give as many of each"),
    "targets that are text": (lambda: data(y="abc"), "y is a str", "give a tuple with one array for each"),
    "a number as target": (lambda: data(y=(3,)), "shape ()", "give (24,)"),
    "a short target": (lambda: data(y=(Y[:4],)), "the target 't' has shape (4,) but X has 24 rows", "give (24,)"),
    "a masked target": (
        lambda: data(y=(np.ma.masked_equal(Y, 1),)),
        "t is an array with masked entries",
        "drop or impute",
    ),
    "a complex target": (lambda: data(y=(Y * 1j,)), "t is an array of type complex128", "give real numbers"),
    "a target of objects": (lambda: data(y=(np.array([None] * N),)), "t is an array of type object", "give real numbers"),
    "an infinite target": (lambda: data(y=(np.full(N, np.inf),)), "holds inf at row 0", "drop or"),
    "a missing label": (lambda: data(y=(["a", "b", ""] * 8,)), "is empty in row 2 (counting from 0)", "drop that row"),
    "data that are none": (lambda: prepare("x", fg.poisson), "data of type str", "give what load returns"),
    "a family by name": (lambda: prepare(data(), "poisson"), "family='poisson'", "give a family such as"),
    "digits of no family": (lambda: digits(None), "family=None", "give a family such as"),
    "one class": (lambda: prepare(data(y=(0 * Y,)), fg.categorical), "has one class, '0'", "choose another"),
    "several labels": (
        lambda: prepare(data(y=(Y, Y), targets=("s", "t")), fg.categorical),
        "takes one column of labels but got 2 (s, t)",
        "name one",
    ),
    "masked labels": (lambda: one_hot(np.ma.masked_equal(Y, 1)), "labels with masked entries", "drop or impute"),
    "ragged labels": (lambda: one_hot([[0], [1, 2]]), "labels in rows of different lengths", "give (N,) integers"),
    "text for labels": (lambda: one_hot("abc"), "type <U3", "give (N,) integers"),
    "no number of classes": (lambda: one_hot(Y, units="x"), "units='x'", "an integer >= 1"),
    "no classes": (lambda: one_hot(Y, units=0), "units=0", "an integer >= 1"),
    "half a class": (lambda: one_hot(Y, units=2.5), "units=2.5", "an integer >= 1"),
    "an infinite label": (lambda: one_hot([0, np.inf]), "label inf at case 1", "integers from 0 on"),
    "very many classes": (lambda: one_hot([0, 10**18]), "too many for memory", "number the classes 0, 1, 2"),
}


@pytest.mark.parametrize("name", VALUES)
def test_bad_values_are_refused_by_name(name):
    contracts.is_refused(*VALUES[name])


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1.0, 1e170, 1e300])
def test_targets_of_any_size_are_standardized(scale):
    Y = prepare(data(y=(scale * X[:, 0],)), fg.gaussian).Y
    np.testing.assert_allclose(Y, prepare(data(y=(X[:, 0],)), fg.gaussian).Y, rtol=1e-12)


def test_blank_lines_and_their_places(tmp_path):
    (tmp_path / "good.csv").write_text("\n\na,b,k\n" + ROWS)
    read = load(tmp_path / "good.csv", "k")
    assert len(read.X) == N - 1 and read.row(0) == "line 4" and prepare(read, fg.categorical).lines == read.lines
    assert data().row(3) == "row 3 (counting from 0)"

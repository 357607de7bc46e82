"""The shipped data, data files, and what a model of each family is fitted to; bad files are named, with the culprit."""

from __future__ import annotations

import numpy as np
import pytest

import fishergeo as fg
from fishergeo.datasets import Data, digits, load, prepare
from fishergeo.families import FAMILIES
from fishergeo.links import LINKS, power
from fishergeo.report.study import best_constant

CSV = "a,b,c,kind\n1,2,3.5,x\n4,5,6.5,y\n7,8,9.5,x\n0,1,2.5,z\n1,0,1.5,y\n2,2,2.5,z\n"


@pytest.fixture
def write(tmp_path):
    def save(text, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return save


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    X, y = fg.datasets.load_digits()
    theirs = load_digits()
    assert X.shape == (1797, 64) and X.dtype == float and y.shape == (1797,) and y.dtype.kind == "i"
    assert (theirs.data == X).all() and (theirs.target == y).all()
    assert np.flatnonzero(X.std(axis=0) == 0).tolist() == [0, 32, 39]


def test_one_hot():
    assert fg.datasets.one_hot([2, 0, 1, 2]).tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert fg.datasets.one_hot(np.array([0.0, 1.0]), 4).shape == (2, 4)


@pytest.mark.parametrize("labels", [[0, 3], [0, -1], [0.5, 1], [float("nan")], [float("inf"), 1], [[0, 1]], ["a"], []])
def test_one_hot_refuses(labels):
    with pytest.raises(fg.InputError, match="one_hot got label"):
        fg.datasets.one_hot(labels, 3)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_digits_fit_every_family(family):
    problem = digits(family)
    assert problem.units == len(problem.names) >= 3 and problem.X.shape[1] == len(problem.inputs)
    model = fg.GLM(family, fg.layer_norm)
    p = model.init(problem.X.shape[1], problem.units, rng=0)
    assert np.isfinite(model.loss(p, problem.X / 16, problem.Y))


def test_targets_of_count_families_are_counts_of_ink_below_the_inputs():
    X, _ = fg.datasets.load_digits()
    problem = digits(fg.poisson)
    assert (X[:, :32] == problem.X).all() and (problem.Y.sum(axis=1) == X[:, 32:].sum(axis=1)).all()


def test_csv_by_name_index_and_several_targets(write):
    path = write(CSV)
    data = load(path, "kind")
    assert data.inputs == ("a", "b", "c") and data.X[1].tolist() == [4, 5, 6.5] and data.y[0].tolist() == list("xyxzyz")
    assert load(path, "-1").y[0].tolist() == load(path, 3).y[0].tolist() == data.y[0].tolist()
    assert load(write("\ufeff" + CSV, "bom.csv"), "kind").inputs == data.inputs


def test_columns_left_out(write):
    path = write(CSV)
    assert load(path, "c", drop=["kind", 0]).inputs == ("b",)
    for drop, message in [("kid", "no column 'kid'"), ("c", "also left out"), (["a", "b", "kind"], "no input remains")]:
        with pytest.raises(fg.InputError, match=message):
            load(path, "c", drop=drop)


def test_families_read_the_same_file_differently(write):
    path = write(CSV)
    one = prepare(load(path, "kind"), fg.categorical)
    assert one.names == ("x", "y", "z") and one.Y[2].tolist() == [1, 0, 0]
    assert prepare(load(path, "kind"), fg.bernoulli).Y.shape == (6, 3)
    with pytest.raises(fg.InputError, match="column 'kind' holds 'x', not a number"):
        load(path, "c")
    numbers = write("a,b,c,n\n1,2,3.5,3\n4,5,6.5,0\n7,8,9.5,1\n0,1,2.5,4\n", "numbers.csv")
    scaled = prepare(load(numbers, ["c", "n"]), fg.gaussian).Y
    np.testing.assert_allclose([scaled.mean(axis=0), scaled.std(axis=0)], [[0, 0], [1, 1]], atol=1e-12)
    assert prepare(load(numbers, ["b", "n"]), fg.poisson).Y[0].tolist() == [2, 3]


@pytest.mark.parametrize("link", [None, *LINKS, power(3)], ids=lambda link: getattr(link, "name", "none"))
def test_real_numbers_are_scaled_so_that_the_link_reaches_their_mean(link, rng):
    """A standardized column has the mean 0, which is none of the logarithm, of a power or of a probability."""
    model = fg.GLM(fg.gaussian, link=link)
    y = 3 + rng.uniform(-2, 2, size=(20, 2))
    for problem in (
        digits(fg.gaussian, link),
        prepare(Data("d", y, ("a", "b"), tuple(y.T), ("s", "t")), fg.gaussian, link),
    ):
        mean = problem.Y.mean(axis=0)
        np.testing.assert_allclose(model.predict(best_constant(model, mean)[None]).mean[0], mean, atol=1e-6)
    assert ("standardized" in problem.what) == (link in (None, fg.links.canonical, fg.links.identity))


def test_two_classes_make_one_bernoulli_unit(write):
    path = write("a,b,sick\n1,2,no\n3,1,yes\n2,2,no\n4,0,yes\n")
    problem = prepare(load(path, "sick"), fg.bernoulli)
    assert problem.Y.tolist() == [[0], [1], [0], [1]] and problem.names == ("yes",)


def test_arrays(tmp_path, rng):
    X, y = rng.normal(size=(6, 4)), np.array([0, 1, 2, 2, 1, 0])
    np.save(tmp_path / "m.npy", np.column_stack([X, y]))
    np.savez(tmp_path / "d.npz", X=X, y=y, names=np.array(list("abccba")), two=X[:, :2])
    matrix, archive = load(tmp_path / "m.npy", "-1"), load(tmp_path / "d.npz")
    assert (matrix.X == X).all() and (matrix.y[0] == y).all() and (archive.X == X).all() and (archive.y[0] == y).all()
    assert prepare(load(tmp_path / "d.npz", "names"), fg.categorical).names == ("a", "b", "c")
    assert load(tmp_path / "d.npz", "two").targets == ("two 0", "two 1")


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("", "y", "is empty"),
        ("a,y\n", "y", "is empty"),
        ("a,y\n1,2\n3\n", "y", r"line 3 has 1 cells but the header has 2"),
        ("a,y\n1,2\nb,3\n", "y", r"line 3, column 'a' holds 'b', not a number"),
        ("a,y\n1,2\n,3\n", "y", "column 'a' is empty"),
        ("a,y\nnan,2\n", "y", "column 'a' holds 'nan'; drop or impute that row"),
        ("a,y\n1,inf\n", "y", "column 'y' holds 'inf'"),
        ("a,y\n1,\n", "y", "target 'y' is empty"),
        ("a,y\n1,NA\n", "y", "target 'y' is 'NA'"),
        ("age,income\n1,2\n", "incme", r"no column 'incme': did you mean 'income'\? there is age, income"),
        ("a,y\n1,2\n", "2", "no column '2'"),
        ("a,y\n1,2\n", None, r"name the column to predict \(--target\); there is a, y"),
        ("a,y\n1,2\n", ["a", "y"], "every column is a target or left out"),
        ("a,b,y\n1,2,1\n", ["y", "-1"], "named twice"),
        ("a,a,y\n1,2,1\n", "a", "2 columns named 'a'"),
        ("1,2\n3,4\n", "0", "the first row must be a header"),
        ("a;y\n1;2\n", "y", "the separator seems to be ';'"),
        (b"a,y\n\xff\xfe,2\n", "y", "not UTF-8"),
    ],
)
def test_bad_csv(write, text, target, message):
    with pytest.raises(fg.InputError, match=message):
        load(write(text), target)


def test_bad_files(tmp_path, write):
    write("a,y\n1,2\n", "digits.csv")
    for path, message in [
        (tmp_path / "digit.csv", r"is missing; did you mean .*digits\.csv"),
        (tmp_path / "none" / "digit.csv", "is missing; check the path"),
        (write("x", "data.xlsx"), r"suffix '\.xlsx': give a \.csv, \.npy or \.npz"),
        (write("not an array", "bad.npy"), "not a readable .npy file|never unpickled"),
        (write("not an archive", "bad.npz"), "not a readable .npz file|never unpickled"),
    ]:
        with pytest.raises(fg.InputError, match=message):
            load(path, "y")


@pytest.mark.parametrize(
    ("arrays", "target", "message"),
    [
        ({"X": np.ones((3, 2))}, None, "no array 'y'"),
        ({"X": np.ones((3, 2)), "labels": np.ones(3)}, "label", "did you mean 'labels'"),
        ({"X": np.ones(3), "y": np.ones(3)}, None, r"X has shape \(3,\)"),
        ({"X": np.ones((3, 2)), "y": np.ones(4)}, None, "y has shape .4,. but X has 3 rows"),
        ({"X": np.ones((0, 2)), "y": np.ones(0)}, None, "X is empty"),
        ({"X": np.ones((3, 2)) * 1j, "y": np.ones(3)}, None, "give real numbers"),
        ({"X": np.array([[1, np.nan]]), "y": np.ones(1)}, None, r"X holds nan at row 0 \(counting from 0\), column 1"),
        ({"X": np.ones((3, 2)), "y": np.array([1, np.inf, 0])}, None, r"y holds inf at row 1 \(counting from 0\)"),
        ({"X": np.array([[1, "a"]], dtype=object), "y": np.ones(1)}, None, "never unpickled"),
    ],
)
def test_bad_archives(tmp_path, arrays, target, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(fg.InputError, match=message):
        load(tmp_path / "d.npz", target)


def test_object_matrix_is_not_unpickled(tmp_path):
    np.save(tmp_path / "m.npy", np.array([[1, "a"], [2, "b"]], dtype=object))
    with pytest.raises(fg.InputError, match="never unpickled"):
        load(tmp_path / "m.npy", "0")


@pytest.mark.parametrize(
    ("family", "targets", "message"),
    [
        (fg.poisson, [np.array([1.0, -1, 2])], r"is -1 in row 1 \(counting from 0\): the support of poisson is"),
        (fg.poisson, [np.array([1.0, 1.5, 2])], "is 1.5 in row 1"),
        (fg.gaussian, [np.array([1.0, 1, 1])], "is 1 in every row"),
        (fg.gaussian, [np.array(["a", "b", "c"])], "is text .'a' in row 0"),
        (fg.gaussian, [np.array(["1", "2", "c"])], "is text .'c' in row 2"),
        (fg.categorical, [np.array([1.0, 1, 1])], "has one class, '1'"),
        (fg.categorical, [np.array([1.0, 2, 3])], "too many for classes .*; use --family gaussian"),
        (fg.categorical, [np.ones(3), np.zeros(3)], "takes one column of labels but got 2"),
        (fg.bernoulli, [np.ones(3), np.array([0.0, 2, 1])], "is not all 0 and 1"),
    ],
)
def test_targets_that_a_family_cannot_have(family, targets, message):
    from fishergeo.datasets import Data

    data = Data("d", np.ones((3, 2)), ("a", "b"), tuple(targets), tuple(f"t{k}" for k in range(len(targets))))
    with pytest.raises(fg.InputError, match=message):
        prepare(data, family)

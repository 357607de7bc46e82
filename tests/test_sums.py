"""Canonical sums: what they are equal to for explicit sizes, and that equal is zero and unequal is not."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import sympy

from fishergeo.axes import Axis, Site
from fishergeo.symbolic.groups import GROUP
from fishergeo.symbolic.indexed import IndexArray, generic
from fishergeo.symbolic.known import Known, Mean
from fishergeo.symbolic.sums import INDEX, PERMUTATION, ROTATION, SIZE, axis_of, is_zero, normal, total

SIZES = {Axis.SAMPLE: 4, Axis.POSITION: 2, Axis.UNIT: 3, Axis.INPUT: 5}  # small, all different
N, H, D = (INDEX[axis] for axis in (Axis.SAMPLE, Axis.UNIT, Axis.INPUT))
K, E = sympy.Symbol("h_b", integer=True), sympy.Symbol("d_b", integer=True)  # a second index along the same axes
x, w, a, v, z = (sympy.IndexedBase(name, real=True) for name in "xwavz")
SHAPES = {"x": (Axis.SAMPLE, Axis.INPUT), "w": (Axis.UNIT, Axis.INPUT), "a": (Axis.SAMPLE, Axis.UNIT)}
SHAPES |= {"v": (Axis.INPUT,), "z": (Axis.UNIT,), "Q": (Axis.INPUT, Axis.INPUT)}


def evaluate(expr, arrays, at):
    """The value of an expression in index notation, with every sum written out; ``at`` gives the free indices."""
    if isinstance(expr, sympy.Sum):
        names = [limit[0] for limit in expr.limits]
        ranges = [range(SIZES[axis_of(name)]) for name in names]
        return sum(evaluate(expr.function, arrays, at | dict(zip(names, place))) for place in itertools.product(*ranges))
    if isinstance(expr, sympy.Indexed):
        return arrays[str(expr.base.label)][tuple(evaluate(index, arrays, at) for index in expr.indices)]
    if isinstance(expr, sympy.KroneckerDelta):
        first, second = (evaluate(index, arrays, at) for index in expr.args)
        return Fraction(int(first == second))
    if expr.func == GROUP:
        return evaluate(expr.args[0], arrays, at) * int(expr.args[1]) // SIZES[axis_of(expr)]
    if expr.func == PERMUTATION:
        return int(arrays["pi"][evaluate(expr.args[0], arrays, at)])
    if expr.is_Rational:
        return Fraction(int(expr.p), int(expr.q))
    if expr in SIZE.values():
        return Fraction(SIZES[next(axis for axis, size in SIZE.items() if size == expr)])
    if expr.is_Symbol:
        return at[expr]
    parts = [evaluate(part, arrays, at) for part in expr.args]
    if expr.is_Add:
        return sum(parts)
    if expr.is_Mul:
        return np.prod(np.array(parts, object))
    assert expr.is_Pow and expr.exp.is_Integer, f"unexpected {expr.func} in {expr}"
    return parts[0] ** int(parts[1])


def rationals(shape, rng):
    return np.vectorize(lambda p, q: Fraction(int(p), int(q)), otypes=[object])(
        rng.integers(-9, 10, size=shape), rng.integers(1, 6, size=shape)
    )


def arrays_of(rng):
    arrays = {name: rationals([SIZES[axis] for axis in axes], rng) for name, axes in SHAPES.items()}
    # a rational rotation: a permutation of the coordinates, signs, and the Pythagorean turn 3-4-5 in one plane
    turn = np.eye(SIZES[Axis.INPUT], dtype=int).astype(object)
    turn[:2, :2] = [[Fraction(3, 5), Fraction(-4, 5)], [Fraction(4, 5), Fraction(3, 5)]]
    arrays["Q"] = turn[rng.permutation(len(turn))] * Fraction(-1)
    arrays["pi"] = np.roll(np.arange(SIZES[Axis.UNIT]), 1)
    return arrays


def written_out(expr, indices, arrays, at):
    """Σ over ``indices`` of the raw expression, term by term: no canonical form involved."""
    ranges = [range(SIZES[axis_of(index)]) for index in indices]
    return sum(evaluate(expr, arrays, at | dict(zip(indices, place))) for place in itertools.product(*ranges))


def random_expression(rng, indices):
    """A sum of products of indexed symbols, deltas, permuted and rotated entries, with the given indices and others."""
    n, h, k, d, e = indices
    atoms = [
        lambda: x[n, rng.choice([d, e])],
        lambda: w[rng.choice([h, k]), rng.choice([d, e])],
        lambda: a[n, rng.choice([h, k])],
        lambda: a[n, PERMUTATION(rng.choice([h, k]))],
        lambda: v[rng.choice([d, e])],
        lambda: z[rng.choice([h, k])],
        lambda: sympy.KroneckerDelta(h, k),
        lambda: sympy.KroneckerDelta(d, e),
        lambda: ROTATION[d, e],
        lambda: SIZE[Axis.UNIT],
        lambda: sympy.Rational(int(rng.integers(-3, 4)) or 2, 3),
    ]
    terms = []
    for _ in range(rng.integers(1, 4)):
        picks = [atoms[k]() for k in rng.integers(len(atoms), size=rng.integers(1, 6))]
        terms.append(sympy.Mul(*picks))
    return sympy.Add(*terms)


@pytest.mark.parametrize("seed", range(60))
def test_total_is_the_sum_written_out(seed):
    rng = np.random.default_rng(seed)
    indices = [N, H, K, D, E]
    expr, arrays = random_expression(rng, indices), arrays_of(rng)
    order = [indices[k] for k in rng.permutation(5)[: rng.integers(1, 6)]]
    at = {index: int(rng.integers(SIZES[axis_of(index)])) for index in indices}
    canonical = expr
    for index in order:
        canonical = total(canonical, index)
    assert evaluate(canonical, arrays, at) == written_out(expr, order, arrays, at)
    assert evaluate(normal(canonical), arrays, at) == evaluate(canonical, arrays, at)
    for index in order:
        assert index not in canonical.free_symbols


@pytest.mark.parametrize("seed", range(60))
def test_order_of_summation_and_names_do_not_matter(seed):
    """Two sums that differ only in the order and the names of their indices are one expression."""
    rng = np.random.default_rng(seed)
    indices = [N, H, K, D, E]
    expr = random_expression(rng, indices)
    names = {index: sympy.Symbol(f"{index.name[0]}_other{k}", integer=True) for k, index in enumerate(indices)}
    first, second = expr, expr.xreplace(names)
    for index in rng.permutation(np.array(indices, object)):
        first = total(first, index)
    for index in rng.permutation(np.array(indices, object)):
        second = total(second, names[index])
    assert is_zero(first - second)
    assert not is_zero(first + second) or first == 0


@pytest.mark.parametrize("seed", range(60))
def test_zero_means_zero(seed):
    """Where the canonical form says that two random sums are equal, they are; where numbers differ, it does not."""
    rng = np.random.default_rng(seed)
    indices = [N, H, K, D, E]
    arrays = [arrays_of(rng) for _ in range(3)]
    found = []
    for _ in range(2):
        expr = random_expression(rng, indices)
        for index in indices:
            expr = total(expr, index)
        found.append(expr)
    difference = found[0] - found[1]
    numbers = [evaluate(difference, each, {}) for each in arrays]
    assert is_zero(difference) == (not any(numbers))


# identities that hold for all sizes, and the same with one thing wrong
MEAN = total(x[N, D], D) / SIZE[Axis.INPUT]
IDENTITIES = {
    "centring removes the mean": (total(x[N, D] - MEAN, D), sympy.Integer(0)),
    "the sum of a constant": (total(sympy.Integer(1), D), SIZE[Axis.INPUT]),
    "what does not depend leaves the sum": (total(x[N, D] * z[H], H), x[N, D] * total(z[H], H)),
    "the variance, two ways": (
        total((x[N, D] - MEAN) ** 2, D),
        total(x[N, D] ** 2, D) - SIZE[Axis.INPUT] * MEAN**2,
    ),
    "a delta picks one term": (total(sympy.KroneckerDelta(H, K) * z[K] * a[N, K], K), z[H] * a[N, H]),
    "a permutation does not change a sum": (total(a[N, PERMUTATION(H)] * z[PERMUTATION(H)], H), total(a[N, H] * z[H], H)),
    "a rotation keeps inner products": (
        total(total(x[N, D] * ROTATION[D, E], D) * total(w[H, D] * ROTATION[D, E], D), E),
        total(x[N, D] * w[H, D], D),
    ),
    "a double sum factors": (total(total(v[D] * z[H], D), H), total(v[D], D) * total(z[H], H)),
    "a square of a sum is a double sum": (
        total(v[D], D) ** 2,
        total(total(v[D] * v[E], D), E),
    ),
}
WRONG = {
    "the mean without its size": (total(x[N, D] - total(x[N, D], D), D), sympy.Integer(0)),
    "the sum of a constant": (total(sympy.Integer(1), D), SIZE[Axis.UNIT]),
    "what depends does not leave": (total(a[N, H] * z[H], H), a[N, H] * total(z[H], H)),
    "the variance, wrong sign": (
        total((x[N, D] - MEAN) ** 2, D),
        total(x[N, D] ** 2, D) + SIZE[Axis.INPUT] * MEAN**2,
    ),
    "a delta picks another term": (total(sympy.KroneckerDelta(H, K) * z[K] * a[N, K], K), z[K] * a[N, K]),
    "a permutation of one factor": (total(a[N, PERMUTATION(H)] * z[H], H), total(a[N, H] * z[H], H)),
    "a rotation of one factor": (
        total(total(x[N, D] * ROTATION[D, E], D) * w[H, E], E),
        total(x[N, D] * w[H, D], D),
    ),
    "rows and columns of a rotation mixed": (
        total(total(x[N, D] * ROTATION[D, E], D) * total(w[H, D] * ROTATION[E, D], D), E),
        total(x[N, D] * w[H, D], D),
    ),
    "the square of a sum is not the sum of squares": (total(v[D], D) ** 2, total(v[D] ** 2, D)),
    "a product of sums is not the sum of products": (total(v[D], D) * total(x[N, D], D), total(v[D] * x[N, D], D)),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_identities(name, rng):
    left, right = IDENTITIES[name]
    assert is_zero(left - right)
    arrays = arrays_of(rng)
    at = dict.fromkeys((N, H, K, D, E), 1)
    assert evaluate(left, arrays, at) == evaluate(right, arrays, at)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_identities_are_not_zero(name, rng):
    left, right = WRONG[name]
    assert not is_zero(left - right)
    arrays = arrays_of(rng)
    at = {N: 1, H: 1, K: 2, D: 1, E: 2}
    assert evaluate(left, arrays, at) != evaluate(right, arrays, at)


# --- the index-notation array runs programs as a NumPy array does ---------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_index_array_runs_programs_as_numpy_does(seed):
    """The same random program on symbols and on exact numbers: + - * /, sums along axes, and matrix products."""
    rng = np.random.default_rng(seed)
    arrays = arrays_of(rng)
    symbolic = [generic(name, site) for name, site in (("x", Site.INPUTS), ("w", Site.WEIGHT), ("a", Site.SUMMED))]
    numeric = [arrays[name] for name in "xwa"]
    for _ in range(rng.integers(2, 5)):
        place = rng.integers(len(symbolic))
        s, t = symbolic[place], numeric[place]
        kind = rng.integers(6)
        if kind == 0:
            axis = tuple(rng.permutation([-2, -1])[: rng.integers(1, 3)].tolist())
            s, t = s.sum(axis=axis, keepdims=True), t.sum(axis=axis, keepdims=True)
        elif kind == 1:
            s, t = s - s.sum(axis=-1, keepdims=True) / s.shape[-1], t - t.sum(axis=-1, keepdims=True) / t.shape[-1]
        elif kind == 2:
            s, t = s * s - 2, t * t - 2
        elif kind == 3:
            s, t = -s / 3 + s, -t / 3 + t
        elif kind == 4 and None not in symbolic[0].indices + symbolic[1].indices:
            s, t = symbolic[0] @ symbolic[1].swapaxes(-1, -2), numeric[0] @ numeric[1].T
            place = 2
        else:
            s, t = s * symbolic[place], t * numeric[place]
        symbolic[place], numeric[place] = s, t
    for s, t in zip(symbolic, numeric):
        assert_same(s, t, arrays)


def assert_same(symbolic: IndexArray, numeric, arrays):
    shape = tuple(1 if index is None else SIZES[axis_of(index)] for index in symbolic.indices)
    assert shape == numeric.shape
    for place in np.ndindex(shape):
        at = {index: k for index, k in zip(symbolic.indices, place) if index is not None}
        assert evaluate(symbolic.expr, arrays, at) == numeric[place]


def test_root_takes_common_factors_out():
    """√(δ² Σx²) = δ √(Σx²): what lets a rescaling cancel."""
    delta = sympy.IndexedBase("delta", positive=True)[N]
    X = generic("x", Site.INPUTS)
    moved = IndexArray(delta * X.expr, X.indices)
    norm, moved_norm = ((t * t).sum(axis=-1, keepdims=True).sqrt() for t in (X, moved))
    assert is_zero(moved_norm.expr - delta * norm.expr)
    assert not is_zero(moved_norm.expr - norm.expr)


def test_arrays_that_do_not_fit_are_refused():
    X, W = generic("x", Site.INPUTS), generic("w", Site.WEIGHT)
    with pytest.raises(ValueError, match="do not match"):
        X + W
    with pytest.raises(ValueError, match="cannot contract"):
        X @ W
    with pytest.raises(ValueError, match="keepdims"):
        X.sum(axis=-1, keepdims=False)


# --- arrays of which some sums are known ----------------------------------------------------------------------------

M, L = sympy.Symbol("n_b", integer=True), sympy.Symbol("h_b", integer=True)
CENTRED = Mean(1, (0,), (1,), sympy.S.Zero)
UNIT_SQUARE = Mean(2, (0,), (1,), sympy.S.One)
IN_TWO = (Mean(1, (0,), (2,), sympy.S.Zero), Mean(2, (0,), (2,), sympy.Rational(3)))  # two groups of cases


def standardized(rng, parts):
    """Rationals a_nh whose mean over each of ``parts`` runs of cases is 0, and whose mean square is 1 or 3."""
    signs = np.array([1, -1]) if parts == 2 else np.array([1, -1, -1, 1])
    columns = [np.tile(rng.permutation(signs), parts if parts == 2 else 1) for _ in range(SIZES[Axis.UNIT])]
    return np.vectorize(Fraction, otypes=[object])(np.stack(columns, axis=1))


SUMS = [  # a summand, its indices that are summed over, and whether nothing of the array is left
    (lambda a: a[N, H], [N], True),
    (lambda a: a[N, H] ** 2, [N], True),
    (lambda a: a[N, H] ** 2 * z[H], [N], True),
    (lambda a: a[N, H] ** 2 * x[N, D], [N], False),
    (lambda a: a[N, H] * a[N, K], [N], False),
    (lambda a: a[N, H] ** 2 * v[D] * z[H], [N, H], True),
    (lambda a: a[N, H] ** 4, [N], False),
    (lambda a: a[N, H], [H], False),
    (lambda a: (a[N, H] - sympy.Rational(1, 2)) ** 2, [N], True),
]
IN_GROUPS = [
    (lambda a: a[N, H] ** 2 * sympy.KroneckerDelta(GROUP(N, 2), GROUP(M, 2)), [N], True),
    (lambda a: a[N, H] * sympy.KroneckerDelta(GROUP(N, 2), GROUP(M, 2)), [N], True),
    (lambda a: a[N, H] ** 2 * v[GROUP(N, 2)], [N], True),
    (lambda a: a[N, H] ** 2, [N], True),
    (lambda a: a[N, H] ** 2 * x[N, D], [N], False),
    (lambda a: a[N, H] ** 2 * sympy.KroneckerDelta(GROUP(N, 4), GROUP(M, 4)), [N], False),
    (lambda a: a[N, H] ** 2 * sympy.KroneckerDelta(GROUP(N, 2), GROUP(M, 2)) * x[M, D], [N, M], True),
]


@pytest.mark.parametrize(
    ("summand", "indices", "gone", "parts"), [(*case, 1) for case in SUMS] + [(*case, 2) for case in IN_GROUPS]
)
def test_sums_of_known_arrays(summand, indices, gone, parts, rng):
    """The canonical sum is the sum written out, for an array that has these means; and the array is gone where it may."""
    values = standardized(rng, parts)
    factor = 1
    means = (CENTRED, UNIT_SQUARE) if parts == 1 else (IN_TWO[0], Mean(2, (0,), (2,), sympy.S.One))
    array = sympy.IndexedBase(Known("a", means, real=True))
    arrays = arrays_of(rng) | {"a": values * factor}
    found = summand(array)
    for index in indices:
        found = total(found, index)
    assert gone == (not any(entry.base == array for entry in found.atoms(sympy.Indexed)))
    free = {N: 2, H: 1, D: 3, K: 0, M: 1}
    at = {index: place for index, place in free.items() if index not in indices}
    ranges = [range(SIZES[axis_of(index)]) for index in indices]
    plain = summand(a)
    truth = sum(
        evaluate(plain, arrays, at | dict(zip(indices, place, strict=True))) for place in itertools.product(*ranges)
    )
    assert evaluate(normal(found), arrays, at) == truth
    wrong = sympy.IndexedBase(Known("a", [Mean(m.power, m.places, m.parts, m.value + m.power) for m in means], real=True))
    other = summand(wrong)
    for index in indices:
        other = total(other, index)
    if gone:
        assert evaluate(normal(other), arrays, at) != truth

"""What each way of building the statistics of batch norm at inference estimates.

One formula covers every way to draw a batch of m: with variance σ² of a draw and covariance C of two,

    E[Σc²/m] = (m - 1)/m (σ² - C),      Var[mean] = (σ² + (m - 1) C)/m,      and their sum is σ².

C = 0 for independent draws, -σ²/(N - 1) without replacement.  It is derived here in SymPy, and checked by enumerating all
batches of a small population in exact rationals, and by simulation.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
from test_running import HOW, average, statistics

import fishergeo as fg

POPULATION = [Fraction(x) for x in (0, 1, 1, 2, 4, 10)]  # of one unit; N = 6, μ = 3, σ² = 34/3
N, MEAN, VAR = len(POPULATION), Fraction(3), Fraction(34, 3)
ONE = [[Fraction(1)]]  # the weight of one unit with one input: A = X


def column(numbers):
    """Cases of one input, as exact rationals."""
    return np.array(list(numbers), object)[:, None]


def exact(batches, build=fg.running_statistics, **how):
    """The frozen mean and variance of one unit from batches of numbers; ε = 1 admits batches of equal numbers."""
    mean, var = statistics(build(fg.batch_norm.with_eps(1), ONE, map(column, batches), **how))
    return mean.item(), var.item()


# --- derived -------------------------------------------------------------------------------------------------------

m, n, t, k = sympy.symbols("m N t k", positive=True)
mu, cov = sympy.symbols("mu C", real=True)
sigma2, start = sympy.symbols("sigma2 start", positive=True)


def derived():
    """E[Σc²/m] and Var[mean] of a batch of m draws of variance σ² and covariance C, from E[x_i x_j] alone."""
    same, other = sigma2 + mu**2, cov + mu**2
    square_of_mean = (m * same + m * (m - 1) * other) / m**2
    return sympy.factor(sympy.expand(same - square_of_mean)), sympy.expand(square_of_mean - mu**2)


def without_replacement(size):
    """C of two draws without replacement: the sum over the whole population does not vary."""
    (found,) = sympy.solve(size * sigma2 + size * (size - 1) * cov, cov)
    return found


def value(formula, **numbers):
    """A derived formula at the numbers of the population, as a rational."""
    known = {"mu": MEAN, "sigma2": VAR, "N": N, "C": 0, **numbers}
    formula = sympy.sympify(formula)
    result = formula.subs({symbol: sympy.Rational(known[symbol.name]) for symbol in formula.free_symbols})
    return Fraction(int(result.p), int(result.q))


def after(average_of_batches, begin):
    """E of an exponential average after t batches with the same expectation, from the recursion itself."""
    running = sympy.Function("r")
    step = sympy.Eq(running(t + 1), (1 - k) * running(t) + k * average_of_batches)
    solved = sympy.rsolve(step, running(t), {running(0): begin})
    return sympy.simplify(solved)


BIASED, OF_MEAN = derived()
UNBIASED = BIASED * m / (m - 1)
DRAWN = {"independent": sympy.Integer(0), "without replacement": without_replacement(n)}


def test_the_expected_variance_of_a_batch():
    assert sympy.simplify(BIASED - (m - 1) / m * (sigma2 - cov)) == 0
    assert sympy.simplify(OF_MEAN - (sigma2 + (m - 1) * cov) / m) == 0
    assert sympy.simplify(BIASED + OF_MEAN - sigma2) == 0  # the law of total variance
    assert sympy.simplify(BIASED.subs(cov, 0) - (m - 1) / m * sigma2) == 0
    finite = DRAWN["without replacement"]
    assert finite == -sigma2 / (n - 1)
    assert sympy.simplify(UNBIASED.subs(cov, finite) - n / (n - 1) * sigma2) == 0  # the N - 1 variance
    assert sympy.simplify(sigma2 - BIASED.subs(cov, finite) - sigma2 * (n - m) / (m * (n - 1))) == 0
    assert sympy.simplify(OF_MEAN.subs(cov, finite) - sigma2 * (n - m) / (m * (n - 1))) == 0


def test_the_start_of_an_exponential_average():
    v = sympy.Symbol("v", positive=True)
    assert sympy.simplify(after(v, start) - ((1 - (1 - k) ** t) * v + (1 - k) ** t * start)) == 0


# --- enumerated ------------------------------------------------------------------------------------------------------


def expectation_is(found, claimed):
    assert found == claimed, f"{found} is not {claimed}"


def batches_of(size, drawn):
    return (
        itertools.product(POPULATION, repeat=size) if drawn == "independent" else itertools.combinations(POPULATION, size)
    )


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("drawn", DRAWN)
def test_all_batches_of_a_population(size, drawn):
    """Every batch that can be drawn, as the package sees it: expectations are exact rationals."""
    C = value(DRAWN[drawn])
    batches = list(batches_of(size, drawn))
    biased = [exact([batch], unbiased=False) for batch in batches]
    expectation_is(average(mean for mean, _ in biased), MEAN)
    expectation_is(average(var for _, var in biased), value(BIASED, m=size, C=C))
    expectation_is(average(exact([batch])[1] for batch in batches), value(UNBIASED, m=size, C=C))
    expectation_is(average((mean - MEAN) ** 2 for mean, _ in biased), value(OF_MEAN, m=size, C=C))
    for wrong in (VAR, value(BIASED, m=size + 1, C=C), value(UNBIASED, m=size, C=C)):
        with pytest.raises(AssertionError):
            expectation_is(average(var for _, var in biased), wrong)


def epochs(size):
    """Every way to cut the population into batches of one size, in order."""

    def cut(rest):
        if not rest:
            yield ()
        for batch in itertools.combinations(rest, size):
            yield from ((batch, *others) for others in cut([i for i in rest if i not in batch]))

    for places in cut(list(range(N))):
        yield [[POPULATION[i] for i in batch] for batch in places]


@pytest.mark.parametrize("size", [2, 3])
def test_all_epochs_of_a_population(size):
    """Batches without replacement: averages over an epoch, of every epoch; what they miss is what the means vary."""
    C = value(DRAWN["without replacement"])
    found = {True: [], False: []}
    for batches in epochs(size):
        for unbiased, listed in found.items():
            mean, var = exact(batches, unbiased=unbiased)
            listed.append(var)
            assert mean == MEAN
        means = [exact([batch])[0] for batch in batches]
        assert found[False][-1] + average((x - MEAN) ** 2 for x in means) == VAR  # in every single epoch
        assert exact(batches, fg.population_statistics) == (MEAN, VAR)
        assert exact(batches, fg.population_statistics, unbiased=True) == (MEAN, VAR * N / (N - 1))
    expectation_is(average(found[False]), value(BIASED, m=size, C=C))
    expectation_is(average(found[True]), VAR * N / (N - 1))


@pytest.mark.parametrize("momentum", [Fraction(1, 10), Fraction(1, 2)])
def test_exponential_averages_of_all_epochs(momentum):
    """90 epochs of three batches of two: the expectation from the start at 0 and 1, and without the start."""
    listed = list(epochs(2))
    assert len(listed) == 90
    for unbiased, formula in ((True, UNBIASED), (False, BIASED)):
        var_of_batch = value(formula, m=2, C=value(DRAWN["without replacement"]))
        claimed = [value(after(v, begin), k=momentum, t=3) for v, begin in ((MEAN, 0), (var_of_batch, 1))]
        averages = [exact(batches, momentum=momentum, unbiased=unbiased) for batches in listed]
        for found, wanted in zip(zip(*averages, strict=True), claimed, strict=True):
            expectation_is(average(found), wanted)
        free = [exact(batches, momentum=momentum, unbiased=unbiased, corrected=True) for batches in listed]
        for found, wanted in zip(zip(*free, strict=True), (MEAN, var_of_batch), strict=True):
            expectation_is(average(found), wanted)
        for wrong in (averages, [exact(batches, unbiased=unbiased) for batches in listed]):
            with pytest.raises(AssertionError):  # neither without the correction, nor as if k were 1/t
                expectation_is(average(var for _, var in wrong), var_of_batch * (1 - (1 - momentum) ** 3))


def test_batches_of_different_sizes_count_the_same():
    """An average over batches weighs an entry of a small batch more: over all epochs of batches of 4 and 2."""
    listed = [
        [[POPULATION[i] for i in places], [POPULATION[i] for i in range(N) if i not in places]]
        for places in itertools.combinations(range(N), 4)
    ]
    found = [exact(batches, unbiased=False) for batches in listed]
    assert {mean for mean, _ in found} > {MEAN}  # not the mean of the population in each epoch
    expectation_is(average(mean for mean, _ in found), MEAN)
    C = value(DRAWN["without replacement"])
    expectation_is(average(var for _, var in found), average(value(BIASED, m=size, C=C) for size in (4, 2)))


def test_sorted_batches_miss_what_lies_between_them():
    """Two fixed batches {0, 1, 1} and {2, 4, 10}: C is that within a batch, and the same formula holds."""
    batches = [POPULATION[:3], POPULATION[3:]]
    products = [(x - MEAN) * (y - MEAN) for batch in batches for x, y in itertools.permutations(batch, 2)]
    C = average(products)
    assert exact(batches, unbiased=False) == (MEAN, value(BIASED, m=3, C=C))
    assert exact(batches) == (MEAN, value(UNBIASED, m=3, C=C))
    assert C > 0 and exact(batches)[1] < VAR  # m/(m - 1) does not help


def test_steps_of_one_sequence_are_alike():
    """Independent sequences of two steps: among the entries of a batch, only those of one sequence have covariance."""
    pairs = [POPULATION[:2], POPULATION[2:4], POPULATION[4:]]
    within = average((x - MEAN) * (y - MEAN) for x, y in pairs)
    steps, found = 2, {True: [], False: []}
    for batch in itertools.product(pairs, repeat=3):
        X = np.array(batch, object)[..., None]
        for unbiased, listed in found.items():
            stage = fg.running_statistics(fg.batch_norm.with_eps(1), ONE, [X], unbiased=unbiased).summed[0]
            listed.append(stage.var[0])
    entries = 3 * steps
    C = within * Fraction(steps - 1, entries - 1)
    expectation_is(average(found[False]), value(BIASED, m=entries, C=C))
    expectation_is(average(found[True]), VAR - C)
    assert C != 0


# --- what that does to Â -------------------------------------------------------------------------------------------


def spread(frozen):
    """Mean and mean square of Â over the population, the mean squared with its sign."""
    values = [sympy.sympify(x) for x in frozen(column(POPULATION), np.array(ONE, object)).value.ravel()]
    mean = sympy.nsimplify(sum(values) / N)
    return sympy.sign(mean) * sympy.expand(mean**2), sympy.expand(sum(x**2 for x in values) / N)


@pytest.mark.parametrize(
    "how", [{}, {"unbiased": False}, {"momentum": Fraction(1, 10)}, {"momentum": Fraction(1, 10), "corrected": True}]
)
def test_the_mean_and_the_mean_square_at_inference(how):
    """Mean (μ - mean)/√(var + ε), mean square (σ² + (μ - mean)²)/(var + ε); 0 and 1 for the population itself."""
    batches = [POPULATION[::2], POPULATION[1::2]]
    for eps in (0, Fraction(1, 2)):
        frozen = fg.running_statistics(fg.batch_norm.with_eps(eps), ONE, map(column, batches), **how)
        (mean,), (var,) = statistics(frozen)
        off = MEAN - mean
        expected = (abs(off) * off / (var + eps), (VAR + off**2) / (var + eps))
        assert spread(frozen) == tuple(sympy.Rational(x.numerator, x.denominator) for x in map(Fraction, expected))
        assert spread(frozen)[1] != 1
    assert spread(fg.population_statistics(fg.batch_norm, ONE, map(column, batches))) == (0, 1)


# --- simulated -----------------------------------------------------------------------------------------------------

UNITS, SIZE, BATCHES = 300, 4, 40  # each unit is an experiment of its own


def agrees(found, claimed, variance):
    """A mean over the units is within 4.5 standard errors of what is claimed."""
    assert abs(found.mean() - claimed) <= 4.5 * math.sqrt(variance / len(found)), f"{found.mean()}, not {claimed}"


@pytest.mark.parametrize("how", HOW)
def test_simulated_normal_batches(how, rng):
    """Independent draws from a normal law of mean 5 and variance 2; a batch's variance has variance 2 v²/(m - 1)."""
    batches = 5 + math.sqrt(2) * rng.normal(size=(BATCHES, SIZE, UNITS))
    mean, var = statistics(fg.running_statistics(fg.batch_norm, np.eye(UNITS), batches, **how))
    momentum = how["momentum"]
    formula = UNBIASED if how["unbiased"] else BIASED
    v = float(formula.subs({m: SIZE, sigma2: 2, cov: 0}))
    left = 0.0 if momentum is None else (1 - momentum) ** BATCHES
    weights = [1 / BATCHES] * BATCHES if momentum is None else [momentum * (1 - momentum) ** i for i in range(BATCHES)]
    noise = sum(w**2 for w in weights) / (1 - left * how["corrected"]) ** 2
    kept = 0.0 if how["corrected"] else left
    agrees(mean, (1 - kept) * 5, noise * 2 / SIZE)
    agrees(var, (1 - kept) * v + kept, noise * 2 * v**2 / (SIZE - 1))
    for wrong in (v * SIZE / (SIZE - 1), v * (SIZE - 1) / SIZE):
        with pytest.raises(AssertionError):
            agrees(var, wrong, noise * 2 * v**2 / (SIZE - 1))


def test_simulated_noise_of_an_exponential_average(rng):
    """Momentum k is as noisy as a cumulative average over (2 - k)/k batches: 19 for k = 0.1, however many there were."""
    batches = rng.normal(size=(200, SIZE, 2 * UNITS))
    found = fg.running_statistics(fg.batch_norm, np.eye(2 * UNITS), batches, momentum=0.1)
    scatter = statistics(found)[0].var() * SIZE
    relative = math.sqrt(2 / (2 * UNITS))  # standard error of a variance
    assert abs(scatter * 19 - 1) < 4.5 * relative
    assert abs(scatter * 10 - 1) > 4.5 * relative

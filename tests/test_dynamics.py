"""Training: every step against an independent descent on log p; batches, interruption, divergence, bad input."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import oracles
import pytest
from cases import ALL, on_positions_alone

import fishergeo as fg
from fishergeo.dynamics.descent import Diverged, descend
from fishergeo.dynamics.optimizers import SGD, adamw, gradient_descent, sgd

N, D, H = 90, 11, 10


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """The first handwritten digits, and the pixels of them that vary most: (90, 11), labels (90,)."""
    X, y = fg.datasets.load_digits()
    return X[:N, np.argsort(X[:N].std(axis=0))[-D:]] / 16, y[:N]


@pytest.fixture
def problem(digits, rng):
    """model -> (model, start, X, Y) on the digits."""
    X, y = digits

    def build(normalizer: fg.Normalizer, family: fg.Family = fg.categorical):
        model = fg.GLM(family, normalizer)
        p = model.init(D, H, rng)
        scatter = rng.uniform(0.5, 1.5, H)
        p = fg.Params(p.weight * scatter[:, None], p.bias + rng.normal(size=H), None if p.gain is None else scatter)
        return model, p, X, y if family is fg.categorical else np.eye(H)[y]

    return build


def oracle_slope(forward, family: str, p: fg.Params, X, Y) -> tuple[float, fg.Params]:
    """The mean negative log-likelihood and its gradient, by the complex step through log p."""
    gain = p.gain is not None

    def loss(v):
        return -oracles.log_p(forward, family, v, X, Y, p.units, gain, 1.0).mean()

    slope = oracles.derivatives(loss, p.ravel())
    return float(np.real(loss(p.ravel()))), fg.Params.unravel(slope, p.units, gain)


# --- the steps ----------------------------------------------------------------------------------------------------------

OPTIMIZERS = [
    gradient_descent(0.3),
    gradient_descent(0.1, momentum=0.8, weight_decay=0.05),
    adamw(0.02, beta1=0.8, beta2=0.9, weight_decay=0.1),
]


def by_the_book(optimizer, gradients, w, decay):
    """The parameter after a list of gradients, from sums over the whole past instead of running averages."""
    eta = optimizer.rate
    t = len(gradients)
    lam = optimizer.weight_decay if decay else 0
    if isinstance(optimizer, SGD):
        pulls = [g + lam * v for g, v in zip(gradients, w, strict=True)]
        return w[-1] - eta * sum(optimizer.momentum ** (t - 1 - s) * pull for s, pull in enumerate(pulls))
    mean = [beta ** (t - 1 - np.arange(t)) for beta in (optimizer.beta1, optimizer.beta2)]
    m = np.einsum("s,s...->...", mean[0] / mean[0].sum(), np.array(gradients))
    v = np.einsum("s,s...->...", mean[1] / mean[1].sum(), np.array(gradients) ** 2)
    return (1 - eta * lam) * w[-1] - eta * m / (np.sqrt(v) + optimizer.eps)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("case", ALL, ids=str)
def test_every_step_is_that_of_an_independent_descent(case, optimizer, problem):
    model, p, X, y = problem(case.normalizer)
    X, y, steps = X[:20], y[:20], 3
    if on_positions_alone(case):
        X, y = X.reshape(4, 5, D), y.reshape(4, 5)
    run = descend(model, p, X, y, optimizer=optimizer, steps=steps)
    past, slopes, losses = [p], [], []
    for _ in range(steps):
        loss, slope = oracle_slope(case.forward, "categorical", past[-1], X, np.eye(H)[y])
        losses.append(loss)
        slopes.append(slope)
        new = [
            None
            if getattr(p, part) is None
            else by_the_book(
                optimizer, [getattr(s, part) for s in slopes], [getattr(q, part) for q in past], part == "weight"
            )
            for part in ("weight", "bias", "gain")
        ]
        past.append(fg.Params(*new))
    losses.append(oracle_slope(case.forward, "categorical", past[-1], X, np.eye(H)[y])[0])
    np.testing.assert_allclose(run.params.ravel(), past[-1].ravel(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(run.loss, losses, rtol=1e-10)
    rows = [q.weight.reshape(1, -1) if run.group.whole else q.weight for q in past]
    norms = np.array([np.sqrt((w * w).sum(axis=1)) for w in rows])
    cosines = [(v * w).sum(axis=1) / (a * b) for v, w, a, b in zip(rows, rows[1:], norms, norms[1:], strict=False)]
    np.testing.assert_allclose(run.norms, norms, rtol=1e-10)
    np.testing.assert_allclose(np.cos(run.angles), cosines, rtol=1e-12)
    lengths = [np.sqrt((s.weight.reshape(len(rows[0]), -1) ** 2).sum(axis=1)) for s in slopes]
    np.testing.assert_allclose(run.gradient_norms, lengths, rtol=1e-9)


@pytest.mark.parametrize("normalizer", [fg.batch_norm, fg.weight_norm, fg.layer_norm, fg.identity], ids=lambda n: n.name)
def test_effective_rate_alone_decides_how_directions_train(normalizer, problem):
    """Weights scaled by c and the rate by c² train alike, if and only if the scale is a symmetry."""
    model, p, X, y = problem(normalizer)
    run = descend(model, p, X, y, optimizer=sgd(0.5), steps=20)
    large = descend(model, replace(p, weight=4 * p.weight), X, y, optimizer=replace(run.optimizer, rate=8.0), steps=20)
    if normalizer is fg.identity:
        assert np.abs(large.angles / run.angles - 1).max() > 0.1
        assert (run.effective_rate == 0.5).all() and run.effective_rate.shape == run.norms.shape
        return
    # the bias and gain must not move, for they have no scale: compare the first step only
    np.testing.assert_allclose(large.effective_rate[0], run.effective_rate[0], rtol=1e-13)
    np.testing.assert_allclose(large.angles[0], run.angles[0], rtol=1e-12)
    np.testing.assert_allclose(run.effective_rate, 0.5 / run.norms**2)
    assert (np.diff(run.effective_rate, axis=0) < 0).all()


def test_adamw_turns_at_a_rate_over_the_norm(problem):
    model, p, X, y = problem(fg.batch_norm)
    run = descend(model, p, X, y, optimizer=adamw(0.01, eps=1e-30), steps=2)
    large = descend(model, replace(p, weight=4 * p.weight), X, y, optimizer=adamw(0.04, eps=1e-30), steps=2)
    np.testing.assert_allclose(large.effective_rate[0], run.effective_rate[0], rtol=1e-13)
    np.testing.assert_allclose(large.angles[0], run.angles[0], rtol=1e-11)


# --- batches, interruption, divergence --------------------------------------------------------------------------------


def test_stochastic_runs_repeat_with_the_seed_and_only_with_it(problem):
    start = problem(fg.batch_norm)
    runs = [descend(*start, optimizer=sgd(0.1, batch=20), steps=30, rng=seed) for seed in (1, 1, 2)]
    assert np.array_equal(runs[0].loss, runs[1].loss) and not np.array_equal(runs[0].loss, runs[2].loss)
    assert runs[0].loss[-5:].mean() < runs[0].loss[:5].mean()


def test_one_batch_of_all_cases_is_gradient_descent(problem):
    start = problem(fg.layer_norm)
    full, one = (descend(*start, optimizer=sgd(0.5, batch=batch), steps=10, rng=0) for batch in (None, N))
    np.testing.assert_allclose(one.loss, full.loss, rtol=1e-12)
    assert sgd(0.5) == gradient_descent(0.5)


def test_positions_train_like_cases_where_they_are_normalized_together(problem):
    model, p, X, y = problem(fg.batch_norm)
    flat = descend(model, p, X, y, optimizer=sgd(0.5), steps=5)
    deep = descend(model, p, X.reshape(15, 6, D), y.reshape(15, 6), optimizer=sgd(0.5), steps=5)
    np.testing.assert_allclose(deep.params.ravel(), flat.params.ravel(), rtol=1e-10)
    np.testing.assert_allclose(deep.loss, flat.loss, rtol=1e-12)
    small = descend(model, p, X.reshape(15, 6, D), y.reshape(15, 6), optimizer=sgd(0.1, batch=1), steps=3, rng=0)
    assert small.steps == 3  # one case has six positions, enough for the statistics


@dataclass(frozen=True, repr=False)
class Interrupted(SGD):
    """An optimizer of the user's own, during whose tenth call the user presses Ctrl-C."""

    calls: tuple[list[int], ...] = ([],)

    def step(self, w, gradient, memory, decay=True):
        self.calls[0].append(1)
        if len(self.calls[0]) == 10:
            raise KeyboardInterrupt
        return super().step(w, gradient, memory, decay)


def test_an_interrupted_run_is_kept(problem):
    start = problem(fg.batch_norm)
    full = descend(*start, optimizer=sgd(0.1), steps=7)
    seen = []

    def stop(step: int, steps: int) -> None:
        seen.append((step, steps))
        if step == 3:
            raise KeyboardInterrupt

    for run in (
        descend(*start, optimizer=sgd(0.1), steps=7, progress=stop),
        descend(*start, optimizer=Interrupted(0.1), steps=7),  # in the middle of the fourth step
    ):
        assert run.interrupted and run.steps == 3 and "3 steps (interrupted)" in repr(run)
        for name in ("norms", "angles", "gradient_norms", "loss"):
            values = getattr(run, name)
            assert np.array_equal(values, getattr(full, name)[: len(values)])
        short = descend(*start, optimizer=sgd(0.1), steps=3)
        assert np.array_equal(run.params.ravel(), short.params.ravel()) and run.norms.shape == (4, H)
    assert seen == [(1, 7), (2, 7), (3, 7)] and not full.interrupted


def test_divergence_names_the_step_and_the_remedy_and_keeps_the_run(problem):
    model, p, X, y = problem(fg.identity, fg.gaussian)
    with pytest.raises(ArithmeticError, match=r"stop at step \d+ .*use a smaller rate") as caught:
        descend(model, p, X, y, optimizer=sgd(1e4), steps=500)
    assert isinstance(caught.value, Diverged)
    kept = caught.value.trajectory
    assert kept.steps > 3 and np.isfinite(kept.loss).all() and np.isfinite(kept.params.ravel()).all()
    model, p, X, y = problem(fg.batch_norm)
    with pytest.raises(Diverged, match=r"step 1 .*the weights have overflowed"):
        descend(model, p, X, y, optimizer=sgd(1e300), steps=5)


# --- bad input --------------------------------------------------------------------------------------------------------

BAD = [
    ({"optimizer": 0.1}, "optimizer=0.1: give an optimizer"),
    ({"steps": 0}, "steps=0: give an integer >= 1"),
    ({"steps": 2.5}, "steps=2.5"),
    ({"optimizer": sgd(0.1, batch=N + 1)}, f"batch={N + 1} but X has {N} cases"),
    ({"optimizer": sgd(0.1, batch=2)}, "batch=2: batch_norm needs 3 cases"),
    ({"Y": np.full(N, H)}, f"label {H} at case 0"),
    ({"X": np.full((N, D), np.nan)}, "nan or inf"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_runs_are_refused_before_they_start(change, message, problem):
    model, p, X, y = problem(fg.batch_norm)
    wrong = {"X": X, "Y": y, "optimizer": sgd(0.1), "steps": 3} | change
    with pytest.raises(fg.InputError, match=message):
        descend(model, p, **wrong)
    assert descend(model, p, X, y, optimizer=sgd(0.1, batch=3), steps=1, rng=0).steps == 1


# --- what the user sees -----------------------------------------------------------------------------------------------


def test_a_run_says_what_happened(problem):
    model, p, X, y = problem(fg.layer_norm)
    text = repr(descend(model, p, X, y, optimizer=sgd(0.1, batch=30), steps=4, rng=0))
    for part in ("categorical", "layer_norm", "sgd(rate=0.1, batch=30)", "4 steps", "loss", "‖W‖", "effective rate"):
        assert part in text
    assert "no scale symmetry" in repr(descend(*problem(fg.identity), optimizer=sgd(0.1), steps=1))
    assert repr(sgd(0.1, momentum=0.5)) == "gradient_descent(rate=0.1, momentum=0.5)"


def test_plot_draws_on_given_axes_or_its_own(problem):
    from matplotlib.figure import Figure

    run = descend(*problem(fg.batch_norm), optimizer=sgd(0.1), steps=4)
    ax = Figure().add_subplot()
    assert run.plot(ax) is ax and len(ax.lines) == H and "rate" in ax.get_ylabel()
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), run.effective_rate[:, 1])
    assert len({line.get_color() for line in ax.lines}) == 1
    descend(*problem(fg.weight_norm), optimizer=sgd(0.1), steps=4).plot(ax)
    assert len({line.get_color() for line in ax.lines}) == 2  # runs on the same axes are told apart
    assert run.plot() is not ax

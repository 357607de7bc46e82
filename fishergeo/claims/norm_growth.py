"""Scale-invariant training: what is stated about the growth of the norm and the effective learning rate."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import families, normalizers
from .. import transformations as tr
from ..axes import Axis, Site
from ..dynamics.optimizers import sgd
from ..normalizers import Normalizer
from .arrays import at_zero, generic_run, only_unit_j, path, symbols
from .core import Condition, Correction, Evidence, Level, Paper, claim, decide
from .facts import exactly, fails, identical, identity, measured, slope, unequal
from .models import random_model

LAARHOVEN = Paper("van Laarhoven", 2017, "L2 Regularization versus Batch and Weight Normalization", "1706.05350")
ARORA = Paper("Arora, Li, Lyu", 2019, "Theoretical Analysis of Auto Rate-Tuning by Batch Normalization", "1812.03981")
KUNIN = Paper("Kunin et al.", 2021, "Neural Mechanics", "2012.04728")

_BN, _WN = normalizers.batch_norm, normalizers.weight_norm
_LN, _RMS = normalizers.layer_norm, normalizers.rms_norm
EACH: tuple[Normalizer, ...] = (_BN, _WN)  # invariant to rescaling each weight vector
WHOLE: tuple[Normalizer, ...] = (_LN, _RMS)  # invariant to rescaling the weight matrix


def along_weights(*methods: Normalizer) -> list[Any]:
    """J w of each method, w the weights of one unit, or all of W if only W can be rescaled; ⟨∇L,w⟩ = ⟨∂L/∂Â, J w⟩."""
    w = symbols("w", Site.WEIGHT)
    return [generic_run(method).jvp(w * only_unit_j() if method in EACH else w) for method in methods]


@claim(
    "EFF-0",
    None,
    "Euler's relations, no single source",
    r"If $L(cw) = L(w)$ for $c > 0$, then $\nabla L(cw) = \nabla L(w)/c$, $\langle \nabla L, w \rangle = 0$ and "
    r"$H w = -\nabla "
    r"L$; so $w$ lies in the kernel of the Fisher matrix $F$, but in general not in that of the Hessian $H$.",
)
def homogeneity(degree: int = 0) -> Evidence:
    import sympy

    from ..invariance.chain import Run

    w, c = sympy.symbols("w1:4", positive=True), sympy.Symbol("c", positive=True)
    # the statement involves two derivatives at one point, where those of a quadratic in the ratios are arbitrary
    x, y = w[1] / w[0], w[2] / w[0]
    L = w[0] ** degree * sum(a * m for a, m in zip(sympy.symbols("a:5"), (x, y, x * x, x * y, y * y)))
    gradient = [L.diff(v) for v in w]
    hessian_w = [sum(g.diff(v) * v for v in w) for g in gradient]
    scaled = [g.subs({v: c * v for v in w}, simultaneous=True) - g / c for g in gradient]
    euler = [sum(g * v for g, v in zip(gradient, w)), *(h + g for h, g in zip(hessian_w, gradient)), *scaled]
    runs = [Run.of(n, tr.weight_matrix_rescaling) for n in (*EACH, *WHOLE)]
    G, delta = symbols("G"), sympy.Symbol("delta", positive=True)
    p, q = sympy.symbols("p q", positive=True)
    loss, at = p / sympy.sqrt(p**2 + q**2), {p: 3, q: 4}
    bend = [loss.diff(p, p) * p + loss.diff(p, q) * q, loss.diff(p)]
    return decide(
        identical(
            "every smooth L of degree 0 in three weights: ⟨∇L,w⟩ = 0, Hw = -∇L, ∇L(cw) = ∇L(w)/c",
            [sympy.cancel(e) for e in euler],
            [sympy.Integer(0)] * len(euler),
        ),
        identity(
            "for all sizes under BN, WN, LN and RMS norm: ∇L(cw) = ∇L(w)/c, J w = 0, hence ⟨∇L,w⟩ = 0 and F w = 0",
            *(run.after.vjp(G) * delta - run.before.vjp(G) for run in runs),
            *along_weights(*EACH, *WHOLE),
        ),
        also=[
            unequal("L = w_1/‖w‖ at (3,4): the first entry of Hw is {left}", bend[0].subs(at), 0),
            exactly("and that of -∇L is {right}", bend[0].subs(at), -bend[1].subs(at)),
        ],
    )


@claim(
    "EFF-eta",
    LAARHOVEN,
    "with Hoffer et al. 2018, arXiv 1803.01814",
    r"A step of gradient descent with rate $\eta$ turns the direction $\hat w$ with the effective rate "
    r"$\eta/\lVert w \rVert^2$: "
    r"$\hat w' = \hat w - \frac{\eta}{\lVert w \rVert^2} (I - \hat w \hat w^\top) \nabla L(\hat w) + O(\eta^2)$.",
)
def effective_rate(power: int = 2) -> Evidence:
    import sympy

    from ..dynamics.laws import effective_step
    from ..invariance.chain import Run

    u, delta = symbols("u", Site.WEIGHT), sympy.Symbol("delta", positive=True)
    moving, t = path(_WN, u * -1)
    w_hat = generic_run(_WN).What
    (stage,) = generic_run(_WN).weight
    assert stage.sigma is not None
    tangential = u - w_hat * (w_hat * u).sum(axis=1)
    run, G = Run.of(_BN, tr.weight_matrix_rescaling), symbols("G")
    rng, facts = np.random.default_rng(21), []
    rates = 2.0 ** -np.arange(6, 12)
    for family, normalizer in ((families.bernoulli, _BN), (families.categorical, _LN)):
        model, p, X = random_model(family, normalizer, rng)
        Y = model.sample(p, X, rng)
        gaps = [effective_step(model, p, X, Y, rate).gap for rate in rates]
        facts.append(
            slope(f"{family.name} with {normalizer.title}: the remainder shrinks as η^{{slope}}", rates, gaps, 2, 0.05)
        )
    return decide(
        identity("d(ŵ')/dη at η = 0 is -(I - ŵŵᵀ)∇L(w)/‖w‖", at_zero(moving.What, t) + tangential / stage.sigma),
        identity("∇L(w) = ∇L(ŵ)/‖w‖", run.after.vjp(G) * delta ** (power - 1) - run.before.vjp(G)),
        also=facts,
    )


@claim(
    "EFF-growth",
    ARORA,
    "lemma 2.4",
    r"For a scale-invariant $w$, (stochastic) gradient descent gives $\lVert w_{t+1} \rVert^2 = \lVert w_t "
    r"\rVert^2 + \eta^2 "
    r"\lVert \nabla L(w_t) \rVert^2$: for each unit under batch and weight norm, for the whole matrix under layer "
    r"and RMS norm.",
)
def norm_growth(whole: tuple[Normalizer, ...] = WHOLE, momentum: Any = 0) -> Evidence:
    import sympy

    from ..dynamics.descent import descend
    from ..dynamics.laws import norm_identity_defect

    w, G, buffer = symbols("w", Site.WEIGHT), symbols("G", Site.WEIGHT), symbols("u", Site.WEIGHT)
    eta = sympy.Symbol("eta", positive=True)
    step = (G + buffer * momentum) * -eta
    moved = w + step
    grown = moved * moved - w * w - step * step + w * G * 2 * eta
    own = generic_run(_LN).jvp(w * only_unit_j())
    rng, defects = np.random.default_rng(22), []
    for normalizer in (*EACH, *WHOLE):
        model, p, X = random_model(families.bernoulli, normalizer, rng)
        Y = model.sample(p, X, rng)
        run = descend(model, p, X, Y, optimizer=sgd(rate=0.5, batch=20), steps=200, rng=rng)
        if run.interrupted:  # a shorter run would decide another claim
            raise KeyboardInterrupt
        defects.append(norm_identity_defect(run))
    return decide(
        identity("⟨∇L,w⟩ = 0 under BN, WN (each unit), LN and RMS norm (whole matrix)", *along_weights(*EACH, *whole)),
        identity("‖w + Δw‖² = ‖w‖² + ‖Δw‖² - 2η⟨∇L,w⟩, whose last term is 0", grown.sum(axis=1)),
        also=[
            fails(identity("under layer norm ⟨∇L,w_i⟩ = 0 for each unit", own)),
            measured(
                f"200 steps of SGD on batches: the largest relative defect is {max(defects):.1e} (tolerance 1e-14)",
                max(defects) <= 1e-14,
            ),
        ],
    )


@claim(
    "EFF-quartic",
    None,
    "no single source",
    r"With a gradient of constant norm $G$ on the unit sphere, $\lVert w_t \rVert^4 \approx \lVert w_0 \rVert^4 + "
    r"2 \eta^2 G^2 t$: "
    r"the effective rate falls as $t^{-1/2}$.",
)
def quartic(factor: int = 2) -> Evidence:
    import sympy

    from ..dynamics.equilibrium import quartic_growth

    r, c, x, start = sympy.symbols("r c x start", positive=True)  # ‖w_t‖², η²G², time, ‖w_0‖⁴
    step = sympy.expand((r + c / r) ** 2 - r**2 - c**2 / r**2)
    growth = quartic_growth(rate=0.3, gradient_norm=2.0, steps=40000)
    inside = (growth.norms >= growth.lower * (1 - 1e-12)).all() and (growth.norms <= growth.upper * (1 + 1e-12)).all()
    late = np.unique(np.geomspace(4000, 40000, 20).astype(int))
    error = growth.norms[-1] ** 4 / growth.lower[-1] ** 4 - 1
    return decide(
        exactly(
            "from ‖w_{{t+1}}‖² = ‖w_t‖² + η²G²/‖w_t‖²: each step adds {left} + c²/‖w_t‖⁴ to ‖w_t‖⁴, c = η²G²",
            step,
            factor * c,
            Level.PROVED,
        ),
        needs=[
            Condition(
                "t is large",
                unequal(
                    "η = G = ‖w_0‖ = 1: ‖w_1‖⁴ = {left}, not {right}",
                    (r + c / r).subs({r: 1, c: 1}) ** 2,
                    sympy.Integer(3),
                ),
            )
        ],
        also=[
            measured("the norms lie between the closed forms that enclose them", bool(inside)),
            measured(f"after 40000 steps the relative error of ‖w_t‖⁴ is {error:.1e}", 0 <= error < 1e-3),
            slope("the effective rate falls as t^{slope}", late, 0.3 / growth.norms[late] ** 2, -0.5, 0.005),
        ],
        instead=Correction(
            r"$0 \le \lVert w_t \rVert^4 - \lVert w_0 \rVert^4 - 2ct \le \frac{c^2}{\lVert w_0 \rVert^4} + \frac "
            r"c2 \log\big(1 + "
            r"\frac{2c(t-1)}{\lVert w_0 \rVert^4}\big)$ with $c = \eta^2 G^2$.",
            (
                exactly(
                    "the excess of a step is c²/‖w_t‖⁴ > 0",
                    sympy.expand((r + c / r) ** 2) - r**2 - 2 * c,
                    c**2 / r**2,
                    Level.PROVED,
                ),
                exactly(
                    "so that ‖w_k‖⁴ ≥ ‖w_0‖⁴ + 2ck, and the excess of the steps after the first is at most the "
                    "integral of c²/(‖w_0‖⁴ + 2cx), which falls, over 0 < x < t - 1",
                    sympy.cancel((c / 2 * sympy.log(1 + 2 * c * x / start)).diff(x)),
                    sympy.cancel(c**2 / (start + 2 * c * x)),
                    Level.PROVED,
                ),
            ),
        ),
    )


@claim(
    "EFF-cons",
    KUNIN,
    "",
    r"Gradient flow conserves $\lVert w \rVert^2$ under scale symmetry and $\langle \theta, 1 \rangle$ under "
    r"translation symmetry; "
    r"with weight decay $\lambda$ they decay as $e^{-2\lambda t}$ and $e^{-\lambda t}$.",
)
def conservation(translation: Normalizer = _LN) -> Evidence:
    import sympy

    t, decay, eta = sympy.symbols("t lambda eta", positive=True)
    square, total = sympy.Function("s")(t), sympy.Function("m")(t)
    # d‖w‖²/dt = 2⟨w, -∇L - λw⟩ and d⟨θ,1⟩/dt = ⟨1, -∇L - λθ⟩, with ⟨w,∇L⟩ = 0 and ⟨1,∇L⟩ = 0
    flow = [
        (sympy.exp(2 * decay * t) * square).diff(t).subs(square.diff(t), -2 * decay * square),
        (sympy.exp(decay * t) * total).diff(t).subs(total.diff(t), -decay * total),
    ]
    w, D, gamma = symbols("w", Site.WEIGHT), symbols("G", Site.WEIGHT), symbols("gamma", Site.WEIGHT, Axis.INPUT)
    moved = w * (1 - eta * decay) - D * eta
    parts = (w * w * (1 - eta * decay) ** 2 + D * D * eta**2 - w * D * 2 * eta * (1 - eta * decay)).sum(axis=1)
    discrete = (moved * moved).sum(axis=1) - parts
    drift = _flow_drift()
    return decide(
        identity("scale: ⟨w,∇L⟩ = 0 under BN (each unit) and LN (whole matrix)", *along_weights(_BN, _LN)),
        identity(
            f"translation W → W + 1γᵀ: J (1γᵀ) = 0, hence Σ_h ∂L/∂w_hd = 0, under {translation.title}",
            generic_run(translation).jvp(w * 0 + gamma),
        ),
        exactly("so d(e^(2λt)‖w‖²)/dt = 0 and d(e^(λt)⟨θ,1⟩)/dt = 0", [sympy.expand(e) for e in flow], 0, Level.PROVED),
        identity("discrete: ‖w'‖² = (1 - ηλ)²‖w‖² + η²‖∇L‖² - 2η(1 - ηλ)⟨w,∇L⟩, whose last term is 0", discrete),
        also=[
            measured(
                f"gradient flow of a batch norm model to t = 5: ‖w_i‖² drifts by {drift:.1e} (tolerance 1e-8)",
                drift < 1e-8,
            )
        ],
    )


def _flow_drift() -> float:
    """The largest relative change of ‖w_i‖² along the gradient flow of a model, integrated to 1e-10."""
    from scipy.integrate import solve_ivp

    rng = np.random.default_rng(23)
    model, p, X = random_model(families.bernoulli, _BN, rng, N=20, D=3, H=3)
    Y = model.sample(p, X, rng)
    with np.errstate(under="ignore"):  # the solver's own
        flow = solve_ivp(
            lambda _, v: model.gradient(model.unravel(v, 3), X, Y), (0, 5), p.ravel(), rtol=1e-10, atol=1e-12
        )
    norms = (model.unravel(flow.y[:, -1], 3).weight ** 2).sum(axis=1)
    return float(np.abs(norms / (p.weight**2).sum(axis=1) - 1).max())

"""Layer Normalization: what Ba, Kiros and Hinton state about invariance and about the model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from .. import families, normalizers
from .. import transformations as tr
from ..axes import Axis, Site
from ..information.matrices import fisher
from ..normalizers import Normalizer
from .arrays import exact_model, generic_run, moments, symbols
from .core import Condition, Correction, Evidence, Level, Paper, claim, decide, listed
from .facts import close, eps_condition, exactly, identity, invariant, sign_condition, slope, table_facts, unequal
from .models import densities, kullback_leibler, random_model

BA = Paper("Ba, Kiros, Hinton", 2016, "Layer Normalization", "1607.06450")

_BN, _WN, _LN = normalizers.batch_norm, normalizers.weight_norm, normalizers.layer_norm
TABLE: Mapping[Normalizer, str] = {_BN: "✓✗✓✓✓✗", _WN: "✓✗✓✗✗✗", _LN: "✓✓✗✓✗✓"}


@claim(
    "LN-T1",
    BA,
    "table 1",
    "Invariance under weight matrix re-scaling, weight matrix re-centering, weight vector re-scaling, dataset "
    "re-scaling, "
    "dataset re-centering and single training case re-scaling, in this order: batch norm yes no yes yes yes no; weight "
    "norm yes no yes no no no; layer norm yes yes no yes no yes.",
)
def table_1(table: Mapping[Normalizer, str] = TABLE) -> Evidence:
    frozen = invariant(normalizers.frozen_batch_norm(1, 4), tr.weight_matrix_rescaling, expected=False)
    given = Condition("batch statistics not frozen", frozen, sourced=True)
    return decide(*table_facts(table), needs=[sign_condition(_LN), eps_condition(_LN), given])


@claim("LN-5.1-text", BA, "section 5.1", "All the normalization methods are invariant to re-scaling the dataset.")
def dataset_rescaling(methods: tuple[Normalizer, ...] = (_BN, _WN, _LN)) -> Evidence:
    import sympy

    from ..invariance.chain import Run

    run = Run.of(_WN, tr.dataset_rescaling)
    scaled = run.after.value - run.before.value * sympy.Symbol("delta", positive=True)
    return decide(
        invariant(methods, tr.dataset_rescaling),
        instead=Correction(
            r"Batch norm and layer norm are invariant to $X \to \delta X$, $\delta > 0$; weight norm is not, it turns "
            r"$\hat A$ into $\delta \hat A$. Table 1 is right, the text is not.",
            (
                invariant((_BN, _LN), tr.dataset_rescaling),
                identity("weight norm turns X → δX into Â → δÂ", scaled),
            ),
        ),
    )


@claim(
    "LN-sign",
    BA,
    "section 5.1",
    r"If the weights are scaled by $\delta$, the two scalars $\mu$ and $\sigma$ are also scaled by $\delta$, and the "
    "normalized summed inputs stay the same.",
)
def sign(methods: tuple[Normalizer, ...] = (_BN, _WN, _LN)) -> Evidence:
    import sympy

    from ..invariance.chain import Run

    runs = [Run.of(method, tr.sign_flip) for method in methods]
    delta, scaled = sympy.Symbol("delta", positive=True), []
    for method in methods:
        run = Run.of(method, tr.weight_matrix_rescaling)
        pair = ((*n.inputs, *n.weight, *n.summed) for n in (run.before, run.after))
        for before, after in zip(*pair, strict=True):
            scaled.append(after.sigma - before.sigma * delta)
            if before.mean is not None:
                scaled.append(after.mean - before.mean * delta)
    return decide(
        identity("δ > 0 scales μ and σ by δ", *scaled),
        invariant(methods, tr.weight_matrix_rescaling),
        needs=[sign_condition(_LN)],
        also=[identity("W → -W turns Â into -Â", *(run.after.value + run.before.value for run in runs))],
    )


@claim(
    "LN-pre",
    BA,
    "section 5.1",
    "If normalization is only applied to the input before the weights, the model is not invariant to re-scaling and "
    "re-centering of the weights.",
)
def pre_normalization(
    methods: tuple[Normalizer, ...] = (normalizers.input_layer_norm, normalizers.input_standardization),
) -> Evidence:
    changes = (tr.weight_matrix_rescaling, tr.weight_vector_rescaling, tr.weight_matrix_recentering)
    return decide(
        invariant(methods, changes, expected=False),
        # what centring x over its entries does hide: one constant added to all weights of a unit
        also=[invariant(normalizers.input_layer_norm, tr.weight_constant_shift)],
    )


@claim(
    "LN-reparam",
    BA,
    "section 4",
    "Weight normalization, and batch normalization with expected statistics, are a different parameterization of the "
    "original feed-forward network; layer normalization is not a re-parameterization of it.",
)
def reparametrization(outside: Normalizer = _LN) -> Evidence:
    given = normalizers.frozen_batch_norm((1, 2, 3), (1, 2, 3))  # read as generic m_h and v_h > 0
    w, b, g = symbols("w", Site.WEIGHT), *(symbols(name, Site.SUMMED, Axis.UNIT) for name in "bg")
    X = generic_run(normalizers.identity).Xhat
    facts = []
    for method, what in ((_BN, "batch norm"), (given, "batch norm with given statistics"), (_WN, "weight norm")):
        run = generic_run(method)
        mean, sigma = moments(run)
        mean = b * 0 if mean is None else mean
        facts += [
            identity(
                f"{what} with gain σ, bias b + μ equals the plain model (w, b) where σ > 0 (constant units: gain 0)",
                run.value * sigma + b + mean - X @ w.swapaxes(0, 1) - b,
            ),
            identity(
                f"{what} (w, b, g) equals the plain model (g w/σ, b - g μ/σ)",
                run.value * g + b - X @ (w * (g / sigma).swapaxes(0, 1)).swapaxes(0, 1) - b + g * mean / sigma,
            ),
        ]
    z = exact_model(outside, [[0, 1], [1, 1], [2, 1]], [[1, 1], [1, 2], [-3, 1]]).Z
    bend = unequal(
        f"{outside.title} on the inputs (0,1), (1,1), (2,1) has a second difference {{left}} where plain models have 0",
        z[0, 0] - 2 * z[1, 0] + z[2, 0],
        0,
    )
    return decide(*facts, bend)


@claim(
    "LN-conclusion",
    BA,
    "section 7",
    "Layer normalization is invariant to per training-case feature shifting and scaling.",
)
def conclusion(shift: tr.Transformation = tr.case_recentering) -> Evidence:
    return decide(
        invariant(_LN, tr.case_rescaling),
        invariant(_LN, shift),
        instead=Correction(
            r"Layer normalization is invariant to scaling a training case, $x_n \to \delta_n x_n$ with $\delta_n "
            r"> 0$, and "
            r"to shifting its summed inputs, $a_n \to a_n + \gamma_n 1$; not to shifting the case, $x_n \to x_n + c_n$.",
            (invariant(_LN, (tr.case_rescaling, tr.summed_input_shift)),),
            also=(invariant(_LN, tr.case_constant_shift, expected=False),),
        ),
    )


@claim(
    "LN-8",
    BA,
    "eq. (8)",
    r"$D_{\mathrm{KL}}[P(y \mid x; \theta) \Vert P(y \mid x; \theta + \delta)] \approx \tfrac12 \delta^\top F(\theta)\, "
    r"\delta$ for small $\delta$.",
)
def divergence(factor: float = 0.5) -> Evidence:
    import sympy

    # a path z' = z + s ż + s² z̈/2 of the natural parameters; the cumulant on the plane of ż and z̈, to second order
    s, first, mixed, last = sympy.symbols("s żᵀη''ż żᵀη''z̈ z̈ᵀη''z̈")
    curved = first * s**2 / 2 + mixed * s * (s**2 / 2) + last * (s**2 / 2) ** 2 / 2
    taylor = exactly(
        "KL = (η(z') - η(z) - ∇η(z)·(z' - z))/φ has the second-order term {left}, over φ",
        sympy.expand(curved).coeff(s, 2),
        sympy.nsimplify(factor) * first,
        Level.PROVED,
    )
    remainders = []
    rng = np.random.default_rng(8)
    steps = 2.0 ** -np.arange(7, 12)
    for family, normalizer in zip(families.ZOO, itertools.cycle((_BN, _WN, _LN))):
        model, p, X = random_model(family, normalizer, rng)
        direction = rng.normal(size=p.size)
        quadratic = direction @ fisher(model, p, X).to_dense() @ direction / 2
        rest = [
            abs(kullback_leibler(model, p, model.unravel(p.ravel() + t * direction, p.units), X) - quadratic * t**2)
            for t in steps
        ]
        text = f"{family.name} with {normalizer.title}: the remainder shrinks as ‖δ‖^{{slope}}"
        remainders.append(slope(text, steps, rest, 3, 0.1))
    return decide(taylor, also=remainders)


@claim(
    "LN-10",
    BA,
    "eq. (10)-(11)",
    r"For $\log P(y \mid x; w, b) = \frac{(a+b)y - \eta(a+b)}{\phi} + c(y, \phi)$: $E[y \mid x] = f(a+b)$ and "
    r"$\mathrm{Var}[y \mid x] = \phi f'(a+b)$, where $f = \eta'$ is the transfer function.",
)
def mean_and_variance(order: int = 1) -> Evidence:
    import sympy

    y, t, phi = sympy.symbols("y theta phi")
    eta, c = sympy.Function("eta")(t), sympy.Symbol("c")
    p = sympy.exp((y * t - eta) / phi + c)
    f = eta.diff(t, order)
    facts = [
        exactly(
            "∂p/∂θ = p (y - f)/φ, whose sum over y is 0: E[y] = f",
            sympy.expand(p.diff(t) / p - (y - f) / phi),
            0,
            Level.PROVED,
        ),
        exactly(
            "∂²p/∂θ² = p ((y - f)² - φ f')/φ², whose sum over y is 0: Var[y] = φ f'",
            sympy.expand(p.diff(t, 2) / p - ((y - f) ** 2 - phi * f.diff(t)) / phi**2),
            0,
            Level.PROVED,
        ),
    ]
    also = []
    for family in families.ZOO:
        z, scale = np.array([-0.7, -0.2, -1.1]), 1.7 if family.free_dispersion else 1.0
        values, weights = densities(family, z, scale)
        weights = weights[:, None] if weights.ndim == 1 else weights
        mean = (weights * values).sum(axis=0)
        found = np.concatenate([mean, (weights * (values - mean) ** 2).sum(axis=0)])
        law = np.concatenate([family.mean(z), scale * np.diag(family.hessian(z).dense())])
        text = f"{family.name}: mean and variance from the density agree with f and φ f' to {{error}}"
        also.append(close(text, found, law, 1e-12))
    return decide(*facts, also=also)


@claim("LN-10-c", BA, "eq. (10)", r"In eq. (10), $c(\cdot)$ is the log partition function.")
def log_partition() -> Evidence:
    import sympy

    # log Σ_y exp(θy + c(y)) at θ = 0, against c
    family = families.bernoulli
    c = family.base(sympy.Integer(0), sympy.Integer(1))
    total = sympy.log(sum(sympy.exp(family.base(sympy.Integer(y), sympy.Integer(1))) for y in (0, 1)))
    y, theta, phi, eta, base = sympy.symbols("y theta phi eta c")
    log_p = (theta * y - eta) / phi + base
    z = np.array([-0.7, -0.2, -1.1])
    ratio = []
    counts = [family for family in families.ZOO if not family.joint and not family.support.contains(np.array(0.5))]
    for member in counts:
        values, _ = densities(member, z, 1.0)
        terms = np.exp(np.maximum(member._base(values, 1.0) + values * z, -400))
        ratio.append(np.log(terms.sum(axis=0)) / member.cumulant_value(z))
    return decide(
        exactly("Bernoulli at θ = 0: c = {left}, the log partition function is {right}", c, total),
        instead=Correction(
            r"$\eta/\phi$ is the log partition function, $\eta(\theta)/\phi = \log \sum_y e^{y\theta/\phi + c(y, "
            r"\phi)}$; "
            r"$c$ is the log base measure and does not depend on $\theta$.",
            (
                exactly(
                    "log p + η/φ = yθ/φ + c; summed over y, where p sums to 1, it is the stated equation",
                    sympy.expand(log_p + eta / phi - y * theta / phi - base),
                    0,
                    Level.PROVED,
                ),
            ),
            also=(
                close(
                    f"{listed(member.name for member in counts)}: the log partition function is η to {{error}}",
                    ratio,
                    np.ones_like(ratio),
                    1e-12,
                ),
            ),
        ),
    )

"""Batch Normalization: the statements of Ioffe and Szegedy."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np

from .. import normalizers
from .. import transformations as tr
from ..axes import Axis, Site
from ..normalizers import Normalizer
from ..standardize import Standardize
from .arrays import at_zero, generic_run, rationals, symbols
from .core import Condition, Correction, Evidence, Level, Paper, claim, decide
from .facts import eps_condition, exactly, identity, invariant, sign_condition, unequal

IOFFE = Paper("Ioffe, Szegedy", 2015, "Batch Normalization", "1502.03167")

_BN = normalizers.batch_norm
_LAYOUT = (Axis.SAMPLE, Axis.UNIT)


def _positive(name: str) -> Any:
    import sympy

    return sympy.Symbol(name, positive=True)


@claim(
    "BN-backprop",
    IOFFE,
    "section 3",
    r"$\frac{\partial \ell}{\partial \hat x_i} = \frac{\partial \ell}{\partial y_i} \gamma$, $\frac{\partial "
    r"\ell}{\partial "
    r"\sigma^2} = \sum_i \frac{\partial \ell}{\partial \hat x_i} (x_i - \mu) \frac{-1}{2} (\sigma^2 + \epsilon)^{-3/2}$, "
    r"$\frac{\partial \ell}{\partial \mu} = \sum_i \frac{\partial \ell}{\partial \hat x_i} \frac{-1}{\sqrt{\sigma^2 + "
    r"\epsilon}} + \frac{\partial \ell}{\partial \sigma^2} \frac{\sum_i -2 (x_i - \mu)}{m}$, $\frac{\partial "
    r"\ell}{\partial "
    r"x_i} = \frac{\partial \ell}{\partial \hat x_i} \frac{1}{\sqrt{\sigma^2 + \epsilon}} + \frac{\partial "
    r"\ell}{\partial "
    r"\sigma^2} \frac{2 (x_i - \mu)}{m} + \frac{\partial \ell}{\partial \mu} \frac1m$, $\frac{\partial "
    r"\ell}{\partial \gamma} "
    r"= \sum_i \frac{\partial \ell}{\partial y_i} \hat x_i$, $\frac{\partial \ell}{\partial \beta} = \sum_i "
    r"\frac{\partial "
    r"\ell}{\partial y_i}$.",
)
def backpropagation(weight: Any = Fraction(-1, 2)) -> Evidence:
    import sympy

    from ..symbolic.sums import SIZE

    m, t, x, dy, u = SIZE[Axis.SAMPLE], sympy.Symbol("t", real=True), *(symbols(name) for name in ("x", "G", "u"))
    gamma, beta = (symbols(name, Site.SUMMED, Axis.UNIT) for name in ("gamma", "beta"))
    stage = Standardize(Axis.SAMPLE, eps=_positive("epsilon"))
    at, moving = stage(x, _LAYOUT), stage(x + u * t, _LAYOUT)
    assert at.mean is not None and at.sigma is not None
    dxhat, c, root = dy * gamma, x - at.mean, at.sigma
    dvar = (dxhat * c / (root * root * root)).sum(axis=0) * sympy.Rational(weight)
    dmu = (dxhat / root).sum(axis=0) * -1 + dvar * (c * -2).sum(axis=0) / m
    dx = dxhat / root + dvar * c * 2 / m + dmu / m
    change = (at_zero(moving.value * gamma, t) * dy).sum(axis=0)
    plain = Standardize(Axis.SAMPLE)(x, _LAYOUT)

    def P(array: Any) -> Any:
        return plain.tangent(array) * plain.sigma

    diagonal = plain.value * plain.value * -1 / m - 1 / m + 1
    return decide(
        identity(
            "Σ_i ∂ℓ/∂x_i dx_i = dℓ along every dx, by differentiating the definition, ε > 0",
            change - (dx * u).sum(axis=0),
        ),
        identity("∂ℓ/∂x = γ (I - 11ᵀ/m - x̂x̂ᵀ/m) ∂ℓ/∂y/σ", dx - at.tangent(dy) * gamma),
        identity(
            "∂ℓ/∂γ and ∂ℓ/∂β",
            (at_zero((at.value * (gamma + symbols("v", Site.SUMMED, Axis.UNIT) * t) + beta), t) * dy).sum(axis=0)
            - (dy * at.value).sum(axis=0) * symbols("v", Site.SUMMED, Axis.UNIT),
        ),
        also=[
            identity("with ε = 0 the bracket P is a projector", P(P(u)) - P(u)),
            identity(
                "of trace m - 2: the singular values of the map are |γ|/σ, m - 2 times, and 0 twice",
                diagonal.sum(axis=0) - m + 2,
            ),
        ],
    )


@claim(
    "BN-scale",
    IOFFE,
    "section 3.3",
    r"For a scalar $a$: $\mathrm{BN}((aW)u) = \mathrm{BN}(Wu)$, $\frac{\partial\, \mathrm{BN}((aW)u)}{\partial u} "
    r"= \frac{"
    r"\partial\, \mathrm{BN}(Wu)}{\partial u}$, $\frac{\partial\, \mathrm{BN}((aW)u)}{\partial (aW)} = \frac1a "
    r"\frac{\partial\, "
    r"\mathrm{BN}(Wu)}{\partial W}$.",
)
def scaling(normalizer: Normalizer = _BN) -> Evidence:
    from ..invariance.chain import Run

    U, V = symbols("u", Site.INPUTS), symbols("v", Site.WEIGHT)

    def differences(change: tr.Transformation, size: Any, sign: int) -> list[Any]:
        run = Run.of(normalizer, change)
        (before,), (after,) = run.before.summed, run.after.summed
        return [
            run.after.value - run.before.value * sign,
            after.tangent(U @ run.moved.W.swapaxes(0, 1)) - before.tangent(U @ run.start.W.swapaxes(0, 1)) * sign,
            run.after.jvp(V) * size - run.before.jvp(V),
        ]

    names = ("BN((aW)u) = BN(Wu)", "∂/∂u unchanged", "∂/∂(aW) = (1/a) ∂/∂W")
    positive = differences(tr.weight_matrix_rescaling, _positive("delta"), 1)
    return decide(
        *(identity(f"{name} for a > 0", difference) for name, difference in zip(names, positive, strict=True)),
        needs=[Condition("a > 0", sign_condition(normalizer).necessary), eps_condition(normalizer, sourced=False)],
        instead=Correction(
            r"For $a \ne 0$: $\mathrm{BN}((aW)u) = \mathrm{sign}(a)\, \mathrm{BN}(Wu)$, the derivative with "
            r"respect to $u$ "
            r"takes the factor $\mathrm{sign}(a)$, and that with respect to $aW$ the factor $1/\lvert a \rvert$.",
            (
                identity("for a = -1 the factors are -1, -1 and 1", *differences(tr.sign_flip, 1, -1)),
                identity("for a > 0 they are 1, 1 and 1/a", *positive),
            ),
        ),
    )


@claim(
    "BN-eps",
    None,
    r"no single source, on $\epsilon$ of algorithm 1 of Ioffe, Szegedy 2015",
    r"$\mathrm{BN}_{c^2\epsilon}(c a) = \mathrm{BN}_\epsilon(a)$ for $c > 0$: with $\epsilon > 0$ the invariances "
    r"to centering "
    r"survive, those to scaling do not, and $\mathrm{BN}_\epsilon(ca) = c \sqrt{\frac{\sigma^2 + \epsilon}{c^2 "
    r"\sigma^2 + "
    r"\epsilon}}\, \mathrm{BN}_\epsilon(a)$.",
)
def epsilon(power: int = 2) -> Evidence:
    c, eps = _positive("c"), _positive("epsilon")
    a = symbols("a")
    plain, scaled = Standardize(Axis.SAMPLE, eps=eps), Standardize(Axis.SAMPLE, eps=eps * c**power)
    at, same, moved = plain(a, _LAYOUT), scaled(a * c, _LAYOUT), plain(a * c, _LAYOUT)
    assert at.sigma is not None
    variance = at.sigma * at.sigma - eps
    defect = moved.value * moved.value * (variance * c**2 + eps) - at.value * at.value * (variance + eps) * c**2
    smooth, layer = _BN.with_eps(1), normalizers.layer_norm.with_eps(1)
    return decide(
        identity("BN with c²ε on ca equals BN with ε on a", same.value - at.value),
        identity("the square of BN_ε(ca)/BN_ε(a) is c²(σ² + ε)/(c²σ² + ε)", defect),
        invariant(smooth, tr.dataset_recentering),
        invariant(layer, (tr.weight_matrix_recentering, tr.summed_input_shift)),
        also=[invariant((smooth, layer), (tr.weight_matrix_rescaling, tr.dataset_rescaling), expected=False)],
    )


@claim(
    "BN-jac",
    IOFFE,
    "section 3.3",
    r"If $\hat z = F \hat x$ and both are Gaussian and uncorrelated with unit covariances, $I = \mathrm{Cov}[\hat z] = F "
    r"\mathrm{Cov}[\hat x] F^\top = F F^\top$: all singular values of the layer's Jacobian are 1.",
)
def jacobian(factor: int = 1) -> Evidence:
    import sympy

    from ..symbolic.sums import INDEX, SIZE, J, total

    n, h, d, N = INDEX[Axis.SAMPLE], INDEX[Axis.UNIT], INDEX[Axis.INPUT], SIZE[Axis.SAMPLE]
    f = sympy.Symbol("f", integer=True)
    run = generic_run(normalizers.identity)
    x, w = run.Xhat.expr, symbols("w", Site.WEIGHT).expr
    centred_x, centred_z = (e - total(e, n) / N for e in (x, run.A.expr))
    cov_x = total(centred_x * centred_x.xreplace({d: f}), n) / N
    cov_z = total(centred_z * centred_z.xreplace({h: J}), n) / N
    w_j = w.xreplace({h: J, d: f})
    sandwich = total(total(w * cov_x * w_j, f), d) * factor
    white = total(total(w * sympy.KroneckerDelta(d, f) * w_j, f), d) - total(w * w.xreplace({h: J}), d)
    X, W = rationals([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]), rationals([[3, 4, 0], [4, 3, 0], [0, 0, 2]])
    norms = np.array([[5], [5], [2]], object)
    layer = W / norms
    return decide(
        identity("Cov[Fx] = F Cov[x] Fᵀ, for any distribution of x", cov_z - sandwich),
        identity("F I Fᵀ = F Fᵀ", white),
        also=[
            exactly(
                "batch norm on four white cases is D⁻¹W x, D the norms of the rows of W = [[3,4,0],[4,3,0],[0,0,2]]",
                _BN(X, W).value,
                X @ layer.T,
            ),
            unequal(
                "it gives unit variances, not a white z: the Jacobian's JJᵀ holds the cosines of the rows, "
                "{left} at (1,2)",
                (layer @ layer.T)[0, 1],
                0,
            ),
        ],
    )


@claim(
    "BN-unbiased",
    IOFFE,
    "algorithm 2",
    r"The population variance is estimated without bias by $\mathrm{Var}[x] = \frac{m}{m-1} E_B[\sigma_B^2]$, the "
    r"expectation "
    "over training minibatches of size $m$.",
)
def unbiased(correction: int = 1) -> Evidence:
    import sympy

    from ..symbolic.sums import INDEX, SIZE, total

    # independent draws: E[x_n x_k] = μ² + δ_nk σ²
    n, k, m = INDEX[Axis.SAMPLE], sympy.Symbol("n'", integer=True), SIZE[Axis.SAMPLE]
    mu, var = sympy.Symbol("mu", real=True), _positive("v")
    pair = mu**2 + sympy.KroneckerDelta(n, k) * var
    expected = total(mu**2 + var, n) / m - total(total(pair, k), n) / m**2
    # N cases of mean μ and variance v, drawn one after another: E[x_n x_k] = (Nμ² - (μ² + v))/(N - 1) for n ≠ k
    count = sympy.Symbol("N'", positive=True)
    apart = (count * mu**2 - (mu**2 + var)) / (count - 1)
    pair = apart + sympy.KroneckerDelta(n, k) * (mu**2 + var - apart)
    drawn = (mu**2 + var) - total(total(pair, k), n) / m**2
    rest = drawn * m / (m - 1) - count * var / (count - 1)
    population = [Fraction(v) for v in (0, 1, 3, 8)]
    draws: dict[str, list[tuple[Fraction, ...]]] = {
        "with": list(itertools.product(population, repeat=3)),
        "without": list(itertools.permutations(population, 3)),
    }
    estimates = {}
    for name, batches in draws.items():
        variances = [sum(v * v for v in batch) / 3 - (sum(batch) / 3) ** 2 for batch in batches]
        estimates[name] = rationals(Fraction(3, 2) * sum(variances) / len(variances))[()]
    mean = sum(population) / 4
    square = sum((v - mean) ** 2 for v in population)
    return decide(
        identity("independent draws: m/(m-1) E[σ_B²] = σ²", expected * m - (m - correction) * var),
        needs=[
            Condition(
                "the cases of a batch are drawn independently",
                unequal(
                    "batches of 3 drawn without replacement from {{0,1,3,8}} estimate {left}, the variance is {right}",
                    estimates["without"],
                    rationals(square / 4)[()],
                ),
            )
        ],
        instead=Correction(
            r"Drawn without replacement from $N$ cases, $\frac{m}{m-1} E_B[\sigma_B^2]$ is the variance with the "
            r"denominator "
            r"$N - 1$.",
            (
                exactly(
                    "for all m ≤ N, from E[x_n x_k] = (Nμ² - E[x²])/(N - 1) for n ≠ k: m/(m-1) E[σ_B²] = N/(N-1) σ²",
                    sympy.cancel(sympy.expand(rest * (count - 1) * m**2)),
                    0,
                    Level.PROVED,
                ),
            ),
            also=(
                exactly(
                    "all 24 batches without replacement: {left} = Σ(x - μ)²/(N - 1)",
                    estimates["without"],
                    rationals(square / 3)[()],
                ),
                exactly(
                    "all 64 batches with replacement: {left} = Σ(x - μ)²/N", estimates["with"], rationals(square / 4)[()]
                ),
            ),
        ),
    )


@claim(
    "BN-bias",
    IOFFE,
    "section 2",
    r"If $\hat x = x - E[x]$, $x = u + b$, is computed outside the gradient step, the update of $b$ has no "
    r"effect: $u + (b + "
    r"\Delta b) - E[u + (b + \Delta b)] = u + b - E[u + b]$.",
)
def cancelled_bias(center: bool = True) -> Evidence:
    from ..symbolic.sums import SIZE

    u, b, db = symbols("u"), symbols("b", Site.SUMMED, Axis.UNIT), symbols("c", Site.SUMMED, Axis.UNIT)
    mean = (lambda a: a.sum(axis=0) / SIZE[Axis.SAMPLE]) if center else (lambda a: a * 0)
    after, before = u + b + db, u + b
    return decide(
        identity("the output is the same for every Δb, while b grows", after - mean(after) - before + mean(before))
    )

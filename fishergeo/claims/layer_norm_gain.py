"""Layer Normalization: what Ba, Kiros and Hinton state about the gain (appendix and supplement)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import families, normalizers
from .. import transformations as tr
from ..axes import Axis
from ..families import Family
from ..normalizers import Normalizer
from .arrays import exact_jacobian, exact_model, generic_run
from .core import Condition, Correction, Evidence, Fact, Level, claim, decide
from .facts import eps_condition, exactly, gain_column, identity, invariant, unequal
from .layer_norm import BA

_BN, _WN, _LN, _PLAIN = normalizers.batch_norm, normalizers.weight_norm, normalizers.layer_norm, normalizers.identity


def exact_covariance(family: Family, z: Any) -> Any:
    """Cov[y|x]/φ (N, H, H) at exact natural parameters (N, H), from the family's cumulant."""
    import sympy

    from .. import special

    H = z.shape[1]
    if family.coupled:
        e = np.vectorize(sympy.exp, otypes=[object])(z)
        p = e / e.sum(axis=1, keepdims=True)
        return np.stack([np.diag(row) - np.outer(row, row) for row in p])
    theta, second = family.symbols[0], sympy.sympify(family.hessian_expression)
    second = second.replace(special.expit, lambda x: 1 / (1 + sympy.exp(-x)))
    return np.stack([np.diag([second.subs(theta, value) for value in row]) for row in z]).reshape(len(z), H, H)


def gain_metrics(family: Family, gain: Any) -> tuple[Any, Any]:
    """E[Cov_ij â_i â_j]/φ and E[Cov_ij]/φ under batch norm, exact: five cases, â_1 = (2, -½, -½, -½, -½)."""
    at = exact_model(_BN, [[4, 0], [-1, 1], [-1, -1], [-1, 1], [-1, -1]], [[1, 0], [0, 1]], gain=[0, 0])
    a = at.normalized.value
    C = exact_covariance(family, a * np.array(gain, object))
    return (C * a[:, :, None] * a[:, None, :]).sum(axis=0) / len(a), C.sum(axis=0) / len(a)


@claim(
    "LN-gain-BN",
    BA,
    "appendix",
    r"For the batch normalized model the Riemannian metric along the gain is $ds^2 = \frac12 \delta_g^\top E\big[\frac{"
    r"\mathrm{Cov}[y \mid x]}{\phi^2}\big] \delta_g$.",
)
def batch_norm_gain(normalizer: Normalizer = _BN) -> Evidence:
    import sympy

    from ..symbolic.sums import SIZE

    run = generic_run(normalizer)
    spread = (run.value * run.value).sum(axis=0) - SIZE[Axis.SAMPLE]
    logs = [sympy.log(4), sympy.log(2)]
    counterexamples = []
    for family in (families.bernoulli, families.poisson):
        true, stated = gain_metrics(family, logs)
        counterexamples.append(
            unequal(
                f"{family.name}, g = log 4, â = (2,-½,-½,-½,-½): E[Cov â²] = {{left}}, E[Cov] = {{right}}",
                true[0, 0],
                stated[0, 0],
            )
        )
    true, stated = gain_metrics(families.categorical, [0, 0])
    coupled = unequal("categorical, g = 0: E[Cov_12 â_1 â_2] = {left}, E[Cov_12] = {right}", true[0, 1], stated[0, 1])
    varying = Fact("; ".join(f.text for f in counterexamples), all(counterexamples), Level.EXACT)
    return decide(
        identity("Σ_n â_ni² = N, so that E[Cov_ii â_i²] = E[Cov_ii] when Cov_ii does not co-vary with â_i²", spread),
        needs=[
            Condition("Cov[y|x] is diagonal", coupled),
            Condition("it does not co-vary with â², as for independent Gaussian outputs", varying),
        ],
        instead=Correction(
            r"$ds^2 = \frac12 \delta_g^\top E\big[\mathrm{Cov}[y_i, y_j \mid x]\, \hat a_i \hat "
            r"a_j/\phi^2\big]_{ij} \delta_g$, "
            r"for every normalizer.",
            (gain_column(normalizer),),
        ),
    )


@claim(
    "LN-gain-WN",
    BA,
    "appendix",
    r"The metric along the gain of the weight normalized model is $E\big[\frac{\mathrm{Cov}[y_i, y_j \mid "
    r"x]}{\phi^2} \frac{a_i "
    r"a_j}{\lVert w_i \rVert \lVert w_j \rVert}\big]$, the same as that of the standard GLM along $w/\lVert w \rVert$.",
)
def weight_norm_gain(normalizer: Normalizer = _WN) -> Evidence:
    run, plain = generic_run(normalizer), generic_run(_PLAIN)
    unit = generic_run(_WN).What
    return decide(
        gain_column(normalizer),
        identity(
            f"∂z_i along w_i/‖w_i‖ in the plain model equals ∂z_i/∂g_i under {normalizer.title}, so the two metrics are "
            "identical, and it gains no robustness there",
            plain.jvp(unit) - run.value,
        ),
    )


@claim(
    "LN-gain-robust",
    BA,
    "section 5.2.2 and appendix",
    "The metric along the magnitude of the incoming weights is scaled by the norm of the input in the standard "
    "GLM; learning "
    "the gain in the batch and layer normalized models is robust to the scaling of the input and of the parameters.",
)
def gain_robustness(methods: tuple[Normalizer, ...] = (_BN, _LN)) -> Evidence:
    import sympy

    from ..invariance.scaling import fisher_scaling

    changes = (tr.weight_matrix_rescaling, tr.dataset_rescaling)
    factors = [fisher_scaling(n, change).blocks["gg"] for n in methods for change in changes]
    plain = fisher_scaling(_WN, tr.dataset_rescaling).at(2)["gg"]
    # δ = -1 turns Â into -Â, which is what a gain of the other sign does to Z
    before, after = (gain_metrics(families.poisson, [sign * sympy.log(4)] * 2)[0][0, 0] for sign in (1, -1))
    flipped = unequal(
        "poisson, batch norm, g = log 4, â = (2,-½,-½,-½,-½): the metric along g is {left}, with δ = -1 {right}",
        before,
        after,
    )
    return decide(
        invariant(methods, changes),
        exactly("their block gg changes by the factor {left} under both, for every family", factors, 1, Level.PROVED),
        exactly(
            "along w/‖w‖ the metric of the plain model (that of weight norm's gain) changes by the factor {left} "
            "when X doubles, "
            "Cov[y|x] fixed",
            plain,
            4,
            Level.PROVED,
        ),
        needs=[Condition("δ > 0", flipped), eps_condition(_BN)],
        also=[invariant(_WN, tr.weight_matrix_rescaling)],
    )


@claim(
    "LN-supp",
    BA,
    "supplement",
    r"$\mathrm{LN}(z; \alpha, \beta) = \frac{z - \mu}{\sigma} \odot \alpha + \beta$; initially $\alpha$ is a "
    r"vector of zeros "
    r"and $\beta$ a vector of ones.",
)
def initial_gain(alpha: int = 0, beta: int = 1) -> Evidence:
    def layer(a: int, b: int) -> tuple[Any, Any, Any]:
        at = exact_model(_LN, [[1, 0], [0, 1], [1, 2]], [[1, 0], [0, 1], [2, 3]], gain=a, bias=b)
        return at.Z, at.normalized.value, exact_jacobian(at)[0, 0, 0]

    Z, standardized, slope = layer(alpha, beta)
    right, same, sensitive = layer(1, 0)
    return decide(
        exactly(f"with α = {alpha}, β = {beta} the output is {{left}}, the standardized z is {{right}}", Z, standardized),
        unequal(f"with α = {alpha} the derivative of the output with respect to W is {{left}}", slope, 0),
        instead=Correction(
            r"Initially $\alpha$ (the gain) is a vector of ones and $\beta$ (the bias) a vector of zeros: the "
            r"names are swapped "
            "in print. With a gain of zeros the output is constant and no gradient reaches the weights.",
            (
                exactly("with α = 1, β = 0 the output is the standardized z", right, same),
                unequal("and its derivative with respect to w_11 is {left}", sensitive, 0),
            ),
        ),
    )

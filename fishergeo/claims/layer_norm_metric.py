"""Layer Normalization: what Ba, Kiros and Hinton state about the Fisher matrix of normalized models."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import families, normalizers
from ..axes import Axis, Site
from ..information.approximations import per_unit_fisher
from ..information.matrices import fisher
from ..model import GLM, Params
from ..normalizers import Normalizer
from .arrays import (
    at_zero,
    exact_gaussian_fisher,
    exact_jacobian,
    exact_model,
    generic_run,
    moments,
    one_unit,
    own_and_cross,
    path,
    symbols,
)
from .core import Correction, Evidence, Fact, claim, decide
from .facts import exactly, gain_column, identity, measured
from .layer_norm import BA
from .models import expected_outer_product, random_model

_BN, _WN, _LN, _PLAIN = normalizers.batch_norm, normalizers.weight_norm, normalizers.layer_norm, normalizers.identity


def kronecker(model: GLM, p: Params, X: Any) -> np.ndarray:
    """E[Cov[y|x]/φ² ⊗ [x; 1][x; 1]ᵀ], unit by unit."""
    extended = np.concatenate([X, np.ones((len(X), 1))], axis=1)
    covariance = model.dispersion * model.family.hessian(model.natural(p, X)).dense()
    blocks = np.einsum("nij,nd,ne->idje", covariance, extended, extended) / model.dispersion**2 / len(X)
    return blocks.reshape(p.size, p.size)


@claim(
    "LN-12",
    BA,
    "eq. (12)",
    r"The Fisher matrix of the generalized linear model is $F(\theta) = E_x\big[\frac{\mathrm{Cov}[y \mid x]}{\phi^2} "
    r"\otimes \begin{bmatrix} x x^\top & x \\ x^\top & 1 \end{bmatrix}\big]$.",
)
def generalized_linear_model(normalizer: Normalizer = _PLAIN) -> Evidence:
    import sympy

    from ..symbolic.sums import INDEX, J

    run = generic_run(normalizer)
    own = _times_v(run) * sympy.KroneckerDelta(INDEX[Axis.UNIT], J)
    rng = np.random.default_rng(12)
    worst = 0.0
    for family in families.ZOO:
        model, p, X = random_model(family, _PLAIN, rng, N=6, D=4, H=3)
        summed, F = expected_outer_product(model, p, X), fisher(model, p, X).to_dense()
        worst = max(worst, *(np.abs(other - F).max() / np.abs(F).max() for other in (summed, kronecker(model, p, X))))
    return decide(
        identity("∂z_i/∂(w_j, b_j) = δ_ij (x, 1), so E[s sᵀ] is the stated matrix", run.jvp(one_unit()) - own),
        also=[
            measured(
                f"{len(families.ZOO)} families, one of every kind: E[s sᵀ] summed or integrated over all y, the "
                f"Kronecker form and fg.fisher agree to {worst:.1e} (tolerance 1e-12)",
                worst < 1e-12,
            )
        ],
    )


def _times_v(run: Any) -> Any:
    """x·v for every case."""
    return run.Xhat @ symbols("v", Site.WEIGHT, Axis.INPUT).swapaxes(0, 1)


def chi_facts(normalizer: Normalizer) -> list[Fact]:
    """Eq. (13)-(14): ∂â_j/∂w_j = χ_j/σ_j with χ_j = x - ∂μ_j/∂w_j - â_j ∂σ_j/∂w_j, and ∂â_i/∂w_j = 0 for i ≠ j."""
    moving, t = path(normalizer, one_unit())
    run = generic_run(normalizer)
    mean, sigma = moments(moving)
    still = at_zero(moving.value, t)
    own, cross = own_and_cross(still)
    chi = _times_v(run) - run.value * at_zero(sigma, t)
    if mean is not None:
        chi = chi - at_zero(mean, t)
    expected, _ = own_and_cross(chi / moments(run)[1])
    name = normalizer.title
    return [
        identity(
            f"{name}: ∂â_j/∂w_j = χ_j/σ_j by differentiating the definition, batch statistics included", own - expected
        ),
        identity(f"{name}: ∂â_i/∂w_j = 0 for i ≠ j", cross),
        identity(f"{name}: the Jacobian in use is that derivative", still - run.jvp(one_unit())),
    ]


def gaps(normalizer: Normalizer, count: int = 6) -> list[float]:
    """The relative gap of eq. (13) as printed to the exact Fisher matrix, on random models of every family."""
    rng = np.random.default_rng(13)
    return [per_unit_fisher(*random_model(family, normalizer, rng)).gap for family in families.ZOO for _ in range(count)]


def _block_formula(id: str, what: str, normalizer: Normalizer) -> Any:
    statement = (
        r"The blocks of the Fisher matrix of the normalized model are $\bar F_{ij} = "
        r"E\big[\frac{\mathrm{Cov}[y_i, y_j \mid "
        r"x]}{\phi^2} u_i u_j^\top\big]$, $u_i = (\frac{g_i}{\sigma_i} \chi_i, 1, \frac{a_i - \mu_i}{\sigma_i})$, "
        r"$\chi_i = x - "
        rf"\frac{{\partial \mu_i}}{{\partial w_i}} - \frac{{a_i - \mu_i}}{{\sigma_i}} "
        rf"\frac{{\partial \sigma_i}}{{\partial "
        rf"w_i}}$, for {what}."
    )

    def check(normalizer: Normalizer = normalizer) -> Evidence:
        facts = [*chi_facts(normalizer), gain_column(normalizer)]
        if not all(facts):
            return decide(*facts)
        worst = max(gaps(normalizer, 1))
        return decide(
            *facts,
            also=[
                measured(
                    f"eq. (13) and fg.fisher agree to {worst:.1e} in {len(families.ZOO)} families, one of every kind "
                    "(tolerance 1e-13)",
                    worst < 1e-13,
                )
            ],
        )

    return claim(id, BA, "eq. (13)-(14)", statement)(check)


batch_norm_blocks = _block_formula("LN-13-BN", "batch normalization", _BN)
weight_norm_blocks = _block_formula("LN-13-WN", "weight normalization", _WN)


def corrected_blocks(model: GLM, p: Params, X: Any) -> np.ndarray:
    """The weight blocks (H, D, H, D) of layer norm: E[(Mᵀ Cov M)_ij x xᵀ]/φ², M = diag(g) P/σ, P = I - 11ᵀ/H - ââᵀ/H."""
    at = model.linearize(p, X)
    (stage,), H = at.normalized.summed, p.units
    assert p.gain is not None and stage.sigma is not None
    P = np.eye(H) - 1 / H - stage.value[:, :, None] * stage.value[:, None, :] / H
    M = p.gain[:, None] * P / stage.sigma[:, :, None]
    S = M.swapaxes(1, 2) @ (at.hessian.dense() / model.dispersion) @ M
    return np.einsum("nij,nd,ne->idje", S, X, X) / len(X)


@claim("LN-13-LN", BA, "eq. (13)-(14)", batch_norm_blocks.statement.replace("batch normalization", "layer normalization"))
def layer_norm_blocks(normalizer: Normalizer = _LN) -> Evidence:
    import sympy

    from ..symbolic.sums import INDEX, SIZE, J

    at = exact_model(normalizer, [[1, 0], [0, 1], [1, 2]], [[1, 0], [0, 1], [2, 3]])
    F = exact_gaussian_fisher(at)
    J_own = exact_jacobian(at)
    printed = [
        sum(J_own[i * 4, n, i] * J_own[j * 4, n, j] for n in range(3)) / 3 if i == j else 0 for i, j in ((0, 0), (0, 1))
    ]
    facts = [
        exactly(
            "Gaussian outputs, X = [[1,0],[0,1],[1,2]], W = [[1,0],[0,1],[2,3]], g = 1: the entry (w_11, w_21) is "
            "{right}, eq. (13) gives {left}",
            printed[1],
            F[0, 4],
        ),
        exactly("the entry (w_11, w_11) is {right}, eq. (13) gives {left}", printed[0], F[0, 0]),
    ]
    run, h = generic_run(_LN), INDEX[Axis.UNIT]
    a_j = run.value.expr.xreplace({h: J})
    projector = sympy.KroneckerDelta(h, J) - 1 / SIZE[Axis.UNIT] - run.value.expr * a_j / SIZE[Axis.UNIT]
    moving, t = path(_LN, one_unit())
    derived = identity(
        "∂â_i/∂w_j = (δ_ij - 1/H - â_i â_j/H) x/σ",
        at_zero(moving.value, t) - _times_v(run) / run.summed[0].sigma * projector,
    )
    rng, worst = np.random.default_rng(14), 0.0
    for family in families.ZOO:
        model, p, X = random_model(family, _LN, rng)
        exact = fisher(model, p, X).to_dense().reshape(p.units, -1, p.units, p.inputs + 2)
        weights = exact[:, : p.inputs, :, : p.inputs]
        worst = max(worst, np.abs(corrected_blocks(model, p, X) - weights).max() / np.abs(weights).max())
    found = gaps(_LN)
    return decide(
        *facts,
        instead=Correction(
            r"$\bar F_{w_i w_j} = E[(M^\top \mathrm{Cov}[y \mid x]\, M)_{ij}\, x x^\top]/\phi^2$ with $M = "
            r"\mathrm{diag}(g)\, "
            r"P/\sigma$ and $P = I - 11^\top/H - \hat a \hat a^\top/H$: every $\hat a_i$ depends on every $w_j$.",
            (derived,),
            also=(
                measured(f"the corrected blocks agree with fg.fisher to {worst:.1e} (tolerance 1e-12)", worst < 1e-12),
                measured(
                    f"eq. (13) is off by {100 * min(found):.0f} to {100 * max(found):.0f} % (Frobenius norm) on "
                    f"{len(found)} random models of {len(families.ZOO)} families, H = 5 (3 where the family fixes it)",
                    min(found) > 0,
                ),
            ),
        ),
    )

"""An estimate of the dispersion φ."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from ..families import Floats
from ..model import GLM, Params
from .matrices import fisher, linearized


def pearson_dispersion(model: GLM, p: Params, X: ArrayLike, Y: ArrayLike) -> float:
    """Pearson's estimate φ = Σ (y - μ)ᵀη''⁻¹(y - μ)/(outputs - rank F), whatever the dispersion of the model.

    ``fg.GLM(family, ..., dispersion=fg.pearson_dispersion(model, p, X, Y))`` has the standard errors of a fit with
    estimated scale.  A family without free dispersion has φ = 1; there the estimate measures overdispersion.  Raises
    `InputError` where no degrees of freedom are left.  Source: McCullagh, Nelder 1989, section 9.2.
    """
    at = linearized(model, p, X)
    family = model.family
    hessian = family.hessian(at.natural)
    error: Floats = family.encode(Y, at.Z.shape) - at.mean
    if hessian.mixing is not None:
        error = np.asarray(np.linalg.solve(hessian.mixing, error[..., None])[..., 0], float)
    if not (hessian.d > 0).all():
        raise InputError(
            f"{family.name}: a case has variance 0, so its residual cannot be standardized; shrink the weights"
        )
    left = at.cases * (at.Z.shape[-1] - family.coupled) - fisher(model, p, X).rank()
    if left < 1:
        raise InputError(f"pearson_dispersion: {at.Z.size} outputs leave no degrees of freedom; give more cases")
    return float((error**2 / hessian.d).sum() / left)

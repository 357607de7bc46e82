"""The arrays on which checks run: generic ones of any size in index notation, and exact rational ones."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..axes import Axis, Site
from ..families import Family, gaussian
from ..model import GLM, Linearization, Params
from ..normalizers import Normalized, Normalizer

if TYPE_CHECKING:
    from ..symbolic.indexed import IndexArray


@lru_cache(maxsize=64)
def generic_run(normalizer: Normalizer) -> Normalized:
    """A normalizer on inputs x_nd and weights w_hd of any sizes."""
    from ..symbolic.indexed import generic_state

    state = generic_state()
    return normalizer(state.X, state.W)


def symbols(name: str, site: Site = Site.SUMMED, *axes: Axis) -> IndexArray:
    """The array of symbols name[n, h] (or [n, d], [h, d]) of any size, varying along ``axes`` if they are given."""
    from ..symbolic.indexed import generic

    return generic(name, site, axes or None)


def only_unit_j() -> IndexArray:
    """δ_hj along the units, as a factor of weights."""
    import sympy

    from ..symbolic.indexed import IndexArray
    from ..symbolic.sums import INDEX, J

    h = INDEX[Axis.UNIT]
    return IndexArray(sympy.KroneckerDelta(h, J), (h, None))


def one_unit() -> IndexArray:
    """A change δ_hj v_d of the weights of unit j alone."""
    return only_unit_j() * symbols("v", Site.WEIGHT, Axis.INPUT)


def own_and_cross(array: IndexArray) -> tuple[Any, Any]:
    """What an array linear in `one_unit` says of unit h = j, and of units h ≠ j."""
    import sympy

    from ..symbolic.sums import INDEX, J, normal

    h = INDEX[Axis.UNIT]
    return normal(array.expr.xreplace({h: J})), array.expr.xreplace({sympy.KroneckerDelta(h, J): sympy.Integer(0)})


def path(normalizer: Normalizer, direction: IndexArray) -> tuple[Normalized, Any]:
    """A normalizer on the weights W + t·direction, of any sizes, and t."""
    import sympy

    from ..symbolic.indexed import generic_state

    state, t = generic_state(), sympy.Symbol("t", real=True)
    return normalizer(state.X, state.W + direction * t), t


def at_zero(array: Any, t: Any) -> Any:
    """The derivative with respect to ``t`` at t = 0 of an index-notation array."""
    from ..symbolic.indexed import IndexArray

    return IndexArray(array.expr.diff(t).subs(t, 0), array.indices)


def moments(run: Normalized) -> tuple[Any, Any]:
    """μ (None where nothing is centered) and σ of a normalizer with one stage, varying along the units as a row."""
    (stage,) = run.summed or run.weight
    turn = (lambda array: array) if run.summed else (lambda array: None if array is None else array.swapaxes(0, 1))
    return turn(stage.mean), turn(stage.sigma)


def rationals(rows: Any) -> Any:
    """Nested lists of integers or fractions as an object array of exact numbers."""
    import sympy

    return np.vectorize(sympy.Rational, otypes=[object])(np.asarray(rows, object))


def exact_model(normalizer: Normalizer, X: Any, W: Any, gain: Any = 1, bias: Any = 0, family: Family = gaussian) -> Any:
    """The linearization of a model at exact numbers (its ``mean`` is left out)."""
    X, W = rationals(X), rationals(W)
    g, b = (np.array([v] * len(W) if np.ndim(v) == 0 else list(v), object) for v in (rationals(gain), rationals(bias)))
    normalized = normalizer(X, W)
    Z = normalized.value * g + b if normalizer.has_gain else normalized.value + b
    parameters = Params(W, b, g if normalizer.has_gain else None)
    return Linearization(GLM(family, normalizer), Z, Z, None, parameters, normalized)


def exact_jacobian(at: Linearization) -> Any:
    """∂Z/∂parameters (P, N, H) of an exact linearization."""
    size, units = at.params.size, at.params.units
    rows = rationals(np.eye(size, dtype=int)).reshape(size, units, -1)
    D = at.params.inputs
    return at.jvp(Params(rows[..., :D], rows[..., D], rows[..., D + 1] if at.model.has_gain else None))


def exact_gaussian_fisher(at: Linearization) -> Any:
    """F (P, P) = mean of JᵀJ over the cases, exact: the Fisher matrix of Gaussian outputs with φ = 1."""
    J = exact_jacobian(at)
    rows = J.reshape(len(J), -1)
    return rows @ rows.T / at.cases

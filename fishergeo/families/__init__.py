"""Exponential-dispersion families, each declared by its cumulant."""

from .core import Family, Floats, Hessian, Interval, Support
from .members import (
    FAMILIES,
    ZOO,
    bernoulli,
    binomial,
    categorical,
    gamma,
    gaussian,
    inverse_gaussian,
    multinomial,
    multivariate_gaussian,
    negative_binomial,
    poisson,
)

__all__ = [
    "FAMILIES",
    "ZOO",
    "Family",
    "Floats",
    "Hessian",
    "Interval",
    "Support",
    "bernoulli",
    "binomial",
    "categorical",
    "gamma",
    "gaussian",
    "inverse_gaussian",
    "multinomial",
    "multivariate_gaussian",
    "negative_binomial",
    "poisson",
]

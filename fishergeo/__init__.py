"""Exact Fisher information geometry of normalized generalized linear models."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = {
    "axes": "Axis Site",
    "errors": "InputError",
    "cells": "First",
    "standardize": "Standardize Scale",
    "frozen": "Frozen",
    "spectral": "Spectral",
    "opaque": "Opaque",
    "normalizers": (
        "Normalizer compose identity batch_norm mean_only_batch_norm frozen_batch_norm layer_norm rms_norm weight_norm "
        "weight_standardization centered_weight_norm weight_norm_mean_only_batch_norm input_standardization "
        "input_layer_norm ghost_batch_norm group_norm prms_norm spectral_norm instance_norm layer_norm_with_positions "
        "stepwise_batch_norm weight_standardization_group_norm"
    ),
    "families": (
        "Family gaussian bernoulli binomial poisson gamma inverse_gaussian negative_binomial categorical multinomial "
        "multivariate_gaussian"
    ),
    "transformations": (
        "Transformation weight_matrix_rescaling weight_matrix_recentering weight_vector_rescaling dataset_rescaling "
        "dataset_recentering case_rescaling weight_vector_recentering weight_constant_shift case_recentering "
        "case_constant_shift feature_rescaling summed_input_shift sign_flip unit_permutation input_rotation"
    ),
    "model": "GLM Params",
    "running": "running_statistics population_statistics",
    "invariance.proof": "prove Verdict Undecided",
    "invariance.table": "invariance_table Table",
    "invariance.scaling": "fisher_scaling",
    "invariance.defect": "eps_defect",
    "invariance.symmetries": "symmetries",
    "contracts": "check",
    "dynamics.optimizers": "sgd gradient_descent adamw",
    "dynamics.descent": "descend Diverged",
    "dynamics.trajectory": "Trajectory",
    "symbolic.blocks": "fisher_block",
    "closed_forms": "closed_form white_inputs gaussian_inputs any_inputs scalar_curvature",
    "information.rows": "rows",
    "information.matrices": "fisher",
    "information.natural": "natural_gradient compare_approximations",
    "information.approximations": "per_unit_fisher kfac diagonal_fisher empirical_fisher monte_carlo_fisher",
    "information.observed": "observed_fisher",
    "information.dispersion": "pearson_dispersion",
    "bridges.statsmodels": "from_statsmodels",
    "bridges.sklearn": "from_sklearn",
    "bridges.torch": "from_torch",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}
_PACKAGES = ("claims", "closed_forms", "datasets", "links")

__all__ = sorted([*_HOME, *_PACKAGES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'fishergeo' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

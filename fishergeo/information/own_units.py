r"""What each unit's own parameters change of its own output, ∂z_i/∂(w_i, b_i, g_i): the χ_i of eq. (13), in factors.

Of every stage only the diagonal over the units is kept: of one on cases its entries M_n,ii, of one that mixes the
weights of units the derivative of each ŵ_i by its own w_i.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..families import Floats
from ..model import Linearization
from .pieces import Factors
from .structure import Chart, of_cases

_BLOCK = 1 << 16  # numbers in the largest temporary array: 512 KiB


@dataclass(frozen=True)
class OwnUnits:
    """A stage on cases of which each unit sees itself alone: dt̂ = ``value``·dt, (N, H)."""

    value: Floats
    mean: None = None
    sigma: None = None
    ratio: int = 1

    def tangent(self, dt: Floats) -> Floats:
        return self.value * dt

    adjoint = tangent


@dataclass(frozen=True)
class OwnWeights:
    """A stage on weights of which each unit sees itself alone: dŵ_i = ``value``_i dw_i, (H, D, D)."""

    value: Floats
    mean: None = None
    sigma: None = None
    ratio: int = 1

    def tangent(self, dW: Floats) -> Floats:
        return np.einsum("hab,...hb->...ha", self.value, dW, optimize=True)

    def adjoint(self, W: Floats) -> Floats:
        return np.einsum("hab,...ha->...hb", self.value, W, optimize=True)


def own_units(f: Factors) -> Factors:
    """The factors of the own-unit Jacobian."""
    chart: Any = f.chart
    if chart.mixes:
        chart = replace(chart, weight=(OwnWeights(_own_weights(chart)),), mixes=False)
    stages: Any = (OwnUnits(_diagonal(f)),) if f.stages else ()
    return replace(f, chart=chart, stages=stages)


def _diagonal(f: Factors) -> Floats:
    """M_n,ii of the stages on cases (N, H)."""
    N, H = f.value.shape
    out = np.empty((N, H), order="F")
    step = max(1, _BLOCK // H**2)
    for start in range(0, N, step):
        rows = slice(start, start + step)
        y = np.broadcast_to(np.eye(H)[:, None], (H, len(out[rows]), H))
        for stage in f.stages:
            y = of_cases(stage, rows).tangent(y)
        out[rows] = np.diagonal(y, axis1=0, axis2=2)
    return out


def _own_weights(chart: Chart) -> Floats:
    """∂ŵ_i/∂w_i (H, D, D)."""
    H, D = chart.params.units, chart.inputs
    out, units = np.empty((H, D, D)), np.arange(H)
    step = max(1, _BLOCK // (H * H * D))
    for start in range(0, D, step):
        inputs = np.arange(start, min(start + step, D))
        W: Floats = np.zeros((len(inputs), H, H, D))
        W[np.arange(len(inputs))[:, None], units, units, inputs[:, None]] = 1
        for stage in chart.weight:
            W = stage.tangent(W)
        out[:, :, inputs] = W[:, units, units].transpose(1, 2, 0)
    return out


def own_columns(at: Linearization) -> Floats:
    """The own-unit Jacobian as one array, column by column: (P, N, [S,] H)."""
    H, size = at.params.units, at.params.size // at.params.units
    J, units = np.zeros((H, size, at.cases, H)), np.arange(H)
    for k in range(size):
        direction = np.zeros((H, H, size))
        direction[units, units, k] = 1
        dZ = at.jvp(at.model.unravel(direction.reshape(H, -1), H)).reshape(H, at.cases, H)
        J[units, k, :, units] = dZ[units, :, units]
    return J.reshape(-1, *at.Z.shape)

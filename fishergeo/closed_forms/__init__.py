"""Closed forms: Fisher matrices, their spectra and their geometry, as formulas that hold for a population of inputs."""

from __future__ import annotations

from .curvature import scalar_curvature, white_curvature
from .forms import ClosedBlock, ClosedForm, closed_form
from .inputs import Inputs, any_inputs, gaussian_inputs, white_inputs
from .orthogonal import OrthogonalForm, orthogonal_form
from .spectra import Spectrum, unit_spectrum
from .volume import angle, direction_density, radius, unit_determinant

__all__ = [
    "ClosedBlock",
    "ClosedForm",
    "Inputs",
    "OrthogonalForm",
    "Spectrum",
    "angle",
    "any_inputs",
    "closed_form",
    "direction_density",
    "gaussian_inputs",
    "orthogonal_form",
    "radius",
    "scalar_curvature",
    "unit_determinant",
    "unit_spectrum",
    "white_curvature",
    "white_inputs",
]

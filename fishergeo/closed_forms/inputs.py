"""The populations of inputs over which closed forms are means."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Inputs:
    """A population of inputs: ``gaussian`` or of any distribution, ``white`` (mean 0, covariance I) or not."""

    name: str
    gaussian: bool
    white: bool

    def __repr__(self) -> str:
        return f"Inputs({self.name!r})"


white_inputs = Inputs("x ~ N(0, I)", gaussian=True, white=True)
gaussian_inputs = Inputs("x ~ N(x̄, S)", gaussian=True, white=False)
any_inputs = Inputs("x of any distribution with mean x̄ and covariance S", gaussian=False, white=False)

"""The scale-symmetry group of a normalizer: which parts of the weights can be rescaled without changing the model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..axes import Axis
from ..errors import InputError
from ..families import Floats
from ..invariance.proof import Verdict, prove
from ..normalizers import Normalizer
from ..transformations import weight_matrix_rescaling, weight_vector_rescaling


@dataclass(frozen=True)
class ScaleGroup:
    """The largest rescaling of the weights, w_h -> δ_h w_h or W -> δW, that the normalizer is proved invariant to.

    ``verdict`` is the proof, or the witness that even W -> δW changes the model.  Each factor δ belongs to one weight
    vector: the weights of a unit, or the whole matrix.  Without a symmetry the vectors are still those of the units.
    """

    verdict: Verdict

    @property
    def symmetric(self) -> bool:
        """Whether the model is invariant to rescaling each weight vector."""
        return self.verdict.invariant

    @property
    def whole(self) -> bool:
        """Whether all units share one factor δ."""
        return self.symmetric and not any(Axis.UNIT in p.axes for p in self.verdict.transformation.parameters)

    def vectors(self, W: Floats) -> Floats:
        """The weights (H, D) as one row for each factor: (H, D), or (1, HD) for the whole matrix."""
        return W.reshape(1, -1) if self.whole else W

    def __repr__(self) -> str:
        what = "one factor for the whole matrix" if self.whole else "one factor a unit" if self.symmetric else "none"
        return f"ScaleGroup({self.verdict.normalizer.name}: {what})"


def scale_group(normalizer: Normalizer) -> ScaleGroup:
    """The scale-symmetry group of ``normalizer``, found by proof (`fg.prove`), never by its name."""
    if not isinstance(normalizer, Normalizer):
        raise InputError(f"scale_group got normalizer={normalizer!r}: give a normalizer such as fg.batch_norm")
    return _scale_group(normalizer)


@lru_cache(maxsize=256)
def _scale_group(normalizer: Normalizer) -> ScaleGroup:
    verdict = prove(normalizer, weight_vector_rescaling)
    return ScaleGroup(verdict if verdict else prove(normalizer, weight_matrix_rescaling))

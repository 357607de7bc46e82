"""Models with no cell that reaches over more than some cases: sums over blocks of what is known in memory."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..axes import Axis
from ..errors import InputError
from ..families import Floats
from ..model import GLM
from ..normalizer import Stage
from ..standardize import Standardize
from .plan import Arrays, compile_all, with_trials, without_caches
from .sources import Block
from .triangular import Triangle


@dataclass(frozen=True)
class Apart:
    """A model with no cell that reaches over more than ``batch`` cases: F is the mean over the blocks."""

    model: GLM
    params: Any
    batch: int
    dtype: type = np.float64
    sparse: ClassVar[bool] = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "model": without_caches(self.model)}

    @property
    def diagonal(self) -> bool:
        return False

    def dense(self, block: Block) -> Arrays:
        """The number of cases in a block, and N φ F (P, P) of them."""
        F = self._fisher(block)
        return [] if F is None else [np.array([float(F.cases)]), F.to_dense() * (F.cases * self.model.dispersion)]

    def finished(self, total: Arrays) -> Floats:
        """N φ F (P, P) from the sums over all blocks."""
        return total[1]

    def triangles(self, block: Block) -> Arrays:
        """The triangular factor of a root of N φ F of a block."""
        F = self._fisher(block)
        if F is None:
            return []
        triangle = Triangle(F.shape[0])
        scale = F.cases * self.model.dispersion
        triangle.add(F._root() * np.sqrt(scale))
        return [triangle.R[None], np.array([F._cancelled**2 * scale])]

    def rooted(self, total: Arrays) -> Floats:
        """A root (1, P, P) of N φ F from the triangular factors of all blocks."""
        return total[0].transpose(0, 2, 1)

    def product(self, block: Block, V: Floats) -> Arrays:
        """N φ F v of a block for every row v of V."""
        F = self._fisher(block)
        return [] if F is None else [(F @ V.T).T * (F.cases * self.model.dispersion)]

    def _fisher(self, block: Block) -> Any:
        from .matrices import fisher

        compile_all(self.model)
        X = block.load()
        if len(X) == 0:
            return None
        if len(X) % self.batch:
            raise InputError(
                f"{block.place(0, len(X) - 1)} are {len(X)} rows, but {self.model.normalizer.name} has batches of "
                f"{self.batch}: give blocks of whole batches"
            )

        def grouped(stage: Stage) -> Stage:
            if not isinstance(stage, Standardize) or Axis.SAMPLE not in stage.over:
                return stage
            groups = {**dict(stage.groups), Axis.SAMPLE: len(X) // self.batch}
            options = {name: getattr(stage, name) for name in ("center", "scale", "eps", "eps_inside", "first")}
            return Standardize(stage.over, groups=groups, **options)

        model = with_trials(self.model, slice(0, len(X)), block)
        normalizer = model.normalizer.map_stages(grouped)
        changed = copy(model)
        object.__setattr__(changed, "normalizer", normalizer)
        try:
            return fisher(changed, self.params, X, dtype=self.dtype)
        except InputError as error:
            raise InputError(f"{block.place(0, len(X) - 1)}, counted from 0: {error}") from None

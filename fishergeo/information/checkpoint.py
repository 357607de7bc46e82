"""What is done of a long sum, in a .npz: written whole or not at all, without pickles, and only for the run it is of."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import InputError
from ..families import Floats
from ..model import GLM, Params
from .sources import Rows

Arrays = list[Floats]


def fingerprint(model: GLM, p: Params, rows: Rows, dtype: type) -> dict[str, str]:
    """What must be the same for a sum to be continued, each by its name."""
    family, normalizer = model.family, model.normalizer
    log_density = f"{family.cumulant(family.symbols[2])} {family.coupled} {family.mixing} {family.trials}"
    link = "canonical" if model.link is None else model.link.name
    first = next(iter(rows.blocks())).load()
    data = first.data if rows.sparse else first
    return {
        "version": __version__,
        "model": _digest(f"{log_density} {link} {model.dispersion} {normalizer.stages} {np.dtype(dtype)}"),
        "parameters": _digest(p.ravel().tobytes()),
        "blocks": _digest(f"{rows.row} {rows.sizes} {rows.sparse}"),
        "inputs": _digest(np.ascontiguousarray(data).tobytes()),  # of the first block
    }


def _digest(what: str | bytes) -> str:
    return hashlib.blake2b(what.encode() if isinstance(what, str) else what, digest_size=16).hexdigest()


@dataclass
class Checkpoint:
    """Sums by name, each with the number of blocks in it, that are kept in a file."""

    path: Path
    of: Mapping[str, str]
    sums: dict[str, tuple[int, Arrays]] = field(default_factory=dict)

    @classmethod
    def at(cls, path: str | os.PathLike[str], of: Mapping[str, str]) -> Checkpoint:
        """The checkpoint at a path, empty where there is none; raises `InputError` for that of another run."""
        own = cls(Path(path), of)
        if not own.path.parent.is_dir():
            raise InputError(f"the folder of the checkpoint {path} is missing: make it first")
        if own.path.exists():
            own._read()
        return own

    def _read(self) -> None:
        try:
            with self.path.open("rb") as whole, np.load(whole, allow_pickle=False) as file:
                of, done = (json.loads(str(file[name])) for name in ("of", "done"))
                sums = {
                    label: (int(blocks), [file[f"{label} {k}"] for k in range(count)])
                    for label, (blocks, count) in done.items()
                }
        except Exception as error:  # a damaged archive can break anywhere
            why = str(error) or type(error).__name__
            raise InputError(f"{self.path} is no readable checkpoint ({why}): delete it, or give another name") from error
        other = [name for name, value in self.of.items() if of.get(name) != value]
        if other:
            raise InputError(
                f"{self.path} is a checkpoint of another run, with other {' and '.join(other)}: "
                "delete it, or give another name"
            )
        self.sums = sums

    def save(self, label: str, done: int, arrays: Arrays) -> None:
        """Keep a sum of so many blocks, with the others; the file is replaced when the new one is complete."""
        self.sums[label] = (done, arrays)
        content: dict[str, Any] = {"of": json.dumps(dict(self.of))}
        content["done"] = json.dumps({name: (blocks, len(sums)) for name, (blocks, sums) in self.sums.items()})
        for name, (_, sums) in self.sums.items():
            content |= {f"{name} {k}": array for k, array in enumerate(sums)}
        handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            os.unlink(temporary)
            raise

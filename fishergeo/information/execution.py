"""Who works on the blocks: threads of this process, or dask.  Results come in the order of the blocks."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, is_count
from ..threads import alone, one_blas_thread
from .sources import Block

Task = Callable[[Block], Any]
Progress = Callable[[int, int | None], None]  # cases done, cases in all


@dataclass(frozen=True)
class Run:
    """How data of any size are gone through.

    ``workers`` threads (default: as many as BLAS has, each with a BLAS of one thread), or a ``client`` of
    dask.distributed, or its address.  With ``checkpoint``, the path of a .npz, what is done is saved after ``every``
    blocks and on an interruption, and taken up by the next call.  ``progress`` is called with the cases done and in all;
    by default it is a bar of tqdm, if installed, on a terminal, and False is silence.  Raises `InputError` for others.
    """

    workers: int | None = None
    client: Any = None
    checkpoint: str | os.PathLike[str] | None = None
    every: int = 16
    progress: Progress | bool | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and not is_count(self.workers):
            raise InputError(f"fisher got workers={self.workers!r}: give a number of threads >= 1")
        if self.workers is not None and self.client is not None:
            raise InputError("fisher got workers and a client: the client has workers of its own; leave one out")
        if not is_count(self.every):
            raise InputError(f"fisher got every={self.every!r}: give a number of blocks >= 1")
        if self.checkpoint is not None and not str(self.checkpoint).endswith(".npz"):
            raise InputError(f"fisher got checkpoint={str(self.checkpoint)!r}: give the name of a .npz")
        if not (self.progress is None or isinstance(self.progress, bool) or callable(self.progress)):
            raise InputError(
                f"fisher got progress={self.progress!r}: give a function of the cases done and in all, or False"
            )

    def results(self, task: Task, blocks: Iterator[Block]) -> Iterator[Any]:
        """What ``task`` makes of each block, in their order."""
        if self.client is not None:
            from .cluster import results

            return results(task, blocks, self.client)
        return threaded(task, blocks, self.workers)

    @contextlib.contextmanager
    def shown(self, label: str, cases: int | None) -> Iterator[Progress]:
        """The function that shows progress."""
        if callable(self.progress):
            yield self.progress
        elif (self.progress is None and not sys.stderr.isatty()) or self.progress is False:
            yield lambda done, cases: None
        else:
            try:
                from tqdm import tqdm
            except ImportError:
                if self.progress:
                    raise InputError("a bar needs tqdm: pip install tqdm, or give a function as progress=") from None
                yield lambda done, cases: None
                return
            with tqdm(total=cases, desc=label, unit=" cases", unit_scale=True) as bar:
                yield lambda done, cases: bar.update(done - bar.n) and None


def threaded(task: Task, blocks: Iterator[Block], workers: int | None) -> Iterator[Any]:
    """Results of so many threads; no more blocks than these and one are in memory."""
    with one_blas_thread() as threads:
        count = workers or threads
        if count == 1:
            yield from (alone(task, block) for block in blocks)
            return
        with ThreadPoolExecutor(count, thread_name_prefix="fishergeo-block") as pool:
            waiting: deque[Any] = deque()
            try:
                for block in blocks:
                    waiting.append(pool.submit(alone, task, block))
                    if len(waiting) > count:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

"""Blocks on the workers of a dask cluster, and dask's collections as sources."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..errors import InputError
from ..threads import alone, one_blas_thread
from .execution import Task
from .sources import Block, Rows, check_columns, same

_PATIENCE = 60.0  # seconds for a worker to come back


@dataclass(frozen=True)
class Delayed:
    """A chunk of a collection, which is computed where the task is."""

    chunk: Any

    def __call__(self) -> Any:
        distributed = sys.modules.get("distributed")
        client = None
        if distributed is not None:
            with contextlib.suppress(ValueError):
                client = distributed.default_client()  # which may hold what the chunk is made of
        return self.chunk.compute(**({} if client is not None else {"scheduler": "synchronous"}))


def collection(data: Any, block: int | None) -> Rows:
    """An array or a frame of dask, a block for each of its chunks of rows."""
    if hasattr(data, "to_dask_array"):
        check_columns("the dask frame", data.dtypes.items())
        data = data.astype(float).to_dask_array()
    if not hasattr(data, "to_delayed") or not hasattr(data, "chunks"):
        raise InputError(f"rows got a {type(data).__name__} of dask: give an array or a frame, e.g. bag.to_dataframe()")
    if data.ndim not in (2, 3):
        raise InputError(f"the dask array has shape {data.shape}: give (cases, inputs) or (cases, positions, inputs)")
    data = data.rechunk(dict.fromkeys(range(1, data.ndim), -1) | ({0: block} if block else {}))
    known = all(size == size for size in data.chunks[0])  # nan where it has not been computed
    parts = tuple(Delayed(chunk) for chunk in data.to_delayed().ravel())
    sizes = tuple(int(size) for size in data.chunks[0]) if known else None
    return Rows("the dask array", tuple(int(size) for size in data.shape[1:]), parts, sizes)


@contextlib.contextmanager
def connected(client: Any) -> Iterator[Any]:
    """A client, or one of the scheduler at an address."""
    if not isinstance(client, str):
        if not hasattr(client, "submit") or not hasattr(client, "scatter"):
            raise InputError(
                f"fisher got client={client!r:.60}: give a dask.distributed Client, or a scheduler's address"
            )
        yield client
        return
    try:
        from distributed import Client
    except ImportError:
        raise InputError('a scheduler needs dask: pip install "fishergeo[dask]"') from None
    try:
        own = Client(client, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no dask scheduler answers at {client!r}: {error}; start one, or correct the address"
        ) from error
    with own:
        yield own


def results(task: Task, blocks: Iterator[Block], client: Any) -> Iterator[Any]:
    """What the workers make of each block, in the order of the blocks.

    A block whose worker dies goes to another; `RuntimeError` where that happens again and again, or all are gone.
    """
    with connected(client) as client:
        from distributed import KilledWorker

        lost = (KilledWorker, CancelledError, _Alone)
        everyone = client.submit(same, task, pure=False)  # unlike what is scattered, made again if it is lost
        waiting: deque[tuple[Block, Any]] = deque()
        try:
            for block in blocks:
                waiting.append((block, _submit(client, everyone, block)))
                if len(waiting) > 2 * max(1, sum(client.nthreads().values())):
                    yield _result(client, *waiting.popleft(), lost)
            while waiting:
                yield _result(client, *waiting.popleft(), lost)
        finally:
            for _, future in waiting:
                future.cancel()


def _unread() -> None:
    """Stands for a chunk that the scheduler passes on."""


def _submit(client: Any, task: Any, block: Block) -> Any:
    if isinstance(block.part, Delayed):
        chunk = client.compute(block.part.chunk)
        return client.submit(_on_chunk, task, replace(block, part=_unread), chunk, pure=False)
    return client.submit(_on_block, task, block, pure=False)


def _on_block(task: Task, block: Block) -> Any:
    with one_blas_thread():
        return alone(task, block)


def _on_chunk(task: Task, block: Block, chunk: Any) -> Any:
    return _on_block(task, replace(block, part=partial(same, chunk)))


class _Alone(Exception):
    """No worker is left, and none comes back."""


def _result(client: Any, block: Block, future: Any, lost: tuple[type[Exception], ...]) -> Any:
    missed = 0
    try:
        while True:
            try:
                return future.result(timeout=_PATIENCE)
            except TimeoutError:
                if future.done():  # it is the task's own
                    raise
                missed = 0 if client.nthreads() else missed + 1
                if missed > 1:
                    raise _Alone(f"no worker for {_PATIENCE:g} s") from None
    except lost as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise RuntimeError(
            f"{block.source}: the workers that had block {block.index} died or went away ({why}); "
            "give them more memory, or smaller blocks"
        ) from error

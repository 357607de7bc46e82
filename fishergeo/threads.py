"""Independent pieces of array work on several threads, with a BLAS of one thread each."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import lru_cache, partial
from typing import Any

_RANGES = 8
_WORTHWHILE = 1e7  # multiplications below which handing work to another thread costs more than it saves


def each(tasks: Sequence[Callable[[], None]], work: float) -> None:
    """Run the tasks, on threads where the ``work`` (in multiplications) is worth it; each writes to arrays of its own.

    There are as many threads as BLAS has, which ``OPENBLAS_NUM_THREADS`` or `threadpoolctl.threadpool_limits` sets.
    Tasks of a task run one after the other.  Without threadpoolctl all do, with the threads of BLAS.
    """
    with one_blas_thread() as threads:
        count = min(len(tasks), threads) if work >= _WORTHWHILE else 1
        if count == 1 or getattr(_inside, "task", False):
            for task in tasks:
                task()
        else:
            _shared(tasks, count)


def _shared(tasks: Sequence[Callable[[], None]], count: int) -> None:
    """Run the tasks on this thread and count - 1 others, each taking the next one when it is done with its last."""
    left = iter(tasks)

    def take() -> None:
        try:
            for task in left:
                alone(task)
        finally:
            for _ in left:  # after an error: what has not begun is left out
                pass

    # with the context of the caller, in which NumPy keeps what floating point errors do
    others = [_pool(count - 1).submit(copy_context().run, take) for _ in range(count - 1)]
    try:
        take()
    finally:
        begun = [other for other in others if not other.cancel()]  # threads of the pool may be at work for someone else
        wait(begun)
    for other in begun:
        other.result()


def over_ranges(task: Callable[[slice], None], size: int, work: float) -> None:
    """Run the task on ranges that make up 0…size-1, as `each` does where the ``work`` is worth it."""
    if work < _WORTHWHILE:
        task(slice(0, size))
        return
    step = -(-size // _RANGES)
    each([partial(task, slice(start, min(start + step, size))) for start in range(0, size, step)], work)


_inside = threading.local()


def alone(task: Callable[..., Any], *given: Any) -> Any:
    """The result of a task that has this thread and no other."""
    before = getattr(_inside, "task", False)
    _inside.task = True
    try:
        return task(*given)
    finally:
        _inside.task = before


_lock, _users = threading.Lock(), 0
_before: list[int] = []  # the numbers of threads that the libraries are given back


@contextlib.contextmanager
def one_blas_thread() -> Iterator[int]:
    """BLAS with one thread while anyone is inside, which makes sums the same everywhere; yields how many it has else.

    Its other threads, once used, would also spin for some milliseconds, in the way of ours.
    """
    global _users, _before
    libraries = _libraries()
    if not libraries:
        yield 1
        return
    with _lock:
        if _users == 0:
            _before = _threads(libraries)
            _set(libraries, [1] * len(libraries))
        _users += 1
    try:
        yield max(_before)
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _set(libraries, _before)


def _threads(libraries: Sequence[Any]) -> list[int]:
    return [library.num_threads for library in libraries]


def _set(libraries: Sequence[Any], threads: Sequence[int]) -> None:
    for library, count in zip(libraries, threads, strict=True):
        library.set_num_threads(count)


@lru_cache(maxsize=1)
def _libraries() -> Sequence[Any]:
    """Every BLAS of this process; none where threadpoolctl is not installed."""
    try:
        import threadpoolctl
    except ImportError:
        return ()
    import scipy.linalg.blas  # noqa: F401  # so that its BLAS is found too

    with ThreadPoolExecutor(1) as other:  # threadpoolctl is called back from C, where Ctrl-C in this thread would be lost
        found = other.submit(threadpoolctl.ThreadpoolController).result()
    return tuple(found.select(user_api="blas").lib_controllers)


@lru_cache(maxsize=4)
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="fishergeo")

"""Independent pieces of array work on several threads, with a BLAS of one thread each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

_WORTHWHILE = 1e7  # multiplications below which handing work to another thread costs more than it saves


def each(tasks: Sequence[Callable[[], None]], work: float) -> None:
    """Run the tasks, on threads where the ``work`` (in multiplications) is worth it; each writes to arrays of its own.

    There are as many threads as BLAS has, which ``OPENBLAS_NUM_THREADS`` or `threadpoolctl.threadpool_limits` sets.
    Without threadpoolctl the tasks run one after the other, with the threads of BLAS.
    """
    controller = _controller()
    if controller is None:
        for task in tasks:
            task()
        return
    count = min(len(tasks), _threads(controller)) if work >= _WORTHWHILE else 1
    with controller.limit(limits=1, user_api="blas"):
        if count == 1:
            for task in tasks:
                task()
        else:
            for done in [_pool(count).submit(task) for task in tasks]:
                done.result()


def _threads(controller: Any) -> int:
    libraries = controller.select(user_api="blas").lib_controllers
    return max((library.num_threads for library in libraries), default=1)


@lru_cache(maxsize=1)
def _controller() -> Any:
    """What sets the number of threads of BLAS; None where threadpoolctl is not installed."""
    try:
        import threadpoolctl
    except ImportError:
        return None
    import scipy.linalg.blas  # noqa: F401  # so that its BLAS is found too

    return threadpoolctl.ThreadpoolController()


@lru_cache(maxsize=4)
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="fishergeo")

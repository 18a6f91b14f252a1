"""Run numba kernels over ranges of rows on several threads.

Kernels are compiled with ``nogil`` and called from a thread pool rather than with ``prange``: they
compile in a fraction of the time, rows of very different cost are balanced, and concurrent callers
(a service) are safe, which they are not in numba's default threading layer.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numba
import numpy as np
import torch

from warmstart.process import check_process

Array: TypeAlias = np.ndarray
Float: TypeAlias = float | np.floating
Integer: TypeAlias = int | np.integer

kernel = numba.njit(fastmath=True, nogil=True, cache=True)
"""Compile a function for ``over_rows``; the compiled code is cached on disk."""

inlined = numba.njit(fastmath=True, nogil=True, inline="always")
"""Compile a function with floating-point arithmetic that kernels call.

Inlined by numba itself: otherwise the process that compiles a kernel links another version of the
function than later processes, which load the kernel, and results differ in their last bits.
"""

_CHUNKS = 16  # per thread: enough to balance expensive rows, few enough to cost nothing


def over_rows(function: Callable[..., None], rows: int, *arguments: Any) -> None:
    """Call a ``kernel`` as ``function(begin, end, *arguments)`` on disjoint ranges of ``rows``.

    The ranges cover all rows. A call must write only its own rows; then the result does not depend
    on the number of threads, which is ``numba.get_num_threads()``.

    Raises:
        UnsupportedError: this process was forked from one that had used warmstart.
    """
    check_process()
    threads = min(_threads(), rows)
    if threads <= 1:
        function(0, rows, *arguments)
        return
    size = max(1, rows // (threads * _CHUNKS))
    begins = iter(range(0, rows, size))  # shared: the interpreter gives each number to one thread

    def work() -> None:
        for begin in begins:
            function(begin, min(begin + size, rows), *arguments)

    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(work) for _ in range(threads - 1)]
        work()
    for other in others:
        other.result()


def _threads() -> int:
    """Return the number of numba threads without changing that of torch.

    The first call into numba sets the OpenMP thread count, and with it torch's, for the whole
    process; this function restores torch's.
    """
    before = torch.get_num_threads()
    threads = numba.get_num_threads()
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)
    return threads

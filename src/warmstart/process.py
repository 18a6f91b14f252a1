"""Refuse work in a forked process, where the thread pools of libraries no longer run.

A fork copies the memory but not the threads: polars, torch and numba then wait for ever for threads
that are not there. Whoever forks before warmstart is first used, or starts processes by spawn, is
not concerned.
"""

import os

from warmstart.errors import UnsupportedError

_first_use: int | None = None  # the process in which warmstart was first used


def check_process() -> None:
    """Refuse to go on in a fork of a process that used warmstart.

    Raises:
        UnsupportedError: saying what to do instead.
    """
    global _first_use
    if _first_use is None:
        _first_use = os.getpid()
    elif _first_use != os.getpid():
        raise UnsupportedError(
            f"process {os.getpid()} was forked from one that had used warmstart ({_first_use}), "
            "and would hang; load models and data inside the worker, or start workers by spawn"
        )

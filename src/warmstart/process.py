"""Refuse to work in a forked process, where the thread pools of libraries no longer run.

A fork copies memory but not threads, so polars, torch and numba wait forever for threads that do
not exist. Safe are: starting processes by spawn or forkserver, and forking before the first use of
warmstart.
"""

import os

from warmstart.errors import UnsupportedError

_first_use: int | None = None  # the process in which warmstart was first used


def check_process() -> None:
    """Check that this process was not forked from one that had used warmstart.

    Raises:
        UnsupportedError: it was; the message gives the remedy.
    """
    global _first_use
    if _first_use is None:
        _first_use = os.getpid()
    elif _first_use != os.getpid():
        raise UnsupportedError(
            f"process {os.getpid()} was forked from one that had used warmstart ({_first_use}), "
            "and would hang; start workers by the method spawn or forkserver, or do not use "
            "warmstart in the parent before the fork"
        )

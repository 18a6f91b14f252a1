"""What the machine has, and giving it back."""

import ctypes
import os
from contextlib import suppress


def physical_memory() -> float:
    """Return the memory of the machine in bytes; infinite where it is not known."""
    if not hasattr(os, "sysconf"):  # Windows
        return float("inf")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def return_memory() -> None:
    """Return freed memory to the system, which the C library keeps for later otherwise."""
    with suppress(AttributeError, OSError, TypeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

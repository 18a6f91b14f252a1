"""What the machine has."""

import os


def physical_memory() -> float:
    """Return the memory of the machine in bytes; infinite where it is not known."""
    if not hasattr(os, "sysconf"):  # Windows
        return float("inf")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

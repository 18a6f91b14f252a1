"""What a benchmark ran on, for its JSON."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version


def environment() -> dict:
    """Processor, cores, memory, versions of what computes, and the commit."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        **{
            name: _version(name)
            for name in ("warmstart", "numpy", "numba", "torch", "faiss-cpu", "ray")
        },
        "commit": _commit(),
        "load": os.getloadavg(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()

"""What a factor backbone cannot compute: vectors larger than the memory, numbers out of range."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from warmstart.errors import ConfigError, UnsupportedError
from warmstart.machine import physical_memory


@contextmanager
def memory_limit(name: str, width: int, n_vectors: int) -> Iterator[None]:
    """Raise an error that names the width if the vectors do not fit into memory.

    The memory counted is a lower bound: 4 bytes per number of the vectors, 12 per number of their
    Gram matrix.

    Raises:
        UnsupportedError: the machine has less memory, or an allocation in the block failed.
    """
    needed = 4 * n_vectors * width + 12 * width**2
    error = UnsupportedError(
        f"backbone {name}: {n_vectors} vectors of width {width} and their Gram matrix need at "
        f"least {needed / 2**30:,.1f} GiB, more than this machine gives; lower width"
    )
    if needed > physical_memory():
        raise error
    try:
        yield
    except MemoryError:
        raise error from None


def check_finite(name: str, settings: str, *arrays: np.ndarray | float) -> None:
    """Check that computed numbers are finite.

    Args:
        name: the backbone.
        settings: those to change if the numbers are not finite.
        arrays: the numbers.

    Raises:
        ConfigError: a number is infinite or NaN.
    """
    if not all(np.isfinite(array).all() for array in arrays):
        raise ConfigError(
            f"backbone {name}: a result is infinite or NaN; choose less extreme values of "
            f"{settings}"
        )

"""Parts as codes: int8 arrays that say to which part of a split each event belongs."""

from collections.abc import Iterable

import numpy as np

from warmstart.data.splits.base import Part
from warmstart.errors import DataError

PART_NAMES = ("train", "valid", "test", "history")
"""Parts by code. An event of the part "history" is neither trained on nor asked for; it is only
known of the user who asks."""
LEFT_OUT, TRAIN, VALID, TEST, HISTORY = -1, 0, 1, 2, 3
CODE_OF: dict[Part, int] = {"valid": VALID, "test": TEST}


def part_names(codes: np.ndarray) -> list[str | None]:
    """Convert codes to names; None for a left-out event."""
    return [None if code == LEFT_OUT else PART_NAMES[code] for code in codes.tolist()]


def part_codes(names: Iterable[str | None]) -> np.ndarray:
    """Convert names to codes, int8: the inverse of ``part_names``.

    Raises:
        DataError: a name is not that of a part.
    """
    code_of: dict[str | None, int] = {name: code for code, name in enumerate(PART_NAMES)}
    code_of[None] = LEFT_OUT
    names = list(names)
    unknown = sorted({str(name) for name in names if name not in code_of})
    if unknown:
        raise DataError(f"part {unknown[0]!r}; allowed: {', '.join(PART_NAMES)}, or none")
    return np.array([code_of[name] for name in names], np.int8)

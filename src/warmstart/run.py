"""One execution of a fit: its folder, the duration of its stages, and their resumption."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np

from warmstart.code_hash import code_hash
from warmstart.config import Config
from warmstart.storage import atomic_file, write_text

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 4096  # of a resumable table

Dependency: TypeAlias = Config | np.ndarray | str | int | float | None
"""What can be part of a stage's key; of larger things, such as a data set, their hash."""


class Run:
    """Times the stages of a fit and gives them folders for checkpoints.

    Args:
        folder: where long stages keep checkpoints, so that an interrupted run resumes and equal
            stages of several methods are executed once; None keeps nothing.

    Attributes:
        seconds: wall seconds of each finished stage, in order; repetitions of a stage add up. An
            interrupted stage counts the time of every attempt; a stage reused from an earlier run
            counts its original duration.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(
        self, name: str, key: str | None = None, *, code: str | None = None
    ) -> Iterator[Path | None]:
        """Time a stage and yield its folder for checkpoints.

        Args:
            name: name of the stage.
            key: hash of all data and settings that the stage depends on (``stage_key``). Without a
                key, or if the run has no folder, the stage yields None and cannot be resumed.
            code: name of the warmstart module whose code, with all that it imports, the stage
                depends on, so that checkpoints of other code are not used.
        """
        folder = None
        if self.folder is not None and key is not None:
            version = "" if code is None else code_hash([code])
            digest = hashlib.sha256(f"{key} {version}".encode()).hexdigest()
            folder = self.folder / f"{name}-{digest[:16]}"
        logger.info("%s: started", name)
        started, finished = time.perf_counter(), False
        try:
            yield folder
            finished = True
        finally:  # an interrupted attempt counts too
            elapsed = time.perf_counter() - started
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                elapsed = _total_seconds(folder / "seconds.json", elapsed, finished)
        self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
        logger.info("%s: %.2f s", name, elapsed)


def resumable_rows(
    compute: Callable[[np.ndarray], np.ndarray],
    n: int,
    folder: Path | None,
    *,
    at_once: int = _ROWS_AT_ONCE,
) -> np.ndarray:
    """Compute the rows of a long table in blocks, and keep each that is finished.

    Args:
        compute: returns the rows of some positions, int64: an array of one type, shape
            (positions, width).
        n: number of rows.
        folder: of the stage, so that an interrupted run goes on from there; None keeps nothing.
        at_once: rows of a block: what an interruption can lose. A stage always has the same.

    Returns:
        All rows, shape (n, width).
    """
    blocks = []
    for begin in range(0, max(n, 1), at_once):
        end = min(begin + at_once, n)
        path = None if folder is None else folder / f"rows-{begin}.npy"
        if path is not None and path.exists():
            blocks.append(np.load(path))
            continue
        blocks.append(compute(np.arange(begin, end)))
        logger.info("%d of %d rows", end, n)
        if path is not None:
            with atomic_file(path) as file, file.open("wb") as written:
                np.save(written, blocks[-1])
    return np.concatenate(blocks)


def stage_key(depends_on: Sequence[Dependency]) -> str:
    """Compute the key of a stage: sha256 of all that it depends on, in order.

    Equal values of different types, and arrays of different shapes, give different keys.

    Raises:
        TypeError: the hash of a part would not be the same in another process.
    """
    digest = hashlib.sha256()
    for part in depends_on:
        content, kind = str(part).encode(), type(part).__name__
        if isinstance(part, Config):
            content = part.model_dump_json().encode()
        elif isinstance(part, np.ndarray) and not part.dtype.hasobject:
            content, kind = part.tobytes(), f"{part.dtype} {part.shape}"
        elif not isinstance(part, str | int | float | None):
            raise TypeError(f"stage_key: got a {kind}; allowed: {Dependency}")
        digest.update(f"{kind} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _total_seconds(path: Path, elapsed: float, finished: bool) -> float:
    """Return the total of all attempts until one finishes the stage; kept in ``path``."""
    before = json.loads(path.read_text()) if path.exists() else {"seconds": 0.0, "finished": False}
    if before["finished"]:
        return max(before["seconds"], elapsed)
    elapsed += before["seconds"]
    write_text(path, json.dumps({"seconds": elapsed, "finished": finished}))
    return elapsed

"""One execution: its folder, the seconds of its stages, and stages that are reused."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


class Run:
    """Seconds per stage, and a folder for checkpoints.

    Args:
        folder: where long stages keep checkpoints, so that an interrupted run resumes; none where
            None.

    Attributes:
        seconds: wall seconds of each finished stage, in order; a repeated stage adds up.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.seconds: dict[str, float] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[Path | None]:
        """Time a stage; gives its own folder for checkpoints (None where the run has none)."""
        folder = None if self.folder is None else self.folder / name
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        logger.info("%s: started", name)
        started = time.perf_counter()
        yield folder
        elapsed = time.perf_counter() - started
        self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
        logger.info("%s: %.2f s", name, elapsed)

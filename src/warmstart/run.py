"""One execution: its folder, the seconds of its stages, and stages that are picked up again."""

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


class Run:
    """Seconds per stage, and a folder for checkpoints.

    Args:
        folder: where long stages keep checkpoints, so that an interrupted run resumes and equal
            stages of several methods are done once; none where None.

    Attributes:
        seconds: wall seconds of each finished stage, in order; a repeated stage adds up. A stage
            that was picked up again counts with what it took before.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, key: str | None = None) -> Iterator[Path | None]:
        """Time a stage; gives its folder for checkpoints.

        Args:
            name: of the stage.
            key: hash of all that the stage depends on. Without it, or where the run has no folder,
                there is no folder to resume from (None).
        """
        folder = None if self.folder is None or key is None else self.folder / f"{name}-{key[:16]}"
        logger.info("%s: started", name)
        started = time.perf_counter()
        try:
            yield folder
        finally:  # an attempt that breaks off counts too
            elapsed = time.perf_counter() - started
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                elapsed = _add_up(folder / "seconds.json", elapsed)
        self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
        logger.info("%s: %.2f s", name, elapsed)


def _add_up(path: Path, elapsed: float) -> float:
    """Seconds of the stage over all attempts, kept in ``path``."""
    if path.exists():
        elapsed += json.loads(path.read_text())
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(json.dumps(elapsed))
    os.replace(unfinished, path)
    return elapsed

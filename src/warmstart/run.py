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
            that was broken off counts with all its attempts, one that was finished before (by
            another method, say) with what it took then.
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
        started, finished = time.perf_counter(), False
        try:
            yield folder
            finished = True
        finally:  # an attempt that breaks off counts too
            elapsed = time.perf_counter() - started
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                elapsed = _accounted(folder / "seconds.json", elapsed, finished)
        self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
        logger.info("%s: %.2f s", name, elapsed)


def _accounted(path: Path, elapsed: float, finished: bool) -> float:
    """Seconds of the stage over all attempts up to the one that finished it, kept in ``path``."""
    before = json.loads(path.read_text()) if path.exists() else {"seconds": 0.0, "finished": False}
    if before["finished"]:
        return max(before["seconds"], elapsed)
    elapsed += before["seconds"]
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(json.dumps({"seconds": elapsed, "finished": finished}))
    os.replace(unfinished, path)
    return elapsed

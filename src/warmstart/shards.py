"""Resumable work over many pieces, stored on disk in shards.

A shard is a parquet file and a manifest that is written after it. A shard without a manifest is
unfinished and is computed again; a shard with an intact file and manifest is never computed again.
The key of a piece covers everything that the piece depends on. So a changed piece is computed again
and an unchanged piece is skipped, whatever its position.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from warmstart.errors import ArtefactError
from warmstart.storage import atomic_file, file_hash, write_text

logger = logging.getLogger(__name__)

Work: TypeAlias = Callable[[Sequence[np.ndarray]], Iterable[tuple[np.ndarray, pl.DataFrame]]]
"""Takes the positions of each shard, and returns them, in any order, with a frame each."""

_FORMAT = 1


class Shards:
    """A folder of finished pieces.

    Args:
        folder: where shards are stored; None stores nothing.
        settings: everything that all pieces depend on, as one string; a folder made with other
            settings is rejected.
        size: pieces per shard; killing the process loses at most this many.

    Raises:
        ArtefactError: the folder was made with other settings, or a manifest cannot be read.
    """

    def __init__(self, folder: Path | None, settings: str, size: int = 256) -> None:
        self.folder, self.size = folder, size
        self.settings = hashlib.sha256(settings.encode()).hexdigest()
        self._done: dict[str, Path] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.glob("shard-*.json")):
                self._load_manifest(path)

    def run(
        self, keys: Sequence[str], work: Callable[[np.ndarray], pl.DataFrame], unit: str
    ) -> pl.DataFrame:
        """Compute the pieces that are not stored yet and return all pieces.

        Args:
            keys: one per piece, all different.
            work: takes positions in ``keys`` (int64) and returns a frame with the column
                ``position`` and any number of rows per position, in order.
            unit: name of the pieces in the progress bar and the log.

        Returns:
            The rows of every piece, computed now or before, in the order of ``keys``.
        """
        return self.run_all(keys, lambda shards: ((some, work(some)) for some in shards), unit)

    def run_all(self, keys: Sequence[str], work: Work, unit: str) -> pl.DataFrame:
        """As ``run``, for work on several shards at once, which are stored as they come.

        Args:
            keys: one per piece, all different.
            work: takes the positions of all shards and returns each with its frame, as the ``work``
                of ``run`` would.
            unit: name of the pieces in the progress bar and the log.

        Returns:
            As ``run``.
        """
        keys = list(keys)
        known = {key: self._done[key] for key in keys if key in self._done}
        if known:
            logger.info("%s: %d of %d are already done", unit, len(known), len(keys))
        frames = [self._read(path) for path in dict.fromkeys(known.values())]
        frames = [frame.filter(pl.col("key").is_in(list(known))) for frame in frames]
        started, done, total = time.perf_counter(), 0, len(keys) - len(known)
        with _progress() as bar:
            task = bar.add_task(unit, total=total, speed="")
            for positions, made in work(self._unknown(keys, known)):
                names = pl.Series(
                    [keys[position] for position in made["position"]], dtype=pl.String
                )
                frame = made.drop("position").with_columns(names.alias("key"))
                self._write([keys[position] for position in positions], frame)
                frames.append(frame)
                done += len(positions)
                speed = done / (time.perf_counter() - started)
                bar.update(task, advance=len(positions), speed=f"{speed:.1f} {unit}/s")
                logger.info(
                    "%s: %d of %d, %.1f/s, %.0f s left",
                    *(unit, done, total, speed, (total - done) / speed),
                )
        if not frames:
            return next(iter(work([np.zeros(0, np.int64)])))[1]
        place = pl.DataFrame(
            {"key": list(keys), "position": np.arange(len(keys), dtype=np.int64)},
            schema={"key": pl.String, "position": pl.Int64},
        )
        found = pl.concat(frames).join(place, on="key", how="inner", maintain_order="left")
        return found.drop("key").sort("position", maintain_order=True)

    def _unknown(self, keys: list[str], known: Collection[str]) -> list[np.ndarray]:
        """The positions of each shard that is not stored, without pieces that are."""
        shards = []
        for start in range(0, len(keys), self.size):
            positions = np.arange(start, min(start + self.size, len(keys)))
            positions = positions[[keys[position] not in known for position in positions]]
            if len(positions):
                shards.append(positions)
        return shards

    def _write(self, keys: list[str], frame: pl.DataFrame) -> None:
        if self.folder is None:
            return
        name = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:32]
        path = self.folder / f"shard-{name}.parquet"
        with atomic_file(path) as temporary:
            frame.write_parquet(temporary)
        manifest = {"format": _FORMAT, "settings": self.settings, "keys": keys}
        manifest["sha256"] = file_hash(path)
        write_text(path.with_suffix(".json"), json.dumps(manifest))
        self._done |= dict.fromkeys(keys, path)

    def _load_manifest(self, manifest: Path) -> None:
        try:
            written = json.loads(manifest.read_text())
            settings, keys = written["settings"], written["keys"]
            sha256, known = written["sha256"], written["format"] == _FORMAT
        except (ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"{manifest} is not the manifest of a shard: {error!r}") from None
        if not known or settings != self.settings:
            raise ArtefactError(
                f"{manifest.parent} contains shards of another model or other settings; "
                "give another folder or remove this one"
            )
        path = manifest.with_suffix(".parquet")
        if not path.is_file() or file_hash(path) != sha256:
            logger.warning(
                "%s is missing or damaged: its %d pieces are computed again", path, len(keys)
            )
            return
        self._done |= dict.fromkeys(keys, path)

    def _read(self, path: Path) -> pl.DataFrame:
        return pl.read_parquet(path, glob=False)


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )

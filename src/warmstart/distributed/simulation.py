"""Simulate the users of many items on many machines, each of which holds the whole recommender.

The recommender and its encoder are sent to the workers once; the arrays of a machine's workers are
the same memory. With its items a piece brings the text vectors that the cache of this machine has,
and the worker returns those that it computed: nothing is encoded twice, without a shared disk.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch

from warmstart.abilities import Simulates
from warmstart.data.catalogue import Catalogue
from warmstart.distributed.cluster import Place
from warmstart.distributed.workers import received, spread
from warmstart.errors import DataWarning
from warmstart.lm.encode import TextEncoder, text_key
from warmstart.shards import Work


class SimulationWorker:
    """Holds a recommender and simulates the users of items."""

    def __init__(self, threads: int, gpus: int, sent: list[Any]) -> None:
        torch.set_num_threads(threads)
        self.model: Simulates
        self.encoder: TextEncoder | None
        self.model, self.encoder = received(sent)
        if gpus and self.encoder is not None:
            self.encoder.lm.with_head.to("cuda")

    def work(
        self, items: Catalogue, k: int, cached: Mapping[bytes, np.ndarray]
    ) -> tuple[pl.DataFrame, dict[bytes, np.ndarray], list[str]]:
        """Simulate; returns the frame, vectors that were not cached, and warnings."""
        carried = _CarriedVectors(cached)
        if self.encoder is not None:
            self.encoder.cache = carried
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            frame = self.model.simulate(items, k)
        told = [str(one.message) for one in caught if issubclass(one.category, DataWarning)]
        return frame, carried.new, told


class _CarriedVectors:
    """A cache that came with a piece of work, and goes back with its result."""

    def __init__(self, cached: Mapping[bytes, np.ndarray]) -> None:
        self.cached, self.new = cached, {}

    def read(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        return {key: self.cached[key] for key in keys if key in self.cached}

    def write(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        self.new |= zip(keys, vectors, strict=True)


def by_items(
    model: Any, encoder: TextEncoder | None, items: Catalogue, k: int, places: Sequence[Place]
) -> Work:
    """Simulate shards of items, each on one worker that holds the recommender.

    Args:
        model: a recommender that simulates.
        encoder: its text encoder, if it has one.
        items: the items.
        k: users per item.
        places: of the workers.

    Returns:
        Work for ``Shards.run_all``, whose frames are those of ``simulate`` with ``position``.
    """

    def work(shards: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        import ray

        if not len(shards):
            return
        pieces = ((items.take(rows), k, _cached(encoder, items, rows)) for rows in shards)
        sent = ray.put((model, encoder))
        made = spread(SimulationWorker, places[: len(shards)], sent, pieces)
        for number, (frame, new, told) in made:
            for message in told:
                warnings.warn(message, DataWarning, stacklevel=2)
            if new and encoder is not None and encoder.cache is not None:
                encoder.cache.write(list(new), np.stack(list(new.values())))
            yield shards[number], with_positions(frame, items)

    return work


def with_positions(frame: pl.DataFrame, items: Catalogue) -> pl.DataFrame:
    """Put the row of each item in front, as ``position``, for ``Shards``."""
    positions = items.item_ids.rows(frame["item"].to_list()).astype(np.int64)
    return frame.insert_column(0, pl.Series("position", positions))


def _cached(
    encoder: TextEncoder | None, items: Catalogue, rows: np.ndarray
) -> dict[bytes, np.ndarray]:
    if encoder is None or encoder.cache is None:
        return {}
    return encoder.cache.read(list({text_key(items.texts[row]) for row in rows}))

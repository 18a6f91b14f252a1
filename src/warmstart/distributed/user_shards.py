"""Simulate the users of many items on many machines, each of which holds some of the users."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import polars as pl

from warmstart.abilities import simulated_frame, warn_of_no_text
from warmstart.arguments import whole_number
from warmstart.data.catalogue import Catalogue
from warmstart.distributed.cluster import Place
from warmstart.distributed.encoding import encode_missing
from warmstart.distributed.simulation import with_positions
from warmstart.distributed.table import DistributedTable
from warmstart.errors import DataError, UnsupportedError
from warmstart.lm.encode import Progress, TextEncoder
from warmstart.shards import Work


def by_users(
    model: Any,
    encoder: TextEncoder | None,
    items: Catalogue,
    k: int,
    places: Sequence[Place],
    progress: Progress | None = None,
) -> Work:
    """Simulate shards of items, each on all workers, which hold the users in shards.

    Texts that are not in the encoder's cache are encoded on the workers first.

    Args:
        model: a recommender that simulates users from a table.
        encoder: its text encoder.
        items: the items.
        k: users per item; fewer where there are fewer users.
        places: of the workers.
        progress: follows the encoding.

    Returns:
        Work for ``Shards.run_all``, whose frames are those of ``simulate`` with ``position``.

    Raises:
        DataError: k is below 1.
        UnsupportedError: the recommender has no table of users.
    """
    table = getattr(model, "user_table", lambda: None)()
    if table is None:
        raise UnsupportedError(
            f"{model.name} cannot simulate by users: its users are no rows of a table, as with "
            "filterllm and ridge.rank; use --by items"
        )
    k = min(whole_number("simulate", "k", k, low=1, error=DataError), len(table))

    def work(shards: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        if not len(shards):
            return
        warn_of_no_text(
            items.has_text[np.concatenate(shards)], "nothing is simulated for an item without text"
        )
        with_text = [rows[items.has_text[rows]] for rows in shards]
        texts = [[items.texts[row] for row in rows] for rows in with_text]
        if encoder is not None:
            encode_missing(encoder, list(chain(*texts)), places, progress)

        def batches() -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
            for some in texts:
                queries = model.user_queries(some)
                yield queries, model.sampling_keys_of(queries)

        found = DistributedTable(table, places).searches(batches(), k)
        for rows, own, one in zip(shards, with_text, found, strict=True):
            frame = simulated_frame(model.fitted, items.item_ids, own, model.simulated(one))
            yield rows, with_positions(frame, items)

    return work

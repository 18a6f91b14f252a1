"""Search a table of users that is divided among many machines; what they find is merged in a tree.

    queries ─▶ shard 1 ─┐
            ─▶ shard 2 ─┴▶ merged ─┐
            ─▶ shard 3 ─┐          ├▶ k best of all, and the log-normalisers
            ─▶ shard 4 ─┴▶ merged ─┘

Every worker holds some rows and searches them for every item. No process but the last gets what all
shards found, and that process only k rows an item. A killed worker is given its rows again.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
import polars as pl

from warmstart.abilities import simulated_frame, warn_of_no_text
from warmstart.arguments import whole_number
from warmstart.data.catalogue import Catalogue
from warmstart.distributed.cluster import Place
from warmstart.distributed.encoding import encode_missing
from warmstart.distributed.simulation import with_positions
from warmstart.distributed.workers import received, result_of, start_actors
from warmstart.errors import DataError, UnsupportedError
from warmstart.lm.encode import Progress, TextEncoder
from warmstart.retrieval.found import Found, merge
from warmstart.retrieval.table import Shard, VectorTable
from warmstart.shards import Work

_MERGED_AT_ONCE = 4
_BATCHES_AT_ONCE = 4  # that are searched at the same time: while one is merged, others are searched
_COMPUTED = ("block_errors", "block_norms")  # of whole shards; computed again for a part

ShardRows = list[tuple[int, dict[str, np.ndarray]]]


class UserShard:
    """Holds some rows of a table and searches them."""

    def __init__(self, threads: int, gpus: int, sent: list[Any]) -> None:
        self.threads = threads
        width, parts = received(sent)
        self.table = VectorTable.of_shards([Shard(arrays, width, at) for at, arrays in parts])

    def search(self, queries: np.ndarray, k: int, keys: np.ndarray | None) -> Found:
        """As ``VectorTable.search`` with log-normalisers."""
        return self.table.search(queries, k, log_normalisers=True, keys=keys, threads=self.threads)


class DistributedTable:
    """A table whose rows are divided equally among workers.

    Args:
        table: the table; its parts are sent to the workers one after the other.
        places: of the workers.
    """

    def __init__(self, table: VectorTable, places: Sequence[Place]) -> None:
        import ray

        def merged(k: int, *parts: Found) -> Found:
            return merge(parts, k)

        places = places[: max(len(table), 1)]
        ends = np.linspace(0, len(table), len(places) + 1).astype(int).tolist()
        self.parts = [
            ray.put((table.width, rows_between(table, start, end))) for start, end in pairwise(ends)
        ]
        self.actors = start_actors(UserShard, places, self.parts)
        self._merged = ray.remote(merged).options(num_cpus=0, max_retries=-1)

    def searches(
        self, batches: Iterable[tuple[np.ndarray, np.ndarray | None]], k: int
    ) -> Iterator[Found]:
        """Search for batches of queries in order, a few batches at the same time.

        Args:
            batches: queries and, to sample, keys, as for ``VectorTable.search``.
            k: number of rows.

        Raises:
            UnsupportedError: a batch ended a worker several times.
        """
        running: deque[Any] = deque()
        for queries, keys in batches:
            running.append(self._submit(queries, k, keys))
            if len(running) == _BATCHES_AT_ONCE:
                yield result_of(running.popleft())
        while running:
            yield result_of(running.popleft())

    def _submit(self, queries: np.ndarray, k: int, keys: np.ndarray | None) -> Any:
        import ray

        sent = ray.put(queries)
        found = [actor.search.remote(sent, k, keys) for actor in self.actors]
        while len(found) > 1:
            groups = [
                found[at : at + _MERGED_AT_ONCE] for at in range(0, len(found), _MERGED_AT_ONCE)
            ]
            found = [
                self._merged.remote(k, *group) if len(group) > 1 else group[0] for group in groups
            ]
        return found[0]


def rows_between(table: VectorTable, start: int, end: int) -> ShardRows:
    """The arrays of some rows, with the number of the first row of each part."""
    parts: ShardRows = []
    for shard in table.shards:
        first, last = max(start, shard.start), min(end, shard.end)
        if first < last or not len(table):
            own = slice(first - shard.start, last - shard.start)
            arrays = {n: a[own] for n, a in shard.arrays.items() if n not in _COMPUTED}
            parts.append((first, arrays))
    return parts


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

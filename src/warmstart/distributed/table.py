"""Search a table that is divided among many machines; what they find is merged in a tree.

    queries ─▶ shard 1 ─┐
            ─▶ shard 2 ─┴▶ merged ─┐
            ─▶ shard 3 ─┐          ├▶ k best of all, and the log-normalisers
            ─▶ shard 4 ─┴▶ merged ─┘

Every worker holds some rows and searches them for every query. No process but the last gets what
all shards found, and that process only k rows a query. A killed worker is given its rows again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from warmstart.distributed.cluster import Place
from warmstart.distributed.workers import received, result_of, start_actors
from warmstart.retrieval.found import Found, merge
from warmstart.retrieval.history_table import HistoryTable
from warmstart.retrieval.table import VectorTable

_MERGED_AT_ONCE = 4
_BATCHES_AT_ONCE = 4  # that are searched at the same time: while one is merged, others are searched


class UserShard:
    """Holds some rows of a table and searches them."""

    def __init__(self, threads: int, gpus: int, sent: list[Any]) -> None:
        self.threads = threads
        self.table: VectorTable | HistoryTable = received(sent)

    def search(self, queries: np.ndarray, k: int, keys: np.ndarray | None) -> Found:
        """As ``VectorTable.search`` with log-normalisers."""
        return self.table.search(queries, k, log_normalisers=True, keys=keys, threads=self.threads)


class DistributedTable:
    """A table whose rows are divided equally among workers.

    Args:
        table: the table; its parts are sent to the workers one after the other.
        places: of the workers.
    """

    def __init__(self, table: VectorTable | HistoryTable, places: Sequence[Place]) -> None:
        import ray

        def merged(k: int, *parts: Found) -> Found:
            return merge(parts, k)

        places = places[: max(len(table), 1)]
        ends = np.linspace(0, len(table), len(places) + 1).astype(int).tolist()
        self.parts = [ray.put(table.part(start, end)) for start, end in pairwise(ends)]
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
        running: deque[tuple[Any, Callable[[], Any]]] = deque()
        for queries, keys in batches:
            submit = partial(self._submit, queries, k, keys)
            running.append((submit(), submit))
            if len(running) == _BATCHES_AT_ONCE:
                yield result_of(*running.popleft())
        while running:
            yield result_of(*running.popleft())

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

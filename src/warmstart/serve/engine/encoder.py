"""The encoder: the language model encodes waiting items into the store, on one replica."""

import time
from collections.abc import Sequence

import structlog

from warmstart.data.catalogue import Catalogue
from warmstart.data.readers.item_records import catalogue_of_records
from warmstart.servable import ItemRows, Servable
from warmstart.serve.engine import metrics
from warmstart.serve.engine.deployment import Deployment
from warmstart.serve.engine.encode_queue import EncodeQueue
from warmstart.serve.engine.encodings import encode_items, pack
from warmstart.serve.settings import Settings
from warmstart.serve.storage.records import Item, WriteOutcome
from warmstart.serve.storage.store import Store

log = structlog.get_logger("warmstart.serve")

_CLEANUP_INTERVAL_S = 3600.0  # how often old changes are trimmed and failed items retried


class Encoder:
    """Encodes what waits in its queue, while this replica leads.

    Args:
        store: the store.
        settings: settings of the service.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self.queue = EncodeQueue(settings.max_queue)
        self.leads = False
        self._last_cleanup = float("-inf")

    def write_items(
        self, items: Sequence[Item], *, own_only: bool = False, reserved: Sequence[str] = ()
    ) -> list[WriteOutcome]:
        """Store items of one key and queue them; once encoded, they are recommended.

        Args:
            items: the items.
            own_only: refuse to change items of another owner.
            reserved: items that may not be written unless they were written before.

        Returns:
            The outcome of each item, in order.

        Raises:
            QueueFullError: there is no room in the queue; nothing was written.
            NotAllowedError: an item has another owner, or is reserved; nothing was written.
            StoreError: nothing was written.
        """
        owner = items[0].owner if items else ""
        self.queue.reserve(owner, len(items))
        try:
            outcomes = self._store.items.write(items, own_only=own_only, reserved=reserved)
            pairs = zip(items, outcomes, strict=True)
            self.queue.add({item.item: owner for item, outcome in pairs if outcome != "unchanged"})
        finally:
            self.queue.release(owner, len(items))
        return outcomes

    def queue_missing(self, model_hash: str) -> None:
        """Queue all items that the model has not encoded; the follower queues later ones."""
        self.queue.add_backlog(self._store.encodings.missing(model_hash))

    def step(self, deployment: Deployment) -> None:
        """Encode one batch if this replica leads; else wait a moment."""
        self.leads = False
        self.leads = self._store.leadership.acquire()
        if not self.leads:
            time.sleep(self._settings.poll_seconds)
            return
        now = time.monotonic()
        if now - self._last_cleanup > _CLEANUP_INTERVAL_S:
            self._store.changes.trim()
            self._store.items.clear_failures()
            self._last_cleanup = now
        self.encode_waiting(deployment, self._settings.poll_seconds)

    def encode_waiting(self, deployment: Deployment, seconds: float = 0.0) -> int:
        """Encode one batch of waiting items; block up to ``seconds`` if none wait."""
        names = self.queue.take(self._settings.encode_batch_size, seconds)
        if not names:
            return 0
        started = time.perf_counter()
        try:
            self.encode(deployment, names, is_served=True)
        except BaseException:
            self.queue.put_back(names)
            raise
        self.queue.done(names, time.perf_counter() - started)
        return len(names)

    def encode(self, deployment: Deployment, names: Sequence[str], *, is_served: bool) -> None:
        """Encode the given items, except those that are encoded already.

        The served model marks an item that it cannot encode as failed. A model that is being
        swapped in raises the error instead: the new model is the likely cause.
        """
        items = self._store.encodings.missing_among(deployment.model_hash, names)
        if not items:
            return
        started = time.perf_counter()
        packed: list[tuple[Item, bytes]] = []
        with deployment.encode_lock:
            try:
                encoded = encode_items(deployment.model, _catalogue(deployment.model, items))
                packed = [
                    (item, pack(one.encoding)) for item, one in zip(items, encoded, strict=True)
                ]
                rows: dict[bytes, ItemRows] = {
                    arrays: one.rows for (_, arrays), one in zip(packed, encoded, strict=True)
                }
                deployment.index.keep_rows(rows)
            except Exception:
                if not is_served:
                    raise
                log.exception("encoder: a batch failed; its items are encoded one by one")
                for item in items:
                    try:
                        (one,) = encode_items(
                            deployment.model, _catalogue(deployment.model, [item])
                        )
                        packed.append((item, pack(one.encoding)))
                    except Exception as error:
                        self._store.items.mark_failed(item, f"{type(error).__name__}: {error}")
                        log.exception("encoder: an item cannot be encoded", item=item.item)
        self._store.encodings.save(deployment.model_hash, packed)
        metrics.ENCODE_SECONDS.observe(time.perf_counter() - started)
        metrics.ENCODED_ITEMS.inc(len(items))


def _catalogue(model: Servable, items: Sequence[Item]) -> Catalogue:
    """Items of the store as the model reads items."""
    return catalogue_of_records(
        [item.columns for item in items],
        [item.text for item in items],
        model.fitted.catalogue,
        [item.item for item in items],
    )

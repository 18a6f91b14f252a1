"""The served model, and the threads that keep it and its index up to date.

    write ──▶ store ──▶ encoder:      the language model encodes new texts into the store
                 ├────▶ follower:     applies every change to the index
                 ├────▶ key-follower: loads keys; a revocation depends on no item
                 └────▶ swapper:      loads the announced model beside the served one

Requests for lists wait for none of them.
"""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from warmstart.errors import DataError, WarmstartError
from warmstart.servable import Servable
from warmstart.serve.engine import metrics
from warmstart.serve.engine.deployment import Loader
from warmstart.serve.engine.encoder import Encoder
from warmstart.serve.engine.encodings import model_hash
from warmstart.serve.engine.follower import Follower, KeyFollower
from warmstart.serve.engine.loop import Loop
from warmstart.serve.engine.swapper import Swapper
from warmstart.serve.settings import Settings
from warmstart.serve.storage.database import existing_store_url
from warmstart.serve.storage.keys import KeyRing
from warmstart.serve.storage.records import Item, WriteOutcome
from warmstart.serve.storage.store import Store

log = structlog.get_logger("warmstart.serve")

_STALLED_SECONDS = 10.0  # after which a part that does not advance makes the service not ready


class IndexFullError(Exception):
    """There is no memory for more items.

    Args:
        used: memory of the items that came since the start, in GiB.
        limit: how much they may take.
    """

    def __init__(self, used: float, limit: float) -> None:
        super().__init__(
            f"the items written since the start take {used:.2f} GiB, and these or those that wait "
            f"might take more than the allowed {limit:g} GiB: delete items, restart the service, "
            "which moves them into mapped files, or raise max_index_gib"
        )


class Service:
    """Serves one model from one store: loads the model, builds the index, runs the threads.

    Args:
        settings: settings of the service.
        run: names this run of the service, for workers that share a snapshot.

    Raises:
        ArtefactError: the model is missing or damaged.
        UnsupportedError: the model's method cannot be served.
        ConfigError: the store has ids of another type than the model.
        StoreError: the store cannot be reached.
    """

    def __init__(self, settings: Settings, run: str = "") -> None:
        self.settings = settings
        self.keys = KeyRing(settings.rate_limit, anonymous_read=settings.anonymous_read)
        self.loader = Loader(settings, run)
        started, started_with = time.perf_counter(), model_hash(settings.model)
        opened = _existing_store(settings.store)
        try:
            folder, loaded, number = self._first_model(opened, started_with)
            # A failed start must not leave a new store behind, so it comes after the model.
            self.store = opened or Store(settings.store)
        except BaseException:
            if opened is not None:
                opened.close()
            raise
        self.deployment = self.loader.deploy(folder, loaded, self.store, started)
        self.loader.remove_other_snapshots(self.deployment.model_hash)
        self._stop = threading.Event()
        self._reported_model: tuple[str, str] | None = None
        self.encoder = Encoder(self.store, settings)
        self.follower = Follower(self.store, self.loader, self.encoder.queue)
        self._key_follower = KeyFollower(self.store, self.keys)
        self._key_follower.follow()
        self.swapper = Swapper(
            self.store,
            settings,
            self.loader,
            self.encoder,
            self.follower,
            started_with=started_with,
            is_stopping=self._stop.is_set,
        )
        self.swapper.handled = number
        self.loops = [
            Loop(name, step, settings.poll_seconds, self._stop)
            for name, step in {
                "encoder": self._encode,
                "follower": self._follow,
                "key-follower": self._follow_keys,
                "swapper": self._swap,
            }.items()
        ]

    def _first_model(
        self, store: Store | None, started_with: str
    ) -> tuple[Path, tuple[Servable, str], int]:
        """Load the model that was swapped in before a restart, else the one of the settings.

        Returns:
            Its folder, the loaded model with its hash, and the number of the announcement that is
            dealt with.
        """
        swapped = None if store is None else store.models.in_force(started_with)
        number, models = 0 if swapped is None else swapped.number, self.settings.models_folder
        if swapped is not None and models is not None:
            try:
                folder = models / swapped.folder
                return folder, self.loader.load(folder), number
            except WarmstartError as error:
                metrics.FAILED_SWAPS.inc()
                reason, name = str(error), swapped.folder
                log.error("the swapped model is not served", folder=name, error=reason)
        return self.settings.model, self.loader.load(self.settings.model), number

    # -- writes --

    def write_items(
        self, items: Sequence[Item], *, own_only: bool, reserved: Sequence[str]
    ) -> list[WriteOutcome]:
        """Store and queue items, as ``Encoder.write_items``, if they will fit into memory.

        Raises:
            IndexFullError: they might not; nothing was written.
        """
        index, limit = self.deployment.index, self.settings.max_index_gib
        new = self.waiting + len(items)
        needed = index.nbytes + new * index.item_bytes + sum(len(item.text) for item in items)
        if needed > limit * 2**30:
            raise IndexFullError(index.nbytes / 2**30, limit)
        return self.encoder.write_items(items, own_only=own_only, reserved=reserved)

    # -- start and stop --

    def start(self) -> None:
        """Start the threads."""
        self.encoder.queue_missing(self.deployment.model_hash)
        for loop in self.loops:
            loop.start()

    def close(self) -> None:
        """Stop the threads after the current batch; waiting items stay in the store."""
        self._stop.set()
        end = time.monotonic() + 20
        for loop in self.loops:
            loop.join(max(end - time.monotonic(), 0))
        self.store.close()

    # -- the steps of the threads --

    def _encode(self) -> None:
        self.encoder.step(self.deployment)

    def _follow(self) -> None:
        if not self.follower.follow(self.deployment):
            self.store.changes.wait(self.settings.poll_seconds)

    def _follow_keys(self) -> None:
        self._key_follower.follow()
        self._stop.wait(self.settings.poll_seconds)

    def _swap(self) -> None:
        new = self.swapper.next_model(self.deployment)
        if new is None:
            self._stop.wait(self.settings.poll_seconds)
        else:
            self.deployment = new
            self.loader.remove_other_snapshots(new.model_hash)
            self.encoder.queue_missing(new.model_hash)

    # -- health --

    def stalled(self) -> dict[str, float]:
        """The parts that do not advance, each with the seconds since it last did.

        The swapper is left out while it loads a model, which may take minutes.
        """
        parts = {
            loop.name: loop.stalled_seconds
            for loop in self.loops
            if loop.name != "swapper" or self.swapper.swapping is None
        }
        return {name: seconds for name, seconds in parts.items() if seconds > _STALLED_SECONDS}

    def update_metrics(self) -> None:
        """Set the gauges from numbers at hand; waits for no lock, no thread and no store."""
        deployment = self.deployment
        for kind, number in deployment.index.counts().items():
            if kind in ("warm", "cold", "warming"):
                metrics.ITEMS.labels(kind).set(number)
        metrics.WAITING.set(self.waiting)
        metrics.OLDEST_WAITING.set(self.encoder.queue.oldest_seconds())
        metrics.LEADS.set(self.encoder.leads)
        metrics.LAST_CHANGE.set(deployment.last_change)
        metrics.BEHIND.set(self.follower.behind)
        for loop in self.loops:
            metrics.STALLED_SECONDS.labels(loop.name).set(loop.stalled_seconds)
        model = (deployment.folder.name, deployment.model_hash[:12])
        if self._reported_model not in (None, model):
            metrics.MODEL.labels(*self._reported_model).set(0)
        metrics.MODEL.labels(*model).set(1)
        self._reported_model = model

    @property
    def waiting(self) -> int:
        """Number of items waiting to be encoded."""
        return len(self.encoder.queue)


def _existing_store(url: str) -> Store | None:
    try:
        return Store(existing_store_url(url))
    except DataError:
        return None

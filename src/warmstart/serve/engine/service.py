"""What runs behind the API: the served model, and the threads that keep it up to date.

    write ──▶ store ──▶ encoder: the language model encodes new texts, the store keeps the encodings
                 └────▶ follower: every change goes into the index

A request for a list waits for neither of them.
"""

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from warmstart.abilities import require
from warmstart.artefact import read_manifest
from warmstart.errors import ConfigError, DataError
from warmstart.lm import TextEncoder
from warmstart.methods import load_model
from warmstart.serve.engine import metrics
from warmstart.serve.engine.backlog import Backlog
from warmstart.serve.engine.encodings import FORMAT, encode_and_place, pack
from warmstart.serve.engine.index import Index
from warmstart.serve.settings import Settings
from warmstart.serve.storage.keys import KeyRing
from warmstart.serve.storage.store import (
    Change,
    ChangesLostError,
    Item,
    ItemState,
    Store,
    StoreError,
    WriteOutcome,
)
from warmstart.simulate.simulator import Simulator

log = structlog.get_logger("warmstart.serve")

_INT64_LIMIT = 2**63
_CLEANUP_INTERVAL_S = 3600.0  # between two times that old changes are dropped, failures retried


class BusyError(Exception):
    """The queue is full.

    Args:
        waiting: number of items in it.
        retry_after: estimated seconds until it has room.
    """

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(f"{waiting} items wait to be encoded already")
        self.waiting, self.retry_after = waiting, retry_after


@dataclass
class Deployment:
    """A served model.

    Attributes:
        folder: where it was loaded from.
        name: hash of its manifest and of the format of encodings; the store keeps encodings by it.
        model: loaded.
        index: follows the store.
        last: number of the last change that is in the index.
        load_seconds: for loading the model and building the index.
        encode_lock: held while the model encodes, which it does for one thread at a time.
    """

    folder: Path
    name: str
    model: Simulator
    index: Index
    last: int = 0
    load_seconds: float = 0.0
    encode_lock: threading.Lock = field(default_factory=threading.Lock)


class Service:
    """The model, the store, and the threads between them.

    Args:
        settings: of the service.

    Raises:
        ArtefactError: the model is missing or damaged.
        UnsupportedError: its method cannot be served.
        StoreError: the store cannot be reached.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.store)
        self.keys = KeyRing(settings.rate_limit, anonymous_read=settings.anonymous_read)
        self.deployment = self._deploy(settings.model)
        self.keys.load(self.store.keys())  # after it: what changes from now on is followed
        self.swapping: str | None = None
        self._announced: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._backlog = Backlog()
        self._admitted = 0  # items that are being written
        self._admitting = threading.Lock()
        self._items_per_second = 50.0  # of encoding; a running average
        self._last_cleanup = float("-inf")
        self._threads: list[threading.Thread] = []

    # -- life --

    def start(self) -> None:
        """Start encoding and following."""
        self._queue_unencoded()
        for work in (self._run_encoder, self._run_follower, self._run_swapper):
            thread = threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Stop; a batch that is being encoded is finished, waiting items stay in the store."""
        self._stop.set()
        self._announced.put(None)
        for thread in self._threads:
            thread.join(timeout=30)
        self.store.close()

    @property
    def alive(self) -> bool:
        """Whether all threads run."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    # -- models --

    def _deploy(self, folder: Path) -> Deployment:
        started = time.perf_counter()
        spec, source = read_manifest(folder)["lm"], self.settings.lm
        # No cache of vectors: what clients write must not fill the disk.
        lm = None if spec is None else TextEncoder.from_spec(spec, source=source, use_cache=False)
        loaded = load_model(folder, lm=lm)
        model: Simulator = require(
            loaded, Simulator, "be served; methods that can are filterllm and coldllm"
        )
        encode_and_place(model, ["the first text takes longest"])
        content = f"{FORMAT} ".encode() + (folder / "manifest.json").read_bytes()
        name = hashlib.sha256(content).hexdigest()
        deployment = Deployment(folder, name, model, *self._build_index(model, name))
        deployment.load_seconds = time.perf_counter() - started
        seconds = round(deployment.load_seconds, 3)
        log.info("model loaded", folder=folder.name, seconds=seconds)
        return deployment

    def _build_index(self, model: Simulator, name: str) -> tuple[Index, int]:
        """An index of everything in the store, and a change up to which it is complete."""
        last = self.store.latest()  # later changes are followed
        index = Index(
            model,
            prior_strength=self.settings.prior_strength,
            max_exposure=self.settings.max_exposure,
            max_owner_share=self.settings.max_owner_share,
        )
        for page in self.store.all_item_states(name):
            self._apply(index, name, page)
        return index, last

    def _apply(self, index: Index, model: str, states: Mapping[str, ItemState]) -> None:
        if damaged := index.apply(states):
            log.error("damaged encodings in the store are computed again", items=damaged)
            self.store.delete_encodings(model, damaged)

    def check_model(self, folder: str) -> Path:
        """The path of a model that may be swapped in.

        Raises:
            ConfigError: swapping is not allowed, or the folder is elsewhere.
            ArtefactError: there is no artefact.
        """
        models = self.settings.models_folder
        if models is None:
            raise ConfigError(
                "swapping models is off: set models_folder to the folder that holds them"
            )
        try:
            path = (models / folder).resolve()
            if not path.is_relative_to(models.resolve()):
                raise ConfigError(f"the model must lie below the folder of models, got {folder!r}")
            read_manifest(path)
        except OSError as error:  # the name is too long, or the folder may not be read
            raise ConfigError(f"there is no model {folder!r}: {error.strerror}") from None
        return path

    def swap(self, folder: str) -> None:
        """Serve another model from now on; the old one is used until the new one is ready.

        Raises:
            WarmstartError: it is not allowed, or cannot be loaded.
        """
        path, batch = self.check_model(folder), self.settings.encode_batch_size
        self.swapping = folder
        try:
            new = self._deploy(path)
            names = self.store.unencoded(new.name)  # items written meanwhile are for the encoder
            for start in range(0, len(names), batch):
                if self._stop.is_set():
                    return
                self._encode(new, names[start : start + batch])
            # Keys and announcements behind this number are handled after the swap.
            handled, at = self.deployment.last, new.last
            while changes := self.store.changes(at):
                self._apply_changes(new, changes)
                at = changes[-1].number
            new.last = min(at, handled)
            self.deployment = new
            self._queue_unencoded()
            log.info("model swapped", folder=folder)
        finally:
            self.swapping = None

    def _run_swapper(self) -> None:
        while (folder := self._announced.get()) is not None:
            try:
                self.swap(folder)
            except Exception:
                log.exception("model not swapped", folder=folder)

    # -- writing --

    def write_items(self, items: Sequence[Item]) -> list[WriteOutcome]:
        """Store items and queue them for encoding; they are recommended a moment later.

        Raises:
            BusyError: too many items wait already.
            StoreError: nothing was written.
        """
        with self._admitting:
            waiting = len(self._backlog) + self._admitted
            if waiting + len(items) > self.settings.max_queue:
                raise BusyError(waiting, max(1.0, len(items) / self._items_per_second))
            self._admitted += len(items)
        try:
            outcomes = self.store.write_items(items)
            pairs = zip(items, outcomes, strict=True)
            self._backlog.add(item.item for item, outcome in pairs if outcome != "unchanged")
        finally:
            with self._admitting:
                self._admitted -= len(items)
        return outcomes

    def _queue_unencoded(self) -> None:
        """Queue everything in the store that is not encoded; later the follower adds to it."""
        self._backlog.add(self.store.unencoded(self.deployment.name))

    @property
    def waiting(self) -> int:
        """Number of items that wait to be encoded."""
        return len(self._backlog)

    # -- encoding --

    def _run_encoder(self) -> None:
        self._until_stopped("encoder", self._clean_up_and_encode)

    def _until_stopped(self, who: str, step: Callable[[], None]) -> None:
        """Repeat a step; after a failure it is logged and repeated with a delay."""
        while not self._stop.is_set():
            try:
                step()
            except Exception as error:
                if isinstance(error, StoreError):
                    log.warning(f"{who}: the store does not answer", error=str(error))
                else:
                    log.exception(f"{who}: failed")
                self._stop.wait(self.settings.poll_seconds)

    def _clean_up_and_encode(self) -> None:
        if not self.store.is_leader():
            self._stop.wait(self.settings.poll_seconds)
            return
        now = time.monotonic()
        if now - self._last_cleanup > _CLEANUP_INTERVAL_S:
            self.store.trim_changes()
            self.store.clear_failures()
            self._last_cleanup = now
        self._encode_waiting(self.settings.poll_seconds)

    def _encode_waiting(self, seconds: float = 0.0) -> int:
        """Encode the oldest waiting items; block up to ``seconds`` if none wait."""
        names = self._backlog.take(self.settings.encode_batch_size, seconds)
        if not names:
            return 0
        try:
            self._encode(self.deployment, names)
        except BaseException:
            self._backlog.put_back(names)
            raise
        self._backlog.done(names)
        return len(names)

    def _encode(self, deployment: Deployment, names: Sequence[str]) -> None:
        """Encode those of some items that are not encoded yet.

        An item that cannot be encoded is marked as failed, but not for a model that is yet to be
        swapped in: there the model is the cause.
        """
        served = deployment is self.deployment
        items = self.store.unencoded_among(deployment.name, names)
        if not items:
            return
        started = time.perf_counter()
        packed: list[tuple[Item, bytes]] = []
        with deployment.encode_lock:
            try:
                encodings = encode_and_place(deployment.model, [item.text for item in items])
                packed = list(zip(items, map(pack, encodings), strict=True))
                deployment.index.remember(encodings)
            except Exception:
                if not served:
                    raise
                log.exception("encoder: a batch failed; its items are encoded one by one")
                for item in items:
                    try:
                        (encoding,) = encode_and_place(deployment.model, [item.text])
                        packed.append((item, pack(encoding)))
                    except Exception as error:
                        self.store.mark_failed(item, f"{type(error).__name__}: {error}")
                        log.exception("encoder: an item cannot be encoded", item=item.item)
        self.store.save_encodings(deployment.name, packed)
        seconds = time.perf_counter() - started
        speed = len(items) / max(seconds, 1e-6)
        self._items_per_second = 0.8 * self._items_per_second + 0.2 * speed
        metrics.ENCODE_SECONDS.observe(seconds)
        metrics.ENCODED_ITEMS.inc(len(items))

    # -- following --

    def _run_follower(self) -> None:
        self._until_stopped("follower", self._follow_or_wait)

    def _follow_or_wait(self) -> None:
        if not self.follow():
            self.store.wait(self.settings.poll_seconds)

    def follow(self) -> int:
        """Bring the index up to the last change; returns the number of changes."""
        deployment = self.deployment
        try:
            changes = self.store.changes(deployment.last)
        except ChangesLostError as error:
            log.warning("follower: the index is built again", reason=str(error))
            index, last = self._build_index(deployment.model, deployment.name)
            deployment.index, deployment.last = index, last
            self.keys.load(self.store.keys())
            self._queue_unencoded()
            return 1
        if not changes:
            return 0
        self._apply_changes(deployment, changes)
        if any(change.kind == "key" for change in changes):
            self.keys.load(self.store.keys())
        deployment.last = changes[-1].number
        metrics.LAST_CHANGE.set(deployment.last)
        models = [change.name for change in changes if change.kind == "model"]
        if models:
            self._announced.put(models[-1])
        return len(changes)

    def _apply_changes(self, deployment: Deployment, changes: Sequence[Change]) -> None:
        """Bring the items of some changes into an index."""
        names = {change.name: None for change in changes if change.kind in {"item", "events"}}
        if names:
            states = self.store.item_states(deployment.name, list(names))
            self._apply(deployment.index, deployment.name, states)
            written = {change.name for change in changes if change.kind == "item"}
            self._log_penalties(deployment.index, sorted(written))
            if deployment is self.deployment:
                waiting = {name for name, state in states.items() if state.is_waiting}
                self._backlog.discard(names.keys() - waiting)
                self._backlog.add(name for name in names if name in waiting)

    def _log_penalties(self, index: Index, names: Sequence[str]) -> None:
        for name in names:
            entry = index.entry(name)
            if entry is not None and entry.item is not None and entry.audience is not None:
                penalty = index.exposure_penalty(entry)
                if penalty > 0:
                    log.warning(
                        "exposure capped", item=name, owner=entry.item.owner, penalty=penalty
                    )

    # -- items as written --

    def item_id(self, given: str | int) -> str:
        """An item's id as text, if it has the type of the model's ids.

        Raises:
            DataError: the model's ids are integers and this is not one.
        """
        ids = self.deployment.model.fitted.catalogue.item_ids
        if not ids.is_integer:
            return str(given)
        digits = str(given).removeprefix("-")
        is_number = digits.isascii() and digits.isdecimal()
        if not is_number or not -_INT64_LIMIT <= int(given) < _INT64_LIMIT:
            raise DataError(f"item ids of this model are integers of 64 bits, got {given!r}")
        return str(int(given))  # "07" is 7

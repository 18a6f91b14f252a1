"""The served model, and the threads that keep its index up to date.

    write ──▶ store ──▶ encoder thread: the language model encodes new texts into the store
                 └────▶ follower thread: applies every change to the index

Requests for lists wait for neither thread.
"""

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import structlog

from warmstart.artefact import read_manifest
from warmstart.data.ids import Ids
from warmstart.errors import ConfigError, UnsupportedError
from warmstart.lm import CausalLM, TextEncoder
from warmstart.methods import METHODS, load_model, method
from warmstart.servable import ItemRows, Servable
from warmstart.serve.engine import metrics
from warmstart.serve.engine.encode_queue import EncodeQueue
from warmstart.serve.engine.encodings import FORMAT, encode_texts, pack
from warmstart.serve.engine.ids import KINDS, IdKind, first_foreign, integer_kinds
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
from warmstart.storage import read_unchanged

log = structlog.get_logger("warmstart.serve")

_CLEANUP_INTERVAL_S = 3600.0  # how often old changes are trimmed and failed items retried


class BusyError(Exception):
    """The queue of items waiting to be encoded is full.

    Args:
        waiting: number of items in the queue.
        retry_after: estimated seconds until the queue has room.
    """

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(f"the queue is full: {waiting} items are waiting to be encoded")
        self.waiting, self.retry_after = waiting, retry_after


@dataclass
class Deployment:
    """A loaded model with its index.

    Attributes:
        folder: folder of the artefact.
        model_hash: sha256 of the manifest and the format of encodings; the key of
            the model in the store.
        model: the loaded model.
        index: all items that can be recommended.
        last_change: number of the last change applied to the index.
        load_seconds: seconds taken to load the model and build the index.
        encode_lock: held while the model encodes; only one thread encodes at a time.
    """

    folder: Path
    model_hash: str
    model: Servable
    index: Index
    last_change: int = 0
    load_seconds: float = 0.0
    encode_lock: threading.Lock = field(default_factory=threading.Lock)


class Service:
    """Serves one model from one store: loads the model, builds the index, runs the threads.

    Args:
        settings: settings of the service.

    Raises:
        ArtefactError: the model is missing or damaged.
        UnsupportedError: the model's method cannot be served.
        ConfigError: the store has ids of another type than the model.
        StoreError: the store cannot be reached.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = KeyRing(settings.rate_limit, anonymous_read=settings.anonymous_read)
        started = time.perf_counter()
        loaded = self._load(settings.model)
        self.store = Store(settings.store)  # last: a failed start must not leave a new store behind
        self.deployment = self._deploy(settings.model, *loaded, started)
        self.keys.load(self.store.keys())  # after _deploy: later changes are followed
        self.swapping: str | None = None
        self._announced: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._encode_queue = EncodeQueue()
        self._admitted = 0  # items that are being written
        self._admitting = threading.Lock()
        self._items_per_second = 50.0  # running average of the encoding speed
        self._last_cleanup = float("-inf")
        self._threads: list[threading.Thread] = []

    # -- start and stop --

    def start(self) -> None:
        """Start the encoder, follower and swapper threads."""
        self._queue_unencoded()
        for work in (self._run_encoder, self._run_follower, self._run_swapper):
            thread = threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Stop the threads after the current batch; waiting items stay in the store."""
        self._stop.set()
        self._announced.put(None)
        for thread in self._threads:
            thread.join(timeout=30)
        self.store.close()

    @property
    def alive(self) -> bool:
        """Whether all threads are running."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    # -- models --

    def _load(self, folder: Path) -> tuple[Servable, str]:
        """Load a model; also return its hash, of the manifest that was read with it."""
        model, manifest = read_unchanged(
            folder, lambda: (self._read(folder), (folder / "manifest.json").read_bytes())
        )
        encode_texts(model, ["the first text takes longest"])  # before requests arrive
        return model, hashlib.sha256(f"{FORMAT} ".encode() + manifest).hexdigest()

    def _read(self, folder: Path) -> Servable:
        specs, given = read_manifest(folder)["lms"], {}
        if "encoder" in specs:
            # No vector cache: texts written by clients must not fill the disk.
            given["encoder"] = TextEncoder.from_spec(
                specs["encoder"], source=self.settings.encoder, use_cache=False
            )
        if "causal" in specs:
            given["lm"] = CausalLM.from_spec(specs["causal"], source=self.settings.lm)
        loaded = load_model(folder, **given)
        if not isinstance(loaded, Servable):
            able = sorted(name for name in METHODS if issubclass(method(name), Servable))
            raise UnsupportedError(
                f"{loaded.name} cannot be served: it lacks the ability Servable, by which a "
                f"service keeps scores up to date between fits; methods that have it: "
                f"{', '.join(able)}"
            )
        return loaded

    def _deploy(self, folder: Path, model: Servable, model_hash: str, started: float) -> Deployment:
        index = self._build_index(model, model_hash)
        index[0].prepare()
        deployment = Deployment(folder, model_hash, model, *index)
        deployment.load_seconds = time.perf_counter() - started
        seconds = round(deployment.load_seconds, 3)
        log.info("model loaded", folder=folder.name, seconds=seconds)
        return deployment

    def _build_index(self, model: Servable, name: str) -> tuple[Index, int]:
        """Build an index of the whole store; also return the last change it surely contains."""
        last = self.store.latest()  # read first: the follower applies every later change
        index = Index(
            model,
            prior_strength=self.settings.prior_strength,
            max_exposure=self.settings.max_exposure,
            max_owner_share=self.settings.max_owner_share,
        )
        for page in self.store.all_item_states(name):
            _check_stored_ids(page, model)
            self._apply(index, name, page)
        return index, last

    def _apply(self, index: Index, model: str, states: Mapping[str, ItemState]) -> None:
        if damaged := index.apply(states):
            log.error("damaged encodings in the store; they are computed again", items=damaged)
            self.store.delete_encodings(model, damaged)

    def check_model(self, folder: str) -> Path:
        """Return the path of a model that may be swapped in.

        Args:
            folder: path of the artefact, relative to ``models_folder``.

        Raises:
            ConfigError: swapping is disabled, the folder is not below ``models_folder``, or the
                ids of the model have another type than those in the store.
            ArtefactError: the folder contains no artefact.
        """
        models = self.settings.models_folder
        if models is None:
            raise ConfigError(
                "swapping models is disabled: set models_folder to the folder of the models"
            )
        try:
            path = (models / folder).resolve()
            if not path.is_relative_to(models.resolve()):
                raise ConfigError(f"the model must be below models_folder, got {folder!r}")
            read_manifest(path)
            self._check_id_types(folder, integer_kinds(path))
        except OSError as error:  # the name is too long, or the folder is not readable
            raise ConfigError(f"model {folder!r} cannot be read: {error.strerror}") from None
        return path

    def _check_id_types(self, folder: str, integer: Collection[IdKind]) -> None:
        """Refuse a model by which the ids in the store would become ids of another type."""
        for kind in KINDS:
            if (kind in integer) == self.ids(kind).is_integer or not self.store.has_ids():
                continue
            new, old = ("integers", "text") if kind in integer else ("text", "integers")
            raise ConfigError(
                f"the {kind} ids of the model {folder!r} are {new}, those of the served model are "
                f"{old}, and the store has items or interactions; serve it with a new store"
            )

    def swap(self, folder: str) -> None:
        """Load another model and serve it; the old model serves until the new one is ready.

        Raises:
            WarmstartError: the model may not be swapped in, or cannot be loaded.
        """
        path, batch = self.check_model(folder), self.settings.encode_batch_size
        self.swapping, started = folder, time.perf_counter()
        try:
            new = self._deploy(path, *self._load(path), started)
            names = self.store.unencoded(new.model_hash)  # the encoder thread handles later items
            for start in range(0, len(names), batch):
                if self._stop.is_set():
                    return
                self._encode(new, names[start : start + batch])
            # Keys and announced models are handled up to this number; the follower does the rest.
            handled, at = self.deployment.last_change, new.last_change
            while changes := self.store.changes(at):
                self._apply_changes(new, changes)
                at = changes[-1].number
            new.last_change = min(at, handled)
            integer: set[IdKind] = {kind for kind in KINDS if _ids(new.model, kind).is_integer}
            self._check_id_types(folder, integer)  # again: an empty store may have got items
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
        """Store items and queue them for encoding; once encoded, they are recommended.

        Returns:
            The outcome of each item, in order.

        Raises:
            BusyError: the queue would exceed ``max_queue``; nothing was written.
            StoreError: nothing was written.
        """
        with self._admitting:
            waiting = len(self._encode_queue) + self._admitted
            if waiting + len(items) > self.settings.max_queue:
                raise BusyError(waiting, max(1.0, len(items) / self._items_per_second))
            self._admitted += len(items)
        try:
            outcomes = self.store.write_items(items)
            pairs = zip(items, outcomes, strict=True)
            self._encode_queue.add(item.item for item, outcome in pairs if outcome != "unchanged")
        finally:
            with self._admitting:
                self._admitted -= len(items)
        return outcomes

    def _queue_unencoded(self) -> None:
        """Queue all unencoded items of the store; the follower queues later ones."""
        self._encode_queue.add(self.store.unencoded(self.deployment.model_hash))

    @property
    def waiting(self) -> int:
        """Number of items waiting to be encoded."""
        return len(self._encode_queue)

    # -- encoding --

    def _run_encoder(self) -> None:
        self._until_stopped("encoder", self._clean_up_and_encode)

    def _until_stopped(self, who: str, step: Callable[[], None]) -> None:
        """Repeat a step; log a failure and retry after ``poll_seconds``."""
        while not self._stop.is_set():
            try:
                step()
            except Exception as error:
                if isinstance(error, StoreError):
                    log.warning(f"{who}: the store cannot be reached", error=str(error))
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
        """Encode one batch of the oldest waiting items; block up to ``seconds`` if none wait."""
        names = self._encode_queue.take(self.settings.encode_batch_size, seconds)
        if not names:
            return 0
        try:
            self._encode(self.deployment, names)
        except BaseException:
            self._encode_queue.put_back(names)
            raise
        self._encode_queue.done(names)
        return len(names)

    def _encode(self, deployment: Deployment, names: Sequence[str]) -> None:
        """Encode the given items, except those that are encoded already.

        The served model marks an item that it cannot encode as failed. A model that is being
        swapped in raises the error instead: the new model is the likely cause.
        """
        served = deployment is self.deployment
        items = self.store.unencoded_among(deployment.model_hash, names)
        if not items:
            return
        started = time.perf_counter()
        packed: list[tuple[Item, bytes]] = []
        with deployment.encode_lock:
            try:
                encoded = encode_texts(deployment.model, [item.text for item in items])
                packed = [
                    (item, pack(one.encoding)) for item, one in zip(items, encoded, strict=True)
                ]
                rows: dict[bytes, ItemRows] = {
                    arrays: one.rows for (_, arrays), one in zip(packed, encoded, strict=True)
                }
                deployment.index.keep_rows(rows)
            except Exception:
                if not served:
                    raise
                log.exception("encoder: a batch failed; its items are encoded one by one")
                for item in items:
                    try:
                        (one,) = encode_texts(deployment.model, [item.text])
                        packed.append((item, pack(one.encoding)))
                    except Exception as error:
                        self.store.mark_failed(item, f"{type(error).__name__}: {error}")
                        log.exception("encoder: an item cannot be encoded", item=item.item)
        self.store.save_encodings(deployment.model_hash, packed)
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
        """Apply the next changes to the index; return their number, 0 if it is up to date."""
        deployment = self.deployment
        try:
            changes = self.store.changes(deployment.last_change)
        except ChangesLostError as error:
            log.warning("follower: the index is rebuilt", reason=str(error))
            index, last = self._build_index(deployment.model, deployment.model_hash)
            deployment.index, deployment.last_change = index, last
            self.keys.load(self.store.keys())
            self._queue_unencoded()
            return 1
        if not changes:
            return 0
        self._apply_changes(deployment, changes)
        if any(change.kind == "key" for change in changes):
            self.keys.load(self.store.keys())
        deployment.last_change = changes[-1].number
        metrics.LAST_CHANGE.set(deployment.last_change)
        models = [change.name for change in changes if change.kind == "model"]
        if models:
            self._announced.put(models[-1])
        return len(changes)

    def _apply_changes(self, deployment: Deployment, changes: Sequence[Change]) -> None:
        """Apply the items of some changes to an index, and update the queue."""
        names = {change.name: None for change in changes if change.kind in {"item", "events"}}
        if names:
            states = self.store.item_states(deployment.model_hash, list(names))
            self._apply(deployment.index, deployment.model_hash, states)
            written = {change.name for change in changes if change.kind == "item"}
            self._log_penalties(deployment.index, sorted(written))
            if deployment is self.deployment:
                waiting = {name for name, state in states.items() if state.is_waiting}
                self._encode_queue.discard(names.keys() - waiting)
                self._encode_queue.add(name for name in names if name in waiting)

    def _log_penalties(self, index: Index, names: Sequence[str]) -> None:
        for name in names:
            entry = index.entry(name)
            if entry is not None and entry.item is not None and not entry.item.deleted:
                penalty = index.exposure_penalty(entry)
                if penalty > 0:
                    log.warning(
                        "exposure capped", item=name, owner=entry.item.owner, penalty=penalty
                    )

    # -- ids --

    def ids(self, kind: IdKind) -> Ids:
        """Return the ids of the training data, which decide the type of all later ones."""
        return _ids(self.deployment.model, kind)


def _ids(model: Servable, kind: IdKind) -> Ids:
    return model.fitted.user_ids if kind == "user" else model.fitted.catalogue.item_ids


def _check_stored_ids(states: Mapping[str, ItemState], model: Servable) -> None:
    """Check that the ids in the store can be ids of the model; otherwise, none could name them.

    Raises:
        ConfigError: an id in the store is text, and those of the model are integers.
    """
    users = chain.from_iterable(state.users for state in states.values())
    names: dict[IdKind, Iterable[str]] = {"item": states, "user": users}
    for kind in KINDS:
        if (wrong := first_foreign(names[kind], _ids(model, kind))) is not None:
            raise ConfigError(
                f"the store has the {kind} id {wrong!r}, but the {kind} ids of the model are "
                "integers; serve a model with text ids, or use a new store"
            )

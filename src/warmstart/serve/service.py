"""What runs behind the API: the model that is served, and the threads that keep it up to date.

    write ──▶ store ──▶ reader: the language model reads new texts, its readings go to the store
                 └────▶ follower: every change goes into the index

A request for a list never waits for either of them.
"""

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from warmstart.artefact import read_manifest
from warmstart.core import require
from warmstart.errors import ConfigError, DataError
from warmstart.lm import TextEncoder
from warmstart.methods import load_model
from warmstart.serve import metrics
from warmstart.serve.backlog import Backlog
from warmstart.serve.index import Index
from warmstart.serve.keys import KeyRing
from warmstart.serve.reading import FORMAT, pack, take_in
from warmstart.serve.settings import Settings
from warmstart.serve.store import Change, Item, LostError, Outcome, Store, Stored, StoreError
from warmstart.simulate.taking_in import TakesIn

log = structlog.get_logger("warmstart.serve")

_WHOLE = 2**63
_TIDY = 3600.0  # seconds until old changes are dropped, and what failed is tried again


class BusyError(Exception):
    """The queue is full.

    Args:
        waiting: items in it.
        retry_after: seconds after which it will have room, as far as can be told.
    """

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(f"{waiting} items wait to be read already")
        self.waiting, self.retry_after = waiting, retry_after


@dataclass
class Deployment:
    """A model that is served.

    Attributes:
        folder: where it was loaded from.
        name: hash of its manifest and of the form of readings, which are kept by it.
        model: loaded.
        index: follows the store.
        last: number of the last change that is in the index.
        warm_up: seconds that loading it and building the index took.
        reading: held while the model reads; it reads for one thread at a time.
    """

    folder: Path
    name: str
    model: TakesIn
    index: Index
    last: int = 0
    warm_up: float = 0.0
    reading: threading.Lock = field(default_factory=threading.Lock)


class Service:
    """The model, the store, and what keeps them together.

    Args:
        settings: see there.

    Raises:
        ArtefactError: the model is missing or damaged.
        UnsupportedError: its method does not simulate.
        StoreError: the store cannot be reached.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.store)
        self.keys = KeyRing(settings.rate, anonymous_read=settings.anonymous_read)
        self.deployment = self._deploy(settings.model)
        self.keys.load(self.store.keys())  # after it: what changes from now on is followed
        self.swapping: str | None = None
        self._announced: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._backlog = Backlog()
        self._admitted = 0  # items that are being written
        self._admitting = threading.Lock()
        self._speed = 50.0  # items a second, measured as we go
        self._tidied = float("-inf")
        self._threads: list[threading.Thread] = []

    # -- life --

    def start(self) -> None:
        """Start reading and following."""
        self._look_for_unread()
        for work in (self._read_on, self._follow_on, self._swap_on):
            thread = threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Stop; what the reader has begun is finished, what waits stays in the store."""
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
        # What clients write is not to fill the disk: no cache of vectors.
        lm = None if spec is None else TextEncoder.from_spec(spec, source=source, use_cache=False)
        loaded = load_model(folder, lm=lm)
        model: TakesIn = require(loaded, TakesIn, "be served: it does not simulate users")
        take_in(model, ["the first text takes longest"])
        made_of = f"{FORMAT} ".encode() + (folder / "manifest.json").read_bytes()
        name = hashlib.sha256(made_of).hexdigest()
        deployment = Deployment(folder, name, model, *self._built(model, name))
        deployment.warm_up = time.perf_counter() - started
        log.info("model loaded", folder=folder.name, seconds=round(deployment.warm_up, 3))
        return deployment

    def _built(self, model: TakesIn, name: str) -> tuple[Index, int]:
        """An index of all that the store has, and the change up to which it surely has it."""
        last = self.store.latest()  # what comes later is followed
        index = Index(
            model,
            confidence=self.settings.confidence,
            claim=self.settings.claim,
            owner_share=self.settings.owner_share,
        )
        for page in self.store.everything(name):
            self._apply(index, name, page)
        return index, last

    def _apply(self, index: Index, model: str, stored: Mapping[str, Stored]) -> None:
        if damaged := index.apply(stored):
            log.error("readings in the store are damaged; they are made anew", items=damaged)
            self.store.forget_readings(model, damaged)

    def check_model(self, folder: str) -> Path:
        """Where a model that may be swapped in lies.

        Raises:
            ConfigError: swapping is not allowed, or the folder lies elsewhere.
            ArtefactError: there is no artefact.
        """
        models = self.settings.models
        if models is None:
            raise ConfigError("swapping models is off: set models to the folder that holds them")
        try:
            place = (models / folder).resolve()
            if not place.is_relative_to(models.resolve()):
                raise ConfigError(f"the model must lie below the folder of models, got {folder!r}")
            read_manifest(place)
        except OSError as error:  # the name is too long, or the folder may not be read
            raise ConfigError(f"there is no model {folder!r}: {error.strerror}") from None
        return place

    def swap(self, folder: str) -> None:
        """Serve another model from now on; until it is ready the old one answers.

        Raises:
            WarmstartError: it may not be, or cannot be loaded.
        """
        place, batch = self.check_model(folder), self.settings.batch
        self.swapping = folder
        try:
            new = self._deploy(place)
            names = self.store.unread(new.name)  # what comes in meanwhile is for the reader
            for start in range(0, len(names), batch):
                if self._stop.is_set():
                    return
                self._read(new, names[start : start + batch])
            # Keys and announcements behind this number are dealt with after the swap.
            dealt_with, at = self.deployment.last, new.last
            while changes := self.store.changes(at):
                self._take(new, changes)
                at = changes[-1].number
            new.last = min(at, dealt_with)
            self.deployment = new
            self._look_for_unread()
            log.info("model swapped", folder=folder)
        finally:
            self.swapping = None

    def _swap_on(self) -> None:
        while (folder := self._announced.get()) is not None:
            try:
                self.swap(folder)
            except Exception:
                log.exception("model not swapped", folder=folder)

    # -- writing --

    def write_items(self, items: Sequence[Item]) -> list[Outcome]:
        """Keep items and have them read; they are recommended a moment later.

        Raises:
            BusyError: too many wait already.
            StoreError: nothing was written.
        """
        with self._admitting:
            waiting = len(self._backlog) + self._admitted
            if waiting + len(items) > self.settings.queue:
                raise BusyError(waiting, max(1.0, len(items) / self._speed))
            self._admitted += len(items)
        try:
            found = self.store.write_items(items)
            pairs = zip(items, found, strict=True)
            self._backlog.add(item.item for item, outcome in pairs if outcome != "unchanged")
        finally:
            with self._admitting:
                self._admitted -= len(items)
        return found

    def _look_for_unread(self) -> None:
        """Go through the whole store; afterwards the follower tells what is to be read."""
        self._backlog.add(self.store.unread(self.deployment.name))

    @property
    def waiting(self) -> int:
        """Items that wait to be read."""
        return len(self._backlog)

    # -- reading --

    def _read_on(self) -> None:
        self._until_stopped("reader", self._tidy_and_read)

    def _until_stopped(self, who: str, step: Callable[[], None]) -> None:
        """Take step after step; a failed one is logged, and taken again after a while."""
        while not self._stop.is_set():
            try:
                step()
            except Exception as error:
                if isinstance(error, StoreError):
                    log.warning(f"{who}: the store does not answer", error=str(error))
                else:
                    log.exception(f"{who}: failed")
                self._stop.wait(self.settings.poll_seconds)

    def _tidy_and_read(self) -> None:
        if not self.store.leads():
            self._stop.wait(self.settings.poll_seconds)
            return
        now = time.monotonic()
        if now - self._tidied > _TIDY:
            self.store.forget_changes()
            self.store.forget_failures()
            self._tidied = now
        self._read_some(self.settings.poll_seconds)

    def _read_some(self, seconds: float = 0.0) -> int:
        """Read what has waited longest, or wait so long for something to come."""
        names = self._backlog.take(self.settings.batch, seconds)
        if not names:
            return 0
        try:
            self._read(self.deployment, names)
        except BaseException:
            self._backlog.back(names)
            raise
        self._backlog.done(names)
        return len(names)

    def _read(self, deployment: Deployment, names: Sequence[str]) -> None:
        """Read those of some items that are not read yet.

        An item that cannot be read is noted as such, but for a model that is yet to be swapped in:
        there it is the model that is to blame.
        """
        served = deployment is self.deployment
        items = self.store.unread_among(deployment.name, names)
        if not items:
            return
        started = time.perf_counter()
        found: list[tuple[Item, bytes]] = []
        with deployment.reading:
            try:
                readings = take_in(deployment.model, [item.text for item in items])
                found = list(zip(items, map(pack, readings), strict=True))
                deployment.index.remember(readings)
            except Exception:
                if not served:
                    raise
                log.exception("reader: a batch failed; each item by itself")
                for item in items:
                    try:
                        (reading,) = take_in(deployment.model, [item.text])
                        found.append((item, pack(reading)))
                    except Exception as error:
                        self.store.fail(item, f"{type(error).__name__}: {error}")
                        log.exception("reader: an item cannot be read", item=item.item)
        self.store.save_readings(deployment.name, found)
        seconds = time.perf_counter() - started
        self._speed = 0.8 * self._speed + 0.2 * len(items) / max(seconds, 1e-6)
        metrics.READ_SECONDS.observe(seconds)
        metrics.READ_ITEMS.inc(len(items))

    # -- following --

    def _follow_on(self) -> None:
        self._until_stopped("follower", self._follow_or_wait)

    def _follow_or_wait(self) -> None:
        if not self.follow():
            self.store.wait(self.settings.poll_seconds)

    def follow(self) -> int:
        """Bring the index to the last change; how many changes there were."""
        deployment = self.deployment
        try:
            changes = self.store.changes(deployment.last)
        except LostError as error:
            log.warning("follower: the index is built anew", reason=str(error))
            index, last = self._built(deployment.model, deployment.name)
            deployment.index, deployment.last = index, last
            self.keys.load(self.store.keys())
            self._look_for_unread()
            return 1
        if not changes:
            return 0
        self._take(deployment, changes)
        if any(change.kind == "key" for change in changes):
            self.keys.load(self.store.keys())
        deployment.last = changes[-1].number
        metrics.LAST_CHANGE.set(deployment.last)
        models = [change.name for change in changes if change.kind == "model"]
        if models:
            self._announced.put(models[-1])
        return len(changes)

    def _take(self, deployment: Deployment, changes: Sequence[Change]) -> None:
        """Bring the items that changes are about into an index."""
        about = {change.name: None for change in changes if change.kind in {"item", "events"}}
        if about:
            stored = self.store.stored(deployment.name, list(about))
            self._apply(deployment.index, deployment.name, stored)
            written = {change.name for change in changes if change.kind == "item"}
            self._log_claims(deployment.index, sorted(written))
            if deployment is self.deployment:
                waits = {name for name, known in stored.items() if known.waits}
                self._backlog.discard(about.keys() - waits)
                self._backlog.add(name for name in about if name in waits)

    def _log_claims(self, index: Index, names: Sequence[str]) -> None:
        for name in names:
            entry = index.entry(name)
            if entry is not None and entry.item is not None and entry.audience is not None:
                shift = index.shift(entry)
                if shift > 0:
                    log.warning("claim cut", item=name, owner=entry.item.owner, shift=shift)

    # -- items as written --

    def item_id(self, given: str | int) -> str:
        """An item's id as text, if the model's ids are of its kind.

        Raises:
            DataError: the model's ids are integers and this is none.
        """
        ids = self.deployment.model.fitted.catalogue.item_ids
        if not ids.is_integer:
            return str(given)
        digits = str(given).removeprefix("-")
        if not (digits.isascii() and digits.isdecimal()) or not -_WHOLE <= int(given) < _WHOLE:
            raise DataError(f"item ids of this model are integers of 64 bits, got {given!r}")
        return str(int(given))  # "07" is 7

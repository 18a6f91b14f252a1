"""A loaded model with its index: built from an artefact and the store."""

import gc
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from filelock import BaseFileLock, FileLock

from warmstart.artefact import read_manifest
from warmstart.data.ids import Ids
from warmstart.errors import ArtefactError, ConfigError, UnsupportedError
from warmstart.lm import CausalLM, TextEncoder
from warmstart.machine import return_memory
from warmstart.methods import METHODS, load_model, method
from warmstart.servable import Servable
from warmstart.serve.engine import metrics
from warmstart.serve.engine.encodings import manifest_hash
from warmstart.serve.engine.ids import IdKind, first_foreign
from warmstart.serve.engine.index import Index
from warmstart.serve.engine.score_table import NOWHERE
from warmstart.serve.engine.snapshot import (
    Comparison,
    Snapshot,
    read_comparison,
    remove_others,
    snapshot_name,
    write_comparison,
)
from warmstart.serve.settings import Settings
from warmstart.serve.storage.changes import PAGE
from warmstart.serve.storage.records import ItemState
from warmstart.serve.storage.store import Store
from warmstart.storage import read_unchanged

log = structlog.get_logger("warmstart.serve")

EVENTS_PAGE = 20_000  # interactions that are read at once
_MAX_THREADS = 4  # of one list: more of them wait for each other longer than they compute
_PROGRESS = 100_000  # items between two lines of the log
_FEW = 10_000  # items that may differ from a snapshot before a new one is written


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
        last_event: number of the last interaction applied to it.
        load_seconds: seconds taken to load the model and build the index.
        encode_lock: held while the model encodes; only one thread encodes at a time.
    """

    folder: Path
    model_hash: str
    model: Servable
    index: Index
    last_change: int = 0
    last_event: int = 0
    load_seconds: float = 0.0
    encode_lock: threading.Lock = field(default_factory=threading.Lock)

    def ids(self, kind: IdKind) -> Ids:
        """Return the ids of the training data, which decide the type of all later ones."""
        return model_ids(self.model, kind)


class Loader:
    """Loads models and builds their indexes.

    Args:
        settings: settings of the service.
        run: names this run of the service; workers of one run compare a snapshot with the store
            once.
    """

    def __init__(self, settings: Settings, run: str = "") -> None:
        self._settings, self._run = settings, run

    def load(self, folder: Path) -> tuple[Servable, str]:
        """Load a model; also return its hash, of the manifest that was read with it.

        Raises:
            ArtefactError: the model is missing or damaged.
            UnsupportedError: the model's method cannot be served.
        """
        model, manifest = read_unchanged(
            folder, lambda: (self._read(folder), (folder / "manifest.json").read_bytes())
        )
        return model, manifest_hash(manifest)

    def _read(self, folder: Path) -> Servable:
        specs, given = read_manifest(folder)["lms"], {}
        if "encoder" in specs:
            # No vector cache: texts written by clients must not fill the disk.
            given["encoder"] = TextEncoder.from_spec(
                specs["encoder"], source=self._settings.encoder, use_cache=False
            )
        if "causal" in specs:
            given["lm"] = CausalLM.from_spec(specs["causal"], source=self._settings.lm)
        loaded = load_model(folder, **given)
        if not isinstance(loaded, Servable):
            able = sorted(name for name in METHODS if issubclass(method(name), Servable))
            raise UnsupportedError(
                f"{loaded.name} cannot be served: it lacks the ability Servable, by which a "
                f"service keeps scores up to date between fits; methods that have it: "
                f"{', '.join(able)}"
            )
        return loaded

    def deploy(
        self, folder: Path, loaded: tuple[Servable, str], store: Store, started: float
    ) -> Deployment:
        """Build the index of a loaded model; ``started``: when loading began (perf_counter)."""
        model, model_hash = loaded
        index, last_change, last_event = self.build_index(model, model_hash, store)
        index.prepare()
        # Garbage collection need not look again at what was just loaded: it would stop every thread
        # for as long as it takes to visit millions of objects.
        gc.collect()
        gc.freeze()
        return_memory()
        seconds = time.perf_counter() - started
        log.info("model loaded", folder=folder.name, seconds=round(seconds, 3))
        return Deployment(folder, model_hash, model, index, last_change, last_event, seconds)

    def build_index(
        self, model: Servable, model_hash: str, store: Store, *, verify: bool = False
    ) -> tuple[Index, int, int]:
        """Build an index of the whole store, by a snapshot if there is a folder for them.

        Args:
            model: the loaded model.
            model_hash: its hash.
            store: the store.
            verify: compare the snapshot with the store even if another worker has.

        Returns:
            The index, and the last change and the last interaction that it surely contains.

        Raises:
            ConfigError: the store has ids of another type than the model.
        """
        folder = self._settings.index_folder
        name = self._snapshot_name(model_hash)
        lock = None if folder is None else _locked(folder, name)
        if folder is None or lock is None:
            last = store.changes.latest()  # read first: the follower applies every later change
            index = self._fill(self._new_index(model), model_hash, store, None)
        else:
            try:
                index, last = self._from_snapshot(folder / name, model, model_hash, store, verify)
            finally:
                lock.release()
        last_event = 0
        while clicks := store.events.after(last_event, EVENTS_PAGE):
            _check_stored_ids("user", (click.user for click in clicks), model)
            index.record(clicks)
            last_event = clicks[-1].number
        return index, last, last_event

    def _snapshot_name(self, model_hash: str) -> str:
        settings = self._settings
        return snapshot_name(settings.store, model_hash, settings.max_exposure)

    def remove_other_snapshots(self, model_hash: str) -> None:
        """Remove the snapshots for other models than the one that is served now."""
        folder = self._settings.index_folder
        if folder is not None and folder.is_dir():
            remove_others(folder, self._snapshot_name(model_hash))

    def _new_index(self, model: Servable) -> Index:
        return Index(
            model,
            prior_strength=self._settings.prior_strength,
            max_exposure=self._settings.max_exposure,
            max_owner_share=self._settings.max_owner_share,
            threads=min(os.cpu_count() or 1, _MAX_THREADS),
        )

    def _fill(self, index: Index, model_hash: str, store: Store, place: Path | None) -> Index:
        """Read the whole store; items that take more than their memory go to a snapshot."""
        number = 0
        for page in store.all_item_states(model_hash):
            _check_stored_ids("item", page, index.model)
            apply_states(index, model_hash, page, store)
            if (number := number + len(page)) % _PROGRESS < len(page):
                log.info("index: reading the store", items=number)
            if place is not None and index.nbytes > self._settings.max_index_gib * 2**30 / 2:
                mapped = self._save(index, place)
                index, place = (index, None) if mapped is None else (mapped, place)
        return index

    def _save(self, index: Index, place: Path) -> Index | None:
        """Write a snapshot and map it; None if there is no item, or no room on the disk."""
        if not index.table.n_new:
            return None
        try:
            snapshot = index.save(place)
        except OSError as error:
            log.error("the snapshot cannot be written; items stay in memory", error=str(error))
            return None
        log.info("index: a snapshot was written", items=len(snapshot))
        mapped = self._new_index(index.model)
        mapped.load(snapshot)
        return mapped

    def _from_snapshot(
        self, place: Path, model: Servable, model_hash: str, store: Store, verify: bool
    ) -> tuple[Index, int]:
        index, last = self._new_index(model), store.changes.latest()
        try:
            index.load(Snapshot(place))
        except ArtefactError as error:
            log.info("index: there is no snapshot yet", reason=str(error))
            index = self._fill(index, model_hash, store, place)
        else:
            found = None if verify else read_comparison(place, self._run)
            found = self._bring_up_to_date(index, last, model_hash, store, found)
            n_different = len(found.different) + len(found.gone)
            if n_different <= max(_FEW, index.table.n_new // 10):
                write_comparison(place, self._run, found)
                return index, found.last_change
        mapped = self._save(index, place)
        if mapped is None:
            return index, last
        write_comparison(
            place, self._run, self._bring_up_to_date(mapped, last, model_hash, store, None)
        )
        return mapped, last

    def _bring_up_to_date(
        self, index: Index, last: int, model_hash: str, store: Store, found: Comparison | None
    ) -> Comparison:
        """Compare the snapshot of an index with the store, unless that was done; apply it."""
        assert index.base is not None
        if found is None:
            found = Comparison(last, *index.base.compare(_contents(store, index)))
        _check_stored_ids("item", found.different, index.model)
        for start in range(0, len(found.different), PAGE):
            names = found.different[start : start + PAGE]
            apply_states(index, model_hash, store.item_states(model_hash, names), store)
        index.remove(found.gone)
        return found


def apply_states(
    index: Index, model_hash: str, states: Mapping[str, ItemState], store: Store
) -> None:
    """Apply states to an index; damaged encodings are deleted, to be computed again."""
    unapplied = index.apply(states)
    if unapplied.damaged:
        log.error("damaged encodings in the store are computed again", items=unapplied.damaged)
        metrics.DAMAGED_ENCODINGS.inc(len(unapplied.damaged))
        store.encodings.delete(model_hash, list(unapplied.damaged))
    for name, error in unapplied.failed.items():
        log.error("a change of an item is set aside", item=name, exc_info=error)
        metrics.CHANGES_SET_ASIDE.inc()


def model_ids(model: Servable, kind: IdKind) -> Ids:
    """The ids of a model's users or items."""
    return model.fitted.user_ids if kind == "user" else model.fitted.catalogue.item_ids


def _locked(folder: Path, name: str) -> BaseFileLock | None:
    """Lock a snapshot: the first worker builds it for all. None if the folder cannot be used."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        lock.acquire()
    except OSError as error:
        log.error("there can be no snapshot; items stay in memory", error=str(error))
        return None
    return lock


def _contents(store: Store, index: Index) -> Iterator[list[tuple[str, str, bool]]]:
    """All items of a store, but for deleted ones that the index has never heard of."""
    for page in store.items.contents():
        yield [row for row in page if not row[2] or index.slot(row[0]) != NOWHERE]


def _check_stored_ids(kind: IdKind, names: Iterable[str], model: Servable) -> None:
    """Check that ids in the store can be ids of the model; otherwise, none could name them."""
    if (wrong := first_foreign(names, model_ids(model, kind))) is not None:
        raise ConfigError(
            f"the store has the {kind} id {wrong!r}, but the {kind} ids of the model are "
            "integers; serve a model with text ids, or use a new store"
        )

"""The follower: brings changes of the store into the served index, and keys into memory."""

from collections.abc import Sequence

import structlog

from warmstart.serve.engine.deployment import EVENTS_PAGE, Deployment, Loader, apply_states
from warmstart.serve.engine.encode_queue import EncodeQueue
from warmstart.serve.engine.index import Index
from warmstart.serve.storage.changes import PAGE, ChangesLostError
from warmstart.serve.storage.keys import KeyRing
from warmstart.serve.storage.records import Change
from warmstart.serve.storage.store import Store

log = structlog.get_logger("warmstart.serve")


class Follower:
    """Applies changes of items to the index of a deployment.

    Args:
        store: the store.
        loader: rebuilds an index that is too far behind.
        queue: gets the items that wait to be encoded.
    """

    def __init__(self, store: Store, loader: Loader, queue: EncodeQueue) -> None:
        self._store, self._loader, self._queue = store, loader, queue
        self.behind = 0

    def follow(self, deployment: Deployment) -> int:
        """Apply the next changes to the index; return their number, 0 if it is up to date."""
        followed = self._store.changes
        try:
            changes = followed.after(deployment.last_change)
        except ChangesLostError as error:
            log.warning("follower: the index is rebuilt", reason=str(error))
            model, model_hash = deployment.model, deployment.model_hash
            index, *ends = self._loader.build_index(model, model_hash, self._store, verify=True)
            deployment.index = index
            deployment.last_change, deployment.last_event = ends
            self._queue.add_backlog(self._store.encodings.missing(model_hash))
            return 1
        self.behind = len(changes)
        if len(changes) == PAGE:
            self.behind = followed.latest() - deployment.last_change
        if changes:
            self.apply(deployment, changes, is_served=True)
            deployment.last_change = changes[-1].number
            self.behind -= len(changes)
        n_clicks = self.record(deployment)
        if n_clicks == EVENTS_PAGE:
            self.behind += self._store.events.latest() - deployment.last_event
        return len(changes) + n_clicks

    def record(self, deployment: Deployment) -> int:
        """Bring the next interactions into the index; return their number."""
        clicks = self._store.events.after(deployment.last_event, EVENTS_PAGE)
        if clicks:
            deployment.index.record(clicks)
            deployment.last_event = clicks[-1].number
        return len(clicks)

    def apply(self, deployment: Deployment, changes: Sequence[Change], *, is_served: bool) -> None:
        """Apply the items of some changes to an index, and update the queue if it is served."""
        for change in changes:
            if change.kind == "erased":
                last, _, user = change.name.partition(":")
                deployment.index.forget(user, int(last))
        names = {change.name: None for change in changes if change.kind == "item"}
        if not names:
            return
        states = self._store.item_states(deployment.model_hash, list(names))
        apply_states(deployment.index, deployment.model_hash, states, self._store)
        _log_penalties(deployment.index, sorted(names))
        if is_served:
            waiting = {
                name: state.item.owner
                for name, state in states.items()
                if state.is_waiting and state.item is not None
            }
            self._queue.discard(names.keys() - waiting.keys())
            self._queue.add(waiting)


class KeyFollower:
    """Loads the keys when they have changed, independently of everything else.

    Args:
        store: the store.
        keys: the keys in memory.
    """

    def __init__(self, store: Store, keys: KeyRing) -> None:
        self._store, self._keys = store, keys
        self._version: tuple[int, int] | None = None

    def follow(self) -> None:
        """Load the keys if any was made or revoked since the last call."""
        version = self._store.keys.version()  # read first: a later change has another version
        if version != self._version:
            self._keys.load(self._store.keys.all())
            self._version = version


def _log_penalties(index: Index, names: Sequence[str]) -> None:
    for name in names:
        entry = index.entry(name)
        if entry is not None and entry.owner is not None and entry.exposure_penalty > 0:
            penalty = entry.exposure_penalty
            log.warning("exposure capped", item=name, owner=entry.owner, penalty=penalty)

"""The queue of items waiting for the language model, in which keys take turns."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping

_BACKLOG = "backlog"  # the lane that belongs to no key: the ids of keys are hexadecimal


class QueueFullError(Exception):
    """A key has as many items waiting as it may.

    Args:
        waiting: number of its items that are waiting.
        allowed: how many may.
        retry_after: estimated seconds until there is room.
    """

    def __init__(self, waiting: int, allowed: int, retry_after: float) -> None:
        super().__init__(
            f"the queue is full: {waiting} items of this key are waiting to be encoded, "
            f"at most {allowed} may"
        )
        self.waiting, self.allowed, self.retry_after = waiting, allowed, retry_after


class EncodeQueue:
    """Queue of distinct items in lanes that take turns. Thread-safe.

    Each key has a lane for what it writes, so that one that writes thousands of items does not
    delay the others; items that must be encoded for another reason, such as a new model, share one
    more lane, the backlog. A taken item counts as waiting until ``done``; if it is added meanwhile,
    it waits again.

    Args:
        limit: number of written items that may wait. A key may use all of it while no other key
            has items waiting, and else an equal part. The backlog is not limited.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._lanes: dict[str, dict[str, float]] = {}  # the lane whose turn it is comes first
        self._lane_of: dict[str, str] = {}  # of waiting items
        self._taken: dict[str, tuple[str, float]] = {}
        self._reserved: Counter[str] = Counter()
        self._items_per_second = 50.0  # running average of the encoding speed

    def __len__(self) -> int:
        with self._changed:
            return len(self._lane_of) + sum(item not in self._lane_of for item in self._taken)

    def oldest_seconds(self) -> float:
        """Seconds for which the item that has waited longest is waiting; 0 if none waits."""
        with self._changed:
            arrivals = [next(iter(lane.values())) for lane in self._lanes.values()]
            arrivals += [arrived for _, arrived in self._taken.values()]
        return time.monotonic() - min(arrivals) if arrivals else 0.0

    # -- writing --

    def reserve(self, owner: str, number: int) -> None:
        """Reserve room for items that are about to be written; ``release`` it afterwards.

        Raises:
            QueueFullError: there is none.
        """
        with self._changed:
            keys = {*self._lanes, *self._reserved, owner} - {_BACKLOG}
            allowed = self._limit // len(keys)
            waiting = len(self._lanes.get(owner, ())) + self._reserved[owner]
            waiting += sum(lane == owner for lane, _ in self._taken.values())
            if waiting + number > allowed:
                excess = waiting + min(number, allowed) - allowed
                raise QueueFullError(waiting, allowed, max(1.0, excess / self._items_per_second))
            self._reserved[owner] += number

    def release(self, owner: str, number: int) -> None:
        """Release reserved room: the items are in the queue now, or were not written."""
        with self._changed:
            self._reserved[owner] -= number
            self._reserved = +self._reserved  # without zeros

    # -- waiting items --

    def add(self, owners: Mapping[str, str]) -> None:
        """Append written items, given with their keys; those that wait already keep their place."""
        self._add(owners.items())

    def add_backlog(self, items: Iterable[str]) -> None:
        """Append items that wait for another reason than a write."""
        self._add((item, _BACKLOG) for item in items)

    def _add(self, lanes: Iterable[tuple[str, str]]) -> None:
        now = time.monotonic()
        with self._changed:
            for item, lane in lanes:
                if self._lane_of.get(item) == _BACKLOG and lane != _BACKLOG:
                    self._remove(item)  # written now: it need not wait for the whole backlog
                if item not in self._lane_of:
                    self._lane_of[item] = lane
                    self._lanes.setdefault(lane, {})[item] = now
            self._changed.notify_all()

    def discard(self, items: Iterable[str]) -> None:
        """Remove waiting items; taken ones are not affected."""
        with self._changed:
            for item in items:
                self._remove(item)

    def take(self, limit: int, seconds: float) -> list[str]:
        """Take items of all lanes in turn, at most ``limit``; block up to ``seconds`` for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._lanes, seconds)
            items: list[str] = []
            while self._lanes and len(items) < limit:
                name, lane = next(iter(self._lanes.items()))
                item, arrived = next(iter(lane.items()))
                self._remove(item)
                if name in self._lanes:  # its next turn comes after those of all others
                    self._lanes[name] = self._lanes.pop(name)
                self._taken[item] = (name, arrived)
                items.append(item)
        return items

    def done(self, items: Iterable[str], seconds: float) -> None:
        """Mark taken items as finished, after some seconds."""
        with self._changed:
            finished = sum(self._taken.pop(item, None) is not None for item in items)
            speed = finished / max(seconds, 1e-6)
            self._items_per_second = 0.8 * self._items_per_second + 0.2 * speed

    def put_back(self, items: Iterable[str]) -> None:
        """Return unfinished taken items to the front of their lanes."""
        with self._changed:
            for item in reversed(list(items)):
                name, arrived = self._taken.pop(item)
                self._remove(item)
                self._lane_of[item] = name
                self._lanes[name] = {item: arrived} | self._lanes.get(name, {})

    def _remove(self, item: str) -> None:
        name = self._lane_of.pop(item, None)
        if name is not None:
            del self._lanes[name][item]
            if not self._lanes[name]:
                del self._lanes[name]

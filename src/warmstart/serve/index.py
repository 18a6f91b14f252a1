"""The index: every item that can be recommended, in memory; a function of artefact and store.

An item of the training data keeps the backbone's score. Every other item has two sides: cold, as
simulated from its text, and observed, folded in from the users who really clicked. With c of these

    t        = n0 / (n0 + c)
    score_ui = t (cold_ui - shift_i) + (1 - t) observed_ui

so that an item starts as simulated, moves with every click, and ends as observed; no click makes
it jump. ``shift`` bounds what an item may claim before anybody clicked it: it is as large as it
must be for the item to stand among the first 20 of no more than a share ``claim`` of the users,
whatever its text says.

A user the model does not know is answered for by the 50 users whose histories are most like theirs.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from warmstart.backbones import FactorBackbone
from warmstart.errors import ArtefactError
from warmstart.rank import top_k
from warmstart.serve.growing import Growing
from warmstart.serve.lists import Ask, Hit, NothingKnownError, Rules, choose
from warmstart.serve.reading import as_read, unpack
from warmstart.serve.store import Item, Stored
from warmstart.simulate.taking_in import Reading, TakesIn
from warmstart.simulate.warmed import blocks

TOP = 20  # what counts as the top of a list
_SAMPLE = 1000  # users that claims are measured on
_NEIGHBOURS = 50
_ROWS = 16  # users that are scored at once


@dataclass(frozen=True)
class Entry:
    """What is known of an item beside its numbers; replaced as a whole, so it can be read any time.

    Attributes:
        name: external id, as text.
        item: as written; None where only the artefact knows it.
        cold: place in the cold section; None for a warm item of the artefact.
        users: who was recorded with it.
        audience: rows of its simulated users, the likeliest first.
        chances: theirs, in (0, 1].
    """

    name: str
    item: Item | None
    cold: int | None
    users: frozenset[str] = frozenset()
    audience: np.ndarray | None = None
    chances: np.ndarray | None = None


class Index:
    """Searches; follows the store through ``apply``. Safe to use from several threads.

    Args:
        model: loaded; it is not changed.
        confidence: n0.
        claim: see above.
        owner_share: share of one list that unclicked items of one key may take.
    """

    def __init__(
        self,
        model: TakesIn,
        *,
        confidence: float = 10.0,
        claim: float = 0.1,
        owner_share: float = 0.5,
    ) -> None:
        self._lock, self._applying = threading.RLock(), threading.Lock()
        self.model, self.confidence, self.claim = model, confidence, claim
        self._owner_share = owner_share
        fitted, warmed = model.fitted, model.warmed
        self._backbone, self._factors = warmed.backbone, warmed.scale.factors
        blend = warmed.blend
        self._left = np.float32((1 - blend.share) / blend.folded_spread)
        self._right = np.float32(blend.share / blend.direct_spread)
        self._warm = np.flatnonzero(fitted.warm).astype(np.int32)
        vectors = None
        if isinstance(self._backbone, FactorBackbone):
            vectors = np.ascontiguousarray(self._backbone.vectors[1][self._warm])
        self._warm_vectors = vectors
        self._users = {str(name): row for row, name in enumerate(fitted.user_ids.values)}
        self._user_names = list(self._users)
        self._seen, self._seen_by_item = fitted.seen, fitted.seen.tocsc()
        self._clicked: dict[str, set[int]] = {}
        self._recent: dict[bytes, np.ndarray] = {}
        self._dead: set[int] = set()
        self._any_observed = False
        names = [str(name) for name in fitted.catalogue.item_ids.values]
        place = np.cumsum(~fitted.warm) - 1
        self.entries = [
            Entry(name, None, None if warm else int(at))
            for name, warm, at in zip(names, fitted.warm, place, strict=True)
        ]
        self._slots = {name: slot for slot, name in enumerate(names)}
        self._n_base = len(names)
        self._facts = Growing(
            vectors=model.vectors,
            alive=np.ones(len(names), bool),
            column=np.empty(len(names), np.int64),
        )
        cold = np.flatnonzero(~fitted.warm)
        self._facts["column"][self._warm] = np.arange(len(self._warm))
        self._facts["column"][cold] = len(self._warm) + np.arange(len(cold))
        self._sample = np.unique(
            np.linspace(0, len(self._users) - 1, min(_SAMPLE, len(self._users))).astype(np.int32)
        )
        self._bars = self._measure_bars()
        gains = warmed.gains[:, None]
        simulated = gains * self._left * np.nan_to_num(warmed.folded)
        table = gains * self._right * warmed.table if blend.share > 0 else None
        self._cold = Growing(
            slot=cold.astype(np.int64),
            simulated=simulated,
            observed=np.zeros_like(simulated),
            trust=np.ones(len(cold), np.float32),
            shift=self._shifts(simulated, table),
        )
        self._table = None if table is None else Growing(of=table)

    # -- following the store --

    def apply(self, stored: Mapping[str, Stored]) -> list[str]:
        """Bring items to what the store says; the same twice is the same once.

        Lists are made meanwhile: the long work is done before the lock is taken, item by item.

        Returns:
            Items whose reading is damaged: for the index they are not read yet.
        """
        with self._applying:
            readings: dict[str, Reading] = {}
            damaged: list[str] = []
            for name, known in stored.items():
                if known.reading is not None:
                    try:
                        readings[name] = unpack(known.reading)
                    except ArtefactError:
                        damaged.append(name)
            places = self._places(readings)
            for name, known in stored.items():
                before = self.entry(name)
                moved = known.users != (before.users if before else frozenset())
                observed = self._observed(known.users) if moved else None
                with self._lock:
                    self._apply(name, known, places.get(name), observed)
            return damaged

    def _apply(
        self, name: str, stored: Stored, place: "_Place | None", observed: "_Observed | None"
    ) -> None:
        slot = self._slots.get(name)
        if slot is None:
            if place is None:
                return  # not readable yet: nothing to recommend
            slot = self._facts.append(alive=True, column=len(self._warm) + len(self._cold))
            self._cold.append(slot=slot, trust=1)
            if self._table is not None:
                self._table.append()
            self.entries.append(Entry(name, None, len(self._cold) - 1))
            self._slots[name] = slot  # last: entry() takes no lock
        entry = replace(self.entries[slot], item=stored.item)
        dead = stored.item is not None and stored.item.deleted
        self._facts["alive"][slot] = not dead
        (self._dead.add if dead else self._dead.discard)(slot)
        if place is not None and entry.cold is not None:
            self._facts["vectors"][slot] = place.reading["vectors"]
            likely = {name: place.reading[name] for name in ("audience", "chances")}
            entry = replace(entry, **likely)
            self._cold["simulated"][entry.cold] = place.simulated
            self._cold["shift"][entry.cold] = place.shift
            if self._table is not None and place.table is not None:
                self._table["of"][entry.cold] = place.table
        if observed is not None:
            self._click(slot, entry, stored.users, observed)
            entry = replace(entry, users=stored.users)
        self.entries[slot] = entry

    def _click(self, slot: int, entry: Entry, users: frozenset[str], observed: "_Observed") -> None:
        for user in entry.users - users:
            self._clicked[user].discard(slot)
        for user in users - entry.users:
            self._clicked.setdefault(user, set()).add(slot)
        if entry.cold is not None:
            self._any_observed |= observed.clicks > 0
            self._cold["observed"][entry.cold] = observed.folded
            trust = self.confidence / (self.confidence + observed.clicks)
            self._cold["trust"][entry.cold] = trust

    def _observed(self, users: frozenset[str]) -> "_Observed":
        """What the clicks of these users say of an item; strangers say nothing."""
        rows = sorted(self._users[user] for user in users if user in self._users)
        if not rows:
            return _Observed(0, np.zeros(self._cold["observed"].shape[1], np.float32))
        shape = (1, len(self._users))
        ones = (np.ones(len(rows), np.float32), (np.zeros(len(rows), int), rows))
        return _Observed(len(rows), self._backbone.fold_in(sparse.csr_matrix(ones, shape))[0])

    def _places(self, readings: Mapping[str, Reading]) -> "dict[str, _Place]":
        """Where readings belong; in blocks, as their affinities are wide."""
        found: dict[str, _Place] = {}
        names = list(readings)
        for rows in blocks(len(names), len(self._users)):
            block = names[rows]
            folded = np.stack([readings[name]["folded"] for name in block])
            direct = folded[:, :0]
            if self._right > 0:
                direct = self._affinities([readings[name] for name in block])
            gains = np.stack([readings[name]["gain"] for name in block])
            simulated = gains * self._left * folded
            table = gains * self._right * direct if self._right > 0 else None
            shifts = self._shifts(simulated, table)
            for row, name in enumerate(block):
                line = None if table is None else table[row]
                found[name] = _Place(readings[name], simulated[row], line, float(shifts[row]))
        return found

    def remember(self, readings: Iterable[Reading]) -> None:
        """Spare the ``apply`` that will follow the placing of what was just read."""
        self._recent = {reading["vectors"].tobytes(): reading["affinities"] for reading in readings}

    def _affinities(self, readings: Sequence[Reading]) -> np.ndarray:
        """Float32, shape (readings, users)."""
        recent = self._recent
        found: list[Any] = [recent.get(reading["vectors"].tobytes()) for reading in readings]
        rest = [number for number, line in enumerate(found) if line is None]
        if rest:
            reading = as_read([readings[number] for number in rest])
            for number, line in zip(rest, self.model.place(reading)[1], strict=True):
                found[number] = line
        return np.stack(found)

    # -- claims --

    def _measure_bars(self) -> np.ndarray:
        """The score of each sampled user's 20th warm item: beyond it begins the top of the list."""
        if not len(self._warm):
            return np.full(len(self._sample), np.inf, np.float32)
        bars = []
        for rows in np.array_split(self._sample, max(1, len(self._sample) // _ROWS)):
            scores = self._warm_scores(rows)
            depth = min(TOP, scores.shape[1]) - 1
            bars.append(-np.partition(-scores, depth, axis=1)[:, depth])
        return np.concatenate(bars)

    def _claims(self, simulated: np.ndarray, table: np.ndarray | None) -> np.ndarray:
        """By how much each item passes each sampled user's bar, float32, (items, users)."""
        scores = self._backbone.score_folded(self._sample, simulated)
        if table is not None:
            scores = scores + table[:, self._sample].T
        return (scores * self._factors[self._sample][:, None] - self._bars[:, None]).T

    def _shifts(self, simulated: np.ndarray, table: np.ndarray | None) -> np.ndarray:
        granted, found = int(self.claim * len(self._sample)), []
        if not len(simulated) or granted >= len(self._sample):
            return np.zeros(len(simulated), np.float32)
        for rows in blocks(len(simulated), len(self._sample)):
            part = None if table is None else table[rows]
            claims = -self._claims(simulated[rows], part)
            found.append(-np.partition(claims, granted, axis=1)[:, granted])
        return np.maximum(np.concatenate(found), 0).astype(np.float32)

    # -- scores --

    def _warm_scores(self, rows: np.ndarray) -> np.ndarray:
        if self._warm_vectors is not None:
            return self._backbone.score_folded(rows, self._warm_vectors)
        return self._backbone.score(rows, self._warm)

    def _scores(self, rows: np.ndarray) -> np.ndarray:
        """Scores of all columns (warm items, then cold ones), float32, (users, columns)."""
        cold, score = self._cold, self._backbone.score_folded
        trust = cold["trust"]
        simulated = score(rows, cold["simulated"])
        if self._table is not None:
            simulated = simulated + self._table["of"][:, rows].T
        simulated = simulated * self._factors[rows][:, None] - cold["shift"]
        if self._any_observed:
            simulated = trust * simulated + (1 - trust) * score(rows, cold["observed"])
        return np.concatenate([self._warm_scores(rows), simulated], axis=1)

    def recommend(self, asks: Sequence[Ask]) -> list[list[Hit] | NothingKnownError]:
        """Answers in order; those of known users are scored together.

        Returns:
            A list each, or the error where nothing is known of a user, nor of their history.
        """
        with self._lock:
            return [
                hit
                for start in range(0, len(asks), _ROWS)
                for hit in self._answers(asks[start : start + _ROWS])
            ]

    def _answers(self, asks: Sequence[Ask]) -> list[list[Hit] | NothingKnownError]:
        rows = np.array(
            [self._users.get(ask.user or "", -1) if ask.history is None else -1 for ask in asks],
            np.int32,
        )
        scores = np.empty((len(asks), len(self._warm) + len(self._cold)), np.float32)
        if (rows >= 0).any():
            scores[rows >= 0] = self._scores(rows[rows >= 0])
        is_new = np.zeros(scores.shape[1], bool)
        is_new[len(self._warm) :] = self._cold["trust"] > 0.5
        found: list[list[Hit] | NothingKnownError] = []
        for ask, row, line in zip(asks, rows, scores, strict=True):
            own = self._own(ask, int(row))
            try:
                if row < 0:
                    line[:] = self._guest_scores(own)
                found.append(self._list(ask, own, line, is_new))
            except NothingKnownError as error:
                found.append(error)
        return found

    def _own(self, ask: Ask, row: int) -> np.ndarray:
        """Slots of what a user is known to have interacted with, int64."""
        if ask.history is not None:
            known = [self._slots[name] for name in ask.history if name in self._slots]
            return np.array(known, np.int64)
        clicked = np.array(sorted(self._clicked.get(ask.user or "", ())), np.int64)
        if row < 0:
            return clicked
        seen = self._seen.indices[self._seen.indptr[row] : self._seen.indptr[row + 1]]
        return np.union1d(seen, clicked).astype(np.int64)

    def _guest_scores(self, own: np.ndarray) -> np.ndarray:
        """Mean over the users whose histories are most like this one, weighted by likeness."""
        likeness = np.zeros(len(self._users), np.float32)
        for slot in own:
            users, weights = self._users_of(int(slot))
            likeness[users] += weights
        likeness /= np.sqrt(np.maximum(np.diff(self._seen.indptr), 1))
        best = np.argsort(-likeness, kind="stable")[:_NEIGHBOURS].astype(np.int32)
        best = best[likeness[best] > 0]
        if not len(best):
            raise NothingKnownError("no user of the model has interacted with any of these items")
        weights = likeness[best] / likeness[best].sum()
        total = np.zeros(len(self._warm) + len(self._cold), np.float32)
        for start in range(0, len(best), _ROWS):
            part = slice(start, start + _ROWS)
            total += weights[part] @ self._scores(best[part])
        return total

    def _users_of(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
        """Users of an item, and how sure that is: true ones, else the likeliest."""
        entry = self.entries[slot]
        if slot < self._n_base and entry.cold is None:
            column = self._seen_by_item.indptr[slot : slot + 2]
            users = self._seen_by_item.indices[column[0] : column[1]]
            return users, np.ones(len(users), np.float32)
        true = [self._users[user] for user in entry.users if user in self._users]
        if true:
            return np.array(true, np.int64), np.ones(len(true), np.float32)
        if entry.audience is not None and entry.chances is not None:
            return entry.audience, entry.chances
        assert entry.cold is not None
        everyone, at = np.arange(len(self._users), dtype=np.int32), entry.cold
        line = self._backbone.score_folded(everyone, self._cold["simulated"][at : at + 1])[:, 0]
        if self._table is not None:
            line = line + self._table["of"][at]
        users, _ = top_k(np.ascontiguousarray(line[None]), min(_NEIGHBOURS, len(line)))
        return users[0], np.ones(users.shape[1], np.float32)

    # -- lists --

    def _list(self, ask: Ask, own: np.ndarray, scores: np.ndarray, is_new: np.ndarray) -> list[Hit]:
        column = self._facts["column"]
        scores[column[list(self._dead)]] = np.nan
        if ask.exclude_seen:
            scores[column[own]] = np.nan
        scores[column[self._rows(ask.deny)]] = np.nan
        if ask.allow is not None:
            allowed = column[self._rows(ask.allow)]
            kept = scores[allowed]
            scores[:] = np.nan
            scores[allowed] = kept

        def owner(column: int) -> str | None:
            item = self.entries[self._slot(column)].item
            return None if item is None else item.owner

        rules = Rules(ask.k, ask.cold_share_min, ask.cold_share_max, self._owner_share)
        chosen = choose(scores, is_new, owner, rules)
        return [
            Hit(
                item=self.entries[self._slot(at)].name,
                score=float(scores[at]),
                rank=rank,
                is_cold=bool(is_new[at]),
                why=self._why(ask, own, self._slot(at)) if ask.explain else None,
            )
            for rank, at in enumerate(chosen, 1)
        ]

    def _slot(self, column: int) -> int:
        n_warm = len(self._warm)
        return int(self._warm[column] if column < n_warm else self._cold["slot"][column - n_warm])

    def _rows(self, names: Iterable[str]) -> np.ndarray:
        return np.array([self._slots[name] for name in names if name in self._slots], np.int64)

    def _why(self, ask: Ask, own: np.ndarray, slot: int) -> dict[str, Any]:
        vectors, entry = self._facts["vectors"], self.entries[slot]
        similar = vectors[own] @ vectors[slot]
        nearest = np.argsort(-similar, kind="stable")[:3]
        why: dict[str, Any] = {
            "because_of": [
                {"item": self.entries[int(own[at])].name, "similarity": float(similar[at])}
                for at in nearest
            ],
            "clicks": len(entry.users),
        }
        row = self._users.get(ask.user or "")
        if entry.audience is not None and entry.chances is not None and row is not None:
            (place,) = np.nonzero(entry.audience == row)
            if len(place):
                at = int(place[0])
                why["simulated_user"] = {"rank": at + 1, "probability": float(entry.chances[at])}
        return why

    # -- questions about items and users --

    def similar(self, name: str, k: int) -> list[tuple[str, float]]:
        """The k items whose texts are most alike, with the cosine.

        Raises:
            KeyError: the item is not in the index.
        """
        with self._lock:
            slot = self._slots[name]
            return self._nearest(self._facts["vectors"][slot], k, without=slot)

    def _nearest(self, vector: np.ndarray, k: int, without: int = -1) -> list[tuple[str, float]]:
        similar = self._facts["vectors"] @ vector
        similar[~self._facts["alive"]] = np.nan
        if without >= 0:
            similar[without] = np.nan
        best, values = top_k(similar[None], min(k, len(similar)))
        pairs = zip(best[0].tolist(), values[0].tolist(), strict=True)
        return [(self.entries[at].name, value) for at, value in pairs if at >= 0]

    def preview(self, reading: Reading, k: int) -> dict[str, Any]:
        """What would become of an item with this reading, were it added now."""
        place = self._places({"": reading})[""]
        table = None if place.table is None else place.table[None]
        claims = self._claims(place.simulated[None], table)[0]
        with self._lock:
            users, ranks = reading["audience"][:k], []
            for start in range(0, len(users), _ROWS):
                rows = users[start : start + _ROWS]
                mine = self._backbone.score_folded(rows, place.simulated[None])[:, 0]
                if place.table is not None:
                    mine = mine + place.table[rows]
                mine = mine * self._factors[rows] - place.shift
                ranks += (1 + (self._scores(rows) > mine[:, None]).sum(axis=1)).tolist()
            names = [self._user_names[row] for row in users]
            chances = reading["chances"][:k].tolist()
            return {
                "users": [
                    {"user": user, "probability": chance, "rank": rank}
                    for user, chance, rank in zip(names, chances, ranks, strict=True)
                ],
                "nearest": [
                    {"item": name, "similarity": value}
                    for name, value in self._nearest(reading["vectors"], 10)
                ],
                "claim": float((claims > 0).mean()),
                "claim_granted": float((claims - place.shift > 0).mean()),
            }

    def entry(self, name: str) -> Entry | None:
        """What is known of an item; None if it is not in the index."""
        slot = self._slots.get(name)
        return None if slot is None else self.entries[slot]

    def warmth(self, entry: Entry) -> float:
        """1 - t: how far an item is judged by real clicks."""
        return 1.0 if entry.cold is None else float(1 - self._cold["trust"][entry.cold])

    def shift(self, entry: Entry) -> float:
        """What is taken off the item's cold scores."""
        return 0.0 if entry.cold is None else float(self._cold["shift"][entry.cold])

    def knows_user(self, name: str) -> bool:
        """Whether a user was in the training data."""
        return name in self._users

    def history(self, name: str) -> list[str]:
        """Items that a user has interacted with, those of the training data first."""
        with self._lock:
            own = self._own(Ask(user=name), self._users.get(name, -1))
            return [self.entries[slot].name for slot in own.tolist()]

    def __len__(self) -> int:
        return int(self._facts["alive"].sum())

    def counts(self) -> dict[str, int]:
        """How many items there are, and how many of them are warm, cold, warming."""
        with self._lock:
            alive = self._facts["alive"]
            slots, trust = self._cold["slot"], self._cold["trust"]
            there = alive[slots]
            return {
                "items": int(alive.sum()),
                "warm": int(alive[self._warm].sum()),
                "cold": int((there & (trust == 1)).sum()),
                "warming": int((there & (trust < 1)).sum()),
                "users": len(self._users),
            }


@dataclass(frozen=True)
class _Observed:
    """Clicks of users the model knows, and where these put the item."""

    clicks: int
    folded: np.ndarray


@dataclass(frozen=True)
class _Place:
    """A reading, and the numbers that follow from it."""

    reading: Reading
    simulated: np.ndarray
    table: np.ndarray | None
    shift: float

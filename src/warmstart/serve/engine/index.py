"""The index: all items that can be recommended, in memory; a function of artefact and store.

The scores are those of the ``ScoreTable``. A user whom the model does not know is scored by history
as ``Recommender.recommend`` does it. An item of a history that is not warm counts through its users
(``Servable.history_states``): those who clicked it since the fit, or else its likely users.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from warmstart.data.histories import Histories
from warmstart.errors import ArtefactError, UnsupportedError
from warmstart.rank import top_k
from warmstart.servable import (
    ItemEncoding,
    ItemRows,
    OtherItems,
    QueryStates,
    Servable,
    item_blocks,
    take_rows,
)
from warmstart.serve.engine.encodings import EncodedItem, encode_texts, stack, unpack
from warmstart.serve.engine.growable import GrowableTable, borrowed
from warmstart.serve.engine.lists import Hit, ListRequest, ListRules, UnknownUserError, select_list
from warmstart.serve.engine.score_table import ColdItem, Observed, ScoreTable
from warmstart.serve.storage.records import Click, Item, ItemState
from warmstart.similar_users import NEIGHBOURS, SimilarUsers

MAX_HISTORY = 500  # distinct items of a history from which a list is made; the last ones
_LAST_CLICKERS = 1000  # known users of an item by whom it is scored; the last ones
_MAX_COLD_IN_HISTORY = 50  # items that are not warm: each counts through its users
_EXAMPLE_TEXT = "the first text"
_USERS_AT_ONCE = 16
_USERS_OF_AN_ITEM_AT_ONCE = 4096


@dataclass(frozen=True)
class Entry:
    """An item without its scores. Replaced as a whole, so it can be read without a lock.

    Attributes:
        name: external id, as text.
        item: the item as written to the store; None if only the artefact contains it.
        cold: position among the cold items; None for a warm item of the artefact.
        audience: rows of its likely users, the likeliest first; None if they are not known.
        probabilities: probabilities of these users, in (0, 1].
    """

    name: str
    item: Item | None
    cold: int | None
    audience: np.ndarray | None = None
    probabilities: np.ndarray | None = None


@dataclass(frozen=True)
class Unapplied:
    """Items whose state in the store was not applied.

    Attributes:
        damaged: items whose encoding is damaged, with the reason; the index treats them as not
            encoded yet.
        failed: items that keep their previous state, with the error.
    """

    damaged: dict[str, str]
    failed: dict[str, Exception]


class Index:
    """Computes lists from scores; ``apply`` brings in changes of the store. Thread-safe.

    Args:
        model: loaded model; it is not changed.
        prior_strength: n0, the number of clicks that count as much as the cold score.
        max_exposure: fraction of users whose top 20 an item may enter before its first click.
        max_owner_share: fraction of one list that cold items of one key may take.

    Attributes:
        last_counts: what ``counts`` returned after the last change.
    """

    def __init__(
        self,
        model: Servable,
        *,
        prior_strength: float = 10.0,
        max_exposure: float = 0.1,
        max_owner_share: float = 0.5,
    ) -> None:
        self._lock, self._applying = threading.RLock(), threading.Lock()
        self.model, self._max_owner_share = model, max_owner_share
        # The first text takes longest: it is encoded here, before requests arrive.
        self._example = encode_texts(model, [_EXAMPLE_TEXT])[0].encoding
        fitted = model.fitted
        self._users = {str(name): row for row, name in enumerate(fitted.user_ids.values)}
        self._user_names = list(self._users)
        self._positives, self._below_threshold = fitted.positives, fitted.below_threshold
        self._has_history = np.diff(fitted.positives.indptr) > 0
        self._similar = SimilarUsers(fitted.positives)
        self._clicked: dict[str, dict[int, int]] = {}  # user -> slot -> number of the last click
        self._known_clickers: dict[int, dict[int, None]] = {}  # slot -> rows of known users
        self._n_strangers: Counter[int] = Counter()  # slot -> users whom the model does not know
        self._early_clicks: dict[str, dict[str, int]] = {}  # on items that are not here yet
        self._recent_rows: Mapping[bytes, ItemRows] = {}
        self._likely_users: dict[int, np.ndarray] = {}
        self._deleted: set[int] = set()
        self._table = ScoreTable(model, prior_strength, max_exposure)
        names = [str(name) for name in fitted.catalogue.item_ids.values]
        positions = np.cumsum(~fitted.warm) - 1
        self.entries = [
            Entry(name, None, None if warm else int(position))
            for name, warm, position in zip(names, fitted.warm, positions, strict=True)
        ]
        self._slots = {name: slot for slot, name in enumerate(names)}
        self._n_trained = len(names)
        vectors = model.text_vectors
        if vectors is None:
            vectors = np.zeros((len(names), 0), np.float32)
        self._items = GrowableTable(
            vectors=borrowed(vectors),
            alive=np.ones(len(names), bool),
            column=np.where(
                fitted.warm, np.cumsum(fitted.warm) - 1, len(self._table.warm) + positions
            ),
        )
        self.last_counts = self._counts()

    def prepare(self) -> None:
        """Compute what the first list by history needs; it may take as long as the fit."""
        self._history_states([self._table.warm[:1]])

    # -- following the store --

    def apply(self, states: Mapping[str, ItemState]) -> Unapplied:
        """Set items to their state in the store. Applying a state again changes nothing.

        Lists are computed meanwhile: the slow work is done before the lock, which is taken for one
        item at a time. An item whose state cannot be applied keeps the one that it has, and stops
        no other item.

        Returns:
            The items that were not applied, or not completely.
        """
        with self._applying:
            encodings: dict[str, ItemEncoding] = {}
            damaged: dict[str, str] = {}
            for name, state in states.items():
                if state.encoding is not None:
                    try:
                        encodings[name] = unpack(state.encoding, self._example, len(self._users))
                    except ArtefactError as error:
                        damaged[name] = str(error)
            placed, failed = self._place_each(states, encodings)
            for name, state in states.items():
                try:
                    with self._lock:
                        self._apply(name, state, placed.get(name))
                    if name in self._slots and name in self._early_clicks:
                        self._click(self._slots[name], self._early_clicks.pop(name))
                except Exception as error:  # noqa: BLE001 - it must not stop the other items
                    failed[name] = error
            self.last_counts = self.counts()
            return Unapplied(damaged, failed)

    def _place_each(
        self, states: Mapping[str, ItemState], encodings: Mapping[str, ItemEncoding]
    ) -> "tuple[dict[str, _PlacedItem], dict[str, Exception]]":
        """Place all items at once; if that fails, one by one, to find those that fail."""
        try:
            return self._place(states, encodings), {}
        except Exception:  # noqa: BLE001 - those of single items are returned
            placed: dict[str, _PlacedItem] = {}
            failed: dict[str, Exception] = {}
            for name, encoding in encodings.items():
                try:
                    placed |= self._place(states, {name: encoding})
                except Exception as error:  # noqa: BLE001 - returned
                    failed[name] = error
            return placed, failed

    def _apply(self, name: str, state: ItemState, placed: "_PlacedItem | None") -> None:
        slot = self._slots.get(name)
        if slot is None:
            if placed is None:
                return  # not encoded yet: it cannot be recommended
            slot = self._items.append(alive=True, column=len(self._table))
            self.entries.append(Entry(name, None, self._table.append(slot)))
            self._slots[name] = slot  # last, because entry() reads without the lock
        entry = replace(self.entries[slot], item=state.item)
        cold = entry.cold
        deleted = state.item is not None and state.item.deleted
        self._items.set(slot, alive=not deleted)
        (self._deleted.add if deleted else self._deleted.discard)(slot)
        if placed is not None and cold is not None:
            self._items.set(slot, vectors=placed.encoding["vectors"])
            audience = {name: placed.encoding.get(name) for name in ("audience", "probabilities")}
            entry = replace(entry, **audience)
            self._table.place(cold, placed.cold)
            self._likely_users.pop(slot, None)
        self.entries[slot] = entry

    def record(self, clicks: Iterable[Click]) -> None:
        """Bring in interactions, oldest first; one that is known already changes nothing.

        The work does not depend on how many clicks an item has had.
        """
        new: dict[str, dict[str, int]] = {}
        for click in clicks:
            new.setdefault(click.item, {})[click.user] = click.number
        with self._applying:
            for name, users in new.items():
                slot = self._slots.get(name)
                if slot is None:
                    self._early_clicks.setdefault(name, {}).update(users)
                else:
                    self._click(slot, users)
            self.last_counts = self.counts()

    def forget(self, user: str, last: int) -> None:
        """Remove the interactions of a user that were recorded since the fit, up to a number."""
        with self._applying:
            row = self._users.get(user)
            clicked = self._clicked.get(user, {})
            for slot in [slot for slot, number in clicked.items() if number <= last]:
                known = dict(self._known_clickers.get(slot, {}))
                if row is not None:
                    known.pop(row, None)
                observed = self._observe(known, {})
                with self._lock:
                    del clicked[slot]
                    if row is None:
                        self._n_strangers[slot] -= 1
                    self._known_clickers[slot] = known
                    self._set_observed(slot, observed)
            if not clicked:
                self._clicked.pop(user, None)
            for early in self._early_clicks.values():
                if early.get(user, last + 1) <= last:
                    del early[user]

    def _click(self, slot: int, users: Mapping[str, int]) -> None:
        """Lists are computed meanwhile: the slow work is done before the lock."""
        known = self._known_clickers.setdefault(slot, {})
        new = {
            self._users[user]: None
            for user in users
            if user in self._users and self._users[user] not in known
        }
        observed = self._observe(known, new) if new else None
        with self._lock:
            for user, number in users.items():
                clicked = self._clicked.setdefault(user, {})
                if slot not in clicked and user not in self._users:
                    self._n_strangers[slot] += 1
                clicked[slot] = max(number, clicked.get(slot, number))
            known |= new
            if observed is not None:
                self._set_observed(slot, observed)

    def _set_observed(self, slot: int, observed: Observed) -> None:
        cold = self.entries[slot].cold
        if cold is not None:
            self._table.set_clicks(cold, observed)

    def _observe(self, known: dict[int, None], new: dict[int, None]) -> Observed:
        """What the clicks of known users tell: their number, and the score by the last of them."""
        last = [*islice(reversed(new.keys()), _LAST_CLICKERS)]
        last += islice(reversed(known.keys()), _LAST_CLICKERS - len(last))
        rows = sorted(last)
        clicks = (np.ones(len(rows), np.float32), (np.zeros(len(rows), int), rows))
        matrix = sparse.csr_matrix(clicks, (1, len(self._users)))
        return self._table.observe(matrix, len(known) + len(new))

    def _place(
        self, states: Mapping[str, ItemState], encodings: Mapping[str, ItemEncoding]
    ) -> "dict[str, _PlacedItem]":
        """Compute rows and penalties of encoded items, in blocks to bound the memory."""
        placed: dict[str, _PlacedItem] = {}
        names, reads_texts = list(encodings), "texts" in self.model.traits.reads
        for block in item_blocks(len(names), len(self._users)):
            recent = {
                name: self._recent_rows.get(states[name].encoding or b"") for name in names[block]
            }
            found = {name: rows for name, rows in recent.items() if rows is not None}
            if missing := [name for name, rows in recent.items() if rows is None]:
                rows = self.model.item_rows(stack([encodings[name] for name in missing]))
                found |= {name: take_rows(rows, at) for at, name in enumerate(missing)}
            for name, cold in zip(found, self._cold_items(list(found.values())), strict=True):
                item = states[name].item
                if reads_texts and item is not None and not item.text:
                    cold = replace(cold, has_score=False)  # nothing is known of it
                placed[name] = _PlacedItem(encodings[name], cold)
        return placed

    def _cold_items(self, items: Sequence[ItemRows]) -> list[ColdItem]:
        rows = stack(items)
        if not rows:
            return [ColdItem({}, 0.0, has_score=False) for _ in items]
        has_score = self.model.can_score(rows)
        penalties = np.zeros(len(items), np.float32)
        if has_score.any():
            penalties[has_score] = self._table.exposure.penalties(take_rows(rows, has_score))
        parts = zip(items, penalties.tolist(), has_score.tolist(), strict=True)
        return [ColdItem(item, penalty, scored) for item, penalty, scored in parts]

    def keep_rows(self, rows: Mapping[bytes, ItemRows]) -> None:
        """Keep the rows of new encodings, by packed encoding, for the next ``apply``."""
        self._recent_rows = rows

    # -- lists --

    def recommend(self, requests: Sequence[ListRequest]) -> list[list[Hit] | UnknownUserError]:
        """Compute a list for each request, in order; known users are scored together.

        Returns:
            For each request a list, or an error if there are no interactions to make it from.
        """
        with self._lock:
            return [
                hits
                for start in range(0, len(requests), _USERS_AT_ONCE)
                for hits in self._lists(requests[start : start + _USERS_AT_ONCE])
            ]

    def _lists(self, requests: Sequence[ListRequest]) -> list[list[Hit] | UnknownUserError]:
        known = np.array(
            [
                self._users.get(request.user or "", -1) if request.history is None else -1
                for request in requests
            ],
            np.int32,
        )
        # A user without training interactions is ranked for by recorded clicks only.
        rows = np.where((known >= 0) & self._has_history[known], known, -1)
        histories = [
            self._history(request, row)
            for request, row in zip(requests, rows.tolist(), strict=True)
        ]
        asked = list(histories)
        if "order" in self.model.traits.reads:
            for at in np.flatnonzero(rows >= 0).tolist():
                clicked = np.array(list(self._clicked.get(requests[at].user or "", ())), np.int64)
                if self._is_warm(clicked).any():
                    # What comes next depends on the last clicks, and this history has grown.
                    rows[at], asked[at] = -1, histories[at][self._is_warm(histories[at])]
        scores, answered = self._scores(rows, asked)
        is_cold = np.zeros(scores.shape[1], bool)
        is_cold[len(self._table.warm) :] = self._table.prior_weights > 0.5
        lists: list[list[Hit] | UnknownUserError] = []
        for at, (request, history) in enumerate(zip(requests, histories, strict=True)):
            if not answered[at]:
                lists.append(UnknownUserError(self._why_no_list(request, history)))
                continue
            if request.exclude_seen:
                scores[at, self._items["column"][history]] = np.nan
                if known[at] >= 0:
                    seen = _row(self._below_threshold, int(known[at]))
                    scores[at, self._items["column"][seen]] = np.nan
            lists.append(self._list(request, history, scores[at], is_cold))
        return lists

    def _scores(
        self, rows: np.ndarray, histories: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores of all columns, by user where the row is known, else by history.

        Returns:
            float32, shape (queries, columns), and whether anything is known of each query.
        """
        answered = rows >= 0
        if answered.all():
            return self._table.scores(self.model.user_states(rows)), answered
        scores = np.empty((len(rows), len(self._table)), np.float32)
        if answered.any():
            scores[answered] = self._table.scores(self.model.user_states(rows[answered]))
        others = np.flatnonzero(~answered)
        states = self._history_states([histories[at] for at in others.tolist()])
        if states.answered.any():
            scores[others] = self._table.scores(states)
        answered[others] = states.answered
        return scores, answered

    def _history(self, request: ListRequest, row: int) -> np.ndarray:
        """Slots of the items in a user's history, int64, oldest first."""
        if request.history is not None:
            return _last(self._known_slots(request.history))
        clicked = self._clicked.get(request.user or "", {})
        slots = np.array(sorted(clicked, key=clicked.__getitem__), np.int64)
        if row < 0:
            return slots[-MAX_HISTORY:]
        trained = self.model.fitted.histories[row]
        return np.concatenate([trained[~np.isin(trained, slots)], slots])

    def _history_states(self, histories: Sequence[np.ndarray]) -> QueryStates:
        counts = np.zeros(len(histories))
        queries, users, weights = [], [], []
        lists = []
        for query, slots in enumerate(histories):
            is_warm = self._is_warm(slots)
            lists.append(slots[is_warm])
            for slot in np.unique(slots[~is_warm][-_MAX_COLD_IN_HISTORY:]).tolist():
                found, weight = self._users_of(slot)
                counts[query] += len(found) > 0
                queries.append(np.full(len(found), query))
                users.append(found)
                weights.append(weight)
        others = None
        if counts.any():
            places = (np.concatenate(queries), np.concatenate(users))
            shape = (len(histories), len(self._users))
            matrix = sparse.csr_matrix((np.concatenate(weights), places), shape, dtype=np.float32)
            others = OtherItems(counts, matrix)
        return self.model.history_states(Histories.from_lists(lists), self._similar, others)

    def _is_warm(self, slots: np.ndarray) -> np.ndarray:
        """Whether each slot holds a warm item of the artefact: bool."""
        is_warm = slots < self._n_trained
        is_warm[is_warm] = self.model.fitted.warm[slots[is_warm]]
        return is_warm

    def _users_of(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
        """Users of a cold item and their weights: observed users if it has any, else likely ones.

        A cold item of the artefact is not encoded again; its likely users are those with the
        highest scores, and their weights are 1.
        """
        entry = self.entries[slot]
        true = [*islice(reversed(self._known_clickers.get(slot, {}).keys()), _LAST_CLICKERS)]
        if true:
            return np.array(true, np.int64), np.ones(len(true), np.float32)
        if entry.audience is not None and entry.probabilities is not None:
            return entry.audience, entry.probabilities
        if slot not in self._likely_users:
            assert entry.cold is not None
            n_users = len(self._users)
            scores = [
                self._table.cold_scores_over_users(
                    entry.cold, np.arange(start, end, dtype=np.int32)
                )
                for start in range(0, n_users, _USERS_OF_AN_ITEM_AT_ONCE)
                for end in [min(start + _USERS_OF_AN_ITEM_AT_ONCE, n_users)]
            ]
            best, _ = top_k(np.concatenate(scores)[None], min(NEIGHBOURS, n_users))
            self._likely_users[slot] = best[0][best[0] >= 0]
        users = self._likely_users[slot]
        return users, np.ones(len(users), np.float32)

    def _why_no_list(self, request: ListRequest, history: np.ndarray) -> str:
        if request.history is not None:
            return "no known user has interacted with any of these items: give others"
        if len(history):
            problem = "no known user has interacted with any item of this user"
        elif self.knows_user(request.user or ""):
            problem = (
                "the user is in the training data, but without a positive interaction, and none "
                "was recorded since"
            )
        else:
            problem = "the user is not in the training data, and no interaction was recorded since"
        return f"{problem}: record some, or give a history"

    def _list(
        self, request: ListRequest, history: np.ndarray, scores: np.ndarray, is_cold: np.ndarray
    ) -> list[Hit]:
        column = self._items["column"]
        scores[column[list(self._deleted)]] = np.nan
        scores[column[self._known_slots(request.deny)]] = np.nan
        if request.allow is not None:
            allowed = column[self._known_slots(request.allow)]
            kept = scores[allowed]
            scores[:] = np.nan
            scores[allowed] = kept

        def owner(column: int) -> str | None:
            item = self.entries[self._table.slot(column)].item
            return None if item is None else item.owner

        rules = ListRules(
            request.k, request.cold_share_min, request.cold_share_max, self._max_owner_share
        )
        return [
            Hit(
                item=self.entries[self._table.slot(at)].name,
                score=float(scores[at]),
                rank=rank,
                is_cold=bool(is_cold[at]),
                evidence=self._evidence(request, history, self._table.slot(at))
                if request.explain
                else None,
            )
            for rank, at in enumerate(select_list(scores, is_cold, owner, rules), 1)
        ]

    def _known_slots(self, names: Iterable[str]) -> np.ndarray:
        return np.array([self._slots[name] for name in names if name in self._slots], np.int64)

    def _evidence(self, request: ListRequest, history: np.ndarray, slot: int) -> dict[str, Any]:
        vectors, entry = self._items["vectors"], self.entries[slot]
        similarity = vectors[history] @ vectors[slot]
        nearest = np.argsort(-similarity, kind="stable")[:3]
        if not vectors.shape[1]:
            nearest = nearest[:0]  # the model has no texts
        evidence: dict[str, Any] = {
            "similar_in_history": [
                {"item": self.entries[int(history[at])].name, "similarity": float(similarity[at])}
                for at in nearest
            ],
            "clicks": self.clicks(slot),
        }
        row = self._users.get(request.user or "")
        if entry.audience is not None and entry.probabilities is not None and row is not None:
            (places,) = np.nonzero(entry.audience == row)
            if len(places):
                at = int(places[0])
                probability = float(entry.probabilities[at])
                evidence["simulated_user"] = {"rank": at + 1, "probability": probability}
        return evidence

    # -- items and users --

    def similar(self, name: str, k: int) -> list[tuple[str, float]]:
        """The k items with the most similar texts and their cosine similarities, best first.

        Raises:
            KeyError: the item is not in the index.
            UnsupportedError: the method does not read texts.
        """
        if self.model.text_vectors is None:
            raise UnsupportedError(f"{self.model.name} cannot compare texts: it does not read them")
        with self._lock:
            slot = self._slots[name]
            return self._nearest(self._items["vectors"][slot], k, without=slot)

    def _nearest(self, vector: np.ndarray, k: int, without: int = -1) -> list[tuple[str, float]]:
        similarity = self._items["vectors"] @ vector
        similarity[~self._items["alive"]] = np.nan
        if without >= 0:
            similarity[without] = np.nan
        best, values = top_k(similarity[None], min(k, len(similarity)))
        pairs = zip(best[0].tolist(), values[0].tolist(), strict=True)
        return [(self.entries[at].name, value) for at, value in pairs if at >= 0]

    def simulate(self, encoded: EncodedItem, k: int) -> dict[str, Any]:
        """Likely users, nearest items and exposure of an item, as if it were added now.

        Args:
            encoded: the item, of a method that simulates users and scores cold items.
            k: maximum number of users.
        """
        encoding, rows = encoded.encoding, stack([encoded.rows])
        (cold,) = self._cold_items([encoded.rows])
        margins = self._table.exposure.margins(rows)[0]
        with self._lock:
            users, ranks = encoding["audience"][:k], []
            for start in range(0, len(users), _USERS_AT_ONCE):
                states = self.model.user_states(users[start : start + _USERS_AT_ONCE])
                scores = self.model.score_item_rows(states, rows) - np.float32(cold.penalty)
                ranks += (1 + (self._table.scores(states) > scores).sum(axis=1)).tolist()
            names = [self._user_names[row] for row in users]
            probabilities = encoding["probabilities"][:k].tolist()
            return {
                "users": [
                    {"user": user, "probability": probability, "rank": rank}
                    for user, probability, rank in zip(names, probabilities, ranks, strict=True)
                ],
                "nearest": [
                    {"item": name, "similarity": value}
                    for name, value in self._nearest(encoding["vectors"], 10)
                ],
                "exposure": float((margins > 0).mean()),
                "capped_exposure": float((margins - cold.penalty > 0).mean()),
            }

    def entry(self, name: str) -> Entry | None:
        """An item's entry; None if it is not in the index."""
        slot = self._slots.get(name)
        return None if slot is None else self.entries[slot]

    def columns(self, name: str, wanted: Sequence[str]) -> dict[str, Any]:
        """Some columns of an item, as written or else as in the training data; None if missing."""
        slot = self._slots.get(name)
        if slot is None:
            return dict.fromkeys(wanted)
        item = self.entries[slot].item
        if item is not None and (item.columns or item.deleted):
            columns = item.columns
        else:
            columns = self.trained_columns(name) or {}
        return {column: columns.get(column) for column in wanted}

    def trained_columns(self, name: str) -> dict[str, Any] | None:
        """The columns of an item in the training data; None if it is not there."""
        if not self.is_trained(name):
            return None
        return self.model.fitted.catalogue.columns.row(self._slots[name], named=True)

    def search(self, words: str, limit: int) -> list[str]:
        """Items of the training data whose id or title contains some words, in any case."""
        catalogue, wanted = self.model.fitted.catalogue, words.casefold()
        titles = pl.Series([""] * self._n_trained, dtype=pl.String)
        if catalogue.title_column is not None:
            titles = catalogue.columns.get_column(catalogue.title_column)
            if titles.dtype != pl.String:
                titles = titles.list.join(" ")
        names = pl.Series([entry.name for entry in self.entries[: self._n_trained]])
        found = (
            names.str.to_lowercase().str.contains(wanted, literal=True)
            | titles.str.to_lowercase().str.contains(wanted, literal=True)
        ).fill_null(value=False)
        return names.filter(found).head(limit).to_list()

    def clicks(self, slot: int) -> int:
        """The number of users who interacted with an item since the fit."""
        return len(self._known_clickers.get(slot, ())) + self._n_strangers[slot]

    def clicks_of(self, name: str) -> int:
        """The same, by the item's name; also of an item that is not in the index yet."""
        slot = self._slots.get(name)
        return len(self._early_clicks.get(name, ())) if slot is None else self.clicks(slot)

    def is_trained(self, name: str) -> bool:
        """Whether an item is in the training data."""
        return self._slots.get(name, self._n_trained) < self._n_trained

    def is_scored(self, entry: Entry) -> bool:
        """Whether an item can be scored: by the fit, by its text, or by its clicks."""
        return entry.cold is None or self._table.is_scored(entry.cold)

    def click_weight(self, entry: Entry) -> float:
        """1 - t: the weight of observed clicks in an item's score."""
        return 1.0 if entry.cold is None else self._table.click_weight(entry.cold)

    def exposure_penalty(self, entry: Entry) -> float:
        """The penalty subtracted from an item's cold scores; 0 for warm items."""
        return 0.0 if entry.cold is None else self._table.penalty(entry.cold)

    def knows_user(self, name: str) -> bool:
        """Whether a user was in the training data."""
        return name in self._users

    def history(self, name: str) -> list[str]:
        """Items that a user has interacted with; items of the artefact come first."""
        with self._lock:
            slots = self._history(ListRequest(user=name), self._users.get(name, -1))
            return [self.entries[slot].name for slot in slots.tolist()]

    def __len__(self) -> int:
        return int(self._items["alive"].sum())

    def counts(self) -> dict[str, int]:
        """Numbers of items, of warm, cold (no clicks) and warming (clicked) items, and of users."""
        with self._lock:
            return self._counts()

    def _counts(self) -> dict[str, int]:
        alive = self._items["alive"]
        slots, weight = self._table.cold_slots, self._table.prior_weights
        is_alive = alive[slots]
        return {
            "items": int(alive.sum()),
            "warm": int(alive[self._table.warm].sum()),
            "cold": int((is_alive & (weight == 1)).sum()),
            "warming": int((is_alive & (weight < 1)).sum()),
            "users": len(self._users),
        }


def _last(slots: np.ndarray) -> np.ndarray:
    """The last ``MAX_HISTORY`` distinct slots, in order of their last occurrence."""
    _, at = np.unique(slots[::-1], return_index=True)
    return slots[np.sort(len(slots) - 1 - at)][-MAX_HISTORY:]


def _row(matrix: sparse.csr_matrix, row: int) -> np.ndarray:
    """Columns that a row of a matrix stores."""
    return matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]


@dataclass(frozen=True)
class _PlacedItem:
    """An encoding, and the item as the score table takes it."""

    encoding: ItemEncoding
    cold: ColdItem

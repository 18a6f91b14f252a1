"""The index: all items that can be recommended, in memory; a function of artefact and store.

A warm item of the training data keeps the backbone's score. Every other item has two scores: a cold
score, simulated from its text, and an observed score, folded in from the users who clicked it. With
c clicks, they are combined by shrinkage:

    t        = n0 / (n0 + c)                                   n0 = prior_strength, a pseudo-count
    score_ui = t (cold_ui - penalty_i) + (1 - t) observed_ui

An item thus starts at its simulated score, moves with every click and approaches its observed
score; no click makes it jump. ``penalty`` caps the exposure of an item without clicks: subtracted
from its scores so that it enters the top 20 of at most a fraction ``max_exposure`` of the users,
whatever its text.

A user whom the model does not know gets the mean scores of the 50 users with the most similar
histories, weighted by similarity.
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
from warmstart.serve.engine.encodings import stack_encodings, unpack
from warmstart.serve.engine.growable import GrowableTable
from warmstart.serve.engine.lists import Hit, ListRequest, ListRules, UnknownUserError, select_list
from warmstart.serve.storage.store import Item, ItemState
from warmstart.simulate.hybrid import item_blocks
from warmstart.simulate.simulator import ItemEncoding, Simulator

TOP = 20  # length of the list that an item must enter to count as exposed
_SAMPLE_SIZE = 1000  # users on whom exposure is measured
_NEIGHBOURS = 50
_ROUNDING = np.float32(1 + 1e-5)
_USERS_AT_ONCE = 16


@dataclass(frozen=True)
class Entry:
    """An item without its scores. Replaced as a whole, so it can be read without a lock.

    Attributes:
        name: external id, as text.
        item: the item as written to the store; None if only the artefact contains it.
        cold: position among the cold items; None for a warm item of the artefact.
        users: external ids of the users who interacted with it since the fit.
        audience: rows of its simulated users, the likeliest first.
        probabilities: probabilities of these users, in (0, 1].
    """

    name: str
    item: Item | None
    cold: int | None
    users: frozenset[str] = frozenset()
    audience: np.ndarray | None = None
    probabilities: np.ndarray | None = None


class Index:
    """Computes lists from scores; ``apply`` brings in changes of the store. Thread-safe.

    Args:
        model: loaded model; it is not changed.
        prior_strength: n0, the number of clicks that count as much as the simulation.
        max_exposure: fraction of users whose top 20 an item may enter before its first click.
        max_owner_share: fraction of one list that cold items of one key may take.
    """

    def __init__(
        self,
        model: Simulator,
        *,
        prior_strength: float = 10.0,
        max_exposure: float = 0.1,
        max_owner_share: float = 0.5,
    ) -> None:
        self._lock, self._applying = threading.RLock(), threading.Lock()
        self.model, self.prior_strength, self.max_exposure = model, prior_strength, max_exposure
        self._max_owner_share = max_owner_share
        fitted, hybrid = model.fitted, model.hybrid
        self._backbone, self._calibration = hybrid.backbone, hybrid.calibration
        fusion = hybrid.fusion
        self._folded_factor = np.float32((1 - fusion.weight) / fusion.std_first)
        self._text_factor = np.float32(fusion.weight / fusion.std_second)
        self._warm = np.flatnonzero(fitted.warm).astype(np.int32)
        vectors = None
        if isinstance(self._backbone, FactorBackbone):
            vectors = np.ascontiguousarray(self._backbone.vectors[1][self._warm])
        self._warm_vectors = vectors
        self._users = {str(name): row for row, name in enumerate(fitted.user_ids.values)}
        self._user_names = list(self._users)
        self._positives, self._positives_by_item = fitted.positives, fitted.positives.tocsc()
        self._below_threshold = fitted.below_threshold
        self._has_history = np.diff(fitted.positives.indptr) > 0
        self._clicked: dict[str, set[int]] = {}
        self._recent_scores: dict[bytes, np.ndarray] = {}
        self._deleted: set[int] = set()
        self._any_clicks = False
        names = [str(name) for name in fitted.catalogue.item_ids.values]
        positions = np.cumsum(~fitted.warm) - 1
        self.entries = [
            Entry(name, None, None if warm else int(position))
            for name, warm, position in zip(names, fitted.warm, positions, strict=True)
        ]
        self._slots = {name: slot for slot, name in enumerate(names)}
        self._n_trained = len(names)
        self._items = GrowableTable(
            vectors=model.vectors,
            alive=np.ones(len(names), bool),
            column=np.empty(len(names), np.int64),
        )
        cold = np.flatnonzero(~fitted.warm)
        self._items["column"][self._warm] = np.arange(len(self._warm))
        self._items["column"][cold] = len(self._warm) + np.arange(len(cold))
        size = min(_SAMPLE_SIZE, len(self._users))
        places = np.linspace(0, len(self._users) - 1, size)
        self._sample = np.unique(places.astype(np.int32))
        self._thresholds = self._measure_thresholds()
        scales = hybrid.item_scales[:, None]
        simulated = scales * self._folded_factor * np.nan_to_num(hybrid.folded)
        text = scales * self._text_factor * hybrid.text_scores if fusion.weight > 0 else None
        self._cold = GrowableTable(
            slot=cold.astype(np.int64),
            simulated=simulated,
            observed=np.zeros_like(simulated),
            has_text=fitted.catalogue.has_text[cold],
            prior_weight=np.ones(len(cold), np.float32),
            penalty=self._penalties(simulated, text),
        )
        self._text_scores = None if text is None else GrowableTable(scores=text)

    # -- following the store --

    def apply(self, states: Mapping[str, ItemState]) -> list[str]:
        """Set items to their state in the store. Applying a state again changes nothing.

        Lists are computed meanwhile: the slow work is done before the lock, which is taken for one
        item at a time.

        Returns:
            Names of items whose encoding is damaged; the index treats them as not encoded yet.
        """
        with self._applying:
            encodings: dict[str, ItemEncoding] = {}
            damaged: list[str] = []
            for name, state in states.items():
                if state.encoding is not None:
                    try:
                        encodings[name] = unpack(state.encoding)
                    except ArtefactError:
                        damaged.append(name)
            placed = self._place(encodings)
            for name, state in states.items():
                before = self.entry(name)
                changed = state.users != (before.users if before else frozenset())
                observed = self._observe(state.users) if changed else None
                with self._lock:
                    self._apply(name, state, placed.get(name), observed)
            return damaged

    def _apply(
        self,
        name: str,
        state: ItemState,
        placed: "_PlacedItem | None",
        observed: "_ObservedItem | None",
    ) -> None:
        slot = self._slots.get(name)
        if slot is None:
            if placed is None:
                return  # not encoded yet: it cannot be recommended
            slot = self._items.append(alive=True, column=len(self._warm) + len(self._cold))
            self._cold.append(slot=slot, prior_weight=1, has_text=True)
            if self._text_scores is not None:
                self._text_scores.append()
            self.entries.append(Entry(name, None, len(self._cold) - 1))
            self._slots[name] = slot  # last, because entry() reads without the lock
        entry = replace(self.entries[slot], item=state.item)
        deleted = state.item is not None and state.item.deleted
        self._items["alive"][slot] = not deleted
        (self._deleted.add if deleted else self._deleted.discard)(slot)
        if placed is not None and entry.cold is not None:
            self._items["vectors"][slot] = placed.encoding["vectors"]
            audience = {name: placed.encoding[name] for name in ("audience", "probabilities")}
            entry = replace(entry, **audience)
            self._cold["simulated"][entry.cold] = placed.simulated
            self._cold["has_text"][entry.cold] = True
            self._cold["penalty"][entry.cold] = placed.penalty
            if self._text_scores is not None and placed.text_scores is not None:
                self._text_scores["scores"][entry.cold] = placed.text_scores
        if observed is not None:
            self._set_clicks(slot, entry, state.users, observed)
            entry = replace(entry, users=state.users)
        self.entries[slot] = entry

    def _set_clicks(
        self, slot: int, entry: Entry, users: frozenset[str], observed: "_ObservedItem"
    ) -> None:
        for user in entry.users - users:
            self._clicked[user].discard(slot)
        for user in users - entry.users:
            self._clicked.setdefault(user, set()).add(slot)
        if entry.cold is not None:
            self._any_clicks |= observed.clicks > 0
            self._cold["observed"][entry.cold] = observed.folded
            prior_weight = self.prior_strength / (self.prior_strength + observed.clicks)
            self._cold["prior_weight"][entry.cold] = prior_weight

    def _observe(self, users: frozenset[str]) -> "_ObservedItem":
        """Fold an item in from the users who clicked it; users unknown to the model are ignored."""
        rows = sorted(self._users[user] for user in users if user in self._users)
        if not rows:
            return _ObservedItem(0, np.zeros(self._cold["observed"].shape[1], np.float32))
        shape = (1, len(self._users))
        clicks = (np.ones(len(rows), np.float32), (np.zeros(len(rows), int), rows))
        folded = self._backbone.fold_in(sparse.csr_matrix(clicks, shape))[0]
        return _ObservedItem(len(rows), folded)

    def _place(self, encodings: Mapping[str, ItemEncoding]) -> "dict[str, _PlacedItem]":
        """Compute scores and penalties of encoded items, in blocks to bound the memory."""
        placed: dict[str, _PlacedItem] = {}
        names = list(encodings)
        for rows in item_blocks(len(names), len(self._users)):
            block = names[rows]
            folded = np.stack([encodings[name]["folded"] for name in block])
            user_scores = folded[:, :0]
            if self._text_factor > 0:
                user_scores = self._user_scores([encodings[name] for name in block])
            scales = np.stack([encodings[name]["item_scale"] for name in block])
            simulated = scales * self._folded_factor * folded
            text = scales * self._text_factor * user_scores if self._text_factor > 0 else None
            penalties = self._penalties(simulated, text)
            for row, name in enumerate(block):
                line = None if text is None else text[row]
                penalty = float(penalties[row])
                placed[name] = _PlacedItem(encodings[name], simulated[row], line, penalty)
        return placed

    def cache_user_scores(self, encodings: Iterable[ItemEncoding]) -> None:
        """Keep the user scores of new encodings for the next ``apply``, which needs them."""
        self._recent_scores = {
            encoding["vectors"].tobytes(): encoding["user_scores"] for encoding in encodings
        }

    def _user_scores(self, encodings: Sequence[ItemEncoding]) -> np.ndarray:
        """The text model's scores of all users, float32, shape (encodings, n_users)."""
        recent = self._recent_scores
        found: list[Any] = [recent.get(encoding["vectors"].tobytes()) for encoding in encodings]
        missing = [number for number, line in enumerate(found) if line is None]
        if missing:
            stacked = stack_encodings([encodings[number] for number in missing])
            scores = self.model.simulate_encoded(stacked)[1]
            for number, line in zip(missing, scores, strict=True):
                found[number] = line
        return np.stack(found)

    # -- exposure --

    def _measure_thresholds(self) -> np.ndarray:
        """Each sampled user's 20th best warm score; a higher score enters the top 20."""
        if not len(self._warm):
            return np.full(len(self._sample), np.inf, np.float32)
        thresholds = []
        for rows in np.array_split(self._sample, max(1, len(self._sample) // _USERS_AT_ONCE)):
            scores = self._warm_scores(rows)
            depth = min(TOP, scores.shape[1]) - 1
            thresholds.append(-np.partition(-scores, depth, axis=1)[:, depth])
        return np.concatenate(thresholds)

    def _margins(self, simulated: np.ndarray, text: np.ndarray | None) -> np.ndarray:
        """Item scores minus the thresholds of the sampled users, float32, (items, users)."""
        scores = self._backbone.score_folded(self._sample, simulated)
        if text is not None:
            scores = scores + text[:, self._sample].T
        return (self._calibration.apply(self._sample, scores) - self._thresholds[:, None]).T

    def _penalties(self, simulated: np.ndarray, text: np.ndarray | None) -> np.ndarray:
        """Penalties that keep exposure within ``max_exposure``, float32, shape (items,).

        They are the smallest ones but for a margin, so that rounding lets no further user in.
        """
        allowed, penalties = int(self.max_exposure * len(self._sample)), []
        if not len(simulated) or allowed >= len(self._sample):
            return np.zeros(len(simulated), np.float32)
        for rows in item_blocks(len(simulated), len(self._sample)):
            block = None if text is None else text[rows]
            margins = -self._margins(simulated[rows], block)
            penalties.append(-np.partition(margins, allowed, axis=1)[:, allowed])
        return (np.maximum(np.concatenate(penalties), 0) * _ROUNDING).astype(np.float32)

    # -- scores --

    def _warm_scores(self, rows: np.ndarray) -> np.ndarray:
        if self._warm_vectors is not None:
            return self._backbone.score_folded(rows, self._warm_vectors)
        return self._backbone.score(rows, self._warm)

    def _scores(self, rows: np.ndarray) -> np.ndarray:
        """Scores of all columns (warm items, then cold items), float32, (users, columns)."""
        cold, score = self._cold, self._backbone.score_folded
        weight = cold["prior_weight"]
        simulated = score(rows, cold["simulated"])
        if self._text_scores is not None:
            simulated = simulated + self._text_scores["scores"][:, rows].T
        simulated = self._calibration.apply(rows, simulated) - cold["penalty"]
        if self._any_clicks:
            simulated = weight * simulated + (1 - weight) * score(rows, cold["observed"])
        simulated[:, ~cold["has_text"] & (weight == 1)] = np.nan  # nothing is known of these
        return np.concatenate([self._warm_scores(rows), simulated], axis=1)

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
        rows = np.array(
            [
                self._users.get(request.user or "", -1) if request.history is None else -1
                for request in requests
            ],
            np.int32,
        )
        known = rows  # a user without training interactions is ranked for by recorded clicks only
        rows = np.where((rows >= 0) & self._has_history[rows], rows, -1)
        scores = np.empty((len(requests), len(self._warm) + len(self._cold)), np.float32)
        if (rows >= 0).any():
            scores[rows >= 0] = self._scores(rows[rows >= 0])
        is_cold = np.zeros(scores.shape[1], bool)
        is_cold[len(self._warm) :] = self._cold["prior_weight"] > 0.5
        lists: list[list[Hit] | UnknownUserError] = []
        for request, row, line, user in zip(requests, rows, scores, known.tolist(), strict=True):
            history = self._history(request, int(row))
            try:
                if row < 0:
                    line[:] = self._scores_by_history(request, history)
                if request.exclude_seen:
                    line[self._items["column"][history]] = np.nan
                    if user >= 0:
                        line[self._items["column"][_row(self._below_threshold, user)]] = np.nan
                lists.append(self._list(request, history, line, is_cold))
            except UnknownUserError as error:
                lists.append(error)
        return lists

    def _history(self, request: ListRequest, row: int) -> np.ndarray:
        """Slots of the items in a user's history, int64."""
        if request.history is not None:
            known = [self._slots[name] for name in request.history if name in self._slots]
            return np.array(known, np.int64)
        clicked = np.array(sorted(self._clicked.get(request.user or "", ())), np.int64)
        if row < 0:
            return clicked
        return np.union1d(_row(self._positives, row), clicked).astype(np.int64)

    def _scores_by_history(self, request: ListRequest, history: np.ndarray) -> np.ndarray:
        """Mean scores of the users with the most similar histories, weighted by similarity."""
        similarity = np.zeros(len(self._users), np.float32)
        for slot in history:
            users, weights = self._users_of(int(slot))
            similarity[users] += weights
        similarity /= np.sqrt(np.maximum(np.diff(self._positives.indptr), 1))
        nearest = np.argsort(-similarity, kind="stable")[:_NEIGHBOURS].astype(np.int32)
        nearest = nearest[similarity[nearest] > 0]
        if not len(nearest):
            raise UnknownUserError(self._why_no_list(request, history))
        weights = similarity[nearest] / similarity[nearest].sum()
        total = np.zeros(len(self._warm) + len(self._cold), np.float32)
        for start in range(0, len(nearest), _USERS_AT_ONCE):
            part = slice(start, start + _USERS_AT_ONCE)
            total += weights[part] @ self._scores(nearest[part])
        return total

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

    def _users_of(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
        """Users of an item and their weights: observed users if it has any, else simulated ones."""
        entry = self.entries[slot]
        if slot < self._n_trained and entry.cold is None:
            column = self._positives_by_item.indptr[slot : slot + 2]
            users = self._positives_by_item.indices[column[0] : column[1]]
            return users, np.ones(len(users), np.float32)
        true = [self._users[user] for user in entry.users if user in self._users]
        if true:
            return np.array(true, np.int64), np.ones(len(true), np.float32)
        if entry.audience is not None and entry.probabilities is not None:
            return entry.audience, entry.probabilities
        assert entry.cold is not None
        everyone, at = np.arange(len(self._users), dtype=np.int32), entry.cold
        line = self._backbone.score_folded(everyone, self._cold["simulated"][at : at + 1])[:, 0]
        if self._text_scores is not None:
            line = line + self._text_scores["scores"][at]
        users, _ = top_k(np.ascontiguousarray(line[None]), min(_NEIGHBOURS, len(line)))
        return users[0], np.ones(users.shape[1], np.float32)

    # -- lists --

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
            item = self.entries[self._slot(column)].item
            return None if item is None else item.owner

        rules = ListRules(
            request.k, request.cold_share_min, request.cold_share_max, self._max_owner_share
        )
        return [
            Hit(
                item=self.entries[self._slot(at)].name,
                score=float(scores[at]),
                rank=rank,
                is_cold=bool(is_cold[at]),
                evidence=self._evidence(request, history, self._slot(at))
                if request.explain
                else None,
            )
            for rank, at in enumerate(select_list(scores, is_cold, owner, rules), 1)
        ]

    def _slot(self, column: int) -> int:
        n_warm = len(self._warm)
        return int(self._warm[column] if column < n_warm else self._cold["slot"][column - n_warm])

    def _known_slots(self, names: Iterable[str]) -> np.ndarray:
        return np.array([self._slots[name] for name in names if name in self._slots], np.int64)

    def _evidence(self, request: ListRequest, history: np.ndarray, slot: int) -> dict[str, Any]:
        vectors, entry = self._items["vectors"], self.entries[slot]
        similarity = vectors[history] @ vectors[slot]
        nearest = np.argsort(-similarity, kind="stable")[:3]
        evidence: dict[str, Any] = {
            "similar_in_history": [
                {"item": self.entries[int(history[at])].name, "similarity": float(similarity[at])}
                for at in nearest
            ],
            "clicks": len(entry.users),
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
        """
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

    def simulate(self, encoding: ItemEncoding, k: int) -> dict[str, Any]:
        """Likely users, nearest items and exposure of an item, as if it were added now."""
        placed = self._place({"": encoding})[""]
        text = None if placed.text_scores is None else placed.text_scores[None]
        margins = self._margins(placed.simulated[None], text)[0]
        with self._lock:
            users, ranks = encoding["audience"][:k], []
            for start in range(0, len(users), _USERS_AT_ONCE):
                rows = users[start : start + _USERS_AT_ONCE]
                scores = self._backbone.score_folded(rows, placed.simulated[None])[:, 0]
                if placed.text_scores is not None:
                    scores = scores + placed.text_scores[rows]
                scores = self._calibration.apply(rows, scores[:, None])[:, 0] - placed.penalty
                ranks += (1 + (self._scores(rows) > scores[:, None]).sum(axis=1)).tolist()
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
                "capped_exposure": float((margins - placed.penalty > 0).mean()),
            }

    def entry(self, name: str) -> Entry | None:
        """An item's entry; None if it is not in the index."""
        slot = self._slots.get(name)
        return None if slot is None else self.entries[slot]

    def click_weight(self, entry: Entry) -> float:
        """1 - t: the weight of observed clicks in an item's score."""
        return 1.0 if entry.cold is None else float(1 - self._cold["prior_weight"][entry.cold])

    def exposure_penalty(self, entry: Entry) -> float:
        """The penalty subtracted from an item's cold scores; 0 for warm items."""
        return 0.0 if entry.cold is None else float(self._cold["penalty"][entry.cold])

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
            alive = self._items["alive"]
            slots, weight = self._cold["slot"], self._cold["prior_weight"]
            is_alive = alive[slots]
            return {
                "items": int(alive.sum()),
                "warm": int(alive[self._warm].sum()),
                "cold": int((is_alive & (weight == 1)).sum()),
                "warming": int((is_alive & (weight < 1)).sum()),
                "users": len(self._users),
            }


def _row(matrix: sparse.csr_matrix, row: int) -> np.ndarray:
    """Columns that a row of a matrix stores."""
    return matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]


@dataclass(frozen=True)
class _ObservedItem:
    """Number of clicks by known users, and the item vector folded in from these."""

    clicks: int
    folded: np.ndarray


@dataclass(frozen=True)
class _PlacedItem:
    """An encoding with the scores and the penalty that the index derives from it."""

    encoding: ItemEncoding
    simulated: np.ndarray
    text_scores: np.ndarray | None
    penalty: float

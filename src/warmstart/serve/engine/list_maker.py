"""Lists from an index: who asks, what is left out, the best items, and why.

A user whom the model does not know is scored by history as ``Recommender.recommend`` does it. An
item of a history that is not warm counts through its users (``Servable.history_states``): those who
clicked it since the fit, or else its likely users.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from warmstart.data.histories import Histories
from warmstart.errors import ConfigError, DataError, UnsupportedError
from warmstart.rank import top_k
from warmstart.servable import OtherItems, QueryStates
from warmstart.serve.engine.candidates import Candidates
from warmstart.serve.engine.controlled import POOL, select_controlled, wants_all_items
from warmstart.serve.engine.lists import (
    COLD_PER_PLACE,
    ControlError,
    Hit,
    ListRequest,
    ListRules,
    NoListError,
    UnknownUserError,
    select_list,
)
from warmstart.serve.engine.score_table import ScoreTable
from warmstart.similar_users import NEIGHBOURS, SimilarUsers

if TYPE_CHECKING:
    from warmstart.serve.engine.index import Index

MAX_HISTORY = 500  # distinct items of a history from which a list is made; the last ones
_MAX_COLD_IN_HISTORY = 50  # items that are not warm: each counts through its users
_USERS_AT_ONCE = 16
_USERS_OF_AN_ITEM_AT_ONCE = 4096
_ATTEMPTS = 3  # to look again at items that have changed meanwhile


class ListMaker:
    """Makes lists from an index, which may change meanwhile. Thread-safe.

    Args:
        index: the index.
        max_owner_share: fraction of one list that cold items of one key may take.
    """

    def __init__(self, index: "Index", max_owner_share: float) -> None:
        self._index, self._max_owner_share = index, max_owner_share
        fitted = index.model.fitted
        self._has_history = np.diff(fitted.positives.indptr) > 0
        self._similar = SimilarUsers(fitted.positives)
        self._likely_users: dict[int, np.ndarray] = {}

    def lists(self, requests: Sequence[ListRequest]) -> list[list[Hit] | NoListError]:
        """As ``Index.recommend``."""
        found: dict[int, list[Hit] | NoListError] = {}
        groups: dict[str, list[int]] = {}
        asked = [_Asked(self, request) for request in requests]
        for at, one in enumerate(asked):
            is_alone = one.request.allow is not None or one.request.control is not None
            kind = f"only {at}" if is_alone else str(one.row >= 0)
            groups.setdefault(kind, []).append(at)
        for group in groups.values():
            for start in range(0, len(group), _USERS_AT_ONCE):
                some = group[start : start + _USERS_AT_ONCE]
                found.update(zip(some, self._lists([asked[at] for at in some]), strict=True))
        return [found[at] for at in range(len(requests))]

    def _lists(self, asked: Sequence["_Asked"]) -> list[list[Hit] | NoListError]:
        """Lists for users of one kind, or one list with a choice of items or a control."""
        if (wrong := self._wrong_control(asked[0].request)) is not None:
            return [wrong]
        if asked[0].row >= 0:
            states = self._index.model.user_states(np.array([one.row for one in asked], np.int32))
        else:
            states = self.history_states([one.known_by for one in asked])
        return self._lists_by(states, asked)

    def list_by(
        self, states: Callable[[Histories], QueryStates], request: ListRequest
    ) -> list[Hit] | NoListError:
        """As ``Index.recommend_by``."""
        if (wrong := self._wrong_control(request)) is not None:
            return wrong
        asked = _Asked(self, request)
        trained = [slot for slot in asked.history.tolist() if self._index.is_trained_slot(slot)]
        return self._lists_by(states(Histories.from_lists([trained])), [asked])[0]

    def _wrong_control(self, request: ListRequest) -> ControlError | None:
        """What no list can have of what a request asks for."""
        if request.control is None:
            return None
        try:
            self._index.genres.check(request.control)
        except (ConfigError, DataError) as error:
            return ControlError(str(error))
        return None

    def _lists_by(
        self, states: QueryStates, asked: Sequence["_Asked"]
    ) -> list[list[Hit] | NoListError]:
        answered = states.answered
        if not answered.any():
            return [UnknownUserError(one.why_no_list()) for one in asked]
        excluded = [one.excluded() for one in asked]
        found = self._candidates(asked, states, excluded)
        return [
            self._list(one, candidates, left_out) if known else UnknownUserError(one.why_no_list())
            for one, candidates, left_out, known in zip(
                asked, found, excluded, answered.tolist(), strict=True
            )
        ]

    def _candidates(
        self, asked: Sequence["_Asked"], states: QueryStates, excluded: Sequence[np.ndarray]
    ) -> list[Candidates]:
        """The best items of each query; computed again if rows have moved to another table."""
        table = self._index.table
        found = self._from_table(table, asked, states, excluded)
        for _ in range(_ATTEMPTS):
            if table is self._index.table:
                break
            table = self._index.table
            found = self._from_table(table, asked, states, excluded)
        return found

    def _from_table(
        self,
        table: ScoreTable,
        asked: Sequence["_Asked"],
        states: QueryStates,
        excluded: Sequence[np.ndarray],
    ) -> list[Candidates]:
        k, request = max(one.request.k for one in asked), asked[0].request
        if request.allow is not None:
            slots = np.setdiff1d(self._index.known_slots(request.allow), excluded[0])
            return [table.candidates(states, slots)]
        if request.control is not None:
            if wants_all_items(request.control):
                return [table.all_candidates(states)]
            k *= POOL
        columns = [table.columns(slots) for slots in excluded]
        return table.best(states, k, COLD_PER_PLACE * k, columns)

    def _list(
        self, asked: "_Asked", candidates: Candidates, left_out: np.ndarray
    ) -> list[Hit] | ControlError:
        request, index = asked.request, self._index
        # Again: items may have moved to other columns, or been deleted, while scores were computed.
        is_there = index.table.contains(candidates.slots)
        kept = candidates.take(is_there & ~np.isin(candidates.slots, left_out))
        try:
            chosen = self._selected(asked, kept)
        except (ConfigError, DataError, UnsupportedError) as error:
            return ControlError(str(error))
        rows = zip(
            map(index.name, chosen.slots.tolist()),
            chosen.slots.tolist(),
            chosen.scores.tolist(),
            chosen.is_cold.tolist(),
            strict=True,
        )
        return [
            Hit(
                item=name,
                score=score,
                rank=rank,
                is_cold=is_cold,
                evidence=self._evidence(asked, slot) if request.explain else None,
            )
            for rank, (name, slot, score, is_cold) in enumerate((r for r in rows if r[0]), 1)
        ]

    def _selected(self, asked: "_Asked", candidates: Candidates) -> Candidates:
        request, index = asked.request, self._index
        rules = ListRules(
            request.k, request.cold_share_min, request.cold_share_max, self._max_owner_share
        )
        control = request.control
        if control is None:
            return select_list(candidates, index.owner, rules)
        history = index.genres.of(asked.history).counts() if control.calibrate else Counter[str]()
        genres = index.genres.of(candidates.slots)
        return select_controlled(candidates, genres, history, control, index.owner, rules)

    def _evidence(self, asked: "_Asked", slot: int) -> dict[str, Any]:
        index, entry = self._index, self._index.entry_of(slot)
        evidence: dict[str, Any] = {
            "similar_in_history": [
                {"item": index.name(other), "similarity": similarity}
                for other, similarity in index.texts.most_similar(slot, asked.history, 3)
            ],
            "clicks": entry.clicks,
        }
        if entry.audience is not None and entry.probabilities is not None and asked.known:
            (places,) = np.nonzero(entry.audience == asked.user)
            if len(places):
                at = int(places[0])
                probability = float(entry.probabilities[at])
                evidence["simulated_user"] = {"rank": at + 1, "probability": probability}
        return evidence

    # -- who asks --

    def scored_as(self, row: int) -> int:
        """The row itself for a user who is scored as the model knows it; -1 for all others.

        A user without training interactions is ranked for by recorded clicks only.
        """
        return row if row >= 0 and self._has_history[row] else -1

    def history_states(self, histories: Sequence[np.ndarray]) -> QueryStates:
        """Who asks, by the slots of the items of each history, the last one last."""
        counts = np.zeros(len(histories))
        queries, users, weights = [], [], []
        lists = []
        for query, slots in enumerate(histories):
            is_warm = self._index.is_warm(slots)
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
            shape = (len(histories), len(self._has_history))
            matrix = sparse.csr_matrix((np.concatenate(weights), places), shape, dtype=np.float32)
            others = OtherItems(counts, matrix)
        model = self._index.model
        return model.history_states(Histories.from_lists(lists), self._similar, others)

    def _users_of(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
        """Users of a cold item and their weights: observed users if it has any, else likely ones.

        A cold item of the artefact is not encoded again; its likely users are those with the
        highest scores, and their weights are 1.
        """
        users = self._index.clicks.last_known_users(slot)
        if users:
            return np.array(users[::-1], np.int64), np.ones(len(users), np.float32)
        entry = self._index.entry_of(slot)
        if entry.audience is not None and entry.probabilities is not None:
            return entry.audience, entry.probabilities
        if not self._index.is_trained_slot(slot):
            return np.zeros(0, np.int64), np.zeros(0, np.float32)  # not encoded, or deleted
        if slot not in self._likely_users:
            n_users, table = len(self._has_history), self._index.table
            scores = [
                table.cold_scores_over_users(slot, np.arange(start, end, dtype=np.int32))
                for start in range(0, n_users, _USERS_OF_AN_ITEM_AT_ONCE)
                for end in [min(start + _USERS_OF_AN_ITEM_AT_ONCE, n_users)]
            ]
            best, _ = top_k(np.concatenate(scores)[None], min(NEIGHBOURS, n_users))
            self._likely_users[slot] = best[0][best[0] >= 0]
        users = self._likely_users[slot]
        return users, np.ones(len(users), np.float32)

    def forget_likely_users(self, slot: int) -> None:
        """Forget the likely users of an item whose text has changed."""
        self._likely_users.pop(slot, None)


class _Asked:
    """A request, with the user and the history that it means.

    Attributes:
        row: row of the user who is scored as a known user; -1 if the history is.
        user: row of the user, scored as such or not; -1 if the user is unknown.
        history: slots of the items of the history, int64, the last one last.
        known_by: the part of it by which the user is scored, if by the history.
    """

    def __init__(self, maker: ListMaker, request: ListRequest) -> None:
        index = maker._index
        self.request, self._index = request, index
        self.user = -1 if request.history is not None else index.user_row(request.user or "")
        self.row = maker.scored_as(self.user)
        self.history = self._history()
        self.known_by = self.history
        if self.row >= 0 and "order" in index.model.traits.reads:
            clicked = np.array(index.clicks.items_of(self.row), np.int64)
            if index.is_warm(clicked).any():
                # What comes next depends on the last clicks, and this history has grown.
                self.row, self.known_by = -1, self.history[index.is_warm(self.history)]

    @property
    def known(self) -> bool:
        """Whether the user is in the training data."""
        return self.user >= 0

    def _history(self) -> np.ndarray:
        index, request = self._index, self.request
        if request.history is not None:
            return _last(index.known_slots(request.history))
        if request.recorded is not None:
            return _last(index.known_slots(request.recorded))
        return index.history_slots(request.user or "", whole=self.row >= 0)

    def excluded(self) -> np.ndarray:
        """Slots of the items that may not be in the list, int64, ascending."""
        slots = [self._index.known_slots(self.request.deny)]
        if self.request.exclude_seen:
            slots.append(self.history)
            if self.known:
                seen = self._index.model.fitted.below_threshold
                slots.append(seen.indices[seen.indptr[self.user] : seen.indptr[self.user + 1]])
        return np.unique(np.concatenate(slots).astype(np.int64))

    def why_no_list(self) -> str:
        """Why no list can be made."""
        if self.request.history is not None:
            return "no known user has interacted with any of these items: give others"
        if len(self.history):
            problem = "no known user has interacted with any item of this user"
        elif self.known:
            problem = (
                "the user is in the training data, but without a positive interaction, and none "
                "was recorded since"
            )
        else:
            problem = "the user is not in the training data, and no interaction was recorded since"
        return f"{problem}: record some, or give a history"


def _last(slots: np.ndarray) -> np.ndarray:
    """The last ``MAX_HISTORY`` distinct slots, in order of their last occurrence."""
    _, at = np.unique(slots[::-1], return_index=True)
    return slots[np.sort(len(slots) - 1 - at)][-MAX_HISTORY:]

"""The index: all items that can be recommended, in memory; a function of artefact and store.

The scores are those of the ``ScoreTable``, and lists are made from it by the ``ListMaker``. Items
are numbered by slots: those of the training data have the numbers of their rows, then come those of
the snapshot, then all others in order of arrival.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
from scipy import sparse

from warmstart.data.catalogue import as_title
from warmstart.data.histories import Histories
from warmstart.data.readers.item_records import catalogue_of_records
from warmstart.errors import ArtefactError, UnsupportedError
from warmstart.machine import return_memory
from warmstart.servable import (
    ItemEncoding,
    ItemRows,
    QueryStates,
    Servable,
    ServesConversations,
    item_blocks,
    take_rows,
)
from warmstart.serve.engine.clicks import Clicks, User
from warmstart.serve.engine.encodings import EncodedItem, encode_items, stack, unpack
from warmstart.serve.engine.genres import ItemGenres
from warmstart.serve.engine.ids import row_of
from warmstart.serve.engine.list_maker import MAX_HISTORY, ListMaker
from warmstart.serve.engine.lists import Hit, ListRequest, NoListError
from warmstart.serve.engine.mentions import Mentions
from warmstart.serve.engine.names import name_hash, name_hashes
from warmstart.serve.engine.score_table import NOWHERE, ScoreTable
from warmstart.serve.engine.segment import ColdItem
from warmstart.serve.engine.similar_texts import SimilarTexts
from warmstart.serve.engine.snapshot import Snapshot, write_snapshot
from warmstart.serve.storage.records import Click, Item, ItemState

_EXAMPLE_TEXT = "the first text"
_USERS_AT_ONCE = 16
_ITEMS_AT_ONCE = 256  # that are scored by their clicks
_BYTES_OF_A_NAME = 600  # of an item, in dictionaries


@dataclass(frozen=True)
class Entry:
    """What the index knows of an item.

    Attributes:
        name: external id, as text.
        owner: the key that wrote it first; None if only the artefact contains it.
        columns: columns as written; None if only the artefact contains it.
        is_deleted: whether it was deleted.
        is_scored: whether it can be scored: by the fit, by its text, or by its clicks.
        clicks: number of users who interacted with it since the fit.
        click_weight: 1 - t, the weight of observed clicks in its score; 1 for a warm item.
        exposure_penalty: the penalty subtracted from its cold scores; 0 for a warm item.
        audience: rows of its likely users, the likeliest first; None if they are not known.
        probabilities: probabilities of these users, in (0, 1].
    """

    name: str
    owner: str | None
    columns: dict[str, Any] | None
    is_deleted: bool
    is_scored: bool
    clicks: int
    click_weight: float
    exposure_penalty: float
    audience: np.ndarray | None = None
    probabilities: np.ndarray | None = None


@dataclass(frozen=True)
class Written:
    """The part of a written item that lists show: its owner and its columns, as JSON."""

    owner: str
    columns: bytes
    is_deleted: bool = False

    def read_columns(self) -> dict[str, Any]:
        """The columns; none if another worker has just erased them."""
        return {} if self.columns.startswith(b"\0") else orjson.loads(self.columns)


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
    """Computes lists from scores; ``apply`` brings in changes of the store.

    Thread-safe; lists are computed while changes are applied, and wait for none.

    Args:
        model: loaded model; it is not changed.
        prior_strength: n0, the number of clicks that count as much as the cold score.
        max_exposure: fraction of users whose top 20 an item may enter before its first click.
        max_owner_share: fraction of one list that cold items of one key may take.
        threads: number of threads that share the work of a list over very many items.

    Attributes:
        table: the scores; replaced as a whole when its rows move.
        texts: compares items by their texts.
        clicks: interactions since the fit.
        genres: the genres of the items, for lists under a control.
        base: the snapshot that was loaded; None without one.
    """

    def __init__(
        self,
        model: Servable,
        *,
        prior_strength: float = 10.0,
        max_exposure: float = 0.1,
        max_owner_share: float = 0.5,
        threads: int = 1,
    ) -> None:
        self._applying = threading.Lock()
        self.model = model
        # The first text takes longest: it is encoded here, before requests arrive.
        fitted = model.fitted
        example = catalogue_of_records([{}], [_EXAMPLE_TEXT], fitted.catalogue)
        self._example = encode_items(model, example)[0].encoding
        self._user_ids, self._item_ids = fitted.user_ids, fitted.catalogue.item_ids
        self._n_trained = len(self._item_ids)
        self._new_slots: dict[str, int] = {}
        self._new_names: dict[int, str] = {}
        self._next_slot = self._n_trained
        self._written: dict[int, Written] = {}
        self._columns_bytes = 0
        self.base: Snapshot | None = None
        self.clicks = Clicks()
        self.genres = ItemGenres(self)
        self._recent_rows: Mapping[bytes, ItemRows] = {}
        ties = name_hashes(map(str, self._item_ids.values))
        self.table = ScoreTable(model, prior_strength, max_exposure, ties, self._example, threads)
        self.texts = SimilarTexts(self)
        self._lists = ListMaker(self, max_owner_share)
        self._mentions = Mentions(self) if isinstance(model, ServesConversations) else None

    def prepare(self) -> None:
        """Compute what the first list by history needs; it may take as long as the fit."""
        self._lists.history_states([self.table.warm[:1]])
        if self._mentions is not None:
            self._mentions.prepare()

    # -- snapshots --

    def load(self, snapshot: Snapshot) -> None:
        """Take in the items of a snapshot of this model, before any other change."""
        table = self.table
        arrays = snapshot.table_arrays(table.kept_arrays)
        table.set_base(arrays, self._n_trained, snapshot.names.hashes, snapshot.products)
        self.base, self._next_slot = snapshot, self._n_trained + len(snapshot)

    def save(self, folder: Path) -> Snapshot:
        """Write a snapshot of the stored items, but for those of the training data."""
        with self._applying:
            table, parts, slots = self.table, [], []
            for segment, rows in table.current_rows():
                rows = rows[segment.table["slot"][rows] >= self._n_trained]
                parts.append(({name: segment.table[name] for name in table.kept_arrays}, rows))
                slots += segment.table["slot"][rows].tolist()
            found = ((self.name(slot), self._written_of(slot)) for slot in slots)
            written = [(name, one.owner, one.columns) for name, one in found if one is not None]
            products = self.model.cold_vectors if table.as_products else None
            return write_snapshot(folder, parts, written, products)

    # -- following the store --

    def apply(self, states: Mapping[str, ItemState]) -> Unapplied:
        """Set items to their state in the store. Applying a state again changes nothing.

        An item whose state cannot be applied keeps the one that it has, and stops no other item.

        Returns:
            The items that were not applied, or not completely.
        """
        with self._applying:
            encodings: dict[str, ItemEncoding] = {}
            damaged: dict[str, str] = {}
            for name, state in states.items():
                if state.encoding is not None:
                    try:
                        encodings[name] = unpack(state.encoding, self._example, self.n_users)
                    except ArtefactError as error:
                        damaged[name] = str(error)
            placed, failed = self._place_each(states, encodings)
            for name, state in states.items():
                try:
                    self._apply(name, state, placed.get(name))
                except Exception as error:  # noqa: BLE001 - it must not stop the other items
                    failed[name] = error
            if self.table.needs_compaction:
                self.table = self.table.compacted()
                return_memory()
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

    def _place(
        self, states: Mapping[str, ItemState], encodings: Mapping[str, ItemEncoding]
    ) -> "dict[str, _PlacedItem]":
        """Compute rows and penalties of encoded items, in blocks to bound the memory."""
        placed: dict[str, _PlacedItem] = {}
        names, reads_texts = list(encodings), "texts" in self.model.traits.reads
        for block in item_blocks(len(names), self.n_users):
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
            penalties[has_score] = self.table.exposure.penalties(take_rows(rows, has_score))
        parts = zip(items, penalties.tolist(), has_score.tolist(), strict=True)
        return [ColdItem(item, penalty, scored) for item, penalty, scored in parts]

    def keep_rows(self, rows: Mapping[bytes, ItemRows]) -> None:
        """Keep the rows of new encodings, by packed encoding, for the next ``apply``."""
        self._recent_rows = rows

    def _apply(self, name: str, state: ItemState, placed: "_PlacedItem | None") -> None:
        item, slot = state.item, self.slot(name)
        if item is None:
            return
        if self.is_trained_slot(slot):
            if placed is not None and not item.deleted and not self.model.fitted.warm[slot]:
                self._add(slot, item, placed)
                self._lists.forget_likely_users(slot)
            self.table.set_alive(slot, alive=not item.deleted)
            self._write(slot, item)
        elif item.deleted:
            self._remove(name, slot)
        elif placed is not None:
            slot = self._slot_for(name)
            is_new = self.table.column(slot) == NOWHERE
            self._write(slot, item)  # first: from now on it is listed
            self._add(slot, item, placed)
            if is_new and self.clicks.known_users(slot):
                self._update_scores([slot])
        elif self.table.column(slot) != NOWHERE:
            self._write(slot, item)  # its text is not encoded yet: the old one counts

    def _add(self, slot: int, item: Item, placed: "_PlacedItem") -> None:
        content = name_hash(item.content)
        self.table.add(slot, name_hash(item.item), content, placed.cold, placed.encoding)

    def _write(self, slot: int, item: Item | None) -> None:
        old = self._written.get(slot)
        self._columns_bytes -= 0 if old is None else len(old.columns)
        if item is None:
            self._written.pop(slot, None)
        else:
            columns = orjson.dumps(item.columns)
            self._columns_bytes += len(columns)
            self._written[slot] = Written(item.owner, columns, item.deleted)
        self.genres.changed(slot)
        if self._mentions is not None:
            self._mentions.changed(slot)

    def _remove(self, name: str, slot: int) -> None:
        """Free the memory of a deleted item; if it has interactions, they need its number."""
        if slot == NOWHERE:
            return
        self.table.remove(slot)
        self._write(slot, None)
        row = slot - self._n_trained
        if self.base is not None and row < len(self.base):
            self.base.erase(row)
        if slot in self._new_names and not self.clicks.users(slot):
            del self._new_slots[name], self._new_names[slot]

    def remove(self, names: Iterable[str]) -> None:
        """Remove items that are no longer in the store."""
        with self._applying:
            for name in names:
                self._remove(name, self.slot(name))

    def _slot_for(self, name: str) -> int:
        slot = self.slot(name)
        if slot == NOWHERE:
            slot, self._next_slot = self._next_slot, self._next_slot + 1
            self._new_names[slot] = name
            self._new_slots[name] = slot  # last, because others look names up meanwhile
        return slot

    def record(self, clicks: Iterable[Click]) -> None:
        """Bring in interactions, oldest first; one that is known already changes nothing.

        The work does not depend on how many clicks an item has had.
        """
        with self._applying:
            moved: dict[int, None] = {}
            for click in clicks:
                slot = self._slot_for(click.item)  # it may not be here yet
                if self.clicks.add(self._user(click.user), slot, click.number):
                    moved[slot] = None
            self._update_scores(moved)

    def forget(self, user: str, last: int) -> None:
        """Remove the interactions of a user that were recorded since the fit, up to a number."""
        with self._applying:
            key = self._user(user)
            items = self.clicks.remove(key, last)
            self._update_scores(items if isinstance(key, int) else ())

    def _update_scores(self, slots: Iterable[int]) -> None:
        """Score items by the last known users who clicked them."""
        placed = [slot for slot in slots if self.table.column(slot) != NOWHERE]
        for start in range(0, len(placed), _ITEMS_AT_ONCE):
            some = placed[start : start + _ITEMS_AT_ONCE]
            users = [sorted(self.clicks.last_known_users(slot)) for slot in some]
            ends = np.cumsum([0, *map(len, users)])
            rows = np.array(list(chain(*users)), np.int32)
            clicks = (np.ones(len(rows), np.float32), rows, ends)
            matrix = sparse.csr_matrix(clicks, (len(some), self.n_users))
            numbers = [self.clicks.known_users(slot) for slot in some]
            observed = self.table.observe(matrix, numbers)
            for slot, one in zip(some, observed, strict=True):
                self.table.set_clicks(slot, one)

    # -- lists --

    def recommend(self, requests: Sequence[ListRequest]) -> list[list[Hit] | NoListError]:
        """Compute a list for each request, in order; known users are scored together.

        Returns:
            For each request a list, or an error if there are no interactions to make it from, or
            none is as its control asks.
        """
        return self._lists.lists(requests)

    def recommend_by(
        self, states: Callable[[Histories], QueryStates], request: ListRequest
    ) -> list[Hit] | NoListError:
        """Compute a list for who asks as ``states`` says.

        Args:
            states: who asks, given those items of the request's history that are in the training
                data, as row numbers.
            request: the list, with a history.
        """
        return self._lists.list_by(states, request)

    def mentioned(self, text: str) -> list[str]:
        """The items whose titles a text mentions, in the order of their first mention.

        The model must serve conversations.
        """
        assert self._mentions is not None
        names = map(self.name, self._mentions.find(text))
        return [name for name in names if name]

    def scores_as_known(self, user: str) -> bool:
        """Whether lists for a user are made from what the model knows of it."""
        return self._lists.scored_as(self.user_row(user)) >= 0

    def similar(self, name: str, k: int) -> list[tuple[str, float]]:
        """The k items with the most similar texts and their cosine similarities, best first.

        Raises:
            KeyError: the item is not in the index.
            UnsupportedError: the method does not read texts.
        """
        if self.model.text_vectors is None:
            raise UnsupportedError(f"{self.model.name} cannot compare texts: it does not read them")
        slot = self.slot(name)
        vector = self.texts.vector(slot) if self.table.is_alive(slot) else None
        if vector is None:
            raise KeyError(name)
        return self._nearest(vector, k, without=slot)

    def _nearest(
        self, vector: np.ndarray, k: int, without: int = NOWHERE
    ) -> list[tuple[str, float]]:
        found = self.texts.nearest(vector, k, without)
        named = [(self.name(slot), similarity) for slot, similarity in found.items()]
        ranked = sorted(named, key=lambda pair: (-pair[1], name_hash(pair[0])))
        return [(name, similarity) for name, similarity in ranked if name][:k]

    def simulate(self, encoded: EncodedItem, k: int) -> dict[str, Any]:
        """Likely users, nearest items and exposure of an item, as if it were added now.

        Args:
            encoded: the item, of a method that simulates users and scores cold items.
            k: maximum number of users.
        """
        encoding, rows, table = encoded.encoding, stack([encoded.rows]), self.table
        (cold,) = self._cold_items([encoded.rows])
        margins = table.exposure.margins(rows)[0]
        users, ranks = encoding["audience"][:k], []
        for start in range(0, len(users), _USERS_AT_ONCE):
            states = self.model.user_states(users[start : start + _USERS_AT_ONCE])
            scores = self.model.score_item_rows(states, rows) - np.float32(cold.penalty)
            ranks += (1 + (table.scores(states) > scores).sum(axis=1)).tolist()
        names = [str(self._user_ids.values[row]) for row in users]
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

    # -- items --

    def slot(self, name: str) -> int:
        """The number of an item; ``NOWHERE`` if it was never heard of."""
        found = self._new_slots.get(name)
        if found is None:
            found = row_of(name, self._item_ids)
        if found == NOWHERE and self.base is not None:
            row = self.base.names.find(name)
            found = NOWHERE if row < 0 else self._n_trained + row
        return found

    def name(self, slot: int) -> str:
        """The name of an item; "" if it was deleted."""
        if self.is_trained_slot(slot):
            return str(self._item_ids.values[slot])
        row = slot - self._n_trained
        if self.base is not None and 0 <= row < len(self.base):
            return self.base.names.names[row]
        return self._new_names.get(slot, "")

    def _written_of(self, slot: int) -> Written | None:
        """An item as written; None if only the artefact contains it, or it was deleted."""
        base, row = self.base, slot - self._n_trained
        if slot in self._written or base is None or not 0 <= row < len(base):
            return self._written.get(slot)
        if self.table.column(slot) == NOWHERE:
            return None
        return Written(base.owner(row), base.columns(row))

    def known_slots(self, names: Iterable[str]) -> np.ndarray:
        """The numbers of those items that were heard of, int64."""
        slots = np.fromiter((self.slot(name) for name in names), np.int64)
        return slots[slots != NOWHERE]

    def is_trained_slot(self, slot: int) -> bool:
        """Whether an item is in the training data."""
        return 0 <= slot < self._n_trained

    def is_trained(self, name: str) -> bool:
        """Whether an item is in the training data."""
        return self.is_trained_slot(self.slot(name))

    def is_warm(self, slots: np.ndarray) -> np.ndarray:
        """Whether each slot holds a warm item of the artefact: bool."""
        is_warm = slots < self._n_trained
        is_warm[is_warm] = self.model.fitted.warm[slots[is_warm]]
        return is_warm

    def owner(self, slot: int) -> str | None:
        """The key that wrote an item first; None if only the artefact contains it."""
        written = self._written_of(slot)
        return None if written is None else written.owner

    def entry(self, name: str) -> Entry | None:
        """What is known of an item; None if it is not in the index."""
        slot = self.slot(name)
        return (
            None if slot == NOWHERE or self.table.column(slot) == NOWHERE else self.entry_of(slot)
        )

    def entry_of(self, slot: int) -> Entry:
        """What is known of the item in a slot, which may have been deleted meanwhile."""
        table, written = self.table, self._written_of(slot)
        entry = Entry(
            name=self.name(slot),
            owner=None if written is None else written.owner,
            columns=None if written is None else written.read_columns(),
            is_deleted=written is not None and written.is_deleted,
            is_scored=False,
            clicks=self.clicks.users(slot),
            click_weight=0.0,
            exposure_penalty=0.0,
        )
        column = table.column(slot)
        if column == NOWHERE:
            return entry
        is_scored, weight, penalty = table.describe(column)
        entry = replace(entry, is_scored=is_scored, click_weight=weight, exposure_penalty=penalty)
        if column < table.first_new:
            return entry
        segment, row = table.place(column)
        names = [name for name in ("audience", "probabilities") if name in segment.table]
        return replace(entry, **{name: segment.table[name][row] for name in names})

    def columns(self, name: str, wanted: Sequence[str]) -> dict[str, Any]:
        """Some columns of an item, as written or else as in the training data; None if missing."""
        columns = self.written_columns(self.slot(name))
        if columns is None:
            columns = self.trained_columns(name)
        return {column: (columns or {}).get(column) for column in wanted}

    def written_columns(self, slot: int) -> dict[str, Any] | None:
        """The columns of an item as written; None if those of the training data count."""
        written = self._written_of(slot)
        columns = {} if written is None else written.read_columns()
        return columns if columns or (written is not None and written.is_deleted) else None

    def written_slots(self) -> list[int]:
        """The slots of all items that were written."""
        n_base = 0 if self.base is None else len(self.base)
        base = range(self._n_trained, self._n_trained + n_base)
        return [*(dict.fromkeys(base) | dict.fromkeys(list(self._written)))]

    def named_slots(self) -> list[int]:
        """The slots of all items that may have a title."""
        return [*(dict.fromkeys(range(self._n_trained)) | dict.fromkeys(self.written_slots()))]

    def title(self, slot: int) -> str:
        """What names an item in words, as written or else as in the training data; "" if deleted.

        An item of the training data without a title is named by its text.
        """
        catalogue, written = self.model.fitted.catalogue, self._written_of(slot)
        title = ""
        if written is not None:
            if written.is_deleted:
                return ""
            title = as_title(written.read_columns().get(catalogue.title_column or ""))
        return title or (catalogue.names[slot] if self.is_trained_slot(slot) else "")

    def trained_columns(self, name: str) -> dict[str, Any] | None:
        """The columns of an item in the training data; None if it is not there."""
        slot = self.slot(name)
        if not self.is_trained_slot(slot):
            return None
        return self.model.fitted.catalogue.columns.row(slot, named=True)

    def search(self, words: str, limit: int) -> list[str]:
        """Items of the training data whose id or title contains some words, in any case."""
        catalogue, wanted = self.model.fitted.catalogue, words.casefold()
        titles = pl.Series([""] * self._n_trained, dtype=pl.String)
        if catalogue.title_column is not None:
            titles = catalogue.columns.get_column(catalogue.title_column)
            if titles.dtype != pl.String:
                titles = titles.list.join(" ")
        names = pl.Series(self._item_ids.values).cast(pl.String)
        found = (
            names.str.to_lowercase().str.contains(wanted, literal=True)
            | titles.str.to_lowercase().str.contains(wanted, literal=True)
        ).fill_null(value=False)
        return names.filter(found).head(limit).to_list()

    def clicks_of(self, name: str) -> int:
        """The number of users who interacted with an item since the fit."""
        return self.clicks.users(self.slot(name))

    # -- users --

    @property
    def n_users(self) -> int:
        """Number of users in the training data."""
        return len(self._user_ids)

    def user_row(self, name: str) -> int:
        """The row of a user in the training data; -1 for others."""
        return row_of(name, self._user_ids)

    def _user(self, name: str) -> User:
        row = self.user_row(name)
        return name if row < 0 else row

    def knows_user(self, name: str) -> bool:
        """Whether a user was in the training data."""
        return self.user_row(name) >= 0

    def may_have_forgotten(self, name: str) -> bool:
        """Whether the store may have interactions of a user that are no longer in memory."""
        unknown = self.clicks.has_forgotten and not self.knows_user(name)
        return unknown and not self.clicks.items_of(name)

    def history(self, name: str) -> list[str]:
        """Items that a user has interacted with; items of the artefact come first."""
        names = map(self.name, self.history_slots(name, whole=True).tolist())
        return [item for item in names if item]

    def history_slots(self, name: str, *, whole: bool) -> np.ndarray:
        """Slots of the items of a user, the last one last, int64.

        Args:
            name: the user.
            whole: also those of the training data; else the last ``MAX_HISTORY`` since the fit.
        """
        user = self._user(name)
        slots = np.array(self.clicks.items_of(user), np.int64)
        if not whole:
            return slots[-MAX_HISTORY:]
        if isinstance(user, str):
            return slots
        trained = self.model.fitted.histories[user]
        return np.concatenate([trained[~np.isin(trained, slots)], slots])

    def __len__(self) -> int:
        return self.counts()["items"]

    @property
    def nbytes(self) -> int:
        """Memory of the items that came since the start, in bytes; those mapped do not count."""
        names = len(self._new_names) * _BYTES_OF_A_NAME
        return self.table.nbytes + self._columns_bytes + names + self.genres.nbytes

    @property
    def item_bytes(self) -> int:
        """Memory that one more item takes, in bytes, beside its columns."""
        return self.table.row_bytes + _BYTES_OF_A_NAME

    def counts(self) -> dict[str, int]:
        """Numbers of items, of warm, cold (no clicks) and warming (clicked) items, and of users."""
        return {**self.table.counts(), "users": self.n_users}


@dataclass(frozen=True)
class _PlacedItem:
    """An encoding, and the item as the score table takes it."""

    encoding: ItemEncoding
    cold: ColdItem

"""Optional abilities of recommenders: adding and folding in items, simulating, predicting."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from warmstart.arguments import whole_number
from warmstart.core import Recommender
from warmstart.data.catalogue import Catalogue
from warmstart.data.ids import ExternalId, Ids, id_column
from warmstart.data.interactions import Interactions
from warmstart.data.queries import Queries
from warmstart.data.readers.files import read_items
from warmstart.data.readers.table_files import SUFFIXES
from warmstart.data.readers.tables import is_frame
from warmstart.errors import DataError, DataWarning, UnsupportedError
from warmstart.fitted import Fitted
from warmstart.lists import checked_texts, known_items
from warmstart.process import check_process

_PAIRS_AT_ONCE = 2**16  # each has its own history: with 50 items, 26 MB of histories at once
_NEW_ITEMS = "a frame, the path of a csv, jsonl or parquet file, or a Catalogue"


class AddsItems(ABC):
    """The ability to add items after ``fit``, without retraining."""

    @abstractmethod
    def _add_items(self, items: Catalogue) -> None:
        """Extend the method's state by these items; the catalogue is extended afterwards."""

    def add_items(self, new: Catalogue | Any) -> pl.DataFrame:
        """Append new items to the catalogue; they can be recommended at once.

        The scores of all other items do not change.

        Args:
            new: items that are not in the catalogue yet: a frame, the path of a csv, jsonl or
                parquet file, or a Catalogue; see ``warmstart.read_items``.

        Returns:
            Columns item (external id), row (int32), has_text (bool). A method that learns from
            texts cannot score an item that has none, and warns of it.

        Raises:
            DataError: an item is already in the catalogue, or the items cannot be read.
        """
        assert isinstance(self, Recommender)
        check_process()
        fitted = self.fitted
        catalogue = _as_catalogue(new, fitted)
        if catalogue is None:
            raise DataError(f"add_items: got {new!r}; allowed: {_NEW_ITEMS}")
        start = len(fitted.catalogue)
        fitted.catalogue.extended(catalogue)  # an id that is already there is refused first
        if len(catalogue):
            self._add_items(catalogue)
        fitted.extend(catalogue)
        if "texts" in self.traits.reads:
            warn_of_no_text(
                catalogue.has_text,
                "an item without text is not recommended; fit again with its text, or write its "
                "text to the service",
            )
        rows = np.arange(start, len(fitted.catalogue), dtype=np.int32)
        return pl.DataFrame(
            {
                "item": id_column(catalogue.item_ids, rows - start),
                "row": rows,
                "has_text": catalogue.has_text,
            }
        )


class FoldsIn(ABC):
    """The ability to learn cold items from interactions after ``fit``, without retraining."""

    @abstractmethod
    def _fold_in(self, rows: np.ndarray, clicks: sparse.csr_matrix) -> None:
        """As ``fold_in``: cold items, int32 row numbers, and weights, CSR, (items, n_users)."""

    def fold_in(self, events: Interactions) -> None:
        """Give cold items vectors, and thus scores, from interactions with them.

        Users and warm items stay bit for bit as they are. The interactions are no part of the
        users' histories: ``recommend`` lists a folded-in item to those who had it too.

        Args:
            events: simulated or observed interactions whose ``items`` are row numbers of cold
                items. They replace those folded in before; other items stay as they are.

        Raises:
            DataError: an item is warm, or a row number is unknown.
            UnsupportedError: this process was forked from one that had used warmstart.
        """
        assert isinstance(self, Recommender)
        check_process()
        warm, n_users = self.fitted.warm, len(self.fitted.user_ids)
        events.check_rows(f"{self.name}: fold_in", n_users, len(warm))
        if warm[events.items].any():
            row = int(events.items[warm[events.items]][0])
            raise DataError(
                f"{self.name}: fold_in takes cold items only, but item row {row} is warm"
            )
        rows = np.unique(events.items)
        self._fold_in(rows, events.matrix(n_users, len(warm)).T.tocsr()[rows])


class Converses:
    """The ability to be asked in words, such as by the dialogue so far.

    ``Recommender.recommend(texts=...)`` of such a method recognises the items that a text mentions,
    unless histories are given: they are its history, and not listed again.
    """

    def mentioned_items(self, texts: Sequence[str]) -> list[list[ExternalId]]:
        """Recognise the items that texts mention by their titles.

        Args:
            texts: what users say, such as dialogues so far.

        Returns:
            The ids of the items of each text, each once, in the order of their first mention.

        Raises:
            DataError: ``texts`` is not a list of strings.
            NotFittedError: before ``fit`` or ``load``.
            UnsupportedError: this process was forked from one that had used warmstart.
        """
        assert isinstance(self, Recommender)
        check_process()
        found = self._find_mentions(checked_texts("mentioned_items", texts))
        assert found is not None, "a method that converses finds mentions"
        ids = self.fitted.catalogue.item_ids
        return [list(ids.take(found[query])) for query in range(len(found))]


class Simulates(ABC):
    """The ability to simulate the users of an item from its text."""

    @abstractmethod
    def simulate_texts(self, texts: Sequence[str], k: int) -> Interactions:
        """Simulate interactions with the k likeliest users of each text.

        Returns:
            Interactions whose ``items`` are positions in ``texts``, k per text, the likeliest user
            first, with provenance and weights in (0, 1].
        """

    def simulate(
        self, items: Catalogue | Path | Sequence[ExternalId] | Any, k: int = 20
    ) -> pl.DataFrame:
        """Simulate the k likeliest users of each item.

        Args:
            items: ids of items in the catalogue; or items that need not be in it, in any form that
                ``add_items`` takes.
            k: users per item; fewer where there are fewer users.

        Returns:
            Columns item, user, weight (float32 in (0, 1]), rank (int32, from 1), provenance, and
            one for each kind of evidence that the simulator gives (float32). An item without text
            has no rows, and a warning says so.

        Raises:
            DataError: an item id is unknown, the items cannot be read, or k is below 1.
            UnsupportedError: this process was forked from one that had used warmstart.
        """
        assert isinstance(self, Recommender)
        check_process()
        fitted = self.fitted
        k = whole_number("simulate", "k", k, low=1, error=DataError)
        catalogue, rows = _as_catalogue(items, fitted), None
        if catalogue is None:
            catalogue = fitted.catalogue
            rows = known_items(catalogue.item_ids, items, "simulate")
        rows = np.arange(len(catalogue)) if rows is None else rows
        warn_of_no_text(catalogue.has_text[rows], "nothing is simulated for an item without text")
        rows = rows[catalogue.has_text[rows]]
        texts = [catalogue.texts[row] for row in rows]
        events = self.simulate_texts(texts, min(k, len(fitted.user_ids)))
        return simulated_frame(fitted, catalogue.item_ids, rows, events)


class Predicts(ABC):
    """The ability to predict how likely a user will like an item."""

    @abstractmethod
    def _predict(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """As ``predict_proba``, for arguments that were checked."""

    def predict_proba(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """Predict the probability that each query's user likes the item given for it.

        Args:
            queries: who asks; their histories, with ratings, end before the prediction.
            items: int32 row numbers, shape (queries,).

        Returns:
            float32 in [0, 1], shape (queries,).

        Raises:
            DataError: there is not one item for each query.
            NotFittedError: before ``fit`` or ``load``.
            UnsupportedError: the method answers no kind of these queries, or this process was
                forked from one that had used warmstart.
        """
        assert isinstance(self, Recommender)
        check_process()
        self._check_answers(queries)
        items = np.asarray(items)
        if items.shape != (len(queries),):
            raise DataError(
                f"{self.name}: predict_proba needs one item for each query, got items of shape "
                f"{items.shape} for {len(queries)} queries"
            )
        return self._predict(queries, items)

    def _score_by_probability(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """Score items by the predicted probabilities: the ``_score`` of a method of labels.

        Args:
            queries: who asks.
            items: int32 row numbers, shape (items,).

        Returns:
            float32, shape (queries, items).
        """
        scores = np.empty(len(queries) * len(items), np.float32)
        for start in range(0, len(scores), _PAIRS_AT_ONCE):
            pairs = np.arange(start, min(start + _PAIRS_AT_ONCE, len(scores)))
            asked, item = pairs // len(items), pairs % len(items)
            scores[pairs] = self._predict(queries.take(asked), items[item])
        return scores.reshape(len(queries), len(items))


def simulated_frame(
    fitted: Fitted, item_ids: Ids, rows: np.ndarray, events: Interactions
) -> pl.DataFrame:
    """What ``Simulates.simulate`` returns, from the simulated interactions.

    Args:
        fitted: of the simulator.
        item_ids: ids of the items.
        rows: the row in ``item_ids`` of each text that was simulated.
        events: what ``simulate_texts`` gives for these texts.
    """
    before = np.searchsorted(events.items, events.items)  # interactions of items before
    return pl.DataFrame(
        {
            "item": id_column(item_ids, rows[events.items]),
            "user": id_column(fitted.user_ids, events.users),
            "weight": events.weights,
            "rank": (np.arange(1, len(events) + 1) - before).astype(np.int32),
            "provenance": pl.Series(events.provenance_names, dtype=pl.String),
            **events.evidence,
        }
    )


def _as_catalogue(items: Any, fitted: Fitted) -> Catalogue | None:
    """New items in any of the forms of ``_NEW_ITEMS``; None for what is none of them.

    Raises:
        DataError: they cannot be read.
    """
    if isinstance(items, Catalogue):
        return items
    is_file = isinstance(items, Path) or (isinstance(items, str) and items.endswith(SUFFIXES))
    if not is_file and not is_frame(items):
        return None
    catalogue = fitted.catalogue
    known = catalogue.columns.columns
    return read_items(items, catalogue.text_columns, catalogue.item_ids, known)


def warn_of_no_text(has_text: np.ndarray, consequence: str) -> None:
    """Warn of items without text, if there are any."""
    lacking = int((~has_text).sum())
    if lacking:
        items = "item" if len(has_text) == 1 else "items"
        have = "has" if lacking == 1 else "have"
        warnings.warn(
            f"{lacking} of {len(has_text)} {items} {have} no text: {consequence}",
            DataWarning,
            stacklevel=3,
        )


def require(model: Recommender, ability: type, verb: str) -> Any:
    """Return ``model`` if it has the ability.

    Args:
        model: any recommender.
        ability: ``AddsItems``, ``Simulates`` or a subclass.
        verb: completes the message "NAME cannot ...".

    Raises:
        UnsupportedError: it lacks the ability; the message names the method and the verb.
    """
    if not isinstance(model, ability):
        raise UnsupportedError(f"{model.name} cannot {verb}")
    return model

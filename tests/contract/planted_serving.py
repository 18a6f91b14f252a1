"""A correct method that can be served and folds in items, and variants with one fault each."""

import numpy as np

from tests.contract.planted import Parity
from warmstart.abilities import FoldsIn
from warmstart.retrieval.queries import ProductQueries
from warmstart.servable import Servable


class ServedParity(Parity, Servable, FoldsIn):
    """Correct: a state is the mean parity of a user's items, a row the parity of an item."""

    name = "served_parity"

    def _user_states(self, users):
        return self._users[users]

    def warm_items(self, items):
        return self._items[items]

    def _score_warm(self, states, items):
        return np.outer(states, items).astype(np.float32)

    def encode_items(self, items, *, audience=0):
        encoding = {"vectors": self._parity(items.texts)[:, None]}
        if audience:
            events = self.simulate_texts(items.texts, audience)
            encoding["audience"] = events.users.reshape(len(items), audience)
            encoding["probabilities"] = events.weights.reshape(len(items), audience)
        return encoding, self.item_rows(encoding)

    def item_rows(self, encoding):
        return {"parity": encoding["vectors"][:, 0]}

    def cold_rows(self, items):
        return {"parity": self._items[items]}

    def _score_item_rows(self, states, rows):
        return self._score_warm(states, rows["parity"])

    def observed_rows(self, clicks):
        return {"parity": clicks @ self._users}

    def _score_observed_rows(self, states, rows):
        return self._score_warm(states, rows["parity"])

    def _fold_in(self, rows, clicks):
        self._items = self._items.copy()
        self._items[rows] = clicks @ self._users


class FoldsInAgainst(ServedParity):
    def _fold_in(self, rows, clicks):
        super()._fold_in(rows, -clicks)


class FoldsInOthers(ServedParity):
    """Items without interactions change too."""

    def _fold_in(self, rows, clicks):
        super()._fold_in(rows, clicks)
        self._items += np.float32(0.01)


class FoldsInBeforeChecks(ServedParity):
    """Refuses warm items after it has changed others."""

    def fold_in(self, events):
        cold = ~self.fitted.warm[events.items]
        if cold.any() and events.users.max() < len(self.fitted.user_ids):
            super().fold_in(events.where(cold))
        super().fold_in(events)


class ServesOtherScores(ServedParity):
    """The service has a formula of its own."""

    def _score_item_rows(self, states, rows):
        return super()._score_item_rows(states, rows) * 0.9


class ServesOtherWarmScores(ServedParity):
    def _score_warm(self, states, items):
        return np.tanh(super()._score_warm(states, items))


class ServesProducts(ServedParity):
    """Correct: scores are products of vectors of width 1."""

    def cold_vectors(self, rows):
        return rows["parity"][:, None].astype(np.float32)

    def cold_queries(self, states):
        return ProductQueries.of(states.mean(lambda own: own[:, None].astype(np.float32)))


class ServesProductsOnAnotherScale(ServesProducts):
    def cold_vectors(self, rows):
        return 2 * super().cold_vectors(rows)


class RestoresOtherRows(ServedParity):
    """Rows from a stored encoding differ from those of a fresh one."""

    def item_rows(self, encoding):
        return {"parity": np.round(encoding["vectors"][:, 0])}

    def encode_items(self, items, *, audience=0):
        encoding, _ = super().encode_items(items, audience=audience)
        return encoding, {"parity": encoding["vectors"][:, 0]}


class ServesGenres(ServedParity):
    """Correct: the first genre of a new item adds to its score."""

    def _add_items(self, items):
        self._items = np.concatenate([self._items, self._parity_of(items)])

    def _parity_of(self, items):
        even = items.attribute("genres").matrix_of(["Even"]).toarray()[:, 0]
        return self._parity(items.texts) + np.where(even, np.float32(0.2), np.float32(-0.2))

    def encode_items(self, items, *, audience=0):
        encoding, _ = super().encode_items(items, audience=audience)
        encoding["vectors"] = self._parity_of(items)[:, None]
        return encoding, self.item_rows(encoding)


class ServesTextsOnly(ServesGenres):
    """What the service scores knows nothing of the genres."""

    def encode_items(self, items, *, audience=0):
        return ServedParity.encode_items(self, items, audience=audience)


class EncodesIds(ServedParity):
    """The id of a new item changes its encoding."""

    def encode_items(self, items, *, audience=0):
        encoding, _ = super().encode_items(items, audience=audience)
        known = [str(name).startswith("item/") for name in items.item_ids.values]
        encoding["vectors"] *= np.where(known, 1, 0.5)[:, None].astype(np.float32)
        return encoding, self.item_rows(encoding)


class RowsDependOnBatch(ServedParity):
    def item_rows(self, encoding):
        parity = encoding["vectors"][:, 0]
        return {"parity": parity - parity.mean() if len(parity) else parity}


class ClicksCountAgainst(ServedParity):
    def observed_rows(self, clicks):
        return {"parity": -(clicks @ self._users)}


class AudienceOfOthers(ServedParity):
    """The likely users are those of the other parity."""

    def encode_items(self, items, *, audience=0):
        encoding, rows = super().encode_items(items, audience=audience)
        if audience:
            others, _ = super().encode_items(items.take(-np.arange(len(items))), audience=audience)
            encoding["audience"] = others["audience"]
        return encoding, rows


class IgnoresOtherItems(ServedParity):
    """Items of a history that are not warm count for nothing."""

    def history_states(self, histories, similar, others=None):
        return super().history_states(histories, similar)

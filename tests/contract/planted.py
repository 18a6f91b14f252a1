"""A correct method and variants with one fault each. Imports little: new processes import it."""

import random

import numpy as np

from warmstart.abilities import AddsItems, Simulates
from warmstart.config import Config
from warmstart.core import Recommender, Traits
from warmstart.data.interactions import Interactions


class ParityConfig(Config):
    """Settings of the correct method.

    Attributes:
        power: unused.
    """

    power: float = 1.0


class Parity(Recommender, AddsItems, Simulates):
    """Correct: multiplies the mean parity of a user's items by that of the item's words."""

    name = "parity"
    config_type = ParityConfig
    traits = Traits(reads=frozenset({"interactions", "texts"}), cold_items="content")

    def _fit(self, data, context):
        matrix = data.matrix.toarray()
        self._users = matrix @ self._parity(data.catalogue.texts)
        self._items = self._parity(data.catalogue.texts)

    def _parity(self, texts):
        from warmstart.testing.worlds.items import EVEN  # not needed for loading and scoring

        words = [text.split() for text in texts]
        means = [sum(1 if w in EVEN else -1 for w in ws) / max(len(ws), 1) for ws in words]
        return np.array(means, np.float32) + np.float32(0.1)

    def _score_users(self, users, items):
        return np.outer(self._users[users], self._items[items]).astype(np.float32)

    def simulate_texts(self, texts, k):
        scores = np.outer(self._parity(texts), self._users)
        users = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(scores, users, axis=1)
        weights = 1 / (1 + np.exp(-best))
        items = np.repeat(np.arange(len(texts)), k)
        return Interactions.from_arrays(
            users.ravel(), items, weights=weights.ravel(), provenance=self.name
        )

    def _add_items(self, items):
        self._items = np.concatenate([self._items, self._parity(items.texts)])

    def _state(self):
        return {"users": self._users, "items": self._items}

    def _restore(self, state, lm):
        self._users, self._items = state["users"], state["items"]


class StateNotSaved(Parity):
    def _state(self):
        return {**super()._state(), "users": np.zeros_like(self._users)}


class FitAccumulates(Parity):
    def _fit(self, data, context):
        known = "_items" in vars(self)
        super()._fit(data, context)
        if known:
            self._users += 1


class ScoresTransposed(Parity):
    def score(self, queries, items):
        return super().score(queries, items).T


class ScoresInFloat64(Parity):
    def _score(self, queries, items):
        return super()._score(queries, items).astype(np.float64)


class MinusInfinityForCold(Parity):
    def _score_users(self, users, items):
        scores = super()._score_users(users, items)
        scores[:, ~self.fitted.warm[items]] = -np.inf
        return scores


class ReturnsOwnTable(Parity):
    """Returns its own score table, into which a caller may write."""

    def _fit(self, data, context):
        super()._fit(data, context)
        self._table = np.outer(self._users, self._items).astype(np.float32)

    def _score(self, queries, items):
        table = self._table
        if len(queries) == len(table) and len(items) == table.shape[1]:
            return table
        return super()._score(queries, items)


class ScoresDependOnBatch(Parity):
    """The score of an item depends on the other items of the request."""

    def _score_users(self, users, items):
        scores = super()._score_users(users, items)
        return scores - scores.mean(axis=1, keepdims=True) if scores.size else scores


class PositionAsRow(Parity):
    """Uses the position of an item in the request as its row number."""

    def _score_users(self, users, items):
        return super()._score_users(users, np.arange(len(items)))


class RanksBackwards(Parity):
    def _score_users(self, users, items):
        return -super()._score_users(users, items)


class UsesNumpyRandom(Parity):
    def _fit(self, data, context):
        super()._fit(data, context)
        np.random.rand()  # noqa: NPY002


class UsesTorchRandom(Parity):
    def _fit(self, data, context):
        super()._fit(data, context)
        import torch

        torch.rand(1)


class UsesPythonRandom(Parity):
    def _fit(self, data, context):
        super()._fit(data, context)
        random.random()


class ChangesData(Parity):
    def _fit(self, data, context):
        super()._fit(data, context)
        data.matrix.data[0] += 1


class IgnoresSeed(Parity):
    def _fit(self, data, context):
        super()._fit(data, context)
        self._users += np.random.default_rng().random(len(self._users), np.float32)


class ReadsUserIds(Parity):
    """Derives the parity of users from their ids instead of the interactions."""

    def _fit(self, data, context):
        super()._fit(data, context)
        numbers = np.array([int(str(user)[-3:]) for user in data.user_ids.values])
        self._users = np.where(numbers % 2, -1, 1).astype(np.float32)


class ReadsItemIds(Parity):
    """Derives the parity of items from their ids instead of the texts."""

    def _fit(self, data, context):
        super()._fit(data, context)
        numbers = np.array([int(str(item)[-3:]) for item in data.catalogue.item_ids.values])
        self._items = np.where(numbers % 2, -1, 1).astype(np.float32)
        self._users = data.matrix.toarray() @ self._items


class ReusesForeignStage(Parity):
    """Reuses the stage of any other fit in the run folder."""

    def _fit(self, data, context):
        super()._fit(data, context)
        with context.run.stage("users", "the same key for all") as folder:
            if folder is None:
                return
            file = folder / "users.npy"
            if file.exists():
                self._users = np.load(file)
            else:
                folder.mkdir(parents=True)
                np.save(file, self._users)


class SavesLocalPath(Parity):
    """Saves the path of its source file."""

    def _state(self):
        path = __file__.rpartition("/tests/")[0].encode()
        return {**super()._state(), "place": np.frombuffer(path, np.uint8)}


class AddingChangesOldScores(Parity):
    """Adding items changes the scores of the others."""

    def _add_items(self, items):
        super()._add_items(items)
        self._items = self._items - self._items.mean()


class IgnoresNewTexts(Parity):
    """Gives every new item the same scores."""

    def _add_items(self, items):
        self._items = np.concatenate([self._items, np.zeros(len(items), np.float32)])


class SimulatesUserTwice(Parity):
    """Simulates the same user twice."""

    def simulate_texts(self, texts, k):
        events = super().simulate_texts(texts, k)
        users = events.users.copy()
        users[1::k] = users[0::k]
        return Interactions.from_arrays(
            users, events.items, weights=events.weights, provenance=self.name
        )


class WeightsAboveOne(Parity):
    def simulate_texts(self, texts, k):
        events = super().simulate_texts(texts, k)
        weights = events.weights * 5
        return Interactions.from_arrays(
            events.users, events.items, weights=weights, provenance=self.name
        )


class NoProvenance(Parity):
    def simulate_texts(self, texts, k):
        events = super().simulate_texts(texts, k)
        return Interactions.from_arrays(events.users, events.items, weights=events.weights)


class SimulatesWrongUsers(Parity):
    def simulate_texts(self, texts, k):
        return super().simulate_texts(["one" if "even" in t else "two" for t in texts], k)


class ScoresBeforeFit(Parity):
    """Returns scores before ``fit``."""

    def score(self, queries, items):
        if self._fitted is None:
            return np.zeros((len(queries), len(items)), np.float32)
        return super().score(queries, items)


class ScoresColdItemsWithoutText(Parity):
    """Ranks what nothing is known of."""

    def score(self, queries, items):
        return self._score(queries, items)


class GuessesWithoutHistory(Parity):
    """Gives a user without history a list of equal scores in place of an error."""

    def recommend(self, users, k=10, **options):
        if len(users) == 1 and users[0] in self.fitted.user_ids:
            options["on_unknown"] = "popular"
        return super().recommend(users, k, **options)


class ColdScoresUndeclared(Parity):
    traits = Traits(reads=frozenset({"interactions"}), cold_items="none")


class DeclaredImpersonal(Parity):
    traits = Traits(reads=frozenset({"interactions"}), cold_items="content", personal=False)

"""A sound method, and the same with one fault each. Light: other processes import it."""

import random

import numpy as np

from warmstart.abilities import AddsItems, Simulates
from warmstart.config import Config
from warmstart.core import Recommender, Traits
from warmstart.data.interactions import Interactions


class NeighboursConfig(Config):
    """Settings of the method that is spoiled.

    Attributes:
        power: of the number of shared users.
    """

    power: float = 1.0


class Neighbours(Recommender, AddsItems, Simulates):
    """Items are as good as the share of even words, or of shared users, says: no fault."""

    name = "neighbours"
    config_type = NeighboursConfig
    traits = Traits(reads=frozenset({"interactions", "texts"}), cold_items="content")

    def _fit(self, data, context):
        matrix = data.matrix.toarray()
        self._taste = matrix @ self._parity(data.catalogue.texts)
        self._items = self._parity(data.catalogue.texts)

    def _parity(self, texts):
        from warmstart.testing.world import EVEN  # not needed to load and to score

        words = [text.split() for text in texts]
        share = [sum(1 if w in EVEN else -1 for w in ws) / max(len(ws), 1) for ws in words]
        return np.array(share, np.float32) + np.float32(0.1)

    def score(self, users, items):
        return np.outer(self._taste[users], self._items[items]).astype(np.float32)

    def simulate_texts(self, texts, k):
        liking = np.outer(self._parity(texts), self._taste)
        users = np.argsort(-liking, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(liking, users, axis=1)
        weights = 1 / (1 + np.exp(-found))
        items = np.repeat(np.arange(len(texts)), k)
        return Interactions.of(users.ravel(), items, weights=weights.ravel(), provenance=self.name)

    def _add_texts(self, texts):
        self._items = np.concatenate([self._items, self._parity(texts)])

    def _state(self):
        return {"taste": self._taste, "items": self._items}

    def _restore(self, state, lm):
        self._taste, self._items = state["taste"], state["items"]


class Forgetful(Neighbours):
    def _state(self):
        return {**super()._state(), "taste": np.zeros_like(self._taste)}


class Accumulating(Neighbours):
    def _fit(self, data, context):
        known = "_items" in vars(self)
        super()._fit(data, context)
        if known:
            self._taste += 1


class Transposed(Neighbours):
    def score(self, users, items):
        return super().score(users, items).T


class Wide(Neighbours):
    def score(self, users, items):
        return super().score(users, items).astype(np.float64)


class Infinite(Neighbours):
    def score(self, users, items):
        scores = super().score(users, items)
        scores[:, ~self.fitted.warm[items]] = -np.inf
        return scores


class Handed(Neighbours):
    """Gives its own table away."""

    def _fit(self, data, context):
        super()._fit(data, context)
        self._table = np.outer(self._taste, self._items).astype(np.float32)

    def score(self, users, items):
        table = self._table
        whole = len(users) == len(table) and len(items) == table.shape[1]
        return table if whole else table[np.ix_(users, items)]


class InCompany(Neighbours):
    """The score of an item depends on the others that are asked for."""

    def score(self, users, items):
        scores = super().score(users, items)
        return scores - scores.mean(axis=1, keepdims=True) if scores.size else scores


class Ordered(Neighbours):
    """Takes the place in the question for the row number."""

    def score(self, users, items):
        return super().score(users, np.arange(len(items)))


class Backwards(Neighbours):
    def score(self, users, items):
        return -super().score(users, items)


class Global(Neighbours):
    def _fit(self, data, context):
        super()._fit(data, context)
        np.random.rand()  # noqa: NPY002


class GlobalTorch(Neighbours):
    def _fit(self, data, context):
        super()._fit(data, context)
        import torch

        torch.rand(1)


class GlobalPython(Neighbours):
    def _fit(self, data, context):
        super()._fit(data, context)
        random.random()


class Writing(Neighbours):
    def _fit(self, data, context):
        super()._fit(data, context)
        data.matrix.data[0] += 1


class Unseeded(Neighbours):
    def _fit(self, data, context):
        super()._fit(data, context)
        self._taste += np.random.default_rng().random(len(self._taste), np.float32)


class Remembering(Neighbours):
    """Knows the parity of the users and not from the interactions."""

    def _fit(self, data, context):
        super()._fit(data, context)
        numbers = np.array([int(str(user)[-3:]) for user in data.user_ids.values])
        self._taste = np.where(numbers % 2, -1, 1).astype(np.float32)


class ByItemId(Neighbours):
    """Knows the parity of the items, and not from the texts."""

    def _fit(self, data, context):
        super()._fit(data, context)
        numbers = np.array([int(str(item)[-3:]) for item in data.catalogue.item_ids.values])
        self._items = np.where(numbers % 2, -1, 1).astype(np.float32)
        self._taste = data.matrix.toarray() @ self._items


class Stale(Neighbours):
    """Takes what another fit left in the folder of the run."""

    def _fit(self, data, context):
        super()._fit(data, context)
        with context.run.stage("taste", "the same key for all") as folder:
            if folder is None:
                return
            file = folder / "taste.npy"
            if file.exists():
                self._taste = np.load(file)
            else:
                folder.mkdir(parents=True)
                np.save(file, self._taste)


class Place(Neighbours):
    """Writes down where it is."""

    def _state(self):
        path = __file__.rpartition("/tests/")[0].encode()
        return {**super()._state(), "place": np.frombuffer(path, np.uint8)}


class Moving(Neighbours):
    """New items move the others."""

    def _add_texts(self, texts):
        super()._add_texts(texts)
        self._items = self._items - self._items.mean()


class Deaf(Neighbours):
    """New items are all the same to it."""

    def _add_texts(self, texts):
        self._items = np.concatenate([self._items, np.zeros(len(texts), np.float32)])


class Crowding(Neighbours):
    """Simulates the same user twice."""

    def simulate_texts(self, texts, k):
        events = super().simulate_texts(texts, k)
        users = events.users.copy()
        users[1::k] = users[0::k]
        return Interactions.of(users, events.items, weights=events.weights, provenance=self.name)


class Heavy(Neighbours):
    def simulate_texts(self, texts, k):
        events = super().simulate_texts(texts, k)
        weights = events.weights * 5
        return Interactions.of(events.users, events.items, weights=weights, provenance=self.name)


class Observed(Neighbours):
    def simulate_texts(self, texts, k):
        events = super().simulate_texts(texts, k)
        return Interactions.of(events.users, events.items, weights=events.weights)


class Unlikely(Neighbours):
    def simulate_texts(self, texts, k):
        return super().simulate_texts(["one" if "even" in t else "two" for t in texts], k)


class Sloppy(Neighbours):
    """Answers before it has learned."""

    def score(self, users, items):
        if self._fitted is None:
            return np.zeros((len(users), len(items)), np.float32)
        return super().score(users, items)


class Unclaimed(Neighbours):
    traits = Traits(reads=frozenset({"interactions"}), cold_items="none")


class Impersonal(Neighbours):
    traits = Traits(reads=frozenset({"interactions"}), cold_items="content", personal=False)

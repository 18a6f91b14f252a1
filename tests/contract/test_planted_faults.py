"""The checks catch what they are there for: methods with one planted fault each."""

import random

import numpy as np
import pytest
import torch

from warmstart.config import Config
from warmstart.core import AddsItems, Recommender, Simulates, Traits
from warmstart.data.interactions import Interactions
from warmstart.methods import METHODS
from warmstart.testing.case import Lab
from warmstart.testing.contract import CHECKS, run_contract
from warmstart.testing.world import EVEN


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
        return Interactions.of(
            users.ravel(), items, weights=weights.ravel(), provenance=self.name
        )

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


FAULTS = [
    (Forgetful, "state_survives_here"),
    (Accumulating, "fit_forgets"),
    (Transposed, "score_has_the_shape"),
    (Wide, "score_has_the_shape"),
    (Infinite, "score_is_finite_or_nan_as_declared"),
    (Unclaimed, "score_is_finite_or_nan_as_declared"),
    (Handed, "score_repeats"),
    (InCompany, "score_one_by_one"),
    (Ordered, "score_permutes"),
    (Backwards, "order_is_right"),
    (Impersonal, "order_of_what_is_not_claimed"),
    (Global, "fit_leaves_the_rest_alone"),
    (GlobalTorch, "fit_leaves_the_rest_alone"),
    (GlobalPython, "fit_leaves_the_rest_alone"),
    (Writing, "fit_leaves_the_rest_alone"),
    (Unseeded, "fit_repeats"),
    (Remembering, "honesty_about_random_interactions"),
    (ByItemId, "honesty_about_misleading_texts"),
    (Place, "state_names_no_place"),
    (Moving, "abilities_add_leaves_old_scores"),
    (Deaf, "abilities_add_reaches_the_right_users"),
    (Crowding, "abilities_simulate_is_well_formed"),
    (Heavy, "abilities_simulate_is_well_formed"),
    (Observed, "abilities_simulate_is_well_formed"),
    (Unlikely, "abilities_simulate_finds_the_right_users"),
    (Sloppy, "messages_before_fit"),
]


def test_a_sound_method_passes_all(tmp_path):
    run_contract(Neighbours, {"power": 2}, folder=tmp_path)


@pytest.mark.parametrize(("cls", "check"), FAULTS)
def test_a_planted_fault_is_caught(cls, check, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, cls.name, f"{__name__}:{cls.__qualname__}")
    with pytest.raises(AssertionError):
        CHECKS[check].run(Lab(tmp_path).case(cls))


def test_all_failures_are_told_at_once(tmp_path):
    with pytest.raises(ExceptionGroup, match="neighbours fails 2 of") as caught:
        run_contract(Backwards, folder=tmp_path)
    notes = [note for error in caught.value.exceptions for note in error.__notes__]
    assert notes == ["in the check order_is_right", "in the check fit_with_its_choices"]

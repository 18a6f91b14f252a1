"""Memory is bounded: of items before they are accepted, of deleted ones, of unknown users."""

import numpy as np
import pytest

from tests.serve.encoding import encode_texts
from tests.serve.engine.clicks import clicks_on
from warmstart.serve.engine import score_table
from warmstart.serve.engine.clicks import Clicks
from warmstart.serve.engine.encodings import pack
from warmstart.serve.engine.index import Index
from warmstart.serve.engine.lists import ListRequest
from warmstart.serve.storage.records import Item, ItemState


@pytest.fixture
def index(service):
    return service.deployment.index


@pytest.fixture
def arrays(service, texts):
    return [pack(one.encoding) for one in encode_texts(service.deployment.model, texts[:5])]


def states(numbers, arrays, *, deleted=False):
    return {
        f"n-{n}": ItemState(
            Item(f"n-{n}", {} if deleted else {"title": "x" * 100}, "", f"{n}", "o", deleted),
            None if deleted else arrays[n % 5],
        )
        for n in numbers
    }


def lists_of(index):
    users = [str(user) for user in index.model.fitted.user_ids.values[:6]]
    found = index.recommend([ListRequest(user=user, k=500) for user in users])
    return [[(hit.item, round(hit.score, 4)) for hit in hits] for hits in found]


def test_deleted_items_are_freed(index, arrays, monkeypatch):
    monkeypatch.setattr(score_table, "_MIN_CHANGED", 20)
    before = index.nbytes, lists_of(index)
    for start in range(0, 400, 100):
        numbers = range(start, start + 100)
        index.apply(states(numbers, arrays))
        assert index.nbytes > before[0]
        index.apply(states(numbers, arrays, deleted=True))
    assert (index.nbytes, lists_of(index)) == before
    assert len(index._new_names) == len(index._written) == 0


def test_lists_are_the_same_before_and_after_rows_move(index, arrays, monkeypatch):
    users = [str(user) for user in index.model.fitted.user_ids.values[:3]]
    index.apply(states(range(30), arrays))
    for n in range(0, 30, 3):
        index.record(clicks_on(f"n-{n}", users))
    index.apply(states(range(0, 30, 7), arrays, deleted=True))
    before, counts = lists_of(index), index.counts()
    monkeypatch.setattr(score_table, "_MIN_CHANGED", 2)
    index.apply(states([31], arrays))
    assert len(index.table.segments) == 3
    assert len(index.table.segments[-1]) == 0
    index.apply(states([31], arrays, deleted=True))
    assert lists_of(index) == before
    assert index.counts() == counts
    index.record(clicks_on("n-1", users))
    other = Index(index.model)
    left = sorted({*range(30)} - {*range(0, 30, 7)})
    other.apply(states(left, arrays))
    for n in [*range(0, 30, 3), 1]:
        other.record(clicks_on(f"n-{n}", users))
    assert lists_of(index) == lists_of(other)


def test_an_item_that_comes_again_has_its_clicks(index, arrays):
    user = str(index.model.fitted.user_ids.values[0])
    index.apply(states([1], arrays))
    index.record(clicks_on("n-1", [user, "stranger"]))
    weight = index.entry("n-1").click_weight
    index.apply(states([1], arrays, deleted=True))
    assert index.entry("n-1") is None
    index.apply(states([1], arrays))
    assert index.entry("n-1").click_weight == weight > 0
    assert index.entry("n-1").clicks == 2


def test_the_order_of_equal_scores_is_the_same_in_every_index(index, arrays):
    """Whatever the order in which the items came."""
    names = range(12)
    index.apply(states(names, arrays[:1] * 5))
    other = Index(index.model)
    for n in reversed(names):
        other.apply(states([n], arrays[:1] * 5))
    assert lists_of(index) == lists_of(other)


def test_items_that_do_not_fit_are_refused_before_they_are_stored(running, texts):
    service = running.app.state.service
    service.settings = service.settings.model_copy(update={"max_index_gib": 1e-4})
    items = [{"id": f"i-{n}", "columns": {"text": texts[0]}} for n in range(100)]
    answer = running.post("/v1/items", json={"items": items})
    assert answer.status_code == 507
    assert "allowed 0.0001 GiB" in answer.json()["detail"]
    assert service.store.items.get("i-0") is None
    assert running.post("/v1/items", json={"items": items[:1]}).status_code == 202


def test_a_forgotten_user_is_read_from_the_store(running, until, texts):
    service = running.app.state.service
    service.deployment.index.clicks = Clicks(max_unknown_users=2)
    warm = service.deployment.model.fitted.catalogue.item_ids.values[:3]
    for n in range(5):
        rows = [{"user": f"stranger-{n}", "item": item} for item in warm]
        assert running.post("/v1/interactions", json={"interactions": rows}).status_code == 202
    until("/v1/status", lambda status: status["behind"] == 0)
    assert service.deployment.index.clicks.has_forgotten
    found = [running.post("/v1/recommend", json={"user": f"stranger-{n}"}) for n in range(5)]
    assert {answer.status_code for answer in found} == {200}
    lists = [[item["item"] for item in answer.json()["items"]] for answer in found]
    assert all(one == lists[0] for one in lists)
    assert not {*lists[0]} & {*warm}
    history = running.get("/v1/users/stranger-0").json()["history"]
    assert history == running.get("/v1/users/stranger-4").json()["history"] == [*warm]
    assert running.post("/v1/recommend", json={"user": "nobody"}).status_code == 404


def test_arrays_of_the_wrong_shape_change_nothing(index, arrays):
    before = lists_of(index)
    state = states([1], arrays)["n-1"]
    broken = ItemState(state.item, pack({"vectors": np.ones(3, np.float32)}))
    assert isinstance(index.apply({"n-1": broken}).damaged["n-1"], str)
    assert lists_of(index) == before

"""Ids in requests have the type of the model's ids, or are refused where they come in."""

import numpy as np
import pytest
from starlette.testclient import TestClient

import warmstart as ws
from warmstart.serve.api.app import create_app
from warmstart.serve.engine.service import Service
from warmstart.serve.storage.keys import make_key

TEXT = {"text": "odd single of seven"}
BIG = 2**53 + 1  # JavaScript has no such number


@pytest.fixture(scope="module")
def integer_model(tmp_path_factory, lm_folder):
    """A model with integer ids; the ratings of user 999 are all below the threshold."""
    made = ws.synthetic(60, 80, rng=np.random.default_rng(0))
    users, items = made.interactions.users, made.interactions.items
    data = ws.from_frames(
        {
            "user": [*users + 1000, 999, 999],
            "item": [*items + 5000, *items[:2] + 5000],
            "rating": [*np.full(len(users), 5), 1, 2],
        },
        {"item": np.arange(len(made.catalogue)) + 5000, "text": list(made.catalogue.texts)},
        rating="rating",
        positive_rating=3.0,
        text=["text"],
    )
    model = ws.FilterLLM(backbone={"kind": "ials", "width": 8, "epochs": 3})
    model.fit(data, lm=ws.load_lm(ws.LMConfig(source=str(lm_folder)), use_cache=False))
    return model.save(tmp_path_factory.mktemp("integers") / "model")


@pytest.fixture
def integers(settings, integer_model):
    """The application with integer ids; requests carry an admin key."""
    service = Service(settings.model_copy(update={"model": integer_model}))
    token = make_key(service.store, "tests", "admin")
    service.keys.load(service.store.keys())
    with TestClient(create_app(service), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def requests_with(given, item, user):
    """Requests with an id in every place of a body, by its pointer; ``item`` and ``user`` exist."""
    return {
        "#/items/0/id": ("/v1/items", {"items": [{"id": given, "columns": TEXT}]}),
        "#/interactions/0/item": (
            "/v1/interactions",
            {"interactions": [{"user": user, "item": given}]},
        ),
        "#/interactions/0/user": (
            "/v1/interactions",
            {"interactions": [{"user": given, "item": item}]},
        ),
        "#/user": ("/v1/recommend", {"user": given}),
        "#/history/1": ("/v1/recommend", {"history": [item, given]}),
        "#/allow/0": ("/v1/recommend", {"user": user, "allow": [given]}),
        "#/deny/1": ("/v1/recommend", {"user": user, "deny": [item, given]}),
    }


def the_error(answer):
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    return error


def test_a_model_with_text_ids_refuses_numbers(running, toy_split):
    user = toy_split.train.user_ids.values[0]
    item = toy_split.train.catalogue.item_ids.values[0]
    for number in (88003, 88003.0):
        for pointer, (path, body) in requests_with(number, item, user).items():
            error = the_error(running.post(path, json=body))
            assert (error["pointer"], error["seen"]) == (pointer, "88003")
            kind = "user" if "user" in pointer else "item"
            assert f"number 88003; allowed: text in quotes, as the {kind} ids" in error["detail"]
    error = the_error(running.put("/v1/items/88003", json={"id": 88003, "columns": TEXT}))
    assert error["pointer"] == "#/id"
    assert running.get("/v1/items").json() == {"items": []}  # nothing was written
    assert running.put("/v1/items/88003", json={"columns": TEXT}).status_code == 202


def test_the_id_in_a_body_is_that_in_the_path(running):
    error = the_error(running.put("/v1/items/a", json={"id": "b", "columns": TEXT}))
    assert error["detail"] == 'got "b"; allowed: the id in the path, "a"'
    assert running.put("/v1/items/a", json={"id": "a", "columns": TEXT}).status_code == 202


def test_a_model_with_integer_ids_takes_numbers_and_text(integers):
    for given in (5001, "5001", 5001.0, " 5001 ", "5001.0"):
        for pointer, (path, body) in requests_with(given, 5000, "1001").items():
            answer = integers.post(path, json=body)
            assert answer.is_success or pointer == "#/user", (body, answer.text)
    assert integers.post("/v1/recommend", json={"user": "1001"}).json()["known_user"]
    written = integers.post("/v1/items", json={"items": [{"id": str(BIG), "columns": TEXT}]})
    assert written.json()["items"] == [{"id": BIG, "outcome": "created"}]
    again = integers.put(f"/v1/items/{BIG}", json={"id": BIG, "columns": TEXT})
    assert again.json()["items"] == [{"id": BIG, "outcome": "unchanged"}]
    explained = integers.post("/v1/recommend", json={"user": "1001", "explain": True}).json()
    for hit in explained["items"]:
        similar = [row["item"] for row in hit["evidence"]["similar_in_history"]]
        assert all(type(item) is int for item in [hit["item"], *similar])
    assert integers.get("/v1/users/1001").json()["id"] == 1001


def test_a_model_with_integer_ids_refuses_other_text(integers):
    for wrong in ("p-1", "05000", "5000.5", str(2**63)):
        for pointer, (path, body) in requests_with(wrong, 5000, 1001).items():
            error = the_error(integers.post(path, json=body))
            assert (error["pointer"], error["seen"]) == (pointer, f'"{wrong}"')
            assert "allowed: a whole number" in error["detail"]
    for path in ("/v1/items/p-1", "/v1/users/p-1", "/v1/similar/p-1"):
        assert "a whole number" in the_error(integers.get(path))["detail"]


# -- users without a list --


def test_a_user_without_positive_interactions_is_known_and_has_no_list(integers):
    assert integers.get("/v1/users/999").json() == {"id": 999, "known": True, "history": []}
    answer = integers.post("/v1/recommend", json={"user": 999})
    assert answer.status_code == 404
    assert "in the training data, but without a positive interaction" in answer.json()["detail"]
    answer = integers.post("/v1/recommend", json={"user": 77})
    assert answer.status_code == 404
    assert "the user is not in the training data" in answer.json()["detail"]
    assert integers.get("/v1/users/77").status_code == 404

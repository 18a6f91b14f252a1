"""Ids in requests have the type of the model's ids, or are refused where they come in."""

import threading

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

import warmstart as ws
from warmstart.client import Client, ServiceError
from warmstart.errors import ConfigError, DataError
from warmstart.serve.api import list_options
from warmstart.serve.api.app import create_app
from warmstart.serve.engine.service import Service
from warmstart.serve.storage.keys import make_key
from warmstart.serve.storage.records import Event, Item

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
    model.fit(data, encoder=ws.load_encoder(ws.LMConfig(source=str(lm_folder)), use_cache=False))
    return model.save(tmp_path_factory.mktemp("integers") / "model")


@pytest.fixture
def integers(settings, integer_model):
    """The application with integer ids; requests carry an admin key."""
    service = Service(settings.model_copy(update={"model": integer_model}))
    token = make_key(service.store, "tests", "admin")
    service.keys.load(service.store.keys.all())
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
            assert (error["pointer"], error["seen"]) == (pointer, str(number))
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


# -- many ids --


def test_many_ids_are_read_outside_the_event_loop(running, toy_split, monkeypatch):
    readers, names_of = [], list_options.internal_names

    def recorded(*arguments):
        readers.append(threading.current_thread().name)
        return names_of(*arguments)

    monkeypatch.setattr(list_options, "internal_names", recorded)
    user = toy_split.train.user_ids.values[0]
    for n, outside in ((10, False), (10_000, True)):
        deny = [f" {number}" for number in range(n)]
        assert running.post("/v1/recommend", json={"user": user, "deny": deny}).is_success
        assert ("AnyIO worker" in readers[-1]) == outside
    error = the_error(running.post("/v1/recommend", json={"user": user, "deny": [*deny[1:], 7]}))
    assert (error["pointer"], error["seen"]) == ("#/deny/9999", "7")


# -- one meaning in all places --


class Carrier:
    """Sends the requests of a client to an application."""

    def __init__(self, application):
        self.application = application

    def __call__(self, request):
        answer = self.application.request(
            request.method, str(request.url), content=request.content, headers=request.headers
        )
        return httpx.Response(answer.status_code, content=answer.content)


def everywhere(client, given, item, user):
    """Calls with an id in every place of the client; ``item`` and ``user`` exist."""
    return {
        "write_items": lambda: client.write_items({given: TEXT}),
        "write_item": lambda: client.write_item(given, TEXT),
        "item": lambda: client.item(given),
        "similar": lambda: client.similar(given),
        "record, item": lambda: client.record([{"user": user, "item": given}]),
        "record, user": lambda: client.record([{"user": given, "item": item}]),
        "user": lambda: client.user(given),
        "recommend, user": lambda: client.recommend(given),
        "history": lambda: client.recommend(history=[item, given]),
        "allow": lambda: client.recommend(user, allow=[item, given]),
        "deny": lambda: client.recommend(user, deny=[given]),
        "delete_item": lambda: client.delete_item(given),
    }


def state_of(service):
    return [item.item for item in service.store.items.newest(100)], service.store.changes.latest()


@pytest.mark.parametrize("given", ["5001.0", " 5001", "5001", 5001, 5001.0, np.float32(5001)])
def test_every_form_of_an_integer_is_that_item_and_that_user(integers, given):
    service = integers.app.state.service
    with Client("http://testserver", transport=httpx.MockTransport(Carrier(integers))) as client:
        user = {"5001.0": "1001.0", " 5001": " 1001", "5001": "1001"}.get(str(given), 1001)
        assert client.item(given)["id"] == 5001
        assert client.user(user)["id"] == 1001
        assert client.write_item(given, TEXT)["items"][0]["id"] == 5001
        assert client.write_items({given: TEXT})["items"][0]["outcome"] == "unchanged"
        assert client.record([{"user": user, "item": given}]) == {"new": 1, "refused": []}
        service.follower.follow(service.deployment)
        (only,) = client.recommend(user, allow=[given], exclude_seen=False)["items"]
        assert only["item"] == 5001
        everything = client.recommend(user, k=200, deny=[given], exclude_seen=False)["items"]
        assert 5001 not in {hit["item"] for hit in everything}
        assert client.recommend(history=[given])["items"]
        assert client.similar(given)["items"]
        assert client.delete_item(given) is None
        assert client.item(5001)["state"] == "deleted"
    assert [item.item for item in service.store.items.newest(100)] == ["5001"]


@pytest.mark.parametrize("given", ["abc", True, 1.5, "1.5", "", None, float("nan"), 2.0**60])
def test_what_is_no_integer_is_refused_everywhere(integers, given):
    before = state_of(integers.app.state.service)
    with Client("http://testserver", transport=httpx.MockTransport(Carrier(integers))) as client:
        for place, call in everywhere(client, given, 5000, 1001).items():
            if given is None and place == "recommend, user":
                continue  # no user is given
            with pytest.raises((ServiceError, DataError), match="allowed: "):
                call()
    assert state_of(integers.app.state.service) == before


@pytest.mark.parametrize("given", [True, 1.5, None, "null", "a\nb"])
def test_what_is_no_text_is_refused_everywhere(running, toy_split, given):
    item = toy_split.train.catalogue.item_ids.values[0]
    before = state_of(running.app.state.service)
    with Client("http://testserver", transport=httpx.MockTransport(Carrier(running))) as client:
        for place, call in everywhere(client, given, item, "u").items():
            if given is None and place == "recommend, user":
                continue
            with pytest.raises((ServiceError, DataError), match="allowed: "):
                call()
    assert state_of(running.app.state.service) == before


@pytest.mark.parametrize("given", [12, 12.0])
def test_a_number_is_no_text(running, toy_split, given):
    """It is refused in a body; in a path, where all is text, it is the item ``12``."""
    item = toy_split.train.catalogue.item_ids.values[0]
    in_path = ("item", "similar", "user", "delete_item")
    before = state_of(running.app.state.service)
    with Client("http://testserver", transport=httpx.MockTransport(Carrier(running))) as client:
        for place, call in everywhere(client, given, item, "u").items():
            with pytest.raises(ServiceError) as caught:
                call()
            assert caught.value.status == (404 if place in in_path else 422), place
    assert state_of(running.app.state.service) == before


# -- models with ids of another type --


@pytest.fixture
def two_types(settings, integer_model, tmp_path_factory):
    """Makes a service of the models with text ids and with integer ids, on one store."""
    models = tmp_path_factory.getbasetemp()
    made = []

    def make(folder):
        made.append(Service(settings.model_copy(update={"model": folder, "models_folder": models})))
        return made[-1]

    yield make, str(integer_model.relative_to(models)), str(settings.model.relative_to(models))
    for service in made:
        service.close()


def client_of(service):
    token = make_key(service.store, "tests", "admin")
    service.keys.load(service.store.keys.all())
    client = TestClient(create_app(service), raise_server_exceptions=False)
    client.headers["Authorization"] = f"Bearer {token}"
    return client


@pytest.mark.parametrize(
    ("served", "written"),
    [
        ("text", "item"),
        ("integers", "interaction"),
        pytest.param("text", "interaction", marks=pytest.mark.slow),
        pytest.param("integers", "item", marks=pytest.mark.slow),
    ],
)
def test_a_model_with_ids_of_another_type_is_swapped_in_only_into_an_empty_store(
    two_types, settings, integer_model, toy_split, served, written
):
    make, integers, texts = two_types
    service = make(settings.model if served == "text" else integer_model)
    other, same = (integers, texts) if served == "text" else (texts, integers)
    item = toy_split.train.catalogue.item_ids.values[0] if served == "text" else 5000
    client = client_of(service)
    assert client.post("/v1/admin/model", json={"folder": other}).status_code == 202
    if written == "item":
        new = {"items": [{"id": item, "columns": TEXT}]}
        assert client.post("/v1/items", json=new).status_code == 202
    else:
        new = {"interactions": [{"user": "u" if served == "text" else 77, "item": item}]}
        assert client.post("/v1/interactions", json=new).status_code == 202
    answer = client.post("/v1/admin/model", json={"folder": other})
    assert answer.status_code == 422
    new, old = ("integers", "text") if served == "text" else ("text", "integers")
    assert f"are {new}, those of the served model are {old}" in answer.json()["detail"]
    with pytest.raises(ConfigError, match="serve it with a new store"):
        service.swapper.load(other, service.deployment)
    assert client.post("/v1/admin/model", json={"folder": same}).status_code == 202
    assert client.get(f"/v1/items/{item}").status_code == 200


def test_items_written_while_a_model_is_loaded_keep_it_out(two_types, settings, monkeypatch):
    make, integers, _ = two_types
    service = make(settings.model)
    deploy = service.loader.deploy

    def write_and_deploy(*arguments):
        new = deploy(*arguments)
        client = client_of(service)
        body = {"items": [{"id": "d1", "columns": TEXT}]}
        assert client.post("/v1/items", json=body).status_code == 202
        return new

    monkeypatch.setattr(service.loader, "deploy", write_and_deploy)
    with pytest.raises(ConfigError, match="serve it with a new store"):
        service.swapper.load(integers, service.deployment)
    assert not service.deployment.ids("item").is_integer


@pytest.mark.parametrize(("kind", "name"), [("item", "d1"), ("user", "u1")])
def test_a_store_with_text_ids_is_not_served_with_integers(
    two_types, settings, integer_model, kind, name
):
    make, _, _ = two_types
    service = make(settings.model)
    if kind == "item":
        service.encoder.write_items([Item("d1", {}, "", "", "")])
    else:
        service.store.events.record([Event("e", "u1", "5000", "")])
    with pytest.raises(ConfigError, match=f"has the {kind} id '{name}', but the {kind} ids"):
        make(integer_model)
    assert make(settings.model).deployment.ids("item").is_integer is False


# -- users without a list --


def test_a_user_without_positive_interactions_is_known_and_has_no_list(integers):
    found = integers.get("/v1/users/999").json()
    assert found == {"id": 999, "known": True, "history": [], "columns": None}
    answer = integers.post("/v1/recommend", json={"user": 999})
    assert answer.status_code == 404
    assert "in the training data, but without a positive interaction" in answer.json()["detail"]
    answer = integers.post("/v1/recommend", json={"user": 77})
    assert answer.status_code == 404
    assert "the user is not in the training data" in answer.json()["detail"]
    assert integers.get("/v1/users/77").status_code == 404

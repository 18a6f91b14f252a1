"""Methods that do not simulate users, over HTTP: new items, lists, histories, clicks."""

import time

import numpy as np
import pytest
from starlette.testclient import TestClient

import warmstart as ws
from warmstart.errors import UnsupportedError
from warmstart.serve.api.app import create_app
from warmstart.serve.engine.service import Service
from warmstart.serve.storage.keys import make_key

MODELS = {
    "ease_text": lambda: ws.EaseText(ease={"l2": 5}, ridge={"l2": 1.0}),
    "cf_only": lambda: ws.CFOnly(backbone={"kind": "ials", "width": 8, "epochs": 3}),
    "popular": lambda: ws.Popular(),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, lm_folder, toy_split):
    folder = tmp_path_factory.mktemp("models")
    lm = ws.load_encoder(ws.LMConfig(source=str(lm_folder)), use_cache=False)
    return {
        name: make().fit(toy_split.train, encoder=lm).save(folder / name)
        for name, make in MODELS.items()
    }


@pytest.fixture
def serve(settings, folders):
    """Start a service of a model; it is closed at the end of the test."""
    started = []

    def start(name):
        model = folders[name]
        update = {"model": model, "models_folder": model.parent, "prior_strength": 2.0}
        service = Service(settings.model_copy(update=update))
        token = make_key(service.store, "tests", "admin")
        service.keys.load(service.store.keys.all())
        client = TestClient(create_app(service), raise_server_exceptions=False)
        client.headers["Authorization"] = f"Bearer {token}"
        started.append(client.__enter__())
        return client

    yield start
    for client in started:
        client.__exit__(None, None, None)


def until(client, path, right, seconds=20.0):
    end = time.monotonic() + seconds
    while not right(client.get(path).json()):
        assert time.monotonic() < end, client.get(path).text
        time.sleep(0.02)
    return client.get(path).json()


def recommend(client, **body):
    response = client.post("/v1/recommend", json=body)
    assert response.status_code == 200, response.text
    return response.json()["items"]


def click(client, users, item):
    events = [{"user": user, "item": item} for user in users]
    assert client.post("/v1/interactions", json={"interactions": events}).status_code == 202
    until(client, "/v1/status", lambda status: status["behind"] == 0)


@pytest.fixture
def users(toy_split):
    matrix = toy_split.train.matrix
    return [str(user) for user in toy_split.train.user_ids.take(np.flatnonzero(matrix.sum(1) > 2))]


@pytest.fixture
def history(toy_split):
    data = toy_split.train
    return [str(item) for item in data.catalogue.item_ids.take(np.flatnonzero(data.warm)[:3])]


def test_ease_text_recommends_a_new_item_by_its_text(serve, toy_data, users, history):
    client, text = serve("ease_text"), toy_data.catalogue.texts[0]
    assert client.get("/v1/model").json()["method"] == "ease_text"
    client.put("/v1/items/p-1", json={"columns": {"text": text}})
    item = until(client, "/v1/items/p-1", lambda item: item["state"] == "ready")
    assert item["click_weight"] == 0
    likely = [row["user"] for row in item["simulated_users"]]
    assert len(set(likely)) == 50
    (hit,) = recommend(client, user=users[0], allow=["p-1"], explain=True)
    assert hit["is_cold"]
    assert len(hit["evidence"]["similar_in_history"]) == 3
    (by_history,) = recommend(client, history=history, allow=["p-1"])
    assert np.isfinite(by_history["score"])
    assert recommend(client, history=["p-1"], k=5)  # by its likely users
    found = client.post("/v1/simulate", json={"columns": {"text": text}, "k": 4}).json()
    assert [row["user"] for row in found["users"]] == likely[:4]
    assert "scores of a regression" in found["calibration"]
    click(client, users[:6], "p-1")
    item = client.get("/v1/items/p-1").json()
    assert (item["state"], item["click_weight"]) == ("ready", pytest.approx(6 / 8))
    assert recommend(client, user=users[0], allow=["p-1"]) == []
    (after,) = recommend(client, user=users[7], allow=["p-1"])
    assert not after["is_cold"]


def test_cf_only_recommends_a_new_item_after_its_first_click(serve, toy_data, users, history):
    client = serve("cf_only")
    written = client.post(
        "/v1/items",
        json={
            "items": [
                {"id": "p-1", "columns": {"text": toy_data.catalogue.texts[0]}},
                {"id": "p-2", "columns": {"price": 3}},  # it needs no text
            ]
        },
    )
    assert written.status_code == 202, written.text
    for name in ("p-1", "p-2"):
        item = until(client, f"/v1/items/{name}", lambda item: item["state"] != "waiting")
        assert (item["state"], item["simulated_users"]) == ("unscored", [])
        assert (item["click_weight"], item["exposure_penalty"]) == (0, 0)
        assert recommend(client, user=users[0], allow=[name]) == []
    nothing = client.post("/v1/recommend", json={"history": ["p-1"]})
    assert nothing.status_code == 404
    assert "no known user has interacted with any of these items" in nothing.json()["detail"]
    before = recommend(client, history=history)
    click(client, users[:2], "p-1")
    item = client.get("/v1/items/p-1").json()
    assert (item["state"], item["clicks"], item["click_weight"]) == ("ready", 2, 1.0)
    assert client.get("/v1/items/p-2").json()["state"] == "unscored"
    (hit,) = recommend(client, user=users[3], allow=["p-1"], explain=True)
    assert not hit["is_cold"]  # as many clicks as prior_strength
    assert hit["evidence"] == {"similar_in_history": [], "clicks": 2}
    assert recommend(client, history=history, allow=["p-1"])
    assert recommend(client, history=["p-1"], k=5)
    assert recommend(client, history=history, deny=["p-1"]) == before
    click(client, ["nobody"], history[0])
    click(client, ["nobody"], history[1])
    by_clicks = recommend(client, user="nobody", deny=["p-1"])
    assert by_clicks == recommend(client, history=history[:2], deny=["p-1"])


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("post", "/v1/simulate", {"columns": {"text": "x"}}, "cf_only cannot simulate users"),
        ("get", "/v1/similar/{item}", None, "cf_only cannot compare texts"),
    ],
)
def test_what_needs_texts_is_refused_without_them(serve, history, method, path, body, words):
    client = serve("cf_only")
    answer = client.request(method, path.format(item=history[0]), json=body)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_a_restart_keeps_items_and_clicks(serve, toy_data, users):
    client = serve("cf_only")
    client.put("/v1/items/p-1", json={"columns": {}})
    until(client, "/v1/items/p-1", lambda item: item["state"] == "unscored")
    click(client, users[:2], "p-1")
    expected = recommend(client, user=users[3], allow=["p-1"])
    assert expected
    again = serve("cf_only")
    assert recommend(again, user=users[3], allow=["p-1"]) == expected


def test_a_model_of_texts_replaces_one_without(serve, toy_data, users):
    """Items that were written without text stay without a score."""
    client = serve("cf_only")
    text = toy_data.catalogue.texts[0]
    for name, columns in {"p-1": {"text": text}, "p-2": {"price": 3}}.items():
        client.put(f"/v1/items/{name}", json={"columns": columns})
        until(client, f"/v1/items/{name}", lambda item: item["state"] == "unscored")
    assert client.post("/v1/admin/model", json={"folder": "ease_text"}).status_code == 202
    until(client, "/v1/model", lambda model: model["method"] == "ease_text")
    until(client, "/v1/items/p-1", lambda item: item["state"] == "ready")
    assert recommend(client, user=users[0], allow=["p-1"])
    assert client.get("/v1/items/p-2").json()["state"] == "unscored"
    assert recommend(client, user=users[0], allow=["p-2"]) == []


def test_other_methods_are_refused_by_name(settings, folders):
    update = {"model": folders["popular"]}
    with pytest.raises(UnsupportedError, match=r"^popular cannot be served: .*Servable") as refused:
        Service(settings.model_copy(update=update))
    able = str(refused.value).rpartition(": ")[2].split(", ")
    assert {"cf_only", "coldllm", "ease_text", "filterllm", "text_ridge"} <= set(able)
    assert "popular" not in able

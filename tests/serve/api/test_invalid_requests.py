"""Every fault that a caller can make gets a plain sentence: the value seen and what is allowed."""

import json
import re

import pytest

LEAKS = re.compile(
    r"Value error|Input should|should (be|have|match)|Extra inputs|Field required|; or:|valid "
    r"(integer|string|boolean|dictionary|list|number)"
)
ITEM = "#/items/0"


def item(**fields):
    return {"items": [{"id": "a", "columns": {"text": "x"}, **fields}]}


def control(wish):
    return {"user": "a", "control": wish}


def column(value):
    return item(columns={"text": value})


RECOMMEND, ITEMS, EVENTS = "/v1/recommend", "/v1/items", "/v1/interactions"
VALUE = "text, a number, true, false, null, or a list of these"
FIELDS = (
    "history, k, allow, deny, cold_share_min, cold_share_max, explain, with_columns, control, user"
)
WISHES = "n_genres, genres, calibrate, diversity, first_genre_only"
BODIES = [
    (RECOMMEND, [1], "#", "got [1]; allowed: an object"),
    (RECOMMEND, None, "#", "got null; allowed: an object"),
    (RECOMMEND, {}, "#", "give either user or history, got neither"),
    (RECOMMEND, {"user": "a", "history": ["b"]}, "#", "give either user or history, got both"),
    (RECOMMEND, {"user": "a", "kk": 1}, "#/kk", f"unknown field; allowed: {FIELDS}"),
    (RECOMMEND, {"user": "a", "k": 0}, "#/k", "got 0; allowed: 1 or more"),
    (RECOMMEND, {"user": "a", "k": 10**30}, "#/k", f"got {10**30}; allowed: 100000 or less"),
    (RECOMMEND, {"user": "a", "k": "3"}, "#/k", 'got "3"; allowed: a whole number'),
    (RECOMMEND, {"user": "a", "k": 1.5}, "#/k", "got 1.5; allowed: a whole number"),
    (RECOMMEND, {"user": "a", "k": None}, "#/k", "got null; allowed: a whole number"),
    (RECOMMEND, {"user": "a", "explain": 1}, "#/explain", "got 1; allowed: true or false"),
    (RECOMMEND, {"user": "a", "allow": "x"}, "#/allow", 'got "x"; allowed: a list'),
    (RECOMMEND, {"history": []}, "#/history", "got []; allowed: 1 or more values"),
    (RECOMMEND, {"history": ["a"] * 10_001}, "#/history", "...; allowed: 1000 or fewer values"),
    (RECOMMEND, {"user": "a", "cold_share_min": "x"}, "#/cold_share_min", "allowed: a number"),
    (RECOMMEND, {"user": "a", "cold_share_min": 1.5}, "#/cold_share_min", "allowed: 1 or less"),
    (
        RECOMMEND,
        {"user": "a", "cold_share_min": 0.5, "cold_share_max": 0.1},
        "#",
        "got cold_share_min 0.5 and cold_share_max 0.1; allowed: a minimum up to the maximum",
    ),
    (RECOMMEND, control(3), "#/control", "got 3; allowed: an object"),
    (RECOMMEND, control({"k": 3}), "#/control/k", f"unknown field; allowed: {WISHES}"),
    (RECOMMEND, control({"n_genres": 0}), "#/control/n_genres", "got 0; allowed: 1 or more"),
    (RECOMMEND, control({"n_genres": True}), "#/control/n_genres", "got true; allowed: a whole nu"),
    (RECOMMEND, control({"n_genres": "5"}), "#/control/n_genres", 'got "5"; allowed: a whole num'),
    (RECOMMEND, control({"n_genres": 2.5}), "#/control/n_genres", "got 2.5; allowed: a whole numb"),
    (RECOMMEND, control({"diversity": 1.1}), "#/control/diversity", "got 1.1; allowed: 1 or less"),
    (RECOMMEND, control({"diversity": -1}), "#/control/diversity", "got -1; allowed: 0 or more"),
    (RECOMMEND, control({"diversity": float("nan")}), "#/control/diversity", "a finite number"),
    (RECOMMEND, control({"diversity": True}), "#/control/diversity", "got true; allowed: a number"),
    (RECOMMEND, control({"calibrate": 1}), "#/control/calibrate", "got 1; allowed: true or false"),
    (RECOMMEND, control({"genres": "x"}), "#/control/genres", 'got "x"; allowed: a list'),
    (RECOMMEND, control({"genres": {"x": 1}}), "#/control/genres", "allowed: a list"),
    (RECOMMEND, control({"genres": []}), "#/control/genres", "got []; allowed: 1 or more values"),
    (RECOMMEND, control({"genres": [1]}), "#/control/genres/0", "got 1; allowed: text"),
    (RECOMMEND, control({"genres": ["a", None]}), "#/control/genres/1", "got null; allowed: text"),
    (RECOMMEND, control({"genres": ["a\0"]}), "#/control/genres/0", "without the NUL character"),
    (RECOMMEND, control({"genres": ["a"] * 1001}), "#/control/genres", "1000 or fewer values"),
    (RECOMMEND, control({str(n): 1 for n in range(65)}), "#/control", "got 65 fields; allowed: "),
    (
        RECOMMEND,
        control({"genres": ["a"], "n_genres": 2}),
        "#/control",
        "at most one setting may be given, not n_genres and genres",
    ),
    (RECOMMEND, {"user": True}, "#/user", "allowed: a whole number"),
    (RECOMMEND, {"user": "a" * 257}, "#/user", "allowed: an id of at most 256 characters"),
    (ITEMS, {}, "#/items", "is missing"),
    (ITEMS, {"items": {}}, "#/items", "got {}; allowed: a list"),
    (ITEMS, {"items": [3]}, ITEM, "got 3; allowed: an object"),
    (ITEMS, {"items": [{"id": "a"}]}, f"{ITEM}/columns", "is missing"),
    (ITEMS, item(price=3), f"{ITEM}/price", "unknown field; allowed: id, columns"),
    (ITEMS, item(columns=[]), f"{ITEM}/columns", "got []; allowed: an object"),
    (ITEMS, item(columns={str(n): 1 for n in range(65)}), f"{ITEM}/columns", "got 65 fields; allo"),
    (ITEMS, item(columns={"": 1}), f"{ITEM}/columns/", 'got ""; allowed: text of 1 or more char'),
    (ITEMS, column({"a": 1}), f"{ITEM}/columns/text", f'got {{"a": 1}}; allowed: {VALUE}'),
    (ITEMS, column([[1]]), f"{ITEM}/columns/text", f"got [1]; allowed: {VALUE}"),
    (ITEMS, column([1] * 1001), f"{ITEM}/columns/text", "got a list of 1001 values; allowed: a li"),
    (ITEMS, column(2**63), f"{ITEM}/columns/text", f"got {2**63}; allowed: an integer of 64 bits"),
    (ITEMS, column(float("inf")), f"{ITEM}/columns/text", "got Infinity; allowed: a finite num"),
    (ITEMS, column("a\0"), f"{ITEM}/columns/text", "allowed: text without the NUL character"),
    (ITEMS, column("\ud83d"), f"{ITEM}/columns/text", r'got "\ud83d"; allowed: Unicode text with'),
    (
        EVENTS,
        {"interactions": [{"user": "a", "item": "b", "rating": 1}]},
        "#/interactions/0/rating",
        "unknown field; allowed: user, item, event",
    ),
    (
        EVENTS,
        {"interactions": [{"user": "a", "item": "b", "event": 7}]},
        None,
        "got 7; allowed: te",
    ),
    ("/v1/simulate", {"columns": {}}, "#/columns", "got {}; allowed: 1 or more values"),
    ("/v1/simulate", {"columns": {"text": "x"}, "k": 51}, "#/k", "got 51; allowed: 50 or less"),
    (
        "/v1/admin/keys",
        {"name": "a", "scope": "all"},
        "#/scope",
        "got \"all\"; allowed: 'read', 'owner', 'interactions', 'backend' or 'admin'",
    ),
    (
        "/v1/admin/keys",
        {"name": "\ud800", "scope": "read"},
        "#/name",
        "Unicode text without unpair",
    ),
]
URLS = [
    ("/v1/items?limit=0", "query.limit", 'got "0"; allowed: 1 or more'),
    ("/v1/items?limit=x", "query.limit", 'got "x"; allowed: a whole number'),
    ("/v1/items?limit=" + "9" * 5000, "query.limit", "allowed: a whole number of 64 bits"),
    ("/v1/similar/a?k=", "query.k", 'got ""; allowed: a whole number'),
    ("/v1/items/" + "a" * 300, "path.item", "allowed: text of 256 or fewer characters"),
    ("/v1/items/", "path.item", 'got ""; allowed: text of 1 or more characters'),
    ("/v1/users/null", "path.user", "user id; this word stands for a missing value"),
]


def check(answer, pointer, words):
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert words in error["detail"]
    assert pointer in (None, error["pointer"])
    assert not LEAKS.search(answer.text), answer.text


@pytest.fixture(scope="module")
def asked(tmp_path_factory, model_folder, lm_folder):
    """One application for the whole table, and the headers of a request."""
    from starlette.testclient import TestClient

    from warmstart.serve.api.app import create_app
    from warmstart.serve.engine.service import Service
    from warmstart.serve.settings import Settings
    from warmstart.serve.storage.keys import make_key

    store = f"sqlite:///{tmp_path_factory.mktemp('invalid') / 'store.db'}"
    service = Service(Settings(model=model_folder, encoder=str(lm_folder), store=store))
    token = make_key(service.store, "tests", "admin")
    service.keys.load(service.store.keys.all())
    with TestClient(create_app(service), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


@pytest.mark.parametrize(("path", "body", "pointer", "words"), BODIES)
def test_a_malformed_body_gets_a_plain_sentence(asked, path, body, pointer, words):
    headers = {"Content-Type": "application/json"}
    check(asked.post(path, content=json.dumps(body), headers=headers), pointer, words)


@pytest.mark.parametrize(("url", "pointer", "words"), URLS)
def test_a_malformed_url_gets_a_plain_sentence(asked, url, pointer, words):
    check(asked.get(url), pointer, words)


def test_all_wrong_fields_are_listed(asked):
    answer = asked.post(RECOMMEND, json={"user": "a", "kk": 1, "k": 0, "explain": "no"})
    assert [e["pointer"] for e in answer.json()["errors"]] == ["#/k", "#/explain", "#/kk"]


def test_requests_that_no_route_takes_get_a_plain_sentence(asked):
    assert asked.get("/nowhere").json()["detail"] == "the API has no such path; /docs lists all"
    answer = asked.patch("/v1/items/a")
    assert answer.json()["detail"] == "got the method PATCH; allowed: GET, PUT, DELETE"
    headers = {"Content-Type": "application/json"}
    answer = asked.post(ITEMS, content=b"\xff", headers=headers)
    assert "must be JSON in UTF-8" in answer.json()["detail"]
    answer = asked.post(ITEMS, content=b"", headers=headers)
    assert answer.json()["errors"][0]["detail"] == "the body is missing"

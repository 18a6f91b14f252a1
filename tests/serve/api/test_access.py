"""Who may do what, and what a request without a right key can make the service do."""

import asyncio
import json
import time

import pytest
from starlette.testclient import TestClient

from warmstart.serve.api.app import create_app
from warmstart.serve.engine.service import Service
from warmstart.serve.storage.keys import SCOPES, make_key


@pytest.fixture
def trained(toy_split):
    """An item of the training data."""
    return str(toy_split.train.catalogue.item_ids.values[0])


class Callers:
    """Sends requests with keys of several scopes."""

    def __init__(self, client, service):
        self._client, self._service, self._tokens = client, service, {}

    def token(self, name, scope=None):
        if name not in self._tokens:
            self._tokens[name] = make_key(self._service.store, name, scope or name)
            self._service.keys.load(self._service.store.keys.all())
        return self._tokens[name]

    def __call__(self, name, method, path, body=None, *, scope=None):
        headers = {"Authorization": f"Bearer {self.token(name, scope)}"}
        return self._client.request(method, path, json=body, headers=headers)


@pytest.fixture
def service(settings):
    return Service(settings)


@pytest.fixture
def call(service):
    with TestClient(create_app(service)) as client:
        yield Callers(client, service)


def wait_until_ready(call, item):
    end = time.monotonic() + 20
    while call("admin", "get", f"/v1/items/{item}").json()["state"] != "ready":
        assert time.monotonic() < end
        time.sleep(0.02)


def test_keys_allow_what_their_scope_includes(call, texts, user):
    columns, clicks = {"text": texts[0]}, {"interactions": [{"user": user, "item": "x"}]}
    call("admin", "put", "/v1/items/x", {"columns": columns})
    requests = {
        "recommend": ("post", "/v1/recommend", {"user": user}),
        "users": ("get", f"/v1/users/{user}", None),
        "items": ("get", "/v1/model", None),
        "write": ("post", "/v1/items", {"items": [{"id": "y", "columns": columns}]}),
        "interactions": ("post", "/v1/interactions", clicks),
        "erase": ("delete", f"/v1/users/{user}", None),
        "admin": ("get", "/v1/admin/keys", None),
    }
    for scope, permissions in SCOPES.items():
        for permission, request in requests.items():
            if (scope, permission) == ("owner", "write"):
                continue  # the item belongs to another key by now
            answer = call(scope, *request)
            assert answer.is_success == (permission in permissions), (scope, permission)
            assert answer.is_success or answer.status_code == 403
    assert "secret" not in call("admin", "get", "/v1/admin/keys").text


@pytest.mark.parametrize("header", [None, "Bearer ws_x_y", "Basic eA==", "Bearer", ""])
def test_a_request_without_a_right_key_is_refused(call, header):
    headers = {} if header is None else {"Authorization": header}
    for method, path in (("get", "/v1/model"), ("post", "/v1/items"), ("get", "/v1/admin/keys")):
        answer = call._client.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_revoked_key_is_refused(call, service):
    assert call("read", "get", "/v1/model").is_success
    name = call.token("read").split("_")[1]
    assert call("admin", "delete", f"/v1/admin/keys/{name}").status_code == 204
    end = time.monotonic() + 2
    while call("read", "get", "/v1/model").is_success:
        assert time.monotonic() < end
        time.sleep(0.02)


# -- the wall between keys --


def test_another_key_can_do_nothing_to_the_items_of_an_owner(call, texts, user):
    mine, theirs = {"columns": {"text": texts[0]}}, {"columns": {"text": texts[5]}}
    assert call("a", "put", "/v1/items/p-1", mine, scope="owner").status_code == 202
    wait_until_ready(call, "p-1")
    before = call("admin", "get", "/v1/items/p-1").json()
    for method, path, body in (
        ("put", "/v1/items/p-1", theirs),
        ("post", "/v1/items", {"items": [{"id": "q", **mine}, {"id": "p-1", **theirs}]}),
        ("delete", "/v1/items/p-1", None),
        ("post", "/v1/interactions", {"interactions": [{"user": user, "item": "p-1"}]}),
    ):
        answer = call("b", method, path, body, scope="owner")
        assert answer.status_code == 403, (method, path)
    assert call("b", "get", "/v1/items/p-1", scope="owner").status_code == 404
    assert call("b", "get", "/v1/items", scope="owner").json() == {"items": []}
    assert call("admin", "get", "/v1/items/p-1").json() == before
    assert call("admin", "get", "/v1/items/q").status_code == 404
    assert call("a", "delete", "/v1/items/p-1", scope="owner").status_code == 204
    assert call("b", "put", "/v1/items/p-1", theirs, scope="owner").status_code == 403


def test_an_owner_sees_its_items_and_no_users(call, texts, user):
    call("a", "put", "/v1/items/p-1", {"columns": {"text": texts[0]}}, scope="owner")
    wait_until_ready(call, "p-1")
    assert call("admin", "get", "/v1/items/p-1").json()["simulated_users"]
    own = call("a", "get", "/v1/items/p-1", scope="owner").json()
    assert (own["state"], own["simulated_users"]) == ("ready", [])
    listed = call("a", "get", "/v1/items", scope="owner").json()["items"]
    assert [(one["id"], one["simulated_users"]) for one in listed] == [("p-1", [])]
    body = {"columns": {"text": texts[0]}}
    simulated = call("a", "post", "/v1/simulate", body, scope="owner").json()
    assert simulated["users"] == []
    assert simulated["nearest"]
    assert call("a", "get", f"/v1/users/{user}", scope="owner").status_code == 403
    assert call("a", "post", "/v1/recommend", {"user": user}, scope="owner").status_code == 403


@pytest.mark.parametrize("scope", ["owner", "backend"])
def test_the_training_data_belongs_to_admins(call, texts, trained, scope):
    change = {"columns": {"text": texts[5]}}
    for method, body in (("put", change), ("delete", None)):
        answer = call(scope, method, f"/v1/items/{trained}", body)
        assert answer.status_code == 403
        assert "training data" in answer.json()["detail"]
    assert call("admin", "put", f"/v1/items/{trained}", change).status_code == 202
    assert call("backend", "put", f"/v1/items/{trained}", change).status_code == 202


def test_a_backend_changes_the_items_of_all_keys_and_their_owner_stays(call, texts):
    call("a", "put", "/v1/items/p-1", {"columns": {"text": texts[0]}}, scope="owner")
    owner = call("admin", "get", "/v1/items/p-1").json()["owner"]
    change = {"columns": {"text": texts[5]}}
    assert call("backend", "put", "/v1/items/p-1", change).status_code == 202
    changed = call("admin", "get", "/v1/items/p-1").json()
    assert (changed["owner"], changed["columns"]) == (owner, change["columns"])
    assert call("a", "delete", "/v1/items/p-1", scope="owner").status_code == 204
    assert "text" not in call("admin", "get", "/v1/items/p-1").json()["columns"]


def test_event_ids_of_one_key_do_not_block_those_of_another(call, trained, user):
    def record(key, name, item, **options):
        events = [{"user": name, "item": item, "event": "order-1"}]
        body = {"interactions": events, **options}
        return call(key, "post", "/v1/interactions", body, scope="interactions")

    assert record("b", "made-up", trained).json()["new"] == 1
    assert record("a", user, trained).json()["new"] == 1
    assert record("a", user, trained).json()["new"] == 0
    conflict = record("a", "another", trained)
    assert conflict.status_code == 409
    assert conflict.json()["errors"][0]["pointer"] == "#/interactions/0/event"
    partial = record("a", "another", trained, partial=True)
    assert partial.status_code == 202
    assert partial.json()["new"] == 0
    assert [one["pointer"] for one in partial.json()["refused"]] == ["#/interactions/0/event"]
    unknown = record("a", "another", "never-was", partial=True).json()["refused"]
    assert [one["pointer"] for one in unknown] == ["#/interactions/0/item"]
    assert record("a", "another", "never-was").status_code == 422


def test_the_interactions_of_a_user_are_erased(call, trained):
    events = [{"user": "guest", "item": trained}]
    call("backend", "post", "/v1/interactions", {"interactions": events})
    end = time.monotonic() + 20
    while not call("read", "get", "/v1/users/guest").is_success:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert call("backend", "delete", "/v1/users/guest").status_code == 204
    while call("read", "get", "/v1/users/guest").status_code != 404:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert call("backend", "delete", "/v1/users/guest").status_code == 404


# -- what a stranger costs --


def ask(app, headers, receive, path="/v1/items", method="POST"):
    """Send a request to the application itself, whose body comes from ``receive``."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), *headers],
        "client": ("192.0.2.1", 1),
        "server": ("test", 80),
        "scheme": "http",
        "root_path": "",
        "http_version": "1.1",
    }
    asyncio.run(app(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(body) if body else None


@pytest.mark.parametrize("scope", [None, "unknown", "read"])
def test_no_byte_of_a_body_is_read_before_the_key_is_checked(service, scope):
    headers = []
    if scope is not None:
        token = make_key(service.store, "t", scope) if scope == "read" else "ws_x_y"
        service.keys.load(service.store.keys.all())
        headers = [(b"authorization", f"Bearer {token}".encode())]

    async def receive():
        raise AssertionError("the body is read")

    status, _ = ask(create_app(service), headers, receive)
    assert status == (403 if scope == "read" else 401)
    service.close()


def test_a_body_that_does_not_arrive_is_given_up(settings):
    service = Service(settings.model_copy(update={"max_body_seconds": 0.3}))
    token = make_key(service.store, "t", "backend")
    service.keys.load(service.store.keys.all())

    async def drip():
        await asyncio.sleep(0.05)  # a byte at a time, for ever
        return {"type": "http.request", "body": b" ", "more_body": True}

    headers = [(b"authorization", f"Bearer {token}".encode())]
    started = time.monotonic()
    status, problem = ask(create_app(service), headers, drip)
    assert time.monotonic() - started < 5
    assert status == 408
    assert problem["detail"] == "the body did not arrive within 0.3 seconds"
    service.close()


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/v1/items", 8 * 2**20), ("/v1/recommend", 2**20), ("/v1/admin/keys", 2**14)],
)
def test_a_body_is_not_read_beyond_the_limit_of_its_route(service, path, limit):
    token = make_key(service.store, "t", "admin")
    service.keys.load(service.store.keys.all())
    received = 0

    async def receive():
        nonlocal received
        received += 2**12
        assert received <= limit + 2**12
        return {"type": "http.request", "body": b" " * 2**12, "more_body": True}

    headers = [(b"authorization", f"Bearer {token}".encode())]
    assert ask(create_app(service), headers, receive, path)[0] == 413
    received = 0
    headers.append((b"content-length", str(limit + 1).encode()))
    assert ask(create_app(service), headers, receive, path)[0] == 413
    assert received == 0  # it is refused by its length alone
    service.close()


@pytest.mark.parametrize("path", ["/metrics", "/docs", "/nowhere", "/console/", "/v1/model"])
def test_every_path_but_health_counts_for_the_rate_of_a_stranger(settings, path):
    service = Service(settings.model_copy(update={"rate_limit": "5/minute"}))
    with TestClient(create_app(service), follow_redirects=False) as client:
        statuses = [client.get(path, headers={"X-Forwarded-For": str(n)}) for n in range(7)]
        assert [answer.status_code == 429 for answer in statuses] == [False] * 5 + [True] * 2
        assert 1 <= int(statuses[-1].headers["Retry-After"]) <= 60
        assert client.get("/health/live").is_success

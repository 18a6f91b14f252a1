"""The client against the real application, the API's description, and failing networks."""

import asyncio
import contextlib
import inspect
import json
import os
import subprocess
import sys
import threading
import time
import typing
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pytest
import uvicorn

from tests.serve.conversing import fit_and_save, known_method
from warmstart.client import AsyncClient, Client, ServiceError, clients, operations, responses
from warmstart.client.request import Request
from warmstart.errors import ConfigError, DataError, WarmstartError
from warmstart.serve.api.app import create_app
from warmstart.serve.engine.service import Service
from warmstart.serve.settings import Settings
from warmstart.serve.storage.keys import make_key

OPERATIONS = [name for name, made in vars(Client).items() if hasattr(made, "__wrapped__")]
NOT_FOR_CLIENTS = {  # probes and Prometheus
    ("GET", "/health/live"),
    ("GET", "/health/lists"),
    ("GET", "/metrics"),
}
TEXT = {"title": "A walk on Roman roads"}

# Every operation with all its arguments.
FULL = {
    "write_items": lambda: operations.write_items({1: TEXT}),
    "write_item": lambda: operations.write_item(1, TEXT),
    "delete_item": lambda: operations.delete_item(1),
    "item": lambda: operations.item(1),
    "erase_user": lambda: operations.erase_user(1),
    "items": lambda: operations.items(limit=3, offset=2, search="x"),
    "similar": lambda: operations.similar(1, k=3, with_columns=["title"]),
    "recommend": lambda: operations.recommend(
        1, history=[1], allow=[1], deny=[2], explain=True, control={"n_genres": 2}
    ),
    "converse": lambda: operations.converse(
        [{"speaker": "user", "text": "x"}],
        history=[1],
        allow=[1],
        deny=[2],
        explain=True,
        control={"n_genres": 2},
    ),
    "simulate": lambda: operations.simulate(TEXT, k=3, with_columns=["title"]),
    "record": lambda: operations.record([{"user": 1, "item": 2}]),
    "user": lambda: operations.user(1, with_columns=["title"]),
    "model": operations.model,
    "status": operations.status,
    "keys": operations.keys,
    "make_key": lambda: operations.make_key("shop", "backend"),
    "revoke_key": lambda: operations.revoke_key("abc"),
    "swap_model": lambda: operations.swap_model("toy"),
    "ready": operations.ready,
}


# -- the description of the API --


@pytest.fixture(scope="module")
def made(tmp_path_factory, model_folder, lm_folder):
    """Makes an application with a service, and an admin token for it."""
    store = tmp_path_factory.mktemp("client") / "store.db"
    settings = Settings(
        model=model_folder,
        encoder=str(lm_folder),
        store=f"sqlite:///{store}",
        models_folder=model_folder.parent,
        poll_seconds=0.2,
    )

    def make():
        service = Service(settings)
        token = make_key(service.store, "tests", "admin")
        service.keys.load(service.store.keys.all())
        return create_app(service), token

    return make


@pytest.fixture(scope="module")
def description(made):
    app, _ = made()
    yield app.openapi()
    app.state.service.close()


def described(description, request: Request) -> dict:
    return description["paths"][request.path][request.method.lower()]


def fields(description, schema: dict) -> dict:
    """Properties of a schema, following references."""
    while "$ref" in schema:
        schema = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema["properties"]


def test_every_operation_of_the_api_has_a_method(description):
    there = {(verb.upper(), path) for path, verbs in description["paths"].items() for verb in verbs}
    requests = {name: make() for name, make in FULL.items()}
    assert set(OPERATIONS) == set(FULL)
    assert {(r.method, r.path) for r in requests.values()} == there - NOT_FOR_CLIENTS


@pytest.mark.parametrize("name", FULL)
def test_a_method_sends_exactly_the_parameters_of_the_operation(name, description):
    request = FULL[name]()
    operation = described(description, request)
    parameters = operation.get("parameters", [])
    in_path = [p["name"] for p in parameters if p["in"] == "path"]
    assert request.path.partition("{")[2].rstrip("}") == "".join(in_path)
    assert set(request.query) == {p["name"] for p in parameters if p["in"] == "query"}
    body = operation.get("requestBody")
    assert (body is None) == (request.body is None)
    if body is not None:
        schema = fields(description, body["content"]["application/json"]["schema"])
        assert set(request.body or ()) == set(schema)
        for key, value in (request.body or {}).items():
            items = schema[key].get("items", {})
            if "$ref" in items:
                assert set(value[0]) == set(fields(description, items))


@pytest.mark.parametrize("name", FULL)
def test_a_method_has_the_defaults_of_the_api(name, description):
    request = FULL[name]()
    operation = described(description, request)
    wanted = {p["name"]: p["schema"].get("default") for p in operation.get("parameters", [])}
    if request.body is not None:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        wanted |= {key: f.get("default") for key, f in fields(description, schema).items()}
    for key, parameter in inspect.signature(getattr(operations, name)).parameters.items():
        default = parameter.default
        if default is not inspect.Parameter.empty:
            default = list(default) if isinstance(default, tuple) else default
            name = "with" if key == "with_columns" else key  # a word of the language
            assert default == wanted[name], key


@pytest.mark.parametrize("name", [n for n, t in vars(responses).items() if typing.is_typeddict(t)])
def test_a_response_has_the_fields_of_the_api(name, description):
    schema = description["components"]["schemas"]["NewEvent" if name == "Interaction" else name]
    assert set(vars(responses)[name].__annotations__) == set(schema["properties"])


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("name", FULL)
def test_methods_have_signature_and_docstring(kind, name):
    method, make = getattr(kind, name), getattr(operations, name)
    signature = inspect.signature(method)
    assert list(signature.parameters) == ["self", *inspect.signature(make).parameters]
    assert method.__doc__ == make.__doc__
    assert method.__name__ == name


# -- against the application --


class Both:
    """Makes the methods of either client awaitable."""

    def __init__(self, client):
        self.client = client

    def __getattr__(self, name):
        async def call(*args, **kwargs):
            result = getattr(self.client, name)(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return call


@pytest.fixture(scope="module")
def served(made):
    """The application under uvicorn in a thread: its URL and an admin token."""
    with under_uvicorn(*made()) as found:
        yield found


@contextlib.contextmanager
def under_uvicorn(app, token):
    config = uvicorn.Config(app, port=0, log_config=None, ws="none", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", token
    server.should_exit = True
    thread.join(timeout=30)


@contextlib.asynccontextmanager
async def connected(kind, made, served):
    """A client of either kind: sync over TCP, or async directly into the application."""
    if kind is Client:
        url, token = served
        with Client(url, token) as client:
            yield Both(client)
        return
    app, token = made()
    transport = httpx.ASGITransport(app)
    client = AsyncClient("http://service", token, transport=transport)
    async with app.router.lifespan_context(app), client:
        yield Both(client)


@pytest.fixture(scope="module")
def talking(tmp_path_factory, lm_folder, toy_split):
    """As ``made``, with a model that can be asked in words."""
    folder = tmp_path_factory.mktemp("talking")
    with known_method():
        model = fit_and_save(toy_split.train, lm_folder, folder / "talk")
        settings = Settings(
            model=model, encoder=str(lm_folder), store=f"sqlite:///{folder / 'store.db'}"
        )

        def make():
            service = Service(settings)
            token = make_key(service.store, "tests", "read")
            service.keys.load(service.store.keys.all())
            return create_app(service), token

        yield make


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_conversation(kind, talking, toy_split):
    title = toy_split.train.catalogue.names[0]
    messages = [
        {"speaker": "user", "text": f"I liked {title}."},
        {"speaker": "system", "text": "What else?"},
    ]

    async def go(served):
        async with connected(kind, talking, served) as client:
            assert "converse" in (await client.model())["abilities"]
            found = await client.converse(messages, k=3, with_columns=["title"])
            assert [one["title"] for one in found["mentioned"]] == [title]
            assert [hit["rank"] for hit in found["items"]] == [1, 2, 3]
            assert found["model"]["method"] == "talk_mean"
            varied = await client.converse(messages, k=3, control={"diversity": 1.0})
            assert varied["items"] != found["items"]
            with pytest.raises(ServiceError, match="n_genres = 99, but the items have"):
                await client.converse(messages, control={"n_genres": 99})

    with under_uvicorn(*talking()) as served:
        asyncio.run(go(served))


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ({"genre": 1}, r"control: got {'genre': 1}; allowed: a mapping with one of 'n_genres'"),
        ("n_genres", "control: got 'n_genres'; allowed: a mapping"),
        ({"genres": "crafts"}, r"control\['genres'\]: got 'crafts'; allowed: a list"),
        ({"genres": [1]}, r"control\['genres'\]\[0\]: got 1; allowed: text"),
        ({"n_genres": True}, r"control\['n_genres'\]: got True; allowed: a whole number"),
        ({"calibrate": 1}, r"control\['calibrate'\]: got 1; allowed: True or False"),
        ({"diversity": float("nan")}, r"control\['diversity'\]: got nan; allowed: a finite"),
    ],
)
def test_a_malformed_control_is_refused(control, message):
    with pytest.raises(DataError, match=message):
        operations.recommend(1, control=control)


async def until(send, expected, seconds=20.0):
    """Send a request again until its response is as expected."""
    end = time.monotonic() + seconds
    while True:
        response = await send()
        if expected(response):
            return response
        assert time.monotonic() < end, response
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_all_operations_in_a_row(kind, made, served, toy_data):
    known = toy_data.user_ids.take([0])[0]
    first, second = ("s-1", "s-2") if kind is Client else ("a-1", "a-2")

    async def go():
        async with connected(kind, made, served) as client:
            assert await client.ready() is True
            model = await client.model()
            assert (model["method"], model["swapping"]) == ("filterllm", None)
            written = await client.write_items({first: TEXT, second: {"title": "Night trains"}})
            assert [row["outcome"] for row in written["items"]] == ["created", "created"]
            again = await client.write_item(first, TEXT)
            assert again["items"] == [{"id": first, "outcome": "unchanged"}]
            await until(lambda: client.item(first), lambda item: item["state"] == "ready")
            await until(lambda: client.item(second), lambda item: item["state"] == "ready")
            assert {i["id"] for i in (await client.items(limit=2))["items"]} == {first, second}
            assert second in {i["item"] for i in (await client.similar(first, k=500))["items"]}
            only = await client.recommend(known, allow=[first, second], cold_share_min=1, k=2)
            assert only["known_user"]
            assert {hit["item"] for hit in only["items"]} == {first, second}
            with pytest.raises(ServiceError, match="it has similar, simulate") as caught:
                await client.converse([{"speaker": "user", "text": "hello"}])
            assert caught.value.status == 422
            simulation = await client.simulate(TEXT, k=3)
            assert len(simulation["users"]) == 3
            events = [{"user": known, "item": first}, {"user": "guest", "item": first}]
            assert await client.record(events) == {"new": 2, "refused": []}
            event = {"user": known, "item": second, "event": f"order-{second}"}
            assert await client.record([event, event]) == {"new": 1, "refused": []}
            assert await client.record([event]) == {"new": 0, "refused": []}
            await until(lambda: client.item(first), lambda item: item["clicks"] == 2)
            assert first in (await client.user("guest"))["history"]
            guest = await client.recommend("guest", k=3)
            assert (guest["known_user"], len(guest["items"])) == (False, 3)
            wish, genres = {"n_genres": np.int64(2)}, model["genre_column"]
            two = await client.recommend(known, k=5, control=wish, with_columns=[genres])
            listed = [hit["columns"][genres].split("|") for hit in two["items"]]
            assert len({genre for one in listed for genre in one}) == 2
            for wish in (
                {"genres": {"crafts", "pottery"}},
                {"diversity": 0.5, "n_genres": None},
                {},
            ):
                assert (await client.recommend(known, control=wish))["items"]
            with pytest.raises(ServiceError, match=r"control: unknown categories"):
                await client.recommend(known, control={"genres": ["nothing"]})
            key = await client.make_key("shop", "read")
            assert key["key"] in {row["key"] for row in await client.keys()}
            assert await client.revoke_key(key["key"]) is None
            assert await client.delete_item(first) is None
            await until(lambda: client.item(first), lambda item: item["state"] == "deleted")
            status = await until(client.status, lambda status: status["behind"] == 0)
            assert status["store"] == "sqlite"
            assert await client.swap_model("toy") == {"status": "ok"}

    asyncio.run(go())


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_error_names_field_and_problem(kind, made, served):
    async def go():
        async with connected(kind, made, served) as client:
            with pytest.raises(ServiceError) as caught:
                await client.recommend("1", history=["2"])
            assert caught.value.status == 422
            assert "give either user or history" in str(caught.value)
            assert caught.value.errors[0]["pointer"].startswith("#")
            assert caught.value.request_id
            with pytest.raises(ServiceError, match="404: no such item") as caught:
                await client.item("p-0")
            assert isinstance(caught.value, WarmstartError)

    asyncio.run(go())


@pytest.mark.parametrize("user", ["a/b", "..", ".", "../..", "ü ?#%&+", "a//b", "%2E", "...", "/"])
def test_an_id_in_the_path_arrives_unchanged(user, served):
    url, token = served
    with Client(url, token) as client:
        client.write_item("p-9", TEXT)
        client.record([{"user": user, "item": "p-9"}])
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with contextlib.suppress(ServiceError):
                assert client.user(user)["id"] == user
                return
            time.sleep(0.02)
        raise AssertionError(user)


@pytest.mark.parametrize("user", ["\n", " ", "a\nb", "a\x00b", "null"])
def test_a_malformed_id_is_refused(user, served):
    with Client(*served) as client, pytest.raises(ServiceError, match=r"422.*allowed: a whole num"):
        client.record([{"user": user, "item": "p-9"}])


def test_without_a_key(served):
    with Client(served[0]) as client, pytest.raises(ServiceError, match="401: this request needs"):
        client.status()


class Lossy(httpx.HTTPTransport):
    """Delivers every request and loses the first ``lost`` responses."""

    def __init__(self, lost):
        super().__init__()
        self.lost = lost

    def handle_request(self, request):
        response = super().handle_request(request)
        if self.lost:
            self.lost -= 1
            response.close()
            raise httpx.ReadError("lost")
        return response


def test_an_interaction_whose_response_was_lost_counts_once(served):
    url, token = served
    with Client(url, token) as client:
        client.write_item("p-10", TEXT)
        before = client.items(limit=1000)["items"]
    with Client(url, token, transport=Lossy(2)) as client:
        assert client.record([{"user": "lossy", "item": "p-10"}]) == {"new": 0, "refused": []}
    with Client(url, token) as client:
        end = time.monotonic() + 20
        while client.item("p-10")["clicks"] != 1:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert len(client.items(limit=1000)["items"]) == len(before)


def test_a_key_whose_response_was_lost_is_not_made_twice(served):
    url, token = served
    with Client(url, token, transport=Lossy(1)) as client:
        with pytest.raises(ServiceError, match="does not answer: lost"):
            client.make_key("lossy", "read")
        there = client.keys()
        assert [key["name"] for key in there].count("lossy") == 1


# -- failing networks and services --


class Script:
    """A service that follows a script of statuses, with or without Retry-After, and errors."""

    def __init__(self, *outcomes):
        self.outcomes, self.bodies, self.pauses = list(outcomes), [], []

    def __call__(self, request):
        self.bodies.append(request.content)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        status, *wait = outcome if isinstance(outcome, tuple) else (outcome,)
        headers = {"Retry-After": str(wait[0])} if wait else {}
        return httpx.Response(status, headers=headers, json={"new": 1, "detail": "busy"})


@pytest.fixture(params=[Client, AsyncClient])
def scripted(request, monkeypatch):
    """Calls a method of either client, whose service follows a script."""

    def call(script, name, *args, **options):
        async def sleep(seconds):
            script.pauses.append(seconds)

        monkeypatch.setattr(clients, "time", SimpleNamespace(sleep=script.pauses.append))
        monkeypatch.setattr(clients, "asyncio", SimpleNamespace(sleep=sleep))
        transport = httpx.MockTransport(script)
        client = Both(request.param("http://service", "t", transport=transport, **options))
        return asyncio.run(getattr(client, name)(*args))

    return call


EVENT = [{"user": 1, "item": 2}]


def test_it_waits_as_long_as_the_service_asks(scripted):
    script = Script((429, 7), (503, 2), 202)
    assert scripted(script, "record", EVENT)["new"] == 1
    assert script.pauses == [7.0, 2.0]


def test_a_request_sent_again_is_the_same(scripted):
    script = Script(httpx.ReadTimeout("slow"), 503, 202)
    scripted(script, "record", EVENT)
    assert len(set(script.bodies)) == 1
    assert json.loads(script.bodies[0])["interactions"][0]["event"]
    assert script.pauses == [0.2, 0.4]


def test_two_interactions_are_two_events(scripted):
    script = Script(202)
    scripted(script, "record", [*EVENT, *EVENT])
    sent = json.loads(script.bodies[0])["interactions"]
    assert sent[0]["event"] != sent[1]["event"]


def test_retries_have_an_end(scripted):
    script = Script(*[(429, 1)] * 9)
    with pytest.raises(ServiceError, match="429: busy") as caught:
        scripted(script, "record", EVENT, retries=2)
    assert len(script.bodies) == 3
    assert caught.value.retry_after == 1.0


def test_a_wait_that_is_too_long_is_an_error(scripted):
    script = Script((429, 3600))
    with pytest.raises(ServiceError) as caught:
        scripted(script, "record", EVENT)
    assert (caught.value.retry_after, script.pauses) == (3600.0, [])


@pytest.mark.parametrize("outcome", [503, httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("")])
def test_a_request_for_a_key_is_not_repeated_if_one_may_exist(scripted, outcome):
    script = Script(outcome)
    with pytest.raises(ServiceError):
        scripted(script, "make_key", "shop", "read")
    assert len(script.bodies) == 1


@pytest.mark.parametrize("outcome", [429, httpx.ConnectError("no"), httpx.ConnectTimeout("no")])
def test_a_request_for_a_key_is_repeated_if_none_can_exist(scripted, outcome):
    script = Script(outcome, 201)
    scripted(script, "make_key", "shop", "read")
    assert len(script.bodies) == 2


@pytest.mark.parametrize("status", [302, 400, 404, 500, 502])
def test_other_failures_are_errors_at_once(scripted, status):
    script = Script(status)
    with pytest.raises(ServiceError) as caught:
        scripted(script, "status")
    assert caught.value.status == status


@pytest.mark.parametrize(
    "outcome", [503, httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), (503, 1)]
)
def test_ready_is_false_without_retries_if_the_service_is_down(scripted, outcome):
    script = Script(outcome)
    assert scripted(script, "ready") is False
    assert (len(script.bodies), script.pauses) == (1, [])


def test_ready_is_true_or_an_error_if_it_answers(scripted):
    assert scripted(Script(200), "ready") is True
    for status in (404, 429, 500):
        with pytest.raises(ServiceError, match=f"{status}: busy"):
            scripted(Script(status), "ready")


def client_of(content, status=200):
    """A client whose service always sends this response."""
    transport = httpx.MockTransport(lambda request: httpx.Response(status, content=content))
    return Client("http://service", transport=transport, retries=0)


def test_another_service_is_noticed():
    with pytest.raises(ServiceError, match="may be another service"):
        client_of(b"<html>").status()
    with pytest.raises(ServiceError, match="502: Bad Gateway"):
        client_of(b"<html>", 502).status()
    with pytest.raises(ServiceError, match="400: Bad Request"):
        client_of(b"[1]", 400).status()
    with pytest.raises(ServiceError, match="may be another service"):
        client_of(b"<html>").ready()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "url",
    [
        "localhost:8912",
        "service",
        "",
        "ftp://service",
        "http://",
        "http://a:99999",
        "http:/a",
        None,
    ],
)
def test_a_url_that_is_none_is_refused_at_once(kind, url):
    with pytest.raises(ConfigError, match=r"url .*; allowed: http://HOST or https://HOST"):
        kind(url)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "token", ["ws_secret\n", " ws_secret", "ws_sécret", "é", "", b"ws_secret", 7, "\ud800"]
)
def test_a_malformed_token_is_refused_and_not_shown(kind, token):
    with pytest.raises(ConfigError, match=r"allowed: ws_\.\.\., or None") as caught:
        kind("http://service", token)
    assert "ws_s" not in str(caught.value)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "options",
    [
        *({"timeout": value} for value in (0, -1, "10", None, float("nan"), float("inf"), True)),
        *({"retries": value} for value in (-1, 1.5, "3", None, True)),
        *({"max_retry_wait": value} for value in (-1, "30", None, float("nan"))),
    ],
)
def test_a_malformed_option_of_the_client_is_refused(kind, options):
    ((name, value),) = options.items()
    with pytest.raises(ConfigError, match=f"{name} {value!r}; allowed: "):
        kind("http://service", **options)
    kind("http://service", timeout=np.float64(3), retries=np.int64(0), max_retry_wait=float("inf"))


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("name", FULL)
def test_a_closed_client_says_so(kind, name):
    async def go():
        client = Both(kind("http://service", transport=httpx.MockTransport(Script())))
        await client.close()
        calls = {"delete_item": (1,), "item": (1,), "similar": (1,), "user": (1,)}
        calls |= {"write_items": ({1: TEXT},), "write_item": (1, TEXT), "simulate": (TEXT,)}
        calls |= {"record": (EVENT,), "make_key": ("a", "read")}
        calls |= {
            "erase_user": (1,),
            "recommend": (1,),
            "converse": ([],),
            "revoke_key": ("a",),
            "swap_model": ("toy",),
        }
        with pytest.raises(ServiceError, match="the client is closed") as caught:
            await getattr(client, name)(*calls.get(name, ()))
        assert caught.value.status is None

    asyncio.run(go())


# -- arguments --

NAN, INF, CYCLE = float("nan"), float("inf"), []
CYCLE.append(CYCLE)
FRAME = pd.DataFrame({"user": [1], "item": [2]})
WRONG_ARGUMENTS = [  # operation, arguments, options, the argument that is named
    ("write_items", ([{"id": 1}],), {}, "items"),
    ("write_items", (FRAME,), {}, "items"),
    ("write_items", (None,), {}, "items"),
    ("write_items", ({"a": "text"},), {}, "items['a']"),
    ("write_items", ({"a": pd.Series({"title": "x"})},), {}, "items['a']"),
    ("write_items", ({True: TEXT},), {}, "an id of items"),
    ("write_items", ({1.5: TEXT},), {}, "an id of items"),
    ("write_items", ({"a": {"price": INF}},), {}, "items['a']['price']"),
    ("write_items", ({"a": {"n": object()}},), {}, "items['a']['n']"),
    ("write_items", ({"a": {"n": {"b": 1}}},), {}, "items['a']['n']"),
    ("write_items", ({"a": {"n": [[1]]}},), {}, "items['a']['n']"),
    ("write_items", ({"a": {"n": CYCLE}},), {}, "items['a']['n']"),
    ("write_items", ({"a": {1: "x"}},), {}, "a name in items['a']"),
    ("write_item", ("a", ["x"]), {}, "columns"),
    ("write_item", (None, TEXT), {}, "item"),
    ("converse", ("hello",), {}, "messages"),
    ("converse", (["hello"],), {}, "messages[0]"),
    ("converse", ([{"speaker": "user"}],), {}, "messages[0]"),
    ("converse", ([{"speaker": "user", "text": 3}],), {}, "messages[0]['text']"),
    ("converse", ([{"speaker": "user", "text": "x", "to": "y"}],), {}, "messages[0]"),
    ("converse", ([],), {"history": 3}, "history"),
    ("simulate", ("a text",), {}, "columns"),
    ("simulate", (TEXT,), {"k": "3"}, "k"),
    ("item", ("",), {}, "item"),
    ("item", (True,), {}, "item"),
    ("item", (["a"],), {}, "item"),
    ("item", (np.datetime64("2024-05-31T00:00:00", "ns"),), {}, "item"),
    ("item", (np.float32(2**24),), {}, "item"),
    ("item", (float(2**53),), {}, "item"),
    ("item", (Decimal("1.5"),), {}, "item"),
    ("delete_item", (NAN,), {}, "item"),
    ("user", (pd.NA,), {}, "user"),
    ("similar", ("a",), {"k": 2.5}, "k"),
    ("items", (), {"limit": True}, "limit"),
    ("items", (), {"offset": None}, "offset"),
    ("record", (None,), {}, "interactions"),
    ("record", ({"user": 1, "item": 2},), {}, "interactions"),
    ("record", ("u1",), {}, "interactions"),
    ("record", ([{}],), {}, "interactions[0]['user']"),
    ("record", ([{"user": 1, "item": 2}, {"user": 1}],), {}, "interactions[1]['item']"),
    ("record", (["u1"],), {}, "interactions[0]"),
    ("record", ([("u1", "i1")],), {}, "interactions[0]"),
    ("record", ([{"user": 1, "item": 2, "rating": 1}],), {}, "interactions[0]"),
    ("record", ([{"user": 1, "item": 2, "event": 7}],), {}, "interactions[0]['event']"),
    ("record", (FRAME.rename(columns={"user": "who"}),), {}, "interactions[0]"),
    ("record", (FRAME.assign(time=3),), {}, "interactions[0]"),
    ("record", (FRAME["user"],), {}, "interactions[0]"),
    ("recommend", (True,), {}, "user"),
    ("recommend", (1,), {"k": None}, "k"),
    ("recommend", (1,), {"k": "3"}, "k"),
    ("recommend", (1,), {"k": np.float32(3)}, "k"),
    ("recommend", (1,), {"cold_share_min": NAN}, "cold_share_min"),
    ("recommend", (1,), {"cold_share_max": INF}, "cold_share_max"),
    ("recommend", (1,), {"cold_share_max": True}, "cold_share_max"),
    ("recommend", (1,), {"explain": 1}, "explain"),
    ("recommend", (1,), {"exclude_seen": "no"}, "exclude_seen"),
    ("recommend", (), {"history": [1, None]}, "history[1]"),
    ("recommend", (), {"history": FRAME}, "history"),
    ("recommend", (), {"history": np.array([[1], [2]])}, "history[0]"),
    ("recommend", (1,), {"allow": {"a": 1}}, "allow"),
    ("recommend", (1,), {"deny": [False]}, "deny[0]"),
    ("make_key", (7, "read"), {}, "name"),
    ("make_key", ("a", None), {}, "scope"),
    ("make_key", ("\ud800", "read"), {}, "name"),
    ("revoke_key", (7,), {}, "key"),
    ("swap_model", (Path("toy"),), {}, "folder"),
]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(("name", "given", "options", "argument"), WRONG_ARGUMENTS)
def test_a_wrong_argument_is_named_and_nothing_is_sent(kind, name, given, options, argument):
    client = Both(kind("http://service", transport=httpx.MockTransport(Script())))
    with pytest.raises(DataError) as caught:
        asyncio.run(getattr(client, name)(*given, **options))
    assert str(caught.value).startswith(f"{argument}: got ")
    assert "; allowed: " in str(caught.value)


@pytest.mark.parametrize("given", ["u1", b"u1", np.int64(7), np.array(7)])
def test_one_value_is_no_list(given):
    with pytest.raises(DataError, match=r"deny: got .*; allowed: a list, such as \["):
        operations.recommend(1, deny=given)


@pytest.mark.parametrize("given", ["", "x" * 257, "x" * 70_000])
def test_an_id_of_a_wrong_length_is_refused(given):
    with pytest.raises(DataError, match="allowed: "):
        client_of(b"{}").item(given)


def test_scalars_of_numpy_are_plain():
    request = operations.recommend(
        np.int64(3),
        k=np.int64(3),
        allow=pd.Series([4, 5]),
        deny=np.arange(2.0),
        cold_share_min=np.float32(0.5),
        cold_share_max=np.float64(1),
        explain=np.bool_(True),
        exclude_seen=np.False_,
    )
    assert json.dumps(request.body, sort_keys=True) == json.dumps(
        {
            "user": 3,
            "k": 3,
            "exclude_seen": False,
            "allow": [4, 5],
            "deny": [0, 1],
            "cold_share_min": 0.5,
            "cold_share_max": 1.0,
            "explain": True,
            "with": [],
        },
        sort_keys=True,
    )
    assert operations.items(limit=np.int8(3)).query == {"limit": 3, "offset": 0, "search": ""}
    found = operations.similar(np.str_("a"), k=np.uint64(3)).query
    assert found == {"k": 3, "with": []}
    for value in (12, 12.0, np.float32(12), np.int8(12), Decimal("12.0"), np.array(12)):
        assert operations.item(value).url == "/v1/items/12"


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_a_frame_of_interactions_is_recorded(frame):
    rows = frame({"user": ["u", "v"], "item": [1, 2], "event": ["e", None]})
    sent = (operations.record(rows).body or {})["interactions"]
    assert [(row["user"], row["item"]) for row in sent] == [("u", 1), ("v", 2)]
    assert sent[0]["event"] == "e"
    assert len(sent[1]["event"]) > 30
    assert json.dumps(sent)


def test_columns_are_what_they_are_in_a_file():
    columns = {
        "genres": {"b", "c", "a", "ab"},
        "tags": frozenset({"x", "w"}),
        "at": np.datetime64("2024-05-31T12:30:00", "ns"),
        "day": date(2024, 5, 31),
        "price": Decimal("4.50"),
        "sizes": np.array([1, 2]),
        "none": [NAN, None, pd.NA, pd.NaT],
    }
    assert (operations.write_item("a", columns).body or {})["columns"] == {
        "genres": ["a", "ab", "b", "c"],
        "tags": ["w", "x"],
        "at": "2024-05-31 12:30:00",
        "day": "2024-05-31",
        "price": "4.50",
        "sizes": [1, 2],
        "none": [None] * 4,
    }


def test_a_set_has_one_order_in_every_process():
    code = (
        "from warmstart.client import operations\n"
        "print(operations.simulate({'genres': set('abcdefgh')}).body)"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(runs) == 1


def test_a_number_is_refused_by_a_model_with_text_ids(served):
    with Client(*served) as client:
        for send in (
            lambda: client.write_items({88003: TEXT}),
            lambda: client.write_item(88003, TEXT),
            lambda: client.record([{"user": "u", "item": 88003}]),
            lambda: client.recommend(88003),
        ):
            with pytest.raises(ServiceError, match=r"number 88003.*ids of this model are text"):
                send()
        with pytest.raises(ServiceError, match="404"):
            client.item("88003")


def test_the_client_is_light():
    code = (
        "import sys, warmstart.client\n"
        "print(sorted(m for m in sys.modules if m.startswith('warmstart.')"
        " and not m.startswith('warmstart.client')))\n"
        "print([m for m in ('numpy', 'torch', 'polars', 'pydantic') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = ["['warmstart.errors', 'warmstart.version']", "[]"]
    assert found.stdout.splitlines() == expected, found.stderr


def test_without_httpx_it_says_what_to_install():
    code = "import sys; sys.modules['httpx'] = None; import warmstart.client"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'warmstart[client]'" in found.stderr


def test_a_client_does_not_show_its_key():
    client = Client("http://service", "ws_secret")
    assert "ws_secret" not in repr(client) + repr(vars(client))


def test_a_swap_waits_for_the_trial_whatever_the_timeout():
    """httpx's mock transports ignore timeouts, but requests carry them."""
    waits = {}

    def answer(request):
        waits[request.url.path] = request.extensions["timeout"]
        return httpx.Response(202, json={"status": "ok"})

    with Client("http://service", timeout=3, transport=httpx.MockTransport(answer)) as client:
        client.swap_model("live")
        client.delete_item("a")
    assert waits["/v1/admin/model"] == {"connect": 3, "read": 1860, "write": 3, "pool": 3}
    assert set(waits["/v1/items/a"].values()) == {3}

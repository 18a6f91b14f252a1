"""Encoder, follower, swaps and requests run concurrently without disturbing each other."""

import hashlib
import json
import logging
import shutil
import sys
import threading
import time

import pytest
from safetensors.numpy import load_file, save_file
from starlette.testclient import TestClient

from tests.serve.encoding import encode_texts
from warmstart.errors import ConfigError, WarmstartError
from warmstart.serve.api.app import create_app
from warmstart.serve.api.convert import as_item
from warmstart.serve.engine import encoder as encoder_module
from warmstart.serve.engine import metrics
from warmstart.serve.engine.deployment import Loader
from warmstart.serve.engine.encode_queue import QueueFullError
from warmstart.serve.engine.encodings import FORMAT, encode_items, model_hash, pack
from warmstart.serve.engine.index import Index
from warmstart.serve.engine.lists import ListRequest
from warmstart.serve.engine.service import Service
from warmstart.serve.storage.keys import AccessError, make_key
from warmstart.serve.storage.records import Event, Item, ItemState
from warmstart.serve.storage.store import Store
from warmstart.serve.storage.tables import encodings
from warmstart.storage import file_hash


def item(name, text, owner="shop"):
    return Item(name, {"text": text}, text, f"hash of {text}", owner)


@pytest.fixture
def users(service):
    return [str(name) for name in service.deployment.model.fitted.user_ids.values]


def catch_up(service):
    """Encode and follow until nothing is left."""
    while service.encoder.encode_waiting(service.deployment):
        pass
    while follow(service):
        pass


def follow(service):
    return service.follower.follow(service.deployment)


def lists(index, users):
    found = index.recommend([ListRequest(user=user, k=200, exclude_seen=False) for user in users])
    return [{hit.item: hit.score for hit in hits} for hits in found]


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# -- restarts and lag --


def make_changes(service, texts, users):
    """Create, update, delete, restore and click items, and apply the changes to the index."""
    service.encoder.write_items([item(f"p-{n}", texts[n]) for n in range(8)])
    catch_up(service)
    service.encoder.write_items([item("p-0", texts[9]), item("p-8", texts[8])])
    service.store.items.delete("p-1", "shop")
    service.store.items.delete("p-2", "shop")
    clicked = [Event(f"{u} {n}", u, f"p-{n}", "s") for n in (3, 4) for u in users[: 3 * n]]
    service.store.events.record([*clicked, Event("guest", "an unknown user", "p-5", "s")])
    follow(service)
    service.encoder.write_items([item("p-2", texts[7])])
    catch_up(service)


def assert_same_index(service, other, users):
    mine, theirs = (s.deployment.index for s in (service, other))
    assert mine.counts() == theirs.counts()
    for one, two in zip(lists(mine, users[:9]), lists(theirs, users[:9]), strict=True):
        assert one.keys() == two.keys()
        assert one == pytest.approx(two, rel=1e-4, abs=1e-5)
    assert mine.history("an unknown user") == theirs.history("an unknown user") == ["p-5"]


def test_a_restart_builds_the_same_index(settings, service, texts, users):
    make_changes(service, texts, users)
    again = Service(settings)
    assert_same_index(service, again, users)
    assert again.deployment.last_change == service.deployment.last_change
    again.close()


def test_a_follower_too_far_behind_rebuilds_its_index(settings, service, texts, users):
    late = Service(settings)
    token = make_key(service.store, "created meanwhile", "read")
    make_changes(service, texts, users)
    service.store.changes.trim(kept=1)
    assert follow(late)
    assert_same_index(service, late, users)
    late._key_follower.follow()
    late.keys.identify(f"Bearer {token}", "")
    service.encoder.write_items([item("p-9", texts[0])])
    catch_up(service)
    assert follow(late)  # later changes are followed as usual
    assert late.deployment.index.entry("p-9") is not None
    late.close()


def test_a_key_revoked_while_the_service_starts_is_refused(settings, monkeypatch):
    store = Store(settings.store)
    token = make_key(store, "shop", "read")

    def deploy_and_revoke(self, *args, deploy=Loader.deploy):
        deployment = deploy(self, *args)
        store.keys.revoke(token.split("_")[1])
        return deployment

    monkeypatch.setattr(Loader, "deploy", deploy_and_revoke)
    service = Service(settings)
    with pytest.raises(Exception, match="was revoked"):
        service.keys.identify(f"Bearer {token}", "")
    service.close()
    store.close()


def test_a_revoked_key_is_refused_although_the_follower_is_stuck(settings, texts, monkeypatch):
    service = Service(settings)
    token = make_key(service.store, "shop", "read")
    monkeypatch.setattr(service.follower, "follow", lambda deployment: 1 / 0)
    service.start()
    try:
        wait_for(lambda: is_accepted(service, token), 2)
        service.store.keys.revoke(token.split("_")[1])
        wait_for(lambda: not is_accepted(service, token), 2)
    finally:
        service.close()


def is_accepted(service, token):
    try:
        service.keys.identify(f"Bearer {token}", "")
    except AccessError:
        return False
    return True


# -- the queue --


def test_a_replica_that_does_not_lead_counts_what_others_have_encoded(settings, texts, monkeypatch):
    service = Service(settings.model_copy(update={"max_queue": 4}))
    monkeypatch.setattr(service.store.leadership, "acquire", lambda: False)
    service.start()
    try:
        for round in range(3):
            items = [item(f"{round}-{n}", texts[n]) for n in range(4)]
            service.encoder.write_items(items)
            with pytest.raises(QueueFullError):
                service.encoder.write_items([item("more", texts[5])])
            encoded = encode_texts(service.deployment.model, [one.text for one in items])
            packed = [pack(one.encoding) for one in encoded]
            service.store.encodings.save(
                service.deployment.model_hash, list(zip(items, packed, strict=True))
            )
            wait_for(lambda: service.waiting == 0)
    finally:
        service.close()
    assert service.waiting == 0


def test_concurrent_writes_do_not_exceed_the_queue(settings, texts):
    service = Service(settings.model_copy(update={"max_queue": 10}))
    accepted, refused, start = [], [], threading.Barrier(8)

    def write(thread):
        start.wait()
        for n in range(4):
            try:
                service.encoder.write_items([item(f"{thread}-{n}", texts[n])])
                accepted.append(thread)
            except QueueFullError:
                refused.append(thread)

    threads = [threading.Thread(target=write, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(accepted), len(refused)) == (10, 22)
    assert (
        len(service.store.encodings.missing(service.deployment.model_hash)) == service.waiting == 10
    )
    service.close()


def test_unchanged_and_unwritten_items_take_no_place_in_the_queue(service, texts, monkeypatch):
    service.encoder.write_items([item("a", texts[0])])
    service.encoder.write_items([item("a", texts[0])])
    assert service.waiting == 1
    monkeypatch.setattr(service.store.items, "write", lambda items, **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        service.encoder.write_items([item("b", texts[1])])
    assert service.waiting == 1


def test_rows_of_new_encodings_are_not_computed_again(service, settings, texts, monkeypatch):
    model = service.deployment.model
    computed = []

    def item_rows(encoding, compute=model.item_rows):
        computed.append(len(encoding["vectors"]))
        return compute(encoding)

    monkeypatch.setattr(model, "item_rows", item_rows)
    service.encoder.write_items([item(f"p-{n}", texts[n]) for n in range(3)])
    catch_up(service)
    assert service.deployment.index.entry("p-2") is not None
    assert computed == []
    for _ in range(2):  # as after a restart
        service.loader.build_index(model, service.deployment.model_hash, service.store)
    assert computed == [3, 3]


# -- items that change or fail while they are encoded --


def test_an_item_changed_while_it_is_encoded_is_encoded_again(service, texts, users, monkeypatch):
    service.encoder.write_items([item("a", texts[0])])

    def slow(model, given):
        monkeypatch.undo()
        service.encoder.write_items([item("a", texts[5])])
        return encode_items(model, given)

    monkeypatch.setattr(encoder_module, "encode_items", slow)
    assert service.encoder.encode_waiting(service.deployment) == 1
    follow(service)
    assert (
        service.deployment.index.entry("a") is None
    )  # the encoding of its old text does not count
    catch_up(service)
    (expected,) = encode_texts(service.deployment.model, [texts[5]])
    found = service.deployment.index.entry("a")
    assert found.audience.tolist() == expected.encoding["audience"].tolist()


def test_the_encoder_passes_the_columns_and_encodes_again_when_one_changes(service, monkeypatch):
    """Also a column that is no part of the text: a method may read it."""
    encoded = []

    def spy(model, given):
        encoded.append(given.columns["categories"].to_list())
        return encode_items(model, given)

    monkeypatch.setattr(encoder_module, "encode_items", spy)
    for categories in ("war|drama", ["comedy"], ["comedy"]):
        columns = {"title": "One", "categories": categories}
        service.encoder.write_items([as_item(service, "a", columns, "shop", "#/columns")])
        catch_up(service)
    assert encoded == [["war|drama"], ["comedy"]]


def test_an_item_that_cannot_be_encoded_stops_no_other(service, texts, monkeypatch):
    def fails_for_one(model, given):
        if texts[1] in given.texts:
            raise RuntimeError("no such token")
        return encode_items(model, given)

    monkeypatch.setattr(encoder_module, "encode_items", fails_for_one)
    service.encoder.write_items([item(f"p-{n}", texts[n]) for n in range(3)])
    catch_up(service)
    assert service.store.items.get("p-1").error == "RuntimeError: no such token"
    index = service.deployment.index
    assert [index.entry(f"p-{n}") is not None for n in range(3)] == [True, False, True]


def test_a_failed_item_is_retried_after_a_while(service, texts, monkeypatch):
    def broken(model, given):
        raise MemoryError("for a moment")

    monkeypatch.setattr(encoder_module, "encode_items", broken)
    service.encoder.write_items([item("a", texts[0])])
    catch_up(service)
    assert service.store.items.get("a").error == "MemoryError: for a moment"
    monkeypatch.undo()
    catch_up(service)
    assert service.deployment.index.entry("a") is None  # not at once
    service.encoder.step(service.deployment)
    follow(service)
    catch_up(service)
    assert service.deployment.index.entry("a") is not None
    assert service.store.items.get("a").error is None


@pytest.mark.parametrize("restarted", [False, True])
def test_a_damaged_encoding_stops_no_other_item_and_is_computed_again(
    service, settings, texts, restarted
):
    service.encoder.write_items([item(f"p-{n}", texts[n]) for n in range(3)])
    assert service.encoder.encode_waiting(service.deployment) == 3
    with service.store.database.write() as connection:
        connection.execute(encodings.update().where(encodings.c.item == "p-1").values(arrays=b"?"))
    if restarted:
        service = Service(settings)
    follow(service)
    index = service.deployment.index
    assert [index.entry(f"p-{n}") is not None for n in range(3)] == [True, False, True]
    follow(service)
    catch_up(service)
    assert index.entry("p-1").audience is not None
    if restarted:
        service.close()


# -- lists do not wait --


class SlowBackbone:
    """The model's backbone, whose fold-in waits for an event."""

    def __init__(self, backbone, entered, go_on):
        self._backbone, self._entered, self._go_on = backbone, entered, go_on

    def __getattr__(self, name):
        return getattr(self._backbone, name)

    def fold_in(self, interactions):
        self._entered.set()
        assert self._go_on.wait(20)
        return self._backbone.fold_in(interactions)


def test_a_list_does_not_wait_while_changes_are_applied(service, texts, users):
    index = service.deployment.index
    entered, go_on = threading.Event(), threading.Event()
    service.encoder.write_items([item("a", texts[0])])
    catch_up(service)
    service.store.events.record([Event("e", users[0], "a", "s")])
    hybrid = service.deployment.model.hybrid
    hybrid.backbone = SlowBackbone(hybrid.backbone, entered, go_on)
    follower = threading.Thread(target=lambda: follow(service))
    follower.start()
    try:
        assert entered.wait(20)
        computed = []
        client = threading.Thread(target=lambda: computed.append(lists(index, users[:1])))
        client.start()
        client.join(10)
        assert computed
    finally:
        go_on.set()
        follower.join()
    assert index.clicks_of("a") == 1


def test_items_can_be_looked_up_while_they_are_added(service, texts):
    """Lookups take no lock, and still never see an incomplete entry."""
    model = service.deployment.model
    packed = [pack(one.encoding) for one in encode_texts(model, texts[:4])]
    index, names = Index(model), [f"p-{n}" for n in range(400)]
    wrong, done = [], threading.Event()

    def look():
        while not done.is_set():
            for name in names:
                try:
                    entry = index.entry(name)
                    if entry is not None:
                        assert (entry.audience is None) == (entry.probabilities is None)
                        assert entry.click_weight == 0
                except Exception as error:  # noqa: BLE001 - any error is a failure
                    wrong.append(error)
                    return

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        lookers = [threading.Thread(target=look) for _ in range(3)]
        for looker in lookers:
            looker.start()
        for n, name in enumerate(names):
            stored = ItemState(item(name, texts[n % 4]), packed[n % 4])
            index.apply({name: stored})
        done.set()
        for looker in lookers:
            looker.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong, wrong[0]


# -- model swaps --


@pytest.fixture
def other_model(settings, model_folder, tmp_path):
    """The same model in another folder, with another hash; the folder's name."""
    models = tmp_path / "models"
    shutil.copytree(model_folder, models / "other")
    manifest = json.loads((models / "other/manifest.json").read_text())
    (models / "other/manifest.json").write_text(json.dumps(manifest, indent=3))
    return models / "other"


@pytest.fixture
def swappable(settings, other_model):
    service = Service(settings.model_copy(update={"models_folder": other_model.parent}))
    yield service
    service.close()


def swap(service):
    """Announce the other model and load it, as the swapper does."""
    service.store.models.announce("other", model_hash(service.settings.model))
    service._swap()


def test_a_swap_ends_although_items_keep_coming(swappable, texts, monkeypatch):
    number = iter(range(1000))
    encode = swappable.encoder.encode

    def write_another_and_encode(deployment, names, **options):
        swappable.encoder.write_items([item(f"n-{next(number)}", texts[0])])
        return encode(deployment, names, **options)

    swappable.encoder.write_items([item(f"n-{next(number)}", texts[0])])
    monkeypatch.setattr(swappable.encoder, "encode", write_another_and_encode)
    before = swappable.deployment
    swap(swappable)
    assert swappable.deployment is not before
    assert next(number) < 5
    assert swappable.deployment.index.entry("n-0") is not None
    monkeypatch.undo()
    catch_up(swappable)
    assert swappable.deployment.index.entry("n-1") is not None
    assert swappable.waiting == 0


def test_a_model_that_is_replaced_while_it_is_loaded_is_loaded_again(swappable, monkeypatch):
    read, attempts = swappable.loader._read, []

    def read_then_replace(folder):
        model = read(folder)
        if not attempts:
            model.save(folder)
        attempts.append(folder)
        return model

    monkeypatch.setattr(swappable.loader, "_read", read_then_replace)
    swappable.store.models.announce("other", model_hash(swappable.settings.model))
    _, found = swappable.loader.load(swappable.settings.models_folder / "other")
    assert len(attempts) == 2
    manifest = (swappable.settings.models_folder / "other/manifest.json").read_bytes()
    content = f"{FORMAT} ".encode() + manifest
    assert found == hashlib.sha256(content).hexdigest()


def test_a_model_that_cannot_encode_is_not_swapped_in(swappable, texts, monkeypatch):
    swappable.encoder.write_items([item("a", texts[0])])
    before = swappable.deployment
    catch_up(swappable)
    swappable.encoder.write_items([item("b", texts[1])])

    def broken(model, given):
        if model is not before.model:
            raise RuntimeError("it encodes nothing")
        return encode_items(model, given)

    monkeypatch.setattr(encoder_module, "encode_items", broken)
    failed = metrics.FAILED_SWAPS._value.get()
    swap(swappable)
    assert metrics.FAILED_SWAPS._value.get() == failed + 1
    assert swappable.deployment is before
    assert (swappable.swapper.swapping, swappable.store.items.get("b").error) == (None, None)
    catch_up(swappable)
    assert before.index.entry("b") is not None


def test_announced_models_are_swapped_in_one_by_one_despite_failures(swappable, other_model):
    shutil.copytree(other_model, other_model.parent / "bad")
    (other_model.parent / "bad/state.safetensors").write_bytes(b"?")
    swappable.start()
    for folder in ("bad", "other"):
        swappable.store.models.announce(folder, model_hash(swappable.settings.model))
        number = swappable.store.models.latest().number
        wait_for(lambda number=number: swappable.swapper.handled == number)
    wait_for(lambda: swappable.deployment.folder.name == "other")
    assert all(loop.is_alive for loop in swappable.loops)


def test_the_served_model_is_not_loaded_again(swappable, other_model):
    swap(swappable)
    served = swappable.deployment
    swap(swappable)
    assert swappable.deployment is served


def test_a_swap_outlives_a_restart_until_the_service_is_given_another_model(
    swappable, other_model, tmp_path
):
    swap(swappable)
    again = Service(swappable.settings)
    assert again.deployment.folder.name == "other"
    again.close()
    shutil.copytree(swappable.settings.model, tmp_path / "newer")
    manifest = json.loads((tmp_path / "newer/manifest.json").read_text())
    (tmp_path / "newer/manifest.json").write_text(json.dumps(manifest, indent=5))
    newer = Service(swappable.settings.model_copy(update={"model": tmp_path / "newer"}))
    assert newer.deployment.folder.name == "newer"
    assert newer.swapper.next_model(newer.deployment) is None
    newer.close()


def test_a_service_starts_although_the_swapped_model_is_gone(swappable, other_model):
    swap(swappable)
    shutil.rmtree(other_model)
    again = Service(swappable.settings)
    assert again.deployment.folder == swappable.settings.model
    again.close()


def test_a_model_is_tried_in_another_process_before_it_is_announced(swappable, other_model):
    """Its indices lie outside of the matrix, and its hashes are right."""
    swappable.swapper.announce("other", swappable.deployment)
    assert swappable.store.models.latest().folder == "other"
    arrays = load_file(other_model / "positives.safetensors")
    arrays["indices"][:5] = (2_000_000_000, -5, 2_000_000_000, -5, 7)
    save_file(arrays, other_model / "positives.safetensors")
    manifest = json.loads((other_model / "manifest.json").read_text())
    manifest["files"]["positives.safetensors"] = file_hash(other_model / "positives.safetensors")
    (other_model / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match=r"'other' cannot be served: .*other is damaged") as error:
        swappable.swapper.announce("other", swappable.deployment)
    assert str(other_model.parent) not in str(error.value)
    with pytest.raises(WarmstartError, match="missing") as error:
        swappable.swapper.announce("missing", swappable.deployment)
    assert str(other_model.parent) not in str(error.value)
    assert swappable.store.models.latest().number == 1


# -- requests --


@pytest.fixture
def lines(running, monkeypatch):
    """Entries of the structured log."""
    import structlog

    caught = structlog.testing.LogCapture()
    old = structlog.get_config()["processors"]
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, caught])
    yield caught.entries
    structlog.configure(processors=old)


def test_a_failure_is_a_problem_and_its_log_line_has_the_request(running, lines, monkeypatch):
    index = running.app.state.service.deployment.index
    monkeypatch.setattr(index, "recommend", lambda requests: {}["a bug, and no unknown user"])
    answer = running.post("/v1/recommend", json={"user": "x"}, headers={"X-Request-Id": "abc"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "abc"
    assert "a bug" not in answer.text
    (failed,) = [line for line in lines if line["event"] == "request failed"]
    assert failed["request"] == "abc"
    assert [line["status"] for line in lines if line["event"] == "request"] == [500]


def test_logs_hold_no_secrets(running, lines, texts, caplog):
    token = running.headers["Authorization"].removeprefix("Bearer ")
    with caplog.at_level(logging.DEBUG):
        running.put("/v1/items/x", json={"columns": {"text": texts[0]}})
        running.get("/v1/items/x?token=hidden")
        running.get("/v1/model", headers={"Authorization": f"Bearer {token}x"})
        made = running.post("/v1/admin/keys", json={"name": "n", "scope": "read"}).json()
    ours = [record.getMessage() for record in caplog.records if "httpx" not in record.name]
    logged = json.dumps(lines, default=str) + "".join(ours)
    assert len(lines) >= 4
    for secret in (token, made["token"], "hidden", texts[0]):
        assert secret not in logged


def test_ids_and_unknown_paths_add_no_time_series_to_the_metrics(running):
    for path in ("/v1/items/cardinality", "/v1/users/cardinality", "/cardinality", "/v1/cardin"):
        running.get(path)
    running.request("BREW", "/v1/items/cardinality")
    text = running.get("/metrics").text
    assert "cardin" not in text
    assert "BREW" not in text


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("delete", "/v1/items", {"GET", "POST"}),
        ("post", "/v1/items/x", {"GET", "PUT", "DELETE"}),
        ("head", "/v1/items/x", {"GET", "PUT", "DELETE"}),
        ("get", "/v1/recommend", {"POST"}),
    ],
)
def test_a_wrong_method_gets_405_with_the_allowed_methods(running, method, path, allowed):
    answer = running.request(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_of_another_content_type_is_refused(running, kind, texts):
    headers = {} if kind is None else {"Content-Type": kind}
    body = json.dumps({"columns": {"text": texts[0]}})
    answer = running.put("/v1/items/x", content=body, headers=headers)
    assert answer.status_code == 415, answer.text
    assert running.get("/v1/items/x").status_code == 404


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 100_000, b"1e", b"\x00"])
def test_a_body_that_is_not_json_is_refused(running, body):
    headers = {"Content-Type": "application/json"}
    answer = running.put("/v1/items/x", content=body, headers=headers)
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    ("columns", "pointer"),
    [
        ({"text": {"a": 1}}, "#/columns/text"),
        ({"text": [{"a": 1}]}, "#/columns/text"),
        ({"text": ["a"] * 1001}, "#/columns/text"),
        ({"a/b~c": {}}, "#/columns/a~1b~0c"),
        ({"text": float("nan")}, "#/columns"),
        ({"text": "None"}, "#/columns"),
        ({"text": float("inf")}, "#/columns/text"),
        ({"text": 2**63}, "#/columns/text"),
        ({"": "x"}, "#/columns/"),
        ("x", "#/columns"),
        (None, "#/columns"),
        ({str(n): [] for n in range(10_000)}, "#/columns"),
    ],
)
def test_an_error_points_to_the_wrong_field(running, columns, pointer):
    answer = running.put(
        "/v1/items/x",
        content=json.dumps({"columns": columns}),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_a_body_full_of_errors_gets_a_short_response(running):
    answer = running.post("/v1/items", json={"items": [1] * 200_000})
    assert answer.status_code == 422
    assert len(answer.content) < 10_000
    answer = running.post("/v1/items", json={str(n): 1 for n in range(100_000)})
    assert answer.status_code == 422
    assert len(answer.content) < 10_000


def test_columns_are_stored_as_sent(running, texts):
    columns = {"text": texts[0], "yes": True, "one": 1, "float": 1.0, "big": 2**62, "none": None}
    running.put("/v1/items/x", json={"columns": columns})
    kept = running.get("/v1/items/x").json()["columns"]
    assert json.dumps(kept, sort_keys=True) == json.dumps(columns, sort_keys=True)


def test_nothing_waits_while_changes_are_applied(running, user):
    index = running.app.state.service.deployment.index
    paths = ["/metrics", "/health/ready", "/v1/status", f"/v1/users/{user}", "/v1/items"]
    with index._applying:
        for path in paths:
            assert running.get(path).status_code == 200
        for options in ({}, {"explain": True, "k": 200}):
            asked = running.post("/v1/recommend", json={"user": user, **options})
            assert asked.status_code == 200


def test_many_simulations_do_not_block_other_requests(running, texts):
    body = {"columns": {"text": texts[0]}, "k": 1}
    n_requests, statuses = 60, []

    def simulate():
        statuses.append(running.post("/v1/simulate", json=body).status_code)

    threads = [threading.Thread(target=simulate) for _ in range(n_requests)]
    with running.app.state.service.deployment.encode_lock:  # the language model is busy
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        looked_up = []
        other = threading.Thread(target=lambda: looked_up.append(running.get("/v1/items")))
        other.start()
        other.join(10)
        in_time, early = list(looked_up), list(statuses)
    for thread in (other, *threads):
        thread.join()
    assert [answer.status_code for answer in in_time] == [200]
    assert (early, statuses) == ([], [200] * n_requests)


def test_a_broken_model_leaves_no_new_store_behind(tmp_path, settings):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "manifest.json").write_text("{")
    for update in ({"model": folder}, {"rate_limit": "often"}):
        with pytest.raises(WarmstartError):
            Service(settings.model_copy(update=update))
        assert not (tmp_path / "store.db").exists()


def test_closing_is_quick_and_ends_all_threads(settings):
    service = Service(settings)
    with TestClient(create_app(service)) as client:
        assert client.get("/health/ready").status_code == 200
    assert not any(loop.is_alive for loop in service.loops)

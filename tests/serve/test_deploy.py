"""Dockerfile and compose.yaml, without Docker: the settings, commands and paths in them exist."""

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
from warmstart.serve.storage.database import store_url

REPOSITORY = Path(__file__).parent.parent.parent
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
SERVICE = COMPOSE["services"]["service"]


def instructions():
    """Yield (keyword, arguments) of every instruction; continued lines are joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            keyword, arguments = line.split(maxsplit=1)
            yield keyword, " ".join(arguments.split())


def arguments_of(keyword):
    return [arguments for found, arguments in instructions() if found == keyword]


def environment():
    """Environment variables that the last stage of the image sets."""
    last = arguments_of("ENV")[-1]
    return dict(pair.split("=", 1) for pair in shlex.split(last))


def healthcheck():
    (check,) = arguments_of("HEALTHCHECK")
    return json.loads(check.partition("CMD ")[2])


def parse(arguments):
    """Parse arguments of the command line without running the command."""
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
    assert settings.host == "0.0.0.0"  # the service must be reachable from outside the container


@pytest.mark.parametrize("line", [json.loads(arguments_of("CMD")[0]), SERVICE["command"]])
def test_the_command_parses(line):
    assert json.loads(arguments_of("ENTRYPOINT")[0]) == ["warmstart"]
    models = environment()["WARMSTART_MODELS_FOLDER"]
    assert parse(line)["model"].is_relative_to(models)


# -- the image --


def test_copied_files_exist_and_are_not_ignored():
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    for line in arguments_of("COPY"):
        *sources, _ = line.split()
        if sources[0].startswith("--from="):
            assert sources[0] == "--from=build"
            continue
        for source in sources:
            assert (REPOSITORY / source).exists()
            assert f"!{source}" in ignored


def test_files_needed_for_the_installation_are_copied():
    copied = {source for line in arguments_of("COPY") for source in line.split()}
    assert {"pyproject.toml", "README.md", "LICENSE", "src", "constraints.txt"} <= copied
    installs = " ".join(arguments_of("RUN"))
    assert "--constraint constraints.txt '.[serve]'" in installs
    models = re.search(r'models="(.+)"', (REPOSITORY / "tools/setup.sh").read_text())
    assert models is not None
    assert models[1] in installs  # a model fitted with the default LMs can be served


def test_the_image_does_not_run_as_root():
    *_, user = arguments_of("USER")
    assert int(user) > 0
    assert f"useradd --uid {user} " in arguments_of("RUN")[-1]
    keywords = [keyword for keyword, _ in instructions()]
    assert "RUN" not in keywords[keywords.index("USER") :]


def test_store_and_models_are_on_volumes():
    volumes = json.loads(arguments_of("VOLUME")[0])
    assert environment()["WARMSTART_MODELS_FOLDER"] in volumes
    store = Path(store_url(environment()["WARMSTART_STORE"]).database or "")
    assert str(store.parent) in volumes
    owned = arguments_of("RUN")[-1]  # the folders that belong to the user
    assert all(f" {volume}" in owned for volume in volumes)


def test_the_exposed_port_is_the_setting():
    port = environment()["WARMSTART_PORT"]
    assert arguments_of("EXPOSE") == [port]
    assert [mapping.rpartition(":")[2] for mapping in SERVICE["ports"]] == [port]


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_requests_the_live_route(status, code, service):
    requested = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requested.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        python, *rest = healthcheck()
        env = {**os.environ, "WARMSTART_PORT": str(server.server_port)}
        done = subprocess.run([sys.executable, *rest], env=env, capture_output=True)
        server.shutdown()
    assert python == "python"
    assert (done.returncode, requested) == (code, ["/health/live"])
    assert "/health/live" in create_app(service).openapi()["paths"]


# -- compose --


def test_the_service_waits_for_a_healthy_store():
    assert SERVICE["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    place = store_url(SERVICE["environment"]["WARMSTART_STORE"])
    store = COMPOSE["services"][place.host]
    assert "healthcheck" in store
    names = store["environment"]
    assert (place.username, place.database) == (names["POSTGRES_USER"], names["POSTGRES_DB"])


def test_no_password_is_in_the_file():
    assert store_url(SERVICE["environment"]["WARMSTART_STORE"]).password is None
    password = SERVICE["environment"]["PGPASSWORD"]
    assert password == COMPOSE["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert password.startswith("${POSTGRES_PASSWORD:?")  # compose refuses to start without it
    ignored = (REPOSITORY / ".gitignore").read_text().splitlines()
    assert ".env" in ignored


def test_durable_data_is_on_named_volumes():
    mounted = {
        volume.split(":")[0]: volume.split(":")[1]
        for service in COMPOSE["services"].values()
        for volume in service["volumes"]
    }
    assert set(mounted) == set(COMPOSE["volumes"])
    assert set(json.loads(arguments_of("VOLUME")[0])) <= set(mounted.values())


def test_requests_in_progress_get_time_to_finish():
    assert arguments_of("STOPSIGNAL") == ["SIGTERM"]
    assert int(SERVICE["stop_grace_period"].rstrip("s")) > main._GRACE_S

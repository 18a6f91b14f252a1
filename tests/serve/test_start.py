"""``warmstart serve`` and ``warmstart keys``: how they start, fail and stop."""

import json
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from warmstart.cli import main
from warmstart.serve.main import AddressError, free_port


def run(capsys, *arguments):
    """Run a command in this process; return its exit code and its lines on stderr."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code, capsys.readouterr().err.splitlines()


@pytest.fixture
def busy():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def test_a_busy_port_is_one_line_before_the_model_is_loaded(busy, capsys, tmp_path):
    store = tmp_path / "store.db"
    code, lines = run(
        capsys,
        *("serve", str(tmp_path / "no-model"), "--store", f"sqlite:///{store}"),
        *("--port", str(busy)),
    )
    reason = "Address already in use"
    assert (code, lines) == (
        1,
        [f"warmstart: cannot listen on host '127.0.0.1', port {busy}: {reason}"],
    )
    assert not store.exists()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a" * 70, "1.2.3.4.5"])
def test_a_host_that_is_not_of_this_machine_is_one_line(host, capsys):
    code, lines = run(capsys, "serve", "no-model", "--host", host)
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"warmstart: cannot listen on host '{host}', port 8000: ")


def test_a_free_port_is_found_and_a_port_in_use_refused():
    port = free_port("127.0.0.1", 0)
    assert free_port("127.0.0.1", port) == port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(AddressError, match="in use"):
        free_port("127.0.0.1", port)


def test_a_service_serves_and_stops(model_folder, lm_folder, tmp_path):
    command = [
        *(
            sys.executable,
            "-m",
            "warmstart",
            "serve",
            str(model_folder),
            "--encoder",
            str(lm_folder),
        ),
        *("--store", f"sqlite:///{tmp_path / 'store.db'}", "--port", "0"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        killer = threading.Timer(120, process.kill)
        killer.start()
        assert process.stderr is not None
        for line in process.stderr:
            event = json.loads(line)
            if event["event"] == "listening":
                break
        ((host, port),) = event["addresses"]
        assert httpx.get(f"http://{host}:{port}/health/ready").json() == {"status": "ok"}
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        killer.cancel()


def test_a_broken_model_is_one_line_and_leaves_no_store_behind(tmp_path):
    store = tmp_path / "store.db"
    command = [
        *(sys.executable, "-m", "warmstart", "serve", str(tmp_path), "--port", "0"),
        *("--store", f"sqlite:///{store}"),
    ]
    found = subprocess.run(command, capture_output=True, text=True)
    (line,) = found.stderr.splitlines()
    assert (found.returncode, line.startswith("warmstart: ")) == (2, True)
    assert not store.exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            ["create", "--name", "n", "--scope", "all"],
            "scope 'all'; allowed: read, owner, interactions, backend, admin",
        ),
        (["list"], "there is no store"),
        (["revoke", "1f2e3d4c5b6a"], "there is no store"),
    ],
)
def test_a_keys_command_that_fails_makes_no_store(command, words, tmp_path, capsys):
    store = tmp_path / "store.db"
    code, (line,) = run(capsys, "keys", *command, "--store", f"sqlite:///{store}")
    assert code == 2
    assert words in line
    assert not store.exists()

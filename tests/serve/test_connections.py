"""The service as a process, under connections that are slow, silent or too many."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import httpx
import pytest


@contextmanager
def started(model_folder, lm_folder, tmp_path, *, files=None, **environment):
    """Start a service; gives its process, host and port."""
    command = [
        *(sys.executable, "-m", "warmstart", "serve", str(model_folder), "--port", "0"),
        *("--encoder", str(lm_folder), "--store", f"sqlite:///{tmp_path / 'store.db'}"),
    ]

    def limit_files():
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    names = {f"WARMSTART_{name.upper()}": str(value) for name, value in environment.items()}
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            command, stderr=log, env=os.environ | names, preexec_fn=limit_files
        ) as process,
    ):
        try:
            (host, port) = address(tmp_path / "log", process)
            yield process, host, port
        finally:
            process.kill()


def lines(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def address(log, process):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        for line in lines(log):
            if line["event"] == "listening":
                return line["addresses"][0]
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@contextmanager
def opened(host, port, number, content=b"POST /v1/items HTTP/1.1\r\nHost: x\r\n"):
    """Connections that send half of a request."""
    with ExitStack() as stack:
        connections = []
        for _ in range(number):
            connection = socket.create_connection((host, port), timeout=5)
            connections.append(stack.enter_context(connection))
            connection.sendall(content)
        yield connections


def is_open(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1000) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


def test_slow_and_silent_connections_are_closed_and_fill_no_log(model_folder, lm_folder, tmp_path):
    options = {"max_header_seconds": 1, "files": 200}
    with started(model_folder, lm_folder, tmp_path, **options) as (process, host, port):
        # More than the process may open files.
        with opened(host, port, 230) as slow, opened(host, port, 20, b"") as silent:
            end = time.monotonic() + 30
            while any(map(is_open, [*slow, *silent])):
                assert time.monotonic() < end
                time.sleep(0.1)
        assert httpx.get(f"http://{host}:{port}/health/live", timeout=5).is_success
        assert (tmp_path / "log").stat().st_size < 20_000
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0


def test_a_stop_signal_ends_the_service_although_connections_are_open(
    model_folder, lm_folder, tmp_path
):
    with (
        started(model_folder, lm_folder, tmp_path, max_header_seconds=2) as (process, host, port),
        opened(host, port, 5) as slow,
        httpx.Client() as client,
    ):
        assert client.get(f"http://{host}:{port}/health/live").is_success
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
        assert not any(map(is_open, slow))


def test_no_worker_stays_when_the_service_is_killed(model_folder, lm_folder, tmp_path):
    with started(model_folder, lm_folder, tmp_path) as (process, host, port):
        process.kill()
        process.wait()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                httpx.get(f"http://{host}:{port}/health/live", timeout=1)
            except httpx.TransportError:
                return
            time.sleep(0.1)
    pytest.fail("a worker still serves")

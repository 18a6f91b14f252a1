"""The service under attack: what a stranger, or one key, can make everybody else wait for.

    python benchmarks/attacks.py MODEL [--only parse,slow,clicks,history,metrics,items]
    PYTHONPATH=OLD/src python benchmarks/attacks.py MODEL       the same against another version

While each attack runs, one client asks for lists and another for /health/live; the table has the
longest time that either waited, in milliseconds, beside that without any attack.

parse      8 MB of nested JSON without a key, three at a time
slow       connections that send half of a request, 230 against a limit of 200 open files
clicks     60,000 clicks by strangers on one item, then new items with a click before each
history    a history of 10,000 ids, k 1000, explain, by a read key
metrics    /metrics on 16 connections, without a key
items      200,000 items in one request, three times, with a key that may write
"""

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import polars as pl
import typer

_SECONDS = 8  # for which an attack goes on
_CLICKS = 60_000


class Service:
    """A running service, its keys, and the two clients that measure how long they wait."""

    def __init__(self, model: Path, base: str, tokens: dict[str, str]) -> None:
        self.base, self.tokens = base, tokens
        # Read as files: other versions of the package have other modules.
        self.users = pl.read_parquet(model / "users.parquet")["user"].to_list()
        self.items = pl.read_parquet(model / "items.parquet")["item"].to_list()
        self.column = json.loads((model / "manifest.json").read_text())["text_columns"][0]

    def client(self, scope: str | None = None) -> httpx.Client:
        headers = {} if scope is None else {"Authorization": f"Bearer {self.tokens[scope]}"}
        return httpx.Client(base_url=self.base, headers=headers, timeout=120)

    @contextmanager
    def watched(self) -> Iterator[dict[str, float]]:
        """Ask for lists and for health all the time; gives the longest wait of each, in ms."""
        worst, stop = {"list": 0.0, "health": 0.0}, threading.Event()

        def ask(name: str, call: Callable[[httpx.Client], httpx.Response]) -> None:
            with self.client("read") as client:
                while not stop.is_set():
                    started = time.perf_counter()
                    try:
                        call(client)
                    except httpx.TransportError:
                        time.sleep(0.01)  # its time counts
                    worst[name] = max(worst[name], 1000 * (time.perf_counter() - started))
                    time.sleep(0.005)

        body = {"user": self.users[0], "k": 10}
        calls = {
            "list": lambda client: client.post("/v1/recommend", json=body),
            "health": lambda client: client.get("/health/live"),
        }
        threads = [threading.Thread(target=ask, args=one) for one in calls.items()]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        worst.update(list=0.0, health=0.0)
        try:
            yield worst
        finally:
            stop.set()
            for thread in threads:
                thread.join()


@contextmanager
def running(model: Path, files: int | None = None) -> Iterator[Service]:
    """Start a service on a new store, with at most so many open files."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/store.db"
        tokens = {"read": _key(url, "read"), "backend": _key(url, "backend") or _key(url, "write")}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]

        def limit() -> None:
            if files is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        command = [sys.executable, "-m", "warmstart", "serve", str(model), "--store", url]
        environment = os.environ | {"WARMSTART_RATE_LIMIT": "100000/second"}
        with (
            (Path(folder) / "log").open("w") as log,
            subprocess.Popen(
                [*command, "--port", str(port)], stderr=log, env=environment, preexec_fn=limit
            ) as process,
        ):
            service = Service(model, f"http://127.0.0.1:{port}", tokens)
            try:
                _wait(service)
                yield service
            finally:
                process.terminate()
                process.wait(60)
                lines = (Path(folder) / "log").read_text().count("\n")
                print(f"  {lines} lines of log", flush=True)


def _key(store: str, scope: str) -> str:
    """Make a key; empty if this version has no such scope."""
    command = [sys.executable, "-m", "warmstart", "keys", "create", "--name", scope]
    done = subprocess.run(
        [*command, "--scope", scope, "--store", store], capture_output=True, text=True
    )
    return done.stdout.strip()


def _wait(service: Service) -> None:
    for _ in range(600):
        try:
            if httpx.get(f"{service.base}/health/ready").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("the service did not start")


def parse(service: Service) -> None:
    body = b"[" + b"[]," * 2_700_000 + b"[]]"
    headers = {"Content-Type": "application/json"}

    def send() -> None:
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            try:
                with service.client() as client:
                    client.post("/v1/recommend", content=body, headers=headers)
            except httpx.TransportError:
                time.sleep(0.01)

    _at_once(3, send)


def slow(service: Service) -> None:
    address = httpx.URL(service.base)
    with ExitStack() as stack:
        for _ in range(230):
            with contextlib.suppress(TimeoutError):  # the service accepts no more of them
                connection = socket.create_connection((address.host, address.port or 80), 1)
                stack.enter_context(connection).sendall(b"POST /v1/items HTTP/1.1\r\nHost: x\r\n")
        time.sleep(40)


def clicks(service: Service) -> None:
    item = service.items[0]
    with service.client("backend") as client:
        for start in range(0, _CLICKS, 1000):
            events = [{"user": f"s-{n}", "item": item} for n in range(start, start + 1000)]
            _sent(client.post("/v1/interactions", json={"interactions": events}))
        waits = []
        for number in range(20):
            event = {"user": f"t-{number}", "item": item}
            _sent(client.post("/v1/interactions", json={"interactions": [event]}))
            waits.append(_appears(service, client, number))
        waits.sort()
        print(f"  new item in a list: median {waits[10]:.0f} ms, worst {waits[-1]:.0f} ms")


def _appears(service: Service, client: httpx.Client, number: int) -> float:
    new = {"id": f"new-{number}", "columns": {service.column: f"night train {number}"}}
    started = time.perf_counter()
    _sent(client.post("/v1/items", json={"items": [new]}))
    body = {"user": service.users[0], "k": 1, "allow": [new["id"]], "cold_share_min": 1}
    while not client.post("/v1/recommend", json=body).json().get("items"):
        time.sleep(0.002)
    return 1000 * (time.perf_counter() - started)


def history(service: Service) -> None:
    ids = [service.items[n % 900] for n in range(10_000)]

    def send() -> None:
        with service.client("read") as client:
            for given in (ids, ids[:1000]):  # the second is below the limit of newer versions
                body = {"history": given, "k": 1000, "explain": True}
                for _ in range(3):
                    client.post("/v1/recommend", json=body)

    _at_once(2, send)


def metrics(service: Service) -> None:
    def send() -> None:
        end = time.monotonic() + _SECONDS
        with service.client() as client:
            while time.monotonic() < end:
                client.get("/metrics")

    _at_once(16, send)


def items(service: Service) -> None:
    new = [{"id": "x", "columns": {service.column: "x"}}] * 200_000
    content = json.dumps({"items": new}).encode()
    with service.client("backend") as client:
        for _ in range(3):
            client.post("/v1/items", content=content, headers={"Content-Type": "application/json"})


def _sent(response: httpx.Response) -> None:
    response.raise_for_status()


def _at_once(number: int, work: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


ATTACKS: dict[str, Callable[[Service], None]] = {
    "parse": parse,
    "slow": slow,
    "clicks": clicks,
    "history": history,
    "metrics": metrics,
    "items": items,
}


def main(
    model: Path, only: Annotated[str, typer.Option(help="some of the attacks")] = ",".join(ATTACKS)
) -> None:
    """Run the attacks and print the longest waits."""
    with running(model) as service, service.watched() as worst:
        time.sleep(_SECONDS)
    print(f"no attack: list {worst['list']:.0f} ms, health {worst['health']:.0f} ms", flush=True)
    for name in only.split(","):
        with running(model, 200 if name == "slow" else None) as service:
            with service.watched() as worst:
                ATTACKS[name](service)
            print(f"{name}: list {worst['list']:.0f} ms, health {worst['health']:.0f} ms")


if __name__ == "__main__":
    typer.run(main)

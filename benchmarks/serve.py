"""The service: time until a new item is recommended, lists per second, time to start.

    python benchmarks/serve.py fresh MODEL          from POST to the first list that has the item:
        alone, beside 200 lists a second, beside 8 clients of recommend, and beside 4 of explain
    python benchmarks/serve.py lists --items 20000 --items 1000000
    python benchmarks/serve.py restart --items 1000000     seconds to start on a full store, memory
    python benchmarks/serve.py memory MODEL  after 100,000 items came and went, a million clicks
    python benchmarks/serve.py index MODEL                  processor time of a list, without HTTP

The service runs in its own process, on SQLite. The load comes from wrk, which must be installed.
"""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer

app = typer.Typer(add_completion=False)
CLI = [sys.executable, "-m", "warmstart"]
WORDS = ["night", "train", "river", "stone", "garden", "letter", "winter", "island", "song"]
LUA = """
local users = {USERS}
request = function()
  local user = users[math.random(#users)]
  local body = string.format('{"user": %s, "k": 20, "explain": EXPLAIN}', user)
  return wrk.format("POST", "/v1/recommend", nil, body)
end
init = function(args) math.randomseed(os.time()) end
if PAUSE > 0 then delay = function() return math.random(0, 2 * PAUSE) end end
wrk.headers["Content-Type"] = "application/json"
"""
_LOAD, _CONNECTIONS = 200, 20  # lists per second during ``fresh``, and connections that ask


@contextmanager
def served(
    model: Path,
    store: str,
    *,
    workers: int = 1,
    encoder: str = "",
    environment: dict[str, str] | None = None,
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Start a service; gives its base URL and process once all workers are ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        **(environment or {}),
        "WARMSTART_ANONYMOUS_READ": "true",
        "WARMSTART_RATE_LIMIT": "1000000/second",
        "WARMSTART_LOG_LEVEL": "WARNING",
    }
    command = [*CLI, "serve", str(model), "--store", store, "--port", str(port)]
    command += ["--encoder", encoder] if encoder else []
    command += ["--workers", str(workers)] if workers > 1 else []
    process, base = subprocess.Popen(command, env=environment), f"http://127.0.0.1:{port}"
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit(
                    f"the service ended with code {process.returncode} before it was ready"
                )
            try:
                if httpx.get(f"{base}/health/ready").is_success and _listening(port) == workers:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        yield base, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _listening(port: int) -> int:
    """The number of sockets that listen on a port: one for each worker."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


@contextmanager
def wrk(
    base: str,
    users: list[Any],
    connections: int,
    seconds: int,
    *,
    pause: int = 0,
    explain: bool = False,
) -> Iterator[Callable[[], str]]:
    """Start a load by wrk; gives a function that waits for its end and returns its report.

    Each connection waits ``pause`` milliseconds on average between two requests.
    """
    quoted = ", ".join(json.dumps(json.dumps(user)) for user in users)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        lua = LUA.replace("USERS", quoted).replace("PAUSE", str(pause))
        script.write(lua.replace("EXPLAIN", json.dumps(explain)))
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
        command += ["-s", script.name, base]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

        def report() -> str:
            out = process.communicate()[0]
            found = dict(re.findall(r"^\s+(50%|99%)\s+(\S+)", out, re.MULTILINE))
            (rate,) = re.findall(r"Requests/sec:\s+(\S+)", out)
            errors = ", WITH ERRORS" if "Non-2xx" in out else ""
            return f"{rate} lists/s, p50 {found['50%']}, p99 {found['99%']}{errors}"

        yield report
        process.kill()


def key_for(store: str) -> dict[str, str]:
    """Make an admin key in a store; the headers that send it."""
    from warmstart.serve.storage.keys import make_key
    from warmstart.serve.storage.store import Store

    opened = Store(store)
    token = make_key(opened, "benchmark", "admin")
    opened.close()
    return {"Authorization": f"Bearer {token}"}


def _appears(
    client: httpx.Client, fitted: Any, column: str, number: int, rng: np.random.Generator
) -> float:
    """Seconds from the POST of a new item to the first list that has it."""
    text = " ".join(rng.choice(WORDS, 12)) + f" {secrets.token_hex(2)}"
    item = 10**9 + number if fitted.catalogue.item_ids.is_integer else f"new-{number}"
    request = {"user": fitted.user_ids.values[0], "k": 1, "allow": [item]}
    body = {"items": [{"id": item, "columns": {column: text}}]}
    started = time.perf_counter()
    client.post("/v1/items", json=body).raise_for_status()
    while not client.post("/v1/recommend", json=request).json()["items"]:
        time.sleep(0.002)
    return time.perf_counter() - started


@app.command()
def fresh(model: Path, items: int = 200, workers: int = 1) -> None:
    """Time from the POST of a new item to the first list that has it, beside several loads."""
    from warmstart.artefact import read_artefact

    fitted = read_artefact(model).fitted
    column = fitted.catalogue.text_columns[0]
    users, rng = fitted.user_ids.values[:1000], np.random.default_rng(0)
    loads: dict[str, dict[str, Any] | None] = {
        "alone": None,
        f"{_LOAD} lists/s": {
            "connections": _CONNECTIONS,
            "pause": round(1000 * _CONNECTIONS / _LOAD),
        },
        "8 clients": {"connections": 8},
        "4 clients of explain": {"connections": 4, "explain": True},
    }
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/store.db"
        headers = key_for(store)
        with (
            served(model, store, workers=workers) as (base, _),
            httpx.Client(base_url=base, headers=headers) as client,
        ):
            number = 0
            for name, load in loads.items():
                seconds = 10 + items // 4
                with nullcontext() if load is None else wrk(base, users, seconds=seconds, **load):
                    time.sleep(3)
                    times = []
                    for _ in range(items):
                        times.append(_appears(client, fitted, column, number, rng))
                        number += 1
                p50, p99, most = 1000 * np.quantile(times, [0.5, 0.99, 1])
                print(
                    f"{name}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {most:.0f} ms", flush=True
                )


def big_model(folder: Path, n_items: int, n_users: int = 20_000) -> Path:
    """Fit filterllm on iALS, width 64, on random interactions: only its size matters."""
    import polars as pl

    import warmstart as ws
    from warmstart.testing.tiny_lm import tiny_encoder

    model = folder / f"model-{n_items}"
    if model.exists():
        return model
    rng = np.random.default_rng(0)
    n = max(40 * n_users, 3 * n_items)
    users = np.concatenate([np.arange(n_users), rng.integers(n_users, size=n)])
    rows = np.concatenate([rng.integers(n_items, size=n_users + n - n_items), np.arange(n_items)])
    names = pl.DataFrame({"item": [f"i{row}" for row in range(n_items)]}).with_columns(
        title=pl.Series(rng.choice(WORDS, n_items))
    )
    log = pl.DataFrame({"user": users, "item": rows}).select(
        user="u" + pl.col("user").cast(pl.String), item="i" + pl.col("item").cast(pl.String)
    )
    data = ws.from_frames(log, names, user="user", item="item", text=["title"])
    lm = ws.load_encoder(
        ws.LMConfig(source=str(tiny_encoder(folder / "lm", WORDS))), use_cache=False
    )
    fitted = ws.FilterLLM(
        backbone={"kind": "ials", "width": 64, "epochs": 2},
        ridge=None, epochs=0, width=64, cold_score="fold_in",
    )  # fmt: skip
    return fitted.fit(data, encoder=lm).save(model)


@app.command()
def lists(
    items: Annotated[list[int], typer.Option("--items")],
    folder: Path = Path("bench-models"),
    seconds: int = 15,
    workers: Annotated[list[int] | None, typer.Option("--workers")] = None,
) -> None:
    """Lists of 20 per second, and their latency, by wrk from another process."""
    folder.mkdir(exist_ok=True)
    for n_items, number in product(items, workers or [1]):
        model = big_model(folder, n_items)
        with tempfile.TemporaryDirectory() as temporary:
            store, lm = f"sqlite:///{temporary}/store.db", str(folder / "lm")
            with served(model, store, encoder=lm, workers=number) as (base, process):
                print(
                    f"{n_items} items, width 64, {number} workers, {memory(process)}:", flush=True
                )
                users = [f"u{number}" for number in range(0, 20_000, 20)]
                for connections in (1, 8, 32):
                    with wrk(base, users, connections, seconds) as report:
                        print(f"  {connections:2} connections: {report()}", flush=True)


def memory(process: subprocess.Popen) -> str:
    """Memory of a service: proportional set sizes of its processes, and what is private, in MiB."""
    pids = [process.pid]
    for pid in pids:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        pids += [int(child) for child in children]
    total: dict[str, int] = {}
    for pid in pids:
        rows = re.findall(
            r"^(\w+):\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M
        )
        for name, kib in rows:
            total[name] = total.get(name, 0) + int(kib)
    private = total["Private_Clean"] + total["Private_Dirty"]
    mib = {name: f"{kib / 1024:.0f}" for name, kib in {**total, "Private": private}.items()}
    return f"{mib['Pss']} MiB (without files {mib['Pss_Anon']}, private {mib['Private']})"


def fill(store_url: str, model: Path, encoder: str, n_items: int) -> None:
    """Fill a store with encoded items, without the service."""
    from warmstart.data.readers.item_records import catalogue_of_records
    from warmstart.serve.engine.deployment import Loader
    from warmstart.serve.engine.encodings import encode_items, pack
    from warmstart.serve.settings import Settings
    from warmstart.serve.storage import tables
    from warmstart.serve.storage.store import Store

    store = Store(store_url)
    loaded, name = Loader(Settings(model=model, store=store_url, encoder=encoder or None)).load(
        model
    )
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 8)) for _ in range(512)]
    catalogue = catalogue_of_records([{}] * len(texts), texts, loaded.fitted.catalogue)
    examples = [one.encoding for one in encode_items(loaded, catalogue)]
    now = datetime.now(UTC)

    def different(encoding: dict[str, Any]) -> bytes:
        """An encoding like that of a text, but like no other."""
        noise = {
            name: array + rng.normal(scale=0.5 * array.std(), size=array.shape).astype(array.dtype)
            for name, array in encoding.items()
            if array.dtype.kind == "f" and name != "probabilities"
        }
        return pack({**encoding, **noise})

    for start in range(0, n_items, 20_000):
        numbers = range(start, min(start + 20_000, n_items))
        ids = [f"{10**9 + n}" for n in numbers]
        rows = [
            {
                "item": item, "columns": {"title": texts[n % 512]}, "text": texts[n % 512],
                "content": f"{n:064x}", "owner": "benchmark", "deleted": False, "written": now,
            }
            for n, item in zip(numbers, ids, strict=True)
        ]  # fmt: skip
        encoded = [
            {
                "item": item,
                "model": name,
                "content": f"{n:064x}",
                "arrays": different(examples[n % 512]),
            }
            for n, item in zip(numbers, ids, strict=True)
        ]
        with store.database.write() as connection:
            connection.execute(tables.items.insert(), rows)
            connection.execute(tables.encodings.insert(), encoded)
    store.close()


@app.command()
def restart(
    items: int = 1_000_000,
    folder: Path = Path("bench-models"),
    workers: Annotated[list[int] | None, typer.Option("--workers")] = None,
) -> None:
    """Seconds until a service on a store with many items is ready, and its memory."""
    folder.mkdir(exist_ok=True)
    model, lm = big_model(folder, 20_000), str(folder / "lm")
    with tempfile.TemporaryDirectory() as temporary:
        store = f"sqlite:///{temporary}/store.db"
        fill(store, model, lm, items)
        for number, kind in [(1, "first start"), *((n, "start") for n in workers or [1, 2])]:
            started = time.perf_counter()
            with served(model, store, encoder=lm, workers=number) as (base, process):
                seconds = time.perf_counter() - started
                users = [f"u{number}" for number in range(0, 20_000, 20)]
                with wrk(base, users, 8, 5) as report:
                    lists = report()
                print(
                    f"{items} stored items, {number} workers, {kind}: ready after {seconds:.1f} s, "
                    f"{memory(process)}; {lists}", flush=True,
                )  # fmt: skip


@app.command("memory")
def memory_after_changes(model: Path, items: int = 100_000, clicks: int = 1_000_000) -> None:
    """Memory of a service after many items came and went, and after many clicks on one item."""
    from warmstart.artefact import read_artefact

    catalogue = read_artefact(model).fitted.catalogue
    column = catalogue.text_columns[0]
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/store.db"
        headers = key_for(store)
        with (
            served(model, store) as (base, process),
            httpx.Client(base_url=base, headers=headers, timeout=120) as client,
        ):
            print(f"at the start: {memory(process)}", flush=True)
            for start in range(0, items, 1000):
                rows = [
                    {"id": f"{10**9 + n}", "columns": {column: WORDS[n % 9] + f" {n}"}}
                    for n in range(start, start + 1000)
                ]
                while client.post("/v1/items", json={"items": rows}).status_code == 429:
                    time.sleep(1)
            while client.get("/v1/status").json()["waiting"]:
                time.sleep(1)
            print(f"with {items} items more: {memory(process)}", flush=True)
            for n in range(items):
                client.delete(f"/v1/items/{10**9 + n}").raise_for_status()
            while client.get("/v1/status").json()["behind"]:
                time.sleep(1)
            print(f"after they were deleted: {memory(process)}", flush=True)
            item = catalogue.item_ids.values[0]
            for start in range(0, clicks, 1000):
                rows = [{"user": f"{10**9 + n}", "item": item} for n in range(start, start + 1000)]
                client.post("/v1/interactions", json={"interactions": rows}).raise_for_status()
            while client.get("/v1/status").json()["behind"]:
                time.sleep(1)
            print(f"after {clicks} clicks by as many users: {memory(process)}", flush=True)


@app.command()
def index(model: Path, rounds: int = 50, lm: str = "") -> None:
    """Processor time that the index takes for lists, in this process: medians in milliseconds.

    Set OMP_NUM_THREADS=1: threads that wait by spinning count as busy.
    """
    from warmstart.artefact import read_manifest
    from warmstart.lm import TextEncoder
    from warmstart.methods import load_model
    from warmstart.serve.engine.index import Index
    from warmstart.serve.engine.lists import ListRequest
    from warmstart.serve.storage.records import Click

    spec = read_manifest(model)["lms"]["encoder"]
    encoder = spec and TextEncoder.from_spec(spec, source=lm or None, use_cache=False)
    started = time.process_time()
    built: Any = Index(load_model(model, encoder=encoder))  # pyright: ignore[reportArgumentType]
    print(f"{model.name}: loaded in {time.process_time() - started:.1f} s", end=", ")
    started = time.process_time()
    built.prepare()
    print(f"ready for histories after {time.process_time() - started:.1f} s more")
    fitted, rng = built.model.fitted, np.random.default_rng(1)
    users = [str(user) for user in fitted.user_ids.values]
    items = fitted.catalogue.item_ids
    warm, cold = (
        [str(item) for item in items.take(np.flatnonzero(side))]
        for side in (fitted.warm, ~fitted.warm)
    )
    by_user = lambda: ListRequest(user=str(rng.choice(users)))  # noqa: E731
    by_history = lambda: ListRequest(history=tuple(rng.choice(warm, 8)))  # noqa: E731

    def median(request: Callable[[], ListRequest], n: int) -> float:
        seconds = []
        for _ in range(rounds + 1):
            requests = [request() for _ in range(n)]
            started = time.process_time()
            built.recommend(requests)
            seconds.append(time.process_time() - started)
        return 1000 * float(np.median(seconds[1:]))

    print(f"  one user {median(by_user, 1):.2f}, 16 users {median(by_user, 16):.2f}, ", end="")
    print(f"one history {median(by_history, 1):.2f}")
    pairs = [(str(user), item) for item in cold[:200] for user in rng.choice(users, 5)]
    built.record(Click(n, user, item) for n, (user, item) in enumerate(pairs, 1))
    print(f"  with 200 clicked items: 16 users {median(by_user, 16):.2f}")


if __name__ == "__main__":
    app()

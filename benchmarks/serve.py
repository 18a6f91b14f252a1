"""The service: how soon a new item is recommended, and how many lists a second it makes.

    python benchmarks/serve.py fresh MODEL          from POST to the first list that has the item
    python benchmarks/serve.py fresh MODEL --load 200      ... with 200 lists a second beside it
    python benchmarks/serve.py lists --items 20000 --items 1000000     (needs wrk)
    python benchmarks/serve.py restart MODEL --items 100000            seconds to rebuild the index

The service runs as a process of its own, on SQLite; requests come from another.
"""

import asyncio
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import typer

app = typer.Typer(add_completion=False)
WORDS = ["night", "train", "river", "stone", "garden", "letter", "winter", "island", "song"]
LUA = """
local users = {%d}
request = function()
  local body = string.format('{"user": "u%%d", "k": 20}', math.random(0, users[1] - 1))
  return wrk.format("POST", "/v1/recommend", nil, body)
end
init = function(args) math.randomseed(os.time()) end
wrk.headers["Content-Type"] = "application/json"
"""


@contextmanager
def served(
    model: Path, store: str, *, environment: dict[str, str] | None = None, **settings: str
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Base URL and process of a service that is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        **(environment or {}),
        "WARMSTART_ANONYMOUS_READ": "true",
        "WARMSTART_RATE": "1000000/second",
        "WARMSTART_LOG_LEVEL": "WARNING",
        **{f"WARMSTART_{name.upper()}": value for name, value in settings.items()},
    }
    code = "from warmstart.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", str(model)]
    command += ["--store", store, "--port", str(port)]
    process, base = subprocess.Popen(command, env=environment), f"http://127.0.0.1:{port}"
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit("the service ended")
            try:
                if httpx.get(f"{base}/health/ready").is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        yield base, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def key_for(store: str) -> dict[str, str]:
    from warmstart.serve.keys import make_key
    from warmstart.serve.store import Store

    opened = Store(store)
    token = make_key(opened, "benchmark", "admin")
    opened.close()
    return {"Authorization": f"Bearer {token}"}


@app.command()
def load(base: str, user: str, rate: float, seconds: float) -> None:
    """Ask for lists at a steady rate; prints their times."""

    async def run() -> None:
        times: list[float] = []

        async def ask(client: httpx.AsyncClient) -> None:
            started = time.perf_counter()
            answer = await client.post("/v1/recommend", json={"user": user, "k": 20})
            answer.raise_for_status()
            times.append(time.perf_counter() - started)

        async with httpx.AsyncClient(base_url=base, limits=httpx.Limits(max_connections=64)) as c:
            tasks, started = [], time.perf_counter()
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0, started + number / rate - time.perf_counter()))
                tasks.append(asyncio.create_task(ask(c)))
            await asyncio.gather(*tasks)
            rate_met = len(times) / (time.perf_counter() - started)
        p50, p99 = 1000 * np.quantile(times, [0.5, 0.99])
        print(
            f"  lists beside it: {rate_met:.0f}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms", flush=True
        )

    asyncio.run(run())


@app.command()
def fresh(
    model: Path,
    items: int = 200,
    rate: Annotated[float, typer.Option("--load", help="lists a second beside it")] = 0.0,
) -> None:
    """From the POST of a new item to the first list that has it: median and 99th percentile."""
    from warmstart.artefact import read

    fitted = read(model).fitted
    user, column = str(fitted.user_ids.values[0]), fitted.catalogue.text_columns[0]
    rng, times = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/store.db"
        headers = key_for(store)
        with served(model, store) as (base, _), httpx.Client(base_url=base, headers=headers) as c:
            beside = None
            if rate:
                command = [sys.executable, __file__, "load", base, user, str(rate), "60"]
                beside = subprocess.Popen(command)
                time.sleep(3)
            for number in range(items):
                text = " ".join(rng.choice(WORDS, 12)) + f" {secrets.token_hex(2)}"
                new = {"id": number if fitted.catalogue.item_ids.is_integer else f"new-{number}"}
                new["id"] = 10**9 + number if isinstance(new["id"], int) else new["id"]
                ask = {"user": fitted.user_ids.values[0], "k": 1, "allow": [new["id"]]}
                started = time.perf_counter()
                body = {"items": [{**new, "columns": {column: text}}]}
                c.post("/v1/items", json=body).raise_for_status()
                while not c.post("/v1/recommend", json=ask).json()["items"]:
                    time.sleep(0.002)
                times.append(time.perf_counter() - started)
                if beside is not None and beside.poll() is not None:
                    break
            if beside is not None:
                beside.wait()
    p50, p99 = 1000 * np.quantile(times, [0.5, 0.99])
    print(f"{len(times)} new items, {rate:.0f} lists/s beside: p50 {p50:.0f} ms, p99 {p99:.0f} ms")


def big_model(folder: Path, n_items: int, n_users: int = 20_000) -> Path:
    """filterllm on iALS, 64 wide, over random interactions; only its size matters."""
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
    data = ws.Dataset.from_frames(log, names, user="user", item="item", text=["title"])
    lm = ws.load_lm(ws.LMConfig(source=str(tiny_encoder(folder / "lm", WORDS))), use_cache=False)
    fitted = ws.FilterLLM(
        backbone={"kind": "ials", "width": 64, "epochs": 2},
        ridge=None, epochs=0, width=64, cold_score="folded",
    )  # fmt: skip
    return fitted.fit(data, lm=lm).save(model)


@app.command()
def lists(
    items: Annotated[list[int], typer.Option("--items")],
    folder: Path = Path("bench-models"),
    seconds: int = 15,
) -> None:
    """Lists of 20 a second, and their times, by wrk from another process."""
    folder.mkdir(exist_ok=True)
    for n_items in items:
        model = big_model(folder, n_items)
        with tempfile.TemporaryDirectory() as place:
            script = Path(place) / "ask.lua"
            script.write_text(LUA % 20_000)
            lm = str(folder / "lm")
            with served(model, f"sqlite:///{place}/store.db", lm=lm) as (base, process):
                memory = Path(f"/proc/{process.pid}/status").read_text()
                gib = int(re.search(r"VmRSS:\s+(\d+)", memory)[1]) / 2**20
                print(f"{n_items} items, 64 wide, {gib:.2f} GiB:", flush=True)
                for connections in (1, 8, 32):
                    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
                    done = subprocess.run(
                        [*command, "-s", str(script), base], capture_output=True, text=True
                    )
                    found = dict(re.findall(r"^\s+(50%|99%)\s+(\S+)", done.stdout, re.MULTILINE))
                    rate = re.search(r"Requests/sec:\s+(\S+)", done.stdout)[1]
                    wrong = "Non-2xx" in done.stdout
                    print(
                        f"  {connections:2} connections: {rate} lists/s, p50 {found['50%']}, "
                        f"p99 {found['99%']}{', WITH ERRORS' if wrong else ''}",
                        flush=True,
                    )


@app.command()
def restart(model: Path, items: int = 100_000, lm: str = "") -> None:
    """Fill a store with items that were read, then time the start of a service on it."""
    from warmstart.serve.reading import pack, take_in
    from warmstart.serve.service import Service
    from warmstart.serve.settings import Settings
    from warmstart.serve.store import Item

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(model=model, store=f"sqlite:///{folder}/store.db", lm=lm or None)
        service = Service(settings)
        name, rng = service.deployment.name, np.random.default_rng(0)
        texts = [" ".join(rng.choice(WORDS, 8)) for _ in range(64)]
        packed = [pack(reading) for reading in take_in(service.deployment.model, texts)]
        for start in range(0, items, 5000):
            page = [
                Item(f"{10**9 + n}", {"title": texts[n % 64]}, texts[n % 64], str(n), "bench")
                for n in range(start, min(start + 5000, items))
            ]
            service.store.write_items(page)
            service.store.save_readings(
                name, [(item, packed[n % 64]) for n, item in enumerate(page, start)]
            )
        service.store.close()
        started = time.perf_counter()
        again = Service(settings)
        seconds = time.perf_counter() - started
        print(f"{again.deployment.index.counts()['items']} items: started in {seconds:.1f} s")
        again.close()


if __name__ == "__main__":
    app()

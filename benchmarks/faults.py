"""What the service survives, each fault done for real, with counts.

    python benchmarks/faults.py MODEL --store sqlite --kills 20
    python benchmarks/faults.py MODEL --store postgresql --kills 20
    python benchmarks/faults.py MODEL --only disk,corrupt,clock,replicas,postgres

kills      kill -9 under write load, again and again; what was acknowledged is counted afterwards
postgres   the database is stopped as by a crash, and started again, under load
replicas   two services on one database add items at once, some of them the same
disk       the disk of the store is full (a small tmpfs; needs the right to mount)
clock      the clock jumps a day forth and back (needs libfaketime)
corrupt    one byte of the artefact is flipped
"""

import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer

from serve import CLI, WORDS, served
from warmstart.artefact import read_artefact
from warmstart.serve.engine.lists import ListRequest
from warmstart.serve.engine.service import Service
from warmstart.serve.settings import Settings
from warmstart.serve.storage.keys import make_key
from warmstart.serve.storage.store import Store
from warmstart.testing.postgres import server

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


class Writer(threading.Thread):
    """Writes items and clicks until told to stop; remembers what was acknowledged."""

    def __init__(self, base: str, token: str, column: str, users: list, prefix: str) -> None:
        super().__init__(daemon=True)
        self.base, self.token, self.column, self.users = base, token, column, users
        self.prefix, self.stop = prefix, threading.Event()
        self.items: dict[str, str] = {}
        self.clicks: set[tuple[str, str]] = set()
        self.refused = self.broken = 0

    def run(self) -> None:
        rng, number = random.Random(self.prefix), 0
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx.Client(base_url=self.base, headers=headers, timeout=30) as client:
            while not self.stop.is_set():
                new = {}
                for _ in range(rng.randint(1, 8)):
                    number += 1
                    name = f"{self.prefix}-{number % 300}"  # updates too
                    new[name] = " ".join(rng.choices(WORDS, k=8)) + f" {number}"
                body = [{"id": k, "columns": {self.column: v}} for k, v in new.items()]
                if self._sent(client, "/v1/items", {"items": body}):
                    self.items |= new
                pairs = {(str(rng.choice(self.users)), rng.choice(list(new))) for _ in range(3)}
                body = [{"user": u, "item": i, "event": f"{u} {i}"} for u, i in pairs]
                if self._sent(client, "/v1/interactions", {"interactions": body}):
                    self.clicks |= pairs

    def _sent(self, client: httpx.Client, path: str, body: dict) -> bool:
        try:
            answer = client.post(path, json=body)
        except httpx.TransportError:
            self.broken += 1
            time.sleep(0.05)
            return False
        self.refused += not answer.is_success
        if not answer.is_success:
            time.sleep(0.02)
        return answer.is_success


class ExperimentContext:
    """A model, and stores to serve it on."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.model, self.folder = model, folder
        fitted = read_artefact(model).fitted
        self.users, self.column = fitted.user_ids.values, fitted.catalogue.text_columns[0]

    def token(self, url: str) -> str:
        store = Store(url)
        made = make_key(store, "faults", "admin")
        store.close()
        return made

    def writer(self, base: str, token: str, prefix: str) -> Writer:
        found = Writer(base, token, self.column, self.users, prefix)
        found.start()
        return found

    def settled(self, base: str, token: str) -> dict:
        headers = {"Authorization": f"Bearer {token}"}
        for _ in range(3000):
            status = httpx.get(f"{base}/v1/status", headers=headers).json()
            if status.get("waiting") == 0 and status.get("behind") == 0:
                return status
            time.sleep(0.1)
        raise SystemExit(f"it did not settle: {status}")

    def lost(self, url: str, writers: list[Writer]) -> tuple[int, int]:
        """Items and clicks that were acknowledged and are not in the store as acknowledged.

        An item whose last writing was not answered may hold either text.
        """
        store = Store(url)
        items = clicks = 0
        for writer in writers:
            for name, text in writer.items.items():
                stored = store.item(name)
                kept = stored is not None and stored.columns[self.column]
                newer = kept and int(kept.split()[-1]) >= int(text.split()[-1])
                items += not newer
            for user, item in writer.clicks:
                clicks += item not in store.history(user)
        store.close()
        return items, clicks

    def differing(self, url: str, base: str, token: str) -> int:
        """Users whose lists differ between the running index and one built anew."""
        built = Service(Settings(model=self.model, store=url, anonymous_read=True))
        headers, users = {"Authorization": f"Bearer {token}"}, self.users[:50]
        different = 0
        for user in users:
            (hits,) = built.deployment.index.recommend([ListRequest(user=str(user), k=30)])
            body = {"user": user, "k": 30}
            answer = httpx.post(f"{base}/v1/recommend", json=body, headers=headers).json()
            mine = [(hit.item, round(hit.score, 3)) for hit in hits]
            theirs = [(str(hit["item"]), round(hit["score"], 3)) for hit in answer["items"]]
            different += sorted(mine) != sorted(theirs)
        built.close()
        return different

    def verdict(self, url: str, bases: list[str], token: str, writers: list[Writer]) -> str:
        """Wait until everything is read; then what was acknowledged, what is lost or differs."""
        for base in bases:
            self.settled(base, token)
        items, clicks = self.lost(url, writers)
        different = ", ".join(str(self.differing(url, base, token)) for base in bases)
        return (
            f"acknowledged {sum(len(w.items) for w in writers)} items, "
            f"{sum(len(w.clicks) for w in writers)} clicks; lost {items} items, {clicks} clicks; "
            f"{different} of 50 users' lists differ from a rebuild"
        )


def stop(writers: list[Writer]) -> None:
    for writer in writers:
        writer.stop.set()
    for writer in writers:
        writer.join()


@contextmanager
def place_for(kind: str, folder: Path) -> Iterator[str]:
    """URL of an empty store."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'store.db'}"
        return
    with server(folder / "postgres") as database:
        yield database.url("warmstart")


def kills(bench: ExperimentContext, kind: str, times: int) -> None:
    with place_for(kind, bench.folder) as url:
        token, writers = bench.token(url), []
        rng = random.Random(0)
        for number in range(times):
            with served(bench.model, url) as (base, process):
                writers.append(bench.writer(base, token, f"k{number}"))
                time.sleep(rng.uniform(0.3, 2.5))
                process.send_signal(signal.SIGKILL)
                process.wait()
                stop(writers[-1:])
        with served(bench.model, url) as (base, _):
            verdict = bench.verdict(url, [base], token, writers)
        print(f"kills, {kind}: {times} kill -9; {verdict}", flush=True)


def postgres(bench: ExperimentContext, times: int = 5) -> None:
    with server(bench.folder / "postgres") as database:
        url = database.url("warmstart")
        token = bench.token(url)
        with served(bench.model, url) as (base, _):
            writer = bench.writer(base, token, "pg")
            headers = {"Authorization": f"Bearer {token}"}
            asked = answered = 0
            for _ in range(times):
                time.sleep(2)
                database.stop()
                for _ in range(40):
                    body = {"user": bench.users[0], "k": 5}
                    answer = httpx.post(f"{base}/v1/recommend", json=body, headers=headers)
                    asked += 1
                    answered += answer.is_success
                    time.sleep(0.05)
                database.start()
            time.sleep(2)
            stop([writer])
            verdict = bench.verdict(url, [base], token, [writer])
        print(
            f"postgres: {times} crashes; {answered} of {asked} lists answered while it was away; "
            f"{writer.refused} writes refused; {verdict}",
            flush=True,
        )


def replicas(bench: ExperimentContext) -> None:
    with server(bench.folder / "postgres") as database:
        url = database.url("warmstart")
        token = bench.token(url)
        with served(bench.model, url) as (one, _), served(bench.model, url) as (two, _):
            writers = [bench.writer(one, token, "a"), bench.writer(two, token, "b")]
            # The same prefix writes the same items; whose text came last cannot be told afterwards.
            rivals = [bench.writer(one, token, "s"), bench.writer(two, token, "s")]
            time.sleep(8)
            stop(writers + rivals)
            verdict = bench.verdict(url, [one, two], token, writers)
            headers = {"Authorization": f"Bearer {token}"}
            times = []
            for number in range(30):
                body = {"items": [{"id": f"x-{number}", "columns": {bench.column: WORDS[0]}}]}
                ask = {"user": bench.users[0], "k": 1, "allow": [f"x-{number}"]}
                started = time.perf_counter()
                httpx.post(f"{one}/v1/items", json=body, headers=headers).raise_for_status()
                while not httpx.post(f"{two}/v1/recommend", json=ask, headers=headers).json()[
                    "items"
                ]:
                    time.sleep(0.005)
                times.append(time.perf_counter() - started)
        print(
            f"replicas, two at once: {verdict}; {sum(len(w.items) for w in rivals)} items written "
            "by both; written to one, in a list of the other after "
            f"{1000 * sorted(times)[15]:.0f} ms (median), {1000 * max(times):.0f} ms (most)",
            flush=True,
        )


def disk(bench: ExperimentContext) -> None:
    place = bench.folder / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=True)
    try:
        url = f"sqlite:///{place / 'store.db'}"
        token = bench.token(url)
        with served(bench.model, url) as (base, process):
            writer = bench.writer(base, token, "d")
            while not writer.refused:
                time.sleep(0.1)
            time.sleep(2)
            headers = {"Authorization": f"Bearer {token}"}
            body = {"user": bench.users[0], "k": 5}
            lists = httpx.post(f"{base}/v1/recommend", json=body, headers=headers)
            refused = writer.refused
            subprocess.run(["mount", "-o", "remount,size=64m", place], check=True)
            before = len(writer.items) + len(writer.clicks)
            time.sleep(3)
            stop([writer])
            verdict = bench.verdict(url, [base], token, [writer])
            print(
                f"disk: full after {before} acknowledged; {refused} writes refused, lists "
                f"{'answered' if lists.is_success else 'failed'} meanwhile; with room again "
                f"{len(writer.items) + len(writer.clicks) - before} more; {verdict}; "
                f"alive: {process.poll() is None}",
                flush=True,
            )
    finally:
        subprocess.run(["umount", place], check=True)


def clock(bench: ExperimentContext) -> None:
    if not FAKETIME.exists():
        print("clock: skipped, no libfaketime")
        return
    offset = bench.folder / "offset"
    offset.write_text("+0\n")
    url = f"sqlite:///{bench.folder / 'clock.db'}"
    token = bench.token(url)
    fake = {
        "LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    with served(bench.model, url, environment=fake) as (base, _):
        writer = bench.writer(base, token, "c")
        for jump in ("+1d", "-1d", "+0", "+400d", "-400d", "+0"):
            offset.write_text(f"{jump}\n")
            time.sleep(1.5)
        stop([writer])
        verdict = bench.verdict(url, [base], token, [writer])
    print(
        f"clock: 6 jumps of up to 400 days; {writer.refused} writes refused; {verdict}", flush=True
    )


def corrupt(bench: ExperimentContext) -> None:
    clear_errors = 0
    rng = random.Random(0)
    names = sorted(path.name for path in bench.model.iterdir())
    for name in names:
        copy = bench.folder / "copy"
        shutil.copytree(bench.model, copy)
        data = bytearray((copy / name).read_bytes())
        data[rng.randrange(len(data))] ^= 0xFF
        (copy / name).write_bytes(data)
        url = f"sqlite:///{bench.folder / 'corrupt.db'}"
        done = subprocess.run(
            [*CLI, "serve", str(copy), "--store", url], capture_output=True, text=True, timeout=120
        )
        clear = done.returncode == 2 and "Traceback" not in done.stderr
        clear_errors += clear
        if not clear:
            print(name, done.returncode, done.stderr[-500:])
        shutil.rmtree(copy)
    print(f"corrupt: {clear_errors} of {len(names)} flipped files: exit 2, one line")


def main(
    model: Path,
    store: str = "sqlite",
    times: Annotated[int, typer.Option("--kills")] = 20,
    only: str = "",
) -> None:
    """Do the faults; print counts."""
    faults = {
        "kills": lambda bench: kills(bench, store, times),
        "postgres": postgres,
        "replicas": replicas,
        "disk": disk,
        "clock": clock,
        "corrupt": corrupt,
    }
    for name in only.split(",") if only else ["kills"]:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            faults[name](ExperimentContext(model, Path(folder)))


if __name__ == "__main__":
    typer.run(main)

"""The service under real faults: counts what it loses, refuses and serves.

    python benchmarks/faults.py MODEL --store sqlite --kills 20
    python benchmarks/faults.py MODEL --store postgresql --kills 20
    python benchmarks/faults.py MODEL --only disk,corrupt,clock,replicas,postgres,frozen,locks

kills      kill -9 under write load, many times; then acknowledged writes are looked up
postgres   the database crashes and restarts under load
replicas   two services on one database write items at the same time, some of them the same
disk       the disk of the store fills up (a small tmpfs; needs the right to mount)
clock      the clock jumps forwards and backwards, by up to 400 days (needs libfaketime)
frozen     the replica that encodes is frozen, then the database; the service is told to stop
locks      another session holds the lock of the writers
corrupt    one byte of a file of the artefact is flipped, file by file
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
import sqlalchemy as sa
import typer

from serve import CLI, WORDS, served
from warmstart.artefact import read_artefact
from warmstart.serve.engine.lists import ListRequest, UnknownUserError
from warmstart.serve.engine.service import Service
from warmstart.serve.settings import Settings
from warmstart.serve.storage.keys import make_key
from warmstart.serve.storage.store import Store
from warmstart.testing.postgres import Server, server

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


class Writer(threading.Thread):
    """Writes items and clicks until ``stop`` is set; records which writes were acknowledged."""

    def __init__(self, base: str, token: str, column: str, users: list, prefix: str) -> None:
        super().__init__(daemon=True)
        self.base, self.token, self.column, self.users = base, token, column, users
        self.prefix, self.stop = prefix, threading.Event()
        self.items: dict[str, str] = {}
        self.clicks: set[tuple[str, str]] = set()
        self.refused = 0

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
            response = client.post(path, json=body)
        except httpx.TransportError:
            time.sleep(0.05)
            return False
        self.refused += not response.is_success
        if not response.is_success:
            time.sleep(0.02)
        return response.is_success


class Harness:
    """A model to serve, a folder for stores, and the checks after a fault."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.model, self.folder = model, folder
        fitted = read_artefact(model).fitted
        self.users, self.column = fitted.user_ids.values, fitted.catalogue.text_columns[0]

    def token(self, url: str) -> str:
        store = Store(url)
        token = make_key(store, "faults", "admin")
        store.close()
        return token

    def writer(self, base: str, token: str, prefix: str) -> Writer:
        writer = Writer(base, token, self.column, self.users, prefix)
        writer.start()
        return writer

    def settle(self, base: str, token: str) -> None:
        """Wait until every item is encoded and every change is in the index."""
        headers, status = {"Authorization": f"Bearer {token}"}, {}
        for _ in range(3000):
            status = httpx.get(f"{base}/v1/status", headers=headers).json()
            if status.get("waiting") == 0 and status.get("behind") == 0:
                return
            time.sleep(0.1)
        raise SystemExit(f"the service did not settle within 300 s: {status}")

    def lost(self, url: str, writers: list[Writer]) -> tuple[int, int]:
        """The numbers of items and clicks that were acknowledged and are missing from the store.

        An item may have a newer text than the acknowledged one: from a write whose response was
        lost.
        """
        store = Store(url)
        items = clicks = 0
        for writer in writers:
            for name, text in writer.items.items():
                item = store.items.get(name)
                stored = item is not None and item.columns[self.column]
                items += not (stored and int(stored.split()[-1]) >= int(text.split()[-1]))
            for user, item in writer.clicks:
                clicks += item not in store.events.last_items(user, 10**6)
        store.close()
        return items, clicks

    def differing(self, url: str, base: str, token: str) -> int:
        """Of 50 users, how many have another list in the running index than in a rebuilt one."""
        rebuilt = Service(Settings(model=self.model, store=url, anonymous_read=True))
        headers, users = {"Authorization": f"Bearer {token}"}, self.users[:50]
        different = 0
        for user in users:
            (hits,) = rebuilt.deployment.index.recommend([ListRequest(user=str(user), k=30)])
            if isinstance(hits, UnknownUserError):
                raise hits
            body = {"user": user, "k": 30}
            response = httpx.post(f"{base}/v1/recommend", json=body, headers=headers).json()
            expected = [(hit.item, round(hit.score, 3)) for hit in hits]
            running = [(str(hit["item"]), round(hit["score"], 3)) for hit in response["items"]]
            different += sorted(expected) != sorted(running)
        rebuilt.close()
        return different

    def verdict(self, url: str, bases: list[str], token: str, writers: list[Writer]) -> str:
        """Wait until the services settle; then count what was acknowledged, is lost, or differs."""
        for base in bases:
            self.settle(base, token)
        items, clicks = self.lost(url, writers)
        different = ", ".join(str(self.differing(url, base, token)) for base in bases)
        return (
            f"acknowledged {sum(len(w.items) for w in writers)} items, "
            f"{sum(len(w.clicks) for w in writers)} clicks; lost {items} items, {clicks} clicks; "
            f"{different} of 50 users' lists differ from a rebuild"
        )


def signal_all(process: subprocess.Popen, number: signal.Signals) -> None:
    """Send a signal to a service and to its worker, which are two processes."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for one in (process.pid, *map(int, children)):
        os.kill(one, number)


def stop(writers: list[Writer]) -> None:
    for writer in writers:
        writer.stop.set()
    for writer in writers:
        writer.join()


@contextmanager
def empty_store(kind: str, folder: Path) -> Iterator[str]:
    """URL of an empty store, on a running server if ``kind`` is "postgresql"."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'store.db'}"
        return
    with server(folder / "postgres") as database:
        yield database.url("warmstart")


@contextmanager
def postgres_store(harness: Harness) -> Iterator[tuple[Server, str, str]]:
    """A server of its own with an empty store; gives it, the URL and an admin token."""
    with server(harness.folder / "postgres") as database:
        url = database.url("warmstart")
        yield database, url, harness.token(url)


def kills(harness: Harness, kind: str, times: int) -> None:
    with empty_store(kind, harness.folder) as url:
        token, writers = harness.token(url), []
        rng = random.Random(0)
        for number in range(times):
            with served(harness.model, url) as (base, process):
                writers.append(harness.writer(base, token, f"k{number}"))
                time.sleep(rng.uniform(0.3, 2.5))
                signal_all(process, signal.SIGKILL)
                process.wait()
                stop(writers[-1:])
        with served(harness.model, url) as (base, _):
            verdict = harness.verdict(url, [base], token, writers)
        print(f"kills, {kind}: {times} kill -9; {verdict}", flush=True)


def postgres(harness: Harness, times: int = 5) -> None:
    with postgres_store(harness) as (database, url, token):
        with served(harness.model, url) as (base, _):
            writer = harness.writer(base, token, "pg")
            headers = {"Authorization": f"Bearer {token}"}
            sent = answered = 0
            for _ in range(times):
                time.sleep(2)
                database.stop()
                for _ in range(40):
                    body = {"user": harness.users[0], "k": 5}
                    response = httpx.post(f"{base}/v1/recommend", json=body, headers=headers)
                    sent += 1
                    answered += response.is_success
                    time.sleep(0.05)
                database.start()
            time.sleep(2)
            stop([writer])
            verdict = harness.verdict(url, [base], token, [writer])
        print(
            f"postgres: {times} crashes; {answered} of {sent} lists were served without it; "
            f"{writer.refused} writes refused; {verdict}",
            flush=True,
        )


def replicas(harness: Harness) -> None:
    with postgres_store(harness) as (_, url, token):
        with served(harness.model, url) as (one, _), served(harness.model, url) as (two, _):
            writers = [harness.writer(one, token, "a"), harness.writer(two, token, "b")]
            # One prefix, so both write the same items; which text came last is unknown afterwards.
            rivals = [harness.writer(one, token, "s"), harness.writer(two, token, "s")]
            time.sleep(8)
            stop(writers + rivals)
            verdict = harness.verdict(url, [one, two], token, writers)
            headers = {"Authorization": f"Bearer {token}"}
            times = []
            for number in range(30):
                body = {"items": [{"id": f"x-{number}", "columns": {harness.column: WORDS[0]}}]}
                request = {"user": harness.users[0], "k": 1, "allow": [f"x-{number}"]}
                started = time.perf_counter()
                httpx.post(f"{one}/v1/items", json=body, headers=headers).raise_for_status()
                lists = f"{two}/v1/recommend"
                while not httpx.post(lists, json=request, headers=headers).json()["items"]:
                    time.sleep(0.005)
                times.append(time.perf_counter() - started)
        print(
            f"replicas, two at once: {verdict}; {sum(len(w.items) for w in rivals)} items written "
            "by both; from a write to one until a list of the other has the item: "
            f"{1000 * sorted(times)[15]:.0f} ms (median), {1000 * max(times):.0f} ms (most)",
            flush=True,
        )


def frozen(harness: Harness) -> None:
    with postgres_store(harness) as (database, url, token):
        headers = {"Authorization": f"Bearer {token}"}
        body = {"user": harness.users[0], "k": 5}
        with served(harness.model, url) as one, served(harness.model, url) as two:
            leads = "warmstart_leads 1.0" in httpx.get(f"{one[0]}/metrics").text
            (leader, follower) = (one, two) if leads else (two, one)
            signal_all(leader[1], signal.SIGSTOP)
            started = time.perf_counter()
            new = {"items": [{"id": "f-1", "columns": {harness.column: "night train"}}]}
            httpx.post(f"{follower[0]}/v1/items", json=new, headers=headers).raise_for_status()
            item = f"{follower[0]}/v1/items/f-1"
            while httpx.get(item, headers=headers).json()["state"] == "waiting":
                time.sleep(0.05)
            taken_over = time.perf_counter() - started
            signal_all(leader[1], signal.SIGCONT)
            time.sleep(3)
            writer = harness.writer(one[0], token, "f")
            time.sleep(2)
            database.freeze()
            started, answered, sent, first = time.perf_counter(), 0, 0, None
            while time.perf_counter() - started < 30:
                response = httpx.post(f"{two[0]}/v1/recommend", json=body, headers=headers)
                sent, answered = sent + 1, answered + response.is_success
                ready = httpx.get(f"{two[0]}/health/ready").is_success
                if not ready and first is None:
                    first = time.perf_counter() - started
                time.sleep(0.2)
            two[1].send_signal(signal.SIGTERM)
            started = time.perf_counter()
            two[1].wait(120)
            ended = time.perf_counter() - started
            database.thaw()
            time.sleep(3)
            stop([writer])
            verdict = harness.verdict(url, [one[0]], token, [writer])
        print(
            f"frozen: a frozen leader was replaced after {taken_over:.1f} s; with PostgreSQL "
            f"frozen {answered} of {sent} lists served, not ready after {first or 0:.1f} s, ended "
            f"{ended:.1f} s after SIGTERM; {verdict}",
            flush=True,
        )


def locks(harness: Harness) -> None:
    with postgres_store(harness) as (_, url, token):
        headers = {"Authorization": f"Bearer {token}"}
        with served(harness.model, url) as (base, _):
            writer = harness.writer(base, token, "l")
            time.sleep(1)
            engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
            with engine.connect() as stuck:
                stuck.execute(sa.text("SELECT pg_advisory_xact_lock(7218005)"))
                worst: dict[str, float] = {}
                end = time.monotonic() + 20
                while time.monotonic() < end:
                    for path in ("/metrics", "/v1/status", "/v1/items?limit=1", "/v1/model"):
                        started = time.perf_counter()
                        httpx.get(f"{base}{path}", headers=headers, timeout=60)
                        took = 1000 * (time.perf_counter() - started)
                        worst[path] = max(worst.get(path, 0.0), took)
                    time.sleep(0.1)
            engine.dispose()
            time.sleep(3)
            stop([writer])
            verdict = harness.verdict(url, [base], token, [writer])
        shown = ", ".join(f"{path} {ms:.0f}" for path, ms in worst.items())
        print(
            f"locks: with the writers' lock held for 20 s, longest answers in ms: {shown}; "
            f"{writer.refused} writes refused; {verdict}",
            flush=True,
        )


def disk(harness: Harness) -> None:
    folder = harness.folder / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], check=True)
    try:
        url = f"sqlite:///{folder / 'store.db'}"
        token = harness.token(url)
        with served(harness.model, url) as (base, process):
            writer = harness.writer(base, token, "d")
            while not writer.refused:
                time.sleep(0.1)
            time.sleep(2)
            headers = {"Authorization": f"Bearer {token}"}
            body = {"user": harness.users[0], "k": 5}
            lists = httpx.post(f"{base}/v1/recommend", json=body, headers=headers)
            refused = writer.refused
            subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
            before = len(writer.items) + len(writer.clicks)
            time.sleep(3)
            stop([writer])
            verdict = harness.verdict(url, [base], token, [writer])
            print(
                f"disk: full after {before} acknowledged writes; {refused} refused, lists "
                f"{'served' if lists.is_success else 'failed'} meanwhile; with space again "
                f"{len(writer.items) + len(writer.clicks) - before} more; {verdict}; "
                f"alive: {process.poll() is None}",
                flush=True,
            )
    finally:
        subprocess.run(["umount", folder], check=True)


def clock(harness: Harness) -> None:
    if not FAKETIME.exists():
        print("clock: skipped, no libfaketime")
        return
    offset = harness.folder / "offset"
    offset.write_text("+0\n")
    url = f"sqlite:///{harness.folder / 'clock.db'}"
    token = harness.token(url)
    fake = {
        "LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    with served(harness.model, url, environment=fake) as (base, _):
        writer = harness.writer(base, token, "c")
        for jump in ("+1d", "-1d", "+0", "+400d", "-400d", "+0"):
            offset.write_text(f"{jump}\n")
            time.sleep(1.5)
        stop([writer])
        verdict = harness.verdict(url, [base], token, [writer])
    print(
        f"clock: 6 jumps of up to 400 days; {writer.refused} writes refused; {verdict}", flush=True
    )


def corrupt(harness: Harness) -> None:
    clear_errors = 0
    rng = random.Random(0)
    names = sorted(path.name for path in harness.model.iterdir())
    for name in names:
        copy = harness.folder / "copy"
        shutil.copytree(harness.model, copy)
        data = bytearray((copy / name).read_bytes())
        data[rng.randrange(len(data))] ^= 0xFF
        (copy / name).write_bytes(data)
        url = f"sqlite:///{harness.folder / 'corrupt.db'}"
        done = subprocess.run(
            [*CLI, "serve", str(copy), "--store", url], capture_output=True, text=True, timeout=120
        )
        clear = done.returncode == 2 and "Traceback" not in done.stderr
        clear_errors += clear
        if not clear:
            print(name, done.returncode, done.stderr[-500:])
        shutil.rmtree(copy)
    print(f"corrupt: exit code 2 and a message for {clear_errors} of {len(names)} flipped files")


def main(
    model: Path,
    store: str = "sqlite",
    times: Annotated[int, typer.Option("--kills")] = 20,
    only: str = "",
) -> None:
    """Cause the faults; print a line of counts for each."""
    faults = {
        "kills": lambda harness: kills(harness, store, times),
        "postgres": postgres,
        "replicas": replicas,
        "disk": disk,
        "clock": clock,
        "frozen": frozen,
        "locks": locks,
        "corrupt": corrupt,
    }
    for name in only.split(",") if only else ["kills"]:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            faults[name](Harness(model, Path(folder)))


if __name__ == "__main__":
    typer.run(main)

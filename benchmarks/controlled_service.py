"""Milliseconds of a list under a control in the service, against a plain one.

    python benchmarks/controlled_service.py DATASET --items 20000 --items 100000 --json OUT.json

The service runs in its own process, on SQLite; one client sends one request after the other. The
wishes take turns within each round, and each figure is the median over rounds of the percentile in
one. ``plain, beside 4 ...`` asks for plain lists while four other processes ask for lists of one
kind all the time: plain ones, explained ones, and such with five genres.

DATASET is a folder with genres, such as MovieLens-100k, on which ease_text is fitted with a random
text encoder. A generated catalogue has 20 genres, one to three for each item, and filterllm on iALS
of width 64. Only sizes matter here, not quality.
"""

import json
import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import polars as pl
import typer
from environment import environment

import warmstart as ws
from serve import WORDS, served
from warmstart.testing.tiny_lm import tiny_encoder

LOADS: dict[str, dict[str, Any]] = {
    "plain": {},
    "explained": {"explain": True},
    "n_genres 5": {"control": {"n_genres": 5}},
}
N_LOADS = 4  # processes that ask for lists of one kind all the time
K = 10
_GENRES = [f"genre {number}" for number in range(20)]


def encoder(folder: Path, words: list[str]) -> tuple[Any, Path]:
    """A tiny text encoder with random weights, and its folder."""
    lm = tiny_encoder(folder / "lm", words)
    return ws.load_encoder(ws.LMConfig(source=str(lm)), use_cache=False), lm


def of_dataset(data: Path, folder: Path) -> tuple[Path, Path]:
    """Fit ease_text on a folder with items and interactions; the folders of model and encoder."""
    train = ws.split(ws.read_dataset(data), "time-cold").train
    words = Counter(word for text in train.catalogue.texts for word in text.lower().split())
    lm, source = encoder(folder, [word for word, _ in words.most_common(2000)])
    return ws.EaseText().fit(train, encoder=lm).save(folder / "model"), source


def generated(n_items: int, folder: Path, n_users: int = 5000) -> tuple[Path, Path]:
    """Fit filterllm on random interactions; the folders of model and encoder."""
    rng = np.random.default_rng(0)
    n = max(40 * n_users, 3 * n_items)
    users = np.concatenate([np.arange(n_users), rng.integers(n_users, size=n)])
    rows = np.concatenate([rng.integers(n_items, size=n_users + n - n_items), np.arange(n_items)])
    shares = 1 / np.arange(1, len(_GENRES) + 1)
    shares /= shares.sum()
    genres = [
        "|".join(rng.choice(_GENRES, size=size, replace=False, p=shares))
        for size in rng.integers(1, 4, n_items)
    ]
    names = [f"i{row}" for row in range(n_items)]
    items = pl.DataFrame({"item": names, "title": rng.choice(WORDS, n_items), "genres": genres})
    log = pl.DataFrame({"user": users, "item": rows}).select(
        user="u" + pl.col("user").cast(pl.String), item="i" + pl.col("item").cast(pl.String)
    )
    data = ws.from_frames(log, items, user="user", item="item", text=["title"])
    lm, source = encoder(folder, WORDS)
    model = ws.FilterLLM(
        backbone={"kind": "ials", "width": 64, "epochs": 2},
        ridge=None, epochs=0, width=64, cold_score="fold_in",
    )  # fmt: skip
    return model.fit(data, encoder=lm).save(folder / "model"), source


def wishes(catalogue: Any) -> dict[str, dict[str, Any]]:
    """The lists that are measured; the named genres are the two most frequent ones."""
    attribute = catalogue.attribute(catalogue.genre_column)
    often = np.argsort(-np.asarray(attribute.matrix.sum(axis=0)).ravel(), kind="stable")[:2]
    return {
        "plain": {},
        "n_genres 5": {"control": {"n_genres": 5}},
        "2 named genres": {"control": {"genres": sorted(attribute.values[at] for at in often)}},
        "calibrate": {"control": {"calibrate": True}},
        "diversity .3": {"control": {"diversity": 0.3}},
    }


def asking(base: str, users: list[Any]) -> Callable[[dict[str, Any], int, int], np.ndarray]:
    """A function that asks for lists with some options; it returns the milliseconds of each."""
    client = httpx.Client(base_url=base, timeout=60)

    def ask(options: dict[str, Any], number: int, seed: int) -> np.ndarray:
        found = []
        for user in np.random.default_rng(seed).choice(np.array(users, object), number):
            body = {"user": user, "k": K, **options}
            started = time.perf_counter()
            answer = client.post("/v1/recommend", json=body)
            found.append(1000 * (time.perf_counter() - started))
            answer.raise_for_status()
        return np.array(found)

    return ask


def ask_for_ever(base: str, users: list[Any], options: dict[str, Any], seed: int) -> None:
    """The work of a process that is the load."""
    ask = asking(base, users)
    while True:
        ask(options, 100, seed)


@contextmanager
def load(base: str, users: list[Any], options: dict[str, Any]) -> Iterator[None]:
    """Ask for lists of one kind all the time, in other processes."""
    spawn = multiprocessing.get_context("spawn")
    others = [
        spawn.Process(target=ask_for_ever, args=(base, users, options, seed), daemon=True)
        for seed in range(N_LOADS)
    ]
    for other in others:
        other.start()
    time.sleep(10)  # they import the package
    try:
        yield
    finally:
        for other in others:
            other.kill()


def measured(name: str, model: Path, lm: Path, rounds: int, number: int) -> dict[str, Any]:
    """Milliseconds of lists of one model: p50 and p99 by wish."""
    from warmstart.artefact import read_artefact

    fitted = read_artefact(model).fitted
    (known,) = np.nonzero(np.diff(fitted.positives.indptr))
    users, asked = [*map(str, fitted.user_ids.take(known[:2000]))], wishes(fitted.catalogue)
    times: dict[str, list[np.ndarray]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        served(model, f"sqlite:///{folder}/store.db", encoder=str(lm)) as (base, _),
    ):
        ask = asking(base, users)
        first = float(ask(asked["n_genres 5"], 1, 0)[0])  # reads the genres of all items
        for options in asked.values():
            ask(options, number, 0)
        for at in range(1, rounds + 1):
            for wish, options in asked.items():
                times.setdefault(wish, []).append(ask(options, number, at))
        for kind, options in LOADS.items():
            with load(base, users, options):
                beside = f"plain, beside {N_LOADS} {kind}"
                times[beside] = [ask({}, number, at) for at in range(1, rounds + 1)]
    lists = {
        wish: {
            f"p{percent}": float(np.median([np.percentile(one, percent) for one in found]))
            for percent in (50, 99)
        }
        for wish, found in times.items()
    }
    for wish, found in lists.items():
        print(f"{name}: {wish}: p50 {found['p50']:.2f} ms, p99 {found['p99']:.2f} ms", flush=True)
    sizes = {"items": len(fitted.catalogue), "genres": len(_values(fitted.catalogue))}
    return {"catalogue": name, **sizes, "first_ms": first, "lists": lists}


def _values(catalogue: Any) -> tuple[str, ...]:
    return catalogue.attribute(catalogue.genre_column).values


def main(
    data: Path,
    items: Annotated[list[int] | None, typer.Option("--items")] = None,
    rounds: int = 5,
    number: int = 100,
    out: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Measure lists under each control, of a data set and of generated catalogues."""
    rows = []
    for size in (None, *(items or [20_000])):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            model, lm = of_dataset(data, folder) if size is None else generated(size, folder)
            name = data.name if size is None else f"generated, {size:,} items"
            rows.append(measured(name, model, lm, rounds, number))
    if out is not None:
        found = {
            "environment": environment(), "k": K, "rounds": rounds, "lists_per_round": number,
            "rows": rows,
        }  # fmt: skip
        out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)

"""A demo of the main workflow with default settings: ``python -m warmstart.demo``.

It generates a catalogue of books, splits it by time, encodes the texts with the default language
model on the CPU, and fits and compares a few methods. Then it adds new books, simulates their
likely readers, and recommends the books to them.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import warmstart as ws
import warmstart.passive_threads
from warmstart.cli.output import frame_table, print_line, print_table, progress
from warmstart.cli.tables import cost_table
from warmstart.data.splits.base import Split
from warmstart.data.splits.files import save_split
from warmstart.experiment.runner import run_experiment
from warmstart.experiment.spec import Experiment, parse_methods

METHODS = "popular,content_knn,text_ridge,ease_text,cf_only[ials],filterllm[ials]"
_N_NEW_ITEMS = 3
_USERS_PER_ITEM = 20


def demo(folder: Path, *, n_users: int = 600, n_items: int = 900) -> Path:
    """Run the demo and print its tables.

    Args:
        folder: receives the data, the split, the runs, the model and the report.
        n_users: number of generated readers.
        n_items: number of generated books.

    Returns:
        Path of the HTML report.
    """
    started = time.perf_counter()
    with progress() as bar:
        bar.stage("generate a catalogue and split it by time")
        data = ws.synthetic(n_users, n_items, rng=np.random.default_rng(0))
        ws.write_dataset(data, folder / "data")
        split = ws.split(data, "time-cold")
        save_split(split, folder / "split")
        experiment = Experiment(method=tuple(parse_methods(METHODS)), against="text_ridge")
        table = run_experiment(experiment, split, folder=folder / "runs", progress=bar.ranked)
        model, added, likely, seconds = _new_items(split, folder)
        report = ws.write_report(table["all"], folder / "report.html")
    print_table(table["all"].table())
    print_table(cost_table(table["all"]))
    _print_new(model, added, likely, seconds)
    print_line(f"report: {report.resolve()}")
    print_line(f"model:  {(folder / 'model').resolve()}")
    print_line(f"the demo took {time.perf_counter() - started:.0f} s")
    return report


def _new_items(split: Split, folder: Path) -> tuple[Any, pl.DataFrame, pl.DataFrame, float]:
    """Fit on the split, then add new books.

    Returns:
        The model, the books, their likely readers, and the seconds that adding them took.
    """
    model = ws.FilterLLM(backbone={"kind": "ials"})
    model.fit(
        split.train,
        valid=split.validation(),
        encoder=ws.load_encoder(),
        run=ws.Run(folder / "runs"),
    )
    new = ws.synthetic_items(_N_NEW_ITEMS, rng=np.random.default_rng(1))
    new.write_ndjson(folder / "new.jsonl")
    started = time.perf_counter()
    model.add_items(new)
    seconds = time.perf_counter() - started
    likely = model.simulate(new["item"].to_list(), k=_USERS_PER_ITEM)
    model.save(folder / "model")
    return model, new, likely, seconds


def _print_new(model: Any, new: pl.DataFrame, likely: pl.DataFrame, seconds: float) -> None:
    """Print each new book with its likeliest readers and its rank in their lists."""
    rows = []
    for item, title in zip(new["item"], new["title"], strict=True):
        readers = likely.filter(pl.col("item") == item)["user"].to_list()
        lists = model.recommend(readers, k=20).filter(pl.col("item") == item)
        ranks = dict(zip(lists["user"], lists["rank"], strict=True))
        first = ", ".join(f"{user} ({ranks.get(user, '-')})" for user in readers[:5])
        rows.append((item, title, first, f"{len(ranks)} of {len(readers)}"))
    columns = ["new", "title", "likeliest readers (rank in their list)", "in the top 20 of"]
    print_table(
        frame_table(columns, rows, f"{len(new)} new books added in {1000 * seconds:.0f} ms")
    )


if __name__ == "__main__":
    demo(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))

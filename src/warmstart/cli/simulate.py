"""``warmstart simulate``."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
from typer import Option

from warmstart.cli.inputs import described, load_for_texts, read_new_items
from warmstart.cli.options import LM, Json, ModelFolder, NewItems, RunFolder, example
from warmstart.cli.output import frame_table, progress, say, show, write_json
from warmstart.storage import atomic_file

EXAMPLE = example(
    "warmstart simulate models/shop --items new.jsonl -k 20 --json audience.json",
    "warmstart simulate models/shop --items all.parquet --run work --out audience.parquet",
)


def simulate(
    model: ModelFolder,
    items: NewItems,
    k: Annotated[int, Option("-k", help="users an item")] = 20,
    run: RunFolder = None,
    out: Annotated[
        Path | None, Option("--out", help="write the interactions to a parquet file, print none")
    ] = None,
    lm: LM = None,
    json: Json = None,
) -> None:
    """The likeliest users of new items, from their texts; the model stays as it is.

    With --run the work is kept shard by shard: killed, it goes on where it was, and items that are
    there already, id and text unchanged, are skipped.
    """
    from warmstart.abilities import Simulates, require
    from warmstart.artefact import read_manifest
    from warmstart.shards import Shards

    with progress() as bar:
        bar.stage(f"read {model}")
        loaded = load_for_texts(model, lm)
        simulator = require(loaded, Simulates, "simulate")
        new = read_new_items(items, loaded)
        bar.stage(f"simulate {len(new)} items")

        def work(rows: np.ndarray) -> pl.DataFrame:
            frame = simulator.simulate(new.take(rows), k)
            return frame.insert_column(0, pl.Series("position", np.repeat(rows, k)))

        settings = f"{read_manifest(model)['files']} k={k}"
        found = Shards(run, settings).run(_keys(new), work, "items").drop("position")
    if out is None:
        show(frame_table(found.columns, found.rows()))
    else:
        with atomic_file(out) as temporary:
            found.write_parquet(temporary)
        say(str(out))
    write_json(json, "simulate", described(loaded), found.to_dicts())


def _keys(items: Any) -> list[str]:
    """What a simulation depends on besides the model: id and text."""
    ids = items.item_ids.take(np.arange(len(items)))
    return [
        hashlib.sha256(f"{item!r} {text}".encode("utf-8", "surrogatepass")).hexdigest()
        for item, text in zip(ids, items.texts, strict=True)
    ]


command = simulate

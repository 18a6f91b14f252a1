"""``warmstart add``."""

import time
from typing import Annotated, Any

import numpy as np
import polars as pl
from typer import Option

from warmstart.cli.inputs import load_for_texts, model_description, read_new_items
from warmstart.cli.options import (
    CausalLMSource,
    Json,
    ModelFolder,
    NewItems,
    TextEncoderSource,
    example,
)
from warmstart.cli.output import (
    frame_table,
    print_line,
    print_table,
    progress,
    timings_of,
    with_titles,
    write_json,
)
from warmstart.errors import ArtefactError
from warmstart.storage import folder_version

EXAMPLE = example("warmstart add models/shop --items new.jsonl")


def add(
    model: ModelFolder,
    items: NewItems,
    k: Annotated[int, Option("-k", help="likely users to print per item")] = 5,
    encoder: TextEncoderSource = None,
    lm: CausalLMSource = None,
    json: Json = None,
) -> None:
    """Make new items recommendable without retraining. Replaces the saved model atomically."""
    from warmstart.abilities import AddsItems, Simulates, require

    with progress() as bar:
        bar.stage(f"load {model}")
        version = folder_version(model)
        loaded, _ = load_for_texts(model, encoder, lm)
        adder = require(loaded, AddsItems, "add items")
        new = read_new_items(items, loaded)
        bar.stage(f"add {len(new)} items")
        started = time.perf_counter()
        added = adder.add_items(new)
        seconds = {"add": time.perf_counter() - started}
        likely: dict[Any, list[Any]] = {}
        if isinstance(loaded, Simulates) and len(new):
            named = loaded.simulate(new.take(np.flatnonzero(new.has_text)), k)
            likely = dict(named.group_by("item", maintain_order=True).agg("user").iter_rows())
        started = time.perf_counter()
        if folder_version(model) != version:
            raise ArtefactError(
                f"{model} was replaced by another process while items were added, and stays as it "
                "is; run the command again"
            )
        loaded.save(model)
        seconds["save"] = time.perf_counter() - started
    per_item = seconds["add"] / max(len(new), 1)
    rows = [
        {"item": item, "seconds": per_item, "has_text": text, "users": likely.get(item, [])}
        for item, text in zip(added["item"], added["has_text"], strict=True)
    ]
    shown = with_titles(added.select("item", seconds=pl.lit(per_item)), new)
    if likely:
        users = [", ".join(map(str, row["users"])) for row in rows]
        shown = shown.with_columns(pl.Series("likely users", users, pl.String))
    title = f"{len(new)} items added in {seconds['add']:.3f} s"
    if missing := int((~new.has_text).sum()):
        title += f", {missing} of them without text"
    print_table(frame_table(shown.columns, shown.rows(), title))
    print_line(str(model))
    write_json(json, "add", model_description(loaded), rows, timings_of(loaded.name, seconds))


command = add

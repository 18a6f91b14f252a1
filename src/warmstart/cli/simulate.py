"""``warmstart simulate``."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import polars as pl
from typer import Option

from warmstart.cli.inputs import load_for_texts, model_description, read_new_items
from warmstart.cli.options import (
    CausalLMSource,
    IndexFolder,
    Json,
    ModelFolder,
    NewItems,
    Probes,
    RayAddress,
    RayDivision,
    RayWorkers,
    RunFolder,
    TableOut,
    TextEncoderSource,
    example,
)
from warmstart.cli.output import (
    frame_table,
    print_line,
    print_note,
    print_table,
    progress,
    with_titles,
    write_frame,
    write_json,
)
from warmstart.errors import ConfigError

_MEASURED_ITEMS = 100  # searched exactly too, to measure the recall of an approximate search

EXAMPLE = example(
    "warmstart simulate models/shop --items new.jsonl -k 20 --json audience.json",
    "warmstart simulate models/shop --items all.parquet --run work --out audience.parquet",
    "warmstart simulate models/shop --items all.parquet --ray 10.0.0.1:6379 --out audience.parquet",
)


def simulate(
    model: ModelFolder,
    items: NewItems,
    k: Annotated[int, Option("-k", help="users per item")] = 20,
    run: RunFolder = None,
    out: TableOut = None,
    encoder: TextEncoderSource = None,
    lm: CausalLMSource = None,
    ray: RayAddress = None,
    by: RayDivision = None,
    workers: RayWorkers = None,
    approximate: IndexFolder = None,
    probes: Probes = None,
    json: Json = None,
) -> None:
    """Simulate the k likeliest users of new items from their texts. The model does not change.

    With --run the results are kept shard by shard: an interrupted command resumes, and items whose
    id and text have not changed since an earlier run are skipped.
    """
    from warmstart.abilities import Simulates, require
    from warmstart.artefact import read_manifest
    from warmstart.shards import Shards

    if ray is None:
        _check_unused("--ray", {"--by": by, "--workers": workers})
    if approximate is None:
        _check_unused("--approximate", {"--probes": probes})
    elif ray is not None:
        raise ConfigError("--approximate and --ray exclude each other")
    with progress() as bar:
        bar.stage(f"load {model}")
        loaded, text_encoder = load_for_texts(model, encoder, lm)
        simulator = require(loaded, Simulates, "simulate")
        new = read_new_items(items, loaded)
        settings, simulated_of = f"{read_manifest(model)['files']} k={k}", simulator.simulate
        users = None
        if approximate is not None:
            from warmstart.simulate.approximate_users import ApproximateUsers

            bar.stage(f"index the users in {approximate}")
            users = ApproximateUsers(loaded, approximate, probes)
            settings, simulated_of = f"{settings} {users.settings}", users.simulate
        bar.stage(f"simulate {len(new)} items")
        shards, keys = Shards(run, settings), _keys(new)
        if ray is None:

            def work(rows: np.ndarray) -> pl.DataFrame:
                frame = simulated_of(new.take(rows), k)
                positions = new.item_ids.rows(frame["item"].to_list()).astype(np.int64)
                return frame.insert_column(0, pl.Series("position", positions))

            simulated = shards.run(keys, work, "items")
        else:
            from warmstart.distributed.cluster import cluster
            from warmstart.distributed.simulation import by_items
            from warmstart.distributed.user_shards import by_users

            with cluster(ray, workers) as places:
                if by == "users":
                    share = by_users(simulator, text_encoder, new, k, places, bar.encoded)
                else:
                    share = by_items(simulator, text_encoder, new, k, places)
                simulated = shards.run_all(keys, share, "items")
        simulated = simulated.drop("position")
        recall = None if users is None else users.recall(new, k, _MEASURED_ITEMS)
    if out is None:
        shown = with_titles(simulated, new)
        print_table(frame_table(shown.columns, shown.rows()))
    else:
        write_frame(out, simulated)
        print_line(str(out))
    if recall is not None:
        print_note(f"approximate search: {recall:.1%} of the exact users were found")
    write_json(json, "simulate", model_description(loaded), simulated.to_dicts())


def _check_unused(needed: str, options: Mapping[str, Any]) -> None:
    """Refuse options that do nothing without another one, which was not given."""
    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"{name} applies with {needed} only")


def _keys(items: Any) -> list[str]:
    """One hash per item, of id and text: what its simulation depends on besides the model."""
    ids = items.item_ids.take(np.arange(len(items)))
    return [
        hashlib.sha256(f"{item!r} {text}".encode("utf-8", "surrogatepass")).hexdigest()
        for item, text in zip(ids, items.texts, strict=True)
    ]


command = simulate

"""``warmstart simulate``."""

from typing import Annotated

from typer import Option

from warmstart.cli.inputs import described, load_for_texts, read_new_items
from warmstart.cli.options import LM, Json, ModelFolder, NewItems, example
from warmstart.cli.output import frame_table, progress, show, write_json

EXAMPLE = example("warmstart simulate models/shop --items new.jsonl -k 20 --json audience.json")


def simulate(
    model: ModelFolder,
    items: NewItems,
    k: Annotated[int, Option("-k", help="users an item")] = 20,
    lm: LM = None,
    json: Json = None,
) -> None:
    """The likeliest users of new items, from their texts; the model stays as it is."""
    from warmstart.core import Simulates, require

    with progress() as bar:
        bar.stage(f"read {model}")
        loaded = load_for_texts(model, lm)
        simulator = require(loaded, Simulates, "simulate")
        new = read_new_items(items, loaded)
        bar.stage(f"simulate {len(new)} items")
        found = simulator.simulate(new, k)
    show(frame_table(found.columns, found.rows()))
    write_json(json, "simulate", described(loaded), found.to_dicts())


command = simulate

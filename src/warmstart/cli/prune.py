"""``warmstart prune``."""

from pathlib import Path
from typing import Annotated

from typer import Argument

from warmstart.cli.inputs import open_store
from warmstart.cli.options import StoreUrl, example
from warmstart.cli.output import print_line

EXAMPLE = example("warmstart prune models/live --store sqlite:///shop.db")


def prune(
    models: Annotated[
        list[Path], Argument(metavar="MODEL...", help="folders of the models still in use")
    ],
    store: StoreUrl = None,
) -> None:
    """Delete what other models made of the items, and give the space back.

    The store keeps an encoding of every item for every model that was ever served. The service may
    run; a model that is served again encodes its items again.
    """
    from warmstart.serve.engine.encodings import model_hash

    kept = [model_hash(folder) for folder in models]
    opened = open_store(store)
    deleted = opened.encodings.prune(kept)
    opened.database.vacuum()
    opened.close()
    print_line(f"{deleted} encodings deleted")


command = prune

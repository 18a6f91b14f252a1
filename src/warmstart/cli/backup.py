"""``warmstart backup`` and ``warmstart restore``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from typer import Argument

from warmstart.cli.options import StoreUrl, example
from warmstart.cli.output import frame_table, say, show

BACKUP_EXAMPLE = example("warmstart backup backups/shop.backup --store sqlite:///shop.db")
RESTORE_EXAMPLE = example(
    "warmstart restore backups/shop.backup --store postgresql://shop@localhost/shop"
)


def backup(
    file: Annotated[Path, Argument(metavar="FILE", help="a new file")],
    store: StoreUrl = None,
) -> None:
    """Copy the store to one file while the service runs: as it stood at one moment.

    The file restores into either kind of store. It holds everything: items, what the language model
    read, interactions, keys (as hashes).
    """
    from warmstart.serve.settings import StoreSettings
    from warmstart.serve.storage.backup import back_up

    _print(back_up(StoreSettings.read(store=store).store, file))
    say(str(file))


def restore(
    file: Annotated[Path, Argument(metavar="FILE", help="what backup wrote")],
    store: StoreUrl = None,
) -> None:
    """Fill an empty store with a backup: whole or not at all. Start the service afterwards."""
    from warmstart.serve.settings import StoreSettings
    from warmstart.serve.storage.backup import restore as fill

    _print(fill(file, StoreSettings.read(store=store).store))


def _print(rows: Mapping[str, int]) -> None:
    show(frame_table(["table", "rows"], list(rows.items())))

"""``warmstart backup`` and ``warmstart restore``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from typer import Argument

from warmstart.cli.options import StoreUrl, example
from warmstart.cli.output import frame_table, print_line, print_table

BACKUP_EXAMPLE = example("warmstart backup backups/shop.backup --store sqlite:///shop.db")
RESTORE_EXAMPLE = example(
    "warmstart restore backups/shop.backup --store postgresql://shop@localhost/shop"
)


def backup(
    file: Annotated[Path, Argument(metavar="FILE", help="file to create")],
    store: StoreUrl = None,
) -> None:
    """Copy the store to one file, as a consistent snapshot. The service may keep running.

    The file holds items and their encodings, interactions and keys (as hashes). It can be restored
    into either kind of store.
    """
    from warmstart.serve.settings import StoreSettings
    from warmstart.serve.storage.backup import back_up

    _print_counts(back_up(StoreSettings.read(store=store).store, file))
    print_line(str(file))


def restore(
    file: Annotated[Path, Argument(metavar="FILE", help="file written by backup")],
    store: StoreUrl = None,
) -> None:
    """Fill an empty store from a backup, in one transaction. Start the service afterwards."""
    from warmstart.serve.settings import StoreSettings
    from warmstart.serve.storage.backup import restore as fill

    _print_counts(fill(file, StoreSettings.read(store=store).store))


def _print_counts(rows: Mapping[str, int]) -> None:
    print_table(frame_table(["table", "rows"], list(rows.items())))

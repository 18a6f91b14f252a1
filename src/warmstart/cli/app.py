"""The ``warmstart`` application, with all commands in the usual order of use."""

from typing import Annotated

import typer

from warmstart.cli import (
    add,
    backup,
    compare,
    converse,
    data,
    encode,
    evaluate,
    export,
    fit,
    keys,
    prune,
    recommend,
    serve,
    simulate,
    split,
)
from warmstart.cli.output import print_line
from warmstart.version import __version__

app = typer.Typer(
    name="warmstart",
    help="Recommend items nobody has clicked yet.",
    rich_markup_mode=None,  # plain help looks the same in a pipe
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def _print_version(asked: bool) -> None:
    if asked:
        print_line(f"warmstart {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="print the version"),
    ] = False,
) -> None:
    """Recommend items nobody has clicked yet."""


app.add_typer(data.app, name="data")
app.add_typer(keys.app, name="keys")
_STEPS = (
    split,
    encode,
    fit,
    evaluate,
    compare,
    simulate,
    add,
    recommend,
    converse,
    export,
    serve,
)
for module in _STEPS:
    app.command(epilog=module.EXAMPLE)(module.command)
app.command(epilog=backup.BACKUP_EXAMPLE)(backup.backup)
app.command(epilog=backup.RESTORE_EXAMPLE)(backup.restore)
app.command(epilog=prune.EXAMPLE)(prune.command)

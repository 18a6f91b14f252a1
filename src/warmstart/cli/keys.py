"""``warmstart keys``."""

from typing import Annotated

import typer
from typer import Option

from warmstart.cli.options import example
from warmstart.cli.output import frame_table, say, show

app = typer.Typer(help="API keys of the service.", no_args_is_help=True)

StoreUrl = Annotated[str, Option("--store", help="sqlite:///FILE or postgresql://...")]


@app.command(
    epilog=example("warmstart keys create --name shop --scope write --store sqlite:///shop.db")
)
def create(
    name: Annotated[str, Option("--name", help="who holds it")],
    scope: Annotated[str, Option("--scope", help="read, write (and read) or admin (all)")],
    store: StoreUrl = "sqlite:///warmstart.db",
) -> None:
    """Make a key and print it, this once."""
    from warmstart.serve.keys import make_key
    from warmstart.serve.store import Store

    say(make_key(Store(store), name, scope))


@app.command("list", epilog=example("warmstart keys list --store sqlite:///shop.db"))
def list_keys(store: StoreUrl = "sqlite:///warmstart.db") -> None:
    """Show the keys, without their secrets."""
    from warmstart.serve.store import Store

    rows = [(k.key, k.name, k.scope, str(k.revoked)) for k in Store(store).keys()]  # noqa: SIM118
    show(frame_table(["key", "name", "scope", "revoked"], rows))


@app.command(epilog=example("warmstart keys revoke 1f2e3d4c5b6a --store sqlite:///shop.db"))
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY")],
    store: StoreUrl = "sqlite:///warmstart.db",
) -> None:
    """Let a key open nothing any more."""
    from warmstart.errors import DataError
    from warmstart.serve.store import Store

    if not Store(store).revoke(key):
        raise DataError(f"there is no key {key!r}")
    say(f"{key} revoked")

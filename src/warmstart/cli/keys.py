"""``warmstart keys``."""

from typing import Annotated

import typer
from typer import Option

from warmstart.cli.inputs import open_store
from warmstart.cli.options import StoreUrl, example
from warmstart.cli.output import frame_table, print_line, print_table

app = typer.Typer(help="API keys of the service.", no_args_is_help=True)


@app.command(
    epilog=example("warmstart keys create --name shop --scope backend --store sqlite:///shop.db")
)
def create(
    name: Annotated[str, Option("--name", help="holder of the key")],
    scope: Annotated[str, Option("--scope", help="read, owner, interactions, backend or admin")],
    store: StoreUrl = None,
) -> None:
    """Create a key and print it. It cannot be shown again."""
    from warmstart.serve.settings import StoreSettings
    from warmstart.serve.storage.keys import check_scope, make_key
    from warmstart.serve.storage.store import Store

    check_scope(scope)
    print_line(make_key(Store(StoreSettings.read(store=store).store), name, scope))


@app.command("list", epilog=example("warmstart keys list --store sqlite:///shop.db"))
def list_keys(store: StoreUrl = None) -> None:
    """List the keys, without their secrets."""
    keys = open_store(store).keys.all()
    rows = [(key.key, key.name, key.scope, str(key.revoked)) for key in keys]
    print_table(frame_table(["key", "name", "scope", "revoked"], rows))


@app.command(epilog=example("warmstart keys revoke 1f2e3d4c5b6a --store sqlite:///shop.db"))
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY")],
    store: StoreUrl = None,
) -> None:
    """Revoke a key: from now on no request with it is accepted."""
    from warmstart.errors import DataError

    if not open_store(store).keys.revoke(key):
        raise DataError(f"there is no key {key!r}")
    print_line(f"{key} revoked")

"""All commands, in the order of their use."""

import typer

from warmstart.cli import add, compare, data, evaluate, fit, recommend, simulate, split

app = typer.Typer(
    name="warmstart",
    help="Recommend items nobody has clicked yet.",
    rich_markup_mode=None,  # plain help: reads the same in a pipe
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
app.add_typer(data.app, name="data")
for module in (split, fit, evaluate, compare, simulate, add, recommend):
    app.command(epilog=module.EXAMPLE)(module.command)

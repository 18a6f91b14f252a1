"""``warmstart data list`` and ``warmstart data get``."""

from pathlib import Path
from typing import Annotated

import typer

from warmstart.cli.options import Json, example
from warmstart.cli.output import frame_table, print_line, print_table, progress, write_json

app = typer.Typer(
    help="Public data sets and a synthetic one.", rich_markup_mode=None, no_args_is_help=True
)

_EXAMPLE = example(
    "warmstart data get synthetic",
    "warmstart data get movielens-1m --to data",
    "warmstart data get my-folder        check your own folder",
)


@app.command("list", epilog=example("warmstart data list"))
def list_() -> None:
    """List the data sets that can be fetched by name, with their terms of use."""
    from warmstart.data.sources import SOURCES

    rows = [(source.name, source.description, source.terms) for source in SOURCES.values()]
    print_table(frame_table(["name", "description", "terms"], rows))
    print_line("Any other Amazon category: amazon-YEAR-Category, such as amazon-2023-Video_Games")


@app.command(epilog=_EXAMPLE)
def get(
    name: Annotated[str, typer.Argument(help="name of a listed data set, or a folder of data")],
    to: Annotated[Path, typer.Option("--to", help="folder for downloaded data sets")] = Path(
        "data"
    ),
    mirror: Annotated[
        str | None, typer.Option("--mirror", help="replaces scheme and host of the download URL")
    ] = None,
    json: Json = None,
) -> None:
    """Download, check and convert a data set, or describe the contents of an existing folder."""
    from warmstart.data.readers.files import read_dataset
    from warmstart.data.sources import find_source, get_source

    folder = Path(name)
    with progress() as bar:
        if not folder.is_dir():
            folder = get_source(find_source(name), to, mirror=mirror, progress=bar.bytes)
        dataset = read_dataset(folder)
    print_table(frame_table(["count", "number"], list(dataset.counts.items()), dataset.name))
    print_line(str(folder))
    described = {"name": dataset.name, "hash": dataset.hash, "protocol": None}
    write_json(json, "data get", described, [dict(dataset.counts)])

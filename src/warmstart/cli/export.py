"""``warmstart export``."""

from typing import Annotated

from typer import Option

from warmstart.cli.inputs import model_description
from warmstart.cli.options import Json, ModelFolder, example
from warmstart.cli.output import print_line, progress, write_json
from warmstart.export.pgvector import ITEMS_TABLE, USERS_TABLE

EXAMPLE = example(
    "warmstart export models/shop --to vectors",
    "warmstart export models/shop --to postgresql://search@db/shop --cold-only",
)


def export(
    model: ModelFolder,
    to: Annotated[
        str,
        Option(
            "--to",
            help="folder for items.parquet and users.parquet (with --cold-only "
            "cold_items.parquet), or postgresql://... for tables of pgvector, where rows of the "
            "same id are replaced",
        ),
    ],
    cold_only: Annotated[
        bool, Option("--cold-only", help="write the vectors of cold items alone")
    ] = False,
    items_table: Annotated[
        str, Option("--items-table", help="table of items in PostgreSQL")
    ] = ITEMS_TABLE,
    users_table: Annotated[
        str, Option("--users-table", help="table of users in PostgreSQL")
    ] = USERS_TABLE,
    json: Json = None,
) -> None:
    """Write the vectors of users and items for another search: their dot product is the score."""
    from warmstart.export.export import export_vectors
    from warmstart.methods import load_model

    with progress() as bar:
        bar.stage(f"load {model}")
        loaded = load_model(model)
        bar.stage("export to PostgreSQL" if "://" in to else f"export to {to}")
        written = export_vectors(
            loaded, to, cold_only=cold_only, items_table=items_table, users_table=users_table
        )
    n_cold, n_items = int(written.cold.sum()), len(written.item_ids)
    counts = {"users": len(written.user_ids), "items": n_items, "cold_items": n_cold}
    print_line(
        f"{counts['users']} users and {n_items} items, {n_cold} of them cold; width {written.width}"
    )
    left_out = len(loaded.fitted.catalogue) - n_items
    if left_out and not cold_only:
        print_line(f"{left_out} items without a vector are left out")
    write_json(json, "export", model_description(loaded), [{**counts, "width": written.width}])


command = export

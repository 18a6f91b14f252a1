"""``warmstart recommend``."""

from typing import Annotated

from typer import Option

from warmstart.cli.inputs import model_description, read_user_ids
from warmstart.cli.options import Json, ModelFolder, TableOut, example
from warmstart.cli.output import (
    frame_table,
    print_line,
    print_table,
    progress,
    write_frame,
    write_json,
)
from warmstart.lists import OnUnknown

EXAMPLE = example(
    "warmstart recommend models/shop --users u1,u2 -k 10",
    "warmstart recommend models/shop --users u1 -k 5 --only-cold --json top.json",
    "warmstart recommend models/shop --users all --on-unknown popular --out lists.parquet",
)


def recommend(
    model: ModelFolder,
    users: Annotated[
        str,
        Option(
            "--users",
            help="user ids, separated by commas; all; or a csv, jsonl or parquet file with a "
            "column user",
        ),
    ],
    k: Annotated[int, Option("-k", help="items per user")] = 10,
    only_cold: Annotated[
        bool, Option("--only-cold", help="only items without interactions")
    ] = False,
    include_seen: Annotated[
        bool, Option("--include-seen", help="also items that the user has already interacted with")
    ] = False,
    on_unknown: Annotated[
        OnUnknown,
        Option(
            "--on-unknown",
            help="a user who is not in the training data or has no interaction there: raise an "
            "error, leave the user out with a warning (warn) or without (ignore), or rank by "
            "popularity (popular)",
        ),
    ] = "raise",
    out: TableOut = None,
    json: Json = None,
) -> None:
    """Recommend the k best items to each user."""
    from warmstart.methods import load_model

    with progress() as bar:
        bar.stage(f"load {model}")
        loaded = load_model(model)
        user_ids = read_user_ids(users, loaded.fitted.user_ids)
        bar.stage(f"recommend to {len(user_ids)} users")
        top = loaded.recommend(
            user_ids,
            k,
            exclude_seen=not include_seen,
            only_cold=only_cold,
            on_unknown=on_unknown,
        )
    if out is None:
        print_table(frame_table(top.columns, top.rows()))
    else:
        write_frame(out, top)
        print_line(str(out))
    if json is not None:
        write_json(json, "recommend", model_description(loaded), top.to_dicts())


command = recommend

"""``warmstart recommend``."""

from typing import Annotated

from typer import Option

from warmstart.cli.inputs import comma_separated, described, known_type
from warmstart.cli.options import Json, ModelFolder, example
from warmstart.cli.output import frame_table, progress, show, write_json

EXAMPLE = example(
    "warmstart recommend models/shop --users u1,u2 -k 10",
    "warmstart recommend models/shop --users u1 -k 5 --items-cold-only --json top.json",
)


def recommend(
    model: ModelFolder,
    users: Annotated[str, Option("--users", help="user ids, separated by commas")],
    k: Annotated[int, Option("-k", help="items per user")] = 10,
    items_cold_only: Annotated[
        bool, Option("--items-cold-only", help="only items without interactions")
    ] = False,
    include_seen: Annotated[
        bool, Option("--include-seen", help="also items that the user has already interacted with")
    ] = False,
    json: Json = None,
) -> None:
    """Recommend the k best items to each user."""
    from warmstart.methods import load_model

    with progress() as bar:
        bar.stage(f"load {model}")
        loaded = load_model(model)
        user_ids = known_type(comma_separated(users, "--users"), loaded.fitted.user_ids)
        top = loaded.recommend(
            user_ids, k, exclude_seen=not include_seen, only_cold=items_cold_only
        )
    show(frame_table(top.columns, top.rows()))
    write_json(json, "recommend", described(loaded), top.to_dicts())


command = recommend

"""``warmstart recommend``."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

from typer import Option

from warmstart.cli.inputs import (
    comma_separated,
    load_saved,
    model_description,
    read_histories,
    read_text_queries,
    read_user_ids,
)
from warmstart.cli.options import (
    CausalLMSource,
    Json,
    ModelFolder,
    TableOut,
    TextEncoderSource,
    example,
)
from warmstart.cli.output import (
    frame_table,
    print_line,
    print_table,
    progress,
    with_titles,
    write_frame,
    write_json,
)
from warmstart.errors import ConfigError
from warmstart.lists import OnUnknown

EXAMPLE = example(
    "warmstart recommend models/shop --users u1,u2 -k 10",
    "warmstart recommend models/shop --users u1 -k 5 --only-cold --json top.json",
    "warmstart recommend models/shop --users all --on-unknown popular --out lists.parquet",
    "warmstart recommend models/shop --history p7,p3,p12 --n-genres 3",
)

_Users: TypeAlias = Annotated[
    str | None,
    Option(
        "--users",
        help="user ids, separated by commas; all; or a csv, jsonl or parquet file with a column "
        "user",
    ),
]
_History: TypeAlias = Annotated[
    list[str] | None,
    Option(
        "--history",
        help="item ids that an unknown user had, separated by commas, oldest first; repeat the "
        "option for several users; or a jsonl or parquet file with a column history of lists",
    ),
]
_Text: TypeAlias = Annotated[
    Path | None,
    Option(
        "--text",
        help="what a user says, such as the dialogue so far: a text file for one user, or a csv, "
        "jsonl or parquet file with a column text",
    ),
]
_Genres: TypeAlias = Annotated[
    str | None, Option("--genres", help="list exactly these genres, separated by commas")
]
_NGenres: TypeAlias = Annotated[
    int | None, Option("--n-genres", help="list exactly so many genres", min=1)
]
_Calibrate: TypeAlias = Annotated[
    bool, Option("--calibrate", help="list genres in the shares of the user's history")
]
_Diversity: TypeAlias = Annotated[
    float | None,
    Option("--diversity", help="weight of variety against scores", min=0, max=1),
]
_OnUnknown: TypeAlias = Annotated[
    OnUnknown,
    Option(
        "--on-unknown",
        help="a user who is not in the training data or has no interaction there, or an unknown "
        "item of a history: raise an error, leave it out with a warning (warn) or without "
        "(ignore), or rank by popularity (popular)",
    ),
]


def recommend(
    model: ModelFolder,
    users: _Users = None,
    history: _History = None,
    text: _Text = None,
    k: Annotated[int, Option("-k", help="items per user")] = 10,
    genres: _Genres = None,
    n_genres: _NGenres = None,
    calibrate: _Calibrate = False,
    diversity: _Diversity = None,
    only_cold: Annotated[
        bool, Option("--only-cold", help="only items without interactions")
    ] = False,
    include_seen: Annotated[
        bool, Option("--include-seen", help="also items that the user has already interacted with")
    ] = False,
    on_unknown: _OnUnknown = "raise",
    encoder: TextEncoderSource = None,
    lm: CausalLMSource = None,
    out: TableOut = None,
    json: Json = None,
) -> None:
    """Recommend the k best items to known users, to histories of unknown ones, or to texts."""
    if users is None and not history and text is None:
        raise ConfigError("nobody asks; give --users, --history or --text")
    control = {
        "genres": None if genres is None else comma_separated(genres, "--genres"),
        "n_genres": n_genres,
        "calibrate": calibrate,
        "diversity": diversity,
    }
    with progress() as bar:
        bar.stage(f"load {model}")
        loaded = load_saved(model, encoder, lm)
        items = loaded.fitted.catalogue.item_ids
        asked: dict[str, Any] = {
            "users": None if users is None else read_user_ids(users, loaded.fitted.user_ids),
            "histories": read_histories(history, items) if history else None,
            "texts": None if text is None else read_text_queries(text),
        }
        number = max(len(given) for given in asked.values() if given is not None)
        bar.stage(f"recommend to {number} users")
        top = loaded.recommend(
            **asked,
            k=k,
            control=control if any(control.values()) or diversity is not None else None,
            exclude_seen=not include_seen,
            only_cold=only_cold,
            on_unknown=on_unknown,
        )
    if out is None:
        shown = with_titles(top, loaded.fitted.catalogue)
        print_table(frame_table(shown.columns, shown.rows()))
    else:
        write_frame(out, top)
        print_line(str(out))
    if json is not None:
        write_json(json, "recommend", model_description(loaded), top.to_dicts())


command = recommend

"""``warmstart split``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option

from warmstart.cli.inputs import comma_separated
from warmstart.cli.options import Json, example
from warmstart.cli.output import frame_table, print_line, print_table, progress, write_json
from warmstart.data.splits.files import save_split
from warmstart.errors import ConfigError

if TYPE_CHECKING:
    from warmstart.data.splits.cold import Split

EXAMPLE = example(
    "warmstart split data/movielens-1m --protocol random-cold --out splits/ml1m",
    "warmstart split my-shop --cutoff 2024-06-01,2024-09-01 --out splits/shop",
)


def split(
    folder: Annotated[Path, Argument(metavar="DIR", help="a folder of data")],
    out: Annotated[Path, Option("--out", help="folder for the split")],
    protocol: Annotated[
        Literal["time-cold", "random-cold"] | None,
        Option(
            "--protocol",
            help="default: time-cold if every interaction has a time, else random-cold",
        ),
    ] = None,
    cutoff: Annotated[
        str | None,
        Option(
            "--cutoff",
            help="time-cold: end of training and end of validation, as dates or unix seconds; if "
            "only the first is given, the interactions after it are halved",
        ),
    ] = None,
    fractions: Annotated[
        str,
        Option(
            "--fractions",
            help="time-cold without --cutoff: fractions of the interactions at which training and "
            "validation end",
        ),
    ] = "0.8,0.9",
    seed: Annotated[int, Option("--seed", help="random-cold: seed of the draw", min=0)] = 42,
    published: Annotated[
        Path | None,
        Option(
            "--published",
            help="folder with a published random-cold split: warm_emb, warm_val, warm_test, "
            "cold_item_val, cold_item_test",
        ),
    ] = None,
    json: Json = None,
) -> None:
    """Divide interactions into training, validation and test, and items into warm and cold."""
    from warmstart.data.readers.files import read_dataset
    from warmstart.data.splits.split import split as divide

    with progress() as bar:
        bar.stage(f"read {folder}")
        dataset = read_dataset(folder)
        bar.stage("split")
        made = divide(
            dataset,
            protocol,
            cutoff=None if cutoff is None else comma_separated(cutoff, "--cutoff"),
            fractions=_two_numbers(fractions),
            seed=seed,
            parts=published,
        )
        save_split(made, out)
    _print_summary(made)
    print_line(str(out))
    data = {"name": dataset.name, "hash": dataset.hash, "protocol": made.protocol}
    write_json(json, "split", data | {"split_hash": made.hash}, [made.summary()])


command = split


def _two_numbers(text: str) -> tuple[float, float]:
    parts = comma_separated(text, "--fractions")
    try:
        first, second = (float(part) for part in parts)
    except ValueError:
        raise ConfigError(f"--fractions {text!r}; allowed: two numbers such as 0.8,0.9") from None
    return first, second


def _print_summary(made: "Split") -> None:
    summary = made.summary()
    data: dict[str, Any] = {k: v for k, v in summary["data"].items() if k not in ("name", "hash")}
    print_table(frame_table(["count", "number"], list(data.items()), made.dataset.name))
    for title in ("parts", "slices"):
        rows = [(name, *counts.values()) for name, counts in summary[title].items()]
        columns = next(iter(summary[title].values()))
        print_table(frame_table([title[:-1], *columns], rows, f"{made.protocol}: {title}"))
    left_out = list(summary["left_out"].items()) or [("nothing", 0)]
    print_table(frame_table(["left out", "interactions"], left_out))
    print_table(frame_table(["note", "number"], list(summary.get("notes", {}).items())))
    if made.dataset.unread_columns:
        print_line(f"not read: {', '.join(made.dataset.unread_columns)}")
    print_line(f"hash {made.hash}")

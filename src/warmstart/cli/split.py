"""``warmstart split``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from typer import Argument, Option

from warmstart.cli.inputs import comma_separated
from warmstart.cli.options import Json, example
from warmstart.cli.output import frame_table, print_line, print_table, progress, write_json
from warmstart.data.splits.base import Protocol
from warmstart.data.splits.files import save_split
from warmstart.data.splits.next_in_time import Targets
from warmstart.data.splits.next_item import By
from warmstart.errors import ConfigError

if TYPE_CHECKING:
    from warmstart.data.dataset import Dataset
    from warmstart.data.splits.base import Split

EXAMPLE = example(
    "warmstart split data/movielens-1m --protocol random-cold --out splits/ml1m",
    "warmstart split my-shop --cutoff 2024-06-01,2024-09-01 --out splits/shop",
    "warmstart split my-shop --protocol next-item --by time --out splits/next",
)

_Protocol: TypeAlias = Annotated[
    Protocol | None,
    Option(
        "--protocol", help="default: time-cold if every interaction has a time, else random-cold"
    ),
]
_Cutoff: TypeAlias = Annotated[
    str | None,
    Option(
        "--cutoff",
        help="time-cold, next-item by time: end of training and end of validation, as dates or "
        "unix seconds; if only the first is given, the interactions after it are halved",
    ),
]
_Fractions: TypeAlias = Annotated[
    str | None,
    Option(
        "--fractions",
        help="without --cutoff: fractions of the interactions at which training and validation "
        "end, by default 0.8,0.9; labels: of each user's ratings",
    ),
]
_Seed: TypeAlias = Annotated[
    int | None,
    Option(
        "--seed",
        help="random-cold, next-item, user-random, dialogues: seed of the draw, by default 42",
        min=0,
    ),
]
_Published: TypeAlias = Annotated[
    Path | None,
    Option(
        "--published",
        help="folder with a published random-cold split: warm_emb, warm_val, warm_test, "
        "cold_item_val, cold_item_test",
    ),
]
_By: TypeAlias = Annotated[
    By | None,
    Option(
        "--by",
        help="next-item: hold out each user's last interactions (default), or cut at two times",
    ),
]
_Targets: TypeAlias = Annotated[
    Targets | None,
    Option(
        "--targets",
        help="next-item by time: ask for each user's first interaction in the window (default), "
        "or for each in turn",
    ),
]
_ColdItems: TypeAlias = Annotated[
    float | None,
    Option("--cold-items", help="next-item: share of the items to withhold from training"),
]
_ColdUsers: TypeAlias = Annotated[
    int | None,
    Option(
        "--cold-users",
        help="next-item: withhold users with at most this many interactions from training",
    ),
]
_FewShot: TypeAlias = Annotated[
    int | None, Option("--few-shot", help="next-item: train on this number of users only")
]
_CrossDomain: TypeAlias = Annotated[
    Path | None,
    Option(
        "--cross-domain",
        metavar="DIR",
        help="next-item: another folder of data; its users are asked on test, for its items, which "
        "train nothing",
    ),
]
_Candidates: TypeAlias = Annotated[
    str | None,
    Option(
        "--candidates",
        metavar="uniN|popN",
        help="next-item: rank each target among N items drawn uniformly or by popularity, instead "
        "of all items",
    ),
]
_NHistory: TypeAlias = Annotated[
    int | None, Option("--n-history", help="windows: items of a window that ask, by default 10")
]
_NFuture: TypeAlias = Annotated[
    int | None, Option("--n-future", help="windows: items of a window asked for, by default 10")
]
_Stride: TypeAlias = Annotated[
    int | None,
    Option("--stride", help="windows: items between the starts of two training windows"),
]
_Threshold: TypeAlias = Annotated[
    float | None, Option("--threshold", help="labels: lowest rating of a liked item")
]


def split(
    folder: Annotated[Path, Argument(metavar="DIR", help="a folder of data")],
    out: Annotated[Path, Option("--out", help="folder for the split")],
    protocol: _Protocol = None,
    cutoff: _Cutoff = None,
    fractions: _Fractions = None,
    seed: _Seed = None,
    published: _Published = None,
    by: _By = None,
    targets: _Targets = None,
    cold_items: _ColdItems = None,
    cold_users: _ColdUsers = None,
    few_shot: _FewShot = None,
    cross_domain: _CrossDomain = None,
    candidates: _Candidates = None,
    n_history: _NHistory = None,
    n_future: _NFuture = None,
    stride: _Stride = None,
    threshold: _Threshold = None,
    json: Json = None,
) -> None:
    """Divide the data into training, validation and test by one of seven protocols."""
    from warmstart.data.splits.split import split as divide

    with progress() as bar:
        bar.stage(f"read {folder}")
        dataset, parts = _read(folder, protocol)
        other = None
        if cross_domain is not None:
            bar.stage(f"read {cross_domain}")
            other, _ = _read(cross_domain, protocol)
        bar.stage("split")
        made = divide(
            dataset,
            protocol,
            cutoff=None if cutoff is None else comma_separated(cutoff, "--cutoff"),
            fractions=None if fractions is None else _two_numbers(fractions),
            seed=seed,
            parts=parts if published is None else published,
            by=by,
            targets=targets,
            cold_items=cold_items,
            cold_users=cold_users,
            few_shot=few_shot,
            cross_domain=other,
            candidates=candidates,
            n_history=n_history,
            n_future=n_future,
            stride=stride,
            threshold=threshold,
        )
        save_split(made, out)
    _print_summary(made)
    print_line(str(out))
    data = {"name": made.dataset.name, "hash": made.dataset.hash, "protocol": made.protocol}
    write_json(json, "split", data | {"split_hash": made.hash}, [made.summary()])


command = split


def _read(folder: Path, protocol: str | None) -> "tuple[Dataset, Any]":
    """Read the data, with the parts that windows of DLCRec and samples of CoLLM come with."""
    from warmstart.data.readers.collm import read_collm
    from warmstart.data.readers.dlcrec import is_windows, read_windows
    from warmstart.data.readers.files import read_dataset
    from warmstart.data.readers.table_files import find_table

    if protocol == "windows" and is_windows(folder):
        return read_windows(folder)
    if protocol == "labels" and find_table(folder, "samples") is not None:
        return read_collm(folder)
    return read_dataset(folder), None


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
    for name, meaning in summary.get("slice_definitions", {}).items():
        print_line(f"slice {name}: {meaning}")
    left_out = list(summary["left_out"].items()) or [("nothing", 0)]
    print_table(frame_table(["left out", "number"], left_out))
    print_table(frame_table(["note", "number"], list(summary.get("notes", {}).items())))
    if made.dataset.unread_columns:
        print_line(f"not read: {', '.join(made.dataset.unread_columns)}")
    print_line(f"hash {made.hash}")

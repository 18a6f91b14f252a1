"""CiteULike-a (H. Wang, B. Chen, W.-J. Li, IJCAI 2013): papers saved by users, with titles.

The release has ids, tags and citations. The titles come from TopicModelsVB.jl and are in the same
item order. The URLs pin a commit each; the publishers state no checksums.
"""

from pathlib import Path

import polars as pl

from warmstart.data.readers.dataset_config import DatasetConfig
from warmstart.data.sources.source import RemoteFile, Source, SourceTables, whole_numbers
from warmstart.errors import DataError

_GITHUB = "https://raw.githubusercontent.com"
_RELEASE = f"{_GITHUB}/js05212/citeulike-a/91b603922d7f2d3db18071d4798bf78c9c5d1680"
_TITLES = (
    f"{_GITHUB}/ericproffitt/TopicModelsVB.jl/a91ae62af7fac40d27eb4776be8c79c59bac96b7"
    "/datasets/citeu/citeutitles.txt"
)


def _lines(path: Path) -> list[str]:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.removesuffix("\n").split("\n")


def _lists(path: Path) -> list[list[int]]:
    """Parse lines that hold a count, then that many 0-based ids."""
    lists = []
    for row, line in enumerate(_lines(path), start=1):
        count, *ids = whole_numbers(line.split() or ["0"], "ids", f"{path}: line {row}")
        if count != len(ids):
            raise DataError(
                f"{path}: row {row}: got {len(ids)} ids; allowed: {count}, the count at its start"
            )
        lists.append(ids)
    return lists


def _convert(folder: Path) -> SourceTables:
    users = _lists(folder / "users.dat")
    titles = [" ".join(line.split()) for line in _lines(folder / "citeutitles.txt")]
    names = [line.strip().replace("|", "/") for line in _lines(folder / "tags.dat")]
    tags = _lists(folder / "item-tag.dat")
    _check_items(titles, tags, users)
    interactions = pl.DataFrame(
        {
            "user": [user for user, items in enumerate(users) for _ in items],
            "item": [item for items in users for item in items],
        }
    )
    try:
        tagged = ["|".join(names[tag] for tag in item) or None for item in tags]
    except IndexError:
        raise DataError(
            f"item-tag.dat has a tag number beyond the {len(names)} tags of tags.dat"
        ) from None
    items = pl.DataFrame(
        {"item": range(len(titles)), "title": titles, "tags": tagged},
        schema_overrides={"tags": pl.String},
    )
    # The users who saved the papers also wrote the tags, so tags are not part of the item text.
    return SourceTables(interactions, items, DatasetConfig(name="citeulike-a", text=("title",)))


def _check_items(titles: list[str], tags: list[list[int]], users: list[list[int]]) -> None:
    last = max((max(items, default=-1) for items in users), default=-1)
    if len(titles) != len(tags) or last >= len(titles):
        raise DataError(
            f"citeutitles.txt has {len(titles)} items, item-tag.dat {len(tags)}, and users.dat "
            f"has item numbers up to {last}; allowed: the same items, counted from 0"
        )


CITEULIKE_A = Source(
    "citeulike-a",
    "5,551 users, 16,980 papers, 204,986 saved papers, no times; titles and tags",
    "no licence stated; research use, cite; do not republish (titles: MIT repository)",
    (
        RemoteFile(f"{_RELEASE}/users.dat", "users.dat"),
        RemoteFile(f"{_RELEASE}/item-tag.dat", "item-tag.dat"),
        RemoteFile(f"{_RELEASE}/tags.dat", "tags.dat"),
        RemoteFile(_TITLES, "citeutitles.txt"),
    ),
    _convert,
)

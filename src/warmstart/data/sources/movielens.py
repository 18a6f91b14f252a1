"""MovieLens (F. M. Harper, J. A. Konstan, 2015), from files.grouplens.org."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import polars as pl

from warmstart.data.readers.csv_files import read_csv
from warmstart.data.readers.dataset_config import DatasetConfig
from warmstart.data.readers.utf8 import DAMAGED
from warmstart.data.sources.source import (
    RemoteFile,
    Source,
    SourceTables,
    split_lines,
    whole_numbers,
)
from warmstart.data.values import read_numbers, read_times, read_whole_numbers
from warmstart.errors import DataError

_HOME = "https://files.grouplens.org/datasets/movielens"
_TERMS = "research use; cite; no redistribution or commercial use without GroupLens's permission"
_POSITIVE = 4.0  # of 5 stars; the threshold of most implicit-feedback studies on these data


def _text(path: Path, member: str, encoding: str) -> list[str]:
    """Read the lines of the archive member whose base name is ``member``."""
    with _archive(path) as archive:
        return archive.read(_member(archive, path, member)).decode(encoding).splitlines()


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, *DAMAGED) as error:
        raise DataError(f"{path}: not a zip archive: {error}") from None


def _member(archive: zipfile.ZipFile, path: Path, member: str) -> str:
    names = [name for name in archive.namelist() if name.rpartition("/")[2] == member]
    if len(names) != 1:
        raise DataError(f"{path}: {len(names)} files named {member}; allowed: one")
    return names[0]


def _ratings(rows: list[list[str]], source: str) -> pl.DataFrame:
    if not rows:
        raise DataError(f"{source}: the file is empty; allowed: one rating per row")
    columns = zip(("user", "item", "rating", "timestamp"), zip(*rows, strict=True), strict=True)
    return pl.DataFrame({name: whole_numbers(cells, name, source) for name, cells in columns})


def _settings(name: str) -> DatasetConfig:
    return DatasetConfig(name=name, text=("title", "genres"), positive_rating=_POSITIVE)


def _convert_100k(folder: Path) -> SourceTables:
    path = folder / "ml-100k.zip"
    genres = [
        name
        for name, _ in split_lines(
            filter(None, _text(path, "u.genre", "latin-1")), "|", 2, "u.genre"
        )
    ]
    items = split_lines(_text(path, "u.item", "latin-1"), "|", 5 + len(genres), "u.item")
    movies = pl.DataFrame(
        {
            "item": whole_numbers((row[0] for row in items), "item", "u.item"),
            "title": [row[1] for row in items],
            "genres": [
                "|".join(g for g, flag in zip(genres, row[5:], strict=True) if flag == "1") or None
                for row in items
            ],
            "release_date": [row[2] or None for row in items],
        },
        schema_overrides={"genres": pl.String, "release_date": pl.String},
    )
    rows = split_lines(_text(path, "u.data", "latin-1"), "\t", 4, "u.data")
    return SourceTables(_ratings(rows, "u.data"), movies, _settings("movielens-100k"))


def _convert_1m(folder: Path) -> SourceTables:
    path = folder / "ml-1m.zip"
    rows = split_lines(_text(path, "movies.dat", "latin-1"), "::", 3, "movies.dat")
    movies = pl.DataFrame(
        {
            "item": whole_numbers((row[0] for row in rows), "item", "movies.dat"),
            "title": [row[1] for row in rows],
            "genres": [row[2] for row in rows],
        }
    )
    ratings = split_lines(_text(path, "ratings.dat", "latin-1"), "::", 4, "ratings.dat")
    return SourceTables(_ratings(ratings, "ratings.dat"), movies, _settings("movielens-1m"))


def _convert_latest(folder: Path, name: str) -> SourceTables:
    path = folder / "ml-latest-small.zip"
    with _archive(path) as archive:
        for member in ("ratings.csv", "movies.csv"):
            content = archive.read(_member(archive, path, member))
            (folder / member).write_bytes(content)
    ratings, movies = read_csv(folder / "ratings.csv"), read_csv(folder / "movies.csv")
    genres = movies.frame["genres"]
    items = pl.DataFrame(
        {
            "item": read_whole_numbers(movies.cells("movieId")),
            "title": movies.frame["title"],
            "genres": genres.set(genres == "(no genres listed)", None),
        }
    )
    interactions = pl.DataFrame(
        {
            "user": read_whole_numbers(ratings.cells("userId")),
            "item": read_whole_numbers(ratings.cells("movieId")),
            "rating": read_numbers(ratings.cells("rating")),
            "timestamp": read_times(ratings.cells("timestamp")),
        }
    )
    return SourceTables(interactions, items, _settings(name))


ML_100K = Source(
    "movielens-100k",
    "943 users, 1,682 films, 100,000 ratings with times (1997-98); titles and genres",
    _TERMS,
    (RemoteFile(f"{_HOME}/ml-100k.zip", "ml-100k.zip", md5="0e33842e24a9c977be4e0107933c0723"),),
    _convert_100k,
)
ML_1M = Source(
    "movielens-1m",
    "6,040 users, 3,883 films, 1,000,209 ratings with times (2000-03); titles and genres",
    _TERMS,
    (RemoteFile(f"{_HOME}/ml-1m.zip", "ml-1m.zip", md5="c4d9eecfca2ab87c1945afe126590906"),),
    _convert_1m,
)
# The publisher updates this file from time to time, so it has no fixed checksum.
ML_LATEST_SMALL = Source(
    "movielens-latest-small",
    "about 610 users, 9,700 films, 100,000 ratings with times (1996-2018); titles and genres",
    _TERMS,
    (RemoteFile(f"{_HOME}/ml-latest-small.zip", "ml-latest-small.zip"),),
    partial(_convert_latest, name="movielens-latest-small"),
)

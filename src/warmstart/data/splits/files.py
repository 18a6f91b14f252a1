"""A split on disk: a folder that holds everything needed to train and evaluate.

- ``manifest.json``: format, version, protocol, how the split was made, counts, the content hash of
  the split, and the sha256 of every other file;
- ``users.parquet``: ``user``;
- ``items.parquet``: ``item``, ``text``, ``released``, and whether the item is a cold candidate of
  each part (``cold_in_valid``, ``cold_in_test``);
- ``columns.parquet``: the other item columns as they were read;
- ``interactions.parquet``: ``user``, ``item``, ``weight``, ``time`` and ``part``, which is null for
  a left-out interaction;
- ``below_threshold.parquet``: ``user``, ``item`` and ``time`` of pairs that were rated below the
  threshold of a positive; absent without any;
- ``ratings.parquet``, ``dialogues.parquet``, ``turns.parquet``: see ``dataset_tables``.

Ids are external ids and keep their type. Loading executes nothing from the folder.
"""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from warmstart.config import Config
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.ids import Ids
from warmstart.data.interactions import OBSERVED, Interactions
from warmstart.data.splits.check import check_split
from warmstart.data.splits.cold import Protocol, Split
from warmstart.data.splits.dataset_tables import TABLES, dataset_tables, with_tables
from warmstart.errors import ConfigError, DataError
from warmstart.process import check_process
from warmstart.storage import atomic_folder, file_hash, read_unchanged

FORMAT, VERSION = "warmstart-split", 1
MANIFEST = "manifest.json"
_FILES = (
    MANIFEST,
    "users.parquet",
    "items.parquet",
    "interactions.parquet",
    "columns.parquet",
    "below_threshold.parquet",
    *(f"{name}.parquet" for name in TABLES),
)


class _Manifest(Config):
    """Schema of ``manifest.json``."""

    format: Literal["warmstart-split"]
    version: Literal[1]
    hash: str
    protocol: Protocol
    overall_users: Literal["both", "any"]
    name: str
    clock: Literal["unix", "position"]
    text_columns: tuple[str, ...]
    positive_rating: float | None = None
    dataset_counts: dict[str, int]
    made: dict[str, Any]
    part_hashes: dict[str, str]
    summary: dict[str, Any]
    files: dict[str, str]


def save_split(split: Split, folder: Path) -> None:
    """Write a split to a folder; an existing split there is replaced atomically.

    Raises:
        DataError: the folder has other content, the split breaks a rule, or its interactions
            are not observed ones.
    """
    check_split(split)
    foreign = sorted(set(split.dataset.interactions.sources) - {OBSERVED})
    if foreign:
        raise DataError(
            f"interactions of provenance {foreign} cannot be saved as a split; allowed: "
            f"provenance {OBSERVED!r}"
        )
    dataset, summary = split.dataset, split.summary()
    with atomic_folder(Path(folder), is_ours=_is_split, files=_FILES, error=DataError) as fresh:
        for name, table in _tables(split).items():
            table.write_parquet(fresh / name)
        manifest = _Manifest(
            format=FORMAT,
            version=VERSION,
            hash=split.hash,
            protocol=split.protocol,
            overall_users=split.overall_users,
            name=dataset.name,
            clock=dataset.clock,
            text_columns=dataset.catalogue.text_columns,
            positive_rating=dataset.positive_rating,
            dataset_counts=dataset.counts,
            made=split.manifest,
            part_hashes={name: part.hash for name, part in split.parts.items()},
            summary={key: summary[key] for key in ("parts", "slices")},
            files={path.name: file_hash(path) for path in sorted(fresh.iterdir())},
        )
        text = json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False)
        (fresh / MANIFEST).write_text(text + "\n", encoding="utf-8")


def load_split(folder: Path) -> Split:
    """Load a split, checking every hash and every rule of ``check_split``.

    Raises:
        DataError: the folder is missing, not a split, of another version, corrupt or changed.
    """
    return read_unchanged(Path(folder), lambda: _load(Path(folder)))


def _load(folder: Path) -> Split:
    manifest = _read_manifest(folder)
    tables: dict[str, pl.DataFrame] = {}
    for name, digest in manifest.files.items():
        path = folder / name
        if path.parent != folder or not path.is_file():
            raise DataError(f"{path}: the file of the split is missing")
        if file_hash(path) != digest:
            raise DataError(f"{path}: changed since the split was saved (its sha256 differs)")
        tables[name.removesuffix(".parquet")] = pl.read_parquet(path)
    try:
        split = _split(manifest, tables)
    except (KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{folder}: not a complete split: {error}") from None
    check_split(split)
    if split.hash != manifest.hash:
        raise DataError(
            f"{folder}: the content has hash {split.hash}, its manifest states {manifest.hash}; "
            "create the split again"
        )
    return split


def _tables(split: Split) -> dict[str, pl.DataFrame]:
    dataset, catalogue = split.dataset, split.dataset.catalogue
    events = dataset.interactions
    items: dict[str, Any] = {
        "item": catalogue.item_ids.values,
        "text": list(catalogue.texts),
        "released": catalogue.released,
    }
    for part, candidates in split.cold_candidates.items():
        items[f"cold_in_{part}"] = np.isin(np.arange(len(catalogue)), candidates)
    part_of = np.full(len(events), None, object)
    for name, part in split.parts.items():
        part_of[np.isin(events.keys, part.keys)] = name
    tables = {
        "users.parquet": pl.DataFrame({"user": dataset.user_ids.values}),
        "items.parquet": pl.DataFrame(items),
        "interactions.parquet": pl.DataFrame(
            {
                "user": dataset.user_ids.take(events.users),
                "item": catalogue.item_ids.take(events.items),
                "weight": events.weights,
                "time": events.times,
                "part": pl.Series(part_of.tolist(), dtype=pl.String),
            }
        ),
    }
    below = dataset.below_threshold
    if len(below):
        tables["below_threshold.parquet"] = pl.DataFrame(
            {
                "user": dataset.user_ids.take(below.users),
                "item": catalogue.item_ids.take(below.items),
                "time": below.times,
            }
        )
    if catalogue.columns.width:
        tables["columns.parquet"] = catalogue.columns
    return tables | {f"{name}.parquet": table for name, table in dataset_tables(dataset).items()}


def _split(manifest: _Manifest, tables: dict[str, pl.DataFrame]) -> Split:
    items, events = tables["items"], tables["interactions"]
    released = items["released"]
    catalogue = Catalogue(
        item_ids=Ids(items["item"].to_list(), "item"),
        texts=tuple(items["text"].to_list()),
        released=None if released.dtype == pl.Null else released.to_numpy().astype(np.int64),
        columns=tables.get("columns", pl.DataFrame()),
        text_columns=manifest.text_columns,
    )
    user_ids = Ids(tables["users"]["user"].to_list(), "user")

    def read(rows: pl.DataFrame) -> Interactions:
        return Interactions.from_arrays(
            user_ids.known_rows(rows["user"].to_list()),
            catalogue.item_ids.known_rows(rows["item"].to_list()),
            weights=rows["weight"].to_numpy() if "weight" in rows else None,
            times=None if rows["time"].dtype == pl.Null else rows["time"].to_numpy(),
        )

    interactions = read(events)
    below = tables.get("below_threshold")
    dataset = Dataset(
        manifest.name,
        user_ids,
        catalogue,
        interactions,
        manifest.dataset_counts,
        manifest.clock,
        below_threshold=Interactions.from_arrays([], []) if below is None else read(below),
        positive_rating=manifest.positive_rating,
    )
    dataset = with_tables(dataset, tables)

    def part(name: str) -> Interactions:
        return interactions.where((events["part"] == name).fill_null(False).to_numpy())

    return Split(
        dataset,
        manifest.protocol,
        part("train"),
        part("warm_valid"),
        part("warm_test"),
        part("cold_valid"),
        part("cold_test"),
        {
            name: np.flatnonzero(items[f"cold_in_{name}"].to_numpy()).astype(np.int32)
            for name in ("valid", "test")
        },
        manifest.overall_users,
        manifest.made,
    )


def _read_manifest(folder: Path) -> _Manifest:
    check_process()
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"{folder}: not a saved split (no {MANIFEST} in it)")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise DataError(f"{path}: format {found!r}; allowed: {FORMAT!r}, written by save_split")
    if content.get("version") != VERSION:
        raise DataError(
            f"{path}: format version {content.get('version')!r}; this version of warmstart reads "
            f"{VERSION}; create the split again"
        )
    try:
        return _Manifest.build(content)
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from None


def _is_split(folder: Path) -> bool:
    try:
        _read_manifest(folder)
    except DataError:
        return False
    return True

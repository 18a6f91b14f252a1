"""A split on disk: a folder that holds everything needed to train and evaluate.

- ``manifest.json``: format, version, protocol, how the split was made, counts, the content hash of
  the split, and the sha256 of every other file;
- ``users.parquet``: ``user``, and under ``next-item``, ``user-random`` and ``windows`` whether the
  user is asked for by history only (``cold``);
- ``items.parquet``: ``item``, ``text``, ``released`` and, if the protocol has cold items, whether
  the item is a cold candidate of each part (``cold_in_valid``, ``cold_in_test``);
- ``columns.parquet``: the other item columns as they were read;
- ``interactions.parquet``: ``user``, ``item``, ``weight``, ``time`` and, if the protocol divides
  interactions, ``part``, which is null for a left-out one;
- ``below_threshold.parquet``: ``user``, ``item`` and ``time`` of pairs that were rated below the
  threshold of a positive; absent without any;
- ``ratings.parquet``, ``dialogues.parquet``, ``turns.parquet``: see ``dataset_tables``. Under
  ``labels`` the ratings have a column ``part``; under ``dialogues`` the dialogues have a column
  ``split_part`` beside the published ``part``;
- ``candidates.parquet``: ``part`` and ``items`` of each query; absent for full rankings.

Ids are external ids and keep their type. Loading executes nothing from the folder. Version 1 had
the protocols ``time-cold`` and ``random-cold`` only, without ratings and dialogues.
"""

import json
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from warmstart.config import Config
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.ids import Ids
from warmstart.data.interactions import OBSERVED, Interactions
from warmstart.data.splits.base import Part, Protocol, Split
from warmstart.data.splits.candidates import Candidates
from warmstart.data.splits.check import check_split
from warmstart.data.splits.cold import ColdSplit
from warmstart.data.splits.dataset_tables import TABLES, dataset_tables, with_tables
from warmstart.data.splits.dialogue_split import DialogueSplit
from warmstart.data.splits.event_split import EventSplit
from warmstart.data.splits.label_split import LabelSplit
from warmstart.data.splits.part_codes import part_codes, part_names
from warmstart.errors import ConfigError, DataError
from warmstart.process import check_process
from warmstart.storage import atomic_folder, file_hash, read_unchanged

FORMAT, VERSION = "warmstart-split", 2
MANIFEST = "manifest.json"
_VERSIONS = (1, 2)
_FILES = (
    MANIFEST,
    "users.parquet",
    "items.parquet",
    "interactions.parquet",
    "columns.parquet",
    "below_threshold.parquet",
    *(f"{name}.parquet" for name in TABLES),
    "candidates.parquet",
)


class _Manifest(Config):
    """Schema of ``manifest.json``."""

    format: Literal["warmstart-split"]
    version: Literal[1, 2]
    hash: str
    protocol: Protocol
    overall_users: Literal["both", "any"] | None = None
    candidates: str | None = None
    name: str
    clock: Literal["unix", "position"]
    text_columns: tuple[str, ...]
    positive_rating: float | None = None
    dataset_counts: dict[str, int]
    made: dict[str, Any]
    part_hashes: dict[str, str] | None = None
    summary: dict[str, Any]
    files: dict[str, str]


def save_split(split: Split, folder: Path | str) -> None:
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
            table.write_parquet(fresh / f"{name}.parquet")
        is_cold = isinstance(split, ColdSplit)
        frozen = split.candidates if isinstance(split, EventSplit) else None
        manifest = _Manifest(
            format=FORMAT,
            version=VERSION,
            hash=split.hash,
            protocol=split.protocol,
            overall_users=split.overall_users if is_cold else None,
            candidates=None if frozen is None else frozen.name,
            name=dataset.name,
            clock=dataset.clock,
            text_columns=dataset.catalogue.text_columns,
            positive_rating=dataset.positive_rating,
            dataset_counts=dataset.counts,
            made=split.manifest,
            part_hashes={n: part.hash for n, part in split.parts.items()} if is_cold else None,
            summary={key: summary[key] for key in ("parts", "slices")},
            files={path.name: file_hash(path) for path in sorted(fresh.iterdir())},
        )
        text = json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False)
        (fresh / MANIFEST).write_text(text + "\n", encoding="utf-8")


def load_split(folder: Path | str) -> Split:
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
        tables[name.removesuffix(".parquet")] = pl.read_parquet(path, glob=False)
    try:
        split = _split(manifest, tables)
    except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{folder}: not a complete split: {error}") from None
    check_split(split)
    if split.hash != manifest.hash:
        raise DataError(
            f"{folder}: the content has hash {split.hash}, its manifest states {manifest.hash}; "
            "create the split again"
        )
    return split


# -- to tables --


def _tables(split: Split) -> dict[str, pl.DataFrame]:
    dataset, catalogue = split.dataset, split.dataset.catalogue
    events, below = dataset.interactions, dataset.below_threshold
    tables = {
        "users": pl.DataFrame({"user": dataset.user_ids.values}),
        "items": pl.DataFrame(
            {
                "item": catalogue.item_ids.values,
                "text": list(catalogue.texts),
                "released": catalogue.released,
            }
        ),
        "interactions": _pairs(dataset, events).with_columns(weight=events.weights),
        **dataset_tables(dataset),
    }
    if len(below):
        tables["below_threshold"] = _pairs(dataset, below)
    if catalogue.columns.width:
        tables["columns"] = catalogue.columns
    return tables | _parts(split, tables)


def _pairs(dataset: Dataset, events: Interactions) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user": dataset.user_ids.take(events.users),
            "item": dataset.catalogue.item_ids.take(events.items),
            "time": events.times,
        }
    )


def _parts(split: Split, tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The tables that say what is in which part, with their columns of the data set."""

    def with_parts(table: str, names: list[str | None], column: str = "part") -> pl.DataFrame:
        return tables[table].with_columns(pl.Series(column, names, dtype=pl.String))

    if isinstance(split, ColdSplit):
        part_of = np.full(len(split.dataset.interactions), None, object)
        for name, part in split.parts.items():
            part_of[np.isin(split.dataset.interactions.keys, part.keys)] = name
        return {
            "interactions": with_parts("interactions", part_of.tolist()),
            "items": _with_cold(tables["items"], split.cold_candidates),
        }
    if isinstance(split, LabelSplit):
        return {"ratings": with_parts("ratings", part_names(split.parts))}
    if isinstance(split, DialogueSplit):
        return {"dialogues": with_parts("dialogues", part_names(split.parts), "split_part")}
    assert isinstance(split, EventSplit)
    cold = np.isin(np.arange(split.dataset.n_users), split.cold_users)
    made = {
        "interactions": with_parts("interactions", part_names(split.parts)),
        "users": tables["users"].with_columns(pl.Series("cold", cold)),
    }
    if split.cold_candidates is not None:
        made["items"] = _with_cold(tables["items"], split.cold_candidates)
    if split.candidates is not None:
        made["candidates"] = _frozen_table(split.dataset, split.candidates)
    return made


def _with_cold(items: pl.DataFrame, cold: Any) -> pl.DataFrame:
    rows = np.arange(len(items))
    return items.with_columns(
        pl.Series(f"cold_in_{part}", np.isin(rows, candidates)) for part, candidates in cold.items()
    )


def _frozen_table(dataset: Dataset, candidates: Candidates) -> pl.DataFrame:
    parts = [part for part, rows in candidates.items.items() for _ in range(len(rows))]
    lists = [
        dataset.catalogue.item_ids.take(row) for rows in candidates.items.values() for row in rows
    ]
    return pl.DataFrame({"part": parts, "items": lists})


# -- from tables --


def _split(manifest: _Manifest, tables: dict[str, pl.DataFrame]) -> Split:
    dataset = _dataset(manifest, tables)
    if manifest.protocol in ("time-cold", "random-cold"):
        return _cold_split(manifest, tables, dataset)
    if manifest.protocol == "labels":
        return LabelSplit(dataset, part_codes(tables["ratings"]["part"]), manifest.made)
    if manifest.protocol == "dialogues":
        return DialogueSplit(dataset, part_codes(tables["dialogues"]["split_part"]), manifest.made)
    items, frozen = tables["items"], None
    if manifest.candidates is not None:
        rows = {part: _frozen_rows(dataset, tables, part) for part in get_args(Part)}
        frozen = Candidates(manifest.candidates, rows)
    return EventSplit(
        dataset,
        manifest.protocol,
        part_codes(tables["interactions"]["part"]),
        np.flatnonzero(tables["users"]["cold"].to_numpy()).astype(np.int32),
        _cold_rows(items) if "cold_in_test" in items.columns else None,
        frozen,
        manifest.made,
    )


def _dataset(manifest: _Manifest, tables: dict[str, pl.DataFrame]) -> Dataset:
    items = tables["items"]
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

    below = tables.get("below_threshold")
    dataset = Dataset(
        manifest.name,
        user_ids,
        catalogue,
        read(tables["interactions"]),
        manifest.dataset_counts,
        manifest.clock,
        below_threshold=Interactions.from_arrays([], []) if below is None else read(below),
        positive_rating=manifest.positive_rating,
    )
    return with_tables(dataset, tables)


def _cold_split(
    manifest: _Manifest, tables: dict[str, pl.DataFrame], dataset: Dataset
) -> ColdSplit:
    parts = tables["interactions"]["part"]

    def part(name: str) -> Interactions:
        return dataset.interactions.where((parts == name).fill_null(False).to_numpy())

    if manifest.protocol not in ("time-cold", "random-cold") or manifest.overall_users is None:
        raise KeyError("overall_users")
    return ColdSplit(
        dataset,
        manifest.protocol,
        part("train"),
        part("warm_valid"),
        part("warm_test"),
        part("cold_valid"),
        part("cold_test"),
        _cold_rows(tables["items"]),
        manifest.overall_users,
        manifest.made,
    )


def _cold_rows(items: pl.DataFrame) -> dict[Any, np.ndarray]:
    return {
        part: np.flatnonzero(items[f"cold_in_{part}"].to_numpy()).astype(np.int32)
        for part in get_args(Part)
    }


def _frozen_rows(dataset: Dataset, tables: dict[str, pl.DataFrame], part: Part) -> np.ndarray:
    lists = tables["candidates"].filter(pl.col("part") == part)["items"]
    rows = dataset.catalogue.item_ids.known_rows(lists.explode().to_list())
    return rows.reshape(len(lists), -1)


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
    if content.get("version") not in _VERSIONS:
        raise DataError(
            f"{path}: format version {content.get('version')!r}; this version of warmstart reads "
            f"{' and '.join(map(str, _VERSIONS))}; create the split again"
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

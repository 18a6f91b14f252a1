"""Amazon reviews from J. McAuley's group (UCSD): 2014 and 2018 (5-core), 2023 (all reviews).

Each category is a data set of its own, such as ``amazon-2023-Video_Games``. The publishers state no
checksums. Each review becomes an interaction with its rating and time. The item text holds only
what a shop has at release: title, brand, categories and description. It leaves out prices, sales
ranks, rating counts and "also bought".
"""

import ast
import gzip
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from warmstart.data.readers.dataset_config import DatasetConfig
from warmstart.data.readers.utf8 import DAMAGED
from warmstart.data.sources.source import RemoteFile, Source, SourceTables
from warmstart.errors import DataError

_TERMS = "offered for research by McAuley's group; cite; do not republish"
_SNAP = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
_UCSD = "https://mcauleylab.ucsd.edu/public_datasets/data"


@dataclass(frozen=True)
class _Edition:
    """Layout of one edition: URLs with ``{}`` for the category, and field names."""

    reviews: str
    meta: str
    categories: str
    texts: tuple[str, ...]
    user: str = "reviewerID"
    item: str = "asin"
    rating: str = "overall"
    time: str = "unixReviewTime"
    ticks: int = 1  # units of the time field per second
    brand: str = "brand"
    parse: Callable[[str], Any] = json.loads


_EDITIONS = {
    2014: _Edition(
        reviews=f"{_SNAP}/reviews_{{}}_5.json.gz",
        meta=f"{_SNAP}/meta_{{}}.json.gz",
        categories="categories",
        texts=("description",),
        parse=ast.literal_eval,  # the metadata lines are Python literals, not JSON
    ),
    2018: _Edition(
        reviews=f"{_UCSD}/amazon_v2/categoryFilesSmall/{{}}_5.json.gz",
        meta=f"{_UCSD}/amazon_v2/metaFiles2/meta_{{}}.json.gz",
        categories="category",
        texts=("feature", "description"),
    ),
    2023: _Edition(
        reviews=f"{_UCSD}/amazon_2023/raw/review_categories/{{}}.jsonl.gz",
        meta=f"{_UCSD}/amazon_2023/raw/meta_categories/meta_{{}}.jsonl.gz",
        categories="categories",
        texts=("features", "description"),
        user="user_id",
        item="parent_asin",
        rating="rating",
        time="timestamp",
        ticks=1000,
        brand="store",
    ),
}
_LOWEST_RATING = 0.0  # every review becomes an interaction
_NAME = re.compile(r"amazon-(\d{4})-(\w+)")


def amazon(year: int, category: str) -> Source:
    """Build the source of one category, spelt as in the URLs: ``Beauty``, ``Video_Games``.

    Raises:
        DataError: no edition of that year exists.
    """
    if year not in _EDITIONS:
        raise DataError(f"no Amazon edition {year}; allowed: {sorted(_EDITIONS)}")
    edition = _EDITIONS[year]
    name = f"amazon-{year}-{category}"
    reviews, meta = edition.reviews.format(category), edition.meta.format(category)
    files = [RemoteFile(url, url.rpartition("/")[2]) for url in (reviews, meta)]
    scope = "all reviews" if year == 2023 else "users and products with five reviews or more"
    return Source(
        name,
        f"Amazon reviews {year}, {category.replace('_', ' ')}: {scope}, with times and texts",
        _TERMS,
        tuple(files),
        partial(_convert, edition=edition, name=name, names=(files[0].name, files[1].name)),
    )


def is_amazon(name: str) -> bool:
    """Tell whether a name has the form ``amazon-YEAR-Category``."""
    return _NAME.fullmatch(name) is not None


def parse_amazon(name: str) -> Source:
    """Build the source of a name of the form ``amazon-YEAR-Category``.

    Raises:
        DataError: the name has another form, or no edition of that year exists.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise DataError(f"data set {name!r}; allowed: amazon-YEAR-Category")
    return amazon(int(parts[1]), parts[2])


def _convert(folder: Path, edition: _Edition, name: str, names: tuple[str, str]) -> SourceTables:
    columns: dict[str, list[Any]] = {"user": [], "item": [], "rating": [], "timestamp": []}
    fields = (edition.user, edition.item, edition.rating, edition.time)
    for row, review in _records(folder / names[0], json.loads):
        for column, key in zip(columns.values(), fields, strict=True):
            if key not in review:
                raise DataError(f"{folder / names[0]}: row {row}: field {key!r} is missing")
            column.append(review[key])
    interactions = pl.DataFrame(columns, strict=False).with_columns(
        pl.col("rating").cast(pl.Float64), pl.col("timestamp") // edition.ticks
    )
    reviewed = set(columns["item"])
    items: dict[str, dict[str, Any]] = {}
    unreviewed = repeated = 0
    for row, product in _records(folder / names[1], edition.parse):
        item = product.get(edition.item)
        if item is None:
            raise DataError(f"{folder / names[1]}: row {row}: field {edition.item!r} is missing")
        unreviewed += item not in reviewed
        repeated += item in items
        if item in reviewed and item not in items:
            items[item] = {"item": item, **_texts(product, edition)}
    text = ("title", "brand", "categories", "text")
    schema: dict[str, type[pl.String]] = dict.fromkeys(("item", *text), pl.String)
    return SourceTables(
        interactions,
        pl.DataFrame(list(items.values()), schema=schema),
        DatasetConfig(name=name, text=text, positive_rating=_LOWEST_RATING),
        {
            "reviews": len(interactions),
            "products_with_metadata": len(items),
            "products_without_metadata": len(reviewed) - len(items),
            "metadata_of_products_without_review_left_out": unreviewed,
            "repeated_metadata_left_out": repeated,
        },
    )


def _records(path: Path, parse: Callable[[str], Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    row = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for row, line in enumerate(lines, start=1):
                record = parse(line)
                if not isinstance(record, dict):
                    raise DataError(f"{path}: row {row}: got {line[:80]!r}; allowed: an object")
                yield row, record
    except (ValueError, SyntaxError, RecursionError, *DAMAGED) as error:
        raise DataError(f"{path}: row {max(row, 1)}: cannot be read: {error}") from None


def _texts(product: dict[str, Any], edition: _Edition) -> dict[str, str | None]:
    descriptions = [part for name in edition.texts for part in _flat(product.get(name))]
    return {
        "title": " ".join(_flat(product.get("title"))) or None,
        "brand": " ".join(_flat(product.get(edition.brand))) or None,
        "categories": "|".join(dict.fromkeys(_flat(product.get(edition.categories)))) or None,
        "text": " ".join(descriptions) or None,
    }


def _flat(value: Any) -> list[str]:
    """Collect the strings of a value or nested list, with white space collapsed."""
    if isinstance(value, list):
        return [part for inner in value for part in _flat(inner)]
    text = " ".join(str(value).split()) if isinstance(value, str) else ""
    return [text] if text else []

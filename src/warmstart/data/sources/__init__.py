"""Public data sets by name: download, verify and convert them to the package's input format.

``SOURCES`` lists the named ones; ``find_source`` also builds any Amazon category (see ``amazon``).
"""

from collections.abc import Mapping

from warmstart.data.sources.amazon import amazon, is_amazon, parse_amazon
from warmstart.data.sources.citeulike import CITEULIKE_A
from warmstart.data.sources.get import get_source
from warmstart.data.sources.movielens import ML_1M, ML_100K, ML_LATEST_SMALL
from warmstart.data.sources.source import RemoteFile, Source, SourceTables
from warmstart.data.sources.synthetic import SYNTHETIC, synthetic, synthetic_items
from warmstart.data.sources.synthetic_dialogues import SYNTHETIC_DIALOGUES, synthetic_dialogues
from warmstart.errors import DataError

__all__ = [
    "SOURCES",
    "RemoteFile",
    "Source",
    "SourceTables",
    "find_source",
    "get_source",
    "synthetic",
    "synthetic_dialogues",
    "synthetic_items",
]

SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        SYNTHETIC,
        SYNTHETIC_DIALOGUES,
        CITEULIKE_A,
        ML_100K,
        ML_1M,
        ML_LATEST_SMALL,
        amazon(2014, "Beauty"),
        amazon(2018, "Luxury_Beauty"),
        amazon(2023, "All_Beauty"),
    )
}


def find_source(name: str) -> Source:
    """Look up a source in SOURCES, or build ``amazon-YEAR-Category`` for any category.

    Raises:
        DataError: no source has that name.
    """
    if name in SOURCES:
        return SOURCES[name]
    if is_amazon(name):
        return parse_amazon(name)
    raise DataError(
        f"no data set {name!r}; allowed: {', '.join(SOURCES)}, or amazon-YEAR-Category "
        "such as amazon-2023-Video_Games"
    )

"""``export_vectors``: to a folder of parquet files, or to PostgreSQL."""

import re
from pathlib import Path

from warmstart.core import Recommender
from warmstart.errors import ConfigError
from warmstart.export.files import write_files
from warmstart.export.pgvector import ITEMS_TABLE, USERS_TABLE, write_tables
from warmstart.export.vectors import Vectors, vectors_of
from warmstart.process import check_process

_URL = re.compile(r"(\w+)(?:\+\w+)?://")  # SQLAlchemy adds the driver to the scheme


def export_vectors(
    model: Recommender,
    to: Path | str,
    *,
    cold_only: bool = False,
    items_table: str = ITEMS_TABLE,
    users_table: str = USERS_TABLE,
) -> Vectors:
    """Write the vectors of users and items of a recommender with a factor backbone.

    See ``vectors_of`` for what the vectors are. The dot product of a user's and an item's vector is
    the score.

    Args:
        model: fitted.
        to: a folder, for ``items.parquet`` and ``users.parquet``; or ``postgresql://...``, for
            tables of pgvector, where rows of the same id are replaced and others stay.
        cold_only: write the cold items alone, what a search that has all other vectors needs; in a
            folder as ``cold_items.parquet``.
        items_table: name of the table of items, in PostgreSQL.
        users_table: name of the table of users, in PostgreSQL.

    Returns:
        What was written.

    Raises:
        ConfigError: ``to`` is empty or another kind of address, or the tables have the same name.
        DataError: the folder or the database cannot be written.
        NotFittedError: before ``fit`` or ``load``.
        UnsupportedError: the method or its backbone has no such vectors, the extra ``pgvector`` is
            not installed, or this process was forked from one that had used warmstart.
    """
    check_process()
    scheme = _URL.match(str(to))
    if scheme and scheme[1].lower() not in ("postgresql", "postgres"):
        raise ConfigError(f"export to {scheme[0]}...; allowed: a folder, or postgresql://...")
    if not str(to):
        raise ConfigError("export to ''; allowed: a folder, or postgresql://...")
    vectors = vectors_of(model)
    if cold_only:
        vectors = vectors.only_cold()
    if scheme:
        url = "postgresql://" + str(to)[scheme.end() :]
        write_tables(vectors, url, items_table=items_table, users_table=users_table)
    else:
        write_files(vectors, Path(to))
    return vectors

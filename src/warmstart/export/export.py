"""``export_vectors``: to a folder of parquet files, or to PostgreSQL."""

from pathlib import Path

from warmstart.core import Recommender
from warmstart.export.files import write_files
from warmstart.export.pgvector import ITEMS_TABLE, USERS_TABLE, write_tables
from warmstart.export.vectors import Vectors, vectors_of
from warmstart.process import check_process


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
        cold_only: write the cold items alone: what a search that has all other vectors needs.
        items_table: name of the table of items, in PostgreSQL.
        users_table: name of the table of users, in PostgreSQL.

    Returns:
        What was written.

    Raises:
        DataError: the folder or the database cannot be written.
        NotFittedError: before ``fit`` or ``load``.
        UnsupportedError: the method or its backbone has no such vectors, the extra ``pgvector`` is
            not installed, or this process was forked from one that had used warmstart.
    """
    check_process()
    vectors = vectors_of(model)
    if cold_only:
        vectors = vectors.only_cold()
    if str(to).startswith(("postgresql://", "postgres://")):
        write_tables(vectors, str(to), items_table=items_table, users_table=users_table)
    else:
        write_files(vectors, Path(to))
    return vectors

"""Write vectors into tables of PostgreSQL with the extension pgvector, in one transaction.

The rows are copied into a temporary table and from there merged by id: a row of the same id is
replaced, and rows of other ids stay. A table that does not exist is created without an index, which
is the user's choice.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from warmstart.data.ids import Ids
from warmstart.errors import ConfigError, DataError, missing_extra

if TYPE_CHECKING:
    from psycopg import Connection

    from warmstart.export.vectors import Vectors

ITEMS_TABLE, USERS_TABLE = "item_vectors", "user_vectors"


def write_tables(
    vectors: "Vectors",
    url: str,
    *,
    items_table: str = ITEMS_TABLE,
    users_table: str = USERS_TABLE,
) -> None:
    """Write ``item_vectors`` (item, vector, is_cold) and ``user_vectors`` (user, vector).

    Ids are bigint or text, as those of the data, and the primary key.

    Args:
        vectors: what to write.
        url: ``postgresql://...``
        items_table: name of the table of items, with or without a schema.
        users_table: name of the table of users.

    Raises:
        ConfigError: the tables have the same name.
        DataError: the server cannot be reached, has no pgvector, or a table has other columns or
            no primary key.
        UnsupportedError: the extra ``pgvector`` is not installed.
    """
    if items_table == users_table:
        raise ConfigError(
            f"items_table and users_table are both {items_table!r}; allowed: two names"
        )
    try:
        import psycopg
        from pgvector.psycopg import register_vector
    except ImportError:
        raise missing_extra("pgvector", "pgvector") from None
    try:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            register_vector(connection)
            cold = {"is_cold": vectors.cold.tolist()}
            _merge(connection, items_table, vectors.item_ids, vectors.items, cold)
            if len(vectors.user_ids):
                _merge(connection, users_table, vectors.user_ids, vectors.users, {})
    except psycopg.Error as error:
        told = " ".join(str(error).split())
        raise DataError(f"the vectors could not be written: {told}") from None


def _merge(
    connection: "Connection", table: str, ids: Ids, vectors: np.ndarray, flags: dict[str, list]
) -> None:
    """Merge rows into a table by id; ``flags`` are further columns of booleans."""
    from psycopg import sql

    id_type = "bigint" if ids.is_integer else "text"
    types = {ids.kind: id_type, "vector": f"vector({vectors.shape[1]})"}
    types |= dict.fromkeys(flags, "boolean")
    name, key = sql.Identifier(*table.split(".")), sql.Identifier(ids.kind)
    columns = {column: sql.Identifier(column) for column in types}
    definitions = [
        sql.SQL("{} {}").format(columns[column], sql.SQL(cast(Any, kind)))
        for column, kind in types.items()
    ]
    connection.execute(
        sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY ({}))").format(
            name, sql.SQL(", ").join(definitions), key
        )
    )
    _check_columns(connection, table, types)
    connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE new_rows ({}) ON COMMIT DROP").format(
            sql.SQL(", ").join(definitions)
        )
    )
    listed = sql.SQL(", ").join(columns.values())
    copied = sql.SQL("COPY new_rows ({}) FROM STDIN WITH (FORMAT BINARY)").format(listed)
    with connection.cursor() as cursor, cursor.copy(copied) as copy:
        copy.set_types([kind.partition("(")[0] for kind in types.values()])
        for row in zip(ids.values, vectors, *flags.values(), strict=True):
            copy.write_row(row)
    others = [column for column in types if column != ids.kind]
    assignments = sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(columns[column]) for column in others
    )
    connection.execute(
        sql.SQL(
            "INSERT INTO {} ({listed}) SELECT {listed} FROM new_rows "
            "ON CONFLICT ({}) DO UPDATE SET {}"
        ).format(name, key, assignments, listed=listed)
    )
    connection.execute("DROP TABLE new_rows")


def _check_columns(connection: "Connection", table: str, types: dict[str, str]) -> None:
    """Compare the columns of the table in the database with those that are to be written."""
    from psycopg import sql

    name = sql.Identifier(*table.split(".")).as_string(connection)
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        [name],
    )
    found = dict(rows.fetchall())
    if wrong := {name: found.get(name) for name, kind in types.items() if found.get(name) != kind}:
        raise DataError(
            f"table {table}: columns {wrong}; allowed: {types}; name another table, or drop it"
        )
    key, *_ = types
    unique = connection.execute(
        "SELECT 1 FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] "
        "WHERE indrelid = to_regclass(%s) AND indisunique AND indnkeyatts = 1 "
        "AND indpred IS NULL AND attname = %s",
        [name, key],
    )
    if unique.fetchone() is None:
        raise DataError(f"table {table}: {key} must be the primary key, or have a unique index")

"""Raise errors or warn about data that can be read but are probably wrong.

``docs/data.md`` has a table of the rules.
"""

import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import polars as pl

from warmstart.data.catalogue import Catalogue
from warmstart.data.readers.column_names import suggested_names
from warmstart.data.readers.tables import Table
from warmstart.data.readers.text_columns import looks_like_text
from warmstart.errors import DataError, DataWarning

_FEW = 0.5  # a smaller fraction causes a warning
_SCALE_SIZES, _SCALE_BOUNDS, _SCALE_LOWEST_TOP = (3, 11), (0, 10), 3
_USUAL_POSITIVE = 0.75  # of the highest rating: 4 of 5, 8 of 10


def check_overlap(used: pl.Series, listed: pl.Series, source: str, items: str) -> None:
    """Check that the items table lists the items that another source uses.

    Args:
        used: the different item ids of the interactions, or of the dialogues.
        listed: the item ids of the items table.
        source: where ``used`` is from.
        items: where ``listed`` is from.

    Raises:
        DataError: none of the used items is listed.
    """
    known = int(used.is_in(listed.implode()).sum())
    if known == 0 and len(used) and len(listed):
        raise DataError(
            f"none of the {len(used)} items of {source} is among the "
            f"{len(listed)} items of {items}; the first ids are {used[0]!r} and "
            f"{listed[0]!r}; write ids the same way in both"
        )
    if len(listed) and known < _FEW * len(used):
        unknown = used.filter(~used.is_in(listed.implode()))[0]
        _warn(
            f"only {known} of the {len(used)} items of {source} are in "
            f"{items}; {unknown!r} is not, and the first id there is {listed.first()!r}; "
            "are ids written the same way in both?"
        )


def check_users(users: pl.Series, listed: pl.Series, interactions: Table, table: Table) -> None:
    """Warn if the users table contains no user of the interactions."""
    if len(listed) and not listed.is_in(users.implode()).any():
        _warn(
            f"no user of {interactions.source} is in {table.source}; the first ids are "
            f"{users.first()!r} and {listed.first()!r}; are ids written the same way in both?"
        )


def check_ratings(ratings: pl.Series, threshold: float | None, table: Table, name: str) -> None:
    """Warn about low ratings that count as positives, since no threshold was given."""
    if threshold is not None:
        return
    scale = ratings.drop_nulls().unique().sort().to_list()
    low = int((ratings <= 0).sum())
    if _is_scale(ratings.drop_nulls(), scale):
        usual = next(value for value in scale if value >= _USUAL_POSITIVE * scale[-1])
        below = ", ".join(f"{value:g}" for value in scale if value < usual)
        _warn(
            f"{table.source}: {name!r} looks like a scale from {scale[0]:g} to {scale[-1]:g}, and "
            f"every row counts as a positive, even those rated {below} "
            f"({int((ratings < usual).sum())} of {len(ratings)} rows); set positive_rating, for "
            f"example to {usual:g}, or to {scale[0]:g} to keep every row"
        )
    elif low:
        _warn(
            f"{table.source}: {low} of {len(ratings)} values of {name!r} are at or below 0, and "
            "every row counts as a positive; set positive_rating, for example to 1"
        )


def _is_scale(ratings: pl.Series, scale: Sequence[float]) -> bool:
    """Whether ratings without nulls, with the sorted distinct values ``scale``, are no counts.

    The lowest value is by far the most frequent among counts, but not among ratings.
    """
    least, most = _SCALE_SIZES
    return (
        least <= len(scale) <= most
        and _SCALE_BOUNDS[0] <= scale[0]
        and _SCALE_LOWEST_TOP <= scale[-1] <= _SCALE_BOUNDS[1]
        and (ratings == scale[0]).sum() * 2 <= len(ratings)
    )


def check_positives(n_positive: int, n_users: int, n_rows: int, where: str) -> None:
    """Check that there are positives; warn if most users have none.

    Raises:
        DataError: there are no rows, or no row is a positive.
    """
    if not n_rows:
        raise DataError(f"{where}: has no rows; at least one positive is needed")
    if not n_positive:
        raise DataError(f"{where}: none of the {n_rows} rows is a positive; lower positive_rating")
    if n_positive < _FEW * n_users:
        _warn(f"{where}: {n_users - n_positive} of {n_users} users have no positive")


def unread_columns(
    table: Table, read: Collection[str | None], wanted: Sequence[str], remedy: str = ""
) -> tuple[str, ...]:
    """List the columns of a table that are not read; warn about likely wrong names.

    Args:
        table: the table.
        read: the columns that are read.
        wanted: names that would be read if they existed.
        remedy: advice in the warning for a column of another name.

    Returns:
        ``source: column`` for each column that is not read.
    """
    unread = [name for name in table.frame.columns if name not in read]
    near = suggested_names(unread, [name for name in wanted if name not in read])
    if near:
        _warn(f"{table.source}: not read: {_hints(near)}; {remedy}")
    return tuple(f"{Path(table.source).name}: {name}" for name in unread)


def warn_texts(items: Table, catalogue: Catalogue, id_name: str, wanted: Sequence[str]) -> None:
    """Warn if items have no text, or about columns that look like text but are not part of it."""
    columns = [name for name in items.frame.columns if name != id_name]
    unread = [name for name in columns if name not in (*catalogue.text_columns, "released")]
    near = suggested_names(unread, wanted)
    for name in unread if wanted else ():
        if looks_like_text(catalogue.columns.get_column(name)):
            near.setdefault(name, name)
    hints = _hints(near)
    if not catalogue.text_columns:
        if columns:
            _warn(
                f"{items.source}: the items have no text; its other columns: "
                f"{hints or ', '.join(map(repr, columns))}; name the text columns, for example "
                "text = ['name', 'description']"
            )
    elif not any(catalogue.texts):
        _warn(f"{items.source}: the text columns {list(catalogue.text_columns)} are all empty")
    elif hints:
        _warn(f"{items.source}: not part of the text: {hints}; name all text columns to add it")


def check_new_items(
    items: Table, id_name: str, text_columns: Sequence[str], known: Collection[str] | None
) -> None:
    """Check that a table of new items has the text columns of the catalogue that they extend.

    Args:
        items: the table.
        id_name: its column of ids.
        text_columns: the text columns of the catalogue. One that is missing is allowed, and warned
            of only if the table has columns that the catalogue does not have: one of them may have
            the wrong name.
        known: all columns of the catalogue; None if they are not known.

    Raises:
        DataError: all text columns are missing.
    """
    columns = items.frame.columns
    missing = [name for name in text_columns if name not in columns]
    others = [name for name in columns if name not in (id_name, "released", *text_columns)]
    near = suggested_names(others, missing)
    if missing and len(missing) == len(text_columns):
        hints = f"; rename {_hints(near)}" if near else ""
        raise DataError(
            f"{items.source}: has none of the text columns {missing}; "
            f"its columns are {columns}{hints}"
        )
    unknown = [] if known is None else [name for name in others if name not in known]
    if missing and unknown:
        _warn(
            f"{items.source}: text column(s) {missing} are missing and count as empty, and not "
            f"part of the text: {_hints({name: near.get(name, name) for name in unknown})}; "
            "rename the columns that contain text"
        )


def _hints(near: Mapping[str, str]) -> str:
    return ", ".join(
        repr(name) if name == meant else f"{name!r} (is it {meant!r}?)"
        for name, meant in near.items()
    )


def _warn(message: str) -> None:
    warnings.warn(message, DataWarning, stacklevel=4)

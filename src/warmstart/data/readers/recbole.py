"""Read RecBole's atomic files: ``NAME.inter`` and, optionally, ``NAME.item``.

The files are tab-separated, without quotes, and have a typed header such as ``user_id:token
item_id:token rating:float timestamp:float``. Of the interactions, ``user_id``, ``item_id`` and, if
present, ``rating`` (or else ``label``) and ``timestamp`` are read; of the items, every column. The
text is composed of the ``token_seq`` columns of the items in their order; without any, of the
columns in ``DEFAULT_TEXT``. ``dataset.toml`` can name other columns.
"""

from pathlib import Path

from warmstart.data.dataset import Dataset
from warmstart.data.readers.assemble import OnUnknownItem, assemble
from warmstart.data.readers.csv_files import read_csv
from warmstart.data.readers.dataset_config import FILE, read_dataset_config
from warmstart.data.readers.events import Columns
from warmstart.data.readers.tables import Table
from warmstart.errors import DataError

_TYPES = ("token", "token_seq", "float", "float_seq")
_FIELDS = {
    "user_id": "token",
    "item_id": "token",
    "rating": "float",
    "label": "float",
    "timestamp": "float",
}


def is_atomic(folder: Path) -> bool:
    """Whether the folder contains an ``.inter`` file."""
    return any(folder.glob("*.inter"))


def read_atomic(folder: Path, *, on_unknown_item: OnUnknownItem = "add") -> Dataset:
    """Read the data set in a folder of atomic files.

    Raises:
        DataError: there are several ``.inter`` files, a header has no types, or a row is malformed.
    """
    found = sorted(folder.glob("*.inter"))
    if len(found) != 1:
        raise DataError(f"{folder}: {[path.name for path in found]}; allowed: one .inter file")
    interactions, types = _read_typed(found[0])
    item_path = found[0].with_suffix(".item")
    items, sequences = None, []
    if item_path.exists():
        items, item_types = _read_typed(item_path)
        sequences = [name for name, kind in item_types.items() if kind == "token_seq"]
    settings = read_dataset_config(folder)
    rating = next((name for name in ("rating", "label") if name in types), None)
    if rating == "label" and settings.positive_rating is None:
        raise DataError(
            f"{found[0]}: column 'label' marks positives and negatives, but no threshold is set; "
            f"write positive_rating = 1 into {folder / FILE}, so that 0 is not a positive"
        )
    return assemble(
        interactions,
        items,
        columns=Columns(
            "user_id",
            "item_id",
            rating=rating,
            time="timestamp" if "timestamp" in types else None,
            names=tuple(_FIELDS),
        ),
        name=settings.name or found[0].stem,
        text=(sequences or None) if settings.text is None else settings.text,
        hint_at_text=settings.text is None,
        positive_rating=settings.positive_rating,
        on_unknown_item=on_unknown_item,
    )


def _read_typed(path: Path) -> tuple[Table, dict[str, str]]:
    """Read a table; return it with bare column names, and the type of each column."""
    table = read_csv(path, "\t", quotes=False)
    types: dict[str, str] = {}
    for field in table.frame.columns:
        name, _, kind = field.partition(":")
        allowed = (_FIELDS[name],) if name in _FIELDS else _TYPES
        if kind not in allowed:
            raise DataError(
                f"{path}: header field {field!r}; allowed: {name or 'name'}:<type> with type "
                f"{' or '.join(allowed)}"
            )
        types[name] = kind
    bare = table.frame.rename({f: f.partition(":")[0] for f in table.frame.columns})
    return Table(bare, table.source, untyped=True), types

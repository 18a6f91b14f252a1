"""Read dialogues from ``dialogues.jsonl``, or from a frame or a list of dialogues.

A dialogue has ``dialogue`` (its id), ``turns``, and optionally ``part`` (train, valid or test). A
turn has ``speaker`` (user or system), ``text``, and ``items``: the ids of the items that it
mentions or recommends, in their order. Dialogues in ReDial's own layout are read as well, see
``redial_messages``.

- White space in texts is collapsed; a missing text is "", and missing items are no items.
- An item that a turn mentions twice counts once.
- Every dialogue and every turn is kept, empty ones too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from warmstart.data.cells import Cells, column_of, plain_value
from warmstart.data.dialogues import SPEAKERS, Dialogues
from warmstart.data.histories import Histories
from warmstart.data.ids import Ids
from warmstart.data.readers.data_checks import unread_columns
from warmstart.data.readers.events import Columns, row_numbers
from warmstart.data.readers.published_parts import read_parts
from warmstart.data.readers.redial_messages import has_messages, messages_as_turns
from warmstart.data.readers.tables import Table
from warmstart.data.values import read_ids, read_texts
from warmstart.data.values.decoding import decoded

_COLUMNS, _FIELDS = ("dialogue", "turns", "part"), ("speaker", "text", "items")


@dataclass(frozen=True)
class DialogueTable:
    """Dialogues whose items are external ids; see ``Dialogues`` for the other attributes.

    Attributes:
        mentions: the ids of mentioned items: one cell per mention, in the order of the turns.
        turns: the turn of each mention: int64, shape (mentions,).
        source: the file, or a name for the frame.
        unread_columns: columns and fields of turns that were not read, each as ``source: name``.
    """

    ids: tuple[str, ...]
    offsets: np.ndarray
    speakers: np.ndarray
    texts: tuple[str, ...]
    parts: tuple[str | None, ...]
    mentions: Cells
    turns: np.ndarray
    source: str
    unread_columns: tuple[str, ...] = ()

    def numbered(self, mentioned: pl.Series, item_ids: pl.Series) -> Dialogues:
        """Build the dialogues.

        Args:
            mentioned: the ids in ``mentions`` as ``read_ids`` returns them.
            item_ids: the ids of all items, in row order.
        """
        items = pl.DataFrame({"turn": self.turns, "item": row_numbers(mentioned, item_ids)})
        items = items.unique(maintain_order=True)
        offsets = np.searchsorted(items["turn"].to_numpy(), np.arange(len(self.texts) + 1))
        return Dialogues(
            self.ids,
            self.offsets,
            self.speakers,
            self.texts,
            Histories(offsets, items["item"].to_numpy()),
            self.parts,
        )

    def as_users(self, item: str) -> tuple[Table, Table, Columns]:
        """Take every dialogue as a user, who had the items that it mentions, in their order.

        Args:
            item: name of the column of item ids.

        Returns:
            The interactions, the users, and the columns of the interactions.
        """
        dialogue_of_turn = np.repeat(np.arange(len(self.ids)), np.diff(self.offsets))
        users = pl.Series("user", self.ids, dtype=pl.String)
        interactions = pl.DataFrame(
            {
                "user": users.gather(dialogue_of_turn[self.turns]),
                item: self.mentions.values,
                "position": np.arange(len(self.turns)),
            }
        )
        return (
            Table(interactions, self.source, untyped=self.mentions.untyped),
            Table(pl.DataFrame(users), self.source),
            Columns("user", item, position="position"),
        )


def read_dialogues(table: Table) -> DialogueTable:
    """Read dialogues, one per row.

    Args:
        table: columns dialogue, turns and, optionally, part; or ReDial's own.

    Raises:
        DataError: a value is wrong; names source, row, turn, field, value and what is allowed.
    """
    if has_messages(table):
        table = messages_as_turns(table)
    ids = _read_dialogue_ids(table)
    turns, offsets = _read_turns(table.cells("turns"))
    dialogue = np.repeat(np.arange(len(ids)), np.diff(offsets))

    def place(turn: int) -> str:
        row = int(dialogue[turn])
        return f"row {row + 1}, turn {turn - int(offsets[row]) + 1}"

    def field(name: str) -> Cells:
        values = column_of([turn.get(name) for turn in turns], name)
        return Cells(values, table.source, name, place=lambda turn: f"{place(turn)}, {name!r}")

    not_mapping = pl.Series([not isinstance(turn, Mapping) for turn in turns], dtype=pl.Boolean)
    if not_mapping.any():
        whole = Cells(column_of(turns), table.source, "turns", place=place)
        raise whole.malformed(not_mapping, "a turn with speaker, text and items")
    parts = (None,) * len(ids)
    if "part" in table.frame.columns:
        parts = tuple(read_parts(table.cells("part"), required=False))
    mentions, mentioning = _read_mentions(field("items"), untyped=table.untyped)
    return DialogueTable(
        ids,
        offsets,
        _read_speakers(field("speaker")),
        tuple(" ".join(text.split()) for text in read_texts(field("text")).fill_null("")),
        parts,
        mentions,
        mentioning,
        table.source,
        _unread(table, turns),
    )


def dialogue_records(dialogues: Dialogues, item_ids: Ids) -> Iterator[dict[str, Any]]:
    """Yield each dialogue as ``read_dialogues`` reads it."""
    for row, dialogue in enumerate(dialogues.ids):
        turns = range(dialogues.offsets[row], dialogues.offsets[row + 1])
        record: dict[str, Any] = {"dialogue": dialogue}
        if dialogues.parts[row] is not None:
            record["part"] = dialogues.parts[row]
        record["turns"] = [
            {
                "speaker": SPEAKERS[dialogues.speakers[turn]],
                "text": dialogues.texts[turn],
                "items": item_ids.take(dialogues.items[turn]),
            }
            for turn in turns
        ]
        yield record


def _read_dialogue_ids(table: Table) -> tuple[str, ...]:
    cells = table.cells("dialogue")
    ids = read_ids([cells], "dialogue")[0].cast(pl.String)
    if ids.is_duplicated().any():
        raise cells.malformed(~ids.is_first_distinct(), "each dialogue id once")
    return tuple(ids)


def _read_turns(cells: Cells) -> tuple[list[Any], np.ndarray]:
    """Read the turns of all dialogues, and the offsets of the dialogues in them."""
    # Not decoded as a whole, so that an error names the turn and the field.
    values = [plain_value(value) for value in cells.values.to_list()]
    wrong = pl.Series([not _is_list(value) for value in values], dtype=pl.Boolean)
    if wrong.any():
        raise cells.malformed(wrong, "a list of turns, each with speaker, text and items")
    offsets = np.cumsum([0, *(len(value) for value in values)]).astype(np.int64)
    return [turn for value in values for turn in value], offsets


def _is_list(value: Any) -> bool:
    """Whether this is a list or a tuple, or an array as pandas reads lists from parquet."""
    return isinstance(value, list | tuple | np.ndarray)


def _read_speakers(cells: Cells) -> np.ndarray:
    speakers = read_texts(cells).str.strip_chars()
    wrong = ~speakers.is_in(SPEAKERS).fill_null(False)
    if wrong.any():
        raise cells.malformed(wrong, " or ".join(map(repr, SPEAKERS)))
    return (speakers == SPEAKERS[1]).cast(pl.Int8).to_numpy()


def _read_mentions(cells: Cells, *, untyped: bool) -> tuple[Cells, np.ndarray]:
    """Read the mentioned ids, and the turn of each."""
    lists = decoded(cells).to_list()
    wrong = [not isinstance(value, list) and value is not None for value in lists]
    if any(wrong):
        raise cells.malformed(pl.Series(wrong), "a list of item ids")
    turns = np.repeat(np.arange(len(lists)), [len(value or ()) for value in lists])
    mentions = column_of([item for value in lists for item in value or ()], cells.name)
    place = cells.place
    assert place is not None
    mentions = replace(
        cells, values=mentions, untyped=untyped, place=lambda mention: place(int(turns[mention]))
    )
    return mentions, turns


def _unread(table: Table, turns: list[Mapping[str, Any]]) -> tuple[str, ...]:
    """List columns and fields of turns that are not read; warn about likely wrong names."""
    given = {
        str(name).encode(errors="replace").decode(): pl.Null for turn in turns for name in turn
    }
    fields = Table(pl.DataFrame(schema=given), f"{table.source}, turns")
    unread: tuple[str, ...] = ()
    for source, known in ((table, _COLUMNS), (fields, _FIELDS)):
        read = [name for name in known if name in source.frame.columns]
        unread += unread_columns(source, read, known, "rename it")
    return unread

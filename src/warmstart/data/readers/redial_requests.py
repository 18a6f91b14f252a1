"""Read the requests of iEvaLM (Wang et al., 2023): dialogues of ReDial, one row per system turn.

A folder contains

- ``ievalm_train.jsonl``, ``ievalm_valid.jsonl``, ``ievalm_test.jsonl``, at least one of them, or
  with ``.gz``: ``dialog_id``; ``context``, the texts of the turns before, the user's and the
  system's in turn; ``entity``, what was named in them; ``rec``, the titles that the system turn
  recommends; ``resp``, its text;
- ``items.*``: ``item``, ``title`` and other columns;
- ``dataset.toml``, optional: ``name``, ``text``.

The items are the titles that some row recommends, under the ids of ``items.*``; of several items
with one title, the first. Entities that are no such title are no items. The rows of a dialogue are
put together: its system turns recommend ``rec``. The rows do not say which turn named an entity, so
the titles that are new in a row's entities stand in the user turn before its system turn. So the
items mentioned before a system turn are those among its entities.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from warmstart.data.cells import Cells
from warmstart.data.dataset import Dataset
from warmstart.data.readers.assemble import assemble
from warmstart.data.readers.dataset_config import read_dataset_config
from warmstart.data.readers.dialogues import read_dialogues
from warmstart.data.readers.events import Columns
from warmstart.data.readers.published_parts import PARTS
from warmstart.data.readers.table_files import JSON_LINES, existing_folder, find_table, read_table
from warmstart.data.readers.tables import Table, records_table
from warmstart.data.values import read_ids, read_texts
from warmstart.data.values.decoding import decoded
from warmstart.errors import DataError
from warmstart.process import check_process


def has_requests(folder: Path) -> bool:
    """Whether the folder contains requests."""
    return bool(_paths(folder))


def read_redial_requests(folder: Path | str) -> Dataset:
    """Read the requests in a folder as dialogues; every dialogue is a user.

    On the published files of ReDial, the system turns have 3,318 titles of the validation part and
    4,036 of the test part that were not mentioned before, among 2,476 items.

    Raises:
        DataError: a file is missing, a row is malformed, or a recommended title is not among the
            items.
    """
    check_process()
    folder = existing_folder(folder)
    paths, items_path = _paths(folder), find_table(folder, "items")
    if not paths or items_path is None:
        raise DataError(f"{folder}: needed: ievalm_{{{','.join(PARTS)}}}.jsonl[.gz], and items.*")
    rows = {part: _Rows(read_table(path)) for part, path in paths.items()}
    items = read_table(items_path)
    titles = read_texts(items.cells("title"))
    titles = titles.set(titles.is_duplicated() & ~titles.is_first_distinct(), None)
    recommended = {title for part in rows.values() for row in part.recommended for title in row}
    if unknown := sorted(recommended - set(titles)):
        raise DataError(
            f"{items.source}: {len(unknown)} recommended title(s) are missing, the first: "
            f"{unknown[:5]!r}"
        )
    kept = titles.is_in(list(recommended))
    frame = items.frame.filter(kept)
    id_of = dict(zip(titles.filter(kept), frame.get_column("item"), strict=True))
    records = [record for part in rows for record in rows[part].dialogues(part, id_of)]
    table = records_table(records, f"{folder}, requests")
    settings = read_dataset_config(folder)
    return assemble(
        None,
        Table(frame, items.source, items.untyped),
        columns=Columns(),
        dialogues=read_dialogues(Table(table.frame, table.source, items.untyped)),
        name=settings.name or folder.resolve().name,
        text=settings.text,
    )


class _Rows:
    """The columns of one file, checked."""

    def __init__(self, table: Table) -> None:
        self.ids = read_ids([table.cells("dialog_id")], "dialogue")[0].cast(pl.String).to_list()
        self._contexts = table.cells("context")
        self.contexts = _texts(self._contexts)
        self.entities = _texts(table.cells("entity"))
        self.recommended = _texts(table.cells("rec"))
        self.responses = decoded(responses := table.cells("resp")).to_list()
        _check(responses, [isinstance(text, str) for text in self.responses], "a text")
        odd = [len(context) % 2 == 1 for context in self.contexts]
        _check(self._contexts, odd, "texts of the user and the system in turn, the user's last")

    def dialogues(self, part: str, id_of: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Put the rows of each dialogue together, as ``read_dialogues`` takes them.

        Args:
            part: part of all dialogues.
            id_of: the item of each title.
        """
        turns_of: dict[str, list[dict[str, Any]]] = {}
        for row, dialogue in enumerate(self.ids):
            turns, context = turns_of.setdefault(dialogue, []), self.contexts[row]
            if [turn["text"] for turn in turns] != context[: len(turns)]:
                right = [other != row for other in range(len(self.ids))]
                _check(self._contexts, right, "a context that starts with the earlier turns")
            for text in context[len(turns) :]:
                speaker = "system" if len(turns) % 2 else "user"
                turns.append({"speaker": speaker, "text": text, "items": []})
            before = {item for turn in turns for item in turn["items"]}
            named = [id_of[title] for title in self.entities[row] if title in id_of]
            turns[-1]["items"] = [item for item in named if item not in before]
            items = [id_of[title] for title in self.recommended[row]]
            turns.append({"speaker": "system", "text": self.responses[row], "items": items})
        for dialogue, turns in turns_of.items():
            # A dialogue that the system begins has an empty turn before.
            spoken = [turn for turn in turns if turn["text"] or turn["items"]]
            yield {"dialogue": dialogue, "part": part, "turns": spoken}


def _paths(folder: Path) -> dict[str, Path]:
    found = {part: find_table(folder, f"ievalm_{part}", JSON_LINES) for part in PARTS}
    return {part: path for part, path in found.items() if path is not None}


def _texts(cells: Cells) -> list[list[str]]:
    values = decoded(cells).to_list()
    right = [
        isinstance(value, list) and all(isinstance(text, str) for text in value) for value in values
    ]
    _check(cells, right, "a list of texts")
    return values


def _check(cells: Cells, right: list[bool], allowed: str) -> None:
    if not all(right):
        raise cells.malformed(~pl.Series(right), allowed)

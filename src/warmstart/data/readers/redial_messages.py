"""ReDial's own layout of dialogues (Li et al., 2018): messages in which ``@ID`` names a movie.

A row has ``conversationId``, ``messages`` (``text``, ``senderWorkerId``), ``movieMentions`` (id ->
title) and ``respondentWorkerId``; and ``split`` where somebody has joined the published files. The
respondent recommends, so is the system. Each message is a turn.
"""

import re
from typing import Any

import polars as pl

from warmstart.data.readers.tables import Table
from warmstart.data.values.decoding import decoded

_COLUMNS = ("conversationId", "messages", "movieMentions", "respondentWorkerId")
_MENTION = re.compile(r"@(\d+)")


def has_messages(table: Table) -> bool:
    """Whether the dialogues of a table are in this layout."""
    return set(_COLUMNS) <= set(table.frame.columns)


def messages_as_turns(table: Table) -> Table:
    """Convert the messages to turns, see ``dialogues``, with titles in place of ``@ID``.

    Only ids in ``movieMentions`` are mentions; another ``@12`` stays in the text. The ids are of
    undecided type, as in a csv file.

    Raises:
        DataError: the messages of a row are not a list.
    """
    _, cells, mentions, respondents = (table.cells(name) for name in _COLUMNS)
    conversations = decoded(cells).to_list()
    wrong = pl.Series([not isinstance(value, list) for value in conversations], dtype=pl.Boolean)
    if wrong.any():
        raise cells.malformed(wrong, "a list of messages")
    rows = zip(conversations, decoded(mentions).to_list(), respondents.values, strict=True)
    turns = [
        [_turn(message, titles if isinstance(titles, dict) else {}, system) for message in messages]
        for messages, titles, system in rows
    ]
    columns = {
        "dialogue": table.frame.get_column("conversationId"),
        "turns": pl.Series(turns, dtype=pl.Object),
    }
    if "split" in table.frame.columns:
        columns["part"] = table.frame.get_column("split")
    return Table(pl.DataFrame(columns), table.source, untyped=True)


def _turn(message: Any, titles: dict[str, Any], system: Any) -> Any:
    """Convert a message; what is none stays as it is, and is reported as a wrong turn."""
    if not isinstance(message, dict):
        return message
    text = message.get("text")
    named = _MENTION.findall(text) if isinstance(text, str) else []
    if named:
        text = _MENTION.sub(lambda found: str(titles.get(found[1], found[0])), str(text))
    sender = message.get("senderWorkerId")
    return {
        "speaker": None if sender is None else "system" if sender == system else "user",
        "text": text,
        "items": [item for item in named if item in titles],
    }

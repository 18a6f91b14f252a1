"""What a content scorer reads of a dialogue: the newest turns, without the speakers' names."""

from warmstart.data.dialogues import SPEAKERS

NEWEST_TURNS = 6
"""Turns that hold a request: six rank better than the whole dialogue, whose beginning is small talk
and cuts off the request where a text encoder reads only so many words."""

_PREFIXES = tuple(f"{name.capitalize()}: " for name in SPEAKERS)


def newest_turns(text: str, turns: int = NEWEST_TURNS) -> str:
    """Return the newest turns of a dialogue as one line.

    Args:
        text: turns as ``data.splits.dialogue_split.turns_as_text`` writes them, or any other text.
        turns: number of turns.
    """
    return " ".join(_words(line) for line in text.split("\n")[-turns:])


def _words(line: str) -> str:
    """The line without the name of the speaker."""
    return next((line[len(name) :] for name in _PREFIXES if line.startswith(name)), line)

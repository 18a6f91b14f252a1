"""``warmstart converse``."""

import json as json_lines
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from warmstart.cli.inputs import load_saved
from warmstart.cli.options import CausalLMSource, ModelFolder, TextEncoderSource, example
from warmstart.cli.output import (
    frame_table,
    print_line,
    print_note,
    print_problem,
    print_table,
    progress,
)
from warmstart.errors import ConfigError, DataError, WarmstartError

if TYPE_CHECKING:
    from warmstart.conversation.session import Session, Turn

EXAMPLE = example(
    "warmstart converse models/talk",
    'warmstart converse models/talk --message "I liked Heat. Something slower?" -k 5',
    "warmstart converse models/talk --json < messages.txt",
)

_COMMANDS = {
    "/undo": "take back the last message",
    "/new": "begin a new conversation",
    "/quit": "end",
}
_PROMPT = "you> "


def converse(
    model: ModelFolder,
    message: Annotated[
        list[str] | None,
        Option(
            "--message",
            help="what the user says; repeat the option for several messages. Without it, messages "
            "are read from the terminal or from a pipe, one a line",
        ),
    ] = None,
    k: Annotated[int, Option("-k", help="items per list", min=1)] = 10,
    repeat: Annotated[
        bool, Option("--repeat", help="list items again that were listed before")
    ] = False,
    name_items: Annotated[
        int,
        Option(
            "--name-items",
            min=0,
            help="how many of the listed titles the dialogue keeps as the turn of the system; they "
            "count as mentioned from then on. 0 keeps what the user says alone",
        ),
    ] = 0,
    json: Annotated[bool, Option("--json", help="print one JSON object a turn")] = False,
    encoder: TextEncoderSource = None,
    lm: CausalLMSource = None,
) -> None:
    """Hold a conversation: each message is answered by a list.

    /undo takes back the last message, /new begins a new conversation, /quit or the end of the input
    ends. Items that the dialogue mentions are recognised by their titles and not listed.
    """
    from warmstart.conversation.session import Session

    with progress() as bar:
        bar.stage(f"load {model}")
        session = Session(load_saved(model, encoder, lm), k=k, repeat=repeat, name_items=name_items)
    at_terminal = message is None and sys.stdin.isatty()
    if at_terminal:
        print_note("; ".join(f"{name}: {what}" for name, what in _COMMANDS.items()))
    for line in _typed() if at_terminal else _lines(message):
        if line == "/quit":
            return
        try:
            _react(session, line, json)
        except WarmstartError as error:
            if not at_terminal:
                raise
            print_problem(str(error))


def _react(session: "Session", line: str, json: bool) -> None:
    """Do what a line asks for.

    Raises:
        ConfigError: it is an unknown command.
    """
    if line == "/undo":
        undone = session.undo()
        print_note(f"taken back: {undone.message}" if undone else "there is no message")
    elif line == "/new":
        session.restart()
        print_note("a new conversation")
    elif line.startswith("/"):
        raise ConfigError(f"converse: {line!r}; allowed: {', '.join(_COMMANDS)}, or a message")
    elif line:
        turn = session.say(line)
        if json:
            typer.echo(json_lines.dumps(_as_object(turn, len(session.turns)), ensure_ascii=False))
        else:
            _print(turn)


def _print(turn: "Turn") -> None:
    if turn.mentioned:
        names = (f"{named.title} ({named.item})" for named in turn.mentioned)
        print_line(f"recognised: {', '.join(names)}")
    rows = [
        (rank, listed.item, listed.title, listed.score)
        for rank, listed in enumerate(turn.items, start=1)
    ]
    print_table(frame_table(["rank", "item", "title", "score"], rows))


def _as_object(turn: "Turn", number: int) -> dict[str, object]:
    return {
        "turn": number,
        "message": turn.message,
        "mentioned": [{"item": named.item, "title": named.title} for named in turn.mentioned],
        "items": [
            {"rank": rank, "item": listed.item, "title": listed.title, "score": listed.score}
            for rank, listed in enumerate(turn.items, start=1)
        ],
        "reply": turn.reply,
    }


def _lines(messages: Iterable[str] | None) -> Iterator[str]:
    """The given messages, or the lines of stdin.

    Raises:
        DataError: stdin is not text.
    """
    try:
        for line in sys.stdin if messages is None else messages:
            yield line.strip()
    except UnicodeDecodeError as error:
        raise DataError(f"converse: the input is not UTF-8 text: {error}") from None


def _typed() -> Iterator[str]:
    """Lines typed at the terminal, which can be edited."""
    while True:
        try:
            yield input(_PROMPT).strip()
        except EOFError:
            return


command = converse

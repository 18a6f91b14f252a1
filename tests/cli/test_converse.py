"""``warmstart converse``, in this process, with a small fitted model."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import numpy as np
import pytest

from warmstart.cli import main
from warmstart.cli.converse import _typed
from warmstart.data.readers.files import write_dataset
from warmstart.data.sources.synthetic_dialogues import synthetic_dialogues
from warmstart.methods.popular import Popular
from warmstart.testing.tiny_lm import tiny_encoder

METHOD = "rta:lm=none;mentioned=none;similar_requests=none"


@dataclass
class Result:
    code: int | str | None
    out: str
    err: str

    @property
    def turns(self):
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Talk:
    """A fitted model, its encoder, and its titles."""

    model: object
    encoder: object
    data: object

    def __call__(self, *arguments):
        return run("converse", self.model, "--encoder", self.encoder, *arguments)


def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return Result(ended.value.code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("talk")
        patch.setenv("WARMSTART_CACHE", str(root / "cache"))
        data = synthetic_dialogues(60, 100, rng=np.random.default_rng(3))
        write_dataset(data, root / "data")
        texts = (*data.catalogue.texts, *data.dialogues.texts)
        tiny_encoder(root / "lm", sorted({word for text in texts for word in text.split()}))
        fitted = run(
            *("fit", root / "data", "--no-choose", "--method", METHOD),
            *("--encoder", root / "lm", "--out", root / "model"),
        )
        assert fitted.code == 0, fitted.err
        yield Talk(root / "model", root / "lm", data)


def test_a_message_is_answered_by_recognised_titles_and_a_list(talk):
    title = talk.data.catalogue.names[7]
    result = talk("--message", f"I liked {title}", "-k", 3)
    assert result.code == 0, result.err
    recognised = next(line for line in result.out.splitlines() if line.startswith("recognised:"))
    assert title in recognised
    assert talk.data.catalogue.item_ids.values[7] in recognised
    assert result.out.count("book-") == 4  # the recognised one and three of the list
    assert title not in result.out.replace(recognised, "")


def test_json_has_one_object_a_turn(talk):
    title = talk.data.catalogue.names[7]
    result = talk("--json", "-k", 4, "--message", f"I liked {title}", "--message", "More, please")
    assert result.code == 0, result.err
    first, second = result.turns
    assert (first["turn"], second["turn"]) == (1, 2)
    assert [named["title"] for named in first["mentioned"]] == [title]
    assert second["mentioned"] == []
    assert [listed["rank"] for listed in first["items"]] == [1, 2, 3, 4]
    listed = [item["item"] for turn in result.turns for item in turn["items"]]
    assert len(set(listed)) == 8


def test_repeat_and_name_items_reach_the_conversation(talk):
    asked = ["--json", "-k", 3, "--message", "birds", "--message", "birds"]
    again = talk(*asked, "--repeat", "--name-items", 0).turns
    assert {i["item"] for i in again[0]["items"]} & {i["item"] for i in again[1]["items"]}
    assert again[0]["reply"] is None
    named = talk(*asked, "--name-items", 2).turns[0]
    assert all(listed["title"] in named["reply"] for listed in named["items"][:2])


def test_lines_of_a_pipe_are_messages_until_quit(talk, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("a book about birds\n\n/quit\nnever read\n"))
    result = talk("--json")
    assert result.code == 0, result.err
    assert [turn["message"] for turn in result.turns] == ["a book about birds"]


def test_undo_and_new_begin_again_from_before(talk):
    messages = ["birds", "dogs", "/undo", "dogs", "/new", "birds", "/undo", "/undo"]
    result = talk("--json", *(part for text in messages for part in ("--message", text)))
    assert result.code == 0, result.err
    birds, dogs, dogs_again, birds_again = result.turns
    assert dogs == dogs_again
    assert birds == birds_again
    assert "taken back: dogs" in result.err
    assert "there is no message" in result.err


def test_an_unknown_command_is_one_clear_error(talk):
    result = talk("--message", "/redo")
    assert result.code == 2
    assert "'/redo'; allowed: /undo, /new, /quit, or a message" in result.err
    assert result.err.count("warmstart:") == 1


def test_a_model_that_does_not_converse_is_refused(talk, tmp_path):
    Popular().fit(talk.data).save(tmp_path / "popular")
    result = run("converse", tmp_path / "popular", "--message", "hello")
    assert result.code == 2
    assert "popular cannot hold a conversation" in result.err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_at_a_terminal_a_mistake_does_not_end_the_conversation(talk, monkeypatch):
    typed = iter(["/redo", "birds"])

    def read(prompt):
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", read)
    result = talk("--json")
    assert result.code == 0, result.err
    assert [turn["message"] for turn in result.turns] == ["birds"]
    assert "allowed: /undo, /new, /quit" in result.err
    assert list(_typed()) == []


def test_bytes_that_are_no_text_are_an_error(talk, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), "utf-8"))
    result = talk("--json")
    assert result.code == 2
    assert "not UTF-8" in result.err

"""Prompts of dialogues and of item pages, and titles as they follow them."""

import pytest

from tests.conversation.conftest import TEMPLATE
from warmstart.conversation.dialogue_prompts import DialoguePrompts, PromptConfig
from warmstart.errors import ConfigError, DataError
from warmstart.lm.texts import token_ids

WORDS = {
    **{"introduction": "user asks", "question": "list item"},
    **{"page_introduction": "page", "page_question": "item", "title_tokens": 4},
}


@pytest.fixture
def prompts(causal):
    return DialoguePrompts(causal.lm, PromptConfig(**WORDS))


@pytest.fixture
def template(causal, monkeypatch):
    monkeypatch.setattr(causal.lm.tokenizer, "chat_template", TEMPLATE)


def words(causal, ids):
    return " ".join(causal.lm.tokenizer.decode([token]) for token in ids)


def test_a_prompt_ends_where_the_first_title_begins(causal, prompts):
    (ids,) = prompts.of_dialogues(["User: like red book"]).ids
    assert words(causal, ids).endswith("user asks user : like red book list item 1 .")
    (page,) = prompts.of_pages(["red book"]).ids
    assert words(causal, page).endswith("page red book item 1 .")


def test_the_words_stand_in_the_template_of_the_lm(causal, prompts, template):
    (ids,) = prompts.of_dialogues(["User: red"]).ids
    said = words(causal, ids).partition("< turn >")
    expected = "user asks user : red list item < / turn > < turn > answer 1 ."
    assert "".join(said[1:]) == "< turn > " + expected


def test_the_newest_turns_of_a_long_dialogue_stay(causal, prompts):
    (ids,) = prompts.of_dialogues(["old " * 100 + "red blue book"]).ids
    found = words(causal, ids)
    assert len(ids) == causal.lm.spec.max_tokens - 4 - 1
    assert found.endswith("old red blue book list item 1 .")
    assert "user asks old" in found
    (page,) = prompts.of_pages(["red blue " + "old " * 100]).ids
    assert "page red blue old" in words(causal, page)
    short = DialoguePrompts(causal.lm, PromptConfig(**WORDS, max_tokens=12))
    assert [len(ids) for ids in short.of_dialogues(["old " * 100, "red"]).ids] == [12, 8 + 0]


@pytest.mark.parametrize("write", ["of_dialogues", "of_pages"])
def test_marks_of_the_lm_in_a_message_end_nothing(causal, prompts, write):
    end = causal.lm.tokenizer.eos_token_id
    (ids,) = getattr(prompts, write)([f"red {causal.lm.tokenizer.eos_token} book"]).ids
    assert end not in ids.tolist()
    assert end not in prompts.titles([f"red {causal.lm.tokenizer.eos_token} book"])[0]


def test_an_empty_dialogue_has_a_prompt(causal, prompts):
    (ids,) = prompts.of_dialogues([""]).ids
    assert words(causal, ids).endswith("user asks list item 1 .")


def test_titles_are_one_line_cut_and_never_empty(causal, prompts):
    found = prompts.titles(["red\nbook", "old " * 9, "", "\n"])
    assert [words(causal, ids) for ids in found] == ["red book", "old old old old", "item", "item"]
    assert found[0] == token_ids(causal.lm, [" red book"], special=False)[0]


def test_a_title_ends_with_the_end_token_of_an_lm_without_line_breaks(causal, prompts):
    assert prompts.end == causal.lm.tokenizer.eos_token_id


def test_words_that_do_not_fit(causal):
    with pytest.raises(ConfigError, match="title_tokens is 64, but the LM reads 64 tokens"):
        DialoguePrompts(causal.lm, PromptConfig(title_tokens=64))
    short = DialoguePrompts(causal.lm, PromptConfig(**WORDS, max_tokens=3))
    with pytest.raises(DataError, match="must not be cut; allowed: 3"):
        short.of_dialogues(["red"])

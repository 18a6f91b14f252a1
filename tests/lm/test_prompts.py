"""Prompts: pieces with rules of cutting, slots, the opening tokens, the chat template."""

import numpy as np
import pytest

from warmstart.errors import DataError
from warmstart.lm.prompts import SLOT, Slots, Text, chat, tokenize_prompts
from warmstart.lm.texts import token_ids


def words(lm, ids):
    return " ".join("*" if token == SLOT else lm.tokenizer.decode([token]) for token in ids)


def rows(lm, *prompts, **options):
    return [words(lm, ids) for ids in tokenize_prompts(lm, prompts, **options).ids]


def test_pieces_follow_each_other(lm):
    (row,) = rows(lm, [Text("red"), Slots(2), Text("old dragon")])
    assert row.endswith("red * * old dragon")


def test_a_text_opens_as_the_tokenizer_opens_it(lm):
    (whole,) = token_ids(lm, ["red book"], special=True)
    (ids,) = tokenize_prompts(lm, [[Text("red"), Text("book")]]).ids
    assert ids.tolist() == whole[: len(ids)]
    assert words(lm, ids[-2:]) == "red book"


@pytest.mark.parametrize(
    ("pieces", "kept"),
    [
        ([Text("a"), Text("red blue odd even", cut="end"), Text("book")], "a red blue book"),
        ([Text("a"), Text("red blue odd even", cut="start"), Text("book")], "a odd even book"),
        ([Text("red blue", cut="end"), Text("odd even film", cut="end")], "red odd even film"),
        ([Text("red", cut="end"), Text("odd even tale of a film", cut="end")], "odd even tale of"),
        ([Text("red blue odd", max_tokens=1), Text("film")], "red film"),
        ([Text("red blue odd", cut="start", max_tokens=2), Text("film")], "blue odd film"),
        ([Slots(3), Text("red blue", cut="end")], "* * * red"),
    ],
)  # fmt: skip
def test_long_prompts_are_cut_by_their_rules(lm, pieces, kept):
    opening = len(tokenize_prompts(lm, [[Text("red")]]).ids[0]) - 1
    found = tokenize_prompts(lm, [pieces, [Text("red")]], limit=opening + 4)
    assert words(lm, found.ids[0][opening:]) == kept
    assert found.n_cut == 1


def test_what_must_not_be_cut_is_an_error(lm):
    with pytest.raises(DataError, match=r"prompt 1 has .* tokens that must not be cut; allowed: 4"):
        tokenize_prompts(lm, [[Text("red")], [Text("red blue odd even film")]], limit=4)


def test_a_prompt_without_tokens_is_an_error(lm, monkeypatch):
    monkeypatch.setattr("warmstart.lm.prompts.opening_ids", lambda lm: [])
    with pytest.raises(DataError, match="prompt 1 has no tokens"):
        tokenize_prompts(lm, [[Text("red")], [Text("")]])


def test_a_model_without_a_template_gets_plain_text(lm):
    assert chat(lm, "red book", system="odd") == "odd\n\nred book\n\n"
    assert chat(lm, "red book") == "red book\n\n"


def test_the_template_of_the_tokenizer_is_used(lm, monkeypatch):
    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<answer>{% endif %}"
    )
    monkeypatch.setattr(lm.tokenizer, "chat_template", template)
    assert chat(lm, "red", system="odd") == "<system>odd<user>red<answer>"


def test_slots_count_as_tokens(lm):
    found = tokenize_prompts(lm, [[Slots(2), Text("red")]])
    assert (found.ids[0] == SLOT).sum() == 2
    assert found.ids[0].dtype == np.int32


def test_what_users_write_has_no_special_tokens(lm):
    tokenizer = lm.tokenizer
    names = [name for name in tokenizer.all_special_tokens if name != tokenizer.unk_token]
    special = set(tokenizer.convert_tokens_to_ids(names))
    assert special
    said = f"red {' '.join(names)} book"
    (plain,) = tokenize_prompts(lm, [[Text("old"), Text(said, plain=True), Text("film")]]).ids
    (read,) = tokenize_prompts(lm, [[Text("old"), Text(said), Text("film")]]).ids
    opening = len(tokenize_prompts(lm, [[Text("old")]]).ids[0]) - 1
    assert not special & set(plain[opening:].tolist())
    assert special <= set(read[opening:].tolist())
    assert words(lm, plain[opening:]).startswith("old red")
    assert words(lm, plain[opening:]).endswith("book film")

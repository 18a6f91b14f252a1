from dataclasses import replace

import numpy as np
import pytest

from tests.collaborative_lm.conftest import CONFIG, TITLES
from warmstart.collaborative_lm.prompts import PromptWriter, neutral_order
from warmstart.data.histories import Histories
from warmstart.errors import ConfigError
from warmstart.lm.prompts import SLOT

HISTORIES = Histories.from_lists([[0, 3], [5]])


def words(writer, ids):
    return writer.lm.tokenizer.decode([token for token in ids.tolist() if token != SLOT]).split()


def test_every_title_is_followed_by_its_slot_and_that_of_the_user(writer):
    prompts = writer.write(HISTORIES)
    assert [slots.tolist() for slots in prompts.slots] == [[0, -1, 3, -1], [5, -1]]
    assert [events.tolist() for events in prompts.events] == [[0, 1], [2]]
    for ids, places in zip(prompts.texts.ids, prompts.users, strict=True):
        assert (ids[places] == SLOT).all()
        assert (ids[places - 1] == SLOT).all()
        assert ids[-1] == SLOT
        assert places[-1] == len(ids) - 1
    assert words(writer, prompts.texts.ids[0]) == ["[CLS]", "a", "red", "book", "wise", "dragon"]


def test_a_question_lists_its_candidates_with_their_slots_and_ends_before_the_answer(writer):
    prompts = writer.write(HISTORIES, [np.array([1, 4]), np.array([2, 0])])
    assert prompts.slots[1].tolist() == [5, -1, 2, 0]
    asked = words(writer, prompts.texts.ids[1])
    assert asked[-7:] == ["of", "old", "red", "tale", "red", "book", "a"]
    assert prompts.texts.ids[1][-1] != SLOT


def test_another_question_ends_the_prompt(writer):
    prompts = writer.write(HISTORIES, ending="old tale of a")
    assert words(writer, prompts.texts.ids[1])[-4:] == ["old", "tale", "of", "a"]
    assert prompts.slots[1].tolist() == [5, -1]


def test_titles_are_cut_and_unnamed_items_have_a_word(causal):
    writer = PromptWriter(causal.lm, ("", *TITLES), CONFIG)
    assert all(1 <= len(title) <= CONFIG.title_tokens for title in writer.titles)
    assert len(writer.titles[6]) == 4


def test_without_item_tokens_only_users_have_slots(causal):
    config = CONFIG.model_copy(update={"item_token": "absent"})
    prompts = PromptWriter(causal.lm, TITLES, config).write(HISTORIES, [np.arange(2)] * 2)
    assert [slots.tolist() for slots in prompts.slots] == [[-1, -1], [-1]]


def test_new_items_follow_those_that_are_known(writer):
    more = writer.extended(("blue dragon",))
    assert len(writer.titles) == len(TITLES)
    assert more.titles[:-1] == writer.titles
    assert words(writer, np.array(more.titles[-1])) == ["blue", "dragon"]


def test_prompts_that_the_lm_cannot_read_are_refused(causal):
    """The tiny LM reads 64 tokens."""
    longest = CONFIG.model_copy(update={"title_tokens": 24, "history_length": 40})
    with pytest.raises(ConfigError, match=r"40 items of a history.*24 tokens.*64.*history_length"):
        PromptWriter(causal.lm, (), longest).check_length(0)
    writer = PromptWriter(causal.lm, TITLES, CONFIG)
    writer.check_length(4)
    with pytest.raises(ConfigError, match=r"4 items of a history and 9 candidates.*n_candidates"):
        writer.check_length(9)


@pytest.mark.parametrize("item_token", ["joint", "absent"])
def test_no_prompt_is_longer_than_is_checked(causal, item_token):
    """The longest history and question of the longest titles take what ``check_length`` counts."""
    config = CONFIG.model_copy(update={"item_token": item_token, "title_tokens": 2})
    writer = PromptWriter(causal.lm, TITLES, config)
    prompts = writer.write(Histories.from_lists([[0, 1, 2, 3]]), [np.arange(5)])
    longest = len(prompts.texts.ids[0]) + len(writer.answer_of(4))

    def lm_of(max_tokens):
        spec = causal.lm.spec.model_copy(update={"max_tokens": max_tokens})
        return replace(causal.lm, spec=spec)

    PromptWriter(lm_of(longest), (), config).check_length(5)
    with pytest.raises(ConfigError, match=f"take {longest} tokens"):
        PromptWriter(lm_of(longest - 1), (), config).check_length(5)


def test_the_neutral_order_depends_on_the_items_alone():
    rng = np.random.default_rng(0)
    items = np.stack([rng.choice(1000, 20, replace=False) for _ in range(200)])
    ordered = np.take_along_axis(items, neutral_order(items), axis=1)
    mixed = rng.permuted(items, axis=1)
    np.testing.assert_array_equal(ordered, np.take_along_axis(mixed, neutral_order(mixed), axis=1))
    place = np.argmax(ordered == items[:, :1], axis=1)  # of one item among random others
    assert np.bincount(place // 5, minlength=4).min() > 20

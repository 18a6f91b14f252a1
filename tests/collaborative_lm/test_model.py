from dataclasses import replace

import numpy as np
import torch

from tests.collaborative_lm.conftest import CONFIG, STATE_WIDTH
from warmstart.collaborative_lm import model as model_module
from warmstart.collaborative_lm.model import PromptHistories, prompt_histories
from warmstart.collaborative_lm.titles import order_by_titles
from warmstart.data.histories import Histories

CANDIDATES = np.array([[1, 4, 5], [0, 2, 3], [2, 0, 5]])


def test_the_state_of_a_user_knows_nothing_of_later_events(model, told):
    """One prompt asks after every event, so the state at one must not see the next."""
    longer, shorter = Histories.from_lists([[0, 3, 2]]), Histories.from_lists([[0, 3]])
    prompts = model.writer.write(longer)
    batch = prompts.texts.batch(np.zeros(1, int))
    with torch.no_grad():
        slots = model.slot_vectors(prompts, np.zeros(1, int), told.states[:3])
        hidden = model.causal.hidden(batch, slots)[0, prompts.users[0]]
        inside = model.network.users(hidden)[1].numpy()
    alone = model.user_rows(PromptHistories(shorter, told.states[:2]))[0]
    np.testing.assert_allclose(inside, alone, atol=1e-4)


def test_rows_of_users_do_not_depend_on_the_batch_and_do_on_states_items_and_order(model, told):
    rows = model.user_rows(told)
    for row in range(3):
        np.testing.assert_allclose(
            model.user_rows(told.take(np.array([row])))[0], rows[row], atol=1e-4
        )
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1 / CONFIG.temperature, rtol=1e-4)
    others = {
        "states": replace(told, states=told.states[::-1].copy()),
        "order": replace(told, histories=Histories.from_lists([[2, 3, 0], [5], [4, 1]])),
    }
    for other in others.values():
        assert np.abs(model.user_rows(other) - rows)[0].max() > 1e-3
    model.vectors = model.vectors[::-1].copy()
    assert np.abs(model.user_rows(told) - rows).max() > 1e-3


def test_without_user_tokens_states_are_not_read(model, told):
    model.writer = model.writer.extended(())
    model.writer.config = CONFIG.model_copy(update={"user_token": False})
    rows = model.user_rows(told)
    other = replace(told, states=np.zeros_like(told.states))
    np.testing.assert_array_equal(model.user_rows(other), rows)


def test_a_state_that_is_missing_reads_as_zeros(model, told):
    holes = told.states.copy()
    holes[3] = np.nan
    zeros = np.nan_to_num(holes)
    np.testing.assert_array_equal(
        model.user_rows(replace(told, states=holes)), model.user_rows(replace(told, states=zeros))
    )


def test_likelihoods_do_not_depend_on_the_order_of_the_candidates(model, told):
    found = model.likelihoods(told, CANDIDATES)
    turned = model.likelihoods(told, CANDIDATES[:, ::-1].copy())
    np.testing.assert_allclose(turned[:, ::-1], found, atol=1e-5)
    raw = model.likelihoods(told, CANDIDATES, in_neutral_order=False)
    assert np.abs(raw - found).max() > 1e-4  # a random LM minds the order


def test_likelihoods_are_means_over_the_tokens_of_titles(model, told):
    found = model.likelihoods(told, CANDIDATES)
    assert found.shape == CANDIDATES.shape
    assert (found < 0).all()
    prompts, slots = model._questions(told, CANDIDATES, True)
    answer = model.writer.answer_of(4)
    (_, alone, _), *_ = model.causal.log_likelihoods(
        prompts.texts, [[answer] * 3] * 3, vectors=slots
    )[0:1]
    np.testing.assert_allclose(found[0, 1], alone / len(answer), rtol=1e-4)


def test_answers_to_questions_depend_on_the_history_and_not_on_each_other(model, told):
    found = model.text_likelihoods(told, "old", ["red", "blue film", "dragon"])
    assert found.shape == (3, 3)
    np.testing.assert_allclose(
        model.text_likelihoods(told, "old", ["dragon", "red"]), found[:, [2, 0]], atol=1e-5
    )
    assert np.abs(found[0] - found[1]).max() > 1e-3
    assert np.abs(model.text_likelihoods(told, "wise", ["red"]) - found[:, :1]).max() > 1e-4


def test_the_lm_writes_candidates_only(model, told):
    written = model.generated(told, CANDIDATES)
    assert written.shape == (3,)
    assert ((written >= 0) & (written < 3)).all()


def test_titles_order_the_best_items_and_leave_the_others_behind(model, told):
    items = np.tile(np.arange(6), (3, 1))
    scores = np.array([[5, 4, 3, 2, 1, np.nan]] * 3, np.float32)
    likely, new = model.likelihoods(told, items[:, :3]), np.zeros(scores.shape, bool)
    found = order_by_titles(model, told, items, scores, in_history=new, n=3, scoring="likelihood")
    np.testing.assert_array_equal(np.argsort(-found[:, :3]), np.argsort(-likely))
    np.testing.assert_array_equal(np.sort(found[:, :3]), [[3, 4, 5]] * 3)
    np.testing.assert_array_equal(found[:, 3:], scores[:, 3:])
    written = model.generated(told, items[:, :3])
    found = order_by_titles(model, told, items, scores, in_history=new, n=3, scoring="generation")
    np.testing.assert_array_equal(np.nanargmax(found, axis=1), written)


def test_equal_numbers_of_scored_items_are_not_needed(model, told):
    scores = np.array([[1, np.nan, np.nan], [3, 2, np.nan], [3, 2, 1]], np.float32)
    items = np.tile(np.arange(3), (3, 1))
    new = np.zeros(scores.shape, bool)
    found = order_by_titles(model, told, items, scores, in_history=new, n=3, scoring="likelihood")
    np.testing.assert_array_equal(np.isnan(found), np.isnan(scores))
    np.testing.assert_array_equal(np.sort(found), np.sort(scores))


def test_items_of_the_history_enter_a_question_only_if_others_do_not_fill_it(model, told):
    items = np.tile(np.arange(6), (3, 1))
    scores = np.array([[6, 5, 4, 3, 2, 1]] * 3, np.float32)
    had = np.array([[True, False, True, False, False, False]] * 3)
    written = model.generated(told, np.array([[1, 3, 4]] * 3))
    found = order_by_titles(model, told, items, scores, in_history=had, n=3, scoring="generation")
    found[had] = -np.inf
    np.testing.assert_array_equal(found.argmax(axis=1), np.array([1, 3, 4])[written])
    few = np.array([[True, True, True, False, False, False]] * 3)
    found = order_by_titles(model, told, items, scores, in_history=few, n=5, scoring="generation")
    assert np.sort(found[:, [0, 1, 3, 4, 5]]).tolist() == [[1, 2, 3, 5, 6]] * 3
    assert (found[:, 2] == 4).all()


def test_any_number_of_queries_is_asked_in_blocks(model, told, monkeypatch):
    expected = model.likelihoods(told, CANDIDATES), model.generated(told, CANDIDATES)
    answers = model.text_likelihoods(told, "old", ["red", "dragon"])
    monkeypatch.setattr(model_module, "_AT_ONCE", 2)
    np.testing.assert_allclose(model.likelihoods(told, CANDIDATES), expected[0], atol=1e-5)
    np.testing.assert_array_equal(model.generated(told, CANDIDATES), expected[1])
    np.testing.assert_allclose(
        model.text_likelihoods(told, "old", ["red", "dragon"]), answers, atol=1e-5
    )


class FixedBackbone:
    """Its state after an event is the item's number; NaN for an item it does not know."""

    def encode_events(self, histories, vectors=None):
        states = np.tile(histories.items[:, None].astype(np.float32), STATE_WIDTH)
        states[histories.items == 4] = np.nan
        return states


class Known:
    known = np.array([True, True, True, True, True, False])
    readable = None


def test_prompts_tell_the_newest_known_events_with_the_states_after_them():
    histories = Histories.from_lists([[0, 5, 1, 2, 4], [5], [3]])
    told = prompt_histories(FixedBackbone(), Known(), histories, 3)
    assert [told.histories[row].tolist() for row in range(3)] == [[1, 2, 4], [], [3]]
    np.testing.assert_array_equal(told.states[:, 0], [1, 2, np.nan, 3])

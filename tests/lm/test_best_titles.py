"""The search for the likeliest titles, against the likelihood of every title."""

import numpy as np
import pytest
import torch

from warmstart.data.histories import Histories
from warmstart.errors import ConfigError, DataError, UnsupportedError
from warmstart.lm import LMConfig, load_language_model
from warmstart.lm.best_titles import best_titles
from warmstart.lm.causal import CausalLM
from warmstart.lm.prompts import Text, tokenize_prompts
from warmstart.lm.texts import token_ids
from warmstart.lm.token_tree import TokenTree
from warmstart.lm.trie import Trie

PROMPTS = ["the wise old", "red", "a blue book of the odd tale", "film", "old red"]
TITLES = [
    *("red book", "red book film", "odd", "even tale", "red", "old wise dragon", "odd"),
    *("wise red book", "even tale of the old dragon", "blue blue", "even tale of"),
]


@pytest.fixture(scope="module")
def model(causal_folder):
    return CausalLM(load_language_model(LMConfig(source=str(causal_folder), batch_size=3)))


@pytest.fixture(scope="module")
def prompts(model):
    return tokenize_prompts(model.lm, [[Text(text)] for text in PROMPTS])


@pytest.fixture(scope="module")
def titles(model):
    return token_ids(model.lm, TITLES, special=False)


@pytest.fixture(scope="module")
def end(model):
    return model.lm.tokenizer.eos_token_id


def every_score(model, prompts, titles, end, *, per_token=False):
    """log p of each title and the end after each prompt, one after the other."""
    told = [[*ids, end] for ids in titles]
    found = np.stack(model.log_likelihoods(prompts, [told] * len(prompts), share_prompts=False))
    return found / [len(ids) for ids in told] if per_token else found


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("k", [1, 3, len(TITLES)])
def test_a_wide_beam_finds_the_best_of_all(model, prompts, titles, end, k, per_token):
    scores = every_score(model, prompts, titles, end, per_token=per_token)
    found = best_titles(
        model, prompts, Trie(titles), k=k, end=end, beam=len(titles), per_token=per_token
    )
    np.testing.assert_allclose(found.scores, -np.sort(-scores, axis=1)[:, :k], rtol=1e-4)
    own = np.take_along_axis(scores, found.items, axis=1)
    np.testing.assert_allclose(own, found.scores, rtol=1e-4)
    assert all(len(set(row)) == k for row in found.items.tolist())


def test_random_titles_of_many_lengths(model, prompts, end):
    rng = np.random.default_rng(0)
    titles = [rng.integers(4, 17, rng.integers(1, 7)).tolist() for _ in range(80)]
    scores = every_score(model, prompts, titles, end)
    found = best_titles(model, prompts, Trie(titles), k=9, end=end, beam=80)
    np.testing.assert_allclose(found.scores, -np.sort(-scores, axis=1)[:, :9], rtol=1e-4)


def test_equal_titles_have_equal_scores_in_the_order_of_rows(model, prompts, titles, end):
    found = best_titles(model, prompts, Trie(titles), k=len(titles), end=end, beam=len(titles))
    for items, scores in zip(found.items.tolist(), found.scores, strict=True):
        first, second = items.index(2), items.index(6)
        assert second == first + 1
        assert scores[first] == scores[second]


def test_the_end_decides_between_a_title_and_its_beginning(model, prompts, titles, end):
    other = token_ids(model.lm, ["dragon"], special=False)[0][0]
    titles = [ids for ids in titles if other not in ids]
    found = best_titles(model, prompts, Trie(titles), k=3, end=other, beam=len(titles))
    scores = every_score(model, prompts, titles, other)
    np.testing.assert_allclose(found.scores, -np.sort(-scores, axis=1)[:, :3], rtol=1e-4)
    by_end = best_titles(model, prompts, Trie(titles), k=3, end=end, beam=len(titles))
    assert (found.items != by_end.items).any()


def test_a_narrow_beam_gives_titles_with_their_true_scores(model, prompts, titles, end):
    scores = every_score(model, prompts, titles, end)
    narrow = best_titles(model, prompts, Trie(titles), k=3, end=end, beam=1)
    there = narrow.items >= 0
    assert there[:, 0].all()
    own = np.take_along_axis(scores, np.maximum(narrow.items, 0), axis=1)
    np.testing.assert_allclose(own[there], narrow.scores[there], rtol=1e-4)
    assert np.isneginf(narrow.scores[~there]).all()


def test_items_that_are_left_out_take_no_place(model, prompts, titles, end):
    best = best_titles(model, prompts, Trie(titles), k=4, end=end, beam=len(titles))
    left_out = Histories.from_lists([row[:2] for row in best.items.tolist()])
    found = best_titles(
        model, prompts, Trie(titles), k=9, end=end, beam=len(titles), left_out=left_out
    )
    np.testing.assert_array_equal(found.items[:, :2], best.items[:, 2:])
    everything = Histories.from_lists([range(len(titles))] * len(PROMPTS))
    none = best_titles(model, prompts, Trie(titles), k=2, end=end, beam=9, left_out=everything)
    assert (none.items == -1).all()


def test_lists_do_not_depend_on_the_batch(model, prompts, titles, end):
    options = {"k": 4, "end": end, "beam": 5}
    found = best_titles(model, prompts, Trie(titles), **options)
    for row in range(len(prompts)):
        alone = tokenize_prompts(model.lm, [[Text(PROMPTS[row])]])
        one = best_titles(model, alone, Trie(titles), **options)
        np.testing.assert_array_equal(one.items[0], found.items[row])
        np.testing.assert_allclose(one.scores[0], found.scores[row], rtol=1e-4)


def test_branches_of_a_tree_do_not_see_each_other(model, prompts):
    batch = prompts.batch(np.array([1, 2]), model.lm.device)
    with torch.inference_mode():
        tree = TokenTree(model, batch)
        tree.grow(torch.zeros(2, 3, dtype=torch.long), torch.tensor([[5, 6, 7]] * 2))
        tree.grow(torch.tensor([[2, 0, 0]] * 2), torch.tensor([[8, 9, 10]] * 2))
    for row, prompt in enumerate((1, 2)):
        paths = [np.array(path) for path in ((7, 8), (5, 9), (5, 10))]
        expected = model.states_after(prompts.ids[prompt], paths)
        torch.testing.assert_close(tree.states[row], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, ConfigError, "k"),
        ({"beam": 0}, ConfigError, "beam"),
        ({"end": 10**6}, DataError, "end: got token 1000000"),
        ({"left_out": Histories.from_lists([[0]])}, DataError, "1 histories for 5 prompts"),
    ],
)  # fmt: skip
def test_wrong_arguments(model, prompts, titles, end, options, error, message):
    with pytest.raises(error, match=message):
        best_titles(model, prompts, Trie(titles), **{"k": 2, "end": end, "beam": 4, **options})


def test_a_title_must_not_contain_the_end(model, prompts, titles):
    with pytest.raises(DataError, match="contains the end token"):
        best_titles(model, prompts, Trie(titles), k=2, end=titles[0][0], beam=4)


def test_too_long_for_the_model(model, titles, end):
    prompts = tokenize_prompts(model.lm, [[Text("red " * 60)]])
    with pytest.raises(DataError, match="allowed: 64 together"):
        best_titles(model, prompts, Trie(titles), k=2, end=end, beam=4)


def test_a_model_without_keys_and_values_is_refused(model, prompts, monkeypatch):
    forward = model.lm.body.forward
    without = lambda **given: forward(**{**given, "use_cache": False})  # noqa: E731
    monkeypatch.setattr(model.lm.body, "forward", without)
    with pytest.raises(UnsupportedError, match="cannot read trees of tokens"):
        TokenTree(model, prompts.batch(np.array([0]), model.lm.device))

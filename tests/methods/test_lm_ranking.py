"""lm_ranking: the likelihood of titles, searched or computed for each."""

import numpy as np
import pytest

from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.errors import ConfigError
from warmstart.lm import CausalLMConfig, load_causal_lm
from warmstart.methods.lm_ranking import LMRanking
from warmstart.testing.tiny_lm import tiny_causal
from warmstart.testing.worlds.dialogues import dialogue_world
from warmstart.testing.worlds.items import WORDS

TEXTS = ["User: i want two four", "User: yes a book", "User: seven\nSystem: try one three"]
SETTINGS = {
    "prompts": {"introduction": "", "question": "", "list_start": "", "title_tokens": 6},
    "beam": 100,
}


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    folder = tiny_causal(tmp_path_factory.mktemp("lm") / "causal", WORDS)
    return load_causal_lm(CausalLMConfig(source=str(folder), device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def world():
    return dialogue_world()


@pytest.fixture(scope="module")
def every(causal, world):
    return fitted(causal, world, depth=100)


def fitted(causal, world, **settings):
    model = LMRanking(LMRanking.config_type.build({**SETTINGS, **settings}))
    return model.fit(world.split.train, lm=causal)


def scores_of(model, queries=None):
    items = np.arange(len(model.fitted.catalogue), dtype=np.int32)
    return model.score(queries or Queries.of_texts(TEXTS), items)


@pytest.mark.parametrize("per_token", [False, True])
def test_the_search_ranks_as_the_likelihood_of_each_title(causal, world, per_token):
    exact = scores_of(fitted(causal, world, depth=100, per_token=per_token))
    found = scores_of(fitted(causal, world, depth=6, per_token=per_token))
    best = np.argsort(-exact, axis=1)[:, :6]
    np.testing.assert_allclose(
        np.take_along_axis(found, best, axis=1), np.take_along_axis(exact, best, axis=1), rtol=1e-4
    )
    for row, own in zip(found, best, strict=True):
        rest = np.delete(row, own)
        assert len(set(rest.tolist())) == 1
        assert rest[0] < row[own].min()


def test_mentioned_items_are_scored_and_take_no_place(causal, world, every):
    exact = scores_of(every)
    best = np.argsort(-exact, axis=1)
    mentioned = Histories.from_lists([*best[:2, :2], []])
    found = scores_of(fitted(causal, world, depth=3), Queries.of_texts(TEXTS, mentioned))
    for row in range(2):
        own = best[row, :5]
        np.testing.assert_allclose(found[row, own], exact[row, own], rtol=1e-4)
        assert found[row, best[row, 5:]].max() < found[row, own].min()


def test_more_words_of_the_prompt_change_the_scores(causal, world, every):
    prompts = {**SETTINGS["prompts"], "question": "a book of the story"}
    other = scores_of(fitted(causal, world, depth=100, prompts=prompts))
    assert np.abs(other - scores_of(every)).max() > 0.1


def test_lists_leave_out_what_a_text_names(every):
    names = every.fitted.catalogue.names
    text = f"User: i liked {names[3]} and {names[5]}"
    found = every.recommend(texts=[text], k=len(names) - 2, on_unknown="popular")
    ids = every.fitted.catalogue.item_ids.take(np.array([3, 5]))
    assert every.mentioned_items([text]) == [ids]
    assert not set(found["item"]) & set(ids)


def test_words_that_do_not_fit_are_refused_by_the_fit(causal, world):
    with pytest.raises(ConfigError, match="lower title_tokens"):
        fitted(causal, world, prompts={"title_tokens": 64})

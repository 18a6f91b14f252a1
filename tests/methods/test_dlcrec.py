"""dlcrec on the checkerboard: all plans keep to controls, and a model is saved with its parts."""

import numpy as np
import pytest

from warmstart.config import merged
from warmstart.data.control import Control
from warmstart.data.queries import Queries
from warmstart.genre_planning.settings import DLCRecConfig
from warmstart.lm import CausalLMConfig, load_causal_lm
from warmstart.methods import load_model
from warmstart.methods.cf_only import CFOnly
from warmstart.methods.dlcrec import DLCRec
from warmstart.rerank.control import controlled_list
from warmstart.testing.small_settings import METHOD_SETTINGS
from warmstart.testing.tiny_lm import tiny_causal
from warmstart.testing.worlds.checkerboard import checkerboard
from warmstart.testing.worlds.items import WORDS

QUICK = {
    "max_windows": 24,
    "training": {"epochs": {"genres": 1, "places": 1, "items": 1}},
    "augmentation": {"noise": True, "numbers": True},
}
K = 3


@pytest.fixture(scope="module")
def board():
    return checkerboard(seed=3)


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    folder = tiny_causal(tmp_path_factory.mktemp("causal"), WORDS)
    return load_causal_lm(CausalLMConfig(source=str(folder), device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def fit(board, lm):
    def fitted(**settings):
        config = merged(merged(METHOD_SETTINGS["dlcrec"], QUICK), settings)
        return DLCRec(DLCRecConfig.build(config)).fit(board.data, lm=lm)

    return fitted


def lists(model, board, control):
    users = board.active_users[:12]
    found = model.recommend(board.data.user_ids.take(users), K, control=control)
    rows = board.data.catalogue.item_ids.known_rows(found["item"].to_list())
    return rows.reshape(len(users), K)


def n_genres(board, items):
    return board.data.catalogue.attribute("genres").matrix[items].toarray().any(axis=0).sum()


@pytest.mark.parametrize("plan", ["cascade", "without_filling", "one_pass"])
def test_every_plan_gives_the_number_of_genres(fit, board, plan):
    model = fit(plan=plan)
    for number in (2, 3):
        for items in lists(model, board, {"n_genres": number}):
            assert n_genres(board, items) == number


def test_a_shortlist_of_one_writes_what_the_collaborative_model_ranks_first(fit, board):
    model = fit(
        plan="without_filling", shortlist={"backbone": {"kind": "ease", "l2": 5}, "items": 1}
    )
    ease = CFOnly(backbone={"kind": "ease", "l2": 5}).fit(board.data)
    users = board.active_users[:12]
    genres = board.data.catalogue.attribute("genres")
    control = Control(genres=("Even", "Long"))
    written = lists(model, board, control)
    items = np.arange(board.data.n_items, dtype=np.int32)
    scores = ease.score(Queries.of_users(users), items)
    scores[board.seen[users]] = np.nan
    same = []
    for row, own in zip(written, scores, strict=True):
        assert not np.isnan(own[row]).any()  # warm and not seen
        assert n_genres(board, row) == 2
        best = controlled_list(own, genres.matrix, genres.values, K, control)
        same.append(set(row.tolist()) == set(best.tolist()))
    assert np.mean(same) > 0.7  # a greedy choice misses some optima


def test_a_shortlist_is_saved(fit, board, lm, tmp_path):
    model = fit(shortlist={"backbone": {"kind": "ease", "l2": 5}, "items": 2})
    again = load_model(model.save(tmp_path / "model"), lm=lm)
    before, after = (lists(one, board, {"n_genres": 2}) for one in (model, again))
    np.testing.assert_array_equal(before, after)


def test_without_restriction_the_number_of_genres_is_not_guaranteed(fit, board):
    found = lists(fit(plan="absent", decoding="titles"), board, {"n_genres": 4})
    assert {len(set(items.tolist())) for items in found} == {K}


def test_lists_without_wanted_genres_rank_by_the_scores(fit, board):
    model = fit()
    plain, varied = lists(model, board, None), lists(model, board, {"diversity": 0.0})
    np.testing.assert_array_equal(plain, varied)

"""Controls: what may be asked for, and that each reaches its function."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rerank.inputs import candidates, check_list, float32, genres_of, plain
from warmstart.data.control import Control
from warmstart.errors import ConfigError, DataError
from warmstart.rerank.calibrated import genre_divergence
from warmstart.rerank.control import controlled_list

NAMES = ("Comedy", "Drama", "War")
SCORES = float32(0.9, 0.8, 0.7, 0.6, 0.5, np.nan)
GENRES = genres_of({0}, {0}, {0}, {1}, {2}, {1})


def asked(k=3, history=None, **settings):
    control = Control.build(settings)
    return controlled_list(SCORES, GENRES, NAMES, k, control, history).tolist()


def test_each_setting_changes_the_list_in_its_way():
    assert asked() == [0, 1, 2]
    assert asked(n_genres=2) == [0, 1, 3]
    assert asked(n_genres=3) == [0, 3, 4]
    assert asked(genres=["Drama", "War"]) == [3, 4]
    assert asked(genres=["War", "Comedy"]) == [0, 1, 4]
    assert asked(diversity=0) == [0, 1, 2]
    assert asked(diversity=1.0) == [0, 3, 4]
    assert asked(calibrate=True, history=np.array([0, 0, 5])) == [4, 0, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_genres": 2, "diversity": 0.5}, "at most one setting .*, not n_genres and diversity"),
        ({"n_genres": 2, "diversity": 0.0}, "not n_genres and diversity"),
        ({"genres": ["War"], "calibrate": True}, "not genres and calibrate"),
        ({"n_genres": 0}, "n_genres: .* greater than or equal to 1, got 0"),
        ({"n_genres": True}, "n_genres: .*got True"),
        ({"genres": []}, "genres: .* at least 1 item"),
        ({"genres": "War"}, "genres: .*valid tuple, got 'War'"),
        ({"diversity": 1.5}, "diversity: .* less than or equal to 1"),
        ({"n_genre": 2}, "n_genre: there is no such setting"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=f"Control: .*{message}"):
        Control.build(settings)


def test_requests_that_do_not_fit_the_candidates_are_named():
    with pytest.raises(ConfigError, match=r"unknown genres \['Western'\]; allowed: \['Comedy', 'D"):
        asked(genres=["War", "Western"])
    with pytest.raises(ConfigError, match="calibrate needs history_genres, got None"):
        asked(calibrate=True)
    with pytest.raises(DataError, match="2 genre names for 3 columns"):
        controlled_list(SCORES, GENRES, NAMES[:2], 3, Control())
    with pytest.raises(ConfigError, match="has \\['War'\\]"):
        controlled_list(SCORES[:4], GENRES[:4], NAMES, 3, Control(genres=("Comedy", "War")))
    for settings in ({}, {"diversity": 0.5}, {"n_genres": 1}):
        with pytest.raises(ConfigError, match=": k must be a whole number from 1, got 0"):
            asked(0, **settings)


@given(candidates(), st.integers(1, 5), st.sampled_from([0, 0.3, 1]))
def test_every_control_gives_k_different_candidates(case, k, diversity):
    scores, genres = case
    names = tuple("abcde")
    history = np.array([1, 0, 0, 2, 1])
    expected = plain(scores, k)
    for control in (Control(), Control(diversity=diversity), Control(calibrate=True)):
        found = controlled_list(scores, genres, names, k, control, history)
        check_list(found, scores, k)
        assert len(found) == len(expected)
        if control.calibrate and expected:
            bound = genre_divergence(np.array(expected), genres, history)
            assert genre_divergence(found, genres, history) <= bound + 1e-9
        elif not control.diversity:
            assert found.tolist() == expected


def test_scores_of_any_scale_give_the_same_list():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 2**10, 50).astype(np.float32)
    genres = genres_of(*[{g} for g in rng.integers(0, 3, 50)])
    history = np.array([1, 5, 1])
    for control in (Control(diversity=0.4), Control(calibrate=True)):
        lists = [
            controlled_list(each, genres, NAMES, 5, control, history).tolist()
            for each in (scores, scores * 2**-20, scores * 64 - 2**12)
        ]
        assert lists[0] == lists[1] == lists[2]


def test_diversity_and_calibration_leave_poor_candidates_out():
    """The last of 11 candidates is the only one of its genre, and no list of one reaches it."""
    scores = np.linspace(1, 0, 11).astype(np.float32)
    genres = genres_of(*[{0}] * 10, {1})
    assert controlled_list(
        scores, genres, ("a", "b"), 1, Control(calibrate=True), np.array([0, 1])
    ).tolist() == [0]
    wide = controlled_list(scores, genres, ("a", "b"), 2, Control(calibrate=True), np.array([0, 1]))
    assert wide.tolist() == [10, 0]

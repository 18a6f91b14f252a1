"""Popularity of all time and of the last days."""

from dataclasses import replace

import numpy as np
import pytest

import warmstart as ws
from warmstart.data.queries import Queries
from warmstart.errors import DataError

DAY = 24 * 60 * 60


def data(times):
    """Item a has three old interactions, item b two new ones, item c none."""
    frame = {"user": list("uvwuv"), "item": list("aaabb"), "timestamp": times}
    return ws.from_frames(frame, {"item": list("abc")}, time="timestamp")


def scores(dataset, **settings):
    model = ws.Popular(**settings).fit(dataset)
    return model.score(Queries.of_users(np.array([0])), np.arange(3, dtype=np.int32))[0].tolist()


def test_recent_days_count_back_from_the_last_interaction():
    dataset = data([0, DAY, 2 * DAY, 9 * DAY, 10 * DAY])
    assert scores(dataset) == [3, 2, 0]
    assert scores(dataset, recent_days=7) == [0, 2, 0]
    assert scores(dataset, recent_days=8.5) == [1, 2, 0]
    assert scores(dataset, recent_days=1) == [0, 1, 0]  # the time one day before is not included
    assert scores(dataset, recent_days=100) == [3, 2, 0]


def test_recent_days_need_times():
    dataset = data([0, 1, 2, 3, 4])
    untimed = replace(dataset, interactions=replace(dataset.interactions, times=None))
    with pytest.raises(DataError, match=r"recent_days needs the time of each interaction.* none"):
        scores(untimed, recent_days=7)
    with pytest.raises(DataError, match=r"recent_days needs the time.* positions"):
        scores(replace(dataset, clock="position"), recent_days=7)
    assert scores(untimed) == [3, 2, 0]

"""next-item across domains: users of another data set are asked for its items."""

import numpy as np
import pytest

from tests.data.splits.made import ordered
from warmstart.data.readers.frames import from_frames
from warmstart.data.splits.next_item import next_item
from warmstart.errors import ConfigError, DataError

FILMS = ordered({"u1": "abc", "u2": "bca", "u3": "cd", "u4": "a"}, name="films")
BOOKS = ordered({"u1": "abx", "u9": "xy", "u5": "z"}, items="w", name="books")


def names(split, rows):
    return split.dataset.catalogue.item_ids.take(rows)


def test_models_learn_from_the_first_domain_only():
    split = next_item(FILMS, cross_domain=BOOKS)
    train = split.train
    assert set(names(split, train.interactions.items)) == {"films/a", "films/b", "films/c"}
    assert {u.split("/")[0] for u in train.user_ids.take(np.unique(train.interactions.users))} == {
        "films"
    }
    assert train.n_items == 4 + 6
    assert train.catalogue.texts[4:6] == ("title a", "title b")


def test_the_users_of_the_other_domain_are_asked_by_history_for_its_items():
    split = next_item(FILMS, cross_domain=BOOKS)
    task = split.tasks("test")["all"]
    assert (task.queries.users == -1).all()
    assert len(task.queries) == 2  # u5 has nothing before
    histories = [names(split, task.queries.histories[row]) for row in range(2)]
    assert sorted(histories) == [["books/a", "books/b"], ["books/x"]]
    assert sorted(names(split, task.relevance.indices)) == ["books/x", "books/y"]
    assert set(names(split, task.candidates)) == {f"books/{letter}" for letter in "abwxyz"}
    assert set(split.tasks("test")) == {"all", "cold"}


def test_validation_is_of_the_first_domain():
    split = next_item(FILMS, cross_domain=BOOKS)
    task = split.tasks("valid")["all"]
    assert set(names(split, task.candidates)) == {"films/a", "films/b", "films/c"}
    assert sorted(names(split, task.relevance.indices)) == ["films/a", "films/c"]
    assert split.manifest["notes"]["validation_queries_for_items_that_are_no_candidates"] == 1
    assert split.manifest["left_out"] == {"of_single_interactions_of_the_other_domain": 1}


def test_frozen_candidates_are_of_the_other_domain():
    films = ordered({"u1": "abc", "u2": "defg", "u3": "hijk", "u4": "bd"}, name="films")
    split = next_item(films, cross_domain=BOOKS, candidates="uni3")
    items = split.tasks("test")["all"].candidates
    assert all(name.startswith("books/") for name in names(split, items.ravel()))


def test_the_same_data_and_two_scenarios_are_refused():
    with pytest.raises(ConfigError, match="cross_domain is 'books'; allowed: a data set"):
        next_item(FILMS, cross_domain="books")
    with pytest.raises(ConfigError, match="cross_domain is the same data set, 'films'"):
        next_item(FILMS, cross_domain=FILMS)
    with pytest.raises(ConfigError, match="few_shot and cross_domain exclude each other"):
        next_item(FILMS, cross_domain=BOOKS, few_shot=1)
    with pytest.raises(ConfigError, match=r"candidates 'pop3' are drawn by training.*uniN"):
        next_item(FILMS, cross_domain=BOOKS, candidates="pop3")
    with pytest.raises(ConfigError, match="cross_domain = 'books' does not apply to by = 'time'"):
        next_item(FILMS, by="time", cross_domain=BOOKS)


def test_a_domain_without_order_is_refused():
    unordered = from_frames(
        {"user": ["a", "a"], "item": ["x", "y"]}, {"item": ["x", "y"], "title": ["t", "s"]},
        name="pile",
    )  # fmt: skip
    for pair in ((FILMS, unordered), (unordered, FILMS)):
        with pytest.raises(DataError, match="pile has neither times nor positions"):
            next_item(pair[0], cross_domain=pair[1])

"""Checks of lists under control, on the genres of the checkerboard; they run on every method."""

from typing import Any

import numpy as np

from warmstart.data.control import Control
from warmstart.errors import ConfigError
from warmstart.rerank.calibrated import genre_divergence
from warmstart.testing.case import Case
from warmstart.testing.checks.shared import on_shared_fit, raises
from warmstart.testing.worlds.genres import genre_sets, liked_places
from warmstart.testing.worlds.items import GENRES

_K = 3
_NAMED = (("Even", "Long"), ("Odd", "Short"), ("Even", "Odd"))
_MIN_LIKED = 0.75  # share of the places that the best list has with items of the user's parity
_MIN_GAIN = 0.1  # fraction by which calibration lowers the mean divergence from the history


@on_shared_fit
def control_gives_the_number_of_genres(case: Case) -> None:
    """Lists have exactly as many genres as asked for, and still the items that users like."""
    for n_genres in range(1, len(GENRES) + 1):
        control = Control(n_genres=n_genres)
        lists = _lists(case, control)
        sizes = {len(genre_sets(case.world, items)) for items in lists.values()}
        assert sizes == {n_genres}, f"{n_genres} genres asked for, lists have {sorted(sizes)}"
        if n_genres > 1:  # some users have seen nearly all items of their parity with one genre
            _assert_liked(case, control, lists)


@on_shared_fit
def control_gives_the_named_genres(case: Case) -> None:
    """Lists have every named genre and no other, and still the items that users like."""
    for names in _NAMED:
        control = Control(genres=names)
        lists = _lists(case, control)
        found = {genre_sets(case.world, items) for items in lists.values()}
        assert found == {frozenset(names)}, f"{names} asked for, lists have {found}"
        _assert_liked(case, control, lists)


@on_shared_fit
def control_calibrates(case: Case) -> None:
    """Calibrated lists have genres closer to those of the history than plain lists."""
    genres = case.world.data.catalogue.attribute("genres").matrix
    plain, calibrated = (
        np.mean(
            [
                genre_divergence(items, genres, np.asarray(genres[history].sum(axis=0)).ravel())
                for user, items in _lists(case, control).items()
                for history in [case.world.data.histories[user]]
            ]
        )
        for control in (None, Control(calibrate=True))
    )
    bound = (1 - _MIN_GAIN) * plain
    assert calibrated < bound, f"divergence {calibrated:.3f}, that of plain lists is {plain:.3f}"


@on_shared_fit
def control_refuses_what_is_unknown(case: Case) -> None:
    """Unknown genres, too many genres and two wishes at once are errors that name the value."""
    users = case.world.data.user_ids.take(case.world.active_users[:2])
    wrong: list[tuple[Any, tuple[str, ...]]] = [
        ({"genres": ["Even", "Western"]}, ("Western", *GENRES)),
        ({"n_genres": len(GENRES) + 1}, ("n_genres = 5", "1 to 4")),
        ({"n_genres": 2, "calibrate": True}, ("n_genres and calibrate",)),
    ]
    for control, parts in wrong:
        with raises(ConfigError, *parts):
            case.recommend(users, _K, control=control)


def _lists(case: Case, control: Control | None) -> dict[int, np.ndarray]:
    """Item rows of the lists of a third of the users, who have seen none of them."""
    data, users = case.world.data, case.world.active_users[::3]
    found = case.recommend(data.user_ids.take(users), _K, control=control)
    rows = data.user_ids.known_rows(found["user"].to_list())
    items = data.catalogue.item_ids.known_rows(found["item"].to_list())
    assert not case.world.seen[rows, items].any(), f"{control!r}: a list has an item that was seen"
    lists = {user: items[rows == user] for user in users.tolist()}
    for listed in lists.values():
        assert len(set(listed.tolist())) == _K, f"{control!r}: a list has not {_K} different items"
    return lists


def _assert_liked(case: Case, control: Control, lists: dict[int, np.ndarray]) -> None:
    """Assert that lists of a method that knows what users like have items that they like."""
    if not case.knows_taste:
        return
    board = case.world
    found = sum((board.item_parity[lists[u]] == board.user_parity[u]).sum() for u in lists)
    best = sum(liked_places(control, int(board.user_parity[user]), _K) for user in lists)
    share = found / max(best, 1)
    assert share > _MIN_LIKED, f"{control!r}: only {share:.0%} of the places are as users like"

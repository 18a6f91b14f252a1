"""Interactions since the fit: what is remembered, and how much."""

from warmstart.serve.engine.clicks import LAST_USERS, Clicks


def test_unknown_users_beyond_the_limit_are_forgotten_the_least_active_first():
    clicks = Clicks(max_unknown_users=3)
    for number, user in enumerate(["a", "b", "c", "a"]):
        clicks.add(user, number, number)
    assert not clicks.has_forgotten
    clicks.add("d", 9, 9)
    assert clicks.has_forgotten
    assert [clicks.items_of(user) for user in "abcd"] == [[0, 3], [], [2], [9]]
    assert clicks.users(1) == 1  # the click of b counts on


def test_known_users_are_never_forgotten():
    clicks = Clicks(max_unknown_users=1)
    for user in range(100):
        assert clicks.add(user, 7, user)
        assert not clicks.add(user, 7, user)
    assert not clicks.has_forgotten
    assert clicks.users(7) == clicks.known_users(7) == 100
    assert clicks.items_of(5) == [7]


def test_an_item_keeps_its_last_known_users():
    clicks = Clicks()
    for user in range(LAST_USERS + 5):
        clicks.add(user, 1, user)
    assert clicks.last_known_users(1) == list(range(5, LAST_USERS + 5))
    assert clicks.remove(7, 10**9) == [1]
    assert clicks.known_users(1) == LAST_USERS + 4
    assert 7 not in clicks.last_known_users(1)
    assert clicks.remove(0, 10**9) == [1]  # of whom the item remembers the number only
    assert clicks.known_users(1) == LAST_USERS + 3


def test_the_last_click_orders_a_history():
    clicks = Clicks()
    for number, item in enumerate([4, 5, 4, 6]):
        clicks.add("u", item, number)
    assert clicks.items_of("u") == [5, 4, 6]
    assert clicks.remove("u", 2) == [5, 4] or clicks.items_of("u") == [6]
    assert clicks.users(4) == 0

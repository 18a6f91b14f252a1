"""Clicks, as the store gives them."""

from itertools import count

from warmstart.serve.storage.records import Click

_NUMBERS = count(1)


def clicks_on(item, users):
    """A click by each user on one item, in this order."""
    return [Click(number, str(user), item, 1.8e9 + number) for user, number in zip(users, _NUMBERS)]  # noqa: B905


def clicks_by(user, items):
    """A click by one user on each item, in this order."""
    return [Click(number, user, str(item), 1.8e9 + number) for item, number in zip(items, _NUMBERS)]  # noqa: B905

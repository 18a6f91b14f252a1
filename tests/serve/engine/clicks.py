"""Clicks, as the store gives them."""

from itertools import count

from warmstart.serve.storage.records import Click

_NUMBERS = count(1)


def clicks_on(item, users):
    """A click by each user on one item, in this order."""
    return [Click(next(_NUMBERS), str(user), item) for user in users]


def clicks_by(user, items):
    """A click by one user on each item, in this order."""
    return [Click(next(_NUMBERS), user, str(item)) for item in items]

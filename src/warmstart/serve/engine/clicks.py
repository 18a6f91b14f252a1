"""Interactions since the fit: the histories that they extend, and the users of each item.

Items and known users are numbers here, and unknown users are names. Nothing is limited for known
users. Of unknown ones, those who were active last are remembered; the store has the others.
"""

from collections import Counter, OrderedDict, deque

MAX_UNKNOWN_USERS = 100_000  # whose histories are in memory: about 50 MB
LAST_USERS = 1000  # known users of an item by whom it is scored; the last ones

User = int | str
"""Row number of a known user, or the name of an unknown one."""


class Clicks:
    """Interactions since the fit. One thread writes; any thread may read.

    Args:
        max_unknown_users: number of unknown users whose histories are kept.

    Attributes:
        has_forgotten: whether histories of unknown users are no longer in memory.
    """

    def __init__(self, max_unknown_users: int = MAX_UNKNOWN_USERS) -> None:
        self._max_unknown_users = max_unknown_users
        self.has_forgotten = False
        self._of_known: dict[int, dict[int, int]] = {}  # user -> item -> number of the last click
        self._of_unknown: OrderedDict[str, dict[int, int]] = OrderedDict()
        self._last_known: dict[int, deque[int]] = {}  # item -> known users, the last one last
        self._n_known: Counter[int] = Counter()  # item -> known users
        self._n_unknown: Counter[int] = Counter()

    def add(self, user: User, item: int, number: int) -> bool:
        """Add an interaction; return whether it is the first of a known user with the item.

        The work does not depend on how many interactions the item has had.
        """
        clicked = self._clicked(user)
        is_new = item not in clicked
        clicked[item] = max(number, clicked.get(item, number))
        if isinstance(user, str):
            self._n_unknown[item] += is_new
            return False
        if is_new:
            self._n_known[item] += 1
            self._last_known.setdefault(item, deque(maxlen=LAST_USERS)).append(user)
        return is_new

    def _clicked(self, user: User) -> dict[int, int]:
        if isinstance(user, int):
            return self._of_known.setdefault(user, {})
        found = self._of_unknown.setdefault(user, {})
        self._of_unknown.move_to_end(user)
        if len(self._of_unknown) > self._max_unknown_users:
            self.has_forgotten = True
            self._of_unknown.popitem(last=False)
        return found

    def remove(self, user: User, last: int) -> list[int]:
        """Remove the interactions of a user up to a number; return their items."""
        users = self._of_known if isinstance(user, int) else self._of_unknown
        clicked = users.get(user, {})  # pyright: ignore[reportArgumentType, reportCallIssue]
        removed = [item for item, number in clicked.items() if number <= last]
        for item in removed:
            del clicked[item]
            if isinstance(user, str):
                self._n_unknown[item] -= 1
                continue
            self._n_known[item] -= 1
            if user in self._last_known[item]:
                self._last_known[item].remove(user)
        if not clicked:
            users.pop(user, None)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return removed

    def items_of(self, user: User) -> list[int]:
        """Items that a user interacted with since the fit, the last one last."""
        users = self._of_known if isinstance(user, int) else self._of_unknown
        found = users.get(user)  # pyright: ignore[reportArgumentType, reportCallIssue]
        if not found:
            return []
        numbers = dict(list(found.items()))  # at once: the other thread may add to it
        return sorted(numbers, key=numbers.__getitem__)

    def last_known_users(self, item: int) -> list[int]:
        """Known users of an item, at most ``LAST_USERS``, the last one last."""
        return list(self._last_known.get(item, ()))

    def known_users(self, item: int) -> int:
        """The number of known users of an item."""
        return self._n_known[item]

    def users(self, item: int) -> int:
        """The number of users of an item; a forgotten one who comes again counts again."""
        return self._n_known[item] + self._n_unknown[item]

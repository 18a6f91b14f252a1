"""Lists under control whose right answer is known: the checkerboard with its genres.

Every item is Even or Odd, and Long, Short or neither; users care for the first only. So a list with
up to three genres can be of one parity, with all four it needs one item of the other, and a list
with named genres has items of the parities that are named.
"""

from dataclasses import dataclass

import numpy as np

from warmstart.data.control import Control
from warmstart.data.splits.event_split import EventSplit
from warmstart.data.splits.user_random import user_random
from warmstart.testing.worlds.checkerboard import Checkerboard, checkerboard
from warmstart.testing.worlds.items import GENRES, PARITY_GENRES


@dataclass(frozen=True)
class GenresWorld:
    """The checkerboard, and a split of its interactions.

    Attributes:
        board: users, items and their parities.
        split: by the protocol "user-random".
    """

    board: Checkerboard
    split: EventSplit


def genres_world(seed: int = 0) -> GenresWorld:
    """Make a checkerboard and split the items of each user."""
    board = checkerboard(seed=seed)
    return GenresWorld(board, user_random(board.split.dataset, seed=seed))


def liked_places(control: Control, parity: int, k: int) -> int:
    """Number of places of the user's own parity in the best list of k items under a control.

    This holds for ``n_genres`` and ``genres``, where enough items have the genres asked for.

    Args:
        control: what the list is asked to be.
        parity: that of the user, 0 even or 1 odd.
        k: length of the list.
    """
    if control.genres is None:
        others = control.n_genres == len(GENRES)
        return k - others
    own, other = PARITY_GENRES[parity], PARITY_GENRES[1 - parity]
    if own not in control.genres:
        return 0
    return k - (other in control.genres)


def genre_sets(board: Checkerboard, items: np.ndarray) -> frozenset[str]:
    """The genres that some items have together."""
    attribute = board.data.catalogue.attribute("genres")
    present = np.asarray(attribute.matrix[items].sum(axis=0)).ravel() > 0
    return frozenset(np.array(attribute.values)[present].tolist())

"""Checks of methods that learn from the order of histories: on the cycle, the next item is known.

They run on methods whose traits read "order".
"""

import numpy as np

from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.rank import mean_metric
from warmstart.testing.case import Case, rows
from warmstart.testing.checks.shared import assert_close, only_if, refits
from warmstart.testing.worlds.cycle import backwards, shuffled, with_histories

_MIN_HIT = 0.7  # between the ideal, 1, and what a set of items tells, 0.4
_MAX_SET_HIT = 0.5  # over 240 queries, 0.4 has a standard deviation of 0.03

_on_readers_of_order = only_if(lambda case: "order" in case.cls.traits.reads)


@refits
@_on_readers_of_order
def order_names_the_next_item(case: Case) -> None:
    """The successor of the last item of a history stands first."""
    hit, world = _hit(case), case.fixtures.cycle
    assert hit > _MIN_HIT, f"hit@1 {hit:.2f}, too low; sets of items give {world.set_hit:.2f}"


@refits
@_on_readers_of_order
def order_needs_the_order(case: Case) -> None:
    """Shuffled and reversed histories tell no more than sets of items."""
    histories = case.fixtures.cycle.test.queries.histories
    assert histories is not None
    changed = {
        "shuffled": shuffled(histories, np.random.default_rng(0)),
        "reversed": backwards(histories),
    }
    for what, others in changed.items():
        hit = _hit(case, others)
        assert hit < _MAX_SET_HIT, (
            f"{what} histories: hit@1 {hit:.2f}, more than sets of items tell"
        )


@refits
@_on_readers_of_order
def order_ignores_later_events(case: Case) -> None:
    """What stands later, in another query of the same user, does not change an earlier answer."""
    model, task = case.on_cycle, case.fixtures.cycle.test
    assert task.queries.histories is not None
    users, items = rows(12), rows(len(model.fitted.catalogue))
    walks = [task.queries.histories[user] for user in users]
    lengths = (3, 4, len(walks[0]))
    prefixes = [
        Queries(task.queries.users[users], Histories.from_lists([walk[:n] for walk in walks]))
        for n in lengths
    ]
    every = Histories.from_lists([walk[:n] for walk in walks for n in lengths])
    together = Queries(np.repeat(task.queries.users[users], len(lengths)), every)
    found = model.score(together, items)
    for start, queries in enumerate(prefixes):
        assert_close(found[start :: len(lengths)], model.score(queries, items))


def _hit(case: Case, histories: Histories | None = None) -> float:
    """hit@1 on the test part of the cycle, by these histories or the true ones."""
    task = case.fixtures.cycle.test
    if histories is not None:
        task = with_histories(task, histories)
    return mean_metric(case.on_cycle.score, task, "hit@1")

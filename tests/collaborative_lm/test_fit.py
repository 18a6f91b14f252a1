import numpy as np

from warmstart.collaborative_lm.fit import validation_tasks
from warmstart.core import FitContext, LanguageModels
from warmstart.data.sources.synthetic import synthetic
from warmstart.data.splits.next_item import next_item
from warmstart.run import Run


def tasks_of(split):
    context = FitContext(split.validation(), LanguageModels(), np.random.default_rng(0), Run())
    return validation_tasks(context, split.train.warm, 10_000)


def test_popular_and_rare_items_are_no_warm_and_cold_ones():
    """Leave-one-out has slices "warm" and "cold" of another meaning."""
    data = synthetic(60, 80, rng=np.random.default_rng(0))
    assert set(tasks_of(next_item(data))) == {"all"}
    split = next_item(data, cold_items=0.3)
    found = tasks_of(split)
    assert set(found) == {"all", "warm", "cold"}
    assert not split.train.warm[found["cold"].candidates].any()
    assert split.train.warm[found["warm"].candidates].all()

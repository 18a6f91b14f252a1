"""Every method that can rank the next item also fits and ranks where each query has candidates."""

import numpy as np
import pytest

import warmstart as ws
from warmstart.data.splits.next_item import next_item
from warmstart.evaluation.evaluate import evaluate
from warmstart.testing.worlds.cycle import cycle_world

MODELS = {
    "markov": ws.Markov,
    "item_knn": ws.ItemKNN,
    "sasrec": lambda: ws.SasRec(width=8, epochs=2),
    "gru4rec": lambda: ws.Gru4Rec(width=8, epochs=2),
    "fism": lambda: ws.Fism(width=8, epochs=2),
    "cf_only[bpr]": lambda: ws.CFOnly(backbone={"kind": "bpr", "width": 8, "epochs": 2}),
    "cf_only[ease]": lambda: ws.CFOnly(backbone={"kind": "ease", "l2": 5.0}),
    "popular": ws.Popular,
}


@pytest.mark.parametrize("name", MODELS)
def test_validation_and_test_rank_the_candidates_of_each_query(name):
    split = next_item(cycle_world().split.dataset, candidates="uni4")
    model = MODELS[name]().fit(split.train, valid=split.validation())
    report = evaluate(model, split, metrics=["hit@5"])
    assert report.value("all", "hit@5~uni4") == 1
    task = split.tasks("test")["all"]
    own = model.score(task.queries, task.candidates)
    everything = model.score(task.queries, np.arange(split.dataset.n_items, dtype=np.int32))
    expected = np.take_along_axis(everything, task.candidates, axis=1)
    np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-5)

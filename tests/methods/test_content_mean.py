"""content_mean: what the contract checks do not ask."""

import numpy as np
import pytest

from warmstart.errors import DataError
from warmstart.methods.content_mean import ContentMean
from warmstart.testing.case import Fixtures


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return Fixtures(tmp_path_factory.mktemp("content-mean")).case(ContentMean, {})


def test_the_score_is_the_product_with_the_mean_text_of_the_history(case):
    model, world = case.model, case.world
    user = int(world.active_users[0])
    texts = model.text_vectors
    mean = texts[np.unique(world.data.histories[user])].mean(axis=0)
    ranked = np.isfinite(case.scores[user])
    assert ranked[world.data.warm].all()
    found = case.scores[user][ranked]
    np.testing.assert_allclose(found, (texts @ mean)[ranked], atol=1e-5)


def test_a_history_without_texts_is_that_of_an_unknown_user(case):
    """A list of equal scores would be no recommendation."""
    catalogue = case.model.fitted.catalogue
    silent = catalogue.item_ids.take(np.flatnonzero(~catalogue.has_text)[:1])
    with pytest.raises(DataError, match="without an item that the method knows"):
        case.model.recommend(histories=[silent])
    assert not len(case.model.recommend(histories=[silent], on_unknown="ignore"))

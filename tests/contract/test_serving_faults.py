"""Each check of being served, and of folding in, catches the fault it is meant for."""

import pytest

from tests.contract import planted_serving as planted
from warmstart.methods import METHODS
from warmstart.testing.case import Fixtures
from warmstart.testing.contract import CHECKS, run_contract

FAULTS = [
    (planted.ServesOtherScores, "abilities_serve_the_scores_of_the_library"),
    (planted.ServesOtherWarmScores, "abilities_serve_the_scores_of_the_library"),
    (planted.ServesProductsOnAnotherScale, "abilities_serve_products_that_are_scores"),
    (planted.RestoresOtherRows, "abilities_serve_the_scores_of_the_library"),
    (planted.ServesTextsOnly, "abilities_serve_the_scores_of_the_library"),
    (planted.EncodesIds, "abilities_serve_the_scores_of_the_library"),
    (planted.RowsDependOnBatch, "abilities_serve_an_item_alone_as_among_others"),
    (planted.ClicksCountAgainst, "abilities_serve_clicks_to_similar_users"),
    (planted.AudienceOfOthers, "abilities_serve_likely_users"),
    (planted.IgnoresOtherItems, "abilities_serve_other_items_of_a_history"),
    (planted.FoldsInAgainst, "abilities_fold_in_scores_cold_items"),
    (planted.FoldsInOthers, "abilities_fold_in_scores_cold_items"),
    (planted.FoldsInBeforeChecks, "abilities_fold_in_refuses_warm_items"),
]


SOUND = [planted.ServedParity, planted.ServesProducts, planted.ServesGenres]


@pytest.mark.parametrize("cls", SOUND)
def test_a_sound_method_passes_all(cls, tmp_path):
    run_contract(cls, folder=tmp_path)


@pytest.mark.parametrize(("cls", "check"), FAULTS)
def test_a_planted_fault_is_caught(cls, check, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, cls.name, f"{cls.__module__}:{cls.__qualname__}")
    with pytest.raises(AssertionError):
        CHECKS[check].run(Fixtures(tmp_path).case(cls))

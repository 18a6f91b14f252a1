"""The checks catch what they are there for: methods with one planted fault each."""

import pytest

from tests.contract import planted
from warmstart.methods import METHODS
from warmstart.testing.case import Fixtures
from warmstart.testing.contract import CHECKS, run_contract

FAULTS = [
    (planted.Forgetful, "state_survives_here"),
    (planted.Accumulating, "fit_forgets"),
    (planted.Transposed, "score_has_the_shape"),
    (planted.Wide, "score_has_the_shape"),
    (planted.Infinite, "score_is_finite_or_nan_as_declared"),
    (planted.Unclaimed, "score_is_finite_or_nan_as_declared"),
    (planted.Handed, "score_repeats"),
    (planted.InCompany, "score_one_by_one"),
    (planted.Ordered, "score_permutes"),
    (planted.Backwards, "order_is_right"),
    (planted.Impersonal, "order_of_what_is_not_claimed"),
    (planted.Global, "fit_leaves_the_rest_alone"),
    (planted.GlobalTorch, "fit_leaves_the_rest_alone"),
    (planted.GlobalPython, "fit_leaves_the_rest_alone"),
    (planted.Writing, "fit_leaves_the_rest_alone"),
    (planted.Unseeded, "fit_repeats"),
    (planted.Stale, "fit_shares_a_run_folder"),
    (planted.Remembering, "honesty_about_random_interactions"),
    (planted.ByItemId, "honesty_about_misleading_texts"),
    (planted.Place, "state_names_no_place"),
    (planted.Moving, "abilities_add_leaves_old_scores"),
    (planted.Deaf, "abilities_add_reaches_the_right_users"),
    (planted.Crowding, "abilities_simulate_is_well_formed"),
    (planted.Heavy, "abilities_simulate_is_well_formed"),
    (planted.Observed, "abilities_simulate_is_well_formed"),
    (planted.Unlikely, "abilities_simulate_finds_the_right_users"),
    (planted.Sloppy, "messages_before_fit"),
]


def test_a_sound_method_passes_all(tmp_path):
    run_contract(planted.Neighbours, {"power": 2}, folder=tmp_path)


@pytest.mark.parametrize(("cls", "check"), FAULTS)
def test_a_planted_fault_is_caught(cls, check, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, cls.name, f"{cls.__module__}:{cls.__qualname__}")
    with pytest.raises(AssertionError):
        CHECKS[check].run(Fixtures(tmp_path).case(cls))


def test_all_failures_are_told_at_once(tmp_path):
    with pytest.raises(ExceptionGroup, match="neighbours fails 3 of") as caught:
        run_contract(planted.Backwards, folder=tmp_path)
    notes = [note for error in caught.value.exceptions for note in error.__notes__]
    checks = (
        "fit_with_its_choices",
        "order_is_right",
        "abilities_add_reaches_the_right_users",
    )
    assert notes == [f"in the check {check}" for check in checks]

"""Each contract check catches the fault it is meant for, on methods with one planted fault."""

import pytest

from tests.contract import planted
from tests.contract import planted_conversations as conversations
from tests.contract import planted_questions as questions
from warmstart.methods import METHODS
from warmstart.testing.case import Fixtures
from warmstart.testing.contract import CHECKS, run_contract

FAULTS = [
    (planted.StateNotSaved, "state_round_trip"),
    (planted.FitAccumulates, "fit_forgets_the_previous_fit"),
    (planted.ScoresTransposed, "score_has_shape_and_dtype"),
    (planted.ScoresInFloat64, "score_has_shape_and_dtype"),
    (planted.MinusInfinityForCold, "score_is_finite_or_nan_as_declared"),
    (planted.ColdScoresUndeclared, "score_is_finite_or_nan_as_declared"),
    (planted.ReturnsOwnTable, "score_is_repeatable"),
    (planted.ScoresDependOnBatch, "score_ignores_batch"),
    (planted.PositionAsRow, "score_ignores_order"),
    (planted.RanksBackwards, "order_follows_parity"),
    (planted.DeclaredImpersonal, "order_is_no_better_than_declared"),
    (planted.UsesNumpyRandom, "fit_changes_nothing_else"),
    (planted.UsesTorchRandom, "fit_changes_nothing_else"),
    (planted.UsesPythonRandom, "fit_changes_nothing_else"),
    (planted.ChangesData, "fit_changes_nothing_else"),
    (planted.IgnoresSeed, "fit_is_reproducible"),
    (planted.ReusesForeignStage, "fit_shares_a_run_folder"),
    (planted.ReadsUserIds, "leakage_random_interactions"),
    (planted.ReadsItemIds, "leakage_swapped_texts"),
    (planted.SavesLocalPath, "state_holds_no_local_path"),
    (planted.AddingChangesOldScores, "abilities_add_keeps_old_scores"),
    (planted.IgnoresNewTexts, "abilities_add_reaches_matching_users"),
    (planted.SimulatesUserTwice, "abilities_simulate_is_well_formed"),
    (planted.WeightsAboveOne, "abilities_simulate_is_well_formed"),
    (planted.NoProvenance, "abilities_simulate_is_well_formed"),
    (planted.SimulatesWrongUsers, "abilities_simulate_finds_matching_users"),
    (planted.ScoresBeforeFit, "messages_before_fit"),
    (planted.ScoresColdItemsWithoutText, "score_is_finite_or_nan_as_declared"),
    (planted.ScoresColdItemsWithoutText, "abilities_add_without_text"),
    (planted.GuessesWithoutHistory, "recommend_without_history"),
    (questions.ReadsBackwards, "order_names_the_next_item"),
    (questions.ReadsSets, "order_names_the_next_item"),
    (questions.ReadsBackwards, "order_needs_the_order"),
    (questions.PeeksAtLongerHistories, "order_ignores_later_events"),
    (questions.VotesAgainst, "dialogues_are_followed"),
    (questions.IgnoresWords, "dialogues_decide_by_their_words"),
    (questions.AnswersTheFirstQuery, "dialogues_ignore_the_batch"),
    (conversations.RecognisesAnyOrder, "dialogues_name_their_items"),
    (conversations.RecognisesExactCaseOnly, "dialogues_name_their_items"),
    (conversations.ForgetsTheLastMention, "dialogues_leave_out_what_is_mentioned"),
    (conversations.NeverRepeats, "dialogues_leave_out_what_is_mentioned"),
    (conversations.MixesMentions, "dialogues_are_answered_one_by_one"),
    (conversations.AnswersTheBatch, "dialogues_are_answered_one_by_one"),
    (conversations.AsksForOldItems, "dialogues_reach_new_items"),
    (conversations.PutsNewItemsLast, "dialogues_reach_new_items"),
    (conversations.KnowsOldTitlesOnly, "dialogues_reach_new_items"),
    (conversations.ObeysInstructions, "dialogues_give_no_orders"),
    (conversations.ReadsIdsAsTitles, "dialogues_give_no_orders"),
    (conversations.RemembersInstructions, "dialogues_give_no_orders"),
    (questions.IgnoresControl, "control_gives_the_number_of_genres"),
    (questions.IgnoresControl, "control_refuses_what_is_unknown"),
    (questions.ListsSeenItems, "control_gives_the_number_of_genres"),
    (questions.ListsTheWorst, "control_gives_the_named_genres"),
    (questions.ListsTooManyGenres, "control_gives_the_named_genres"),
    (questions.CalibratesNothing, "control_calibrates"),
    (questions.PredictsDislikes, "labels_are_predicted"),
    (questions.PredictsCertainty, "labels_are_predicted"),
    (questions.ReadsUserAndItemIds, "labels_that_are_random_are_not_predicted"),
    (questions.PeeksAtLaterRatings, "labels_ignore_later_ratings"),
    (questions.PredictsRelativeToTheBatch, "labels_ignore_the_batch"),
    (questions.TakesAnyNumberOfItems, "labels_need_one_item_each"),
]


def test_a_sound_method_passes_all(tmp_path):
    run_contract(planted.Parity, {"power": 2}, folder=tmp_path)


def test_a_sound_conversational_method_passes_all(tmp_path):
    run_contract(conversations.SharedWords, folder=tmp_path)


@pytest.mark.parametrize(("cls", "check"), FAULTS)
def test_a_planted_fault_is_caught(cls, check, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, cls.name, f"{cls.__module__}:{cls.__qualname__}")
    with pytest.raises(AssertionError):
        CHECKS[check].run(Fixtures(tmp_path).case(cls))


def test_all_failures_are_reported_together(tmp_path):
    with pytest.raises(ExceptionGroup, match="parity fails 6 of") as caught:
        run_contract(planted.RanksBackwards, folder=tmp_path)
    notes = [note for error in caught.value.exceptions for note in error.__notes__]
    checks = (
        "fit_with_chosen_settings",
        "order_follows_parity",
        "queries_by_history_follow_the_history",
        "abilities_add_reaches_matching_users",
        "control_gives_the_number_of_genres",
        "control_gives_the_named_genres",
    )
    assert notes == [f"in the check {check}" for check in checks]

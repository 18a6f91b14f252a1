import numpy as np
import pytest
import torch

from tests.collaborative_lm.conftest import CONFIG, TITLES
from warmstart.collaborative_lm.model import PromptHistories
from warmstart.collaborative_lm.tuning import PromptTrainee, training_windows
from warmstart.data.histories import Histories
from warmstart.lm.lora import LoRAConfig, TunableLM

TRAINING = Histories.from_lists([[0, 1, 2, 3, 4, 5, 0], [], [2], [3, 1], [4, 5, 1]])


def test_every_event_but_the_first_is_asked_for_once():
    windows, events, owners = training_windows(TRAINING, 4)
    following = events + 1
    first = set(TRAINING.offsets[:-1][TRAINING.lengths > 0].tolist())
    assert sorted(following.tolist()) == sorted(set(range(len(TRAINING.items))) - first)
    assert windows.lengths.max() == 4
    np.testing.assert_array_equal(windows.items, TRAINING.items[events])
    np.testing.assert_array_equal(TRAINING.queries[events], owners[windows.queries])


def trainee(model, **settings):
    config = CONFIG.model_copy(update={"batch_size": 2, "n_candidates": 3, **settings})
    tunable = TunableLM(model.causal.lm, config.lora, np.random.default_rng(0))
    if config.lora.rank:
        model.causal = type(model.causal)(tunable.tuned())
    windows, events, owners = training_windows(TRAINING, 4)
    states = np.random.default_rng(2).normal(size=(len(TRAINING.items), 6)).astype(np.float32)
    return PromptTrainee(
        model,
        tunable,
        PromptHistories(windows, states[events]),
        TRAINING.items[events + 1].astype(np.int64),
        np.arange(len(TITLES)),
        -model.vectors,
        TRAINING.matrix(len(TITLES))[owners],
        config,
    )


def test_the_loss_of_titles_is_their_likelihood_after_the_question(model):
    """So no token of the prompt is learned: the likelihoods are computed by other code."""
    trained = trainee(
        model, retrieval_weight=0.0, user_token_dropout=0.0, text_vector_rate=0.0, question_rate=1.0
    )
    rows = np.array([0, 1])
    with torch.no_grad():
        loss = float(trained.loss(rows, True, np.random.default_rng(5)))
    rng = np.random.default_rng(5)
    rng.random((len(TITLES), 1))  # which items count as new
    told, targets = trained.told.take(rows), trained._targets(rows)
    last = targets[told.histories.offsets[1:] - 1]
    candidates = trained._candidates(rows, last, rng)
    prompts = model.writer.write(told.histories, list(candidates))
    slots = model.slot_vectors(prompts, np.arange(2), told.states).detach().numpy()
    answers = [[model.writer.answer_of(item)] for item in last.tolist()]
    likely = model.causal.log_likelihoods(prompts.texts, answers, vectors=slots)
    total = sum(float(found[0]) for found in likely)
    assert loss == pytest.approx(-total / sum(len(a[0]) for a in answers), rel=1e-3)


def test_candidates_hold_the_next_item_and_none_of_the_history(model):
    trained = trainee(model)
    rng = np.random.default_rng(0)
    rows = np.arange(2, len(trained.prompts))  # the first two are of a history of all items
    last = trained._targets(rows)[trained.told.take(rows).histories.offsets[1:] - 1]
    for _ in range(10):
        found = trained._candidates(rows, last, rng)
        for row, target, items in zip(rows, last, found, strict=True):
            seen = set(trained.seen[row].indices.tolist())
            assert target in items
            assert set(items.tolist()) & seen == {target}


def test_training_changes_network_and_adapter_and_lowers_the_loss(model):
    trained = trainee(
        model, lora=LoRAConfig(rank=2), question_rate=0.5, learning_rate=0.01, epochs=6
    )
    before = {name: array.copy() for name, array in trained.state().items()}
    base = [weight.clone() for weight in trained.tunable.lm.with_head.parameters()]
    losses = [
        float(np.mean(list(trained.epoch(np.random.default_rng(epoch), epoch))))
        for epoch in range(1, 7)
    ]
    assert losses[-1] < losses[0]
    unchanged = [n for n, array in trained.state().items() if np.array_equal(array, before[n])]
    assert unchanged == []
    for weight, own in zip(trained.tunable.lm.with_head.parameters(), base, strict=True):
        assert torch.equal(weight, own)


def test_an_epoch_takes_as_many_histories_as_it_may(model):
    assert len(list(trainee(model, histories_per_epoch=2).epoch(np.random.default_rng(0), 1))) == 1
    assert len(list(trainee(model, question_rate=0.0).epoch(np.random.default_rng(0), 1))) == 2

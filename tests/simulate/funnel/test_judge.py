"""Both judges, on tiny language models built here."""

import numpy as np
import pytest
import torch

from warmstart.core import FitContext
from warmstart.errors import ConfigError
from warmstart.lm import LMConfig, load_language_model
from warmstart.lm.lora import LoRAConfig
from warmstart.run import Run
from warmstart.simulate.funnel.cross_encoder import CrossEncoder
from warmstart.simulate.funnel.judge import JudgeConfig, auc, tune_judge
from warmstart.simulate.funnel.neighbours import NEIGHBOUR_COUNTS
from warmstart.simulate.funnel.training_pairs import Pairs
from warmstart.simulate.funnel.yes_no import YesNoJudge
from warmstart.testing.tiny_lm import tiny_causal, tiny_encoder

KINDS = ("even", "odd")
WORDS = [*KINDS, "new", "item", "this", "person", "chose", "will", "they", "choose", "the", "too",
         "answer", "yes", "or", "no", ":", ".", "?", ";"]  # fmt: skip
CONFIG = JudgeConfig(
    history_length=3,
    epochs=8,
    batch_size=16,
    learning_rate=1e-2,
    head_learning_rate=1e-2,
    lora=LoRAConfig(rank=8, dropout=0.0),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("lm")
    return {
        CrossEncoder: tiny_encoder(root / "encoder", WORDS),
        YesNoJudge: tiny_causal(root / "causal", WORDS),
    }


@pytest.fixture(params=[CrossEncoder, YesNoJudge])
def judge(request, folders):
    lm = load_language_model(LMConfig(source=str(folders[request.param]), device="cpu"))
    return request.param(lm, CONFIG, np.random.default_rng(0))


def labelled_pairs(n=240, seed=0):
    """Even and odd items with even or odd histories of several lengths; positive if they agree."""
    rng = np.random.default_rng(seed)
    items, users = rng.integers(40, size=n), rng.integers(2, size=n)
    lengths = rng.integers(1, 4, size=n)
    histories = np.where(np.arange(3) < lengths[:, None], users[:, None], -1)
    pairs = Pairs(
        items.astype(np.int32), users.astype(np.int32), histories.astype(np.int32),
        np.zeros((n, 3), np.float32), np.log1p(lengths).astype(np.float32),
        np.zeros((n, len(NEIGHBOUR_COUNTS)), np.float32), KINDS * 20, KINDS,
    )  # fmt: skip
    return pairs, items % 2 == users


def context(folder=None):
    return FitContext(None, None, np.random.default_rng(1), Run(folder))


def test_a_tuned_judge_separates_positives_from_negatives(judge):
    base = {name: weight.clone() for name, weight in judge.lm.body.state_dict().items()}
    held_out, truth = labelled_pairs(seed=9)
    before = auc(judge.log_odds(held_out), truth)
    assert tune_judge(judge, *labelled_pairs(), context()) >= 1
    after = judge.log_odds(held_out)
    assert auc(after, truth) > max(before, 0.95)
    assert (after[truth] > 0).mean() > 0.75, "log-odds of positive pairs must be above zero"
    assert (after[~truth] < 0).mean() > 0.75
    for name, weight in judge.lm.body.state_dict().items():
        torch.testing.assert_close(weight, base[name], rtol=0, atol=0)


def test_the_untuned_start_is_kept_if_tuning_makes_the_judge_worse(folders):
    lm = load_language_model(LMConfig(source=str(folders[CrossEncoder]), device="cpu"))
    judge, start = (CrossEncoder(lm, CONFIG, np.random.default_rng(0)) for _ in range(2))
    pairs, labels = labelled_pairs()
    held_out = np.isin(pairs.items, np.unique(pairs.items)[::10])
    labels[held_out] = ~labels[held_out]  # whatever is learned is wrong there
    start.initialise(pairs.at(np.flatnonzero(~held_out)), labels[~held_out])
    assert tune_judge(judge, pairs, labels, context()) == 0
    for name, array in start.state().items():
        np.testing.assert_array_equal(judge.state()[name], array, err_msg=name)


def test_log_odds_of_a_pair_do_not_depend_on_the_batch(judge):
    pairs, _ = labelled_pairs()
    together = judge.log_odds(pairs)
    for rows in (np.array([5]), np.arange(40)[::-1], np.array([3, 200, 17])):
        np.testing.assert_allclose(
            judge.log_odds(pairs.at(rows)), together[rows], atol=2e-5, rtol=1e-4
        )


def test_state_restores_every_tuned_parameter(judge):
    tune_judge(judge, *labelled_pairs(80), context())
    other = type(judge)(judge.lm, CONFIG, np.random.default_rng(77))
    pairs, _ = labelled_pairs(seed=3)
    assert np.abs(other.log_odds(pairs) - judge.log_odds(pairs)).max() > 1e-3
    other.restore(judge.state())
    np.testing.assert_array_equal(other.log_odds(pairs), judge.log_odds(pairs))


def test_tuning_is_reused_from_the_run_folder_for_the_same_pairs(judge, tmp_path):
    lm = judge.lm
    tune_judge(judge, *labelled_pairs(80), context(tmp_path))
    other = type(judge)(lm, CONFIG, np.random.default_rng(0))
    tune_judge(other, *labelled_pairs(80), context(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
    for name, array in judge.state().items():
        np.testing.assert_array_equal(array, other.state()[name])
    tune_judge(
        type(judge)(lm, CONFIG, np.random.default_rng(0)), *labelled_pairs(81), context(tmp_path)
    )
    assert len(list(tmp_path.iterdir())) == 2


def test_encoding_the_shared_prefix_once_does_not_change_log_odds(folders):
    lm = load_language_model(LMConfig(source=str(folders[YesNoJudge]), device="cpu"))
    judge = YesNoJudge(lm, CONFIG, np.random.default_rng(0))
    prepared = judge.prepare(labelled_pairs(60)[0])
    token_counts = []
    lm_forward = judge.tunable.body.forward

    def counted(*args, **kwargs):
        token_counts.append(kwargs["input_ids"].numel())
        return lm_forward(*args, **kwargs)

    judge.tunable.body.forward = counted
    rows = np.flatnonzero(prepared.items == 0)
    with torch.inference_mode():
        shared = prepared.log_odds(rows)
    with_cache, token_counts[:] = sum(token_counts), []
    with torch.no_grad():
        batch = prepared.texts(rows).batch(np.arange(len(rows)))
        whole = prepared.model.last_states(batch).float() @ judge.direction + judge.bias
    assert with_cache < sum(token_counts)
    np.testing.assert_allclose(shared.numpy(), whole.numpy(), atol=1e-5)


def test_log_odds_are_those_of_yes_and_no_in_the_vocabulary(folders):
    lm = load_language_model(LMConfig(source=str(folders[YesNoJudge]), device="cpu"))
    judge = YesNoJudge(lm, CONFIG, np.random.default_rng(0))
    pairs, _ = labelled_pairs(5)
    prepared = judge.prepare(pairs)
    yes, no = (lm.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    for row, found in enumerate(judge.log_odds(pairs)):
        ids = prepared.texts(np.array([row])).batch(np.zeros(1, int)).ids
        with torch.no_grad():
            log_p = lm.with_head(input_ids=ids).logits[0, -1].log_softmax(0)
        assert found == pytest.approx(float(log_p[yes] - log_p[no]), abs=1e-4)


def test_a_long_history_is_cut_and_the_question_is_kept(folders):
    config = LMConfig(source=str(folders[YesNoJudge]), device="cpu", max_tokens=40)
    judge = YesNoJudge(load_language_model(config), CONFIG, np.random.default_rng(0))
    long = Pairs(
        np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros((1, 3), np.int32),
        np.zeros((1, 3), np.float32), np.zeros(1, np.float32),
        np.zeros((1, len(NEIGHBOUR_COUNTS)), np.float32), ["even " * 90], ["odd " * 90],
    )  # fmt: skip
    prepared = judge.prepare(long)
    assert len(prepared.prefixes[0]) == 13
    assert len(prepared.prefixes[0]) + len(prepared.suffixes[0]) == 40
    assert judge.lm.tokenizer.decode(prepared.suffixes[0]).endswith("answer :")
    assert np.isfinite(judge.log_odds(long)).all()


def test_a_yes_no_judge_on_an_encoder_is_refused(folders):
    lm = load_language_model(LMConfig(source=str(folders[CrossEncoder]), device="cpu"))
    with pytest.raises(ConfigError, match="no vocabulary head"):
        YesNoJudge(lm, CONFIG, np.random.default_rng(0))

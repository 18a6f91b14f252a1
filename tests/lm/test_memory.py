import logging

import numpy as np
import pytest
import torch

from tests.lm.conftest import TEXTS
from warmstart.errors import UnsupportedError
from warmstart.lm import LMConfig, load_language_model, memory
from warmstart.lm.causal import CausalLM
from warmstart.lm.generate import generate
from warmstart.lm.lora import LoRAConfig, TunableLM
from warmstart.lm.memory import reading_plan, tuning_plan
from warmstart.lm.supervised import Examples, SupervisedConfig, SupervisedTuning
from warmstart.lm.texts import TokenBatch, tokenize

ROWS, TOKENS = 8, 48


@pytest.fixture(scope="module")
def model(causal_folder):
    config = LMConfig(source=str(causal_folder), device="cpu", batch_size=ROWS)
    return CausalLM(load_language_model(config))


def batch():
    ids = torch.from_numpy(np.random.default_rng(0).integers(4, 14, (ROWS, TOKENS)))
    return TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool))


def test_keys_and_values_and_weights_are_exact(model):
    plan = reading_plan(model.lm, rows=ROWS, tokens=TOKENS, logits=ROWS, cached=True)
    with torch.inference_mode():
        cache = model._read(batch(), None, use_cache=True).past_key_values
    kept = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    assert plan.cache == sum(tensor.nbytes for tensor in kept)
    assert plan.base_weights == sum(weight.nbytes for weight in model.lm.with_head.parameters())
    assert plan.logits == model.logits(torch.zeros(ROWS, model.lm.width)).nbytes
    assert reading_plan(model.lm, rows=ROWS, tokens=TOKENS).cache == 0


def peak_of(work):
    """Bytes of the tensors that live at the same time during some work, at most."""
    with torch.profiler.profile(profile_memory=True) as profile:
        work()
    events = [
        event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    sizes = np.cumsum([event.nbytes() for event in sorted(events, key=lambda e: e.start_ns())])
    return int(sizes.max())


def test_activations_of_reading_are_within_a_factor_of_two(model):
    texts = batch()

    def read():
        with torch.inference_mode():
            model.hidden(texts)

    read()
    plan = reading_plan(model.lm, rows=ROWS, tokens=TOKENS)
    assert plan.activations / 2 < peak_of(read) < plan.activations * 2


def test_tuning_of_an_adapter(model):
    lora = LoRAConfig(rank=4)
    tunable = TunableLM(model.lm, lora, np.random.default_rng(0))
    plan = tuning_plan(model.lm, lora, rows=ROWS, tokens=TOKENS, learned=20)
    assert plan.adapter == sum(array.nbytes for array in tunable.adapter().values())
    assert plan.gradients == plan.adapter == plan.optimiser / 2
    assert plan.logits == 3 * 20 * model.n_tokens * 4


def test_long_work_says_its_memory_first_and_short_work_does_not(model, caplog):
    short = tokenize(model.lm, TEXTS)
    long = tokenize(model.lm, TEXTS * 3)
    with caplog.at_level(logging.INFO, "warmstart.lm.memory"):
        generate(model, short, max_new_tokens=2)
        assert not caplog.records
        generate(model, long, max_new_tokens=2)
    (record,) = caplog.records
    assert record.getMessage().startswith("memory of writing:\nbase_weights")
    assert record.getMessage().splitlines()[-1].startswith("total")


def test_what_does_not_fit_is_refused_before_it_starts(model, monkeypatch):
    monkeypatch.setattr(memory, "memory_bytes", lambda device: 1000.0)
    prompts = tokenize(model.lm, TEXTS * 3)
    continuations = [[[5, 6]]] * len(prompts)
    for work in (
        lambda: generate(model, prompts, max_new_tokens=2),
        lambda: model.log_likelihoods(prompts, continuations),
        lambda: model.next_token_logits(prompts),
    ):
        with pytest.raises(UnsupportedError, match=r"needs about .* GiB, and cpu has .*; lower"):
            work()
    tunable = TunableLM(model.lm, LoRAConfig(rank=2), np.random.default_rng(0))
    examples = Examples.of_answers(prompts, [[5]] * len(prompts), max_tokens=64)
    with pytest.raises(UnsupportedError, match="supervised tuning needs about"):
        SupervisedTuning(tunable, examples, SupervisedConfig())

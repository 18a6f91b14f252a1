"""Supervised tuning: the loss mask, what is learned, adapters by name over one base."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from warmstart.errors import DataError
from warmstart.lm import LMConfig, load_language_model
from warmstart.lm.causal import CausalLM
from warmstart.lm.lora import LoRAConfig, TunableLM
from warmstart.lm.prompts import Text, tokenize_prompts
from warmstart.lm.supervised import Examples, SupervisedConfig, SupervisedTuning
from warmstart.lm.texts import TokenizedTexts, token_ids
from warmstart.train import Schedule, run_epochs

QUESTIONS = ["even book", "odd book", "even film", "odd film"]
ANSWERS = ["red old", "blue wise", "red old", "blue wise"]
LORA = LoRAConfig(rank=4, dropout=0.0)


@pytest.fixture(scope="module")
def lm(causal_folder):
    return load_language_model(LMConfig(source=str(causal_folder)))


def examples(lm, questions=QUESTIONS, answers=ANSWERS):
    prompts = tokenize_prompts(lm, [[Text(text)] for text in questions])
    return Examples.of_answers(prompts, token_ids(lm, answers, special=False), max_tokens=16)


def tunable(lm, seed=0):
    return TunableLM(lm, LORA, np.random.default_rng(seed))


def tuned(lm, given, seed=0, epochs=30):
    model = tunable(lm, seed)
    config = SupervisedConfig(batch_size=2, learning_rate=0.02)
    run_epochs(
        SupervisedTuning(model, given, config), Schedule(epochs), np.random.default_rng(seed)
    )
    return model


def likeliest(model, text):
    causal = CausalLM(model.tuned())
    prompts = tokenize_prompts(causal.lm, [[Text(text)]])
    token = int(causal.next_token_logits(prompts)[0].argmax())
    return causal.lm.tokenizer.decode([token])


def test_answers_are_learned_and_the_base_is_not_changed(lm):
    before = {name: w.clone() for name, w in lm.with_head.state_dict().items()}
    model = tuned(lm, examples(lm))
    found = [likeliest(model, text) for text in ("odd book", "even film")]
    assert found == ["blue", "red"]
    for name, weight in lm.with_head.state_dict().items():
        assert torch.equal(weight, before[name])


def test_the_loss_is_the_mean_over_learned_tokens_of_all_examples(lm):
    given = examples(lm, ["even", "a tale of the wise old dragon"], ["red", "blue wise odd"])
    trainee = SupervisedTuning(tunable(lm), given, SupervisedConfig())
    total, count = 0.0, 0
    for ids, learned in zip(given.texts.ids, given.learned, strict=True):
        with torch.no_grad():
            logits = lm.with_head(input_ids=torch.from_numpy(ids.astype(int))[None]).logits[0]
        values = -torch.log_softmax(logits, 1)[torch.arange(len(ids) - 1), ids[1:].astype(int)]
        total, count = total + float(values[learned[1:]].sum()), count + int(learned.sum())
    assert count == 4
    assert trainee.loss(np.arange(2)).item() == pytest.approx(total / count, rel=1e-4)
    assert trainee.mean_loss(given) == pytest.approx(total / count, rel=1e-4)


def test_the_masked_part_has_no_gradient_as_target(lm):
    """Gradients reach only the states before learned tokens, not those before prompt tokens."""
    given = examples(lm)
    trainee = SupervisedTuning(tunable(lm), given, SupervisedConfig())
    caught = []
    plain = trainee.model.hidden

    def hidden(batch):
        states = plain(batch)
        states.retain_grad()
        caught.append(states)
        return states

    trainee.model.hidden = hidden
    with torch.no_grad():  # B is 0 at the start, and its gradient needs A only
        for weight in trainee.parameters.values():
            weight.add_(0.01)
    trainee.loss(np.arange(4)).backward()
    gradient = caught[0].grad.abs().sum(dim=2) > 0
    for row in range(4):
        expected = np.append(given.learned[row][1:], False)
        assert gradient[row, : len(expected)].tolist() == expected.tolist()


def test_several_adapters_share_one_base_and_do_not_meet(lm):
    forward = tuned(lm, examples(lm), seed=0)
    backward = tuned(lm, examples(lm, answers=ANSWERS[::-1]), seed=1)
    assert likeliest(forward, "odd book") == "blue"
    assert likeliest(backward, "odd book") == "red"
    assert likeliest(forward, "odd book") == "blue"
    base = lm.with_head.get_input_embeddings().weight
    for model in (forward, backward):
        assert model.tuned().with_head.get_input_embeddings().weight.data_ptr() == base.data_ptr()
        assert model.tuned().with_head.get_output_embeddings().weight.data_ptr() == base.data_ptr()


def test_a_merged_adapter_keeps_the_head_and_its_answers(lm):
    model = tuned(lm, examples(lm))
    merged, prompts = CausalLM(model.merged()), tokenize_prompts(lm, [[Text("odd book")]])
    np.testing.assert_allclose(
        merged.next_token_logits(prompts),
        CausalLM(model.tuned()).next_token_logits(prompts),
        rtol=1e-3,
        atol=1e-4,
    )


FRESH = """
import sys
import numpy as np
from safetensors.numpy import load_file
from tests.lm.test_supervised import LORA, likeliest
from warmstart.lm import LMConfig, load_language_model
from warmstart.lm.lora import TunableLM
lm = load_language_model(LMConfig(source=sys.argv[1]))
model = TunableLM(lm, LORA, np.random.default_rng(7))
for name in sys.argv[2:] * 2:
    model.load_adapter(load_file(name))
    print(likeliest(model, "odd book"))
"""


def test_adapters_are_saved_loaded_and_swapped_in_a_fresh_process(lm, causal_folder, tmp_path):
    files = []
    for number, answers in enumerate([ANSWERS, ANSWERS[::-1]]):
        files.append(str(tmp_path / f"{number}.safetensors"))
        save_file(tuned(lm, examples(lm, answers=answers), seed=number).adapter(), files[-1])
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(causal_folder), *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["blue", "red", "blue", "red"], done.stderr


def test_wrong_examples_are_named(lm):
    prompts = tokenize_prompts(lm, [[Text("red")], [Text("blue")]])
    with pytest.raises(DataError, match="1 answers for 2 prompts"):
        Examples.of_answers(prompts, [[4]], max_tokens=9)
    with pytest.raises(DataError, match="row 1 has a prompt of 2 and an answer of 0 tokens"):
        Examples.of_answers(prompts, [[4], []], max_tokens=9)
    with pytest.raises(DataError, match=r"row 0 .* at most 3 together"):
        Examples.of_answers(prompts, [[4, 5], [4]], max_tokens=3)


def test_a_prompt_alone_is_never_learned(lm):
    given = examples(lm)
    assert isinstance(given.texts, TokenizedTexts)
    assert len(given) == 4
    for learned in given.learned:
        assert learned.sum() == 2
        assert not learned[0]

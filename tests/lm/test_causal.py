"""What a causal LM computes, each against a plain computation with all tokens at once."""

import numpy as np
import pytest
import torch

from warmstart.errors import ConfigError, DataError
from warmstart.lm import LMConfig, load_language_model
from warmstart.lm.causal import CausalLM
from warmstart.lm.prompts import SLOT, Slots, Text, tokenize_prompts
from warmstart.lm.texts import TokenBatch, TokenizedTexts, token_ids

PROMPTS = ["the wise old dragon of", "red", "a blue book of the odd tale"]


@pytest.fixture(scope="module")
def model(causal_folder):
    return CausalLM(load_language_model(LMConfig(source=str(causal_folder), batch_size=2)))


@pytest.fixture(scope="module")
def prompts(model):
    return tokenize_prompts(model.lm, [[Text(text)] for text in PROMPTS])


@pytest.fixture(scope="module")
def continuations(model):
    texts = [
        ["book", "old book of a dragon", "film"],
        ["red red"],
        ["dragon", "even odd", "a", "of"],
    ]
    return [token_ids(model.lm, some, special=False) for some in texts]


def plain(model, prompt, continuation):
    """Log-likelihood by one pass over all tokens of one row."""
    ids = torch.tensor([[*map(int, prompt), *continuation]])
    with torch.no_grad():
        logits = model.lm.with_head(input_ids=ids).logits[0].double()
    values = torch.log_softmax(logits, dim=1)[len(prompt) - 1 : -1]
    return float(values[torch.arange(len(continuation)), torch.tensor(continuation)].sum())


@pytest.mark.parametrize("share_prompts", [True, False])
def test_likelihoods_are_those_of_one_pass_over_each_text(
    model, prompts, continuations, share_prompts
):
    found = model.log_likelihoods(prompts, continuations, share_prompts=share_prompts)
    expected = [
        [plain(model, prompt, some) for some in given]
        for prompt, given in zip(prompts.ids, continuations, strict=True)
    ]
    assert [len(values) for values in found] == [3, 1, 4]
    for values, wanted in zip(found, expected, strict=True):
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-6)


def test_likelihoods_of_many_continuations_come_in_parts(
    model, prompts, continuations, monkeypatch
):
    whole = model.log_likelihoods(prompts, continuations)
    monkeypatch.setattr("warmstart.lm.causal._CACHE_AT_ONCE", 1)
    monkeypatch.setattr("warmstart.lm.causal.LOGITS_AT_ONCE", 1)
    for values, expected in zip(model.log_likelihoods(prompts, continuations), whole, strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_likelihoods_of_all_continuations_sum_to_one(model, prompts):
    words = [[token] for token in range(model.n_tokens)]
    for values in model.log_likelihoods(prompts, [words] * 3):
        assert np.exp(values.astype(float)).sum() == pytest.approx(1, rel=1e-5)


def test_no_continuation_and_no_prompt(model, prompts, continuations):
    found = model.log_likelihoods(prompts, [continuations[0], [], continuations[2]])
    assert [len(values) for values in found] == [3, 0, 4]
    assert model.log_likelihoods(TokenizedTexts((), 0, 0), []) == []


def test_progress_counts_prompts(model, prompts, continuations):
    calls = []
    model.log_likelihoods(prompts, continuations, progress=lambda *call: calls.append(call))
    assert calls == [(2, 3), (3, 3)]


def test_next_token_logits_do_not_depend_on_the_batch(model, prompts):
    found = model.next_token_logits(prompts)
    assert found.shape == (3, model.n_tokens)
    for row, ids in enumerate(prompts.ids):
        with torch.no_grad():
            logits = model.lm.with_head(input_ids=torch.from_numpy(ids.astype(int))[None]).logits
        np.testing.assert_allclose(found[row], logits[0, -1], rtol=1e-4, atol=1e-4)


def test_padding_changes_no_state(model):
    ids = torch.tensor([[5, 6, 7, 0, 0], [5, 6, 7, 8, 9]])
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    with torch.no_grad():
        states = model.hidden(TokenBatch(ids, mask))
        alone = model.hidden(TokenBatch(ids[:1, :3], mask[:1, :3]))
        last = model.last_states(TokenBatch(ids, mask))
    torch.testing.assert_close(states[0, :3], alone[0])
    torch.testing.assert_close(last, torch.stack([states[0, 2], states[1, 4]]))


def test_a_slot_with_the_vector_of_a_word_is_the_word(model, continuations):
    (word,) = token_ids(model.lm, ["dragon"], special=False)
    vector = model.words()[word].detach().numpy()
    pairs = [
        ([Text("the old"), Text("dragon"), Text("of")], [Text("the old"), Slots(1), Text("of")]),
        ([Text("dragon")], [Slots(1)]),
        ([Text("a dragon dragon tale")], [Text("a"), Slots(2), Text("tale")]),
    ]
    spelled = tokenize_prompts(model.lm, [written for written, _ in pairs])
    slotted = tokenize_prompts(model.lm, [slots for _, slots in pairs])
    vectors = np.repeat(vector, 4, axis=0)
    np.testing.assert_allclose(
        model.next_token_logits(slotted, vectors=vectors),
        model.next_token_logits(spelled),
        rtol=1e-4,
        atol=1e-5,
    )
    for share in (True, False):
        found = model.log_likelihoods(slotted, continuations, vectors=vectors, share_prompts=share)
        for values, expected in zip(
            found, model.log_likelihoods(spelled, continuations), strict=True
        ):
            np.testing.assert_allclose(values, expected, rtol=1e-4)


def test_each_prompt_gets_its_own_vectors_in_any_order_of_lengths(model):
    texts = [["red"], ["the", "wise", "old", "dragon"], ["odd", "film"]]
    slotted = [[Slots(len(some)), *([Text("book")] * place)] for place, some in enumerate(texts)]
    spelled = [[*map(Text, some), *([Text("book")] * place)] for place, some in enumerate(texts)]
    flat = [word for some in texts for word in some]
    ids = [one[0] for one in token_ids(model.lm, flat, special=False)]
    vectors = model.words()[torch.tensor(ids)].detach().numpy()
    np.testing.assert_allclose(
        model.next_token_logits(tokenize_prompts(model.lm, slotted), vectors=vectors),
        model.next_token_logits(tokenize_prompts(model.lm, spelled)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_vectors_of_slots_get_gradients(model):
    vectors = torch.randn(2, model.lm.width, requires_grad=True)
    ids = torch.tensor([[5, SLOT, SLOT, 6]])
    batch = TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool))
    model.last_states(batch, vectors).sum().backward()
    assert vectors.grad is not None
    assert (vectors.grad.abs().sum(dim=1) > 0).all()


def test_token_likelihoods_are_those_of_the_whole_vocabulary(model, prompts):
    batch = prompts.batch(np.arange(3))
    with torch.no_grad():
        states = model.last_states(batch)
        found = model.token_log_likelihoods(states, torch.tensor([3, 4, 5]))
        expected = torch.log_softmax(model.logits(states), dim=1)[torch.arange(3), [3, 4, 5]]
    torch.testing.assert_close(found, expected)


def test_wrong_input_is_named(model, prompts, continuations):
    with pytest.raises(DataError, match="2 lists of continuations for 3 prompts"):
        model.log_likelihoods(prompts, continuations[:2])
    with pytest.raises(DataError, match="prompt 1 has 2 tokens and a continuation of 0; allowed"):
        model.log_likelihoods(prompts, [continuations[0], [[4], []], continuations[2]])
    slotted = tokenize_prompts(model.lm, [[Text("red"), Slots(2)]])
    with pytest.raises(DataError, match="0 vectors for 2 slots"):
        model.next_token_logits(slotted)
    with pytest.raises(DataError, match=r"shape \(2, 5\), allowed: \(slots, width\) = \(2, 32\)"):
        model.next_token_logits(slotted, vectors=np.zeros((2, 5), np.float32))


def test_an_encoder_has_no_head(encoder_folder):
    encoder = load_language_model(LMConfig(source=str(encoder_folder)))
    with pytest.raises(ConfigError, match="no vocabulary head"):
        CausalLM(encoder)

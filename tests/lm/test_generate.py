"""Writing: greedy and sampled, free and as lists of titles, on the tiny LM."""

import numpy as np
import pytest
import torch

from warmstart.errors import DataError
from warmstart.lm import LMConfig, load_language_model
from warmstart.lm.causal import CausalLM
from warmstart.lm.generate import SamplingConfig, generate, generate_lists
from warmstart.lm.prompts import Slots, Text, tokenize_prompts
from warmstart.lm.texts import token_ids
from warmstart.lm.trie import Trie

PROMPTS = ["the wise old", "red", "a blue book of the odd tale", "film"]
TITLES = ["red book", "red book film", "odd", "even tale", "red", "old wise dragon", "odd"]
SEPARATOR = "of"


@pytest.fixture(scope="module")
def model(causal_folder):
    return CausalLM(load_language_model(LMConfig(source=str(causal_folder), batch_size=3)))


@pytest.fixture(scope="module")
def prompts(model):
    return tokenize_prompts(model.lm, [[Text(text)] for text in PROMPTS])


@pytest.fixture(scope="module")
def titles(model):
    return token_ids(model.lm, TITLES, special=False)


@pytest.fixture(scope="module")
def separator(model):
    return token_ids(model.lm, [SEPARATOR], special=False)[0][0]


def step_by_step(model, ids, n):
    """Take the likeliest token n times, with a pass over everything for each."""
    ids, end = list(map(int, ids)), model.lm.tokenizer.eos_token_id
    written = []
    for _ in range(n):
        with torch.no_grad():
            logits = model.lm.with_head(input_ids=torch.tensor([ids + written])).logits[0, -1]
        token = int(logits.argmax())
        if token == end:
            break
        written.append(token)
    return written


def test_greedy_text_is_the_likeliest_token_again_and_again(model, prompts):
    found = generate(model, prompts, max_new_tokens=6)
    for ids, new in zip(prompts.ids, found, strict=True):
        assert new.tolist() == step_by_step(model, ids, 6)


def test_slots_are_read_before_writing(model, prompts):
    words = token_ids(model.lm, PROMPTS, special=False)
    slotted = tokenize_prompts(model.lm, [[Slots(len(ids))] for ids in words])
    vectors = model.words()[np.concatenate(words)].detach().numpy()
    expected = generate(model, prompts, max_new_tokens=4)
    found = generate(model, slotted, max_new_tokens=4, vectors=vectors)
    for new, wanted in zip(found, expected, strict=True):
        assert new.tolist() == wanted.tolist()


def test_the_seed_determines_a_sample(model, prompts):
    def sample(seed, **settings):
        sampling = SamplingConfig(**settings)
        new = generate(
            model, prompts, max_new_tokens=8, sampling=sampling, rng=np.random.default_rng(seed)
        )
        return [ids.tolist() for ids in new]

    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert sample(1, temperature=3.0) == sample(1, temperature=3.0) != sample(2, temperature=3.0)
    assert torch.equal(torch.get_rng_state(), state)
    greedy = [ids.tolist() for ids in generate(model, prompts, max_new_tokens=8)]
    assert sample(1, temperature=1e-4) == greedy
    assert sample(1, top_p=1e-6) == greedy


def test_samples_follow_the_distribution(model):
    prompt = tokenize_prompts(model.lm, [[Text("red")]] * 600)
    sampling = SamplingConfig(temperature=4.0)
    new = generate(model, prompt, max_new_tokens=1, sampling=sampling, rng=np.random.default_rng(0))
    end = model.lm.tokenizer.eos_token_id
    drawn = np.array([ids[0] if len(ids) else end for ids in new])
    logits = model.next_token_logits(tokenize_prompts(model.lm, [[Text("red")]]))[0] / 4
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    found = np.bincount(drawn, minlength=model.n_tokens) / 600
    assert np.abs(found - expected).max() < 0.07


@pytest.mark.parametrize("sampled", [False, True])
def test_lists_have_titles_of_the_catalogue_and_none_twice(
    model, prompts, titles, separator, sampled
):
    options = {}
    if sampled:
        options = {"sampling": SamplingConfig(temperature=5.0), "rng": np.random.default_rng(3)}
    found = generate_lists(model, prompts, Trie(titles), length=9, separator=separator, **options)
    assert found.shape == (4, 9)
    for row in found:
        assert sorted(row[:7]) == list(range(7))
        assert row[7:].tolist() == [-1, -1]


def test_a_short_list_ends_with_its_last_title(model, prompts, titles, separator):
    found = generate_lists(model, prompts, Trie(titles), length=2, separator=separator)
    assert (found >= 0).all()
    assert (found[:, 0] != found[:, 1]).all()
    longer = generate_lists(model, prompts, Trie(titles), length=5, separator=separator)
    np.testing.assert_array_equal(longer[:, 0], found[:, 0])


def test_the_first_title_is_the_greedy_walk_of_the_trie(model, prompts, titles, separator):
    """At each node the likeliest token that continues a title, or ends it, is taken."""
    found = generate_lists(model, prompts, Trie(titles), length=3, separator=separator)
    for ids, row in zip(prompts.ids, found, strict=True):
        written = []
        while True:
            open_ = {
                title[len(written)]
                for title in map(tuple, titles)
                if list(title[: len(written)]) == written and len(title) > len(written)
            }
            open_ |= {separator} if list(written) in titles else set()
            with torch.no_grad():
                whole = torch.tensor([[*map(int, ids), *written]])
                logits = model.lm.with_head(input_ids=whole).logits[0, -1]
            token = max(open_, key=lambda one: float(logits[one]))
            if token == separator:
                break
            written.append(token)
        assert titles[row[0]] == written


def test_each_place_has_its_own_items(model, prompts, titles, separator):
    rng = np.random.default_rng(1)
    masks = rng.random((4, 4, 7)) < 0.4
    found = generate_lists(
        model, prompts, Trie(titles), length=4, separator=separator,
        allowed=lambda prompt, listed: masks[prompt, len(listed)],
    )  # fmt: skip
    for prompt, row in enumerate(found):
        had = set()
        for place, item in enumerate(row):
            open_ = set(np.flatnonzero(masks[prompt, place])) - had
            if not open_:
                assert (row[place:] == -1).all()
                break
            assert item in open_
            had.add(item)


def test_wrong_input_is_named(model, prompts, titles, separator):
    with pytest.raises(DataError, match="sampling needs rng"):
        generate(model, prompts, max_new_tokens=1, sampling=SamplingConfig())
    with pytest.raises(DataError, match="sampling needs rng"):
        generate_lists(
            model, prompts, Trie(titles), length=1, separator=separator, sampling=SamplingConfig()
        )
    with pytest.raises(DataError, match=f"a title contains the separator token {titles[2][0]}"):
        generate_lists(model, prompts, Trie(titles), length=1, separator=titles[2][0])


def test_the_head_never_gets_a_slice_of_the_states(model, prompts):
    """With frozen weights torch would copy the vocabulary for each text of the slice."""
    seen = []
    hook = model.head.register_forward_hook(lambda head, inputs, _: seen.extend(inputs))
    generate(model, prompts, max_new_tokens=2)
    hook.remove()
    assert seen
    assert all(states.is_contiguous() for states in seen)

"""Wrong input to the functions of the causal LM is named in one sentence."""

import numpy as np
import pytest

from tests.lm.conftest import TEXTS
from warmstart.errors import ConfigError, DataError
from warmstart.lm import LMConfig, load_language_model
from warmstart.lm.causal import CausalLM
from warmstart.lm.generate import generate, generate_lists
from warmstart.lm.ground import Grounding
from warmstart.lm.lora import LoRAConfig, TunableLM
from warmstart.lm.prompts import Slots, Text, tokenize_prompts
from warmstart.lm.source import resolve
from warmstart.lm.supervised import Examples, SupervisedConfig, SupervisedTuning
from warmstart.lm.texts import TokenizedTexts
from warmstart.lm.trie import Trie

TITLES = [[5, 6], [7], [8, 9]]


@pytest.fixture(scope="module")
def model(causal_folder):
    return CausalLM(load_language_model(LMConfig(source=str(causal_folder), device="cpu")))


@pytest.fixture(scope="module")
def prompts(model):
    return tokenize_prompts(model.lm, [[Text(text)] for text in TEXTS])


def lists(model, prompts, titles=TITLES, **options):
    arguments = {"length": 2, "separator": 4, **options}
    return generate_lists(model, prompts, Trie(titles), **arguments)


@pytest.mark.parametrize("number", [0, -1, None, 1.5, True])
def test_numbers_of_what_is_written_begin_at_one(model, prompts, number):
    with pytest.raises(ConfigError, match=r"max_new_tokens must be a whole number from 1"):
        generate(model, prompts, max_new_tokens=number)
    with pytest.raises(ConfigError, match=r"length must be a whole number from 1"):
        lists(model, prompts, length=number)


def test_tokens_that_cannot_be_written_are_named(model, prompts):
    end, n = model.lm.tokenizer.eos_token_id, model.n_tokens
    for titles, options, message in (
        (TITLES, {"separator": end}, "is the end token"),
        (TITLES, {"separator": n}, rf"separator: got token {n}; allowed: 0 to {n - 1}"),
        (TITLES, {"separator": -1}, "separator: got token -1"),
        ([[5], [n + 3]], {}, rf"titles: got token {n + 3}"),
        ([[5], [6, end]], {}, "a title contains the end token"),
    ):
        with pytest.raises(DataError, match=message):
            lists(model, prompts, titles, **options)
    with pytest.raises(DataError, match="title 1 has a token below 0"):
        Trie([[5], [6, -1]])


@pytest.mark.parametrize(
    "mask", [np.ones(2, bool), np.ones(3), [True], None, np.ones((3, 1), bool)]
)
def test_a_mask_that_is_none_is_named(model, prompts, mask):
    with pytest.raises(DataError, match=r"allowed\(0, \[\]\) returned .*; allowed: bool of"):
        lists(model, tokenize_prompts(model.lm, [[Text("red")]]), allowed=lambda *_: mask)


def test_a_prompt_is_a_list_of_pieces(model):
    for prompts in (["hello"], [["hello"]], [[Text("red"), 3]]):
        with pytest.raises(DataError, match=r"prompt 0: got .*; allowed: a list of Text"):
            tokenize_prompts(model.lm, prompts)
    for piece, message in (
        (lambda: Text("a", cut="middle"), "got cut 'middle'"),
        (lambda: Text("a", max_tokens=-1), "max_tokens must be a whole number from 0"),
        (lambda: Text(5), "got text 5"),
        (lambda: Slots(-1), "number must be a whole number from 0"),
    ):
        with pytest.raises(DataError, match=message):
            piece()


def test_vectors_of_slots_are_finite_numbers(model):
    prompts = tokenize_prompts(model.lm, [[Slots(2), Text("red")]])
    vectors = np.zeros((2, model.lm.width), np.float32)
    expected = model.next_token_logits(prompts, vectors=vectors)
    found = model.next_token_logits(prompts, vectors=vectors.tolist())
    np.testing.assert_array_equal(found, expected)
    vectors[1, 3] = np.nan
    for work in (
        lambda: model.next_token_logits(prompts, vectors=vectors),
        lambda: generate(model, prompts, max_new_tokens=1, vectors=vectors),
        lambda: model.log_likelihoods(prompts, [[[5]]], vectors=vectors),
    ):
        with pytest.raises(DataError, match="vector of slot 1 has numbers that are not finite"):
            work()


def test_continuations_are_tokens_within_the_limit(model, prompts):
    n, rest = model.n_tokens, [[[5]]] * (len(prompts) - 1)
    with pytest.raises(DataError, match=rf"continuation of prompt 0: got token {n}"):
        model.log_likelihoods(prompts, [[[5, n]], *rest])
    with pytest.raises(DataError, match=r"prompt 0 has \d+ tokens and a continuation of 900"):
        model.log_likelihoods(prompts, [[[5] * 900], *rest])


@pytest.mark.parametrize("titles", ["roman roads", [None], [["nested"]]])
def test_grounding_takes_lists_of_texts(encoder_folder, titles):
    from warmstart.lm import TextEncoder

    lm = load_language_model(LMConfig(source=str(encoder_folder), device="cpu"))
    grounding = Grounding(["red book", "odd film"], TextEncoder(lm, use_cache=False))
    with pytest.raises(DataError, match=r"list 0 is .*; allowed: a list of texts"):
        grounding.ground([titles])
    with pytest.raises(DataError, match=r"allowed\(0, \[\]\) returned"):
        grounding.ground([["x"]], allowed=lambda *_: np.ones(3, bool))


def test_tuning_needs_examples_and_settings_in_range(model):
    tunable = TunableLM(model.lm, LoRAConfig(rank=2), np.random.default_rng(0))
    none = Examples(TokenizedTexts((), 0, 0), ())
    with pytest.raises(DataError, match="there are no examples"):
        SupervisedTuning(tunable, none, SupervisedConfig())
    prompts = tokenize_prompts(model.lm, [[Text("red")]])
    examples = Examples.of_answers(prompts, [[5]], max_tokens=9)
    tuning = SupervisedTuning(tunable, examples, SupervisedConfig())
    with pytest.raises(DataError, match="no learned token"):
        tuning.mean_loss(none)
    for settings in ({"batch_size": 0}, {"learning_rate": -1.0}, {"weight_decay": -0.1}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            SupervisedConfig.build(settings)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "names nothing; allowed: a folder, a GGUF file"),
        ("package:", "names nothing"),
        ("  ", "names nothing"),
        ("missing.gguf", "no such file"),
        ("no such folder", "is no folder and no name; allowed"),
    ],
)
def test_a_source_that_is_none_is_named(source, message):
    with pytest.raises(ConfigError, match=message):
        resolve(source)

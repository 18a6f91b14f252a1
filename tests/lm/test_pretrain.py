import numpy as np
import pytest
import torch

from warmstart.errors import ConfigError, DataError
from warmstart.lm import LMConfig, TextEncoder, load_language_model
from warmstart.lm.pretrain import PretrainConfig, next_token_loss, pretrain_causal_lm
from warmstart.lm.source import weights_hash
from warmstart.lm.texts import tokenize

CONFIG = PretrainConfig(
    vocabulary_size=300, width=32, layers=2, heads=2, max_tokens=32, steps=60, batch_size=8,
    learning_rate=0.01,
)  # fmt: skip
TEXTS = [f"the {colour} {thing} of {place}" for colour in ("red", "blue") for thing in
         ("dragon", "castle", "wizard") for place in ("oslo", "rome")]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained") / "lm"
    return pretrain_causal_lm(TEXTS, folder, CONFIG, np.random.default_rng(0))


@pytest.fixture(scope="module")
def pretrained(trained):
    return load_language_model(LMConfig(source=str(trained), device="cpu"))


def text_loss(lm, texts):
    tokens = tokenize(lm, texts)
    batch = tokens.batch(np.arange(len(texts)))
    with torch.no_grad():
        logits = lm.with_head(input_ids=batch.ids, attention_mask=batch.mask.long()).logits
    return next_token_loss(logits, batch.ids, batch.mask).item()


def test_the_folder_loads_as_an_ordinary_causal_lm(pretrained):
    assert (pretrained.spec.kind, pretrained.spec.pooling, pretrained.spec.max_tokens) == (
        "causal",
        "last",
        32,
    )
    vectors = TextEncoder(pretrained).encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_model_has_learned_the_texts(pretrained):
    shuffled = [" ".join(reversed(text.split())) for text in TEXTS]
    assert text_loss(pretrained, TEXTS) < 1 < text_loss(pretrained, shuffled)


def test_the_seed_determines_the_model_and_the_global_state_does_not_change(trained, tmp_path):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    short = CONFIG.model_copy(update={"steps": 3})
    hashes = [
        weights_hash(
            pretrain_causal_lm(TEXTS, tmp_path / str(n), short, np.random.default_rng(seed))
        )
        for n, seed in enumerate([1, 1, 2])
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert torch.equal(before, torch.get_rng_state())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "cache"][:3]


def test_the_log_warns_of_pretraining_and_counts_skipped_texts(tmp_path, caplog):
    short = CONFIG.model_copy(update={"steps": 1})
    pretrain_causal_lm([*TEXTS, "", " "], tmp_path / "lm", short, np.random.default_rng(0))
    assert "no pretrained causal LM was given" in caplog.text
    assert "12 texts (2 empty ones skipped)" in caplog.text


def test_any_text_can_be_encoded(pretrained):
    assert np.isfinite(TextEncoder(pretrained).encode(["日本語 \ud800", "unseen wörds"])).all()


def test_invalid_arguments_are_refused(trained, tmp_path):
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="exists"):
        pretrain_causal_lm(TEXTS, trained, CONFIG, rng)
    with pytest.raises(DataError, match="all 2 texts are empty"):
        pretrain_causal_lm(["", " "], tmp_path / "lm", CONFIG, rng)
    with pytest.raises(ConfigError, match="width must be a multiple of 2 x heads = 6, got 32"):
        pretrain_causal_lm(TEXTS, tmp_path / "lm", CONFIG.model_copy(update={"heads": 3}), rng)
    with pytest.raises(ConfigError, match="vocabulary_size"):
        PretrainConfig.build({"vocabulary_size": 100})


def test_the_loss_counts_attended_tokens_only():
    logits = torch.zeros(2, 4, 5)
    logits[0, 2:, 0] = 100.0  # after the end of the text: must not count
    ids = torch.tensor([[1, 2, 3, 0], [1, 2, 3, 4]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)
    assert next_token_loss(logits, ids, mask).item() == pytest.approx(np.log(5), rel=1e-6)

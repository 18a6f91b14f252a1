import numpy as np
import pytest
import torch

from tests.lm.conftest import TEXTS
from warmstart.errors import ArtefactError, ConfigError
from warmstart.lm import LMConfig, TextEncoder, load_language_model
from warmstart.lm.lora import LoRAConfig, TunableLM, encode_with_adapter
from warmstart.lm.texts import tokenize
from warmstart.train.seed import torch_seed

CONFIG = LoRAConfig(rank=2, alpha=8)


def tunable(lm, config=CONFIG, seed=0):
    return TunableLM(lm, config, np.random.default_rng(seed))


def everything(lm):
    return tokenize(lm, TEXTS).batch(np.arange(len(TEXTS)))


def tuned(lm, steps=3, config=CONFIG):
    """Train an adapter for a few steps to move all texts in one direction."""
    model = tunable(lm, config)
    optimiser = torch.optim.AdamW(model.adapter_parameters().values(), lr=0.05)
    for _ in range(steps):
        loss = -model(everything(lm))[:, 0].sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


def test_before_training_the_adapter_changes_nothing(lm):
    expected = TextEncoder(lm).encode(TEXTS)
    np.testing.assert_allclose(tunable(lm).encode(TEXTS), expected, atol=1e-6)


def test_rank_zero_equals_the_base(lm):
    model = tunable(lm, LoRAConfig(rank=0))
    assert model.adapter() == {}
    assert model.adapter_parameters() == {}
    model.train()
    assert not lm.body.training
    np.testing.assert_array_equal(model.encode(TEXTS), TextEncoder(lm).encode(TEXTS))


def test_training_moves_the_adapter_and_leaves_the_base_bit_for_bit(lm):
    before = {name: weight.clone() for name, weight in lm.with_head.state_dict().items()}
    frozen = TextEncoder(lm, use_cache=False).encode(TEXTS)
    model = tuned(lm)
    assert abs(model.encode(TEXTS) - frozen).max() > 0.01
    assert all(
        torch.equal(weight, before[name]) for name, weight in lm.with_head.state_dict().items()
    )
    np.testing.assert_array_equal(TextEncoder(lm, use_cache=False).encode(TEXTS), frozen)
    assert {name.rpartition(".lora_")[2] for name in model.adapter()} == {"A.weight", "B.weight"}


def test_the_base_weights_are_shared_and_not_copied(lm):
    shared = {weight.data_ptr() for weight in lm.body.parameters()}
    copied = [w for w in tunable(lm).parameters() if w.data_ptr() not in shared]
    assert sum(weight.numel() for weight in copied) == 2 * 2 * 2 * 2 * 32  # layers q/v A/B rank x w


def test_only_the_adapter_requires_a_gradient(lm):
    model = tunable(lm)
    trainable = {id(weight) for weight in model.parameters() if weight.requires_grad}
    assert trainable == {id(weight) for weight in model.adapter_parameters().values()}


def test_merged_equals_unmerged(lm):
    model = tuned(lm)
    before = {name: weight.clone() for name, weight in lm.with_head.state_dict().items()}
    merged = TextEncoder(model.merged(), use_cache=False).encode(TEXTS)
    np.testing.assert_allclose(merged, model.encode(TEXTS), atol=2e-6)
    assert all(
        torch.equal(weight, before[name]) for name, weight in lm.with_head.state_dict().items()
    )
    assert not any("lora" in name for name, _ in model.merged().body.named_parameters())


def test_a_saved_adapter_can_be_loaded(lm):
    model = tuned(lm)
    state = model.adapter()
    assert {array.dtype for array in state.values()} == {np.dtype(np.float32)}
    again = tunable(lm, seed=9)
    again.load_adapter(state)
    np.testing.assert_array_equal(again.encode(TEXTS), model.encode(TEXTS))
    assert again.adapter_hash() == model.adapter_hash()
    np.testing.assert_array_equal(
        encode_with_adapter(lm, CONFIG, state, TEXTS), model.encode(TEXTS)
    )


def test_an_adapter_of_another_shape_is_refused(lm):
    state = tunable(lm).adapter()
    with pytest.raises(ArtefactError, match="rank 3"):
        tunable(lm, LoRAConfig(rank=3)).load_adapter(state)
    with pytest.raises(ArtefactError, match="lora_A"):
        tunable(lm).load_adapter({})


def test_each_adapter_has_its_own_cache(lm):
    first, second = tuned(lm, steps=1), tuned(lm, steps=4)
    vectors = [model.encode(TEXTS, use_cache=True) for model in (first, second)]
    assert abs(vectors[0] - vectors[1]).max() > 1e-3
    assert len({lm.fingerprint, first.tuned().fingerprint, second.tuned().fingerprint}) == 3
    np.testing.assert_array_equal(second.encode(TEXTS, use_cache=True), vectors[1])


def test_the_seed_determines_the_initial_adapter_and_the_global_state_does_not_change(lm):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    hashes = [tunable(lm, seed=seed).adapter_hash() for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert torch.equal(before, torch.get_rng_state())


def test_encoding_during_training_is_without_dropout(lm):
    model = tuned(lm, config=LoRAConfig(rank=2, alpha=8, dropout=0.5))
    model.train()
    np.testing.assert_array_equal(model.encode(TEXTS), model.encode(TEXTS))
    assert model.training
    with torch_seed(np.random.default_rng(0)):
        assert not torch.equal(model(everything(lm)), model(everything(lm)))


def test_gradients_do_not_depend_on_padding(lm):
    model = tunable(lm)
    for weight in model.adapter_parameters().values():
        torch.nn.init.constant_(weight, 0.05)
    weights = list(model.adapter_parameters().values())
    together = torch.autograd.grad(model(everything(lm))[:, :3].sum(), weights)
    tokens = tokenize(lm, TEXTS)
    alone = sum(model(tokens.batch(np.array([row])))[:, :3].sum() for row in range(len(TEXTS)))
    for one, other in zip(together, torch.autograd.grad(alone, weights), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_error_names_unknown_targets(lm):
    with pytest.raises(ConfigError, match=r"\['nonsense'\].*choose from \["):
        tunable(lm, LoRAConfig(targets=("nonsense",)))


def test_other_targets_can_be_chosen(lm):
    target = "dense" if lm.spec.kind == "encoder" else "up_proj"
    model = tunable(lm, LoRAConfig(rank=1, targets=(target,)))
    assert all(f".{target}.lora_" in name for name in model.adapter())


def test_gpt2_with_its_transposed_maps_can_be_tuned(tmp_path):
    import transformers

    from warmstart.lm.build import save_lm, word_tokenizer

    words = word_tokenizer(["even", "odd", "book"], closed=False)
    shape = transformers.GPT2Config(
        vocab_size=words.get_vocab_size(), n_embd=16, n_layer=1, n_head=2, bos_token_id=2,
        eos_token_id=3,
    )  # fmt: skip
    with torch_seed(np.random.default_rng(0)):
        gpt2 = transformers.GPT2LMHeadModel(shape)
    folder = save_lm(tmp_path / "gpt2", gpt2, words, 32)
    lm = load_language_model(LMConfig(source=str(folder), device="cpu"))
    assert lm.spec.kind == "causal"
    model = tuned(lm)
    assert model.targets == ("c_attn",)
    np.testing.assert_allclose(
        TextEncoder(model.merged(), use_cache=False).encode(TEXTS), model.encode(TEXTS), atol=2e-6
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_adapter_is_float32_over_any_base(folder, dtype):
    """Small steps would be lost otherwise."""
    lm = load_language_model(LMConfig(source=str(folder), device="cpu", dtype=dtype))
    model = tuned(lm)
    assert {weight.dtype for weight in model.adapter_parameters().values()} == {torch.float32}
    assert {weight.dtype for weight in lm.with_head.parameters()} == {getattr(torch, dtype)}
    parameters = model.adapter_parameters()
    optimiser = torch.optim.AdamW(parameters.values(), lr=1e-7)
    before = {name: weight.detach().clone() for name, weight in parameters.items()}
    model(everything(lm))[:, 0].sum().backward()
    optimiser.step()
    assert any(not torch.equal(weight, before[name]) for name, weight in parameters.items())
    again = tunable(lm, seed=4)
    again.load_adapter(model.adapter())
    np.testing.assert_array_equal(again.encode(TEXTS), model.encode(TEXTS))
    merged = TextEncoder(model.merged(), use_cache=False).encode(TEXTS)
    assert (merged * model.encode(TEXTS)).sum(axis=1).min() > 0.98


def whole(lm):
    return TunableLM(lm, CONFIG, np.random.default_rng(0), whole=True)


def test_a_whole_model_is_tuned_as_a_copy(lm):
    expected = TextEncoder(lm).encode(TEXTS)
    model = whole(lm)
    np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-6)
    assert set(model.adapter_parameters()) == {name for name, _ in lm.body.named_parameters()}
    optimiser = torch.optim.AdamW(model.adapter_parameters().values(), lr=0.01)
    (-model(everything(lm))[:, 0].sum()).backward()
    optimiser.step()
    assert np.abs(model.encode(TEXTS) - expected).max() > 1e-3
    np.testing.assert_array_equal(TextEncoder(lm).encode(TEXTS), expected)
    assert not any(weight.requires_grad for weight in lm.body.parameters())


def test_a_whole_model_is_loaded_from_its_tensors_and_has_a_name_of_its_own(lm):
    model = whole(lm)
    with torch.no_grad():
        next(iter(model.adapter_parameters().values())).add_(0.3)
    other = whole(lm)
    other.load_adapter(model.adapter())
    np.testing.assert_array_equal(other.encode(TEXTS), model.encode(TEXTS))
    assert other.tuned().fingerprint == model.tuned().fingerprint != lm.fingerprint

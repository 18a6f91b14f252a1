"""Methods that tune a language model do so over weights of any type."""

import pytest

import warmstart as ws
from warmstart.methods import build
from warmstart.run import Run
from warmstart.testing.small_settings import METHOD_SETTINGS
from warmstart.testing.tiny_lm import tiny_causal, tiny_encoder
from warmstart.testing.worlds.checkerboard import checkerboard
from warmstart.testing.worlds.items import WORDS


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["filterllm/lora", "coldllm", "coldllm/causal"])
def test_a_tuned_model_is_fitted_saved_and_resumed(tmp_path, name, dtype):
    world = checkerboard()
    options = {"device": "cpu", "dtype": dtype}
    encoder = ws.load_encoder(
        ws.LMConfig(source=str(tiny_encoder(tmp_path / "e", WORDS)), **options)
    )
    causal = ws.load_causal_lm(
        ws.CausalLMConfig(source=str(tiny_causal(tmp_path / "c", [*WORDS, "Yes", "No"])), **options)
    )

    def fit(run):
        model = build(name.partition("/")[0], METHOD_SETTINGS[name])
        valid = world.split.validation()
        return model.fit(world.split.train, valid=valid, encoder=encoder, lm=causal, run=run)

    model = fit(Run(tmp_path / "run"))
    users = [world.data.user_ids.values[row] for row in world.active_users[:4]]
    lists = model.recommend(users, k=5)
    assert fit(Run(tmp_path / "run")).recommend(users, k=5).equals(lists)
    model.save(tmp_path / "model")
    lm = causal if "causal" in model.needs else None
    again = ws.load_model(tmp_path / "model", encoder=encoder, lm=lm)
    assert again.recommend(users, k=5).equals(lists)
    again.add_items(world.new_items())

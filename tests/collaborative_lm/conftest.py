"""A tiny causal LM with random weights, and a prompt model over six items."""

import numpy as np
import pytest

from warmstart.collaborative_lm.model import PromptHistories, PromptModel
from warmstart.collaborative_lm.network import new_network
from warmstart.collaborative_lm.prompts import PromptWriter
from warmstart.collaborative_lm.tuning import PromptTuningConfig
from warmstart.data.histories import Histories
from warmstart.lm import CausalLMConfig, load_causal_lm
from warmstart.testing.tiny_lm import tiny_causal

TITLES = ("red book", "blue book", "old red tale", "wise dragon", "even film", "odd film of a book")
WORDS = ("red", "blue", "book", "old", "tale", "wise", "dragon", "even", "odd", "film", "of", "a")
CONFIG = PromptTuningConfig(
    introduction="a", question="of", answer="a", title_tokens=4, history_length=4, head_width=8
)
STATE_WIDTH, ITEM_WIDTH = 6, 5


@pytest.fixture(scope="session")
def causal(tmp_path_factory):
    folder = tiny_causal(tmp_path_factory.mktemp("lm") / "causal", (*WORDS, "item", ":"))
    return load_causal_lm(CausalLMConfig(source=str(folder), device="cpu", dtype="float32"))


@pytest.fixture(scope="session")
def writer(causal):
    return PromptWriter(causal.lm, TITLES, CONFIG)


@pytest.fixture
def model(causal, writer):
    rng = np.random.default_rng(0)
    network = new_network(STATE_WIDTH, ITEM_WIDTH, causal.words(), CONFIG, rng)
    vectors = rng.normal(size=(len(TITLES), ITEM_WIDTH)).astype(np.float32)
    states = rng.normal(size=(len(TITLES), causal.lm.width)).astype(np.float32)
    return PromptModel(causal, network, writer, vectors, states, 1.0)


@pytest.fixture
def told():
    histories = Histories.from_lists([[0, 3, 2], [5], [1, 4]])
    states = np.random.default_rng(1).normal(size=(6, STATE_WIDTH)).astype(np.float32)
    return PromptHistories(histories, states)

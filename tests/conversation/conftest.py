import pytest

from warmstart.lm import CausalLMConfig, load_causal_lm
from warmstart.testing.tiny_lm import tiny_causal
from warmstart.testing.worlds.items import WORDS

TEMPLATE = (
    "{% for message in messages %}<turn> {{ message.content }} </turn> {% endfor %}<turn> answer "
)
_SAID = ("user", "system", "like", "want", "wise", "old", "red", "blue", "book", "item")
_MARKS = ("<", ">", "/", "turn", "answer", "asks", "list", "page", "1", ".", ":", "[", "]", "sep")


@pytest.fixture(scope="session")
def causal(tmp_path_factory):
    """A tiny causal LM whose words are those of the toy items."""
    folder = tiny_causal(tmp_path_factory.mktemp("lm") / "causal", [*WORDS, *_SAID, *_MARKS])
    return load_causal_lm(CausalLMConfig(source=str(folder), device="cpu", dtype="float32"))

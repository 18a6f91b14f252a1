import numpy as np

from warmstart.conversation.lm_rows import cached_rows, query_rows
from warmstart.lm.cache import VectorCache
from warmstart.lm.prompts import Text, tokenize_prompts


def test_states_of_the_lm_are_cached_by_content(causal, tmp_path, monkeypatch):
    said = ("wise old", "red", "wise old")
    prompts = tokenize_prompts(causal.lm, [[Text(text)] for text in said])
    cache = VectorCache(tmp_path / "states.sqlite", causal.lm.width)
    expected = query_rows(causal, prompts)
    np.testing.assert_allclose(cached_rows(causal, prompts, cache), expected, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr("warmstart.conversation.lm_rows.query_rows", None)
    again = cached_rows(causal, prompts, cache)
    np.testing.assert_array_equal(again[0], again[2])

"""What a frozen causal LM computes for reindexing: states and lists, as stages that resume.

This is by far the longest part of a fit, and depends only on the LM and the tokens of its prompts;
so states are cached on disk by these, beside the vectors of the text encoder and as long as they.
"""

import hashlib
import logging
from collections.abc import Sequence

import numpy as np
import torch

from warmstart.core import Encoder
from warmstart.data.histories import Histories
from warmstart.lm.best_titles import best_titles
from warmstart.lm.cache import Cache, VectorCache, cache_folder
from warmstart.lm.causal import CausalLM
from warmstart.lm.texts import TokenizedTexts, token_hash
from warmstart.lm.trie import Trie
from warmstart.run import Run, resumable_rows, stage_key

logger = logging.getLogger(__name__)

_STATES_AT_ONCE = 512
_LISTS_AT_ONCE = 64  # a list takes some ten times as long as a state


@torch.inference_mode()
def query_rows(causal: CausalLM, prompts: TokenizedTexts) -> np.ndarray:
    """Compute the state of the last layer at the last token: float32, shape (prompts, width)."""
    causal.check_memory("states", prompts, 0, cached=False)
    rows = np.empty((len(prompts), causal.lm.width), np.float32)
    for chosen, batch, _ in causal.batches(prompts, None):
        rows[chosen] = causal.last_states(batch).float().cpu().numpy()
    return rows


def state_cache(causal: CausalLM, encoder: Encoder) -> Cache | None:
    """Return the cache of an LM's states; None if that of the text encoder is not used."""
    if encoder.cache is None:
        return None
    folder = encoder.folder or cache_folder()
    return VectorCache(folder / "states" / f"{causal.lm.fingerprint[:32]}.sqlite", causal.lm.width)


def cached_rows(causal: CausalLM, prompts: TokenizedTexts, cache: Cache | None) -> np.ndarray:
    """As ``query_rows``; equal prompts are read once, and those in the cache not at all."""
    keys = [hashlib.sha256(ids.astype(np.int32).tobytes()).digest() for ids in prompts.ids]
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    found = {} if cache is None else cache.read(list(first))
    missing = [key for key in first if key not in found]
    for start in range(0, len(missing), _STATES_AT_ONCE):
        block = missing[start : start + _STATES_AT_ONCE]
        rows = query_rows(causal, _taken(prompts, np.array([first[key] for key in block])))
        if cache is not None:
            cache.write(block, rows)
        found |= dict(zip(block, rows, strict=True))
        if len(missing) > _STATES_AT_ONCE:
            logger.info("%d of %d states", start + len(block), len(missing))
    none = np.zeros((0, causal.lm.width), np.float32)
    return np.stack([found[key] for key in keys]) if keys else none


def stage_of_states(
    run: Run, name: str, causal: CausalLM, prompts: TokenizedTexts, cache: Cache | None = None
) -> np.ndarray:
    """Compute ``query_rows`` as a stage of a run: float32, shape (prompts, width).

    Without a cache, the folder of the stage keeps the states.
    """
    key = stage_key(["states", causal.lm.fingerprint, token_hash(prompts.ids)])
    with run.stage(name, None if cache else key, code=__name__) as folder:
        if cache is not None:
            return cached_rows(causal, prompts, cache)
        return resumable_rows(
            lambda some: query_rows(causal, _taken(prompts, some)),
            len(prompts),
            folder,
            at_once=_STATES_AT_ONCE,
        )


def stage_of_lists(
    run: Run,
    name: str,
    causal: CausalLM,
    prompts: TokenizedTexts,
    titles: Sequence[Sequence[int]],
    left_out: Histories,
    *,
    k: int,
    end: int,
    beam: int,
    per_token: bool,
) -> np.ndarray:
    """Find ``best_titles`` as a stage of a run.

    Args:
        run: the run of the fit.
        name: of the stage.
        causal: the language model.
        prompts: the prompts.
        titles: the tokens of each title.
        left_out: items of each prompt that are not listed.
        k: length of a list.
        end: the token after a title.
        beam: beginnings of titles that are kept.
        per_token: whether the mean per token ranks, not the sum.

    Returns:
        Items, best first, int64, shape (prompts, k); -1 where none was left.
    """
    hashes = token_hash(prompts.ids), token_hash(titles), left_out.hash
    key = stage_key(["lists", causal.lm.fingerprint, *hashes, k, end, beam, str(per_token)])
    trie = Trie(titles)

    def computed(some: np.ndarray) -> np.ndarray:
        asked, own = _taken(prompts, some), left_out.take(some)
        return best_titles(
            causal, asked, trie, k=k, end=end, beam=beam, per_token=per_token, left_out=own
        ).items

    with run.stage(name, key, code=__name__) as folder:
        return resumable_rows(computed, len(prompts), folder, at_once=_LISTS_AT_ONCE)


def _taken(prompts: TokenizedTexts, rows: np.ndarray) -> TokenizedTexts:
    return TokenizedTexts(tuple(prompts.ids[row] for row in rows.tolist()), prompts.pad_id, 0)

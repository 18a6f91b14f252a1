"""Tokenise texts and batch them by length, with little padding."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from warmstart.errors import DataError
from warmstart.lm.load import LanguageModel

_POOL = 50  # batches whose texts are sorted by length together


class TokenBatch(NamedTuple):
    """Token ids padded on the right to the longest text of the batch.

    Attributes:
        ids: int64, shape (batch, tokens).
        mask: bool, shape (batch, tokens); False on padding.
    """

    ids: Tensor
    mask: Tensor


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of many texts, in the order of the texts.

    Attributes:
        ids: one int32 array per text, never empty.
        pad_id: token id of padding.
        n_cut: number of texts that were cut to the limit.
    """

    ids: tuple[np.ndarray, ...]
    pad_id: int
    n_cut: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text: int64, shape (texts,)."""
        return np.fromiter((len(ids) for ids in self.ids), np.int64, len(self.ids))

    def batch(self, rows: np.ndarray, device: torch.device | str = "cpu") -> TokenBatch:
        """Pad the texts at ``rows`` to one batch on ``device``."""
        chosen = [self.ids[row] for row in rows]
        longest = max(len(ids) for ids in chosen)
        ids = np.full((len(chosen), longest), self.pad_id, np.int64)
        mask = np.zeros((len(chosen), longest), bool)
        for position, tokens in enumerate(chosen):
            ids[position, : len(tokens)] = tokens
            mask[position, : len(tokens)] = True
        return TokenBatch(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))

    def sorted_batches(self, batch_size: int) -> Iterator[np.ndarray]:
        """Yield every row once in batches, longest texts first: memory peaks at the first batch."""
        order = np.argsort(-self.lengths, kind="stable")
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]

    def shuffled_batches(
        self, rows: np.ndarray, batch_size: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Yield one epoch over ``rows`` in random batches of texts of similar length.

        Rows are shuffled, split into pools of several batches and sorted by length within a pool;
        then the batches are shuffled. Every row occurs once, and batches differ between epochs.
        """
        shuffled = rng.permutation(rows)
        lengths = self.lengths
        batches = []
        for start in range(0, len(shuffled), _POOL * batch_size):
            pool = shuffled[start : start + _POOL * batch_size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
        for position in rng.permutation(len(batches)):
            yield batches[position]


def tokenize(lm: LanguageModel, texts: Sequence[str]) -> TokenizedTexts:
    """Put each text into the LM's prompt and tokenise it with special tokens.

    A text over the limit is cut at its end; the rest of the prompt after it is kept. An empty text
    has at least one token.

    Raises:
        DataError: an entry is not a string.
    """
    check_texts(texts)
    clean = [_clean(text) for text in texts]
    with lm.lock:
        ids = _ids(lm, clean)
        too_long = [row for row, tokens in enumerate(ids) if len(tokens) > lm.spec.max_tokens]
        cut = _ids(lm, _shortened(lm, [clean[row] for row in too_long]), lm.spec.max_tokens)
    for row, tokens in zip(too_long, cut, strict=True):
        ids[row] = tokens
    fallback = [_first_token(lm)]
    return TokenizedTexts(
        tuple(np.asarray(tokens or fallback, np.int32) for tokens in ids), lm.pad_id, len(too_long)
    )


def token_ids(
    lm: LanguageModel, texts: Sequence[str], *, special: bool, plain: bool = False
) -> list[list[int]]:
    """Tokenise pieces of a prompt, without cutting them and without the LM's prompt template.

    Args:
        lm: the model whose tokenizer is used.
        texts: the pieces.
        special: whether to add the special tokens that open (and close) a text to each piece.
        plain: read the names of special tokens, such as <|im_end|>, as any other words. For what
            users and catalogues write, which must not end a text or a turn.
    """
    check_texts(texts)
    if not texts:
        return []
    with lm.lock:
        return lm.tokenizer(
            [_clean(text) for text in texts],
            add_special_tokens=special,
            split_special_tokens=plain,
            verbose=False,
            return_attention_mask=False,
        )["input_ids"]


def token_hash(ids: Sequence[Sequence[int] | np.ndarray]) -> str:
    """Compute sha256 of lists of token ids."""
    digest = hashlib.sha256()
    for tokens in ids:
        array = np.asarray(tokens, np.int32)
        digest.update(f"{len(array)} ".encode() + array.tobytes())
    return digest.hexdigest()


def check_texts(texts: Sequence[str]) -> None:
    """Refuse a bare string and entries that are not strings.

    Raises:
        DataError: names the row, the value and its type.
    """
    if isinstance(texts, str):
        raise DataError("texts must be a list of strings, got one string; put it into a list")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"text {row} must be a string, got {text!r} ({type(text).__name__}); "
                "use '' for an item without text"
            )


def _clean(text: str) -> str:
    """Replace lone surrogates (broken escapes in scraped JSON) by "?": UTF-8 cannot encode them."""
    return text.encode("utf-8", "replace").decode()


def _ids(lm: LanguageModel, texts: list[str], limit: int | None = None) -> list[list[int]]:
    if not texts:
        return []
    prompts = [lm.spec.prompt.replace("{text}", text) for text in texts]
    cut = {} if limit is None else {"truncation": True, "max_length": limit}
    return lm.tokenizer(
        prompts,
        split_special_tokens=lm.spec.prompt == "{text}",  # a template may have marks, a text not
        verbose=False,
        return_attention_mask=False,
        **cut,
    )["input_ids"]


def _shortened(lm: LanguageModel, texts: list[str]) -> list[str]:
    """Cut the texts so that the whole prompt fits, if the prompt continues after the text."""
    if not texts or lm.spec.prompt.endswith("{text}"):
        return texts  # the tokenizer's truncation is enough
    # Reserve one token per seam: text and prompt may tokenise differently when joined.
    room = max(lm.spec.max_tokens - len(_ids(lm, [""])[0]) - 2, 1)
    spans = lm.tokenizer(
        texts,
        add_special_tokens=False,
        truncation=True,
        max_length=room,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )["offset_mapping"]
    return [text[: span[-1][1]] for text, span in zip(texts, spans, strict=True)]


def _first_token(lm: LanguageModel) -> int:
    for token in (lm.tokenizer.bos_token_id, lm.tokenizer.eos_token_id):
        if isinstance(token, int):
            return token
    return lm.pad_id

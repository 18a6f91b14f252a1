"""Prompts of a causal LM: pieces of text with their own rules of cutting, and slots for vectors.

A slot ("soft token") is a place whose input vector is not that of a word but is given, such as the
projected vector of an item. In token ids it stands as ``SLOT``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from warmstart.arguments import whole_number
from warmstart.errors import DataError, shortened
from warmstart.lm.load import LanguageModel
from warmstart.lm.texts import TokenizedTexts, token_ids

SLOT = -1


@dataclass(frozen=True)
class Text:
    """A piece of text.

    Attributes:
        text: the text.
        cut: which tokens go if the prompt is too long: "start" the first ones of the piece, "end"
            the last ones; None keeps all.
        max_tokens: the piece is cut to this length in any case, at ``cut`` or, if that is None, at
            its end.
        plain: read the names of special tokens, such as <|im_end|>, as any other words. For what
            users and catalogues write, which must not end a text or a turn.
    """

    text: str
    cut: Literal["start", "end"] | None = None
    max_tokens: int | None = None
    plain: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise DataError(f"Text: got text {self.text!r}; allowed: a string")
        if self.cut not in (None, "start", "end"):
            raise DataError(f"Text: got cut {self.cut!r}; allowed: 'start', 'end' or None")
        if self.max_tokens is not None:
            whole_number("Text", "max_tokens", self.max_tokens, low=0, error=DataError)


@dataclass(frozen=True)
class Slots:
    """A run of slots for vectors.

    Attributes:
        number: number of slots.
    """

    number: int = 1

    def __post_init__(self) -> None:
        whole_number("Slots", "number", self.number, low=0, error=DataError)


Piece: TypeAlias = Text | Slots


def tokenize_prompts(
    lm: LanguageModel, prompts: Sequence[Sequence[Piece]], *, limit: int | None = None
) -> TokenizedTexts:
    """Tokenise prompts; each piece is tokenised by itself.

    A prompt that is too long loses tokens of its pieces with a rule ``cut``, of the first such
    piece first. The special tokens that open a text stand before the first piece.

    Args:
        lm: the model whose tokenizer is used.
        prompts: the pieces of each prompt.
        limit: maximum number of tokens of a prompt; None takes the model's ``max_tokens``.

    Returns:
        The token ids, ``SLOT`` at slots; ``n_cut`` counts the prompts that were cut.

    Raises:
        DataError: a prompt is no sequence of pieces, has no tokens, or its uncut pieces alone
            exceed the limit; names the prompt.
    """
    for number, prompt in enumerate(prompts):
        for piece in [prompt] if isinstance(prompt, str) else prompt:
            if not isinstance(piece, Text | Slots):
                raise DataError(
                    f"prompt {number}: got {shortened(piece)}; allowed: a list of Text and Slots"
                )
    limit = lm.spec.max_tokens if limit is None else limit
    tokens = {plain: _tokens(lm, prompts, plain) for plain in (False, True)}
    opening = opening_ids(lm)
    rows, n_cut = [], 0
    for number, prompt in enumerate(prompts):
        parts = [
            [SLOT] * piece.number if isinstance(piece, Slots) else next(tokens[piece.plain])
            for piece in prompt
        ]
        whole = sum(map(len, parts))
        parts = [_shortest(part, piece) for part, piece in zip(parts, prompt, strict=True)]
        excess = len(opening) + sum(map(len, parts)) - limit
        for place, piece in enumerate(prompt):
            if excess > 0 and isinstance(piece, Text) and piece.cut is not None:
                kept = max(len(parts[place]) - excess, 0)
                excess -= len(parts[place]) - kept
                parts[place] = _cut(parts[place], kept, piece.cut)
        if excess > 0:
            raise DataError(
                f"prompt {number} has {limit + excess} tokens that must not be cut; allowed: "
                f"{limit} (max_tokens of the LM)"
            )
        n_cut += sum(map(len, parts)) < whole
        row = [*opening, *(token for part in parts for token in part)]
        if not row:
            raise DataError(f"prompt {number} has no tokens")
        rows.append(np.asarray(row, np.int32))
    return TokenizedTexts(tuple(rows), lm.pad_id, n_cut)


def chat(lm: LanguageModel, message: str, *, system: str | None = None) -> str:
    """Put a message into the chat template of an LM, up to where its answer begins.

    An LM without a template gets the plain texts, one below the other.
    """
    if not getattr(lm.tokenizer, "chat_template", None):
        return "\n\n".join(filter(None, (system, message))) + "\n\n"
    turns = [{"role": "system", "content": system}] if system is not None else []
    turns.append({"role": "user", "content": message})
    with lm.lock:
        found = lm.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert isinstance(found, str)
    return found


def opening_ids(lm: LanguageModel) -> list[int]:
    """The special tokens that open a text; none for most causal LMs."""
    (bare,), (marked,) = (token_ids(lm, ["a"], special=special) for special in (False, True))
    return marked[: marked.index(bare[0])] if bare and bare[0] in marked else []


def _tokens(
    lm: LanguageModel, prompts: Sequence[Sequence[Piece]], plain: bool
) -> Iterator[list[int]]:
    """The tokens of the texts that are read plainly, or of those that are not, in order."""
    pieces = (piece for prompt in prompts for piece in prompt if isinstance(piece, Text))
    texts = [piece.text for piece in pieces if piece.plain == plain]
    return iter(token_ids(lm, texts, special=False, plain=plain))


def _shortest(part: list[int], piece: Piece) -> list[int]:
    if isinstance(piece, Slots) or piece.max_tokens is None:
        return part
    return _cut(part, min(len(part), piece.max_tokens), piece.cut or "end")


def _cut(part: list[int], kept: int, side: Literal["start", "end"]) -> list[int]:
    return part[len(part) - kept :] if side == "start" else part[:kept]

"""Prompts after which a causal LM would write the titles of the items that fit a dialogue.

    introduction                    all of this in the chat template of the LM, if it has one
    dialogue                        cut at its start, so that the newest turns stay
    question
    1.                              the first words of the answer

The state at the last token is the one that would emit the first token of the first title, so it is
the LM's query for an item. The public code of RTA lets the LM write an answer and cuts it after
"1."; an LM that answers in another form has then another query. The page of an item, its text, is
put in the same way, as a query for its own title.

What users and catalogues write is tokenised without special tokens, so that ``<|im_end|>`` in a
message ends no turn.
"""

from collections.abc import Sequence

from pydantic import Field

from warmstart.config import Config
from warmstart.errors import ConfigError
from warmstart.lm.load import LanguageModel
from warmstart.lm.prompts import Piece, Text, chat, tokenize_prompts
from warmstart.lm.texts import TokenizedTexts, token_ids

_PLACE = "[here stands what is asked about]"
_UNNAMED = "item"  # of an item with neither title nor text


class PromptConfig(Config):
    """Words of the prompts.

    Attributes:
        introduction: words before a dialogue.
        question: words after a dialogue.
        page_introduction: words before the text of an item, in training.
        page_question: words after it.
        list_start: the first words of the answer, before a title.
        max_tokens: a prompt is cut to this number of tokens, a dialogue at its start, a text at its
            end.
        title_tokens: a title is cut to this number of tokens.
    """

    introduction: str = "This is a conversation about what a user would like."
    question: str = "List the titles of items that fit this conversation, without other words."
    page_introduction: str = "This is the description of an item."
    page_question: str = "List the titles of items that fit this description, without other words."
    list_start: str = "1."
    max_tokens: int = Field(default=512, ge=1)
    title_tokens: int = Field(default=24, ge=1)


class DialoguePrompts:
    """Writes prompts, and titles as they would follow, in the tokens of a language model.

    Args:
        lm: the language model.
        config: the words.

    Raises:
        ConfigError: the LM reads no more tokens than a title may have.
    """

    def __init__(self, lm: LanguageModel, config: PromptConfig) -> None:
        self.lm, self.config = lm, config
        self._limit = min(config.max_tokens, lm.spec.max_tokens - config.title_tokens - 1)
        if self._limit < 1:
            raise ConfigError(
                f"title_tokens is {config.title_tokens}, but the LM reads {lm.spec.max_tokens} "
                "tokens (max_tokens) of a prompt and a title together; lower title_tokens"
            )

    def of_dialogues(self, texts: Sequence[str]) -> TokenizedTexts:
        """Write the prompt of each dialogue.

        Raises:
            DataError: a text is not a string, or the words of the prompt alone are too long.
        """
        words = self.config.introduction, self.config.question
        return self._prompts([Text(text, "start", plain=True) for text in texts], *words)

    def of_pages(self, texts: Sequence[str]) -> TokenizedTexts:
        """Write the prompt of each item's text; errors as of ``of_dialogues``."""
        words = self.config.page_introduction, self.config.page_question
        return self._prompts([Text(text, "end", plain=True) for text in texts], *words)

    def titles(self, titles: Sequence[str]) -> list[list[int]]:
        """Tokens of titles as they follow a prompt, without the ``end``; none is empty."""
        words = [" " + " ".join(title.split()) for title in titles]
        found = token_ids(self.lm, words, special=False, plain=True)
        unnamed = token_ids(self.lm, [" " + _UNNAMED], special=False)[0] or [self.lm.pad_id]
        return [(ids or unnamed)[: self.config.title_tokens] for ids in found]

    @property
    def end(self) -> int:
        """The token after a title: a line break, or the end of the text where that is no token."""
        line = token_ids(self.lm, ["\n"], special=False)[0]
        if len(line) == 1:
            return line[0]
        end = self.lm.tokenizer.eos_token_id
        return end if isinstance(end, int) else self.lm.pad_id

    def _prompts(self, asked: Sequence[Text], introduction: str, question: str) -> TokenizedTexts:
        message = "\n\n".join(filter(None, (introduction, _PLACE, question)))
        before, _, after = chat(self.lm, message).partition(_PLACE)
        rest = Text(after + self.config.list_start)
        prompts: list[list[Piece]] = [[Text(before), piece, rest] for piece in asked]
        return tokenize_prompts(self.lm, prompts, limit=self._limit)

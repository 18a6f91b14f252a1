"""A small method that can be asked in words: texts are compared by the encoder of the items."""

from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import pytest

import warmstart as ws
from warmstart.conversation.query_texts import newest_turns
from warmstart.conversation.title_mentions import TitleMentions
from warmstart.methods import METHODS
from warmstart.methods.content_mean import ContentMean
from warmstart.servable import QueryStates, ServesConversations


class TalkMean(ContentMean, ServesConversations):
    """The mean of the text of the conversation and of the texts of its items.

    ``hook`` is called with the texts before they are read: tests wait in it, or fail.
    """

    name = "talk_mean"
    hook: Callable | None = None

    def _find_mentions(self, texts):
        return TitleMentions(self.fitted.catalogue.names).find(texts)

    def conversation_states(self, texts, histories):
        if TalkMean.hook is not None:
            TalkMean.hook(texts, histories)
        said = self._texts.encode([newest_turns(text) for text in texts])
        states = (said + np.nan_to_num(histories.mean(self._texts.rows))).astype(np.float32)
        return QueryStates(len(texts), ((states, None),))


@contextmanager
def known_method():
    """``talk_mean`` can be loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, TalkMean.name, f"{TalkMean.__module__}:{TalkMean.__qualname__}")
        yield


def fit_and_save(data, lm_folder, folder):
    """Fit it, and save it in a folder."""
    lm = ws.load_encoder(ws.LMConfig(source=str(lm_folder)), use_cache=False)
    return TalkMean().fit(data, encoder=lm).save(folder)


def say(*texts, **options):
    """The body of a request: messages of the user and of the system in turn."""
    speakers = ("user", "system") * len(texts)
    messages = [{"speaker": who, "text": text} for who, text in zip(speakers, texts, strict=False)]
    return {"messages": messages, **options}

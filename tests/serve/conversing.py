"""A small method that can be asked in words: texts are compared by the encoder of the items."""

from collections.abc import Callable

import numpy as np

from warmstart.abilities import Converses
from warmstart.conversation.query_texts import newest_turns
from warmstart.conversation.title_mentions import TitleMentions
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


assert issubclass(TalkMean, Converses)

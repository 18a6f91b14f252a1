"""Lists for conversations: the language model runs in a thread of its own, within limits.

    messages ──▶ items that they name ──▶ conversation_states (the LM) ──▶ the index, as any list

Lists for users and histories never wait for it.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import ceil

from warmstart.abilities import Simulates
from warmstart.data.histories import Histories
from warmstart.errors import UnsupportedError
from warmstart.methods import METHODS, method
from warmstart.servable import QueryStates, Servable, ServesConversations
from warmstart.serve.engine import metrics
from warmstart.serve.engine.deployment import Deployment
from warmstart.serve.engine.lists import Hit, ListRequest, NoListError
from warmstart.serve.engine.service import Service


class ConversationsBusyError(Exception):
    """Too many conversations are waiting, or the language model does not finish one.

    Args:
        reason: which of them.
        retry_after: seconds after which another attempt may succeed.
    """

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = max(1, ceil(retry_after))


class ConversationLateError(ConversationsBusyError):
    """A conversation was not answered in time; it was given up."""


@dataclass(frozen=True)
class ConversationAnswer:
    """The answer to a conversation.

    Attributes:
        deployment: the model that made it, with its index.
        mentioned: names of the items that the messages mention, in order of their first mention.
        hits: the list.
    """

    deployment: Deployment
    mentioned: tuple[str, ...]
    hits: list[Hit]


class Conversations:
    """Answers the conversations of one event loop, one after the other.

    Args:
        service: service whose model is asked; its settings have the limits.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._thread = ThreadPoolExecutor(1, "conversations")
        self._waiting, self._seconds = 0, 1.0
        self._began: float | None = None  # when the one that the model reads began

    async def answer(self, text: str, request: ListRequest) -> ConversationAnswer:
        """Make a list for a conversation.

        Args:
            text: its turns, as ``data.dialogues.dialogue_text`` writes them.
            request: the list; its ``history`` has further items of the user, who is unknown. These
                and the mentioned items are not in the list.

        Raises:
            ConversationsBusyError: too many are waiting, or the model is stuck.
            ConversationLateError: it took longer than ``max_lm_seconds``.
            UnknownUserError: the model makes nothing of it.
            ControlError: no list is as the control asks.
            UnsupportedError: the model cannot be asked in words.
        """
        self._check_room()
        limit, loop = self._service.settings.max_lm_seconds, asyncio.get_running_loop()
        self._count(1)
        outcome = "failed"
        try:
            work = loop.run_in_executor(self._thread, self._answer, text, request)
            done, _ = await asyncio.wait([work], timeout=limit)
            if not done:
                work.cancel()
                outcome = "late"
                reason = f"the language model did not answer within {limit:g} seconds"
                raise ConversationLateError(reason, limit)
            answer = work.result()
            outcome = "answered"
            return answer
        finally:
            self._count(-1)
            metrics.CONVERSATIONS.labels(outcome).inc()

    def close(self) -> None:
        """Forget what is waiting, and shut down the thread without waiting for it."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _check_room(self) -> None:
        settings, began = self._service.settings, self._began
        if began is not None and time.monotonic() > began + settings.max_lm_seconds:
            reason = "the language model is still busy with a conversation that was given up"
        elif self._waiting > settings.max_conversations:
            reason = f"{self._waiting - 1} conversations are waiting already"
        else:
            return
        metrics.CONVERSATIONS.labels("busy").inc()
        raise ConversationsBusyError(reason, self._waiting * self._seconds)

    def _count(self, number: int) -> None:
        self._waiting += number
        metrics.CONVERSATIONS_WAITING.set(max(self._waiting - 1, 0))

    # -- in the thread --

    def _answer(self, text: str, request: ListRequest) -> ConversationAnswer:
        self._began = started = time.monotonic()
        try:
            return self._list(text, request)
        finally:
            self._began, seconds = None, time.monotonic() - started
            self._seconds = 0.8 * self._seconds + 0.2 * seconds
            metrics.CONVERSATION_SECONDS.observe(seconds)

    def _list(self, text: str, request: ListRequest) -> ConversationAnswer:
        deployment = self._service.deployment
        model, index = conversing(deployment.model), deployment.index
        mentioned = tuple(index.mentioned(text))

        def states(histories: Histories) -> QueryStates:
            with deployment.encode_lock:  # a language model is used by one thread at a time
                return model.conversation_states([text], histories)

        request = replace(request, history=(*(request.history or ()), *mentioned))
        hits = index.recommend_by(states, request)
        if isinstance(hits, NoListError):
            raise hits
        return ConversationAnswer(deployment, mentioned, hits)


def conversing(model: Servable) -> ServesConversations:
    """Return the model if it can be asked in words.

    Raises:
        UnsupportedError: it cannot; the message says what it can, and which methods could.
    """
    if isinstance(model, ServesConversations):
        return model
    able = sorted(name for name in METHODS if issubclass(method(name), ServesConversations))
    raise UnsupportedError(
        f"{model.name} cannot be asked in words: it lacks the ability ServesConversations; it has "
        f"{', '.join(model_abilities(model)) or 'none'}; methods that could: "
        f"{', '.join(able) or 'none'}"
    )


def model_abilities(model: Servable) -> list[str]:
    """What a served model can beside lists: "converse", "similar" and "simulate"."""
    abilities = {
        "converse": isinstance(model, ServesConversations),
        "similar": model.text_vectors is not None,
        "simulate": isinstance(model, Simulates),
    }
    return [name for name, has in abilities.items() if has]

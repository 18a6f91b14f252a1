"""The route of conversations: a list for what was said so far."""

from typing import Any

from fastapi import APIRouter, Request

from warmstart.data.dialogues import dialogue_text
from warmstart.serve.api.access import GuardedRoute, MayRecommend, TheService
from warmstart.serve.api.list_options import check_k, list_options, uncontrolled
from warmstart.serve.api.problems import Problem, error_responses
from warmstart.serve.api.schemas import ConversationList, Converse
from warmstart.serve.api.shown import Shown, recommended
from warmstart.serve.api.threads import TheThreads
from warmstart.serve.engine.conversations import Conversations, conversing
from warmstart.serve.engine.lists import ControlError, ListRequest, UnknownUserError

routes = APIRouter(route_class=GuardedRoute)

_MAX_BODY_BYTES = 2**20


@routes.post(
    "/converse",
    responses=error_responses(400, 404, 408, 413, 415, 422, 503, 504),
    tags=["recommend"],
    max_body_size=_MAX_BODY_BYTES,
)
async def converse(
    body: Converse, request: Request, service: TheService, threads: TheThreads, _: MayRecommend
) -> ConversationList:
    """Recommend the best items for a conversation; a language model reads the messages.

    For models with the ability "converse" (`GET /v1/model`). The messages change the ranking and
    nothing else.
    """
    conversing(service.deployment.model)
    check_k(service, body)
    length, limit = sum(len(one.text) for one in body.messages), service.settings.max_text_chars
    if length > limit:
        allowed = f"all messages together may have at most {limit} characters"
        raise Problem(422, allowed, pointer="#/messages", seen=f"{length} characters")
    options = await threads.index.run(lambda: list_options(service, body))
    conversations: Conversations = request.app.state.conversations
    try:
        answer = await conversations.answer(_text(body), ListRequest(**options))
    except ControlError as error:
        raise uncontrolled(body, error) from error
    except UnknownUserError:
        reason = "the model makes nothing of these messages: name an item, or give a history"
        raise Problem(404, reason, pointer="#/messages", seen="no list") from None
    index, shown = answer.deployment.index, Shown(service, body.with_columns)
    mentioned = [
        shown.item({"item": name, "title": index.title(index.slot(name)), "columns": None})
        for name in answer.mentioned
    ]
    content: dict[str, Any] = {
        "mentioned": mentioned,
        "items": [recommended(hit, shown) for hit in answer.hits],
        "model": {"method": answer.deployment.model.name, "hash": answer.deployment.model_hash},
    }
    return ConversationList(**content)


def _text(body: Converse) -> str:
    return dialogue_text([(one.speaker, one.text) for one in body.messages])

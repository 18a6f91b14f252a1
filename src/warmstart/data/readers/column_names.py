"""Names of the columns that warmstart reads, and their names in other software."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

_OTHER_NAMES: Mapping[str, Sequence[str]] = {
    meant: others.split()
    for meant, others in {
        "user": "userid uid customer customerid visitorid reviewerid member",
        "item": "itemid iid id product productid movieid articleid newsid sku asin parentasin",
        "rating": "label score stars value rate overall preference",
        "timestamp": "time ts date datetime eventtime createdat unixtime unixreviewtime reviewtime",
        "position": "order rank step index sessionposition",
        "title": "name itemname productname producttitle headline movietitle",
        "text": "description desc abstract summary body content overview plot",
        "genres": "genre",
        "categories": "category cat cats",
        "tags": "tag keywords keyword labels",
        "dialogue": "dialogueid dialogid dialog conversation conversationid id",
        "turns": "turn messages utterances",
        "part": "split",
        "speaker": "role sender author",
        "items": "item mentions mentioned entities recommended",
    }.items()
}


def suggested_names(unread: Iterable[str], wanted: Sequence[str]) -> dict[str, str]:
    """Map columns that are not read to the name in ``wanted`` that was probably meant, if any."""
    found = {}
    for name in unread:
        plain = _plain(name)
        for meant in wanted:
            if plain == meant or plain in _OTHER_NAMES.get(meant, ()):
                found[name] = meant
                break
        else:
            close = get_close_matches(plain, wanted, n=1, cutoff=0.8)
            if close:
                found[name] = close[0]
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())

"""ONE table of awkward values and what each of them means, whatever it comes in by.

``cell`` is the form of the value as text (csv, RecBole, a URL, an option). It is None where text
has no form for the value: an empty cell is no value, but ``True`` in a csv file is no boolean.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

Kind = Literal["id", "text", "list", "number", "time", "released"]


@dataclass(frozen=True)
class Refused:
    """The value is refused; the message contains these words."""

    words: str = "allowed"


@dataclass(frozen=True)
class Awkward:
    """A value, its form as text, and its meaning: a plain value, None (missing) or ``Refused``."""

    kind: Kind
    value: Any
    cell: str | None
    meaning: Any

    @property
    def name(self) -> str:
        is_set = isinstance(self.value, set | frozenset)  # its order is another in each process
        return f"{self.kind} {sorted(self.value) if is_set else self.value!r}"[:80]


NOON = 1717158600  # 2024-05-31T12:30:00Z
DAY = 1717113600  # 2024-05-31
KEY = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
INVISIBLE = ("\x85", "\x9b", "\u00ad", "\u200b", "\u200e", "\u202e", "\u2060", "\u2068", "\ufeff")
MISSING_WORDS = ("nan", "NaN", "null", "NULL", "None", "NaT", "<NA>", r"\N", "#N/A", "N/A", "NA")
LETTERS = list("abcdefghij")  # as a set, in another order in almost every process
NOTHING = (None, float("nan"), np.float32("nan"), pd.NA, pd.NaT)


def nested(levels: int) -> list[Any]:
    """A value within lists."""
    return ["a"] if levels == 1 else [nested(levels - 1)]


TABLE = [
    # -- ids --
    Awkward("id", "a", "a", "a"),
    Awkward("id", 12, "12", 12),
    Awkward("id", 12.0, "12.0", 12),
    Awkward("id", np.float32(12), "12.0", 12),
    Awkward("id", np.int64(12), "12", 12),
    Awkward("id", np.str_("a"), "a", "a"),
    Awkward("id", Decimal("12"), "12", 12),
    Awkward("id", Decimal("12.0"), "12.0", 12),
    Awkward("id", -3, "-3", -3),
    Awkward("id", 2**63 - 1, str(2**63 - 1), 2**63 - 1),
    Awkward("id", 2**63, None, Refused()),
    Awkward("id", "0012", "0012", "0012"),
    Awkward("id", "1e3", "1e3", "1e3"),
    Awkward("id", " a ", " a ", "a"),
    Awkward("id", "a\t", "a\t", "a"),
    Awkward("id", "\u00a0a", "\u00a0a", "a"),
    Awkward("id", "a b", "a b", "a b"),
    Awkward("id", "a/ü?#%&+é", "a/ü?#%&+é", "a/ü?#%&+é"),
    Awkward("id", 'say "a"', 'say "a"', 'say "a"'),
    Awkward("id", "a\nb", "a\nb", Refused("is a quote before it not closed")),
    Awkward("id", "a\r\nb", "a\r\nb", Refused("is a quote before it not closed")),
    Awkward("id", "a\0b", None, Refused()),
    *(Awkward("id", f"a{mark}b", f"a{mark}b", Refused("invisible")) for mark in INVISIBLE),
    Awkward("id", "म\u200cक", "म\u200cक", "म\u200cक"),
    Awkward("id", "👩\u200d🚀", "👩\u200d🚀", "👩\u200d🚀"),
    Awkward("id", "", "", Refused()),
    Awkward("id", "  ", "  ", Refused()),
    *(Awkward("id", value, "", Refused()) for value in NOTHING),
    *(Awkward("id", word, word, Refused("stands for a missing value")) for word in MISSING_WORDS),
    Awkward("id", True, None, Refused()),
    Awkward("id", 1.5, None, Refused()),
    Awkward("id", float("inf"), None, Refused()),
    Awkward("id", float(2**60), None, Refused()),
    Awkward("id", float(2**53), None, Refused()),
    Awkward("id", ["a"], None, Refused()),
    Awkward("id", {"a": 1}, None, Refused()),
    Awkward("id", date(2024, 5, 31), None, Refused()),
    Awkward("id", datetime(2024, 5, 31), None, Refused()),
    Awkward("id", np.datetime64("2024-05-31", "ns"), None, Refused()),
    Awkward("id", pd.Period("2024-05", "M"), None, Refused()),
    Awkward("id", {"a"}, None, Refused()),
    Awkward("id", 2**70, None, Refused("64 bits")),
    Awkward("id", UUID(KEY), KEY, KEY),
    Awkward("id", b"a", None, "a"),
    Awkward("id", b"\xff", None, Refused("UTF-8")),
    Awkward("id", "\ud800", None, Refused()),
    # -- texts --
    Awkward("text", "Oak", "Oak", "Oak"),
    Awkward("text", "", "", None),
    Awkward("text", " \t ", " \t ", None),
    *(Awkward("text", value, "", None) for value in NOTHING),
    *(Awkward("text", word, word, None) for word in MISSING_WORDS),
    Awkward("text", "  Oak\t and\nelm ", "  Oak\t and\nelm ", "Oak and elm"),
    Awkward("text", 'An 12" "oak"', 'An 12" "oak"', 'An 12" "oak"'),
    Awkward("text", "a,b;c|d", "a,b;c|d", "a,b;c|d"),
    Awkward("text", "日本 <b>é</b> 🙂", "日本 <b>é</b> 🙂", "日本 <b>é</b> 🙂"),
    Awkward("text", "0012", "0012", "0012"),
    Awkward("text", 1984, "1984", "1984"),
    Awkward("text", 1984.0, "1984.0", "1984"),
    Awkward("text", np.float64(1984), "1984.0", "1984"),
    Awkward("text", "2.0", None, "2.0"),
    Awkward("text", "Web 2.0", "Web 2.0", "Web 2.0"),
    Awkward("text", "2.00", "2.00", "2.00"),
    Awkward("text", 4.5, "4.5", "4.5"),
    Awkward("text", Decimal("4.50"), "4.50", "4.50"),
    Awkward("text", True, "true", "true"),
    Awkward("text", np.bool_(False), "false", "false"),
    Awkward("text", date(2024, 5, 31), "2024-05-31", "2024-05-31"),
    Awkward("text", np.datetime64("2024-05-31T12:30", "ns"), None, "2024-05-31 12:30:00"),
    Awkward("text", pd.Period("2024-05", "M"), None, "2024-05"),
    Awkward("text", UUID(KEY), KEY, KEY),
    Awkward("text", set(LETTERS), None, ", ".join(LETTERS)),
    Awkward(
        "text", {"a": b"caf\xc3\xa9", "b": [1.5, None]}, None, '{"a": "café", "b": [1.5, null]}'
    ),
    Awkward("text", {"a": "\ud83d"}, None, Refused("unpaired surrogates")),
    Awkward("text", {"\ud83d": "a"}, None, Refused("unpaired surrogates")),
    Awkward("text", ["a", "b"], None, "a, b"),
    Awkward("text", ("a", None, "b"), None, "a, b"),
    Awkward("text", [], None, None),
    Awkward("text", b"caf\xc3\xa9", None, "café"),
    Awkward("text", b"\xff", None, Refused("UTF-8")),
    Awkward("text", "half \ud83d", None, Refused("unpaired surrogates")),
    # -- lists of values --
    Awkward("list", ["a", "b"], "['a', 'b']", "a, b"),
    Awkward("list", ("a", "b"), '["a", "b"]', "a, b"),
    Awkward("list", np.array(["a", "b"]), "['a' 'b']", "a, b"),
    Awkward("list", ["it's", "b"], "[\"it's\", 'b']", "it's, b"),
    Awkward("list", [1, 2], "[1, 2]", "1, 2"),
    Awkward("list", set(LETTERS), None, ", ".join(LETTERS)),
    Awkward("list", frozenset(LETTERS), None, ", ".join(LETTERS)),
    Awkward("list", [b"caf\xc3\xa9", "b"], None, "café, b"),
    Awkward("list", [b"\xff"], None, Refused("UTF-8")),
    Awkward("list", ["a", "half \ud83d"], None, Refused("unpaired surrogates")),
    Awkward("list", ["2.0", "3.0"], None, "2.0, 3.0"),
    Awkward("list", [[["a"], "b"]], None, "a, b"),
    Awkward("list", nested(30), None, Refused("at most 20 levels")),
    Awkward("list", [1.0, None, float("nan")], "[1.0]", "1"),
    Awkward("list", [None, "a", "nan", ""], "[None, 'a', 'nan', '']", "a"),
    Awkward("list", [], "[]", None),
    Awkward("list", "a|b", "a|b", "a, b"),
    Awkward("list", "a", "a", "a"),
    Awkward("list", "a, b", "a, b", "a, b"),
    *(Awkward("list", value, "", None) for value in NOTHING),
    Awkward("list", "nan", "nan", None),
    # -- numbers: 2 is below the threshold of 3, 4 is not, a missing one is no rating --
    *(Awkward("number", value, str(value), 2) for value in (2, 2.0, "2", " 2 ", "2e0")),
    Awkward("number", np.int8(2), "2", 2),
    Awkward("number", np.float16(2), "2.0", 2),
    Awkward("number", Decimal("2.0"), "2.0", 2),
    Awkward("number", "+4", "+4", 4),
    Awkward("number", False, "False", 0),
    Awkward("number", np.bool_(True), "true", 1),
    *(Awkward("number", value, "", None) for value in ("", " ", *NOTHING)),
    *(Awkward("number", word, word, None) for word in MISSING_WORDS),
    Awkward("number", "4,5", "4,5", Refused("a finite number")),
    Awkward("number", "good", "good", Refused("a finite number")),
    Awkward("number", "50 %", "50 %", Refused("a finite number")),
    Awkward("number", float("inf"), "inf", Refused("a finite number")),
    Awkward("number", float("-inf"), "-inf", Refused("a finite number")),
    Awkward("number", Decimal("1e50"), "1e50", 10**50),
    Awkward("number", {4}, None, Refused("a finite number")),
    Awkward("number", [4], None, Refused("a finite number")),
    Awkward("number", date(2024, 5, 31), "2024-05-31", Refused("a finite number")),
    # -- times --
    *(Awkward("time", value, str(value), NOON) for value in (NOON, float(NOON), str(NOON))),
    Awkward("time", "2024-05-31T12:30:00Z", "2024-05-31T12:30:00Z", NOON),
    Awkward("time", "2024-05-31 12:30:00", "2024-05-31 12:30:00", NOON),
    Awkward("time", " 2024-05-31 12:30", " 2024-05-31 12:30", NOON),
    Awkward("time", "2024-05-31T12:30:00.999+00:00", "2024-05-31T12:30:00.999+00:00", NOON),
    Awkward("time", "2024-05-31T14:30:00+02:00", "2024-05-31T14:30:00+02:00", NOON),
    Awkward("time", "2024-05-31 14:30:00 +0200", "2024-05-31 14:30:00 +0200", NOON),
    Awkward("time", "2024-05-31T07:30-05", "2024-05-31T07:30-05", NOON),
    Awkward("time", "2024-05-31", "2024-05-31", DAY),
    Awkward("time", "2024-05", "2024-05", DAY - 30 * 86400),
    Awkward("time", date(2024, 5, 31), "2024-05-31", DAY),
    Awkward("time", datetime(2024, 5, 31, 12, 30), "2024-05-31 12:30:00", NOON),
    Awkward("time", datetime(2024, 5, 31, 12, 30, tzinfo=UTC), "2024-05-31 12:30:00+00:00", NOON),
    Awkward(
        "time",
        datetime(2024, 5, 31, 14, 30, tzinfo=ZoneInfo("Europe/Berlin")),
        "2024-05-31 14:30:00+02:00",
        NOON,
    ),
    Awkward(
        "time",
        datetime(2024, 5, 31, 7, 30, tzinfo=timezone(timedelta(hours=-5))),
        "2024-05-31 07:30:00-05:00",
        NOON,
    ),
    Awkward("time", pd.Timestamp("2024-05-31 12:30"), "2024-05-31 12:30:00", NOON),
    Awkward("time", np.datetime64("2024-05-31T12:30:00"), "2024-05-31T12:30:00", NOON),
    Awkward("time", np.datetime64("2024-05-31T12:30", "ns"), "2024-05-31T12:30:00", NOON),
    Awkward("time", pd.Period("2024-05-31", "D"), "2024-05-31", DAY),
    Awkward("time", np.datetime64(2**50, "s"), None, Refused("of the years 1 to 9999")),
    *(Awkward("time", value, str(value), 1704067200) for value in (2024, 2024.0, "2024")),
    *(Awkward("time", value, str(value), DAY) for value in (20240531, "20240531")),
    Awkward("time", -1, "-1", -1),
    *(Awkward("time", value, "", Refused()) for value in ("", *NOTHING)),
    *(Awkward("time", word, word, Refused()) for word in ("nan", "NULL")),
    *(
        Awkward("time", NOON * factor, str(NOON * factor), Refused(f"not {unit}: divide"))
        for unit, factor in (("milliseconds", 10**3), ("nanoseconds", 10**9))
    ),
    Awkward("time", "05/31/2024", "05/31/2024", Refused("ISO 8601")),
    Awkward("time", "2024-02-30", "2024-02-30", Refused("ISO 8601")),
    Awkward("time", 20241331, "20241331", Refused("ISO 8601")),
    Awkward("time", "soon", "soon", Refused("ISO 8601")),
    Awkward("time", float("inf"), "inf", Refused("ISO 8601")),
    Awkward("time", True, "True", Refused("ISO 8601")),
    Awkward("time", time(12, 30), "12:30:00", Refused("ISO 8601")),
    Awkward("time", [NOON], None, Refused("ISO 8601")),
    # -- release dates: as times, and a missing one is allowed --
    Awkward("released", 1999, "1999", 915148800),
    Awkward("released", 1999.0, "1999.0", 915148800),
    Awkward("released", "1999-07", "1999-07", 930787200),
    Awkward("released", date(2024, 5, 31), "2024-05-31", DAY),
    *(Awkward("released", value, "", None) for value in ("", *NOTHING)),
    *(Awkward("released", word, word, None) for word in MISSING_WORDS),
    Awkward("released", "soon", "soon", Refused("ISO 8601")),
]

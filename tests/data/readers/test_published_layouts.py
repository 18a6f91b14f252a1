"""ReDial's dialogues, iEvaLM's requests, DLCRec's windows, CoLLM's samples: small and published."""

import gzip
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from warmstart.data.dataset import Dataset
from warmstart.data.readers.collm import read_collm
from warmstart.data.readers.dlcrec import HISTORY, read_windows
from warmstart.data.readers.files import read_dataset
from warmstart.data.readers.redial_requests import read_redial_requests
from warmstart.data.readers.table_files import read_table
from warmstart.errors import DataError


def lines(records) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def new_targets(data: Dataset) -> dict[str | None, int]:
    """Items of system turns that were not mentioned before, by part."""
    talks, found = data.dialogues, {}
    assert talks is not None
    for row, part in enumerate(talks.parts):
        mentioned: set[int] = set()
        for turn in range(talks.offsets[row], talks.offsets[row + 1]):
            items = talks.items[turn].tolist()
            if talks.speakers[turn] == 1:
                found[part] = found.get(part, 0) + len(set(items) - mentioned)
            mentioned |= set(items)
    return found


# -- ReDial's own layout --

REDIAL = {
    "conversationId": "17",
    "respondentWorkerId": 5,
    "initiatorWorkerId": 9,
    "movieMentions": {"101": "Heat  (1995)", "102": "Alien (1979)"},
    "messages": [
        {"text": "Seen @101?", "senderWorkerId": 5, "messageId": 1},
        {"text": "yes, @101 and @102 at @7", "senderWorkerId": 9, "messageId": 2},
    ],
    "split": "valid",
}
MOVIES = 'item,title\n100,"Up (2009)"\n101,"Heat (1995)"\n102,"Alien (1979)"\n'


@pytest.mark.parametrize("read", [read_dataset, read_windows, read_collm, read_redial_requests])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_that_does_not_exist_is_named(tmp_path, read, kind):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read(kind(tmp_path / "nowhere"))


def test_messages_become_turns(write):
    other = {**REDIAL, "conversationId": "18", "movieMentions": [], "messages": []}
    folder = write(items__csv=MOVIES, dialogues__jsonl=lines([REDIAL, other]))
    data = read_dataset(folder)
    talks = data.dialogues
    assert talks is not None
    assert (talks.ids, talks.parts) == (("17", "18"), ("valid", "valid"))
    assert talks.speakers.tolist() == [1, 0]
    assert talks.texts == ("Seen Heat (1995)?", "yes, Heat (1995) and Alien (1979) at @7")
    assert data.catalogue.item_ids.values == [100, 101, 102]
    assert [talks.items[turn].tolist() for turn in range(2)] == [[1], [1, 2]]
    assert data.user_ids.values == ["17", "18"]
    assert data.unread_columns == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"messages": "hello"},
            "row 1, column 'messages': got 'hello'; allowed: a list of messages",
        ),
        ({"messages": ["hello"]}, "row 1, turn 1: got 'hello'; allowed: a turn"),
        ({"messages": [{"text": "x"}]}, "row 1, turn 1, 'speaker': got None"),
        ({"split": "dev"}, "row 1, column 'part': got 'dev'; allowed: train, valid, test"),
    ],
)
def test_wrong_messages_are_named(write, changes, message):
    folder = write(items__csv=MOVIES, dialogues__jsonl=lines([{**REDIAL, **changes}]))
    with pytest.raises(DataError, match=r"dialogues\.jsonl: " + message):
        read_dataset(folder)


# -- iEvaLM's requests --

TITLES = 'item,title\n9,"Up (2009)"\n7,"Heat (1995)"\n8,"Heat (1995)"\n6,"Alien (1979)"\n'
FIRST = {
    "dialog_id": "17",
    "turn_id": 2,
    "context": ["", "Hello!", "I like Up (2009) and dogs"],
    "entity": ["dog", "Up (2009)", "Heat (1995)"],
    "rec": ["Alien (1979)"],
    "resp": "Seen Alien (1979)?",
}
NEXT = {
    "dialog_id": "17",
    "turn_id": 4,
    "context": [*FIRST["context"], FIRST["resp"], "no", "So do.", "ok"],
    "entity": [*FIRST["entity"], "Alien (1979)"],
    "rec": ["Heat (1995)", "Alien (1979)"],
    "resp": "Heat (1995), then",
}


def test_requests_of_a_dialogue_are_put_together(write):
    folder = write(items__csv=TITLES, ievalm_valid__jsonl=lines([FIRST, NEXT]))
    data = read_dataset(folder)
    talks = data.dialogues
    assert talks is not None
    assert (talks.ids, talks.parts) == (("17",), ("valid",))
    texts = ("Hello!", FIRST["context"][2], FIRST["resp"], "no", "So do.", "ok", NEXT["resp"])
    assert talks.texts == texts
    assert talks.speakers.tolist() == [1, 0, 1, 0, 1, 0, 1]
    # Nothing recommends Up, so it is no item; Heat is the first of the two.
    assert data.catalogue.item_ids.values == [7, 6]
    assert [talks.items[turn].tolist() for turn in range(7)] == [[], [0], [1], [], [], [], [0, 1]]
    assert new_targets(data) == {"valid": 1}
    assert data.user_ids.values == ["17"]
    assert data.hash == read_redial_requests(folder).hash


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"context": ["a", "b"]},
            r"row 2, column 'context': .*; allowed: texts of the user and the",
        ),
        ({"context": ["a"]}, "row 2, column 'context': .* a context that starts with the earlier"),
        ({"context": [1]}, r"row 2, column 'context': got \[1\]; allowed: a list of texts"),
        ({"rec": "Up"}, "row 2, column 'rec': got 'Up'; allowed: a list of texts"),
        ({"resp": None}, "row 2, column 'resp': got None; allowed: a text"),
        ({"dialog_id": None}, "row 2, column 'dialog_id': got None"),
        (
            {"rec": ["Ran"]},
            r"items\.csv: 1 recommended title\(s\) are missing, the first: \['Ran'\]",
        ),
    ],
)
def test_wrong_requests_are_named(write, changes, message):
    rows = lines([FIRST, {**NEXT, **changes}])
    folder = write(items__csv=TITLES, ievalm_test__jsonl__gz=gzip.compress(rows.encode()))
    with pytest.raises(DataError, match=message):
        read_redial_requests(folder)


def test_requests_need_items(write):
    folder = write(ievalm_test__jsonl=lines([FIRST]))
    with pytest.raises(DataError, match=r"needed: ievalm_\{train,valid,test\}\.jsonl\[\.gz\], and"):
        read_redial_requests(folder)


# -- DLCRec's windows --

FILMS = [*(f"Film {n}" for n in range(20)), "Amélie (2001)"]
CATALOGUE = "item,title,genres\n" + "".join(
    f"{n + 100},{title},Drama|War\n" for n, title in enumerate([*FILMS, FILMS[0]])
)


def window(part: str, titles: list[str]) -> dict:
    events = [{"title": title, "genre": "Drama"} for title in titles]
    return {"split": part, "history": events[:10], "future": events[10:]}


WINDOWS = [
    window("train", FILMS[:20]),
    window("test", FILMS[19::-1]),
    window("train", [*FILMS[:19], "AmÃ©lie (2001)"]),
]


def test_windows_are_users_of_their_own(write):
    folder = write(catalogue__csv=CATALOGUE, windows__jsonl=lines(WINDOWS))
    data, parts = read_windows(folder)
    assert data.user_ids.values == ["test-0001", "train-0001", "train-0002"]
    assert {part: rows.tolist() for part, rows in parts.items()} == {
        "train": [1, 2],
        "valid": [],
        "test": [0],
    }
    assert parts["train"].dtype == np.int32
    ids = [data.catalogue.item_ids.take(data.histories[row]) for row in range(3)]
    assert ids == [
        list(range(119, 99, -1)),
        list(range(100, 120)),
        [*range(100, 119), 120],
    ]
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [*range(20)] * 3
    assert data.clock == "position"
    assert data.catalogue.attribute_names == ("genres",)
    assert read_dataset(folder).hash == data.hash


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            window("dev", FILMS[:20]),
            "row 1, column 'split': got 'dev'; allowed: train, valid, test",
        ),
        (
            window("test", FILMS[:19]),
            "row 1, column 'future': .*; allowed: 10 mappings with a title",
        ),
        (
            window("test", [*FILMS[:19], "Ran"]),
            r"'future': .*allowed: titles that .*catalogue\.csv",
        ),
        (window("test", [*FILMS[:19], "Film 0"]), "'future': .*titles that the window has not h"),
        (
            {"split": "test", "history": ["Film 1"] * 10, "future": []},
            "column 'history': .*10 mapp",
        ),
        ({"split": "test", "history": []}, "column 'history': .*10 mappings"),
    ],
)
def test_wrong_windows_are_named(write, made, message):
    folder = write(catalogue__csv=CATALOGUE, windows__jsonl=lines([made]))
    with pytest.raises(DataError, match=message):
        read_windows(folder)


def test_windows_need_a_catalogue(write):
    with pytest.raises(DataError, match=r"windows of DLCRec are windows\.jsonl\[\.gz\] and catal"):
        read_windows(write(windows__jsonl=lines(WINDOWS)))


# -- CoLLM's samples --

SAMPLES = "split,user,item,label,timestamp\n" + "".join(
    row + "\n"
    for row in ("train,2,a,1,5", "train,1,c,0,7", "train,1,b,1,7", "test,1,a,1,9", "valid,2,b,0,6")
)


def test_samples_are_ratings_with_parts(write):
    data, parts = read_collm(write(samples__csv=SAMPLES, items__csv="item,title\na,A\nb,B\nc,C\n"))
    ratings = data.ratings
    assert ratings is not None
    assert data.catalogue.item_ids.take(ratings.items) == ["c", "b", "a", "a", "b"]
    assert ratings.values.tolist() == [0, 1, 1, 1, 0]
    assert parts == ("train", "train", "test", "train", "valid")
    assert (data.positive_rating, data.counts["ratings_below_positive"]) == (1, 2)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("dev,1,a,1,5", "row 6, column 'split': got 'dev'; allowed: train, valid, test"),
        (",1,a,1,5", "row 6, column 'split': got None; allowed: train, valid, test"),
        ("test,1,a,,5", "row 6, column 'label': got None; allowed: a finite number"),
    ],
)
def test_wrong_samples_are_named(write, row, message):
    with pytest.raises(DataError, match=r"samples\.csv: " + message):
        read_collm(write(samples__csv=SAMPLES + row + "\n"))


def test_samples_are_needed(write):
    with pytest.raises(DataError, match=r"no samples\.csv\[\.gz\]"):
        read_collm(write(items__csv="item,title\na,A\n"))


# -- the published files --

reference = pytest.mark.reference


@reference
def test_the_published_dialogues_of_redial(data_root):
    data = read_dataset(data_root / "redial")
    talks = data.dialogues
    assert talks is not None
    assert (len(talks), len(talks.texts)) == (2_243, 40_349)
    assert {part: talks.parts.count(part) for part in ("valid", "test")} == {
        "valid": 901,
        "test": 1_342,
    }
    assert (data.n_users, data.n_items) == (356, 6_924)  # the workers of interactions.csv
    assert data.counts["unknown_items_added"] == 0
    assert len(np.unique(talks.items.items)) == 2_934
    assert new_targets(data) == {"valid": 3_231, "test": 4_498}
    assert not any("@" in text and text.split("@")[1][:3].isdigit() for text in talks.texts)
    assert data.catalogue.attribute_names == ("genres", "director", "stars")


@reference
def test_the_published_requests_have_the_rows_of_the_pilot(data_root):
    data = read_redial_requests(data_root / "redial")
    assert new_targets(data) == {"valid": 3_318, "test": 4_036}
    assert data.n_items == 2_476
    assert data.counts["dialogues"] == data.n_users == 985 + 1_318
    assert data.counts["items_without_text"] == 0


@reference
def test_popularity_on_the_requests_is_as_published(data_root):
    """R@10 of popularity, with mentioned items masked and mid-ranks, is .0476 in the pilot."""
    data = read_redial_requests(data_root / "redial")
    talks, popularity, hits = data.dialogues, np.zeros(data.n_items), []
    assert talks is not None
    for part in ("valid", "test"):
        for row in range(len(talks)):
            mentioned: list[int] = []
            for turn in range(talks.offsets[row], talks.offsets[row + 1]):
                items = talks.items[turn].tolist()
                if talks.parts[row] == part and talks.speakers[turn] == 1:
                    for item in set(items) - set(mentioned):
                        if part == "valid":
                            popularity[item] += 1
                            continue
                        scores = popularity.copy()
                        scores[mentioned] = -1
                        above, same = scores > scores[item], scores == scores[item]
                        hits.append(above.sum() + (same.sum() - 1) // 2 < 10)
                mentioned += items
    assert len(hits) == 4_036
    assert np.mean(hits) == pytest.approx(0.0476, abs=0.0005)


@reference
def test_the_published_windows_of_dlcrec(data_root):
    folder: Path = data_root / "dlcrec-movie"
    data, parts = read_windows(folder)
    assert {part: len(rows) for part, rows in parts.items()} == {
        "train": 1_000,
        "valid": 1_000,
        "test": 1_000,
    }
    assert (data.n_items, len(data.interactions)) == (10_681, 60_000)
    assert int(data.warm.sum()) == 5_578
    assert (data.histories.lengths == 20).all()
    # The genre of a window is the first of the catalogue's.
    genres, windows = data.catalogue.attribute("genres"), read_table(folder / "windows.jsonl.gz")
    users = np.concatenate(list(parts.values()))
    given = [
        event["genre"]
        for row in windows.frame.iter_rows(named=True)
        for event in (*row["history"], *row["future"])
    ]
    firsts = [genres.values[at] for user in users for at in genres.first[data.histories[user]]]
    assert given == firsts
    assert HISTORY == 10


@reference
def test_the_published_histories_of_collm_are_the_liked_items_before(data_root):
    data, parts = read_collm(data_root / "collm-ml1m")
    assert {part: parts.count(part) for part in ("train", "valid", "test")} == {
        "train": 33_891,
        "valid": 10_401,
        "test": 7_331,
    }
    assert (data.n_users, data.n_items) == (838, 3_255)
    ratings = data.ratings
    assert ratings is not None
    assert float(ratings.labels(1).mean()) == pytest.approx(0.536, abs=0.0005)
    samples = read_table(data_root / "collm-ml1m" / "samples.csv.gz").frame
    published = dict(
        zip(
            samples.select(pl.concat_str("user", "item", separator=" ")).to_series(),
            samples["history"].fill_null(""),
            strict=True,
        )
    )
    liked: dict[int | str, list[str]] = {}
    ids = data.catalogue.item_ids.take(ratings.items)
    for event, user in enumerate(data.user_ids.take(ratings.users)):
        before = liked.setdefault(user, [])
        assert published[f"{user} {ids[event]}"] == " ".join(before)
        if ratings.values[event]:
            before.append(str(ids[event]))

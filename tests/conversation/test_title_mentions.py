"""Which titles a text names: how they are written, which of several, and what is no name."""

import time

import numpy as np
import pytest

from warmstart.conversation.title_mentions import TitleMentions

TITLES = [
    "Heat (1995)",
    "Star Wars (1977)",
    "Star Wars: A New Hope (1977)",
    "Pan's Labyrinth (2006)",
    "WALL-E (2008)",
    "Amélie (2001)",
    "Get Out (2017)",
    "Up (2009)",
    "It (2017)",
    "Halloween (1978)",
    "Halloween (2007)",
    "Matrix, The (1999)",
    "Rocky II (1979)",
    "Fast & Furious (2009)",
    "The Shawshank Redemption (1994)",
    "七人の侍 (1954)",
    "",
    "Keanu (2016)",
]


@pytest.fixture(scope="module")
def mentions():
    return TitleMentions(TITLES)


def named(mentions, text):
    return [TITLES[row] for row in mentions.find([text])[0]]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("I saw Star Wars (1977) twice", "Star Wars (1977)"),
        ("i saw star wars twice", "Star Wars (1977)"),
        ("PAN'S LABYRINTH!", "Pan's Labyrinth (2006)"),
        ("the new star wars 1977.", "Star Wars (1977)"),
        ("Star Wars is old", "Star Wars (1977)"),
        ("I saw Star Wars, a new hope.", "Star Wars: A New Hope (1977)"),
        ("pan\u2019s labyrinth", "Pan's Labyrinth (2006)"),
        ("Pans Labyrinth", "Pan's Labyrinth (2006)"),
        ("\u201cWall E\u201d", "WALL-E (2008)"),
        ("walle", "WALL-E (2008)"),
        ("amelie is sweet", "Amélie (2001)"),
        ("the matrix", "Matrix, The (1999)"),
        ("rocky 2", "Rocky II (1979)"),
        ("Fast and furious", "Fast & Furious (2009)"),
        ("shawshank redemption", "The Shawshank Redemption (1994)"),
        ("昨日七人の侍を見た", "七人の侍 (1954)"),
    ],
)
def test_a_title_is_found_however_it_is_written(mentions, text, title):
    assert named(mentions, text) == [title]


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("i grew up and it hurt", []),
        ("It was good. Up to you.", []),
        ("Did you like Seven It was long", []),
        ("have you seen It?", ["It (2017)"]),
        ("We watched Up yesterday", ["Up (2009)"]),
        ('"up" made me cry', ["Up (2009)"]),
        ("up (2009) made me cry", ["Up (2009)"]),
        ("WE WENT UP AND DOWN", []),
        ("please get out of here", []),
        ("have you seen get out", ["Get Out (2017)"]),
        ("Get Out was scary", ["Get Out (2017)"]),
    ],
)
def test_common_words_are_a_title_only_where_they_look_like_one(mentions, text, titles):
    assert named(mentions, text) == titles


@pytest.mark.parametrize(
    "text",
    [
        "I liked Star Wars: Rogue One",
        "that one with Keanu Reeves",
        "I liked Heat and Dust (1983)",
        "Heat (1986)",
        "reheat the wallet",
    ],
)
def test_a_part_of_another_name_is_no_mention(mentions, text):
    assert named(mentions, text) == []


def test_two_titles_in_one_sentence_are_both_found(mentions):
    assert named(mentions, "like Keanu and Heat (1995)") == ["Keanu (2016)", "Heat (1995)"]


def test_the_year_decides_between_items_of_one_name(mentions):
    assert named(mentions, "Was Halloween (1978) good?") == ["Halloween (1978)"]
    assert named(mentions, "I mean Halloween (2018)") == []


def test_without_year_an_earlier_mention_then_the_newest_decides(mentions):
    text = "System: Try Halloween (1978)\nUser: I know Halloween"
    assert named(mentions, text) == ["Halloween (1978)"]
    assert named(mentions, "I know Halloween") == ["Halloween (2007)"]


def test_without_year_popularity_decides_before_the_newest():
    popularity = np.array([title == "Halloween (1978)" for title in TITLES])
    assert named(TitleMentions(TITLES, popularity), "I know Halloween") == ["Halloween (1978)"]


def test_a_title_without_year_is_the_one_that_is_written_without():
    mentions = TitleMentions(["Frozen", "Frozen (2010)", "Frozen (2013)"])
    found = mentions.find(["i like frozen", "i like frozen (2010)", "i like frozen (1999)"])
    assert [found[text].tolist() for text in range(3)] == [[0], [1], [0]]


def test_each_item_once_in_the_order_of_first_mention(mentions):
    text = "User: Amelie, Heat, then Amelie again\nSystem: Rocky II?"
    assert named(mentions, text) == ["Amélie (2001)", "Heat (1995)", "Rocky II (1979)"]


def test_speakers_are_no_words_and_no_name_reaches_over_a_turn():
    mentions = TitleMentions(["User", "System Crash", "Black Panther"])
    texts = ["User: hello", "System: crash", "User: black\nSystem: panther"]
    assert mentions.find(texts).lengths.tolist() == [0, 0, 0]
    assert mentions.find(["User: a user and a System Crash"]).lengths.tolist() == [2]


def test_no_texts_and_no_titles():
    assert len(TitleMentions([]).find(["Heat"])[0]) == 0
    assert len(TitleMentions(TITLES).find([])) == 0


def test_many_titles_are_read_in_seconds_and_a_message_in_milliseconds():
    syllables = ["ka", "ro", "mi", "ten", "lo", "sur", "be", "dan", "vi", "gol"]
    titles = [
        f"The {a}{b} of {c}{d}{e} ({1950 + len(a + b + c)})"
        for a in syllables
        for b in syllables
        for c in syllables
        for d in syllables
        for e in syllables
    ]
    started = time.perf_counter()
    mentions = TitleMentions(titles)
    built = time.perf_counter()
    found = mentions.find(["User: I liked the karo of mitenlo"] * 50)
    assert built - started < 30
    assert time.perf_counter() - built < 1
    assert (found.lengths == 1).all()

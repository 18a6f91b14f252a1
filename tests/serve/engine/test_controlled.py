"""Lists under a control: those of the library, and under the rules of the service."""

import threading
import time
import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import warmstart as ws
from tests.serve.encoding import encode_texts
from tests.serve.engine.clicks import clicks_by, clicks_on
from warmstart.artefact import read_manifest
from warmstart.errors import DataWarning
from warmstart.lm import TextEncoder
from warmstart.serve.engine import controlled
from warmstart.serve.engine import genres as genres_module
from warmstart.serve.engine.candidates import Candidates
from warmstart.serve.engine.controlled import select_controlled
from warmstart.serve.engine.encodings import pack
from warmstart.serve.engine.genres import GenresOf
from warmstart.serve.engine.index import Index
from warmstart.serve.engine.lists import ControlError, ListRequest, ListRules
from warmstart.serve.storage.records import Item, ItemState

WISHES = [
    {"n_genres": 2},
    {"n_genres": 5},
    {"n_genres": 3, "first_genre_only": True},
    {"genres": ("crafts", "pottery")},
    {"calibrate": True},
    {"diversity": 0.5},
]


def loaded(folder, lm_folder):
    spec = read_manifest(folder)["lms"]["encoder"]
    return ws.load_model(
        folder, encoder=TextEncoder.from_spec(spec, source=str(lm_folder), use_cache=False)
    )


@pytest.fixture(scope="module")
def model(model_folder, lm_folder):
    return loaded(model_folder, lm_folder)


@pytest.fixture(scope="module")
def packed(model, new_texts):
    return [pack(one.encoding) for one in encode_texts(model, new_texts)]


@pytest.fixture(scope="module")
def new_texts(toy_data):
    """Texts that no other item has."""
    old = toy_data.catalogue.texts
    return [f"{old[at]} {old[at + 6]}" for at in range(6)]


@pytest.fixture
def index(model):
    return Index(model, max_exposure=1.0, max_owner_share=1.0)


@pytest.fixture(scope="module")
def users(model):
    return [str(user) for user in model.fitted.user_ids.values[:12]]


@pytest.fixture(scope="module")
def genres_in(toy_split):
    """The genres of an item of the training data."""
    catalogue = toy_split.train.catalogue
    of = dict(zip(catalogue.item_ids.values, catalogue.columns["categories"], strict=True))
    return lambda item: of[item].split("|")


def put(index, packed, *names, which=0, owner="shop", deleted=False, **columns):
    """Write items with the same text."""
    states = {}
    for name in names:
        content = f"{name} {which} {columns}"
        item = Item(name, columns, "text", content, owner, deleted=deleted)
        states[name] = ItemState(item, None if deleted else packed[which])
    index.apply(states)


def ask(index, request=None, **options):
    """One list: the names of its items."""
    if "control" in options:
        options["control"] = ws.Control(**options["control"])
    (found,) = index.recommend([request or ListRequest(**options)])
    if isinstance(found, Exception):
        raise found
    return [hit.item for hit in found]


def in_library(model, control, **asked):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # an impossible list is empty there
        return [str(item) for item in model.recommend(control=control, **asked)["item"]]


def in_service(index, control, **asked):
    try:
        return ask(index, control=control, **asked)
    except ControlError:
        return []


@pytest.mark.parametrize("control", WISHES, ids=str)
def test_a_list_is_that_of_the_library(model, index, users, control):
    lists = [in_service(index, control, user=user, k=7) for user in users]
    assert lists == [in_library(model, control, users=[user], k=7) for user in users]
    assert any(map(len, lists))
    assert lists != [ask(index, user=user, k=7) for user in users]
    history = tuple(map(str, model.fitted.catalogue.item_ids.take(model.fitted.histories[3])))
    listed = in_library(model, control, histories=[list(history)], k=7)
    assert in_service(index, control, history=history, k=7) == listed
    only_cold = [in_library(model, control, users=[user], k=7, only_cold=True) for user in users]
    cold = [in_service(index, control, user=user, k=7, cold_share_min=1.0) for user in users]
    full = [at for at, items in enumerate(only_cold) if len(items) == 7]
    assert [cold[at] for at in full] == [only_cold[at] for at in full]
    if "diversity" in control or "calibrate" in control:  # else there are too few cold items, ...
        assert full  # ... and warm ones may fill the list up


@pytest.mark.parametrize("control", WISHES, ids=str)
def test_a_new_item_is_listed_by_its_own_genres(
    index, model_folder, lm_folder, packed, new_texts, users, control
):
    grown = loaded(model_folder, lm_folder)
    new = {"crafts|pottery": 0, "a new genre": 1, "pottery | a new genre": 2, None: 3}
    rows = {"item": [f"new-{at}" for at in new.values()], "categories": [*new]}
    grown.add_items({**rows, "text": [new_texts[at] for at in new.values()], "title": [""] * 4})
    for genres, at in new.items():
        put(index, packed, f"new-{at}", which=at, categories=genres)
    lists = [in_service(index, control, user=user, k=12) for user in users]
    assert lists == [in_library(grown, control, users=[user], k=12) for user in users]
    if control in ({"diversity": 0.5}, {"calibrate": True}):
        assert any("new-" in item for items in lists for item in items)
    named = {"genres": ["a new genre"]}
    assert in_service(index, named, user=users[0], k=12) == ["new-1"]


def test_exclusions_seen_items_and_choices_hold(index, users, genres_in):
    control = {"n_genres": 3}
    plain = ask(index, user=users[0], k=10, control=control)
    seen = set(index.history(users[0]))
    assert seen
    assert not seen & set(plain)
    denied = ask(index, user=users[0], k=10, control=control, deny=tuple(plain[:2]))
    assert not set(plain[:2]) & set(denied)
    everything = ask(index, user=users[0], k=60, control={"diversity": 0.1}, exclude_seen=False)
    assert seen <= set(everything)
    allowed = tuple(plain[2:6])
    genres = {genre for item in allowed for genre in genres_in(item)}
    wish = {"genres": tuple(genres)}
    assert set(ask(index, user=users[0], allow=allowed, control=wish)) == set(allowed)


def test_genres_change_with_the_item_and_end_with_it(index, packed, users):
    wish = {"user": users[0], "k": 10, "control": {"genres": ("first",)}}
    put(index, packed, "new", categories="first")
    assert ask(index, **wish) == ["new"]
    put(index, packed, "new", categories="second|first")
    with pytest.raises(ControlError, match=r"no candidate without other genres has \['first']"):
        ask(index, **wish)
    put(index, packed, "new", categories=["second"])
    with pytest.raises(ControlError, match=r"\['first']; allowed: ancient history"):
        ask(index, **wish)
    put(index, packed, "new", deleted=True)
    with pytest.raises(ControlError, match=r"unknown categories \['second']"):
        ask(index, user=users[0], control={"genres": ("second",)})


def test_a_rewritten_item_of_the_training_data_has_its_new_genres(index, packed, users):
    (item, *_) = ask(index, user=users[0], k=1)
    put(index, packed, item, categories="rewritten")
    assert ask(index, user=users[0], control={"genres": ("rewritten",)}) == [item]
    put(index, packed, item, deleted=True)
    with pytest.raises(ControlError, match="unknown categories"):
        ask(index, user=users[0], control={"genres": ("rewritten",)})


@pytest.mark.parametrize("genre", ["a, b", "Ünïcode ☂", "日本", "'quoted'", "é", "a" * 300])
def test_genres_of_any_text_can_be_named(index, packed, users, genre):
    put(index, packed, "new", categories=[genre, "other"])
    put(index, packed, "text", categories=genre)
    named = {"genres": (genre,)}
    assert ask(index, user=users[0], control=named) == ["text"]
    assert {*ask(index, user=users[0], control={"genres": (genre, "other")})} == {"new", "text"}


def test_calibration_follows_the_history_with_its_clicks(index, packed, users, genres_in):
    calibrated = {"calibrate": True}
    put(index, packed, *(f"new-{at}" for at in range(8)), categories="clicked")
    items = ask(index, user=users[0], k=8)
    index.record(clicks_by("guest", items[:3]))
    guest = ask(index, user="guest", control=calibrated)
    assert guest == ask(index, history=tuple(items[:3]), control=calibrated)
    before = ask(index, user=users[1], control=calibrated)
    put(index, packed, "seen", categories="clicked")
    index.record(clicks_by(users[1], ["seen", *(f"new-{at}" for at in range(4))]))
    after = ask(index, user=users[1], control=calibrated)
    assert sum(item.startswith("new") for item in after) > 0
    assert sum(item.startswith("new") for item in before) == 0


def test_a_history_without_genres_is_refused(index, packed, users):
    put(index, packed, "bare")
    index.record(clicks_on("bare", ["guest", *users[:3]]))
    assert ask(index, user="guest")
    with pytest.raises(ControlError, match="calibrate needs a history whose items have genres"):
        ask(index, user="guest", control={"calibrate": True})


def test_an_owner_has_its_share_of_a_list_at_most(model, packed, users):
    index = Index(model, max_exposure=1.0, max_owner_share=0.5)
    names = [f"new-{at}" for at in range(20)]
    put(index, packed, *names, categories="novel")
    put(index, packed, "other", which=1, owner="other", categories="novel")
    named = {"user": users[0], "control": {"genres": ("novel",)}}
    listed = ask(index, **named)
    assert len(listed) == 6
    assert "other" in listed
    assert len(ask(index, **named, cold_share_min=1.0)) == 10  # as in any list
    with pytest.raises(ControlError, match=r"has \['novel']"):
        ask(index, **named, cold_share_max=0.0)
    for control in ({"n_genres": 2}, {"diversity": 0.1}, {"calibrate": True}):
        listed = ask(index, user=users[0], control=control)
        assert sum(name in listed for name in names) <= 5


def test_a_wish_that_cannot_be_met_is_an_error_of_its_request_only(index, users):
    requests = [
        ListRequest(user=users[0], k=3, control=ws.Control(n_genres=13)),
        ListRequest(user=users[0], k=3),
        ListRequest(user=users[0], k=3, control=ws.Control(n_genres=99)),
    ]
    narrow, plain, wide = index.recommend(requests)
    assert len(plain) == 3
    assert isinstance(narrow, ControlError)
    assert "no list of at most 3 items has exactly 13 genres" in str(narrow)
    assert "n_genres = 99, but the items have 45 categories; allowed: 1 to 45" in str(wide)


def test_a_list_is_shorter_if_too_few_items_have_the_genres(index, packed, users):
    put(index, packed, "a", "b", categories="rare")
    listed = ask(index, user=users[0], k=50, control={"genres": ("rare",)})
    assert sorted(listed) == ["a", "b"]


def test_items_of_a_snapshot_have_their_genres(model, packed, users, tmp_path):
    first = Index(model)
    put(first, packed, "kept", categories="snapped")
    put(first, packed, "changed", which=1, categories="snapped")
    put(first, packed, "gone", which=2, categories="snapped")
    second = Index(model)
    second.load(first.save(tmp_path / "snapshot"))
    put(second, packed, "changed", which=1, categories="other")
    put(second, packed, "gone", deleted=True)
    named = {"user": users[0], "control": {"genres": ("snapped",)}}
    assert ask(second, **named) == ["kept"]
    put(second, packed, "kept", deleted=True)
    with pytest.raises(ControlError, match="unknown categories"):
        ask(second, **named)


def test_who_asks_for_plain_lists_only_pays_nothing(index, packed, users):
    put(index, packed, "new", categories="x")
    ask(index, user=users[0], k=10)
    genres = index.genres
    assert genres._changed is None
    assert genres.nbytes < 1000
    ask(index, user=users[0], control={"n_genres": 2})
    assert genres._changed == {}


def test_genres_are_read_although_no_list_asks_for_long(index, packed, users, monkeypatch):
    monkeypatch.setattr(genres_module, "_MAX_CHANGED", 3)
    ask(index, user=users[0], control={"n_genres": 2})
    for at in range(40):
        put(index, packed, f"new-{at}", categories=f"genre {at}")
        assert len(index.genres._changed) <= 3
        put(index, packed, f"new-{at}", deleted=True)
    assert len(index.genres._sets) < 60


change = st.tuples(
    st.integers(0, 5), st.sampled_from([None, "a", "b|a", "a|b", "c", ["x|y", "a"], "deleted"])
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(change, max_size=15), asked=st.sets(st.integers(0, 15)))
def test_any_sequence_of_changes_gives_the_genres_of_a_rebuild(model, packed, changes, asked):
    base = str(model.fitted.catalogue.item_ids.values[0])
    followed, last = Index(model), {}
    for number, (which, genres) in enumerate(changes):
        if number in asked:
            followed.genres.of(np.arange(3))
        name = base if which == 5 else f"new-{which}"
        last[name] = {"deleted": True} if genres == "deleted" else {"categories": genres}
        put(followed, packed, name, **last[name])
    rebuilt = Index(model)
    for name, state in last.items():
        put(rebuilt, packed, name, **state)
    names = [base, *(f"new-{at}" for at in range(5))]

    def seen(index):
        slots = [index.slot(name) for name in names]
        found = index.genres.of(np.array(slots))
        return [found.sets[number] for number in found.numbers], +index.genres._items_with

    assert seen(followed) == seen(rebuilt)
    uses = np.bincount(followed.genres._set_of, minlength=len(followed.genres._sets))
    live = followed.genres._number_of.values()
    assert all((uses[number] > 0) == (number in live) for number in range(1, len(uses)))


def candidates_of(draw_scores, is_cold):
    n = len(draw_scores)
    return Candidates(
        np.arange(n),
        np.arange(n),
        np.array(draw_scores, np.float32),
        np.array(is_cold, bool),
        np.arange(n).astype(np.uint64),
    )


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_rules_and_wishes_hold_together(data):
    n = data.draw(st.integers(0, 25))
    scores = data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n))
    is_cold = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    owners = data.draw(st.lists(st.sampled_from([None, "a", "b"]), min_size=n, max_size=n))
    sets = [(), ("x",), ("y",), ("y", "x"), ("z",), ("x", "z")]
    numbers = data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))
    control = ws.Control(
        **data.draw(
            st.sampled_from(
                [{"n_genres": 2}, {"genres": ("x", "z")}, {"diversity": 0.5}, {"calibrate": True}]
            )
        )
    )
    least, most = sorted(data.draw(st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 1.0])] * 2)))
    rules = ListRules(data.draw(st.integers(1, 8)), least, most, 0.5)
    given = candidates_of(scores, is_cold), GenresOf(np.array(numbers, np.int64), sets)
    try:
        found = select_controlled(*given, Counter(x=2, y=1), control, owners.__getitem__, rules)
    except ws.ConfigError:
        return
    k, slots = rules.k, found.slots.tolist()
    assert len(set(slots)) == len(slots) <= k
    listed = {genre for slot in slots for genre in sets[numbers[slot]]}
    if control.n_genres is not None:
        assert len(listed) == 2
    if control.genres is not None:
        assert listed == {"x", "z"}
    cold = [slot for slot in slots if is_cold[slot]]
    assert len(cold) <= int(most * k)
    if least == 0:
        for owner in ("a", "b"):
            assert sum(owners[slot] == owner for slot in cold) <= max(1, k // 2)


def test_of_very_many_genres_the_best_items_are_searched(monkeypatch):
    monkeypatch.setattr(controlled, "_MAX_CELLS", 100)
    n = 60
    items = candidates_of([n - at for at in range(n)], [False] * n)
    genres = GenresOf(np.arange(n), [(f"g{at}", "all") if at else ("all",) for at in range(n)])
    rules = ListRules(3, 0.0, 1.0, 0.5)

    def listed(**wish):
        return select_controlled(
            items, genres, Counter(), ws.Control(**wish), lambda _: None, rules
        ).slots.tolist()

    assert listed(n_genres=3) == [0, 1, 2]
    named = ("all", "g59", *(f"g{at}" for at in range(1, 50)))
    with pytest.raises(ws.ConfigError, match=r"k is too small, among the .* too many genres"):
        listed(genres=named)
    monkeypatch.setattr(controlled, "_MAX_CELLS", 10**6)
    with pytest.raises(ws.ConfigError, match=r"k is too small$"):
        listed(genres=named)


def test_lists_are_as_asked_while_genres_change(index, packed, users):
    end, faults, lists = time.monotonic() + 1.0, [], []
    names = [f"new-{at}" for at in range(6)]

    def change():
        number = 0
        while time.monotonic() < end:
            number += 1
            for at, name in enumerate(names):
                put(index, packed, name, which=at, categories=["left", "right"][(number + at) % 2])
            put(index, packed, "gone", categories=f"genre {number}")
            put(index, packed, "gone", deleted=True)

    def read(control):
        while time.monotonic() < end:
            try:
                listed = ask(index, user=users[0], control=control)
                lists.append(listed)
                if not set(listed) <= set(names):
                    faults.append(listed)
            except ControlError:
                pass
            except Exception as error:  # noqa: BLE001 - reported below
                faults.append(error)

    put(index, packed, *names, categories="left")
    readers = [
        threading.Thread(target=read, args=[{"genres": wish}])
        for wish in (("left",), ("left", "right"))
    ]
    for thread in readers:
        thread.start()
    change()
    for thread in readers:
        thread.join()
    assert faults == []
    assert len(lists) > 10

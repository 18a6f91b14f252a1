import random
import re
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from tests.data.splits.made import rated, spoken
from warmstart.data.readers.frames import from_frames
from warmstart.data.splits.check import check_split
from warmstart.data.splits.cold import ColdSplit
from warmstart.data.splits.dialogues import dialogues
from warmstart.data.splits.labels import labels
from warmstart.data.splits.next_item import next_item
from warmstart.data.splits.random_cold import random_cold, read_published_split
from warmstart.data.splits.split import split as divide
from warmstart.data.splits.time_cold import time_cold
from warmstart.data.splits.user_random import user_random
from warmstart.data.splits.windows import windows
from warmstart.errors import ConfigError, DataError


def write_parts(folder, split: ColdSplit) -> None:
    names = {
        "train": "warm_emb",
        "warm_valid": "warm_val",
        "warm_test": "warm_test",
        "cold_valid": "cold_item_val",
        "cold_test": "cold_item_test",
    }
    for part, name in names.items():
        events = split.parts[part]
        users = split.dataset.user_ids.take(events.users)
        items = split.dataset.catalogue.item_ids.take(events.items)
        rows = "".join(f"{u},{i}\n" for u, i in zip(users, items, strict=True))
        (folder / f"{name}.csv").write_text(f"user,item\n{rows}")


def test_random_cold_draws_the_published_shares(timed):
    split = random_cold(timed)
    summary = split.summary()
    items = {name: part["items"] for name, part in summary["parts"].items()}
    assert items["cold_valid"] + items["cold_test"] == 16
    warm = sum(len(split.parts[name]) for name in ("train", "warm_valid", "warm_test"))
    assert len(split.warm_valid) <= int(0.1 * warm)
    assert len(split.warm_test) <= int(0.1 * warm)
    assert np.array_equal(split.cold_candidates["valid"], split.cold_candidates["test"])
    assert split.overall_users == "both"
    assert split.manifest["seed"] == 42
    assert split.manifest["notes"]["share_of_cold_items_older_than_the_end_of_training"] > 0.9


def test_random_cold_repeats_and_leaves_the_global_generators_alone(timed):
    random.seed(1)
    state, legacy = random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    assert random_cold(timed, seed=3).hash == random_cold(timed, seed=3).hash
    assert random_cold(timed, seed=3).hash != random_cold(timed, seed=4).hash
    assert random.getstate() == state
    assert repr(np.random.get_state()) == legacy  # noqa: NPY002


def test_random_cold_does_not_depend_on_the_order_of_rows_or_items(timed):
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(timed.interactions))
    columns = timed.catalogue.columns
    shuffled = from_frames(
        {
            "user": timed.user_ids.take(timed.interactions.users[rows]),
            "item": timed.catalogue.item_ids.take(timed.interactions.items[rows]),
        },
        {"item": timed.catalogue.item_ids.values[::-1], "title": columns["title"][::-1]},
    )

    def cold_items(split: ColdSplit) -> list:
        return sorted(split.dataset.catalogue.item_ids.take(np.unique(split.cold_test.items)))

    assert cold_items(random_cold(shuffled)) == cold_items(random_cold(timed))


def test_published_parts_give_the_split_they_came_from(timed, tmp_path):
    split = random_cold(timed)
    write_parts(tmp_path, split)
    assert read_published_split(timed, tmp_path).hash == split.hash


def times_of(split: ColdSplit) -> dict[str, np.ndarray]:
    return {name: np.asarray(part.times) for name, part in split.parts.items()}


def append(path, row: str) -> None:
    path.write_text(path.read_text() + row)


def first_row(path) -> str:
    return path.read_text().splitlines()[1] + "\n"


@pytest.mark.parametrize(
    ("breaking", "message"),
    [
        (lambda f: append(f / "warm_val.csv", "nobody,i01\n"), "column 'user': got 'nobody'"),
        (lambda f: append(f / "warm_val.csv", "u01,nothing\n"), "'item': got 'nothing'; allowed"),
        (lambda f: append(f / "warm_val.csv", first_row(f / "warm_val.csv")), r"1 repeated pair"),
        (
            lambda f: append(f / "warm_val.csv", first_row(f / "warm_emb.csv")),
            r"1 pair\(s\) are in both train and warm_valid",
        ),
        (lambda f: (f / "warm_test.csv").write_text("user,item\n"), "leaves warm_test empty"),
        (
            lambda f: (f / "warm_val.csv").write_text(
                "user,item\n" + first_row(f / "warm_val.csv")
            ),
            "of the data set are in no part",
        ),
    ],
)
def test_broken_published_parts_are_named(timed, tmp_path, breaking, message):
    write_parts(tmp_path, random_cold(timed))
    breaking(tmp_path)
    with pytest.raises(DataError, match=message):
        read_published_split(timed, tmp_path)


def test_a_published_pair_that_the_data_do_not_have_is_named(timed, tmp_path):
    split = random_cold(timed)
    write_parts(tmp_path, split)
    fewer = timed.with_interactions(
        timed.interactions.where(~np.isin(timed.interactions.keys, split.warm_test.keys[:1]))
    )
    with pytest.raises(DataError, match=r"warm_test\.csv: 1 pair\(s\) are not in the data set"):
        read_published_split(fewer, tmp_path)


def test_swapped_cold_and_warm_parts_are_refused(timed, tmp_path):
    write_parts(tmp_path, random_cold(timed))
    warm, cold = tmp_path / "warm_test.csv", tmp_path / "cold_item_test.csv"
    warm_text = warm.read_text()
    warm.write_text(cold.read_text())
    cold.write_text(warm_text)
    with pytest.raises(DataError, match="have an item that is"):
        read_published_split(timed, tmp_path)


def test_time_cold_windows(timed):
    split = time_cold(timed, cutoffs=(6000, 8000))
    times = times_of(split)
    assert times["train"].max() < 6000
    for kind in ("warm", "cold"):
        assert times[f"{kind}_valid"].min() >= 6000
        assert times[f"{kind}_valid"].max() < 8000
        assert times[f"{kind}_test"].min() >= 8000
    first = np.full(timed.n_items, 10**9)
    np.minimum.at(first, timed.interactions.items, timed.interactions.times)
    assert set(split.cold_candidates["valid"]) == set(
        np.flatnonzero((first >= 6000) & (first < 8000))
    )
    assert set(split.cold_candidates["test"]) == set(np.flatnonzero(first >= 8000))
    new_in_valid = split.cold_candidates["valid"]
    overall = split.slice("test", "overall")
    assert not np.isin(new_in_valid, overall.candidates).any()
    stale = np.isin(timed.interactions.items, new_in_valid) & (timed.interactions.times >= 8000)
    assert split.manifest["left_out"]["at_test_of_items_new_in_validation"] == stale.sum() > 0


def test_time_cold_takes_its_cutoffs_at_shares_of_the_events_and_splits_no_second(timed):
    times = np.sort(timed.interactions.times)
    split = time_cold(timed)
    assert split.manifest["cutoffs"] == [times[int(0.8 * len(times))], times[int(0.9 * len(times))]]
    coarse = replace(timed.interactions, times=timed.interactions.times // 1000 * 1000)
    split = time_cold(timed.with_interactions(coarse))
    times = times_of(split)
    for early, late in (("train", "warm_valid"), ("warm_valid", "warm_test")):
        assert times[early].max() < times[late].min()


def test_users_without_training_are_left_out_and_counted(timed):
    events = timed.interactions
    late_users = (events.users < 50) | (events.times >= 6000)
    data = timed.with_interactions(events.where(late_users))
    split = time_cold(data, cutoffs=(6000, 8000))
    expected = int((data.interactions.users >= 50).sum())
    assert split.manifest["left_out"]["of_users_without_training"] == expected > 0
    assert split.manifest["notes"]["users_without_training_left_out"] == 10
    for part in ("valid", "test"):
        assert split.slice(part, "overall").queries.users.max() < 50


def test_released_items_that_nobody_clicked_are_candidates_of_their_window(timed):
    unclicked = ["r1", "r2", "r3", "r4", "r5"]
    data = from_frames(
        {
            "user": timed.user_ids.take(timed.interactions.users),
            "item": timed.catalogue.item_ids.take(timed.interactions.items),
            "time": timed.interactions.times,
        },
        {
            "item": [*timed.catalogue.item_ids.values, *unclicked],
            "title": ["x"] * (timed.n_items + 5),
            "released": [None] * timed.n_items + [6500, 8500, 5000, None, 20_000],
        },
        time="time",
    )
    split = time_cold(data, cutoffs=(6000, 8000))

    def candidates(part: str) -> set:
        return set(data.catalogue.item_ids.take(split.cold_candidates[part])) & set(unclicked)

    assert candidates("valid") == {"r1"}
    assert candidates("test") == {"r2"}
    assert split.manifest["notes"]["items_never_interacted_no_candidates"] == 3


def test_data_without_a_common_clock_are_referred_to_random_cold(timed):
    untimed = timed.with_interactions(replace(timed.interactions, times=None))
    with pytest.raises(DataError, match=r"has no times; time-cold needs.*use random-cold"):
        time_cold(untimed)
    with pytest.raises(DataError, match=r"positions in each user's own sequence only.*random-cold"):
        time_cold(replace(timed, clock="position"))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cutoffs": (8000, 6000)}, ConfigError, "cutoffs 8000, 6000; allowed: two times"),
        ({"cutoffs": (6000, 60_000)}, DataError, "time-cold leaves warm_test, cold_test empty"),
        ({"cutoffs": (0, 6000)}, DataError, "leaves train, .* empty; cutoffs are"),
        ({"fractions": (0.9, 0.8)}, ConfigError, r"fractions \(0.9, 0.8\); allowed"),
        ({"fractions": (0.5, 1.0)}, ConfigError, r"fractions \(0.5, 1.0\); allowed"),
        ({"fractions": (0.5,)}, ConfigError, r"fractions \(0.5,\); allowed: two numbers"),
        ({"fractions": "ab"}, ConfigError, "fractions 'ab'; allowed: two numbers"),
        ({"fractions": 0.5}, ConfigError, "fractions 0.5; allowed: two numbers"),
        ({"fractions": (float("nan"), 0.9)}, ConfigError, r"fractions \(nan, 0.9\); allowed"),
        ({"cutoffs": 1_700_000_000_000}, ConfigError, "cutoff 1700000000000.*milliseconds"),
        ({"cutoffs": ("2024-06-31", 5)}, ConfigError, "cutoff '2024-06-31'; allowed"),
        ({"cutoffs": 1.5j}, ConfigError, "cutoff .*1.5j.*; allowed"),
        ({"cutoffs": True}, ConfigError, "cutoff True; allowed"),
        ({"cutoffs": ()}, ConfigError, r"cutoff \(\); allowed: one time, or two"),
        ({"cutoffs": (1, 2, 3)}, ConfigError, r"cutoff \(1, 2, 3\); allowed: one time, or two"),
        (
            {"cutoffs": (-90_000_000_000, 60_000)},
            DataError,
            "leaves train.*empty; cutoffs are -900",
        ),
    ],
)
def test_impossible_windows_are_named(timed, arguments, error, message):
    with pytest.raises(error, match=message):
        time_cold(timed, **arguments)


@pytest.mark.parametrize("seed", [-1, 2**32, 5 * 10**9, 1.5, "a", None, True, [1]])
def test_a_wrong_seed_is_refused(timed, seed):
    message = re.escape(f"seed must be a whole number from 0 to 4294967295, got {seed!r}")
    with pytest.raises(ConfigError, match=message):
        random_cold(timed, seed=seed)
    if seed is not None:  # None is the default of ``split``
        with pytest.raises(ConfigError, match=message):
            divide(timed, "random-cold", seed=seed)


def test_seeds_of_any_integer_type_are_equal(timed):
    assert random_cold(timed, seed=np.int64(7)).hash == random_cold(timed, seed=7).hash
    assert random_cold(timed, seed=2**32 - 1).manifest["seed"] == 2**32 - 1


@pytest.mark.parametrize(
    "cutoffs",
    [
        (20_000 * 86_400, 20_010 * 86_400),
        [np.int64(20_000 * 86_400), 20_010.0 * 86_400],
        ("2024-10-04", "2024-10-14T00:00Z"),
        (date(2024, 10, 4), datetime(2024, 10, 14, tzinfo=UTC)),
        np.array([20_000, 20_010]).astype("datetime64[D]"),
    ],
)
def test_time_cold_takes_times_in_every_form_that_data_may_have(timed, cutoffs):
    events = timed.interactions
    spread = 19_990 * 86_400 + events.times * (30 * 86_400) // events.times.max()
    data = timed.with_interactions(replace(events, times=spread))
    made = time_cold(data, cutoffs=cutoffs)
    assert made.manifest["cutoffs"] == [20_000 * 86_400, 20_010 * 86_400]
    assert divide(data, cutoff=cutoffs).hash == made.hash
    one = time_cold(data, cutoffs=cutoffs[0])
    assert one.manifest["cutoffs"][0] == 20_000 * 86_400
    later = np.sort(spread[spread >= 20_000 * 86_400])
    assert one.manifest["cutoffs"][1] == later[len(later) // 2]


def test_too_few_interactions_for_random_cold_are_named():
    tiny = from_frames({"user": ["a", "b"], "item": ["x", "y"]})
    with pytest.raises(DataError, match=r"random-cold leaves .* empty; 2 interactions are too few"):
        random_cold(tiny)


def test_check_split_refuses_a_leak(timed):
    split = random_cold(timed)
    leaked = replace(split, train_interactions=timed.interactions)
    with pytest.raises(DataError, match="are in both train and warm_valid"):
        check_split(leaked)
    unasked = replace(
        split, cold_candidates={**split.cold_candidates, "test": np.array([], np.int32)}
    )
    with pytest.raises(
        DataError, match=r"pair.* of cold_test have an item that is not a cold candidate"
    ):
        check_split(unasked)
    late = time_cold(timed, cutoffs=(6000, 8000))
    moved = replace(late, manifest={**late.manifest, "cutoffs": [6100, 8000]})
    with pytest.raises(DataError, match=r"time\(s\) of \w+ are outside"):
        check_split(moved)


@settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    seed=st.integers(0, 2**31 - 1),
    protocol=st.sampled_from(["random-cold", "time-cold"]),
    shape=st.tuples(st.integers(5, 20), st.integers(10, 30), st.integers(60, 150)),
)
def test_law_parts_are_disjoint_and_complete(seed, protocol, shape):
    users, items, events = shape
    rng = np.random.default_rng(seed)
    data = from_frames(
        {
            "user": rng.integers(users, size=events),
            "item": (np.arange(events) * items // events + rng.integers(3, size=events)),
            "time": np.arange(events) // 3,
        },
        time="time",
    )
    try:
        split = random_cold(data, seed=seed) if protocol == "random-cold" else time_cold(data)
    except DataError:  # too small a draw; the cases of that error are above
        reject()
    keys = np.concatenate([part.keys for part in split.parts.values()])
    assert len(np.unique(keys)) == len(keys)
    assert np.isin(keys, data.interactions.keys).all()
    assert len(keys) + sum(split.manifest["left_out"].values()) == len(data.interactions)
    assert not np.isin(split.cold_test.items, split.train_interactions.items).any()
    assert not np.isin(split.cold_test.items, split.cold_valid.items).any()
    assert np.isin(split.warm_test.items, split.train_interactions.items).all()
    assert np.isin(split.cold_test.users, split.train_interactions.users).all()


# -- by the name of a protocol --


def test_every_protocol_is_split_as_by_its_own_function(timed):
    options = {
        "time-cold": {"fractions": (0.6, 0.8)},
        "random-cold": {"seed": 3},
        "next-item": {"few_shot": 9, "candidates": "pop5", "seed": 3},
        "user-random": {"seed": 3},
        "windows": {"n_history": 3, "n_future": 2, "stride": 1},
    }
    makers = {
        "time-cold": time_cold,
        "random-cold": random_cold,
        "next-item": next_item,
        "user-random": user_random,
        "windows": windows,
    }
    for protocol, chosen in options.items():
        made = divide(timed, protocol, **chosen)
        assert made.protocol == protocol
        assert made.hash == makers[protocol](timed, **chosen).hash
    assert divide(timed, "next-item", by="time", cutoff=(6000, 8000), targets="each").hash == (
        next_item(timed, by="time", cutoffs=(6000, 8000), targets="each").hash
    )
    talk = spoken({"a": ("train", ["s a"]), "b": ("valid", ["s a"]), "c": ("test", ["s b"])})
    assert divide(talk, "dialogues").hash == dialogues(talk).hash
    rows = rated("u a 5 1,u b 1 2,u c 5 3,u d 2 4")
    parts = ["train", "train", "valid", "test"]
    assert divide(rows, "labels", parts=parts, threshold=3).hash == (
        labels(rows, parts=parts, threshold=3).hash
    )


@pytest.mark.parametrize(
    ("protocol", "options", "message"),
    [
        ("leave-one-out", {}, "protocol 'leave-one-out'; allowed: time-cold, random-cold, next-it"),
        ("time-cold", {"seed": 1}, "seed = 1 does not apply to the protocol 'time-cold'; its opti"),
        ("random-cold", {"cutoff": 5}, "cutoff = 5 does not apply .*; its options: seed, parts"),
        ("random-cold", {"parts": "x", "seed": 1}, "seed = 1 does not apply to published parts"),
        ("user-random", {"few_shot": 5}, "few_shot = 5 does not apply .*; its options: seed"),
        ("windows", {"threshold": 4}, "threshold = 4 does not apply to the protocol 'windows'"),
        ("labels", {"candidates": "uni9"}, "candidates = 'uni9' does not apply to the protocol"),
        ("dialogues", {"by": "time"}, "by = 'time' does not apply to the protocol 'dialogues'"),
    ],
)
def test_options_of_other_protocols_are_refused(timed, protocol, options, message):
    with pytest.raises(ConfigError, match=message):
        divide(timed, protocol, **options)

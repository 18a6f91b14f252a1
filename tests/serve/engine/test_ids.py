"""Values of requests become ids of the model, or are refused; many are read at once."""

import time
from itertools import product

import pytest

from warmstart.data.ids import Ids
from warmstart.serve.engine import ids as engine_ids
from warmstart.serve.engine.ids import WrongIdError, id_names

MOST = str(2**63 - 1)
INTEGERS, TEXTS = Ids([1, 2], "item"), Ids(["a", "b"], "item")


@pytest.mark.parametrize(
    ("known", "values", "names"),
    [
        (INTEGERS, [7, "7", 7.0, "7.0", " 7", "7\t", "\u00a07"], ["7"] * 7),
        (INTEGERS, [-3, "-3", -3.0, str(-(2**63)), 2**63 - 1], ["-3"] * 3 + [str(-(2**63)), MOST]),
        (
            TEXTS,
            ["a", " a", "a\t", "a\u00a0b", " 7.0", "007"],
            ["a"] * 3 + ["a\u00a0b", "7.0", "007"],
        ),
        (TEXTS, [" " * 300 + "a", "0088003"], ["a", "0088003"]),
        (INTEGERS, ["7\n", "7.000", MOST, MOST + ".0"], ["7", "7", MOST, MOST]),
        (INTEGERS, [], []),
    ],
)
def test_values_are_read_as_ids(known, values, names):
    assert id_names(values, known) == names
    assert [id_names([value], known) for value in values] == [[name] for name in names]


WRONG = [None, True, [], {}, 1.5, float("nan"), float("inf"), 2.0**53, 2**63, 10**400]
WRONG += ["", " ", "null", " NaN", "a\0b", "a\nb", "\ud800", "x" * 257]
WRONG_INTEGERS = ["abc", "007", "7.5", "1e3", "\u0667", "-0", "-", "--1", "+7"]
WRONG_INTEGERS += [str(2**63), "9" * 300, "1\n7"]


@pytest.mark.parametrize(
    ("known", "good", "wrong"),
    [
        *product([INTEGERS], [" 7", 7], [*WRONG, *WRONG_INTEGERS]),
        *product([TEXTS], [" a", "a"], [*WRONG, 12, 12.0, -1]),
    ],
)
def test_the_first_wrong_value_is_named(known, good, wrong):
    for before, after in [(0, 0), (1, 0), (2, 1), (5, 9)]:
        values = [*[good] * before, wrong, *[good] * after, None]
        with pytest.raises(WrongIdError, match="item") as caught:
            id_names(values, known)
        assert caught.value.position == before
        assert "allowed: " in str(caught.value)


@pytest.mark.parametrize("known", [INTEGERS, TEXTS])
def test_many_ids_are_read_at_once(known, monkeypatch):
    """One by one, 100,000 ids with white space took a minute."""
    calls = []

    def counted(cells, ids):
        calls.append(len(cells.values))
        return engine_ids_read(cells, ids)

    engine_ids_read = engine_ids.read_ids_like
    monkeypatch.setattr(engine_ids, "read_ids_like", counted)
    many = [f" {number}" for number in range(100_000)]
    assert id_names(many, known) == [str(number) for number in range(100_000)]
    assert calls == [100_000]
    with pytest.raises(WrongIdError) as caught:
        id_names([*many, "a\0b"], known)
    assert caught.value.position == 100_000
    assert len(calls) < 25


@pytest.mark.parametrize("kind", ["user", "item"])
def test_a_number_is_no_id_of_a_model_with_text_ids(kind):
    with pytest.raises(WrongIdError, match=f"number 88003; allowed: text .* {kind} ids .* text"):
        id_names([88003.0], Ids(["a"], kind))


def test_ids_given_one_by_one_are_read_quickly():
    started = time.perf_counter()
    for number in range(10_000):
        id_names([str(number)], INTEGERS)
    assert time.perf_counter() - started < 0.5  # a column for each would take 4 seconds

import numpy as np
import pytest

from tests.lm.conftest import TEXTS
from warmstart.errors import DataError
from warmstart.lm import LMConfig, TextEncoder, load_language_model
from warmstart.lm.ground import Grounding, normalised

TITLES = ["The Old Dragon", "even book", "odd film", "Red Tale", "even book", "a wise tale of blue"]


@pytest.fixture(scope="module")
def encoder(encoder_folder):
    lm = load_language_model(LMConfig(source=str(encoder_folder), device="cpu"))
    return TextEncoder(lm, use_cache=False)


def items(encoder, texts, **options):
    (found,) = Grounding(TITLES, encoder).ground([texts], **options)
    return found.items.tolist()


def test_an_equal_title_is_its_item_in_any_spelling(encoder):
    (found,) = Grounding(TITLES, encoder).ground([["the OLD, dragon!", " Réd-Tale ", "odd  film."]])
    assert found.items.tolist() == [0, 3, 2]
    assert found.similarities.tolist() == [1, 1, 1]


def test_any_other_text_means_the_nearest_title(encoder):
    text = "the wise tale of blue"
    (found,) = Grounding(TITLES, encoder).ground([[text]])
    similarities = encoder.encode(TITLES) @ encoder.encode([text])[0]
    assert found.items[0] == similarities.argmax()
    assert found.similarities[0] == pytest.approx(similarities.max(), abs=1e-6)
    assert items(encoder, [text], min_similarity=0.9999) == [-1]


def test_items_of_one_title_are_taken_in_turn_and_none_twice(encoder):
    first = items(encoder, ["even book"] * 3)
    assert first[:2] == [1, 4]
    assert first[2] not in (1, 4)
    assert items(encoder, ["even book"] * 3, distinct=False) == [1, 1, 1]
    everything = items(encoder, ["odd film"] * 8)
    assert sorted(everything[:6]) == list(range(6))
    assert everything[6:] == [-1, -1]


def test_what_is_not_allowed_at_a_place_is_not_found_there(encoder):
    def allowed(number, listed):
        mask = np.ones(len(TITLES), bool)
        mask[4 if len(listed) else 1] = False
        return mask

    assert items(encoder, ["even book", "even book"], allowed=allowed) == [4, 1]
    assert items(encoder, ["even book"], allowed=lambda *_: np.zeros(len(TITLES), bool)) == [-1]


def test_an_empty_text_means_no_item(encoder):
    (found,) = Grounding(TITLES, encoder).ground([["", "  ", "red tale"]])
    assert found.items.tolist() == [-1, -1, 3]
    assert np.isnan(found.similarities[:2]).all()
    assert [len(one.items) for one in Grounding(TITLES, encoder).ground([[], ["x"]])] == [0, 1]


def test_titles_in_other_scripts_differ(encoder):
    assert len({normalised(title) for title in ("東京物語", "七人の侍", "???", "!!!")}) == 4
    assert normalised("Amélie (2001)") == normalised("amelie 2001")


@pytest.mark.parametrize(("titles", "message"), [([], "no titles"), ([*TEXTS, " "], "title 5")])
def test_a_catalogue_without_titles_is_refused(encoder, titles, message):
    with pytest.raises(DataError, match=message):
        Grounding(titles, encoder)

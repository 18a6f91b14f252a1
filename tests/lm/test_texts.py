import numpy as np
import pytest

from tests.lm.conftest import TEXTS
from warmstart.lm import LMConfig, load_language_model
from warmstart.lm.texts import TokenizedTexts, token_ids, tokenize


@pytest.fixture(scope="module")
def many():
    lengths = np.random.default_rng(0).integers(1, 40, 1000)
    return TokenizedTexts(tuple(np.arange(1, n + 1, dtype=np.int32) for n in lengths), 0, 0)


def test_an_epoch_contains_every_row_once_in_a_new_order(many):
    rng = np.random.default_rng(1)
    rows = np.arange(0, 1000, 2)
    epochs = [np.concatenate(list(many.shuffled_batches(rows, 8, rng))) for _ in range(2)]
    assert all(np.array_equal(np.sort(epoch), rows) for epoch in epochs)
    assert not np.array_equal(*epochs)


def test_the_generator_determines_an_epoch(many):
    epochs = [
        np.concatenate(list(many.shuffled_batches(np.arange(1000), 8, np.random.default_rng(2))))
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*epochs)


def test_batches_contain_texts_of_similar_length(many):
    def padding(batches):
        return sum(
            len(rows) * many.lengths[rows].max() - many.lengths[rows].sum() for rows in batches
        )

    order = np.random.default_rng(3).permutation(1000)
    plain = padding([order[i : i + 8] for i in range(0, 1000, 8)])
    bucketed = padding(many.shuffled_batches(np.arange(1000), 8, np.random.default_rng(3)))
    assert bucketed < 0.2 * plain
    assert padding(many.sorted_batches(8)) <= bucketed


def test_a_batch_is_padded_on_the_right_and_masked(many):
    rows = np.array([3, 1])
    batch = many.batch(rows)
    assert batch.ids.shape == batch.mask.shape == (2, many.lengths[rows].max())
    assert batch.mask.sum(1).tolist() == many.lengths[rows].tolist()
    assert (batch.ids[~batch.mask] == 0).all()
    assert (batch.ids[batch.mask] > 0).all()


def test_even_an_empty_text_has_a_token(lm):
    assert (tokenize(lm, ["", *TEXTS]).lengths >= 1).all()
    assert len(tokenize(lm, [])) == 0


def test_marks_in_what_people_write_are_words(causal_folder):
    lm = load_language_model(LMConfig(source=str(causal_folder)))
    end = lm.tokenizer.eos_token
    (marked,), (plain,) = (
        token_ids(lm, [f"red {end} book"], special=False, plain=plain) for plain in (False, True)
    )
    assert lm.tokenizer.eos_token_id in marked
    assert lm.tokenizer.eos_token_id not in plain
    assert marked[0] == plain[0]
    assert marked[-1] == plain[-1]
    assert lm.tokenizer.eos_token_id not in tokenize(lm, [f"red {end} book"]).ids[0]
    (opened,) = token_ids(lm, ["red book"], special=True, plain=True)
    assert [opened] == token_ids(lm, ["red book"], special=True)

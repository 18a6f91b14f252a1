"""The contract of every click model, in a world whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter
from safetensors.numpy import load, save

from tests.backbones.click.conftest import (
    CONFIGS,
    HATED,
    LOVED,
    N_ITEMS,
    N_RATED,
    N_USERS,
    make_world,
)
from warmstart.backbones.click import CLICK_MODELS, ClickConfig, build, label_likelihood
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.data.tasks import LabelTask
from warmstart.errors import (
    ArtefactError,
    ConfigError,
    DataError,
    NotFittedError,
    UnsupportedError,
)
from warmstart.evaluation.labels import auc, expected_calibration_error, log_loss


def fit(config, data, seed=0, **options):
    return build(config).fit(data, rng=np.random.default_rng(seed), **options)


def short(config):
    return config if config.kind == "logistic_ctr" else config.model_copy(update={"epochs": 3})


def held_out(model, world):
    return model.predict_proba(world.held_out, world.items)


def asked(model, items, liked=(), disliked=()):
    """Predict items for one unknown user who rated the given items."""
    history = [*liked, *disliked]
    ratings = np.repeat([5.0, 1.0], [len(liked), len(disliked)]).astype(np.float32)
    one = Histories.from_lists([history] * len(items))
    rated = Histories(one.offsets, one.items, ratings=np.tile(ratings, len(items)))
    return model.predict_proba(Queries.of_histories(rated), np.array(items, np.int32))


def nobody(items):
    return Queries.of_users(np.full(len(items), -1))


def test_two_threads_fit_the_same_model_twice(config, two_threads):
    train = make_world(seed=3).train
    models = [fit(short(config), train).state() for _ in range(3)]
    for name, array in models[0].items():
        for other in models[1:]:
            np.testing.assert_array_equal(other[name], array)


def test_every_kind_is_in_the_table_and_survives_json(config):
    adapter = TypeAdapter(ClickConfig)
    assert adapter.validate_json(config.model_dump_json()) == config
    assert build(config).name == config.kind
    assert set(CLICK_MODELS) == {"logistic_ctr", "deepfm", "din"}


def test_held_out_labels_are_predicted(config, world, fitted_once):
    probabilities = held_out(fitted_once(config), world)
    assert probabilities.dtype == np.float32
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert auc(world.labels, probabilities) > 0.9
    assert log_loss(world.labels, probabilities) < 0.45
    assert expected_calibration_error(world.labels, probabilities) < 0.12


def test_what_all_users_think_of_an_item_holds_for_an_unknown_user(config, fitted_once):
    items = np.arange(N_RATED, dtype=np.int32)
    found = fitted_once(config).predict_proba(nobody(items), items)
    assert found[LOVED] > 0.8
    assert found[HATED] < 0.2
    assert 0.35 < found[2:].mean() < 0.65
    assert found[HATED] < found[2:].min()
    assert found[2:].max() < found[LOVED]


def test_a_user_who_dislikes_a_genre_gets_less_of_it(config, fitted_once):
    model = fitted_once(config)
    even, odd = [20, 22, 24, 26], [21, 23, 25, 27]
    likes_odd = asked(model, even + odd, liked=[3, 5, 7, 9], disliked=[2, 4, 6, 8])
    assert likes_odd[4:].mean() > likes_odd[:4].mean() + 0.3
    dislikes_odd = asked(model, even + odd, liked=[2, 4, 6, 8], disliked=[3, 5, 7, 9])
    assert dislikes_odd[:4].mean() > dislikes_odd[4:].mean() + 0.3


def test_a_user_who_likes_little_gets_lower_probabilities():
    # Half of the users like nothing, so a history of dislikes tells what follows.
    def half_like_nothing(labels, rng):
        return labels & (np.repeat(np.arange(N_USERS) % 4 < 2, len(labels) // N_USERS))

    model = fit(CONFIGS["logistic_ctr"], make_world(relabel=half_like_nothing).train)
    pleased = asked(model, [20, 21], liked=[2, 3, 4, 5, 6, 7])
    displeased = asked(model, [20, 21], disliked=[2, 3, 4, 5, 6, 7])
    assert (pleased > displeased + 0.2).all()


def test_a_known_user_without_history_is_known_by_the_training_pairs(config, world, fitted_once):
    model = fitted_once(config)
    users = np.arange(10, dtype=np.int32)
    items = np.full(10, 30, np.int32)
    train = world.ratings.where(world.ratings.times < 18)
    histories = train.histories(N_USERS)
    without = model.predict_proba(Queries.of_users(users), items)
    same = model.predict_proba(Queries(users, histories.take(users)), items)
    np.testing.assert_array_equal(without, same)
    assert auc(users % 2 == 0, without) == 1
    no_events = Queries(users, Histories.from_lists([[]] * 10))
    assert not np.array_equal(model.predict_proba(no_events, items), without)


def test_a_history_without_ratings_is_of_liked_items(config, fitted_once):
    model = fitted_once(config)
    plain = Queries.of_histories(Histories.from_lists([[2, 4, 6]] * 2))
    items = np.array([20, 21], np.int32)
    np.testing.assert_array_equal(
        model.predict_proba(plain, items), asked(model, [20, 21], liked=[2, 4, 6])
    )


def test_items_without_ratings_follow_their_features(config, world):
    # Here all users like the even items, so that the attribute alone tells.
    data = replace(world.train, labels=world.train.items % 2 == 0)
    cold = np.arange(N_RATED, N_ITEMS, dtype=np.int32)
    even, odd, even_too, odd_too, plain, plain_too = fit(config, data).predict_proba(
        nobody(cold), cold
    )
    assert min(even, even_too) > 0.6
    assert max(odd, odd_too) < 0.4
    # Items without ratings and attributes are the same average item.
    assert plain == plain_too
    assert odd < plain < even


def test_items_without_ratings_follow_their_texts(config, world):
    texts = np.random.default_rng(0).normal(0, 0.1, (N_ITEMS, 6)).astype(np.float32)
    texts[np.arange(N_ITEMS), np.arange(N_ITEMS) % 2] += 1
    labels = world.train.items % 2 == 0
    data = replace(world.train, labels=labels, attributes=None, text_vectors=texts)
    cold = np.arange(N_RATED, N_ITEMS, dtype=np.int32)
    found = fit(config, data).predict_proba(nobody(cold), cold)
    assert found[::2].min() > 0.6
    assert found[1::2].max() < 0.4


def test_an_added_item_is_predicted_like_an_unrated_item_of_the_fit(config, world, fitted_once):
    model, rng = fitted_once(config), np.random.default_rng(4)
    grown = build(model.chosen_config).restore(model.state())
    grown.add_items(2, world.train.attributes[[N_RATED, N_RATED + 1]])
    grown.add_items(1, world.train.attributes[[N_ITEMS - 1]])
    added = np.arange(N_ITEMS, N_ITEMS + 3, dtype=np.int32)
    twins = np.array([N_RATED, N_RATED + 1, N_ITEMS - 1], np.int32)
    again = build(grown.chosen_config).restore(grown.state())
    for user in rng.integers(N_USERS, size=8):
        queries = Queries.of_users(np.full(3, user))
        expected = model.predict_proba(queries, twins)
        assert len(set(expected)) == 3
        np.testing.assert_allclose(grown.predict_proba(queries, added), expected, rtol=1e-5)
        np.testing.assert_allclose(again.predict_proba(queries, added), expected, rtol=1e-5)
    np.testing.assert_allclose(held_out(grown, world), held_out(model, world), rtol=1e-6)
    rated = asked(grown, [*added], liked=[int(added[0])])  # it counts in a history too
    np.testing.assert_allclose(rated, asked(model, [*twins], liked=[N_RATED]), rtol=1e-5)


def test_an_added_item_without_features_is_the_average_item(config):
    world = make_world(attributes=False)
    model = fit(short(config), world.train)
    expected = model.predict_proba(nobody([0]), np.array([N_ITEMS - 1], np.int32))
    model.add_items(1)
    found = model.predict_proba(nobody([0]), np.array([N_ITEMS], np.int32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_features_unrated_items_are_the_average_item(config):
    model = fit(short(config), make_world(attributes=False).train)
    cold = np.arange(N_RATED, N_ITEMS, dtype=np.int32)
    found = model.predict_proba(nobody(cold), cold)
    assert (found == found[0]).all()
    assert 0.3 < found[0] < 0.7


def test_permuted_labels_leave_nothing_to_learn(config):
    world = make_world(relabel=lambda labels, rng: rng.permutation(labels))
    found = held_out(fit(short(config), world.train), world)
    assert 0.41 < auc(world.labels, found) < 0.59  # a standard deviation is .026


def test_pairs_do_not_depend_on_each_other(config, world, fitted_once):
    model = fitted_once(config)
    whole = held_out(model, world)
    order = np.random.default_rng(1).permutation(len(whole))[:50]
    some = model.predict_proba(world.held_out.take(order), world.items[order])
    np.testing.assert_allclose(some, whole[order], rtol=1e-5, atol=1e-6)
    one = model.predict_proba(world.held_out.take(order[:1]), world.items[order[:1]])
    np.testing.assert_allclose(one, whole[order[:1]], rtol=1e-5, atol=1e-6)


def test_nothing_is_asked_and_nothing_answered(config, fitted_once):
    model = fitted_once(config)
    assert model.predict_proba(Queries.of_users([]), np.zeros(0, np.int32)).shape == (0,)


def test_the_seed_determines_the_fit(config, world):
    one, same, other = (held_out(fit(short(config), world.train, seed=s), world) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.array_equal(one, other) == (config.kind == "logistic_ctr")


def test_fit_changes_neither_the_random_state_nor_the_data(config):
    world = make_world()
    before = world.train.hash
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    fit(short(config), world.train)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert replace(world.train).hash == before  # a new object, with a new hash


def test_state_restores_the_predictions(config, world, fitted_once):
    model = fitted_once(config)
    state = load(save({name: np.ascontiguousarray(a) for name, a in model.state().items()}))
    again = build(config).restore(state)
    np.testing.assert_array_equal(held_out(again, world), held_out(model, world))
    users = Queries.of_users(np.arange(20))
    items = np.arange(20, dtype=np.int32) + 40
    np.testing.assert_array_equal(
        again.predict_proba(users, items), model.predict_proba(users, items)
    )
    for name in state:
        if not name.endswith(("attribute_offsets", "attribute_values", "attribute_number")):
            less = {key: array for key, array in state.items() if key != name}
            with pytest.raises(ArtefactError, match="lacks"):
                build(config).restore(less)


def test_a_second_fit_discards_the_first(config, world):
    config = short(config)
    other = make_world(seed=5, attributes=False)
    model = fit(config, other.train, seed=9)
    model.fit(world.train, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(held_out(model, world), held_out(fit(config, world.train), world))


def test_a_killed_fit_resumes_to_the_same_predictions(network_config, world, tmp_path):
    def validate(predict):
        return float(predict(world.held_out, world.items)[0])

    config = network_config.model_copy(update={"epochs": 4, "patience": 99})
    expected = fit(config, world.train, validate=validate)
    calls = []

    def interrupted(predict):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return validate(predict)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic", iter(range(0, 10**6, 60)).__next__)  # always checkpoint
        with pytest.raises(KeyboardInterrupt):
            fit(config, world.train, validate=interrupted, run_folder=tmp_path)
    resumed = []

    def counting(predict):
        resumed.append(1)
        return validate(predict)

    again = fit(config, world.train, validate=counting, run_folder=tmp_path)
    assert len(resumed) == 2
    assert again.chosen_config == expected.chosen_config
    np.testing.assert_array_equal(held_out(again, world), held_out(expected, world))
    other = make_world(seed=3).train
    with pytest.raises(ArtefactError, match="other data, settings or seed"):
        fit(config, other, validate=validate, run_folder=tmp_path)


def test_validation_chooses_the_epoch_and_refitting_with_it_repeats(network_config, world):
    metrics = iter([1.0, 9.0, 3.0, 2.0])
    config = network_config.model_copy(update={"epochs": 4, "patience": 4})
    model = fit(config, world.train, validate=lambda predict: next(metrics))
    assert model.chosen_config == config.model_copy(update={"epochs": 2})
    refitted = fit(model.chosen_config, world.train)
    np.testing.assert_array_equal(held_out(refitted, world), held_out(model, world))


def test_early_stopping_by_likelihood_ends_near_the_best_epoch(network_config, world):
    task = LabelTask("valid", world.held_out, world.items, world.labels, world.held_out.users)
    values = []

    def validate(predict):
        values.append(label_likelihood(predict, task))
        assert values[-1] == pytest.approx(
            -log_loss(task.labels, predict(task.queries, task.items))
        )
        return values[-1]

    model = fit(network_config, world.train, validate=validate)
    assert model.chosen_config.epochs == 1 + int(np.argmax(values))
    assert len(values) <= model.chosen_config.epochs + network_config.patience
    assert label_likelihood(model.predict_proba, task) == max(values)


def test_error_messages(config, world, fitted_once):
    model, name = fitted_once(config), config.kind
    ask = world.held_out.take(np.arange(3))
    with pytest.raises(NotFittedError, match=f"click model {name}: call fit or restore first"):
        build(config).predict_proba(ask, world.items[:3])
    with pytest.raises(NotFittedError, match=name):
        build(config).state()
    with pytest.raises(DataError, match=r"items have shape \(2,\) for 3 queries"):
        model.predict_proba(ask, world.items[:2])
    with pytest.raises(DataError, match="item row 60 is unknown; allowed: from 0 to 59"):
        model.predict_proba(ask, np.array([0, 60, 0]))
    with pytest.raises(DataError, match="user row 80 is unknown; allowed: from -1 to 79"):
        model.predict_proba(Queries.of_users([80]), np.array([0]))
    stranger = Queries.of_histories(Histories.from_lists([[99]]))
    with pytest.raises(DataError, match="histories: item row 99 is unknown"):
        model.predict_proba(stranger, np.array([0]))
    other = "din" if name != "din" else "deepfm"
    with pytest.raises(ConfigError, match=f"click model {other}: config must be a"):
        build(TypeAdapter(ClickConfig).validate_python({"kind": other})).__class__(config)


def test_training_that_diverges_is_named(world, network_config):
    wild = network_config.model_copy(update={"learning_rate": 1e30, "epochs": 3})
    with pytest.raises(ConfigError, match=r"learning_rate|settings of the training"):
        fit(wild, world.train)


def test_vectors_larger_than_the_memory_are_refused(world, network_config):
    with pytest.raises(UnsupportedError, match="lower width"):
        fit(network_config.model_copy(update={"width": 10**12}), world.train)

"""Laws of the worlds: the ideal answer is best, and who knows nothing is at chance."""

import numpy as np
import pytest

from warmstart.controlled_lists import controlled_lists, genre_list
from warmstart.data.control import Control
from warmstart.data.queries import Queries
from warmstart.data.splits.check import check_split
from warmstart.evaluation.labels import auc, expected_calibration_error, log_loss
from warmstart.fitted import Fitted
from warmstart.methods import build
from warmstart.rank import by_user, mean_metric, rank_task
from warmstart.testing.worlds.checkerboard import checkerboard, expected_random_ndcg
from warmstart.testing.worlds.cycle import backwards, cycle_world, shuffled, with_histories
from warmstart.testing.worlds.dialogues import dialogue_world, parity_of_words
from warmstart.testing.worlds.genres import genre_sets, genres_world, liked_places
from warmstart.testing.worlds.items import GENRES
from warmstart.testing.worlds.ratings import ratings_world

SEEDS = pytest.mark.parametrize("seed", range(3))


def random_scores(queries, items):
    return np.random.default_rng(5).random((len(queries), len(items)), np.float32)


@pytest.fixture(params=["cycle", "ratings", "dialogues", "genres"])
def world(request):
    makers = {
        "cycle": cycle_world,
        "ratings": ratings_world,
        "dialogues": dialogue_world,
        "genres": genres_world,
    }
    return makers[request.param]


def test_splits_keep_their_rules_and_follow_the_seed(world):
    check_split(world().split)
    assert world().split.hash == world().split.hash != world(seed=1).split.hash
    assert len(world().split.train.interactions)


# -- checkerboard --


def test_the_random_control_keeps_the_counts_and_tells_nothing():
    board = checkerboard()
    control = board.with_random_interactions(np.random.default_rng(0))
    for name in ("interactions", "below_threshold"):
        ours, theirs = getattr(board.data, name), getattr(control, name)
        counts = np.bincount(theirs.users, minlength=board.data.n_users)
        own = np.bincount(ours.users, minlength=board.data.n_users)
        assert (counts <= own).all()
        assert (counts >= own - 1).all()  # halves are rounded
        same = board.user_parity[theirs.users] == board.item_parity[theirs.items]
        assert abs(same.mean() - 0.5) < 0.05
    assert not np.isin(control.below_threshold.keys, control.interactions.keys).any()


def test_ratings_say_what_interactions_say():
    board = checkerboard()
    ratings = board.data.ratings
    keys = ratings.users.astype(np.int64) << 32 | ratings.items
    liked = ratings.labels(board.data.positive_rating)
    assert sorted(keys[liked]) == sorted(board.data.interactions.keys)
    assert sorted(keys[~liked]) == sorted(board.data.below_threshold.keys)
    same = board.user_parity[ratings.users] == board.item_parity[ratings.items]
    np.testing.assert_array_equal(same, liked)


def test_dialogues_of_the_checkerboard_mention_warm_items_of_one_parity():
    board = checkerboard()
    said = board.data.dialogues
    assert board.data.warm[said.items.items].all()
    for dialogue in range(len(said)):
        turns = slice(said.offsets[dialogue], said.offsets[dialogue + 1])
        mentioned = said.items.take(np.arange(len(said.texts))[turns]).items
        assert len(set(mentioned.tolist())) == 3
        assert set(board.item_parity[mentioned]) == {parity_of_words(" ".join(said.texts[turns]))}


# -- order --


@SEEDS
def test_who_knows_the_cycle_names_the_next_item(seed):
    world = cycle_world(seed=seed)
    assert mean_metric(world.ideal_scores, world.test, "hit@1") == 1
    assert sorted(world.successors) == list(range(len(world.successors)))
    item, steps = 0, 0
    while steps == 0 or item:
        item, steps = world.successors[item], steps + 1
    assert steps == len(world.successors) / 2


@SEEDS
def test_sets_random_scores_and_changed_histories_have_their_known_levels(seed):
    world = cycle_world(seed=seed)
    task = world.test
    assert 0.35 < world.set_hit < 0.45
    assert mean_metric(world.set_scores, task, "hit@1") == pytest.approx(world.set_hit, abs=0.1)
    assert mean_metric(random_scores, task, "hit@1") == pytest.approx(1 / 25, abs=0.04)
    histories = task.queries.histories
    changed = shuffled(histories, np.random.default_rng(seed))
    assert [set(a) for a in map(changed.__getitem__, range(9))] == [
        set(a) for a in map(histories.__getitem__, range(9))
    ]
    assert mean_metric(world.ideal_scores, with_histories(task, changed), "hit@1") < 0.25
    back = backwards(histories)
    assert back[3].tolist() == histories[3][::-1].tolist()
    assert mean_metric(world.ideal_scores, with_histories(task, back), "hit@1") < 0.1


def test_a_cycle_shows_who_reads_order():
    split = cycle_world().split
    task = split.tasks("test")["all"]
    hits = {
        name: mean_metric(model.fit(split.train, valid=split.validation()).score, task, "hit@1")
        for name, model in {
            "markov": build("markov"),
            "newest count more": build("item_knn"),
            "all count alike": build("cf_only", {"backbone": {"kind": "ease", "l2": 5}}),
        }.items()
    }
    assert hits["markov"] > 0.95
    assert hits["newest count more"] > 0.7
    assert hits["all count alike"] < 0.45


# -- labels --


@SEEDS
def test_true_probabilities_have_the_ideal_metrics(seed):
    world = ratings_world(seed=seed)
    task = world.test
    ideal = world.ideal_probabilities(task)
    assert auc(task.labels, ideal) == pytest.approx(world.ideal_auc, abs=0.05)
    assert log_loss(task.labels, ideal) == pytest.approx(world.ideal_log_loss, abs=0.06)
    assert expected_calibration_error(task.labels, ideal) < 0.04
    best = log_loss(task.labels, ideal)
    for other in (np.full(len(ideal), 0.5), 1 - ideal, np.where(ideal > 0.5, 0.99, 0.01)):
        assert log_loss(task.labels, other) > best + 0.15


@SEEDS
def test_users_and_items_alone_tell_no_label(seed):
    world = ratings_world(seed=seed)
    task, ratings = world.test, world.split.train.ratings
    for column, asked in ((ratings.users, task.groups), (ratings.items, task.items)):
        rates = np.bincount(column, ratings.labels(4)) / np.bincount(column)
        assert auc(task.labels, rates[asked]) == pytest.approx(0.5, abs=0.12)


def test_random_ratings_tell_nothing():
    world = ratings_world(noise=0.5)
    assert world.ideal_auc == 0.5
    assert world.ideal_log_loss == pytest.approx(np.log(2))
    same = world.same_parity(world.test)
    assert auc(world.test.labels, same) == pytest.approx(0.5, abs=0.06)


def test_other_test_ratings_change_nothing_before_the_test():
    world = ratings_world()
    other = world.with_other_test_ratings()
    check_split(other.split)
    assert other.split.train.hash == world.split.train.hash
    assert other.split.train.ratings.hash == world.split.train.ratings.hash
    ours, theirs = world.split.tasks("valid")["all"], other.split.tasks("valid")["all"]
    assert ours.hash == theirs.hash
    np.testing.assert_array_equal(world.test.labels, ~other.test.labels)


# -- dialogues --


@SEEDS
def test_the_words_of_a_dialogue_tell_the_wanted_items(seed):
    world = dialogue_world(seed=seed)
    task = world.split.tasks("test")["all"]
    assert len(task.queries) == 40
    wanted = np.array([parity_of_words(text) for text in task.queries.texts])
    np.testing.assert_array_equal(world.item_parity[task.relevance.indices], wanted)
    assert abs(wanted.mean() - 0.5) < 0.01
    assert mean_metric(world.ideal_scores, task, "recall@10") == 1
    assert mean_metric(random_scores, task, "recall@10") == pytest.approx(10 / 22, abs=0.2)
    contrary = with_texts(task, task.queries.texts[::-1])
    opposite = wanted != wanted[::-1]
    lost = contrary.take(opposite)
    assert opposite.any()
    assert mean_metric(world.ideal_scores, lost, "recall@10") == 0


def with_texts(task, texts):
    from dataclasses import replace

    return replace(task, queries=Queries.of_texts(texts, task.queries.histories))


# -- genres --


@pytest.mark.parametrize(
    "control",
    [
        *(Control(n_genres=n) for n in range(2, 5)),
        *(Control(genres=names) for names in (("Even", "Odd"), ("Long", "Odd"), GENRES)),
    ],
    ids=repr,
)
def test_ideal_lists_have_the_known_number_of_liked_items(control):
    world, k = genres_world(), 4
    board = world.board
    fitted = Fitted.from_dataset(board.data)
    users = board.active_users
    items = np.arange(board.data.n_items, dtype=np.int32)
    queries = Queries.of_users(users).with_control(control)
    scores = board.ideal_scores(users, items)

    def choose(*query):
        return genre_list(fitted, *query)

    found, _ = controlled_lists(fitted, queries, items, scores, k, None, choose)
    for user, chosen in zip(users, found, strict=True):
        parity = board.user_parity[user]
        assert (board.item_parity[chosen] == parity).sum() == liked_places(control, parity, k)
        named = control.genres or genre_sets(board, chosen)
        assert genre_sets(board, chosen) == frozenset(named)
        assert control.n_genres in (None, len(named))


def test_ideal_scores_are_best_on_the_split_of_the_genres():
    world = genres_world()
    task = world.split.tasks("test")["all"]
    ideal = by_user(world.board.ideal_scores)
    chance = expected_random_ndcg(task, "ndcg@10")
    assert mean_metric(random_scores, task, "ndcg@10") == pytest.approx(chance, abs=0.05)
    assert rank_task(ideal, task, 10).mean("ndcg@10") > chance + 0.15

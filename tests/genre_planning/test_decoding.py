"""What an untrained LM writes: whatever it prefers, the rules of the lists hold."""

import numpy as np
import pytest

from warmstart.errors import ConfigError
from warmstart.genre_planning.decoding import Asked, ListWriter
from warmstart.genre_planning.settings import DLCRecConfig
from warmstart.genre_planning.tasks import TaskName, TaskWriter, tasks_of
from warmstart.genre_planning.trails import TrailWriter
from warmstart.genre_planning.windows import NO_GENRE, GenreTable, Told, Window
from warmstart.lm import CausalLMConfig, LMConfig, load_causal_lm, load_encoder
from warmstart.lm.causal import CausalLM
from warmstart.lm.ground import Grounding
from warmstart.lm.supervised import Examples
from warmstart.testing.tiny_lm import tiny_causal, tiny_encoder

WORDS = ("red", "blue", "old", "new", "tale", "book", "film", "dragon")
GENRES = ("crime", "drama", "war", "music")
N_ITEMS, LENGTH = 40, 4


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    words = (*WORDS, *GENRES, ":", "?", ",", "next", *map(str, range(11)))
    folder = tiny_causal(tmp_path_factory.mktemp("causal"), words)
    return load_causal_lm(CausalLMConfig(source=str(folder), device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def titles():
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, 2, replace=False)) for _ in range(N_ITEMS)]


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(1)
    sets = rng.random((N_ITEMS, len(GENRES))) < 0.15
    first = rng.integers(0, len(GENRES), N_ITEMS).astype(np.int32)
    sets[np.arange(N_ITEMS), first] = True
    return GenreTable(sets, GENRES, first, first_only=False)


@pytest.fixture(scope="module")
def make(causal, titles, table, tmp_path_factory):
    def build(**settings):
        config = DLCRecConfig.build(
            {
                "list_length": LENGTH,
                "prompts": {
                    **{"introduction": "", "number_hint": "next {number}"},
                    **{"genres_hint": "next {genres}", "ask_genres": "", "ask_places": ""},
                    **{"ask_items": "", "title_tokens": 3},
                },
                **settings,
            }
        )
        trails = TrailWriter(causal, titles, GENRES, config.prompts)
        tasks = TaskWriter(trails, table, config)
        grounding = None
        if config.decoding == "free":
            folder = tiny_encoder(tmp_path_factory.mktemp("encoder"), WORDS)
            encoder = load_encoder(LMConfig(source=str(folder), device="cpu", dtype="float32"))
            grounding = Grounding(titles, encoder)
        models: dict[TaskName, CausalLM] = {}
        for task in tasks_of(config.plan):
            models[task] = causal
        return ListWriter(models, tasks, grounding)

    return build


@pytest.fixture(scope="module")
def told(table):
    rng = np.random.default_rng(2)
    return tuple(
        table.told(rng.choice(N_ITEMS, 3, replace=False).astype(np.int32)) for _ in range(6)
    )


def asked(told, table, numbers, genres=None):
    allowed = np.ones((len(told), N_ITEMS), bool)
    for row, own in enumerate(told):
        allowed[row, own.items] = False
    genres = (None,) * len(told) if genres is None else genres
    return Asked(told, numbers, genres, allowed, table.matrix, LENGTH)


@pytest.mark.parametrize("plan", ["cascade", "without_filling", "one_pass"])
@pytest.mark.parametrize("n_genres", [1, 2, 3, 4])
def test_lists_have_exactly_the_number_of_genres(make, told, table, plan, n_genres):
    found = make(plan=plan).write(asked(told, table, (n_genres,) * len(told)))
    for own, items in zip(told, found, strict=True):
        assert (items >= 0).all()
        assert len(set(items.tolist())) == LENGTH
        assert not set(items.tolist()) & set(own.items.tolist())
        assert table.matrix[items].any(axis=0).sum() == n_genres


def test_lists_have_the_named_genres(make, told, table):
    names = [np.array([1, 3])] * len(told)
    found = make().write(asked(told, table, (2,) * len(told), names))
    for items in found:
        assert np.flatnonzero(table.matrix[items].any(axis=0)).tolist() == [1, 3]


def test_places_have_the_genres_that_were_chosen_and_items_those_of_their_places(make, told, table):
    writer, question = make(), asked(told, table, (2,) * len(told))
    genres = writer.choose_genres(question)
    assert [len(set(own.tolist())) for own in genres] == [2] * len(told)
    places = writer.fill_places(question, genres)
    for own, of_places in zip(genres, places, strict=True):
        assert set(of_places.tolist()) == set(own.tolist())
    items = writer.choose_items(question, genres, places)
    assert np.take_along_axis(table.matrix[items], places[:, :, None], axis=2).mean() > 0.9


def test_a_list_that_cannot_be_is_empty(make, told, table):
    question = asked(told, table, (2,) * len(told))
    question.allowed[0] = table.first == 0
    question.allowed[0] &= table.matrix.sum(axis=1) == 1
    found = make().write(question)
    assert (found[0] == -1).all()
    assert (found[1:] >= 0).all()


@pytest.mark.parametrize("plan", ["cascade", "without_filling", "one_pass", "absent"])
def test_titles_alone_are_of_the_catalogue_and_not_repeated(make, told, table, plan):
    question = asked(told, table, (2,) * len(told))
    found = make(plan=plan, decoding="titles").write(question)
    for row, items in enumerate(found):
        assert len(set(items.tolist())) == LENGTH
        assert question.allowed[row, items].all()


@pytest.mark.parametrize("plan", ["cascade", "absent"])
def test_free_texts_mean_items_that_are_not_repeated(make, told, table, plan):
    question = asked(told, table, (2,) * len(told))
    found = make(plan=plan, decoding="free").write(question)
    for row, items in enumerate(found):
        listed = items[items >= 0]  # an empty line means no item
        assert (items[len(listed) :] == -1).all()
        assert len(set(listed.tolist())) == len(listed)
        assert question.allowed[row, listed].all()


def test_a_score_is_the_likelihood_of_the_title_after_the_history(make, causal, told):
    writer = make(depth=500, beam=500)
    trails = writer._trails
    scores = writer.scores(told)
    prompts = trails.prompts(told, [""] * len(told), room=0)
    for row, item in [(0, 3), (2, 17)]:
        prompt = [*prompts.ids[row].tolist(), *trails.opening(NO_GENRE)]
        title = [*trails.titles[item], trails.separator]
        (expected,) = causal.log_likelihoods(
            type(prompts)((np.array(prompt, np.int32),), prompts.pad_id, 0), [[title]]
        )
        np.testing.assert_allclose(scores[row, item], expected[0], rtol=1e-4)


def test_a_plan_without_genres_cannot_keep_to_them():
    with pytest.raises(ConfigError, match="plan 'absent' chooses no genres"):
        DLCRecConfig.build({"plan": "absent"})


def test_the_answer_alone_is_learned(make, told, table):
    writer = make()
    window = Window(told[0], told[1])
    tasks, trails = writer._tasks, writer._trails
    for task in ("genres", "places", "items"):
        examples = tasks.examples(task, [window], np.random.default_rng(1))
        assert isinstance(examples, Examples)
        (ids,), (learned,) = examples.texts.ids, examples.learned
        assert ids[-1] == trails.end
        assert learned[-1]
        if task == "items":  # the genre before a title is given
            lines = [[*trails.titles[item], trails.separator] for item in told[1].items]
            expected = [*(token for line in lines for token in line)][:-1]
            expected.append(trails.end)
        else:
            genres = told[1].genres
            own = tasks._genres_of(told[1]) if task == "genres" else genres
            expected = [*trails.genre_lines(own)[:-1], trails.end]
        assert ids[learned].tolist() == expected


def test_a_long_history_loses_its_oldest_items(make, table):
    writer = make()
    told = Told(np.arange(30, dtype=np.int32), table.first[:30])
    prompts = writer._trails.prompts([told], [""], room=10)
    assert prompts.n_cut == 1
    assert len(prompts.ids[0]) == 64 - 10
    last, _ = writer._trails.item_lines(Told(told.items[-1:], told.genres[-1:]))
    assert prompts.ids[0].tolist()[-len(last) :] == last or last[-1] in prompts.ids[0]

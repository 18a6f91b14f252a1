"""Situations from public reports of people who do this job, and what happens here.

The numbers are those of the collection that the project started from. Forked workers and pickles
(5, 14) are in ``test_process``; awkward values (4, 15, 18, 21) in ``tests/doors`` as well.
"""

import io
import json
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pandas as pd
import polars as pl
import pytest

import warmstart as ws
from warmstart.cli import main
from warmstart.data.cells import column_of
from warmstart.data.queries import Queries
from warmstart.testing.tiny_lm import tiny_encoder

TOPICS = (("rose", "tulip", "lily"), ("tent", "rope", "boot"), ("soup", "rice", "bean"))
N = 60


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    words = [*(word for topic in TOPICS for word in topic), "the", "of", "box"]
    return ws.load_encoder(
        ws.LMConfig(source=str(tiny_encoder(folder / "tiny", words))), folder=folder
    )


def shop(cold=24, text=None):
    """60 users and 60 items of three topics, and cold items; ``text`` changes the text of a row."""
    rng = np.random.default_rng(0)
    pairs = [
        (f"u{user}", f"p{item}")
        for user in range(N)
        for item in range(N)
        if item % 3 == user % 3 and rng.random() < 0.6
    ]
    titles = [" ".join(rng.permutation(TOPICS[item % 3])) for item in range(N + cold)]
    titles = [text(row, title) if text else title for row, title in enumerate(titles)]
    interactions = {"user": [u for u, _ in pairs], "item": [i for _, i in pairs]}
    return interactions, {"item": [f"p{row}" for row in range(N + cold)], "title": titles}


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert "Traceback" not in err.getvalue()
    return ended.value.code, out.getvalue(), err.getvalue()


# -- 1: the text is in columns of another name --

OTHER_NAMES = {"item": [1, 2], "name": ["oak", "elm"], "description": ["a tree", "another"]}
CLICKS = {"user": ["u", "v"], "item": [1, 2]}


def test_01_columns_of_another_name_are_named_and_nothing_crashes(lm, tmp_path):
    with pytest.warns(ws.DataWarning, match=r"no text.*'name' \(is it 'title'\?\).*'description'"):
        data = ws.from_frames(CLICKS, OTHER_NAMES)
    assert data.catalogue.texts == ("", "")
    assert data.counts["items_without_text"] == 2
    ws.load_model(ws.Popular().fit(data).save(tmp_path / "m"))
    for method in (ws.ContentKNN, ws.TextRidge, ws.EaseText, ws.FilterLLM, ws.ColdLLM):
        with pytest.raises(
            ws.DataError, match=r"no text column.*\['name', 'description'\].*text ="
        ):
            method().fit(data, encoder=lm)


def test_01_the_command_line_says_so_in_one_line(tmp_path):
    interactions, items = shop()
    data = write(tmp_path / "data")
    pl.DataFrame(interactions).write_csv(data / "interactions.csv")
    pl.DataFrame({"item": items["item"], "price": 9.5}).write_csv(data / "items.csv")
    code, _, err = run("fit", data, "--method", "popular", "--out", tmp_path / "m")
    assert code == 0
    assert "warning:" in err
    assert "the items have no text; its other columns: 'price'" in err


def test_01_recbole_without_token_seq(tmp_path):
    folder = write(tmp_path, d__inter="user_id:token\titem_id:token\nu\t1\nv\t2\n")
    (tmp_path / "d.item").write_text("item_id:token\titem_name:token\n1\toak\n2\telm\n")
    with pytest.warns(ws.DataWarning, match=r"'item_name' \(is it 'title'\?\)"):
        assert ws.read_dataset(folder).catalogue.texts == ("", "")
    (tmp_path / "d.item").write_text(
        "item_id:token\ttitle:token\tabout:token_seq\n1\toak\ta tree\n2\telm\tone more\n"
    )
    with pytest.warns(ws.DataWarning, match="not part of the text: 'title'"):
        assert ws.read_dataset(folder).catalogue.texts == ("a tree", "one more")


# -- 2: ids of the two files do not meet; scores that explode --


@pytest.mark.parametrize(
    ("clicked", "listed"), [("p{}.0", "p{}"), ("{:04d}", "{}"), ("P{}", "p{}")]
)
def test_02_ids_that_never_meet_are_an_error_with_one_of_each_side(clicked, listed):
    items = {"item": [listed.format(n) for n in range(1, 6)], "title": list("abcde")}
    clicks = {"user": ["u"] * 5, "item": [clicked.format(n) for n in range(1, 6)]}
    with pytest.raises(ws.DataError) as caught:
        ws.from_frames(clicks, items)
    assert repr(clicked.format(1)) in str(caught.value)
    assert repr(listed.format(1)) in str(caught.value)


@pytest.mark.parametrize("written", [12.0, " 12", "12 "])
def test_02_ids_that_software_changed_meet(written):
    data = ws.from_frames(
        {"user": ["u"], "item": [written]},
        {"item": ["12"], "title": ["x"]}
        if isinstance(written, str)
        else {"item": [12], "title": ["x"]},
    )
    assert data.counts["unknown_items_added"] == 0


def test_02_few_ids_that_meet_are_a_warning():
    clicks = {"user": ["u"] * 5, "item": ["1", "2", "a", "b", "c"]}
    with pytest.warns(ws.DataWarning, match="only 2 of the 5 items"):
        ws.from_frames(clicks, {"item": ["1", "2", "3"], "title": ["x", "y", "z"]})


NO_TEXTS = {
    "warm items without text": lambda row, title: "" if row < N - 11 else title,
    "one text for all": lambda row, title: "the box",
    "one text for all cold ones": lambda row, title: title if row < N else "the box",
    "cold items without text": lambda row, title: title if row < N else "",
}


@pytest.mark.parametrize("method", ["EaseText", "TextRidge", "FilterLLM", "ColdLLM"])
@pytest.mark.parametrize("kind", NO_TEXTS)
def test_02_scores_stay_in_range_whatever_the_texts_are(kind, method, lm):
    data = ws.from_frames(*shop(text=NO_TEXTS[kind]))
    settings = (
        {"backbone": {"kind": "ials", "width": 8}} if method in ("FilterLLM", "ColdLLM") else {}
    )
    if method == "ColdLLM":
        settings |= {"judge": None}
    if method == "FilterLLM":
        settings |= {"epochs": 0}
    model = getattr(ws, method)(**settings).fit(data, encoder=lm)
    model.add_items({"item": ["new", "newer"], "title": ["rose tulip", "of the box"]})
    users, items = np.arange(N), np.arange(len(model.fitted.catalogue))
    scores = model.score(Queries.of_users(users), items.astype(np.int32))
    warm = scores[:, :N]
    cold = scores[:, N:]
    cold = np.where(np.isnan(cold), -np.inf, cold)
    limit = warm.max(axis=1) + 3 * np.abs(warm).max(axis=1)
    assert (cold.max(axis=1) <= limit).all(), float(cold.max())


def test_02_texts_that_say_nothing_lift_no_cold_item_above_warm_ones(lm):
    data = ws.from_frames(*shop(text=NO_TEXTS["one text for all"]))
    model = ws.EaseText().fit(data, encoder=lm)
    lists = model.recommend([f"u{n}" for n in range(N)], 5)
    assert lists["is_cold"].mean() < 0.05


# -- 3: a quote that is never closed --


def test_03_an_open_quote_names_row_column_and_start(tmp_path):
    folder = write(tmp_path, interactions__csv='user,item\nu1,"1\nu1,2\nu2,3\n')
    with pytest.raises(ws.DataError, match="row 1, column 'item': got '\"1': a quote opens"):
        ws.read_dataset(folder)
    folder = write(tmp_path, interactions__csv="user,item\nu1,1\n")
    write(tmp_path, items__csv='item,title\n1,oak\n2,"The quick\n3,fox\n4,pine\n')
    with pytest.raises(ws.DataError, match=r"items\.csv: row 2, column 'title': got '\"The quick'"):
        ws.read_dataset(folder)
    code, _, err = run("split", folder, "--out", tmp_path / "s")
    assert code == 2
    assert len(err.strip().splitlines()) == 2  # the stage, and the problem


def test_03_two_stray_quotes_some_rows_apart(tmp_path):
    write(tmp_path, interactions__csv="user,item\nu1,1\nu1,5\nu1,2\n")
    write(tmp_path, items__csv='item,title\n1,oak\n2,"The quick\n3,fox\n4,"pine\n5,elm\n')
    with pytest.raises(ws.DataError, match=r"row 2, column 'title'.*is not doubled"):
        ws.read_dataset(tmp_path)
    write(tmp_path, items__csv='item,title\n1,oak\n2,"The quick\n3,fox\n4,pine"\n5,elm\n')
    with pytest.warns(ws.DataWarning, match=r"row 2, column 'title' contains.*like other rows"):
        data = ws.read_dataset(tmp_path)
    assert data.catalogue.texts[1] == "The quick 3,fox 4,pine"


def test_03_prose_with_line_breaks_and_commas_is_no_suspect(tmp_path):
    write(tmp_path, interactions__csv="user,item\nu1,1\n")
    write(
        tmp_path,
        items__csv='item,title\n1,"A ""fine"" tree,\nwith leaves, and\nHowever, it fell"\n',
    )
    texts = ws.read_dataset(tmp_path).catalogue.texts
    assert texts == ('A "fine" tree, with leaves, and However, it fell',)


# -- 4: list columns --


def test_04_lists_are_flattened_and_a_model_takes_new_items_in_any_form(tmp_path):
    items = {"item": [1, 2], "title": ["a", "b"], "genres": [["x", "y"], []]}
    pl.DataFrame(items).write_parquet(tmp_path / "items.parquet")
    pl.DataFrame(CLICKS).write_parquet(tmp_path / "interactions.parquet")
    data = ws.read_dataset(tmp_path)
    assert data.catalogue.texts == ("a. x, y", "b")
    model = ws.Popular().fit(data)
    model.add_items({"item": [3], "title": ["c"], "genres": ["x|y"]})
    model.add_items({"item": [4], "title": ["d"]})
    (tmp_path / "new.csv").write_text("item,title,genres\n5,e,z\n")
    model.add_items(tmp_path / "new.csv")
    assert model.fitted.catalogue.texts[2:] == ("c. x, y", "d", "e. z")
    model.save(tmp_path / "m")
    (tmp_path / "new.csv").write_text("item,title,genres\n6,f,z\n")
    assert run("add", tmp_path / "m", "--items", tmp_path / "new.csv")[0] == 0


# -- 6: lists for all users --


def test_06_all_users_in_one_command(tmp_path):
    model = ws.Popular().fit(ws.from_frames(*shop()))
    model.save(tmp_path / "m")
    out = tmp_path / "lists.csv"
    code, printed, _ = run("recommend", tmp_path / "m", "--users", "all", "-k", 3, "--out", out)
    assert (code, printed.strip()) == (0, str(out))
    found = pl.read_csv(out)
    assert found.rows() == model.recommend(model.fitted.user_ids.values, 3).rows()
    users = tmp_path / "users.csv"
    users.write_text("user,age\nu5,3\nu7,4\n")
    run("recommend", tmp_path / "m", "--users", users, "--out", out)
    assert pl.read_csv(out)["user"].unique().sort().to_list() == ["u5", "u7"]


# -- 7 and 8: columns that are not read; negatives in the log --


def test_07_a_time_column_of_another_name_is_named(tmp_path):
    folder = write(tmp_path / "d", interactions__csv="user,item,time,shop\nu,1,5,x\nv,2,6,y\n")
    with pytest.warns(ws.DataWarning, match=r"not read: 'time' \(is it 'timestamp'\?\); rename it"):
        data = ws.read_dataset(folder)
    assert data.unread_columns == ("interactions.csv: time", "interactions.csv: shop")
    with pytest.warns(ws.DataWarning, match="name it, for example time='timestamp'"):
        ws.from_frames({"user": ["u"], "item": ["i"], "timestamp": [3]})


def test_08_negatives_are_not_positives_by_accident(tmp_path):
    write(tmp_path, d__inter="user_id:token\titem_id:token\tlabel:float\nu\t1\t0\nu\t2\t1\n")
    with pytest.raises(ws.DataError, match=r"column 'label'.*positive_rating = 1"):
        ws.read_dataset(tmp_path)
    write(tmp_path, dataset__toml="positive_rating = 1")
    data = ws.read_dataset(tmp_path)
    assert data.counts["interactions"] == 1
    assert len(data.below_threshold) == 1
    frame = {"user": ["u", "u"], "item": ["a", "b"], "rating": [0, -1]}
    with pytest.warns(ws.DataWarning, match="2 of 2 values of 'rating' are at or below 0"):
        ws.from_frames(frame, rating="rating")
    with pytest.warns(ws.DataWarning, match=r"'label' \(is it 'rating'\?\)"):
        ws.from_frames({"user": ["u"], "item": ["a"], "label": [0]})


def test_08_an_interaction_without_a_rating_is_still_one():
    frame = {"user": ["u", "u", "v"], "item": ["a", "b", "a"], "rating": [5, None, 2]}
    data = ws.from_frames(frame, rating="rating", positive_rating=4)
    assert (data.counts["interactions"], data.counts["ratings_below_positive"]) == (2, 1)


# -- 9 and 10: list length; users without history --


def test_09_a_long_list_of_few_items_is_short(tmp_path):
    model = ws.Popular().fit(ws.from_frames(*shop(cold=0)))
    with pytest.warns(ws.DataWarning, match="there are no candidates"):
        assert model.recommend(["u1"], 10, only_cold=True).is_empty()
    model.add_items({"item": ["new"], "title": ["rose"]})
    model.save(tmp_path / "m")
    code, out, _ = run("recommend", tmp_path / "m", "--users", "u1", "--only-cold")
    assert code == 0
    assert "new" in out
    assert len(model.recommend(["u1"], 999, exclude_seen=False)) == N + 1


def test_10_a_user_without_history_gets_the_popular_items_or_an_error(lm, tmp_path):
    interactions, items = shop()
    pl.DataFrame(interactions).write_parquet(tmp_path / "interactions.parquet")
    pl.DataFrame(items).write_parquet(tmp_path / "items.parquet")
    (tmp_path / "users.csv").write_text("user\nghost\nu1\n")
    data = ws.read_dataset(tmp_path)
    for method in (ws.EaseText, ws.TextRidge, ws.ContentKNN):
        model = method().fit(data, encoder=lm)
        with pytest.raises(ws.DataError, match=r"'ghost'.*on_unknown \"popular\""):
            model.recommend(["ghost"], 3)
        with pytest.warns(ws.DataWarning, match=r"left out.*'ghost'"):
            assert set(model.recommend(["ghost", "u1"], 3, on_unknown="warn")["user"]) == {"u1"}
        found = model.recommend(["ghost", "stranger"], 3, on_unknown="popular")
        counts = data.matrix.getnnz(axis=0)
        assert found["score"].to_list() == 2 * sorted(counts.tolist())[:-4:-1]


# -- 12: an item without text --


@pytest.mark.parametrize("method", ["EaseText", "TextRidge", "ContentKNN"])
def test_12_an_item_without_text_is_told_and_never_ranked(method, lm, tmp_path):
    model = getattr(ws, method)().fit(ws.from_frames(*shop()), encoder=lm)
    with pytest.warns(ws.DataWarning, match="1 of 2 items has no text: .*; fit again"):
        model.add_items({"item": ["blank", "real"], "title": [" ", "rose tulip lily"]})
    with pytest.warns(ws.DataWarning, match="2 of 2 items have no text"):
        model.add_items({"item": ["void", "empty"], "title": [None, ""]})
    users = [f"u{n}" for n in range(N)]
    whole = model.recommend(users, 999, exclude_seen=False)
    assert "blank" not in set(whole["item"])
    assert "real" in set(whole["item"])
    if method != "ContentKNN":
        with pytest.warns(ws.DataWarning, match="1 of 1 item has no text: nothing is simulated"):
            assert model.simulate(["blank"], 3).is_empty()


def test_12_the_command_counts_items_without_text(tmp_path):
    ws.Popular().fit(ws.from_frames(*shop())).save(tmp_path / "m")
    (tmp_path / "new.csv").write_text("item,title\na,\nb,rose\n")
    code, out, _ = run("add", tmp_path / "m", "--items", tmp_path / "new.csv")
    assert code == 0
    assert "2 items added" in " ".join(out.split())
    assert "1 of them without text" in " ".join(out.split())


# -- 15: ids as one string, an integer, a Series, a generator --


def test_15_ids_in_any_list_and_in_no_string():
    model = ws.Popular().fit(ws.from_frames({"user": ["1", "2", "12"], "item": ["1", "2", "12"]}))
    for wrong in ("12", 12, {"12": 1}, None):
        with pytest.raises(ws.DataError, match="recommend: users must be a list, got "):
            model.recommend(wrong, 1)
    with pytest.raises(ws.DataError, match="items must be a list"):
        model.recommend(["1"], 1, items="12")
    series = pd.Series(["1", "zz"], index=[7, 9])
    with pytest.raises(ws.DataError, match=r"1 unknown user id\(s\), the first: \['zz'\]"):
        model.recommend(series, 1)
    given = [
        *(pd.Series(["12"], index=[5]), column_of(["12"]), np.array(["12"]), (u for u in ["12"])),
        *(("12",), {"12"}, pd.Index(["12"]), pd.Categorical(["12"])),
    ]
    for users in given:
        assert model.recommend(users, 1)["user"].to_list() == ["12"], type(users)
    with pytest.raises(ws.DataError, match="text must be a list"):
        ws.from_frames(
            {"user": ["u"], "item": ["i"]}, {"item": ["i"], "title": ["x"]}, text="title"
        )


# -- 20: a window without cold items --


def test_20_an_empty_part_shows_dates_and_what_to_change():
    days = [f"2024-01-{day:02d}" for day in range(1, 21)]
    users = [f"u{n // 4}" for n in range(20)]
    frame = {"user": users, "item": ["a", "b", "c", "d"] * 5, "timestamp": days}
    data = ws.from_frames(frame, time="timestamp")
    with pytest.raises(ws.DataError, match=r"2024-01-17.*2024-01-01.*2024-01-20.*by cutoff"):
        ws.split(data, "time-cold")


# -- 23: what a user rated badly --


def test_23_items_rated_below_the_threshold_are_not_recommended(tmp_path):
    frame = {
        "user": ["d", "d", "e", "e", "f", "d"],
        "item": ["1", "2", "3", "1", "2", "3"],
        "rating": [1, 2, 5, 5, 5, 5],
    }
    data = ws.from_frames(frame, rating="rating", positive_rating=4)
    assert data.counts["ratings_below_positive"] == 2
    model = ws.load_model(ws.Popular().fit(data).save(tmp_path / "m"))
    with pytest.warns(ws.DataWarning, match="every candidate was seen"):
        assert model.recommend(["d"], 3).is_empty()
    assert model.recommend(["d"], 3, exclude_seen=False)["item"].to_list()[0] in ("1", "2", "3")
    ws.write_dataset(data, tmp_path / "again")
    again = ws.read_dataset(tmp_path / "again")
    assert again.hash == data.hash
    assert again.below_threshold.keys.tolist() == data.below_threshold.keys.tolist()


def test_23_a_split_keeps_what_was_rated_badly_before_its_end(tmp_path):
    rng = np.random.default_rng(0)
    n = 3000
    frame = {
        "user": rng.integers(0, 40, n),
        "item": (np.arange(n) // 30 + rng.integers(-20, 1, n)).clip(0),
        "rating": rng.integers(1, 6, n),
        "timestamp": 10_000 + np.arange(n),
    }
    data = ws.from_frames(frame, rating="rating", time="timestamp", positive_rating=3)
    split = ws.split(data, "time-cold")
    below, train = split.train.below_threshold, split.train_interactions
    assert 0 < len(below) < len(data.below_threshold)
    assert below.times.max() <= train.times.max()
    assert set(below.items.tolist()) <= set(train.items.tolist())
    ws.save_split(split, tmp_path / "s")
    again = ws.load_split(tmp_path / "s")
    assert again.train.below_threshold.keys.tolist() == below.keys.tolist()


# -- the rest: raw exceptions, reports, blocks --


def test_a_fault_of_the_data_is_one_line_and_exit_2(tmp_path):
    """Parquet with nested columns, an empty file, a folder in place of a file, a semicolon."""
    pl.DataFrame({"user": ["u"], "item": [[1]]}).write_parquet(tmp_path / "interactions.parquet")
    files = [
        {"interactions__csv": "user;item\nu;1\n"},
        {"interactions__csv": ""},
        {"interactions__csv": "user,item\n"},
        {"interactions__csv": "\ufeffuser,item\nu,\n"},
        {"interactions__jsonl": json.dumps({"user": {"a": 1}, "item": 1})},
        {"interactions__csv": "user,item\nu,1\n", "items__csv": "item,title\n1,x\n1,y\n"},
        {"interactions__csv": "user,item\nu,1\n", "dataset__toml": "text = 'title'"},
    ]
    for number, content in enumerate(files):
        folder = write(tmp_path / str(number), **content)
        code, _, err = run("fit", folder, "--method", "popular", "--out", tmp_path / "m")
        problems = [line for line in err.splitlines() if line.startswith("warmstart:")]
        assert code == 2, (content, err)
        assert len(problems) == 1, err
    code, _, err = run("fit", tmp_path, "--method", "popular", "--out", tmp_path / "m")
    assert (code, "column 'item'" in err) == (2, True)


def test_utf16_and_latin_1_are_named(tmp_path):
    (tmp_path / "interactions.csv").write_bytes("user,item\nu,é\n".encode("utf-16"))
    with pytest.raises(ws.DataError, match="the file is UTF-16; allowed: UTF-8"):
        ws.read_dataset(tmp_path)
    (tmp_path / "interactions.csv").write_bytes("user,item\nu,é\n".encode("latin-1"))
    with pytest.raises(ws.DataError, match=r"line 2, column 'item' is not UTF-8.*'u,é"):
        ws.read_dataset(tmp_path)
    (tmp_path / "interactions.csv").write_bytes("user,item\nu,é\n".encode("utf-8-sig"))
    assert ws.read_dataset(tmp_path).catalogue.item_ids.values == ["é"]


def test_a_report_shows_itself():
    rng = np.random.default_rng(0)
    split = ws.split(ws.synthetic(60, 80, rng=rng), "time-cold")
    report = ws.evaluate(ws.Popular().fit(split.train), split)
    text = report.text()
    assert "popular on" in text
    assert f"{report.value('cold', 'ndcg@20'):.4f}" in text
    assert repr(report) == text
    assert "<pre>" in report._repr_html_()
    assert len(repr(split.dataset).splitlines()) == len(repr(split).splitlines()) == 1
    assert not hasattr(ws.Popular(), "_repr_html_")

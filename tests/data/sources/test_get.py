"""Every source from its real format to a data set, through the local server."""

import gzip
import hashlib
import io
import json
import zipfile
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from warmstart.data.readers.files import read_dataset
from warmstart.data.sources import SOURCES, find_source, get_source
from warmstart.errors import DataError


def archive(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("___", "/").replace("__", "."), content)
    return packed.getvalue()


def serve(home, name: str, *contents: bytes):
    """Puts the contents where the source expects its files; its md5 become theirs."""
    source = find_source(name)
    files = []
    for file, content in zip(source.files, contents, strict=True):
        home.files[urlsplit(file.url).path] = content
        known = None if file.md5 is None else hashlib.md5(content).hexdigest()
        files.append(replace(file, md5=known))
    return replace(source, files=tuple(files))


GENRES = b"unknown|0\nAction|1\nDrama|2\n\n"
U_ITEM = (
    "1|Amélie (2001)|01-Jan-2001||http://imdb|0|0|1\n2|Heat (1995)|||http://imdb|0|1|1\n"
    "3|Unseen (1990)|||http://imdb|0|0|0\n"
).encode("latin-1")
U_DATA = b"10\t1\t5\t881250949\n10\t2\t3\t881250950\n11\t2\t4\t881250951\n"


def test_movielens_100k(home, tmp_path):
    packed = archive(
        **{"ml-100k___u__data": U_DATA, "ml-100k___u__item": U_ITEM, "ml-100k___u__genre": GENRES}
    )
    folder = get_source(serve(home, "movielens-100k", packed), tmp_path, mirror=home.address)
    data = read_dataset(folder)
    assert data.name == "movielens-100k"
    assert data.user_ids.values == [10, 11]
    assert data.catalogue.texts == (
        "Amélie (2001). Drama",
        "Heat (1995). Action, Drama",
        "Unseen (1990)",
    )
    assert data.catalogue.columns["release_date"].to_list() == ["01-Jan-2001", None, None]
    assert data.counts["ratings_below_positive"] == 1
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [881250949, 881250951]
    origin = json.loads((folder / "source.json").read_text())
    assert origin["files"] == ["https://files.grouplens.org/datasets/movielens/ml-100k.zip"]


def test_movielens_1m(home, tmp_path):
    packed = archive(
        **{
            "ml-1m___ratings__dat": b"1::1193::5::978300760\n1::661::3::978302109\n",
            "ml-1m___movies__dat": "661::Café::Drama|War\n1193::Cuckoo (1975)::Drama\n".encode(
                "latin-1"
            ),
        }
    )
    data = read_dataset(
        get_source(serve(home, "movielens-1m", packed), tmp_path, mirror=home.address)
    )
    assert data.catalogue.texts == ("Café. Drama, War", "Cuckoo (1975). Drama")
    assert data.counts["interactions"] == 1


def test_movielens_latest_small(home, tmp_path):
    packed = archive(
        **{
            "ml-latest-small___ratings__csv": (
                b"userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,2,3.5,5\n"
            ),
            "ml-latest-small___movies__csv": (
                b'movieId,title,genres\n1,"Toy, The",Comedy\n2,B,(no genres listed)\n'
            ),
            "ml-latest-small___tags__csv": b"userId,movieId,tag,timestamp\n",
        }
    )
    source = serve(home, "movielens-latest-small", packed)
    data = read_dataset(get_source(source, tmp_path, mirror=home.address))
    assert data.catalogue.texts == ("Toy, The. Comedy", "B")
    assert data.counts["ratings_below_positive"] == 1


CITE = (
    b"2 0 2\n1 1\n0\n",
    b"2 0 1\n0\n1 1\n",
    b"graphs\nold|new\n",
    b"First  title\nSecond\nThird\n",
)


def test_citeulike(home, tmp_path):
    data = read_dataset(
        get_source(serve(home, "citeulike-a", *CITE), tmp_path, mirror=home.address)
    )
    assert data.counts["interactions"] == 3
    assert data.user_ids.values == [0, 1]
    assert data.catalogue.item_ids.values == [0, 1, 2]
    assert data.catalogue.texts == ("First title", "Second", "Third")
    assert data.catalogue.columns["tags"].to_list() == ["graphs|old/new", None, "old/new"]


def lines(*records: object, write=json.dumps) -> bytes:
    return gzip.compress("".join(f"{write(record)}\n" for record in records).encode())


OLD = {
    "reviewerID": "A1",
    "asin": "B1",
    "overall": 5.0,
    "unixReviewTime": 1400000000,
    "summary": "x",
}
NEW = {"user_id": "U1", "parent_asin": "P1", "asin": "x", "rating": 4.0, "timestamp": 1588687728923}
PRODUCTS = {
    "amazon-2014-Beauty": (
        {"asin": "B1", "title": "Nail  polish", "categories": [["Beauty", "Nails"]], "price": 3.5},
        OLD,
        1400000000,
        repr,
    ),
    "amazon-2018-Luxury_Beauty": (
        {"asin": "B1", "title": "Nail polish", "category": ["Beauty", "Nails"], "also_buy": ["B9"]},
        OLD,
        1400000000,
        json.dumps,
    ),
    "amazon-2023-All_Beauty": (
        {
            "parent_asin": "P1",
            "title": "Nail polish",
            "categories": ["Beauty", "Nails"],
            "average_rating": 4.1,
        },
        NEW,
        1588687728,
        json.dumps,
    ),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_amazon(home, tmp_path, name):
    product, review, time, write = PRODUCTS[name]
    id_field = "parent_asin" if "parent_asin" in product else "asin"
    second = {**review, id_field: "Z9"}
    unread = {**product, id_field: "Q7"}
    source = serve(home, name, lines(review, second), lines(product, product, unread, write=write))
    folder = get_source(source, tmp_path, mirror=home.address)
    data = read_dataset(folder)
    assert data.catalogue.item_ids.values == [product[id_field], "Z9"]
    assert data.catalogue.texts == ("Nail polish. Beauty, Nails", "")
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [time, time]
    assert json.loads((folder / "source.json").read_text())["counts"] == {
        "reviews": 2,
        "products_with_metadata": 1,
        "products_without_metadata": 1,
        "metadata_of_products_without_review_left_out": 1,
        "repeated_metadata_left_out": 1,
    }


@pytest.mark.parametrize("name", PRODUCTS)
def test_every_amazon_review_is_a_positive(home, tmp_path, name):
    product, review, _, write = PRODUCTS[name]
    stars = "rating" if "rating" in review else "overall"
    reviews = [{**review, stars: float(n), "user_id": n, "reviewerID": n} for n in range(1, 6)]
    source = serve(home, name, lines(*reviews), lines(product, write=write))
    data = read_dataset(get_source(source, tmp_path, mirror=home.address))
    assert data.counts["interactions"] == len(reviews)


def test_synthetic_needs_no_network(tmp_path):
    data = read_dataset(get_source(find_source("synthetic"), tmp_path))
    assert data.n_users == 600
    assert data.n_items == 900


def ml_100k(**changes: bytes) -> bytes:
    members = {"u__data": U_DATA, "u__item": U_ITEM, "u__genre": GENRES} | changes
    return archive(**members)


BROKEN = [
    ("movielens-100k", (b"not a zip",), r"ml-100k\.zip: not a zip archive"),
    ("movielens-100k", (archive(u__data=U_DATA),), r"0 files named u\.genre; allowed: one"),
    (
        "movielens-100k",
        (ml_100k(u__data=b"1\t2\t3\n"),),
        r"u\.data: row 1: got .*; allowed: 4 cells",
    ),
    ("movielens-100k", (ml_100k(u__data=b"1\t2\tx\t3\n"),), r"row 1, column 'rating': got 'x'"),
    ("movielens-100k", (ml_100k(u__data=b""),), r"u\.data: the file is empty"),
    (
        "movielens-100k",
        (ml_100k(u__item=b"1|A|||u|0\n"),),
        r"u\.item: row 1: got .*; allowed: 8 cells",
    ),
    ("citeulike-a", (b"3 0 2\n", *CITE[1:]), r"users\.dat: row 1: got 2 ids; allowed: 3"),
    ("citeulike-a", (b"1 9\n", *CITE[1:]), "has item numbers up to 9; allowed: the same items"),
    ("citeulike-a", (*CITE[:2], b"graphs\n", CITE[3]), r"beyond the 1 tags of tags\.dat"),
    ("citeulike-a", (b"1 x\n", *CITE[1:]), "got 'x'; allowed: a whole number"),
    ("amazon-2014-Beauty", (lines(OLD), lines("{'asin': ", write=str)), "row 1: cannot be read"),
    (
        "amazon-2014-Beauty",
        (lines({"asin": "B1"}), lines()),
        "row 1: field 'reviewerID' is missing",
    ),
    ("amazon-2014-Beauty", (lines([1]), lines()), "row 1: got .*; allowed: an object"),
    ("amazon-2014-Beauty", (b"plain", lines()), "cannot be read: Not a gzipped file"),
    (
        "amazon-2014-Beauty",
        (lines(OLD), lines({"title": "x"}, write=repr)),
        "field 'asin' is missing",
    ),
]


@pytest.mark.parametrize(("name", "contents", "message"), BROKEN)
def test_malformed_downloads_are_named(home, tmp_path, name, contents, message):
    with pytest.raises(DataError, match=message):
        get_source(serve(home, name, *contents), tmp_path, mirror=home.address)
    assert not (tmp_path / name).exists()


def test_sources_are_found_by_name():
    assert all(find_source(name) is source for name, source in SOURCES.items())
    games = find_source("amazon-2023-Video_Games")
    assert [urlsplit(file.url).path.rpartition("/")[2] for file in games.files] == [
        "Video_Games.jsonl.gz",
        "meta_Video_Games.jsonl.gz",
    ]
    with pytest.raises(DataError, match="no Amazon edition 1999; allowed: \\[2014, 2018, 2023\\]"):
        find_source("amazon-1999-Books")
    with pytest.raises(
        DataError, match="no data set 'netflix'; allowed: synthetic, synthetic-dialogues"
    ):
        find_source("netflix")


def test_published_checksums_are_those_of_grouplens():
    assert SOURCES["movielens-100k"].files[0].md5 == "0e33842e24a9c977be4e0107933c0723"
    assert SOURCES["movielens-1m"].files[0].md5 == "c4d9eecfca2ab87c1945afe126590906"

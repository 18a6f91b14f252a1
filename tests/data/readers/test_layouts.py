import gzip

import pytest

from warmstart.data.readers.files import read_dataset
from warmstart.errors import DataError

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t5\t4\t100.0\n2\t6\t2\t90\n"
ITEM = (
    "item_id:token\tmovie_title:token_seq\tyear:float\tgenre:token_seq\n"
    '5\tThe "Big" One\t1999\tDrama War\n6\t\t\tComedy\n'
)


def test_atomic_files_are_read(write):
    folder = write(ml__inter=INTER, ml__item=ITEM, dataset__toml="positive_rating = 3")
    data = read_dataset(folder)
    assert data.name == "ml"
    assert data.user_ids.values == [1, 2]
    assert data.catalogue.item_ids.values == [5, 6]
    assert data.catalogue.texts == ('The "Big" One. Drama War', "Comedy")
    assert data.catalogue.columns.columns == ["movie_title", "year", "genre"]
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [100]
    assert data.counts["ratings_below_positive"] == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a__inter": "user_id\titem_id:token\n1\t2\n"},
            r"header field 'user_id'; allowed: user_id:",
        ),
        ({"a__inter": "user_id:float\titem_id:token\n"}, "with type token"),
        ({"a__inter": "user_id:token\titem_id:token\n1\n"}, r"a\.inter: row 1: Expected 2 columns"),
        ({"a__inter": INTER, "b__inter": INTER}, r"\['a\.inter', 'b\.inter'\]; allowed: one"),
        ({"a__inter": "uid:token\titem_id:token\n1\t2\n"}, "column 'user_id' is missing"),
    ],
)
def test_malformed_atomic_files_are_named(write, files, message):
    with pytest.raises(DataError, match=message):
        read_dataset(write(**files))


PARTS = {
    "warm_train__csv": "user,item\n1,1\n2,2\n1,2\n",
    "warm_val__csv": "user,item\n2,1\n",
    "warm_test__csv": "user,item\n3,1\n",
    "cold_item_val__csv": "user,item\n1,3\n",
}


def test_the_union_of_coldrec_parts_is_a_data_set(write):
    packed = gzip.compress(b"user,item\n2,4\n")
    folder = write(
        **PARTS, cold_item_test__csv__gz=packed, items__csv="item,title\n4,Four\n1,One\n"
    )
    data = read_dataset(folder)
    assert data.counts["interactions"] == 7
    assert data.catalogue.item_ids.values == [4, 1, 2, 3]
    assert data.catalogue.texts == ("Four", "One", "", "")


def test_missing_and_doubled_coldrec_parts_are_named(write):
    folder = write(**PARTS)
    with pytest.raises(
        DataError, match=r"nothing for the part 'cold_test'; allowed: one cold_item"
    ):
        read_dataset(folder)
    write(cold_item_test__csv="user,item\n2,4\n", warm_emb__csv="user,item\n")
    with pytest.raises(
        DataError, match=r"\['warm_emb.csv', 'warm_train.csv'\] for the part 'train'"
    ):
        read_dataset(folder)

"""Files that are damaged or hold what no reader expects: one clear error, never a traceback."""

import gzip
import io
import random
import zipfile
from datetime import timedelta, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from warmstart.data.readers.files import read_dataset
from warmstart.data.sources.amazon import parse_amazon
from warmstart.data.sources.movielens import ML_1M
from warmstart.errors import DataError, WarmstartError

ROWS = "".join(f'u{n % 7},"i{n}",{10**9 + n}\n' for n in range(400))
CLICKS = {"interactions__csv": "user,item\nu,x\n"}


def parquet_bytes(compression="snappy", **columns):
    out = io.BytesIO()
    parquet.write_table(pa.table(columns), out, compression=compression)
    return out.getvalue()


def packed_csv():
    return gzip.compress(f"user,item,timestamp\n{ROWS}".encode())


def packed_parquet():
    numbers = list(range(400))
    users = [f"u{n % 7}" for n in numbers]
    return parquet_bytes("gzip", user=users, item=[f"i{n}" for n in numbers], timestamp=numbers)


@pytest.mark.parametrize(("name", "make"), [("csv.gz", packed_csv), ("parquet", packed_parquet)])
def test_damaged_compressed_files_are_read_or_refused(tmp_path, name, make):
    draw, whole = random.Random(0), make()
    path = tmp_path / f"interactions.{name}"
    for attempt in range(60):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged[: draw.randrange(len(whole)) if attempt % 6 == 0 else None])
        try:
            read_dataset(tmp_path)
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017 (not every flipped bit is an error)


def test_a_flipped_byte_in_the_packed_data_is_named(write):
    damaged = bytearray(packed_csv())
    damaged[15:40] = bytes(25)
    folder = write(interactions__csv__gz=bytes(damaged))
    with pytest.raises(DataError, match=r"interactions\.csv\.gz: not a csv file"):
        read_dataset(folder)


def test_damaged_downloads_are_named(tmp_path):
    (tmp_path / "reviews.json.gz").write_bytes(packed_csv()[:-300])
    for name in ("reviews_Beauty_5.json.gz", "meta_Beauty.json.gz"):
        lines = gzip.compress(b'{"a": 1}\n' * 500, mtime=0)
        damaged = bytearray(lines)
        damaged[12:20] = b"\xff" * 8
        (tmp_path / name).write_bytes(damaged)
    with pytest.raises(DataError, match=r"reviews_Beauty_5\.json\.gz: row 1: cannot be read"):
        parse_amazon("amazon-2014-Beauty").convert(tmp_path)
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ml-1m/movies.dat", "1::Toy Story::Comedy\n" * 500)
    content = bytearray((tmp_path / "ml-1m.zip").read_bytes())
    content[50:60] = b"\xff" * 10
    (tmp_path / "ml-1m.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"ml-1m\.zip: not a zip archive"):
        ML_1M.convert(tmp_path)


# -- json --


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (r'{"item": "x", "genres": ["\ud800"]}', "row 1, column 'genres': got .*surrogates"),
        (r'{"item": "x", "title": {"a": ["\udc00"]}}', "row 1, column 'title': got .*surrogates"),
        (r'{"item": "x", "\ud800": 1}', "column names .*ud800.*without unpaired surrogates"),
        (f'{{"item": "x", "title": {"[" * 10**5}{"]" * 10**5}}}', "row 1: .* nested too deeply"),
        (
            f'{{"item": "x", "title": {"[" * 400}{"]" * 400}}}',
            "row 1, column 'title': .*at most 20 levels",
        ),
        (f"{'[' * 300}{']' * 300}", "row 1: got .*one JSON object per line"),
    ],
    ids=["list", "object", "key", "very deep", "deep", "deep, not an object"],
)
def test_odd_json_is_named(write, line, message):
    with pytest.raises(DataError, match=rf"items\.jsonl: {message}"):
        read_dataset(write(**CLICKS, items__jsonl=line))


# -- folders, links and files without rows --


@pytest.mark.parametrize("name", ["items.csv", "users.parquet", "interactions.csv"])
def test_a_folder_or_a_broken_link_in_place_of_a_file_is_named(write, name, tmp_path):
    files = {} if name == "interactions.csv" else CLICKS
    folder = write(**files)
    (folder / name).mkdir()
    with pytest.raises(DataError, match=f"{name}: not a file"):
        read_dataset(folder)
    (folder / name).rmdir()
    (folder / name).symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=f"{name}: no such file"):
        read_dataset(folder)


@pytest.mark.parametrize(
    "files",
    [
        {"interactions__csv": "user,item\n"},
        {"interactions__parquet": parquet_bytes(user=pa.array([], pa.int64()), item=[])},
        {"x__inter": "user_id:token\titem_id:token\n"},
        {"interactions__csv": "user,item\n", "users__csv": "user\nu\n"},
    ],
)
def test_files_without_rows_are_refused(write, files):
    with pytest.raises(DataError, match="has no rows"):
        read_dataset(write(**files))


def test_an_unknown_item_of_published_files_can_be_refused(write):
    parts = ("warm_emb", "warm_val", "warm_test", "cold_item_val", "cold_item_test")
    folder = write(**{f"{part}__csv": "user,item\n1,1\n2,2\n" for part in parts})
    write(items__csv="item,title\n1,One\n")
    assert read_dataset(folder).counts["unknown_items_added"] == 1
    with pytest.raises(DataError, match=r"1 item\(s\) are not in the catalogue"):
        read_dataset(folder, on_unknown_item="raise")
    write(items__jsonl='{"item": 1}')
    with pytest.raises(DataError, match="keep one of them"):
        read_dataset(folder)


# -- types of Arrow that polars does not have --

NOON = 1717158600


@pytest.mark.parametrize("zone", ["+05:30", "-03:00", "UTC+05:30", "Europe/Berlin", None])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_with_any_zone_are_read(write, zone, unit):
    factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    times = pa.array([NOON * factor], pa.timestamp(unit, zone))
    folder = write(interactions__parquet=parquet_bytes(user=["u"], item=["a"], timestamp=times))
    assert read_dataset(folder).interactions.times.tolist() == [NOON]


def test_timestamps_of_pandas_with_a_fixed_offset_are_read(tmp_path):
    zone = timezone(timedelta(hours=5, minutes=30))
    times = pd.Series(pd.to_datetime([NOON], unit="s", utc=True)).dt.tz_convert(zone)
    frame = pd.DataFrame({"user": ["u"], "item": ["a"], "timestamp": times})
    frame.to_parquet(tmp_path / "interactions.parquet")
    assert read_dataset(tmp_path).interactions.times.tolist() == [NOON]


def test_large_decimals_do_not_matter_unless_they_are_read(write):
    wide = pa.array([Decimal("5.25")], pa.decimal256(60, 2))
    nested = pa.array([[Decimal(7)]], pa.list_(pa.decimal256(60, 0)))
    folder = write(
        interactions__parquet=parquet_bytes(user=["u"], item=["a"], price=wide),
        items__parquet=parquet_bytes(item=["a"], title=wide, tags=nested),
    )
    assert read_dataset(folder).catalogue.texts == ("5.25. 7",)


def test_text_of_a_parquet_file_that_is_not_utf8_is_named(write):
    offsets, letters = np.array([0, 1], np.int32).tobytes(), b"\xff"
    wrong = pa.Array.from_buffers(pa.string(), 1, [None, *map(pa.py_buffer, (offsets, letters))])
    folder = write(**CLICKS, items__parquet=parquet_bytes(item=["x"], title=wrong))
    with pytest.raises(DataError, match=r"row 1, column 'title': got b'\\xff'; allowed: text in U"):
        read_dataset(folder)
    nested = pa.ListArray.from_arrays([0, 1], wrong)
    write(items__parquet=parquet_bytes(item=["x"], tags=nested))
    with pytest.raises(DataError, match=r"column 'tags' is damaged: .*UTF8"):
        read_dataset(folder)


def test_periods_in_a_parquet_file_are_never_integers(tmp_path):
    (tmp_path / "interactions.csv").write_text("user,item\nu,a\n")
    months = pd.period_range("2024-01", periods=1, freq="M")
    pd.DataFrame({"item": ["a"], "title": months}).to_parquet(tmp_path / "items.parquet")
    try:  # depends on whether pandas has told Arrow of the type
        assert read_dataset(tmp_path).catalogue.texts == ("2024-01",)
    except WarmstartError as error:
        assert "has periods of pandas" in str(error)  # noqa: PT017

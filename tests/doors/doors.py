"""Every way by which a value comes in. A door takes a value and returns what was made of it.

A door raises ``CannotCarry`` where its form has no place for the value: a csv file has no booleans.
"""

import csv
import gzip
import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

import warmstart as ws
from tests.doors.table import Awkward
from warmstart.cli import main
from warmstart.client import operations
from warmstart.client.request import Request
from warmstart.data.cells import column_of
from warmstart.errors import DataError

Columns = dict[str, list[Any]]


class CannotCarry(Exception):
    """The form has no place for the value."""


# -- forms of a table: from columns of values, one of them awkward, to what ``ws`` reads --


def _text(value: Any, awkward: Awkward) -> str:
    if value is not awkward.value:
        return "" if value is None else str(value)
    if awkward.cell is None:
        raise CannotCarry
    return awkward.cell


def _csv(columns: Columns, awkward: Awkward) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([_text(value, awkward) for value in row])
    return out.getvalue().encode()


def _without_numpy(value: Any) -> Any:
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(value, np.datetime64) and isinstance(plain, int):
        raise CannotCarry  # nanoseconds, or a year beyond those of Python
    return plain


def _json(value: Any) -> Any:
    value = _without_numpy(value)
    if isinstance(value, tuple):
        value = list(value)
    try:
        json.dumps(value)
    except TypeError as error:
        raise CannotCarry from error
    return value


def _jsonl(columns: Columns) -> bytes:
    rows = zip(*columns.values(), strict=True)
    lines = [json.dumps({n: _json(v) for n, v in zip(columns, row, strict=True)}) for row in rows]
    return "\n".join(lines).encode()


def _polars(columns: Columns) -> pl.DataFrame:
    try:
        made = []
        for name, values in columns.items():
            plain = [_without_numpy(value) for value in values]
            plain = [None if v is pd.NA or v is pd.NaT else v for v in plain]
            made.append(pl.Series(name, plain, strict=True))
            if made[-1].dtype == pl.Object:
                raise CannotCarry
        return pl.DataFrame(made)
    except (RuntimeError, TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise CannotCarry from error


def _arrow(columns: Columns) -> pa.Table:
    if any(isinstance(value, set | frozenset) for values in columns.values() for value in values):
        raise CannotCarry  # a list, in the order of that process
    try:
        return pa.table({n: pa.array(values, from_pandas=True) for n, values in columns.items()})
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError) as error:
        raise CannotCarry from error


def _series(values: list[Any], index: Any = None) -> pd.Series:
    try:
        return pd.Series(values, index=index)
    except UnicodeError as error:  # half a surrogate pair, in pandas' strings
        raise CannotCarry from error


def _pandas(columns: Columns) -> pd.DataFrame:
    return pd.DataFrame({name: _series(values) for name, values in columns.items()})


def _own_index(columns: Columns) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    return _pandas(columns).set_index(pd.Index(range(7, 7 + n)))


def _categorical(columns: Columns) -> pd.DataFrame:
    try:
        return _pandas(columns).astype("category")
    except (TypeError, ValueError) as error:
        raise CannotCarry from error


FRAMES: dict[str, Callable[[Columns, Awkward], Any]] = {
    "dict of lists": lambda columns, _: columns,
    "dict of pandas Series": lambda columns, _: {
        name: _series(values, range(5, 5 + len(values))) for name, values in columns.items()
    },
    "dict of polars Series": lambda columns, _: dict(_polars(columns).to_dict()),
    "dict of object arrays": lambda columns, _: {
        name: _object_array(values) for name, values in columns.items()
    },
    "pandas": lambda columns, _: _pandas(columns),
    "pandas with its own index": lambda columns, _: _own_index(columns),
    "pandas categories": lambda columns, _: _categorical(columns),
    "polars": lambda columns, _: _polars(columns),
    "polars lazy": lambda columns, _: _polars(columns).lazy(),
    "Arrow": lambda columns, _: _arrow(columns),
}
FILES: dict[str, Callable[[Columns, Awkward], bytes]] = {
    "csv": _csv,
    "csv.gz": lambda columns, awkward: gzip.compress(_csv(columns, awkward)),
    "jsonl": lambda columns, _: _jsonl(columns),
    "jsonl.gz": lambda columns, _: gzip.compress(_jsonl(columns)),
    "parquet": lambda columns, _: _parquet(columns),
}


def _object_array(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _parquet(columns: Columns) -> bytes:
    out = io.BytesIO()
    _polars(columns).write_parquet(out)
    return out.getvalue()


# -- reading a data set --


def tables(awkward: Awkward) -> tuple[Columns, Columns]:
    """Interactions and items with the value in its column; all other cells are usual."""
    ids = [awkward.value, _other_id(awkward)] if awkward.kind == "id" else ["i", "j"]
    interactions: Columns = {"user": ["u", "v"], "item": list(ids)}
    items: Columns = {"item": list(ids), "text": ["x", "y"]}
    if awkward.kind == "text":
        items["title"] = [awkward.value, None]
    if awkward.kind == "list":
        items["genres"] = [awkward.value, None]
    if awkward.kind == "released":
        items["released"] = [awkward.value, None]
    if awkward.kind == "number":
        interactions["rating"] = [awkward.value, None]
    if awkward.kind == "time":
        interactions["timestamp"] = [awkward.value, awkward.value]
    return interactions, items


def _other_id(awkward: Awkward) -> int | str:
    """An id of the type that the value has."""
    is_text = isinstance(awkward.value, str) or isinstance(awkward.meaning, str)
    return "z" if is_text else 7


def made_of(data: ws.Dataset, awkward: Awkward) -> Any:
    """What a data set holds in place of the value."""
    if awkward.kind == "id":
        return next(i for i in data.catalogue.item_ids.values if i not in (7, "z"))
    if awkward.kind in ("text", "list"):
        return _without_x(data.catalogue.texts[0])
    if awkward.kind == "number":
        rating = None if data.ratings is None else float(data.ratings.values[0])
        assert data.counts["ratings_below_positive"] == (rating is not None and rating < 3)
        return rating
    if awkward.kind == "time":
        assert data.interactions.times is not None
        return int(data.interactions.times[0])
    assert data.catalogue.released is not None
    released = int(data.catalogue.released[0])
    return None if released == -1 else released


def _without_x(text: str) -> str | None:
    """The text but for the usual "x" of the column ``text``."""
    return None if text == "x" else text.removesuffix(". x")


def _threshold(awkward: Awkward) -> float | None:
    return 3.0 if awkward.kind == "number" else None


def frame_door(form: Callable[[Columns, Awkward], Any]) -> Callable[[Awkward, Path], Any]:
    def door(awkward: Awkward, folder: Path) -> Any:
        interactions, items = tables(awkward)
        data = ws.from_frames(
            form(interactions, awkward),
            form(items, awkward),
            rating="rating" if awkward.kind == "number" else None,
            time="timestamp" if awkward.kind == "time" else None,
            positive_rating=_threshold(awkward),
        )
        return made_of(data, awkward)

    return door


def file_door(suffix: str) -> Callable[[Awkward, Path], Any]:
    def door(awkward: Awkward, folder: Path) -> Any:
        interactions, items = tables(awkward)
        (folder / f"interactions.{suffix}").write_bytes(FILES[suffix](interactions, awkward))
        (folder / f"items.{suffix}").write_bytes(FILES[suffix](items, awkward))
        if awkward.kind == "number":
            (folder / "dataset.toml").write_text("positive_rating = 3")
        return made_of(ws.read_dataset(folder), awkward)

    return door


def recbole_door(awkward: Awkward, folder: Path) -> Any:
    """RecBole's atomic files: tab-separated, and nothing is quoted."""
    interactions, items = tables(awkward)
    if awkward.kind == "released":
        raise CannotCarry  # not a column of that layout
    kinds = {"rating": "float", "timestamp": "float", "text": "token_seq", "title": "token_seq"}
    names = {"user": "user_id", "item": "item_id"}
    for name, columns in (("interactions", interactions), ("items", items)):
        lines = ["\t".join(f"{names.get(c, c)}:{kinds.get(c, 'token')}" for c in columns)]
        for row in zip(*columns.values(), strict=True):
            cells = [_text(value, awkward) for value in row]
            if any(mark in cell for cell in cells for mark in "\t\n\r"):
                raise CannotCarry
            lines.append("\t".join(cells))
        suffix = "inter" if name == "interactions" else "item"
        (folder / f"shop.{suffix}").write_text("\n".join(lines) + "\n", newline="")
    settings = f"text = {[c for c in ('title', 'genres', 'text') if c in items]}\n"
    if awkward.kind == "number":
        settings += "positive_rating = 3\n"
    (folder / "dataset.toml").write_text(settings.replace("'", '"'))
    return made_of(ws.read_dataset(folder), awkward)


READING = {
    **{f"from_frames, {name}": frame_door(form) for name, form in FRAMES.items()},
    **{f"read_dataset, {suffix}": file_door(suffix) for suffix in FILES},
    "read_dataset, RecBole": recbole_door,
}


# -- dialogues --


def dialogues(awkward: Awkward) -> Columns:
    """One dialogue of one turn, with the value as its text or among its items."""
    turn: dict[str, Any] = {"speaker": "user", "text": "x", "items": []}
    if awkward.kind == "id":
        turn["items"] = [awkward.value, _other_id(awkward)]
    else:
        turn["text"] = awkward.value
    return {"dialogue": ["d"], "turns": [[turn]]}


def made_of_dialogues(data: ws.Dataset, awkward: Awkward) -> Any:
    talks = data.dialogues
    assert talks is not None
    if awkward.kind == "id":
        return data.catalogue.item_ids.values[talks.items.items[0]]
    return talks.texts[0] or None


def dialogue_frame_door(
    name: str, form: Callable[[Columns, Awkward], Any]
) -> Callable[[Awkward, Path], Any]:
    def door(awkward: Awkward, folder: Path) -> Any:
        is_changed = isinstance(awkward.value, np.generic | set | frozenset)
        if is_changed and ("polars" in name or "Arrow" in name):
            raise CannotCarry  # numbers and times of numpy, and sets, change within their lists
        clicks = {"user": ["u"], "item": [_other_id(awkward)]}
        given = form(dialogues(awkward), awkward)
        return made_of_dialogues(ws.from_frames(clicks, dialogues=given), awkward)

    return door


def dialogue_file_door(suffix: str) -> Callable[[Awkward, Path], Any]:
    def door(awkward: Awkward, folder: Path) -> Any:
        text = _jsonl(dialogues(awkward))
        packed = gzip.compress(text) if suffix.endswith("gz") else text
        (folder / f"dialogues.{suffix}").write_bytes(packed)
        clicks = {"user": ["u"], "item": [_other_id(awkward)]}
        (folder / "interactions.jsonl").write_bytes(_jsonl(clicks))
        return made_of_dialogues(ws.read_dataset(folder), awkward)

    return door


def _records(columns: Columns, _: Awkward) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


TALKING = {
    "dialogues, list of mappings": dialogue_frame_door("list of mappings", _records),
    **{f"dialogues, {name}": dialogue_frame_door(name, form) for name, form in FRAMES.items()},
    **{f"dialogues, {suffix}": dialogue_file_door(suffix) for suffix in ("jsonl", "jsonl.gz")},
}


# -- new items --


def _base(awkward: Awkward) -> ws.Dataset:
    """A data set whose ids have the type of the value's meaning."""
    integer = awkward.kind == "id" and not isinstance(awkward.meaning, str)
    ids = [101, 102] if integer and not isinstance(awkward.value, str) else ["p", "q"]
    return ws.from_frames(
        {"user": ["u", "v"], "item": ids},
        {"item": ids, "title": ["A", "B"], "genres": ["c", None], "text": ["x", "y"]},
        text=["title", "genres", "text"],
    )


def new_items(awkward: Awkward, model: Any) -> Columns:
    integer = model.fitted.catalogue.item_ids.is_integer
    items: Columns = {"item": [900 if integer else "n"], "text": ["x"]}
    column = {"id": "item", "text": "title", "list": "genres", "released": "released"}[awkward.kind]
    items[column] = [awkward.value]
    return items


def made_of_new(model: Any, awkward: Awkward) -> Any:
    catalogue = model.fitted.catalogue
    if awkward.kind == "id":
        return catalogue.item_ids.values[-1]
    if awkward.kind == "released":
        released = int(catalogue.released[-1])
        return None if released == -1 else released
    return _without_x(catalogue.texts[-1])


def add_frame_door(form: Callable[[Columns, Awkward], Any]) -> Callable[[Awkward, Path], Any]:
    def door(awkward: Awkward, folder: Path) -> Any:
        model = ws.Popular().fit(_base(awkward))
        model.add_items(form(new_items(awkward, model), awkward))
        return made_of_new(model, awkward)

    return door


def add_file_door(suffix: str) -> Callable[[Awkward, Path], Any]:
    def door(awkward: Awkward, folder: Path) -> Any:
        model = ws.Popular().fit(_base(awkward))
        path = folder / f"new.{suffix}"
        path.write_bytes(FILES[suffix](new_items(awkward, model), awkward))
        model.add_items(path)
        return made_of_new(model, awkward)

    return door


def run(*arguments: str) -> str:
    """Run a command; a refusal is one line on stderr and exit code 2, never a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(list(arguments))
        except SystemExit as ended:
            code = ended.code
    problem = err.getvalue()
    assert code in (0, 2), problem
    if code == 2:
        lines = [line for line in problem.splitlines() if line.startswith("warmstart:")]
        assert "Traceback" not in problem
        assert len(lines) == 1, problem
        raise DataError(lines[0])
    return out.getvalue()


def add_command_door(suffix: str) -> Callable[[Awkward, Path], Any]:
    def door(awkward: Awkward, folder: Path) -> Any:
        model = ws.Popular().fit(_base(awkward))
        path = folder / f"new.{suffix}"
        path.write_bytes(FILES[suffix](new_items(awkward, model), awkward))
        model.save(folder / "m")
        run("add", str(folder / "m"), "--items", str(path))
        return made_of_new(ws.load_model(folder / "m"), awkward)

    return door


ADDING = {
    **{f"add_items, {name}": add_frame_door(form) for name, form in FRAMES.items()},
    **{f"add_items, {suffix}": add_file_door(suffix) for suffix in FILES},
    **{f"warmstart add, {suffix}": add_command_door(suffix) for suffix in FILES},
}


# -- ids of users and items that a caller names --

LISTS: dict[str, Callable[[Any], Any]] = {
    "list": lambda value: [value],
    "tuple": lambda value: (value,),
    "generator": lambda value: (each for each in [value]),
    "object array": lambda value: _object_array([value]),
    "pandas Series": lambda value: _series([value], [7]),
    "polars Series": lambda value: column_of([value]),
}


def id_door(kind: str, form: Callable[[Any], Any]) -> Callable[[Awkward, Path], Any]:
    """Ask for the lists of a user, or among items, by an id that the model has."""

    def door(awkward: Awkward, folder: Path) -> Any:
        model, known = _model_with(awkward, kind)
        given = form(awkward.value)
        if kind == "user":
            return model.recommend(given, 1)["user"][0]
        if kind == "item":
            found = model.recommend([known], 2, items=given, exclude_seen=False)
            return found["item"][0]
        raise AssertionError(kind)

    return door


def _model_with(awkward: Awkward, kind: str) -> tuple[Any, Any]:
    """A model that knows the meaning of the value, as a user and as an item; and another user."""
    meaning = awkward.meaning if isinstance(awkward.meaning, int | str) else None
    other = 7 if isinstance(awkward.value, bool | int | float | Decimal | np.number) else "z"
    ids = [other + 1 if other == 7 else "y", other] if meaning is None else [meaning, other]
    if meaning is not None and type(meaning) is not type(other):
        ids = [meaning, 7 if isinstance(meaning, int) else "z"]
    frame = {"user": ids, "item": ids}
    return ws.Popular().fit(ws.from_frames(frame)), ids[1]


def users_option_door(awkward: Awkward, folder: Path) -> Any:
    if awkward.cell is None or "," in awkward.cell:
        raise CannotCarry
    model, _ = _model_with(awkward, "user")
    model.save(folder / "m")
    run("recommend", str(folder / "m"), "--users", awkward.cell, "--out", str(folder / "o.parquet"))
    return pl.read_parquet(folder / "o.parquet")["user"][0]


def users_file_door(suffix: str) -> Callable[[Awkward, Path], Any]:
    def door(awkward: Awkward, folder: Path) -> Any:
        model, _ = _model_with(awkward, "user")
        model.save(folder / "m")
        users = folder / f"users.{suffix}"
        users.write_bytes(FILES[suffix]({"user": [awkward.value], "seen": [1]}, awkward))
        out = folder / "o.parquet"
        run("recommend", str(folder / "m"), "--users", str(users), "--out", str(out))
        return pl.read_parquet(out)["user"][0]

    return door


NAMING = {
    **{f"recommend(users), {name}": id_door("user", form) for name, form in LISTS.items()},
    **{f"recommend(items=), {name}": id_door("item", form) for name, form in LISTS.items()},
    "warmstart recommend --users": users_option_door,
    **{f"warmstart recommend --users FILE, {suffix}": users_file_door(suffix) for suffix in FILES},
}


# -- the service --


def _sent(running: Any, request: httpx.Request) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    answer = running.request(
        request.method, str(request.url), content=request.content, headers=headers
    )
    if answer.status_code == 422:
        raise DataError(answer.text)
    assert answer.is_success, answer.text
    return answer


def _body(awkward: Awkward) -> tuple[Any, dict[str, Any]]:
    """Id and columns of a new item with the value in its place."""
    if awkward.kind == "id":
        return awkward.value, {"text": "x"}
    parts = awkward.value if isinstance(awkward.value, list) else [awkward.value]
    if any(isinstance(part, dict | list) for part in parts):
        raise CannotCarry  # the API takes no nested values
    column = {"text": "title", "list": "genres"}[awkward.kind]
    return "n", {column: awkward.value, "text": "x"}


def _stored(service: Any, name: str, awkward: Awkward) -> Any:
    item = service.store.items.get(name)
    assert item is not None, name
    return name if awkward.kind == "id" else _without_x(item.text)


def service_door(running: Any, service: Any, awkward: Awkward, *, client: bool) -> Any:
    """Write a new item by the API itself, or by the client."""
    item, columns = _body(awkward)
    if client:
        if isinstance(item, list | dict | set) or isinstance(awkward.value, pd.Period):
            raise CannotCarry  # no key of a mapping; no type that the client takes
        request: Request[Any] = operations.write_items({item: columns})
        with httpx.Client(base_url="http://testserver") as http:
            answer = _sent(running, request.build(http))
    else:
        rows = [{"id": _json(item), "columns": {n: _json(v) for n, v in columns.items()}}]
        content = json.dumps({"items": rows}).encode()
        answer = _sent(
            running, httpx.Request("POST", "http://testserver/v1/items", content=content)
        )
    return _stored(service, str(answer.json()["items"][0]["id"]), awkward)


def path_door(running: Any, service: Any, awkward: Awkward) -> Any:
    """The id of an item in the path of a URL."""
    if awkward.cell is None or awkward.cell == "" or isinstance(awkward.meaning, int):
        raise CannotCarry  # the ids of this model are strings
    request = operations.write_item(awkward.cell, {"text": "x"})
    with httpx.Client(base_url="http://testserver") as http:
        answer = _sent(running, request.build(http))
    return _stored(service, str(answer.json()["items"][0]["id"]), awkward)

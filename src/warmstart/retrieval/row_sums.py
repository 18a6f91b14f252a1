"""Products of items with queries, and sums of them over lists of items, in vector instructions.

numba keeps sums of an inner loop in memory and not in registers, which takes ten times as long for
some queries at once. So the loops are written in LLVM's language, as in ``multiply``. Each number
is a sum in float32 whose terms are added in order, one after the other: it is the same whatever
else is computed with it.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from warmstart.retrieval.llvm import arrays_of, everywhere
from warmstart.retrieval.rounding import GROUP

QUERIES_AT_ONCE = (1, 8)
ITEMS_AT_ONCE = 8  # independent sums, as each waits for its last addition
_LISTS_AT_ONCE = 2

_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)


@intrinsic
def _add_lists(
    typing: Any, products: Any, lists: Any, first: Any, sums: Any, at_once: Any
) -> tuple:
    """Sum up the products of the items of ``GROUP`` lists.

    Args (of the compiled function):
        products: float32, shape (items, queries), C-contiguous.
        lists: numbers of items, unsigned, shape (lists, most items), C-contiguous.
        first: the first list; after the last one it is taken again.
        sums: float32, shape (GROUP, queries), which is written.
        at_once: a tuple whose length is the number of queries.
    """
    signature = types.void(products, lists, types.intp, sums, at_once)
    kind = ir.VectorType(_F32, len(at_once))

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        products, lists, sums = arrays_of(context, builder, signature, values, (0, 1, 3))
        with cgutils.for_range(builder, _I64(GROUP // _LISTS_AT_ONCE)) as part:
            row = builder.mul(part.index, _I64(_LISTS_AT_ONCE))
            starts = _starts(builder, lists, builder.add(values[2], row), _LISTS_AT_ONCE)
            totals = _zeros(builder, kind, _LISTS_AT_ONCE)
            with _terms(builder, lists) as term:
                for start, total in zip(starts, totals, strict=True):
                    place = builder.gep(lists.data, [builder.add(start, term.index)])
                    item = builder.zext(builder.load(place), _I64)
                    _add(builder, total, _load(builder, products, kind, item))
            _write(builder, totals, sums, kind, row)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _multiply_items(
    typing: Any, vectors: Any, first: Any, queries: Any, products: Any, at_once: Any
) -> tuple:
    """Multiply ``ITEMS_AT_ONCE`` vectors by some queries.

    Args (of the compiled function):
        vectors: float32, shape (items, width), C-contiguous.
        first: the first item; after the last one it is taken again.
        queries: float32, shape (width, queries), C-contiguous.
        products: float32, shape (items + ITEMS_AT_ONCE, queries), of which the rows from the first
            item are written.
        at_once: a tuple whose length is the number of queries.
    """
    signature = types.void(vectors, types.intp, queries, products, at_once)
    kind = ir.VectorType(_F32, len(at_once))

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        vectors, queries, products = arrays_of(context, builder, signature, values, (0, 2, 3))
        starts = _starts(builder, vectors, values[1], ITEMS_AT_ONCE)
        totals = _zeros(builder, kind, ITEMS_AT_ONCE)
        with _terms(builder, vectors) as term:
            factors = _load(builder, queries, kind, term.index)
            for start, total in zip(starts, totals, strict=True):
                place = builder.gep(vectors.data, [builder.add(start, term.index)])
                number = everywhere(builder, builder.load(place), kind.count)
                _add(builder, total, builder.fmul(number, factors))
        _write(builder, totals, products, kind, values[1])
        return context.get_dummy_value()

    return signature, generate


add_lists: Any = _add_lists  # the compiled functions have no first argument
multiply_items: Any = _multiply_items


def _starts(builder: ir.IRBuilder, array: Any, first: Any, count: int) -> list[Any]:
    """Where some rows of an array start; those after the last row are the last row."""
    n_rows, width = (builder.extract_value(array.shape, axis) for axis in (0, 1))
    last = builder.sub(n_rows, _I64(1))
    starts = []
    for number in range(count):
        row = builder.add(first, _I64(number))
        row = builder.select(builder.icmp_signed("<", row, n_rows), row, last)
        starts.append(builder.mul(row, width))
    return starts


def _zeros(builder: ir.IRBuilder, kind: ir.VectorType, count: int) -> list[Any]:
    zero = ir.Constant(kind, [0.0] * kind.count)
    places = [cgutils.alloca_once(builder, kind) for _ in range(count)]
    for place in places:
        builder.store(zero, place)
    return places


def _terms(builder: ir.IRBuilder, array: Any) -> Any:
    return cgutils.for_range(builder, builder.extract_value(array.shape, 1))


def _add(builder: ir.IRBuilder, total: Any, term: Any) -> None:
    builder.store(builder.fadd(builder.load(total), term), total)


def _write(
    builder: ir.IRBuilder, totals: Sequence[Any], array: Any, kind: ir.VectorType, first: Any
) -> None:
    for number, total in enumerate(totals):
        place = _place(builder, array, kind, builder.add(first, _I64(number)))
        builder.store(builder.load(total), place, align=4)


def _load(builder: ir.IRBuilder, array: Any, kind: ir.VectorType, row: Any) -> Any:
    return builder.load(_place(builder, array, kind, row), align=4)


def _place(builder: ir.IRBuilder, array: Any, kind: ir.VectorType, row: Any) -> Any:
    """Where the numbers of all queries start, of a row of an array."""
    place = builder.gep(array.data, [builder.mul(row, _I64(kind.count))])
    return builder.bitcast(place, kind.as_pointer())

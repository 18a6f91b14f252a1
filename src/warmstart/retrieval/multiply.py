"""Products of 8-bit rows and 16-bit queries, in vector instructions.

numba widens integers to 64 bits before it multiplies, which no processor does quickly. So the inner
loop is written in LLVM's language, through llvmlite, numba's own library: 16 codes are widened to
16 bits, multiplied by those of a query and added in pairs to 32 bits. x86 processors since 2013 do
the latter in one instruction, ``pmaddwd``; others get the same in plain operations.

A call multiplies 16 rows by 1, 2 or 4 queries. Several rows and queries are taken together, so that
their sums stay in registers and each code is loaded once. With one query the codes come from memory
rather than from the cache, so they are asked for ahead: processors do so by themselves only up to
the end of a page. 4,096 bytes were the best of 1,024 to 16,384: 3.4 ns a row of 64 codes, without
it 4.9, and 3.2 to read it.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from warmstart.retrieval.llvm import arrays_of
from warmstart.retrieval.rounding import GROUP

QUERIES_AT_ONCE = (1, 2, 4)
_ROWS_AT_ONCE = {1: 8, 2: 4, 4: 2}  # 8 sums of 8 numbers: half of the registers of AVX2
_CODES_AT_ONCE = 16
_CACHE_LINE, _BYTES_AHEAD = 64, 4096

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_SUMS = ir.VectorType(_I32, 8)
_CODES, _WIDE = ir.VectorType(_I8, 16), ir.VectorType(_I16, 16)


@intrinsic
def _multiply(
    typing: Any, codes: Any, row: Any, queries: Any, first: Any, products: Any, at_once: Any
) -> tuple:
    """Multiply 16 rows by some queries.

    Args (of the compiled function):
        codes: int8, shape (rows, width), C-contiguous; the width is a multiple of 16.
        row: the first row.
        queries: int16, shape (queries, width), C-contiguous.
        first: the first query.
        products: int32, shape (queries of the call, 16), which is written.
        at_once: a tuple whose length is the number of queries of the call.
    """
    signature = types.void(codes, types.intp, queries, types.intp, products, at_once)
    n_queries = len(at_once)
    n_rows = _ROWS_AT_ONCE[n_queries]

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        arrays = arrays_of(context, builder, signature, values, (0, 2, 4))
        width = builder.extract_value(arrays[0].shape, 1)
        codes, queries, products = (
            builder.bitcast(array.data, kind.as_pointer())
            for array, kind in zip(arrays, (_I8, _I16, _I32), strict=True)
        )
        queries = builder.gep(queries, [builder.mul(values[3], width)])
        sums = [[cgutils.alloca_once(builder, _SUMS) for _ in range(n_rows)] for _ in at_once]
        with cgutils.for_range(builder, _I64(GROUP // n_rows)) as part:
            row = builder.mul(part.index, _I64(n_rows))
            first_code = builder.mul(builder.add(values[1], row), width)
            rows = builder.gep(codes, [first_code])
            if n_queries == 1:
                _fetch(builder, rows, builder.mul(width, _I64(n_rows)))
            _add_products(builder, rows, queries, width, sums)
            flat = [builder.load(place) for of_query in sums for place in of_query]
            totals = _totals(builder, flat)
            for query in range(n_queries):
                own = _choose(builder, totals, totals, range(query * n_rows, (query + 1) * n_rows))
                place = builder.gep(products, [builder.add(_I64(query * GROUP), row)])
                builder.store(own, builder.bitcast(place, own.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return signature, generate


multiply: Any = _multiply  # the compiled function has no first argument


def _fetch(builder: ir.IRBuilder, codes: Any, size: Any) -> None:
    """Ask for the codes that are read ``_BYTES_AHEAD`` later; past the array it does nothing."""
    kind = ir.FunctionType(ir.VoidType(), [codes.type, _I32, _I32, _I32])
    fetch = builder.module.declare_intrinsic("llvm.prefetch", [codes.type], kind)
    with cgutils.for_range(builder, builder.udiv(size, _I64(_CACHE_LINE))) as line:
        ahead = builder.add(builder.mul(line.index, _I64(_CACHE_LINE)), _I64(_BYTES_AHEAD))
        to_read, keep, data = _I32(0), _I32(3), _I32(1)
        builder.call(fetch, [builder.gep(codes, [ahead]), to_read, keep, data])


def _add_products(
    builder: ir.IRBuilder, codes: Any, queries: Any, width: Any, sums: Sequence[Sequence[Any]]
) -> None:
    """Sum up the products of some rows and queries; one vector of sums for each pair."""
    for of_query in sums:
        for place in of_query:
            builder.store(ir.Constant(_SUMS, [0] * 8), place)
    with cgutils.for_range(builder, builder.udiv(width, _I64(_CODES_AT_ONCE))) as loop:
        at = builder.mul(loop.index, _I64(_CODES_AT_ONCE))
        rows = [
            builder.sext(_load(builder, codes, width, row, at, _CODES), _WIDE)
            for row in range(len(sums[0]))
        ]
        for number, of_query in enumerate(sums):
            query = _load(builder, queries, width, number, at, _WIDE)
            for row, place in zip(rows, of_query, strict=True):
                product = _pair_products(builder, row, query)
                builder.store(builder.add(builder.load(place), product), place)


def _load(builder: ir.IRBuilder, array: Any, width: Any, row: int, at: Any, kind: Any) -> Any:
    place = builder.gep(array, [builder.add(builder.mul(width, _I64(row)), at)])
    return builder.load(builder.bitcast(place, kind.as_pointer()), align=1)


def _pair_products(builder: ir.IRBuilder, left: Any, right: Any) -> Any:
    """left[0] right[0] + left[1] right[1], and so on: 8 sums of 32 bits."""
    if _has_pair_products():
        function = ir.FunctionType(_SUMS, [_WIDE, _WIDE])
        return builder.call(
            cgutils.get_or_insert_function(builder.module, function, "llvm.x86.avx2.pmadd.wd"),
            [left, right],
        )
    products = []
    for first in (0, 1):
        even = [
            builder.sext(_choose(builder, side, side, range(first, 16, 2)), _SUMS)
            for side in (left, right)
        ]
        products.append(builder.mul(even[0], even[1]))
    return builder.add(products[0], products[1])


def _has_pair_products() -> bool:
    triple = binding.get_default_triple()
    return triple.startswith("x86_64") and bool(binding.get_host_cpu_features().get("avx2"))


def _totals(builder: ir.IRBuilder, sums: Sequence[Any]) -> Any:
    """The totals of 8 vectors of 8 numbers, as one vector."""
    while len(sums) > 2:
        sums = [_pair_sums(builder, *sums[at : at + 2]) for at in range(0, len(sums), 2)]
    lower, upper = [*range(4), *range(8, 12)], [*range(4, 8), *range(12, 16)]
    halves = [_choose(builder, sums[0], sums[1], half) for half in (lower, upper)]
    return builder.add(halves[0], halves[1])


def _pair_sums(builder: ir.IRBuilder, left: Any, right: Any) -> Any:
    """Sums of neighbours, of each half of the left and the right vector in turn."""
    even = [0, 2, 8, 10, 4, 6, 12, 14]
    odd = [at + 1 for at in even]
    terms = [_choose(builder, left, right, places) for places in (even, odd)]
    return builder.add(terms[0], terms[1])


def _choose(builder: ir.IRBuilder, left: Any, right: Any, places: Sequence[int]) -> Any:
    places = list(places)
    mask = ir.Constant(ir.VectorType(_I32, len(places)), places)
    return builder.shuffle_vector(left, right, mask)

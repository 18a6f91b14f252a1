"""Scores from the products of 8-bit rows and 16-bit queries, in vector instructions.

In LLVM's language like the products (``multiply``): as a loop in numba, scoring and comparing took
as long as multiplying; here both together take a tenth of it.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from warmstart.retrieval.multiply import GROUP

_LANES = 8
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_NUMBERS = ir.VectorType(_I32, _LANES)
_SCORES = ir.VectorType(ir.FloatType(), _LANES)


@intrinsic
def _write_scores(
    typing: Any, products: Any, query: Any, scale: Any, scales: Any, row: Any, bias: Any,
    bias_row: Any, enough: Any, scores: Any,
) -> tuple:  # fmt: skip
    """Write the scores of 16 rows: products x scale of the query x scales of the rows + bias.

    Args (of the compiled function):
        products: int32, shape (queries, 16).
        query: number of the query.
        scale: its scale, float32.
        scales: of the rows, float32, shape (rows,).
        row: the first row.
        bias: of rows, float32, one-dimensional.
        bias_row: where the bias of the first row is.
        enough: float32.
        scores: float32, shape (16,), which is written.

    Returns:
        Whether any score is at least ``enough``.
    """
    arguments = (products, types.intp, types.float32, scales, types.intp, bias, types.intp,
                 types.float32, scores)  # fmt: skip
    signature = types.boolean(*arguments)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        def vectors(at: int, kind: ir.VectorType, first: Any) -> Any:
            array = context.make_array(signature.args[at])(context, builder, values[at])
            numbers = builder.bitcast(array.data, kind.element.as_pointer())
            place = builder.gep(numbers, [first])
            return builder.bitcast(place, kind.as_pointer())

        of_query = builder.mul(values[1], _I64(GROUP))
        products, scores = vectors(0, _NUMBERS, of_query), vectors(8, _SCORES, _I64(0))
        scales, bias = vectors(3, _SCORES, values[4]), vectors(5, _SCORES, values[6])
        scale, enough = _everywhere(builder, values[2]), _everywhere(builder, values[7])
        reached = ir.Constant(ir.VectorType(ir.IntType(1), _LANES), [0] * _LANES)
        for at in range(GROUP // _LANES):
            given = [
                builder.load(builder.gep(array, [_I64(at)]), align=4)
                for array in (products, scales, bias)
            ]
            factors = builder.fmul(given[1], scale)
            product = builder.fmul(builder.sitofp(given[0], _SCORES), factors)
            score = builder.fadd(product, given[2])
            builder.store(score, builder.gep(scores, [_I64(at)]), align=4)
            reached = builder.or_(reached, builder.fcmp_ordered(">=", score, enough))
        bits = ir.IntType(_LANES)
        return builder.icmp_unsigned("!=", builder.bitcast(reached, bits), bits(0))

    return signature, generate


write_scores: Any = _write_scores  # the compiled function has no first argument


def _everywhere(builder: ir.IRBuilder, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(_SCORES, ir.Undefined), value, _I32(0))
    return builder.shuffle_vector(one, one, ir.Constant(_NUMBERS, [0] * _LANES))

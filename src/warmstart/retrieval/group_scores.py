"""What a pass does with the scores of 16 rows, in vector instructions.

In LLVM's language like the products (``multiply``): numba's own loops became one instruction for
each row. With them writing and comparing scores took as long as multiplying, and exponentials
three times as long; here a tenth, and half.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from warmstart.retrieval.llvm import arrays_of, everywhere
from warmstart.retrieval.rounding import GROUP

_LANES = 8
_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
_INTEGERS, _FLOATS = ir.VectorType(_I32, _LANES), ir.VectorType(_F32, _LANES)
_PARTS = range(0, GROUP, _LANES)
_NO_EXP = -87.0  # exp of lower numbers is no float32
_LOG2_E, _LN2_UPPER, _LN2_LOWER = 1.44269504, 0.693359375, -2.12194440e-4
_EXP_SERIES = (1.9875691e-4, 1.3981999e-3, 8.3334519e-3, 4.1665796e-2, 1.6666665e-1, 0.5)
_EXP_ROUNDING = 1 + 1e-4


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
        def place(at: int, first: Any) -> Any:
            return _first(context, builder, signature, values, at, first)

        of_query = builder.mul(values[1], _I64(GROUP))
        scale, enough = (everywhere(builder, values[at], _LANES) for at in (2, 7))
        starts = place(0, of_query), place(3, values[4]), place(5, values[6]), place(8, _I64(0))
        found = []
        for at in _PARTS:
            products, scales, bias = (
                _load(builder, start, at, kind)
                for start, kind in zip(starts, (_INTEGERS, _FLOATS, _FLOATS), strict=False)
            )
            product = builder.fmul(builder.sitofp(products, _FLOATS), builder.fmul(scales, scale))
            score = builder.fadd(product, bias)
            builder.store(score, _vector(builder, starts[3], at, _FLOATS), align=4)
            found.append(builder.fcmp_ordered(">=", score, enough))
        return _any(builder, found)

    return signature, generate


@intrinsic
def _any_above(typing: Any, scores: Any, enough: Any) -> tuple:
    """Whether any of 16 scores, float32, is at least ``enough``."""
    signature = types.boolean(scores, types.float32)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        enough = everywhere(builder, values[1], _LANES)
        scores = _all(builder, _first(context, builder, signature, values, 0, _I64(0)))
        return _any(builder, [builder.fcmp_ordered(">=", one, enough) for one in scores])

    return signature, generate


@intrinsic
def _sum_of_exp(typing: Any, scores: Any, top: Any) -> tuple:
    """Sum of exp(score - top) over 16 scores that are at most ``top``, all float32."""
    signature = types.float32(scores, types.float32)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        top = everywhere(builder, values[1], _LANES)
        scores = _all(builder, _first(context, builder, signature, values, 0, _I64(0)))
        terms = [_exp(builder, builder.fsub(one, top)) for one in scores]
        total = _reduced(builder.fadd, terms)
        return _reduced(
            builder.fadd, [builder.extract_element(total, _I32(lane)) for lane in range(_LANES)]
        )

    return signature, generate


@intrinsic
def _any_sampled(
    typing: Any, scores: Any, row: Any, key: Any, other_key: Any, enough: Any
) -> tuple:
    """Whether score plus noise may reach ``enough`` in any of 16 rows.

    It does where the uniform variable behind the noise (``softmax.noise``) is at most
    1 - exp(-exp(score - enough)), which is below exp(score - enough).

    Args (of the compiled function):
        scores: float32, shape (16,).
        row: number of the first row.
        key: of the query, uint32.
        other_key: of the query, uint32.
        enough: float32.
    """
    signature = types.boolean(scores, types.intp, types.uint32, types.uint32, types.float32)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        key, other_key, enough = (everywhere(builder, value, _LANES) for value in values[2:])
        first = everywhere(builder, builder.trunc(values[1], _I32), _LANES)
        scores = _all(builder, _first(context, builder, signature, values, 0, _I64(0)))
        found = []
        for at, score in zip(_PARTS, scores, strict=True):
            lanes = ir.Constant(_INTEGERS, [at + lane for lane in range(_LANES)])
            mixed = _mix(builder, builder.xor(builder.add(first, lanes), key))
            bits = _mix(builder, builder.add(mixed, other_key))
            uniform = builder.fmul(builder.uitofp(bits, _FLOATS), _floats(2.0**-32))
            difference = builder.fsub(score, enough)
            below = builder.fcmp_ordered("<", difference, _floats(0))
            bound = _exp(builder, builder.select(below, difference, _floats(0)))
            bound = builder.fmul(bound, _floats(_EXP_ROUNDING))
            found.append(builder.fcmp_ordered("<=", uniform, bound))
        return _any(builder, found)

    return signature, generate


write_scores: Any = _write_scores  # the compiled functions have no first argument
any_above: Any = _any_above
sum_of_exp: Any = _sum_of_exp
any_sampled: Any = _any_sampled


def _exp(builder: ir.IRBuilder, x: Any) -> Any:
    """Exponentials of numbers up to 0, to float32's precision (Cephes' series)."""
    too_low = builder.fcmp_ordered("<", x, _floats(_NO_EXP))
    x = builder.select(too_low, _floats(_NO_EXP), x)
    floor = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_FLOATS, [_FLOATS]), f"llvm.floor.v{_LANES}f32"
    )
    rounded = builder.fadd(builder.fmul(x, _floats(_LOG2_E)), _floats(0.5))
    power = builder.call(floor, [rounded])
    for part in (_LN2_UPPER, _LN2_LOWER):
        x = builder.fsub(x, builder.fmul(power, _floats(part)))
    series = _floats(_EXP_SERIES[0])
    for factor in _EXP_SERIES[1:]:
        series = builder.fadd(builder.fmul(series, x), _floats(factor))
    series = builder.fadd(builder.fmul(builder.fmul(series, x), x), x)
    series = builder.fadd(series, _floats(1))
    exponent = builder.add(builder.fptosi(power, _INTEGERS), _integers(127))
    scale = builder.bitcast(builder.shl(exponent, _integers(23)), _FLOATS)
    return builder.select(too_low, _floats(0), builder.fmul(series, scale))


def _mix(builder: ir.IRBuilder, x: Any) -> Any:
    """The last step of MurmurHash3, as in ``softmax``."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, None)):
        x = builder.xor(x, builder.lshr(x, _integers(shift)))
        if factor is not None:
            x = builder.mul(x, _integers(factor))
    return x


def _first(
    context: Any, builder: ir.IRBuilder, signature: Any, values: Any, at: int, number: Any
) -> Any:
    """Pointer to a number of an array that is the argument ``at``."""
    (array,) = arrays_of(context, builder, signature, values, [at])
    return builder.gep(array.data, [number])


def _vector(builder: ir.IRBuilder, start: Any, at: int, kind: ir.VectorType) -> Any:
    return builder.bitcast(builder.gep(start, [_I64(at)]), kind.as_pointer())


def _load(builder: ir.IRBuilder, start: Any, at: int, kind: ir.VectorType) -> Any:
    return builder.load(_vector(builder, start, at, kind), align=4)


def _all(builder: ir.IRBuilder, start: Any) -> list[Any]:
    return [_load(builder, start, at, _FLOATS) for at in _PARTS]


def _reduced(operation: Callable[[Any, Any], Any], values: Sequence[Any]) -> Any:
    result = values[0]
    for value in values[1:]:
        result = operation(result, value)
    return result


def _any(builder: ir.IRBuilder, found: Sequence[Any]) -> Any:
    bits = ir.IntType(_LANES)
    return builder.icmp_unsigned("!=", builder.bitcast(_reduced(builder.or_, found), bits), bits(0))


def _floats(value: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [value] * _LANES)


def _integers(value: int) -> ir.Constant:
    return ir.Constant(_INTEGERS, [value] * _LANES)

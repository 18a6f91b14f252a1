"""What the functions that are written in LLVM's language share."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

_I32 = ir.IntType(32)


def arrays_of(
    context: Any, builder: ir.IRBuilder, signature: Any, values: Any, numbers: Sequence[int]
) -> list[Any]:
    """The arguments with these numbers, as numba's arrays."""
    return [context.make_array(signature.args[at])(context, builder, values[at]) for at in numbers]


def everywhere(builder: ir.IRBuilder, value: Any, lanes: int) -> Any:
    """A vector with the same number in each lane."""
    kind = ir.VectorType(value.type, lanes)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, _I32(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))

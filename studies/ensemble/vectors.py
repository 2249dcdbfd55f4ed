"""Tools of the compiled passes: the compiler's options, an exponential, and a vector addition."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["add_scaled_of", "compile_function", "exp"]

_LOG2E, _LN2_HIGH, _LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)


def compile_function(function: Callable) -> Callable:
    """Compile a function, which is not cached on disk: numba never loads from there what refers to other functions."""
    return numba.njit(fastmath={"contract", "nsz", "reassoc", "arcp"}, error_model="numpy", nogil=True)(function)


@compile_function
def exp(x: Any) -> Any:
    """Return e^x for x <= 0 in single precision, in a form that runs on a whole vector at once (Cephes' polynomial)."""
    x = max(x, np.float32(-87.0))
    power = np.floor(x * _LOG2E + np.float32(0.5))
    rest = x - power * _LN2_HIGH - power * _LN2_LOW
    sum_ = np.float32(1.9875691500e-4)
    sum_ = sum_ * rest + np.float32(1.3981999507e-3)
    sum_ = sum_ * rest + np.float32(8.3334519073e-3)
    sum_ = sum_ * rest + np.float32(4.1665795894e-2)
    sum_ = sum_ * rest + np.float32(1.6666665459e-1)
    sum_ = sum_ * rest + np.float32(5.0000001201e-1)
    mantissa = sum_ * rest * rest + rest + np.float32(1)
    return mantissa * np.uint32(np.uint32(np.int32(power) + np.int32(127)) << np.uint32(23)).view(np.float32)


def add_scaled_of(width: int) -> Any:
    """Make the function that adds ``scale`` times ``width`` numbers at one address to those at another, as one vector.

    Left to itself the compiler asks before each short row whether the two overlap.
    """

    @intrinsic
    def add_scaled(typing, target, scale, source):  # type: ignore[no-untyped-def]
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vector = ir.VectorType(ir.FloatType(), width)
            to, by = (builder.inttoptr(arguments[argument], vector.as_pointer()) for argument in (0, 2))
            lane = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), arguments[1], ir.IntType(32)(0))
            scales = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), lane)
            product = builder.fmul(scales, builder.load(by, align=4), flags=["contract"])
            builder.store(builder.fadd(builder.load(to, align=4), product, flags=["contract"]), to, align=4)
            return context.get_dummy_value()

        return types.none(types.uintp, types.float32, types.uintp), generate

    return add_scaled

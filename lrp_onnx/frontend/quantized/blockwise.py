"""Weights of a few bits in blocks, each block with its scale: MatMulNBits, GatherBlockQuantized.

Several numbers share a byte, the first in its lowest bits.  They are taken apart in the graph, from
the bytes that the forward reads, so that the file does not grow; runtimes do it once, when they
load the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.shapes import static_shape

__all__: list[str] = []

MICROSOFT = "com.microsoft"
FLOAT = ir.DataType.FLOAT


def _apart(build: Build, packed: ir.Value, bits: int) -> ir.Value:
    """The numbers in each byte as a further axis, the lowest bits first."""
    if bits not in (2, 4, 8):
        raise UnsupportedError(f"its weights are of {bits} bits. Only 2, 4 and 8 are known")
    mask = build.constant((1 << bits) - 1, ir.DataType.UINT8)
    parts = []
    for shift in range(0, 8, bits):
        by = build.constant(shift, ir.DataType.UINT8)
        shifted = build.op("BitShift", packed, by, direction="RIGHT") if shift else packed
        number = build.op("BitwiseAnd", shifted, mask) if bits < 8 else shifted
        parts.append(build.op("Unsqueeze", number, build.ints(-1)))
    return build.op("Concat", *parts, axis=-1)


def _row_wise(build: Build, packed: ir.Value, bits: int, rows: int, size: int) -> ir.Value:
    """(rows, size) numbers as floats; what fills the last byte of a row is left out."""
    numbers = build.op("Reshape", _apart(build, packed, bits), build.ints(rows, -1))
    floats = build.op("Cast", numbers, to=int(FLOAT))
    return build.op("Slice", floats, build.ints(0), build.ints(size), build.ints(1))


@decomposes("MatMulNBits", domain=MICROSOFT)
def matmul_nbits(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """a·Wᵀ + bias with W = (q - zero) · scale for each block along the inputs.

    q: (N, K/block, block·bits/8) bytes    scale: N·K/block    zero: as many, packed row by row, or
    floats; without it half the range.    Spec: contrib operators, MatMulNBits.
    """
    a, q, scales, zeros, order, bias = [*node.inputs, *[None] * 6][:6]
    if order is not None or node.attributes.get_int("weight_prepacked", 0) != 0:
        raise UnsupportedError(
            "its weights are reordered (g_idx) or packed for one device. Quantize without that"
        )
    assert a is not None
    assert q is not None
    bits, block = node.attributes.get_int("bits", 4), node.attributes.get_int("block_size")
    rows, columns = node.attributes.get_int("N"), node.attributes.get_int("K")
    blocks = -(-columns // block)
    numbers = _row_wise(build, q, bits, rows, blocks * block)
    whole = build.op("Reshape", numbers, build.ints(rows, blocks, block))
    zero = _zeros(build, zeros, bits, rows, blocks)
    scale = build.op("Reshape", scales, build.ints(rows, blocks, 1))
    scale = build.op("Cast", scale, to=int(FLOAT))
    w = build.op("Mul", build.op("Sub", whole, zero), scale)
    flat = build.op("Reshape", w, build.ints(rows, blocks * block))
    cut = build.op("Slice", flat, build.ints(0), build.ints(columns), build.ints(1))
    dtype = a.dtype or FLOAT
    weight = build.op("Transpose", build.op("Cast", cut, to=int(dtype)), perm=[1, 0])
    z = build.op("MatMul", a, weight)
    return [build.explained(node.outputs[0], z if bias is None else build.op("Add", z, bias))]


def _zeros(build: Build, zeros: ir.Value | None, bits: int, rows: int, blocks: int) -> ir.Value:
    """The zero point of each block, (rows, blocks, 1)."""
    if zeros is None:
        return build.constant(float(1 << (bits - 1)), FLOAT)
    shape = build.ints(rows, blocks, 1)
    if zeros.dtype == ir.DataType.UINT8:
        return build.op("Reshape", _row_wise(build, zeros, bits, rows, blocks), shape)
    return build.op("Reshape", build.op("Cast", zeros, to=int(FLOAT)), shape)


@decomposes("GatherBlockQuantized", domain=MICROSOFT)
def gather_block_quantized(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Gather from the dequantized table.  Spec: contrib operators, GatherBlockQuantized."""
    table, indices, scales, zeros = [*node.inputs, None][:4]
    shape_of_table = None if table is None else static_shape(table)
    if table is None or shape_of_table is None or scales is None:
        raise UnsupportedError("the shape of its table is unknown. Export the model with shapes")
    rank = len(shape_of_table)
    axis = node.attributes.get_int("quantize_axis", 1) % rank
    bits, block = node.attributes.get_int("bits", 4), node.attributes.get_int("block_size", 128)
    packed = table.dtype == ir.DataType.UINT8 and bits < 8
    if packed and axis != rank - 1:
        raise UnsupportedError("its bytes hold numbers of several rows")
    *lead, last = shape_of_table
    size = last * 8 // bits if packed else last
    sizes = [*lead, size]
    q = _numbers(build, table, bits if packed else 8, sizes)
    entries = build.ints(*(np.arange(sizes[axis]) // block))
    blocks = [*sizes]
    blocks[axis] = -(-sizes[axis] // block)
    if zeros is not None:
        packed_zeros = packed and zeros.dtype == ir.DataType.UINT8
        zero = _numbers(build, zeros, bits if packed_zeros else 8, blocks)
        q = build.op("Sub", q, build.op("Gather", zero, entries, axis=axis))
    elif table.dtype == ir.DataType.UINT8:
        q = build.op("Sub", q, build.constant(float(1 << (bits - 1)), FLOAT))
    scale = build.op("Gather", scales, entries, axis=axis)
    dtype = scales.dtype or FLOAT
    value = build.op("Mul", build.op("Cast", q, to=int(dtype)), scale)
    z = build.op("Gather", value, indices, axis=node.attributes.get_int("gather_axis", 0))
    return [build.explained(node.outputs[0], z)]


def _numbers(build: Build, stored: ir.Value, bits: int, sizes: Sequence[int]) -> ir.Value:
    """A table of these sizes as floats, whether several numbers share a byte or not."""
    if bits == 8:
        return build.op("Cast", stored, to=int(FLOAT))
    rows = int(np.prod(sizes[:-1]))
    return build.op("Reshape", _row_wise(build, stored, bits, rows, sizes[-1]), build.ints(*sizes))

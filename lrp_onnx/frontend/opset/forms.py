"""Operators that opset 21 lacks, or that meant something else there, spelled out in its words.

A form that cannot be given for lack of a type or a rank leaves the node as it is: then its own
function speaks, or the node is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from lrp_onnx.frontend.decompose.heads import positions, size_of
from lrp_onnx.frontend.opset.node import Rewrite, pop
from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.replacement import Build

__all__ = ["FORMS"]

Values = Sequence[ir.Value] | None


def swish(build: Build, node: ir.Node) -> Values:
    """x · σ(αx)."""
    (x,), alpha = node.inputs, node.attributes.get_float("alpha", 1.0)
    if alpha != 1.0 and (x is None or x.dtype is None):
        return None
    scaled = x if alpha == 1.0 else build.op("Mul", x, build.like(alpha, x))
    return [build.op("Mul", x, build.op("Sigmoid", scaled), named=node.name)]


def rms_normalization(build: Build, node: ir.Node) -> Values:
    """x / √(mean(x²) + ε) · scale, the first factor in the precision `stash_type`."""
    x, scale = node.inputs
    axis = node.attributes.get_int("axis", -1)
    if x is None or x.dtype is None or (axis >= 0 and x.shape is None):
        return None
    first = axis - len(x.shape or ()) if axis >= 0 else axis
    stash = ir.DataType(node.attributes.get_int("stash_type", int(ir.DataType.FLOAT)))
    precise = _cast(build, x, stash)
    epsilon = build.constant(node.attributes.get_float("epsilon", 1e-5), stash)
    square = build.op("Mul", precise, precise)
    mean = build.op("ReduceMean", square, build.ints(*range(first, 0)))
    ratio = build.op("Div", precise, build.op("Sqrt", build.op("Add", mean, epsilon)))
    ratio = ratio if precise is x else build.op("Cast", ratio, to=int(x.dtype))
    return [build.op("Mul", ratio, scale, named=node.name)]


def _cast(build: Build, x: ir.Value, dtype: Any) -> ir.Value:
    """A tensor of an element type, itself where it has it."""
    return x if x.dtype == dtype else build.op("Cast", x, to=int(dtype))


def quantize_linear(build: Build, node: ir.Node) -> None:
    """Input and scale of two types, or a `precision` (23): both are cast before."""
    scale = node.inputs[1]
    wanted = pop(node, "precision", 0) or (None if scale is None else scale.dtype)
    for k, value in enumerate(node.inputs[:2] if wanted else ()):
        if value is not None:
            node.replace_input_with(k, _cast(build, value, wanted))


def dequantize_linear(build: Build, node: ir.Node) -> None:
    """The precision `output_dtype` (23) is that of the scale."""
    wanted, scale = pop(node, "output_dtype", 0), node.inputs[1]
    if wanted and scale is not None:
        node.replace_input_with(1, _cast(build, scale, wanted))


def mod(build: Build, node: ir.Node) -> Values:
    """The floored remainder of floats (28) from the truncated one: add b where the signs differ."""
    a, b = node.inputs
    if a is None or a.dtype is None or not a.dtype.is_floating_point():
        return None
    if node.attributes.get_int("fmod", 0):
        return None
    zero, rest = build.like(0.0, a), build.op("Mod", a, b, fmod=1)
    differ = build.op("Xor", build.op("Less", rest, zero), build.op("Less", b, zero))
    shift = build.op("Where", differ, build.op("Add", rest, b), rest)
    return [build.op("Where", build.op("Equal", rest, zero), rest, shift, named=node.name)]


def cum_prod(build: Build, node: ir.Node) -> Values:
    """A Scan that multiplies along the axis; along the middle one of three if the run tells it."""
    x, axis = node.inputs
    if x is None or x.dtype is None:
        return None
    known = constant_ints(axis)
    if known is not None:
        return [_products(build, node, x, known[0], node.name)]
    # x as (all before the axis, the axis, all behind it)
    shape, one = build.op("Shape", x), build.constant(1)
    # ONNX Runtime 1.31 takes the Size of a Shape for the number of elements
    rank = size_of(build, shape, 0)
    place = build.op("Mod", build.op("Cast", axis, to=int(ir.DataType.INT64)), rank)
    places = positions(build, rank)
    sizes = [
        build.op("ReduceProd", build.op("Where", build.op(where, places, place), shape, one))
        for where in ("Less", "Equal", "Greater")
    ]
    three = build.op("Reshape", x, build.op("Concat", *sizes, axis=0), allowzero=1)
    three.type = x.type
    products = _products(build, node, three, 1, node.name)
    return [build.op("Reshape", products, shape, allowzero=1)]


def _products(build: Build, node: ir.Node, x: ir.Value, step: int, named: str | None) -> ir.Value:
    """The products of x along the axis `step`."""
    assert x.dtype is not None
    # the product starts from ones shaped like one slice
    one = ir.Tensor(np.ones(1, x.dtype.numpy()))
    ones = build.op("ConstantOfShape", build.op("Shape", x), value=one)
    first = build.op("ReduceMax", ones, build.ints(step), keepdims=0)
    body, element = Build(None, node, "body"), ir.TensorType(x.dtype)
    so_far, part = (ir.Value(name=f"{body.prefix}/{name}", type=element) for name in "ab")
    product = body.op("Mul", so_far, part)
    written = body.op("Identity", so_far if pop(node, "exclusive", 0) else product)
    product.type = written.type = element
    graph = ir.Graph([so_far, part], [product, written], nodes=body.nodes, name=body.prefix)
    directions = [pop(node, "reverse", 0)]
    return build.outputs(
        "Scan",
        2,
        *(first, x),
        named=named,
        body=graph,
        num_scan_inputs=1,
        scan_input_axes=[step],
        scan_output_axes=[step],
        scan_input_directions=directions,
        scan_output_directions=directions,
    )[1]


def tensor_scatter(build: Build, node: ir.Node) -> Values:
    """ScatterElements at the positions start, start + 1, … of each sample along the axis."""
    cache, update, starts = [*node.inputs, None][:3]
    if update is None or update.shape is None:
        return None
    rank = len(update.shape)
    axis = node.attributes.get_int("axis", -2) % rank
    sizes = build.op("Shape", update)
    length = build.op("Gather", sizes, build.constant(axis))
    others = build.ints(*(k for k in range(rank) if k != axis))
    place = build.op("Unsqueeze", positions(build, length), others)
    if starts is not None:
        place = build.op(
            "Add", build.op("Reshape", starts, build.ints(-1, *[1] * (rank - 1))), place
        )
    if node.attributes.get_string("mode", "linear") == "circular":
        place = build.op("Mod", place, build.op("Shape", cache, start=axis, end=axis + 1))
    full = build.op("Expand", place, sizes)
    return [build.op("ScatterElements", cache, full, update, axis=axis, named=node.name)]


FORMS: Mapping[str, Rewrite] = {
    "CumProd": cum_prod,
    "DequantizeLinear": dequantize_linear,
    "Mod": mod,
    "QuantizeLinear": quantize_linear,
    "RMSNormalization": rms_normalization,
    "Swish": swish,
    "TensorScatter": tensor_scatter,
}
"""Operator → its form at opset 21."""

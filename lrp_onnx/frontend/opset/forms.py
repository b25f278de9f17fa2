"""Operators that opset 21 lacks, or that meant something else there, spelled out in its words.

A form that cannot be given for lack of a type or a rank returns the node as it is: then its own
function speaks, or the node is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from lrp_onnx.frontend.opset.scope import Rewrite, Scope, pop

__all__ = ["FORMS"]

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def cast(node: NodeProto, scope: Scope, name: str, element_type: int) -> list[NodeProto]:
    """Return the Cast that brings a tensor to an element type, nothing where it has it."""
    if scope.element_type(name) == element_type:
        return []
    return [scope.node(node, "Cast", [name], to=element_type)]


def swish(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """x · σ(αx)."""
    (x,) = node.input
    alpha = next((a.f for a in node.attribute if a.name == "alpha"), 1.0)
    if alpha != 1.0 and not scope.element_type(x):
        return [node]
    nodes = []
    if alpha != 1.0:
        factor = scope.scalar(node, "alpha", alpha, x)
        nodes = [scope.node(node, "Mul", [x, factor])]
    gate = scope.node(node, "Sigmoid", [nodes[0].output[0] if nodes else x])
    return [*nodes, gate, scope.replaced(node, "Mul", [x, gate.output[0]])]


def rms_normalization(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """x / √(mean(x²) + ε) · scale, the first factor in the precision `stash_type`."""
    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    x, scale = node.input
    axis, shape, held = values.get("axis", -1), scope.shape(x), scope.element_type(x)
    if not held or (axis >= 0 and shape is None):
        return [node]
    first = axis - len(shape) if axis >= 0 and shape is not None else axis
    stash = values.get("stash_type", TensorProto.FLOAT)
    before = cast(node, scope, x, stash)
    precise = before[0].output[0] if before else x
    dtype = helper.tensor_dtype_to_np_dtype(stash)
    epsilon = np.array(values.get("epsilon", 1e-5)).astype(dtype)
    axes = scope.integers(node, "axes", range(first, 0))
    square = scope.node(node, "Mul", [precise, precise])
    mean = scope.node(node, "ReduceMean", [square.output[0], axes])
    safe = scope.node(node, "Add", [mean.output[0], scope.constant(node, "epsilon", epsilon)])
    root = scope.node(node, "Sqrt", [safe.output[0]])
    ratio = scope.node(node, "Div", [precise, root.output[0]])
    after = [scope.node(node, "Cast", [ratio.output[0]], to=held)] if before else []
    last = scope.replaced(node, "Mul", [(after or [ratio])[0].output[0], scale])
    return [*before, square, mean, safe, root, ratio, *after, last]


def quantize_linear(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """Input and scale of two types, or a `precision` (23): both are cast before."""
    x, scale, *rest = node.input
    wanted = pop(node, "precision", 0) or scope.element_type(scale)
    if not wanted:
        return [node]
    casts = [cast(node, scope, name, wanted) for name in (x, scale)]
    names = [c[0].output[0] if c else n for c, n in zip(casts, (x, scale), strict=True)]
    node.input[:] = [*names, *rest]
    return [*casts[0], *casts[1], node]


def dequantize_linear(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """The precision `output_dtype` (23) is that of the scale."""
    wanted = pop(node, "output_dtype", 0)
    casts = cast(node, scope, node.input[1], wanted) if wanted else []
    if casts:
        node.input[1] = casts[0].output[0]
    return [*casts, node]


def mod(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """The floored remainder of floats (28) from the truncated one: add b where the signs differ."""
    a, b = node.input
    if scope.element_type(a) not in FLOATS or any(v.name == "fmod" and v.i for v in node.attribute):
        return [node]
    zero = scope.scalar(node, "zero", 0.0, a)
    rest = scope.node(node, "Mod", [a, b], fmod=1)
    below = scope.node(node, "Less", [rest.output[0], zero])
    negative = scope.node(node, "Less", [b, zero])
    differ = scope.node(node, "Xor", [below.output[0], negative.output[0]])
    moved = scope.node(node, "Add", [rest.output[0], b])
    whole = scope.node(node, "Equal", [rest.output[0], zero])
    shift = scope.node(node, "Where", [differ.output[0], moved.output[0], rest.output[0]])
    last = scope.replaced(node, "Where", [whole.output[0], rest.output[0], shift.output[0]])
    return [rest, below, negative, differ, moved, whole, shift, last]


def cum_prod(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """A Scan that multiplies along the axis; along the middle one of three if the run tells it."""
    x, axis_name = node.input
    axis, held = scope.value(axis_name), scope.element_type(x)
    if not held:
        return [node]
    if axis is not None:
        return _products(node, scope, x, int(axis.reshape(())))
    before, after = _three_axes(node, scope, x, axis_name)
    (y,) = node.output
    node.output[0] = scope.fresh(f"{y}/products")
    products = _products(node, scope, before[-1].output[0], 1)
    after.input.insert(0, node.output[0])
    after.output[0] = y
    return [*before, *products, after]


def _three_axes(
    node: NodeProto, scope: Scope, x: str, axis_name: str
) -> tuple[list[NodeProto], NodeProto]:
    """x as (all before the axis, the axis, all behind it), and the Reshape back, without input."""
    zero, one = (scope.constant(node, f"{k}", np.array(k, np.int64)) for k in (0, 1))
    shape = scope.node(node, "Shape", [x])
    # ONNX Runtime 1.31 takes the Size of a Shape for the number of elements
    count = scope.node(node, "Shape", [shape.output[0]])
    rank = scope.node(node, "Squeeze", [count.output[0]])
    whole = scope.node(node, "Cast", [axis_name], to=TensorProto.INT64)
    axis = scope.node(node, "Mod", [whole.output[0], rank.output[0]])
    places = scope.node(node, "Range", [zero, rank.output[0], one])
    nodes, sizes = [shape, count, rank, whole, axis, places], []
    for where in ("Less", "Equal", "Greater"):
        there = scope.node(node, where, [places.output[0], axis.output[0]])
        counted = scope.node(node, "Where", [there.output[0], shape.output[0], one])
        size = scope.node(node, "ReduceProd", [counted.output[0]])
        nodes += [there, counted, size]
        sizes.append(size.output[0])
    wanted = scope.node(node, "Concat", sizes, axis=0)
    before = scope.node(node, "Reshape", [x, wanted.output[0]], allowzero=1)
    after = scope.node(node, "Reshape", [shape.output[0]], allowzero=1)
    return [*nodes, wanted, before], after


def _products(node: NodeProto, scope: Scope, x: str, step: int) -> list[NodeProto]:
    """The products of x along the axis `step`, in place of the node."""
    held, direction = scope.element_type(node.input[0]), int(pop(node, "reverse", 0))
    axes = scope.integers(node, "axes", [step])
    one = np.ones(1, helper.tensor_dtype_to_np_dtype(held))
    # The product starts from ones shaped like one slice.
    shape = scope.node(node, "Shape", [x])
    ones = scope.node(
        node, "ConstantOfShape", [shape.output[0]], value=numpy_helper.from_array(one)
    )
    first = scope.node(node, "ReduceMax", [ones.output[0], axes], keepdims=0)
    body = _product_body(node, scope, held, bool(pop(node, "exclusive", 0)))
    last = scope.replaced(
        node,
        "Scan",
        [first.output[0], x],
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[step],
        scan_output_axes=[step],
        scan_input_directions=[direction],
        scan_output_directions=[direction],
    )
    last.output.insert(0, scope.fresh(f"{node.output[0]}/product"))
    return [shape, ones, first, last]


def _product_body(node: NodeProto, scope: Scope, element_type: int, exclusive: bool) -> GraphProto:
    """One step: (product so far, slice) → (product, what is written)."""
    base = node.name or node.output[0]
    so_far, part, product, written = (
        scope.fresh(f"{base}/{name}") for name in ("so_far", "slice", "next", "written")
    )
    nodes = [
        helper.make_node("Mul", [so_far, part], [product]),
        helper.make_node("Identity", [so_far if exclusive else product], [written]),
    ]
    values = [helper.make_tensor_value_info(v, element_type, None) for v in (so_far, part)]
    results = [helper.make_tensor_value_info(v, element_type, None) for v in (product, written)]
    return helper.make_graph(nodes, f"{base}/body", values, results)


def tensor_scatter(node: NodeProto, scope: Scope) -> list[NodeProto]:
    """ScatterElements at the positions start, start + 1, … of each sample along the axis."""
    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    cache, update, starts = [*node.input, ""][:3]
    shape = scope.shape(update)
    if shape is None:
        return [node]
    axis = values.get("axis", -2) % len(shape)
    others = scope.integers(node, "others", [k for k in range(len(shape)) if k != axis])
    zero, one = (scope.constant(node, f"{k}", np.array(k, np.int64)) for k in (0, 1))
    place = scope.constant(node, "axis", np.array(axis, np.int64))
    sizes = scope.node(node, "Shape", [update])
    length = scope.node(node, "Gather", [sizes.output[0], place])
    steps = scope.node(node, "Range", [zero, length.output[0], one])
    wide = scope.node(node, "Unsqueeze", [steps.output[0], others])
    nodes = [sizes, length, steps, wide]
    if starts:
        column = scope.integers(node, "column", [-1] + [1] * (len(shape) - 1))
        nodes.append(scope.node(node, "Reshape", [starts, column]))
        nodes.append(scope.node(node, "Add", [nodes[-1].output[0], wide.output[0]]))
    if values.get("mode", b"linear") == b"circular":
        total = scope.node(node, "Shape", [cache], start=axis, end=axis + 1)
        nodes += [total, scope.node(node, "Mod", [nodes[-1].output[0], total.output[0]])]
    full = scope.node(node, "Expand", [nodes[-1].output[0], sizes.output[0]])
    last = scope.replaced(node, "ScatterElements", [cache, full.output[0], update], axis=axis)
    return [*nodes, full, last]


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

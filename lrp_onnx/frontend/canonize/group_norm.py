"""A GroupNorm spelled by InstanceNormalization becomes one operator.

PyTorch's exporters below opset 21 write a norm over groups of channels as

    Reshape to (N, G, -1) → InstanceNormalization with scale 1 and bias 0 → Reshape back → ·γ → +β.

`lrp::GroupNormalization` is the whole of it with γ and β of one number a channel, so that the bias
absorbs as that of any norm; `optimize` spells it the same again.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.constants import Float, array_of, sole_reader
from lrp_onnx.graph.replacement import Build

__all__ = ["group_norms"]


def group_norms(model: ir.Model) -> bool:
    """Recognize the spelling wherever γ and β vary along the channels only."""
    norms = [n for n in model.graph if not n.domain and n.op_type == "InstanceNormalization"]
    return sum(_recognized(model.graph, norm) for norm in norms) > 0


def _recognized(graph: ir.Graph, norm: ir.Node) -> bool:
    first = _producer(norm.inputs[0], "Reshape")
    last = _reader(norm.outputs[0], "Reshape")
    if first is None or last is None or not _plain(norm):
        return False
    x, groups = first.inputs[0], norm.inputs[0]
    if x is None or groups is None or not _same_shape(x, last.outputs[0]) or not _grouped(groups):
        return False
    channels = x.shape[1] if x.shape is not None else None
    if not isinstance(channels, int) or sole_reader(groups) is None:
        return False
    nodes, scale, bias = [last], np.ones(channels), None
    scaled = _affine(nodes[-1], "Mul", x)
    if scaled is not None:
        nodes.append(scaled[0])
        scale = scaled[1]
    shifted = _affine(nodes[-1], "Add", x)
    if shifted is not None:
        nodes.append(shifted[0])
        bias = shifted[1]
    _write(graph, norm, x, nodes, scale, bias)
    return True


def _plain(norm: ir.Node) -> bool:
    scale, bias = (array_of(v) for v in norm.inputs[1:3])
    return scale is not None and bias is not None and bool((scale == 1).all() and (bias == 0).all())


def _grouped(value: ir.Value) -> bool:
    """Whether it was brought to (N, G, -1), samples staying apart."""
    node = value.producer()
    target = None if node is None else node.inputs[1]
    if target is None or target.const_value is None:
        return False
    shape = target.const_value.numpy().tolist()
    x = node.inputs[0] if node is not None else None
    batch = x.shape[0] if x is not None and x.shape is not None else None
    return len(shape) == 3 and shape[2] != 0 and shape[1] > 0 and shape[0] in (0, batch)


def _same_shape(x: ir.Value, y: ir.Value) -> bool:
    """Whether y was brought to the shape of x."""
    if x.shape is not None and y.shape is not None and list(x.shape) == list(y.shape):
        return all(size is not None for size in _names(x))
    node = y.producer()
    shape = None if node is None or node.inputs[1] is None else node.inputs[1].producer()
    whole = shape is not None and shape.op_type == "Shape" and not shape.attributes
    return whole and shape is not None and shape.inputs[0] is x


def _names(x: ir.Value) -> list[object]:
    """Sizes, or their names; None for one without."""
    return [d if isinstance(d, int) else d.value for d in x.shape or ()]


def _affine(node: ir.Node, op_type: str, x: ir.Value) -> tuple[ir.Node, Float] | None:
    """The Mul or Add by one number a channel that alone reads the node, and the numbers."""
    assert x.shape is not None
    reader, at = sole_reader(node.outputs[0]) or (None, 0)
    if reader is None or reader.domain or reader.op_type != op_type:
        return None
    constant = array_of(reader.inputs[1 - at])
    rank, channels = len(x.shape), x.shape[1]
    if constant is None or constant.ndim > rank or not isinstance(channels, int):
        return None
    whole = constant.reshape((*[1] * (rank - constant.ndim), *constant.shape))
    if whole.size not in (1, channels) or whole.shape[1] != whole.size:
        return None
    return reader, np.broadcast_to(whole.reshape(-1), channels)


def _write(
    graph: ir.Graph,
    norm: ir.Node,
    x: ir.Value,
    nodes: list[ir.Node],
    scale: Float,
    bias: Float | None,
) -> None:
    last, ones = nodes[-1], array_of(norm.inputs[1])
    assert x.dtype is not None
    assert ones is not None
    build = Build(graph, last)
    parts = [("scale", scale)] + ([] if bias is None else [("bias", bias)])
    constants = [build.constant(array, x.dtype, part) for part, array in parts]
    (y,) = build.outputs(
        "GroupNormalization",
        1,
        x,
        *constants,
        domain="lrp",
        named=norm.name,
        num_groups=ones.size,
        epsilon=norm.attributes.get_float("epsilon", 1e-5),
    )
    build.replace(y)
    graph.remove([*reversed(nodes[:-1]), norm], safe=True)


def _producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and not node.domain and node.op_type == op_type else None


def _reader(value: ir.Value, op_type: str) -> ir.Node | None:
    node, at = sole_reader(value) or (None, 0)
    if node is None or node.domain or node.op_type != op_type or at:
        return None
    return node

"""A constant that is copied along axes to meet a tensor of that shape meets it as it is.

    x + Expand(b, shape) = x + b,    shape being that of x.

A bias that an exporter spreads over all places is one for each channel still, and a layer's own;
where sizes are fixed, the copies are in the file.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.constants import Float, array_of, constants_of
from lrp_onnx.graph.makers import inputs_by, standard_nodes
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.shapes import same_sizes
from lrp_onnx.graph.unused import remove_unused

__all__ = ["unspread_constants"]

MEETING = ("Add", "Sub", "Mul", "Div")
"""What broadcasts by itself."""
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
MOST_READ = 1 << 24
"""Elements of a constant up to which it is asked whether it holds copies."""


def unspread_constants(model: ir.Model) -> bool:
    """Let such nodes read the constant."""
    graph = model.graph
    spread = standard_nodes(graph, "Expand")
    constants = constants_of(graph) if spread else set[ir.Value]()
    expanded = sum(_unspread(node) for node in spread if node.inputs[0] in constants)
    if expanded:
        remove_unused(model)  # what computed the shape reads x
    meeting = standard_nodes(graph, *MEETING)
    return expanded + sum(_without_copies(graph, node) for node in meeting) > 0


def _meets_whole(node: ir.Node, k: int) -> bool:
    """Whether the other operand has the result's shape, so that input k may be as small as it is
    without its copies.
    """
    other = node.inputs[1 - k]
    return other is not node.inputs[k] and same_sizes(other, node.outputs[0])


def _unspread(node: ir.Node) -> int:
    changed = 0
    for reader, k in tuple(node.outputs[0].uses()):
        if reader.op_type in MEETING and not reader.domain and _meets_whole(reader, k):
            reader.replace_input_with(k, node.inputs[0])
            changed += 1
    return changed


def _without_copies(graph: ir.Graph, node: ir.Node) -> bool:
    for k, value in enumerate(node.inputs):
        stored = None if value is None else value.const_value
        if value is None or stored is None or value.dtype is None or stored.size > MOST_READ:
            continue
        array = array_of(value) if len(stored.shape) > 1 and _meets_whole(node, k) else None
        first = int(not _is_bare_layer(node.inputs[1 - k]))
        if array is not None and (single := _first_copy(array, first)).size < array.size:
            constant = Build(graph, node).constant(single, value.dtype, "single")
            node.replace_input_with(k, constant)
            return True
    return False


def _is_bare_layer(value: ir.Value | None) -> bool:
    """Whether a layer without a bias gives it.  Behind others a constant whose samples are alike
    may be what a cell makes of its first state, which is a term of its own.
    """
    return len(inputs_by(value, *PRODUCTS)) == 2


def _first_copy(array: Float, first: int) -> Float:
    """Of size 1 along each axis from the first on whose slices are alike."""
    for axis in range(first, array.ndim):
        copy = array.take([0], axis)
        if (array == copy).all():
            array = copy
    return array

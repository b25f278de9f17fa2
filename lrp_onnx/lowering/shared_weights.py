"""Square weights that a convolution and a transposed one share become two, and so do those that
products x·W and x·Wᵀ share.

OpenVINO 2026.4 takes the layout of one for that of both where the first two sizes of the weight are
equal, and is off by the size of the result itself.
"""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.annotations import RULE
from lrp_onnx.graph.constants import new_constant
from lrp_onnx.graph.shapes import static_shape

__all__ = ["part_shared_weights"]

KINDS = ("Conv", "ConvTranspose", "Gemm")


def part_shared_weights(graph: ir.Graph) -> None:
    """Give emitted nodes of another kind than the network's own a copy of the weight; where it has
    both of one weight, nothing helps.
    """
    for weight in list(graph.initializers.values()):
        shape, tensor = static_shape(weight), weight.const_value
        if shape is None or len(shape) < 2 or shape[0] != shape[1] or tensor is None:
            continue
        readers = [node for node, i in weight.uses() if i == 1 and node.op_type in KINDS]
        emitted = [node for node in readers if RULE in node.metadata_props]
        kinds = {_kind(node) for node in readers if node not in emitted}
        kinds = kinds or {kind for kind in map(_kind, emitted) if kind in FIRST}
        others = [node for node in emitted if _kind(node) not in kinds]
        if not others or len(others) == len(weight.uses()):
            continue
        copy = new_constant(graph, f"{weight.name}/apart", tensor.numpy(), tensor.dtype)
        for node in others:
            node.replace_input_with(1, copy)


FIRST = (("Conv", 0), ("Gemm", 1))
"""What keeps the weight where the network itself does not read it."""


def _kind(node: ir.Node) -> tuple[str, int]:
    """What nodes that read a weight in one way have in common."""
    return node.op_type, node.attributes.get_int("transB", 0)

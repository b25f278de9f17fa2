"""What a node claims that no runtime computes: attributes out of range, inputs left out, too many
outputs.  onnx's checker looks at few of them; its inference and ONNX Runtime's kernels read outside
of memory, or each takes another meaning.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx import defs

from lrp_onnx.errors import ModelError
from lrp_onnx.graph.names import name_of
from lrp_onnx.graph.subgraphs import bodies_of, nodes_of

__all__ = ["check_claims", "check_weights_of_bodies", "write_out"]

INTEGERS = (ir.AttributeType.INT, ir.AttributeType.INTS)
MOST_AXES = 64
"""No runtime has tensors of more."""
AXES = ("axis", "axes", "batch_axis", "time_axis")
FLAGS = {
    *("align_corners", "allowzero", "antialias", "ceil_mode", "center_point_box", "interleaved"),
    *("count_include_pad", "detect_negative", "detect_positive", "exclude_outside", "exclusive"),
    *("fmod", "input_forget", "inverse", "is_causal", "is_test", "largest", "linear_before_reset"),
    *("noop_with_empty_axes", "onesided", "output_sequence", "periodic", "reverse", "saturate"),
    *("select_last_index", "sorted", "spatial", "storage_order", "training_mode", "upper"),
}
"""Attributes that are 0 or 1: of other numbers some kernels read the lower half, some whether it is
1, some memory that nobody wrote.
"""
CHOICES = {
    "qk_matmul_output_mode": range(4),
    "softmax_precision": (0, 1, 10, 11, 16),
    "reduction": ("none", "mean", "sum", "add", "mul", "max", "min"),
}
"""Others that have a few values."""
TYPES = {"dtype", "output_datatype", "output_dtype", "stash_type", "to"}
"""Those that name an element type."""
WINDOWS = {
    *("dilations", "group", "kernel_shape", "output_padding", "output_shape", "pads", "strides"),
}
LARGEST_SIZE = 2**31 - 1
"""Sizes of windows beyond that overflow where they are added and multiplied."""

MOST_CHANNELS = 2**20
"""More than any tensor has."""


def check_claims(model: ir.Model, name: str) -> None:
    """Raise ModelError naming the first node with such a claim, or the first tensor of more axes
    than runtimes have.

    name: of the model, for the message.
    """
    for value in (*model.graph.inputs, *model.graph.initializers.values(), *model.graph.outputs):
        if value.shape is not None and len(value.shape) > MOST_AXES:
            raise ModelError(
                f"{name}: tensor {value.name!r} has {len(value.shape)} axes, and no runtime has "
                f"more than {MOST_AXES}. Export the model again."
            )
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        version = graph.opset_imports.get("", graph.opset_imports.get("ai.onnx", 0))
        for node in nodes_of(graph):
            fault = _reference(node) if graph is model.graph else None
            if fault is None and node.domain in ("", "ai.onnx"):
                fault = _fault(node, version)
            if fault is not None:
                raise ModelError(
                    f"{name}: node {name_of(node)!r} ({node.op_type}) {fault}. Export the model "
                    "again."
                )


def check_weights_of_bodies(
    graph: ir.Graph, name: str, scopes: tuple[dict[str, ir.TensorProtocol | None], ...] = ()
) -> None:
    """Raise ModelError where a body has a weight under a name that another tensor has outside: ONNX
    forbids that, onnx's checker does not look, and runtimes read the outer one.

    scopes: the tensors around the graph, the nearest first.
    """
    holders = [node for node in graph if any(True for _ in bodies_of(node))]
    if not holders:
        return
    values = (*graph.inputs, *(v for node in graph for v in node.outputs))
    own = {str(v.name): v.const_value for v in (*values, *graph.initializers.values())}
    scopes = (own, *scopes)
    for node in holders:
        for body in bodies_of(node):
            for key, value in body.initializers.items():
                outer = next((scope[key] for scope in scopes if key in scope), value.const_value)
                if not _same_weight(outer, value.const_value):
                    raise ModelError(
                        f"{name}: weight {key!r} in a body of node {name_of(node)!r} "
                        f"({node.op_type}) has the name of another tensor outside of it. Rename "
                        "one of the two."
                    )
            check_weights_of_bodies(body, name, scopes)


def _same_weight(a: ir.TensorProtocol | None, b: ir.TensorProtocol | None) -> bool:
    if a is None or b is None or a is b:
        return a is b
    if isinstance(a, ir.ExternalTensor) and isinstance(b, ir.ExternalTensor):
        return (a.location, a.offset) == (b.location, b.offset)
    if isinstance(a, ir.ExternalTensor) or isinstance(b, ir.ExternalTensor):
        return False
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _reference(node: ir.Node) -> str | None:
    """An attribute that only a function's caller could give a value."""
    name = next((key for key, attribute in node.attributes.items() if attribute.is_ref()), None)
    return None if name is None else f"takes {name} from a function that it is not in"


def _fault(node: ir.Node, version: int) -> str | None:
    for key, attribute in node.attributes.items():
        if attribute.is_ref():
            continue
        value = attribute.value
        numbers = [value] if attribute.type == INTEGERS[0] else value
        largest = max(map(abs, numbers), default=0) if attribute.type in INTEGERS else 0
        if key in AXES and largest > MOST_AXES:
            return f"has {key} = {value}, which no tensor has"
        if key in WINDOWS and largest > LARGEST_SIZE:
            return f"has {key} = {value}, which no window has"
        if (node.op_type, key) == ("LRN", "size") and largest > MOST_CHANNELS:
            return f"has size = {value}, and runtimes lay out memory for as many channels"
        if key in FLAGS and attribute.type == INTEGERS[0] and value not in (0, 1):
            return f"has {key} = {value}, which means 0 or 1"
        if key in TYPES and value not in onnx.TensorProto.DataType.values():
            return f"has {key} = {value}, which is no type of elements"
        if key in CHOICES and value not in CHOICES[key]:
            return f"has {key} = {value!r}, which is none of {', '.join(map(str, CHOICES[key]))}"
    if node.op_type == "GatherND" and node.attributes.get_int("batch_dims", 0) < 0:
        return "has batch_dims below 0, which no tensor has"
    parts = node.attributes.get_int("num_outputs", None) if node.op_type == "Split" else None
    if parts is not None and parts != len(node.outputs):
        return f"has {len(node.outputs)} outputs and num_outputs = {parts}"
    if node.op_type == "DFT" and len(node.inputs) == 3 and node.inputs[2] is None:
        return "has an axis without a name, at which ONNX Runtime breaks down"
    return _left_out(node, version)


def _left_out(node: ir.Node, version: int) -> str | None:
    """An input without a name that the operator has to have."""
    empty = [k for k, value in enumerate(node.inputs) if value is None]
    if not empty or not defs.has(node.op_type):
        return None
    try:
        formal = defs.get_schema(node.op_type, version).inputs
    except defs.SchemaError:  # no opset has it: onnx's checker says so
        return None
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    for k in empty:
        if formal and formal[min(k, len(formal) - 1)].option != optional:
            return f"leaves out its input {k}, without which there is no result"
    return None


def write_out(node: ir.Node) -> None:
    """Write attributes as the runtime reads them, where onnx takes them otherwise."""
    if node.attributes.get_int("keepdims", 0) not in (0, 1):  # runtimes keep them where it is 1
        node.attributes["keepdims"] = ir.AttrInt64("keepdims", 0)
    for key in ("transA", "transB"):
        if node.attributes.get_int(key, 0) not in (0, 1):
            node.attributes[key] = ir.AttrInt64(key, 1)
    if node.op_type == "MeanVarianceNormalization" and "axes" not in node.attributes:
        # onnx's checker does not know the default that its specification has
        node.attributes["axes"] = ir.AttrInt64s("axes", [0, 2, 3])
    if node.op_type == "STFT" and "onesided" not in node.attributes:
        # onnx's inference takes another default than the specification and runtimes
        node.attributes["onesided"] = ir.AttrInt64("onesided", 1)

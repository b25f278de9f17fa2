"""Shape inference by onnx, which does not know the compiler's own operators."""

from __future__ import annotations

from functools import partial

import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper

from lrp_onnx.frontend.normalize.ceil_mode import cut_ceil_mode
from lrp_onnx.frontend.normalize.loop_state import inferred_steady
from lrp_onnx.graph.limits import Budget
from lrp_onnx.graph.onnx_inference import infer
from lrp_onnx.graph.subgraphs import proto_bodies, proto_nodes

__all__ = ["inferred"]


HARMLESS = (
    "expected to have type but instead is null",  # it cannot tell the type of an input
    "(op_type:If",  # the branch not taken may be for other shapes
    "(op_type:Range",  # runtimes take numbers of shape [1] too
)
"""Parts of onnx's complaints about models that run."""


def inferred(proto: ModelProto, budget: Budget, strict: bool = True) -> ModelProto:
    """The model with the types and shapes of its tensors; onnx's InferenceError where they
    contradict each other, if strict.
    """
    known = partial(_known, budget)
    nodes, others = list(proto_nodes(proto.graph)), {}
    unknown = {name for node in nodes if _has_no_shape(node) for name in node.output}
    for node in nodes:
        if node.domain == "lrp" and node.op_type == "ExplainedBy":
            # what onnx has no shape for has that of its explanation
            others[node.output[0]] = [*node.input]
            del node.input[0 if node.input[0] in unknown else 1]
            node.domain, node.op_type = "", "Identity"
    grouped = _as_identities(proto.graph)
    _declare_captured(proto.graph)
    steady = cut_ceil_mode(proto, lambda model: inferred_steady(model, known))
    result = inferred_steady(steady, partial(_shaped, budget) if strict else known)
    for node in proto_nodes(result.graph) if others else ():
        if node.op_type == "Identity" and node.output[0] in others:
            node.domain, node.op_type = "lrp", "ExplainedBy"
            node.input[:] = others[node.output[0]]
    for node in proto_nodes(result.graph) if grouped else ():
        if node.op_type == "Identity" and node.output[0] in grouped:
            node.CopyFrom(grouped[node.output[0]])
    return result


def _has_no_shape(node: NodeProto) -> bool:
    """Whether onnx cannot tell: the operator is another domain's, or the run decides the rank."""
    return bool(node.domain) or (node.op_type == "Squeeze" and len(node.input) == 1)


def _as_identities(graph: GraphProto) -> dict[str, NodeProto]:
    """The nodes, by output, of the operator that onnx infers no shape for though it keeps that of
    its input; they are made Identity.
    """
    originals = {}
    for node in proto_nodes(graph):
        if node.op_type == "GroupNormalization" and not node.domain:
            originals[node.output[0]] = NodeProto.FromString(node.SerializeToString())
            node.op_type = "Identity"
            del node.input[1:], node.attribute[:]
    return originals


def _declare_captured(graph: GraphProto) -> None:
    """Tell the types of initializers where a body may read them; onnx does not look there."""
    if not any(True for node in graph.node for _ in proto_bodies(node)):
        return
    known = {value.name for value in (*graph.input, *graph.value_info)}
    for tensor in graph.initializer:
        if tensor.name not in known:
            info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.value_info.append(info)


def _shaped(budget: Budget, proto: ModelProto) -> ModelProto:
    """With values propagated through shape arithmetic, where onnx can.

    It takes [4, 1] + [1, 2] of known integers for a contradiction, as if they were vectors; and
    what reads an operator of another domain for one too, until that is expanded.
    """
    try:
        return infer(proto, budget, strict=True)
    except onnx.shape_inference.InferenceError as e:
        if any(harmless in str(e) for harmless in HARMLESS):
            return _known(budget, proto)
        return onnx.shape_inference.infer_shapes(proto, strict_mode=True)


def _known(budget: Budget, proto: ModelProto) -> ModelProto:
    """What can be told; nothing of what contradicts itself."""
    return infer(proto, budget, strict=False)

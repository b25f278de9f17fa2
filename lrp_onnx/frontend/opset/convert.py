"""Any opset from 7 to 28 becomes one that the compiler and every runtime knows: 18 to 21.

Each operator is looked at by itself. Most mean at the new opset what they meant at the old one and
stay as they are, so names, text, metadata and the order of nodes survive; the few others are
rewritten (`opset_raise`, `opset_lower`, `opset_forms`, `opset_function`).
"""

from __future__ import annotations

import onnx
from onnx import GraphProto, ModelProto, NodeProto, defs, helper, shape_inference

from lrp_onnx.errors import ModelError
from lrp_onnx.frontend.opset.lowering import CEILING, lowered
from lrp_onnx.frontend.opset.raising import raised
from lrp_onnx.frontend.opset.scope import Rewrite, Scope, Shared, subgraphs

__all__ = ["CEILING", "FLOOR", "NEWEST", "OLDEST", "convert"]

OLDEST, FLOOR, NEWEST = 7, 18, 28
IR_VERSIONS = range(8, 11)
STANDARD = ("", "ai.onnx")


def convert(proto: ModelProto) -> ModelProto:
    """Return the model with its standard opset in 18 … 21 and its IR version in 8 … 10.

    Below 18 it becomes 18, above 21 it becomes 21. Inputs, outputs, names and other domains stay;
    local functions are taken as they are (inline them before). Large weights may be missing: only
    small constants are read. Raises ModelError naming every node that has no form there, or the
    opset if it is outside 7 … 28.
    """
    model = ModelProto()
    model.CopyFrom(proto)
    opset = _standard_opset(model)
    if opset < FLOOR:
        _rewrite(model, opset, raised, FLOOR)
        _set_opset(model, FLOOR)
    elif opset > CEILING:
        # What one function leaves behind may be newer than opset 21 itself.
        while _rewrite(model, opset, lowered, CEILING):
            pass
        _set_opset(model, CEILING)
    _set_ir_version(model)
    return model


def _standard_opset(model: ModelProto) -> int:
    """Return the model's standard opset; ModelError unless it is one we know."""
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD]
    newest = min(NEWEST, defs.onnx_opset_version())
    if not versions and model.opset_import:
        return _set_opset(model, FLOOR)
    opset = max(versions, default=1)
    if opset < OLDEST:
        raise ModelError(
            f"the model has opset {opset}, and lrp-onnx reads {OLDEST} to {NEWEST}. Export it "
            f"again with a newer exporter, or raise it with onnx.version_converter.convert_version"
        )
    if opset > newest:
        raise ModelError(
            f"the model has opset {opset}, and lrp-onnx with onnx {onnx.__version__} reads "
            f"{OLDEST} to {newest}. Export it with an opset from {FLOOR} to {CEILING}"
        )
    return opset


def _set_opset(model: ModelProto, opset: int) -> int:
    """Give the model one entry for the standard domain."""
    others = [entry for entry in model.opset_import if entry.domain not in STANDARD]
    entries = [helper.make_opsetid("", opset), *others]
    del model.opset_import[:]
    model.opset_import.extend(entries)
    return opset


def _set_ir_version(model: ModelProto) -> None:
    """Bring the file format's version into range; device placement, newer than it, is dropped."""
    model.ir_version = min(max(model.ir_version, IR_VERSIONS[0]), IR_VERSIONS[-1])
    model.ClearField("configuration")


def _rewrite(model: ModelProto, opset: int, rewrite: Rewrite, target: int) -> bool:
    """Rewrite every standard node in place; say whether one was replaced."""
    shared = Shared(opset)
    shared.note(model.graph)
    inferred = _inferred(model)
    walk = _Walk(rewrite)
    walk.visit(model.graph, Scope(model.graph, inferred.graph, shared), inferred.graph)
    if walk.refused:
        raise ModelError(
            f"the model cannot be brought from opset {opset} to {target}: "
            f"{'; '.join(walk.refused)}. Export it with an opset from {FLOOR} to {CEILING}, "
            f"or replace what is named"
        )
    return walk.changed


def _inferred(model: ModelProto) -> ModelProto:
    """Return the model with the types of its tensors, as far as they can be known."""
    try:
        return shape_inference.infer_shapes(model)
    except shape_inference.InferenceError as error:
        raise ModelError(
            f"the model is not valid ONNX: {str(error).splitlines()[0].rstrip('.')}. "
            f"onnx.checker.check_model may tell more; export it again"
        ) from error


class _Walk:
    """One pass over the graph and the graphs inside it."""

    def __init__(self, rewrite: Rewrite) -> None:
        self.rewrite = rewrite
        self.changed = False
        self.refused: list[str] = []

    def visit(self, graph: GraphProto, scope: Scope, inferred: GraphProto) -> None:
        """Replace the nodes of one graph."""
        nodes: list[NodeProto] = []
        for node, twin in zip(graph.node, inferred.node, strict=True):
            for inner, inner_twin in zip(subgraphs(node), subgraphs(twin), strict=True):
                self.visit(inner, Scope(inner, inner_twin, scope.shared, scope), inner_twin)
            nodes += self.replacement(node, scope)
        rewritten = GraphProto(node=nodes)
        del graph.node[:]
        graph.node.MergeFrom(rewritten.node)

    def replacement(self, node: NodeProto, scope: Scope) -> list[NodeProto]:
        """Return what stands for one node; a refusal is kept for the end, so that all are told."""
        node.ClearField("device_configurations")
        if node.domain not in STANDARD:
            return [node]
        node.ClearField("domain")
        try:
            nodes = self.rewrite(node, scope)
        except ModelError as refusal:
            self.refused.append(str(refusal))
            return [node]
        self.changed |= len(nodes) > 1 or nodes[0] is not node
        return nodes

"""Models of one standard operator at one opset, brought to the opsets of compiled models."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from lrp_onnx.frontend.opset.convert import convert

__all__ = ["converted"]


def converted(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model after conversion, constants as initializers, shapes as it declares them: what was
    inferred at the old opset is inferred again, as `normalize` does.
    """
    model = ir.serde.deserialize_model(proto)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    declared = {value.name: value.shape for value in model.graph.outputs}
    convert(model)
    for value in (v for node in model.graph for v in node.outputs):
        value.shape = declared.get(value.name)
    return ir.serde.serialize_model(model)

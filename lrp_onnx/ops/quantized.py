"""Quantizers: relevance is that of the value which the integers stand for, and passes.

Rounding has no derivative, so a plain gradient goes through a quantizer as through its value, the
straight-through estimator of Bengio et al. 2013, and is 0 where the quantizer saturates; the
report warns of it.  A scale that is computed from the input is held constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit, Input
from lrp_onnx.graph.dequantize import for_elements_of
from lrp_onnx.ops.operands import operand, optional
from lrp_onnx.ops.registry import never_propagates, op

__all__: list[str] = []

QUANTIZE: dict[str, Any] = {"kind": "scale", "elementwise": True, "straight_through": True}


@op("QuantizeLinear", **QUANTIZE, gates=(1, 2))
@op("QuantizeLinear", **QUANTIZE, gates=(1, 2), domain="com.microsoft")
def quantize_linear(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s / scale where q can stand for x, 0 beyond that.  Spec: ONNX QuantizeLinear-21."""
    x, scale = operand(node), operand(node, 1)
    axis, block = node.attributes.get_int("axis", 1), node.attributes.get_int("block_size", 0)
    step = emit.in_compute_dtype(for_elements_of(emit, x, scale, axis, block))
    return emit.op("Where", _unsaturated(emit, node, step), emit.op("Div", s, step), 0.0)


def _measured(node: ir.Node, inputs: Sequence[int]) -> bool:
    """The range is that of all samples."""
    return False


@op("DynamicQuantizeLinear", **QUANTIZE, constant_outputs=(1, 2), samples_apart=_measured)
def dynamic_quantize_linear(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """s / scale; the range is that of x, so that nothing saturates.

    Spec: ONNX DynamicQuantizeLinear-11.
    """
    return emit.op("Div", s, node.outputs[1])


def _unsaturated(emit: Emit, node: ir.Node, step: Input) -> ir.Value:
    """Where x / scale + zero point rounds to a number of the type of q."""
    x, q = operand(node), node.outputs[0]
    assert q.dtype is not None
    value = emit.op("Div", x, step)
    zero = optional(node, 2)
    if zero is not None:
        axis, block = node.attributes.get_int("axis", 1), node.attributes.get_int("block_size", 0)
        shaped = for_elements_of(emit, x, zero, axis, block)
        value = emit.op("Add", value, emit.op("Cast", shaped, to=int(emit.dtype)))
    above = emit.op("GreaterOrEqual", value, float(q.dtype.min) - 0.5)
    return emit.op("And", above, emit.op("LessOrEqual", value, float(q.dtype.max) + 0.5))


never_propagates(
    ["QLinearReduceMean"],
    "ONNX Runtime has no kernel for it. Quantize with QuantizeLinear and DequantizeLinear nodes",
    domain="com.microsoft",
)
never_propagates(
    ["QMoE", "QOrderedAttention", "QOrderedLongformerAttention", "QOrderedLayerNormalization"],
    "its weights are laid out for one device's kernels. Quantize with QuantizeLinear and "
    "DequantizeLinear nodes",
    domain="com.microsoft",
)

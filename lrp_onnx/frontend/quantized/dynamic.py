"""Contrib operators of ONNX Runtime that quantize their activations on the way.

Each stays in the forward and is, to the explanation, the float operator with dequantized weights;
activations count as they were before (see `integer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.frontend.quantized.integer import as_float
from lrp_onnx.graph.dequantize import dequantized
from lrp_onnx.graph.replacement import Build, attribute

__all__: list[str] = []

MICROSOFT = "com.microsoft"


def _product(build: Build, a: ir.Value, b: ir.Value, bias: ir.Value | None) -> ir.Value:
    z = build.op("MatMul", a, b)
    return z if bias is None else build.op("Add", z, bias)


@decomposes("MatMulIntegerToFloat", domain=MICROSOFT)
def matmul_integer_to_float(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """a·b + bias of the dequantized operands.  Spec: contrib operators, MatMulIntegerToFloat."""
    a, b, a_scale, b_scale, a_zero, b_zero, bias = [*node.inputs, *[None] * 7][:7]
    x, w = as_float(build, a, a_scale, a_zero, -2), as_float(build, b, b_scale, b_zero, -1)
    return [build.explained(node.outputs[0], _product(build, x, w, bias))]


@decomposes("DynamicQuantizeMatMul", domain=MICROSOFT)
def dynamic_quantize_matmul(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """a·b + bias with b dequantized.  Spec: contrib operators, DynamicQuantizeMatMul."""
    a, b, scale, zero, bias = [*node.inputs, *[None] * 5][:5]
    assert a is not None
    w = as_float(build, b, scale, zero, -1)
    return [build.explained(node.outputs[0], _product(build, a, w, bias))]


@decomposes("DynamicQuantizeLSTM", domain=MICROSOFT)
def dynamic_quantize_lstm(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """LSTM with dequantized weights, which are stored transposed.

    W: (directions, inputs, 4·hidden)    R: (directions, hidden, 4·hidden)    scales: (directions,)
    or (directions, 4·hidden).    Spec: contrib operators, DynamicQuantizeLSTM.
    """
    x, w, r, b, lengths, h, c, p, *scales = [*node.inputs, *[None] * 12][:12]
    weights = _gates(build, w, *scales[:2]), _gates(build, r, *scales[2:])
    attributes: dict[str, Any] = dict(node.attributes)
    outputs = build.outputs(
        "LSTM", len(node.outputs), x, *weights, b, lengths, h, c, p, **attributes
    )
    pairs = zip(node.outputs, outputs, strict=True)
    return [build.explained(own, standard) for own, standard in pairs]


def _gates(
    build: Build, q: ir.Value | None, scale: ir.Value | None, zero: ir.Value | None
) -> ir.Value:
    """The weight of the gates as LSTM wants it, (directions, 4·hidden, inputs)."""
    over = build.ints(0, 1, -1)
    of_all, zeros = (None if v is None else _over_inputs(build, v, over) for v in (scale, zero))
    return build.op("Transpose", dequantized(build, q, of_all, zeros), perm=[0, 2, 1])


def _over_inputs(build: Build, parameter: ir.Value, over: ir.Value) -> ir.Value:
    """(directions,) or (directions, 4·hidden) -> (directions, 1, 1 or 4·hidden)."""
    shaped = build.op("Reshape", parameter, over)
    shaped.type, shaped.shape = parameter.type, ir.Shape([None, 1, None])
    return shaped


@decomposes("QAttention", domain=MICROSOFT)
def qattention(build: Build, node: ir.Node) -> Sequence[ir.Value | None]:
    """Attention on the dequantized input with dequantized weights.

    Spec: contrib operators, QAttention.
    """
    x, w, bias, x_scale, w_scale, mask, x_zero, w_zero, past = [*node.inputs, *[None] * 9][:9]
    if any(attribute(node, name, 0) for name in ("do_rotary", "past_present_share_buffer")):
        raise UnsupportedError("it rotates, or shares a buffer with its past")
    names = ("num_heads", "unidirectional", "scale", "mask_filter_value")
    attributes: dict[str, Any] = {k: a for k, a in node.attributes.items() if k in names}
    inputs = as_float(build, x, x_scale, x_zero, -1), as_float(build, w, w_scale, w_zero, -1)
    outputs = build.outputs(
        "Attention", len(node.outputs), *inputs, bias, mask, past, domain=MICROSOFT, **attributes
    )
    return [build.explained(own, z) for own, z in zip(node.outputs, outputs, strict=True)]

"""Integer operators with quantized inputs and a quantized output (QOperator).

Each stays in the forward. To the explanation it is the float operator on its dequantized inputs
with a quantizer behind:

    y8 = QLinearConv(x8, w8)        relevance: QuantizeLinear(Conv(x, w)),  x = (x8 - zero) · scale

so that relevance is that of the values which the integers stand for.  Specifications: ONNX
QLinearConv-10, QLinearMatMul-21, and the contrib operators of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from lrp_onnx.errors import UnsupportedError
from lrp_onnx.frontend.decompose.registry import decomposes
from lrp_onnx.graph.dequantize import dequantized
from lrp_onnx.graph.replacement import Build

__all__: list[str] = []

MICROSOFT = "com.microsoft"
Input = ir.Value | None


def _inputs(node: ir.Node, count: int) -> list[Input]:
    """The first `count` inputs, None where one is absent."""
    return [*node.inputs, *[None] * count][:count]


def _in_units(build: Build, bias: ir.Value, unit: ir.Value) -> ir.Value:
    """An int32 bias as floats; `unit` is one number, or one per output channel."""
    return build.op("Mul", build.op("Cast", bias, to=int(ir.DataType.FLOAT)), unit)


def _requantized(
    build: Build, node: ir.Node, z: ir.Value, scale: Input, zero: Input
) -> list[ir.Value]:
    """The node, explained by the quantized z."""
    if node.attributes.get_int("channels_last", 0):
        raise UnsupportedError(
            "its channels come last, as a runtime's own rewriting leaves them. Use the model from "
            "before that"
        )
    return [build.explained(node.outputs[0], build.op("QuantizeLinear", z, scale, zero))]


def _attributes(node: ir.Node, *without: str) -> dict[str, ir.Attr]:
    return {k: a for k, a in node.attributes.items() if k not in ("channels_last", *without)}


@decomposes("QLinearConv")
@decomposes("QLinearConv", domain=MICROSOFT)
def qlinear_conv(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Conv(x, w, b), whose bias is in units of scale(x)·scale(w)."""
    x, x_scale, x_zero, w, w_scale, w_zero, scale, zero, bias = _inputs(node, 9)
    b = None if bias is None else _in_units(build, bias, build.op("Mul", x_scale, w_scale))
    inputs = dequantized(build, x, x_scale, x_zero), dequantized(build, w, w_scale, w_zero, axis=0)
    return _requantized(build, node, build.op("Conv", *inputs, b, **_attributes(node)), scale, zero)


@decomposes("QLinearMatMul")
def qlinear_matmul(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """MatMul(a, b), with a scale for each row of a, each column of b, or for all."""
    a, a_scale, a_zero, b, b_scale, b_zero, scale, zero = _inputs(node, 8)
    inputs = (
        dequantized(build, a, a_scale, a_zero, axis=-2),
        dequantized(build, b, b_scale, b_zero, axis=-1),
    )
    return _requantized(build, node, build.op("MatMul", *inputs), scale, zero)


@decomposes("QGemm", domain=MICROSOFT)
def qgemm(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Gemm(a, b, c), whose c is in units of alpha·scale(a)·scale(b); without a scale of its own
    the output is a float.
    """
    a, a_scale, a_zero, b, b_scale, b_zero, c, scale, zero = _inputs(node, 9)
    columns = 0 if node.attributes.get_int("transB", 0) else 1
    inputs = (
        dequantized(build, a, a_scale, a_zero),
        dequantized(build, b, b_scale, b_zero, axis=columns),
    )
    if c is not None:
        unit = build.op("Mul", a_scale, b_scale)
        unit = build.op("Mul", unit, build.like(node.attributes.get_float("alpha", 1.0), a_scale))
        c = _in_units(build, c, unit)
    z = build.op("Gemm", *inputs, c, **_attributes(node))
    if scale is None:
        return [build.explained(node.outputs[0], z)]
    return _requantized(build, node, z, scale, zero)


def _of_two(op_type: str) -> Callable[[Build, ir.Node], Sequence[ir.Value]]:
    def decomposition(build: Build, node: ir.Node) -> Sequence[ir.Value]:
        """The float operator on both dequantized inputs."""
        a, a_scale, a_zero, b, b_scale, b_zero, scale, zero = _inputs(node, 8)
        inputs = dequantized(build, a, a_scale, a_zero), dequantized(build, b, b_scale, b_zero)
        return _requantized(build, node, build.op(op_type, *inputs), scale, zero)

    return decomposition


for _op_type in ("Add", "Mul"):
    decomposes(f"QLinear{_op_type}", domain=MICROSOFT)(_of_two(_op_type))


def _of_one(op_type: str) -> Callable[[Build, ir.Node], Sequence[ir.Value]]:
    def decomposition(build: Build, node: ir.Node) -> Sequence[ir.Value]:
        """The float operator on the dequantized input."""
        x, x_scale, x_zero, scale, zero = _inputs(node, 5)
        z = build.op(op_type, dequantized(build, x, x_scale, x_zero), **_attributes(node))
        return _requantized(build, node, z, scale, zero)

    return decomposition


for _op_type in ("AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu"):
    decomposes(f"QLinear{_op_type}", domain=MICROSOFT)(_of_one(_op_type))


@decomposes("QLinearSoftmax", domain=MICROSOFT)
def qlinear_softmax(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Softmax along one axis; before opset 13 along all from that axis on."""
    x, x_scale, x_zero, scale, zero = _inputs(node, 5)
    if x is None or x.shape is None:
        raise UnsupportedError("the rank of its input is unknown. Export the model with shapes")
    axis = node.attributes.get_int("axis", -1) % len(x.shape)
    if node.attributes.get_int("opset", 13) < 13 and axis != len(x.shape) - 1:
        raise UnsupportedError("its softmax is along several axes. Export at opset 13 or later")
    z = build.op("Softmax", dequantized(build, x, x_scale, x_zero), axis=axis)
    return _requantized(build, node, z, scale, zero)


@decomposes("QLinearConcat", domain=MICROSOFT)
def qlinear_concat(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Concat of the dequantized inputs, each with its own scale."""
    scale, zero, *rest = node.inputs
    triples = ([*rest[k : k + 3], None][:3] for k in range(0, len(rest), 3))
    parts = [dequantized(build, x, x_scale, x_zero) for x, x_scale, x_zero in triples]
    z = build.op("Concat", *parts, axis=node.attributes.get_int("axis"))
    return _requantized(build, node, z, scale, zero)


@decomposes("QLinearWhere", domain=MICROSOFT)
def qlinear_where(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """Where between two dequantized inputs."""
    condition, x, x_scale, x_zero, y, y_scale, y_zero, scale, zero = _inputs(node, 9)
    inputs = dequantized(build, x, x_scale, x_zero), dequantized(build, y, y_scale, y_zero)
    return _requantized(build, node, build.op("Where", condition, *inputs), scale, zero)

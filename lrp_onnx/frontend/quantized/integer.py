"""Products of integers that are scaled back to floats: dynamically quantized models.

    x → DynamicQuantizeLinear → MatMulInteger(·, w8) → Cast → Mul(scale(x)·scale(w)) → Add(b)

stays in the forward and is, to the explanation, the float layer x·w + b with the dequantized
weight.  An activation that is quantized on the way counts as it was before: its quantizer is made
for its range, rounds and cuts off nothing, and what runtimes fuse is left alone.  Specifications:
ONNX MatMulInteger-10, ConvInteger-10, and the contrib operators of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from lrp_onnx.frontend.decompose.operands import varies
from lrp_onnx.frontend.decompose.registry import Decomposition, decomposes, finds_layers
from lrp_onnx.graph.annotations import FORWARD_KEPT
from lrp_onnx.graph.constants import sole_reader
from lrp_onnx.graph.dequantize import dequantized
from lrp_onnx.graph.makers import inputs_by, made_by
from lrp_onnx.graph.ranks import known_rank
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.subgraphs import nodes_of

__all__ = ["as_float", "integer_layers"]

FLOAT_OF = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}
ROUNDING = ("Reshape", "Cast", "Floor", "Round")
Input = ir.Value | None


@decomposes("MatMulInteger")
@decomposes("ConvInteger")
def integer_product(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """The float operator on x - zero and w - zero: whole numbers, as its result."""
    z = build.op(FLOAT_OF[node.op_type], *_operands(build, node, [None, None]), **node.attributes)
    return [build.explained(node.outputs[0], z)]


@decomposes("MaxPool")
def max_pool_of_integers(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """MaxPool of the same numbers as floats: a quantized tensor's largest is that of its floats."""
    x = node.inputs[0]
    if x is None or x.dtype is None or not x.dtype.is_integer() or len(node.outputs) > 1:
        return None
    floats = build.op("Cast", x, to=int(ir.DataType.FLOAT))
    attributes: dict[str, Any] = dict(node.attributes)
    return [build.explained(node.outputs[0], build.op("MaxPool", floats, **attributes))]


@decomposes("DynamicQuantizeLinear")
def scale_alone(build: Build, node: ir.Node) -> Sequence[ir.Value | None] | None:
    """The scale (max(x, 0) - min(x, 0))/255, where it is all that is read: beside the integers that
    it scales it is held constant.  Spec: ONNX DynamicQuantizeLinear-11.
    """
    x, (q, scale, *_) = node.inputs[0], node.outputs
    if q.uses() or not (scale.uses() or scale.is_graph_output()):
        return None
    ends = [build.op(f"Reduce{end}", x, keepdims=0) for end in ("Max", "Min")]
    above, below = (
        build.op(end, value, build.like(0.0, x))
        for end, value in zip(("Max", "Min"), ends, strict=True)
    )
    z = build.op("Div", build.op("Sub", above, below), build.like(255.0, x))
    return [None, build.explained(scale, z)]


@dataclass(frozen=True)
class _Chain:
    """A product of integers and the nodes that make floats of it."""

    product: ir.Node
    scale: ir.Value
    bias: ir.Value | None
    shape: ir.Value | None
    """What the bias is reshaped to, if it is."""
    end: ir.Node

    def decomposition(self, build: Build, node: ir.Node) -> Sequence[ir.Value]:
        """The float layer in the place of the last node's output."""
        scales = _scales(self.product, self.scale)
        bias = self.bias
        if bias is not None and self.shape is not None:
            bias = build.op("Reshape", bias, self.shape)
        z = build.op(
            FLOAT_OF[self.product.op_type],
            *_operands(build, self.product, scales or [None, None]),
            **self.product.attributes,
        )
        z = z if scales else build.op("Mul", z, self.scale)
        return [build.explained(node.outputs[0], z if bias is None else build.op("Add", z, bias))]


@finds_layers
def integer_layers(model: ir.Model) -> Iterator[tuple[ir.Node, Decomposition]]:
    """The last node of each product of integers that is scaled back, and what stands for it."""
    for node in list(nodes_of(model.graph)):
        if node.op_type in FLOAT_OF and not node.domain and FORWARD_KEPT not in node.metadata_props:
            chain = _chain(node)
            if chain is not None:
                node.metadata_props[FORWARD_KEPT] = "explained"
                yield chain.end, chain.decomposition


def _chain(node: ir.Node) -> _Chain | None:
    """Product → [Add of whole numbers] → Cast → Mul → [Add of a constant]."""
    rounded, reader = None, sole_reader(node.outputs[0])
    if reader is not None and reader[0].op_type == "Add":
        rounded = reader[0].inputs[1 - reader[1]]
        reader = sole_reader(reader[0].outputs[0])
    if reader is None or reader[0].op_type != "Cast":
        return None
    scaled = sole_reader(reader[0].outputs[0])
    if scaled is None or scaled[0].op_type != "Mul":
        return None
    end, scale = scaled[0], scaled[0].inputs[1 - scaled[1]]
    assert scale is not None
    if rounded is not None:
        bias_and_shape = _float_bias(rounded, scale)
        return None if bias_and_shape is None else _Chain(node, scale, *bias_and_shape, end)
    added = sole_reader(end.outputs[0])
    if added is not None and added[0].op_type == "Add":
        other = added[0].inputs[1 - added[1]]
        if not varies(other):
            return _Chain(node, scale, other, None, added[0])
    return _Chain(node, scale, None, None, end)


def _float_bias(rounded: ir.Value, scale: ir.Value) -> tuple[ir.Value, Input] | None:
    """b, and what it is reshaped to, of round(b / scale); None if it is not of that form."""
    value: Input = rounded
    shape = None
    while value is not None and (node := value.producer()) is not None:
        bias = node.inputs[0]
        if node.op_type == "Div":
            own = bias is not None and not varies(bias) and _equal(node.inputs[1], scale)
            return (bias, shape) if own and bias is not None else None
        if node.op_type not in ROUNDING:
            return None
        shape = node.inputs[1] if node.op_type == "Reshape" else shape
        value = bias
    return None


def _equal(a: Input, b: ir.Value) -> bool:
    """Whether two scales are one, or the same product: ONNX Runtime's quantizer writes that of the
    bias anew.
    """
    factors = (inputs_by(v, "Mul") or [v] for v in (a, b))
    one, other = (sorted(map(id, each)) for each in factors)
    return one == other


def _scales(product: ir.Node, scale: ir.Value) -> list[Input] | None:
    """The scale of each operand, whose product is `scale`; None where they cannot be told."""
    factors = inputs_by(scale, "Mul") or [scale]
    scales: list[Input] = [None, None]
    for k in (0, 1):
        quantizer = _dynamic_quantizer(product.inputs[k])
        if quantizer is not None and quantizer.outputs[1] in factors:
            scales[k] = quantizer.outputs[1]
            factors.remove(quantizer.outputs[1])
    if len(factors) > 1 or (factors and scales[1] is not None and scales[0] is not None):
        return None
    if factors:
        scales[0 if scales[1] is not None else 1] = factors[0]
    quantized = [k for k in (0, 1) if _dynamic_quantizer(product.inputs[k]) is not None]
    return scales if all(_is_own(product.inputs[k], scales[k]) for k in quantized) else None


def _is_own(q: Input, scale: Input) -> bool:
    quantizer = _dynamic_quantizer(q)
    return quantizer is not None and quantizer.outputs[1] is scale


def _dynamic_quantizer(q: Input) -> ir.Node | None:
    """The DynamicQuantizeLinear that makes q."""
    return made_by(q, "DynamicQuantizeLinear")


def as_float(build: Build, q: Input, scale: Input, zero: Input, axis: int) -> ir.Value:
    """The float that q was before its scale was found at run time, else what q stands for."""
    quantizer = _dynamic_quantizer(q)
    x = None if quantizer is None or not _is_own(q, scale) else quantizer.inputs[0]
    return dequantized(build, q, scale, zero, axis) if x is None else x


def _operands(build: Build, product: ir.Node, scales: Sequence[Input]) -> list[ir.Value]:
    """Both operands as floats; without a scale minus their zero points only."""
    zeros = [*product.inputs[2:], None, None]
    operands = []
    for k in (0, 1):
        q, scale = product.inputs[k], scales[k]
        assert q is not None
        if scale is None:
            scale = build.constant(1.0, ir.DataType.FLOAT)
        if product.op_type == "ConvInteger":
            axis = 1 - k
            scale = _flat(build, scale) if k else scale
        else:
            axis = -1 if k else -2
        operands.append(as_float(build, q, scale, zeros[k], axis))
    return operands


def _flat(build: Build, scale: ir.Value) -> ir.Value:
    """A scale per output channel, however it is shaped to multiply the output, as a vector."""
    return scale if known_rank(scale) < 2 else build.op("Reshape", scale, build.ints(-1))

"""Models with quantizers and dequantizers around float operators (QDQ).

Runtimes fuse DequantizeLinear → operator → QuantizeLinear into one integer operator, but only while
nothing else reads the floats in between.  So the explanation has floats of its own: each
dequantized activation has a twin spelled in other nodes (see `dequantize`), the float operators
behind it are copied onto the twins, and the quantizer at the end is explained by its own copy:

    x8 → DequantizeLinear → Conv → QuantizeLinear → y8            the forward, still fused
    x8 → Cast, Sub, Mul   → Conv → QuantizeLinear → relevance     the twin, read by the rules

What the rules do not read of a twin is never computed.  A linear operator with a dequantized weight
has a twin too where no quantizer follows: runtimes fuse that into one with a quantized weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from lrp_onnx.frontend.decompose.operands import varies
from lrp_onnx.frontend.decompose.registry import Decomposition, decomposes, finds_layers
from lrp_onnx.graph.dequantize import dequantized
from lrp_onnx.graph.makers import made_by
from lrp_onnx.graph.replacement import Build
from lrp_onnx.graph.subgraphs import nodes_of
from lrp_onnx.ops.registry import find

__all__ = ["dequantized_layers"]


LEAVES = ("QuantizeLinear", "DynamicQuantizeLinear", "ExplainedBy")
"""Operators whose outputs are read as they are."""


@decomposes("DequantizeLinear")
@decomposes("DequantizeLinear", domain="com.microsoft")
def dequantize_linear(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """(q - zero point) · scale beside the node, which stays; of constants nothing.

    Spec: ONNX DequantizeLinear-21.
    """
    if not varies(node.inputs[0]):
        return None
    return [build.explained(node.outputs[0], _spelled(build, node))]


@decomposes("QuantizeLinear")
@decomposes("QuantizeLinear", domain="com.microsoft")
def quantize_linear(build: Build, node: ir.Node) -> Sequence[ir.Value] | None:
    """A copy of itself behind the twins of the float operators in front of it.

    Spec: ONNX QuantizeLinear-21.
    """
    x = node.inputs[0]
    assert x is not None
    twin = _Twins(build).of(x)
    if twin is x:
        return None
    return [build.explained(node.outputs[0], build.copy(node, [twin, *node.inputs[1:]])[0])]


def _spelled(build: Build, node: ir.Node) -> ir.Value:
    """What a DequantizeLinear gives, in other nodes."""
    q, scale, zero, *_ = [*node.inputs, None]
    assert q is not None
    assert scale is not None
    axis, block = node.attributes.get_int("axis", 1), node.attributes.get_int("block_size", 0)
    dtype = node.outputs[0].dtype
    return dequantized(build, q, scale, zero, axis, block, dtype)


class _Twins:
    """The twins of floats between dequantizers and the quantizer `build.node`."""

    def __init__(self, build: Build) -> None:
        self.build = build
        self.known: dict[ir.Value, ir.Value] = {}

    def of(self, wanted: ir.Value) -> ir.Value:
        """The twin; the value itself where not all it is computed from is dequantized."""
        pending = [wanted]
        while pending:
            value = pending[-1]
            if value in self.known:
                pending.pop()
                continue
            needed = [v for v in self.read(value) if v not in self.known]
            pending += needed
            if not needed:
                self.add(value)
        return self.known[wanted]

    def read(self, value: ir.Value) -> list[ir.Value]:
        """The values whose twins the twin is computed from."""
        node = value.producer()
        if node is None or node.op_type in LEAVES or node.op_type == "DequantizeLinear":
            return []
        return [v for v in node.inputs if v is not None]

    def add(self, value: ir.Value) -> None:
        """Enter the twin of a value whose inputs have theirs."""
        node = value.producer()
        if node is None:
            self.known[value] = value
        elif node.op_type == "DequantizeLinear":
            self.known[value] = _spelled(self.build, node)
        elif node.op_type in LEAVES:
            self.known[value] = _explanation(node, value)
        else:
            self.copy(node)

    def copy(self, node: ir.Node) -> None:
        """Copy a node onto the twins of its inputs if each, but for constants, has one."""
        twins = [None if v is None else self.known[v] for v in node.inputs]
        changed = [v for v, twin in zip(node.inputs, twins, strict=True) if twin is not v]
        untwinned = [v for v in node.inputs if v not in changed and varies(v)]
        bodies = any(a.type in GRAPHS for a in node.attributes.values())
        copied = bool(changed) and not untwinned and not bodies
        outputs = self.build.copy(node, twins) if copied else node.outputs
        self.known.update(zip(node.outputs, outputs, strict=True))


GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def _explanation(node: ir.Node, value: ir.Value) -> ir.Value:
    """What explains a float; quantized values are their own twins."""
    dtype, twin = value.dtype, node.inputs[-1]
    floating = dtype is not None and dtype.is_floating_point()
    return twin if node.op_type == "ExplainedBy" and floating and twin is not None else value


@finds_layers
def dequantized_layers(model: ir.Model) -> Iterator[tuple[ir.Node, Decomposition]]:
    """Each linear node with a dequantized weight, whatever is in front of it and behind it."""
    for node in list(nodes_of(model.graph)):
        operator = find(node)
        if operator is not None and operator.weighted and any(map(_is_weight, node.inputs)):
            yield node, _layer


def _is_weight(value: ir.Value | None) -> bool:
    return made_by(value, "DequantizeLinear") is not None and not varies(value)


def _layer(build: Build, node: ir.Node) -> Sequence[ir.Value]:
    """The node on the twins of its inputs: of its weights, and of what is dequantized."""
    inputs = [_float_twin(build, v) for v in node.inputs]
    return [build.explained(node.outputs[0], build.copy(node, inputs)[0])]


def _float_twin(build: Build, value: ir.Value | None) -> ir.Value | None:
    maker = None if value is None else value.producer()
    if maker is None or value is None:
        return value
    if maker.op_type == "DequantizeLinear":
        return _spelled(build, maker)
    return _explanation(maker, value) if maker.op_type == "ExplainedBy" else value

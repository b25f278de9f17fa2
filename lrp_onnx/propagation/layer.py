"""A linear layer as rules see it: its parts, modified copies of it and their derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from lrp_onnx.graph.arithmetic import Operand
from lrp_onnx.graph.builder import Emit, Input
from lrp_onnx.graph.dtypes import HALF
from lrp_onnx.graph.forward import forward_copy
from lrp_onnx.lrp.rule import Setting
from lrp_onnx.ops.linear_vjp import linear_vjp
from lrp_onnx.ops.registry import Op

__all__ = ["Layer"]


@dataclass
class Layer:
    """A linear node as f(x; w, b): the operands the terms of a rule modify."""

    op: Op
    node: ir.Node
    active: tuple[int, ...]
    settings: Mapping[str, Setting]
    values: dict[str, Operand] = field(default_factory=dict)

    @property
    def weight(self) -> int | None:
        """The index of the weight, if the operator has one and it is not active too."""
        return 1 - self.active[0] if self.op.weighted and len(self.active) == 1 else None

    @property
    def bias(self) -> ir.Value | None:
        """The bias, if the node has one."""
        biased = self.op.biased or self.op.detached
        return self.node.inputs[2] if biased and len(self.node.inputs) > 2 else None

    def z(self, emit: Emit) -> ir.Value:
        """The layer's own output; recomputed for a half-precision model, whose own is rounded too
        coarsely.
        """
        z = self.node.outputs[0]
        return forward_copy(emit, self.node, {}) if z.dtype in HALF else z

    def forward(
        self, emit: Emit, xs: Sequence[ir.Value], ws: Sequence[ir.Value], b: Input
    ) -> ir.Value:
        """Σ f(xₖ; wₖ, 0) + b.

        xₖ: shaped like the layer's input    wₖ: its weight    b: its bias    ->    its output.
        """
        (i,) = self.active
        if len(xs) > 1:
            bias = emit.constant(b) if isinstance(b, float) else b
            operands = [bias, *map(emit.at_least_float, (*xs, *ws))]
            return emit.dialect("LinearSum", operands, [self.node.outputs[0]], self.node, i=i)[0]
        replaced: dict[int, Input] = {i: xs[0], 1 - i: ws[0]}
        if self.bias is not None or b is not None:
            replaced[2] = b
        return forward_copy(emit, self.node, replaced)

    def backward(
        self, emit: Emit, ss: Sequence[ir.Value], ws: Sequence[Sequence[ir.Value]]
    ) -> tuple[ir.Value, ...]:
        """Σₖ vjp(sₖ; wₖⱼ) for every j.

        sₖ: shaped like the layer's output    wₖⱼ: like its weight    ->    each like its input.
        """
        (i,), columns = self.active, [w for row in ws for w in row]
        return linear_vjp(emit, self.node, i, ss, columns)

    def backward_sum(self, emit: Emit, ss: Sequence[ir.Value], ws: Sequence[ir.Value]) -> ir.Value:
        """Σ vjp(sₖ; wₖ), shaped like the layer's input."""
        return self.backward(emit, ss, [[w] for w in ws])[0]

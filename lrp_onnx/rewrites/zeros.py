"""Which tensors are 0 by chance alone: sums of products, and what no function sets to 0.

A Relu, a HardSwish or a mask makes many zeros, so that a sum may have no contribution of a sign.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.constant_values import constant_array
from lrp_onnx.graph.evaluation import evaluate
from lrp_onnx.graph.makers import made_by
from lrp_onnx.ops import registry

__all__ = ["zero_by_chance"]

POINTS = np.array([-6.0, -4.0, -2.0, -0.5, 0.5, 2.0, 4.0, 6.0], np.float32)
"""Where a function of one tensor is tried: activations that are 0 on an interval are so at one."""
FARTHEST = 64
"""How many tensors are looked at; a sum of many is taken for one with zeros."""


def zero_by_chance(value: ir.Value, opset: int) -> bool:
    """Whether it is known to be 0 at few places only."""
    pending: list[ir.Value | None] = [value]
    for _ in range(FARTHEST):
        if not pending:
            return True
        own = _must_be(pending.pop(), opset)
        if own is None:
            return False
        pending += own
    return False


def _must_be(value: ir.Value | None, opset: int) -> list[ir.Value | None] | None:
    """Those that must be 0 by chance alone so that this one is; None where that is unknown."""
    array = None if value is None else constant_array(value)
    if array is not None:
        return [] if array.all() else None
    node = made_by(value)
    op = None if node is None else registry.find(node)
    if node is None or op is None:
        return None
    if op.weighted or "norm" in op.kinds:
        return []
    if op.adds:
        return [] if any(_is_weighted(v) for v in node.inputs) else list(node.inputs)
    if op.multiplies and op.broadcasts:
        return list(node.inputs)
    if op.moves in ("reorders", "joins"):
        return [node.inputs[i] for i in op.inputs or range(len(node.inputs))]
    if op.elementwise and len(node.inputs) == 1:
        results = evaluate(node, [POINTS], opset)
        return [node.inputs[0]] if results is not None and results[0].all() else None
    return None


def _is_weighted(value: ir.Value | None) -> bool:
    node = made_by(value)
    op = None if node is None else registry.find(node)
    return op is not None and op.weighted

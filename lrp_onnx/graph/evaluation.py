"""Nodes evaluated by onnx's reference implementation, types and shapes as the values have them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

__all__ = ["FAILURES", "evaluate", "evaluator"]

Array = NDArray[Any]

FAILURES = (ValueError, TypeError, IndexError, ArithmeticError, RuntimeError)
"""What the reference raises where it cannot tell."""


def evaluate(node: ir.Node, arrays: Sequence[Array | None], opset: int) -> list[Array] | None:
    """A node's outputs; None where the reference cannot tell and runtimes have to."""
    if _overflows(node, arrays):
        return None
    proto = ir.serde.serialize_node(node)
    del proto.input[:]
    proto.input.extend("" if a is None else f"i{k}" for k, a in enumerate(arrays))
    feeds = {f"i{k}": a for k, a in enumerate(arrays) if a is not None}
    try:
        with np.errstate(all="ignore"):
            outputs = evaluator([proto], feeds, proto.output, opset).run(None, feeds)
    except FAILURES:
        return None
    return [np.asarray(a) for a in outputs]


def _overflows(node: ir.Node, arrays: Sequence[Array | None]) -> bool:
    """Whether the smallest of whole numbers is divided by -1, which ends a runtime's process."""
    a, b = arrays if node.op_type in ("Div", "Mod") and len(arrays) == 2 else (None, None)
    if a is None or b is None or a.dtype.kind != "i":
        return False
    try:
        return bool(((a == np.iinfo(a.dtype).min) & (b == -1)).any())
    except ValueError:  # shapes that do not fit are others' to tell
        return False


def evaluator(
    nodes: Sequence[onnx.NodeProto], inputs: Iterable[str], outputs: Iterable[str], opset: int
) -> ReferenceEvaluator:
    """What evaluates nodes of one domain, in order; it raises FAILURES and NotImplementedError."""
    anything = onnx.TypeProto()
    read, made = (
        [helper.make_value_info(name, anything) for name in names] for names in (inputs, outputs)
    )
    graph = helper.make_graph(nodes, "nodes", read, made)
    imports = [helper.make_opsetid(nodes[0].domain, opset)]
    return ReferenceEvaluator(helper.make_model(graph, opset_imports=imports))

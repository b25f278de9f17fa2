"""Values that an operator writes by position alone: an arithmetic sequence, one-hot rows."""

from __future__ import annotations

import onnx_ir as ir

from lrp_onnx.graph.builder import Emit
from lrp_onnx.ops.registry import op
from lrp_onnx.ops.scatter_add import numbered

__all__: list[str] = []


def _of_floats(node: ir.Node, active: tuple[int, ...]) -> str:
    """A sequence of integers has no derivative."""
    dtype = node.outputs[0].dtype
    return "sum" if dtype is not None and dtype.is_floating_point() else "none"


@op(
    "Range",
    kind=("sum", "none"),
    choose=_of_floats,
    inputs=(0, 2),
    gates=(1,),
    folds=True,
    grows=True,
)
def arithmetic_sequence(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """y_k = start + k · delta: Σ s_k to the start, Σ k · s_k to delta; limit only says how many.

    s: (K,)    ->    c: ().    Spec: ONNX Range-11.
    """
    if i == 2:
        s = emit.op("Mul", s, emit.op("Cast", numbered(emit, s), to=int(emit.dtype)))
    return emit.op("ReduceSum", s, keepdims=0)


@op("OneHot", kind="move", inputs=(2,), gates=(0, 1))
def one_hot(emit: Emit, node: ir.Node, s: ir.Value, i: int) -> ir.Value:
    """y is copies of the two values: to each what comes back from its copies.

    s: the output's shape    ->    c: (2,), off and on.    Spec: ONNX OneHot-11.
    """
    indices, depth = node.inputs[:2]
    values = emit.constant([0.0, 1.0], emit.dtype)
    hot = emit.op("OneHot", indices, depth, values, axis=node.attributes.get_int("axis", -1))
    ones = emit.op("ReduceSum", emit.op("Mul", s, hot), keepdims=0)
    rest = emit.op("Sub", emit.op("ReduceSum", s, keepdims=0), ones)
    parts = [emit.op("Unsqueeze", part, emit.ints(0)) for part in (rest, ones)]
    return emit.op("Concat", *parts, axis=0)

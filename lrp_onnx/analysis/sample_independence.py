"""Whether a network's samples are independent as far as shapes and operators show.

They are if the batch is axis 0, a size that only the run knows, and every node that the explained
value depends on leaves it there: what it makes has that size along axis 0 and along no other, and
the operator does not mix entries along axis 0.  The operators below are known for that; any other,
and any body, counts as mixing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx_ir as ir

from lrp_onnx.graph.clone import reads
from lrp_onnx.ops.registry import find

__all__ = ["batch_size", "batched_inputs", "independent"]

APART = {
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool",
    "GlobalMaxPool", "GlobalLpPool", "BatchNormalization", "InstanceNormalization",
    "GroupNormalization", "LRN", "Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "Reshape",
    "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Tile", "Pad", "Slice", "Gemm",
    "MatMul", "MatMulAdd", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1",
    "ReduceL2", "ReduceSumSquare", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp",
}  # fmt: skip
"""They keep samples apart wherever the shapes say that axis 0 is still the batch."""
ALONG = {
    "Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "Concat": 0, "Split": 0, "ArgMax": 0,
    "ArgMin": 0, "LayerNormalization": -1, "RMSNormalization": -1, "TopK": -1,
    "LpNormalization": -1, "GatherElements": 0,
}  # fmt: skip
"""They mix along one axis: its default."""
COMPARISONS = {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or",
               "Xor", "IsNaN", "IsInf"}  # fmt: skip
FILLED = {"ConstantOfShape", "Expand"}


def batch_size(sources: Sequence[ir.Value]) -> str | None:
    """The name of the batch's size, along axis 0 of every tensor; None if there is none."""
    names = {_first(value) for value in sources}
    return names.pop() if len(names) == 1 else None


def batched_inputs(graph: ir.Graph, batch: str) -> list[ir.Value]:
    """The graph's inputs that hold the batch along axis 0."""
    return [v for v in graph.inputs if _first(v) == batch]


def independent(nodes: Sequence[ir.Node], roots: Collection[ir.Value], batch: str) -> bool:
    """Whether no node mixes samples; `nodes` are all that depend on the `roots`, in order."""
    samples, sizes = set(roots), set[ir.Value]()
    if not all(_is_batched(value, batch) for value in roots):
        return False
    for node in nodes:
        of_samples = [v for v in reads(node) if v in samples]
        if node.op_type == "Shape" or (
            not of_samples and all(_is_integer(v) and _first(v) != batch for v in node.outputs)
        ):
            sizes.update(node.outputs)
            continue
        if not of_samples and node.op_type not in FILLED:
            return False  # a number made of the batch's size
        if not all(_is_batched(v, batch) for v in node.outputs if v.uses()):
            return False
        if of_samples and not _keeps_apart(node, samples):
            return False
        samples.update(node.outputs)
    return True


def _keeps_apart(node: ir.Node, samples: Collection[ir.Value]) -> bool:
    """Whether the operator leaves entries of axis 0 apart, its output being batched."""
    held = [i for i, v in enumerate(node.inputs) if v in samples]
    if not held or any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values()):
        return False
    ranks = {_rank(node.inputs[i]) for i in held}
    if node.op_type in ALONG:
        axis = node.attributes.get("axis")
        along = ALONG[node.op_type] if axis is None else axis.as_int()
        return 0 not in (along, along + max(ranks))
    if node.op_type == "Norm":
        return -_rank(node.inputs[0]) not in node.attributes.get_ints("axes", ())
    if node.op_type == "Gather":
        axis = node.attributes.get("axis")
        first = axis is None or axis.as_int() in (0, -_rank(node.inputs[0]))
        return held == [1] if first else held == [0]
    if node.op_type in ("MatMul", "MatMulAdd"):
        return 1 not in held or (min(ranks) > 2 and len(ranks) == 1)
    if node.op_type == "Gemm":
        return held in ([0], [0, 2])
    operator = find(node)
    elementwise = operator is not None and operator.elementwise
    if elementwise or node.op_type in COMPARISONS:
        return ranks == {_rank(node.outputs[0])}  # else axis 0 meets another one
    return node.op_type in APART and held[0] == 0


def _is_batched(value: ir.Value, batch: str) -> bool:
    if value.shape is None or not len(value.shape) or _first(value) != batch:
        return False
    return all(isinstance(d, int) or d.value != batch for d in list(value.shape)[1:])


def _first(value: ir.Value) -> str | None:
    """The name of the size along axis 0, if it has one."""
    if value.shape is None or not len(value.shape) or isinstance(value.shape[0], int):
        return None
    return value.shape[0].value


def _rank(value: ir.Value | None) -> int:
    return 0 if value is None or value.shape is None else len(value.shape)


def _is_integer(value: ir.Value) -> bool:
    return value.dtype is not None and not value.dtype.is_floating_point()

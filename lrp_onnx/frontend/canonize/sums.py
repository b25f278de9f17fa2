"""Trees of sums and differences: what they add up, and which terms may come from one tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from lrp_onnx.graph.constant_values import constant_ints
from lrp_onnx.graph.constants import Float, sole_reader
from lrp_onnx.graph.makers import made_by
from lrp_onnx.graph.replacement import Build

__all__ = [
    "FARTHEST",
    "Term",
    "common_inputs",
    "cropped",
    "fits",
    "is_own",
    "selected",
    "sums_of",
    "terms_of",
    "write_sum",
]

Term = tuple[ir.Value, int]
"""What is added, and its sign."""
LINEAR = (
    *("Conv", "AveragePool", "MatMul", "Gemm", "BatchNormalization", "Mul", "Div", "Add", "Sub"),
    *("Split", "Slice"),
)
FARTHEST = 8
"""As many nodes make up a branch at most."""


def sums_of(graph: ir.Graph) -> list[ir.Node]:
    """The last node of each tree."""
    return [node for node in graph if _is_sum(node) and not _is_inner(node)]


def _is_sum(node: ir.Node) -> bool:
    return not node.domain and node.op_type in ("Add", "Sub")


def _is_inner(node: ir.Node) -> bool:
    reader = sole_reader(node.outputs[0])
    return reader is not None and _is_sum(reader[0])


def terms_of(root: ir.Node) -> list[Term]:
    """What a tree adds up, in order."""
    terms, pending = list[Term](), [(root.outputs[0], 1)]
    while pending:
        value, sign = pending.pop()
        node = value.producer()
        if node is None or not _is_sum(node) or not (node is root or is_own(value)):
            terms.append((value, sign))
            continue
        first, second = node.inputs
        assert first is not None
        assert second is not None
        pending += [(second, -sign if node.op_type == "Sub" else sign), (first, sign)]
    return terms


def is_own(value: ir.Value) -> bool:
    """Whether one node alone reads it."""
    return sole_reader(value) is not None


def common_inputs(terms: list[Term]) -> list[ir.Value]:
    """The tensors that two of the terms may be linear maps of, as far as operators tell, the
    nearest first: what lies in front of it are other layers.
    """
    if len(terms) < 2:
        return []
    counted = Counter(x for value, _ in terms for x in dict.fromkeys(_inputs_of(value)))
    return [x for x, count in counted.items() if count > 1]


def _inputs_of(value: ir.Value) -> Iterator[ir.Value]:
    for _ in range(FARTHEST):
        yield value
        node = made_by(value, *LINEAR)
        if node is None or not is_own(value):
            return
        active = [v for v in node.inputs if v is not None and not v.is_initializer()]
        if len(active) != 1:
            return
        (value,) = active


def selected(value: ir.Value, axis: int) -> tuple[ir.Value, int, int, int] | None:
    """What a value is a part of along an axis, where the part begins and ends, and the whole size;
    None where it is none, or leaves elements out in between.
    """
    if (part := cropped(value)) is not None:
        x, before, behind = part
        size = None if x.shape is None or len(x.shape) <= axis else x.shape[axis]
        if not isinstance(size, int) or sum(before) + sum(behind) != before[axis] + behind[axis]:
            return None
        return x, before[axis], size - behind[axis], size
    split = made_by(value, "Split")
    if split is None or split.attributes.get_int("axis", 0) % len(value.shape or [0]) != axis:
        return None
    sizes = [None if v.shape is None else v.shape[axis] for v in split.outputs]
    known, k = [n for n in sizes if isinstance(n, int)], value.index()
    if split.inputs[0] is None or k is None or len(known) < len(sizes):
        return None
    return split.inputs[0], sum(known[:k]), sum(known[: k + 1]), sum(known)


def cropped(value: ir.Value) -> tuple[ir.Value, list[int], list[int]] | None:
    """What a value is a part of, and how many rows in front and behind are left out along each
    axis; None where it is none.
    """
    node = made_by(value, "Slice")
    x = None if node is None else node.inputs[0]
    if node is None or x is None or x.shape is None or value.shape is None:
        return None
    starts, _, axes, steps = (constant_ints(v) for v in (*node.inputs[1:], None, None)[:4])
    if starts is None or any(step != 1 for step in steps or ()):
        return None
    before, behind = [0] * len(x.shape), [0] * len(x.shape)
    for k, start in zip(range(len(starts)) if axes is None else axes, starts, strict=True):
        size, length = x.shape[k], value.shape[k]
        if not isinstance(size, int) or not isinstance(length, int):
            return None
        before[k] = min(max(start + size if start < 0 else start, 0), size)
        behind[k] = size - length - before[k]
    return x, before, behind


def fits(dtype: ir.DataType | None, *arrays: Float) -> bool:
    """Whether the arrays are finite in an element type."""
    if dtype is None:
        return False
    with np.errstate(over="ignore"):
        return all(bool(np.isfinite(array.astype(dtype.numpy())).all()) for array in arrays)


def write_sum(build: Build, y: ir.Value, rest: list[Term]) -> None:
    """y and the terms that it does not hold, in place of the tree."""
    like = build.node.outputs[0]
    for value, sign in rest:
        y = build.op("Add" if sign > 0 else "Sub", y, value, like=like)
    build.replace(y)

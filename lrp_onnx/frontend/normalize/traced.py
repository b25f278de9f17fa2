"""What integer tensors hold, as far as it is known before a run: numbers, and sizes by name.

A size without a number stands as a number that no size can be while operators that only move
elements (Gather, Slice, Concat, Where…) are evaluated, and is recognized behind them; others are
evaluated only where every element is known, Equal also where one of each pair is below 0.  What
folds and what moves is in the operators' records.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lrp_onnx.graph.arrays import Dimension
from lrp_onnx.graph.evaluation import evaluate
from lrp_onnx.ops.registry import Op, find

__all__ = ["LIMIT", "UNKNOWN", "Traced", "all_known"]

LIMIT = 4096
"""Bytes up to which any result is kept."""

UNKNOWN = 1 << 40
"""Numbers from here on stand for sizes without a number."""

Array = NDArray[Any]


class Traced:
    """What the tensors hold of the nodes that were visited, in topological order."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.traced: dict[ir.Value, Array] = {}
        """Tensors of which some elements are known, the others from UNKNOWN on."""
        self.symbols: dict[object, int] = {}

    def visit(self, node: ir.Node) -> None:
        """Trace what a node gives; what it reads has been."""
        self.traced.update(zip(node.outputs, self.results(node) or (), strict=False))

    def sizes(self, value: ir.Value | None) -> list[Dimension] | None:
        """The sizes that a tensor holds, each a number or a name; None where it has neither."""
        array = None if value is None else self.array(value)
        if array is None or array.dtype.kind != "i":
            return None
        names = {n: key for key, n in self.symbols.items() if isinstance(key, str)}
        return [names.get(n) if n >= UNKNOWN else n for n in map(int, array.reshape(-1))]

    def results(self, node: ir.Node) -> list[Array] | None:
        """The outputs' values where they can be told."""
        if node.op_type in ("Shape", "Size") and not node.domain:
            return self.shape(node) if node.op_type == "Shape" else self.size_of_all(node)
        operator = find(node)
        if operator is None or not operator.folds or not self.worthwhile(node, operator):
            return None
        arrays = [None if v is None else self.array(v) for v in node.inputs]
        if any(a is None and v is not None for a, v in zip(arrays, node.inputs, strict=True)):
            return None
        traced = [None if v is None else self.traced.get(v) for v in node.inputs]
        partly = [i for i, a in enumerate(traced) if a is not None and not all_known(a)]
        if not partly:
            return evaluate(node, arrays, self.opset)
        if node.op_type == "Cast":
            return [a for a in arrays if a is not None] if _is_int(node.outputs[0]) else None
        if node.op_type == "Equal":
            told = _differ(*arrays)
        elif node.op_type == "Where":
            told = 0 not in partly
        else:
            told = operator.moves == "joins" or bool(operator.moves and partly == [0])
        return evaluate(node, arrays, self.opset) if told else None

    def array(self, value: ir.Value) -> Array | None:
        """What a tensor holds."""
        if value in self.traced:
            return self.traced[value]
        if not value.is_initializer() or value.const_value is None:
            return None
        array = value.const_value.numpy()
        return array if array.dtype.kind in "biuf" else None

    def shape(self, node: ir.Node) -> list[Array] | None:
        """The sizes that Shape tells, with numbers standing for those that have none."""
        x = node.inputs[0]
        if x is None or x.shape is None:
            return None
        sizes = [self.size(x, axis) for axis in range(len(x.shape))]
        start, end = (node.attributes.get(name) for name in ("start", "end"))
        first = None if start is None else start.as_int()
        return [np.array(sizes[first : None if end is None else end.as_int()], np.int64)]

    def size_of_all(self, node: ir.Node) -> list[Array] | None:
        """How many elements Size counts, where every size has a number."""
        x = node.inputs[0]
        if x is None or x.shape is None or not x.shape.is_static():
            return None
        return [np.array(np.prod(x.shape.numpy()), np.int64)]

    def size(self, value: ir.Value, axis: int) -> int:
        """A size, or the number that stands for its name."""
        assert value.shape is not None
        size = value.shape[axis]
        if isinstance(size, int):
            return size
        key = size.value if size.value is not None else (value, axis)
        return self.symbols.setdefault(key, UNKNOWN + len(self.symbols))

    def worthwhile(self, node: ir.Node, operator: Op) -> bool:
        """Whether the results are small, or replace constants of their size."""
        if not all(v is None or v.is_initializer() or v in self.traced for v in node.inputs):
            return False
        sizes = [_nbytes(v) for v in node.outputs]
        known = sum(n for n in sizes if n is not None)
        inputs = [v.const_value.nbytes for v in node.inputs if v is not None and v.const_value]
        if None in sizes:
            return not operator.grows and sum(inputs) <= LIMIT
        only_here = {v for v in node.inputs if v is not None and len(v.uses()) == 1}
        freed = sum(v.const_value.nbytes for v in only_here if v.const_value is not None)
        return known <= max(LIMIT, freed)


def _differ(a: Array | None, b: Array | None) -> bool:
    """Whether each pair is of known numbers, of one size, or of a size and a number below 0."""
    if a is None or b is None:
        return False
    unknown = np.maximum(a, b) >= UNKNOWN
    return bool(((np.minimum(a, b) < 0) | (a == b))[unknown].all())


def all_known(array: Array) -> bool:
    """Whether no element stands for a size without a number."""
    return array.dtype != np.int64 or not (array >= UNKNOWN).any()


def _is_int(value: ir.Value) -> bool:
    return value.dtype in (ir.DataType.INT32, ir.DataType.INT64)


def _nbytes(value: ir.Value) -> int | None:
    if value.shape is None or value.dtype is None or not value.shape.is_static():
        return None
    return int(np.prod(value.shape.numpy())) * value.dtype.bitwidth // 8

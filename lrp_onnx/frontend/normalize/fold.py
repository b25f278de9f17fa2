"""Constant folding: what depends on constants and known sizes alone is computed once.

Shape arithmetic is followed through partly known shapes: a size without a number stands as a number
that no size can be while operators that only move elements (Gather, Slice, Concat…) are evaluated,
and is recognized behind them; others are evaluated only where every element is known.  What folds
and what moves is in the operators' records.  So the
file does not grow, a result is at most 4 kB or no larger than the constants that it replaces.
Nodes are evaluated by onnx's reference implementation, one at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from lrp_onnx.graph.constants import new_constant
from lrp_onnx.graph.subgraphs import graphs_of
from lrp_onnx.ops.registry import Op, find

__all__ = ["LIMIT", "fold"]

LIMIT = 4096
"""Bytes up to which any result is kept."""

UNKNOWN = 1 << 40
"""Numbers from here on stand for sizes without a number."""

Array = NDArray[Any]


def fold(model: ir.Model) -> bool:
    """Replace nodes whose results are known, in bodies too, by initializers of the same name; says
    whether any was.

    Shapes behind what was folded may be inferred more sharply afterwards.  Graph outputs stay
    computed.
    """
    folding = _Folding(model.graph)
    for graph in graphs_of(model.graph):
        folding.graph = graph
        for node in list(graph):
            folding.visit(node)
    return folding.changed


class _Folding:
    """One pass in topological order; `graph` is the one that the visited node is in."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.opset = graph.opset_imports[""]
        self.traced: dict[ir.Value, Array] = {}
        """Integer tensors of which some elements are known, the others from UNKNOWN on."""
        self.symbols: dict[object, int] = {}
        self.changed = False

    def visit(self, node: ir.Node) -> None:
        if node.op_type == "Reshape" and not node.domain:
            self.settle_target(node)
        if any(v.is_graph_output() for v in node.outputs):
            return
        for value, array in zip(node.outputs, self.results(node) or (), strict=False):
            if _all_known(array):
                dtype = array.dtype if value.dtype is None else value.dtype.numpy()
                self.replace(value, array.astype(dtype))
            else:
                self.traced[value] = array
        if not any(v.uses() for v in node.outputs) and self.changed:
            self.graph.remove(node, safe=True)

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
        partly = [i for i, a in enumerate(arrays) if a is not None and not _all_known(a)]
        if not partly:
            return evaluate(node, arrays, self.opset)
        if node.op_type == "Cast":
            return [a for a in arrays if a is not None] if _is_int(node.outputs[0]) else None
        moves = operator.moves == "joins" or (operator.moves and partly == [0])
        return evaluate(node, arrays, self.opset) if moves else None

    def array(self, value: ir.Value) -> Array | None:
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

    def settle_target(self, node: ir.Node) -> None:
        """Make a Reshape's partly known target a constant: 0 copies a size, -1 is what is left."""
        x, target = node.inputs[0], node.inputs[1]
        traced = None if target is None else self.traced.get(target)
        if x is None or x.shape is None or traced is None:
            return
        own = [self.size(x, axis) for axis in range(len(x.shape))]
        sizes = [
            0 if d >= UNKNOWN and axis < len(own) and own[axis] == d else d
            for axis, d in enumerate(traced.tolist())
        ]
        left = [d for d in sizes if d >= UNKNOWN or d == -1]
        if len(left) > 1 or 0 in traced:
            return
        node.attributes.pop("allowzero", None)  # a 0 in the target now always copies
        constant = np.array([-1 if d >= UNKNOWN else d for d in sizes], np.int64)
        value = self.initializer(f"{node.outputs[0].name}/shape", constant)
        node.replace_input_with(1, value)
        self.changed = True

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

    def replace(self, value: ir.Value, array: Array) -> None:
        constant = self.initializer(value.name or "folded", array, freed=value)
        value.replace_all_uses_with(constant)
        self.changed = True

    def initializer(self, name: str, array: Array, freed: ir.Value | None = None) -> ir.Value:
        """A new initializer; `freed` gives its name up."""
        if freed is not None:
            freed.name = f"{name}/folded"
        array = np.ascontiguousarray(array).reshape(array.shape)
        return new_constant(self.graph, name, array, ir.DataType.from_numpy(array.dtype))


def evaluate(node: ir.Node, arrays: Sequence[Array | None], opset: int) -> list[Array] | None:
    """A standard node's outputs; None where the reference cannot tell and runtimes have to."""
    proto = ir.serde.serialize_node(node)
    del proto.input[:]
    proto.input.extend("" if a is None else f"i{k}" for k, a in enumerate(arrays))
    feeds = {f"i{k}": a for k, a in enumerate(arrays) if a is not None}
    anything = onnx.TypeProto()
    graph = helper.make_graph(
        [proto],
        "one",
        [helper.make_value_info(name, anything) for name in feeds],
        [helper.make_value_info(name, anything) for name in proto.output],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, opset)])
    try:
        with np.errstate(all="ignore"):
            outputs = ReferenceEvaluator(model).run(None, feeds)
    except (ValueError, TypeError, IndexError, ArithmeticError, RuntimeError):
        return None
    return [np.asarray(a) for a in outputs]


def _all_known(array: Array) -> bool:
    return array.dtype != np.int64 or not (array >= UNKNOWN).any()


def _is_int(value: ir.Value) -> bool:
    return value.dtype in (ir.DataType.INT32, ir.DataType.INT64)


def _nbytes(value: ir.Value) -> int | None:
    if value.shape is None or value.dtype is None or not value.shape.is_static():
        return None
    return int(np.prod(value.shape.numpy())) * value.dtype.bitwidth // 8
